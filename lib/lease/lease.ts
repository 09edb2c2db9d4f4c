import { show } from '../record/check.ts';
import { LockError, LockLostError, LockStoreError, type LostReason } from '../record/errors.ts';
import type { LockRecord } from '../record/record.ts';
import { isDone } from '../record/record.ts';
import type { LockStore, StoreAnswer } from '../record/store.ts';
import { backgroundTimer, elapsedMs, type Instant, instant } from './clock.ts';
import type { LeaseContext, ReportedEvent } from './context.ts';
import { type AcquirePlan, checkLeaseMs, dataOf, leavingOf } from './options.ts';
import { isMisdated, judgedInstant, send } from './send.ts';
import { hasStepped } from './server-clock.ts';

/** What a lease handed off to another process needs there. It is the secret: who has it has the lease. */
export interface LeaseHandle {
  readonly key: string;
  readonly lockId: string;
  readonly fencingToken: number;
  readonly once?: string;
  readonly holdAtLeastMs?: number;
}

/** A grant as the store confirmed it. */
export interface Grant {
  readonly lockId: string;
  readonly fencingToken: number;
  readonly acquiredAt: number;
  /** The greatest `once` token that had finished. */
  readonly doneToken?: string | undefined;
  readonly takenOverFrom?: { readonly owner: string; readonly expiredAt: number } | undefined;
  /** When the request was sent: from here the holder's clock runs (invariant 4). */
  readonly sent: Instant;
  /** By how much this host's clock could be behind when it was sent. */
  readonly behindMs: number;
  /** What was written as its expiry. */
  readonly until: number;
  /** For how long, from `sent`, it may be believed; and at the most, however often it is renewed. */
  readonly believeMs: number;
  readonly capMs: number;
}

/** One request to renew, as it was sent, and its answer. */
interface Renewal {
  readonly since: Instant;
  readonly forMs: number;
  /** Milliseconds that were added to this host's clock for the expiry that was written. */
  readonly offsetMs: number;
  /** By how much this host's clock could be behind, as far as was known. */
  readonly behindMs: number;
  readonly until: number;
  readonly answer: StoreAnswer;
}

/** `held` until one of the others; from those there is no way back (invariant 7), whatever the store answers. */
type LeaseState = 'held' | 'lost' | 'released' | 'handedOff';

const LOST_DETAIL: Record<LostReason, string> = {
  expired: 'its deadline has passed',
  takenOver: 'another grant stands in its place',
  revoked: 'it was force-released',
  gone: 'its record was deleted',
  released: 'it was released',
  handedOff: 'it was handed off',
  closed: 'its client was closed',
  timedOut: 'its invocation timed out',
  abandoned: 'it was given up, for its work may go on',
};

interface ReleaseOptions {
  readonly done?: boolean | string;
  readonly withinMs?: number;
}

/**
 * Milliseconds of an invocation's time that a release leaves to the response: work that succeeded, and whose response comes
 * too late, is done again. Longer: less time to try the release in, and a lock that stays closed when the store is slow.
 */
const RESPONSE_MS = 200;

/**
 * For how long a release may be tried, in milliseconds. Without a bound where the invocation's time is over and its code
 * goes on all the same, as where invocations share a process: then nothing is left that a release could spoil.
 */
export const releaseMsOf = (remainingMs: (() => unknown) | undefined): number =>
  leavingOf(remainingMs, RESPONSE_MS) || Number.POSITIVE_INFINITY;

/** Between two tries of a renewal that failed: the first, and at the most. */
const RETRY_MS = { first: 50, most: 2_000 };

/** A lock that is held, and is renewed in the background until it is released or lost. */
export class Lease {
  readonly key: string;
  readonly owner: string;
  /** Grows with every grant of the key, for ever: a resource that remembers the highest one refuses a late holder. */
  readonly fencingToken: number;
  /** When it was granted, by the clock that the record was written with: milliseconds since the epoch. */
  readonly acquiredAt: number;
  /** Whose lease it took over: one that expired without having been released. */
  readonly takenOverFrom: { readonly owner: string; readonly expiredAt: number } | undefined;
  /** What was attached to it. */
  readonly data: unknown;

