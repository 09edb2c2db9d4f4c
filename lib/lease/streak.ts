import { LONGEST_PAUSE_MS } from './acquisition.ts';
import { type Clock, elapsedMs, type Instant, instant } from './clock.ts';

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
export class Streak {
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

  /** True if the lock was free for others for a whole pause. */
  get isOver(): boolean {
    return this.#ended !== undefined && elapsedMs(this.#ended, instant(this.#clock)) > LONGEST_PAUSE_MS;
  }

  granted(fencingToken: number): void {
    if (fencingToken !== this.#token + 1) this.interrupted();
    else if (this.#hasRested) this.#servedMs = Math.min(2 * this.#servedMs, SERVED_MS.most);
    this.#token = fencingToken;
    this.#hasRested = false;
    this.#ended = undefined;
    this.#since ??= instant(this.#clock);
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
    if (this.#since && elapsedMs(this.#since, now) >= this.#servedMs) {
      this.#since = undefined;
      this.#rested = now;
      this.#hasRested = true;
    }
    return this.#rested ? LONGEST_PAUSE_MS - elapsedMs(this.#rested, now) : 0;
  }
}
