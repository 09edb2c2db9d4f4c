import { hostname } from 'node:os';
import { checkKey, checkText } from '../record/check.ts';
import {
  LockBusyError,
  LockDoneError,
  LockError,
  LockLostError,
  LockStoreError,
  type LostReason,
} from '../record/errors.ts';
import type { LockRecord } from '../record/record.ts';
import type { LockStore } from '../record/store.ts';
import { Acquisition, type Outcome } from './acquisition.ts';
import { type Clock, elapsedMs, instant, pause, systemClock } from './clock.ts';
import { discard, holderOf, type LeaseContext, type ReportedEvent, untilOpenMs } from './context.ts';
import { type LockEventListener, notify } from './events.ts';
import { Lease, type LeaseHandle, reasonOf } from './lease.ts';
import { newLockId } from './lock-id.ts';
import {
  type AcquireOptions,
  type AcquirePlan,
  dataOf,
  type LeaseTiming,
  planAcquire,
  remainingOf,
} from './options.ts';
import { isMisdated, judgedInstant, send } from './send.ts';
import { hasStepped, serverClockOf } from './server-clock.ts';

export interface LockClientOptions extends LeaseTiming {
  /** Where the locks live. */
  store: LockStore;
  /** Who holds its leases, for people to read. Default: on Lambda the function, version and log stream; elsewhere host and pid. */
  owner?: string | undefined;
  /** Told of everything that happens to its locks. What it throws or rejects with is ignored. */
  onEvent?: LockEventListener | undefined;
  /** Must not throw. Default: the process's own clocks. */
  clock?: Clock | undefined;
}

/** What an operator sees of a lock. */
export interface LockState extends Omit<LockRecord, 'data'> {
  /** Whether a grant is outstanding that has not expired. */
  readonly held: boolean;
  /** Milliseconds until others may take the lock, if its holder does not renew; 0: it is open. */
  readonly opensInMs: number;
  /** What its holder attached. */
  readonly data: unknown;
}

/** Takes, keeps and gives back locks. One client serves any number of keys and of invocations at once. */
export class LockClient {
  readonly #context: LeaseContext;
  readonly #defaults: AcquireOptions;
  readonly #pending = new Set<Promise<unknown>>();
  readonly #closing = new AbortController();
  #closed: Promise<void> | undefined;

  /** @throws TypeError when an option is not what it should be, with the value. */
  constructor(options: LockClientOptions) {
    const { store, onEvent, clock = systemClock, leaseMs, heartbeatMs, safetyMs } = options;
    if (typeof store?.acquire !== 'function') {
      throw new TypeError(`store must be a LockStore, such as a DynamoDBLockStore, but it is ${String(store)}.`);
    }
    this.#defaults = { leaseMs, heartbeatMs, safetyMs, owner: options.owner };
    this.#plan();
    const serverClock = serverClockOf(store, clock);
    const report = (event: ReportedEvent) => {
      const { skewMs } = serverClock;
      notify(onEvent, { ...event, at: clock.now(), ...(skewMs !== undefined && { skewMs }) });
    };
    this.#context = { store, clock, serverClock, leases: new Set(), closing: this.#closing.signal, report };
  }

  /** @internal The clock of every moment and pause of this client. */
  get clock(): Clock {
    return this.#context.clock;
  }

  /**
   * Takes the lock if it is free. One request.
   * @returns the lease, or null: busy, or done for this `once` (the event says which).
   * @throws LockStoreError when the store did not answer; what it may have granted is released.
   * @throws LockLostError when the answer came after the grant's own deadline.
   */
  async tryAcquire(key: string, options?: AcquireOptions): Promise<Lease | null> {
    const outcome = await this.#acquire(key, { ...options, waitMs: 0 });
    return outcome.is === 'granted' ? outcome.lease : null;
  }

