import type {
  BatchGetItemCommandOutput,
  GetItemCommandOutput,
  UpdateItemCommandOutput,
} from '@aws-sdk/client-dynamodb';
import { datesOf, type Metadata } from '../aws/server-date.ts';
import { emfByEnvironment } from '../emf.ts';
import type { LockRecord } from '../record/record.ts';
import type {
  AcquireRequest,
  AskRequest,
  CommitRequest,
  GiveBackRequest,
  LeaseStore,
  ReadAnswer,
  ReadManyAnswer,
  ReadOptions,
  ReleaseRequest,
  RenewRequest,
  StoreAnswer,
  TurnRequest,
} from '../record/store.ts';
import type { Item } from './item.ts';
import { type DynamoDBLockStoreOptions, isRefusal, Table } from './table.ts';
import * as writes from './writes.ts';

/**
 * The part of a `DynamoDBLockStore` that a lease needs. A bundler that finds no `DynamoDBLockStore` leaves out the rest.
 */
export class DynamoDBLeaseStore {
  /** The lock table's name or ARN. */
  readonly tableName: string;
  /** Publishes the metrics of the clients on this store, if the environment variable `LOCK_METRICS` is `emf`. */
  readonly onEvent: LeaseStore['onEvent'];
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

  /** @internal The lock table. */
  get table(): Table {
    return this.#table;
  }

  acquire(request: AcquireRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.write(request.key, writes.acquire(request, this.#table), signal);
  }

  renew(request: RenewRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.write(request.key, writes.renew(request, this.#table), signal);
  }

  release(request: ReleaseRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.write(request.key, writes.release(request, this.#table), signal);
  }

  giveBack(request: GiveBackRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.write(request.key, writes.giveBack(request), signal);
  }

  commit(request: CommitRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.write(request.key, writes.commit(request), signal);
  }

  ask(request: AskRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.write(request.key, writes.ask(request), signal);
  }

  turn(request: TurnRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.write(request.key, writes.turn(request), signal);
  }

  async read(key: string, { consistent }: ReadOptions, signal?: AbortSignal): Promise<ReadAnswer> {
    const table = this.#table;
    // An answer without an item is DynamoDB's own for a missing record, so the SDK cannot tell an answer that was cut to
    // nothing. Such a reading harms no lock: a caller who sees a free lock asks for the lock by a write, which DynamoDB judges.
    const input = { TableName: table.name, Key: table.keyOf(key), ConsistentRead: consistent };
    const { Item, $metadata } = await table.send<GetItemCommandOutput>('GetItem', input, key, signal);
    return this.#answer(Item, $metadata);
  }

  async readMany(keys: readonly string[], signal?: AbortSignal): Promise<ReadManyAnswer> {
    const table = this.#table;
    const Keys = keys.map((key) => table.keyOf(key));
    const input = { RequestItems: { [table.name]: { Keys } } };
    const answer = await table.send<BatchGetItemCommandOutput>('BatchGetItem', input, undefined, signal);
    const { Responses, UnprocessedKeys = {} } = answer;
    if (!Responses) throw table.cutAnswer('BatchGetItem', answer.$metadata);
    const items = Object.values(Responses).flat();
    const left = Object.values(UnprocessedKeys).flatMap(({ Keys }) => Keys ?? []);
    return {
      records: items.flatMap((item) => this.parseIfLock(item)),
      unprocessed: left.map((item) => item[table.keyAttribute]?.S as string),
      ...datesOf(answer.$metadata),
    };
  }

  /** @internal Reads a record, or nothing from an item of the user's own, which must not hide the locks beside it. */
  parseIfLock(item: Item): LockRecord[] {
    try {
      return [this.#table.parse(item)];
    } catch {
      return [];
    }
  }

  /** @internal Sends one conditional write. */
  async write(key: string, write: writes.Write, signal: AbortSignal | undefined): Promise<StoreAnswer> {
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
      // Every write sets the expiry, `releasedBy`, a commit or a count of asks. A proxy may have cut the answer to nothing, which the SDK takes for an
      // answer without attributes. The write may then have been applied or not, or have never reached DynamoDB.
      if (!(['expiresAt', 'releasedBy', 'commits', 'asked'] as const).some((name) => Attributes?.[name])) {
        throw this.#table.cutAnswer('UpdateItem', $metadata);
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
    const maybeAppliedBefore = (metadata?.attempts ?? 1) > 1;
    return {
      record: item && this.#table.parse(item, dates),
      ...(maybeAppliedBefore && { maybeAppliedBefore }),
      ...dates,
    };
  }
}
