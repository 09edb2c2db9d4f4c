import { checkKey, checkNames, checkThat, MOST_MS, show } from '../record/check.ts';
import type { LockLostError, LostReason } from '../record/errors.ts';
import { Budget } from './budget.ts';
import type { Clock } from './clock.ts';
import { either } from './either.ts';
import type { Lease, ReleaseOptions } from './lease.ts';
import type { LeaseClient } from './lease-client.ts';
import { onAbort } from './on-abort.ts';
import { ACQUIRE_ALL_OPTIONS, type AcquireAllOptions } from './options.ts';
import { limited } from './send.ts';

const KEYS = { fewest: 2, most: 25 };

/**
 * Several leases that are held as one. Each has a heartbeat of its own. When one is lost, the common signal aborts, and the
 * others are held until `release()`. Iterable over its leases, in the order of the bytes of their keys.
 * @example
 * ```ts
 * import type { LockClient } from 'leasehold';
 *
 * export async function transfer(locks: LockClient, from: string, to: string) {
 *   await using leases = await locks.acquireAll([from, to], { waitMs: 5_000 });
 *   await fetch('https://example.com/transfer', { method: 'POST', signal: leases.signal });
 * }
 * ```
 */
export class Leases {
  readonly #byKey: ReadonlyMap<string, Lease>;
  readonly #signal: AbortSignal;

  /** @internal */
  constructor(leases: readonly Lease[]) {
    this.#byKey = new Map(leases.map((lease) => [lease.key, lease]));
    this.#signal = either(...leases.map(({ signal }) => signal)).signal;
  }

  /** Gives the leases, one for each key. */
  [Symbol.iterator](): IterableIterator<Lease> {
    return this.#byKey.values();
  }

  /**
   * Gives the lease of a key, for its fencing token.
   * @throws TypeError that shows the key, if no lease has that key.
   */
  get(key: string): Lease {
    const lease = this.#byKey.get(key);
    if (lease) return lease;
    throw new TypeError(`No lease has the key ${show(key)}: the leases are of ${shown([...this.#byKey.keys()])}.`);
  }

  /** Tells the work to stop: aborts with the reason of the first lease whose signal aborts. */
  get signal(): AbortSignal {
    this.isHeld();
    return this.#signal;
  }

  /** The soonest deadline of the leases: milliseconds since the epoch, by this host's clock. */
  get deadline(): number {
    return Math.min(...[...this].map(({ deadline }) => deadline));
  }

  /** Tells whether every lease is held at this very moment. */
  isHeld(): boolean {
    return [...this].every((lease) => lease.isHeld());
  }

  /**
   * Throws if a lease is not held at this very moment.
   * @throws LockLostError of that lease, with the reason.
   */
  assertHeld(): void {
    for (const lease of this) lease.assertHeld();
  }

  /**
   * Ends all leases, the last first and all at a time. Call `release` when the work has ended. Never rejects: a
   * `releaseFailed` event reports each failure.
   * @param options.withinMs the longest time in which to try the releases, in milliseconds. Default: as for one lease.
   * @returns true if every lease was held until now and is known to be released.
   */
  release(options: Pick<ReleaseOptions, 'withinMs'> = {}): Promise<boolean> {
    checkNames('release', options, { withinMs: 0 });
    return this.#each((lease) => lease.release(options));
  }

  /** Calls `release()`, at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  /** @internal The loss of the first lease that was lost. Undefined as long as no lease is lost. */
  get loss(): LockLostError | undefined {
    return [...this].map(({ loss }) => loss).find((loss) => loss !== undefined);
  }

  /** @internal Releases all leases. There is no token to be done. */
  releasePart(_done: boolean, withinMs?: number): Promise<boolean> {
    return this.#each((lease) => lease.releasePart(false, withinMs));
  }

  /** @internal Releases leases under which no work has begun: `holdAtLeastMs` keeps nothing closed. */
  discard(withinMs?: number): Promise<boolean> {
    return this.#each((lease) => lease.discard(withinMs));
  }

  /** @internal Abandons all leases (invariant 9). */
  abandon(reason: LostReason): void {
    for (const lease of this) lease.abandon(reason);
  }

