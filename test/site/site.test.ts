import { execFileSync } from 'node:child_process';
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { type Browser, chromium, type Page as Tab } from 'playwright-core';
import { repository } from '../docs/entries.ts';
import { read } from '../docs/pages.ts';
import { needing } from '../support/needing.ts';
import { isExternal, type Page, readPages, targetOf } from './html.ts';

jest.setTimeout(120_000);

const CHROMIUM = '/usr/bin/chromium';
const site = mkdtempSync(join(tmpdir(), 'leasehold-site-test-'));
let pages: Map<string, Page>;
beforeAll(() => {
  execFileSync(process.execPath, [join(repository, 'typedoc/build.ts'), site], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  pages = readPages(site);
});
afterAll(() => rmSync(site, { recursive: true }));

/** The complaints about each page's addresses. */
function complaints(about: (page: Page) => readonly string[]): string[] {
  return [...pages.values()].flatMap((page) => about(page).map((address) => `${page.path}: ${address}`));
}

/** The exported names, each behind its entry, from docs/api.md. */
function exportedNames(): { entry: string; name: string }[] {
  const namespaces = [...read('docs/api.md').matchAll(/^declare namespace (\w+) \{\s+export \{([^}]*)\}/gm)];
  return namespaces.flatMap(([, entry, names = '']) => {
    const path = entry === 'leasehold' ? entry : `leasehold/${entry}`;
    return [...names.matchAll(/\w+/g)].map(([name]) => ({ entry: path, name }));
  });
}

describe('the docs site', () => {
  test('leads from every link to a file and an anchor that exist', () => {
    const dead = complaints((page) =>
      page.links.filter((address) => {
        if (isExternal(address)) return !/^https?:/.test(address);
        const { path, anchor } = targetOf(page, address);
        if (!existsSync(join(site, path)) || extname(path) === '') return true;
        return anchor !== '' && !pages.get(path)?.anchors.has(anchor);
      }),
    );
    expect(dead).toEqual([]);
  });

  test('loads nothing from another host, and nothing by an absolute path', () => {
    const missing = complaints((page) =>
      page.assets.filter((address) => {
        if (address.startsWith('#icon-')) return false;
        return isExternal(address) || !existsSync(join(site, targetOf(page, address).path));
      }),
    );
    expect(missing).toEqual([]);
    const styles = globSync('**/*.css', { cwd: site }).map((path) => readFileSync(join(site, path), 'utf8'));
    expect(styles.filter((style) => /@import|url\(\s*["']?(?!data:|#)[a-z/]/i.test(style))).toEqual([]);
  });

  test('has a page for every exported name', () => {
    const names = exportedNames();
    expect(names.length).toBeGreaterThan(100);
    // Of two names that differ only in case, one has a number: `lockPlugin-1.html`.
    const missing = names.filter(({ entry, name }) => {
      const page = new RegExp(`(^|/)${name}(-1)?\\.html$`);
      return !pages.get(`api/${entry}.html`)?.links.some((link) => page.test(link));
    });
    expect(missing).toEqual([]);
  });

  test('has every page of the repository', () => {
    const expected = globSync('{docs/**/*,CHANGELOG,CONTRIBUTING}.md', { cwd: repository });
    expect(expected.filter((page) => !pages.has(page.replace(/md$/, 'html')))).toEqual([]);
  });
});

const missing = existsSync(CHROMIUM) ? undefined : 'needs Chromium: apt-get install chromium';
needing(missing).describe('the docs site, in Chromium,', () => {
  let browser: Browser;
  beforeAll(async () => {
    // Chromium has no sandbox for root.
    browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: process.getuid?.() === 0 ? ['--no-sandbox'] : [],
    });
  });
  afterAll(() => browser?.close());

  /** Opens a tab that keeps errors and the addresses of requests to others than `home`. */
  async function open(home: string): Promise<{ tab: Tab; errors: string[] }> {
    const tab = await browser.newPage();
    const errors: string[] = [];
    tab.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') errors.push(message.text());
    });
    tab.on('pageerror', (error) => errors.push(String(error)));
    tab.on('requestfailed', (request) => errors.push(`failed: ${request.url()}`));
    tab.on('request', (request) => {
      if (!/^(data|blob):/.test(request.url()) && !request.url().startsWith(home))
        errors.push(`asked: ${request.url()}`);
    });
    return { tab, errors };
  }

  async function search(tab: Tab, words: string): Promise<string[]> {
    await tab.click('#tsd-search-trigger');
    await tab.fill('#tsd-search-input', words);
    await tab.waitForSelector('#tsd-search-results a');
    return tab.$$eval('#tsd-search-results a', (links) =>
      links.map((link) => (link as unknown as { href: string }).href),
    );
  }

  async function walk(home: string): Promise<void> {
    const { tab, errors } = await open(home);
    await tab.goto(`${home}index.html`);
    await tab.click('text=The protocol');
    await tab.waitForURL(`${home}docs/protocol.html`);
    await tab.goto(`${home}docs/architecture.html`);
    await tab.waitForSelector('pre.mermaid:last-of-type svg');
    expect(await tab.locator('pre.mermaid:not(:has(svg))').count()).toBe(0);
    expect(await tab.locator('pre.mermaid [aria-roledescription=error]').count()).toBe(0);
    expect(await search(tab, 'LockClient')).toContain(`${home}api/leasehold/LockClient.html`);
    await tab.goto(`${home}api/leasehold/LockClient.html`);
    expect(await tab.locator('h1').textContent()).toContain('LockClient');
    expect(errors).toEqual([]);
    await tab.close();
  }

  test('is read from files, without an error, and finds LockClient', () => walk(`${pathToFileURL(site)}/`));

  test('is read below a path of a server, without an error, and finds LockClient', async () => {
    const types: Record<string, string> = { '.html': 'text/html', '.css': 'text/css', '.js': 'text/javascript' };
    const server = createServer(({ url = '' }, response) => {
      const path = join(site, decodeURI(url).replace(/^\/leasehold\/|[?#].*$/g, ''));
      if (url === '/favicon.ico') response.writeHead(204).end();
      else if (!url.startsWith('/leasehold/') || !existsSync(path)) response.writeHead(404).end();
      else response.setHeader('content-type', types[extname(path)] ?? 'image/svg+xml').end(readFileSync(path));
    });
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
    try {
      await walk(`http://127.0.0.1:${(server.address() as AddressInfo).port}/leasehold/`);
    } finally {
      server.close();
      server.closeAllConnections();
    }
  });

  test("lists the pages in the order of docs/README.md's map", async () => {
    const { tab } = await open('');
    await tab.goto(`${pathToFileURL(site)}/docs/README.html`);
    await tab.waitForSelector('#tsd-nav-container a');
    const shown = await tab.$$eval('#tsd-nav-container a', (links) => links.map((link) => link.getAttribute('href')));
    const guides = shown.filter((href) => /(^|\/)docs\/[\w-]+\.html$/.test(href ?? ''));
    const map = [...read('docs/README.md').matchAll(/\]\(([\w-]+)\.md\)/g)].map(([, page]) => page);
    const names = guides.map((href) => href?.replace(/.*\/|\.html/g, ''));
    expect(names).toEqual([...new Set(['README', ...map])]);
    await tab.close();
  });
});
