/**
 * The least that a record needs to be locked. Every message of SQS has it.
 * @example
 * ```ts
 * import { type Lockable, lockRecords } from 'leasehold/middy';
 *
 * interface Order extends Lockable {
 *   body: { account: string }; // parsed by a middleware before
 * }
 * export const locks = lockRecords({ key: (order: Order) => `account/${order.body.account}` });
 * ```
 */
export interface Lockable {
  messageId: string;
  eventSourceARN?: string;
  attributes?: { MessageGroupId?: string | undefined };
}

/**
 * A message as SQS gives it to a function. The interface equals the one of `@types/aws-lambda`, which nobody needs to
 * install for this.
 * Source: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
 * @example
 * ```ts
 * import type { QueueRecord } from 'leasehold/middy';
 *
 * export const accountOf = (record: QueueRecord): string => JSON.parse(record.body).account;
 * ```
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

/**
 * An event of SQS: a batch of messages.
 * @example
 * ```ts
 * import type { QueueEvent } from 'leasehold/middy';
 *
 * export const sizeOf = ({ Records }: QueueEvent): number => Records.length;
 * ```
 */
export interface QueueEvent<Item extends Lockable = QueueRecord> {
  Records: Item[];
}

/**
 * The response that names the records that are to come back.
 * Source: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
 * @example
 * ```ts
 * import type { BatchResponse } from 'leasehold/middy';
 *
 * export const allDone: BatchResponse = { batchItemFailures: [] };
 * ```
 */
export interface BatchResponse {
  batchItemFailures: { itemIdentifier: string }[];
}

/** The messages of an event of SQS; undefined if the event is none. */
export function messagesOf<Item extends Lockable>(event: unknown): Item[] | undefined {
  const { Records: records } = (event ?? {}) as { Records?: Item[] };
  const isMessage = (record: Item | undefined) => typeof record?.messageId === 'string' && record.messageId !== '';
  return Array.isArray(records) && records.length > 0 && records.every(isMessage) ? records : undefined;
}

/** The id of a message. */
export const messageIdOf = ({ messageId }: Lockable): string => messageId;

/** The batch response that sends messages back. */
export const sendBack = (messageIds: Iterable<string>): BatchResponse => ({
  batchItemFailures: Array.from(messageIds, (itemIdentifier) => ({ itemIdentifier })),
});

/**
 * Tells whether a response names records that failed, as Lambda reads it.
 * @param isBatch whether the event is a batch of SQS messages, to which a response may be an array of settled results.
 */
export function hasFailures(response: unknown, isBatch: boolean): boolean {
  if (Array.isArray(response)) return isBatch && response.some((result) => result?.status === 'rejected');
  const failures = (response as { batchItemFailures?: unknown } | null | undefined)?.batchItemFailures ?? [];
  return !(Array.isArray(failures) && failures.length === 0);
}

/** The brand of the locks of a batch's records, in the context. */
export const recordLocks = Symbol.for('leasehold.recordLocks');

/**
 * The message ids that a handler's response names, as Lambda reads it. All given records have failed where
 *
 * - the response names an id that is none of the batch,
 * - a rejected result is among results that are not one for each record: nobody can tell whose it is.
 * @param given the message ids of the records that the handler got.
 */
export function failuresIn(response: unknown, records: readonly Lockable[], given: readonly string[]): Set<string> {
  if (Array.isArray(response)) {
    const isRejected = (result: PromiseSettledResult<unknown> | undefined) => result?.status === 'rejected';
    const failures = given.filter((_, index) => isRejected(response[index]));
    return new Set(response.length === given.length || !response.some(isRejected) ? failures : given);
  }
  const { batchItemFailures = [] } = (response ?? {}) as Partial<BatchResponse>;
  if (!Array.isArray(batchItemFailures)) return new Set(given);
  const ids = new Set(records.map(messageIdOf));
  const named = batchItemFailures.map((failure) => failure?.itemIdentifier);
  return new Set(named.every((id) => ids.has(id)) ? named : given);
}
