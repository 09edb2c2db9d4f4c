import type { AttributeValue, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { kindOf, messageOf, type Thrown } from '../aws/faults.ts';
import { datesOf, type Metadata } from '../aws/server-date.ts';
import { DEFAULT_RETENTION_DAYS, LOCK_RETENTION_DAYS, LOCK_TABLE_NAME } from '../names.ts';
import { checkNamed, checkNames, checkThat, show } from '../record/check.ts';
import { LockStoreError, type LockStoreErrorOptions } from '../record/errors.ts';
import { noteFault } from '../record/last-fault.ts';
import type { LockRecord } from '../record/record.ts';
import type { DatedAnswer } from '../record/store.ts';
import { DirectTransport } from './direct-transport.ts';
import { wayIn, whyTheSdk } from './environment.ts';
import { type Item, N, parse, S } from './item.ts';
import { ownClient, SdkTransport } from './sdk-transport.ts';
import { checkLayout, checkTableName, isRetention, layoutIn, RETENTION, type SortKey } from './settings.ts';
import type { Inputs, Operation, Transport } from './transport.ts';

/**
 * The options of a `DynamoDBLockStore`.
 * @example
 * ```ts
 * import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
 * import type { DynamoDBLockStoreOptions } from 'leasehold/dynamodb';
 *
 * export const options: DynamoDBLockStoreOptions = {
 *   tableName: 'orders',
 *   client: new DynamoDBClient({ region: 'eu-west-1' }),
 *   keyAttribute: 'pk',
 *   sortKey: { name: 'sk', value: 'lock' },
 *   ttlAttribute: 'expires_at',
 * };
 * ```
 */
export interface DynamoDBLockStoreOptions {
  /**
   * The lock table's name or ARN.
   * @default the environment variable `LOCK_TABLE_NAME`
   */
  tableName?: string | undefined;
  /**
   * The client of the SDK that sends the requests. A tracer of the SDK's requests needs one here.
   * @default the store's own sockets, so that heartbeats never wait for sockets that other requests use. The SDK is not
   *   loaded if the environment alone tells the Region and the credentials, as on Lambda and on ECS. Or else a client of the
   *   store's own with `maxAttempts: 1`, made at the first request, since leasehold itself sends a request again.
   */
  client?: DynamoDBClient | undefined;
  /**
   * The table's partition key: an attribute of type string, and none that leasehold writes.
   * @default the environment variable `LOCK_KEY_ATTRIBUTE` if `LOCK_TABLE_NAME` names the table, or else 'lockKey'
   */
  keyAttribute?: string | undefined;
  /**
   * The name of the table's sort key, if the table has a sort key, and the value that all locks have there. The sort key is
   * an attribute of type string, and none that leasehold writes.
   * @default the environment variable `LOCK_SORT_KEY` (`NAME=VALUE`) if `LOCK_TABLE_NAME` names the table, or else none
   */
  sortKey?: { readonly name: string; readonly value: string } | undefined;
  /**
   * The attribute that the table's TTL reads. leasehold writes seconds since the epoch there. So `expiresAt`, which is in
   * milliseconds, cannot be the attribute.
   * @default the environment variable `LOCK_TTL_ATTRIBUTE` if `LOCK_TABLE_NAME` names the table, or else 'ttl'
   */
  ttlAttribute?: string | undefined;
  /**
   * The days that a record stays after its expiry before DynamoDB's TTL deletes the record. 1 to 36,500.
   * @default the environment variable `LOCK_RETENTION_DAYS` if `LOCK_TABLE_NAME` names the table, or else 7
   */
  retentionDays?: number | undefined;
}

/** The names of `DynamoDBLockStoreOptions`: everything that any entry can tell the store of its table. */
export const STORE_OPTIONS = {
  tableName: 0,
  client: 0,
  keyAttribute: 0,
  sortKey: 0,
  ttlAttribute: 0,
  retentionDays: 0,
} satisfies Record<keyof DynamoDBLockStoreOptions, 0>;

export const SERVICE = {
  name: 'DynamoDB',
  client: '@aws-sdk/client-dynamodb',
  endpoint: 'AWS_ENDPOINT_URL_DYNAMODB',
  place: 'table',
};
/** The server's words for a key that is not the table's. Any other refusal is told by the server's own message. */
const WRONG_SCHEMA =
  /does not match the schema|required keys|number of conditions on the keys|Type mismatch for key|part of the key/;
/** The server's words for an item whose attributes have other types than those of a lock, or are missing. */
const WRONG_ITEM = /incorrect data type|does not exist in the item|Type mismatch for attribute/;

/** The lock table: its name and keys, the client that reaches it, and the reading of its items and faults. */
export class Table {
  readonly name: string;
  readonly keyAttribute: string;
  readonly sortKey: SortKey | undefined;
  readonly ttlAttribute: string;
  readonly #retentionS: number;
  #transport: Transport | undefined;
  /** The transport that is being made. The first requests of a process may be many at once, and share one. */
  #making: Promise<Transport> | undefined;

  constructor(options: DynamoDBLockStoreOptions) {
    checkNames('DynamoDBLockStore', options, STORE_OPTIONS);
    const fromEnvironment = process.env[LOCK_TABLE_NAME];
    const { tableName = fromEnvironment, client } = options;
    checkNamed('tableName', 'lock table', LOCK_TABLE_NAME, tableName);
    checkThat(client === undefined || typeof client?.send === 'function', 'client', 'a DynamoDBClient', client);
    // The environment tells the layout and the retention of one table. A second table of the process may have others.
    const isTold = tableName === fromEnvironment;
    const told = isTold ? layoutIn(process.env) : {};
    const { keyAttribute = told.keyAttribute, sortKey = told.sortKey, ttlAttribute = told.ttlAttribute } = options;
    const layout = checkLayout({ keyAttribute, sortKey, ttlAttribute });
    this.keyAttribute = layout.keyAttribute;
    this.sortKey = layout.sortKey;
    this.ttlAttribute = layout.ttlAttribute;
    this.#retentionS = Math.ceil(
      retentionDays(options.retentionDays, isTold ? process.env[LOCK_RETENTION_DAYS] : undefined) * 86_400,
    );
    this.name = checkTableName(tableName);
    if (client) this.#transport = new SdkTransport(client);
  }

  /** The most sockets that the client's requests may use. Undefined until the first request, or if there is no bound. */
  get maxSockets(): number | undefined {
    return this.#transport?.maxSockets;
  }

  /** The moment at which DynamoDB's TTL may delete a record. */
  ttl(expiresAt: number): AttributeValue {
    return N(Math.ceil(expiresAt / 1000) + this.#retentionS);
  }

  keyOf(key: string): Item {
    const item: Item = { [this.keyAttribute]: S(key) };
    if (this.sortKey) item[this.sortKey.name] = S(this.sortKey.value);
    return item;
  }

  /**
   * Reads the record of a lock from an item.
   * @throws LockStoreError if the item is no record of a lock.
   */
  parse(item: Item, dates: DatedAnswer = {}): LockRecord {
    return parse(item, this.keyAttribute, (key, why) => this.#foreign(key, why, dates));
  }

  /**
   * Sends a request.
   * @param key the lock that the request is about, if it is about one lock alone.
   * @throws LockStoreError, or the SDK's own error if the request's condition was refused.
   */
  async send<Output, O extends Operation = Operation>(
    operation: O,
    input: Inputs[O],
    key?: string,
    signal?: AbortSignal,
  ): Promise<Output> {
    // The SDK may wrap the error of its last attempt, and the wrapper has neither code nor status.
    const faults: unknown[] = [];
    const heard = (fault: unknown) => {
      faults.push(fault);
      noteFault(signal, fault);
    };
    try {
      if (this.#transport === undefined) {
        this.#making ??= transportOfItsOwn(this.name);
        this.#transport = await this.#making;
      }
      return (await this.#transport.send(operation, input, signal, heard)) as Output;
    } catch (error) {
      if (isRefusal(error)) throw error;
      throw await this.#storeError(faults.at(-1) ?? error, faults.length, `dynamodb:${operation}`, key);
    }
  }

  /** Makes the error that says what to do, and whether the fault may pass. */
  async #storeError(
    cause: unknown,
    attempts: number,
    action: string,
    key: string | undefined,
  ): Promise<LockStoreError> {
    if (cause instanceof LockStoreError) return cause;
    const thrown = (cause ?? {}) as Thrown;
    const { name = '', message = '', $metadata } = thrown;
    const misdated = $metadata?.misdated ?? false;
    const table = `the table '${this.name}'`;
    const kind = kindOf(thrown);
    let text = messageOf(thrown, `${action} on ${table}`, SERVICE);
    if (misdated) {
      text = `${action} on ${table} was refused for the time in its signature: set the clock of this host right. ${message}`;
    } else if (name === 'ResourceNotFoundException') {
      const region = await this.#transport?.region();
      text = `there is no ${table.slice(4)} in the Region '${region}': create it (leasehold table create), or mend LOCK_TABLE_NAME or tableName.`;
    } else if (name === 'AccessDeniedException') {
      text = `${action} on ${table} is not allowed: grant it (LockTable.grants does). ${message}`;
    } else if (name === 'ValidationException' && WRONG_SCHEMA.test(message)) {
      text = `${this.wrongKey} ${message}`;
    } else if (name === 'ValidationException' && key !== undefined && WRONG_ITEM.test(message)) {
      return this.#foreign(
        key,
        `${message} Use another key, or repair the record if it was a lock: leasehold repair KEY.`,
        { cause, ...datesOf($metadata) },
      );
    }
    const transient = misdated || kind !== 'lasting';
    const facts = { transient, conflict: kind === 'conflict', misdated, attempts: Math.max(1, attempts) };
    return new LockStoreError(text, { cause, ...facts, ...datesOf($metadata) });
  }

  /** Says that the table's key is another, and what to mend. */
  get wrongKey(): string {
    const sort = this.sortKey ? ` and the sort key '${this.sortKey.name}' (string)` : ' alone';
    return `the key of the table '${this.name}' is not '${this.keyAttribute}' (string)${sort}: mend keyAttribute or sortKey, or use a table of leasehold's own.`;
  }

  /** Makes the error for an answer that lacks what DynamoDB always gives. */
  cutAnswer(operation: Operation, metadata: Metadata | undefined): LockStoreError {
    const text = `the answer to dynamodb:${operation} on the table '${this.name}' shows nothing of the table: a proxy may have cut it.`;
    return new LockStoreError(text, { transient: true, attempts: metadata?.attempts, ...datesOf(metadata) });
  }

  /** Makes the error for a key under which another program's item stands. The message shows none of that item's values. */
  #foreign(key: string, why: string, options: LockStoreErrorOptions): LockStoreError {
    return new LockStoreError(
      `the item '${key}' in the table '${this.name}' was not written by leasehold, or was changed, and is left as it is: ${why}`,
      { ...options, foreign: true },
    );
  }
}

async function transportOfItsOwn(tableName: string): Promise<Transport> {
  const way = wayIn(process.env, tableName);
  return way ? new DirectTransport(way) : new SdkTransport(await ownClient(whyTheSdk(process.env, tableName)));
}

function retentionDays(given: number | undefined, fromEnvironment: string | undefined): number {
  const days = given ?? Number(fromEnvironment ?? DEFAULT_RETENTION_DAYS);
  if (isRetention(days)) return days;
  const from = given === undefined ? `, from ${LOCK_RETENTION_DAYS}=${show(fromEnvironment)}` : '';
  const shown = typeof days === 'number' ? days : show(days);
  throw new TypeError(`retentionDays must be a ${RETENTION}, but it is ${shown}${from}.`);
}

/** The SDK's error for a refused condition, with the present item. */
interface Refusal {
  readonly Item?: Item;
  readonly $metadata?: Metadata;
}

export const isRefusal = (error: unknown): error is Refusal =>
  (error as { name?: string } | undefined)?.name === 'ConditionalCheckFailedException';
