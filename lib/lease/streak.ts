import type { LockRecord } from '../record/record.ts';
import { LONGEST_PAUSE_MS } from './acquisition.ts';
import { type Clock, elapsedMs, type Instant, instant } from './clock.ts';

/** The most keys whose streaks are remembered. A streak matters for a longest pause after its last lease. */
const MOST_STREAKS = 1_000;
/**
 * A client that was granted a key again and again for this time, in milliseconds, rests. As long as nobody else takes the lock
 * during a rest, the next rest comes after twice the time.
 */
const SERVED_MS = { first: 1_000, most: 4_000 };

/**
 * The time for which a client has been granted a key again and again. The process that releases a lock is the first to know.
 * So without rests, it would be served for ever, and other processes would wait for ever. A rest lasts for a poll's longest
 * pause: everybody who waits looks at the lock meanwhile. Knows moments and tokens, and no grant (invariant 11).
 */
class Streak {
  readonly #clock: Clock;
  #servedMs = SERVED_MS.first;
  #since: Instant | undefined;
  #rested: Instant | undefined;
  /** The end of the client's last lease, unless another lease has begun. */
  #ended: Instant | undefined;
  #token = 0;
  #hasRested = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  granted(fencingToken: number): void {
    if (fencingToken !== this.#token + 1) this.interrupted();
    else if (this.#hasRested) this.#servedMs = Math.min(2 * this.#servedMs, SERVED_MS.most);
    this.#token = fencingToken;
    this.#hasRested = false;
    this.#ended = undefined;
    this.#since ??= instant(this.#clock);
  }

  #reset(): void {
    this.interrupted();
    this.#hasRested = false;
  }

  /** Somebody else has, or had, the lock. */
  interrupted(): void {
    this.#since = undefined;
    this.#servedMs = SERVED_MS.first;
  }

  /** The client's last lease has ended. */
  ended(): void {
    this.#ended = instant(this.#clock);
  }

  /** Milliseconds for which the client still rests. Begins a rest when a rest is due. */
  restMs(): number {
    const now = instant(this.#clock);
    // The lock was free for others for a whole pause, besides a rest.
    const freeMs = this.#ended ? elapsedMs(this.#ended, now) : 0;
    if (freeMs > (this.#hasRested ? 2 : 1) * LONGEST_PAUSE_MS) this.#reset();
    if (this.#since && elapsedMs(this.#since, now) >= this.#servedMs) {
      this.#since = undefined;
      this.#rested = now;
      this.#hasRested = true;
    }
    return this.#rested ? LONGEST_PAUSE_MS - elapsedMs(this.#rested, now) : 0;
  }
}

/** The streaks of a client, by the key of the record. A streak outlasts a line, in which one call may stand alone. */
export class Streaks {
  readonly #clock: Clock;
  readonly #streaks = new Map<string, Streak>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The streak of a key. Undefined if the client has not been granted the key, or not for long. */
  find(key: string): Streak | undefined {
    return this.#streaks.get(key);
  }

  granted({ key, fencingToken }: LockRecord): void {
    if (this.#streaks.size >= MOST_STREAKS && !this.#streaks.has(key)) this.#streaks.clear();
    const streak = this.#streaks.get(key) ?? new Streak(this.#clock);
    this.#streaks.set(key, streak);
    streak.granted(fencingToken);
  }
}
