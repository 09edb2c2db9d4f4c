import { randomUUID } from 'node:crypto';
import type { Lease } from '../lease/lease.ts';
import { checkThat, show } from '../record/check.ts';
import { LockLostError, LockStoreError } from '../record/errors.ts';
import { GUARDED } from './scripts.ts';
import type { Server } from './server.ts';

/** A command of Redis: its name and its arguments. */
export type RedisCommand = readonly [name: string, ...args: (string | number)[]];

/** `unpack` of the server's Lua gives at most 8,000 values. */
const MOST_WORDS = 7_000;

/**
 * Runs commands while the lock is still granted to a lease, in one script: the server does the check and all the commands
 * without another client's commands in between. Nobody who was granted the lock later has written before. No clock is
 * involved. After a failover of the server, the check is as good as the server's memory of the grant.
 *
 * - In a cluster, every key must have the lock's hash tag: `{report}:total` for the lock `report`.
 * - A command that fails ends the write. The commands before it stay applied, for Redis takes nothing back.
 * - If no answer comes, the commands may have run. Send a write again only if running it twice does no harm.
 * @example
 * ```ts
 * import type { Lease } from 'leasehold';
 * import { runWhileHeld } from 'leasehold/redis';
 *
 * export async function book(lease: Lease, total: number) {
 *   await runWhileHeld(lease, [
 *     ['SET', `{${lease.key}}:total`, total],
 *     ['SADD', `{${lease.key}}:days`, '2026-01-01'],
 *   ]);
 * }
 * ```
 * @throws LockLostError if the lease is not held, or if the server refused the write. Nothing was written.
 * @throws LockStoreError if a command failed, or if no answer came.
 * @throws TypeError if a command is none, or if the lease lives in another store than a `RedisLockStore`.
 */
export async function runWhileHeld(lease: Lease, commands: readonly RedisCommand[]): Promise<void> {
  const { server } = lease.store as { readonly server?: Server };
  if (typeof server?.run !== 'function') {
    throw new TypeError('runWhileHeld needs a lease of a RedisLockStore, but this lease lives in another store.');
  }
  const argv = commands.flatMap((command) => {
    checkCommand(command);
    return [String(command.length), ...command.map(String)];
  });
  lease.assertHeld();
  // A client that sends the request again after a broken connection does not run the commands twice.
  const writeId = randomUUID({ disableEntropyCache: true });
  const [status, place, fault] = await server.run(GUARDED, lease.key, [lease.lockId, writeId, ...argv]);
  if (status === 'applied') return;
  if (status === 'failed') {
    const name = show(commands[Number(place) - 1]?.[0]);
    throw new LockStoreError(
      `The command ${place} of the guarded write, ${name}, failed: ${fault}. The commands before it were applied.`,
    );
  }
  lease.abandon('takenOver');
  const detail = 'its guarded write was refused, for another grant stands in its place or it was released';
  throw new LockLostError({ key: lease.key, reason: 'takenOver', detail });
}

function checkCommand(command: unknown): asserts command is RedisCommand {
  const isOne =
    Array.isArray(command) &&
    command.length > 0 &&
    command.length <= MOST_WORDS &&
    command.every((word) => typeof word === 'string' || (typeof word === 'number' && Number.isFinite(word)));
  checkThat(isOne, 'A command', `an array of 1 to ${MOST_WORDS} texts and numbers`, command);
}
