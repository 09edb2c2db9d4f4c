/** How much of an invocation's time a wait for unfinished work leaves to the releases and the response, in milliseconds. */
const END_MS = 1_000;

/** The time that an invocation has left, as its context tells. */
export class Remaining {
  readonly #ask: (() => unknown) | undefined;

  constructor(context: { getRemainingTimeInMillis?: () => unknown } | undefined) {
    this.#ask = context?.getRemainingTimeInMillis?.bind(context);
  }

  /** All of it but `reserveMs`, or but half of it where that is less. Infinity where nothing tells. */
  leaving(reserveMs: number): number {
    let ms: unknown;
    try {
      ms = this.#ask?.();
    } catch {
      // Of a context that fails nothing is known; the lease's own bounds hold.
    }
    if (typeof ms !== 'number' || Number.isNaN(ms)) return Number.POSITIVE_INFINITY;
    return Math.max(0, ms - Math.min(reserveMs, ms / 2));
  }

  /** Whether `work` settles while there is time for it. */
  async settles(work: unknown): Promise<boolean> {
    const ms = this.leaving(END_MS);
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
