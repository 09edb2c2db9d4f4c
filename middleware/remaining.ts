import { leavingOf } from '../lib/lease/options.ts';
import { releaseMsOf } from '../lib/lease/release.ts';

/** How much of an invocation's time a wait for unfinished work leaves to the releases and the response, in milliseconds. */
const END_MS = 1_000;

/** The time that an invocation has left, as its context tells. */
export class Remaining {
  readonly #ask: (() => unknown) | undefined;

  constructor(context: { getRemainingTimeInMillis?: () => unknown } | undefined) {
    this.#ask = context?.getRemainingTimeInMillis && (() => context.getRemainingTimeInMillis?.());
  }

  /** For how long a release may be tried, also where the time-out does not end the lease, in milliseconds. */
  get releaseMs(): number {
    return releaseMsOf(this.#ask);
  }

  /** Runs `work` with a signal that aborts, with `reason`, when the invocation has `reserveMs` left, or half of a shorter time. */
  async limit(reserveMs: number, reason: Error, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const limit = new AbortController();
    const ms = leavingOf(this.#ask, reserveMs);
    // Node's timers hold no more; what is longer would fire at once.
    const timer = ms > 2 ** 31 - 1 ? undefined : setTimeout(() => limit.abort(reason), ms).unref();
    await work(limit.signal).finally(() => clearTimeout(timer));
  }

  /** Whether `work` settles while there is time for it. */
  async settles(work: unknown): Promise<boolean> {
    const ms = leavingOf(this.#ask, END_MS);
    const settled = Promise.allSettled([work]).then(() => true);
    // Node's timers hold no more; what is longer would fire at once.
    if (ms > 2 ** 31 - 1) return settled;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<false>((resolve) => {
      timer = setTimeout(resolve, ms, false).unref();
    });
    return Promise.race([settled, late]).finally(() => clearTimeout(timer));
  }
}
