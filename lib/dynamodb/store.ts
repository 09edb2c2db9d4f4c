import type {
  BatchGetItemCommandOutput,
  GetItemCommandOutput,
  ScanCommandOutput,
  UpdateItemCommandOutput,
} from '@aws-sdk/client-dynamodb';
import { emfByEnvironment } from '../emf.ts';
import { LockStoreError } from '../record/errors.ts';
import type { LockRecord } from '../record/record.ts';
import type {
  AcquireRequest,
  ForceReleaseRequest,
  GiveBackRequest,
  ListAnswer,
  LockStore,
  ReadAnswer,
  ReadManyAnswer,
  ReleaseRequest,
  RenewRequest,
  RepairRequest,
  ResumeRequest,
  StoreAnswer,
} from '../record/store.ts';
import { type Item, S } from './item.ts';
import { datesOf, type Metadata } from './server-date.ts';
import { type DynamoDBLockStoreOptions, isRefusal, Table } from './table.ts';
import * as writes from './writes.ts';

/** The condition that a lock is still held, as a `ConditionCheck` of the document client takes it. */
export interface LockCondition {
  readonly TableName: string;
  readonly Key: Record<string, string>;
  readonly ConditionExpression: string;
  readonly ExpressionAttributeValues: Record<string, string>;
}

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
export class DynamoDBLockStore implements LockStore {
  /** The lock table's name or ARN. */
  readonly tableName: string;
  /** Publishes the metrics of the clients on this store, if the environment variable `LOCK_METRICS` is `emf`. */
  readonly onEvent: LockStore['onEvent'];
  /** The client that was given. Stores on one client share its sockets. */
  readonly connection: object;
  readonly #table: Table;

  /** @throws TypeError that shows the value, if no table is named, or if an option is unknown or invalid. */
  constructor(options: DynamoDBLockStoreOptions = {}) {
    this.#table = new Table(options);
    this.tableName = this.#table.name;
    this.connection = options.client ?? this;
    this.onEvent = emfByEnvironment(this.tableName);
  }

  /** The sockets of the client's request handler. Undefined until the client has sent a request, or without a bound. */
  get maxInFlight(): number | undefined {
    return this.#table.maxSockets;
  }

