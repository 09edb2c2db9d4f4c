import { inspect } from 'node:util';
import { checkChoice, configure, messagesOf, ofInvocation } from './invocation.ts';
import type { LockMiddleware } from './lock.ts';
import type {
  BatchResponse,
  LambdaContext,
  Lockable,
  LockRecordsOptions,
  QueueRecord,
  RecordLocks,
} from './options.ts';
import { RecordBatch } from './record-batch.ts';
import { Remaining } from './remaining.ts';
import { endEarly, failedIn, hold, holdingsOf, isEarlyTimeout, type Request, release } from './request.ts';

interface Batch<Item> {
  Records: Item[];
}

/**
 * Takes a lock for each key of a batch of SQS messages, all at once, before the handler runs; gives the handler those
 * records in `event.Records` whose locks it got; and releases each when its records are finished, by `locks.using`, or
 * after the handler. For Middy 6 and 7, standard queues and FIFO queues, with `ReportBatchItemFailures` switched on.
 *
 * The response is the batch response, whatever the handler returns: its own `batchItemFailures` or rejected results, and
 * with them each record whose lock is busy, whose key is bad, whose lease was lost or for which the store did not answer;
 * in a FIFO queue also those behind one that the handler was not given, in its message group. When there is none for the
 * handler, it does not run. When it throws, the invocation fails, and with it all records.
 *
 * It stands before `sqs-partial-batch-failure` and `event-batch-response`, and before `lock()`: a `lock()` that ends the
 * request responds that every record failed that was not worked on. Give Middy `lockPlugin()` too. With the plugin, a later
 * middleware may end the request: what was held back is added to its batch response, and if it responds with anything else,
 * the invocation fails, so that SQS keeps the messages. Without the plugin SQS deletes them.
 *
 * The invocation fails with a `TypeError` when the event is no batch of SQS messages, and with a `LockError` in a durable
 * execution, outside its steps.
 * @throws TypeError when an option is not what it should be, with the value.
 */
export function lockRecords<Item extends Lockable = QueueRecord, const Name extends string = 'locks'>(
  options: LockRecordsOptions<Item, Name>,
): LockMiddleware<Batch<Item>, LambdaContext, Name, RecordLocks> {
  const { begin, share } = recordLocks(options);
  const batchOf = (request: Request) => holdingsOf(request).by.get(middleware) as RecordBatch<Item> | undefined;
  /** For middlewares that stand before this one: without it they would tell SQS that the others have succeeded. */
  const restore = ({ event }: Request, { records }: RecordBatch<Item>) =>
    Object.assign(event as object, { Records: records });
  const lockRecordsBefore = async (request: Request) => {
    const { batch, timing } = begin(request.event, request.context);
    hold(request, middleware, batch);
    const records = await batch.take(timing);
    if (records.length > 0) {
      Object.assign(request.event as object, { Records: records });
      share(batch, request.context);
      return;
    }
    await endEarly(request, undefined);
  };
  const lockRecordsAfter = async (request: Request) => {
    const batch = batchOf(request);
    if (!batch) return;
    // Middy waits for a Promise only; any other thenable is still at work.
    request.response = await batch.finish(await request.response, await failedIn(request));
    restore(request, batch);
  };
  const lockRecordsOnError = async (request: Request) => {
    const batch = batchOf(request);
    if (!batch) return;
    await release(batch, request);
    restore(request, batch);
    // Who has made a response of the error knows only of the records that the handler was given.
    if (request.response === undefined) return;
    request.response = await batch.finish(request.response, await failedIn(request));
  };
  const middleware = { before: lockRecordsBefore, after: lockRecordsAfter, onError: lockRecordsOnError };
  return middleware;
}

/**
 * `lockRecords()` for handlers without Middy: `handler(event, context)`.
 *
 * What it returns rejects as `lockRecords()` makes an invocation fail.
 * @throws TypeError when an option is not what it should be, with the value.
 */
export function withRecordLocks<
  Item extends Lockable = QueueRecord,
  Context extends object = LambdaContext,
  const Name extends string = 'locks',
>(
  options: LockRecordsOptions<Item, Name>,
  handler: (event: Batch<Item>, context: Context & Record<Name, RecordLocks>) => unknown,
): (event: Batch<Item>, context: Omit<Context, Name>) => Promise<BatchResponse> {
  const { begin, share } = recordLocks(options);
  return async (event, context) => {
    const { batch, timing } = begin(event, context);
    hold({ context }, batch, batch);
    const records = await batch.take(timing);
    if (records.length === 0) return batch.finish();
    let response: unknown;
    try {
      response = await handler(
        { ...event, Records: records },
        share(batch, context) as Context & Record<Name, RecordLocks>,
      );
    } catch (error) {
      if (isEarlyTimeout(error)) batch.abandon('timedOut');
      else await batch.release();
      throw error;
    }
    return batch.finish(response);
  };
}

/** What `lockRecords()` and `withRecordLocks()` share. */
function recordLocks<Item extends Lockable>(options: LockRecordsOptions<Item, string>) {
  const { key, once, contextKey = 'locks', waitMs, reserveMs } = options;
  checkChoice('key', key, 'a function');
  if (once !== undefined) checkChoice('once', once, 'a function');
  if (options.onFailed !== undefined) checkChoice('onFailed', options.onFailed, 'a function');
  const client = configure(options);
  return {
    begin(event: unknown, context: unknown) {
      const timing = () => ofInvocation(context as LambdaContext, waitMs, reserveMs);
      // A durable execution is refused as a whole.
      timing();
      return {
        batch: new RecordBatch(recordsOf<Item>(event), client, options, new Remaining(context as LambdaContext)),
        timing,
      };
    },
    share: (batch: RecordLocks, context: unknown) => Object.assign(context as object, { [contextKey]: batch }),
  };
}

function recordsOf<Item extends Lockable>(event: unknown): Item[] {
  const records = messagesOf<Item>(event);
  if (records) return records;
  throw new TypeError(
    'An event of SQS was expected, { Records: [{ messageId, body, ... }] } with one record or more, but it is ' +
      `${inspect(event, { depth: 2, breakLength: Number.POSITIVE_INFINITY }).slice(0, 300)}. ` +
      'Lock what comes from elsewhere with lock().',
  );
}
