import { checkKey, show } from '../record/check.ts';
import { BLOCK, type Block, blocksOf, type OpenTask } from './block.ts';
import type { RunPlan } from './options.ts';
import type { TaskProgress } from './report.ts';

/** Hears of each task that is settled. A task without a valid key has none. */
export type Settle<Task> = (
  task: { readonly task: Task; readonly key?: string | undefined },
  outcome: TaskProgress<Task>['outcome'],
  error?: unknown,
) => void;

/** Of an iterable, the keys of so many earlier tasks are compared, or of up to twice as many: some 16 MB of short keys. */
const KEYS = 100_000;

/** The tasks that are in hand and not settled. Each task is settled here, once. */
export class Unsettled<Task> {
  /** Blocks with tasks that are not settled. */
  readonly blocks = new Set<Block<Task>>();
  readonly #plan: RunPlan<Task>;
  readonly #settled: Settle<Task>;
  /** The keys of the latest tasks, and those of the tasks before them. */
  #keys = new Set<string>();
  #olderKeys = new Set<string>();

  constructor(plan: RunPlan<Task>, settled: Settle<Task>) {
    this.#plan = plan;
    this.#settled = settled;
  }

  /**
   * Gives each task its key and its block. A task fails alone if its key is invalid, or if another task has the same key.
   */
  add(tasks: readonly Task[]): Block<Task>[] {
    if (this.#keys.size >= KEYS) {
      this.#olderKeys = this.#keys;
      this.#keys = new Set();
    }
    const keyed = tasks.flatMap((task) => {
      let key: string | undefined;
      try {
        key = checkKey(this.#plan.key(task));
        if (this.#keys.has(key) || this.#olderKeys.has(key)) {
          throw new TypeError(`Two tasks have the key ${show(key)}: give each task a key of its own.`);
        }
        this.#keys.add(key);
        return [{ task, key }];
      } catch (error) {
        this.#settled({ task, key }, 'failed', error);
        return [];
      }
    });
    const blocks = blocksOf(keyed);
    for (const block of blocks) this.blocks.add(block);
    return blocks;
  }

  /** The number of tasks that are in hand and not settled. */
  get size(): number {
    let size = 0;
    for (const { open } of this.blocks) size += open.size;
    return size;
  }

  /** The number of tasks that are not settled, and that this worker neither tries nor runs. */
  get left(): number {
    let left = 0;
    for (const { open } of this.blocks) for (const { here } of open) if (here === undefined) left++;
    return left;
  }

  /**
   * Puts what is left of blocks without a mark together, so that one request reads 32 tasks again: the blocks of an iterable
   * whose tasks come one by one have one task each.
   */
  joinBlocks(): void {
    let into: Block<Task> | undefined;
    for (const block of this.blocks) {
      if (block.markKey !== undefined) continue;
      if (into && into.open.size + block.open.size <= BLOCK) {
        into.join(block);
        this.blocks.delete(block);
      } else into = block;
    }
  }

  settle(open: OpenTask<Task>, outcome: TaskProgress<Task>['outcome'], error?: unknown): void {
    const { block } = open;
    block.open.delete(open);
    if (block.open.size === 0) this.blocks.delete(block);
    // A mark says for ever that every task is done. This worker does not know that of this task, and leaves no mark.
    if (outcome !== 'done' && outcome !== 'alreadyDone') block.markKey = undefined;
    this.#settled(open, outcome, error);
  }

  /** Notes that another worker holds a task. */
  foundBusy(open: OpenTask<Task>, opensInMs: number): void {
    open.opensAt = this.#plan.clock.monotonic() + opensInMs;
    open.freeSince = undefined;
    if (!this.#plan.revisitBusy) this.settle(open, 'busy');
  }

  /**
   * Settles, at the end of a run, the tasks that another worker was last seen to hold. Returns the number of tasks that were
   * not tried.
   */
  settleRest(): number {
    let notTried = 0;
    for (const block of this.blocks) {
      for (const open of block.open) {
        if (open.opensAt === undefined) notTried++;
        else this.settle(open, 'busy');
      }
    }
    return notTried;
  }

  /** The soonest moment at which a task opens that another worker was seen to hold. */
  get opensAt(): number {
    let opensAt = Infinity;
    for (const block of this.blocks) opensAt = Math.min(opensAt, block.opensAt);
    return opensAt;
  }

  /** True while there are tasks that this worker may still come to try. */
  get isWaiting(): boolean {
    for (const { open } of this.blocks) for (const { here } of open) if (here !== 'running') return true;
    return false;
  }
}
