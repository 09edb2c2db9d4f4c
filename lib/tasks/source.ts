import { onAbort } from '../lease/on-abort.ts';
import { show } from '../record/check.ts';
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
  #isAsync = false;
  #isEnded = false;

  constructor(tasks: Iterable<Task> | AsyncIterable<Task>, limit: RunLimit) {
    this.#tasks = tasks;
    this.#limit = limit;
    if (!Array.isArray(tasks)) return;
    this.#arrived = tasks;
    this.#isEnded = true;
  }

  /** The number of tasks that have come and that no window has taken. */
  get left(): number {
    return this.#arrived.length;
  }

  /**
   * Gives an array as it is, and an iterable a window at a time. A window is smaller if the next task does not come at once,
   * so that the tasks that have come need not wait. The end of the run ends the wait for a task.
   */
  async *windows(): AsyncGenerator<readonly Task[], void> {
    while (!this.#limit.isOver) {
      // 1. One more task comes, or nothing does.
      if (!this.#isEnded && this.left < WINDOW) {
        this.#coming ??= this.#pull();
        await this.#wait(this.#coming);
        if (this.#coming === undefined || this.left === 0) continue;
      }
      // 2. The window is full, or nothing more comes at once.
      if (this.left === 0) return;
      const window = this.#arrived;
      this.#arrived = [];
      yield window;
    }
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
  }

  /** Gives the iterator's next result. An iterator that throws, or whose result is none, is at its end. */
  async #next(): Promise<IteratorResult<Task>> {
    try {
      this.#iterator ??= this.#open();
      const result = await this.#iterator.next();
      if (Object(result) === result) return result;
      throw new TypeError(`The result of the tasks' iterator must be an object, but it is ${show(result)}.`);
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

  /** Waits for a task: until the run is over and, while tasks have come, for one turn of the event loop at the most. */
  async #wait(coming: Promise<void>): Promise<void> {
    const { signal } = this.#limit;
    let stop = () => {};
    await new Promise<void>((resolve) => {
      stop = onAbort([signal], resolve);
      void coming.then(resolve);
      if (signal.aborted) resolve();
      if (this.left > 0) setImmediate(resolve);
    });
    stop();
  }
}
