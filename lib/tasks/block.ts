import { createHash } from 'node:crypto';
import { bytes, MAX_TEXT_BYTES } from '../record/check.ts';

/** A task that is not settled. Moments are of the client's monotonic clock. */
export interface OpenTask<Task> {
  readonly task: Task;
  readonly key: string;
  block: Block<Task>;
  /** Set while this worker tries to get the task's lease, or runs the task. */
  here?: 'trying' | 'running' | undefined;
  /**
   * The moment at which the task opens, if its holder does not renew. Absent until another worker was seen to hold the task.
   */
  opensAt?: number | undefined;
  /** The moment since which each look has found the task free. */
  freeSince?: number | undefined;
  /** The number of answers for the task that came after the deadline of the lease that they granted. */
  lates?: number | undefined;
}

/** The last view of a block: a task may be free by now, nothing was seen yet, or others hold every task that is left. */
export type Outlook = 'free' | 'unknown' | 'busy';

/** The number of tasks that share one mark. A mark costs two writes: a sixteenth of a write for each task. */
export const BLOCK = 32;
/** A block of fewer tasks has no mark: looking at the tasks costs less. */
const LEAST_MARKED = 8;

/**
 * Tasks that stand next to one another in the list. One record, the block's mark, says that all of them are done: a lock
 * of its own that was acquired and released, as done, for the run's `once` token.
 */
export class Block<Task> {
  readonly open: Set<OpenTask<Task>>;
  /**
   * The key of the mark, as long as there is use for a mark.
   * - A hash of the keys of all tasks: workers whose lists differ never believe each other's marks.
   * - It starts with the first task's key: a grant for keys with a prefix covers the marks too.
   */
  markKey: string | undefined;
  /**
   * The last moment at which another worker acquired one of this block's finished tasks: milliseconds since the epoch, 0 if
   * never seen.
   */
  lastTakenAt = 0;

  constructor(tasks: readonly Pick<OpenTask<Task>, 'task' | 'key'>[]) {
    this.open = new Set(tasks.map(({ task, key }) => ({ task, key, block: this })));
    if (tasks.length < LEAST_MARKED) return;
    const keys = tasks.map(({ key }) => key);
    const markKey = `${keys[0]}#${createHash('sha256').update(JSON.stringify(keys)).digest('base64url')}`;
    if (bytes(markKey) <= MAX_TEXT_BYTES) this.markKey = markKey;
  }

  /** The tasks that are not settled and that this worker neither tries nor runs, in the order of the list. */
  get left(): OpenTask<Task>[] {
    return [...this.open].filter(({ here }) => here === undefined);
  }

  /** Takes over what is left of another block. Neither of the two may have a mark. */
  join(other: Block<Task>): void {
    for (const open of other.open) {
      open.block = this;
      this.open.add(open);
    }
    this.lastTakenAt = Math.max(this.lastTakenAt, other.lastTakenAt);
  }

  /** The soonest moment at which a task opens that another worker was seen to hold. */
  get opensAt(): number {
    return this.left.reduce((soonest, { opensAt = Infinity }) => Math.min(soonest, opensAt), Infinity);
  }

  outlookAt(now: number): Outlook {
    const { left } = this;
    if (left.some(({ freeSince }) => freeSince !== undefined) || this.opensAt <= now) return 'free';
    return left.some(({ opensAt }) => opensAt !== undefined) ? 'busy' : 'unknown';
  }
}

export function blocksOf<Task>(tasks: readonly Pick<OpenTask<Task>, 'task' | 'key'>[]): Block<Task>[] {
  const blocks: Block<Task>[] = [];
  for (let from = 0; from < tasks.length; from += BLOCK) blocks.push(new Block(tasks.slice(from, from + BLOCK)));
  return blocks;
}
