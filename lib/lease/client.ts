// Over 250 lines: half of them document the public API.

import { hostname } from 'node:os';
import { checkDuration, checkKey, checkNames, show } from '../record/check.ts';
import { LockBusyError, LockClosedError, LockDoneError, LockStoreError } from '../record/errors.ts';
import { holderOf } from '../record/record.ts';
import type { LockStore } from '../record/store.ts';
import { shownToken } from '../record/token.ts';
import { Acquisition, type Busy } from './acquisition.ts';
import { discardUnwanted, type Grant } from './attempt.ts';
import { call } from './callback.ts';
import { type Clock, systemClock } from './clock.ts';
import type { LeaseContext } from './context.ts';
import { type LockEventListener, notify, type ReportedEvent } from './events.ts';
import { gateOf } from './gate.ts';
import { inspect, inspectMany, type ListOptions, type LockState, list } from './inspect.ts';
import { Lease, type LeaseHandle } from './lease.ts';
import { type ForceReleaseOptions, forceRelease, type RepairOptions, repair } from './operate.ts';
import {
  ACQUIRE_OPTIONS,
  type AcquireOptions,
  type AcquirePlan,
  LEASE_TIMING,
  type LeaseTiming,
  planAcquire,
  RESUME_OPTIONS,
  type ResumeOptions,
  TRY_ACQUIRE_OPTIONS,
  type TryAcquireOptions,
} from './options.ts';
import { resume } from './resume.ts';
import { limited } from './send.ts';
import { serverClockOf } from './server-clock.ts';

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
export interface LockClientOptions extends LeaseTiming {
  /** The place where the locks live. */
  store: LockStore;
  /**
   * The holder's name in the client's leases, for people to read. 1 to 1,024 bytes.
   * @default on Lambda the function, version and log stream; elsewhere host and pid
   */
  owner?: string | undefined;
  /**
   * Called for everything that happens to the client's locks. An error that the listener throws or rejects with is ignored.
   * @default none
   */
  onEvent?: LockEventListener | undefined;
  /**
   * The clock and the timers. Must not throw.
   * @default the process's own
   */
  clock?: Clock | undefined;
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
export class LockClient {
  readonly #context: LeaseContext;
  readonly #defaults: AcquireOptions;
  readonly #pending = new Set<Promise<unknown>>();
  readonly #closing = new AbortController();

  /** @throws TypeError that shows the value, if an option is unknown or invalid. */
  constructor(options: LockClientOptions) {
    checkNames('LockClient', options, CLIENT_OPTIONS);
    const { store, onEvent, clock = systemClock, leaseMs, heartbeatMs, safetyMs, owner } = options;
    if (typeof store?.acquire !== 'function') {
      throw new TypeError(`store must be a LockStore, such as a DynamoDBLockStore, but it is ${show(store)}.`);
    }
    if (onEvent !== undefined && typeof onEvent !== 'function') {
      throw new TypeError(`onEvent must be a function, but it is ${show(onEvent)}.`);
    }
    if (typeof clock?.monotonic !== 'function') {
      throw new TypeError(`clock must be a Clock, such as a FakeClock, but it is ${show(clock)}.`);
    }
    this.#defaults = { leaseMs, heartbeatMs, safetyMs, owner };
    this.plan({});
    const serverClock = serverClockOf(store, clock);
    const report = (event: ReportedEvent) => {
      const { skewMs } = serverClock;
      const told = { ...event, at: clock.now(), ...(skewMs !== undefined && { skewMs }) };
      notify(onEvent, told);
      if ('onEvent' in store) call(() => store.onEvent?.(told as never));
    };
    this.#context = {
      store,
      gate: gateOf(store),
      clock,
      serverClock,
      leases: new Set(),
      closing: this.closing,
      pending: this.#pending,
      report,
    };
  }

  /** @internal Aborts when the client is closed. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /** @internal The clock and the timers of everything that runs under this client's locks. */
  get clock(): Clock {
    return this.#context.clock;
  }