  acquire(request: AcquireRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write(request.key, writes.acquire(request, this.#table), signal);
  }

  renew(request: RenewRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write(request.key, writes.renew(request, this.#table), signal);
  }

  release(request: ReleaseRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write(request.key, writes.release(request, this.#table), signal);
  }

  giveBack(request: GiveBackRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write(request.key, writes.giveBack(request), signal);
  }

  resume(request: ResumeRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write(request.key, writes.resume(request, this.#table), signal);
  }

  forceRelease(request: ForceReleaseRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write(request.key, writes.forceRelease(request), signal);
  }

  repair(request: RepairRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write(request.key, writes.repair(request, this.#table), signal);
  }

  async read(key: string, { consistent }: { consistent: boolean }, signal?: AbortSignal): Promise<ReadAnswer> {
    const table = this.#table;
    // An answer without an item is DynamoDB's own for a missing record, so an answer that was cut to nothing cannot be told.
    // Such a reading harms no lock: a caller who sees a free lock asks for the lock by a write, which DynamoDB judges.
    const input = { TableName: table.name, Key: table.keyOf(key), ConsistentRead: consistent };
    const { Item, $metadata } = await table.send<GetItemCommandOutput>('GetItem', input, key, signal);
    return this.#answer(Item, $metadata);
  }

  async readMany(keys: readonly string[], signal?: AbortSignal): Promise<ReadManyAnswer> {
    const table = this.#table;
    const Keys = keys.map((key) => table.keyOf(key));
    const input = { RequestItems: { [table.name]: { Keys } } };
    const answer = await table.send<BatchGetItemCommandOutput>('BatchGetItem', input, undefined, signal);
    const items = Object.values(answer.Responses ?? {}).flat();
    const left = Object.values(answer.UnprocessedKeys ?? {}).flatMap(({ Keys }) => Keys ?? []);
    return {
      records: items.flatMap((item) => this.#parseIfLock(item)),
      unprocessed: left.map((item) => item[table.keyAttribute]?.S as string),
      ...datesOf(answer.$metadata),
    };
  }

  async list(prefix: string, cursor?: unknown, signal?: AbortSignal): Promise<ListAnswer> {
    const { name, keyAttribute, sortKey } = this.#table;
    const input = {
      TableName: name,
      ExclusiveStartKey: cursor as Item | undefined,
      // A table that leasehold shares with another program has other items too.
      FilterExpression: [
        writes.IS_LOCK,
        ...(prefix ? ['begins_with(#key, :prefix)'] : []),
        ...(sortKey ? ['#sort = :sort'] : []),
      ].join(' AND '),
      ...((prefix || sortKey) && {
        ExpressionAttributeNames: {
          ...(prefix && { '#key': keyAttribute }),
          ...(sortKey && { '#sort': sortKey.name }),
        },
      }),
      ExpressionAttributeValues: {
        ...writes.NUMBER,
        ...(prefix && { ':prefix': S(prefix) }),
        ...(sortKey && { ':sort': S(sortKey.value) }),
      },
    };
    const answer = await this.#table.send<ScanCommandOutput>('Scan', input, undefined, signal);
    return {
      records: (answer.Items ?? []).flatMap((item) => this.#parseIfLock(item)),
      cursor: answer.LastEvaluatedKey,
      ...datesOf(answer.$metadata),
    };
  }

  /** @internal The condition under which a write of the user's own belongs to a lease, for `conditionCheck`. */
  conditionFor(key: string, lockId: string): LockCondition {
    const { name, keyAttribute, sortKey } = this.#table;
    return {
      TableName: name,
      Key: { [keyAttribute]: key, ...(sortKey && { [sortKey.name]: sortKey.value }) },
      ConditionExpression: 'lockId = :lockId',
      ExpressionAttributeValues: { ':lockId': lockId },
    };
  }

  async #write(key: string, write: writes.Write, signal: AbortSignal | undefined): Promise<StoreAnswer> {
    const input = {
      ReturnValues: 'UPDATED_NEW',
      ...write,
      TableName: this.#table.name,
      Key: this.#table.keyOf(key),
      ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
    } as const;
    try {
      const { Attributes, $metadata } = await this.#table.send<UpdateItemCommandOutput>(
        'UpdateItem',
        input,
        key,
        signal,
      );
      // Every write sets the expiry or `releasedBy`. A proxy may have cut the answer to nothing, which the SDK takes for an
      // answer without attributes. The write may then have been applied or not, or have never reached DynamoDB.
      if (!Attributes?.expiresAt && !Attributes?.releasedBy) {
        const text = `the answer to dynamodb:UpdateItem on the table '${this.tableName}' shows nothing of the record: a proxy may have cut it.`;
        throw new LockStoreError(text, { transient: true, attempts: $metadata?.attempts, ...datesOf($metadata) });
      }
      // Only a write that asks for the whole record has a caller who needs the record.
      return { applied: true, ...this.#answer(write.ReturnValues && Attributes, $metadata) };
    } catch (error) {
      if (!isRefusal(error)) throw error;
      return { applied: false, ...this.#answer(error.Item, error.$metadata) };
    }
  }

  #answer(item: Item | undefined, metadata: Metadata | undefined) {
    const dates = datesOf(metadata);
    return { record: item && this.#table.parse(item, dates), attempts: metadata?.attempts, ...dates };
  }

  /** Reads a record, or nothing from an item of the user's own, which must not hide the locks beside it. */
  #parseIfLock(item: Item): LockRecord[] {
    try {
      return [this.#table.parse(item)];
    } catch {
      return [];
    }
  }
}
