import { afterAll, beforeAll, expect } from '@jest/globals';
import type { Browser } from 'playwright-core';
import { describe, Shown, startBrowser, test } from './browser.ts';

let browser: Browser;
beforeAll(async () => {
  browser = await startBrowser();
});
afterAll(() => browser.close());

/** Opens the row of a lock, and the dialog that asks. */
async function asking(shown: Shown, key: string) {
  await shown.page.getByRole('button', { name: key, exact: true }).click();
  await shown.page.getByRole('button', { name: 'End the grant …' }).click();
  return shown.page.getByRole('dialog');
}

describe('the release on the live page', () => {
  test('shows the grant, asks, ends that grant, and says when the lock opens', async () => {
    await using shown = await Shown.of(browser, { allowRelease: true });
    await shown.put('job', { owner: 'worker', leftMs: 60_000 });
    await shown.open();
    const dialog = await asking(shown, 'job');
    const text = await dialog.innerText();
    for (const word of ['job', 'worker', 'of worker job', 'The lock opens when the lease ends, in'])
      expect(text).toContain(word);
    expect(await shown.page.evaluate('document.activeElement.textContent')).toBe('Cancel');
    await shown.page.keyboard.press('Escape');
    expect((await shown.locks.inspect('job'))?.held).toBe(true);
    await shown.page.getByRole('button', { name: 'End the grant …' }).click();
    await dialog.getByRole('button', { name: 'End the grant' }).click();
    await dialog.getByText(/The grant is ended\. Nobody holds 'job', which opens in \d+ s\. That is at /).waitFor();
    await dialog.getByRole('button', { name: 'Close' }).click();
    expect(await shown.locks.inspect('job')).toMatchObject({ held: false, releasedBy: 'of worker job' });
    await shown.row('job').locator('.state', { hasText: 'closed' }).waitFor();
    await shown.page.getByText('An operator ended the grant of worker.').waitFor();
    expect(await shown.page.getByRole('button', { name: 'End the grant …' }).isVisible()).toBe(false);
    expect(shown.complaints).toEqual([]);
  });

  test('opens the lock at once if asked to, after a warning', async () => {
    await using shown = await Shown.of(browser, { allowRelease: true });
    await shown.put('job', { ageMs: 5_000 });
    await shown.open();
    const dialog = await asking(shown, 'job');
    await dialog.getByRole('checkbox', { name: 'two may run' }).check();
    await dialog.getByText('The lock opens at once.').waitFor();
    await dialog.getByRole('button', { name: 'End the grant' }).click();
    await dialog.getByText("The grant is ended. 'job' is free.").waitFor();
  });

  test('refuses to end a newer grant than the one that was shown, and names the newer one', async () => {
    await using shown = await Shown.of(browser, { allowRelease: true, everyMs: 60_000 });
    const lease = await shown.locks.acquire('job');
    await shown.open();
    const dialog = await asking(shown, 'job');
    await lease.release();
    await (await shown.client('b').acquire('job')).release();
    const newer = await shown.client('c').acquire('job');
    await dialog.getByRole('button', { name: 'End the grant' }).click();
    const said = dialog.getByText(
      /Nothing was released: the grant has ended before\. 'job' is now held by 'c', with the fencing token/,
    );
    await said.waitFor();
    expect(await said.textContent()).toContain('Look at that grant first.');
    expect(newer.isHeld()).toBe(true);
    expect((await shown.locks.inspect('job'))?.owner).toBe('c');
  });

  test('is called off while the dialog is open, if the grant ends meanwhile', async () => {
    await using shown = await Shown.of(browser, { allowRelease: true });
    const lease = await shown.locks.acquire('job');
    await shown.open();
    const dialog = await asking(shown, 'job');
    expect(await dialog.getByRole('button', { name: 'End the grant' }).isEnabled()).toBe(true);
    await lease.release();
    await dialog.getByText('This grant has ended meanwhile.').waitFor();
    expect(await dialog.getByRole('button', { name: 'End the grant' }).isEnabled()).toBe(false);
  });

  test('says that nobody knows if the server ends meanwhile', async () => {
    await using shown = await Shown.of(browser, { allowRelease: true, everyMs: 60_000 });
    await shown.put('job');
    await shown.open();
    const dialog = await asking(shown, 'job');
    await shown.live.close();
    await dialog.getByRole('button', { name: 'End the grant' }).click();
    await dialog.getByText('nobody knows whether the grant is ended').waitFor();
  });

  test('is not there on a page that is read-only, and its server refuses it', async () => {
    await using shown = await Shown.of(browser);
    await shown.put('job', { owner: 'worker' });
    await shown.open();
    const { page } = shown;
    await page.getByText('read-only').waitFor();
    await page.getByRole('button', { name: 'job', exact: true }).click();
    await page.getByText('acquired at').waitFor();
    expect(await page.getByRole('button', { name: 'End the grant' }).count()).toBe(0);
    const body = JSON.stringify({ key: 'job', lockId: 'of worker job' });
    const status = await page.evaluate(`(async () => {
      const sent = { method: 'POST', headers: { 'content-type': 'application/json' }, body: ${JSON.stringify(body)} };
      return (await fetch('release', sent)).status;
    })()`);
    expect(status).toBe(403);
    expect((await shown.locks.inspect('job'))?.held).toBe(true);
    expect(await page.evaluate('document.documentElement.outerHTML')).not.toContain('of worker job');
  });
});
