import type { DynamoDBLockStoreOptions } from '../lib/dynamodb/table.ts';
import type { LockClient } from '../lib/lease/client.ts';
import type { LockEventListener } from '../lib/lease/events.ts';
import type { AcquireOptions } from '../lib/lease/options.ts';
import type { LockBusyError, LockDoneError, LockOwedError } from '../lib/record/errors.ts';
import type { LockStore } from '../lib/record/store.ts';
import type { OnceToken } from '../lib/record/token.ts';
import type { LambdaContext } from './lambda-context.ts';

/** The options of every lock. */
export interface SharedOptions<Name extends string>
  extends Omit<AcquireOptions, 'withinMs' | 'signal' | 'remainingMs' | 'owner' | 'once' | 'data'>,
    DynamoDBLockStoreOptions {
  /**
   * Milliseconds of the invocation's time that are left to the handler, whatever becomes of the lock: the lease, or the error
   * of a lock that is busy or of a store that does not answer, comes before. If the invocation has less than twice that time
   * left, half of the time is left. Larger: more time for the handler, less time to wait for a busy lock. 0 or more.
   * @default 1_000
   */
  reserveMs?: number | undefined;
  /**
   * The name in the context of the lease, or of the records' locks. Two locks of one request need two names: with one
   * name, the second lock fails with a `LockError`.
   * @default 'lock' ('locks' for records)
   */
  contextKey?: Name | undefined;
  /**
   * The place where the locks live: a client to share, or a store for a client of its own. Not with an option of
   * `DynamoDBLockStore`.
   * @default a `DynamoDBLockStore` of the options given for it
   */
  locks?: LockClient | LockStore | undefined;
  /**
   * Called with every event of the lock. Not with a `LockClient`, which has a listener of its own.
   * @default none
   */
  onEvent?: LockEventListener | undefined;
}

/**
 * Gives a response in the handler's place.
 * @inline
 */
type Respond<Reason, Event, Context> = (reason: Reason, event: Event, context: Context) => unknown;

/** Something to attach to a lease. */
export type Data = object | string | number | boolean | null;

/**
 * The options of `lock()` and `withLock()`.
 * @example
 * ```ts
 * import { type LockOptions, withLock } from 'leasehold/middy';
 *
 * const options: LockOptions<{ time: string }> = { key: 'nightly', once: ({ time }) => time, waitMs: 5_000 };
 * export const handler = withLock(options, async ({ time }) => console.log(`The night of ${time}.`));
 * ```
 */
