// Over 250 lines: half of them document the public API.

import { show } from '../record/check.ts';
import { LockError, LockLostError, type LostReason } from '../record/errors.ts';
import { isDone } from '../record/record.ts';
import type { LockStore } from '../record/store.ts';
import type { Grant } from './attempt.ts';
import { elapsedMs, instant } from './clock.ts';
import type { LeaseContext } from './context.ts';
import type { ReportedEvent, ReportedLeaseEvent } from './events.ts';
import { Heartbeat } from './heartbeat.ts';
import { type AcquirePlan, checkLeaseMs, dataOf } from './options.ts';
import { type Released, release, releaseMsOf } from './release.ts';

/** A lease on its way to another process. The handle is the secret: whoever has it has the lease. */
export interface LeaseHandle {
  readonly key: string;
  readonly lockId: string;
  readonly fencingToken: number;
  readonly once?: string;
  readonly holdAtLeastMs?: number;
}

/**
 * - `held`: nobody else has the lock, until one of the others. From those there is no way back (invariant 7).
 * - `lost`: the deadline has passed, or somebody else has ended the grant.
 * - `released`: the holder has sent its release, whatever the store answers.
 * - `handedOff`: another process may resume the lease.
 */
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
  /**
   * The work succeeded, and its `once` token is done. A token: a part of the work succeeded, up to that token.
   * @default false
   */
  readonly done?: boolean | string;
  /**
   * The longest time to try the release in, in milliseconds.
   * @default what remainingMs leaves at the call, less 200 ms for the response, or less half of a shorter time
   */
  readonly withinMs?: number;
}

/**
 * A lock that is held, and is renewed in the background until it is released or lost.
 * @example
 * await using lease = await locks.acquire('report', { waitMs: 5_000 });
 * await fetch(url, { signal: lease.signal });
 */
export class Lease {
  readonly key: string;
  readonly owner: string;
  /** Grows with every grant of the key, for ever: a resource that remembers the highest one refuses a late holder. */
  readonly fencingToken: number;
  /** The moment of the grant, by the clock that the record was written with: milliseconds since the epoch. */
  readonly acquiredAt: number;
  /** The holder whose lease was taken over, if one had expired without a release. */
  readonly takenOverFrom: { readonly owner: string; readonly expiredAt: number } | undefined;
  /** The greatest `once` token that had finished when the lease was granted; undefined if none had. */
  readonly doneToken: string | undefined;
  /** The note that was attached to the lease. */
  readonly data: unknown;

  readonly #context: LeaseContext;
  readonly #plan: AcquirePlan;
  readonly #grant: Grant;
  readonly #heartbeat: Heartbeat;
  readonly #lost = new AbortController();
  #state: LeaseState = 'held';
  #releasing: Promise<boolean> | undefined;
  #releasedAsDone = false;

