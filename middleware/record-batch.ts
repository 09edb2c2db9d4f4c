import { AsyncLocalStorage } from 'node:async_hooks';
import { call, heed } from '../lib/lease/callback.ts';
import type { LockClient } from '../lib/lease/client.ts';
import type { Lease } from '../lib/lease/lease.ts';
import type { AcquireOptions } from '../lib/lease/options.ts';
import { checkKey, checkText } from '../lib/record/check.ts';
import { LockBusyError, LockDoneError, LockError, LockStoreError, type LostReason } from '../lib/record/errors.ts';
import { isDone } from '../lib/record/record.ts';
import { warnIfReleased } from './held-lease.ts';
import { failuresOf, noPromise, recordLocks } from './invocation.ts';
import type { BatchResponse, Lockable, LockRecordsOptions, RecordLocks } from './options.ts';
import type { Remaining } from './remaining.ts';

/** How many locks are asked for at a time: the SDK's client has 50 sockets, and what waits for one would time out. */
const AT_ONCE = 50;

/** How much of an invocation's time is left at least, in milliseconds, when the batch gives up asking for locks. */
const LEAST_END_MS = 200;

/** A record on its way. */
interface Entry<Item> {
  /**
   * Those after the first are the same message again, or have no later token: nobody works on them, and they fare as the
   * first one does.
   */
  readonly records: [Item, ...Item[]];
  /** In a FIFO queue, the message groups of its records, each of which must stay in order. */
  readonly groups: Set<string>;
  token?: string | undefined;
  lock?: KeyLock<Item>;
  /** `open` until it is known how it went. `done`: it had been before. */
  state: 'open' | 'succeeded' | 'done' | 'failed';
  error?: unknown;
}

/** The lock of one key. */
interface KeyLock<Item> {
  readonly key: string;
  /** In the batch's order, and with growing tokens. */
  readonly entries: Entry<Item>[];
  lease?: Lease;
  /** The entry whose token the lease was asked for with, the greatest. */
  last?: Entry<Item>;
  /** Whether the lease is being released, for all of the entries have been worked on, or at the handler's end. */
  ended?: boolean;
}

/** A record that the handler gets. */
interface Given<Item> {
  readonly entry: Entry<Item>;
  readonly lock: KeyLock<Item>;
  readonly lease: Lease;
}

/** The locks of one batch of records, and how each record fares. */
export class RecordBatch<Item extends Lockable> implements RecordLocks {
  /** All of them, as they came. */
  readonly records: readonly Item[];
  readonly #client: LockClient;
  readonly #options: LockRecordsOptions<Item, string>;
  readonly #remaining: Remaining;
  readonly #entries: Entry<Item>[] = [];
  readonly #byId = new Map<string, Entry<Item>>();
  readonly #locks = new Map<string, KeyLock<Item>>();
  /** By message id, in the batch's order; a message that came twice is given once. */
  readonly #given = new Map<string, Given<Item>>();
  /** The last call of `using` for a lease, and for a group. */
  readonly #turns = new Map<Lease | string, Promise<unknown>>();
  /** The locks for which `using` was called. */
  readonly #pending = new Set<KeyLock<Item>>();
  /** The lanes that the work waits in that this code is called by. */
  readonly #within = new AsyncLocalStorage<(Lease | string)[]>();
  /** Groups of which a record has failed in `using`, and how. */
  readonly #stopped = new Map<string, unknown>();
  #abandoned = false;
  /** Whether a response says which records are to come back. */
  #answered = false;
  readonly [recordLocks] = true;

  constructor(
    records: readonly Item[],
    client: LockClient,
    options: LockRecordsOptions<Item, string>,
    remaining: Remaining,
  ) {
    this.records = records;
    this.#remaining = remaining;
    this.#client = client;
    this.#options = options;
    for (const record of records) this.#add(record);
  }