  readonly #lockId: string;
  readonly #context: LeaseContext;
  readonly #plan: AcquirePlan;
  readonly #grant: Grant;
  readonly #lost = new AbortController();

  #state: LeaseState = 'held';
  /** Belief: until `forMs` after `since`, by the larger of two clocks. Set by the grant and by each renewal. */
  #since: Instant;
  #forMs = 0;
  /** The expiry that was last written. */
  #until = 0;
  #deadlineTimer: unknown;
  #heartbeatTimer: unknown;
  #failures = 0;
  #renewing: { readonly done: Promise<void>; readonly cancel: AbortController } | undefined;
  #releasing: Promise<boolean> | undefined;
  #releasedAsDone = false;

  constructor(key: string, grant: Grant, plan: AcquirePlan, context: LeaseContext) {
    this.key = key;
    this.owner = plan.owner;
    this.fencingToken = grant.fencingToken;
    this.acquiredAt = grant.acquiredAt;
    this.takenOverFrom = grant.takenOverFrom;
    this.data = dataOf(plan.data);
    this.#lockId = grant.lockId;
    this.#context = context;
    this.#plan = plan;
    this.#grant = grant;
    this.#since = grant.sent;
    context.leases.add(this);
    this.#believe(grant.sent, grant.believeMs, grant.until, grant.behindMs);
  }

  /** The secret id of this grant. Not to be logged. */
  get lockId(): string {
    return this.#lockId;
  }

  /** The store that this lease lives in. */
  get store(): LockStore {
    return this.#context.store;
  }

  /** The greatest `once` token that had finished when the lease was granted; undefined if none had. */
  get doneToken(): string | undefined {
    return this.#grant.doneToken;
  }

  /** The moment after which the lease must not be believed, by this host's clock: milliseconds since the epoch. */
  get deadline(): number {
    return this.#since.wall + this.#forMs;
  }

  /**
   * Aborts, with a `LockLostError`, when the lease is lost: at its deadline at the latest. A release does not abort it. What a
   * listener throws ends the process, as with every `AbortSignal`.
   */
  get signal(): AbortSignal {
    this.isHeld();
    return this.#lost.signal;
  }

