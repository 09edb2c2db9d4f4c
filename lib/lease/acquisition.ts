import { LockNoTimeError, LockStoreError, LockTokenError } from '../record/errors.ts';
import { areCountable, fresher, holderOf, type LockRecord } from '../record/record.ts';
import { haveOneForm, isCanonical, isDone, shownToken } from '../record/token.ts';
import { type Attempt, attempt, flawError, type Grant } from './attempt.ts';
import { BackOff } from './back-off.ts';
import { Budget } from './budget.ts';
import { untilChange } from './change.ts';
import { elapsedMs, type Instant, instant } from './clock.ts';
import { inBackground, type LeaseContext } from './context.ts';
import { ORDER, sendInTurn } from './gate.ts';
import { giveBack } from './give-back.ts';
import { type AcquirePlan, remainingOf } from './options.ts';
import { discard } from './release.ts';
import { CALLERS_TIMES, checkLeft, limited, storeError } from './send.ts';
import type { Term } from './term.ts';

/** The outcome of an acquisition. */
export type Outcome =
  | { readonly type: 'granted'; readonly grant: Grant }
  | Busy
  | { readonly type: 'done'; readonly doneToken: string };
/** Another holder has the lock, or `holdAtLeastMs` keeps the lock closed. */
export type Busy = { readonly type: 'busy'; readonly record: LockRecord; readonly retryAfterMs: number };
/** The store did not answer, for a reason that may pass. */
type Failed = { readonly type: 'failed'; readonly error: unknown };
/**
 * This host's clock turned out to be wrong. There is no record if the server refused the request for its signature's time.
 */
type Misjudged = { readonly type: 'misjudged'; readonly record?: LockRecord };

/**
 * A waiter's pauses grow by 15% from 30 ms, so a pause is about a seventh of the time waited: a lock that is released after
 * half a second is seen within 100 ms, after about 9 reads. In the long run there are four reads a second.
 *
 * A longer pause would cost fewer reads. But who waits longest would look most seldom, and those who come later would take
 * the lock. (At a load of 0.7, waits of 20 s instead of 11 s at the 99th percentile.)
 */
export const LONGEST_PAUSE_MS = 250;
const PAUSE_MS = { first: 30, growth: 1.15 };
/** The longest pause after a write that failed, in milliseconds: the server may be throttling. */
const FAILED_MOST_MS = 1_000;
/** The longest random delay after an expiry. So the waiters for one expiry do not all write in the same millisecond. */
const MOST_LATE_MS = 25;

/** One call to acquire a lock: its attempts, and the waiting between them. */
export class Acquisition {
  readonly key: string;
  readonly plan: AcquirePlan;
  readonly #context: LeaseContext;
  readonly #started: Instant;
  readonly #remainingMs: number;
  readonly #busyBackOff = new BackOff(PAUSE_MS.first, LONGEST_PAUSE_MS, PAUSE_MS.growth);
  readonly #failedBackOff = new BackOff(PAUSE_MS.first, FAILED_MOST_MS, PAUSE_MS.growth);
  /** The ids of this call's attempts. A grant for an attempt that was given up is released. */
  readonly #tried = new Set<string | undefined>();
  /** The time until the caller gets an answer, whatever the store does. */
  readonly #budget: Budget;
  #isWaiting = false;
  #saw: ((record: LockRecord) => void) | undefined;

  constructor(context: LeaseContext, key: string, plan: AcquirePlan) {
    this.#context = context;
    this.key = key;
    this.plan = plan;
    this.#started = instant(context.clock);
    this.#budget = new Budget(context.clock, plan);
    this.#remainingMs = remainingOf(plan);
  }

