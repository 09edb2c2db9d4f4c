import type { TransactWriteCommandInput } from '@aws-sdk/lib-dynamodb';
import { BackOff } from '../lease/back-off.ts';
import { pause, systemClock } from '../lease/clock.ts';
import type { Lease } from '../lease/lease.ts';
import { areSeveral, type Leases } from '../lease/leases.ts';
import { show } from '../record/check.ts';
import { LockLostError } from '../record/errors.ts';
import type { DynamoDBLeaseStore } from './lease-store.ts';

// The types of `@aws-sdk/lib-dynamodb`, as far as guarded writes need them. A user without guarded writes need not install
// the package.

/** @inline */
interface Conditioned {
  TableName: string | undefined;
  ConditionExpression?: string | undefined;
  ExpressionAttributeNames?: Record<string, string> | undefined;
  ExpressionAttributeValues?: Record<string, unknown> | undefined;
  ReturnValuesOnConditionCheckFailure?: 'ALL_OLD' | 'NONE' | undefined;
}

/** @inline */
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
  /** Sends a `TransactWriteCommand`. */
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

/** The condition that a lock is still held, as an element of `TransactItems`. */
export interface LockConditionCheck {
  readonly ConditionCheck: LockCondition;
}

/** DynamoDB's limit on the operations of one transaction, the checks included. */
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
 * @param lease a lease, or the leases of several keys, for each of which there is an element.
 * @throws TypeError if the lease lives in another store than DynamoDB.
 */
export function conditionCheck(lease: Lease): LockConditionCheck;
export function conditionCheck(leases: Leases): LockConditionCheck[];
export function conditionCheck(held: Lease | Leases): LockConditionCheck | LockConditionCheck[] {
  return areSeveral(held) ? [...held].map(checkOf) : checkOf(held);
}

function checkOf(lease: Lease): LockConditionCheck {
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
 * Writes in one transaction with `conditionCheck(lease)`. With the leases of several keys, the transaction commits only while
 * all of them are held. A transaction that meets a heartbeat, a contender or another
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
 * @param transactItems up to 99 operations, as `TransactWriteCommand` takes them; with the leases of k keys, up to 100 - k.
 *   None may be on a lock's own item.
 * @throws LockLostError if a lease is not held, or if its check is refused. Nothing was written.
 * @throws TypeError if there are too many operations, or if the lease lives in another store than DynamoDB.
 * @throws the client's own error for any other reason, such as a refused condition of the user's own.
 */
export async function writeWhileHeld(
  held: Lease | Leases,
  documentClient: DocumentClient,
  transactItems: readonly TransactItem[],
): Promise<void> {
  const leases = areSeveral(held) ? [...held] : [held];
  const most = MAX_ITEMS - leases.length;
  if (transactItems.length > most) {
    const why = leases.length > 1 ? ` beside the checks of ${leases.length} leases` : '';
    throw new TypeError(`writeWhileHeld takes up to ${most} operations${why}, but there are ${transactItems.length}.`);
  }
  const checks = leases.map(checkOf);
  // Imported at the first call, so that a user who guards no writes need not install the package.
  // With a `catch`, a bundler does not ask for the package either.
  const { TransactWriteCommand } = await import('@aws-sdk/lib-dynamodb').catch((error) => {
    throw error;
  });
  const TransactItems = [...checks, ...transactItems] as TransactWriteCommandInput['TransactItems'];
  const backOff = new BackOff(CONFLICT_MS.first, CONFLICT_MS.most);
  for (let sends = 1; ; sends++) {
    held.assertHeld();
    try {
      await documentClient.send(new TransactWriteCommand({ TransactItems }));
      return;
    } catch (error) {
      const { CancellationReasons } = error as { CancellationReasons?: { Code?: string }[] };
      checkRefusals(leases, CancellationReasons, error);
      const reasons = CancellationReasons?.map(({ Code = 'None' }) => Code).filter((code) => code !== 'None') ?? [];
      if (reasons.length === 0 || sends >= SENDS || !reasons.every((code) => PASSING.has(code))) throw error;
      await pause(systemClock, backOff.nextMs());
    }
  }
}

/**
 * Notes the loss of each lease whose check was refused. The checks come first in the transaction.
 * @throws LockLostError of the first of these leases.
 */
function checkRefusals(
  leases: readonly Lease[],
  reasons: readonly { Code?: string }[] | undefined,
  cause: unknown,
): void {
  const refused = leases.filter((_, index) => reasons?.[index]?.Code === 'ConditionalCheckFailed');
  for (const lease of refused) lease.abandon('takenOver');
  const [lost] = refused;
  if (lost === undefined) return;
  const detail = 'its guarded write was refused, for another grant stands in its place or it was released';
  throw new LockLostError({ key: lost.key, reason: 'takenOver', detail }, { cause });
}
