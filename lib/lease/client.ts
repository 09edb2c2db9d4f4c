// Over 250 lines: half of them document the public API.

import { checkDuration, checkKey, checkNames, checkThat } from '../record/check.ts';
import { LockClosedError, LockStoreError } from '../record/errors.ts';
import type { LockStore, StoreProblem } from '../record/store.ts';
import { type Clock, systemClock } from './clock.ts';
import { type Coalesced, type CoalesceOptions, coalesce, coalescingOf } from './coalesce.ts';
import type { OperatorContext } from './context.ts';
import { check, inspect, inspectMany, type ListOptions, type LockState, list } from './inspect.ts';
import { type Candidate, lead } from './lead.ts';
import type { LeaderWork, LeadOptions } from './lead-options.ts';
import { type Leader, type LeaderOptions, Leaders } from './leader.ts';
import { Lease, type LeaseHandle } from './lease.ts';
import { LeaseClient, type LeaseClientOptions } from './lease-client.ts';
import { acquireAll, checkAllOptions, type Leases } from './leases.ts';
import { type ForceReleaseOptions, forceRelease, type RepairOptions, repair } from './operate.ts';
import {
  ACQUIRE_OPTIONS,
  type AcquireAllOptions,
  type AcquireOptions,
  LEASE_TIMING,
  RESUME_OPTIONS,
  type ResumeOptions,
  TRY_ACQUIRE_OPTIONS,
  type TryAcquireOptions,
} from './options.ts';
import { resume } from './resume.ts';
import { limited } from './send.ts';
import { storeInTests } from './store-in-tests.ts';
import { optionsAndWork } from './work.ts';

/**
 * The options of a client. The times are defaults of its leases.
 * @example
 * ```ts
 * import type { LockClientOptions } from 'leasehold';
 * import { DynamoDBLockStore } from 'leasehold/dynamodb';
 *
 * export const options: LockClientOptions = {
 *   store: new DynamoDBLockStore({ tableName: 'locks' }),
 *   leaseMs: 60_000,
 *   onEvent: ({ type, key }) => console.log(type, key),
 * };
 * ```
 */
export interface LockClientOptions extends LeaseClientOptions {
  /** The place where the locks live. */
  store: LockStore;
}

const CLIENT_OPTIONS = { ...LEASE_TIMING, store: 0, owner: 0, onEvent: 0, clock: 0 } satisfies Record<
  keyof LockClientOptions,
  0
>;

/**
 * Acquires, renews and releases locks. One client serves any number of keys, and many invocations at the same time.
 * @example
 * ```ts
 * import { LockClient } from 'leasehold';
 * import { DynamoDBLockStore } from 'leasehold/dynamodb';
 *
 * export const locks = new LockClient({ store: new DynamoDBLockStore({ tableName: 'locks' }) });
 * ```
 */
export class LockClient extends LeaseClient {
  readonly #context: OperatorContext;
  readonly #closing: AbortController;
  readonly #leaders: Leaders;

  /** @throws TypeError that shows the value, if an option is unknown or invalid. */
  constructor(options: LockClientOptions) {
    checkNames('LockClient', options, CLIENT_OPTIONS);
    const { store, clock = systemClock } = options;
    checkThat(typeof store?.acquire === 'function', 'store', 'a LockStore, such as a DynamoDBLockStore', store);
    checkThat(typeof clock?.monotonic === 'function', 'clock', 'a Clock, such as a FakeClock', clock);
    const closing = new AbortController();
    super(options, closing.signal);
    this.#closing = closing;
    this.#context = { ...this.context, store: storeInTests(store) };
    this.#leaders = new Leaders(this.#context);
  }

  /** @internal Aborts when the client is closed. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /** @internal The clock and the timers of everything that runs under this client's locks. */
  get clock(): Clock {
    return this.#context.clock;
  }

