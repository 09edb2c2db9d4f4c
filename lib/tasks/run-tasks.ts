import { call } from '../lease/callback.ts';
import type { Lease } from '../lease/lease.ts';
import { LockBusyError, LockDoneError, LockNoTimeError, LockStoreError, LockTokenError } from '../record/errors.ts';
import type { OpenTask } from './block.ts';
import { Candidates, MOST_IN_HAND } from './candidates.ts';
import { Marks } from './marks.ts';
import { checkFunction, checkTasks, planRun, type RunPlan, type RunTasksOptions } from './options.ts';
import type { TaskReport } from './report.ts';
import { RunLimit } from './run-limit.ts';
import { TaskSource } from './source.ts';
import { type Settle, Unsettled } from './unsettled.ts';

/**
 * Runs each task that nobody holds, under a lease of its own, and steps over the rest. Many workers call `runTasks` at the
 * same time with the same tasks, and share them out:
 * 1. A worker reads the records of its next tasks in batches.
 * 2. It tries to take the lease of each task that looks free, and runs the task under this lease.
 * 3. It releases the lease. With `once`, the task is then done for this token.
 * 4. When its own share is done it helps the others, and at last comes back to the tasks that others held.
 *
 * The run takes no further task when the time is too short for one, or when the client is closed. A task that fails leaves
 * the others alone. The work gets the lease, whose signal aborts when the lease is lost. A task whose work hands its lease off
 * is `busy`. With `once`, a task whose work releases its lease without `done` has failed.
 * @example
 * ```ts
 * import { LockClient } from 'leasehold';
 * import { DynamoDBLockStore } from 'leasehold/dynamodb';
 * import { runTasks } from 'leasehold/tasks';
 *
 * const locks = new LockClient({ store: new DynamoDBLockStore() });
 *
 * export const handler = ({ time }: { time: string }, context: { getRemainingTimeInMillis(): number }) =>
 *   runTasks(
 *     ['acme', 'globex'],
 *     {
 *       locks,
 *       key: (customer) => `invoices/${customer}`,
 *       once: time,
 *       remainingMs: () => context.getRemainingTimeInMillis(),
 *     },
 *     (customer, lease) => fetch(`https://example.com/invoices/${customer}`, { signal: lease.signal }),
 *   );
 * ```
 * @throws TypeError that shows the value, if an option is unknown or invalid.
 * @throws LockClosedError if the client is closed at the call.
 * @throws LockStoreError if the store refuses for a reason that will not pass, such as a missing permission or missing
 *   credentials; if the store does not answer a request for a minute; and if tasks were not reached, and the store did not
 *   answer at the end of the time or every lease came too late: the last error is the `cause`. The error has the `report`
 *   of the run, as `TaskRunError` says.
 * @throws the error of the tasks' iterator, of `onProgress` or of `remainingMs`. The run waits for running tasks before it
 *   rejects, whatever the error.
 */
export async function runTasks<Task>(
  tasks: Iterable<Task> | AsyncIterable<Task>,
  options: RunTasksOptions<Task>,
  work: (task: Task, lease: Lease) => Promise<unknown> | unknown,
): Promise<TaskReport<Task>> {
  // A function and an object cannot be confused: callers without types may give them in the other order.
  if (typeof options === 'function' && typeof work !== 'function') return runTasks(tasks, work, options);
  checkTasks(tasks);
  checkFunction('work', work);
  const plan = planRun(options);
  plan.closing.throwIfAborted();
  return new TaskRun(work, plan).run(tasks);
}

/** The most answers for one task that may come after the deadline of the lease that they grant. */
const MOST_LATE = 3;

class TaskRun<Task> {
  readonly #work: (task: Task, lease: Lease) => unknown;
  readonly #plan: RunPlan<Task>;
  readonly #limit: RunLimit;
  readonly #unsettled: Unsettled<Task>;
  readonly #marks: Marks<Task>;
  /** The last error of a lease that came too late, as long as no lease came in time. */
  #tooLate: LockNoTimeError | undefined;
  #wasGranted = false;
  readonly #report: TaskReport<Task> = { done: 0, alreadyDone: 0, busy: 0, failed: [], notReached: 0 };

  constructor(work: (task: Task, lease: Lease) => unknown, plan: RunPlan<Task>) {
    this.#work = work;
    this.#plan = plan;
    this.#limit = new RunLimit(plan);
    this.#unsettled = new Unsettled(plan, this.#settled);
    this.#marks = new Marks(plan, this.#limit, this.#unsettled);
  }

