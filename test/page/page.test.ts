import { afterAll, beforeAll, expect } from '@jest/globals';
import type { Browser } from 'playwright-core';
import { MemoryLockStore } from '../../lib/testing.ts';
import { describe, Shown, startBrowser, test } from './browser.ts';

let browser: Browser;
beforeAll(async () => {
  browser = await startBrowser();
});
afterAll(() => browser.close());

describe('the live page', () => {
  test('shows a lock that is acquired, released, acquired again, and taken over from a dead holder', async () => {
    await using shown = await Shown.of(browser);
    await shown.open();
    const { page } = shown;
    await page.getByText('No lock has a record yet.').waitFor();
    const lease = await shown.locks.acquire('nightly');
    const row = shown.row('nightly');
    await row.locator('.state', { hasText: 'held' }).waitFor();
    expect(await row.textContent()).toContain(String(lease.fencingToken));
    await lease.release();
    await row.locator('.state', { hasText: 'free' }).waitFor();
    await row.getByText('last: a').waitFor();
    await shown.put('nightly', { owner: 'the dead', leftMs: 300 });
    await row.locator('.state', { hasText: 'expired' }).waitFor();
    await page.getByText('The lease of the dead expired without a release.', { exact: true }).waitFor();
    await shown.client('b').acquire('nightly');
    await row.getByText('took over from the dead').waitFor();
    await page.getByText('The lease of the dead expired without a release. b took over.').waitFor();
    expect(await page.title()).toBe('Locks of table locks');
    expect(shown.complaints).toEqual([]);
  });

  test('runs the time that is left down between two looks, and the time held up', async () => {
    await using shown = await Shown.of(browser, { everyMs: 60_000 });
    await shown.put('job', { leftMs: 30_000, ageMs: 65_000 });
    await shown.open();
    const read = async () => {
      const width = (await shown.row('job').locator('.fill').boundingBox())?.width ?? 0;
      const seconds = Number.parseInt(await shown.row('job').locator('.left').innerText(), 10);
      return { width, seconds, since: await shown.row('job').locator('.c-since').innerText() };
    };
    const first = await read();
    expect(first.seconds).toBeGreaterThan(25);
    expect(first.since).toMatch(/^1 min [5-7] s$/);
    await shown.page.waitForTimeout(2_200);
    const second = await read();
    expect(second.width).toBeLessThan(first.width - 2);
    expect(second.seconds).toBeLessThan(first.seconds);
    expect(second.since).not.toBe(first.since);
  });

  test('runs on a browser clock that is days off', async () => {
    await using shown = await Shown.of(browser);
    await shown.put('job', { leftMs: 30_000 });
    await shown.page.addInitScript('{ const now = Date.now; Date.now = () => now() + 300_000_000; }');
    await shown.open();
    expect(Number.parseInt(await shown.row('job').locator('.left').innerText(), 10)).toBeGreaterThan(20);
    await shown.row('job').locator('.state', { hasText: 'held' }).waitFor();
  });

  test('finds locks by key and holder, and filters them by state, with the counts', async () => {
    await using shown = await Shown.of(browser);
    await shown.put('orders/acme', { owner: 'worker-1' });
    await shown.put('orders/globex', { owner: 'worker-2', leftMs: -1_000, ageMs: 5_000 });
    await shown.put('cache', { owner: 'edge' });
    await (await shown.client('b').acquire('done')).release();
    await (await shown.client('b').acquire('closed', { holdAtLeastMs: 60_000 })).release();
    await shown.open();
    const { page } = shown;
    expect(await shown.keys()).toEqual(['cache', 'closed', 'done', 'orders/acme', 'orders/globex']);
    const chip = (name: string) => page.getByRole('group', { name: 'State' }).getByRole('button', { name });
    for (const [name, key] of [
      ['expired', 'orders/globex'],
      ['closed', 'closed'],
      ['free', 'done'],
    ] as const) {
      await chip(`${name} 1`).click();
      expect(await shown.keys()).toEqual([key]);
    }
    await page.getByText('1 lock of 5.').waitFor();
    await chip('free').click();
    await page.keyboard.press('/');
    await page.keyboard.type('WORKER');
    expect(await shown.keys()).toEqual(['orders/acme', 'orders/globex']);
    await chip('held 1').click();
    expect(await shown.keys()).toEqual(['orders/acme']);
    await page.getByRole('searchbox').fill('nobody');
    await page.getByText('No lock matches.').waitFor();
    await page.keyboard.press('Escape');
    expect(await shown.keys()).toEqual(['cache', 'orders/acme']);
  });

  test('sorts by a column, up and down, and says so to screen readers', async () => {
    await using shown = await Shown.of(browser);
    for (const [index, key] of ['b', 'c', 'a'].entries()) await shown.put(key, { leftMs: 60_000 - index * 10_000 });
    await shown.open();
    const { page } = shown;
    const head = (name: string) => page.getByRole('columnheader', { name });
    expect(await shown.keys()).toEqual(['a', 'b', 'c']);
    await head('Key').getByRole('button').click();
    expect(await shown.keys()).toEqual(['c', 'b', 'a']);
    expect(await head('Key').getAttribute('aria-sort')).toBe('descending');
    await head('Time left').getByRole('button').click();
    expect(await shown.keys()).toEqual(['a', 'c', 'b']);
    expect(await head('Key').getAttribute('aria-sort')).toBeNull();
    expect(await head('Time left').getAttribute('aria-sort')).toBe('ascending');
  });

  test('keeps the focus, the open row and each row’s element while the table changes', async () => {
    await using shown = await Shown.of(browser);
    await shown.put('m', { data: '{"batch":7}' });
    await shown.open();
    const { page } = shown;
    const button = page.getByRole('button', { name: 'm', exact: true });
    await button.focus();
    await page.keyboard.press('Enter');
    await page.getByText('"batch": 7').waitFor();
    expect(await button.getAttribute('aria-expanded')).toBe('true');
    await shown.row('m').evaluate((row) => row.setAttribute('data-mark', 'm'));
    for (const key of ['a', 'z']) await shown.put(key);
    await shown.row('a').waitFor();
    expect(await page.evaluate('document.activeElement.textContent')).toBe('m');
    expect(await shown.row('m').getAttribute('data-mark')).toBe('m');
    expect(await page.locator('tbody tr').evaluateAll((rows) => rows.map((row) => row.classList[0]))).toEqual([
      'lock',
      'lock',
      'details',
      'lock',
    ]);
    await page.keyboard.press('Enter');
    expect(await page.locator('tr.details').count()).toBe(0);
  });

  test.each(['with moveBefore', 'in a browser that has no moveBefore'])(
    'keeps the focus in a row that moves up, %s',
    async (mode) => {
      await using shown = await Shown.of(browser);
      const { page } = shown;
      if (mode.includes('no')) await page.addInitScript('delete Element.prototype.moveBefore;');
      const lease = await shown.locks.acquire('a');
      await shown.put('z', { leftMs: 20_000 });
      await shown.open();
      for (const _ of ['up', 'down'])
        await page.getByRole('columnheader', { name: 'Time left' }).getByRole('button').click();
      expect(await shown.keys()).toEqual(['a', 'z']);
      await page.getByRole('button', { name: 'z', exact: true }).focus();
      await page.mouse.move(5, 5);
      await lease.release();
      await page.locator('tr.lock:first-child .key', { hasText: /^z$/ }).waitFor();
      expect(await page.evaluate('document.activeElement.textContent')).toBe('z');
    },
  );

  test('moves no row away under a pointer', async () => {
    await using shown = await Shown.of(browser);
    for (const key of ['b', 'c']) await shown.put(key);
    await shown.open();
    await shown.row('b').hover();
    await shown.put('a');
    await shown.row('a').waitFor();
    expect(await shown.keys()).toEqual(['b', 'c', 'a']);
    await shown.page.mouse.move(5, 5);
    await shown.page.locator('tr.lock:first-child .key', { hasText: /^a$/ }).waitFor();
    expect(await shown.keys()).toEqual(['a', 'b', 'c']);
  });

  test('reads data on demand, and shows a bad record and an owed run', async () => {
    const store = new MemoryLockStore();
    const list = store.list.bind(store);
    store.list = async (prefix: string) => {
      const answer = await list(prefix);
      const damage = { bad: { flaw: 'fencingToken is -1', fencingToken: -1 }, owed: { asked: 2, served: 1 } };
      return { ...answer, records: answer.records.map((each) => ({ ...each, ...damage[each.key as 'bad' | 'owed'] })) };
    };
    await using shown = await Shown.of(browser, { store });
    await shown.put('bad');
    await (await shown.locks.acquire('owed')).release();
    await shown.open();
    await shown.row('bad').locator('.state', { hasText: 'bad record' }).waitFor();
    await shown.row('owed').locator('.tag', { hasText: 'run owed' }).waitFor();
    await shown.page.getByRole('button', { name: 'run owed 1' }).click();
    expect(await shown.keys()).toEqual(['owed']);
  });

  test.each([360, 1280])('shows hostile texts as texts, on a screen of %s pixels', async (width) => {
    await using shown = await Shown.of(browser, {}, { viewport: { width, height: 740 } });
    const script = '<script>window.hit = 1</script><img src=x onerror="window.hit = 1">';
    const hostile = `${script}\u202e\u2066 \u001b[31m\n\u0000"'&lt;`;
    const long = 'x'.repeat(2_000);
    await shown.put(hostile, { owner: hostile, data: JSON.stringify({ [hostile]: hostile, long }) });
    await shown.put(long, { owner: long, data: 'no JSON <b>' });
    await shown.put(`dead ${hostile}`, { owner: hostile, leftMs: -1_000, ageMs: 5_000 });
    await shown.open();
    const { page } = shown;
    for (const button of await page.locator('tr.lock .key').all()) await button.click();
    await page.getByText('"long": "xxx').waitFor();
    const text = await page.locator('main').innerText();
    expect(text).toContain(`${script}\\u202e\\u2066 \\u001b[31m\\u000a\\u0000"'&lt;`);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters that must not be there.
    expect(text).not.toMatch(/[\u0000-\u0008\u001b\u202e\u2066]/);
    expect(await page.evaluate('window.hit')).toBeUndefined();
    expect(await page.locator('main script, main img, main b:not(.chips b)').count()).toBe(0);
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(width);
    // The server refuses to read a key that is longer than any of leasehold's, and the page says so.
    await page.getByText('The key of a lock must have at most 1024 bytes').waitFor();
    expect(shown.complaints.filter((each) => !each.includes('status of 400'))).toEqual([]);
  });

  test('greys the last state and says why and since when, while the store fails, and recovers', async () => {
    const store = new MemoryLockStore();
    await using shown = await Shown.of(browser, { store });
    await shown.put('job');
    await shown.open();
    const { page } = shown;
    const list = store.list;
    store.list = () => Promise.reject(new Error('access <b>denied</b>'));
    const alert = page.getByRole('alert').filter({ hasText: 'The store has not answered since' });
    await alert.waitFor();
    expect(await alert.innerText()).toMatch(
      /since \d+:\d+:\d+ .*access <b>denied<\/b>\. The locks are shown as they last stood\./,
    );
    expect(await shown.styleOf('tbody', 'opacity')).toBe('0.6');
    expect(await shown.keys()).toEqual(['job']);
    store.list = list;
    await alert.waitFor({ state: 'hidden' });
    expect(await shown.styleOf('tbody', 'opacity')).toBe('1');
  });

  test('says that its server is gone', async () => {
    await using shown = await Shown.of(browser);
    await shown.open();
    await shown.live.close();
    await shown.page.getByText('leasehold serve does not answer.').waitFor();
  });

  test('stays quick with 5,000 locks, of which it draws 500', async () => {
    await using shown = await Shown.of(browser, { everyMs: 1_000 });
    for (let index = 0; index < 5_000; index++) {
      await shown.put(`customers/${String(index).padStart(4, '0')}/invoices`, { owner: `worker-${index % 40}` });
    }
    await shown.page.addInitScript(
      `window.longest = 0;
       new PerformanceObserver((list) => {
         for (const { duration } of list.getEntries()) window.longest = Math.max(window.longest, duration);
       }).observe({ type: 'longtask', buffered: true });`,
    );
    await shown.open();
    const { page } = shown;
    await page.getByText('The first 500 of 5,000 locks that match are shown').waitFor();
    expect(await page.locator('tr.lock').count()).toBe(500);
    const longest = async () => Number(await page.evaluate('{ const was = window.longest; window.longest = 0; was; }'));
    const first = await longest();
    await page.getByRole('searchbox').fill('4321');
    expect(await shown.keys()).toEqual(['customers/4321/invoices']);
    await page.getByRole('searchbox').fill('');
    await page.getByRole('columnheader', { name: 'Holder' }).getByRole('button').click();
    await page.waitForTimeout(500);
    const used = await longest();
    await page.waitForTimeout(3_000);
    const later = await longest();
    console.log(
      `5,000 locks, longest tasks: ${first} ms to draw, ${used} ms to search and sort, ${later} ms to refresh.`,
    );
    expect(later).toBeLessThan(500);
  });

  test.each(['light', 'dark'] as const)('has texts of enough contrast in %s mode', async (colorScheme) => {
    await using shown = await Shown.of(browser, {}, { colorScheme });
    await shown.put('held');
    await shown.put('expired', { leftMs: -1_000, ageMs: 5_000 });
    await (await shown.locks.acquire('free')).release();
    await shown.open();
    const selector = 'td span, th span, .quiet, .chips b, .sort';
    const colours: string[] = await shown.page.evaluate(
      `[...document.querySelectorAll('${selector}')].filter((element) => element.textContent !== '').map((element) => getComputedStyle(element).color)`,
    );
    const paper = await shown.styleOf('html', 'backgroundColor');
    expect(colours.length).toBeGreaterThan(20);
    expect(Math.min(...colours.map((colour) => contrast(colour, paper)))).toBeGreaterThan(4.5);
  });
});

/** The ratio of contrast of two colours, as the WCAG has it. */
function contrast(one: string, other: string): number {
  const [light = 0, dark = 0] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}

function luminance(colour: string): number {
  const [red = 0, green = 0, blue = 0] = (colour.match(/[\d.]+/g) ?? []).map((part) => {
    const share = Number(part) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
