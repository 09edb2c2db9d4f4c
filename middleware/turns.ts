import { AsyncLocalStorage } from 'node:async_hooks';

/** Runs work in lanes: in each lane, one after the other, in the order of the calls. Work may occupy several lanes. */
export class Turns<Lane> {
  /** The last work of each lane. */
  readonly #last = new Map<Lane, Promise<unknown>>();
  /** The lanes of the work that the calling code runs in. */
  readonly #within = new AsyncLocalStorage<Lane[]>();

  /** Tells whether the calling code runs inside of work in one of these lanes: another turn there would wait for itself. */
  isWithin(lanes: readonly Lane[]): boolean {
    const outer = this.#within.getStore() ?? [];
    return lanes.some((lane) => outer.includes(lane));
  }

  /** Runs `work` when the earlier work of its lanes has ended. */
  run<Result>(lanes: readonly Lane[], work: () => Promise<Result>): Promise<Result> {
    const earlier = lanes.map((lane) => this.#last.get(lane));
    const held = [...lanes, ...(this.#within.getStore() ?? [])];
    const turn = Promise.allSettled(earlier)
      .then(() => this.#within.run(held, work))
      // Code that the work left behind runs in no lane any more.
      .finally(() => held.splice(0));
    for (const lane of lanes) this.#last.set(lane, turn);
    return turn;
  }

  /** Waits for all work, also for work that begins meanwhile, while `goesOn` allows it. */
  async settle(goesOn: (turns: Promise<unknown>) => Promise<boolean>): Promise<void> {
    let turns = new Set<Promise<unknown>>();
    while (![...this.#last.values()].every((turn) => turns.has(turn))) {
      turns = new Set(this.#last.values());
      // Nobody waits for this work again.
      if (!(await goesOn(Promise.allSettled(turns)))) this.#last.clear();
    }
  }
}
