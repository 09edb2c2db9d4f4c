import { setTimeout as sleep } from 'node:timers/promises';
import type { LockClient, LockState } from '../lease/client.ts';
import { LockBusyError, LockDoneError, LockLostError, LockStoreError } from '../lease/errors.ts';
import type { Lease } from '../lease/lease.ts';
import { type AcquireOptions, checkKey, checkText, isLater } from '../lease/options.ts';
import { type Look, Queue } from './queue.ts';

/** A task that failed, and why. */
export interface TaskFailure<Task> {
  readonly task: Task;
  /** Absent when the key function failed. */
  readonly key: string | undefined;
  readonly error: unknown;
}

/** What came of the tasks. Each is counted once. */
export interface TaskReport<Task> {
  /** Run here, to success, under a lease that was held to the end. */
  done: number;
  /** Done for this `once` token by somebody else, or before. */
  alreadyDone: number;
  /** Held by somebody else when last looked at. */
  busy: number;
  /** Whose work threw or whose lease was lost, and whose key was no key. The others went on. */
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

export interface RunTasksOptions<Task>
  extends Pick<
    AcquireOptions,
    'leaseMs' | 'heartbeatMs' | 'safetyMs' | 'requestTimeoutMs' | 'holdAtLeastMs' | 'holdAtMostMs' | 'owner'
  > {
  /** The client that takes the leases. */
  locks: LockClient;
  /** The lock's key of a task: 1 to 1,024 bytes, and different for each. A task whose key is none fails by itself. */
  key: (task: Task) => string;
  /** How many tasks run at a time in this process. 1 or more; default 1. */
  concurrency?: number | undefined;
  /**
   * The run's token, as a rule the schedule's time in ISO 8601: a task that is done for it, or for a later one, is stepped
   * over. Without it a task that somebody released a moment ago is run again by the next who comes.
   */
  once?: string | undefined;
  /**
   * Which of how many workers this is, counted from 0: they start at places as far apart as can be, so that they do not
   * queue behind one another. Default: each starts at random.
   */
  worker?: { readonly number: number; readonly of: number } | undefined;
  /** How long the invocation still lasts, in milliseconds: `() => context.getRemainingTimeInMillis()`. Default: no bound. */
  remainingMs?: (() => number) | undefined;
  /**
   * No task is taken when less time remains than the longest one took so far and this margin, in milliseconds. 0 or
   * more; default 1,000.
   */
  marginMs?: number | undefined;
  /**
   * After the pass, come back to tasks that were busy, while time remains, until they are done or taken here, so that a
   * dead worker's task is taken in the same run. Default true.
   */
  revisitBusy?: boolean | undefined;
  /** Called when a task is settled. What it throws ends the run. */
  onProgress?: ((progress: TaskProgress<Task>) => void) | undefined;
  /** Ends the run: no further task is taken; those that run are left to their leases' signals and to themselves. */
  signal?: AbortSignal | undefined;
}

/** A task whose key is known. */
interface KeyedTask<Task> {
  readonly task: Task;
  readonly key: string;
}

/** A task that somebody else held, as it was seen. */
interface BusyTask<Task> extends KeyedTask<Task> {
  /** When it opens, if its holder does not renew; of `performance.now()`. */
  readonly opensAt: number;
}

/** So many tasks of an iterable are held at a time. */
const WINDOW = 1_000;
/** A revisit looks again after so long at the least, and, when nothing changes, at the most. */
const REVISIT_MS = { least: 100, most: 2_000 };
/** After a throttled or failed request, the first pause, and the longest. */
const SLOW_DOWN_MS = { first: 100, most: 5_000 };

/**
 * Runs each task that nobody holds under a lease of its own, and steps over the rest. Many workers call it at the same
 * time with the same tasks, and share them out. Before it tries, it reads the records of the next tasks in batches, and
 * writes only for those that look free.
 *
 * It stops taking tasks when the time is too short for another, and carries on when a task fails. The work gets the
 * lease, whose signal aborts when that one is lost.
 * @throws TypeError when an option is not what it should be, with the value.
 * @throws LockStoreError when the store refuses for a reason that will not pass, such as a missing permission.
 * @throws what the tasks' iterator or `onProgress` throws. Whatever is thrown, running tasks are waited for first.
 */
export async function runTasks<Task>(
  tasks: Iterable<Task> | AsyncIterable<Task>,
  work: (task: Task, lease: Lease) => Promise<unknown> | unknown,
  options: RunTasksOptions<Task>,
): Promise<TaskReport<Task>> {
  return new TaskRun(work, options).run(tasks);
}

class TaskRun<Task> {
  readonly #work: (task: Task, lease: Lease) => unknown;
  readonly #options: RunTasksOptions<Task>;
  readonly #concurrency: number;
  readonly #marginMs: number;
  readonly #report: TaskReport<Task> = { done: 0, alreadyDone: 0, busy: 0, failed: [], notReached: 0 };
  #busy: BusyTask<Task>[] = [];
  #longestMs = 0;
  #hasFailed = false;
  #isRevisit = false;

