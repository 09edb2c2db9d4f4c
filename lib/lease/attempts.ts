import { LockNoTimeError, LockStoreError, LockTokenError } from '../record/errors.ts';
import { areCountable, type LockRecord } from '../record/record.ts';
import { slotOf } from '../record/slot-keys.ts';
import { haveOneForm, isCanonical, isDone, shownToken } from '../record/token.ts';
import { type Attempt, attempt, flawError, type Grant } from './attempt.ts';
import { Budget } from './budget.ts';
import { elapsedMs, type Instant, instant } from './clock.ts';
import { inBackground, type LeaseContext } from './context.ts';
import { giveBack } from './give-back.ts';
import { type AcquirePlan, remainingOf } from './options.ts';
import { discard } from './release.ts';
import { CALLERS_TIMES, checkLeft, limited, storeError } from './send.ts';
import type { Term } from './term.ts';

/** The outcome of an acquisition. */
export type Outcome =
  | { readonly type: 'granted'; readonly grant: Grant }
  | Busy
  | { readonly type: 'done'; readonly doneToken: string; readonly doneResult: string | undefined };
/** Another holder has the lock, or `holdAtLeastMs` keeps the lock closed. */
export interface Busy {
  readonly type: 'busy';
  /** The record that opens first. */
  readonly record: LockRecord;
  /** The records that are closed: several with `permits`. */
  readonly closed: readonly LockRecord[];
  readonly permits: number;
  readonly retryAfterMs: number;
}
/** The store did not answer, for a reason that may pass. */
export type Failed = { readonly type: 'failed'; readonly error: unknown };
/**
 * This host's clock turned out to be wrong. There is no record if the server refused the request for its signature's time.
 */
type Misjudged = { readonly type: 'misjudged'; readonly record?: LockRecord };

/** Stands for the record of a lock that nobody has ever held, and under which no run is owed. */
const NO_RECORD = { fencingToken: 0, expiresAt: 0, acquiredAt: 0, leaseMs: 0 };

/** The attempts of one call to acquire a lock: each is one write on the record of the lock, or of one of its slots. */
export class Attempts {
  /** The time until the caller gets an answer, whatever the store does. */
  readonly budget: Budget;
  readonly #context: LeaseContext;
  /** The key that the caller gave. */
  readonly #lock: string;
  readonly #plan: AcquirePlan;
  readonly #started: Instant;
  readonly #remainingMs: number;
  readonly #saw: (record: LockRecord) => void;
  /** The ids of this call's attempts. A grant for an attempt that was given up is released. */
  readonly #tried = new Set<string>();

  /** @param saw called with every record that keeps the call out. */
  constructor(context: LeaseContext, lock: string, plan: AcquirePlan, saw: (record: LockRecord) => void) {
    this.#context = context;
    this.#lock = lock;
    this.#plan = plan;
    this.#saw = saw;
    this.#started = instant(context.clock);
    this.budget = new Budget(context.clock, plan);
    this.#remainingMs = remainingOf(plan);
  }

