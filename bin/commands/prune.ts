import type { Command } from 'commander';
import { parserBetween } from '../numbers.ts';
import { atPlace } from '../place.ts';
import { print, UsageError } from '../terminal.ts';

/** The most days that prune takes: a century. */
const MOST_DAYS = 36_500;

export const addPrune = (program: Command): Command =>
  program
    .command('prune')
    .description('delete locks in files (--store file:/PATH) that were free, and not written, for some days')
    .requiredOption(
      '--older-than <days>',
      `the days: 1 to ${MOST_DAYS}`,
      parserBetween('a number of days', 1, MOST_DAYS),
    )
    .action(
      atPlace(async ({ store }, { olderThan: days }: { olderThan: number }) => {
        const { FileLockStore } = await import('../../lib/file.ts');
        if (!(store instanceof FileLockStore)) {
          throw new UsageError(
            'prune deletes locks in files alone: give --store file:/PATH. Elsewhere the place deletes old locks.',
          );
        }
        const pruned = await store.prune({ olderThanMs: Math.round(days * 86_400_000) });
        print(`${pruned} ${pruned === 1 ? 'lock was' : 'locks were'} deleted.`);
        return 0;
      }),
    );
