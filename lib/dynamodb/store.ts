import {
  type AttributeValue,
  BatchGetItemCommand,
  type BatchGetItemCommandOutput,
  DynamoDBClient,
  GetItemCommand,
  type GetItemCommandOutput,
  ScanCommand,
  type ScanCommandOutput,
  UpdateItemCommand,
  type UpdateItemCommandInput,
  type UpdateItemCommandOutput,
} from '@aws-sdk/client-dynamodb';
import { checkText } from '../record/check.ts';
import { LockStoreError, type LockStoreErrorOptions } from '../record/errors.ts';
import type { LockRecord } from '../record/record.ts';
import type {
  AcquireRequest,
  DatedAnswer,
  ForceReleaseRequest,
  GiveBackRequest,
  LockStore,
  ReadAnswer,
  ReadManyAnswer,
  ReleaseRequest,
  RenewRequest,
  ResumeRequest,
  StoreAnswer,
} from '../record/store.ts';

export interface DynamoDBLockStoreOptions {
  /** The lock table's name or ARN. Default: the environment variable `LOCK_TABLE_NAME`. */
  tableName?: string | undefined;
  /**
   * Default: a client of its own, made at the first request, so that the user's traffic and a heartbeat never wait for
   * the same sockets. It keeps its connections alive.
   */
  client?: DynamoDBClient | undefined;
  /** The table's partition key, a string attribute. Default `lockKey`. */
  keyAttribute?: string | undefined;
  /** The table's sort key and the value that all locks have there, for a table that has one. Default: none. */
  sortKey?: { readonly name: string; readonly value: string } | undefined;
  /**
   * How long after its expiry a record stays before DynamoDB's TTL deletes it, in days, 1 or more. Default: the environment
   * variable `LOCK_RETENTION_DAYS`, else 7.
   */
  retentionDays?: number | undefined;
}

type Item = Record<string, AttributeValue>;

const S = (value: string): AttributeValue => ({ S: value });
const N = (value: number): AttributeValue => ({ N: String(value) });

/** Stands for an attribute that was not there, since an expression can copy no absence. */
const NONE = S('');

/** Every lock has a token and an expiry. An item that lacks one is somebody else's: no request writes it, or gives it out. */
const IS_LOCK = 'attribute_type(fencingToken, :number) AND attribute_type(expiresAt, :number)';
const NUMBER = { ':number': S('N') };
const FREE = `attribute_not_exists(#key) OR (${IS_LOCK} AND expiresAt <= :now AND lockId <> :me AND releasedBy <> :me)`;
const NOT_DONE = '(attribute_not_exists(doneToken) OR doneToken < :once)';
/** The random id proves that leasehold wrote the record. */
const MINE = 'lockId = :me';
const GRANT =
  'SET lockId = :me, #owner = :owner, expiresAt = :until, acquiredAt = :now, leaseMs = :leaseMs, #ttl = :ttl, ' +
  'fencingToken = if_not_exists(fencingToken, :now) + :one, previousLockId = if_not_exists(lockId, :none), ' +
  'previousOwner = if_not_exists(#owner, :none), previousAcquiredAt = if_not_exists(acquiredAt, :zero), ' +
  'previousExpiresAt = if_not_exists(expiresAt, :zero)';
const FORGET_PREVIOUS = ' REMOVE previousLockId, previousOwner, previousAcquiredAt, previousExpiresAt';

/** Errors that are the client's fault by their kind, and yet pass. */
const PASSING = /Throttl|LimitExceeded|ThroughputExceeded|TransactionConflict|InProgress|TooSkewed|RequestTimeout/;

/**
 * Locks in a DynamoDB table, one item per key. Every operation is one conditional `UpdateItem` that brings the record
 * back, granted or refused, so that an answer which was lost and sent again says what the first one would have said.
 */
export class DynamoDBLockStore implements LockStore {
  readonly tableName: string;
  readonly #keyAttribute: string;
  readonly #sortKey: DynamoDBLockStoreOptions['sortKey'];
  readonly #retentionS: number;
  #client: DynamoDBClient | undefined;