  /** Milliseconds since the call. */
  get elapsedMs(): number {
    return elapsedMs(this.#started, instant(this.#context.clock));
  }

  /** Tells whether a record shows a grant of an attempt of this call. */
  isOurs(record: LockRecord | undefined): boolean {
    return record?.lockId !== undefined && this.#tried.has(record.lockId);
  }

  /**
   * Makes one attempt, and a second attempt if the first answer showed that this host's clock is wrong (invariant 13). A
   * fault that may pass, such as a lost answer or throttling, ends no wait.
   */
  async ask(key: string): Promise<Outcome | Failed> {
    try {
      const first = await this.#attempt(key);
      if (first.type !== 'misjudged') return first;
      const second = await this.#attempt(key);
      if (second.type !== 'misjudged') return second;
      if (second.record === undefined) {
        throw new LockStoreError(
          `Acquiring '${key}': refused for the clock of this host, twice. Set the clock right, or try again.`,
          { transient: true },
        );
      }
      this.#discardOurs(second.record);
      return this.busy(second.record);
    } catch (error) {
      if (this.mayPass(error, key)) return { type: 'failed', error };
      throw error;
    }
  }

  /**
   * Reports the error of a request, and tells whether the fault may pass. A lease that was too short once may do later.
   * @param key the key of the record that the request was for. Undefined of a look at all slots.
   */
  mayPass(error: unknown, key?: string): boolean {
    if (this.#plan.signal?.aborted || !(error instanceof LockStoreError || error instanceof LockNoTimeError))
      return false;
    const { owner, permits } = this.#plan;
    const waitedMs = Math.round(this.elapsedMs);
    const slot = permits > 1 && key !== undefined && { slot: slotOf(this.#lock, key) };
    this.#context.report({ type: 'acquireFailed', key: this.#lock, ...slot, owner, error, waitedMs });
    return [error, error.cause].some((fault) => fault instanceof LockStoreError && fault.transient);
  }

  async #attempt(key: string): Promise<Outcome | Misjudged> {
    const answered = await attempt(this.#context, {
      what: 'Acquiring',
      key,
      lock: this.#lock,
      plan: this.#plan,
      remainingMs: this.#remainingMs,
      since: this.#started,
      budget: this.budget,
      discardHoldMs: 0,
      closedUntil: (sent) => this.#closedUntil(key, sent),
      request: (lockId, term) => this.#request(key, lockId, term),
    });
    if (answered.type === 'granted') return this.#judged(answered);
    if (answered.type === 'refused') return this.#refused(key, answered);
    const { grant } = answered;
    if (grant === undefined) return { type: 'misjudged' };
    return { type: 'misjudged', record: await this.#giveBack(grant) };
  }

  /** @throws LockStoreError if somebody has written the token that the store compared with the call's, by its bytes alone. */
  #judged(granted: Attempt & { type: 'granted' }): Outcome {
    const { key, lockId, term, record } = granted.grant;
    if (this.#plan.once === undefined || record.doneToken === undefined || isCanonical(record.doneToken))
      return granted;
    discard(this.#context, { key, lockId, until: term.until }, this.#plan);
    throw flawError('Acquiring', record);
  }

  /** Gives a grant back. The giving back goes on in the background if the caller cannot wait for its end. */
  async #giveBack(grant: Grant): Promise<LockRecord> {
    const what = `Giving back '${grant.key}'`;
    const givingBack = giveBack(this.#context, grant, this.#plan);
    inBackground(this.#context, givingBack);
    try {
      const leftMs = checkLeft(this.budget.leftMs, what, this.budget);
      return await limited(this.#context.clock, () => givingBack, leftMs, this.#plan.signal);
    } catch (error) {
      this.#plan.signal?.throwIfAborted();
      throw storeError(error, what, this.budget.fault, CALLERS_TIMES);
    }
  }

  /** Counts from the latest moment of the sending, by the server's clock, and not before the record's `acquiredAt`. */
  #closedUntil(key: string, sent: Instant): number {
    const { serverClock } = this.#context;
    const latest = Math.ceil(sent.wall + serverClock.expiryOffsetMs);
    return Math.max(serverClock.now(key, sent), latest) + this.#plan.holdAtLeastMs;
  }

  #request(key: string, lockId: string, { sent, until }: Term) {
    const { store, serverClock } = this.#context;
    const { leaseMs, once, data, owner, coalesce } = this.#plan;
    this.#tried.add(lockId);
    const request = { key, lockId, owner, now: serverClock.now(key, sent), until, leaseMs, once, data, coalesce };
    return (signal: AbortSignal) => store.acquire(request, signal);
  }

  #refused(key: string, { record, term }: Attempt & { type: 'refused' }): Outcome | Misjudged {
    if (record === undefined && this.#plan.coalesce === 'ifOwed') return this.busy({ key, ...NO_RECORD });
    if (record === undefined) {
      throw new LockStoreError(
        `Acquiring '${key}': refused without its record; the server must support ReturnValuesOnConditionCheckFailure.`,
      );
    }
    if (!this.isOurs(record)) this.#saw(record);
    const done = this.doneBy(record);
    if (done) return done;
    this.#discardOurs(record);
    // The refusal showed that our clock is behind. By the server's clock the lock is open, so ask again.
    const wasOpen = term.isDisproved && this.#context.serverClock.untilOpenMs(record) === 0;
    return wasOpen ? { type: 'misjudged', record } : this.busy(record);
  }

  /**
   * Releases a grant of an earlier attempt of this call, which came late or a second time. So a call is never busy with
   * itself.
   */
  #discardOurs({ key, lockId, expiresAt }: LockRecord): void {
    if (lockId === undefined || !this.#tried.has(lockId)) return;
    discard(this.#context, { key, lockId, until: expiresAt }, this.#plan);
    throw new LockStoreError(`Acquiring '${key}': an earlier attempt was granted late, and is released. Try again.`, {
      transient: true,
    });
  }

  /** @throws LockTokenError if the order of the two tokens means nothing, since they have two forms. */
  doneBy(record: LockRecord | undefined): Outcome | undefined {
    const { once = '' } = this.#plan;
    const doneToken = record?.doneToken;
    if (!isDone(this.#plan.once, doneToken) || !isCanonical(doneToken)) return undefined;
    if (haveOneForm(once, doneToken)) return { type: 'done', doneToken, doneResult: record?.doneResult };
    throw new LockTokenError({ key: this.#lock, once: shownToken(once), doneToken: shownToken(doneToken) });
  }

  /**
   * The answer that a lock is busy.
   * @param record the record that opens first.
   * @throws LockStoreError if no holder refuses the request, but a value that somebody has written into the record.
   */
  busy(record: LockRecord, closed: readonly LockRecord[] = [record]): Busy {
    const retryAfterMs = this.#context.serverClock.untilOpenMs(record);
    const isJudged = areCountable(record) && (retryAfterMs > 0 || this.#plan.once === undefined);
    if (record.flaw !== undefined && !isJudged) throw flawError('Acquiring', record);
    const { permits } = this.#plan;
    return { type: 'busy', record, closed, permits, retryAfterMs: Math.max(1, retryAfterMs) };
  }
}
