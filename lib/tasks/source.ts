import { checkThat } from '../record/check.ts';
import { BLOCK } from './block.ts';
import type { RunLimit } from './run-limit.ts';

/** The most tasks of an iterable that are taken at a time. */
export const WINDOW = 32 * BLOCK;

/**
 * The source of a run's tasks. A task that comes stands here until a window takes the task, also if nobody waits for it. An
 * error of the iterator ends the run when the error comes.
 */
export class TaskSource<Task> {
  readonly #tasks: Iterable<Task> | AsyncIterable<Task>;
  readonly #limit: RunLimit;
  #iterator: Iterator<Task> | AsyncIterator<Task> | undefined;
  /** The tasks that have come and that no window has taken. */
  #arrived: Task[] = [];
  /** Set while the iterator owes a task. Never rejects. */
  #coming: Promise<void> | undefined;
  /** Ends the wait for a task. */
  #wake = () => {};
  #isAsync = false;
  #isEnded = false;

  constructor(tasks: Iterable<Task> | AsyncIterable<Task>, limit: RunLimit) {
    this.#tasks = tasks;
    this.#limit = limit;
    if (!Array.isArray(tasks)) return;
    // A hole is a task without a value, as for every loop over the array.
    this.#arrived = [...tasks];
    this.#isEnded = true;
  }

  /** The number of tasks that have come and that no window has taken. */
  get left(): number {
    return this.#arrived.length;
  }

  /** False when every task has come, and was taken. */
  get isOpen(): boolean {
    return this.left > 0 || !this.#isEnded;
  }

  /**
   * Takes an array as it is, and of an iterable up to a window of tasks. The window is smaller if the next task does not come
   * at once, so that the tasks that have come need not wait. Gives no task if none comes within `ms`, or before the run ends.
   */
  async take(ms: number): Promise<readonly Task[]> {
    while (!this.#isEnded && this.left < WINDOW) {
      this.#coming ??= this.#pull();
      await this.#wait(ms);
      if (this.#coming !== undefined || this.#limit.isOver) break;
    }
    if (this.#limit.isOver) return [];
    const taken = this.#arrived;
    this.#arrived = [];
    return taken;
  }

  /** Tells the iterator of the end. An iterator that still owes a task may never answer: nobody waits for its return. */
  async close(): Promise<void> {
    if (this.#isEnded) return;
    this.#isEnded = true;
    const returned = (async () => void (await this.#iterator?.return?.()))();
    returned.catch(() => {});
    if (this.#coming === undefined) await returned;
  }

  /** Asks for one more task, as `for await` does. */
  async #pull(): Promise<void> {
    try {
      const { done, value } = await this.#next();
      if (done) this.#isEnded = true;
      // A promise that a sync iterator gives and that rejects leaves the iterator open.
      else this.#arrived.push(this.#isAsync ? value : await value);
    } catch (error) {
      // The user's signal, which the iterator may heed too, ends the run without an error.
      if (!this.#limit.wasStopped) this.#limit.fail(error);
    }
    this.#coming = undefined;
    this.#wake();
  }

  /** Gives the iterator's next result. An iterator that throws, or whose result is none, is at its end. */
  async #next(): Promise<IteratorResult<Task>> {
    try {
      this.#iterator ??= this.#open();
      const result = await this.#iterator.next();
      checkThat(Object(result) === result, "The result of the tasks' iterator", 'an object', result);
      return result;
    } catch (error) {
      this.#isEnded = true;
      throw error;
    }
  }

  #open(): Iterator<Task> | AsyncIterator<Task> {
    const { [Symbol.asyncIterator]: open } = this.#tasks as Partial<AsyncIterable<Task>>;
    this.#isAsync = open != null;
    return open ? open.call(this.#tasks) : (this.#tasks as Iterable<Task>)[Symbol.iterator]();
  }

  /** Waits for the task that the iterator owes: for `ms` or, while tasks have come, for one turn of the event loop. */
  async #wait(ms: number): Promise<void> {
    if (this.left === 0) {
      const came = new AbortController();
      this.#wake = () => came.abort();
      return this.#limit.pause(ms, came.signal);
    }
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      setImmediate(resolve);
    });
  }
}
