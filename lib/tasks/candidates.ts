import type { LockState } from '../lease/inspect.ts';
import { checkKey } from '../record/check.ts';
import { LockStoreError } from '../record/errors.ts';
import { isDone } from '../record/record.ts';
import { BLOCK, type Block, blocksOf, type OpenTask, type Outlook } from './block.ts';
import type { RunPlan, TaskProgress } from './options.ts';
import type { RunLimit } from './run-limit.ts';
import { whileFresh } from './while-fresh.ts';

/** A task to try, and the block that it is in. */
export type Candidate<Task> = readonly [OpenTask<Task>, Block<Task>];

export type Settle<Task> = (
  task: { readonly task: Task; readonly key?: string | undefined },
  outcome: TaskProgress<Task>['outcome'],
  error?: unknown,
) => void;

/** So many tasks of an iterable are taken at a time. */
const WINDOW = 32 * BLOCK;
/** Of the blocks that are not finished, so many are held while further tasks are taken. */
const MOST_CARRIED = 100;
/** Of an iterable, so many tasks are held at the most. */
export const MOST_IN_HAND = MOST_CARRIED * BLOCK + WINDOW;
/** So many marks are read first: others may be at work, and what is not looked into need not be read. */
const FIRST_MARKS = 4;
/** What looks free is believed for so long: in its own share, which nobody else begins with; and where others may be. */
const OWN_FRESH_MS = 50;
const AT_ONCE_MS = 2;
/** A worker helps where there are more free tasks than so many for each other worker there. */
const FREE_FOR_EACH_OTHER = 3;
/** Who took a task so short a time ago may be about to take the next. */
const JUST_NOW_MS = 1_000;
/** What was seen free that long ago and is so still, nobody comes for: others are elsewhere, or dead. */
const LONG_FREE_MS = 50;
/** Between two rounds: first, and when they find nothing to do, at the most. */
const ROUND_MS = { first: 100, most: 2_000 };

/**
 * Which tasks a worker tries, and when: first its own share, then what others have left, block by block in an order of
 * chance, and at last, with pauses, what others had in hand. What is done, or marked as done, it settles on the way.
 */
export class Candidates<Task> {
  readonly #plan: RunPlan<Task>;
  readonly #limit: RunLimit;
  readonly #settled: Settle<Task>;
  /** Blocks with tasks that are not settled. */
  readonly #unfinished = new Set<Block<Task>>();
  #usesMarks: boolean;
  #pauseMs = ROUND_MS.first;

  constructor(plan: RunPlan<Task>, limit: RunLimit, settled: Settle<Task>) {
    this.#plan = plan;
    this.#limit = limit;
    this.#settled = settled;
    this.#usesMarks = plan.once !== undefined;
  }

