import { type Command, Option } from 'commander';
import type { LockClient, LockState } from '../../lib/index.ts';
import { describe, type State, stateOf } from '../describe.ts';
import { LockTable } from '../lock-table.ts';
import { atPlace } from '../place.ts';
import { columns, print, warn } from '../terminal.ts';

/** The orders of `--sort`. The key decides between equals. */
const ORDERS = {
  key: () => 0,
  owner: (a, b) => compare(a.owner ?? '', b.owner ?? ''),
  time: (a, b) => b.acquiredAt - a.acquiredAt,
  left: (a, b) => a.opensInMs - b.opensInMs,
} as const satisfies Record<string, (a: LockState, b: LockState) => number>;

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

const SELECTED = ['held', 'expired', 'bad'] as const satisfies readonly State[];

interface Options extends Partial<Record<(typeof SELECTED)[number], boolean>> {
  readonly json?: boolean;
  readonly sort?: keyof typeof ORDERS;
}

export const addLs = (program: Command): Command =>
  program
    .command('ls')
    .alias('list')
    .description('list the locks whose key starts with PREFIX, or every lock; a table is read as a whole')
    .argument('[prefix]', 'the beginning of the keys')
    .option('--held', 'locks that are held')
    .option('--expired', 'locks whose holder let its lease expire, as one that died does')
    .option('--bad', 'locks whose record somebody has changed')
    .addOption(
      new Option('--sort <by>', 'the order; without it, locks are listed as they are read').choices(
        Object.keys(ORDERS),
      ),
    )
    .option('--json', 'print one JSON object a line')
    .action(
      atPlace(async ({ locks }, options: Options, prefix?: string) => {
        const write = writer(options);
        let count = 0;
        for await (const lock of inOrder(selected(locks, prefix, options), options.sort)) {
          write(lock);
          count += 1;
        }
        // Nothing at all would leave a person in doubt. A program reads no lines.
        if (count === 0 && process.stdout.isTTY) warn('There is no such lock.');
        return 0;
      }),
    );

async function* selected(locks: LockClient, prefix: string | undefined, options: Options): AsyncIterable<LockState> {
  const states: readonly State[] = SELECTED.filter((state) => options[state]);
  for await (const lock of locks.list(prefix === undefined ? {} : { prefix })) {
    if (states.length === 0 || states.includes(stateOf(lock)) || (options.held && lock.held)) yield lock;
  }
}

async function* inOrder(
  locks: AsyncIterable<LockState>,
  by: keyof typeof ORDERS | undefined,
): AsyncIterable<LockState> {
  if (by === undefined) return yield* locks;
  const all: LockState[] = [];
  for await (const lock of locks) all.push(lock);
  yield* all.sort((a, b) => ORDERS[by](a, b) || compare(a.key, b.key));
}

/** On a terminal a table that fits it, and elsewhere a line for each lock, of which nothing is cut. */
function writer({ json }: Options): (lock: LockState) => void {
  const width = columns(process.stdout);
  if (json) return (lock) => print(JSON.stringify(lock));
  if (width === undefined) return (lock) => print(`${lock.key}  ${describe(lock)}`);
  const table = new LockTable(width);
  let isFirst = true;
  return (lock) => {
    if (isFirst) console.log(table.header);
    isFirst = false;
    console.log(table.line({ lock, readAt: Date.now() }));
  };
}