  /**
   * Takes every lock that is free, in one round trip's time.
   * @param timing what the invocation says of a lease that is taken in it, now.
   * @returns the records to be worked on.
   */
  async take(timing: () => AcquireOptions): Promise<Item[]> {
    this.#holdBack();
    const late = new LockStoreError('The store did not answer in time, and the invocation has little time left.', {
      transient: true,
    });
    // A wait for a busy lock ends when `reserveMs` is left, and its last answer comes after that.
    const endMs = Math.max(LEAST_END_MS, (this.#options.reserveMs ?? 1_000) / 2);
    await this.#remaining.limit(endMs, late, (signal) =>
      inParallel(this.#locks.values(), (lock) => this.#acquire(lock, timing, signal)),
    );
    this.#holdBack();
    for (const entry of this.#entries.filter(isOpen)) {
      const { lock } = entry;
      if (lock?.lease) this.#given.set(idOf(entry), { entry, lock, lease: lock.lease });
    }
    // Nobody waits for these releases before the end.
    for (const lock of this.#locks.values()) if (!lock.entries.some(isOpen)) void this.#end(lock);
    return [...this.#given.values()].map(({ entry }) => entry.records[0]);
  }

  of(record: Lockable): Lease {
    return this.#find(record).lease;
  }

  using<Result>(record: Lockable, work: (lease: Lease) => Promise<Result> | Result): Promise<Result> {
    const using = this.#using(record, work);
    // The record fails, and `onFailed` is told: whoever does not wait for the work has no unhandled rejection.
    heed(using);
    return using;
  }

  /**
   * Ends every lease, and says which records are to come back.
   * @param response what the handler returned: a batch response, settled results, or anything else when all went well.
   * @param failedElsewhere the message ids of the records that failed in another batch of the request.
   */
  async finish(response?: unknown, failedElsewhere: ReadonlySet<string> = new Set()): Promise<BatchResponse> {
    this.#answered = true;
    const reported = this.#failuresIn(response);
    await this.failures();
    const open = [...this.#given.values()].filter(({ entry }) => isOpen(entry));
    for (const lease of new Set(open.filter(({ lock }) => !lock.ended).map(({ lease }) => lease)))
      warnIfReleased(lease);
    const hasFailed = ({ records }: Entry<Item>) =>
      records.some(({ messageId }) => reported.has(messageId) || failedElsewhere.has(messageId));
    for (const { entry } of open) entry.state = hasFailed(entry) ? 'failed' : 'succeeded';
    await this.release();
    for (const { entry, lease } of open) {
      if (entry.state === 'succeeded' && this.#isLost(lease)) this.#fail(entry, lease.signal.reason);
    }
    const failed = this.#entries.filter(({ state }) => state === 'failed');
    return failuresOf(new Set([...failed.flatMap(({ records }) => records.map(messageIdOf)), ...reported]));
  }

  /**
   * Waits for the work that `using` began. In a FIFO queue, what comes behind a record that failed there fails too, though
   * nobody gave it to `using`: it would overtake the failed record.
   * @returns the message ids of the records that have failed by now.
   */
  async failures(): Promise<string[]> {
    await this.#settleTurns();
    this.#holdBack(isOpen);
    return this.#entries.filter(({ state }) => state === 'failed').flatMap(({ records }) => records.map(messageIdOf));
  }

  /**
   * Adds to the response of a middleware that ended the request, and left `after` and `onError` uncalled.
   * @throws LockError when that is no batch response, for SQS would delete messages that nobody has worked on.
   */
  async conclude(response: unknown, failedElsewhere: ReadonlySet<string>): Promise<void> {
    if (this.#answered) return;
    if (Array.isArray((response as Partial<BatchResponse> | undefined)?.batchItemFailures)) {
      Object.assign(response as object, await this.finish(response, failedElsewhere));
      return;
    }
    await this.#settleTurns();
    const unworked = this.#entries.filter(({ state }) => state === 'open' || state === 'failed');
    if (unworked.length === 0) return;
    throw new LockError(
      `A middleware after lockRecords() ended the request, and ${unworked.length} of ${this.#entries.length} records were ` +
        'not worked on: the invocation fails, so that SQS keeps them. Register that middleware before lockRecords(), or ' +
        'let it respond with { batchItemFailures }.',
    );
  }

  /** Ends every lease. Nothing is done that has not succeeded by now. */
  async release(): Promise<void> {
    await this.#settleTurns();
    // A release may wait for those before it, and nothing may begin meanwhile under a lease that is about to end.
    for (const lock of this.#locks.values()) lock.ended = true;
    // What is left of the invocation's time is shared by all that are released at a time.
    await inParallel(this.#locks.values(), (lock, left) => this.#end(lock, Math.ceil(left / AT_ONCE)));
  }

  /** Gives every lease up without releasing it. Records that have not succeeded by now fail. */
  abandon(reason: LostReason): void {
    this.#abandoned = true;
    for (const lock of this.#locks.values()) this.#abandonLock(lock, reason);
  }

  #abandonLock({ entries, lease }: KeyLock<Item>, reason: LostReason): void {
    lease?.abandon(reason);
    for (const entry of entries.filter(isOpen)) this.#failWithGroups(entry, lease?.signal.reason);
  }

  // --- Before the handler -------------------------------------------------------------------------------------------

  #add(record: Item): void {
    // A queue that is not FIFO can have message groups too, for fairness: they have no order.
    const group = record.eventSourceARN?.endsWith('.fifo') ? record.attributes?.MessageGroupId : undefined;
    const entry: Entry<Item> = {
      records: [record],
      groups: new Set(group === undefined ? [] : [group]),
      state: 'open',
    };
    const again = this.#byId.get(record.messageId);
    if (again) {
      this.#join(again, entry);
      return;
    }
    try {
      const { key, once } = this.#options;
      const lock = this.#lockOf(checkKey(noPromise(key(record))));
      // Without a token it would run every time.
      entry.token = once && checkText('once', noPromise(once(record)));
      const last = lock.entries.at(-1);
      // Done when the one before it is.
      if (last && isDone(entry.token, last.token)) {
        this.#join(last, entry);
        return;
      }
      entry.lock = lock;
      lock.entries.push(entry);
    } catch (error) {
      this.#fail(entry, error);
    }
    this.#entries.push(entry);
    this.#byId.set(record.messageId, entry);
  }

  #join(entry: Entry<Item>, { records, groups }: Entry<Item>): void {
    entry.records.push(...records);
    for (const { messageId } of records) this.#byId.set(messageId, entry);
    for (const group of groups) entry.groups.add(group);
    // It may have failed already, by its key.
    if (entry.state === 'failed') for (const record of records) this.#tell(record, entry.error);
  }

  #lockOf(key: string): KeyLock<Item> {
    const lock = this.#locks.get(key) ?? { key, entries: [] };
    this.#locks.set(key, lock);
    return lock;
  }

  /** In a FIFO queue, what comes behind a failed record of its group fails with it, or it would overtake it. */
  #holdBack(isAffected: (entry: Entry<Item>) => boolean = () => true): void {
    const failed = new Map<string, unknown>();
    for (const entry of this.#entries) {
      const before = isAffected(entry) ? [...entry.groups].find((group) => failed.has(group)) : undefined;
      if (before !== undefined) this.#fail(entry, failed.get(before));
      if (entry.state !== 'failed') continue;
      for (const group of entry.groups) if (!failed.has(group)) failed.set(group, entry.error);
    }
  }

  async #acquire(lock: KeyLock<Item>, timing: () => AcquireOptions, signal: AbortSignal): Promise<void> {
    const { data } = this.#options;
    const open = lock.entries.filter(isOpen);
    lock.last = open.at(-1);
    const [first] = open;
    if (!first) return;
    try {
      signal.throwIfAborted();
      const once = lock.last?.token;
      lock.lease = await this.#client.acquire(lock.key, {
        ...this.#options,
        ...timing(),
        signal,
        once,
        data: typeof data === 'function' ? noPromise(data(first.records[0])) : data,
      });
      if (once === undefined || first === lock.last) return;
      // That the last one is not done says nothing of those before it.
      const doneToken = (await unlessAborted(signal, this.#client.inspect(lock.key)))?.doneToken;
      for (const entry of open) {
        if (isDone(entry.token, doneToken)) entry.state = 'done';
      }
    } catch (error) {
      for (const entry of open) {
        if (error instanceof LockDoneError) entry.state = 'done';
        else this.#fail(entry, error);
      }
    }
  }

  // --- While it runs ------------------------------------------------------------------------------------------------

  #find(record: Lockable): Given<Item> {
    const given = this.#given.get(record?.messageId);
    if (given) return given;
    throw new TypeError(
      `A record must be one of event.Records as the handler was given them, but it is ${record?.messageId ?? record}.`,
    );
  }

  async #using<Result>(record: Lockable, work: (lease: Lease) => Promise<Result> | Result): Promise<Result> {
    const given = this.#find(record);
    const { lease, entry } = given;
    const lanes = [lease, ...entry.groups];
    const outer = this.#within.getStore() ?? [];
    if (lanes.some((lane) => outer.includes(lane))) {
      const error = new LockError(
        `locks.using() for the message ${record.messageId} was called inside the work on a message with the same key or ` +
          'message group, and would wait for itself: the message goes back. Call locks.using() for one message after the ' +
          'other, or do this inside the work, which has the lease.',
      );
      this.#failWithGroups(entry, error);
      throw error;
    }
    const earlier = lanes.map((lane) => this.#turns.get(lane));
    const held = [...lanes, ...outer];
    const turn = Promise.allSettled(earlier)
      .then(() => this.#within.run(held, () => this.#work(given, work)))
      // What the work left behind waits for nobody any more.
      .finally(() => held.splice(0));
    for (const lane of lanes) this.#turns.set(lane, turn);
    this.#pending.add(given.lock);
    return turn;
  }

  async #work<Result>(
    { entry, lock, lease }: Given<Item>,
    work: (lease: Lease) => Promise<Result> | Result,
  ): Promise<Result> {
    const messageId = idOf(entry);
    // All records of the key have been worked on, or the handler has ended: what succeeded does not fail by that.
    if (lock.ended) {
      const error = new LockError(
        `locks.using() for the message ${messageId} was called after the lease had been released: do all work on a ` +
          'message in one call, and before the handler ends.',
      );
      if (isOpen(entry)) this.#failWithGroups(entry, error);
      throw error;
    }
    try {
      const stopped = [...entry.groups].find((group) => this.#stopped.has(group));
      if (stopped !== undefined) throw this.#stopped.get(stopped);
      lease.assertHeld();
      const result = await work(lease);
      if (!lock.ended) warnIfReleased(lease);
      if (isOpen(entry)) entry.state = 'succeeded';
      await this.#endIfFinished(lock);
      if (this.#isLost(lease)) throw lease.signal.reason;
      return result;
    } catch (error) {
      this.#failWithGroups(entry, error);
      await this.#endIfFinished(lock);
      throw error;
    }
  }

  /** In a FIFO queue, no later record of the group is begun. */
  #failWithGroups(entry: Entry<Item>, error: unknown): void {
    for (const group of entry.groups) this.#stopped.set(group, error);
    this.#fail(entry, error);
  }

  /**
   * Invariant 9: whoever did not wait for the work that `using` began, its leases are kept until it has ended. Where it
   * has not when the invocation is about to end, they are abandoned, and its records fail.
   */
  async #settleTurns(): Promise<void> {
    let turns = new Set<Promise<unknown>>();
    // Work may begin while others are waited for.
    while (!this.#abandoned && ![...this.#turns.values()].every((turn) => turns.has(turn))) {
      turns = new Set(this.#turns.values());
      if (!(await this.#remaining.settles(Promise.allSettled(turns)))) this.#abandonPending();
    }
  }

  #abandonPending(): void {
    for (const lock of this.#pending) if (!lock.ended) this.#abandonLock(lock, 'abandoned');
    // Nobody waits for them again.
    this.#turns.clear();
  }

  // --- After it -----------------------------------------------------------------------------------------------------

  /**
   * The message ids that the handler's response names, as Lambda reads it: one that is none of the batch means all. So does
   * a rejected result among results that are not one for each record: nobody can tell whose it is.
   */
  #failuresIn(response: unknown): Set<string> {
    const given = [...this.#given.keys()];
    if (Array.isArray(response)) {
      const failures = given.filter((_, index) => response[index]?.status === 'rejected');
      const isWhole = response.length === given.length || !response.some((result) => result?.status === 'rejected');
      return new Set(isWhole ? failures : given);
    }
    const { batchItemFailures = [] } = (response ?? {}) as { batchItemFailures?: { itemIdentifier: string }[] };
    if (!Array.isArray(batchItemFailures)) return new Set(given);
    const ids = new Set(this.records.map(messageIdOf));
    const named = batchItemFailures.map((failure) => failure?.itemIdentifier);
    return new Set(named.every((id) => ids.has(id)) ? named : given);
  }

  #fail(entry: Entry<Item>, error: unknown): void {
    if (entry.state === 'failed') return;
    entry.state = 'failed';
    entry.error = error;
    for (const record of entry.records) this.#tell(record, error);
  }

  /** Invariant 12: a listener that fails, at once or later, disturbs nothing. */
  #tell(record: Item, error: unknown): void {
    const { onFailed = logFailure } = this.#options;
    call(() => onFailed(error, record));
  }

  #isLost({ signal }: Lease): boolean {
    return this.#options.onLost !== 'ignore' && signal.aborted;
  }

  async #endIfFinished(lock: KeyLock<Item>): Promise<void> {
    if (!lock.entries.some(isOpen)) await this.#end(lock);
  }

  /** What counts as done is the greatest token up to which no record has failed: it would never come again. */
  async #end(lock: KeyLock<Item>, rounds = 1): Promise<void> {
    const { entries, lease, last } = lock;
    if (!lease || this.#abandoned) return;
    lock.ended = true;
    const failed = entries.findIndex(({ state }) => state === 'open' || state === 'failed');
    const finished = failed < 0 ? entries : entries.slice(0, failed);
    const done = finished.findLast(({ state }) => state === 'succeeded');
    const withinMs = this.#remaining.releaseMs / rounds;
    await lease.release({ done: done !== undefined && (done === last || (done.token ?? false)), withinMs });
  }
}

const isOpen = ({ state }: Entry<unknown>): boolean => state === 'open';
const messageIdOf = ({ messageId }: Lockable): string => messageId;
const idOf = ({ records: [{ messageId }] }: Entry<Lockable>): string => messageId;

/** @throws the signal's reason when that aborts before `work` has come. */
async function unlessAborted<Result>(signal: AbortSignal, work: Promise<Result>): Promise<Result> {
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener('abort', abort);
  return Promise.race([work, aborted.promise]).finally(() => signal.removeEventListener('abort', abort));
}

function logFailure(error: unknown, { messageId }: Lockable): void {
  if (!(error instanceof LockBusyError)) console.error(`The message ${messageId} goes back to its queue:`, error);
}

/** @param work gets an item, and how many are left with the item. */
async function inParallel<Item>(
  items: Iterable<Item>,
  work: (item: Item, left: number) => Promise<void>,
): Promise<void> {
  const all = [...items];
  // One iterator, from which each worker takes the next.
  const next = all.entries();
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (const [index, item] of next) await work(item, all.length - index);
    }),
  );
}