  /** Milliseconds since the call. */
  get elapsedMs(): number {
    return elapsedMs(this.#started, instant(this.#context.clock));
  }

  /** Milliseconds for which the caller still waits for a busy lock. */
  get waitLeftMs(): number {
    return Math.min(this.plan.waitMs - this.elapsedMs, this.#budget.leftMs);
  }

  /** Reports that a wait begins. A call waits once. */
  reportWaiting(record: LockRecord): void {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    const { key, fencingToken, expiresAt } = record;
    this.#context.report({ type: 'waiting', key, owner: holderOf(record), fencingToken, expiresAt });
  }

  /**
   * 1. One optimistic write.
   * 2. While the lock is busy and time remains: cheap reads, with growing pauses.
   * 3. When the record looks free: the write again.
   *
   * So a waiter never spends the write capacity that the holder's heartbeat needs.
   * @param saw called with every record that keeps the call out.
   */
  async run(saw?: (record: LockRecord) => void): Promise<Outcome> {
    this.#saw = saw;
    for (;;) {
      const outcome = await this.#try();
      if (outcome.type === 'granted' || outcome.type === 'done') return outcome;
      const ended = await this.#wait(outcome);
      if (ended) return ended;
    }
  }

  /** Waits until another write is worthwhile. Returns an outcome if the acquisition ends during the wait. */
  async #wait(outcome: Busy | Failed): Promise<Outcome | undefined> {
    let seen = outcome.type === 'busy' ? outcome.record : undefined;
    do {
      const leftMs = this.waitLeftMs;
      if (leftMs <= 0) {
        if (outcome.type === 'failed') throw outcome.error;
        return seen && this.busy(seen);
      }
      await this.#pause(leftMs, seen);
      if (seen === undefined) return undefined;
      if (this.#budget.leftMs <= 0) return this.busy(seen);
      seen = await this.#look(seen);
      const done = this.#doneBy(seen);
      if (done) return done;
    } while (seen && this.#untilOpenMs(seen) > 0);
    return undefined;
  }

  /** Pauses until the next look is due, the lock opens or the wait is over, whichever is first. */
  async #pause(leftMs: number, seen: LockRecord | undefined): Promise<void> {
    if (seen) this.reportWaiting(seen);
    const backOffMs = (seen ? this.#busyBackOff : this.#failedBackOff).nextMs();
    const openMs = seen ? this.#untilOpenMs(seen) + Math.random() * MOST_LATE_MS : backOffMs;
    const ms = Math.min(backOffMs, openMs, leftMs);
    await untilChange(this.#context, this.key, ms, [this.plan.signal, this.#context.closing]);
  }

  /**
   * Reads the lock during a wait. The read is eventually consistent and cheap as long as the last seen expiry lies ahead.
   * Once that expiry has come, the read is consistent: a renewal may have written a later expiry.
   * @returns the newest known state of the lock, or undefined if a write is worthwhile.
   */
  async #look(seen: LockRecord): Promise<LockRecord | undefined> {
    const { store, closing } = this.#context;
    const { requestTimeoutMs, signal } = this.plan;
    const consistent = this.#untilOpenMs(seen) === 0;
    const read = (signal: AbortSignal) => store.read(this.key, { consistent }, signal);
    const limits = { order: ORDER.read, requestTimeoutMs, caller: this.#budget, signal, closing };
    try {
      const { record } = await sendInTurn(this.#context, `Reading '${this.key}'`, read, limits);
      this.#budget.fault = undefined;
      if (this.#tried.has(record?.lockId)) return undefined;
      if (record) this.#saw?.(record);
      return consistent ? record : fresher(seen, record);
    } catch (error) {
      // The next look may succeed.
      if (this.#mayPass(error)) return seen;
      throw error;
    }
  }

  /**
   * Makes one attempt, and a second attempt if the first answer showed that this host's clock is wrong (invariant 13). A
   * fault that may pass, such as a lost answer or throttling, ends no wait.
   */
  async #try(): Promise<Outcome | Failed> {
    try {
      const first = await this.#attempt();
      if (first.type !== 'misjudged') return first;
      const second = await this.#attempt();
      if (second.type !== 'misjudged') return second;
      if (second.record === undefined) {
        throw new LockStoreError(
          `Acquiring '${this.key}': refused for the clock of this host, twice. Set the clock right, or try again.`,
          { transient: true },
        );
      }
      this.#discardOurs(second.record);
      return this.busy(second.record);
    } catch (error) {
      if (this.#mayPass(error)) return { type: 'failed', error };
      throw error;
    }
  }

  /** Reports the error of a request, and tells whether the fault may pass. A lease that was too short once may do later. */
  #mayPass(error: unknown): boolean {
    if (this.plan.signal?.aborted || !(error instanceof LockStoreError || error instanceof LockNoTimeError))
      return false;
    const { owner } = this.plan;
    const waitedMs = Math.round(this.elapsedMs);
    this.#context.report({ type: 'acquireFailed', key: this.key, owner, error, waitedMs });
    return [error, error.cause].some((fault) => fault instanceof LockStoreError && fault.transient);
  }

  async #attempt(): Promise<Outcome | Misjudged> {
    const answered = await attempt(this.#context, {
      what: 'Acquiring',
      key: this.key,
      plan: this.plan,
      remainingMs: this.#remainingMs,
      since: this.#started,
      budget: this.#budget,
      discardHoldMs: 0,
      closedUntil: (sent) => this.#closedUntil(sent),
      request: (lockId, term) => this.#request(lockId, term),
    });
    if (answered.type === 'granted') return this.#judged(answered);
    if (answered.type === 'refused') return this.#refused(answered);
    const { grant } = answered;
    if (grant === undefined) return { type: 'misjudged' };
    return { type: 'misjudged', record: await this.#giveBack(grant) };
  }

  /** @throws LockStoreError if somebody has written the token that the store compared with the call's, by its bytes alone. */
  #judged(granted: Attempt & { type: 'granted' }): Outcome {
    const { key, lockId, term, record } = granted.grant;
    if (this.plan.once === undefined || record.doneToken === undefined || isCanonical(record.doneToken)) return granted;
    discard(this.#context, { key, lockId, until: term.until }, this.plan);
    throw flawError('Acquiring', record);
  }

  /** Gives a grant back. The giving back goes on in the background if the caller cannot wait for its end. */
  async #giveBack(grant: Grant): Promise<LockRecord> {
    const what = `Giving back '${this.key}'`;
    const givingBack = giveBack(this.#context, grant, this.plan);
    inBackground(this.#context, givingBack);
    try {
      const leftMs = checkLeft(this.#budget.leftMs, what, this.#budget);
      return await limited(this.#context.clock, () => givingBack, leftMs, this.plan.signal);
    } catch (error) {
      this.plan.signal?.throwIfAborted();
      throw storeError(error, what, this.#budget.fault, CALLERS_TIMES);
    }
  }

  /** Counts from the latest moment of the sending, by the server's clock, and not before the record's `acquiredAt`. */
  #closedUntil(sent: Instant): number {
    const { serverClock } = this.#context;
    const latest = Math.ceil(sent.wall + serverClock.expiryOffsetMs);
    return Math.max(serverClock.now(this.key, sent), latest) + this.plan.holdAtLeastMs;
  }

  #request(lockId: string, { sent, until }: Term) {
    const { store, serverClock } = this.#context;
    const { leaseMs, once, data, owner } = this.plan;
    const key = this.key;
    this.#tried.add(lockId);
    const request = { key, lockId, owner, now: serverClock.now(key, sent), until, leaseMs, once, data };
    return (signal: AbortSignal) => store.acquire(request, signal);
  }

  #refused({ record, term }: Attempt & { type: 'refused' }): Outcome | Misjudged {
    const key = this.key;
    if (record === undefined) {
      throw new LockStoreError(
        `Acquiring '${key}': refused without its record; the server must support ReturnValuesOnConditionCheckFailure.`,
      );
    }
    this.#saw?.(record);
    const done = this.#doneBy(record);
    if (done) return done;
    this.#discardOurs(record);
    // The refusal showed that our clock is behind. By the server's clock the lock is open, so ask again.
    const wasOpen = term.isDisproved && this.#untilOpenMs(record) === 0;
    return wasOpen ? { type: 'misjudged', record } : this.busy(record);
  }

  /**
   * Releases a grant of an earlier attempt of this call, which came late or a second time. So a call is never busy with
   * itself.
   */
  #discardOurs({ key, lockId, expiresAt }: LockRecord): void {
    if (lockId === undefined || !this.#tried.has(lockId)) return;
    discard(this.#context, { key, lockId, until: expiresAt }, this.plan);
    throw new LockStoreError(`Acquiring '${key}': an earlier attempt was granted late, and is released. Try again.`, {
      transient: true,
    });
  }

  #untilOpenMs(record: LockRecord): number {
    return this.#context.serverClock.untilOpenMs(record);
  }

  /** @throws LockTokenError if the order of the two tokens means nothing, since they have two forms. */
  #doneBy(record: LockRecord | undefined): Outcome | undefined {
    const { once = '' } = this.plan;
    const doneToken = record?.doneToken;
    if (!isDone(this.plan.once, doneToken) || !isCanonical(doneToken)) return undefined;
    if (haveOneForm(once, doneToken)) return { type: 'done', doneToken };
    throw new LockTokenError({ key: this.key, once: shownToken(once), doneToken: shownToken(doneToken) });
  }

  /**
   * The outcome of a call that a record keeps out.
   * @throws LockStoreError if no holder refuses the request, but a value that somebody has written into the record.
   */
  busy(record: LockRecord): Busy {
    const retryAfterMs = this.#untilOpenMs(record);
    const isJudged = areCountable(record) && (retryAfterMs > 0 || this.plan.once === undefined);
    if (record.flaw !== undefined && !isJudged) throw flawError('Acquiring', record);
    return { type: 'busy', record, retryAfterMs: Math.max(1, retryAfterMs) };
  }
}
