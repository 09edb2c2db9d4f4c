import { LockLostError, LockStoreError } from '../record/errors.ts';
import type { LockRecord } from '../record/record.ts';
import { isDone } from '../record/record.ts';
import type { StoreAnswer } from '../record/store.ts';
import { elapsedMs, type Instant, instant, pause } from './clock.ts';
import { discard, holderOf, type LeaseContext, untilOpenMs } from './context.ts';
import { Lease } from './lease.ts';
import { newLockId } from './lock-id.ts';
import { type AcquirePlan, remainingOf } from './options.ts';
import { isMisdated, judgedInstant, send } from './send.ts';
import { hasStepped } from './server-clock.ts';

/** What an acquisition came to. */
export type Outcome =
  | { readonly is: 'granted'; readonly lease: Lease }
  | Busy
  | { readonly is: 'done'; readonly doneToken: string };
type Busy = { readonly is: 'busy'; readonly record: LockRecord; readonly retryAfterMs: number };
/** An attempt whose outcome is not known, for a reason that may pass. */
type Failed = { readonly is: 'failed'; readonly error: unknown };

/** The attempt of a host whose clock turned out to be wrong. With no record: the server refused it for its time. */
type Misjudged = { readonly is: 'misjudged'; readonly record?: LockRecord };

/** One request to acquire, as it was sent. */
interface Attempt {
  readonly lockId: string;
  readonly sent: Instant;
  /** An answer had judged this host's clock when the request was written. */
  readonly isJudged: boolean;
  /** Milliseconds that were added to this host's clock for the expiry that was written. */
  readonly offsetMs: number;
  /** By how much this host's clock could be behind, as far as was known. */
  readonly behindMs: number;
  readonly until: number;
  /** For how long, from `sent`, the grant may be believed; and at the most, however often it is renewed. */
  readonly believeMs: number;
  readonly capMs: number;
}

/**
 * Pauses of a waiter grow by 15% from 30 ms, so that a pause is about a seventh of the time waited: a lock that is
 * released after half a second is seen within 100 ms, after 9 reads or so; in the long run there is one read a second.
 */
const FIRST_PAUSE_MS = 30;
const PAUSE_GROWTH = 1.15;
const LONGEST_PAUSE_MS = 1_000;
/** Waiters for one expiry write that late at the most, spread out, and not all in the same millisecond. */
const MOST_LATE_MS = 25;

/** One call to acquire a lock: its attempts, and the waiting between them. */
export class Acquisition {
  readonly #context: LeaseContext;
  readonly #key: string;
  readonly #plan: AcquirePlan;
  readonly #started: Instant;
  readonly #remainingMs: number;
  /** The ids of its attempts: what an earlier one is granted late is nobody's. */
  readonly #tried = new Set<string | undefined>();
  #pauseMs = 0;

  constructor(context: LeaseContext, key: string, plan: AcquirePlan) {
    this.#context = context;
    this.#key = key;
    this.#plan = plan;
    this.#started = instant(context.clock);
    this.#remainingMs = remainingOf(plan);
  }

