import { BackOff } from '../lease/back-off.ts';
import { backgroundTimer, type Clock, pause } from '../lease/clock.ts';
import { remainingOf } from '../lease/options.ts';
import { LockNoTimeError, LockStoreError } from '../record/errors.ts';

/** The pause after a throttled or failed request: the first pause, and the longest pause. */
const SLOW_DOWN_MS = { first: 100, most: 5_000 };
/** The time for which one request is asked for again and again. A store that does not answer for longer ends the run. */
const PATIENCE_MS = 60_000;
const NO_ANSWER = "No answer to the first request came within the run's time. Allow more time, or check the network.";

/**
 * The end of a run: by its time, by the user's signal, by the closing of its client, or by a failure. Nothing waits beyond
 * this end.
 */
export class RunLimit {
  /** Aborts when the run is over. */
  readonly signal: AbortSignal;
  readonly #stop = new AbortController();
  /** The first failure. The run rejects with its error. */
  failure: { readonly error: unknown } | undefined;
  /**
   * The error of the last request of the run, if the request was not answered: a `LockNoTimeError` if the time of a lease
   * ended the wait. The run may have ended meanwhile.
   */
  unanswered: LockStoreError | LockNoTimeError | undefined;
  #hasAnswered = false;
  readonly #signal: AbortSignal | undefined;
  readonly #clock: Clock;
  readonly #closing: AbortSignal;
  readonly #remainingMs: (() => number) | undefined;
  readonly #marginMs: number;
  #longestMs = 0;
  #stopTimer: (() => void) | undefined;

  constructor(options: {
    readonly clock: Clock;
    readonly closing: AbortSignal;
    readonly remainingMs?: (() => number) | undefined;
    readonly marginMs: number;
    readonly signal?: AbortSignal | undefined;
  }) {
    this.#clock = options.clock;
    this.#closing = options.closing;
    this.#closing.addEventListener('abort', this.#close);
    this.#remainingMs = options.remainingMs;
    this.#marginMs = options.marginMs;
    this.#signal = options.signal;
    this.signal = options.signal ? AbortSignal.any([options.signal, this.#stop.signal]) : this.#stop.signal;
    this.#watch();
  }

  /** True when no further task is to be taken: the time that remains may be too short for one. */
  get isOver(): boolean {
    return this.signal.aborted || this.#leftMs() < 0;
  }

  /** Learns the time that a task took. */
  took(ms: number): void {
    this.#longestMs = Math.max(this.#longestMs, ms);
  }

  /** Ends the run with an error. */
  fail(error: unknown): void {
    this.failure ??= { error };
    this.end();
  }

  /** Ends the run: nothing is waited for any more. */
  end(): void {
    this.#stopTimer?.();
    this.#closing.removeEventListener('abort', this.#close);
    this.#stop.abort();
  }

  readonly #close = () => this.end();

  /** Pauses, at the most until the run is over or the signal `wake` aborts. */
  async pause(ms: number, wake?: AbortSignal): Promise<void> {
    await pause(this.#clock, ms, this.signal, wake).catch(() => {});
  }

  /**
   * Asks the store, ever more slowly while requests are throttled or not answered, for a minute at the most. Returns
   * undefined when the run is over meanwhile.
   * @throws the store's error: at once if the fault will not pass, and else after a minute.
   */
  async patiently<Answer>(ask: () => Promise<Answer>): Promise<Answer | undefined> {
    const backOff = new BackOff(SLOW_DOWN_MS.first, SLOW_DOWN_MS.most);
    const started = this.#clock.monotonic();
    while (!this.isOver) {
      try {
        const answer = await ask();
        this.#answered();
        return answer;
      } catch (error) {
        this.#failed(error);
        if (this.signal.aborted) return undefined;
        const mayPass = error instanceof LockStoreError && error.transient;
        if (!mayPass || this.#clock.monotonic() - started >= PATIENCE_MS) throw error;
        await this.pause(backOff.nextMs());
      }
    }
    return undefined;
  }

  /** Learns whether an error is an answer of the store, such as a busy lock. */
  #failed(error: unknown): void {
    const isLate = error instanceof LockNoTimeError && error.cause instanceof LockStoreError;
    if (isLate || error instanceof LockStoreError) this.unanswered = error;
    else if (!this.signal.aborted) this.#answered();
    // A first request that was given up at the end of the run tells as much: nothing was reached.
    else if (!this.#hasAnswered) this.unanswered ??= new LockStoreError(NO_ANSWER, { transient: true });
  }

  /** True if the user ended the run, by the signal or by closing the client. Such a user knows that the run is not done. */
  get wasStopped(): boolean {
    return this.#closing.aborted || this.#signal?.aborted === true;
  }

  #answered(): void {
    this.unanswered = undefined;
    this.#hasAnswered = true;
  }

  #leftMs(): number {
    try {
      return remainingOf({ remainingMs: this.#remainingMs }) - this.#longestMs - this.#marginMs;
    } catch (error) {
      // A timer asks too, where nobody could catch the error. Without an answer the time counts as over.
      this.fail(error);
      return -1;
    }
  }

  /** Ends the pauses and waits of the run when its time is over. */
  #watch(): void {
    const leftMs = this.#leftMs();
    if (leftMs < 0) this.#stop.abort();
    else this.#stopTimer = backgroundTimer(this.#clock, leftMs + 1, () => this.#watch());
  }
}