  constructor(work: (task: Task, lease: Lease) => unknown, options: RunTasksOptions<Task>) {
    const { locks, key, worker, once, concurrency = 1, marginMs = 1_000 } = options ?? {};
    if (typeof work !== 'function') throw new TypeError(`work must be a function, but it is ${String(work)}.`);
    if (typeof locks?.tryAcquire !== 'function') {
      throw new TypeError(`locks must be a LockClient, but it is ${String(locks)}.`);
    }
    if (typeof key !== 'function') throw new TypeError(`key must be a function of a task, but it is ${String(key)}.`);
    if (once !== undefined) checkText('once', once);
    if (worker !== undefined && !(isCount(worker.of, 1) && isCount(worker.number, 0) && worker.number < worker.of)) {
      throw new TypeError(`worker must be { number, of } with 0 <= number < of, but it is ${JSON.stringify(worker)}.`);
    }
    this.#concurrency = count('concurrency', concurrency, 1);
    this.#marginMs = count('marginMs', marginMs, 0);
    this.#work = work;
    this.#options = options;
  }

  async run(tasks: Iterable<Task> | AsyncIterable<Task>): Promise<TaskReport<Task>> {
    for await (const window of windowsOf(tasks)) {
      await this.#pass(this.#keyed(window));
      if (this.#isOver()) break;
    }
    if (this.#options.revisitBusy !== false) await this.#revisit();
    for (const task of this.#busy) this.#settle(task, 'busy');
    return this.#report;
  }

  /** Gives each task its key. One that has none, or that of another, fails by itself. */
  #keyed(tasks: readonly Task[]): KeyedTask<Task>[] {
    const keys = new Set<string>();
    return tasks.flatMap((task) => {
      let key: string | undefined;
      try {
        key = checkKey(this.#options.key(task));
        if (keys.has(key)) throw new TypeError(`Two tasks have the key '${key}': each needs one of its own.`);
        keys.add(key);
        return [{ task, key }];
      } catch (error) {
        this.#settle({ task, key }, 'failed', error);
        return [];
      }
    });
  }

  /** Goes through the tasks once, from a place of this worker's own. */
  async #pass(tasks: readonly KeyedTask<Task>[]): Promise<void> {
    const { worker } = this.#options;
    const start = Math.floor((worker ? worker.number / worker.of : Math.random()) * tasks.length);
    const queue = new Queue(tasks, start, (batch) => this.#look(batch));
    const runner = async () => {
      while (!this.#isOver()) {
        const task = await queue.next();
        if (task === undefined) return;
        await this.#try(task);
      }
    };
    // One that fails lets the others end what they are at, and take no more.
    const runners = Array.from({ length: this.#concurrency }, () =>
      runner().catch((error) => {
        this.#hasFailed = true;
        throw error;
      }),
    );
    const ends = await Promise.allSettled(runners);
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
    this.#report.notReached += queue.left;
  }

  /** Reads the records of a batch, settles what is done and notes what is busy; what remains looks free. */
  async #look(batch: readonly KeyedTask<Task>[]): Promise<Look<KeyedTask<Task>>> {
    const states = await this.#patiently(() => this.#options.locks.inspectMany(batch.map(({ key }) => key)));
    if (states === undefined) return this.#skip(batch);
    const free: KeyedTask<Task>[] = [];
    let freeBeforeBusy: number | undefined;
    for (const task of batch) {
      const state = states.get(task.key);
      if (this.#isDone(state)) this.#settle(task, 'alreadyDone');
      else if (this.#isHandled(state)) this.#settle(task, 'busy');
      else if (state === undefined || state.opensInMs === 0) free.push(task);
      else {
        this.#busy.push({ ...task, opensAt: performance.now() + state.opensInMs });
        freeBeforeBusy ??= free.length;
      }
    }
    return { free, freeBeforeBusy: freeBeforeBusy ?? free.length };
  }

  /** The run is over while the store does not answer: these are not reached. */
  #skip(batch: readonly KeyedTask<Task>[]): Look<KeyedTask<Task>> {
    this.#report.notReached += batch.length;
    return { free: [], freeBeforeBusy: 0 };
  }

  /** Takes a task's lease and runs it, or notes what it found instead. */
  async #try(task: KeyedTask<Task>): Promise<void> {
    const { locks, once, leaseMs, heartbeatMs, safetyMs, requestTimeoutMs, owner } = this.#options;
    const { holdAtLeastMs, holdAtMostMs, remainingMs } = this.#options;
    const timing = { leaseMs, heartbeatMs, safetyMs, requestTimeoutMs, holdAtLeastMs, holdAtMostMs, remainingMs };
    try {
      const lease = await this.#patiently(() => locks.acquire(task.key, { ...timing, once, owner, waitMs: 0 }));
      if (lease) await this.#runUnder(lease, task);
      else this.#skip([task]);
    } catch (error) {
      if (error instanceof LockDoneError) this.#settle(task, 'alreadyDone');
      else if (error instanceof LockBusyError) {
        this.#busy.push({ ...task, opensAt: performance.now() + error.retryAfterMs });
      } else if (error instanceof LockLostError) this.#skip([task]);
      else throw error;
    }
  }

  async #runUnder(lease: Lease, task: KeyedTask<Task>): Promise<void> {
    const started = performance.now();
    let error: unknown;
    let succeeded = false;
    try {
      await this.#work(task.task, lease);
      succeeded = true;
    } catch (thrown) {
      error = thrown;
    }
    await lease.release({ done: succeeded });
    this.#longestMs = Math.max(this.#longestMs, performance.now() - started);
    if (succeeded && !lease.signal.aborted) this.#settle(task, 'done');
    else this.#settle(task, 'failed', succeeded ? lease.signal.reason : error);
  }

  /**
   * Comes back to tasks that were busy: until each is done or was taken here, or the run is over. Without `once` nobody
   * can tell a task that was released from one that was done; so only one whose holder let it expire is taken.
   */
  async #revisit(): Promise<void> {
    for (let pauseMs = REVISIT_MS.least; this.#busy.length > 0 && !this.#isOver(); ) {
      const before = this.#busy.length;
      const soonestMs = Math.min(...this.#busy.map(({ opensAt }) => opensAt)) - performance.now();
      await this.#pause(Math.max(REVISIT_MS.least, Math.min(soonestMs, pauseMs)) * (0.75 + Math.random() / 2));
      this.#isRevisit = true;
      await this.#pass(this.#busy.splice(0));
      pauseMs = this.#busy.length < before ? REVISIT_MS.least : Math.min(pauseMs * 2, REVISIT_MS.most);
    }
  }

  /** A task that was busy and has been released since, by a holder who may have done it. */
  #isHandled(state: LockState | undefined): boolean {
    return this.#isRevisit && this.#options.once === undefined && state?.lockId === undefined;
  }

  #isDone(state: LockState | undefined): boolean {
    const { once } = this.#options;
    return once !== undefined && state?.doneToken !== undefined && !isLater(once, state.doneToken);
  }