  /**
   * Takes the lock, waiting up to `waitMs` for it.
   * @throws LockBusyError when somebody else held it all the while, LockDoneError when its `once` token is done,
   *   LockStoreError and LockLostError as `tryAcquire` does, and the reason of `options.signal` when that aborts.
   */
  async acquire(key: string, options?: AcquireOptions): Promise<Lease> {
    const outcome = await this.#acquire(key, options);
    if (outcome.is === 'granted') return outcome.lease;
    if (outcome.is === 'done') {
      throw new LockDoneError({ key, once: options?.once as string, doneToken: outcome.doneToken });
    }
    throw new LockBusyError({
      key,
      owner: holderOf(outcome.record),
      expiresAt: outcome.record.expiresAt,
      retryAfterMs: outcome.retryAfterMs,
      skewMs: this.#context.serverClock.skewMs,
    });
  }

  /**
   * Runs `work` under the lock and releases it afterwards; when the work succeeded, its `once` token is done. Work that
   * hands its lease off leaves the release and the token to the other process. Where the release fails, a `releaseFailed`
   * event says so, and nobody knows whether the token is done.
   * @example const total = await locks.using('import', { once: event.time }, (lease) => importAll(lease.signal));
   * @throws what `acquire` and `work` throw, and LockLostError when the work succeeded, but on a lease that was lost.
   * @throws LockError when the work succeeded, but released its lease itself without `done`: its `once` token is not done.
   */
  async using<Result>(
    key: string,
    options: AcquireOptions | undefined,
    work: (lease: Lease) => Promise<Result> | Result,
  ): Promise<Result> {
    const lease = await this.acquire(key, options);
    try {
      const result = await work(lease);
      await lease.finish();
      return result;
    } finally {
      // After `finish` nothing is left to do.
      await lease.release();
    }
  }

