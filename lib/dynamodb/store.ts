import type { ScanCommandOutput } from '@aws-sdk/client-dynamodb';
import { datesOf } from '../aws/server-date.ts';
import { LockStoreError } from '../record/errors.ts';
import type {
  ForceReleaseRequest,
  ListAnswer,
  LockStore,
  RepairRequest,
  ResumeRequest,
  StoreAnswer,
  StoreProblem,
} from '../record/store.ts';
import { type Item, S } from './item.ts';
import { DynamoDBLeaseStore } from './lease-store.ts';
import * as writes from './operator-writes.ts';

/** The key that a check reads. Nobody need have a lock of this name. */
const PROBE = 'leasehold/check';

/**
 * A store that keeps locks in a DynamoDB table, with one item for each key. Every operation is one conditional `UpdateItem`
 * that brings the record back, granted or refused. So the answer to a request that is sent again tells what the lost answer
 * would have told.
 * @example
 * ```ts
 * import { LockClient } from 'leasehold';
 * import { DynamoDBLockStore } from 'leasehold/dynamodb';
 *
 * export const locks = new LockClient({ store: new DynamoDBLockStore({ tableName: 'locks' }) });
 * ```
 */
export class DynamoDBLockStore extends DynamoDBLeaseStore implements LockStore {
  resume(request: ResumeRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.write(request.key, writes.resume(request, this.table), signal);
  }

  forceRelease(request: ForceReleaseRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.write(request.key, writes.forceRelease(request), signal);
  }

  repair(request: RepairRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.write(request.key, writes.repair(request, this.table), signal);
  }

  async list(prefix: string, cursor?: unknown, signal?: AbortSignal): Promise<ListAnswer> {
    const { name, keyAttribute, sortKey } = this.table;
    // A table that leasehold shares with another program has other items too.
    const isOurs = [
      writes.IS_LOCK,
      ...(prefix ? ['begins_with(#key, :prefix)'] : []),
      ...(sortKey ? ['#sort = :sort'] : []),
    ].join(' AND ');
    // A scan names no key. So DynamoDB does not tell that the key has another name, and the items must tell.
    const names = { '#key': keyAttribute, ...(sortKey && { '#sort': sortKey.name }) };
    const hasOtherKey = Object.keys(names).map((one) => `NOT attribute_type(${one}, :string)`);
    const input = {
      TableName: name,
      ExclusiveStartKey: cursor as Item | undefined,
      FilterExpression: `(${isOurs}) OR ${hasOtherKey.join(' OR ')}`,
      ExpressionAttributeNames: names,
      ExpressionAttributeValues: {
        ...writes.NUMBER,
        ':string': S('S'),
        ...(prefix && { ':prefix': S(prefix) }),
        ...(sortKey && { ':sort': S(sortKey.value) }),
      },
    };
    const answer = await this.table.send<ScanCommandOutput>('Scan', input, undefined, signal);
    const { Items, LastEvaluatedKey, $metadata } = answer;
    if (!Items) throw this.table.cutAnswer('Scan', $metadata);
    if (Items.some((item) => Object.values(names).some((one) => item[one]?.S === undefined))) {
      throw new LockStoreError(this.table.wrongKey);
    }
    return {
      records: Items.flatMap((item) => this.parseIfLock(item)),
      cursor: LastEvaluatedKey,
      ...datesOf($metadata),
    };
  }

  /**
   * Tries to read the record of a lock: whether the table is there and may be read, under the key that the store was told of.
   * The findings of TTL and of permissions to write are the deployment's: `LockTable` sets both.
   */
  async check(signal?: AbortSignal): Promise<readonly StoreProblem[]> {
    try {
      await this.read(PROBE, { consistent: false }, signal);
      return [];
    } catch (error) {
      if (!(error instanceof LockStoreError) || error.transient) throw error;
      const { message, cause } = error;
      if ((cause as Error | undefined)?.name !== 'AccessDeniedException') return [{ severity: 'error', message }];
      const maybe = `The lock '${PROBE}' may not be read, as is right for a role that may use other keys alone: ${message}`;
      return [{ severity: 'warning', message: maybe }];
    }
  }
}
