import { backgroundTimer, systemClock } from '../lib/lease/clock.ts';
import { leavingOf } from '../lib/lease/options.ts';
import { releaseMsOf } from '../lib/lease/release.ts';
import { MOST_MS } from '../lib/record/check.ts';

/** Milliseconds of an invocation's time that a wait for unfinished work leaves to the releases and the response. */
const END_MS = 1_000;

/** The time that an invocation has left, as its context tells. */
export class Remaining {
  readonly #ask: (() => unknown) | undefined;

  constructor(context: { getRemainingTimeInMillis?: () => unknown } | undefined) {
    this.#ask = context?.getRemainingTimeInMillis && (() => context.getRemainingTimeInMillis?.());
  }

  /** Milliseconds that are left: many, if the context tells none. */
  get leftMs(): number {
    return Math.min(MOST_MS, leavingOf(this.#ask, 0));
  }

  /** Milliseconds for which a release may be tried, also where the time-out does not end the lease. */
  get releaseMs(): number {
    return releaseMsOf(this.#ask);
  }

  /** Tells whether `work` settles while there is time for it, and within `mostMs`. */
  async settles(work: unknown, mostMs = Infinity): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const cancel = this.after(END_MS, () => resolve(false), mostMs);
    void Promise.allSettled([work]).then(() => resolve(true));
    return promise.finally(cancel);
  }

  /**
   * Calls `late` when the invocation has `reserveMs` left, or half of its present time, if that half is shorter; and after
   * `mostMs` at the latest.
   * @returns a function that cancels the call.
   */
  after(reserveMs: number, late: () => void, mostMs = Infinity): () => void {
    const ms = Math.min(mostMs, leavingOf(this.#ask, reserveMs));
    return backgroundTimer(systemClock, ms, late);
  }
}
