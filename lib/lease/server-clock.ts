import type { LockRecord, Takeover } from '../record/record.ts';
import type { DatedAnswer, LeaseStore } from '../record/store.ts';
import { type Clock, type Instant, instant } from './clock.ts';

/** A server's `Date` of HTTP has whole seconds: the server's clock showed `date`, or up to a second more. */
const DATE_STEP_MS = 1_000;
/**
 * Milliseconds by which the wall and the monotonic clock may part before one of them counts as set, or as having stood
 * still.
 */
const DRIFT_MS = 100;
/**
 * Milliseconds by which a relay's clock is off at the most. AWS refuses a request whose signature is more than 15 minutes
 * off, and the SDK signs by the `Date` that it sees. So no request would be accepted behind a relay that is further off.
 */
const RELAY_MOST_MS = 15 * 60_000;

/**
 * Milliseconds of skew that are worth a report. Many answers together show a clock that is some milliseconds off, as every
 * clock is.
 */
const REPORTED_SKEW_MS = 1_000;
/** The most releases that are remembered. Each release matters for a second at the most, and a process may use many keys once. */
const MOST_RELEASED = 1_000;

/**
 * Tells whether a clock was set, or stood still, between two moments. A monotonic clock that goes back belongs to a test: fake
 * timers set both clocks back together.
 */
export const hasStepped = (from: Instant, to: Instant): boolean =>
  Math.abs(to.wall - to.monotonic - (from.wall - from.monotonic)) > DRIFT_MS ||
  from.monotonic - to.monotonic > DRIFT_MS;

/**
 * Invariant 13: the server's clock judges. This class keeps an interval for the time by which the server's clock is ahead of
 * this host's wall clock: the intersection of the intervals of all answers.
 *
 * While the interval holds zero, nothing is corrected. Once it excludes zero, this host's clock is wrong:
 *
 * - A moment that is compared with a record is the earliest that the server's clock may show. So no lease is judged expired
 *   before its expiry.
 * - A moment that is written as an expiry is the latest. So nobody judges our lease expired before our belief ends.
 *
 * A `Date` that a relay may have written (`StoreAnswer.relayed`) proves less: the relay's clock may be wrong, or this
 * host's. Then the earlier and the later of the two clocks are taken. Whichever clock is right, nobody's lease is taken,
 * ours neither. A lock may stay closed for longer, by as much as the two clocks differ.
 */
export class ServerClock {
  readonly #clock: Clock;
  readonly #store: Pick<LeaseStore, 'serverDateStepMs'>;
  #lowest = -Infinity;
  #highest = Infinity;
  /** The upper end of the interval by the last answer alone, without the step of its date. */
  #lastTold = Infinity;
  #relayed = false;
  /** Settles when the judge read that is out has been answered. Undefined if no judge read is out. */
  judging: Promise<void> | undefined;
  /** True if a judge read was answered and no answer ever had a `Date`. Then this host's clock is believed. */
  #isDateless = false;
  #wasDated = false;
  /** The moment of the last answer that could judge this host's clock. */
  #judgedAt: Instant | undefined;
  /** The expiries that this process's releases wrote, by key, as long as an expiry may lie in the future. */
  readonly #released = new Map<string, number>();
  #releasedAt: Instant | undefined;

  constructor(clock: Clock, store: Pick<LeaseStore, 'serverDateStepMs'> = {}) {
    this.#clock = clock;
    this.#store = store;
  }

