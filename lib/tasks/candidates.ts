import { BackOff } from '../lease/back-off.ts';
import { BLOCK, type Block, type OpenTask, type Outlook } from './block.ts';
import type { Marks } from './marks.ts';
import type { RunPlan } from './options.ts';
import type { RunLimit } from './run-limit.ts';
import { type TaskSource, WINDOW } from './source.ts';
import { AT_ONCE_MS, asHelper, asOwn, type Strategy } from './strategy.ts';
import type { Unsettled } from './unsettled.ts';
import { whileFresh } from './while-fresh.ts';

/** The most tasks that are left while further tasks are taken. */
const MOST_CARRIED = 100 * BLOCK;
/** The most tasks of an iterable that are left, and the most that run. */
export const MOST_IN_HAND = MOST_CARRIED + WINDOW;
/**
 * The number of marks that are read first: others may be at work, and the marks of blocks that are not visited need no read.
 */
const FIRST_MARKS = 4;
/** The pause between two rounds: the first pause, and the longest pause while rounds find nothing to do. */
const ROUND_MS = { first: 100, most: 2_000 };

/**
 * Gives out the tasks that this worker is to try, in this order:
 * 1. its own share of the list;
 * 2. the tasks that others have left, block by block in a random order;
 * 3. with pauses, the tasks that others held.
 *
 * A task that is done, or whose block is marked as done, is settled on the way.
 */
export class Candidates<Task> {
  readonly #plan: RunPlan<Task>;
  readonly #limit: RunLimit;
  readonly #unsettled: Unsettled<Task>;
  readonly #marks: Marks<Task>;
  readonly #now: () => number;
  readonly #backOff = new BackOff(ROUND_MS.first, ROUND_MS.most);
  /** The pause before the next round. */
  #pause: { readonly from: number; readonly ms: number } | undefined;

  constructor(plan: RunPlan<Task>, limit: RunLimit, unsettled: Unsettled<Task>, marks: Marks<Task>) {
    this.#plan = plan;
    this.#limit = limit;
    this.#unsettled = unsettled;
    this.#marks = marks;
    this.#now = () => plan.clock.monotonic();
  }

  /**
   * Several runners share the generator: their calls wait for one another. A source may stay open for ever: the wait for its
   * next task keeps no task waiting that has come.
   */
  async *of(source: TaskSource<Task>): AsyncGenerator<OpenTask<Task>, void> {
    while (!this.#limit.isOver) {
      // 1. Wait for further tasks, at the most until the next round. If many tasks are left, none is taken.
      const roundAt = this.#nextRoundAt();
      const ms = roundAt - this.#now();
      if (source.isOpen && this.#unsettled.left <= MOST_CARRIED) {
        const blocks = this.#unsettled.add(await source.take(ms));
        yield* this.#ownShare(blocks);
        yield* this.#help(blocks);
      } else if (this.#unsettled.isWaiting) await this.#limit.pause(ms);
      else return;
      // 2. Visit what is left once more.
      if (this.#now() >= roundAt) yield* this.#round();
    }
  }

  async *#ownShare(blocks: readonly Block<Task>[]) {
    const { worker } = this.#plan;
    if (worker === undefined) return;
    const tasks = blocks.flatMap(({ open }) => [...open]);
    const startOf = (number: number) => Math.floor((number / worker.of) * tasks.length);
    const [from, to] = [startOf(worker.number), startOf(worker.number + 1)];
    const share = new Set(tasks.slice(from, to));
    for await (const block of this.#unmarked(blocks.slice(Math.floor(from / BLOCK), Math.ceil(to / BLOCK)))) {
      const mine = block.left.filter((open) => share.has(open));
      yield* this.#visit(block, mine, asOwn);
    }
  }

  /**
   * Visits blocks. With marks, the first block without anything to do ends the visits: others have the rest in hand. Two
   * kinds of blocks are visited all the same: a block where something may be free, and a block that no mark tells of.
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

  /** A block that no mark tells of must be looked into, as if something were free. */
  #outlookOf(block: Block<Task>): Outlook {
    return this.#marks.mayExist(block) ? block.outlookAt(this.#now()) : 'free';
  }

