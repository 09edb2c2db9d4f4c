import { backgroundTimer, pause, systemClock } from '../lease/clock.ts';
import { remainingOf } from '../lease/options.ts';
import { LONGEST_MS } from '../record/check.ts';
import { LockStoreError } from '../record/errors.ts';

/** After a throttled or failed request, the first pause, and the longest. */
const SLOW_DOWN_MS = { first: 100, most: 5_000 };

/** Until when a run goes on: its time, the user's signal, and its own failure. Nothing that waits in it waits longer. */
export class RunLimit {
  /** Aborts when the run is over. */
  readonly signal: AbortSignal;
  readonly #stop = new AbortController();
  /** Why the run fails, once it does: the first failure counts. */
  failure: { readonly error: unknown } | undefined;
  readonly #remainingMs: (() => number) | undefined;
  readonly #marginMs: number;
  #longestMs = 0;
  #timer: unknown;

  constructor(options: {
    readonly remainingMs: (() => number) | undefined;
    readonly marginMs: number;
    readonly signal: AbortSignal | undefined;
  }) {
    this.#remainingMs = options.remainingMs;
    this.#marginMs = options.marginMs;
    this.signal = options.signal ? AbortSignal.any([options.signal, this.#stop.signal]) : this.#stop.signal;
    this.#watch();
  }

  /** Whether no further task is to be taken: the time that remains may be too short for one. */
  get isOver(): boolean {
    return this.signal.aborted || this.#leftMs() < 0;
  }

  /** Learns how long a task takes. */
  took(ms: number): void {
    this.#longestMs = Math.max(this.#longestMs, ms);
  }

  /** The run ends, and fails. */
  fail(error: unknown): void {
    this.failure ??= { error };
    this.end();
  }

  /** The run ends: nothing is waited for any more. */
  end(): void {
    systemClock.clearTimeout(this.#timer);
    this.#stop.abort();
  }

  /** Ends early when the run is over. */
  async pause(ms: number): Promise<void> {
    await pause(systemClock, ms, this.signal).catch(() => {});
  }

  /** Asks the store, ever more slowly while it is throttled or does not answer; undefined when the run is over meanwhile. */
  async patiently<Answer>(ask: () => Promise<Answer>): Promise<Answer | undefined> {
    for (let pauseMs = SLOW_DOWN_MS.first; !this.isOver; pauseMs = Math.min(pauseMs * 2, SLOW_DOWN_MS.most)) {
      try {
        return await ask();
      } catch (error) {
        if (this.signal.aborted) return undefined;
        if (!(error instanceof LockStoreError && error.transient)) throw error;
        await this.pause(pauseMs * (0.5 + Math.random()));
      }
    }
    return undefined;
  }

  #leftMs(): number {
    try {
      return remainingOf({ remainingMs: this.#remainingMs }) - this.#longestMs - this.#marginMs;
    } catch (error) {
      // Asked by a timer, too, where nobody could catch it. Without an answer the time counts as over.
      this.fail(error);
      return -1;
    }
  }

  /** Wakes what waits when the time is over. */
  #watch(): void {
    const leftMs = this.#leftMs();
    if (leftMs < 0) this.#stop.abort();
    else if (leftMs < LONGEST_MS) {
      this.#timer = backgroundTimer(systemClock, leftMs + 1, () => this.#watch());
    }
  }
}