  async #each(end: (lease: Lease) => Promise<boolean>): Promise<boolean> {
    return (await Promise.all([...this].reverse().map(end))).every(Boolean);
  }
}

/**
 * Acquires all locks, or none.
 *
 * 1. One after the other, in the order of the bytes of their keys, so that no two calls wait for each other for ever.
 * 2. What was granted is held, and renewed, while the call waits for the next lock.
 * 3. When one lock is refused for good, or when a lease is lost meanwhile, every lease is discarded, the last first.
 */
export async function acquireAll(
  client: LeaseClient,
  keys: readonly string[],
  options: AcquireAllOptions,
): Promise<Leases> {
  const inOrder = orderedKeys(keys);
  const plan = client.plan(options);
  const { clock } = client.context;
  const since = clock.monotonic();
  const budget = new Budget(clock, plan);
  const leases: Lease[] = [];
  const { closing } = client.context;
  // No work has begun. So a client that is closed leaves no lock to its expiry, even if it waits for nobody's work.
  const stop = onAbort([closing], () => void discardEach(leases));
  try {
    for (const key of inOrder) {
      const { signal, end } = either(options.signal, ...leases.map((lease) => lease.signal));
      const waitMs = Math.max(0, Math.floor(plan.waitMs - (clock.monotonic() - since)));
      const withinMs = plan.countsQueue && budget.leftMs < MOST_MS ? Math.max(0, Math.floor(budget.leftMs)) : undefined;
      try {
        leases.push(await client.acquire(key, { ...options, waitMs, withinMs, signal }));
      } finally {
        end();
      }
    }
    closing.throwIfAborted();
    const all = new Leases(leases);
    all.assertHeld();
    return all;
  } catch (error) {
    await discardAll(clock, leases, Math.min(plan.requestTimeoutMs, budget.leftMs));
    throw error;
  } finally {
    stop();
  }
}

const discardEach = (leases: readonly Lease[]): Promise<boolean> => new Leases(leases).discard();

/** Discards leases. Waits for `ms` at most: the discarding goes on in the background, and a client that is closed waits for it. */
async function discardAll(clock: Clock, leases: readonly Lease[], ms: number): Promise<void> {
  if (leases.length === 0) return;
  const discarded = discardEach(leases);
  await limited(clock, () => discarded, ms, undefined).catch(() => {});
}

/** Tells the leases of several keys from one lease, also in plain JavaScript, which may give anything. */
export const areSeveral = (held: unknown): held is Leases =>
  typeof held === 'object' && held !== null && Symbol.iterator in held;

/** Options of one key that say nothing of several. */
export const OF_ONE_KEY: readonly string[] = ['once', 'onDone', 'permits', 'coalesce'];

/** @throws TypeError that says why, if an option of one key is given; and if an option is unknown. */
export function checkAllOptions(what: string, options: AcquireAllOptions): void {
  const other = OF_ONE_KEY.find((name) => Object.hasOwn(Object(options), name));
  if (other !== undefined) throw new TypeError(`${what} takes no ${other}: it belongs to one key.`);
  checkNames(what, options, ACQUIRE_ALL_OPTIONS);
}

/**
 * The keys in the order of their bytes in UTF-8, which is the same in every language and version.
 * @throws TypeError that shows the value, unless there are 2 to 25 different keys.
 */
export function orderedKeys(keys: readonly string[]): string[] {
  const { fewest, most } = KEYS;
  const kind = `an array of ${fewest} to ${most} different keys`;
  checkThat(Array.isArray(keys), 'keys', kind, keys);
  if (keys.length < fewest || keys.length > most) {
    throw new TypeError(`keys must be ${kind}, but there are ${keys.length}: ${shown(keys)}.`);
  }
  const inOrder = keys.map(checkKey).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const twice = inOrder.find((key, index) => key === inOrder[index + 1]);
  if (twice !== undefined) throw new TypeError(`keys must be ${kind}, but ${show(twice)} is there twice.`);
  return inOrder;
}

const shown = (keys: readonly unknown[]): string => keys.slice(0, 5).map(show).join(', ') || 'none';