  /** Whether the lease is held at this very moment. Invariant 5: asks both clocks, and no timer. */
  isHeld(): boolean {
    if (this.#state === 'held' && this.#leftMs() <= 0) this.#lose('expired');
    return this.#state === 'held';
  }

  /** @throws LockLostError when the lease is not held, with the reason. */
  assertHeld(): void {
    if (this.isHeld()) return;
    if (this.#state === 'lost') throw this.#lost.signal.reason;
    throw this.#lostError(this.#state === 'handedOff' ? 'handedOff' : 'released');
  }

  /**
   * Renews now, apart from the heartbeat.
   * @throws LockLostError when the lease is not held, or turns out not to be.
   * @throws LockStoreError when the store did not answer; the lease is held until its deadline all the same.
   */
  async renew(): Promise<void> {
    this.assertHeld();
    await this.#renewOnce();
    this.assertHeld();
  }

  /**
   * Ends the lease. Belief ends at once, the heartbeat stops, and the lock opens for others. Call it when the work has
   * ended, never while it may go on. A second call answers as the first.
   *
   * Never rejects, so that in a `finally` it hides no error of the work (invariant 10): what fails is reported as a
   * `releaseFailed` event, and the lock opens at the expiry.
   * @param options.done the work succeeded: its `once` token is done; or a part of it did: an earlier token is. Default
   *   false.
   * @param options.withinMs for how long, at the most, the release is tried, in milliseconds. Default: what `remainingMs`
   *   leaves at the call, less 200 ms for the response, or less half of a shorter time.
   * @throws TypeError when `done` is a token later than the lease's own, or the lease has none. Nothing is released then.
   * @returns whether the lease was held until now and is known to be released; false after a loss or a hand-off.
   */
  release(options: ReleaseOptions = {}): Promise<boolean> {
    const { done } = options;
    if (typeof done === 'string' && !isDone(done, this.#plan.once)) {
      throw new TypeError(
        `done must be true, false or a once token up to that of the lease, ${show(this.#plan.once)}, but it is ${show(done)}.`,
      );
    }
    this.#releasing ??= this.#release(options);
    return this.#releasing;
  }

  /**
   * Ends the lease after work that succeeded: releases it as done, unless the work has ended it already. After work that
   * failed, call `release()`.
   *
   * - `released`: the lock is released; with `once`, its token is done.
   * - `handedOff`: the work handed the lease off, and its token is left to the other process.
   * - `unknown`: the release failed, and may have been applied all the same; a `releaseFailed` event says why.
   * @example const end = await lease.finish();
   * @throws LockLostError when the lease was lost before the work ended.
   * @throws LockError when the work released the lease itself and did not say `done`, so that its `once` token is not done.
   */
  async finish(): Promise<'released' | 'handedOff' | 'unknown'> {
    const released = await this.release({ done: true });
    this.signal.throwIfAborted();
    if (this.#state === 'handedOff') return 'handedOff';
    const { once } = this.#plan;
    if (once !== undefined && !this.#releasedAsDone) {
      throw new LockError(
        `The work released its lease of '${this.key}', so its once token '${once}' is not done: call release({ done: true }), or leave it out.`,
      );
    }
    return released ? 'released' : 'unknown';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  /**
   * Passes the lease on: renews it for `leaseMs`, stops the heartbeat and makes `release` do nothing here. The process
   * that gets the handle calls `resume(handle)` within that time.
   * @param options.leaseMs how long the lock stays closed for the other process to come, in milliseconds.
   * @throws LockLostError, LockStoreError as `renew` does; the lease then stays as it was.
   */
  async handOff(options: { readonly leaseMs: number }): Promise<LeaseHandle> {
    const leaseMs = checkLeaseMs(options?.leaseMs);
    this.assertHeld();
    await this.#renewOnce(leaseMs);
    this.assertHeld();
    this.#end('handedOff');
    const { once, holdAtLeastMs } = this.#plan;
    return {
      key: this.key,
      lockId: this.#lockId,
      fencingToken: this.fencingToken,
      ...(once !== undefined && { once }),
      ...(holdAtLeastMs > 0 && { holdAtLeastMs }),
    };
  }

  /** For logs: what people may read, and never the `lockId`. */
  toJSON(): Record<string, unknown> {
    const { key, owner, fencingToken, acquiredAt, deadline, takenOverFrom, data } = this;
    return { key, owner, fencingToken, acquiredAt, deadline, takenOverFrom, data, held: this.isHeld() };
  }

  /** Releases a lease whose work may not have ended: the signal aborts first. For a client that is closed. */
  close(): Promise<boolean> {
    if (this.isHeld()) {
      this.#end('released');
      this.#lost.abort(this.#lostError('closed'));
      this.#releasing = this.#releaseEnded({});
    }
    return this.release();
  }

  /**
   * Gives the lease up without releasing it: the signal aborts, the heartbeat stops, and the lock opens at the expiry.
   * For when the work is to stop and nobody knows when it will have (invariant 9).
   */
  abandon(reason: LostReason): void {
    if (this.#state === 'held') this.#lose(reason);
  }

  // --- Belief: for how long, and until when -------------------------------------------------------------------------

  #leftMs(): number {
    return this.#forMs - elapsedMs(this.#since, instant(this.#context.clock));
  }

  /**
   * Invariant 4: the lease is believed from the sending of the request for as long as was asked, and until `safetyMs`
   * before what the record says, as the server's clock will show it. Invariant 6: a timer of its own tells the holder,
   * whatever else hangs.
   */
  #believe(sent: Instant, believeMs: number, until: number, behindMs: number): void {
    const { clock, serverClock } = this.#context;
    const forMs = Math.min(believeMs, serverClock.untilMs(sent, until, behindMs) - this.#plan.safetyMs);
    const agoMs = elapsedMs(sent, instant(clock));
    // The record's expiry only grows. So a slow answer, which tells less of the clock than the one before, takes nothing away
    // from what was believed already.
    if (forMs - agoMs > this.#leftMs()) {
      this.#since = sent;
      this.#forMs = forMs;
    }
    this.#until = until;
    clock.clearTimeout(this.#deadlineTimer);
    this.#watchDeadline();
    const capped = this.#capLeftMs(sent) + this.#plan.safetyMs <= this.#plan.leaseMs;
    // Invariant 8: at its cap a lease is renewed no more, whatever hooks did not run.
    if (capped) {
      clock.clearTimeout(this.#heartbeatTimer);
      return;
    }
    const dueMs = this.#plan.heartbeatMs - agoMs;
    const leftMs = this.#leftMs();
    // The answer may have brought the deadline forward.
    this.#scheduleHeartbeat(dueMs < leftMs ? dueMs : leftMs / 2);
  }

  #watchDeadline(): void {
    // A timer may fire a little before its time: it asks the clocks, and is set again for what is left.
    this.#deadlineTimer = backgroundTimer(this.#context.clock, this.#leftMs(), () => {
      if (this.isHeld()) this.#watchDeadline();
    });
  }

  /** How long, from `moment`, the lease may be believed at the most. */
  #capLeftMs(moment: Instant): number {
    return this.#grant.capMs - elapsedMs(this.#grant.sent, moment);
  }

  // --- Renewal ------------------------------------------------------------------------------------------------------

  #scheduleHeartbeat(ms: number): void {
    const { clock } = this.#context;
    clock.clearTimeout(this.#heartbeatTimer);
    this.#heartbeatTimer = backgroundTimer(clock, ms, () => {
      // What failed was reported, and the next try is scheduled: nothing is left to do with it (invariant 12).
      if (this.isHeld()) this.#renewOnce().catch(() => {});
    });
  }

  /** One renewal at a time: who comes while one is out waits for it. With `leaseMs`, a hand-off's, beyond any cap. */
  async #renewOnce(leaseMs?: number): Promise<void> {
    while (this.#renewing) {
      const { done } = this.#renewing;
      if (leaseMs === undefined) return done;
      await done.catch(() => {});
      this.assertHeld();
    }
    const cancel = new AbortController();
    const done = this.#renew(leaseMs, cancel.signal).finally(() => {
      this.#renewing = undefined;
    });
    this.#renewing = { done, cancel };
    return done;
  }

  async #renew(handOffMs: number | undefined, signal: AbortSignal, isSecond = false): Promise<void> {
    const { serverClock } = this.#context;
    const { safetyMs } = this.#plan;
    let renewal: Renewal;
    try {
      renewal = await this.#sendRenewal(handOffMs, signal);
    } catch (error) {
      if (!this.isHeld()) throw error;
      // Refused for the time in its signature, it is written once more, by what that refusal told (invariant 13).
      if (isMisdated(error) && !isSecond) return this.#renew(handOffMs, signal, true);
      this.#renewalFailed(error as LockStoreError);
      throw error;
    }
    if (!this.isHeld()) return;
    const { since, forMs, offsetMs, behindMs, until, answer } = renewal;
    const { applied, record } = answer;
    // A refusal that shows our own `lockId` is no loss: a later renewal of ours was applied first (invariant 3).
    if (!applied && record?.lockId !== this.#lockId) return this.#lose(reasonOf(record));
    // Written by a clock that the answer shows to be wrong, it is written once more (invariant 13).
    if (serverClock.disproves(offsetMs, safetyMs) && !isSecond) return this.#renew(handOffMs, signal, true);
    if (handOffMs !== undefined) return;
    // A later expiry may stand there because our clock was set back: then nothing was gained, and time has to pass.
    if (!applied && hasStepped(this.#since, since)) return this.#scheduleHeartbeat(this.#leftMs() / 4);
    this.#failures = 0;
    this.#believe(since, forMs - safetyMs, until, behindMs);
    this.#report({ type: 'renewed', expiresAt: until, deadline: this.deadline });
  }

  async #sendRenewal(handOffMs: number | undefined, signal: AbortSignal): Promise<Renewal> {
    const { store, serverClock } = this.#context;
    const { leaseMs, safetyMs, requestTimeoutMs } = this.#plan;
    const { key } = this;
    const lockId = this.#lockId;
    const since = await judgedInstant(this.#context, key, { requestTimeoutMs, withinMs: this.#leftMs(), signal });
    const forMs = handOffMs ?? Math.min(leaseMs, this.#capLeftMs(since) + safetyMs);
    const { expiryOffsetMs: offsetMs, behindMs } = serverClock;
    const until = Math.ceil(since.wall + offsetMs + forMs);
    const renew = (signal: AbortSignal) => store.renew({ key, lockId, until }, signal);
    // Invariant 7: a renewal that may arrive after the deadline must not be sent.
    const limits = { requestTimeoutMs, withinMs: this.#leftMs(), since, signal, throwMisdated: true };
    const answer = await send(this.#context, `Renewing '${key}'`, renew, limits);
    return { since, forMs, offsetMs, behindMs, until, answer };
  }

  /** Invariant 6: what fails is tried again, ever more slowly, until the deadline; its timer is the one that ends it. */
  #renewalFailed(error: LockStoreError): void {
    const remainingMs = this.#leftMs();
    this.#report({ type: 'renewFailed', error, deadline: this.deadline, remainingMs });
    const backOffMs = Math.min(RETRY_MS.first * 2 ** this.#failures++, RETRY_MS.most, this.#plan.heartbeatMs);
    this.#scheduleHeartbeat(backOffMs * (0.5 + Math.random()));
  }

  // --- The end ------------------------------------------------------------------------------------------------------

  async #release(options: ReleaseOptions): Promise<boolean> {
    this.#releasedAsDone = options.done === true || (options.done !== undefined && options.done === this.#plan.once);
    if (this.isHeld()) {
      // Belief ends when the release is sent, not when it is answered (invariant 4).
      this.#end('released');
      return this.#releaseEnded(options);
    }
    // Lost by the clock alone, the record may still be ours: opening it early spares others the rest of the lease.
    // Nothing counts as done.
    const { reason } = this.#lost.signal;
    if (this.#state === 'lost' && reason.reason === 'expired')
      await this.#sendRelease(undefined, options).catch(() => {});
    return false;
  }

  async #releaseEnded(options: ReleaseOptions): Promise<boolean> {
    const { serverClock } = this.#context;
    const { holdAtLeastMs } = this.#plan;
    const finished = options.done === true ? this.#plan.once : options.done || undefined;
    // `doneToken` only grows: a greater one may have finished before this lease.
    const doneToken = isDone(finished, this.#grant.doneToken) ? undefined : finished;
    let error: LockStoreError;
    try {
      // Until it is answered, a client that is closed waits for it.
      const answer = await this.#sendRelease(doneToken, options).finally(() => this.#context.leases.delete(this));
      const { applied, record } = answer;
      if (applied || this.#wasReleasedBefore(doneToken, answer)) {
        if (holdAtLeastMs <= 1) serverClock.wrote(this.key, this.acquiredAt + 1);
        this.#report({ type: 'released', heldMs: this.#heldMs(), done: options.done === true });
        return true;
      }
      if (record?.lockId === undefined || this.#leftMs() > 0) {
        const reason = reasonOf(record);
        const lost = this.#lostError(reason);
        this.#report({ type: 'lost', reason, error: lost, heldMs: this.#heldMs() });
        this.#lost.abort(lost);
        return false;
      }
      error = new LockStoreError(
        `Releasing '${this.key}': refused, and its deadline has passed; whether it was released before is not known`,
      );
    } catch (cause) {
      error = cause as LockStoreError;
    }
    this.#report({ type: 'releaseFailed', heldMs: this.#heldMs(), error });
    return false;
  }

  /**
   * Tells whether a refused release was applied before: its first answer was lost, or the network delivered it twice. An
   * operator's force release, too, writes our `lockId` into `releasedBy`, and may have ended our grant instead.
   *
   * - A token that is due must stand in the record. With our `releasedBy` beside it, it proves our release: an operator
   *   writes no token, and another holder's release writes its own `releasedBy`. Without it, another's grant before our
   *   deadline proves our release, for nothing else, but an operator, lets another in so early.
   * - With no token due, our `releasedBy` and the expiry that our release writes prove it: an operator writes another one.
   *   If another has been granted the lock since, its record keeps that expiry as what it took over.
   * - A release that we sent more than once was most likely applied. Our `releasedBy` is then enough, and so is another's
   *   grant before our deadline, which nothing but our release, or an operator, made possible.
   */
  #wasReleasedBefore(doneToken: string | undefined, { record, attempts = 1 }: StoreAnswer): boolean {
    const isDue = doneToken !== undefined;
    if (isDue && !isDone(doneToken, record?.doneToken)) return false;
    if (record?.releasedBy !== this.#lockId) return (attempts > 1 || isDue) && this.#leftMs() > 0;
    const opened = record.fencingToken === this.fencingToken ? record.expiresAt : record.previousExpiresAt;
    return attempts > 1 || isDue || opened === this.acquiredAt + Math.max(1, this.#plan.holdAtLeastMs);
  }

  #sendRelease(doneToken: string | undefined, options: ReleaseOptions): Promise<StoreAnswer> {
    const { store, serverClock } = this.#context;
    const { requestTimeoutMs, holdAtLeastMs, remainingMs } = this.#plan;
    const { withinMs = releaseMsOf(remainingMs) } = options;
    const { key } = this;
    const release = (signal: AbortSignal) => {
      // A clock that was set back since the last renewal would have TTL delete the record too soon.
      const now = Math.max(serverClock.now(key), this.#until);
      return store.release({ key, lockId: this.#lockId, now, holdAtLeastMs, doneToken }, signal);
    };
    return send(this.#context, `Releasing '${key}'`, release, { requestTimeoutMs, withinMs });
  }

  /** Invariant 7: the one place where a lease is lost, once and for all. */
  #lose(reason: LostReason): void {
    this.#end('lost');
    const error = this.#lostError(reason);
    this.#report({ type: 'lost', reason, error, heldMs: this.#heldMs() });
    this.#lost.abort(error);
  }

  /** The one place where a lease ceases to be held: the timers stop, and a renewal that is out is given up. */
  #end(state: Exclude<LeaseState, 'held'>): void {
    const { clock, leases } = this.#context;
    this.#state = state;
    if (state !== 'released') leases.delete(this);
    clock.clearTimeout(this.#deadlineTimer);
    clock.clearTimeout(this.#heartbeatTimer);
    this.#renewing?.cancel.abort(this.#lostError('released'));
  }

  #lostError(reason: LostReason): LockLostError {
    return new LockLostError({ key: this.key, reason, detail: LOST_DETAIL[reason] });
  }

  #heldMs(): number {
    const { clock } = this.#context;
    return Math.max(0, Math.round(elapsedMs(this.#grant.sent, instant(clock))));
  }

  #report(event: ReportedLeaseEvent): void {
    const { key, owner, fencingToken } = this;
    this.#context.report({ key, owner, fencingToken, ...event } as ReportedEvent);
  }
}

/** Why a request that asked for our own grant was refused. */
export const reasonOf = (record: LockRecord | undefined): LostReason =>
  record === undefined ? 'gone' : record.lockId === undefined ? 'revoked' : 'takenOver';

type WithoutGrant<T> = T extends { fencingToken: number } ? Omit<T, 'key' | 'owner' | 'fencingToken'> : never;
type ReportedLeaseEvent = WithoutGrant<ReportedEvent>;
