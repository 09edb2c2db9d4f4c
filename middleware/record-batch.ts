// Over 250 lines: one concept, whose states would be spread over two files.

import { heed } from '../lib/lease/callback.ts';
import type { Lease } from '../lib/lease/lease.ts';
import type { LeaseClient } from '../lib/lease/lease-client.ts';
import type { AcquireOptions } from '../lib/lease/options.ts';
import { MOST_MS } from '../lib/record/check.ts';
import { LockBusyError, LockError, type LostReason } from '../lib/record/errors.ts';
import { shownToken } from '../lib/record/token.ts';
import { BatchRecords, type Entry, idOf, isOpen } from './batch-records.ts';
import { noPromise } from './configure.ts';
import { AT_ONCE, inParallel } from './in-parallel.ts';
import { KeyLock } from './key-lock.ts';
import { logSkip } from './log-skip.ts';
import type { LockRecordsOptions, RecordLocks } from './record-options.ts';
import type { Remaining } from './remaining.ts';
import type { HeldBatch } from './request.ts';
import { type BatchResponse, failuresIn, type Lockable, recordLocks, sendBack } from './sqs.ts';
import { Turns } from './turns.ts';
import { warnIfReleased } from './warn-if-released.ts';

/** A record that the handler gets. */
interface Given<Item> {
  readonly entry: Entry<Item>;
  readonly lock: KeyLock<Item>;
  readonly lease: Lease;
}

type Work<Result> = (lease: Lease) => Promise<Result> | Result;

/** The locks of one batch of records, from the acquisition to the response that says which records come back. */
export class RecordBatch<Item extends Lockable> implements RecordLocks, HeldBatch {
  readonly records: readonly Item[];
  declare readonly [recordLocks]: true;
  isUnused = true;
  readonly #client: LeaseClient;
  readonly #options: LockRecordsOptions<Item, string>;
  readonly #remaining: Remaining;
  readonly #locks = new Map<string, KeyLock<Item>>();
  readonly #batch: BatchRecords<Item>;
  /** By message id, in the batch's order; a message that came twice is given once. */
  readonly #given = new Map<string, Given<Item>>();
  /** A lane for each lease, and for each message group. */
  readonly #turns = new Turns<Lease | string>();
  /** The locks for which `using` was called. */
  readonly #pending = new Set<KeyLock<Item>>();
  /** The locks under which work has begun, or may have begun since somebody asked for the lease. */
  readonly #begun = new Set<KeyLock<Item>>();
  /** The records that were passed to `using`, which begins their work or refuses it. */
  readonly #passed = new Set<Entry<Item>>();
  #abandoned = false;
  /** True once a response says which records are to come back. */
  #answered = false;