  /** Milliseconds since the call. */
  get elapsedMs(): number {
    return elapsedMs(this.#started, instant(this.#context.clock));
  }

  /**
   * One optimistic write; then, while the lock is busy and time remains, cheap reads with growing pauses, and the write
   * again when the record looks free. So a waiter never spends the write capacity that the holder's heartbeat needs.
   */
  async run(): Promise<Outcome> {
    for (;;) {
      const outcome = await this.#attempt();
      if (outcome.is === 'granted' || outcome.is === 'done') return outcome;
      const ended = await this.#wait(outcome);
      if (ended) return ended;
    }
  }

  /** Waits until it is worth writing again; what it returns instead is the end of the acquisition. */
  async #wait(outcome: Busy | Failed): Promise<Outcome | undefined> {
    let seen = outcome.is === 'busy' ? outcome.record : undefined;
    do {
      const leftMs = this.#plan.waitMs - this.elapsedMs;
      if (leftMs <= 0) {
        if (outcome.is === 'failed') throw outcome.error;
        return seen && this.#busy(seen);
      }
      await this.#pause(leftMs, seen);
      if (seen === undefined) return undefined;
      seen = await this.#look(seen);
      const doneToken = seen?.doneToken;
      if (isDone(this.#plan.once, doneToken)) return { is: 'done', doneToken };
    } while (seen && !this.#isOpen(seen));
    return undefined;
  }

  /** From three quarters to five quarters of the pause, to spread waiters that came together; no longer than is useful. */
  async #pause(leftMs: number, seen: LockRecord | undefined): Promise<void> {
    const { clock, closing, report } = this.#context;
    if (seen && this.#pauseMs === 0) {
      const { fencingToken, expiresAt } = seen;
      report({ type: 'waiting', key: this.#key, owner: holderOf(seen), fencingToken, expiresAt });
    }
    this.#pauseMs = Math.min(this.#pauseMs * PAUSE_GROWTH || FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
    const jitteredMs = this.#pauseMs * (0.75 + Math.random() / 2);
    const openMs = seen ? untilOpenMs(this.#context, seen) + Math.random() * MOST_LATE_MS : jitteredMs;
    await pause(clock, Math.min(jitteredMs, openMs, leftMs), this.#plan.signal, closing);
  }

  /**
   * A look at a lock that is waited for: what is known of it then, or undefined when it is worth writing. A cheap one, and
   * a consistent one when the expiry has come that was seen last, which may have been put off by a renewal.
   */
  async #look(seen: LockRecord): Promise<LockRecord | undefined> {
    const { store } = this.#context;
    const { requestTimeoutMs, signal } = this.#plan;
    const consistent = this.#isOpen(seen);
    const read = (signal: AbortSignal) => store.read(this.#key, { consistent }, signal);
    try {
      const { record } = await send(this.#context, `Reading '${this.#key}'`, read, { requestTimeoutMs, signal });
      if (this.#tried.has(record?.lockId)) return undefined;
      return consistent ? record : fresher(seen, record);
    } catch (error) {
      // The next look may succeed.
      if (isTransient(error)) return seen;
      throw error;
    }
  }

  /**
   * One attempt; a second one where the first showed that this host's clock is wrong (invariant 13). What may pass, such
   * as a lost answer or throttling, ends no wait.
   */
  async #attempt(): Promise<Outcome | Failed> {
    try {
      const first = await this.#attemptOnce();
      if (first.is !== 'misjudged') return first;
      const second = await this.#attemptOnce();
      if (second.is !== 'misjudged') return second;
      if (second.record === undefined) {
        throw new LockStoreError(
          `Acquiring '${this.#key}': refused for the clock of this host, twice: set it right, or try again`,
          { transient: true },
        );
      }
      await this.#discardOurs(second.record);
      return this.#busy(second.record);
    } catch (error) {
      if (isTransient(error)) return { is: 'failed', error };
      throw error;
    }
  }

  async #attemptOnce(): Promise<Outcome | Misjudged> {
    const key = this.#key;
    const { once, requestTimeoutMs, signal } = this.#plan;
    const withinMs = this.#remainingMs - this.elapsedMs;
    this.#checkLeft(withinMs);
    const sent = await judgedInstant(this.#context, key, { requestTimeoutMs, withinMs, signal }, this.#context.closing);
    signal?.throwIfAborted();
    const attempt = this.#newAttempt(sent);
    const answer = await this.#send(attempt);
    if (answer === undefined) return { is: 'misjudged' };
    const { record, serverDate } = answer;
    if (record === undefined) {
      throw new LockStoreError(
        `Acquiring the lock '${key}': refused without its record; the server must support ReturnValuesOnConditionCheckFailure`,
      );
    }
    const { lockId } = record;
    if (lockId !== attempt.lockId) {
      if (isDone(once, record.doneToken)) return { is: 'done', doneToken: record.doneToken };
      await this.#discardOurs(record);
      // Refused by a clock that is behind, as the refusal showed: for others, and by now for us, the lock is open.
      const { offsetMs } = attempt;
      const wasOpen = this.#context.serverClock.disproves(offsetMs, this.#plan.safetyMs) && this.#isOpen(record);
      return wasOpen ? { is: 'misjudged', record } : this.#busy(record);
    }
    if (this.#wasMisjudged(attempt, record, serverDate)) {
      return { is: 'misjudged', record: await this.#giveBack(record, serverDate) };
    }
    await this.#discardUnwanted(attempt);
    // The clock was set, or stood still, while the request was out. If no answer had judged it before, this one cannot
    // tell whether what was written is right.
    if (!attempt.isJudged && hasStepped(attempt.sent, instant(this.#context.clock))) {
      return { is: 'misjudged', record: await this.#giveBack(record, serverDate) };
    }
    return { is: 'granted', lease: this.#hold(attempt, record) };
  }

  /** An earlier attempt of ours that came late, or once more, is nobody's, and busy never names ourselves. */
  async #discardOurs({ lockId, expiresAt }: LockRecord): Promise<void> {
    if (!this.#tried.has(lockId)) return;
    await this.#discard(lockId as string, expiresAt);
    throw new LockStoreError(`Acquiring '${this.#key}': an earlier attempt came late`, { transient: true });
  }

  #isOpen(record: LockRecord): boolean {
    return untilOpenMs(this.#context, record) === 0;
  }

  #busy(record: LockRecord): Busy {
    return { is: 'busy', record, retryAfterMs: untilOpenMs(this.#context, record) };
  }

  #newAttempt(sent: Instant): Attempt {
    const { serverClock } = this.#context;
    const { leaseMs, safetyMs, holdAtMostMs } = this.#plan;
    // Invariant 8: no longer than the work may last, and, on Lambda, than the invocation.
    const capMs = Math.min(holdAtMostMs, this.#remainingMs - elapsedMs(this.#started, sent));
    const believeMs = Math.min(leaseMs - safetyMs, capMs);
    const offsetMs = serverClock.expiryOffsetMs;
    const until = Math.ceil(sent.wall + offsetMs + believeMs + safetyMs);
    // An id for each attempt: invariant 3 asks whether the grant in the record is this very one's.
    const lockId = newLockId();
    this.#tried.add(lockId);
    const { behindMs } = serverClock;
    return { lockId, sent, isJudged: serverClock.isJudged(sent), offsetMs, behindMs, until, believeMs, capMs };
  }

  /** Gives undefined where the server refused the request for its time. */
  async #send({ lockId, sent, until, believeMs, capMs }: Attempt): Promise<StoreAnswer | undefined> {
    const { store, serverClock } = this.#context;
    const { leaseMs, once, data, owner, requestTimeoutMs, signal } = this.#plan;
    const key = this.#key;
    this.#checkLeft(believeMs, capMs);
    const request = { key, lockId, owner, now: serverClock.now(key, sent), until, leaseMs, once, data };
    try {
      return await send(this.#context, `Acquiring '${key}'`, (signal) => store.acquire(request, signal), {
        requestTimeoutMs,
        // Invariant 4: what would be born past its deadline is not sent.
        withinMs: believeMs,
        since: sent,
        signal,
        throwMisdated: true,
      });
    } catch (error) {
      if (isMisdated(error)) return undefined;
      // Whether it was granted is not known: what may have been is released.
      if (!(error instanceof LockStoreError) || error.transient) {
        await this.#discard(lockId, until);
      }
      throw error;
    }
  }

  /** Invariant 13: taken too early by the server's clock, or written with a clock that the answer shows to be wrong. */
  #wasMisjudged({ offsetMs }: Attempt, { previousExpiresAt }: LockRecord, serverDate: number | undefined): boolean {
    const { serverClock } = this.#context;
    return serverClock.disproves(offsetMs, this.#plan.safetyMs) || serverClock.tooEarly(previousExpiresAt, serverDate);
  }

  /** Restores what a grant, answered at `serverDate`, took over. Should that fail, the grant ends with its lease. */
  async #giveBack(record: LockRecord, serverDate: number | undefined): Promise<LockRecord> {
    // Its answer was lost, and since then another wrong clock took it over and gave it back: the record tells no more
    // what it had taken over itself, which may be a live lease. So it stays closed.
    if (record.previousExpiresAt === undefined) return record;
    try {
      const { record: standing } = await this.#sendBack(record, record, serverDate);
      if (standing === undefined || standing.lockId !== record.lockId) return before(record);
      // Our own id under another token: a duplicate of our acquire was granted once more, over what its record says; or one
      // wrong clock took the lock over and has given it back to us. More than that, and nobody knows: it stays closed.
      if (standing.previousExpiresAt !== undefined) await this.#sendBack(standing, standing, serverDate);
      else if (standing.fencingToken === record.fencingToken + 1) await this.#sendBack(standing, record, serverDate);
    } catch {
      // The caller learns that the lock is busy, which it then is for that long.
    }
    return before(record);
  }

  #sendBack(
    { key, lockId, fencingToken }: LockRecord,
    tookOver: LockRecord,
    serverDate = Number.POSITIVE_INFINITY,
  ): Promise<StoreAnswer> {
    const { store, serverClock } = this.#context;
    const previous = {
      lockId: tookOver.previousLockId,
      owner: tookOver.previousOwner,
      acquiredAt: tookOver.previousAcquiredAt,
      expiresAt: tookOver.previousExpiresAt as number,
    };
    const giveBack = (signal: AbortSignal) => {
      // No later than the server's time, whatever this host's clock shows by now: the lock opens then.
      const now = Math.min(serverClock.now(key), serverDate);
      return store.giveBack({ key, lockId: lockId as string, fencingToken, now, previous }, signal);
    };
    return send(this.#context, 'Giving back', giveBack, { withinMs: this.#plan.requestTimeoutMs });
  }

  /** Releases a grant that came too late to be one (invariant 4), or that nobody waits for any more. */
  async #discardUnwanted({ lockId, sent, behindMs, until, believeMs }: Attempt): Promise<void> {
    const { clock, serverClock, closing } = this.#context;
    const { signal, safetyMs } = this.#plan;
    const forMs = Math.min(believeMs, serverClock.untilMs(sent, until, behindMs) - safetyMs);
    const isLate = elapsedMs(sent, instant(clock)) >= forMs;
    if (!isLate && !closing.aborted && !signal?.aborted) return;
    await this.#discard(lockId, until);
    closing.throwIfAborted();
    signal?.throwIfAborted();
    throw this.#lost('its grant was answered after its own deadline');
  }

  #hold(attempt: Attempt, record: LockRecord): Lease {
    const { fencingToken, acquiredAt, doneToken, previousLockId, previousOwner = '', previousExpiresAt = 0 } = record;
    const takenOverFrom = previousLockId ? { owner: previousOwner, expiredAt: previousExpiresAt } : undefined;
    const grant = { ...attempt, fencingToken, acquiredAt, doneToken, takenOverFrom };
    const { until, believeMs } = attempt;
    const { safetyMs, holdAtLeastMs } = this.#plan;
    // A release closes the lock for so long from `acquiredAt`, the earliest moment of the grant; we promise it from the
    // latest. The two differ where this host's clock is known to be wrong.
    const lateMs = Math.max(0, until - believeMs - safetyMs - acquiredAt);
    const plan = { ...this.#plan, holdAtLeastMs: holdAtLeastMs && Math.ceil(holdAtLeastMs + lateMs) };
    return new Lease(this.#key, grant, plan, this.#context);
  }

  #discard(lockId: string, until: number): Promise<void> {
    return discard(this.#context, { key: this.#key, lockId, until }, this.#plan.requestTimeoutMs);
  }

  /** Invariant 4: no request is sent for a lease that would be past its deadline when it is granted. */
  #checkLeft(believeMs: number, capMs = believeMs): void {
    if (believeMs > 0) return;
    throw this.#lost(`it would be born past its deadline: ${capMs} ms are left to hold it in`);
  }

  #lost(detail: string): LockLostError {
    return new LockLostError({ key: this.#key, reason: 'expired', detail });
  }
}

/** What stood before a grant, as far as a caller is told of it. */
const before = ({ previousLockId, previousOwner, previousExpiresAt = 0, ...record }: LockRecord): LockRecord => ({
  ...record,
  lockId: previousLockId,
  owner: previousOwner,
  expiresAt: previousExpiresAt,
});

const isTransient = (error: unknown): boolean => error instanceof LockStoreError && error.transient;

/**
 * The newer of two views of a lock. An eventually consistent read may be older than what is known: tokens only grow, a
 * grant is outstanding before it is released, and its expiry only moves on.
 */
function fresher(known: LockRecord, read: LockRecord | undefined): LockRecord {
  if (read === undefined) return known;
  const ahead = read.fencingToken - known.fencingToken;
  if (ahead !== 0) return ahead > 0 ? read : known;
  if (read.lockId === undefined) return read;
  return known.lockId === undefined || (read.lockId === known.lockId && read.expiresAt < known.expiresAt)
    ? known
    : read;
}
