import type { LockRecord, Takeover } from '../record/record.ts';
import type { DatedAnswer } from '../record/store.ts';
import { type Clock, type Instant, instant } from './clock.ts';

/** A server's `Date` has whole seconds: its clock stood at `date` or up to a second after. */
const DATE_STEP_MS = 1_000;
/** Milliseconds by which the wall and the monotonic clock may part before one of them counts as set, or as having stood still. */
const DRIFT_MS = 100;
/**
 * Milliseconds by which a relay's clock is off at the most. AWS refuses a request whose signature is more than 15 minutes off, and the SDK signs
 * by the `Date` that it sees: behind a relay that is further off, no request is accepted.
 */
const RELAY_MOST_MS = 15 * 60_000;

/** Releases that are remembered at the most. Each matters for a millisecond, and a process may use many keys once. */
const MOST_RELEASED = 1_000;

/** Tells whether a clock was set, or stood still, between two moments. */
export const hasStepped = (from: Instant, to: Instant): boolean =>
  Math.abs(to.wall - to.monotonic - (from.wall - from.monotonic)) > DRIFT_MS;

/**
 * Invariant 13: the server's clock judges. This class knows an interval for how far the server's clock is ahead of this
 * host's wall clock, intersected over the answers.
 *
 * While the interval holds zero, nothing is corrected. Once it excludes zero, this host's clock is wrong:
 *
 * - a moment that is compared with a record is the earliest that the server's clock may show, so that no lease is judged
 *   expired before it is;
 * - a moment that is written as an expiry is the latest, so that nobody judges ours expired before we stop believing in it.
 *
 * A `Date` that a relay may have written (`StoreAnswer.relayed`) proves less: either it or this host's clock may be the
 * wrong one. Then the earliest and the latest of both clocks are taken. Whichever of the two is right, nobody's lease is
 * taken and nobody takes ours; a lock may stay closed for longer by as much as the two differ.
 */
export class ServerClock {
  readonly #clock: Clock;
  #lowest = -Infinity;
  #highest = Infinity;
  /** The upper end of the interval by the last answer alone. */
  #lastHighest = Infinity;
  #relayed = false;
  /** Settles when the answer has come that somebody awaits to judge this host's clock. */
  judging: Promise<void> | undefined;
  /** The store was asked for the server's time, and no answer ever had one: this host's clock is believed. */
  #isDateless = false;
  #wasDated = false;
  /** The moment of the last answer that could judge this host's clock. */
  #judgedAt: Instant | undefined;
  /** The expiries that releases of this process wrote, while they may lie in the future. */
  readonly #released = new Map<string, number>();
  #releasedAt: Instant | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Learns from an answer: the server's clock stood at `serverDate` at some moment between `sent` and now. */
  observe(sent: Instant, { serverDate: date, relayed = false }: DatedAnswer): void {
    if (date === undefined || !Number.isFinite(date)) return;
    const received = instant(this.#clock);
    if (this.#judgedAt && hasStepped(this.#judgedAt, received)) this.#forget();
    // A clock that was set while the request was out: nothing can be learned from this answer.
    if (hasStepped(sent, received)) return;
    this.#judgedAt = received;
    this.#isDateless = false;
    this.#wasDated = true;
    this.#relayed = relayed;
    const lowest = date - received.wall;
    const highest = date + DATE_STEP_MS - sent.wall;
    this.#lastHighest = highest;
    this.#lowest = Math.max(this.#lowest, lowest);
    this.#highest = Math.min(this.#highest, highest);
    if (this.#lowest > this.#highest) {
      // Servers that differ by milliseconds; the last answer is as good as any.
      this.#lowest = lowest;
      this.#highest = highest;
    }
  }

  #forget(): void {
    this.#judgedAt = undefined;
    this.#lowest = -Infinity;
    this.#highest = Infinity;
    this.#lastHighest = Infinity;
  }

  /** Tells whether an answer has judged this host's clock since that was last set, or stood still, before `moment`. */
  isJudged(moment: Instant): boolean {
    return this.#isDateless || (this.#judgedAt !== undefined && !hasStepped(this.#judgedAt, moment));
  }

  /** Learns that an answer had no date. From a store whose answers had one before, that tells nothing. */
  observeDateless(): void {
    this.#isDateless = !this.#wasDated;
  }

  /** True once this host's clock is known to be wrong. */
  get isWrong(): boolean {
    return this.#lowest > 0 || this.#highest < 0;
  }

  /** True where a relay's clock may be the wrong one, and not this host's. */
  get #mayBeRelays(): boolean {
    return this.#relayed && Math.abs(this.skewMs ?? 0) <= RELAY_MOST_MS;
  }

