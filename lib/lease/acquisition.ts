import { LockStoreError } from '../record/errors.ts';
import { areCountable, fresher, holderOf, isOwed, type LockRecord } from '../record/record.ts';
import { slotOf } from '../record/slot-keys.ts';
import type { DatedAnswer } from '../record/store.ts';
import { Attempts, type Busy, type Failed, type Outcome } from './attempts.ts';
import { BackOff } from './back-off.ts';
import { untilChange } from './change.ts';
import type { LeaseContext } from './context.ts';
import { ORDER, sendInTurn } from './gate.ts';
import type { AcquirePlan } from './options.ts';
import { type SlotRights, Slots } from './slots.ts';

/**
 * A waiter's pauses grow by 15% from 30 ms, so a pause is about a seventh of the time waited: a lock that is released after
 * half a second is seen within 100 ms, after about 9 reads. In the long run there are four reads a second.
 *
 * A longer pause would cost fewer reads. But who waits longest would look most seldom, and those who come later would take
 * the lock. (At a load of 0.7, waits of 20 s instead of 11 s at the 99th percentile.)
 */
export const LONGEST_PAUSE_MS = 250;
const PAUSE_MS = { first: 30, growth: 1.15 };
/** The longest pause after a write that failed, in milliseconds: the server may be throttling. */
const FAILED_MOST_MS = 1_000;
/** The time from which on a look without an answer tells of the store, in milliseconds, also if the end of the wait cut the look off. */
const FAIR_MS = 1_000;
/** The longest random delay after an expiry. So the waiters for one expiry do not all write in the same millisecond. */
const MOST_LATE_MS = 25;

/** The turn of a call in the line of its client. */
export interface Turn extends SlotRights {
  /** Begins a try. Gives a signal that aborts when a lease of this client has ended since. */
  begin(): AbortSignal;
  /** Learns of a record that keeps the call out. */
  saw(record: LockRecord): void;
}

/** One call to acquire a lock: its attempts, and the waiting between them. */
export class Acquisition {
  readonly key: string;
  readonly plan: AcquirePlan;
  readonly #context: LeaseContext;
  readonly #attempts: Attempts;
  /** The slots of a key with several permits. */
  readonly #slots: Slots | undefined;
  readonly #busyBackOff: BackOff;
  readonly #failedBackOff = new BackOff(PAUSE_MS.first, FAILED_MOST_MS, PAUSE_MS.growth);
  #isWaiting = false;
  #turn: Turn | undefined;
  #woken: AbortSignal | undefined;
  /** The fault of a slot, which the call throws if no other slot is granted. */
  #fault: unknown;

  constructor(context: LeaseContext, key: string, plan: AcquirePlan) {
    this.#context = context;
    this.key = key;
    this.plan = plan;
    const { pollMs = PAUSE_MS.first } = plan;
    this.#busyBackOff = new BackOff(pollMs, plan.pollMs ?? LONGEST_PAUSE_MS, PAUSE_MS.growth);
    this.#attempts = new Attempts(context, key, plan, (record) => this.#turn?.saw(record));
    const isOpen = (record: LockRecord) => this.#isWorthwhile(record);
    if (plan.permits > 1) this.#slots = new Slots(key, plan.permits, context, isOpen);
  }

  /** The keys of the records that stand for the lock: one, or one for each permit. */
  get keys(): readonly string[] {
    return this.#slots?.keys ?? [this.key];
  }

  /** Milliseconds since the call. */
  get elapsedMs(): number {
    return this.#attempts.elapsedMs;
  }

  /** @internal The attempts of this call, and the time that is left for requests. */
  get attempts(): Attempts {
    return this.#attempts;
  }

