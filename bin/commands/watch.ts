import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { LockClient, LockState } from '../../lib/index.ts';
import { printable } from '../../lib/record/check.ts';
import { describe, stateOf } from '../describe.ts';
import { LockTable, type Row } from '../lock-table.ts';
import { parserBetween, secondsOption } from '../numbers.ts';
import { inOwnWords } from '../own-words.ts';
import { atPlace } from '../place.ts';
import { columns, fitted, print, styled, untilStopped, warn } from '../terminal.ts';

/** The time between two frames, in which the bars run down. */
const FRAME_MS = 250;

/** The escapes of a terminal: its second screen without a cursor, and back. */
const ENTER = '\u001b[?1049h\u001b[?25l';
const LEAVE = '\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const CLEAR_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';

export const addWatch = (program: Command): Command =>
  program
    .command('watch')
    .description(
      'show the locks as they change, until Ctrl-C: a table on a terminal, and elsewhere a line for each change; each look ' +
        'reads the whole table',
    )
    .argument('[prefix]', 'the beginning of the keys')
    .addOption(
      secondsOption(
        '--every <seconds>',
        'the time between two looks',
        parserBetween('a number of seconds', 0.2, 3600),
        2,
      ),
    )
    .action(
      atPlace(async ({ locks }, { every }: { every: number }, prefix?: string) => {
        const watching = { locks, every, signal: untilStopped(), prefix: prefix ?? '' };
        // A dumb terminal knows no escapes.
        const hasScreen = process.stdout.isTTY && process.env.TERM !== 'dumb';
        await (hasScreen ? showFrames(watching) : printChanges(watching));
        return 0;
      }),
    );

interface Watching {
  readonly locks: LockClient;
  readonly prefix: string;
  readonly every: number;
  readonly signal: AbortSignal;
}

async function readAll({ locks, prefix, signal }: Watching): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const lock of locks.list({ prefix, signal })) rows.push({ lock, readAt: Date.now() });
  const order = { held: 0, bad: 1, expired: 2, closed: 3, free: 4 } as const;
  const rank = ({ lock }: Row) => order[stateOf(lock)];
  return rows.sort((a, b) => rank(a) - rank(b) || (a.lock.key < b.lock.key ? -1 : 1));
}

/** A pause that a signal ends. */
const pause = (ms: number, signal: AbortSignal): Promise<void> => sleep(ms, undefined, { signal }).catch(() => {});

/** Prints each change. A store that does not answer is told once, and asked again. */
async function printChanges(watching: Watching): Promise<void> {
  let seen = new Map<string, string>();
  let failure = '';
  while (!watching.signal.aborted) {
    try {
      const now = new Map<string, string>();
      for (const { lock } of await readAll(watching)) {
        const { key, lockId, fencingToken } = lock;
        const version = [stateOf(lock), lockId, fencingToken, lock.doneToken, lock.owed].join();
        now.set(key, version);
        if (seen.get(key) !== version) print(`${new Date().toISOString()}  ${key}  ${describe(lock)}`);
      }
      for (const key of seen.keys()) if (!now.has(key)) print(`${new Date().toISOString()}  ${key}  deleted`);
      seen = now;
      failure = '';
    } catch (error) {
      if (watching.signal.aborted) return;
      const message = inOwnWords((error as Error).message);
      if (message !== failure) warn(`leasehold: ${message}`);
      failure = message;
    }
    await pause(watching.every, watching.signal);
  }
}

/** Draws the table again and again. A failure stands above the last locks that were read. */
async function showFrames(watching: Watching): Promise<void> {
  const { signal, every } = watching;
  const screen = new Screen();
  process.once('exit', screen.leave);
  screen.enter();
  let rows: Row[] = [];
  let failure: string | undefined = 'Reading the locks …';
  const looking = (async () => {
    while (!signal.aborted) {
      try {
        rows = await readAll(watching);
        failure = undefined;
      } catch (error) {
        failure = inOwnWords((error as Error).message);
      }
      await pause(every, signal);
    }
  })();
  while (!signal.aborted) {
    screen.draw(frame(rows, watching.prefix, failure));
    await pause(FRAME_MS, signal);
  }
  await looking;
}

/** The second screen of a terminal. While the process is suspended, the shell has the first one. */
class Screen {
  #isOurs = false;

  readonly enter = (): void => {
    process.stdout.write(ENTER);
    this.#isOurs = true;
    process.once('SIGTSTP', () => {
      this.leave();
      // Nobody listens to the signal now, so the process stops here: unless no shell is there that could continue it.
      process.kill(process.pid, 'SIGTSTP');
      setTimeout(this.enter, FRAME_MS).unref();
    });
  };

  readonly leave = (): void => {
    process.stdout.write(LEAVE);
    this.#isOurs = false;
  };

  draw(text: string): void {
    if (this.#isOurs) process.stdout.write(text);
  }
}

/** One frame: a line about all locks, the table's header, and as many locks as there is room for. */
function frame(rows: readonly Row[], prefix: string, failure: string | undefined): string {
  const width = columns(process.stdout) ?? 80;
  const room = Math.max(1, (process.stdout.rows || 24) - 3);
  const count = (state: string) => rows.filter(({ lock }: { lock: LockState }) => stateOf(lock) === state).length;
  const summary = `${rows.length} locks${prefix && ` under ${printable(prefix)}`}, ${count('held')} held, ${count('expired')} expired, ${count('bad')} bad`;
  const table = new LockTable(width);
  const title =
    failure === undefined
      ? styled('bold', fitted(summary, width).trimEnd())
      : styled('yellow', fitted(printable(failure), width).trimEnd());
  const more = rows.length > room ? styled('dim', `and ${rows.length - room} more`) : '';
  const lines = [title, table.header, ...rows.slice(0, room).map((row) => table.line(row)), more];
  return HOME + lines.map((line) => line + CLEAR_LINE).join('\n') + CLEAR_BELOW;
}
