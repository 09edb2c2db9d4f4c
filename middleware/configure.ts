import { DynamoDBLockStore } from '../lib/dynamodb/store.ts';
import { heed } from '../lib/lease/callback.ts';
import { LockClient } from '../lib/lease/client.ts';
import { type AcquireOptions, planAcquire } from '../lib/lease/options.ts';
import { checkText } from '../lib/record/check.ts';
import type { LockStore } from '../lib/record/store.ts';
import type { SharedOptions } from './options.ts';

/**
 * Checks the options that every lock has. So bad options throw when the lock is configured, and not at midnight.
 * @returns the client that takes the leases, and the options of `client.acquire()` among those given.
 * @throws TypeError that shows the value.
 */
export function configure(options: SharedOptions<string> & { once?: unknown; data?: unknown; onLost?: unknown }): {
  client: LockClient;
  acquire: AcquireOptions;
} {
  const { once, data, contextKey = 'lock', reserveMs = 1_000, onLost = 'throw', locks, tableName, client } = options;
  const { leaseMs, heartbeatMs, safetyMs, waitMs, requestTimeoutMs, holdAtLeastMs, holdAtMostMs } = options;
  const acquire = { leaseMs, heartbeatMs, safetyMs, waitMs, requestTimeoutMs, holdAtLeastMs, holdAtMostMs };
  const isShared = typeof (locks as LockClient | undefined)?.using === 'function';
  checkText('contextKey', contextKey);
  checkChoice('onLost', onLost, 'throw', 'ignore');
  if (!(Number.isInteger(reserveMs) && reserveMs >= 0)) {
    throw new TypeError(`reserveMs must be a whole number of milliseconds, 0 or more, but it is ${String(reserveMs)}.`);
  }
  planAcquire({
    ...acquire,
    // A shared client has a lease time of its own to judge the heartbeat by.
    leaseMs: leaseMs ?? (isShared ? 2 ** 31 - 1 : undefined),
    once: typeof once === 'function' ? undefined : (once as string | undefined),
    data: typeof data === 'function' ? undefined : data,
    owner: 'known at each request',
  });
  if (isShared) return { client: locks as LockClient, acquire };
  const store = (locks as LockStore) ?? new DynamoDBLockStore({ tableName, client });
  return { client: new LockClient({ store, onEvent: options.onEvent }), acquire };
}

export function checkChoice(name: string, value: unknown, ...choices: string[]): void {
  if (choices.includes(typeof value === 'function' ? 'a function' : (value as string))) return;
  throw new TypeError(`${name} must be ${choices.join(' or ')}, but it is ${String(value)}.`);
}

/**
 * Refuses the promise that a function gave in the place of a value. The promise's rejection is nobody's.
 * @throws TypeError
 */
export function noPromise(value: unknown): unknown {
  if (typeof (value as PromiseLike<unknown> | null | undefined)?.then !== 'function') return value;
  heed(value);
  throw new TypeError(
    'key, once and data must be a string or JSON, or a function that gives it at once, but it gave a Promise.',
  );
}
