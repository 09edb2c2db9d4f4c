import type { Command } from 'commander';
import type { LockState } from '../../lib/index.ts';
import { printable, show } from '../../lib/record/check.ts';
import { describe, stateOf } from '../describe.ts';
import { COLORS } from '../lock-table.ts';
import { atPlace, type Place } from '../place.ts';
import { print, shownDuration, shownTime, styled, warn } from '../terminal.ts';

export const addShow = (program: Command): Command =>
  program
    .command('show')
    .alias('inspect')
    .description('show one lock: who holds it and until when, its tokens and its data')
    .argument('<key>', 'the key of the lock')
    .option('--json', 'print one JSON object')
    .action(
      atPlace(async (place, { json }: { json?: boolean }, key: string) => {
        const lock = await place.locks.inspect(key);
        if (lock === undefined) return missing(key, place);
        if (json) print(JSON.stringify(lock));
        else showLock(lock);
        return 0;
      }),
    );

/** Says that a lock has no record. */
export function missing(key: string, { within }: Place): number {
  warn(`There is no record of the lock ${show(key)}${within === undefined ? '' : ` under ${within}`}: it is free.`);
  return 1;
}

const json = (value: unknown): string | undefined => (value === undefined ? undefined : JSON.stringify(value));

const ago = (ms: number): string => {
  const since = Date.now() - ms;
  return `${shownTime(ms)} (${since < 0 ? `in ${shownDuration(-since)}` : `${shownDuration(since)} ago`})`;
};

/** Prints a lock for people, a line for each thing that is known of the lock. */
export function showLock(lock: LockState): void {
  const isGranted = lock.lockId !== undefined;
  const lines: Readonly<Record<string, string | undefined>> = {
    state: describe(lock),
    'closed by': stateOf(lock) === 'closed' ? 'holdAtLeastMs, a forced release, or a wrong clock' : undefined,
    [isGranted ? 'holder' : 'last holder']: lock.owner,
    acquired: ago(lock.acquiredAt),
    [isGranted ? 'expires' : 'opens']: ago(lock.expiresAt),
    'lease time': shownDuration(lock.leaseMs),
    'fencing token': String(lock.fencingToken),
    lockId: lock.lockId,
    'ended grant': lock.releasedBy,
    'done up to': lock.doneToken,
    result: json(lock.doneResult),
    data: json(lock.data),
    committed: lock.committed && `${json(lock.committed.data)} under the fencing token ${lock.committed.fencingToken}`,
  };
  console.log(styled('bold', printable(lock.key)));
  for (const [name, text] of Object.entries(lines)) {
    if (text === undefined) continue;
    const line = printable(text);
    console.log(`  ${styled('dim', name.padEnd(14))} ${name === 'state' ? styled(COLORS[stateOf(lock)], line) : line}`);
  }
}
