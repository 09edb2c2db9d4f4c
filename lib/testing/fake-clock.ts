import type { Clock } from '../lease/clock.ts';

interface Timer {
  readonly due: number;
  readonly order: number;
  readonly callback: () => void;
}

/** A clock that stands still until it is told to go on: for unit tests of what uses a lock. */
export class FakeClock implements Clock {
  /** It is right, as Lambda's is: no read judges it. */
  readonly isDisciplined = true;
  #wall: number;
  #monotonic = 0;
  #order = 0;
  readonly #timers = new Set<Timer>();

  /** @param start what the wall clock shows first, in milliseconds since the epoch. Default 2026-01-01T00:00:00Z. */
  constructor(start: number = Date.UTC(2026, 0, 1)) {
    this.#wall = start;
  }

  now(): number {
    return this.#wall;
  }

  monotonic(): number {
    return this.#monotonic;
  }

  setTimeout(callback: () => void, ms: number): unknown {
    const timer = { due: this.#monotonic + Math.max(1, ms), order: this.#order++, callback };
    this.#timers.add(timer);
    return timer;
  }

  clearTimeout(timer: unknown): void {
    this.#timers.delete(timer as Timer);
  }

  /** How many timers are set. */
  get timers(): number {
    return this.#timers.size;
  }

  /** Lets time pass: both clocks go on, and each timer fires at its time, with what it started having settled. */
  async advance(ms: number): Promise<void> {
    const end = this.#monotonic + ms;
    await settled();
    for (;;) {
      const next = [...this.#timers].sort((a, b) => a.due - b.due || a.order - b.order)[0];
      if (next === undefined || next.due > end) break;
      this.#goTo(next.due);
      this.#timers.delete(next);
      next.callback();
      await settled();
    }
    this.#goTo(end);
  }

  /**
   * Moves the wall clock alone, back if negative, and no timer notices: as when it is set, or, forwards, when the
   * process is frozen where the monotonic clock stands still with it.
   */
  step(ms: number): void {
    this.#wall += ms;
  }

  #goTo(monotonic: number): void {
    if (monotonic <= this.#monotonic) return;
    this.#wall += monotonic - this.#monotonic;
    this.#monotonic = monotonic;
  }
}

/** Everything that only waits for promises has gone as far as it can. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