  /** In the order in which they are to be tried. Runners share it: their calls wait for one another. */
  async *of(tasks: Iterable<Task> | AsyncIterable<Task>): AsyncGenerator<Candidate<Task>, void> {
    for await (const window of windowsOf(tasks)) {
      const open = this.#keyed(window);
      const blocks = blocksOf(open);
      for (const block of blocks) this.#unfinished.add(block);
      yield* this.#ownShare(open, blocks);
      yield* this.#help(blocks);
      while (this.#unfinished.size > MOST_CARRIED && !this.#limit.isOver) yield* this.#round();
      if (this.#limit.isOver) return;
    }
    while (this.#isWaiting && !this.#limit.isOver) yield* this.#round();
  }

  settle(open: OpenTask<Task>, block: Block<Task>, outcome: TaskProgress<Task>['outcome'], error?: unknown): void {
    block.open.delete(open);
    if (block.open.size === 0) this.#unfinished.delete(block);
    // A mark says for ever that every task is done. Of this one nobody here knows that it is: who does leaves the mark.
    if (outcome !== 'done' && outcome !== 'alreadyDone') block.markKey = undefined;
    this.#settled(open, outcome, error);
  }

  /** Somebody else holds a task. */
  foundBusy(open: OpenTask<Task>, block: Block<Task>, opensInMs: number): void {
    open.opensAt = performance.now() + opensInMs;
    open.freeSince = undefined;
    if (!this.#plan.revisitBusy) this.settle(open, block, 'busy');
  }

  /** Settles what was met busy and is so still. Returns how many tasks were not tried. */
  settleRest(): number {
    let notTried = 0;
    for (const block of this.#unfinished) {
      for (const open of block.open) {
        if (open.opensAt === undefined) notTried++;
        else this.settle(open, block, 'busy');
      }
    }
    return notTried;
  }

  /** Leaves the mark of a block when all its tasks are known to be done. */
  async markIfDone(block: Block<Task>): Promise<void> {
    const { open, markKey } = block;
    if (open.size > 0 || markKey === undefined || !this.#usesMarks || this.#limit.isOver) return;
    // Two runners may end the last tasks together.
    block.markKey = undefined;
    const { locks, once, owner, remainingMs } = this.#plan;
    try {
      const tried = await locks.tryAcquire(markKey, { once, owner, remainingMs, signal: this.#limit.signal });
      if (tried.type === 'granted') await tried.lease.release({ done: true });
    } catch (error) {
      // A mark only saves reads.
      if (error instanceof LockStoreError && !error.transient) this.#usesMarks = false;
    }
  }

  /** Gives each task its key. One that has none, or that of another, fails by itself. */
  #keyed(tasks: readonly Task[]): OpenTask<Task>[] {
    const keys = new Set<string>();
    return tasks.flatMap((task) => {
      let key: string | undefined;
      try {
        key = checkKey(this.#plan.key(task));
        if (keys.has(key)) throw new TypeError(`Two tasks have the key '${key}': each needs one of its own.`);
        keys.add(key);
        return [{ task, key }];
      } catch (error) {
        this.#settled({ task, key }, 'failed', error);
        return [];
      }
    });
  }

  async *#ownShare(tasks: readonly OpenTask<Task>[], blocks: readonly Block<Task>[]) {
    const { worker } = this.#plan;
    if (worker === undefined) return;
    const startOf = (number: number) => Math.floor((number / worker.of) * tasks.length);
    const [from, to] = [startOf(worker.number), startOf(worker.number + 1)];
    const share = new Set(tasks.slice(from, to));
    for await (const block of this.#unmarked(blocks.slice(Math.floor(from / BLOCK), Math.ceil(to / BLOCK)))) {
      const mine = block.left.filter((open) => share.has(open));
      yield* this.#visit(block, mine, asOwn);
    }
  }

  /**
   * Visits blocks. With marks, the first one in which there is nothing to do ends it: others have the rest in hand. Only
   * where something may be free, and what no mark will tell of, is looked into all the same.
   */
  async *#help(blocks: Iterable<Block<Task>>) {
    const order: Record<Outlook, Block<Task>[]> = { free: [], unknown: [], busy: [] };
    for (const block of shuffled(blocks)) if (block.left.length > 0) order[this.#outlookOf(block)].push(block);
    const mustVisit = new Set(order.free);
    let othersHaveIt = false;
    for await (const block of this.#unmarked([...order.free, ...order.unknown, ...order.busy])) {
      if (othersHaveIt && !mustVisit.has(block)) return;
      const wasUseful = yield* this.#visit(block, block.left, asHelper);
      othersHaveIt ||= !wasUseful;
    }
  }

  /** What is to be expected in a block. What no mark will tell of must be looked at. */
  #outlookOf(block: Block<Task>): Outlook {
    const isTold = this.#usesMarks && block.markKey !== undefined;
    return isTold ? block.outlook : 'free';
  }

  /** Once more over what is not finished, after a pause: to the soonest expiry, or ever longer ones. */
  async *#round() {
    let opensAt = Number.POSITIVE_INFINITY;
    for (const block of this.#unfinished) opensAt = Math.min(opensAt, block.opensAt);
    const untilOpenMs = opensAt - performance.now() + Math.random() * ROUND_MS.first;
    const ms = Math.min(this.#pauseMs * (0.75 + Math.random() / 2), untilOpenMs);
    await this.#limit.pause(Math.max(ms, ROUND_MS.first / 2));
    this.#pauseMs = Math.min(this.#pauseMs * 2, ROUND_MS.most);
    for await (const candidate of this.#help(this.#unfinished)) {
      this.#pauseMs = ROUND_MS.first;
      yield candidate;
    }
  }

  /** Blocks that have no mark, each soon after that was looked at. */
  #unmarked(blocks: readonly Block<Task>[]): AsyncGenerator<Block<Task>, void> {
    const look = async (batch: readonly Block<Task>[]) => {
      const states = await this.#read(batch, []);
      return states ? batch.filter((block) => !this.#isMarked(block, states)) : [];
    };
    return whileFresh(blocks, look, { firstBatch: FIRST_MARKS, freshMs: AT_ONCE_MS });
  }

  /**
   * Gives out tasks of a block that look free, as far as nobody else is met: who comes second leaves what lies ahead to
   * who came first, and so they do not run after one another. Returns whether there were any, or the block is finished.
   */
  async *#visit(
    block: Block<Task>,
    tasks: readonly OpenTask<Task>[],
    { choose, freshMs }: Manner,
  ): AsyncGenerator<Candidate<Task>, boolean> {
    const given: OpenTask<Task>[] = [];
    let course: readonly OpenTask<Task>[] | undefined;
    let hasMetOthers = false;
    const look = async (batch: readonly OpenTask<Task>[]) => {
      hasMetOthers ||= given.some(({ opensAt }) => opensAt !== undefined);
      if (hasMetOthers) return [];
      const free = await this.#look(block, batch);
      if (course === undefined) {
        course = choose(free, block);
        return course;
      }
      const met = batch.findIndex((open) => !free.includes(open));
      hasMetOthers = met >= 0;
      return hasMetOthers ? batch.slice(0, met) : batch;
    };
    for await (const open of whileFresh(tasks, look, { firstBatch: BLOCK, freshMs })) {
      open.here = 'trying';
      open.opensAt = undefined;
      given.push(open);
      yield [open, block];
    }
    return given.length > 0 || block.open.size === 0;
  }

  /** Reads the records of tasks: settles what is done and notes what is busy; what remains looks free. */
  async #look(block: Block<Task>, batch: readonly OpenTask<Task>[]): Promise<readonly OpenTask<Task>[]> {
    const states = await this.#read([block], batch);
    if (states === undefined || this.#isMarked(block, states)) return [];
    const free: OpenTask<Task>[] = [];
    for (const open of batch) {
      const state = states.get(open.key);
      if (this.#isDone(state)) {
        block.lastTakenAt = Math.max(block.lastTakenAt, state?.acquiredAt ?? 0);
        this.settle(open, block, 'alreadyDone');
      } else if (this.#isHandled(open, state)) this.settle(open, block, 'busy');
      else if (state === undefined || state.opensInMs === 0) {
        open.freeSince ??= performance.now();
        free.push(open);
      } else this.foundBusy(open, block, state.opensInMs);
    }
    // Several workers may find at once that the last one is done: half of them leave the mark to the others.
    if (Math.random() < 0.5 && !states.get(block.markKey ?? '')?.held) await this.markIfDone(block);
    return free;
  }

  /** The records of blocks' marks and of tasks; undefined when the run is over. */
  async #read(
    blocks: readonly Block<Task>[],
    tasks: readonly OpenTask<Task>[],
  ): Promise<Map<string, LockState> | undefined> {
    const marks = this.#usesMarks ? blocks.flatMap(({ markKey }) => markKey ?? []) : [];
    const keys = [...marks, ...tasks.map(({ key }) => key)];
    const { signal } = this.#limit;
    try {
      return await this.#limit.patiently(() => this.#plan.locks.inspectMany(keys, { signal }));
    } catch (error) {
      if (marks.length === 0) throw error;
      // Who may not read marks goes on without: they only save reads.
      this.#usesMarks = false;
      return this.#read([], tasks);
    }
  }

  #isMarked(block: Block<Task>, states: Map<string, LockState>): boolean {
    if (block.markKey === undefined || !this.#isDone(states.get(block.markKey))) return false;
    block.markKey = undefined;
    for (const open of block.left) this.settle(open, block, 'alreadyDone');
    return true;
  }

  #isDone(state: LockState | undefined): boolean {
    return isDone(this.#plan.once, state?.doneToken);
  }

  /**
   * A task that was busy and has been released since: without `once` nobody can tell whether it was done. So only one
   * whose holder let it expire is taken.
   */
  #isHandled({ opensAt }: OpenTask<Task>, state: LockState | undefined): boolean {
    return opensAt !== undefined && this.#plan.once === undefined && state?.lockId === undefined;
  }

  /** Whether there are tasks that may come to be tried. */
  get #isWaiting(): boolean {
    for (const { open } of this.#unfinished) for (const { here } of open) if (here !== 'running') return true;
    return false;
  }
}

/** How a worker goes through the tasks of a block. */
interface Manner {
  /** When the block is first looked at: which of those that look free to try, in that order. */
  choose<Task>(free: readonly OpenTask<Task>[], block: Block<Task>): readonly OpenTask<Task>[];
  /** For how long what looks free is believed to be. */
  readonly freshMs: number;
}

/** Its own share: until others are through with theirs, nobody else comes here. */
const asOwn: Manner = { choose: (free) => free, freshMs: OWN_FRESH_MS };

/**
 * Whatever is free where few others are, and elsewhere what nobody comes for; from a random place on and around, so that
 * workers that come at the same time start apart.
 */
const asHelper: Manner = {
  choose(free, { left, lastTakenAt }) {
    const first = Math.floor(Math.random() * free.length);
    const around = [...free.slice(first), ...free.slice(0, first)];
    // One that goes from task to task holds none for a moment.
    const others = left.length - free.length + (Date.now() - lastTakenAt < JUST_NOW_MS ? 1 : 0);
    if (free.length > FREE_FOR_EACH_OTHER * others) return around;
    const longSince = performance.now() - LONG_FREE_MS;
    return around.filter(({ opensAt, freeSince = 0 }) => opensAt !== undefined || freeSince < longSince);
  },
  freshMs: AT_ONCE_MS,
};

/** In an order of chance. Fisher and Yates, as Durstenfeld has it: Communications of the ACM 7 (1964), algorithm 235. */
function shuffled<Item>(items: Iterable<Item>): Item[] {
  const order = [...items];
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [order[i], order[j]] = [order[j] as Item, order[i] as Item];
  }
  return order;
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
