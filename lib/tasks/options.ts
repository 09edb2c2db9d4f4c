import type { LockClient } from '../lease/client.ts';
import type { AcquireOptions } from '../lease/options.ts';
import { checkText } from '../record/check.ts';

/** A task that failed, and why. */
export interface TaskFailure<Task> {
  readonly task: Task;
  /** Absent when the key function failed. */
  readonly key: string | undefined;
  readonly error: unknown;
}

/** What came of the tasks. Each is counted once. */
export interface TaskReport<Task> {
  /** Run here, to success, under a lease that was held to the end. With `once`, its token is known to be done. */
  done: number;
  /** Done for this `once` token by somebody else, or before. */
  alreadyDone: number;
  /** Held by somebody else when last looked at; without `once`, also those released since; handed off by its work. */
  busy: number;
  /**
   * Whose work threw, whose lease was lost, or whose key was invalid; with `once`, also whose work released its lease
   * without `done`, or whose release failed, so that nobody knows whether the token is done. The others went on.
   */
  failed: TaskFailure<Task>[];
  /** Not tried, since the time ran out or the run was aborted; of an iterable, those that were taken from it. */
  notReached: number;
}

/** One task that is settled, and the counts so far. */
export interface TaskProgress<Task> {
  readonly task: Task;
  readonly key: string | undefined;
  readonly outcome: 'done' | 'alreadyDone' | 'busy' | 'failed';
  readonly error?: unknown;
  readonly report: Readonly<TaskReport<Task>>;
}

type LeaseOptions = Pick<
  AcquireOptions,
  'leaseMs' | 'heartbeatMs' | 'safetyMs' | 'requestTimeoutMs' | 'holdAtLeastMs' | 'holdAtMostMs' | 'owner'
>;

export interface RunTasksOptions<Task> extends LeaseOptions {
  /** The client that takes the leases. */
  locks: LockClient;
  /**
   * The lock's key of a task: 1 to 1,024 bytes, and different for each. A task whose key is none fails by itself, and so
   * does one with the key of another, of an array, or of the same thousand of an iterable.
   */
  key: (task: Task) => string;
  /**
   * Tasks that run at a time in this process. 1 or more, of an iterable 4,224 at the most.
   * @default 1
   */
  concurrency?: number | undefined;
  /**
   * The run's token, as a rule the schedule's time in ISO 8601: a task that is done for it, or for a later one, is
   * stepped over. 1 to 1,024 bytes. Default: none, and each worker runs every task that nobody holds when it comes by.
   */
  once?: string | undefined;
  /**
   * Which of how many workers this is, counted from 0: each begins with a share of its own. Default: each begins
   * somewhere, which costs a few reads and refused writes more.
   */
  worker?: { readonly number: number; readonly of: number } | undefined;
  /**
   * Gives the milliseconds that the invocation still lasts: `() => context.getRemainingTimeInMillis()`. An error that it
   * throws ends the run, as if the time were over, and is thrown.
   * @default no bound
   */
  remainingMs?: (() => number) | undefined;
  /**
   * No task is taken when less time remains than the longest one took so far and this margin, in milliseconds. 0 or
   * more; default 1,000.
   */
  marginMs?: number | undefined;
  /**
   * Come back to tasks that were busy, while time remains, until they are done or taken here, so that a dead worker's
   * task is taken in the same run. Default true.
   */
  revisitBusy?: boolean | undefined;
  /**
   * Called when a task is settled; nobody waits for it. What it throws ends the run, and is thrown. So is what it rejects
   * with, by a promise or any other thenable, while the run goes on; after that nobody hears of it.
   */
  onProgress?: ((progress: TaskProgress<Task>) => unknown) | undefined;
  /** Ends the run: no further task is taken; those that run are left to their leases' signals and to themselves. */
  signal?: AbortSignal | undefined;
}

/** Options with their defaults filled in. */
export type RunPlan<Task> = RunTasksOptions<Task> &
  Required<Pick<RunTasksOptions<Task>, 'concurrency' | 'marginMs' | 'revisitBusy'>> & {
    readonly lease: AcquireOptions;
  };

/** Checks the options and fills in the defaults. Throws a `TypeError` that shows the value. */
export function planRun<Task>(options: RunTasksOptions<Task>): RunPlan<Task> {
  const { locks, key, once, worker, remainingMs, onProgress, revisitBusy = true } = options ?? {};
  if (typeof locks?.tryAcquire !== 'function') {
    throw new TypeError(`locks must be a LockClient, but it is ${String(locks)}.`);
  }
  checkFunction('key', key);
  if (remainingMs !== undefined) checkFunction('remainingMs', remainingMs);
  if (onProgress !== undefined) checkFunction('onProgress', onProgress);
  if (once !== undefined) checkText('once', once);
  if (worker !== undefined && !(isCount(worker.of, 1) && isCount(worker.number, 0) && worker.number < worker.of)) {
    throw new TypeError(`worker must be { number, of } with 0 <= number < of, but it is ${JSON.stringify(worker)}.`);
  }
  const { leaseMs, heartbeatMs, safetyMs, requestTimeoutMs, holdAtLeastMs, holdAtMostMs, owner } = options;
  const timing = { leaseMs, heartbeatMs, safetyMs, requestTimeoutMs, holdAtLeastMs, holdAtMostMs };
  return {
    ...options,
    revisitBusy,
    concurrency: count('concurrency', options.concurrency ?? 1, 1),
    marginMs: count('marginMs', options.marginMs ?? 1_000, 0),
    lease: { ...timing, once, owner, remainingMs, waitMs: 0 },
  };
}

export function checkTasks(tasks: unknown): void {
  const { [Symbol.iterator]: iterator, [Symbol.asyncIterator]: asyncIterator } = Object(tasks);
  if (typeof (iterator ?? asyncIterator) === 'function') return;
  throw new TypeError(`tasks must be an array, an iterable or an async iterable, but it is ${String(tasks)}.`);
}

export function checkFunction(name: string, value: unknown): void {
  if (typeof value !== 'function') throw new TypeError(`${name} must be a function, but it is ${String(value)}.`);
}

const isCount = (value: unknown, least: number): boolean => Number.isInteger(value) && (value as number) >= least;

function count(name: string, value: unknown, least: number): number {
  if (isCount(value, least)) return value as number;
  throw new TypeError(`${name} must be a whole number, ${least} or more, but it is ${String(value)}.`);
}