  constructor(
    records: readonly Item[],
    client: LeaseClient,
    options: LockRecordsOptions<Item, string>,
    remaining: Remaining,
  ) {
    // Here, as a bundler keeps a class that has a field with a computed name, also if nobody uses the class.
    (this as { [recordLocks]: true })[recordLocks] = true;
    this.records = records;
    this.#remaining = remaining;
    this.#client = client;
    this.#options = options;
    this.#batch = new BatchRecords(records, options);
    for (const [key, entries] of this.#batch.byKey) this.#locks.set(key, new KeyLock(key, entries));
  }

  /** True while one of the leases is held. */
  isHeld(): boolean {
    return [...this.#locks.values()].some(({ lease }) => lease?.isHeld());
  }

  get given(): Item[] {
    return [...this.#given.values()].map(({ entry }) => entry.records[0]);
  }

  /**
   * Takes every lock that is free, in one round trip's time.
   * @param acquireOptions the options of a lease that is taken now.
   */
  async take(acquireOptions: () => AcquireOptions): Promise<void> {
    this.#batch.holdBack();
    // One end for the whole batch: the locks after the first 50 get what these leave.
    const { withinMs = MOST_MS } = acquireOptions();
    const reservedMs = this.#remaining.leftMs - withinMs;
    await inParallel(this.#locks.values(), (lock) => {
      const leftMs = Math.max(0, Math.floor(this.#remaining.leftMs - reservedMs));
      return this.#acquire(lock, () => ({ ...acquireOptions(), withinMs: leftMs }));
    });
    this.#batch.holdBack();
    for (const entry of this.#batch.entries.filter(isOpen)) {
      const lock = this.#locks.get(entry.key ?? '');
      if (lock?.lease) this.#given.set(idOf(entry), { entry, lock, lease: lock.lease });
    }
    for (const { key, token, state, error } of this.#batch.entries) {
      if (key !== undefined && (state === 'done' || error instanceof LockBusyError))
        logSkip(key, shownToken(token), error);
    }
    // Nobody waits for these releases before the end.
    for (const lock of this.#locks.values()) void this.#endIfFinished(lock);
  }

  of(record: Lockable): Lease {
    const { lock, lease } = this.#find(record);
    this.#begun.add(lock);
    return lease;
  }

  using<Result>(record: Lockable, work: Work<Result>): Promise<Result> {
    const using = this.#using(record, work);
    // The record fails, and `onFailed` is told: a rejection that nobody waits for is not unhandled.
    heed(using);
    return using;
  }

  /**
   * Ends every lease.
   * @param response the handler's: a batch response, settled results, or anything else when all went well.
   * @returns the records that are to come back.
   */
  async succeed(response?: unknown, failed: ReadonlySet<string> = new Set()): Promise<BatchResponse> {
    this.#answered = true;
    const reported = failuresIn(response, this.records, [...this.#given.keys()]);
    await this.failures();
    const open = [...this.#given.values()].filter(({ entry }) => isOpen(entry));
    for (const lease of new Set(open.filter(({ lock }) => !lock.ended).map(({ lease }) => lease)))
      warnIfReleased(lease);
    const hasFailed = ({ records }: Entry<Item>) =>
      records.some(({ messageId }) => reported.has(messageId) || failed.has(messageId));
    for (const { entry } of open) entry.state = hasFailed(entry) ? 'failed' : 'succeeded';
    await this.release();
    for (const { entry, lease } of open) {
      if (entry.state === 'succeeded' && this.#isLost(lease)) this.#batch.fail(entry, lease.loss);
    }
    return sendBack(new Set([...this.#batch.failedIds(), ...reported]));
  }

  async failures(): Promise<string[]> {
    await this.#settleTurns();
    // A record behind a failed record of its group would overtake the failed one, even if nobody gave it to `using`.
    this.#batch.holdBack(isOpen);
    return this.#batch.failedIds();
  }

  /**
   * Adds to the response of a middleware that ended the request, and left `after` and `onError` uncalled.
   * @throws LockError when that is no batch response, for SQS would delete messages that nobody has worked on.
   */
  async conclude(response: unknown, failed: ReadonlySet<string>): Promise<void> {
    if (this.#answered) return;
    if (Array.isArray((response as Partial<BatchResponse> | undefined)?.batchItemFailures)) {
      Object.assign(response as object, await this.succeed(response, failed));
      return;
    }
    await this.#settleTurns();
    const { entries } = this.#batch;
    const unworked = entries.filter(({ state }) => state === 'open' || state === 'failed');
    if (unworked.length === 0) return;
    throw new LockError(
      `A middleware after lockRecords() ended the request, and ${unworked.length} of ${entries.length} records were not ` +
        'worked on: the invocation fails, so that SQS keeps them. Register that middleware before lockRecords(), or let ' +
        'it respond with { batchItemFailures }.',
    );
  }

  async release(): Promise<void> {
    await this.#settleTurns();
    // A release may wait for the releases before it, and nothing may begin meanwhile under a lease that is about to end.
    for (const lock of this.#locks.values()) lock.ended = true;
    // All leases that are released at a time share the rest of the invocation's time.
    await inParallel(this.#locks.values(), (lock, left) => this.#end(lock, Math.ceil(left / AT_ONCE)));
  }

  abandon(reason: LostReason): void {
    this.#abandoned = true;
    for (const lock of this.#locks.values()) this.#abandonLock(lock, reason);
  }

  async #acquire(lock: KeyLock<Item>, acquireOptions: () => AcquireOptions): Promise<void> {
    const { data } = this.#options;
    const [first] = lock.open;
    if (!first) return;
    try {
      const options = {
        ...acquireOptions(),
        data: typeof data === 'function' ? noPromise('data', data(first.records[0])) : data,
      };
      await lock.acquire(this.#client, options, (entry, error) => this.#batch.fail(entry, error));
    } catch (error) {
      for (const entry of lock.open) this.#batch.fail(entry, error);
    }
  }

  #find(record: Lockable): Given<Item> {
    const given = this.#given.get(record?.messageId);
    if (given) return given;
    throw new TypeError(
      `A record must be one of event.Records as the handler was given them, but it is ${record?.messageId ?? record}.`,
    );
  }

  async #using<Result>(record: Lockable, work: Work<Result>): Promise<Result> {
    const given = this.#find(record);
    const { lease, lock, entry } = given;
    this.#passed.add(entry);
    const lanes = [lease, ...entry.groups];
    if (this.#turns.isWithin(lanes)) {
      const error = new LockError(
        `locks.using() for the message ${record.messageId} was called inside the work on a message with the same key or ` +
          'message group, and would wait for itself: the message goes back. Call locks.using() for one message after the ' +
          'other, or do this inside the work, which has the lease.',
      );
      this.#batch.stopGroups(entry, error);
      throw error;
    }
    this.#pending.add(lock);
    return this.#turns.run(lanes, () => this.#work(given, work));
  }

  async #work<Result>({ entry, lock, lease }: Given<Item>, work: Work<Result>): Promise<Result> {
    // A record that succeeded does not fail by a call after its lease has been released.
    if (lock.ended) {
      const error = new LockError(
        `locks.using() for the message ${idOf(entry)} was called after the lease had been released: do all work on a ` +
          'message in one call, and before the handler ends.',
      );
      if (isOpen(entry)) this.#batch.stopGroups(entry, error);
      throw error;
    }
    try {
      this.#batch.assertMayBegin(entry);
      lease.assertHeld();
      this.#begun.add(lock);
      const result = await work(lease);
      if (!lock.ended) warnIfReleased(lease);
      if (isOpen(entry)) entry.state = 'succeeded';
      await this.#endIfFinished(lock);
      if (this.#isLost(lease)) throw lease.loss;
      return result;
    } catch (error) {
      this.#batch.stopGroups(entry, error);
      await this.#endIfFinished(lock);
      throw error;
    }
  }

  /**
   * Invariant 9: the leases of work that `using` began, and that nobody waited for, are kept until the work has ended.
   * If the work has not ended when the invocation is about to end, the leases are abandoned, and their records fail.
   */
  async #settleTurns(): Promise<void> {
    await this.#turns.settle(async (turns) => {
      if (this.#abandoned) return false;
      const isInTime = await this.#remaining.settles(turns);
      if (!isInTime) for (const lock of this.#pending) if (!lock.ended) this.#abandonLock(lock, 'abandoned');
      return isInTime;
    });
  }

  #abandonLock({ open, lease }: KeyLock<Item>, reason: LostReason): void {
    lease?.abandon(reason);
    for (const entry of open) this.#batch.stopGroups(entry, lease?.loss);
  }

  #isLost({ loss }: Lease): boolean {
    return this.#options.onLost !== 'ignore' && loss !== undefined;
  }

  /** Tells whether no work can have begun under a lock. The handler may work on a record without `using`, too. */
  #isUnused(lock: KeyLock<Item>): boolean {
    const isLeft = (entry: Entry<Item>) => this.#given.has(idOf(entry)) && !this.#passed.has(entry);
    return !this.#begun.has(lock) && (this.isUnused || !lock.entries.some(isLeft));
  }

  async #endIfFinished(lock: KeyLock<Item>): Promise<void> {
    if (lock.open.length === 0) await this.#end(lock);
  }

  async #end(lock: KeyLock<Item>, rounds = 1): Promise<void> {
    if (lock.lease && !this.#abandoned) await lock.end(this.#remaining.releaseMs / rounds, this.#isUnused(lock));
  }
}
