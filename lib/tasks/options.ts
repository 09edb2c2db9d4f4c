import type { LockClient } from '../lease/client.ts';
import type { Clock } from '../lease/clock.ts';
import { type AcquireOptions, LEASE_TIMES } from '../lease/options.ts';
import { checkNames, show } from '../record/check.ts';
import { canonicalToken, type OnceToken, shownToken } from '../record/token.ts';
import type { TaskProgress } from './report.ts';

/** The options of each task's lease, as for `acquire`. */
type LeaseOptions = Pick<
  AcquireOptions,
  'leaseMs' | 'heartbeatMs' | 'safetyMs' | 'requestTimeoutMs' | 'holdAtLeastMs' | 'holdAtMostMs' | 'owner'
>;

/**
 * The options of `runTasks`.
 * @example
 * ```ts
 * import { LockClient } from 'leasehold';
 * import { MemoryLockStore } from 'leasehold/testing';
 * import type { RunTasksOptions } from 'leasehold/tasks';
 *
 * export const options: RunTasksOptions<{ id: string }> = {
 *   locks: new LockClient({ store: new MemoryLockStore() }),
 *   key: ({ id }) => `invoices/${id}`,
 *   once: '2026-01-01T02:00:00Z',
 *   concurrency: 10,
 * };
 * ```
 */
export interface RunTasksOptions<Task> extends LeaseOptions {
  /** The client that takes the leases. The run's pauses and moments are of the client's clock. */
  locks: LockClient;
  /**
   * Gives the key of a task's lock: 1 to 1,024 bytes, and another key for each task. A task fails alone if its key is
   * invalid, or if an earlier task has the same key: of an array any task, of an iterable one of the last 100,000.
   */
  key: (task: Task) => string;
  /**
   * The number of tasks that run at a time in this process. 1 to 1,000,000; of an iterable, 4,224 at the most.
   * @default 1
   */
  concurrency?: number | undefined;
  /**
   * The run's token, as a rule the schedule's time: an instant, a number, or another string. A task that is done for this
   * token, or for a later one, is stepped over. A task that is done for a token of another form fails alone. `undefined` is
   * refused: with a token that is missing, every worker would run every task.
   * @default none: each worker runs every task that nobody holds when the worker comes by
   */
  once?: OnceToken;
  /**
   * This worker's number, counted from 0, and the number of all workers. Each worker begins with a share of its own.
   * @default none: each worker begins at a random place, which costs a few reads and refused writes more
   */
  worker?: { readonly number: number; readonly of: number } | undefined;
  /**
   * Gives the milliseconds that the invocation still lasts: `() => context.getRemainingTimeInMillis()`. If this
   * function throws, the run ends as if the time were over, and rejects with a `TypeError` whose cause is the error.
   * @default no bound
   */
  remainingMs?: (() => number) | undefined;
  /**
   * The milliseconds that must remain besides the time of the longest task so far. With less, no further task is taken.
   * Larger means that the run ends with more time to spare; smaller means that it takes more tasks. 0 or more.
   * @default 1_000
   */
  marginMs?: number | undefined;
  /**
   * Comes back to tasks that were busy, while time remains, until each is done or taken here. So a dead worker's task is
   * taken in the same run.
   * @default true
   */
  revisitBusy?: boolean | undefined;
  /**
   * Called when a task is settled. Nobody waits for the call. An error that it throws ends the run, and the run rejects
   * with the error. So does a rejection (of a promise, or of any other thenable) while the run goes on. Nobody hears of a
   * later rejection.
   * @default none
   */
  onProgress?: ((progress: TaskProgress<Task>) => unknown) | undefined;
  /**
   * Ends the run: no further task is taken. The tasks that run go on, each under its own lease's signal.
   * @default none
   */
  signal?: AbortSignal | undefined;
}

const OPTIONS = {
  locks: 0,
  key: 0,
  concurrency: 0,
  once: 0,
  worker: 0,
  remainingMs: 0,
  marginMs: 0,
  revisitBusy: 0,
  onProgress: 0,
  signal: 0,
  ...LEASE_TIMES,
  owner: 0,
} satisfies Record<keyof RunTasksOptions<unknown>, 0>;

/** More leases than one process can renew. A larger number is a mistake, and not a wish for more. */
const MOST_CONCURRENT = 1_000_000;

/** Options with their defaults filled in. */
export type RunPlan<Task> = Omit<RunTasksOptions<Task>, 'once'> &
  Required<Pick<RunTasksOptions<Task>, 'concurrency' | 'marginMs' | 'revisitBusy'>> & {
    /** The token as people are shown it, and its canonical text. */
    readonly once: string | undefined;
    readonly token: string | undefined;
    readonly lease: AcquireOptions;
    readonly clock: Clock;
    readonly closing: AbortSignal;
  };

/**
 * Checks the options and fills in the defaults.
 * @throws TypeError that shows the value, if an option is unknown or invalid.
 */
export function planRun<Task>(options: RunTasksOptions<Task>): RunPlan<Task> {
  checkNames('runTasks', options, OPTIONS);
  const { locks, key, worker, remainingMs, onProgress, revisitBusy = true } = options;
  if (typeof locks?.tryAcquire !== 'function') {
    throw new TypeError(`locks must be a LockClient, but it is ${show(locks)}.`);
  }
  checkFunction('key', key);
  if (remainingMs !== undefined) checkFunction('remainingMs', remainingMs);
  if (onProgress !== undefined) checkFunction('onProgress', onProgress);
  const token = 'once' in options ? canonicalToken(options.once) : undefined;
  const once = shownToken(token);
  if (worker !== undefined && !(isCount(worker?.of, 1) && isCount(worker.number, 0) && worker.number < worker.of)) {
    throw new TypeError(
      `worker must be { number, of } with 0 <= number < of, but it is { number: ${show(worker?.number)}, of: ${show(worker?.of)} }.`,
    );
  }
  const { leaseMs, heartbeatMs, safetyMs, requestTimeoutMs, holdAtLeastMs, holdAtMostMs, owner } = options;
  const timing = { leaseMs, heartbeatMs, safetyMs, requestTimeoutMs, holdAtLeastMs, holdAtMostMs };
  locks.plan({ ...timing, owner });
  return {
    ...options,
    once,
    token,
    revisitBusy,
    concurrency: count('concurrency', options.concurrency ?? 1, 1, MOST_CONCURRENT),
    marginMs: count('marginMs', options.marginMs ?? 1_000, 0),
    lease: { ...timing, ...(once !== undefined && { once }), owner, remainingMs, waitMs: 0 },
    clock: locks.clock,
    closing: locks.closing,
  };
}

export function checkTasks(tasks: unknown): void {
  const { [Symbol.iterator]: iterator, [Symbol.asyncIterator]: asyncIterator } = Object(tasks);
  if (typeof (iterator ?? asyncIterator) === 'function') return;
  throw new TypeError(`tasks must be an array, an iterable or an async iterable, but it is ${show(tasks)}.`);
}

export function checkFunction(name: string, value: unknown): void {
  if (typeof value !== 'function') throw new TypeError(`${name} must be a function, but it is ${show(value)}.`);
}

const isCount = (value: unknown, least: number): boolean => Number.isInteger(value) && (value as number) >= least;

function count(name: string, value: unknown, least: number, most = Number.MAX_SAFE_INTEGER): number {
  if (isCount(value, least) && (value as number) <= most) return value as number;
  const shown = typeof value === 'number' ? value : show(value);
  throw new TypeError(`${name} must be a whole number from ${least} to ${most}, but it is ${shown}.`);
}
