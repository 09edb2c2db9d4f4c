import type { LockRecord } from '../record/record.ts';
import { isDone } from '../record/token.ts';
import type { Acquisition } from './acquisition.ts';
import type { Busy, Outcome } from './attempts.ts';
import { pause } from './clock.ts';
import type { LeaseContext } from './context.ts';
import { Streak } from './streak.ts';

/** The most keys whose streaks are remembered. A streak matters for a longest pause after its last lease. */
const MOST_STREAKS = 1_000;
/** A timer keeps the process alive for those who wait without an end. */
const LONGEST_WAIT_MS = 1e9;

/** A call that waits for a lock. The call keeps its own id, plan, deadline and events. */
interface Waiter {
  readonly acquisition: Acquisition;
  /** True if the call's `once` token has finished, as far as was seen. Only the store says so for certain. */
  mayBeDone: boolean;
  /** Ends the present pause. */
  wake: AbortController;
}

/**
 * The calls of one client that wait for one key, in the order of their calls.
 *
 * 1. Only the first call asks the store, and only if no lease of this client has the lock.
 * 2. The first call is woken when that lease has ended, or when the call before has left the line.
 * 3. A call leaves the line with its lease, its error, or at the end of its own wait.
 *
 * A line has calls and the record that was seen last, and no grant (invariant 11).
 */
class Line {
  readonly #context: LeaseContext;
  readonly #key: string;
  readonly #waiters = new Set<Waiter>();
  readonly #streak: Streak;
  #seen: LockRecord | undefined;

  constructor(context: LeaseContext, key: string, streak: Streak) {
    this.#context = context;
    this.#key = key;
    this.#streak = streak;
  }

  get isEmpty(): boolean {
    return this.#waiters.size === 0;
  }

  join(acquisition: Acquisition): Waiter {
    const waiter = { acquisition, mayBeDone: false, wake: new AbortController() };
    this.#waiters.add(waiter);
    const known = this.#known;
    if (known) tell(waiter, known);
    return waiter;
  }

  /** Waits until the call is to ask the store. Returns an outcome if the call's wait is over before. */
  async turn(waiter: Waiter): Promise<Busy | undefined> {
    const { acquisition } = waiter;
    for (;;) {
      const restMs = this.#isNext(waiter) ? this.#streak.restMs() : Infinity;
      if (restMs <= 0 || waiter.mayBeDone) return undefined;
      const { waitLeftMs } = acquisition;
      const known = this.#known;
      if (waitLeftMs <= 0 && known) return acquisition.busy(known);
      // Nobody in the line has got an answer so far. So the call asks once, as it would have asked alone.
      if (waitLeftMs <= 0) return undefined;
      await this.#pause(waiter, Math.min(restMs, waitLeftMs, LONGEST_WAIT_MS));
    }
  }

  /** Learns that one of the calls was granted the lock. */
  granted({ fencingToken }: LockRecord): void {
    this.#streak.granted(fencingToken);
  }

  /** Learns of a record that one of the calls was refused by, or has read. */
  saw(record: LockRecord, by: Waiter): void {
    this.#streak.interrupted();
    this.#learn(record, by);
  }

  /** Learns that the lease of this client has ended. */
  ended(record: LockRecord): void {
    this.#learn(record);
    this.#wakeNext();
  }

  leave(waiter: Waiter): void {
    this.#waiters.delete(waiter);
    this.#wakeNext();
  }

  /** The last known record of the lock. Undefined before the line's first answer. */
  get #known(): LockRecord | undefined {
    return this.#context.leases.of(this.#key)?.record ?? this.#seen;
  }

  #isNext(waiter: Waiter): boolean {
    const [first] = this.#waiters;
    return first === waiter && this.#context.leases.of(this.#key) === undefined;
  }

  #wakeNext(): void {
    const [first] = this.#waiters;
    if (first && this.#isNext(first)) first.wake.abort();
  }

  #learn(record: LockRecord, by?: Waiter): void {
    const isNews = this.#seen === undefined || this.#seen.doneToken !== record.doneToken;
    this.#seen = record;
    // Who came later was told on coming.
    if (isNews) for (const waiter of this.#waiters) if (waiter !== by) tell(waiter, record);
  }

  /** @throws the reason of the call's signal, or of the client's closing. */
  async #pause(waiter: Waiter, ms: number): Promise<void> {
    const { clock, closing } = this.#context;
    const { signal } = waiter.acquisition.plan;
    waiter.wake = new AbortController();
    const woken = waiter.wake.signal;
    await pause(clock, ms, signal, closing, woken).catch(() => {});
    signal?.throwIfAborted();
    closing.throwIfAborted();
  }
}

/** Tells a call that waits of a record. A call whose token may be done asks the store, whoever stands before. */
function tell(waiter: Waiter, record: LockRecord): void {
  const { acquisition, wake } = waiter;
  if (isDone(acquisition.plan.once, record.doneToken)) {
    waiter.mayBeDone = true;
    wake.abort();
  } else acquisition.reportWaiting(record);
}

/** The lines of a client, by key. A line is there as long as somebody stands in it. */
export class Lines {
  readonly #context: LeaseContext;
  readonly #lines = new Map<string, Line>();
  /** A streak outlasts a line: one call may take its lock again and again, and stand in its line alone. */
  readonly #streaks = new Map<string, Streak>();

  constructor(context: LeaseContext) {
    this.#context = context;
  }

  /** The number of the lines. */
  get size(): number {
    return this.#lines.size;
  }

  /**
   * Runs an acquisition in its turn.
   * @param told makes the lease of a grant, before the next call in the line is woken.
   */
  async run<Result>(acquisition: Acquisition, told: (outcome: Outcome) => Result): Promise<Result> {
    const { key, plan } = acquisition;
    // The calls for one of several slots need not wait for each other.
    if (plan.permits > 1) return told(await acquisition.run());
    if (plan.waitMs === 0) return told(this.#busyHere(acquisition) ?? (await acquisition.run()));
    const line = this.#lines.get(key) ?? new Line(this.#context, key, this.#streakOf(key));
    this.#lines.set(key, line);
    const waiter = line.join(acquisition);
    try {
      const outcome = (await line.turn(waiter)) ?? (await acquisition.run((record) => line.saw(record, waiter)));
      if (outcome.type === 'granted') line.granted(outcome.grant.record);
      return told(outcome);
    } finally {
      line.leave(waiter);
      if (line.isEmpty) this.#lines.delete(key);
    }
  }

  /** Learns that a lease of this client has ended. */
  ended(key: string, record: LockRecord): void {
    this.#streaks.get(key)?.ended();
    this.#lines.get(key)?.ended(record);
  }

  #streakOf(key: string): Streak {
    const known = this.#streaks.get(key);
    if (known && !known.isOver) return known;
    if (this.#streaks.size >= MOST_STREAKS) this.#streaks.clear();
    const streak = new Streak(this.#context.clock);
    this.#streaks.set(key, streak);
    return streak;
  }

  /**
   * Answers a call that does not wait, without a request, if a lease of this client has the lock. Only the store says whether
   * a token is done.
   */
  #busyHere(acquisition: Acquisition): Busy | undefined {
    const { key, plan } = acquisition;
    const lease = this.#context.leases.of(key);
    if (!lease?.isHeld() || isDone(plan.once, lease.record.doneToken)) return undefined;
    plan.signal?.throwIfAborted();
    return acquisition.busy(lease.record);
  }
}
