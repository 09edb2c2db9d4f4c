import type { Lease } from '../lib/lease/lease.ts';
import type { OnceToken } from '../lib/record/token.ts';
import type { Data, SharedOptions } from './options.ts';
import type { Lockable, QueueRecord } from './sqs.ts';

/**
 * The options of `lockRecords()` and `withRecordLocks()`.
 * @example
 * ```ts
 * import { type LockRecordsOptions, withRecordLocks } from 'leasehold/middy';
 *
 * const options: LockRecordsOptions = { key: (record) => record.body, waitMs: 2_000 };
 * export const handler = withRecordLocks(options, async ({ Records }, { locks }) => {
 *   for (const record of Records) await locks.using(record, (lease) => console.log(lease.fencingToken));
 * });
 * ```
 */
export interface LockRecordsOptions<Item extends Lockable = QueueRecord, Name extends string = 'locks'>
  extends SharedOptions<Name> {
  /**
   * Gets the name that excludes from a record: 1 to 1,024 bytes. If the function gives anything else, or throws, the record
   * fails.
   */
  key: (record: Item) => string;
  /**
   * Gets an ordered token from a record, as a rule `({ attributes }) => attributes.SequenceNumber` of a FIFO queue. A
   * record is worked on only if its token is greater than the last token of its key that finished; otherwise the record is
   * taken for done. A token without an order (a message id) would make records vanish. A record without a token fails, and
   * so does a record whose token has another form than the one that finished.
   * @default none
   */
  once?: (record: Item) => OnceToken | undefined;
  /**
   * JSON to attach to a lease, for operators to read, up to 8 kB. A function gets the first record of the key.
   * @default nothing
   */
  data?: Data | ((record: Item) => unknown);
  /**
   * Decides when a record's work succeeded, but on a lease that was lost. The work does not count as done.
   *
   * - `'throw'`: the record fails.
   * - `'ignore'`: the record has succeeded.
   * @default 'throw'
   */
  onLost?: 'throw' | 'ignore' | undefined;
  /**
   * Called when a record goes back to the queue and the handler did not say so itself. What the function throws is
   * ignored. The error is
   *
   * - the `LockBusyError`, also for the records behind a busy record in a FIFO queue,
   * - the error of `key`, `once` or `data`,
   * - a `LockStoreError` or `LockLostError`,
   * - the error of the work that ran by `locks.using`.
   * @default `console.error`, for every error but a `LockBusyError`
   */
  onFailed?: ((error: unknown, record: Item) => unknown) | undefined;
}

/**
 * The locks of a batch's records, in the context of their handler.
 * @example
 * ```ts
 * import type { QueueRecord, RecordLocks } from 'leasehold/middy';
 *
 * export async function workOn(records: QueueRecord[], locks: RecordLocks) {
 *   await Promise.allSettled(records.map((record) => locks.using(record, ({ key }) => console.log(key))));
 * }
 * ```
 */
export interface RecordLocks {
  /**
   * Gives the lease of a record's key, which the records of that key share. The lease ends with the handler; leave its
   * release to leasehold. If a handler or work releases the lease, leasehold warns on the console, the key's other records
   * fail, and nothing of the key is done.
   * @throws TypeError if the handler was not given this record.
   */
  of(record: Lockable): Lease;
  /**
   * Runs `work` after the earlier calls for the same key (in FIFO queues: for the same message group) have ended. Releases
   * the lease after the key's last record. Call `using` once for each record.
   *
   * - The work fails: the record goes back to the queue, whatever the handler returns. In a FIFO queue no later record of
   *   the record's group is begun.
   * - A second call for a record whose lease was released is refused. The record fares as before.
   * - A call inside the work on a record of the same key or group would wait for itself. The call is refused at once, and
   *   its record goes back.
   * - The handler has ended, the work still runs, and the invocation has a second left, or half of a shorter time: the
   *   lease is abandoned, and the record goes back.
   * @returns the result of the work. A rejection that nobody waits for is not unhandled.
   * @throws the error of the work; LockLostError when the lease was lost; LockError when the call is refused; in a FIFO
   *   queue, the error of the record before.
   */
  using<Result>(record: Lockable, work: (lease: Lease) => Promise<Result> | Result): Promise<Result>;
}
