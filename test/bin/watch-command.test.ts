/** The command watch on a terminal. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, jest } from '@jest/globals';
import { openStore } from '../../bin/open-store.ts';
import { LockClient } from '../../lib/index.ts';
import { commandIn, testOnTerminal as test } from './run.ts';

jest.setTimeout(30_000);

const [ENTER, LEAVE] = ['\u001b[?1049h\u001b[?25l', '\u001b[?25h\u001b[?1049l'];
const [CTRL_C, CTRL_Z] = ['\u0003', '\u001a'];

let directory: string;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'leasehold-watch-'));
  const { store } = await openStore(pathToFileURL(directory).href);
  await new LockClient({ store, owner: 'anna' }).acquire('nightly-report', { leaseMs: 600_000 });
});
afterAll(() => rmSync(directory, { recursive: true }));

/**
 * Types into a shell on a terminal.
 * @param steps what is typed, and the end of what is then waited for.
 */
async function typed(TERM: string, steps: readonly (readonly [text: string, awaited: string])[]): Promise<string[]> {
  const { env } = commandIn({ TERM, NO_COLOR: '1', LOCK_STORE: pathToFileURL(directory).href });
  const terminal = spawn('script', ['-qec', 'bash --norc --noprofile -i', '/dev/null'], { env });
  const ended = once(terminal, 'close');
  const screens: string[] = [];
  let screen = '';
  let look: () => unknown = () => {};
  terminal.stdout.on('data', (text) => {
    screen += text;
    look();
  });
  try {
    for (const [text, awaited] of steps) {
      screen = '';
      terminal.stdin.write(text);
      const seen = new Promise<void>((resolve) => {
        look = () => screen.includes(awaited) && resolve();
      });
      await Promise.race([seen, ended, sleep(10_000, undefined, { ref: false })]);
      screens.push(screen);
    }
    return screens;
  } finally {
    terminal.kill('SIGKILL');
    await ended;
  }
}

const watch = `${commandIn({}).command.join(' ')} watch\n`;

test('watch leaves the screen to the shell while it is suspended, and takes it again', async () => {
  const [, stopped = '', continued = '', , ended = ''] = await typed('xterm', [
    [watch, 'nightly-report'],
    [CTRL_Z, 'Stopped'],
    ['fg\n', 'nightly-report'],
    [CTRL_Z, 'Stopped'],
    ['kill %1; fg; echo DO""NE\n', 'DONE'],
  ]);
  expect(stopped.split(LEAVE).at(-1)).not.toContain('nightly-report');
  expect(stopped).toContain(LEAVE);
  expect(continued).toContain(`${ENTER}\u001b[H`);
  expect(continued.split(ENTER)[0]).not.toContain('nightly-report');
  expect(ended).not.toContain('nightly-report');
});

test('watch prints lines on a dumb terminal, which knows no escapes', async () => {
  const [shown] = await typed('dumb', [
    [watch, 'held by anna'],
    [`${CTRL_C}echo DO""NE\n`, 'DONE'],
  ]);
  expect(shown).toMatch(/T\d\d:\d\d:.*Z {2}nightly-report {2}held by anna/);
  expect(shown?.replaceAll('\u001b[?2004', '')).not.toContain('\u001b');
});
