import type { LockStoreError } from '../record/errors.ts';

/**
 * A task that failed, and the error.
 * @example
 * ```ts
 * import type { TaskFailure } from 'leasehold/tasks';
 *
 * export const describe = ({ key, error }: TaskFailure<unknown>) => `${key ?? 'a task without a key'}: ${error}`;
 * ```
 */
export interface TaskFailure<Task> {
  readonly task: Task;
  /** Absent when the `key` function failed. */
  readonly key: string | undefined;
  readonly error: unknown;
}

/**
 * The counts of a run. Each task is counted once.
 * @example
 * ```ts
 * import type { TaskReport } from 'leasehold/tasks';
 *
 * export const isComplete = ({ busy, failed, notReached }: TaskReport<unknown>) =>
 *   busy + failed.length + notReached === 0;
 * ```
 */
export interface TaskReport<Task> {
  /**
   * Tasks that ran here, to success, under a lease that was held to the end. With `once`, the task's token is known to be
   * done.
   */
  done: number;
  /** Tasks that another worker did for this `once` token, or that were done before. */
  alreadyDone: number;
  /**
   * - Tasks that another worker held at the last look.
   * - Without `once`, also tasks that were released since.
   * - Tasks whose work handed the lease off.
   */
  busy: number;
  /**
   * - Tasks whose work threw, whose lease was lost, or whose key was invalid.
   * - Tasks under whose key an item stands that leasehold did not write, or that somebody has changed.
   * - With `once`, also tasks that are done for a token of another form (a `LockTokenError`).
   * - Tasks whose leases are too short: three answers came after the deadline.
   * - With `once`, also tasks whose work released its lease without `done`.
   * - With `once`, also tasks whose release failed, so that nobody knows whether the token is done.
   */
  failed: TaskFailure<Task>[];
  /**
   * Tasks that were not tried, since the time ran out or the run was aborted. A run with such tasks is not complete: look at
   * this number. Of an iterable, only tasks that were taken from it.
   */
  notReached: number;
}

/**
 * The `LockStoreError` that `runTasks` rejects with, and the counts up to the end of the run.
 * @example
 * ```ts
 * import { LockStoreError } from 'leasehold';
 * import type { TaskRunError } from 'leasehold/tasks';
 *
 * export const reportOf = (error: unknown) =>
 *   error instanceof LockStoreError ? (error as TaskRunError<string>).report : undefined;
 * ```
 */
export interface TaskRunError<Task> extends LockStoreError {
  /**
   * The property is not enumerable: loggers do not print the failed tasks. A task that was busy at the last look may count as
   * `notReached`.
   */
  readonly report: TaskReport<Task>;
}

/**
 * One task that is settled, and the counts so far.
 * @example
 * ```ts
 * import type { TaskProgress } from 'leasehold/tasks';
 *
 * export const print = ({ key, outcome, report }: TaskProgress<unknown>) => console.log(key, outcome, report.done);
 * ```
 */
export interface TaskProgress<Task> {
  readonly task: Task;
  readonly key: string | undefined;
  readonly outcome: 'done' | 'alreadyDone' | 'busy' | 'failed';
  readonly error?: unknown;
  readonly report: Readonly<TaskReport<Task>>;
}