  /**
   * Acquires the lock if it is free: one request, and no wait.
   * @example
   * ```ts
   * import type { LockClient } from 'leasehold';
   *
   * export async function report(locks: LockClient) {
   *   await using lease = await locks.tryAcquire('report');
   *   if (lease === null) return; // another host makes the report
   *   await fetch('https://example.com/report', { method: 'POST', signal: lease.signal });
   * }
   * ```
   * @returns the lease, or null if the lock is busy.
   * @throws LockDoneError if the `once` token is done.
   * @throws LockTokenError if a token of another form is done, so that nobody can tell whether this token is.
   * @throws LockNoTimeError if the invocation is about to end, or if the answer came after the lease's own deadline.
   * @throws LockStoreError if the store did not answer. A lease that the store may have granted is released.
   * @throws LockClosedError if the client is closed; and the reason of `options.signal`, if that signal aborts.
   */
  async tryAcquire(key: string, options: TryAcquireOptions = {}): Promise<Lease | null> {
    checkNames('tryAcquire', options, TRY_ACQUIRE_OPTIONS);
    const outcome = await this.ask(key, options);
    return outcome instanceof Lease ? outcome : null;
  }

  /**
   * Acquires the lock. Waits up to `waitMs` while the lock is busy.
   * @example
   * ```ts
   * import type { LockClient } from 'leasehold';
   *
   * export async function report(locks: LockClient) {
   *   await using lease = await locks.acquire('report', { waitMs: 5_000 });
   *   await fetch('https://example.com/report', { method: 'POST', signal: lease.signal });
   * }
   * ```
   * @throws LockBusyError if the lock is still busy after `waitMs`.
   * @throws LockDoneError, LockTokenError, LockNoTimeError, LockStoreError, LockClosedError and the reason of
   *   `options.signal`, as `tryAcquire` does.
   */
  override async acquire(key: string, options: AcquireOptions = {}): Promise<Lease> {
    checkNames('acquire', options, ACQUIRE_OPTIONS);
    return super.acquire(key, options);
  }

  /**
   * Runs `work` under the lock, and releases the lease afterwards. If the work succeeds, its `once` token is done.
   *
   * - Work that hands its lease off leaves the release and the token to the other process.
   * - If the release fails, a `releaseFailed` event says so. Then nobody knows whether the token is done.
   * @example
   * ```ts
   * import type { LockClient } from 'leasehold';
   *
   * export const nightly = (locks: LockClient, time: string) =>
   *   locks.using('import', { once: time }, async ({ signal }) => {
   *     await fetch('https://example.com/import', { method: 'POST', signal });
   *   });
   * ```
   * @throws the errors of `acquire` and of `work`.
   * @throws LockLostError if the work succeeded, but on a lease that was lost.
   * @throws LockError if the work succeeded, but released its lease without `done`. Its `once` token is not done.
   */
  using<Result>(key: string, work: (lease: Lease) => Promise<Result> | Result): Promise<Result>;
  using<Result>(
    key: string,
    options: AcquireOptions | undefined,
    work: (lease: Lease) => Promise<Result> | Result,
  ): Promise<Result>;
  async using<Result>(key: string, ...parameters: [unknown, unknown?]): Promise<Result> {
    const [options, work] = optionsAndWork<AcquireOptions, (lease: Lease) => Result>('using', 'key', parameters);
    checkNames('using', options, ACQUIRE_OPTIONS);
    const lease = await super.acquire(key, options);
    try {
      const result = await work(lease);
      await lease.finish();
      return result;
    } finally {
      // After `finish` nothing is left to do.
      await lease.release();
    }
  }

