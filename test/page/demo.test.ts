import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from '@jest/globals';
import type { Browser } from 'playwright-core';
import { describe, startBrowser, test } from './browser.ts';

const DEMO = join(import.meta.dirname, '../../demo/demo.ts');

let browser: Browser;
beforeAll(async () => {
  browser = await startBrowser();
});
afterAll(() => browser.close());

describe('the demo with --page', () => {
  test('shows its locks while the tasks run, and stays until Ctrl-C', async () => {
    // The program `timeout` passes Ctrl-C on, and ends the demo also if the test process has died.
    const command = ['-s', 'INT', '60', process.execPath, DEMO, '--store', 'file', '--page'];
    const demo = spawn('timeout', command, { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(demo, 'exit');
    try {
      let said = '';
      const saying = async (words: RegExp) => {
        while (!words.test(said)) {
          const [chunk] = await Promise.race([once(demo.stdout, 'data'), ended.then(() => ['the demo has ended'])]);
          said += chunk;
          if (demo.exitCode !== null) throw new Error(`Expected ${words}, but the demo ended: ${said}`);
        }
        return words.exec(said)?.[1] ?? '';
      };
      const page = await browser.newPage();
      await page.goto(await saying(/The locks, live: (\S+)/));
      await page.locator('tr.held').first().waitFor();
      await page.getByText('took over from').first().waitFor();
      await saying(/(The live page stays open)/);
      await page.locator('tr.lock', { hasText: 'tasks/stock' }).first().waitFor();
      expect(await page.locator('tr.lock').count()).toBeGreaterThanOrEqual(24);
      expect(demo.exitCode).toBeNull();
      demo.kill('SIGINT');
      expect(await ended).toEqual([0, null]);
    } finally {
      demo.kill('SIGTERM');
    }
  }, 60_000);
});
