import { type Clock, type Instant, instant } from './clock.ts';

/** A server's `Date` has whole seconds: it tells that its clock stood at `date` or up to a second after. */
const DATE_STEP_MS = 1_000;
/** By how much the wall and the monotonic clock may part before one of them is taken to have been set, or to have stood. */
const DRIFT_MS = 100;

/** Releases are remembered for a millisecond; no more than so many, lest a process that uses many keys once grow. */
const MOST_RELEASED = 1_000;

/** Whether a clock was set, or stood still, between two moments. */
export const hasStepped = (from: Instant, to: Instant): boolean =>
  Math.abs(to.wall - to.monotonic - (from.wall - from.monotonic)) > DRIFT_MS;

/**
 * Invariant 13: the server's clock judges. What is known of it, as an interval for how far it is ahead of this host's
 * wall clock, intersected over the answers.
 *
 * While the interval holds zero nothing is corrected. Once it excludes zero, a moment that is compared with a record is
 * the earliest that the server's clock may show, so that no lease is judged expired before it is; and a moment that is
 * written as an expiry is the latest, so that nobody judges ours expired before we stop believing in it.
 */
export class ServerClock {
  readonly #clock: Clock;
  #lowest = Number.NEGATIVE_INFINITY;
  #highest = Number.POSITIVE_INFINITY;
  #observed: Instant | undefined;
  /** What a release wrote as its key's expiry, while that may lie before us; and when the last one did. */
  readonly #released = new Map<string, number>();
  #releasedAt: Instant | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Learns from an answer: the server's clock stood at `date` at some moment between `sent` and now. */
  observe(sent: Instant, date: number | undefined): void {
    if (date === undefined || !Number.isFinite(date)) return;
    const received = instant(this.#clock);
    if (this.#observed && hasStepped(this.#observed, received)) this.#forget();
    this.#observed = received;
    // A clock that was set while the request was out: nothing can be learned from this answer.
    if (hasStepped(sent, received)) return;
    const lowest = date - received.wall;
    const highest = date + DATE_STEP_MS - sent.wall;
    this.#lowest = Math.max(this.#lowest, lowest);
    this.#highest = Math.min(this.#highest, highest);
    if (this.#lowest > this.#highest) {
      // Servers that differ by milliseconds; the last answer is as good as any.
      this.#lowest = lowest;
      this.#highest = highest;
    }
  }

  #forget(): void {
    this.#lowest = Number.NEGATIVE_INFINITY;
    this.#highest = Number.POSITIVE_INFINITY;
  }

  /** Whether this host's clock is known to be wrong. */
  get isWrong(): boolean {
    return this.#lowest > 0 || this.#highest < 0;
  }

  /** What to add to the wall clock before it is written as an expiry. */
  get expiryOffsetMs(): number {
    return this.isWrong ? this.#highest : 0;
  }

  /** How long after a moment of this host's an expiry comes, at the soonest, by the server's clock. */
  untilMs(moment: Instant, expiresAt: number): number {
    return expiresAt - (moment.wall + this.expiryOffsetMs);
  }

  /** By how many milliseconds this host's clock is ahead of the server's (behind: negative), once known to be wrong. */
  get skewMs(): number | undefined {
    return this.isWrong ? -Math.round((this.#lowest + this.#highest) / 2) : undefined;
  }

  /**
   * The moment to compare with the record of a key. It never stands behind what this process wrote there a moment ago (a
   * release leaves `acquiredAt + 1`), or a lock held for less than a millisecond would be busy to the one who released
   * it. Not so after the clock was set, which nobody may assume away: that would break live leases.
   */
  now(key: string, moment = instant(this.#clock)): number {
    const now = Math.floor(moment.wall + (this.isWrong ? this.#lowest : 0));
    const released = this.#released.get(key);
    if (released === undefined) return now;
    if (released > now && this.#releasedAt && !hasStepped(this.#releasedAt, moment)) return released;
    this.#released.delete(key);
    return now;
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
   * Whether an expiry that was written with `offsetMs` added is wrong by too much to be left, now that more is known: too
   * soon, by more than the holder's safety covers, or too late, by more than a right clock can be found to be off.
   */
  disproves(offsetMs: number, safetyMs: number): boolean {
    const tooSoonMs = this.expiryOffsetMs - offsetMs;
    return tooSoonMs > safetyMs || -tooSoonMs > Math.max(safetyMs, DATE_STEP_MS);
  }

  /**
   * Whether a grant that was answered just now took over what, by the server's clock, had not expired: surely not, or, on
   * a host whose clock is known to be wrong, not surely.
   */
  tooEarly(previousExpiresAt: number | undefined, date: number | undefined): boolean {
    if (previousExpiresAt === undefined || date === undefined) return false;
    if (!this.isWrong) return date + DATE_STEP_MS <= previousExpiresAt;
    return Math.max(date, this.#clock.now() + this.#lowest) < previousExpiresAt;
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
