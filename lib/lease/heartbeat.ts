import type { LockStoreError, LostReason } from '../record/errors.ts';
import { isGrantOf, type LockRecord, lossOf } from '../record/record.ts';
import type { StoreAnswer } from '../record/store.ts';
import type { Grant } from './attempt.ts';
import { BackOff } from './back-off.ts';
import { backgroundTimer, elapsedMs, type Instant, instant } from './clock.ts';
import type { LeaseContext } from './context.ts';
import type { ReportedLeaseEvent } from './events.ts';
import { judgedInstant } from './judge.ts';
import type { AcquirePlan } from './options.ts';
import { type Caller, isMisdated, send } from './send.ts';
import { hasStepped } from './server-clock.ts';
import { type Due, NO_STALL, type Stall, stallSince } from './stall.ts';
import { Term } from './term.ts';

/** Pauses between two tries of a renewal that failed, in milliseconds. */
const RETRY_MS = { first: 50, most: 2_000 };
/** The share of the time that is left in which a renewal is tried. So a failure is reported before the loss that follows. */
const TRIED_SHARE = 0.9;

type HeartbeatState =
  /** Nothing was started. */
  | { readonly type: 'new' }
  /** A timer will send the next renewal. */
  | { readonly type: 'waiting'; readonly due: Due; readonly stop: () => void }
  /** A renewal is out. */
  | { readonly type: 'renewing'; readonly done: Promise<void>; readonly cancel: AbortController }
  /** The lease has reached the longest time that it may last: the heartbeat sends nothing more, and the deadline ends the lease. */
  | { readonly type: 'capped' }
  /** A release is out that may be refused. No timer is set, and an answer to a renewal that still comes changes nothing. */
  | { readonly type: 'paused' }
  /** The lease is lost, released or handed off. No timer is set, and an answer that still comes changes nothing. */
  | { readonly type: 'ended' };

/** A renewal, as `Heartbeat.renew` was asked for it. */
interface Renewing {
  readonly handOffMs: number | undefined;
  readonly resendsFaults: boolean;
  readonly signal: AbortSignal;
}

/** The lease that a heartbeat keeps alive, and tells of everything that happens. */
export interface Kept {
  /**
   * The lease is lost. Called once, when the heartbeat has ended.
   * @param cause the error of a renewal, if the last renewal failed and the lease therefore expired. The last error that
   *   tells of a reason.
   * @param stall the time for which nothing ran in this process, though a renewal was due or its answer was waited for.
   */
  lost(reason: LostReason, cause?: LockStoreError, stall?: Stall): void;
  report(event: ReportedLeaseEvent): void;
}

/** Keeps a lease alive: the belief in it, its deadline, and the renewals that move the deadline on. */
export class Heartbeat {
  readonly #context: LeaseContext;
  readonly #plan: AcquirePlan;
  readonly #grant: Grant;
  readonly #kept: Kept;
  readonly #backOff: BackOff;
  #state: HeartbeatState = { type: 'new' };
  /** Belief lasts for `forMs` from `since`, by the larger of two clocks. */
  #since: Instant;
  #forMs: number;
  #until: number;
  /** The term from which the next renewal is counted. */
  #term: Term;
  #stopDeadline: (() => void) | undefined;
  /** The error of the last renewal that told of a reason, or else of the last renewal. Undefined after a success. */
  #failure: LockStoreError | undefined;
  /** The longest time by which a renewal was sent too late, since the last success. */
  #stall: Stall = NO_STALL;
  /** Keeps the last fault between two renewals. */
  readonly #caller: Caller = { leftMs: Infinity };

  constructor(context: LeaseContext, plan: AcquirePlan, grant: Grant, kept: Kept) {
    this.#context = context;
    this.#plan = plan;
    this.#grant = grant;
    this.#kept = kept;
    this.#backOff = new BackOff(RETRY_MS.first, Math.min(RETRY_MS.most, plan.heartbeatMs));
    this.#since = grant.term.sent;
    this.#forMs = grant.term.believedMs;
    this.#until = grant.term.until;
    this.#term = grant.term;
  }

  /** The moment at which the holder's belief ends, by this host's clock: milliseconds since the epoch. */
  get deadline(): number {
    return this.#since.wall + this.#forMs;
  }

  /** The expiry that was last written. */
  get until(): number {
    return this.#until;
  }

  /** Milliseconds until the deadline, by the larger of the two clocks' times. */
  get leftMs(): number {
    return this.#forMs - elapsedMs(this.#since, instant(this.#context.clock));
  }

