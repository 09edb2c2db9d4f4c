import type { LockRecord } from '../record/record.ts';
import { lockOf } from '../record/slot-keys.ts';
import { isDone } from '../record/token.ts';
import type { Acquisition, Turn } from './acquisition.ts';
import type { Busy, Outcome } from './attempts.ts';
import { pauseUntil } from './change.ts';
import type { LeaseContext } from './context.ts';
import { Streaks } from './streak.ts';

/** A timer keeps the process alive for those who wait without an end. */
const LONGEST_WAIT_MS = 1e9;

/** A call that waits for a lock. The call keeps its own id, plan, deadline and events. */
interface Waiter {
  readonly acquisition: Acquisition;
  /** True if the call's `once` token has finished, as far as was seen. Only the store says so for certain. */
  mayBeDone: boolean;
  /** True while the call asks the store, or looks at the lock. */
  isAsking: boolean;
  /** True if the call was refused, and nothing has woken the call since. */
  isRefused: boolean;
  /** Ends the present pause. */
  wake: AbortController;
}

/**
 * The calls of one client that wait for one key and number of permits, in the order of their calls. A plain lock has one slot.
 *
 * 1. As many calls ask the store at once as slots look open: the first calls, each for a slot of its own. A slot that a lease
 *    of this client has does not look open, nor one that was refused.
 * 2. If no slot looks open, only the first call looks at the lock. If this client has all slots, nobody asks.
 * 3. Those calls are woken when a lease of this client has ended, or when a call before them has left the line.
 * 4. A call leaves the line with its lease, its error, or at the end of its own wait.
 *
 * A line has calls and the records that were seen last, and no grant (invariant 11).
 */
class Line {
  readonly keys: readonly string[];
  readonly #context: LeaseContext;
  readonly #streaks: Streaks;
  readonly #waiters = new Set<Waiter>();
  readonly #seen = new Map<string, LockRecord>();
  /** The slots that others have, as far as was seen. */
  readonly #refused = new Set<string>();

  constructor(context: LeaseContext, keys: readonly string[], streaks: Streaks) {
    this.#context = context;
    this.keys = keys;
    this.#streaks = streaks;
  }

  get isEmpty(): boolean {
    return this.#waiters.size === 0;
  }

  join(acquisition: Acquisition): Waiter {
    const wake = new AbortController();
    const waiter = { acquisition, mayBeDone: false, isAsking: false, isRefused: false, wake };
    this.#waiters.add(waiter);
    const [known] = this.#known;
    if (known && this.#restMs(waiter) > 0) tell(waiter, known);
    return waiter;
  }

  /** Waits until the call is to ask the store. Returns an outcome if the call's wait is over before. */
  async turn(waiter: Waiter): Promise<Busy | undefined> {
    const { acquisition } = waiter;
    for (;;) {
      const restMs = this.#restMs(waiter);
      if (restMs <= 0 || waiter.mayBeDone) return undefined;
      const { waitLeftMs } = acquisition;
      const known = this.#known;
      if (waitLeftMs <= 0 && known.length > 0) return acquisition.busy(known);
      // Nobody in the line has got an answer so far. So the call asks once, as it would have asked alone.
      if (waitLeftMs <= 0) return undefined;
      await this.#pause(waiter, Math.min(restMs, waitLeftMs, LONGEST_WAIT_MS));
    }
  }

  /** Lets a call ask the store. A call that is refused, and is not the first, goes back to the line. */
  async ask(waiter: Waiter): Promise<Outcome> {
    const isFirst = () => this.#placeOf(waiter) === 0;
    const turn: Turn = {
      get isFirst() {
        return isFirst();
      },
      begin: () => {
        waiter.mayBeDone = false;
        waiter.wake = new AbortController();
        return waiter.wake.signal;
      },
      saw: (record) => this.#saw(record, waiter),
      mayAsk: (key) => !this.#context.leases.of(key) && this.#restOf(key) <= 0,
      looksOpen: (key) => !this.#refused.has(key),
    };
    waiter.isAsking = true;
    try {
      return await waiter.acquisition.run(turn);
    } finally {
      waiter.isAsking = false;
      waiter.isRefused = !waiter.wake.signal.aborted;
    }
  }

  /** Learns that a lease of this client has ended. */
  ended(record: LockRecord): void {
    this.#refused.delete(record.key);
    this.#learn(record);
    this.#wakeNext(true);
  }

  leave(waiter: Waiter): void {
    this.#waiters.delete(waiter);
    this.#wakeNext(false);
  }

  /** The last known records of the lock. None before the line's first answer. */
  get #known(): LockRecord[] {
    return this.keys.flatMap((key) => this.#context.leases.of(key)?.record ?? this.#seen.get(key) ?? []);
  }

  /** The number of calls before a call, as far as they count: no more calls ask than there are slots. */
  #placeOf(waiter: Waiter): number {
    let place = 0;
    for (const other of this.#waiters) {
      if (other === waiter || place === this.keys.length) break;
      place++;
    }
    return place;
  }

