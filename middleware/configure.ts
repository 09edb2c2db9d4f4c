import { DynamoDBLeaseStore } from '../lib/dynamodb/lease-store.ts';
import { STORE_OPTIONS } from '../lib/dynamodb/table.ts';
import { heed } from '../lib/lease/callback.ts';
import type { LockClient } from '../lib/lease/client.ts';
import { LeaseClient } from '../lib/lease/lease-client.ts';
import { type AcquireOptions, checkAlone, LEASE_TIMES } from '../lib/lease/options.ts';
import { checkDuration, checkText, checkThat } from '../lib/record/check.ts';
import type { LockAllOptions, LockOptions, SharedOptions } from './options.ts';
import type { LockRecordsOptions } from './record-options.ts';

/** The names of the options that a lock passes to `client.acquire()`. */
const acquireNames = { ...LEASE_TIMES, waitMs: 0, permits: 0 } satisfies Record<
  Exclude<keyof AcquireOptions, 'withinMs' | 'signal' | 'remainingMs' | 'owner' | 'once' | 'data'>,
  0
>;

/** The names of the options that `lock()` and `lockRecords()` share. */
export const sharedNames = {
  ...acquireNames,
  ...STORE_OPTIONS,
  key: 0,
  once: 0,
  data: 0,
  onLost: 0,
  contextKey: 0,
  locks: 0,
  onEvent: 0,
  reserveMs: 0,
} satisfies Record<keyof (LockOptions | LockRecordsOptions), 0>;

/**
 * Checks the options that every lock has. So bad options throw when the lock is configured, and not at midnight.
 * @param what the function that takes the options, for messages.
 * @returns the client that takes the leases, and the options of `client.acquire()` among those given.
 * @throws TypeError that shows the value.
 */
export function configure(
  what: string,
  options: LockOptions<never, never, string> | LockAllOptions<never, never, string> | LockRecordsOptions<never, string>,
): { client: LeaseClient; acquire: AcquireOptions } {
  const { data, contextKey = 'lock', reserveMs = 1_000, onLost = 'throw' } = options;
  const { once } = options as LockOptions<never, never, string>;
  checkText('contextKey', contextKey);
  checkChoice('onLost', onLost, 'throw', 'ignore');
  checkDuration('reserveMs', reserveMs, 0);
  const given = Object.entries(options).filter(([name]) => Object.hasOwn(acquireNames, name));
  const acquire: AcquireOptions = Object.fromEntries(given);
  const client = clientOf(what, options);
  if (once !== undefined) checkAlone(acquire.permits);
  // A shared client has a lease time of its own to judge the heartbeat by.
  client.plan({
    ...acquire,
    ...('once' in options && typeof once !== 'function' && { once }),
    data: typeof data === 'function' ? undefined : data,
  });
  return { client, acquire };
}

const isClient = (locks: SharedOptions<string>['locks']): locks is LockClient =>
  typeof (locks as LockClient | null | undefined)?.using === 'function';

/** The client to share, or one of the lock's own over a store. */
function clientOf(what: string, options: SharedOptions<string>): LeaseClient {
  const { locks, onEvent } = options;
  const ofStore = Object.entries(options).filter(
    ([name, value]) => Object.hasOwn(STORE_OPTIONS, name) && value !== undefined,
  );
  if (locks === undefined)
    return new LeaseClient({ store: new DynamoDBLeaseStore(Object.fromEntries(ofStore)), onEvent });
  checkThat(typeof locks?.acquire === 'function', 'locks', 'a LockClient or a LockStore', locks);
  if (ofStore.length > 0) {
    throw new TypeError(`${what} takes either locks or ${ofStore[0]?.[0]}, not both: leave one out.`);
  }
  if (!isClient(locks)) return new LeaseClient({ store: locks, onEvent });
  if (onEvent === undefined) return locks;
  throw new TypeError(`${what} takes no onEvent with a LockClient: give onEvent to the client, or give a LockStore.`);
}

export function checkChoice(name: string, value: unknown, ...choices: string[]): void {
  const isChoice = choices.includes(typeof value === 'function' ? 'a function' : (value as string));
  checkThat(isChoice, name, choices.join(' or '), value);
}

/**
 * Refuses the promise that a function gave in the place of a value. The promise's rejection is nobody's.
 * @param name the option.
 * @throws TypeError
 */
export function noPromise(name: string, value: unknown): unknown {
  if (typeof (value as PromiseLike<unknown> | null | undefined)?.then !== 'function') return value;
  heed(value);
  const kind = name === 'keys' ? 'an array of strings' : 'a string or JSON';
  throw new TypeError(
    `${name} must be ${kind}, or a function that gives it, but it gave a Promise: do what it waits for before the lock.`,
  );
}
