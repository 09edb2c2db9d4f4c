import { createHash } from 'node:crypto';
import { bytes, MAX_TEXT_BYTES } from '../record/check.ts';

/** A task that is not settled. */
export interface OpenTask<Task> {
  readonly task: Task;
  readonly key: string;
  /** Whether this worker is at it: `trying` to get its lease, or `running` it. */
  here?: 'trying' | 'running' | undefined;
  /** When it opens, if its holder does not renew; of `performance.now()`. Absent while it was not met held by another. */
  opensAt?: number | undefined;
  /** Since when it has looked free, each time that it was looked at; of `performance.now()`. */
  freeSince?: number | undefined;
}

/** What was last seen of a block: a task that may be free by now, nothing yet, or others at work on what is left. */
export type Outlook = 'free' | 'unknown' | 'busy';

/** So many tasks have one mark. It costs two writes: a sixteenth of a write for each of them. */
export const BLOCK = 32;
/** Fewer tasks have none: looking at them costs less. */
const LEAST_MARKED = 8;

/**
 * Tasks that stand next to one another in the list. One record says that they are all done: their mark, a lock of its
 * own that was taken and released, as done, for the run's `once` token.
 */
export class Block<Task> {
  readonly open: Set<OpenTask<Task>>;
  /**
   * The key of its mark, as long as there is use for one. It is made of the keys of its tasks, so that workers whose
   * lists differ never believe each other's marks; and it starts with the first of them, so that a grant for keys with
   * a prefix is one for marks too.
   */
  markKey: string | undefined;
  /** When somebody else took the one of its tasks, of those seen done, that was taken last; milliseconds since the epoch. */
  lastTakenAt = 0;

  constructor(tasks: readonly OpenTask<Task>[]) {
    this.open = new Set(tasks);
    if (tasks.length < LEAST_MARKED) return;
    const keys = tasks.map(({ key }) => key);
    const markKey = `${keys[0]}#${createHash('sha256').update(JSON.stringify(keys)).digest('base64url')}`;
    if (bytes(markKey) <= MAX_TEXT_BYTES) this.markKey = markKey;
  }

  /** Its tasks that are neither settled nor tried or run here, in the order of the list. */
  get left(): OpenTask<Task>[] {
    return [...this.open].filter(({ here }) => here === undefined);
  }

  /** The soonest that a task opens which was met held by another; of `performance.now()`. */
  get opensAt(): number {
    return this.left.reduce((soonest, { opensAt = Infinity }) => Math.min(soonest, opensAt), Infinity);
  }

  get outlook(): Outlook {
    const { left } = this;
    if (left.some(({ freeSince }) => freeSince !== undefined) || this.opensAt <= performance.now()) return 'free';
    return left.some(({ opensAt }) => opensAt !== undefined) ? 'busy' : 'unknown';
  }
}

export function blocksOf<Task>(tasks: readonly OpenTask<Task>[]): Block<Task>[] {
  const blocks: Block<Task>[] = [];
  for (let from = 0; from < tasks.length; from += BLOCK) blocks.push(new Block(tasks.slice(from, from + BLOCK)));
  return blocks;
}
