import type { LockClient } from '../lib/lease/client.ts';
import type { LockBusyError, LockDoneError } from '../lib/lease/errors.ts';
import type { LockEventListener } from '../lib/lease/events.ts';
import type { AcquireOptions } from '../lib/lease/options.ts';
import type { DynamoDBLockStoreOptions } from '../lib/store/dynamodb.ts';
import type { LockStore } from '../lib/store/store.ts';

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

export interface LockOptions<Event = unknown, Context = LambdaContext, Name extends string = 'lock'>
  extends Omit<AcquireOptions, 'signal' | 'remainingMs' | 'owner' | 'once' | 'data'> {
  /**
   * The name that excludes, 1 to 1,024 bytes, or what gets it from the event. When that gives anything else, nothing is
   * locked, the handler does not run, and the invocation fails with a `TypeError`.
   */
  key: string | ((event: Event, context: Context) => string);
  /**
   * An ordered token, as a rule the schedule's time in ISO 8601 (`(event) => event.time`): the handler runs only for one
   * that is greater than the last that finished. Default: none.
   */
  once?: string | ((event: Event, context: Context) => string) | undefined;
  /** What to attach to the lease, for operators to read: JSON, up to 8 kB. Default: nothing. */
  data?: object | string | number | boolean | null | ((event: Event, context: Context) => unknown);
  /**
   * When somebody else holds the lock: fail with the `LockBusyError` ('throw', the default), or do not run the handler
   * and respond with nothing ('skip') or with what the function returns.
   */
  onBusy?: 'throw' | 'skip' | Respond<LockBusyError, Event, Context> | undefined;
  /**
   * When it was done for this `once` token: the handler does not run, and the response is nothing ('skip', the default)
   * or what the function returns. Never an error, for which Lambda would try again.
   */
  onDone?: 'skip' | Respond<LockDoneError, Event, Context> | undefined;
  /**
   * When the handler succeeded, but on a lease that was lost: fail with the `LockLostError` ('throw', the default) or
   * respond as if nothing had happened ('ignore'). Neither counts as done.
   */
  onLost?: 'throw' | 'ignore' | undefined;
  /** How much of the invocation's time `waitMs` leaves to the handler, in milliseconds. 0 or more; default 1,000. */
  reserveMs?: number | undefined;
  /** Where in the context the lease is. Default 'lock'. */
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