  /**
   * Runs `work` so that a run begins after this call. If the lock is free, this call runs. If a run is under way, exactly one
   * more run begins after that run, however many callers ask meanwhile, and this call returns at once: it is covered.
   *
   * Whoever is covered has, at every moment, either a run that began after the call and succeeded, or a run that is owed, as
   * the record says. A holder that dies leaves a run owed: the next call makes the run, or a schedule with `onlyIfOwed`.
   *
   * - The work must look at the world anew in each run, and not at the event of its caller alone.
   * - A covered caller gets its answer before the work is done.
   * - An error of the work is thrown, and leaves the run owed. So does work that releases its lease or hands it off.
   * @example
   * ```ts
   * import type { Lease, LockClient } from 'leasehold';
   *
   * declare function refreshCache(lease: Lease): Promise<void>;
   *
   * export async function onChange(locks: LockClient) {
   *   const { owed } = await locks.coalesce('cache', refreshCache);
   *   if (owed) throw new Error('Deliver the event again.');
   * }
   * ```
   * @returns the number of runs that this call made; and true in `covered` if another holder runs for this call, and in `owed`
   *   if a run is owed that this call did not make.
   * @throws the error of `work`.
   * @throws LockBusyError if a holder that does not coalesce has the lock, or if the lock is closed, after `waitMs`.
   * @throws LockLostError if the lease was lost. Nothing counts as served.
   * @throws LockNoTimeError, LockStoreError, LockClosedError and the reason of `options.signal`, as `tryAcquire` does.
   * @throws TypeError that shows the value, if an option is unknown or invalid, or cannot stand beside coalescing: `once`,
   *   `holdAtLeastMs`, `permits`.
   */
  coalesce(key: string, work: (lease: Lease) => unknown): Promise<Coalesced>;
  coalesce(key: string, options: CoalesceOptions | undefined, work: (lease: Lease) => unknown): Promise<Coalesced>;
  async coalesce(key: string, ...parameters: [unknown, unknown?]): Promise<Coalesced> {
    type Work = (lease: Lease) => unknown;
    const [options, work] = optionsAndWork<CoalesceOptions, Work>('coalesce', 'key', parameters);
    return coalesce(this, checkKey(key), coalescingOf('coalesce', options), work);
  }

  /**
   * Acquires all locks, or none. Takes one after the other, in the order of the bytes of their keys, and holds what it has
   * while it waits for the next. So no two calls wait for each other for ever. Takes one round trip for each key.
   *
   * Never take a second set of locks while you hold a first.
   * @example
   * ```ts
   * import type { LockClient } from 'leasehold';
   *
   * export async function transfer(locks: LockClient, from: string, to: string) {
   *   await using leases = await locks.acquireAll([`account/${from}`, `account/${to}`], { waitMs: 5_000 });
   *   await fetch('https://example.com/transfer', { method: 'POST', signal: leases.signal });
   * }
   * ```
   * @param keys 2 to 25 different keys, in any order.
   * @throws TypeError that shows the value, if the keys are too few, too many or not different, or with `once`.
   * @throws LockBusyError of the first lock that is still busy after `waitMs`. All leases are released.
   * @throws LockLostError if a lease was lost while the call waited for another lock. All leases are released.
   * @throws LockNoTimeError, LockStoreError, LockClosedError and the reason of `options.signal`, as `acquire` does. All
   *   leases are released.
   */
  async acquireAll(keys: readonly string[], options: AcquireAllOptions = {}): Promise<Leases> {
    checkAllOptions('acquireAll', options);
    return acquireAll(this, keys, options);
  }

  /**
   * Runs `work` under all the locks, and releases the leases afterwards.
   * @example
   * ```ts
   * import type { LockClient } from 'leasehold';
   *
   * export const transfer = (locks: LockClient, from: string, to: string) =>
   *   locks.usingAll([from, to], { waitMs: 5_000 }, async (leases) => {
   *     await fetch('https://example.com/transfer', { method: 'POST', signal: leases.signal });
   *   });
   * ```
   * @throws the errors of `acquireAll` and of `work`.
   * @throws LockLostError if the work succeeded, but one of the leases was lost.
   */
  usingAll<Result>(keys: readonly string[], work: (leases: Leases) => Promise<Result> | Result): Promise<Result>;
  usingAll<Result>(
    keys: readonly string[],
    options: AcquireAllOptions | undefined,
    work: (leases: Leases) => Promise<Result> | Result,
  ): Promise<Result>;
  async usingAll<Result>(keys: readonly string[], ...parameters: [unknown, unknown?]): Promise<Result> {
    type Work = (leases: Leases) => Result;
    const [options, work] = optionsAndWork<AcquireAllOptions, Work>('usingAll', 'keys', parameters);
    checkAllOptions('usingAll', options);
    const leases = await acquireAll(this, keys, options);
    try {
      const result = await work(leases);
      await leases.release();
      if (leases.loss) throw leases.loss;
      return result;
    } finally {
      // After a success nothing is left to do.
      await leases.release();
    }
  }