  /** Milliseconds for which the caller still waits for a busy lock. */
  get waitLeftMs(): number {
    return Math.min(this.plan.waitMs - this.elapsedMs, this.#attempts.budget.leftMs);
  }

  /** Reports that a wait begins. A call waits once. */
  reportWaiting(record: LockRecord): void {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    const { key } = this;
    const { fencingToken, expiresAt } = record;
    const slot = this.#slots && { slot: slotOf(key, record.key) };
    this.#context.report({ type: 'waiting', key, ...slot, owner: holderOf(record), fencingToken, expiresAt });
  }

  /**
   * 1. One optimistic write.
   * 2. While the lock is busy and time remains: cheap reads, with growing pauses.
   * 3. When the record looks free: the write again.
   *
   * So a waiter never spends the write capacity that the holder's heartbeat needs. With `permits`, a try is up to three writes,
   * and one read looks at all slots.
   * @param turn the turn of a call that stands in a line. A call without a line waits by itself.
   */
  async run(turn?: Turn): Promise<Outcome> {
    this.#turn = turn;
    for (let isWoken = false; ; isWoken = this.#woken?.aborted ?? false) {
      this.#woken = turn?.begin();
      const outcome = await (this.#slots ? this.#trySlots(this.#slots, isWoken) : this.#attempts.ask(this.key));
      if (outcome.type === 'granted' || outcome.type === 'done') return outcome;
      if (outcome.type === 'busy' && this.#isAnswer(outcome.record)) return outcome;
      if (outcome.type === 'busy' && turn?.isFirst === false && this.waitLeftMs > 0) return outcome;
      const ended = await this.#wait(outcome);
      if (ended) return ended;
    }
  }

  /**
   * Tries to get one of the slots.
   *
   * 1. Asks for the slot that this client had last, or for a random slot. After a busy answer, looks first.
   * 2. Refused, or a fault of this slot: looks once at all slots. In a line, only the first call looks.
   * 3. Asks for a random slot that looks free, three times at the most in all.
   */
  async #trySlots(slots: Slots, isWoken: boolean): Promise<Outcome | Failed> {
    let failed: Failed | undefined;
    for (let next = slots.begin(isWoken, this.#turn); ; next = slots.next()) {
      if (next !== undefined) {
        const outcome = await this.#askSlot(slots, next);
        if (outcome.type === 'granted' || outcome.type === 'done') return outcome;
        if (outcome.type === 'failed') failed = outcome;
      } else if (!slots.needsLook) return this.#full(slots, failed);
      const unseen = slots.needsLook && (await this.#lookAtAll(slots));
      if (unseen) return unseen;
    }
  }

  /** Asks for one slot. A fault of its record is no fault of the others. */
  async #askSlot(slots: Slots, key: string): Promise<Outcome | Failed> {
    try {
      const outcome = await slots.asking(key, () => this.#attempts.ask(key));
      if (outcome.type === 'granted') this.#context.slots.answered(this.key, false);
      if (outcome.type === 'busy') slots.refused(key, outcome.record);
      if (outcome.type === 'failed') slots.failed(key);
      return outcome;
    } catch (error) {
      if (!(error instanceof LockStoreError && error.foreign)) throw error;
      slots.failed(key, error);
      return { type: 'failed', error };
    }
  }

  /** The outcome of a try that was granted no slot. A call that waits may be granted one that is closed now. */
  #full(slots: Slots, failed?: Failed): Busy | Failed {
    const { records, damage } = slots;
    this.#fault = damage ?? failed?.error;
    if (records.some(areCountable)) {
      this.#context.slots.answered(this.key, true);
      return this.#busy(records);
    }
    // Another slot may be granted later: its record is not known so far, or another call asks for it just now.
    if (damage && !slots.areAllDamaged) return { type: 'failed', error: damage };
    if (damage) throw damage;
    const message = `Acquiring '${this.key}': the server throttles, and left slots out. Try again.`;
    return failed ?? { type: 'failed', error: new LockStoreError(message, { transient: true }) };
  }

  /** Waits until another write is worthwhile. Returns an outcome if the acquisition ends during the wait. */
  async #wait(outcome: Busy | Failed): Promise<Outcome | undefined> {
    let seen = outcome.type === 'busy' ? outcome.record : undefined;
    do {
      const leftMs = this.waitLeftMs;
      if (leftMs <= 0) {
        if (outcome.type === 'failed') throw outcome.error;
        return seen && this.busy(this.#known(seen));
      }
      await this.#pause(leftMs, seen);
      if (seen === undefined) return undefined;
      if (this.#attempts.budget.leftMs <= 0) return this.busy(this.#known(seen));
      if (this.#woken?.aborted) return undefined;
      seen = await this.#look(seen);
      const done = this.#attempts.doneBy(seen);
      if (done) return done;
      if (seen && this.#isAnswer(seen)) return this.busy([seen]);
    } while (seen && this.#untilOpenMs(seen) > 0);
    return undefined;
  }

  /** A caller who coalesces does not wait for a holder that can be asked for a run, nor for a run that nobody is owed. */
  #isAnswer(record: LockRecord): boolean {
    const { coalesce } = this.plan;
    return coalesce !== undefined && (record.serving !== undefined || (coalesce === 'ifOwed' && !isOwed(record)));
  }

  /** Pauses until the next look is due, the lock opens or the wait is over, whichever is first. */
  async #pause(leftMs: number, seen: LockRecord | undefined): Promise<void> {
    if (seen) this.reportWaiting(seen);
    const backOffMs = (seen ? this.#busyBackOff : this.#failedBackOff).nextMs();
    const openMs = seen ? this.#untilOpenMs(seen) + Math.random() * MOST_LATE_MS : backOffMs;
    const ms = Math.min(backOffMs, openMs, leftMs);
    const signals = [this.plan.signal, this.#context.closing];
    await untilChange(this.#context, this.keys, ms, signals, this.#woken);
  }

  /**
   * Reads the lock during a wait. The read is eventually consistent and cheap as long as the last seen expiry lies ahead.
   * Once that expiry has come, the read is consistent: a renewal may have written a later expiry.
   * @returns the newest known state of the lock, or undefined if a write is worthwhile.
   */
  async #look(seen: LockRecord): Promise<LockRecord | undefined> {
    if (this.#slots) {
      const failed = await this.#lookAtAll(this.#slots, this.elapsedMs);
      if (failed) return seen;
      return this.#slots.hasFree ? undefined : this.#soonest(this.#slots.records);
    }
    const consistent = this.#untilOpenMs(seen) === 0;
    const began = this.elapsedMs;
    const read = (signal: AbortSignal) => this.#context.store.read(this.key, { consistent }, signal);
    try {
      const { record } = await this.#send(`Reading '${this.key}'`, read);
      if (this.#attempts.isOurs(record)) return undefined;
      if (record) this.#turn?.saw(record);
      return consistent ? record : fresher(seen, record);
    } catch (error) {
      // The next look may succeed.
      if (this.#isCutOff(error, began) || this.#attempts.mayPass(error, this.key)) return seen;
      throw error;
    }
  }

  /** Tells whether the end of the wait cut a look off, whose answer would have come a moment later: that is no fault of the store. */
  #isCutOff(error: unknown, began: number): boolean {
    const isFault = error instanceof LockStoreError && error.transient;
    return isFault && this.#attempts.budget.leftMs <= 0 && this.elapsedMs - began < FAIR_MS;
  }

  /**
   * Reads the records of all slots at once, eventually consistent.
   * @param began the time of the call at which a look of a wait begins. Before a wait, the call fails by a look that is cut off.
   */
  async #lookAtAll(slots: Slots, began = -Infinity): Promise<Failed | undefined> {
    const { keys } = slots;
    const what = `Reading the ${keys.length} slots of '${this.key}'`;
    try {
      const answer = await this.#send(what, (signal) => this.#context.store.readMany(keys, signal));
      slots.saw(answer);
      for (const record of answer.records) if (!this.#isWorthwhile(record)) this.#turn?.saw(record);
      if (answer.unprocessed.length < keys.length) return undefined;
      throw new LockStoreError(`${what}: the server throttles, and left all of them out. Try again.`, {
        transient: true,
      });
    } catch (error) {
      if (this.#isCutOff(error, began) || this.#attempts.mayPass(error)) return { type: 'failed', error };
      throw error;
    }
  }

  async #send<Answer extends DatedAnswer>(
    what: string,
    read: (signal: AbortSignal) => Promise<Answer>,
  ): Promise<Answer> {
    const { budget } = this.#attempts;
    const { requestTimeoutMs, signal } = this.plan;
    const limits = { order: ORDER.read, requestTimeoutMs, caller: budget, signal, closing: this.#context.closing };
    const answer = await sendInTurn(this.#context, what, read, limits);
    budget.fault = undefined;
    return answer;
  }

  /**
   * The outcome of a call that these records keep out for good.
   * @throws the fault of a slot, without which the call might have been granted the slot.
   */
  busy(records: readonly LockRecord[]): Busy {
    if (this.#fault !== undefined) throw this.#fault;
    return this.#busy(records);
  }

  #busy(records: readonly LockRecord[]): Busy {
    const closed = records.filter((record) => !this.#isWorthwhile(record));
    return this.#attempts.busy(this.#soonest(records) as LockRecord, this.#slots && closed);
  }

  /** The records that keep the call out: `seen` alone if the client has ended its own leases since. */
  #known(seen: LockRecord): readonly LockRecord[] {
    const records = this.#slots?.records ?? [];
    return records.length > 0 ? records : [seen];
  }

  /**
   * The closed record that opens first. If none is closed any more, the record that opened first. A record that somebody has
   * damaged opens for nobody, and stands for the lock only if there is no other.
   */
  #soonest(records: readonly LockRecord[]): LockRecord | undefined {
    const sound = records.filter(areCountable);
    const inOrder = (sound.length > 0 ? sound : records).toSorted((a, b) => a.expiresAt - b.expiresAt);
    return inOrder.find((record) => !this.#isWorthwhile(record)) ?? inOrder[0];
  }

  /** Tells whether a write is worthwhile: the lock looks open, or an attempt of this call was granted late. */
  #isWorthwhile(record: LockRecord): boolean {
    return this.#attempts.isOurs(record) || !(this.#untilOpenMs(record) > 0);
  }

  #untilOpenMs(record: LockRecord): number {
    return this.#context.serverClock.untilOpenMs(record);
  }
}
