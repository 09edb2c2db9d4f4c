import { onAbort } from './on-abort.ts';

/**
 * The clock and the timers that leasehold uses. Give a client a clock of your own to test without waiting, or to correct a
 * wrong clock.
 * @example
 * ```ts
 * import type { Clock } from 'leasehold';
 *
 * // A host whose clock somebody keeps right, as on Lambda: no read judges the clock.
 * export const disciplined: Clock = {
 *   now: () => Date.now(),
 *   monotonic: () => performance.now(),
 *   setTimeout: (callback, ms) => setTimeout(callback, ms),
 *   clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
 *   setImmediate: (callback) => setImmediate(callback),
 *   isDisciplined: true,
 * };
 * ```
 */
export interface Clock {
  /** Gives the wall clock's time: milliseconds since the epoch. */
  now(): number;
  /**
   * Gives the time of a clock that is never set: milliseconds since some fixed moment. This clock may stand still while the
   * process is frozen.
   */
  monotonic(): number;
  /** Calls `callback` after `ms` milliseconds. Gives the timer. */
  setTimeout(callback: () => void, ms: number): unknown;
  /** Stops a timer that `setTimeout` gave. */
  clearTimeout(timer: unknown): void;
  /**
   * Calls `callback` when the answers that have arrived are read, as the global `setImmediate` does. After the event loop was
   * blocked, timers fire before arrived answers are read. With this function, a request is given up only if its answer has
   * not arrived.
   * @default calls `callback` at once
   */
  setImmediate?(callback: () => void): void;
  /**
   * True if somebody keeps the wall clock right, as on Lambda. An answer of the server must judge any other clock before
   * leasehold writes a moment by that clock. The judge read costs one request for each process, and one more whenever the
   * clock was set or stood still.
   * @default false
   */
  readonly isDisciplined?: boolean | undefined;
}

/** The process's own clocks. Each call looks the globals up, so that fake timers that are installed later are seen. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimeout: (callback, ms) => setTimeout(callback, ms),
  clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
  setImmediate: (callback) => void setImmediate(callback),
  get isDisciplined() {
    return process.env.AWS_LAMBDA_FUNCTION_NAME !== undefined;
  },
};

/** One moment, as both clocks show it. */
export interface Instant {
  readonly wall: number;
  readonly monotonic: number;
}

export const instant = (clock: Clock): Instant => ({ wall: clock.now(), monotonic: clock.monotonic() });

/**
 * Milliseconds from one moment to another, by the larger of the two clocks' times (invariant 5). A frozen environment stops
 * the monotonic clock, and a step moves the wall clock. The larger time can only end a lease too early.
 */
export const elapsedMs = (from: Instant, to: Instant): number =>
  Math.max(to.wall - from.wall, to.monotonic - from.monotonic);

/** Node's timers hold a signed 32-bit number of milliseconds. A longer timer would fire at once. */
const LONGEST_TIMER_MS = 2_147_483_647;

/**
 * Calls `callback` after `ms` milliseconds. Makes several timers of a time that is longer than one timer can last, and none of
 * Infinity.
 * @returns a function that stops the timer.
 */
export function startTimer(clock: Clock, ms: number, callback: () => void, keepsAlive = true): () => void {
  if (ms === Infinity) return () => {};
  const partMs = Math.min(Math.max(0, Math.ceil(ms)), LONGEST_TIMER_MS);
  let stop = () => clock.clearTimeout(timer);
  const timer = clock.setTimeout(() => {
    if (ms <= partMs) callback();
    else stop = startTimer(clock, ms - partMs, callback, keepsAlive);
  }, partMs);
  if (!keepsAlive) (timer as { unref?: () => void } | undefined)?.unref?.();
  return () => stop();
}

/** Sets a timer of a lease, which keeps no process alive (invariant 12). */
export const backgroundTimer = (clock: Clock, ms: number, callback: () => void): (() => void) =>
  startTimer(clock, ms, callback, false);

/** Pauses. Rejects with a signal's reason as soon as one of the signals aborts. */
export function pause(clock: Clock, ms: number, ...signals: (AbortSignal | undefined)[]): Promise<void> {
  return new Promise((resolve, reject) => {
    for (const signal of signals) signal?.throwIfAborted();
    const end = (settle: () => void) => {
      stopTimer();
      stop();
      settle();
    };
    const stopTimer = startTimer(clock, ms, () => end(resolve));
    const stop = onAbort(signals, (reason) => end(() => reject(reason)));
  });
}