  /**
   * Makes this process a candidate: whenever it has the lock, it leads, that is, runs `work`. For processes that run on, as on
   * ECS, EC2 and Kubernetes. For work that never ends by itself, which one process at a time is to do.
   *
   * 1. It campaigns: waits for the lock, with a look every `pollMs`.
   * 2. It leads: `work` runs until it returns or throws. The signal aborts with a `LockLostError` if the lease is lost, with a
   *    `LockClosedError` if the client is closed, and with a `LockError` after `stop()` or `resign()`.
   * 3. When the work has ended, the lease is released. After a loss, the candidate waits for the work, too.
   * 4. It rests: for `restMs` after work that returned, for `backOffMs` after work that failed. Then it campaigns again.
   * @example
   * ```ts
   * import type { LockClient } from 'leasehold';
   *
   * export function start(locks: LockClient, tick: (token: number) => Promise<void>) {
   *   const candidate = locks.lead('scheduler', async (lease, signal) => {
   *     while (!signal.aborted) await tick(lease.fencingToken);
   *   });
   *   for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => candidate.stop());
   *   return candidate.finished;
   * }
   * ```
   * @throws TypeError that shows the value, if an option is unknown or invalid.
   * @throws LockError on Lambda, which freezes a process between its invocations.
   * @throws LockClosedError if the client is closed.
   */
  lead(key: string, work: LeaderWork): Candidate;
  lead(key: string, options: LeadOptions | undefined, work: LeaderWork): Candidate;
  lead(key: string, ...parameters: [unknown, unknown?]): Candidate {
    const [options, work] = optionsAndWork<LeadOptions, LeaderWork>('lead', 'key', parameters);
    return lead(this, key, options, work);
  }

  /**
   * Tells who leads, or who holds a lock, by an eventually consistent read that is at most `maxAgeMs` old.
   * @example
   * ```ts
   * import type { LockClient } from 'leasehold';
   *
   * export const urlOfLeader = async (locks: LockClient) =>
   *   ((await locks.leader('scheduler'))?.data as { url: string } | undefined)?.url;
   * ```
   * @returns the leader, without the secrets of its lease: an endpoint may give the answer to anybody who may see `data`.
   *   Undefined if nobody leads. A leader that has died is named until its lease expires.
   * @throws LockStoreError if the store did not answer.
   */
  leader(key: string, options: LeaderOptions = {}): Promise<Leader | undefined> {
    return this.#leaders.of(key, options);
  }