  /**
   * Gives the moment of the next round: the soonest expiry, or the end of a pause that grows from round to round. Infinity if
   * no task is left: the next pause is then the first.
   */
  #nextRoundAt(): number {
    if (!this.#unsettled.isWaiting) {
      this.#pause = undefined;
      this.#backOff.reset();
      return Infinity;
    }
    this.#pause ??= { from: this.#now(), ms: this.#backOff.nextMs() };
    const { from, ms } = this.#pause;
    const untilOpenMs = this.#unsettled.opensAt - from + Math.random() * ROUND_MS.first;
    return from + Math.max(Math.min(ms, untilOpenMs), ROUND_MS.first / 2);
  }

  /** Visits the unfinished blocks once more. */
  async *#round() {
    this.#unsettled.joinBlocks();
    for await (const open of this.#help(this.#unsettled.blocks)) {
      this.#backOff.reset();
      yield open;
    }
    this.#pause = undefined;
  }

  /** Gives out the blocks that have no mark, each soon after its mark was looked for. */
  #unmarked(blocks: readonly Block<Task>[]): AsyncGenerator<Block<Task>, void> {
    const look = async (batch: readonly Block<Task>[]) => {
      const states = await this.#marks.read(batch);
      return states ? batch.filter((block) => !this.#marks.settleBy(block, states)) : [];
    };
    return whileFresh(blocks, look, { firstBatch: FIRST_MARKS, freshMs: AT_ONCE_MS, now: this.#now });
  }

  /**
   * Gives out the tasks of a block that look free, up to the first task of another worker. The tasks ahead of that worker
   * are left to that worker, so that two workers do not run after one another.
   * @returns true when there was a task to give out, or when the block is finished.
   */
  async *#visit(
    block: Block<Task>,
    tasks: readonly OpenTask<Task>[],
    { choose, freshMs }: Strategy,
  ): AsyncGenerator<OpenTask<Task>, boolean> {
    const given: OpenTask<Task>[] = [];
    let course: readonly OpenTask<Task>[] | undefined;
    let hasMetOthers = false;
    const look = async (batch: readonly OpenTask<Task>[]) => {
      hasMetOthers ||= given.some(({ opensAt }) => opensAt !== undefined);
      if (hasMetOthers) return [];
      const free = await this.#look(block, batch);
      if (course === undefined) {
        course = choose(free, block, this.#plan.clock);
        return course;
      }
      const met = batch.findIndex((open) => !free.includes(open));
      hasMetOthers = met >= 0;
      return hasMetOthers ? batch.slice(0, met) : batch;
    };
    for await (const open of whileFresh(tasks, look, { firstBatch: BLOCK, freshMs, now: this.#now })) {
      open.here = 'trying';
      open.opensAt = undefined;
      given.push(open);
      yield open;
    }
    return given.length > 0 || block.open.size === 0;
  }

  /** Reads the records of tasks, settles the done ones, and notes the busy ones. Returns the tasks that look free. */
  async #look(block: Block<Task>, batch: readonly OpenTask<Task>[]): Promise<readonly OpenTask<Task>[]> {
    const { token } = this.#plan;
    const states = await this.#marks.read([block], batch);
    if (states === undefined || this.#marks.settleBy(block, states)) return [];
    const free: OpenTask<Task>[] = [];
    for (const open of batch) {
      const state = states.get(open.key);
      // Without `once` nobody can tell whether a task that was busy, and was released since, is done. Only a task whose
      // holder let its lease expire is tried again.
      const wasHandled = open.opensAt !== undefined && token === undefined && state?.lockId === undefined;
      if (this.#marks.isDoneIn(state)) {
        block.lastTakenAt = Math.max(block.lastTakenAt, state?.acquiredAt ?? 0);
        this.#unsettled.settle(open, 'alreadyDone');
      } else if (wasHandled) this.#unsettled.settle(open, 'busy');
      else if (state === undefined || state.opensInMs === 0 || state.flaw !== undefined) {
        // The acquisition judges a record that somebody has changed.
        open.freeSince ??= this.#now();
        free.push(open);
      } else this.#unsettled.foundBusy(open, state.opensInMs);
    }
    // Several workers may find at once that the last task is done: half of them leave the mark to the others.
    if (Math.random() < 0.5 && !states.get(block.markKey ?? '')?.held) await this.#marks.leaveIfDone(block);
    return free;
  }
}

/** In a random order. Fisher and Yates, as Durstenfeld has it: Communications of the ACM 7 (1964), algorithm 235. */
function shuffled<Item>(items: Iterable<Item>): Item[] {
  const order = [...items];
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [order[i], order[j]] = [order[j] as Item, order[i] as Item];
  }
  return order;
}