  /** @throws TypeError when no table is named, or an option is not what it should be. */
  constructor(options: DynamoDBLockStoreOptions = {}) {
    const { tableName = process.env.LOCK_TABLE_NAME, client, keyAttribute = 'lockKey', sortKey } = options;
    const { LOCK_RETENTION_DAYS } = process.env;
    const { retentionDays = Number(LOCK_RETENTION_DAYS ?? 7) } = options;
    if (tableName === undefined || tableName === '') {
      throw new TypeError(
        `tableName is missing: give the lock table's name, or set the environment variable LOCK_TABLE_NAME, which is ${tableName === '' ? "''" : 'not set'}.`,
      );
    }
    if (!(Number.isFinite(retentionDays) && retentionDays >= 1)) {
      const from = options.retentionDays === undefined ? `, from LOCK_RETENTION_DAYS='${LOCK_RETENTION_DAYS}'` : '';
      const got = `${typeof retentionDays === 'string' ? `'${retentionDays}'` : retentionDays}${from}`;
      throw new TypeError(`retentionDays must be a number of days, 1 or more, but it is ${got}.`);
    }
    this.tableName = checkText('tableName', tableName);
    this.#client = client;
    if (client) keepDates(client);
    this.#keyAttribute = checkText('keyAttribute', keyAttribute);
    if (sortKey !== undefined) {
      checkText('sortKey.name', sortKey.name);
      checkText('sortKey.value', sortKey.value);
    }
    this.#sortKey = sortKey;
    this.#retentionS = Math.ceil(retentionDays * 86_400);
  }

