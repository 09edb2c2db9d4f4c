/** Shows the live page in Debian's Chromium, and notes everything that the browser complains of. */
import { existsSync } from 'node:fs';
import { jest } from '@jest/globals';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { type LivePage, type ServeOptions, serve } from '../../bin/serve/server.ts';
import { LockClient, type LockStore } from '../../lib/index.ts';
import { MemoryLockStore } from '../../lib/testing.ts';
import { needing } from '../support/needing.ts';

const CHROMIUM = '/usr/bin/chromium';

export const { describe, test } = needing(
  existsSync(CHROMIUM) ? undefined : 'skipped: install chromium (Debian: apt-get install chromium)',
);

/** A browser is slow to start on a machine that has much else to do. */
jest.setTimeout(30_000);

/** Chromium ends with this process, whose end closes the pipe between the two. */
export const startBrowser = (): Promise<Browser> =>
  // Chromium has no sandbox for root, and these pages are our own.
  chromium.launch({ executablePath: CHROMIUM, args: process.getuid?.() === 0 ? ['--no-sandbox'] : [] });

export class Shown implements AsyncDisposable {
  readonly store: LockStore;
  readonly locks: LockClient;
  readonly live: LivePage;
  readonly page: Page;
  /** Errors, warnings, violations of the page's policy, and requests to anywhere else or that failed. */
  readonly complaints: string[] = [];

  private constructor(store: LockStore, locks: LockClient, live: LivePage, page: Page) {
    this.store = store;
    this.locks = locks;
    this.live = live;
    this.page = page;
    page.on('console', (message) => this.complaints.push(`console: ${message.text()}`));
    page.on('pageerror', (error) => this.complaints.push(`error: ${error.message}`));
    page.on('requestfailed', (request) => this.complaints.push(`failed: ${request.url()}`));
    page.on('request', (request) => {
      const url = request.url();
      if (!url.startsWith(live.url) && !url.startsWith('data:')) this.complaints.push(`elsewhere: ${url}`);
    });
  }

  /** Shows a store, which is looked at every 250 ms unless the options say otherwise. */
  static async of(
    browser: Browser,
    options: Partial<ServeOptions> & { readonly store?: LockStore } = {},
    context: BrowserContextOptions = {},
  ): Promise<Shown> {
    const { store = new MemoryLockStore(), ...more } = options;
    const locks = new LockClient({ store, owner: 'a' });
    const live = await serve(locks, { place: 'table locks', everyMs: 250, ...more });
    return new Shown(store, locks, live, await browser.newPage({ viewport: { width: 1280, height: 800 }, ...context }));
  }

  /** Opens the page, and waits for its first look at the store. */
  async open(): Promise<this> {
    await this.page.goto(this.live.url);
    await this.page.getByText(/^read \d+ s ago/).waitFor();
    return this;
  }

  client(owner: string): LockClient {
    return new LockClient({ store: this.store, owner });
  }

  /** Writes a grant of a host that is not there. */
  async put(
    key: string,
    grant: { owner?: string; leftMs?: number; ageMs?: number; data?: string } = {},
  ): Promise<void> {
    const { owner = 'a', leftMs = 60_000, ageMs = 0, data } = grant;
    const now = Date.now() - ageMs;
    const until = Date.now() + leftMs;
    await this.store.acquire({ key, lockId: `of ${owner} ${key}`, owner, now, until, leaseMs: 60_000, data });
  }

  row(key: string) {
    return this.page.locator('tr.lock').filter({ has: this.page.getByRole('button', { name: key, exact: true }) });
  }

  /** The shown keys, from top to bottom. */
  async keys(): Promise<string[]> {
    return this.page.locator('tr.lock .key').allTextContents();
  }

  /** A value of an element's computed style. */
  async styleOf(selector: string, name: string): Promise<string> {
    return this.page.evaluate(`getComputedStyle(document.querySelector('${selector}')).${name}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.page.close();
    await this.live.close();
  }
}
