import type { Clock } from '../lease/clock.ts';
import type { Block, OpenTask } from './block.ts';

/** A worker's way through the tasks of a block. */
export interface Strategy {
  /** Chooses, at the first look into the block, which of the tasks that look free to try, and in which order. */
  choose<Task>(free: readonly OpenTask<Task>[], block: Block<Task>, clock: Clock): readonly OpenTask<Task>[];
  /** The time for which a task that looks free is believed to be free. */
  readonly freshMs: number;
}

/** A worker helps where more free tasks than this are left for each other worker there. */
const FREE_FOR_EACH_OTHER = 3;
/** A worker that took a task so short a time ago may be about to take the next. */
const JUST_NOW_MS = 1_000;
/** Nobody comes for a task that has been free for so long: others are elsewhere, or dead. */
const LONG_FREE_MS = 50;
/** The time for which a view is believed where others may come at any moment. */
export const AT_ONCE_MS = 2;

/** For a worker's own share: nobody else comes there until the others are through with theirs. */
export const asOwn: Strategy = { choose: (free) => free, freshMs: 50 };

/**
 * For the rest of the list, from a random place on and around, so that workers that come at the same time start apart.
 * - Where few other workers are: every free task.
 * - Elsewhere: the tasks that nobody comes for.
 */
export const asHelper: Strategy = {
  choose(free, { left, lastTakenAt }, clock) {
    const first = Math.floor(Math.random() * free.length);
    const around = [...free.slice(first), ...free.slice(0, first)];
    // A worker that goes from task to task holds none for a moment.
    const others = left.length - free.length + (clock.now() - lastTakenAt < JUST_NOW_MS ? 1 : 0);
    if (free.length > FREE_FOR_EACH_OTHER * others) return around;
    const longSince = clock.monotonic() - LONG_FREE_MS;
    return around.filter(({ opensAt, freeSince = 0 }) => opensAt !== undefined || freeSince < longSince);
  },
  freshMs: AT_ONCE_MS,
};
