import type { TransactWriteCommandInput } from '@aws-sdk/lib-dynamodb';
import { BackOff } from '../lease/back-off.ts';
import { pause, systemClock } from '../lease/clock.ts';
import type { Lease } from '../lease/lease.ts';
import { show } from '../record/check.ts';
import { LockLostError } from '../record/errors.ts';
import type { DynamoDBLeaseStore } from './lease-store.ts';

// The types of `@aws-sdk/lib-dynamodb`, as far as guarded writes need them. A user without guarded writes need not install
// the package.

interface Conditioned {
  TableName: string | undefined;
  ConditionExpression?: string | undefined;
  ExpressionAttributeNames?: Record<string, string> | undefined;
  ExpressionAttributeValues?: Record<string, unknown> | undefined;
  ReturnValuesOnConditionCheckFailure?: 'ALL_OLD' | 'NONE' | undefined;
}

interface Keyed extends Conditioned {
  Key: Record<string, unknown> | undefined;
}

/** One operation of a transaction, as the document client's `TransactWriteCommand` takes it. */
export interface TransactItem {
  Put?: (Conditioned & { Item: Record<string, unknown> | undefined }) | undefined;
  Update?: (Keyed & { UpdateExpression: string | undefined }) | undefined;
  Delete?: Keyed | undefined;
  ConditionCheck?: Keyed | undefined;
}

/** The SDK's `DynamoDBDocumentClient`. */
export interface DocumentClient {
  // biome-ignore lint/suspicious/noExplicitAny: the SDK's own type, which has one overload for each of its commands.
  send(command: any): Promise<any>;
}

/** The condition that a lock is still held, as a `ConditionCheck` of the document client takes it. */
export interface LockCondition {
  readonly TableName: string;
  readonly Key: Record<string, string>;
  readonly ConditionExpression: string;
  readonly ExpressionAttributeValues: Record<string, string>;
}

/** DynamoDB's limit on the operations of one transaction, the check included. */
const MAX_ITEMS = 100;
/** The most sendings of a transaction that meets others on its items. Each of the others is over within milliseconds. */
const SENDS = 10;
const CONFLICT_MS = { first: 10, most: 100 };
const PASSING = new Set(['TransactionConflict', 'ThrottlingError', 'ProvisionedThroughputExceeded']);

/**
 * Makes a guard for the user's own writes: an element of `TransactItems` for the document client's `TransactWriteCommand`.
 * The transaction commits only while nobody else has been granted the lock. No clock is involved.
 * @example
 * ```ts
 * import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
 * import { DynamoDBDocumentClient, TransactWriteCommand } from '@aws-sdk/lib-dynamodb';
 * import type { Lease } from 'leasehold';
 * import { conditionCheck } from 'leasehold/dynamodb';
 *
 * const documents = DynamoDBDocumentClient.from(new DynamoDBClient({}));
 *
 * export async function book(lease: Lease, total: number) {
 *   const put = { Put: { TableName: 'reports', Item: { day: '2026-01-01', total } } };
 *   await documents.send(new TransactWriteCommand({ TransactItems: [conditionCheck(lease), put] }));
 * }
 * ```
 * @throws TypeError if the lease lives in another store than DynamoDB.
 */
export function conditionCheck(lease: Lease): { ConditionCheck: LockCondition } {
  const { table } = lease.store as Partial<DynamoDBLeaseStore>;
  if (typeof table?.keyOf !== 'function') {
    throw new TypeError(
      `conditionCheck needs a lease of a DynamoDBLockStore; ${show(lease.key)} lives in ${lease.store.constructor.name}.`,
    );
  }
  const { name, keyAttribute, sortKey } = table;
  return {
    ConditionCheck: {
      TableName: name,
      Key: { [keyAttribute]: lease.recordKey, ...(sortKey && { [sortKey.name]: sortKey.value }) },
      ConditionExpression: 'lockId = :lockId',
      ExpressionAttributeValues: { ':lockId': lease.lockId },
    },
  };
}

/**
 * Writes in one transaction with `conditionCheck(lease)`. A transaction that meets a heartbeat, a contender or another
 * transaction on the same items is sent again: 10 times in all.
 * @example
 * ```ts
 * import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
 * import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb';
 * import type { Lease } from 'leasehold';
 * import { writeWhileHeld } from 'leasehold/dynamodb';
 *
 * const documents = DynamoDBDocumentClient.from(new DynamoDBClient({}));
 *
 * export async function book(lease: Lease, total: number) {
 *   await writeWhileHeld(lease, documents, [{ Put: { TableName: 'reports', Item: { day: '2026-01-01', total } } }]);
 * }
 * ```
 * @param transactItems up to 99 operations, as `TransactWriteCommand` takes them. None may be on the lock's own item.
 * @throws LockLostError if the lease is not held, or if the check is refused. Nothing was written.
 * @throws TypeError if there are more than 99 operations, or if the lease lives in another store than DynamoDB.
 * @throws the client's own error for any other reason, such as a refused condition of the user's own.
 */
export async function writeWhileHeld(
  lease: Lease,
  documentClient: DocumentClient,
  transactItems: readonly TransactItem[],
): Promise<void> {
  if (transactItems.length >= MAX_ITEMS) {
    throw new TypeError(
      `writeWhileHeld takes up to ${MAX_ITEMS - 1} operations, but there are ${transactItems.length}.`,
    );
  }
  const check = conditionCheck(lease);
  // Imported at the first call, so that a user who guards no writes need not install the package.
  // With a `catch`, a bundler does not ask for the package either.
  const { TransactWriteCommand } = await import('@aws-sdk/lib-dynamodb').catch((error) => {
    throw error;
  });
  const backOff = new BackOff(CONFLICT_MS.first, CONFLICT_MS.most);
  for (let sends = 1; ; sends++) {
    lease.assertHeld();
    try {
      const TransactItems = [check, ...transactItems] as TransactWriteCommandInput['TransactItems'];
      await documentClient.send(new TransactWriteCommand({ TransactItems }));
      return;
    } catch (error) {
      const { CancellationReasons } = error as { CancellationReasons?: { Code?: string }[] };
      if (CancellationReasons?.[0]?.Code === 'ConditionalCheckFailed') {
        lease.abandon('takenOver');
        const detail = 'its guarded write was refused, for another grant stands in its place or it was released';
        throw new LockLostError({ key: lease.key, reason: 'takenOver', detail }, { cause: error });
      }
      const reasons = CancellationReasons?.map(({ Code = 'None' }) => Code).filter((code) => code !== 'None') ?? [];
      if (reasons.length === 0 || sends >= SENDS || !reasons.every((code) => PASSING.has(code))) throw error;
      await pause(systemClock, backOff.nextMs());
    }
  }
}
