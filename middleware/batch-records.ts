import { call } from '../lib/lease/callback.ts';
import { checkKey } from '../lib/record/check.ts';
import { LockBusyError, LockTokenError } from '../lib/record/errors.ts';
import { canonicalToken, haveOneForm, isDone, shownToken } from '../lib/record/token.ts';
import { noPromise } from './configure.ts';
import type { LockRecordsOptions } from './record-options.ts';
import { type Lockable, messageIdOf } from './sqs.ts';

/** A record on its way from the queue to its end. */
export interface Entry<Item> {
  /**
   * The records after the first are the same message again, or have no later token. Nobody works on them, and they fare
   * as the first one does.
   */
  readonly records: [Item, ...Item[]];
  /** In a FIFO queue, the message groups of the entry's records, each of which must stay in order. */
  readonly groups: Set<string>;
  /** The canonical text of the records' `once` token. */
  token?: string | undefined;
  /** The name of its lock; absent where `key` or `once` gave none. */
  key?: string;
  /** `open` until the end of the record is known. `done`: the record's token had finished before. */
  state: 'open' | 'succeeded' | 'done' | 'failed';
  error?: unknown;
}

export const isOpen = ({ state }: Entry<unknown>): boolean => state === 'open';

/** The message id of an entry's first record, which stands for the others. */
export const idOf = ({ records: [{ messageId }] }: Entry<Lockable>): string => messageId;

/** The records of one batch, and how each of them fares. */
export class BatchRecords<Item extends Lockable> {
  /** In the batch's order. */
  readonly entries: Entry<Item>[] = [];
  /** In the batch's order, and with growing tokens. */
  readonly byKey = new Map<string, Entry<Item>[]>();
  readonly #options: LockRecordsOptions<Item, string>;
  readonly #byId = new Map<string, Entry<Item>>();
  /** Groups of which a record has failed while the handler ran, with the record's error. */
  readonly #stopped = new Map<string, unknown>();

  constructor(records: readonly Item[], options: LockRecordsOptions<Item, string>) {
    this.#options = options;
    for (const record of records) this.#add(record);
  }

  /** The message ids of the records that have failed by now. */
  failedIds(): string[] {
    return this.entries.filter(({ state }) => state === 'failed').flatMap(({ records }) => records.map(messageIdOf));
  }

  fail(entry: Entry<Item>, error: unknown): void {
    if (entry.state === 'failed') return;
    entry.state = 'failed';
    entry.error = error;
    for (const record of entry.records) this.#tell(record, error);
  }

  /** Fails a record while the handler runs. In a FIFO queue, no later record of its group is begun. */
  stopGroups(entry: Entry<Item>, error: unknown): void {
    for (const group of entry.groups) this.#stopped.set(group, error);
    this.fail(entry, error);
  }

  /** @throws the error that stopped a group of the record. */
  assertMayBegin({ groups }: Entry<Item>): void {
    for (const group of groups) if (this.#stopped.has(group)) throw this.#stopped.get(group);
  }

  /** In a FIFO queue, a record behind a failed record of its group fails too: it would overtake the failed one. */
  holdBack(isAffected: (entry: Entry<Item>) => boolean = () => true): void {
    const failed = new Map<string, unknown>();
    for (const entry of this.entries) {
      const before = isAffected(entry) ? [...entry.groups].find((group) => failed.has(group)) : undefined;
      if (before !== undefined) this.fail(entry, failed.get(before));
      if (entry.state !== 'failed') continue;
      for (const group of entry.groups) if (!failed.has(group)) failed.set(group, entry.error);
    }
  }

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
      const { once } = this.#options;
      const key = checkKey(noPromise('key', this.#options.key(record)));
      // Without a token the record would be worked on every time.
      entry.token = once && canonicalToken(noPromise('once', once(record)));
      const earlier = this.byKey.get(key) ?? [];
      const last = earlier.at(-1);
      // A record without a later token is done when the record before is done.
      if (last && isDone(entry.token, last.token)) {
        assertOneForm(key, entry.token as string, last.token);
        this.#join(last, entry);
        return;
      }
      entry.key = key;
      this.byKey.set(key, [...earlier, entry]);
    } catch (error) {
      this.fail(entry, error);
    }
    this.entries.push(entry);
    this.#byId.set(record.messageId, entry);
  }

  #join(entry: Entry<Item>, { records, groups }: Entry<Item>): void {
    entry.records.push(...records);
    for (const { messageId } of records) this.#byId.set(messageId, entry);
    for (const group of groups) entry.groups.add(group);
    // The entry may have failed already, by its key.
    if (entry.state === 'failed') for (const record of records) this.#tell(record, entry.error);
  }

  /** Invariant 12: a listener that fails, at once or later, disturbs nothing. */
  #tell(record: Item, error: unknown): void {
    const { onFailed = logFailure } = this.#options;
    call(() => onFailed(error, record));
  }
}

/** Tokens of two forms have no order: nobody can tell which of their records is the later one. */
export function assertOneForm(key: string, token: string, before: string): void {
  if (haveOneForm(token, before)) return;
  throw new LockTokenError({ key, once: shownToken(token), doneToken: shownToken(before) });
}

function logFailure(error: unknown, { messageId }: Lockable): void {
  if (!(error instanceof LockBusyError)) console.error(`The message ${messageId} goes back to its queue:`, error);
}
