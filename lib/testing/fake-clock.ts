import type { Clock } from '../lease/clock.ts';

interface Timer {
  readonly due: number;
  readonly order: number;
  readonly callback: () => void;
}

/**
 * A clock that stands still until a test lets time pass. For unit tests of code that uses a lock.
 * @example
 * ```ts
 * import { LockClient } from 'leasehold';
 * import { FakeClock, MemoryLockStore } from 'leasehold/testing';
 *
 * const clock = new FakeClock();
 * const locks = new LockClient({ store: new MemoryLockStore({ clock }), clock });
 * const lease = await locks.acquire('job', { holdAtMostMs: 60_000 });
 * await clock.advance(60_000); // no waiting
 * console.log(lease.isHeld()); // false
 * ```
 */
export class FakeClock implements Clock {
  /** True: the clock is right, as Lambda's is, and no read judges it. */
  readonly isDisciplined = true;
  #wall: number;
  #monotonic = 0;
  #order = 0;
  readonly #timers = new Set<Timer>();

  /** @param start the first time of the wall clock, in milliseconds since the epoch. Default: 2026-01-01T00:00:00Z. */
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

  /** The number of timers that are set. */
  get timers(): number {
    return this.#timers.size;
  }

  /**
   * Lets time pass on both clocks. Each timer fires at its time. Before time goes on, the promises of a timer's work have
   * gone as far as they can.
   */
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
   * Moves the wall clock alone; a negative `ms` moves it back. No timer fires. So a test can set the clock, or, forwards,
   * freeze the process together with its monotonic clock.
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

/** Waits until all code that waits only for promises has gone as far as it can. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