  /**
   * Reads the state of a lock, strongly consistent.
   * @example
   * ```ts
   * import type { LockClient } from 'leasehold';
   *
   * export async function holderOf(locks: LockClient, key: string) {
   *   const state = await locks.inspect(key);
   *   return state?.held ? state.owner : undefined;
   * }
   * ```
   * @returns the state, or undefined if there is no record of the lock.
   * @throws LockStoreError if the store did not answer.
   */
  inspect(key: string): Promise<LockState | undefined> {
    return inspect(this.#context, key);
  }

  /**
   * Reads the states of many locks, eventually consistent. Sends one request for each 100 keys, and further requests for
   * keys that a throttled server leaves out.
   * @example
   * ```ts
   * import type { LockClient } from 'leasehold';
   *
   * export const statesOf = (locks: LockClient, customers: string[]) =>
   *   locks.inspectMany(customers.map((customer) => `invoices/${customer}`));
   * ```
   * @param options.signal ends the reading, with the signal's reason. Default: none.
   * @returns the states by their keys. A key without a record has no state, nor has an item that leasehold did not write.
   * @throws LockStoreError if the store did not answer.
   */
  inspectMany(
    keys: readonly string[],
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<Map<string, LockState>> {
    return inspectMany(this.#context, keys, options);
  }

  /**
   * Gives the state of every lock whose key starts with `prefix`. Reads the whole table, page by page: each page has a
   * time-out of five seconds, and is read again after a fault that may pass.
   * @example
   * ```ts
   * import type { LockClient } from 'leasehold';
   *
   * export async function print(locks: LockClient) {
   *   for await (const { key, held } of locks.list({ prefix: 'invoices/' })) console.log(key, held);
   * }
   * ```
   * @throws LockStoreError if the store did not answer.
   * @throws LockClosedError if the client is closed; and the reason of `options.signal`, if that signal aborts.
   */
  list(options: ListOptions = {}): AsyncIterable<LockState> {
    return list(this.#context, options);
  }

  /**
   * Ends another holder's lease. The holder learns of this at its next renewal. The lock opens at the expiry, when the
   * holder's belief has ended for certain. With `immediately` the lock opens at once, also if the grant has ended before and
   * the lock is closed still: then two holders may run at a time.
   * @example
   * ```ts
   * import type { LockClient } from 'leasehold';
   *
   * export async function evict(locks: LockClient, key: string) {
   *   const state = await locks.inspect(key);
   *   if (state?.lockId) await locks.forceRelease(key, { lockId: state.lockId });
   * }
   * ```
   * @returns true if the grant is ended, also if its holder released the lease just before. False if another grant, or none,
   *   stands in the record.
   * @throws LockStoreError if the store did not answer.
   */
  forceRelease(key: string, options: ForceReleaseOptions): Promise<boolean> {
    return forceRelease(this.#context, key, options);
  }

  /**
   * Opens a lock that nobody holds and that is closed all the same: by a forced release, by `holdAtLeastMs`, or by a clock
   * that was wrong. Sets the fencing token, too. The holder of a lease that was force-released may still believe until the
   * expiry: then two holders may run at a time.
   *
   * Also mends a record that somebody has damaged. Such a repair ends the grant, and the lock opens at its expiry, or with
   * `immediately` at once.
   * @example
   * ```ts
   * import type { LockClient } from 'leasehold';
   *
   * export async function open(locks: LockClient, key: string) {
   *   const seen = await locks.inspect(key);
   *   if (seen !== undefined && !seen.held && seen.opensInMs > 0) await locks.repair(key, { seen });
   * }
   * ```
   * @returns true if the lock is repaired. False if a grant stands in a whole record, if the record is no longer as it was seen,
   *   or if there is no record.
   * @throws LockStoreError if the store did not answer.
   */
  repair(key: string, options: RepairOptions): Promise<boolean> {
    return repair(this.#context, key, options);
  }

  /**
   * Forgets the greatest finished `once` token of a lock: the next token that comes is granted, whatever its form, and work
   * that was done may be done once more. Takes the lock and releases the lock, so that no holder can finish a token
   * meanwhile.
   * @example
   * ```ts
   * import type { LockClient } from 'leasehold';
   *
   * export const forget = (locks: LockClient) => locks.resetOnce('nightly', { waitMs: 60_000 });
   * ```
   * @param options.waitMs the longest wait for a busy lock, in milliseconds. Default: 0, no wait.
   * @returns true if a token was there and is forgotten. False if no token was there.
   * @throws LockBusyError if the lock is busy. Its holder may finish a token at its release.
   * @throws LockNoTimeError, LockStoreError, LockClosedError, as `tryAcquire` does.
   */
  async resetOnce(key: string, options: { readonly waitMs?: number | undefined } = {}): Promise<boolean> {
    checkNames('resetOnce', options, { waitMs: 0 });
    const state = await this.inspect(key);
    // A lock without a record is not made by a key that is misspelled.
    if (state?.doneToken === undefined && state?.flaw === undefined) return false;
    const lease = await super.acquire(key, options);
    if (await lease.releasePart('')) return true;
    throw new LockStoreError(
      `Resetting the token of '${key}': nobody knows whether the release was applied. Try again.`,
      {
        transient: true,
      },
    );
  }

  /**
   * Checks the place where the locks live: a server that may delete records, a bucket whose old versions pile up, a missing
   * permission. For a deployment's test, or the start of a long-lived process.
   * @example
   * ```ts
   * import type { LockClient } from 'leasehold';
   *
   * export async function assertSafe(locks: LockClient) {
   *   const errors = (await locks.check()).filter(({ severity }) => severity === 'error');
   *   if (errors.length > 0) throw new Error(errors.map(({ message }) => message).join(' '));
   * }
   * ```
   * @returns the findings, each of which says what to do. None if all is well, or if the store checks nothing.
   * @throws LockStoreError if the store did not answer.
   */
  check(): Promise<readonly StoreProblem[]> {
    return check(this.#context);
  }

  /**
   * Continues a lease that another process handed off. Of two resumes of one handle, one is refused.
   * @example
   * ```ts
   * import type { LeaseHandle, LockClient } from 'leasehold';
   *
   * export async function step(locks: LockClient, handle: LeaseHandle, remainingMs: () => number) {
   *   await using lease = await locks.resume(handle, { remainingMs });
   *   await fetch('https://example.com/step', { method: 'POST', signal: lease.signal });
   *   await lease.finish();
   * }
   * ```
   * @throws LockLostError if another process has resumed the lease, or if the lease was taken over, released or deleted.
   * @throws LockNoTimeError, LockStoreError, LockClosedError and the reason of `options.signal`, as `tryAcquire` does.
   */
  async resume(handle: LeaseHandle, options: ResumeOptions = {}): Promise<Lease> {
    const isHandle = handle !== null && typeof handle === 'object';
    checkThat(isHandle, 'The handle of a lease', 'what handOff() gave', handle);
    checkNames('resume', options, RESUME_OPTIONS);
    const { once, holdAtLeastMs } = handle;
    const plan = this.plan({ ...options, ...(once !== undefined && { once }), holdAtLeastMs });
    return this.track(async () => {
      const grant = await resume(this.#context, handle, plan);
      const { key, slot } = handle;
      const lease = this.hold('Resuming', grant, plan, { key, slot }, plan.holdAtLeastMs);
      const { owner, fencingToken, deadline } = lease;
      const ofSlot = slot !== undefined && { slot };
      this.#context.report({
        type: 'resumed',
        key,
        ...ofSlot,
        owner,
        fencingToken,
        expiresAt: grant.term.until,
        deadline,
      });
      return lease;
    });
  }

  /**
   * Closes the client, for a process that is told to stop. Nothing is released under work that goes on (invariant 9):
   *
   * 1. New leases are refused, and waits end.
   * 2. The signal of each lease aborts with a `LockClosedError`. The lease is still held, and renewed.
   * 3. The work ends. What runs the work (`using`, `lead`, `runTasks`, the middleware) then releases the lease. A lease from `acquire`
   *    is released by the code that acquired the lease.
   * 4. A lease whose work has not ended within `graceMs` is abandoned: it is not renewed any more, and its lock opens at the
   *    expiry.
   * @example
   * ```ts
   * import type { LockClient } from 'leasehold';
   *
   * // Amazon ECS sends SIGTERM, and kills the process 30 seconds later. Ctrl-C sends SIGINT.
   * export function stopOnSignal(locks: LockClient) {
   *   for (const signal of ['SIGTERM', 'SIGINT'] as const) {
   *     process.on(signal, async () => {
   *       await locks.close({ graceMs: 20_000 });
   *       process.exit();
   *     });
   *   }
   * }
   * ```
   * Do not await `close()` in work that runs under one of the leases: the close waits for this work.
   * @param options.graceMs the milliseconds for the work to end. 0 abandons at once, and `Infinity` waits for as long as the
   *   work takes. Default: for each lease, the time until its deadline at the call.
   * @returns a promise that settles when every lease has ended, or when `graceMs` is over. Never rejects because of a lease.
   */
  async close(options: { readonly graceMs?: number | undefined } = {}): Promise<void> {
    checkNames('close', options, { graceMs: 0 });
    const { graceMs } = options;
    if (graceMs !== undefined) checkDuration('graceMs', graceMs, 0, true);
    if (!this.closing.aborted) this.#closing.abort(new LockClosedError());
    const { leases, clock, pending } = this.#context;
    const ended = [...leases].map((lease) => lease.close(this.closing.reason, graceMs));
    // A call that is under way makes no lease any more, but may still discard a grant.
    const calls = async () => {
      while (pending.size > 0) await Promise.allSettled(pending);
    };
    await Promise.allSettled([...ended, limited(clock, calls, graceMs ?? Infinity, undefined)]);
  }
}
