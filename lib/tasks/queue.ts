/** What a look at a batch came to, in the order of the batch: what looks free, and what is held by others. */
export interface Look<Task> {
  readonly free: readonly Task[];
  /** Of `free`, how many stand before the first that somebody holds: all, where nobody holds any. */
  readonly freeBeforeBusy: number;
}

/** A view is good for so long; what it showed free is looked at again before it is tried. */
const FRESH_MS = 100;
const FIRST_BATCH = 10;
/** DynamoDB reads up to 100 items in one request. */
const LARGEST_BATCH = 100;

/**
 * The tasks of a pass, in the order in which this worker is to try them: those that look free, soon after they were
 * looked at.
 *
 * Reading costs a tenth of a refused write, and nothing but a fresh view keeps writes from being refused; so a batch is
 * as large as it can be tried while its view is fresh: twice the last one when that was used up in time, half of it when
 * not. Where others are at work, what lies before them is left to them until nothing else is left.
 */
export class Queue<Task> {
  readonly #look: (batch: readonly Task[]) => Promise<Look<Task>>;
  #ahead: readonly Task[];
  #cursor: number;
  #unread: number;
  /** What looked free, and no longer may. */
  #again: Task[] = [];
  #postponed: Task[] = [];
  #fresh: Task[] = [];
  #freshUntil = 0;
  #batch = FIRST_BATCH;
  #isLastRound = false;
  #reading: Promise<void> | undefined;

  constructor(tasks: readonly Task[], start: number, look: (batch: readonly Task[]) => Promise<Look<Task>>) {
    this.#ahead = tasks;
    this.#cursor = start;
    this.#unread = tasks.length;
    this.#look = look;
  }

  /** How many tasks have been neither given out nor settled by a look. */
  get left(): number {
    return this.#unread + this.#again.length + this.#postponed.length + this.#fresh.length;
  }

  /** The next task that looks free; undefined when none is left. */
  async next(): Promise<Task | undefined> {
    for (;;) {
      if (performance.now() < this.#freshUntil) {
        const task = this.#fresh.shift();
        if (task !== undefined) return task;
      } else if (this.#fresh.length > 0) {
        this.#batch = Math.max(1, this.#batch >> 1);
        this.#again.push(...this.#fresh.splice(0));
      }
      if (this.left === 0) return undefined;
      this.#reading ??= this.#read().finally(() => {
        this.#reading = undefined;
      });
      await this.#reading;
    }
  }

  async #read(): Promise<void> {
    const batch = this.#again.splice(0, this.#batch);
    if (this.#unread === 0 && batch.length === 0) this.#startLastRound();
    while (batch.length < this.#batch && this.#unread > 0) {
      batch.push(this.#ahead[this.#cursor % this.#ahead.length] as Task);
      this.#cursor++;
      this.#unread--;
    }
    const { free, freeBeforeBusy } = await this.#look(batch);
    const mine = this.#isLastRound ? free.length : freeBeforeBusy;
    this.#fresh = free.slice(0, mine);
    this.#postponed.push(...free.slice(mine));
    this.#freshUntil = performance.now() + FRESH_MS;
    this.#batch = Math.min(this.#batch * 2, LARGEST_BATCH);
  }

  /** What was left to others and is free still: in an order of chance, so that those who come last spread over it. */
  #startLastRound(): void {
    this.#isLastRound = true;
    this.#batch = 1;
    this.#ahead = shuffled(this.#postponed.splice(0));
    this.#cursor = 0;
    this.#unread = this.#ahead.length;
  }
}

/** Fisher and Yates, as Durstenfeld has it: Communications of the ACM 7 (1964), algorithm 235. */
function shuffled<T>(items: T[]): T[] {
  for (let i = items.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [items[i], items[j]] = [items[j] as T, items[i] as T];
  }
  return items;
}
