import { checkFunction, checkNames, printable } from '../lib/record/check.ts';
import { configure, sharedNames } from './configure.ts';
import { after, before, type Guard, onError } from './hooks.ts';
import { checkPlace, ofInvocation, putInto } from './invocation.ts';
import type { LambdaContext } from './lambda-context.ts';
import type { LockMiddleware } from './lock.ts';
import { RecordBatch } from './record-batch.ts';
import type { LockRecordsOptions, RecordLocks } from './record-options.ts';
import { Remaining } from './remaining.ts';
import type { LockRequest } from './request.ts';
import { type BatchResponse, type Lockable, messagesOf, type QueueEvent, type QueueRecord } from './sqs.ts';
import { callbackError, wrap } from './wrap.ts';

/**
 * Takes a lock for each key of a batch of SQS messages, all at once, before the handler runs. Gives the handler in
 * `event.Records` the records whose locks were granted. Releases each lease when its records are finished, by
 * `locks.using`, or after the handler. For Middy 6 and 7, standard queues and FIFO queues, with `ReportBatchItemFailures`
 * switched on.
 *
 * The response is a batch response, whatever the handler returns. It names
 *
 * - the handler's own `batchItemFailures` or rejected results,
 * - each record whose lock is busy, whose key is bad, whose lease was lost or for which the store did not answer,
 * - in a FIFO queue, each record behind a record of its message group that the handler was not given.
 *
 * If there is no record for the handler, the handler does not run. If the handler throws, the invocation and all
 * records fail.
 *
 * Register `lockRecords()` before `sqs-partial-batch-failure` and `event-batch-response`, and before `lock()`: a `lock()`
 * that ends the request responds that every record failed that was not worked on. Give Middy `lockPlugin()` too. With the
 * plugin, a later middleware may end the request: the records that were held back are added to its batch response. If the
 * middleware responds with anything else, the invocation fails, so that SQS keeps the messages. Without the plugin SQS
 * deletes them.
 *
 * The invocation fails with a `TypeError` when the event is no batch of SQS messages, and with a `LockError` in a durable
 * execution, outside its steps.
 * @example
 * ```ts
 * import middy from '@middy/core';
 * import type { SQSEvent } from 'aws-lambda';
 * import { lockPlugin, lockRecords } from 'leasehold/middy';
 *
 * export const handler = middy<SQSEvent>(lockPlugin())
 *   .use(lockRecords({ key: (record) => `account/${JSON.parse(record.body).account}` }))
 *   .handler(async ({ Records }, { locks }) => {
 *     const work = ({ signal }: { signal: AbortSignal }) => fetch('https://example.com/book', { signal });
 *     await Promise.allSettled(Records.map((record) => locks.using(record, work)));
 *   });
 * ```
 * @throws TypeError that shows the value, if an option is unknown or invalid.
 */
export function lockRecords<Item extends Lockable = QueueRecord, const Name extends string = 'locks'>(
  options: LockRecordsOptions<Item, Name>,
): LockMiddleware<QueueEvent<Item>, LambdaContext, Name, RecordLocks> {
  const guard = recordsGuard('lockRecords()', options);
  const lockRecordsBefore = (request: LockRequest) => before(guard, request);
  const lockRecordsAfter = (request: LockRequest) => after(guard, request);
  const lockRecordsOnError = (request: LockRequest) => onError(guard, request);
  return { before: lockRecordsBefore, after: lockRecordsAfter, onError: lockRecordsOnError };
}

/**
 * `lockRecords()` for handlers without Middy: `handler(event, context)`. The promise of the wrapped handler rejects where
 * `lockRecords()` makes an invocation fail.
 * @example
 * ```ts
 * import { withRecordLocks } from 'leasehold/middy';
 *
 * export const handler = withRecordLocks({ key: ({ body }) => body }, async ({ Records }, { locks }) => {
 *   for (const record of Records) await locks.using(record, ({ fencingToken }) => console.log(fencingToken));
 * });
 * ```
 * @throws TypeError that shows the value, if an option is unknown or invalid.
 */
export function withRecordLocks<
  Item extends Lockable = QueueRecord,
  Context extends object = LambdaContext,
  const Name extends string = 'locks',
>(
  options: LockRecordsOptions<Item, Name>,
  handler: (event: QueueEvent<Item>, context: Context & Record<Name, RecordLocks>) => unknown,
): (event: QueueEvent<Item>, context: Omit<Context, Name>) => Promise<BatchResponse> {
  if (handler?.length > 2) throw callbackError('withRecordLocks()');
  return wrap(recordsGuard('withRecordLocks()', options), handler) as never;
}

const names = { ...sharedNames, onFailed: 0 } satisfies Record<keyof LockRecordsOptions, 0>;

/** Takes the locks of a batch and puts them into the context. */
function recordsGuard<Item extends Lockable>(what: string, options: LockRecordsOptions<Item, string>): Guard {
  checkNames(what, options, names);
  const { key, once, contextKey = 'locks', waitMs, reserveMs, onFailed } = options;
  checkFunction('key', key);
  if (once !== undefined) checkFunction('once', once);
  if (onFailed !== undefined) checkFunction('onFailed', onFailed);
  const { client, acquire } = configure(what, options);
  return async (event, context, hold) => {
    const acquireOptions = () => ({ ...acquire, ...ofInvocation(context as LambdaContext, waitMs, reserveMs) });
    // A durable execution is refused as a whole.
    acquireOptions();
    checkPlace(context, contextKey);
    const batch = new RecordBatch(recordsOf<Item>(event), client, options, new Remaining(context as LambdaContext));
    hold(batch);
    await batch.take(acquireOptions);
    if (batch.given.length === 0) return { response: undefined };
    putInto(context, contextKey, batch);
    return undefined;
  };
}

function recordsOf<Item extends Lockable>(event: unknown): Item[] {
  const records = messagesOf<Item>(event);
  if (records) return records;
  const { inspect } = process.getBuiltinModule('node:util');
  throw new TypeError(
    'An event of SQS was expected, { Records: [{ messageId, body, ... }] } with one record or more, but it is ' +
      `${printable(inspect(event, { depth: 2, breakLength: Infinity }).slice(0, 300))}. ` +
      'Lock events of other sources with lock().',
  );
}