  #restOf(key: string): number {
    return this.#streaks.find(key)?.restMs() ?? 0;
  }

  /**
   * Milliseconds until the calls may ask, one for each call, in their order: no call asks for a slot that was refused, but the
   * first, which looks at the slots. A call without a number waits until something wakes the call.
   */
  get #rests(): readonly number[] {
    const { leases } = this.#context;
    const own = this.keys.filter((key) => !leases.of(key));
    const restsOf = (keys: readonly string[]) => keys.map((key) => this.#restOf(key)).sort((a, b) => a - b);
    const [, ...others] = restsOf(own.filter((key) => !this.#refused.has(key)));
    return [...restsOf(own).slice(0, 1), ...others];
  }

  #restMs(waiter: Waiter): number {
    const place = this.#placeOf(waiter);
    return waiter.isRefused && place > 0 ? Infinity : (this.#rests[place] ?? Infinity);
  }

  /** Wakes the calls that may ask now. A call that asks already hears of a lease that has ended, and of nothing else. */
  #wakeNext(hasEnded: boolean): void {
    const waiters = this.#waiters.values();
    for (let left = this.#rests.length; left > 0; left--) {
      const { value: waiter } = waiters.next();
      if (waiter === undefined) return;
      waiter.isRefused = false;
      if (hasEnded || !waiter.isAsking) waiter.wake.abort();
    }
  }

  /** Learns of a record that one of the calls was refused by, or has read. */
  #saw(record: LockRecord, by: Waiter): void {
    this.#streaks.find(record.key)?.interrupted();
    this.#refused.add(record.key);
    this.#learn(record, by);
  }

  #learn(record: LockRecord, by?: Waiter): void {
    const seen = this.#seen.get(record.key);
    const isNews = seen === undefined || seen.doneToken !== record.doneToken;
    this.#seen.set(record.key, record);
    // A call that came later was told on coming.
    if (isNews) for (const waiter of this.#waiters) if (waiter !== by) tell(waiter, record);
  }

  /** @throws the reason of the call's signal, or of the client's closing. */
  async #pause(waiter: Waiter, ms: number): Promise<void> {
    const { clock, closing } = this.#context;
    waiter.wake = new AbortController();
    await pauseUntil(clock, ms, [waiter.acquisition.plan.signal, closing], waiter.wake.signal);
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
  /** The lines of each key: one for each number of permits. */
  readonly #lines = new Map<string, Line[]>();
  readonly #streaks: Streaks;

  constructor(context: LeaseContext) {
    this.#context = context;
    this.#streaks = new Streaks(context.clock);
  }

  /** The number of the lines. */
  get size(): number {
    return [...this.#lines.values()].flat().length;
  }

  /**
   * Runs an acquisition in its turn.
   * @param told makes the lease of a grant, before the next call in the line is woken.
   */
  async run<Result>(acquisition: Acquisition, told: (outcome: Outcome) => Result): Promise<Result> {
    const { waitMs, pollMs } = acquisition.plan;
    if (waitMs === 0) return told(this.#busyHere(acquisition) ?? (await acquisition.run()));
    // A candidate for the lead looks seldom. Nobody else is to wait behind its looks.
    if (pollMs !== undefined) return told(await acquisition.run());
    const line = this.#lineOf(acquisition);
    const waiter = line.join(acquisition);
    try {
      for (;;) {
        const outcome = (await line.turn(waiter)) ?? (await line.ask(waiter));
        if (outcome.type === 'granted') this.#streaks.granted(outcome.grant.record);
        if (outcome.type !== 'busy' || acquisition.waitLeftMs <= 0) return told(outcome);
      }
    } finally {
      line.leave(waiter);
      if (line.isEmpty) this.#remove(acquisition.key, line);
    }
  }

  /** Learns that a lease of this client has ended. */
  ended(key: string, record: LockRecord): void {
    this.#streaks.find(key)?.ended();
    const lines = [...new Set([key, lockOf(key)])].flatMap((lock) => this.#lines.get(lock) ?? []);
    for (const line of lines) if (line.keys.includes(key)) line.ended(record);
  }

  #lineOf({ key, keys }: Acquisition): Line {
    const lines = this.#lines.get(key) ?? [];
    const known = lines.find((line) => line.keys.length === keys.length);
    if (known) return known;
    const line = new Line(this.#context, keys, this.#streaks);
    this.#lines.set(key, [...lines, line]);
    return line;
  }

  #remove(key: string, line: Line): void {
    const others = this.#lines.get(key)?.filter((other) => other !== line) ?? [];
    if (others.length > 0) this.#lines.set(key, others);
    else this.#lines.delete(key);
  }

  /**
   * Answers a call that does not wait, without a request, if leases of this client have the lock. Only the store says whether
   * a token is done.
   */
  #busyHere(acquisition: Acquisition): Busy | undefined {
    const { keys, plan } = acquisition;
    const records: LockRecord[] = [];
    for (const key of keys) {
      const lease = this.#context.leases.of(key);
      if (!lease?.isHeld() || isDone(plan.once, lease.record.doneToken)) return undefined;
      records.push(lease.record);
    }
    plan.signal?.throwIfAborted();
    return acquisition.busy(records);
  }
}