  /** Milliseconds to add to the wall clock before it is compared with a record. */
  get #comparedOffsetMs(): number {
    if (!this.isWrong) return 0;
    return this.#mayBeRelays ? Math.min(0, this.#lowest) : this.#lowest;
  }

  /** Milliseconds to add to the wall clock before it is written as an expiry. */
  get expiryOffsetMs(): number {
    if (!this.isWrong) return 0;
    return this.#mayBeRelays ? Math.max(0, this.#highest) : this.#highest;
  }

  /**
   * Milliseconds by which this host's clock may be behind the server's, beyond the second that `safetyMs` covers. An answer
   * that took a while cannot tell a clock that is behind by as much from a right clock:
   *
   *     server   ----------|date      |date + 1 s -------
   *     host     ---|sent ..................... |received
   *                 |<---- highest ------------>|
   *
   * Only the last answer counts. Since an earlier answer both clocks may have stood still together, as in a virtual machine
   * that was paused, and no difference between the clocks tells of that.
   */
  get behindMs(): number {
    if (this.#lastHighest === Infinity) return 0;
    const told = this.#lastHighest - DATE_STEP_MS;
    return this.isWrong ? Math.max(this.expiryOffsetMs, told) : Math.max(0, told);
  }

  /**
   * Milliseconds from the sending of a request to the expiry that it wrote, at the least, by the server's clock.
   * @param behindMs the value of `behindMs` at the sending. It counts where the clock was set, or stood still, since then: the
   *   present value belongs to another setting of the clock.
   */
  untilMs(sent: Instant, expiresAt: number, behindMs: number): number {
    const isKnown = !hasStepped(sent, instant(this.#clock));
    return expiresAt - (sent.wall + (isKnown ? this.behindMs : behindMs));
  }

  /** Milliseconds by which this host's clock is ahead of the server's (behind: negative), once known to be wrong. */
  get skewMs(): number | undefined {
    return this.isWrong ? -Math.round((this.#lowest + this.#highest) / 2) : undefined;
  }

  /**
   * The moment to compare with the record of a key. This moment never lies before the expiry that this process wrote there a
   * moment ago (a release leaves `acquiredAt + 1`), or a lock held for less than a millisecond would be busy to the process
   * that released it. After the clock was set, that exception would break live leases, and does not hold.
   */
  now(key: string, moment = instant(this.#clock)): number {
    const now = Math.floor(moment.wall + this.#comparedOffsetMs);
    const released = this.#released.get(key);
    if (released === undefined) return now;
    if (released > now && this.#releasedAt && !hasStepped(this.#releasedAt, moment)) return released;
    this.#released.delete(key);
    return now;
  }

  /** Milliseconds until a lock opens, by the server's clock as far as it is known; 0: it is open. */
  untilOpenMs({ key, expiresAt }: LockRecord): number {
    return Math.max(0, expiresAt - this.now(key));
  }

  /** Remembers the moment that this process wrote as a key's expiry when it released it. */
  wrote(key: string, expiresAt: number): void {
    const moment = instant(this.#clock);
    if (this.#released.size >= MOST_RELEASED || (this.#releasedAt && hasStepped(this.#releasedAt, moment))) {
      this.#released.clear();
    }
    this.#releasedAt = moment;
    this.#released.set(key, expiresAt);
  }

  /**
   * Tells whether an expiry that was written with `offsetMs` added is wrong by too much to be left, now that more is known:
   *
   * - too soon, by more than the holder's `safetyMs` covers;
   * - too late, by more than a right clock can be found to be off.
   */
  disproves(offsetMs: number, safetyMs: number): boolean {
    const tooSoonMs = this.expiryOffsetMs - offsetMs;
    return tooSoonMs > safetyMs || -tooSoonMs > Math.max(safetyMs, DATE_STEP_MS);
  }

  /**
   * Tells whether the lock that a grant took over, answered just now, had not opened by the server's clock.
   *
   * - With a clock that may be right: only if that is certain.
   * - With a clock that is known to be wrong: also if it is possible.
   */
  tooEarly(tookOver: Takeover | undefined, date: number | undefined): boolean {
    if (tookOver === undefined || tookOver.type === 'nothing' || date === undefined) return false;
    const { expiresAt } = tookOver;
    if (!this.isWrong) return date + DATE_STEP_MS <= expiresAt;
    return Math.max(date, this.#clock.now() + this.#lowest) < expiresAt;
  }
}

const known = new WeakMap<object, WeakMap<Clock, ServerClock>>();

/**
 * The one `ServerClock` of a store and a clock, so that all clients in a process learn from each other's answers. It is
 * knowledge of clocks and of no grant (invariant 11).
 */
export function serverClockOf(store: object, clock: Clock): ServerClock {
  const ofStore = known.get(store) ?? new WeakMap<Clock, ServerClock>();
  known.set(store, ofStore);
  const serverClock = ofStore.get(clock) ?? new ServerClock(clock);
  ofStore.set(clock, serverClock);
  return serverClock;
}
