import { type Clock, type Instant, instant } from './clock.ts';
import type { AcquirePlan } from './options.ts';
import type { Caller } from './send.ts';

/**
 * The time for which the caller of `acquire` or `resume` waits, whatever the store does. A wait is no lease: a wall clock that
 * is set does not end the wait.
 *
 * - A caller who gave `waitMs` or `withinMs` waits from the call on.
 * - For a caller who gave neither, the time begins when the first request has its turn. Otherwise thousands of calls at once
 *   would run out of time in the queue of this process.
 */
export class Budget implements Caller {
  /** The last fault that may pass, since the last answer. */
  fault: unknown;
  readonly #clock: Clock;
  readonly #ms: number;
  #since: Instant;
  #runs: boolean;

  constructor(clock: Clock, { withinMs, countsQueue }: Pick<AcquirePlan, 'withinMs' | 'countsQueue'>) {
    this.#clock = clock;
    this.#ms = withinMs;
    this.#since = instant(clock);
    this.#runs = countsQueue;
  }

  /** Milliseconds for which the caller still waits. */
  get leftMs(): number {
    return this.#runs ? this.#ms - (this.#clock.monotonic() - this.#since.monotonic) : this.#ms;
  }

  /** Milliseconds for which the first request may wait for its turn. */
  get queueMs(): number {
    return this.#runs ? this.leftMs : Infinity;
  }

  /** The time begins, unless it has begun. */
  start(): void {
    if (!this.#runs) this.#since = instant(this.#clock);
    this.#runs = true;
  }
}
