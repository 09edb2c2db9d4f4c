import type { DynamoDBLockStoreOptions } from '../lib/dynamodb/table.ts';
import type { LockClient } from '../lib/lease/client.ts';
import type { LockEventListener } from '../lib/lease/events.ts';
import type { Lease } from '../lib/lease/lease.ts';
import type { AcquireOptions } from '../lib/lease/options.ts';
import type { LockBusyError, LockDoneError } from '../lib/record/errors.ts';
import type { LockStore } from '../lib/record/store.ts';

/**
 * The context that Lambda gives a handler, as `@types/aws-lambda` has it, which nobody needs to install for this.
 * Source: https://docs.aws.amazon.com/lambda/latest/dg/nodejs-context.html
 */
export interface LambdaContext {
  callbackWaitsForEmptyEventLoop: boolean;
  functionName: string;
  functionVersion: string;
  invokedFunctionArn: string;
  memoryLimitInMB: string;
  awsRequestId: string;
  logGroupName: string;
  logStreamName: string;
  getRemainingTimeInMillis(): number;
  /** @deprecated Of Node.js 0.10; here because the context of `@types/aws-lambda` still has it. */
  done(error?: Error, result?: unknown): void;
  /** @deprecated As `done`. */
  fail(error: Error | string): void;
  /** @deprecated As `done`. */
  succeed(message: unknown, object?: unknown): void;
}

/** A response in the handler's place. */
type Respond<Reason, Event, Context> = (reason: Reason, event: Event, context: Context) => unknown;

/** What every lock can be told. */
export interface SharedOptions<Name extends string>
  extends Omit<AcquireOptions, 'signal' | 'remainingMs' | 'owner' | 'once' | 'data'> {
  /**
   * How much of the invocation's time `waitMs` leaves to the handler, in milliseconds. When half of it is left,
   * `lockRecords()` gives up on a store that has not answered. 0 or more; default 1,000.
   */
  reserveMs?: number | undefined;
  /**
   * Where in the context to put what the handler gets. Two locks of one request need two places, or the second one fails
   * with a `LockError`. Default 'lock', and 'locks' for records.
   */
  contextKey?: Name | undefined;
  /** A client to share, or a store for a client of its own. Default: a `DynamoDBLockStore` of `tableName` and `client`. */
  locks?: LockClient | LockStore | undefined;
  /** The lock table's name or ARN, where `locks` is not given. Default: the environment variable `LOCK_TABLE_NAME`. */
  tableName?: DynamoDBLockStoreOptions['tableName'];
  /** The DynamoDB client, where `locks` is not given. Default: one of the store's own. */
  client?: DynamoDBLockStoreOptions['client'];
  /** Told of everything that happens to the lock, where `locks` is no `LockClient` with a listener of its own. */
  onEvent?: LockEventListener | undefined;
}

type Data = object | string | number | boolean | null;

export interface LockOptions<Event = unknown, Context = LambdaContext, Name extends string = 'lock'>
  extends SharedOptions<Name> {
  /**
   * The name that excludes, 1 to 1,024 bytes, or what gets it from the event. When that gives anything else, nothing is
   * locked, the handler does not run, and the invocation fails with a `TypeError`.
   */
  key: string | ((event: Event, context: Context) => string);
  /**
   * An ordered token, as a rule the schedule's time in ISO 8601 (`(event) => event.time`): the handler runs only for one
   * that is greater than the last that finished. A batch of which records go back (a response with `batchItemFailures`, or
   * rejected results to SQS messages) has not finished. Default: none.
   */
  once?: string | ((event: Event, context: Context) => string) | undefined;
  /** What to attach to the lease, for operators to read: JSON, up to 8 kB. Default: nothing. */
  data?: Data | ((event: Event, context: Context) => unknown);
  /**
   * When somebody else holds the lock: fail with the `LockBusyError` ('throw', the default), or do not run the handler
   * and respond with nothing ('skip') or with what the function returns. To a batch of SQS messages 'skip' responds that
   * all of them failed, or SQS would delete messages that nobody has worked on. Behind `lockRecords()`, or inside of
   * `withRecordLocks()`, so does a function, whatever it returns.
   */
  onBusy?: 'throw' | 'skip' | Respond<LockBusyError, Event, Context> | undefined;
  /**
   * When it was done for this `once` token: the handler does not run, and the response is nothing ('skip', the default)
   * or what the function returns. Never an error, for which Lambda would try again. Behind `lockRecords()`, or inside of
   * `withRecordLocks()`, the response is that all messages failed that were not worked on, as for `onBusy`.
   */
  onDone?: 'skip' | Respond<LockDoneError, Event, Context> | undefined;
  /**
   * When the handler succeeded, but on a lease that was lost: fail with the `LockLostError` ('throw', the default) or
   * respond as if nothing had happened ('ignore'). Neither counts as done.
   */
  onLost?: 'throw' | 'ignore' | undefined;
}