  /** Whether no further task is to be taken. */
  #isOver(): boolean {
    const { signal, remainingMs } = this.#options;
    return (
      this.#hasFailed ||
      signal?.aborted === true ||
      (remainingMs?.() ?? Number.POSITIVE_INFINITY) < this.#longestMs + this.#marginMs
    );
  }

  /** Asks the store, ever more slowly while it is throttled or does not answer; undefined when the run is over meanwhile. */
  async #patiently<Answer>(ask: () => Promise<Answer>): Promise<Answer | undefined> {
    for (let pauseMs = SLOW_DOWN_MS.first; !this.#isOver(); pauseMs = Math.min(pauseMs * 2, SLOW_DOWN_MS.most)) {
      try {
        return await ask();
      } catch (error) {
        if (!(error instanceof LockStoreError && error.transient)) throw error;
        await this.#pause(pauseMs * (0.5 + Math.random()));
      }
    }
    return undefined;
  }

  async #pause(ms: number): Promise<void> {
    const { signal } = this.#options;
    await sleep(ms, undefined, signal && { signal }).catch(() => {});
  }

  #settle(
    { task, key }: { task: Task; key?: string | undefined },
    outcome: TaskProgress<Task>['outcome'],
    error?: unknown,
  ) {
    const report = this.#report;
    if (outcome === 'failed') report.failed.push({ task, key, error });
    else report[outcome]++;
    this.#options.onProgress?.({ task, key, outcome, error, report });
  }
}

/** An array as it is; anything else so many tasks at a time. */
async function* windowsOf<Task>(tasks: Iterable<Task> | AsyncIterable<Task>): AsyncIterable<readonly Task[]> {
  if (Array.isArray(tasks)) return yield tasks;
  let window: Task[] = [];
  for await (const task of tasks) {
    window.push(task);
    if (window.length < WINDOW) continue;
    yield window;
    window = [];
  }
  if (window.length > 0) yield window;
}

const isCount = (value: unknown, least: number): boolean => Number.isInteger(value) && (value as number) >= least;

function count(name: string, value: unknown, least: number): number {
  if (isCount(value, least)) return value as number;
  throw new TypeError(`${name} must be a whole number, ${least} or more, but it is ${String(value)}.`);
}