  /** What the store knows of a lock, strongly consistent; undefined when it knows nothing. */
  async inspect(key: string): Promise<LockState | undefined> {
    const { store } = this.#context;
    checkKey(key);
    const read = (signal: AbortSignal) => store.read(key, { consistent: true }, signal);
    const { record } = await send(this.#context, `Reading the lock '${key}'`, read);
    return record && this.#stateOf(record);
  }

  /**
   * Reads what the store knows of many locks, eventually consistent. Gives states by their keys, and none for a key that the
   * store does not know, nor for an item that leasehold did not write.
   * One request for each 100 keys, and more where the server, being throttled, leaves some out.
   * @param options.signal gives up, with its reason.
   */
  async inspectMany(
    keys: readonly string[],
    { signal }: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<Map<string, LockState>> {
    const { store, clock } = this.#context;
    const states = new Map<string, LockState>();
    let left = keys.map(checkKey);
    for (let pauseMs = 50; left.length > 0; ) {
      const batch = left.slice(0, 100);
      const read = (signal: AbortSignal) => store.readMany(batch, signal);
      const { records, unprocessed } = await send(this.#context, `Reading ${batch.length} locks`, read, { signal });
      for (const record of records) states.set(record.key, this.#stateOf(record));
      left = [...unprocessed, ...left.slice(batch.length)];
      if (unprocessed.length === 0) continue;
      await pause(clock, pauseMs * (0.5 + Math.random()), this.#closing.signal, signal);
      pauseMs = Math.min(pauseMs * 2, 2_000);
    }
    return states;
  }

  /** Every lock whose key starts with `prefix`; reads the whole table. */
  async *list(options: { readonly prefix?: string } = {}): AsyncIterable<LockState> {
    for await (const record of this.#context.store.list(options.prefix ?? '')) yield this.#stateOf(record);
  }

  /**
   * Ends somebody's lease; its holder learns of it at its next renewal. The lock opens when the holder's belief has
   * surely ended, at the expiry. With `immediately` it opens at once: the one way to have two holders at a time.
   * @param options.lockId the grant to end, as `inspect` shows it, so that no later one is ended by mistake.
   * @returns true when that grant is ended, also by its holder's own release just before; false when another, or none,
   *   stands in its place.
   */
  async forceRelease(
    key: string,
    options: { readonly lockId: string; readonly immediately?: boolean },
  ): Promise<boolean> {
    const { store } = this.#context;
    const lockId = checkText('lockId', options?.lockId);
    const request = { key: checkKey(key), lockId, immediately: options.immediately ?? false };
    const force = (signal: AbortSignal) => store.forceRelease(request, signal);
    const { applied, record } = await send(this.#context, `Force-releasing the lock '${key}'`, force);
    return applied || record?.releasedBy === lockId;
  }

  /**
   * Goes on with a lease that another process handed off. Of two resumes of one handle, one is refused.
   * @throws LockLostError when the lease is gone: resumed by another, expired and taken over, or released.
   * @throws LockStoreError when the store did not answer.
   */
  async resume(handle: LeaseHandle, options?: AcquireOptions): Promise<Lease> {
    if (handle === null || typeof handle !== 'object') {
      throw new TypeError(`The handle of a lease must be what handOff() gave, but it is ${String(handle)}.`);
    }
    return this.#track(() => this.#resume(handle, options));
  }

  /**
   * Refuses new leases, ends waits, and releases the leases it holds after aborting their signals. A second call ends
   * when the first one does.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#closing.abort(new LockError('This LockClient is closed; make a new one to take locks.'));
    const { leases } = this.#context;
    // A call that was under way may have made a lease since: that lease is ended too.
    while (leases.size + this.#pending.size > 0) {
      await Promise.allSettled([...[...leases].map((lease) => lease.close()), ...this.#pending]);
    }
  }

  async #acquire(key: string, options: AcquireOptions | undefined): Promise<Outcome> {
    checkKey(key);
    const plan = this.#plan(options);
    const acquisition = new Acquisition(this.#context, key, plan);
    const outcome = await this.#track(() => acquisition.run());
    const waitedMs = Math.round(acquisition.elapsedMs);
    if (outcome.is === 'granted') this.#reportAcquired(outcome.lease, plan, waitedMs);
    else if (outcome.is === 'done') {
      const { doneToken } = outcome;
      this.#context.report({ type: 'done', key, owner: plan.owner, once: plan.once ?? '', doneToken });
    } else {
      const { record, retryAfterMs } = outcome;
      const { fencingToken, expiresAt } = record;
      const owner = holderOf(record);
      this.#context.report({ type: 'busy', key, owner, fencingToken, expiresAt, retryAfterMs, waitedMs });
    }
    return outcome;
  }

  #reportAcquired({ key, owner, fencingToken, deadline, takenOverFrom }: Lease, plan: AcquirePlan, waitedMs: number) {
    const expiresAt = deadline + plan.safetyMs;
    const event = { type: 'acquired', key, owner, fencingToken, expiresAt, deadline, waitedMs } as const;
    this.#context.report(takenOverFrom ? { ...event, takenOverFrom } : event);
  }

  async #resume(handle: LeaseHandle, options: AcquireOptions | undefined): Promise<Lease> {
    const key = checkKey(handle.key);
    const handed = checkText('The lockId of a handle', handle.lockId);
    const plan = this.#plan({ ...options, once: handle.once, holdAtLeastMs: handle.holdAtLeastMs });
    const { clock, serverClock } = this.#context;
    const remainingMs = remainingOf(plan);
    const started = instant(clock);
    let grant = await this.#resumeOnce(key, handed, plan, remainingMs);
    const wasSet = grant && !grant.isJudged && hasStepped(grant.sent, instant(clock));
    if (!grant || wasSet || serverClock.disproves(grant.offsetMs, plan.safetyMs)) {
      // Refused for, or written by, a clock that the answer shows to be wrong: it is asked for once more (invariant 13).
      const leftMs = remainingMs - elapsedMs(started, instant(clock));
      const first = grant;
      grant = await this.#resumeOnce(key, first?.lockId ?? handed, plan, leftMs).catch(async (error) => {
        // Nobody has the first grant then, and the handle is used up.
        if (first) await discard(this.#context, { key, ...first }, plan.requestTimeoutMs);
        throw error;
      });
    }
    if (!grant) {
      const message = `Resuming '${key}': refused, for by this host's clock it would expire before it was acquired`;
      throw new LockStoreError(message, { transient: true });
    }
    const lease = new Lease(key, grant, { ...plan, data: grant.data }, this.#context);
    lease.assertHeld();
    this.#reportAcquired(lease, plan, 0);
    return lease;
  }

  /** Gives undefined where the handle is good, but this host's clock too far behind. */
  async #resumeOnce(key: string, handed: string, plan: AcquirePlan, remainingMs: number) {
    const { store, clock, serverClock, closing } = this.#context;
    const { leaseMs, safetyMs, requestTimeoutMs, owner, signal } = plan;
    const asked = instant(clock);
    const waiting = { requestTimeoutMs, withinMs: remainingMs, signal };
    const sent = await judgedInstant(this.#context, key, waiting, closing);
    const isJudged = serverClock.isJudged(sent);
    const { expiryOffsetMs: offsetMs, behindMs } = serverClock;
    const capMs = Math.min(plan.holdAtMostMs, remainingMs - elapsedMs(asked, sent));
    const believeMs = Math.min(leaseMs - safetyMs, capMs);
    const lost = (reason: LostReason, detail: string) => new LockLostError({ key, reason, detail });
    if (believeMs <= 0)
      throw lost('expired', `it would be resumed past its deadline: ${capMs} ms are left to hold it in`);
    const lockId = newLockId();
    const until = Math.ceil(sent.wall + offsetMs + believeMs + safetyMs);
    const resume = (signal: AbortSignal) => store.resume({ key, handed, lockId, owner, until, leaseMs }, signal);
    const undo = async (error: unknown) => {
      await discard(this.#context, { key, lockId, until }, requestTimeoutMs);
      throw error;
    };
    const limits = { requestTimeoutMs, withinMs: believeMs, since: sent, signal, throwMisdated: true };
    const answer = await send(this.#context, `Resuming '${key}'`, resume, limits).catch((error) =>
      isMisdated(error) ? undefined : undo(error),
    );
    if (answer === undefined) return undefined;
    const { record } = answer;
    if (record?.lockId === handed) return undefined;
    if (record?.lockId !== lockId) {
      throw lost(reasonOf(record), 'since it was handed off it was resumed, released, taken over or deleted');
    }
    if (closing.aborted) return undo(closing.reason);
    // Invariant 4: a grant whose answer comes after its deadline is no grant.
    const isLate = elapsedMs(sent, instant(clock)) >= believeMs;
    if (isLate) return undo(lost('expired', 'it was resumed after its own deadline'));
    const { fencingToken, acquiredAt, doneToken, data } = record;
    return {
      lockId,
      fencingToken,
      acquiredAt,
      doneToken,
      sent,
      isJudged,
      offsetMs,
      behindMs,
      until,
      believeMs,
      capMs,
      data,
    };
  }

  #plan(options: AcquireOptions = {}): AcquirePlan {
    const plan: Record<string, unknown> = { ...this.#defaults };
    // Asked now: a process that is started from a snapshot has a name of its own.
    plan.owner ??= defaultOwner();
    for (const [name, value] of Object.entries(options)) if (value !== undefined) plan[name] = value;
    return planAcquire(plan);
  }

  /** Lets `close` wait for what is under way. */
  async #track<Result>(start: () => Promise<Result>): Promise<Result> {
    this.#closing.signal.throwIfAborted();
    const pending = start();
    this.#pending.add(pending);
    try {
      return await pending;
    } finally {
      this.#pending.delete(pending);
    }
  }

  #stateOf({ data, ...record }: LockRecord): LockState {
    const opensInMs = untilOpenMs(this.#context, record);
    const held = record.lockId !== undefined && opensInMs > 0;
    return { ...record, held, opensInMs, data: dataOf(data) };
  }
}

function defaultOwner(): string {
  const { AWS_LAMBDA_FUNCTION_NAME: name, AWS_LAMBDA_FUNCTION_VERSION: version } = process.env;
  if (name === undefined) return `${hostname()}:${process.pid}`;
  return `${name}:${version} ${process.env.AWS_LAMBDA_LOG_STREAM_NAME ?? ''}`.trimEnd();
}