  /** @internal Starts nothing: `start()` does. */
  constructor(context: LeaseContext, plan: AcquirePlan, grant: Grant) {
    const { fencingToken, acquiredAt, doneToken, data, tookOver } = grant.record;
    this.key = grant.key;
    this.owner = plan.owner;
    this.fencingToken = fencingToken;
    this.acquiredAt = acquiredAt;
    this.doneToken = doneToken;
    this.data = dataOf(data);
    if (tookOver?.type === 'lease') {
      this.takenOverFrom = { owner: tookOver.owner ?? '', expiredAt: tookOver.expiresAt };
    }
    this.#context = context;
    this.#plan = plan;
    this.#grant = grant;
    this.#heartbeat = new Heartbeat(context, plan, grant, {
      lost: (reason) => this.#lose(reason),
      report: (event) => this.#report(event),
    });
  }

  /** @internal Begins to renew the lease. */
  start(): void {
    this.#context.leases.add(this);
    this.#heartbeat.start();
  }

  /** @internal The secret id of this grant. Not to be logged. */
  get lockId(): string {
    return this.#grant.lockId;
  }

  /** @internal The store that this lease lives in. */
  get store(): LockStore {
    return this.#context.store;
  }

  /** The moment after which the lease must not be believed, by this host's clock: milliseconds since the epoch. */
  get deadline(): number {
    return this.#heartbeat.deadline;
  }

  /**
   * Aborts, with a `LockLostError`, when the lease is lost: at its deadline at the latest. A release does not abort it. An
   * error that a listener throws ends the process, as with every `AbortSignal`.
   */
  get signal(): AbortSignal {
    this.isHeld();
    return this.#lost.signal;
  }

  /** Tells whether the lease is held at this very moment. Invariant 5: asks both clocks, and no timer. */
  isHeld(): boolean {
    return this.#state === 'held' && this.#heartbeat.isAlive();
  }

  /** @throws LockLostError when the lease is not held, with the reason. */
  assertHeld(): void {
    if (this.isHeld()) return;
    this.#lost.signal.throwIfAborted();
    throw this.#lostError(this.#state === 'handedOff' ? 'handedOff' : 'released');
  }

  /**
   * Renews now, apart from the heartbeat.
   * @throws LockLostError when the lease is not held, or turns out not to be.
   * @throws LockStoreError when the store did not answer; the lease is held until its deadline all the same.
   */
  renew(): Promise<void> {
    return this.#renew();
  }

  /**
   * Ends the lease. Belief ends at once, the heartbeat stops, and the lock opens for others. Call it when the work has
   * ended, never while it may go on. A second call answers as the first.
   *
   * Never rejects, so that in a `finally` it hides no error of the work (invariant 10): a failure is reported as a
   * `releaseFailed` event, and the lock opens at the expiry.
   * @param options.done the work succeeded, so that its `once` token is done; or the token up to which a part of the work
   *   succeeded. Default false.
   * @param options.withinMs the longest time to try the release in, in milliseconds. Default: what `remainingMs` leaves at
   *   the call, less 200 ms for the response, or less half of a shorter time.
   * @throws TypeError when `done` is a token later than the lease's own, or the lease has none. Nothing is released then.
   * @returns true when the lease was held until now and is known to be released; false after a loss or a hand-off.
   */
  release(options: ReleaseOptions = {}): Promise<boolean> {
    const { done } = options;
    const { once } = this.#plan;
    if (typeof done === 'string' && !isDone(done, once)) {
      throw new TypeError(
        `done must be true, false or a once token up to that of the lease, ${show(once)}, but it is ${show(done)}.`,
      );
    }
    this.#releasing ??= this.#release(options);
    return this.#releasing;
  }

  /**
   * Ends the lease after work that succeeded: releases it as done, unless the work has ended the lease already. After work
   * that failed, call `release()`.
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
   * @param options.leaseMs the time for which the lock stays closed for the other process to come, in milliseconds.
   * @throws LockLostError, LockStoreError as `renew` does; the lease then stays as it was.
   */
  async handOff(options: { readonly leaseMs: number }): Promise<LeaseHandle> {
    const leaseMs = checkLeaseMs(options?.leaseMs);
    await this.#renew(leaseMs);
    this.#end('handedOff');
    this.#report({ type: 'handedOff', expiresAt: this.#heartbeat.until, heldMs: this.#heldMs() });
    const { once, holdAtLeastMs } = this.#plan;
    return {
      key: this.key,
      lockId: this.lockId,
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

  /** @internal Releases a lease whose work may not have ended: the signal aborts first. For a client that is closed. */
  close(): Promise<boolean> {
    if (this.isHeld()) {
      this.#end('released');
      this.#lost.abort(this.#lostError('closed'));
      this.#releasing = this.#releaseEnded({});
    }
    return this.release();
  }

  /**
   * @internal Gives the lease up without a release: the signal aborts, the heartbeat stops, and the lock opens at the expiry.
   * For work that is to stop, where nobody knows when it will have stopped (invariant 9).
   */
  abandon(reason: LostReason): void {
    if (this.#state === 'held') this.#heartbeat.lose(reason);
  }

  async #renew(handOffMs?: number): Promise<void> {
    this.assertHeld();
    try {
      await this.#heartbeat.renew(handOffMs);
    } finally {
      // A lease that is lost says so, whatever became of the renewal.
      this.assertHeld();
    }
  }

  async #release(options: ReleaseOptions): Promise<boolean> {
    const { done } = options;
    this.#releasedAsDone = done === true || (done !== undefined && done === this.#plan.once);
    if (this.isHeld()) {
      // Belief ends when the release is sent, not when it is answered (invariant 4).
      this.#end('released');
      return this.#releaseEnded(options);
    }
    // Lost by the clock alone, the record may still be ours: a lock that is opened early spares others the rest of the lease.
    // Nothing counts as done.
    const { reason } = this.#lost.signal;
    if (this.#state === 'lost' && reason.reason === 'expired') await this.#send(undefined, options);
    return false;
  }

  async #releaseEnded(options: ReleaseOptions): Promise<boolean> {
    const { done } = options;
    const finished = done === true ? this.#plan.once : done || undefined;
    // `doneToken` only grows: a greater one may have finished before this lease.
    const doneToken = isDone(finished, this.doneToken) ? undefined : finished;
    const released = await this.#send(doneToken, options);
    // Until the release is answered, a client that is closed waits for it.
    this.#context.leases.delete(this);
    if (released.type === 'lost') this.#abort(released.reason);
    else if (released.type === 'unknown') {
      this.#report({ type: 'releaseFailed', heldMs: this.#heldMs(), error: released.error });
    } else this.#report({ type: 'released', heldMs: this.#heldMs(), done: done === true });
    return released.type === 'released';
  }

  #send(doneToken: string | undefined, options: ReleaseOptions): Promise<Released> {
    const { requestTimeoutMs, holdAtLeastMs, remainingMs } = this.#plan;
    const { key, lockId, fencingToken, acquiredAt } = this;
    const { withinMs = releaseMsOf(remainingMs) } = options;
    const { until } = this.#heartbeat;
    const releasing = { key, lockId, fencingToken, acquiredAt, until, holdAtLeastMs, doneToken };
    return release(this.#context, releasing, { requestTimeoutMs, withinMs }, () => this.#heartbeat.leftMs > 0);
  }

  #lose(reason: LostReason): void {
    this.#end('lost');
    this.#abort(reason);
  }

  #abort(reason: LostReason): void {
    const error = this.#lostError(reason);
    this.#report({ type: 'lost', reason, error, heldMs: this.#heldMs() });
    this.#lost.abort(error);
  }

  /** The one place where a lease ceases to be held. */
  #end(state: Exclude<LeaseState, 'held'>): void {
    this.#state = state;
    if (state !== 'released') this.#context.leases.delete(this);
    this.#heartbeat.end();
  }

  #lostError(reason: LostReason): LockLostError {
    return new LockLostError({ key: this.key, reason, detail: LOST_DETAIL[reason] });
  }

  #heldMs(): number {
    const { clock } = this.#context;
    return Math.max(0, Math.round(elapsedMs(this.#grant.term.sent, instant(clock))));
  }

  #report(event: ReportedLeaseEvent): void {
    const { key, owner, fencingToken } = this;
    this.#context.report({ key, owner, fencingToken, ...event } as ReportedEvent);
  }
}
