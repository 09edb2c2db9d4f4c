import type { Lease } from '../lease/lease.ts';
import { areSeveral } from '../lease/leases.ts';
import { checkThat, show } from '../record/check.ts';
import { LockLostError, LockStoreError } from '../record/errors.ts';
import { freshId } from '../record/fresh-id.ts';
import { lastFault } from '../record/last-fault.ts';
import { GUARDED } from './scripts.ts';
import type { Server } from './server.ts';

/** A command of Redis: its name and its arguments. */
export type RedisCommand = readonly [name: string, ...args: (string | number)[]];

/** `unpack` of the server's Lua gives at most 8,000 values. */
const MOST_WORDS = 7_000;

/**
 * The last write of each lease. The hash has room for one write's id, by which a write that the client sends twice is known.
 * So one write runs after another.
 */
const turns = new WeakMap<Lease, Promise<unknown>>();

/**
 * Runs commands while the lock is still granted to a lease, in one script: the server does the check and all the commands
 * without another client's commands in between. Nobody who was granted the lock later has written before. No clock is
 * involved. After a failover of the server, the check is as good as the server's memory of the grant.
 *
 * - In a cluster, every key must have the lock's hash tag: `{report}:total` for the lock `report`. With `permits`, the hash
 *   tag is that of the slot: `{report#3}:total` for slot 3, and `{report}:total` for slot 0.
 * - A command that fails ends the write. The commands before it stay applied, for Redis takes nothing back.
 * - If no answer comes, the commands may have run, or may run still. Send a write again only if running it twice does no
 *   harm. The call waits for an answer for `requestTimeoutMs` of the lease, and no longer than the lease's signal allows.
 * - The guarded writes of one lease run one after another.
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
 * @throws TypeError that shows the value, if a command is none, or if the lease lives in another store than a `RedisLockStore`.
 */
export async function runWhileHeld(lease: Lease, commands: readonly RedisCommand[]): Promise<void> {
  const server = serverOf(lease);
  const argv = argvOf(commands);
  lease.assertHeld();
  const written = (turns.get(lease) ?? Promise.resolve()).then(() => write(lease, server, argv));
  turns.set(
    lease,
    written.catch(() => {}),
  );
  const failed = await written;
  if (failed === undefined) return;
  const name = show(commands[Number(failed.place) - 1]?.[0]);
  throw new LockStoreError(
    `The command ${failed.place} of the guarded write, ${name}, failed: ${failed.fault}. The commands before it were applied.`,
  );
}

async function write(
  lease: Lease,
  server: Server,
  argv: readonly string[],
): Promise<{ place: unknown; fault: unknown } | undefined> {
  lease.assertHeld();
  // A client that sends the request again after a broken connection does not run the commands twice.
  const writeId = freshId();
  const [status, place, fault] = await inTime(lease, (signal) =>
    server.run(GUARDED, lease.recordKey, [lease.lockId, writeId, ...argv], signal),
  );
  if (status === 'applied') return undefined;
  if (status === 'failed') return { place, fault };
  lease.abandon('takenOver');
  const detail = 'its guarded write was refused, for another grant stands in its place or it was released';
  throw new LockLostError({ key: lease.key, reason: 'takenOver', detail });
}

/** Waits for an answer for `requestTimeoutMs`, and until the lease's signal aborts. */
async function inTime<T>(lease: Lease, request: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const { key, requestTimeoutMs, signal } = lease;
  const given = new AbortController();
  const timer = setTimeout(
    () => given.abort(`no answer came within ${requestTimeoutMs} ms (requestTimeoutMs)`),
    requestTimeoutMs,
  );
  const stop = () => given.abort(`the lease's signal aborted before an answer came: ${signal.reason}`);
  signal.addEventListener('abort', stop, { once: true });
  try {
    return await request(given.signal);
  } catch (error) {
    if (!(error instanceof LockStoreError && error.transient)) throw error;
    const fault = lastFault(given.signal);
    const why = given.signal.aborted ? `${given.signal.reason}.${fault ? ` ${fault}` : ''}` : error.message;
    throw new LockStoreError(
      `The guarded write on ${show(key)}: ${why} The commands may have run, or may run still. Look before you send them again.`,
      { cause: fault ?? error, transient: true },
    );
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
  }
}

function serverOf(lease: Lease): Server {
  // Plain JavaScript may give the leases of several keys, which a cluster may have on several nodes.
  if (areSeveral(lease)) {
    throw new TypeError(
      'runWhileHeld needs one lease, but it got the leases of several keys: a script of Redis reaches the keys of one slot ' +
        'only. Give the lease of the key whose data the commands write: leases.get(key).',
    );
  }
  const { server } = (lease?.store ?? {}) as { readonly server?: Server };
  if (typeof server?.run === 'function') return server;
  const given = lease?.store === undefined ? `it is ${show(lease)}` : 'this lease lives in another store';
  throw new TypeError(`runWhileHeld needs a lease of a RedisLockStore, but ${given}.`);
}

/** The commands as the script takes them: the number of each command's words, and the words. */
function argvOf(commands: readonly RedisCommand[]): string[] {
  checkThat(Array.isArray(commands), 'commands', "an array of commands, such as [['SET', 'a', 1]]", commands);
  return commands.flatMap((command) => {
    const isOne = Array.isArray(command) && command.length > 0 && command.length <= MOST_WORDS;
    checkThat(isOne, 'A command', `an array of 1 to ${MOST_WORDS} texts and numbers`, command);
    return [String(command.length), ...command.map(wordOf)];
  });
}

function wordOf(word: string | number): string {
  // Half of a surrogate pair would be sent as another character.
  const isOne = typeof word === 'string' ? word.isWellFormed() : Number.isFinite(word);
  checkThat(isOne, 'Each word of a command', 'a well-formed text or a finite number', word);
  return String(word);
}