export interface LockOptions<Event = unknown, Context = LambdaContext, Name extends string = 'lock'>
  extends SharedOptions<Name> {
  /**
   * The name that excludes, 1 to 1,024 bytes, or a function that gets the name from the event. If the function gives
   * anything else, nothing is locked, the handler does not run, and the invocation fails with a `TypeError`.
   */
  key: string | ((event: Event, context: Context) => string);
  /**
   * An ordered token, as a rule the schedule's time (`(event) => event.time`): an instant, a number, or another string. The
   * handler runs only for a token that is greater than the last token that finished. If the function gives `undefined`, or
   * if the token that finished has another form, the invocation fails. A batch of which records go back (a response with
   * `batchItemFailures`, or rejected results to SQS messages) has not finished.
   * @default none
   */
  once?: OnceToken | ((event: Event, context: Context) => OnceToken);
  /**
   * JSON to attach to the lease, for operators to read, up to 8 kB.
   * @default nothing
   */
  data?: Data | ((event: Event, context: Context) => unknown);
  /**
   * Decides when somebody else holds the lock.
   *
   * - `'throw'`: the invocation fails with the `LockBusyError`.
   * - `'skip'`: the handler does not run, and the response is nothing. To a batch of SQS messages the response is that all
   *   of them failed: SQS would delete messages that nobody has worked on.
   * - A function: the handler does not run, and the response is the function's result. Behind `lockRecords()`, or inside
   *   of `withRecordLocks()`, the response is that all messages failed, whatever the function returns.
   * @default 'throw'
   */
  onBusy?: 'throw' | 'skip' | Respond<LockBusyError, Event, Context> | undefined;
  /**
   * Decides when the work was done for this `once` token. The handler does not run.
   *
   * - `'skip'`: the response is nothing. It is never an error, for which Lambda would try again.
   * - A function: the response is the function's result.
   *
   * Behind `lockRecords()`, or inside of `withRecordLocks()`, the response is that all messages failed that were not
   * worked on.
   * @default 'skip'
   */
  onDone?: 'skip' | Respond<LockDoneError, Event, Context> | undefined;
  /**
   * Decides when the handler succeeded, but on a lease that was lost. The work does not count as done.
   *
   * - `'throw'`: the invocation fails with the `LockLostError`.
   * - `'ignore'`: the response is the handler's.
   * @default 'throw'
   */
  onLost?: 'throw' | 'ignore' | undefined;
  /**
   * Runs the handler once more, with the same event, if it is asked for while it runs, however many ask. An invocation that
   * asks does not run its handler, and has succeeded (`onCovered`). The response is that of the last run. Of `withLock()`
   * alone, and not beside `once`, `holdAtLeastMs`, `permits` or `onLost: 'ignore'`. Not for streaming handlers.
   * @default false
   */
  coalesce?: boolean | undefined;
  /**
   * Runs the handler only if a run is owed, and asks nobody for a run: for a schedule that makes up for holders that died. If
   * nothing is owed, the handler does not run, and the response is nothing. While the lease of a dead holder lasts, the
   * invocation is covered (`onCovered`): the run is made by the first invocation after the expiry. Only with `coalesce`.
   * @default false
   */
  onlyIfOwed?: boolean | undefined;
  /**
   * Gives the response of an invocation that another holder runs for. Only with `coalesce`.
   *
   * - `'skip'`: the response is nothing.
   * - A function: the response is the function's result.
   *
   * Behind `lockRecords()`, or inside of `withRecordLocks()`, the response is that all messages failed that were not worked on.
   * @default 'skip'
   */
  onCovered?: 'skip' | ((event: Event, context: Context) => unknown) | undefined;
  /**
   * Decides when a run is left owed: too little time was left for one more run, a part of the work was skipped, or the store
   * did not answer. Only with `coalesce`.
   *
   * - `'throw'`: the invocation fails with the `LockOwedError`, so that the event's source delivers the event again.
   * - A function: the response is the function's result.
   * @default 'throw'
   */
  onOwed?: 'throw' | Respond<LockOwedError, Event, Context> | undefined;
}

/**
 * The options of `lock()` and `withLock()` for several keys, which are taken together or not at all. The context has
 * `Leases`. `once`, `onDone` and `coalesce` belong to one key.
 * @example
 * ```ts
 * import { type LockAllOptions, withLock } from 'leasehold/middy';
 *
 * const options: LockAllOptions<{ from: string; to: string }> = { keys: ({ from, to }) => [from, to], waitMs: 5_000 };
 * export const handler = withLock(options, async ({ from, to }, { lock }) => console.log(from, to, lock.isHeld()));
 * ```
 */
export interface LockAllOptions<Event = unknown, Context = LambdaContext, Name extends string = 'lock'>
  extends Omit<
    LockOptions<Event, Context, Name>,
    'key' | 'once' | 'onDone' | 'permits' | 'coalesce' | 'onlyIfOwed' | 'onCovered' | 'onOwed'
  > {
  /**
   * The names that exclude: 2 to 25 different ones of 1 to 1,024 bytes, or a function that gets them from the event. If the
   * function gives anything else, nothing is locked, the handler does not run, and the invocation fails with a `TypeError`.
   */
  keys: readonly string[] | ((event: Event, context: Context) => readonly string[]);
}

/** One kind of options or another. No option of one kind may stand beside an option of the other kind alone. */
export type Either<One, Other> =
  | (One & { [Name in Exclude<keyof Other, keyof One>]?: never })
  | (Other & { [Name in Exclude<keyof One, keyof Other>]?: never });