  /** The steps in which the server's dates are told, in milliseconds. A store may learn them from its last date. */
  get #stepMs(): number {
    return this.#store.serverDateStepMs ?? DATE_STEP_MS;
  }

  /** Learns from an answer: the server's clock showed `serverDate` at some moment between `sent` and now. */
  observe(sent: Instant, { serverDate: date, relayed = false }: DatedAnswer): void {
    if (date === undefined || !Number.isFinite(date)) return;
    const received = instant(this.#clock);
    if (this.#judgedAt && hasStepped(this.#judgedAt, received)) this.#forget();
    // If the clock was set while the request was out, this answer tells nothing.
    if (hasStepped(sent, received)) return;
    this.#judgedAt = received;
    this.#isDateless = false;
    this.#wasDated = true;
    this.#relayed = relayed;
    const lowest = date - received.wall;
    this.#lastTold = date - sent.wall;
    const highest = this.#lastTold + this.#stepMs;
    this.#lowest = Math.max(this.#lowest, lowest);
    this.#highest = Math.min(this.#highest, highest);
    if (this.#lowest > this.#highest) {
      // The servers' clocks differ by milliseconds. The last answer is as good as any.
      this.#lowest = lowest;
      this.#highest = highest;
    }
  }

  #forget(): void {
    this.#judgedAt = undefined;
    this.#lowest = -Infinity;
    this.#highest = Infinity;
    this.#lastTold = Infinity;
  }

  /**
   * Tells whether an answer has judged this host's clock, and the clock was neither set nor stood still from then to
   * `moment`.
   */
  isJudged(moment: Instant): boolean {
    return this.#isDateless || (this.#judgedAt !== undefined && !hasStepped(this.#judgedAt, moment));
  }

  /** Learns that an answer had no date. This tells nothing if an earlier answer of the store had a date. */
  observeDateless(): void {
    this.#isDateless = !this.#wasDated;
  }

  /** True once this host's clock is known to be wrong. */
  get isWrong(): boolean {
    return this.#lowest > 0 || this.#highest < 0;
  }

  /** True if a relay's clock may be wrong, and not this host's. */
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
   * Milliseconds by which this host's clock may be behind the server's, beyond the step of the dates, which `safetyMs` covers. A slow
   * answer cannot tell a right clock from a clock that is behind by as long as the answer took:
   *
   *     server   ----------|date      |date + step ------
   *     host     ---|sent ..................... |received
   *                 |<---- highest ------------>|
   *
   * Only the last answer counts. Since an earlier answer both clocks may have stood still together, as in a paused virtual
   * machine, and no difference between the clocks would show it.
   */
  get behindMs(): number {
    if (this.#lastTold === Infinity) return 0;
    return this.isWrong ? Math.max(this.expiryOffsetMs, this.#lastTold) : Math.max(0, this.#lastTold);
  }

  /**
   * The least milliseconds, by the server's clock, from the sending of a request to the expiry that the request wrote.
   * @param behindMs the value of `behindMs` at the sending. This value counts if the clock was set, or stood still, since
   *   then: the present value belongs to another setting of the clock.
   */
  untilMs(sent: Instant, expiresAt: number, behindMs: number): number {
    const isKnown = !hasStepped(sent, instant(this.#clock));
    return expiresAt - (sent.wall + (isKnown ? this.behindMs : behindMs));
  }

  /**
   * Milliseconds by which this host's clock is ahead of the server's (negative: behind). Undefined unless the clock is known
   * to be wrong by more than a second.
   */
  get skewMs(): number | undefined {
    const skewMs = -Math.round((this.#lowest + this.#highest) / 2);
    return this.isWrong && Math.abs(skewMs) > REPORTED_SKEW_MS ? skewMs : undefined;
  }

  /**
   * The moment to compare with the record of a key. This moment never lies before the expiry that this process's last
   * release of the key wrote. A release leaves `acquiredAt + 1`: without this rule, a lock that was held for less than a
   * millisecond would be busy for the process that released it. After the clock was set, the rule would break live leases,
   * and does not hold.
   */
  now(key: string, moment = instant(this.#clock)): number {
    return Math.max(Math.floor(moment.wall + this.#comparedOffsetMs), this.#releasedUntil(key, moment));
  }

  /** The expiry that this process's last release of a key wrote. Unknown, and so long past, if the clock was set since. */
  #releasedUntil(key: string, moment: Instant): number {
    const isKnown = this.#releasedAt !== undefined && !hasStepped(this.#releasedAt, moment);
    return (isKnown && this.#released.get(key)) || -Infinity;
  }

  /** Milliseconds until a lock opens, by the server's clock as far as that clock is known. 0 if the lock is open. */
  untilOpenMs({ key, expiresAt }: LockRecord): number {
    return Math.max(0, expiresAt - this.now(key));
  }

  /** Remembers the expiry that this process wrote when it released a key. */
  wrote(key: string, expiresAt: number): void {
    const moment = instant(this.#clock);
    if (this.#released.size >= MOST_RELEASED || (this.#releasedAt && hasStepped(this.#releasedAt, moment))) {
      this.#released.clear();
    }
    this.#releasedAt = moment;
    this.#released.set(key, expiresAt);
  }

  /**
   * Tells whether an expiry that was written with `offsetMs` added must not be left as it is, now that more is known:
   *
   * - The expiry is too early, by more than the holder's `safetyMs`.
   * - The expiry is too late, by more than a right clock can seem to be off.
   */
  disproves(offsetMs: number, safetyMs: number): boolean {
    const tooSoonMs = this.expiryOffsetMs - offsetMs;
    return tooSoonMs > safetyMs || -tooSoonMs > Math.max(safetyMs, this.#stepMs);
  }

  /**
   * Tells whether a grant, whose answer has just come, was made before the lock had opened by the server's clock.
   *
   * - If this host's clock may be right: tells so only if this is certain.
   * - If this host's clock is known to be wrong: tells so also if this is possible.
   * - Never of a lock that this process has released itself.
   */
  tooEarly(key: string, tookOver: Takeover | undefined, date: number | undefined): boolean {
    if (tookOver === undefined || tookOver.type === 'nothing' || date === undefined) return false;
    const { expiresAt } = tookOver;
    if (expiresAt <= this.#releasedUntil(key, instant(this.#clock))) return false;
    if (!this.isWrong) return date + this.#stepMs <= expiresAt;
    return Math.max(date, this.#clock.now() + this.#lowest) < expiresAt;
  }
}

const known = new WeakMap<object, WeakMap<Clock, ServerClock>>();

/**
 * Gives the one `ServerClock` of a store and a clock, so that all clients in a process learn from each other's answers. A
 * `ServerClock` knows of clocks and of no grant (invariant 11).
 */
export function serverClockOf(store: LeaseStore, clock: Clock): ServerClock {
  const ofStore = known.get(store) ?? new WeakMap<Clock, ServerClock>();
  known.set(store, ofStore);
  const serverClock = ofStore.get(clock) ?? new ServerClock(clock, store);
  ofStore.set(clock, serverClock);
  return serverClock;
}