/** What a record must have to be locked; every message of SQS does. */
export interface Lockable {
  messageId: string;
  eventSourceARN?: string;
  attributes?: { MessageGroupId?: string | undefined };
}

/**
 * A message as SQS gives it to a function, as `@types/aws-lambda` has it, which nobody needs to install for this.
 * Source: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
 */
export interface QueueRecord extends Lockable {
  receiptHandle: string;
  body: string;
  attributes: {
    AWSTraceHeader?: string | undefined;
    ApproximateReceiveCount: string;
    SentTimestamp: string;
    SenderId: string;
    ApproximateFirstReceiveTimestamp: string;
    SequenceNumber?: string | undefined;
    MessageGroupId?: string | undefined;
    MessageDeduplicationId?: string | undefined;
    DeadLetterQueueSourceArn?: string | undefined;
  };
  messageAttributes: {
    [name: string]: {
      stringValue?: string | undefined;
      binaryValue?: string | undefined;
      stringListValues?: string[] | undefined;
      binaryListValues?: string[] | undefined;
      dataType: string;
    };
  };
  md5OfBody: string;
  md5OfMessageAttributes?: string;
  eventSource: string;
  eventSourceARN: string;
  awsRegion: string;
}

export interface LockRecordsOptions<Item extends Lockable = QueueRecord, Name extends string = 'locks'>
  extends SharedOptions<Name> {
  /** Gets the name that excludes from a record: 1 to 1,024 bytes. When it gives anything else, or throws, that record fails. */
  key: (record: Item) => string;
  /**
   * Gets an ordered token from a record, as a rule `({ attributes }) => attributes.SequenceNumber` of a FIFO queue: a
   * record is worked on only if its token is greater than the last one of its key that finished, and is otherwise taken
   * for done. What has no order (a message id) would make records vanish. Default: none.
   */
  once?: ((record: Item) => string | undefined) | undefined;
  /** What to attach to a lease, for operators to read: JSON, up to 8 kB; of a key's first record. Default: nothing. */
  data?: Data | ((record: Item) => unknown);
  /**
   * When a record's work succeeded, but on a lease that was lost: the record fails ('throw', the default) or has
   * succeeded ('ignore'). Neither counts as done.
   */
  onLost?: 'throw' | 'ignore' | undefined;
  /**
   * Told why a record goes back to the queue, where the handler did not say so itself: with the `LockBusyError`, also for
   * those behind a busy one in a FIFO queue; with what `key` threw; with a `LockStoreError` or `LockLostError`; with what
   * the work threw that ran by `locks.using`. What it throws is ignored. Default: `console.error`, for all but the busy.
   */
  onFailed?: ((error: unknown, record: Item) => unknown) | undefined;
}

/** What the handler of records gets in its context. */
export interface RecordLocks {
  /**
   * The lease of a record's key, which the records of that key share. Ends with the handler; leave its release to that. A
   * handler or work that releases it is warned: the key's other records fail, and nothing of the key is done.
   * @throws TypeError when the record is not one that the handler was given.
   */
  of(record: Lockable): Lease;
  /**
   * Works on a record when those have been worked on that came before, by an earlier call, and have its key or, in a
   * FIFO queue, its message group; releases the lease when the last record of its key has been worked on. A record whose
   * work fails goes back to the queue, whatever the handler returns, and in a FIFO queue no later one of its group is
   * begun. Call it once for each record: a second call, after the lease was released, is refused, and changes nothing of
   * how the record fared. A call inside the work on a record of the same key or group would wait for itself: it is refused
   * at once, and its record goes back. Where the work still runs when the invocation has a second left, or half of a
   * shorter time, the handler having ended, the lease is abandoned and the record goes back.
   * @returns what the work returned. Whoever does not wait for the promise has no unhandled rejection.
   * @throws what the work threw; LockLostError when the lease was lost; LockError when the call is refused; in a FIFO queue,
   *   the error of the record before.
   */
  using<Result>(record: Lockable, work: (lease: Lease) => Promise<Result> | Result): Promise<Result>;
}

/**
 * What SQS is told: which records are to come back.
 * Source: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
 */
export interface BatchResponse {
  batchItemFailures: { itemIdentifier: string }[];
}
