/** What leasehold needs of time. Give another one to test without waiting, or to stand in for a wrong clock. */
export interface Clock {
  /** The wall clock: milliseconds since the epoch. */
  now(): number;
  /** A clock that is never set: milliseconds since some fixed moment. It may stand still while the process is frozen. */
  monotonic(): number;
  setTimeout(callback: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
  /**
   * Somebody keeps the wall clock right, as on Lambda. By any other clock leasehold writes no moment before an answer of the
   * server has judged that clock: it reads once a process, and again whenever the clock was set or stood still.
   * @default false
   */
  readonly isDisciplined?: boolean | undefined;
}

/** The process's own clocks, looked up at each call, so that fake timers installed later are seen. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimeout: (callback, ms) => setTimeout(callback, ms),
  clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
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
 * Milliseconds from one moment to another. Invariant 5: the larger of the two clocks, since a frozen environment stops
 * the monotonic one and a step moves the other; believing the larger can only end a lease too early.
 */
export const elapsedMs = (from: Instant, to: Instant): number =>
  Math.max(to.wall - from.wall, to.monotonic - from.monotonic);

/** A timer of a lease. Invariant 12: it keeps no process alive. */
export function backgroundTimer(clock: Clock, ms: number, callback: () => void): unknown {
  const timer = clock.setTimeout(callback, Math.max(0, Math.ceil(ms)));
  (timer as { unref?: () => void } | undefined)?.unref?.();
  return timer;
}

/** A pause that ends early, by rejecting with the signal's reason, when one of the signals aborts. */
export function pause(clock: Clock, ms: number, ...signals: (AbortSignal | undefined)[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (settle: () => void) => {
      clock.clearTimeout(timer);
      for (const signal of signals) signal?.removeEventListener('abort', abort);
      settle();
    };
    const abort = () => end(() => reject(signals.find((signal) => signal?.aborted)?.reason));
    const timer = clock.setTimeout(() => end(resolve), Math.max(0, Math.ceil(ms)));
    for (const signal of signals) signal?.addEventListener('abort', abort);
    if (signals.some((signal) => signal?.aborted)) abort();
  });
}
