import { call } from '../lease/callback.ts';
import type { Lease } from '../lease/lease.ts';
import { LockBusyError, LockDoneError, LockNoTimeError, LockStoreError } from '../record/errors.ts';
import type { Block, OpenTask } from './block.ts';
import { type Candidate, Candidates, MOST_IN_HAND } from './candidates.ts';
import { checkFunction, checkTasks, planRun, type RunPlan, type RunTasksOptions, type TaskReport } from './options.ts';
import { RunLimit } from './run-limit.ts';

/**
 * Runs each task that nobody holds under a lease of its own, and steps over the rest. Many workers call it at the same
 * time with the same tasks, and share them out. Before it tries, it reads the records of the next tasks in batches, and
 * writes only for those that look free.
 *
 * It stops taking tasks when the time is too short for another, and carries on when a task fails. The work gets the
 * lease, whose signal aborts when that lease is lost. A task whose work hands its lease off is `busy`; with `once`, one
 * whose work releases its lease without `done` has failed.
 * @throws TypeError when an option is not what it should be, with the value.
 * @throws LockStoreError when the store refuses for a reason that will not pass, such as a missing permission.
 * @throws what the tasks' iterator, `onProgress` or `remainingMs` throws. Whatever is thrown, running tasks are waited for
 *   first.
 */
export async function runTasks<Task>(
  tasks: Iterable<Task> | AsyncIterable<Task>,
  work: (task: Task, lease: Lease) => Promise<unknown> | unknown,
  options: RunTasksOptions<Task>,
): Promise<TaskReport<Task>> {
  checkTasks(tasks);
  checkFunction('work', work);
  return new TaskRun(work, planRun(options)).run(tasks);
}

class TaskRun<Task> {
  readonly #work: (task: Task, lease: Lease) => unknown;
  readonly #plan: RunPlan<Task>;
  readonly #limit: RunLimit;
  readonly #candidates: Candidates<Task>;
  readonly #report: TaskReport<Task> = { done: 0, alreadyDone: 0, busy: 0, failed: [], notReached: 0 };

  constructor(work: (task: Task, lease: Lease) => unknown, plan: RunPlan<Task>) {
    const { remainingMs, marginMs, signal, onProgress } = plan;
    const report = this.#report;
    this.#work = work;
    this.#plan = plan;
    this.#limit = new RunLimit({ remainingMs, marginMs, signal });
    this.#candidates = new Candidates(plan, this.#limit, ({ task, key }, outcome, error) => {
      if (outcome === 'failed') report.failed.push({ task, key, error });
      else report[outcome]++;
      const progress = { task, key, outcome, error, report };
      call(
        () => onProgress?.(progress),
        (thrown) => this.#limit.fail(thrown),
      );
    });
  }

  async run(tasks: Iterable<Task> | AsyncIterable<Task>): Promise<TaskReport<Task>> {
    const candidates = this.#candidates.of(tasks);
    const length = Math.min(this.#plan.concurrency, Array.isArray(tasks) ? tasks.length : MOST_IN_HAND);
    // One that fails lets the others end what they are at; only then is what it threw thrown on.
    await Promise.all(Array.from({ length }, () => this.#take(candidates)));
    this.#limit.end();
    await candidates.return().catch((error) => this.#limit.fail(error));
    if (!this.#limit.failure) this.#report.notReached += this.#candidates.settleRest();
    if (this.#limit.failure) throw this.#limit.failure.error;
    return this.#report;
  }

  /** Tries one candidate after the other. */
  async #take(candidates: AsyncGenerator<Candidate<Task>, void>): Promise<void> {
    try {
      while (!this.#limit.isOver) {
        const { value } = await candidates.next();
        if (!value) return;
        await this.#try(...value);
      }
    } catch (error) {
      this.#limit.fail(error);
    }
  }

  /** Takes a task's lease and runs it, or notes what it found instead. */
  async #try(open: OpenTask<Task>, block: Block<Task>): Promise<void> {
    const lease = await this.#acquire(open, block);
    if (lease) {
      open.here = 'running';
      await this.#runUnder(lease, open, block);
    }
    open.here = undefined;
    await this.#candidates.markIfDone(block);
  }

  async #acquire(open: OpenTask<Task>, block: Block<Task>): Promise<Lease | undefined> {
    const { locks, lease } = this.#plan;
    const { signal } = this.#limit;
    try {
      return await this.#limit.patiently(() => locks.acquire(open.key, { ...lease, signal }));
    } catch (error) {
      if (error instanceof LockDoneError) this.#candidates.settle(open, block, 'alreadyDone');
      else if (error instanceof LockBusyError) this.#candidates.foundBusy(open, block, error.retryAfterMs);
      // Under this key there is an item of the user's own: the other tasks are not concerned.
      else if (error instanceof LockStoreError && error.foreign) this.#candidates.settle(open, block, 'failed', error);
      // A grant that came too late was given up: the task is free, and is met again.
      else if (!(error instanceof LockNoTimeError)) throw error;
      return undefined;
    }
  }

  async #runUnder(lease: Lease, open: OpenTask<Task>, block: Block<Task>): Promise<void> {
    const started = performance.now();
    let outcome: 'done' | 'busy' | 'failed' = 'failed';
    let error: unknown;
    try {
      await this.#work(open.task, lease);
      outcome = await this.#finish(lease);
    } catch (thrown) {
      error = thrown;
      await lease.release();
    }
    this.#limit.took(performance.now() - started);
    this.#candidates.settle(open, block, outcome, error);
  }

  /** Ends the lease of work that succeeded. With `once`, `done` means that the task's token is known to be done. */
  async #finish(lease: Lease): Promise<'done' | 'busy'> {
    const { once } = this.#plan;
    const end = await lease.finish();
    if (end === 'unknown' && once !== undefined) {
      throw new LockStoreError(
        `The task '${lease.key}' was run, but its release failed: nobody knows whether it is done for '${once}', and another run may run it again.`,
        { transient: true },
      );
    }
    return end === 'handedOff' ? 'busy' : 'done';
  }
}