  /** @internal Checks options together with the defaults of this client's leases, and fills the defaults in. */
  plan(options: AcquireOptions): AcquirePlan {
    const plan: Record<string, unknown> = { ...this.#defaults };
    // Asked at each call: a process that is started from a snapshot has a name of its own.
    plan.owner ??= defaultOwner();
    for (const [name, value] of Object.entries(options)) {
      // A token that is given must be there: without a token the work would run every time.
      if (value !== undefined || name === 'once') plan[name] = value;
    }
    return planAcquire(plan);
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
    const outcome = await this.#acquire(key, options);
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
  acquire(key: string, options: AcquireOptions = {}): Promise<Lease> {
    return this.#take('acquire', key, options);
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
    const [options = {}, work] = parameters.length < 2 ? [{}, ...parameters] : parameters;
    if (typeof work !== 'function')
      throw new TypeError(`using takes (key, work) or (key, options, work), but the work is ${show(work)}.`);
    const lease = await this.#take('using', key, options as AcquireOptions);
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
    const lease = await this.#take('resetOnce', key, options);
    if (await lease.resetOnce()) return true;
    throw new LockStoreError(
      `Resetting the token of '${key}': nobody knows whether the release was applied. Try again.`,
      {
        transient: true,
      },
    );
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
    if (handle === null || typeof handle !== 'object') {
      throw new TypeError(`The handle of a lease must be what handOff() gave, but it is ${show(handle)}.`);
    }
    checkNames('resume', options, RESUME_OPTIONS);
    const { once, holdAtLeastMs } = handle;
    const plan = this.plan({ ...options, ...(once !== undefined && { once }), holdAtLeastMs });
    return this.#track(async () => {
      const grant = await resume(this.#context, handle, plan);
      const lease = this.#hold('Resuming', grant, plan, plan.holdAtLeastMs);
      const { key, owner, fencingToken, deadline } = lease;
      this.#context.report({ type: 'resumed', key, owner, fencingToken, expiresAt: grant.term.until, deadline });
      return lease;
    });
  }

  /**
   * Closes the client, for a process that is told to stop. Nothing is released under work that goes on (invariant 9):
   *
   * 1. New leases are refused, and waits end.
   * 2. The signal of each lease aborts with a `LockClosedError`. The lease is still held, and renewed.
   * 3. The work ends. What runs the work (`using`, `runTasks`, the middleware) then releases the lease. A lease from `acquire`
   *    is released by the code that acquired the lease.
   * 4. A lease whose work has not ended within `graceMs` is abandoned: it is not renewed any more, and its lock opens at the
   *    expiry.
   * @example
   * ```ts
   * import type { LockClient } from 'leasehold';
   *
   * // Amazon ECS sends SIGTERM, and kills the process 30 seconds later.
   * export const stopOnSignal = (locks: LockClient) =>
   *   process.once('SIGTERM', async () => {
   *     await locks.close({ graceMs: 20_000 });
   *     process.exit();
   *   });
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
    const { leases, clock } = this.#context;
    const ended = [...leases].map((lease) => lease.close(this.closing.reason, graceMs));
    // A call that is under way makes no lease any more, but may still discard a grant.
    const calls = async () => {
      while (this.#pending.size > 0) await Promise.allSettled(this.#pending);
    };
    await Promise.allSettled([...ended, limited(clock, calls, graceMs ?? Infinity, undefined)]);
  }

  async #take(what: string, key: string, options: AcquireOptions): Promise<Lease> {
    checkNames(what, options, ACQUIRE_OPTIONS);
    const outcome = await this.#acquire(key, options);
    if (outcome instanceof Lease) return outcome;
    const { record, retryAfterMs } = outcome;
    const { serverClock } = this.#context;
    const { skewMs } = serverClock;
    const { lockId, expiresAt, acquiredAt } = record;
    const heldMs = lockId === undefined ? undefined : serverClock.now(key) - acquiredAt;
    throw new LockBusyError({ key, owner: holderOf(record), expiresAt, retryAfterMs, skewMs, heldMs });
  }

  /** Acquires a lock, and reports the outcome. */
  async #acquire(key: string, options: AcquireOptions): Promise<Lease | Busy> {
    checkKey(key);
    const plan = this.plan(options);
    const acquisition = new Acquisition(this.#context, key, plan);
    const { report } = this.#context;
    return this.#track(async () => {
      const outcome = await acquisition.run();
      const waitedMs = Math.round(acquisition.elapsedMs);
      if (outcome.type === 'granted') return this.#granted(outcome.grant, plan, waitedMs);
      if (outcome.type === 'done') {
        const doneToken = shownToken(outcome.doneToken);
        const once = shownToken(plan.once as string);
        report({ type: 'done', key, owner: plan.owner, once, doneToken });
        throw new LockDoneError({ key, once, doneToken });
      }
      const { record, retryAfterMs } = outcome;
      const { fencingToken, expiresAt } = record;
      report({ type: 'busy', key, owner: holderOf(record), fencingToken, expiresAt, retryAfterMs, waitedMs });
      return outcome;
    });
  }

  #granted(grant: Grant, plan: AcquirePlan, waitedMs: number): Lease {
    const { term, record } = grant;
    // A release counts from `acquiredAt`, the earliest moment of the grant, and `holdAtLeastMs` from the latest. The two
    // moments differ if this host's clock is known to be wrong.
    const holdAtLeastMs = plan.holdAtLeastMs && term.closedUntil - record.acquiredAt;
    const lease = this.#hold('Acquiring', grant, { ...plan, holdAtLeastMs });
    const { key, owner, fencingToken, deadline, takenOverFrom } = lease;
    const times = { expiresAt: term.until, deadline, waitedMs };
    this.#context.report({
      type: 'acquired',
      key,
      owner,
      fencingToken,
      ...times,
      ...(takenOverFrom && { takenOverFrom }),
    });
    return lease;
  }

  #hold(what: string, grant: Grant, plan: AcquirePlan, discardHoldMs = 0): Lease {
    // The client may have been closed since the grant was judged. From here on, `close` knows the lease.
    if (this.closing.aborted) discardUnwanted(this.#context, { what, plan, discardHoldMs }, grant);
    const lease = new Lease(this.#context, plan, grant);
    lease.start();
    return lease;
  }

  /** Lets `close` wait for the calls that are under way. */
  async #track<Result>(start: () => Promise<Result>): Promise<Result> {
    this.closing.throwIfAborted();
    const pending = start();
    this.#pending.add(pending);
    try {
      return await pending;
    } finally {
      this.#pending.delete(pending);
    }
  }
}

function defaultOwner(): string {
  const { AWS_LAMBDA_FUNCTION_NAME: name, AWS_LAMBDA_FUNCTION_VERSION: version } = process.env;
  if (name === undefined) return `${hostname()}:${process.pid}`;
  return `${name}:${version} ${process.env.AWS_LAMBDA_LOG_STREAM_NAME ?? ''}`.trimEnd();
}
