/** One virtual clock for all, and hosts with clocks of their own. */
import type { Clock } from '../../lib/lease/clock.ts';

/** 2026-01-01T00:00:00Z: the start of every schedule, by the server's clock. */
const START = Date.UTC(2026, 0, 1);

export interface Happening {
  due: number;
  readonly order: number;
  readonly run: () => void;
}

/** The coming happenings, in the order of the true time. The server's clock shows the true time. */
export class VirtualTime {
  #now = START;
  #order = 0;
  /** The next happening stands last. */
  readonly #ahead: Happening[] = [];

  now(): number {
    return this.#now;
  }

  /** Milliseconds since the schedule began. */
  get elapsed(): number {
    return this.#now - START;
  }

  after(ms: number, run: () => void): Happening {
    const happening = { due: this.#now + ms, order: this.#order++, run };
    this.#insert(happening);
    return happening;
  }

  cancel(happening: Happening): void {
    const index = this.#ahead.indexOf(happening);
    if (index >= 0) this.#ahead.splice(index, 1);
  }

  /** Moves a coming happening to a later moment. */
  putOff(happening: Happening, ms: number): void {
    this.cancel(happening);
    happening.due += ms;
    this.#insert(happening);
  }

  /**
   * Runs the happenings one after the other. Before the next happening, all promises of the last happening settle. `run`
   * calls `look` after each happening, and ends when:
   * - no happening is left;
   * - `limitMs` have passed;
   * - `look` returns true.
   */
  run(limitMs: number, look: () => boolean): Promise<void> {
    const limit = this.#now + limitMs;
    return new Promise((resolve, reject) => {
      // A tick that a microtask queues comes when no microtask is left, and costs far less than a turn of the loop.
      const settle = () => queueMicrotask(() => process.nextTick(step));
      let wasIdle = false;
      const step = () => {
        try {
          if (look()) return resolve();
          const next = this.#ahead.at(-1);
          const isIdle = next === undefined || next.due > limit;
          // A look may start something itself: a lease that is asked may learn of its end.
          if (isIdle && wasIdle) return resolve();
          wasIdle = isIdle;
          if (isIdle) return settle();
          this.#ahead.pop();
          this.#now = next.due;
          next.run();
          settle();
        } catch (error) {
          reject(error);
        }
      };
      settle();
    });
  }

  /** Lets `ms` pass, and runs the happenings of this time. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    await this.run(ms, () => false);
    this.#now = end;
  }

  #insert(happening: Happening): void {
    let index = this.#ahead.length;
    while (index > 0 && isSooner(this.#ahead[index - 1] as Happening, happening)) index--;
    this.#ahead.splice(index, 0, happening);
  }
}

const isSooner = (one: Happening, other: Happening): boolean =>
  one.due < other.due || (one.due === other.due && one.order < other.order);

/** A host. Its clocks go at a rate of their own. A schedule can freeze or crash the host. */
export class Host implements Clock {
  readonly name: string;
  /** The milliseconds by which the wall clock is ahead of the true time. A schedule sets them to set the clock. */
  offsetMs: number;
  readonly isDisciplined: boolean;
  /** Until this moment, by the true time, no request of the host arrives. */
  cutOffUntil = Number.NEGATIVE_INFINITY;
  readonly #time: VirtualTime;
  readonly #rate: number;
  readonly #timers = new Set<Happening>();
  #stoodMs = 0;
  #frozenUntil = Number.NEGATIVE_INFINITY;
  #state: 'running' | 'frozen' | 'crashed' = 'running';

  constructor(
    time: VirtualTime,
    name: string,
    { offsetMs, ratePpm, isDisciplined }: { offsetMs: number; ratePpm: number; isDisciplined: boolean },
  ) {
    this.#time = time;
    this.name = name;
    this.offsetMs = offsetMs;
    this.isDisciplined = isDisciplined;
    this.#rate = 1 + ratePpm / 1_000_000;
  }

  now(): number {
    return Math.floor(START + this.#time.elapsed * this.#rate + this.offsetMs);
  }

  monotonic(): number {
    return (this.#time.elapsed - this.#stoodMs) * this.#rate;
  }

  setTimeout(callback: () => void, ms: number): unknown {
    const timer = this.#time.after(Math.max(1, ms) / this.#rate, () => {
      this.whenRunning(() => {
        if (this.#timers.delete(timer)) callback();
      });
    });
    this.#timers.add(timer);
    return timer;
  }

  clearTimeout(timer: unknown): void {
    if (this.#timers.delete(timer as Happening)) this.#time.cancel(timer as Happening);
  }

  /** The number of timers that are set. */
  get timers(): number {
    return this.#timers.size;
  }

  get isRunning(): boolean {
    return this.#state === 'running';
  }

  get hasCrashed(): boolean {
    return this.#state === 'crashed';
  }

  /** Runs at once on a running host, and after the thaw on a frozen host. A crashed host never runs. */
  whenRunning(run: () => void): void {
    if (this.#state === 'running') run();
    else if (this.#state === 'frozen') {
      this.#time.after(this.#frozenUntil - this.#time.now(), () => this.whenRunning(run));
    }
  }

  /** Stops the process for `ms`. The wall clock goes on meanwhile. The monotonic clock may stand still. */
  freeze(ms: number, { monotonicStands }: { monotonicStands: boolean }): void {
    if (this.#state !== 'running') return;
    this.#state = 'frozen';
    this.#frozenUntil = this.#time.now() + ms;
    this.#time.after(ms, () => {
      if (this.#state === 'frozen') this.#state = 'running';
    });
    if (!monotonicStands) return;
    this.#stoodMs += ms;
    for (const timer of this.#timers) this.#time.putOff(timer, ms);
  }

  crash(): void {
    this.#state = 'crashed';
    for (const timer of this.#timers) this.#time.cancel(timer);
    this.#timers.clear();
  }
}
