import type { LockState } from '../lease/inspect.ts';
import { LockStoreError } from '../record/errors.ts';
import { canonicalToken, haveOneForm, isDone } from '../record/token.ts';
import type { Block, OpenTask } from './block.ts';
import type { RunPlan } from './options.ts';
import type { RunLimit } from './run-limit.ts';
import type { Unsettled } from './unsettled.ts';

/**
 * The marks of blocks: each says that all tasks of its block are done for the run's `once` token. A worker that knows of
 * each task that it is done leaves the mark; a worker that reads the mark need not read the tasks.
 *
 * Marks only save reads. A worker that may not read or write them goes on without.
 */
export class Marks<Task> {
  readonly #plan: RunPlan<Task>;
  readonly #limit: RunLimit;
  readonly #unsettled: Unsettled<Task>;
  #areUsed: boolean;

  constructor(plan: RunPlan<Task>, limit: RunLimit, unsettled: Unsettled<Task>) {
    this.#plan = plan;
    this.#limit = limit;
    this.#unsettled = unsettled;
    this.#areUsed = plan.once !== undefined;
  }

  /** True for a block whose mark may stand in the table. Every other block must be looked into. */
  mayExist({ markKey }: Block<Task>): boolean {
    return this.#areUsed && markKey !== undefined;
  }

  /** Reads the marks of blocks, and with them the records of tasks. Returns undefined when the run is over. */
  async read(
    blocks: readonly Block<Task>[],
    tasks: readonly OpenTask<Task>[] = [],
  ): Promise<Map<string, LockState> | undefined> {
    const marks = this.#areUsed ? blocks.flatMap(({ markKey }) => markKey ?? []) : [];
    const keys = [...marks, ...tasks.map(({ key }) => key)];
    // Nothing to ask is no answer of the store.
    if (keys.length === 0) return new Map();
    const { signal } = this.#limit;
    try {
      return await this.#limit.patiently(() => this.#plan.locks.inspectMany(keys, { signal }));
    } catch (error) {
      if (marks.length === 0 || !(error instanceof LockStoreError) || error.transient) throw error;
      // This worker may read the tasks and not the marks.
      this.#areUsed = false;
      return this.read([], tasks);
    }
  }

  /**
   * Tells whether a task is done for the run's token. A finished token of another form tells nothing: the acquisition of the
   * task says so, and the task fails alone.
   */
  isDoneIn(state: LockState | undefined): boolean {
    const { token } = this.#plan;
    if (token === undefined || state?.doneToken === undefined) return false;
    const doneToken = canonicalToken(state.doneToken);
    return isDone(token, doneToken) && haveOneForm(token, doneToken);
  }

  /**
   * Settles the tasks of a block whose mark was read, except the tasks that run here. Returns false for a block without its
   * mark for the run's token. A mark for a later token tells nothing: its tasks may have been reset since, as after a test
   * event in the future.
   */
  settleBy(block: Block<Task>, states: Map<string, LockState>): boolean {
    const { markKey, left } = block;
    const mark = markKey === undefined ? undefined : states.get(markKey);
    if (mark?.doneToken === undefined || !this.isDoneIn(mark)) return false;
    // There is no use for a second mark, and a later one refuses this run's.
    block.markKey = undefined;
    if (canonicalToken(mark.doneToken) !== this.#plan.token) return false;
    for (const open of left) this.#unsettled.settle(open, 'alreadyDone');
    return true;
  }

  /** Leaves the mark of a block if all its tasks are known to be done. */
  async leaveIfDone(block: Block<Task>): Promise<void> {
    const { open, markKey } = block;
    if (open.size > 0 || markKey === undefined || !this.#areUsed || this.#limit.isOver) return;
    // Two runners may end the last tasks together: one of them leaves the mark.
    block.markKey = undefined;
    const { locks, once, owner, remainingMs } = this.#plan;
    try {
      const lease = await locks.tryAcquire(markKey, {
        once: once as string,
        owner,
        remainingMs,
        signal: this.#limit.signal,
      });
      await lease?.release({ done: true });
    } catch (error) {
      // This worker may write the tasks and not the marks.
      if (error instanceof LockStoreError && !error.transient) this.#areUsed = false;
    }
  }
}