  /** Tells whether the lease is held at this very moment. Invariant 5: asks both clocks, and no timer. */
  isAlive(): boolean {
    if (this.#state.type !== 'ended' && this.leftMs <= 0) this.lose('expired');
    return this.#state.type !== 'ended';
  }

  /** Sets the timers. */
  start(): void {
    this.#watchDeadline();
    this.#waitForRenewal(this.#term);
  }

  /** Stops the timers, and gives up a renewal that is out. */
  end(): void {
    this.#stop('ended');
  }

  /** Sends nothing until `resume`: a renewal behind a release that is applied would look like a loss. */
  pause(): void {
    this.#stop('paused');
  }

  /** Goes on after a pause, unless the deadline has passed meanwhile. */
  resume(): void {
    if (this.isAlive()) this.start();
  }

  get #isPaused(): boolean {
    return this.#state.type === 'paused';
  }

  #stop(type: 'ended' | 'paused'): void {
    const state = this.#state;
    this.#enter({ type });
    this.#stopDeadline?.();
    if (state.type === 'renewing') state.cancel.abort();
  }

  /** Invariant 7: the one place where a lease is lost, once and for all. */
  lose(reason: LostReason): void {
    if (this.#state.type === 'ended') return;
    const stall = this.#stallOf(this.#state);
    this.end();
    if (reason === 'expired') this.#kept.lost(reason, this.#failure, stall);
    else this.#kept.lost(reason);
  }

  /** The time for which nothing has run in this process. A lease at its cap misses no renewal, and nothing is due. */
  #stallOf({ type, due }: HeartbeatState & { readonly due?: Due }): Stall {
    const { clock } = this.#context;
    if (type === 'waiting' && due) return stallSince(clock, due, this.#stall);
    if (type === 'renewing') return stallSince(clock, { since: this.#since, ms: this.#forMs }, this.#stall);
    return this.#stall;
  }

  /**
   * Renews now. One renewal at a time is out: a caller who comes meanwhile waits for that renewal.
   * @param handOffMs the lease time of a hand-off. The renewal then ignores any cap, and leaves the belief as it is.
   * @param resendsFaults whether a fault that may pass is tried again at once. The heartbeat itself tries again later.
   */
  async renew(handOffMs?: number, resendsFaults = true): Promise<void> {
    while (this.#state.type === 'renewing') {
      const { done } = this.#state;
      if (handOffMs === undefined) return done;
      await done.catch(() => {});
      // Behind a release nothing is sent: its caller learns that the lease is not held.
      if (!this.isAlive() || this.#isPaused) return;
    }
    const cancel = new AbortController();
    const done = this.#renew({ handOffMs, resendsFaults, signal: cancel.signal });
    this.#enter({ type: 'renewing', done, cancel });
    return done;
  }

  async #renew(renewing: Renewing, isSecond = false): Promise<void> {
    const { handOffMs } = renewing;
    // 1. Send. If the server refuses the request for the time in its signature, write the request anew, once (invariant 13).
    let term: Term;
    let answer: StoreAnswer;
    try {
      [term, answer] = await this.#sendInTurn(renewing);
    } catch (error) {
      if (!renewing.signal.aborted) {
        if (isMisdated(error) && !isSecond && this.isAlive()) return this.#renew(renewing, true);
        this.#failed(error as LockStoreError);
      }
      throw error;
    }
    // 2. Lost is final, whatever the store answers (invariant 7). After a release was sent, nobody asks for the answer.
    if (renewing.signal.aborted || !this.isAlive()) return;
    // 3. A refusal that shows our own `lockId` is no loss: a later renewal of ours was applied first (invariant 3).
    const { applied, record } = answer;
    if (!applied && !isGrantOf(this.#grant.lockId, record)) return this.lose(lossOf(record));
    // 4. If the answer shows that a wrong clock wrote the expiry, write the expiry anew, once (invariant 13).
    if (term.isDisproved && !isSecond) return this.#renew(renewing, true);
    // A refusal shows the later expiry that stands in the record.
    this.#until = Math.max(term.until, applied ? 0 : (record as LockRecord).expiresAt);
    if (handOffMs !== undefined) return;
    // 5. If our clock was set back, the record may have a later expiry. Then nothing was gained, and time has to pass.
    if (!applied && hasStepped(this.#since, term.sent)) return this.#waitMs(this.leftMs / 4);
    // 6. The belief moves on.
    this.#backOff.reset();
    this.#failure = undefined;
    this.#stall = NO_STALL;
    this.#caller.fault = undefined;
    this.#believe(term);
    this.#kept.report({ type: 'renewed', expiresAt: this.#until, deadline: this.deadline });
  }

  /** Sends a renewal as soon as the gate has a turn. The request is written then: no lease loses the time in the queue. */
  #sendInTurn(renewing: Renewing): Promise<[Term, StoreAnswer]> {
    const { clock, gate } = this.#context;
    const what = `Renewing '${this.#grant.key}'`;
    // Invariant 7: a renewal whose lease has reached its deadline leaves the queue.
    const withinMs = this.leftMs * TRIED_SHARE;
    const turn = { clock, what, order: this.deadline, withinMs, signals: [renewing.signal] };
    return gate.run(turn, () => this.#send(what, renewing));
  }

  async #send(what: string, { handOffMs, resendsFaults, signal }: Renewing): Promise<[Term, StoreAnswer]> {
    const { store } = this.#context;
    const { leaseMs, safetyMs, requestTimeoutMs, holdAtLeastMs } = this.#plan;
    const { key, lockId, term: granted, record } = this.#grant;
    const caller = this.#caller;
    const options = { requestTimeoutMs, caller, signal, resendsFaults, throwMisdated: true };
    const sent = await judgedInstant(this.#context, key, { ...options, withinMs: this.leftMs * TRIED_SHARE });
    const term = new Term(this.#context, sent, {
      safetyMs,
      leaseMs: handOffMs ?? leaseMs,
      capMs: handOffMs === undefined ? granted.capLeftMs(sent) : Infinity,
      closedUntil: record.acquiredAt + holdAtLeastMs,
    });
    const request = (signal: AbortSignal) => store.renew({ key, lockId, until: term.until }, signal);
    // Invariant 7: a renewal that may arrive after the deadline must not be sent.
    const limits = { ...options, withinMs: this.leftMs * TRIED_SHARE, since: sent };
    return [term, await send(this.#context, what, request, limits)];
  }

  /**
   * Tries a failed renewal again, ever more slowly, until the deadline, which has a timer of its own (invariant 6). The error
   * does not matter: credentials that have expired may be refreshed, and a permission may be given. A pause takes at most a
   * third of the time that is left, so that a store that recovers keeps the lease.
   */
  #failed(error: LockStoreError): void {
    if (error.cause !== undefined || this.#failure?.cause === undefined) this.#failure = error;
    const { leftMs, deadline } = this;
    this.#waitMs(Math.min(this.#backOff.nextMs(), Math.max(RETRY_MS.first, leftMs / 3)));
    // Reported last: the listener may end the lease.
    this.#kept.report({ type: 'renewFailed', error, deadline, remainingMs: Math.max(0, Math.round(leftMs)) });
    // If the deadline has passed meanwhile, the lease is lost now.
    this.isAlive();
  }

  #believe(term: Term): void {
    const forMs = term.believedMs;
    // The record's expiry only grows. So a slow answer, which tells less of the clock than the answer before, does not
    // shorten the belief.
    if (forMs - elapsedMs(term.sent, instant(this.#context.clock)) > this.leftMs) {
      this.#since = term.sent;
      this.#forMs = forMs;
    }
    this.#watchDeadline();
    this.#waitForRenewal(term);
  }

  /** Sets the timer that tells the holder of the deadline, whatever else hangs (invariant 6). */
  #watchDeadline(): void {
    this.#stopDeadline?.();
    // A timer may fire a little before its time. Then the timer is set again for the time that is left.
    this.#stopDeadline = backgroundTimer(this.#context.clock, this.leftMs, () => {
      if (this.isAlive()) this.#watchDeadline();
    });
  }

  #waitForRenewal(term: Term): void {
    const { leaseMs, safetyMs, heartbeatMs } = this.#plan;
    this.#term = term;
    // Invariant 8: a lease at its cap is renewed no more, whatever hooks did not run.
    if (term.capMs <= leaseMs - safetyMs) {
      this.#enter({ type: 'capped' });
      return;
    }
    // Leases that were taken together are renewed apart.
    const dueMs = heartbeatMs * (1 - Math.random() / 5) - elapsedMs(term.sent, instant(this.#context.clock));
    const { leftMs } = this;
    // The answer may have shown that the deadline is earlier than the next renewal would be.
    this.#waitMs(dueMs < leftMs ? Math.max(0, dueMs) : leftMs / 2);
  }

  #waitMs(ms: number): void {
    const { clock } = this.#context;
    const due = { since: instant(clock), ms };
    const stop = backgroundTimer(clock, ms, () => {
      this.#stall = stallSince(clock, due, this.#stall);
      // A failure was reported, and the next try is scheduled: nothing is left to do with the error (invariant 12).
      if (this.isAlive()) this.renew(undefined, false).catch(() => {});
    });
    this.#enter({ type: 'waiting', due, stop });
  }

  /** The one place where the state changes. */
  #enter(state: HeartbeatState): void {
    if (this.#state.type === 'waiting') this.#state.stop();
    this.#state = state;
  }
}