  async run(tasks: Iterable<Task> | AsyncIterable<Task>): Promise<TaskReport<Task>> {
    // 1. Runners take one candidate after the other. A runner that fails ends the run; the others end their tasks first.
    const source = new TaskSource(tasks, this.#limit);
    const candidates = new Candidates(this.#plan, this.#limit, this.#unsettled, this.#marks).of(source);
    const length = Math.min(this.#plan.concurrency, Array.isArray(tasks) ? tasks.length : MOST_IN_HAND);
    const next = inTurn(() => candidates.next());
    await Promise.all(Array.from({ length }, () => this.#take(next)));
    // 2. Nothing is left behind: no timer, and no iterator that was not told of the end.
    this.#limit.end();
    await source.close().catch((error) => this.#limit.fail(error));
    // 3. Every task that has come is counted once, also a task that the run never looked at.
    const notTried = this.#limit.failure ? this.#unsettled.size : this.#unsettled.settleRest();
    const notReached = notTried + source.left;
    this.#report.notReached = notReached;
    // 4. The first failure is thrown.
    if (this.#limit.failure) throw this.#withReport(this.#limit.failure.error);
    // 5. A run that the store left alone is no success.
    const { unanswered, wasStopped } = this.#limit;
    const late = unanswered instanceof LockStoreError ? undefined : this.#tooLate;
    const cause = late ?? unanswered;
    if (notReached > 0 && cause && !wasStopped) {
      const [why, advice] = late
        ? ['every lease came too late', 'Set a longer leaseMs or holdAtMostMs, or check the network.']
        : ['the time was over while the store did not answer', 'Run the tasks again.'];
      const { done, alreadyDone, busy, failed } = this.#report;
      const settled = done + alreadyDone + busy + failed.length;
      const message = `runTasks: ${why}, with ${notReached} tasks not reached and ${settled} settled. ${advice}`;
      throw this.#withReport(new LockStoreError(message, { cause, transient: true }));
    }
    return this.#report;
  }

  /** Gives an error of the store the report of the run. Loggers do not print the property: it holds every failed task. */
  #withReport(error: unknown): unknown {
    if (!(error instanceof LockStoreError)) return error;
    return Object.defineProperty(error, 'report', { value: this.#report, configurable: true });
  }

  /** Tries one candidate after the other. */
  async #take(next: () => Promise<IteratorResult<OpenTask<Task>, void>>): Promise<void> {
    try {
      while (!this.#limit.isOver) {
        const { value } = await next();
        if (!value) return;
        await this.#try(value);
      }
    } catch (error) {
      this.#limit.fail(error);
    }
  }

  async #try(open: OpenTask<Task>): Promise<void> {
    // 1. Take the task's lease, or note why not.
    const lease = await this.#acquire(open);
    // 2. Run the task under the lease.
    if (lease) {
      this.#wasGranted = true;
      this.#tooLate = undefined;
      open.here = 'running';
      await this.#runUnder(lease, open);
    }
    open.here = undefined;
    // 3. Leave the mark if this was the last task of its block.
    await this.#marks.leaveIfDone(open.block);
  }

  async #acquire(open: OpenTask<Task>): Promise<Lease | undefined> {
    const { locks, lease } = this.#plan;
    const { signal } = this.#limit;
    try {
      return await this.#limit.patiently(() => locks.acquire(open.key, { ...lease, signal }));
    } catch (error) {
      if (error instanceof LockDoneError) this.#unsettled.settle(open, 'alreadyDone');
      else if (error instanceof LockBusyError) this.#unsettled.foundBusy(open, error.retryAfterMs);
      // An item of the user's own, a changed record or a token of another form stands under this key: the other tasks are
      // not concerned.
      else if ((error instanceof LockStoreError && error.foreign) || error instanceof LockTokenError) {
        this.#unsettled.settle(open, 'failed', error);
      } else if (error instanceof LockNoTimeError) this.#late(open, error);
      else throw error;
      return undefined;
    }
  }

  /**
   * Notes that the answer for a task came after the lease's own deadline. One answer may be slow: the task is free, and is met
   * again. If each answer comes too late, the lease is too short, and the task fails.
   */
  #late(open: OpenTask<Task>, error: LockNoTimeError): void {
    open.lates = (open.lates ?? 0) + 1;
    // At the end of the run, the run was too short, and not the lease.
    if (this.#limit.isOver) return;
    if (!this.#wasGranted) this.#tooLate = error;
    if (open.lates >= MOST_LATE) this.#unsettled.settle(open, 'failed', error);
  }

  async #runUnder(lease: Lease, open: OpenTask<Task>): Promise<void> {
    const { clock } = this.#plan;
    const started = clock.monotonic();
    let outcome: 'done' | 'busy' | 'failed' = 'failed';
    let error: unknown;
    try {
      await this.#work(open.task, lease);
      outcome = await this.#finish(lease);
    } catch (thrown) {
      error = thrown;
      await lease.release();
    }
    this.#limit.took(clock.monotonic() - started);
    this.#unsettled.settle(open, outcome, error);
  }

  /** Ends the lease of work that succeeded. With `once`, `done` means that the task's token is known to be done. */
  async #finish(lease: Lease): Promise<'done' | 'busy'> {
    const { once } = this.#plan;
    const end = await lease.finish();
    if (end === 'unknown' && once !== undefined) {
      throw new LockStoreError(
        `Releasing '${lease.key}': the task was run, but the release failed. Nobody knows whether the task is done for '${once}', so another run may run it again.`,
        { transient: true },
      );
    }
    return end === 'handedOff' ? 'busy' : 'done';
  }

  /** Counts a task and tells `onProgress`. */
  readonly #settled: Settle<Task> = ({ task, key }, outcome, error) => {
    const report = this.#report;
    if (outcome === 'failed') report.failed.push({ task, key, error });
    else report[outcome]++;
    call(
      () => this.#plan.onProgress?.({ task, key, outcome, error, report }),
      (thrown) => this.#limit.fail(thrown),
    );
  };
}

/**
 * Makes each call wait for the call before. An async generator would do so too, but goes through all the calls that wait
 * whenever another call comes.
 */
function inTurn<Result>(call: () => Promise<Result>): () => Promise<Result> {
  let last: Promise<unknown> = Promise.resolve();
  return () => {
    const mine = last.then(call);
    last = mine.catch(() => {});
    return mine;
  };
}
