import type { Command } from 'commander';
import type { LockClient, LockState } from '../../lib/index.ts';
import { show } from '../../lib/record/check.ts';
import { describe } from '../describe.ts';
import { atPlace } from '../place.ts';
import { confirmed, print, UsageError, warn } from '../terminal.ts';
import { missing, showLock } from './show.ts';

interface Options {
  readonly lockId?: string;
  readonly immediately?: boolean;
  readonly force?: boolean;
}

export const addRelease = (program: Command): Command =>
  program
    .command('release')
    .alias('force-release')
    .description(
      "end the grant of a lock, and no later grant; the lock opens at its expiry, when the holder's belief has surely ended",
    )
    .argument('<key>', 'the key of the lock')
    .option('--immediately', 'open the lock at once, whatever keeps it closed: two holders may run at the same time')
    .option('--force', 'do not ask')
    .option('--lock-id <id>', 'end this grant, as leasehold show shows it, and do not ask')
    .action(
      atPlace(async (place, options: Options, key: string) => {
        const { lockId, immediately = false } = options;
        if (lockId !== undefined) return end(place.locks, key, lockId, immediately);
        const lock = await place.locks.inspect(key);
        if (lock === undefined) return missing(key, place);
        // A grant that has ended may still keep the lock closed.
        const grant = lock.lockId ?? (immediately && lock.opensInMs > 0 ? lock.releasedBy : undefined);
        if (grant === undefined) return notHeld(key, lock);
        if (options.force) return end(place.locks, key, grant, immediately);
        if (!process.stdin.isTTY) {
          throw new UsageError(
            'release asks on a terminal, and the input is none: give --force to end the present grant, or --lock-id to end a certain one.',
          );
        }
        showLock(lock);
        if (immediately) warn('If the holder still runs, there may be two holders until its lease ends.');
        if (!(await confirmed(`End this grant of ${show(key)}?`))) {
          warn('Nothing was changed.');
          return 1;
        }
        return end(place.locks, key, grant, immediately);
      }),
    );

async function end(locks: LockClient, key: string, lockId: string, immediately: boolean): Promise<number> {
  if (await locks.forceRelease(key, { lockId, immediately })) {
    const lock = await tell(locks, key, `The grant ${lockId} of ${show(key)} is ended.`);
    if (lock !== undefined && lock.lockId === undefined && lock.opensInMs > 0) {
      warn('Until the lock opens, its holder may still work: repair the lock before then only if the holder is dead.');
    }
    return 0;
  }
  const lock = await locks.inspect(key);
  if (lock?.lockId === lockId) {
    print(`The grant ${lockId} of ${show(key)} cannot be ended: its record was damaged. leasehold repair ends it.`);
    return 1;
  }
  print(`${show(key)} is not held under the grant ${lockId}.`);
  if (lock?.lockId !== undefined) print(`The lock is now ${describe(lock)}: look at it again.`);
  else if (lock) notHeld(key, lock);
  return 1;
}

function notHeld(key: string, lock: LockState): number {
  const advice = lock.opensInMs > 0 ? ': leasehold repair opens it' : '';
  print(`Nobody holds the lock ${show(key)}, which is ${describe(lock)}${advice}.`);
  return 1;
}

/** Says how the lock of a key stands, after a command has changed the lock. Returns the lock's state. */
export async function tell(locks: LockClient, key: string, done: string): Promise<LockState | undefined> {
  const lock = await locks.inspect(key);
  print(`${done} ${show(key)} is ${lock === undefined ? 'free' : describe(lock)}.`);
  return lock;
}
