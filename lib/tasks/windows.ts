import { onAbort } from '../lease/on-abort.ts';
import { BLOCK } from './block.ts';
import type { RunLimit } from './run-limit.ts';

/** The most tasks of an iterable that are taken at a time. */
export const WINDOW = 32 * BLOCK;

/**
 * Gives an array as it is, and an iterable a window at a time. A window is smaller if the next task does not come at once, so
 * that the tasks that have come need not wait. The end of the run ends the wait for a task.
 */
export async function* windowsOf<Task>(
  tasks: Iterable<Task> | AsyncIterable<Task>,
  limit: RunLimit,
): AsyncGenerator<readonly Task[], void> {
  if (Array.isArray(tasks)) return yield tasks;
  const { next, end } = sourceOf(tasks);
  let coming: Promise<IteratorResult<Task>> | undefined;
  let isEnded = false;
  let window: Task[] = [];
  try {
    while (!isEnded && !limit.isOver) {
      // 1. The next task, or nothing. An error that comes while nobody waits is thrown at the next wait.
      coming ??= next();
      coming.catch(() => {});
      const result = await arrival(coming, limit.signal, window.length > 0).catch((error) => {
        isEnded = true;
        throw error;
      });
      if (result) {
        coming = undefined;
        if (result.done) isEnded = true;
        else window.push(result.value);
      }
      // 2. The window, if it is full or if nothing more comes at once.
      if (window.length === 0 || (result && !result.done && window.length < WINDOW)) continue;
      yield window;
      window = [];
    }
    if (window.length > 0) yield window;
  } finally {
    // 3. An iterator that still owes a task may never answer: nobody waits for its return.
    if (!isEnded) {
      const ended = end();
      ended.catch(() => {});
      if (coming === undefined) await ended;
    }
  }
}

/** Gives what comes. Gives undefined if the signal aborts before, and, with `atOnce`, after one turn of the event loop. */
function arrival<Result>(coming: Promise<Result>, signal: AbortSignal, atOnce: boolean): Promise<Result | undefined> {
  return new Promise((resolve, reject) => {
    const giveUp = () => settle(() => resolve(undefined));
    const stop = onAbort([signal], giveUp);
    const settle = (how: () => void) => {
      stop();
      how();
    };
    coming.then(
      (result) => settle(() => resolve(result)),
      (error) => settle(() => reject(error)),
    );
    if (signal.aborted) giveUp();
    if (atOnce) setImmediate(giveUp);
  });
}

/** Reads an iterator as `for await` does. */
function sourceOf<Task>(tasks: Iterable<Task> | AsyncIterable<Task>) {
  const { [Symbol.asyncIterator]: asyncIterator } = tasks as Partial<AsyncIterable<Task>>;
  const iterator = asyncIterator?.call(tasks) ?? (tasks as Iterable<Task>)[Symbol.iterator]();
  return {
    next: async (): Promise<IteratorResult<Task>> => {
      const result = await iterator.next();
      return result.done || asyncIterator ? result : { done: false, value: await result.value };
    },
    end: async () => void (await iterator.return?.()),
  };
}
