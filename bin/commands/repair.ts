import type { Command } from 'commander';
import { type LockState, LockStoreError } from '../../lib/index.ts';
import { show } from '../../lib/record/check.ts';
import { isBroken, isCountable } from '../../lib/record/record.ts';
import { describe, holderIn } from '../describe.ts';
import { parserOf } from '../numbers.ts';
import { inOwnWords } from '../own-words.ts';
import { atPlace } from '../place.ts';
import { confirmed, print, warn } from '../terminal.ts';
import { tell } from './release.ts';
import { missing } from './show.ts';

interface Options {
  readonly token?: number;
  readonly immediately?: boolean;
  readonly force?: boolean;
}

export const addRepair = (program: Command): Command =>
  program
    .command('repair')
    .description(
      'open a lock that nobody holds and that is closed all the same; mend a record that somebody has damaged, and end its ' +
        'grant; and raise the fencing token to the present time in milliseconds',
    )
    .argument('<key>', 'the key of the lock')
    .option(
      '--token <n>',
      'write this fencing token',
      parserOf('a whole number', (token) => !Number.isNaN(token)),
    )
    .option(
      '--immediately',
      'open a lock whose record was damaged at once, and not at its expiry, which may be damaged, too: two holders may run at the same time',
    )
    .option('--force', 'do not ask; without a terminal, nothing is asked')
    .action(
      atPlace(async (place, { token: fencingToken, immediately, force }: Options, key: string) => {
        const { locks } = place;
        let seen: LockState | undefined;
        try {
          seen = await locks.inspect(key);
          if (seen === undefined) return missing(key, place);
          print(`${show(key)} is ${describe(seen)}, with the fencing token ${seen.fencingToken}.`);
        } catch (error) {
          // A record whose token or expiry is no number cannot be shown.
          if (!(error instanceof LockStoreError && error.foreign)) throw error;
          warn(inOwnWords(withoutAdvice(error).message));
        }
        if (seen?.lockId !== undefined && !isBroken(seen)) {
          warn(`${show(key)} has the grant ${seen.lockId} of ${holderIn(seen)}: end it first, by leasehold release.`);
          return 1;
        }
        if (immediately || opensEarly(seen)) {
          warn(
            `If the last holder of ${show(key)} still runs, as after a forced release, there may be two holders: be sure that it has ended.`,
          );
        }
        if (process.stdin.isTTY && !force && !(await confirmed(`Repair ${show(key)}?`))) {
          warn('Nothing was changed.');
          return 1;
        }
        const repaired = await locks.repair(key, { seen, fencingToken, immediately }).catch((error) => {
          throw withoutAdvice(error);
        });
        if (!repaired) {
          warn(`${show(key)} has changed meanwhile, or is no record of leasehold's: look at it again.`);
          return 1;
        }
        await tell(locks, key, `The record of ${show(key)} is repaired.`);
        return 0;
      }),
    );

/** Tells whether a repair opens a lock before its expiry. A damaged expiry tells nothing, so such a lock opens at once, too. */
function opensEarly(seen: LockState | undefined): boolean {
  if (seen === undefined || !isCountable(seen.expiresAt)) return true;
  return !isBroken(seen) && seen.opensInMs > 0;
}

/** The error without the advice to run this very command. */
function withoutAdvice(error: Error): Error {
  error.message = error.message.replace(/ Repair the record[^.]*\./, '');
  return error;
}