  acquire(request: AcquireRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    const { key, lockId, owner, now, until, leaseMs, once, data } = request;
    return this.#update(key, signal, {
      UpdateExpression: data === undefined ? `${GRANT} REMOVE #data` : `${GRANT}, #data = :data`,
      ConditionExpression: once === undefined ? FREE : `(${FREE}) AND ${NOT_DONE}`,
      ExpressionAttributeNames: { '#key': this.#keyAttribute, '#owner': 'owner', '#ttl': 'ttl', '#data': 'data' },
      ExpressionAttributeValues: {
        ':me': S(lockId),
        ':owner': S(owner),
        ':now': N(now),
        ':until': N(until),
        ':leaseMs': N(leaseMs),
        ':ttl': this.#ttl(until),
        ':one': N(1),
        ':zero': N(0),
        ':none': NONE,
        ...NUMBER,
        ...(once !== undefined && { ':once': S(once) }),
        ...(data !== undefined && { ':data': S(data) }),
      },
      ReturnValues: 'ALL_NEW',
    });
  }

  renew({ key, lockId, until }: RenewRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#update(key, signal, {
      UpdateExpression: 'SET expiresAt = :until, #ttl = :ttl',
      // Sent twice or late, it never shortens a lease (invariant 3).
      ConditionExpression: `${MINE} AND expiresAt <= :until`,
      ExpressionAttributeNames: { '#ttl': 'ttl' },
      ExpressionAttributeValues: { ':me': S(lockId), ':until': N(until), ':ttl': this.#ttl(until) },
    });
  }

  release({ key, lockId, now, holdAtLeastMs, doneToken }: ReleaseRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    const done = doneToken === undefined ? '' : ', doneToken = :done';
    return this.#update(key, signal, {
      // Never 0: one past the acquisition, the expiry turns away every acquire that was sent before (invariant 3).
      UpdateExpression: `SET releasedBy = :me, expiresAt = acquiredAt + :hold, #ttl = :ttl${done}${FORGET_PREVIOUS}, lockId`,
      // Invariant 9: nobody releases what is not theirs.
      ConditionExpression: MINE,
      ExpressionAttributeNames: { '#ttl': 'ttl' },
      ExpressionAttributeValues: {
        ':me': S(lockId),
        ':hold': N(Math.max(1, holdAtLeastMs)),
        ':ttl': this.#ttl(now + holdAtLeastMs),
        ...(doneToken !== undefined && { ':done': S(doneToken) }),
      },
    });
  }

  giveBack(request: GiveBackRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    const { key, lockId, fencingToken, now, previous } = request;
    const { lockId: restored, owner, acquiredAt, expiresAt } = previous;
    const set = `SET releasedBy = :me, acquiredAt = :acquiredAt, expiresAt = :expiresAt${owner ? ', #owner = :owner' : ''}`;
    return this.#update(key, signal, {
      UpdateExpression: set + (restored ? `, lockId = :restored${FORGET_PREVIOUS}` : `${FORGET_PREVIOUS}, lockId`),
      // Not a later grant of the same acquire, delivered twice.
      ConditionExpression: `${MINE} AND fencingToken = :token`,
      ...(owner && { ExpressionAttributeNames: { '#owner': 'owner' } }),
      ExpressionAttributeValues: {
        ':me': S(lockId),
        ':token': N(fencingToken),
        ':acquiredAt': N(acquiredAt || now),
        ':expiresAt': N(expiresAt || now),
        ...(owner && { ':owner': S(owner) }),
        ...(restored && { ':restored': S(restored) }),
      },
    });
  }

  resume({ key, handed, lockId, owner, until, leaseMs }: ResumeRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#update(key, signal, {
      UpdateExpression:
        'SET lockId = :me, #owner = :owner, expiresAt = :until, leaseMs = :leaseMs, #ttl = :ttl, fencingToken = fencingToken + :one',
      // Its expiry, too, turns away every acquire that was sent before (invariant 3).
      ConditionExpression: `lockId = :handed AND ${IS_LOCK} AND acquiredAt < :until`,
      ExpressionAttributeNames: { '#owner': 'owner', '#ttl': 'ttl' },
      ExpressionAttributeValues: {
        ':me': S(lockId),
        ':handed': S(handed),
        ...NUMBER,
        ':owner': S(owner),
        ':until': N(until),
        ':leaseMs': N(leaseMs),
        ':ttl': this.#ttl(until),
        ':one': N(1),
      },
      ReturnValues: 'ALL_NEW',
    });
  }

  forceRelease({ key, lockId, immediately }: ForceReleaseRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    // One more than a release writes: so a holder whose own release is refused can tell whose release it was.
    const opens = immediately ? ', expiresAt = acquiredAt + :two' : '';
    return this.#update(key, signal, {
      UpdateExpression: `SET releasedBy = :seen${opens}${FORGET_PREVIOUS}, lockId`,
      // The id comes from elsewhere, and may stand in an item of the user's own.
      ConditionExpression: `lockId = :seen AND ${IS_LOCK}`,
      ExpressionAttributeValues: { ':seen': S(lockId), ...NUMBER, ...(immediately && { ':two': N(2) }) },
    });
  }

  async read(key: string, { consistent }: { consistent: boolean }, signal?: AbortSignal): Promise<ReadAnswer> {
    const command = new GetItemCommand({
      TableName: this.tableName,
      Key: this.#keyOf(key),
      ConsistentRead: consistent,
    });
    const { Item, $metadata } = await this.#read<GetItemCommandOutput>(command, 'dynamodb:GetItem', signal, key);
    return this.#answer(Item, $metadata);
  }

  async readMany(keys: readonly string[], signal?: AbortSignal): Promise<ReadManyAnswer> {
    const command = new BatchGetItemCommand({
      RequestItems: { [this.tableName]: { Keys: keys.map((key) => this.#keyOf(key)) } },
    });
    const action = 'dynamodb:BatchGetItem';
    const { Responses, UnprocessedKeys, $metadata } = await this.#read<BatchGetItemCommandOutput>(
      command,
      action,
      signal,
    );
    const items = Object.values(Responses ?? {}).flat();
    const left = Object.values(UnprocessedKeys ?? {}).flatMap(({ Keys }) => Keys ?? []);
    return {
      records: items.flatMap((item) => this.#parseIfLock(item)),
      unprocessed: left.map((item) => item[this.#keyAttribute]?.S as string),
      ...datesOf($metadata),
    };
  }

  async *list(prefix: string): AsyncIterable<LockRecord> {
    const sortKey = this.#sortKey;
    let from: Item | undefined;
    do {
      const command: ScanCommand = new ScanCommand({
        TableName: this.tableName,
        ExclusiveStartKey: from,
        // A table that the user shares with us has other items too.
        FilterExpression: [
          IS_LOCK,
          ...(prefix ? ['begins_with(#key, :prefix)'] : []),
          ...(sortKey ? ['#sort = :sort'] : []),
        ].join(' AND '),
        ...((prefix || sortKey) && {
          ExpressionAttributeNames: {
            ...(prefix && { '#key': this.#keyAttribute }),
            ...(sortKey && { '#sort': sortKey.name }),
          },
        }),
        ExpressionAttributeValues: {
          ...NUMBER,
          ...(prefix && { ':prefix': S(prefix) }),
          ...(sortKey && { ':sort': S(sortKey.value) }),
        },
      });
      const { Items, LastEvaluatedKey } = await this.#read<ScanCommandOutput>(command, 'dynamodb:Scan');
      yield* (Items ?? []).flatMap((item) => this.#parseIfLock(item));
      from = LastEvaluatedKey;
    } while (from !== undefined);
  }

  /** The condition under which a write of the user's own belongs to a lease: see `conditionCheck`. */
  conditionFor(key: string, lockId: string) {
    const sortKey = this.#sortKey;
    return {
      TableName: this.tableName,
      Key: { [this.#keyAttribute]: key, ...(sortKey && { [sortKey.name]: sortKey.value }) },
      ConditionExpression: 'lockId = :lockId',
      ExpressionAttributeValues: { ':lockId': lockId },
    };
  }

  async #update(
    key: string,
    signal: AbortSignal | undefined,
    input: Omit<UpdateItemCommandInput, 'TableName' | 'Key'>,
  ): Promise<StoreAnswer> {
    const command = new UpdateItemCommand({
      ...input,
      TableName: this.tableName,
      Key: this.#keyOf(key),
      ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
    });
    try {
      const { Attributes, $metadata } = await this.#send<UpdateItemCommandOutput>(command, signal);
      return { applied: true, ...this.#answer(Attributes, $metadata) };
    } catch (error) {
      if (!isRefusal(error)) throw await this.#storeError(error, 'dynamodb:UpdateItem', key);
      return { applied: false, ...this.#answer(error.Item, error.$metadata) };
    }
  }

  #answer(item: Item | undefined, metadata: Metadata | undefined) {
    const dates = datesOf(metadata);
    return { record: item && this.#parse(item, dates), attempts: metadata?.attempts, ...dates };
  }

  async #read<Output>(command: object, action: string, signal?: AbortSignal, key?: string) {
    try {
      return await this.#send<Output>(command, signal);
    } catch (error) {
      throw await this.#storeError(error, action, key);
    }
  }

  #send<Output>(command: object, signal?: AbortSignal): Promise<Output> {
    if (this.#client === undefined) {
      this.#client = new DynamoDBClient({});
      keepDates(this.#client);
    }
    // A scan writes no moment.
    if (!(command instanceof ScanCommand))
      Object.defineProperty((command as { input: object }).input, OURS, { value: true });
    return this.#client.send(command as never, signal && { abortSignal: signal }) as Promise<Output>;
  }

  /** What went wrong, in words that say what to do, and whether it may pass. */
  async #storeError(error: unknown, action: string, key: string | undefined): Promise<LockStoreError> {
    if (error instanceof LockStoreError) return error;
    const refusal = (error as { [MISDATED]?: unknown } | undefined)?.[MISDATED];
    const misdated = refusal !== undefined;
    const cause = refusal ?? error;
    const thrown = (cause ?? {}) as { name?: string; message?: string; $fault?: string; $metadata?: Metadata };
    const { name = '', message = '', $fault, $metadata } = thrown;
    const table = `the table '${this.tableName}'`;
    const lock = key === undefined ? '' : ` (lock '${key}')`;
    const transient = misdated || $fault !== 'client' || PASSING.test(name);
    let text = `DynamoDB did not answer ${action} on ${table}${lock}: ${name}: ${message}`;
    if (misdated) {
      text = `${action} on ${table} was refused for the time in its signature${lock}: set the clock of this host right. ${message}`;
    } else if (name === 'ResourceNotFoundException') {
      const region = await this.#client?.config.region().catch(() => undefined);
      text = `There is no ${table.slice(4)} in the Region '${region}': create it, or mend LOCK_TABLE_NAME or tableName.`;
    } else if (name === 'AccessDeniedException') {
      text = `${action} on ${table} is not allowed${lock}: grant it (LockTable.grants does). ${message}`;
    } else if (name === 'ValidationException' && /key|schema/i.test(message)) {
      const sort = this.#sortKey ? ` and the sort key '${this.#sortKey.name}' (string)` : ' alone';
      text = `The key of ${table} is not '${this.#keyAttribute}' (string)${sort}: mend keyAttribute or sortKey, or use a table of leasehold's own. ${message}`;
    } else if (name === 'ValidationException' && key !== undefined) {
      return this.#foreign(key, message, { cause, ...datesOf($metadata) });
    }
    const conflict = name === 'TransactionConflictException';
    return new LockStoreError(text, { cause, transient, conflict, misdated, ...datesOf($metadata) });
  }

  /** The error of a key under which no lock of ours stands. It tells no value: that is somebody else's. */
  #foreign(key: string, why: string, options: LockStoreErrorOptions): LockStoreError {
    return new LockStoreError(
      `The item '${key}' in the table '${this.tableName}' was not written by leasehold, or was changed, and is left as it is: ${why}. Use another key.`,
      { ...options, foreign: true },
    );
  }

  #keyOf(key: string): Item {
    const item: Item = { [this.#keyAttribute]: S(key) };
    if (this.#sortKey) item[this.#sortKey.name] = S(this.#sortKey.value);
    return item;
  }

  #ttl(expiresAt: number): AttributeValue {
    return N(Math.ceil(expiresAt / 1000) + this.#retentionS);
  }

  /** One item of the user's own must not hide the locks beside it. */
  #parseIfLock(item: Item): LockRecord[] {
    try {
      return [this.#parse(item)];
    } catch {
      return [];
    }
  }

  #parse(item: Item, dates: DatedAnswer = {}): LockRecord {
    const key = item[this.#keyAttribute]?.S ?? '';
    const number = (name: string, fallback?: number): number => {
      const value = Number(item[name]?.N ?? fallback ?? Number.NaN);
      if (Number.isFinite(value)) return value;
      throw this.#foreign(
        key,
        `${name} is ${item[name] ? `of type ${Object.keys(item[name])}, not N` : 'missing'}`,
        dates,
      );
    };
    const string = (name: string): string | undefined => item[name]?.S || undefined;
    return {
      key,
      lockId: string('lockId'),
      owner: string('owner'),
      fencingToken: number('fencingToken'),
      expiresAt: number('expiresAt'),
      acquiredAt: number('acquiredAt', 0),
      leaseMs: number('leaseMs', 0),
      releasedBy: string('releasedBy'),
      previousLockId: string('previousLockId'),
      previousOwner: string('previousOwner'),
      previousAcquiredAt: item.previousAcquiredAt && number('previousAcquiredAt'),
      previousExpiresAt: item.previousExpiresAt && number('previousExpiresAt'),
      doneToken: string('doneToken'),
      data: string('data'),
    };
  }
}

/** An answer's metadata; all but `attempts` is ours. */
interface Metadata extends DatedAnswer {
  readonly attempts?: number | undefined;
  /** The server refused the request for the time in its signature. */
  readonly misdated?: boolean | undefined;
}

interface Refusal {
  readonly Item?: Item;
  readonly $metadata?: Metadata;
}

const isRefusal = (error: unknown): error is Refusal =>
  (error as { name?: string } | undefined)?.name === 'ConditionalCheckFailedException';

const datesOf = ({ serverDate, relayed }: Metadata = {}): DatedAnswer => ({ serverDate, relayed });

interface HttpMessage {
  readonly protocol?: string;
  readonly hostname?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** AWS's own endpoints, of all partitions' public ones: their `Date` is DynamoDB's. */
const AWS_HOST = /\.(amazonaws\.com(\.cn)?|api\.aws)$/;
/** As AWS and its SDKs name refusals of a signature; its time is one of the reasons. */
const SIGNATURE_REFUSALS =
  /^(AuthFailure|InvalidSignature|Request(Expired|InTheFuture|TimeTooSkewed)|SignatureDoesNot)/;
/** A signature that is off by less is refused for another reason. */
const MISDATED_MS = 60_000;

/**
 * Makes a client keep the server's clock in the metadata of each answer, refusals too (invariant 13). Once for a client,
 * since a middleware of each command's own would cost a fiftieth of the call.
 *
 * A request that was refused for the time in its signature holds moments that are as wrong. The SDK would sign the same
 * body by the right time and send it again, and a wrong clock's moments would be applied. So such a refusal is thrown past
 * the SDK's retries.
 */
function keepDates({ middlewareStack: stack }: DynamoDBClient): void {
  stack?.add(
    (next) => async (args) => {
      const request = args.request as HttpMessage;
      try {
        const result = await next(args);
        Object.assign(result.output?.$metadata ?? {}, datesIn(request, result.response as HttpMessage));
        return result;
      } catch (error) {
        const refusal = error as Error & { $response?: HttpMessage; $metadata?: object };
        if (refusal?.$response) refusal.$metadata = { ...refusal.$metadata, ...refusalIn(request, refusal) };
        throw error;
      }
    },
    { step: 'deserialize', priority: 'high', name: 'leaseholdServerDate', override: true },
  );
  stack?.addRelativeTo(throwMisdated, {
    relation: 'after',
    toMiddleware: 'retryMiddleware',
    name: 'leaseholdMisdated',
    override: true,
  });
}

/** Marks the input of a request of ours. The SDK goes on correcting the user's own, on the same client. */
const OURS = Symbol.for('leasehold.ours');
/** Marks what is thrown past the retries. It has no `cause`, for there the SDK would look for a reason to send again. */
const MISDATED = Symbol.for('leasehold.misdated');

const throwMisdated =
  <Args extends object, Output>(next: (args: Args) => Promise<Output>) =>
  async (args: Args): Promise<Output> => {
    try {
      return await next(args);
    } catch (error) {
      const isOurs = (args as { input?: { [OURS]?: true } }).input?.[OURS];
      if (!(isOurs && (error as { $metadata?: Metadata } | undefined)?.$metadata?.misdated)) throw error;
      throw Object.assign(new Error('refused for the time in its signature'), { [MISDATED]: error });
    }
  };

function datesIn({ protocol, hostname = '' }: HttpMessage, response: HttpMessage | undefined): DatedAnswer {
  const { date = '', age } = response?.headers ?? {};
  const ms = Date.parse(date);
  // A cache's answer has the date at which the cache got it.
  if (Number.isNaN(ms) || age !== undefined) return {};
  return { serverDate: ms, relayed: protocol !== 'https:' || !AWS_HOST.test(hostname) };
}

function refusalIn(request: HttpMessage, { name, message, $response }: Error & { $response?: HttpMessage }): Metadata {
  const dates = datesIn(request, $response);
  if (!SIGNATURE_REFUSALS.test(name)) return dates;
  // "Signature not yet current: 20260101T010000Z is still later than 20260101T001500Z (20260101T000000Z + 15 min.)"
  const { serverDate = basicTime(/\((\w+) [+-]/.exec(message)?.[1]) } = dates;
  const offMs = basicTime(request.headers?.['x-amz-date']) - serverDate;
  return { ...dates, serverDate: serverDate || undefined, misdated: Math.abs(offMs) > MISDATED_MS };
}

/** ISO 8601's basic form of a time in UTC, as signatures have it: `20260101T000000Z`. */
const basicTime = (text = ''): number => Date.parse(text.replace(/^(....)(..)(..T..)(..)(..Z)$/, '$1-$2-$3:$4:$5'));
