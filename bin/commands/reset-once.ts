import type { Command } from 'commander';
import { LockBusyError } from '../../lib/index.ts';
import { show } from '../../lib/record/check.ts';
import { atPlace } from '../place.ts';
import { print, warn } from '../terminal.ts';

export const addResetOnce = (program: Command): Command =>
  program
    .command('reset-once')
    .description(
      'forget the finished once token of a lock that nobody holds: the next token is granted, and work that was done may be ' +
        'done once more',
    )
    .argument('<key>', 'the key of the lock')
    .action(
      atPlace(async ({ locks }, _options, key: string) => {
        const token = (await locks.inspect(key))?.doneToken;
        let wasReset: boolean;
        try {
          wasReset = await locks.resetOnce(key);
        } catch (error) {
          if (!(error instanceof LockBusyError)) throw error;
          warn(`${error.message} Its holder may finish a token at its release: reset the token when the lock is free.`);
          return 1;
        }
        print(
          wasReset
            ? `${show(key)} was done up to ${token ?? 'an unknown token'}, and is done for no token now.`
            : `${show(key)} is done for no token: there is nothing to reset.`,
        );
        return wasReset ? 0 : 1;
      }),
    );
