import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import {
  BatchGetItemCommand,
  ConditionalCheckFailedException,
  DynamoDBClient,
  DynamoDBServiceException,
  GetItemCommand,
  InternalServerError,
  ListTablesCommand,
  ProvisionedThroughputExceededException,
  RequestLimitExceeded,
  ResourceNotFoundException,
  ScanCommand,
  ThrottlingException,
  TransactionConflictException,
  UpdateItemCommand,
  type UpdateItemCommandInput,
} from '@aws-sdk/client-dynamodb';
import { afterEach, describe, expect, test } from '@jest/globals';
import { mockClient } from 'aws-sdk-client-mock';
import type * as sdkClient from '../../lib/aws/sdk-client.ts';
import { DynamoDBLockStore, type DynamoDBLockStoreOptions } from '../../lib/dynamodb.ts';
import { LockClient } from '../../lib/lease/client.ts';
import { LockStoreError } from '../../lib/record/errors.ts';
import type { LockStore } from '../../lib/record/store.ts';
import { disciplinedClock } from '../support/disciplined-clock.ts';
import { listed } from '../support/listed.ts';

const tableName = 'locks';
const configuration = {
  region: 'eu-central-1',
  credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
};
const now = 1_767_225_600_000;
const until = now + 30_000;
const leaseMs = 30_000;
const week = 7 * 86_400;
const ttlOf = (expiresAt: number) => ({ N: String(Math.ceil(expiresAt / 1_000) + week) });
const request = { key: 'job', lockId: 'anna', owner: 'Anna', now, until, leaseMs };
const item = {
  lockKey: { S: 'job' },
  lockId: { S: 'anna' },
  owner: { S: 'Anna' },
  fencingToken: { N: '7' },
  expiresAt: { N: String(until) },
  acquiredAt: { N: String(now) },
  leaseMs: { N: '30000' },
};

const environment = { ...process.env };
afterEach(() => {
  process.env = { ...environment };
});

/** A store with a mocked client, and the commands that the client was sent. */
function mocked(options: DynamoDBLockStoreOptions = {}) {
  const client = new DynamoDBClient(configuration);
  const answers = mockClient(client);
  const store = new DynamoDBLockStore({ tableName, client, ...options });
  return { store, answers, sent: () => answers.calls().map(({ args: [command] }) => command) };
}

describe('each operation is one request', () => {
  const hasTimes = 'acquiredAt >= :zero AND expiresAt >= :zero';
  const free =
    'attribute_not_exists(#key) OR (fencingToken BETWEEN :zero AND :most AND expiresAt BETWEEN :zero AND :now ' +
    'AND lockId <> :me AND releasedBy <> :me)';
  const most = { N: String(Number.MAX_SAFE_INTEGER - 1) };
  const grant =
    'SET lockId = :me, #owner = :owner, expiresAt = :until, acquiredAt = :now, leaseMs = :leaseMs, #ttl = :ttl, ' +
    'fencingToken = if_not_exists(fencingToken, :now) + :one, previousLockId = if_not_exists(lockId, :none), ' +
    'previousOwner = if_not_exists(#owner, :none), previousAcquiredAt = if_not_exists(acquiredAt, :zero), previousExpiresAt = if_not_exists(expiresAt, :zero)';
  const counted = ', asked = if_not_exists(asked, :zero) + :one, serving = if_not_exists(asked, :zero) + :one';
  const grantValues = {
    ':me': { S: 'anna' },
    ':owner': { S: 'Anna' },
    ':now': { N: `${now}` },
    ':until': { N: `${until}` },
    ':leaseMs': { N: '30000' },
    ':ttl': ttlOf(until),
    ':one': { N: '1' },
    ':zero': { N: '0' },
    ':most': most,
    ':none': { S: '' },
  };
  const grantNames = { '#key': 'lockKey', '#owner': 'owner', '#ttl': 'ttl', '#data': 'data' };

  const writes: Record<string, [(store: LockStore) => Promise<unknown>, object]> = {
    acquire: [
      (store) => store.acquire(request),
      {
        UpdateExpression: `${grant} REMOVE #data, serving`,
        ConditionExpression: free,
        ExpressionAttributeNames: grantNames,
        ExpressionAttributeValues: grantValues,
        ReturnValues: 'ALL_NEW',
      },
    ],
    'acquire with once and data': [
      (store) => store.acquire({ ...request, once: '2026-01-01', data: '{"a":1}' }),
      {
        UpdateExpression: `${grant}, #data = :data REMOVE serving`,
        ConditionExpression: `(${free}) AND (attribute_not_exists(doneToken) OR doneToken < :once)`,
        ExpressionAttributeNames: grantNames,
        ExpressionAttributeValues: { ...grantValues, ':once': { S: '2026-01-01' }, ':data': { S: '{"a":1}' } },
        ReturnValues: 'ALL_NEW',
      },
    ],
    'acquire to coalesce': [
      (store) => store.acquire({ ...request, coalesce: 'always' }),
      {
        UpdateExpression: `${grant}${counted} REMOVE #data`,
        ConditionExpression: `(${free}) AND (attribute_not_exists(asked) OR asked BETWEEN :zero AND :most)`,
        ExpressionAttributeNames: grantNames,
        ExpressionAttributeValues: grantValues,
        ReturnValues: 'ALL_NEW',
      },
    ],
    'acquire if a run is owed, with once and data': [
      (store) => store.acquire({ ...request, once: '2026-01-01', data: '1', coalesce: 'ifOwed' }),
      {
        UpdateExpression: `${grant}, #data = :data${counted}`,
        ConditionExpression: `(${free}) AND (attribute_not_exists(doneToken) OR doneToken < :once) AND (asked BETWEEN :one AND :most AND (attribute_not_exists(served) OR asked > served))`,
        ExpressionAttributeNames: grantNames,
        ExpressionAttributeValues: { ...grantValues, ':once': { S: '2026-01-01' }, ':data': { S: '1' } },
        ReturnValues: 'ALL_NEW',
      },
    ],
    ask: [
      (store) => store.ask({ key: 'job', seen: 'anna', serving: 7 }),
      {
        UpdateExpression: 'SET asked = :next',
        ConditionExpression: 'lockId = :seen AND serving = :serving AND asked = :serving',
        ExpressionAttributeValues: { ':seen': { S: 'anna' }, ':serving': { N: '7' }, ':next': { N: '8' } },
        ReturnValues: 'ALL_NEW',
      },
    ],
    turn: [
      (store) => store.turn({ key: 'job', lockId: 'anna', serving: 8 }),
      {
        UpdateExpression: 'SET serving = :serving',
        ConditionExpression:
          'lockId = :me AND (attribute_not_exists(serving) OR serving < :serving) AND asked >= :serving',
        ExpressionAttributeValues: { ':me': { S: 'anna' }, ':serving': { N: '8' } },
        ReturnValues: 'ALL_NEW',
      },
    ],
    'release of a run that has succeeded': [
      (store) => store.release({ key: 'job', lockId: 'anna', now, holdAtLeastMs: 0, served: 8 }),
      {
        UpdateExpression:
          'SET releasedBy = :me, expiresAt = acquiredAt + :hold, #ttl = :ttl, served = :served ' +
          'REMOVE previousLockId, previousOwner, previousAcquiredAt, previousExpiresAt, serving, lockId',
        ConditionExpression: 'lockId = :me AND serving = :served AND asked = :served',
        ExpressionAttributeNames: { '#ttl': 'ttl' },
        ExpressionAttributeValues: {
          ':me': { S: 'anna' },
          ':hold': { N: '1' },
          ':ttl': ttlOf(now),
          ':served': { N: '8' },
        },
      },
    ],
    renew: [
      (store) => store.renew({ key: 'job', lockId: 'anna', until }),
      {
        UpdateExpression: 'SET expiresAt = :until, #ttl = :ttl',
        ConditionExpression: 'lockId = :me AND expiresAt <= :until',
        ExpressionAttributeNames: { '#ttl': 'ttl' },
        ExpressionAttributeValues: { ':me': { S: 'anna' }, ':until': { N: `${until}` }, ':ttl': ttlOf(until) },
      },
    ],
    release: [
      (store) => store.release({ key: 'job', lockId: 'anna', now, holdAtLeastMs: 0 }),
      {
        UpdateExpression:
          'SET releasedBy = :me, expiresAt = acquiredAt + :hold, #ttl = :ttl ' +
          'REMOVE previousLockId, previousOwner, previousAcquiredAt, previousExpiresAt, serving, lockId',
        ConditionExpression: 'lockId = :me',
        ExpressionAttributeNames: { '#ttl': 'ttl' },
        ExpressionAttributeValues: { ':me': { S: 'anna' }, ':hold': { N: '1' }, ':ttl': ttlOf(now) },
      },
    ],
    'release with holdAtLeastMs and what is done': [
      (store) => store.release({ key: 'job', lockId: 'anna', now, holdAtLeastMs: 5_000, doneToken: '2026-01-01' }),
      {
        UpdateExpression:
          'SET releasedBy = :me, expiresAt = acquiredAt + :hold, #ttl = :ttl, doneToken = :done ' +
          'REMOVE previousLockId, previousOwner, previousAcquiredAt, previousExpiresAt, serving, lockId, doneResult',
        ConditionExpression: 'lockId = :me',
        ExpressionAttributeNames: { '#ttl': 'ttl' },
        ExpressionAttributeValues: {
          ':me': { S: 'anna' },
          ':hold': { N: '5000' },
          ':ttl': ttlOf(now + 5_000),
          ':done': { S: '2026-01-01' },
        },
      },
    ],
    'give back what a holder had': [
      (store) =>
        store.giveBack({
          key: 'job',
          lockId: 'anna',
          fencingToken: 7,
          now,
          previous: { type: 'lease', lockId: 'bert', owner: 'Bert', acquiredAt: now - 9, expiresAt: until },
        }),
      {
        UpdateExpression:
          'SET releasedBy = :me, acquiredAt = :acquiredAt, expiresAt = :expiresAt, #owner = :owner, lockId = :restored ' +
          'REMOVE previousLockId, previousOwner, previousAcquiredAt, previousExpiresAt',
        ConditionExpression: 'lockId = :me AND fencingToken = :token',
        ExpressionAttributeNames: { '#owner': 'owner' },
        ExpressionAttributeValues: {
          ':me': { S: 'anna' },
          ':token': { N: '7' },
          ':acquiredAt': { N: `${now - 9}` },
          ':expiresAt': { N: `${until}` },
          ':owner': { S: 'Bert' },
          ':restored': { S: 'bert' },
        },
      },
    ],
    'give back what nobody had': [
      (store) => store.giveBack({ key: 'job', lockId: 'anna', fencingToken: 7, now, previous: { type: 'nothing' } }),
      {
        UpdateExpression:
          'SET releasedBy = :me, acquiredAt = :acquiredAt, expiresAt = :expiresAt ' +
          'REMOVE previousLockId, previousOwner, previousAcquiredAt, previousExpiresAt, serving, lockId',
        ConditionExpression: 'lockId = :me AND fencingToken = :token',
        ExpressionAttributeValues: {
          ':me': { S: 'anna' },
          ':token': { N: '7' },
          ':acquiredAt': { N: `${now}` },
          ':expiresAt': { N: `${now}` },
        },
      },
    ],
    resume: [
      (store) => store.resume({ key: 'job', handed: 'anna', lockId: 'bert', owner: 'Bert', until, leaseMs }),
      {
        UpdateExpression:
          'SET lockId = :me, #owner = :owner, expiresAt = :until, leaseMs = :leaseMs, #ttl = :ttl, ' +
          'fencingToken = fencingToken + :one',
        ConditionExpression:
          'lockId = :handed AND fencingToken BETWEEN :zero AND :most AND expiresAt BETWEEN :zero AND :most AND acquiredAt < :until',
        ExpressionAttributeNames: { '#owner': 'owner', '#ttl': 'ttl' },
        ExpressionAttributeValues: {
          ':me': { S: 'bert' },
          ':handed': { S: 'anna' },
          ':zero': { N: '0' },
          ':most': most,
          ':owner': { S: 'Bert' },
          ':until': { N: `${until}` },
          ':leaseMs': { N: '30000' },
          ':ttl': ttlOf(until),
          ':one': { N: '1' },
        },
        ReturnValues: 'ALL_NEW',
      },
    ],
    'force release': [
      (store) => store.forceRelease({ key: 'job', lockId: 'anna', immediately: false }),
      {
        UpdateExpression:
          'SET releasedBy = :seen REMOVE previousLockId, previousOwner, previousAcquiredAt, previousExpiresAt, serving, lockId',
        ConditionExpression: `(lockId = :seen) AND ${hasTimes}`,
        ExpressionAttributeValues: { ':seen': { S: 'anna' }, ':zero': { N: '0' } },
      },
    ],
    'force release immediately': [
      (store) => store.forceRelease({ key: 'job', lockId: 'anna', immediately: true }),
      {
        UpdateExpression:
          'SET releasedBy = :seen, expiresAt = acquiredAt + :two ' +
          'REMOVE previousLockId, previousOwner, previousAcquiredAt, previousExpiresAt, serving, lockId',
        ConditionExpression: `(lockId = :seen OR (attribute_not_exists(lockId) AND releasedBy = :seen)) AND ${hasTimes} AND acquiredAt <= :most`,
        ExpressionAttributeValues: {
          ':seen': { S: 'anna' },
          ':zero': { N: '0' },
          ':two': { N: '2' },
          ':most': { N: '9007199254740988' },
        },
      },
    ],
    repair: [
      (store) =>
        store.repair({ key: 'job', seen: { fencingToken: 7, expiresAt: until }, opensAt: now, fencingToken: 9 }),
      {
        UpdateExpression:
          'SET expiresAt = :opensAt, fencingToken = :token, #ttl = :ttl ' +
          'REMOVE previousLockId, previousOwner, previousAcquiredAt, previousExpiresAt, serving, lockId',
        ConditionExpression: 'attribute_not_exists(lockId) AND fencingToken = :seenToken AND expiresAt = :seenExpiry',
        ExpressionAttributeNames: { '#ttl': 'ttl' },
        ExpressionAttributeValues: {
          ':opensAt': { N: `${now}` },
          ':token': { N: '9' },
          ':ttl': ttlOf(now),
          ':seenToken': { N: '7' },
          ':seenExpiry': { N: `${until}` },
        },
      },
    ],
  };

  test.each(Object.entries(writes))('%s: a conditional UpdateItem', async (_, [write, expected]) => {
    const { store, answers, sent } = mocked();
    answers.on(UpdateItemCommand).resolves({ Attributes: item });
    await write(store);

    expect(sent()).toHaveLength(1);
    expect(sent()[0]).toBeInstanceOf(UpdateItemCommand);
    expect(sent()[0]?.input).toEqual({
      TableName: tableName,
      Key: { lockKey: { S: 'job' } },
      ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
      ReturnValues: 'UPDATED_NEW',
      ...expected,
    });
  });

  test.each([true, false])('read, consistent %p: a GetItem', async (consistent) => {
    const { store, answers, sent } = mocked();
    answers.on(GetItemCommand).resolves({});
    await store.read('job', { consistent });

    expect(sent()).toHaveLength(1);
    expect(sent()[0]?.input).toEqual({
      TableName: tableName,
      Key: { lockKey: { S: 'job' } },
      ConsistentRead: consistent,
    });
  });

  test('readMany: an eventually consistent BatchGetItem, and its answer names the keys that the server left out', async () => {
    const { store, answers, sent } = mocked();
    const Keys = [{ lockKey: { S: 'b' } }];
    answers.on(BatchGetItemCommand).resolves({
      Responses: { [tableName]: [{ ...item, lockKey: { S: 'a' } }] },
      UnprocessedKeys: { [tableName]: { Keys } },
    });
    const answer = await store.readMany(['a', 'b']);

    expect(sent()).toHaveLength(1);
    expect(sent()[0]?.input).toEqual({
      RequestItems: { [tableName]: { Keys: [{ lockKey: { S: 'a' } }, ...Keys] } },
    });
    expect(answer).toMatchObject({ records: [{ key: 'a', lockId: 'anna' }], unprocessed: ['b'] });
  });

  test('list: a Scan for each page, filtered by the prefix', async () => {
    const { store, answers, sent } = mocked();
    const LastEvaluatedKey = { lockKey: { S: 'job' } };
    answers
      .on(ScanCommand)
      .resolvesOnce({ Items: [item], LastEvaluatedKey })
      .resolvesOnce({ Items: [], LastEvaluatedKey })
      .resolves({ Items: [item] });
    expect(await listed(store, 'jo')).toHaveLength(2);

    const first = {
      TableName: tableName,
      FilterExpression:
        '(attribute_type(fencingToken, :number) AND attribute_type(expiresAt, :number) AND begins_with(#key, :prefix)) OR NOT attribute_type(#key, :string)',
      ExpressionAttributeNames: { '#key': 'lockKey' },
      ExpressionAttributeValues: { ':number': { S: 'N' }, ':string': { S: 'S' }, ':prefix': { S: 'jo' } },
    };
    const next = { ...first, ExclusiveStartKey: LastEvaluatedKey };
    expect(sent().map(({ input }) => input)).toEqual([first, next, next]);
  });

  test('each request has the given table name, key names, sort key and retention', async () => {
    const sortKey = { name: 'sk', value: 'LOCK' };
    const { store, answers, sent } = mocked({ tableName: 'mine', keyAttribute: 'pk', sortKey, retentionDays: 1.5 });
    const Key = { pk: { S: 'job' }, sk: { S: 'LOCK' } };
    answers.on(GetItemCommand).resolves({}).on(UpdateItemCommand).resolves({ Attributes: item });
    answers.on(BatchGetItemCommand).resolves({ Responses: {} }).on(ScanCommand).resolves({ Items: [] });
    await store.acquire(request);
    await store.read('job', { consistent: true });
    await store.readMany(['job']);
    await listed(store, 'jo');

    const [acquire, read, readMany, list] = sent().map(({ input }) => input);
    expect(acquire).toMatchObject({
      TableName: 'mine',
      Key,
      ExpressionAttributeNames: { '#key': 'pk' },
      ExpressionAttributeValues: { ':ttl': { N: `${until / 1_000 + 1.5 * 86_400}` } },
    });
    expect(read).toMatchObject({ TableName: 'mine', Key });
    expect(readMany).toEqual({ RequestItems: { mine: { Keys: [Key] } } });
    expect(list).toMatchObject({
      FilterExpression: expect.stringMatching(
        /begins_with\(#key, :prefix\) AND #sort = :sort\) OR NOT .*#key, :string\) OR NOT .*#sort, :string\)$/,
      ),
      ExpressionAttributeNames: { '#key': 'pk', '#sort': 'sk' },
      ExpressionAttributeValues: { ':number': { S: 'N' }, ':prefix': { S: 'jo' }, ':sort': { S: 'LOCK' } },
    });
  });

  test('an answer without what DynamoDB always gives is no answer that there are no locks', async () => {
    const { store, answers } = mocked();
    answers.resolves({});
    const cut = {
      transient: true,
      message: expect.stringContaining('shows nothing of the table: a proxy may have cut it'),
    };
    await expect(listed(store)).rejects.toMatchObject(cut);
    await expect(store.readMany(['job'])).rejects.toMatchObject(cut);
  });
});

describe('check', () => {
  const refusing = (name: string) => {
    const { store, answers } = mocked();
    answers.on(GetItemCommand).rejects(Object.assign(new Error('no'), { name, $fault: 'client', $metadata: {} }));
    return store.check();
  };

  test('finds nothing wrong with a table that answers', async () => {
    const { store, answers } = mocked();
    answers.on(GetItemCommand).resolves({});
    expect(await store.check()).toEqual([]);
  });

  test('finds a table that is not there', async () => {
    expect(await refusing('ResourceNotFoundException')).toEqual([
      { severity: 'error', message: expect.stringContaining("there is no table 'locks' in the Region") },
    ]);
  });

  test('warns of a role that may not read the key of the check', async () => {
    expect(await refusing('AccessDeniedException')).toEqual([
      { severity: 'warning', message: expect.stringContaining('as is right for a role that may use other keys alone') },
    ]);
  });

  test('rejects if the table does not answer', async () => {
    await expect(refusing('ThrottlingException')).rejects.toMatchObject({ transient: true });
  });
});

describe('an answer', () => {
  test('has the new record of a grant, the present record of a refusal, and says that the SDK has sent before', async () => {
    const { store, answers } = mocked();
    answers
      .on(UpdateItemCommand)
      .resolvesOnce({ Attributes: item, $metadata: { attempts: 2 } })
      .rejectsOnce(new ConditionalCheckFailedException({ message: '', $metadata: { attempts: 3 }, Item: item }))
      .rejectsOnce(new ConditionalCheckFailedException({ message: '', $metadata: { attempts: 1 } }));
    const record = {
      key: 'job',
      lockId: 'anna',
      owner: 'Anna',
      fencingToken: 7,
      expiresAt: until,
      acquiredAt: now,
      leaseMs,
    };

    const [granted, refused, absent] = [
      await store.acquire(request),
      await store.acquire(request),
      await store.acquire(request),
    ];
    expect(granted).toEqual({ applied: true, record, maybeAppliedBefore: true });
    expect(refused).toEqual({ applied: false, record, maybeAppliedBefore: true });
    expect(absent).toEqual({ applied: false });
  });

  /** A client whose answers come from a function instead of the network. */
  const answering = (
    answer: () => { statusCode: number; headers: Record<string, string>; body: object },
    options: { endpoint?: string } = {},
  ) => {
    const handle = async () => {
      const { body, ...response } = answer();
      return { response: { ...response, body: Readable.from([JSON.stringify(body)]) } };
    };
    return new DynamoDBClient({ ...configuration, ...options, requestHandler: { handle } as never });
  };

  test.each([
    ['Thu, 01 Jan 2026 00:00:07 GMT', now + 7_000],
    ['yesterday', undefined],
    [undefined, undefined],
  ])('has the Date of the server: %p', async (date, serverDate) => {
    const headers: Record<string, string> = date === undefined ? {} : { date };
    let refused = false;
    const client = answering(() =>
      refused
        ? { statusCode: 400, headers, body: { __type: 'x#ConditionalCheckFailedException', Item: item } }
        : { statusCode: 200, headers, body: { Attributes: item, Responses: {} } },
    );
    // Two stores share a client here.
    const stores = [new DynamoDBLockStore({ tableName, client }), new DynamoDBLockStore({ tableName, client })];
    for (const store of stores) {
      refused = false;
      expect(await store.acquire(request)).toMatchObject({ applied: true, serverDate });
      expect((await store.read('job', { consistent: true })).serverDate).toBe(serverDate);
      expect((await store.readMany(['job'])).serverDate).toBe(serverDate);
      refused = true;
      expect(await store.acquire(request)).toMatchObject({ applied: false, record: { lockId: 'anna' }, serverDate });
    }
  });

  test.each([
    ['https://dynamodb.eu-central-1.amazonaws.com', false],
    ['https://123456789012.ddb.eu-central-1.amazonaws.com', false],
    ['https://dynamodb.cn-north-1.amazonaws.com.cn', false],
    ['http://dynamodb.eu-central-1.amazonaws.com', true],
    ['https://proxy.example.com', true],
    ['https://amazonaws.com.example.com', true],
    ['http://127.0.0.1:8000', true],
  ])('is relayed unless the answer came by TLS from a host of AWS: %s, %j', async (endpoint, relayed) => {
    const date = 'Thu, 01 Jan 2026 00:00:07 GMT';
    const client = answering(
      () => ({ statusCode: 200, headers: { date }, body: { Attributes: item, Responses: {} } }),
      { endpoint },
    );
    const store = new DynamoDBLockStore({ tableName, client });
    expect(await store.read('job', { consistent: true })).toMatchObject({ serverDate: now + 7_000, relayed });
    expect(await store.acquire(request)).toMatchObject({ serverDate: now + 7_000, relayed });
    expect(await store.readMany(['job'])).toMatchObject({ serverDate: now + 7_000, relayed });
  });

  test('has no serverDate beside an Age header, since the answer came from a cache', async () => {
    const headers = { date: 'Thu, 01 Jan 2026 00:00:07 GMT', age: '12' };
    const store = new DynamoDBLockStore({
      tableName,
      client: answering(() => ({ statusCode: 200, headers, body: {} })),
    });
    expect((await store.read('job', { consistent: true })).serverDate).toBeUndefined();
  });

  test('has the Date of the server even if the answer is an error', async () => {
    const date = 'Thu, 01 Jan 2026 00:00:07 GMT';
    const body = { __type: 'x#AccessDeniedException', message: 'no' };
    const store = new DynamoDBLockStore({
      tableName,
      client: answering(() => ({ statusCode: 400, headers: { date }, body })),
    });
    const error = await store.read('job', { consistent: false }).catch((thrown) => thrown);
    expect(error).toMatchObject({ name: 'LockStoreError', serverDate: now + 7_000, relayed: false, misdated: false });
  });

  describe('a refusal for the time in the signature', () => {
    const HOUR = 3_600_000;
    const http = (ms: number) => new Date(ms).toUTCString();
    const basic = (ms: number) => `${new Date(ms).toISOString().slice(0, 19).replace(/[-:]/g, '')}Z`;
    /** A server whose clock is off. By default it refuses with the same error as AWS. */
    const refusing = (offMs: number, { dated = true, name = 'InvalidSignatureException' } = {}) => {
      let sent = 0;
      const client = answering(() => {
        sent++;
        const at = Date.now() + offMs;
        const headers: Record<string, string> = dated ? { date: http(at) } : {};
        const message = `Signature not yet current: ${basic(Date.now())} is still later than ${basic(at + 900_000)} (${basic(at)} + 15 min.)`;
        return { statusCode: 400, headers, body: { __type: `x#${name}`, message } };
      });
      return { store: new DynamoDBLockStore({ tableName, client }), client, sent: () => sent };
    };

    test.each([
      [-HOUR, 'InvalidSignatureException'],
      [HOUR, 'InvalidSignatureException'],
      [-120_000, 'RequestTimeTooSkewed'],
      [-HOUR, 'RequestExpired'],
      [HOUR, 'SignatureDoesNotMatch'],
    ])('makes the store throw a misdated error after one request: server %i ms off, %s', async (offMs, name) => {
      const { store, sent } = refusing(offMs, { name });
      const error = await store.acquire(request).catch((thrown) => thrown);
      expect(error).toMatchObject({ name: 'LockStoreError', misdated: true, transient: true });
      expect(error.message).toContain('set the clock of this host right');
      expect(error.cause.name).toBe(name);
      expect(Math.abs(error.serverDate - Date.now() - offMs)).toBeLessThan(5_000);
      expect(sent()).toBe(1);
    });

    test('shows the time of the server by its message without a Date', async () => {
      const { store, sent } = refusing(-HOUR, { dated: false });
      const error = await store.acquire(request).catch((thrown) => thrown);
      expect(error).toMatchObject({ misdated: true });
      expect(Math.abs(error.serverDate - Date.now() + HOUR)).toBeLessThan(5_000);
      expect(sent()).toBe(1);
    });

    test("is left to the SDK for the user's own requests, and a list is sent again, signed by the right time", async () => {
      const off = -HOUR;
      let sent = 0;
      const refusal = { __type: 'x#InvalidSignatureException', message: 'Signature not yet current' };
      const client = answering(() => {
        const date = http(Date.now() + off);
        return sent++ % 2 === 0
          ? { statusCode: 400, headers: { date }, body: refusal }
          : { statusCode: 200, headers: { date }, body: { Items: [] } };
      });
      const store = new DynamoDBLockStore({ tableName, client });
      await expect(
        client.send(new GetItemCommand({ TableName: 'users', Key: { id: { S: '1' } } })),
      ).resolves.toBeDefined();
      expect(sent).toBe(2);
      client.config.systemClockOffset = 0;
      expect(await Array.fromAsync(new LockClient({ store }).list())).toEqual([]);
      expect(sent).toBe(4);
    });

    test('is recognised if another copy of leasehold shares the client', async () => {
      const { store, client } = refusing(-HOUR);
      const another: string = '../../lib/aws/sdk-client.ts?another';
      const { keepDates } = (await import(another)) as typeof sdkClient;
      keepDates(client);
      await expect(store.acquire(request)).rejects.toMatchObject({ name: 'LockStoreError', misdated: true });
    });

    test('is not assumed if the time is right and the secret is wrong', async () => {
      const { store } = refusing(0);
      const error = await store.acquire(request).catch((thrown) => thrown);
      expect(error).toMatchObject({ misdated: false, transient: false });
    });
  });
});

describe('an error of DynamoDB becomes a LockStoreError that says what to do', () => {
  const $metadata = {};
  const exception = (name: string, message: string, $fault: 'client' | 'server' = 'client') =>
    new DynamoDBServiceException({ name, $fault, message, $metadata });
  const failureOf = async (
    error: Error,
    operation = (store: LockStore): Promise<unknown> => store.acquire(request),
  ) => {
    const { store, answers } = mocked();
    answers.rejects(error);
    const failure = await operation(store).catch((thrown: unknown) => thrown);
    expect(failure).toBeInstanceOf(LockStoreError);
    expect((failure as LockStoreError).cause).toBe(error);
    return failure as LockStoreError;
  };

  test('a missing table: the message has its name and the Region', async () => {
    const { message, transient } = await failureOf(new ResourceNotFoundException({ message: 'not found', $metadata }));
    expect(message).toBe(
      "there is no table 'locks' in the Region 'eu-central-1': create it (leasehold table create), or mend LOCK_TABLE_NAME or tableName.",
    );
    expect(transient).toBe(false);
  });

  test('a host with two addresses that both refuse: the message has both', async () => {
    const errors = ['::1:8000', '127.0.0.1:8000'].map((address) => new Error(`connect ECONNREFUSED ${address}`));
    const refused = Object.assign(new AggregateError(errors), { code: 'ECONNREFUSED' });
    const { message, transient } = await failureOf(refused);
    expect(message).toMatch(
      /: check AWS_REGION.*connect ECONNREFUSED ::1:8000, connect ECONNREFUSED 127\.0\.0\.1:8000$/,
    );
    expect(transient).toBe(true);
  });

  const denied = 'User: arn:aws:sts::123456789012:assumed-role/job is not authorized to perform this';
  test.each<[string, (store: LockStore) => Promise<unknown>]>([
    ['dynamodb:UpdateItem', (store) => store.acquire(request)],
    ['dynamodb:UpdateItem', (store) => store.release({ ...request, holdAtLeastMs: 0 })],
    ['dynamodb:GetItem', (store) => store.read('job', { consistent: true })],
    ['dynamodb:BatchGetItem', (store) => store.readMany(['job'])],
    ['dynamodb:Scan', (store) => listed(store)],
  ])('a missing permission: the message has the action, %s, and the table', async (action, operation) => {
    const { message, transient } = await failureOf(exception('AccessDeniedException', denied), operation);
    expect(message).toMatch(new RegExp(`^${action} on the table 'locks' is not allowed.*grant it.*${denied}$`));
    expect(transient).toBe(false);
  });

  test('a wrong key schema: the message has the configured key', async () => {
    const error = exception('ValidationException', 'The provided key element does not match the schema');
    const { message, transient } = await failureOf(error);
    expect(message).toContain("the key of the table 'locks' is not 'lockKey' (string) alone");
    expect(transient).toBe(false);
  });

  test.each([
    'One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of2048 bytes',
    "Value 'x' at 'tableName' failed to satisfy constraint",
    'Item size to update has exceeded the maximum allowed size',
  ])('another refusal of a request is told as the server told it: %s', async (told) => {
    const { message, transient, foreign } = await failureOf(exception('ValidationException', told));
    expect(message).toBe(`DynamoDB refused dynamodb:UpdateItem on the table 'locks': ValidationException: ${told}`);
    expect([transient, foreign]).toEqual([false, false]);
  });

  test('an item that another program wrote: the message has the key of the lock', async () => {
    const error = exception('ValidationException', 'An operand in the update expression has an incorrect data type');
    const { message, transient, foreign } = await failureOf(error);
    expect(message).toMatch(/^the item 'job' in the table 'locks' was not written by leasehold, or was changed/);
    expect([transient, foreign]).toEqual([false, true]);
  });

  test.each([
    ['throttled', new ProvisionedThroughputExceededException({ message: 'slow down', $metadata })],
    ['throttled by the account', new RequestLimitExceeded({ message: 'slow down', $metadata })],
    ['throttled by a new name', new ThrottlingException({ message: 'slow down', $metadata })],
    ['500', new InternalServerError({ message: 'oops', $metadata })],
    ['503', exception('ServiceUnavailable', 'oops', 'server')],
    ['a connection that broke', Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' })],
    ['a conflict', new TransactionConflictException({ message: 'conflict', $metadata })],
  ])('%s: the error is transient', async (_, error) => {
    const { message, transient, conflict } = await failureOf(error);
    const failed = (error as { $fault?: string }).$fault === 'client' ? 'refused' : 'did not answer';
    expect(message).toBe(
      `DynamoDB ${failed} dynamodb:UpdateItem on the table 'locks': ${error.name}: ${error.message}`,
    );
    expect(transient).toBe(true);
    expect(conflict).toBe(error instanceof TransactionConflictException);
  });

  test('a failed request for many locks: the message names no lock', async () => {
    const error = exception('InternalServerError', 'oops', 'server');
    for (const operation of ['BatchGetItem', 'Scan']) {
      const { message } = await failureOf(error, (store) =>
        operation === 'Scan' ? listed(store) : store.readMany(['job']),
      );
      expect(message).toBe(
        `DynamoDB did not answer dynamodb:${operation} on the table 'locks': InternalServerError: oops`,
      );
    }
  });

  test('an error whose message has the word key: the error is not taken for a wrong key schema', async () => {
    const { message } = await failureOf(exception('UnrecognizedClientException', 'The access key is invalid'));
    expect(message).toBe(
      "DynamoDB refused dynamodb:UpdateItem on the table 'locks': mend the credentials: AWS_ACCESS_KEY_ID, " +
        'AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, the profile, or the client. ' +
        'UnrecognizedClientException: The access key is invalid',
    );
  });

  test.each([
    ['UnrecognizedClientException', 'mend the credentials: AWS_ACCESS_KEY_ID'],
    ['InvalidSignatureException', 'mend the credentials: AWS_ACCESS_KEY_ID'],
    ['IncompleteSignatureException', 'mend the credentials: AWS_ACCESS_KEY_ID'],
    ['MissingAuthenticationTokenException', 'mend the credentials: AWS_ACCESS_KEY_ID'],
    ['ExpiredTokenException', 'the credentials have expired: log in again, or give new ones'],
  ])('refused credentials: the message says so, and names what to mend: %s', async (name, advice) => {
    const { message, transient } = await failureOf(exception(name, 'no'));
    expect(message).toContain(`DynamoDB refused dynamodb:UpdateItem on the table 'locks': ${advice}`);
    expect(message).toMatch(new RegExp(`${name}: no$`));
    expect(transient).toBe(false);
  });

  test('an item without the numbers of a lock: the message has the attribute and its type, and not its value', async () => {
    const { store, answers } = mocked();
    const { fencingToken, ...rest } = item;
    answers
      .on(GetItemCommand)
      .resolvesOnce({ Item: rest })
      .resolvesOnce({ Item: { ...item, expiresAt: { S: 'never' } } });
    const read = () => store.read('job', { consistent: true });
    answers.on(UpdateItemCommand).resolves({ Attributes: rest });
    const message =
      "the item 'job' in the table 'locks' was not written by leasehold, or was changed, and is left as it is: fencingToken is missing. Repair the record: leasehold repair KEY, or repair().";
    await expect(store.acquire(request)).rejects.toMatchObject({ message, foreign: true });
    await expect(read()).rejects.toMatchObject({ message, foreign: true });
    await expect(read()).rejects.toThrow('expiresAt is of type S, not N');
  });

  test('an item with an attribute of a wrong type that judges no request: the attribute is left out', async () => {
    const { store, answers } = mocked();
    const bad = Object.fromEntries(
      ['leaseMs', 'owner', 'releasedBy', 'data', 'previousExpiresAt'].map((name) => [name, { BOOL: true }]),
    );
    answers.on(GetItemCommand).resolves({ Item: { ...item, ...bad } });
    const { record } = await store.read('job', { consistent: true });
    expect(record).toMatchObject({ lockId: 'anna', fencingToken: 7, leaseMs: 0, flaw: undefined });
    expect(record?.tookOver).toBeUndefined();
  });

  test.each([
    ['fencingToken', { N: '9007199254740992' }, 'is 9007199254740992, which is no whole number from 0 to'],
    ['fencingToken', { N: '-1' }, 'is -1, which is no whole number'],
    ['fencingToken', { N: '1.5' }, 'is 1.5, which is no whole number'],
    ['expiresAt', { N: '1e20' }, 'is 1e20, which is no whole number'],
    ['acquiredAt', { S: 'x' }, 'is of type S, not N'],
    ['acquiredAt', { N: '-3' }, 'is -3'],
    ['doneToken', { N: '0' }, 'is of type N, not S'],
    ['doneToken', { NULL: true }, 'is of type NULL, not S'],
    ['doneToken', { S: '~t2026' }, "is '~t2026', which leasehold did not write"],
    ['acquiredAt', { S: 'x' }, 'is of type S, not N'],
  ] as const)('a record whose %s is %j has a flaw, and is read all the same', async (name, value, flaw) => {
    const { store, answers } = mocked();
    answers.on(GetItemCommand).resolves({ Item: { ...item, [name]: value } });
    const { record } = await store.read('job', { consistent: true });
    expect(record).toMatchObject({ key: 'job', lockId: 'anna', flaw: expect.stringContaining(`${name} ${flaw}`) });
  });

  test('an item that is no record of a lock: list and readMany still give the locks beside the item', async () => {
    const { store, answers } = mocked();
    const Items = [{ ...item, expiresAt: { S: 'never' } }, item];
    answers
      .on(ScanCommand)
      .resolves({ Items })
      .on(BatchGetItemCommand)
      .resolves({ Responses: { [tableName]: Items } });
    expect(await listed(store)).toHaveLength(1);
    expect((await store.readMany(['job'])).records).toHaveLength(1);
  });

  test('a refusal without the record: the message has the feature that the server must support', async () => {
    const { store, answers } = mocked();
    answers.rejects(new ConditionalCheckFailedException({ message: '', $metadata }));
    await expect(new LockClient({ store, clock: disciplinedClock }).acquire('job')).rejects.toThrow(
      'ReturnValuesOnConditionCheckFailure',
    );
  });
});

describe('a conflict with another transaction', () => {
  const conflict = () => new TransactionConflictException({ message: 'conflict', $metadata: {} });

  test('makes acquire, renew and release send the request again, since the SDK does not', async () => {
    const { store, answers, sent } = mocked();
    const locks = new LockClient({ store, clock: disciplinedClock });
    answers.rejectsOnce(conflict()).rejectsOnce(conflict()).callsFake(grant);
    const lease = await locks.acquire('job');
    expect(sent()).toHaveLength(3);

    answers.reset();
    answers.rejectsOnce(conflict()).resolves({ Attributes: item });
    await lease.renew();
    expect(sent()).toHaveLength(2);
    expect(lease.isHeld()).toBe(true);

    answers.reset();
    answers.rejectsOnce(conflict()).resolves({ Attributes: item });
    expect(await lease.release()).toBe(true);
    expect(sent()).toHaveLength(2);
  });

  test('is thrown if every request meets a conflict', async () => {
    const { store, answers, sent } = mocked();
    answers.rejects(conflict());
    await expect(new LockClient({ store, clock: disciplinedClock }).acquire('job')).rejects.toMatchObject({
      name: 'LockStoreError',
      conflict: true,
    });
    const ids = new Set(
      sent()
        .filter(({ input }) => 'ReturnValues' in input)
        .map(({ input }) => input as { ExpressionAttributeValues: Record<string, { S: string }> })
        .map(({ ExpressionAttributeValues }) => ExpressionAttributeValues[':me']?.S),
    );
    expect(ids.size).toBe(1);
  });
});

/** Grants every acquire. */
function grant(input: { ExpressionAttributeValues: Record<string, { S: string }> }) {
  return { Attributes: { ...item, lockId: input.ExpressionAttributeValues[':me'] } };
}

describe('the client that a store makes for itself', () => {
  const servers = new Set<Server>();
  // A test may hang on a server. So this hook closes the servers, and not the test.
  afterEach(() => {
    for (const server of servers) server.close().closeAllConnections();
    servers.clear();
  });

  /** A server that answers every request with an empty object and the status, or never answers if it is `silent`. */
  async function listen({ silent = false, status = 200 } = {}) {
    const requests: IncomingMessage[] = [];
    let connections = 0;
    const server = createServer((incoming, outgoing) => {
      requests.push(incoming);
      outgoing.statusCode = status;
      if (!silent) outgoing.setHeader('content-type', 'application/x-amz-json-1.0').end('{}');
    });
    servers.add(server);
    server.on('connection', () => connections++);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    Object.assign(process.env, {
      AWS_ENDPOINT_URL_DYNAMODB: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      AWS_REGION: 'eu-central-1',
      AWS_ACCESS_KEY_ID: 'local',
      AWS_SECRET_ACCESS_KEY: 'local',
    });
    return { server, requests, connections: () => connections };
  }
  const read = (store: LockStore, signal?: AbortSignal) => store.read('job', { consistent: false }, signal);

  test('is made at the first request, keeps its connection alive, and belongs to one store', async () => {
    const listening = await listen();
    const [one, other] = [new DynamoDBLockStore({ tableName }), new DynamoDBLockStore({ tableName })];
    const users = new DynamoDBClient();
    await users.send(new ListTablesCommand());
    expect(listening.connections()).toBe(1);

    for (let i = 0; i < 4; i++) await read(one);
    expect(listening.connections()).toBe(2);
    for (let i = 0; i < 4; i++) await read(other);
    expect(listening.connections()).toBe(3);
    await users.send(new ListTablesCommand());
    expect(listening.connections()).toBe(3);
    expect(listening.requests).toHaveLength(10);
  });

  test("gives the Date of the server's answers", async () => {
    await listen();
    const { serverDate } = await read(new DynamoDBLockStore({ tableName }));
    expect(Math.abs((serverDate ?? 0) - Date.now())).toBeLessThan(5_000);
  });

  test('makes one attempt at a request, since leasehold sends it again', async () => {
    const listening = await listen({ status: 500 });
    const store = new DynamoDBLockStore({ tableName });
    await expect(read(store)).rejects.toMatchObject({ transient: true, attempts: 1 });
    expect(listening.requests).toHaveLength(1);
    await expect(new LockClient({ store }).inspect('job')).rejects.toMatchObject({ transient: true });
    expect(listening.requests).toHaveLength(4);
  });

  test('needs no Region and no credentials before the first request', () => {
    for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name];
    expect(new DynamoDBLockStore({ tableName }).tableName).toBe(tableName);
  });

  test('gives a request up and closes its connection if the signal aborts', async () => {
    const listening = await listen({ silent: true });
    const controller = new AbortController();
    const answer = read(new DynamoDBLockStore({ tableName }), controller.signal);
    const [incoming] = (await once(listening.server, 'request')) as [IncomingMessage];
    const closed = once(incoming.socket, 'close');
    controller.abort();

    await expect(answer).rejects.toBeInstanceOf(LockStoreError);
    await closed;
    expect(listening.requests).toHaveLength(1);
  });

  test('sends nothing if the signal has aborted before', async () => {
    const listening = await listen();
    await expect(read(new DynamoDBLockStore({ tableName }), AbortSignal.abort())).rejects.toBeInstanceOf(
      LockStoreError,
    );
    expect(listening.requests).toHaveLength(0);
  });
});

test.each([
  ['cut short by a proxy', 200, '{"Attributes":{"lockId":{"S":"'],
  ["replaced by a proxy's page", 200, '<html>Hello</html>'],
  ["replaced by a proxy's page of refusal", 403, '<html>Forbidden</html>'],
])(
  'an answer that was %s tells nothing of the grant, which is asked for again and released',
  async (_, statusCode, body) => {
    const targets: string[] = [];
    const handle = async ({ headers }: { headers: Record<string, string> }) => {
      targets.push(headers['x-amz-target']?.split('.')[1] ?? '');
      const date = new Date().toUTCString();
      return { response: { statusCode, headers: { date }, body: Readable.from([body]) } };
    };
    const client = new DynamoDBClient({ ...configuration, maxAttempts: 1, requestHandler: { handle } as never });
    const locks = new LockClient({ store: new DynamoDBLockStore({ tableName, client }), clock: disciplinedClock });
    const error = await locks.acquire('job').catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'ERR_LOCK_STORE', transient: true, cause: { name: 'SyntaxError' } });
    await locks.close();
    // Three sendings of the request, and the release of the grant that may have been made.
    expect(targets.length).toBeGreaterThan(3);
  },
);

test.each(['', '{}', 'null', '{"Attributes":null}', '{"Attributes":{}}', '{"Attributes":{"x":{"N":"5"}}}'])(
  'the answer %j, which shows nothing of the record, proves no write: each write is sent again',
  async (body) => {
    let sendings = 0;
    const handle = async () => {
      sendings++;
      return { response: { statusCode: 200, headers: {}, body: Readable.from([body]) } };
    };
    const client = new DynamoDBClient({ ...configuration, maxAttempts: 1, requestHandler: { handle } as never });
    const store = new DynamoDBLockStore({ tableName, client });
    const key = 'job';
    const grant = { key, lockId: 'anna' };
    const writes = [
      () => store.acquire(request),
      () => store.renew({ ...grant, until }),
      () => store.release({ ...grant, now, holdAtLeastMs: 0 }),
      () => store.giveBack({ ...grant, fencingToken: 7, now, previous: { type: 'nothing' } }),
      () => store.resume({ key, handed: 'anna', lockId: 'bert', owner: 'Bert', until, leaseMs }),
      () => store.forceRelease({ ...grant, immediately: false }),
      () => store.repair({ key, seen: { fencingToken: 7, expiresAt: until }, opensAt: now, fencingToken: 9 }),
    ];
    for (const write of writes) {
      await expect(write()).rejects.toMatchObject({ code: 'ERR_LOCK_STORE', transient: true, foreign: false });
    }

    sendings = 0;
    const locks = new LockClient({ store, clock: disciplinedClock });
    await expect(locks.forceRelease(key, { lockId: 'anna' })).rejects.toThrow('shows nothing of the table');
    expect(sendings).toBe(3);
  },
);

test('a renewal and a release whose answers are empty count for nothing', async () => {
  const { store, answers } = mocked();
  const locks = new LockClient({ store, clock: disciplinedClock });
  answers.callsFake(grant);
  const lease = await locks.acquire('job');
  answers.reset();
  answers.resolves({});
  await expect(lease.renew()).rejects.toMatchObject({ transient: true });
  expect(await lease.release({ withinMs: 100 })).toBe(false);
});

describe('a client of the user', () => {
  test('that sends again until the time is over leaves its last fault to the error', async () => {
    const body = JSON.stringify({ __type: 'x#ThrottlingException', message: 'Slow down.' });
    const handle = async () => ({ response: { statusCode: 400, headers: {}, body: Readable.from([body]) } });
    const client = new DynamoDBClient({ ...configuration, maxAttempts: 99, requestHandler: { handle } as never });
    const locks = new LockClient({ store: new DynamoDBLockStore({ tableName, client }), clock: disciplinedClock });
    const error = await locks.acquire('job', { withinMs: 100 }).catch((thrown) => thrown);
    expect(error).toMatchObject({ transient: true, cause: { name: 'ThrottlingException' } });
    expect(error.message).toMatch(/The last fault was ThrottlingException: Slow down\.$/);
    await locks.close();
  });

  test('gets two middlewares in all, even if two stores share the client', async () => {
    const client = new DynamoDBClient(configuration);
    const before = client.middlewareStack.identify().length;
    for (const tableName of ['locks', 'more-locks']) new DynamoDBLockStore({ tableName, client });
    expect(client.middlewareStack.identify()).toHaveLength(before + 2);
  });

  test('works with a send() method alone, as a fake client of a test', async () => {
    const client = { send: async () => ({ Item: item, $metadata: {} }) };
    const store = new DynamoDBLockStore({ tableName, client: client as never });
    expect(await store.read('job', { consistent: true })).toMatchObject({ record: { key: 'job', owner: 'Anna' } });
  });
});

describe('the options of DynamoDBLockStore', () => {
  test('tableName is the value of LOCK_TABLE_NAME by default', async () => {
    process.env.LOCK_TABLE_NAME = 'from-the-environment';
    expect(new DynamoDBLockStore().tableName).toBe('from-the-environment');
    expect(new DynamoDBLockStore({ tableName }).tableName).toBe(tableName);
  });

  test('retentionDays of the table that LOCK_TABLE_NAME names is the value of LOCK_RETENTION_DAYS by default', async () => {
    process.env.LOCK_RETENTION_DAYS = '30';
    process.env.LOCK_TABLE_NAME = tableName;
    for (const [options, days] of [
      [{}, 30],
      [{ retentionDays: 2 }, 2],
      [{ tableName: 'another-table' }, 7],
    ] as const) {
      const { store, answers, sent } = mocked(options);
      answers.resolves({ Attributes: item });
      await store.renew({ key: 'job', lockId: 'anna', until });
      const ttl = { N: `${until / 1_000 + days * 86_400}` };
      expect(sent()[0]?.input).toMatchObject({ ExpressionAttributeValues: { ':ttl': ttl } });
    }
    process.env.LOCK_RETENTION_DAYS = 'a week';
    const message = 'retentionDays must be a number of days from 1 to 36500 (100 years), but it is';
    expect(() => mocked()).toThrow(new TypeError(`${message} NaN, from LOCK_RETENTION_DAYS='a week'.`));
    expect(() => mocked({ retentionDays: 0 })).toThrow(new TypeError(`${message} 0.`));
    expect(() => mocked({ retentionDays: 1 })).not.toThrow();
  });

  test.each([
    'lockId',
    'owner',
    'fencingToken',
    'expiresAt',
    'acquiredAt',
    'leaseMs',
    'releasedBy',
    'previousLockId',
    'previousOwner',
    'previousAcquiredAt',
    'previousExpiresAt',
    'doneToken',
    'data',
  ])('the attribute %s of the record is refused as the name of a key and of the TTL', (name) => {
    const reason = `must not be '${name}': leasehold writes`;
    expect(() => mocked({ keyAttribute: name })).toThrow(`keyAttribute ${reason}`);
    expect(() => mocked({ sortKey: { name, value: 'LOCK' } })).toThrow(`sortKey.name ${reason}`);
    expect(() => mocked({ ttlAttribute: name })).toThrow(`ttlAttribute ${reason}`);
  });

  test('the layout of the table that LOCK_TABLE_NAME names comes from the environment, and of no other table', async () => {
    Object.assign(process.env, {
      LOCK_TABLE_NAME: 'orders',
      LOCK_KEY_ATTRIBUTE: 'PK',
      LOCK_SORT_KEY: 'SK=LOCK#a=b',
      LOCK_TTL_ATTRIBUTE: 'expires_at',
    });
    const renewing = async (options: DynamoDBLockStoreOptions) => {
      const { store, answers, sent } = mocked({ tableName: undefined, ...options });
      answers.resolves({ Attributes: item });
      await store.renew({ key: 'job', lockId: 'anna', until });
      const input = sent()[0]?.input as UpdateItemCommandInput | undefined;
      return [input?.Key, input?.ExpressionAttributeNames?.['#ttl']];
    };
    const ofOrders = [{ PK: { S: 'job' }, SK: { S: 'LOCK#a=b' } }, 'expires_at'];
    expect(await renewing({})).toEqual(ofOrders);
    expect(await renewing({ tableName: 'orders' })).toEqual(ofOrders);
    expect(await renewing({ tableName: 'locks' })).toEqual([{ lockKey: { S: 'job' } }, 'ttl']);
    expect(await renewing({ keyAttribute: 'pk', ttlAttribute: 'ttl' })).toEqual([
      { pk: { S: 'job' }, SK: { S: 'LOCK#a=b' } },
      'ttl',
    ]);
    Object.assign(process.env, { LOCK_SORT_KEY: '', LOCK_KEY_ATTRIBUTE: '' });
    expect(await renewing({})).toEqual([{ lockKey: { S: 'job' } }, 'expires_at']);
    process.env.LOCK_SORT_KEY = 'SK';
    expect(() => mocked({ tableName: undefined })).toThrow(
      new TypeError("LOCK_SORT_KEY must be NAME=VALUE, such as SK=LOCK, but it is 'SK'."),
    );
    process.env.LOCK_SORT_KEY = 'data=LOCK';
    expect(() => mocked({ tableName: undefined })).toThrow("sortKey.name must not be 'data'");
  });

  test('a missing table name is refused, and the message says what to set', () => {
    delete process.env.LOCK_TABLE_NAME;
    expect(() => new DynamoDBLockStore()).toThrow(
      new TypeError(
        "tableName is missing: give the lock table's name, or set LOCK_TABLE_NAME, which is not set. A test calls installMemoryStore() first.",
      ),
    );
    process.env.LOCK_TABLE_NAME = '';
    expect(() => new DynamoDBLockStore()).toThrow("LOCK_TABLE_NAME, which is ''");
  });

  test.each<[string, object]>([
    ['tableName must be a string, but it is number 7', { tableName: 7 }],
    ["keyAttribute must not be empty, but it is ''", { keyAttribute: '' }],
    ['keyAttribute must be a string, but it is number 7', { keyAttribute: 7 }],
    ["sortKey.name must not be empty, but it is ''", { sortKey: { name: '', value: 'LOCK' } }],
    ["sortKey.value must not be empty, but it is ''", { sortKey: { name: 'sk', value: '' } }],
    ['sortKey.value must be a string, but it is undefined', { sortKey: { name: 'sk' } }],
    ['retentionDays must be a number of days from 1 to 36500 (100 years), but it is 0.5', { retentionDays: 0.5 }],
    [
      'retentionDays must be a number of days from 1 to 36500 (100 years), but it is NaN',
      { retentionDays: Number.NaN },
    ],
    [
      'retentionDays must be a number of days from 1 to 36500 (100 years), but it is Infinity',
      { retentionDays: Infinity },
    ],
    ["retentionDays must be a number of days from 1 to 36500 (100 years), but it is '7'", { retentionDays: '7' }],
    ['but it is 1e+300', { retentionDays: 1e300 }],
    ['but it is 36501', { retentionDays: 36_501 }],
    [
      "tableName must be the table's ARN, or 3 to 255 letters, digits, '_', '-' and '.', but it is ' locks'",
      { tableName: ' locks' },
    ],
    ["but it is 'locks\\u000a'", { tableName: 'locks\n' }],
    ["but it is 'my table'", { tableName: 'my table' }],
    ["but it is 'lo'", { tableName: 'lo' }],
    [
      "but it is 'arn:aws:dynamodb:eu-west-1:123456789012:locks'",
      { tableName: 'arn:aws:dynamodb:eu-west-1:123456789012:locks' },
    ],
    ['leasehold writes an attribute of that name in each record', { keyAttribute: 'releasedBy' }],
    ["sortKey.name must not be 'data'", { sortKey: { name: 'data', value: 'LOCK' } }],
    ["ttlAttribute must differ from keyAttribute, but both are 'ttl'", { keyAttribute: 'ttl' }],
    [
      "sortKey.name must differ from keyAttribute, but both are 'lockKey'",
      { sortKey: { name: 'lockKey', value: 'LOCK' } },
    ],
    ["ttlAttribute must differ from sortKey.name, but both are 'ttl'", { sortKey: { name: 'ttl', value: 'LOCK' } }],
    [
      "ttlAttribute must not be 'expiresAt': leasehold writes it in milliseconds, and DynamoDB reads a TTL in seconds",
      { ttlAttribute: 'expiresAt' },
    ],
    ["ttlAttribute must not be 'leaseMs'", { ttlAttribute: 'leaseMs' }],
    ["ttlAttribute must not be empty, but it is ''", { ttlAttribute: '' }],
    ['sortKey.value must be well-formed Unicode', { sortKey: { name: 'sk', value: '\ud800' } }],
    ["client must be a DynamoDBClient, but it is 'eu-central-1'", { client: 'eu-central-1' }],
    ['client must be a DynamoDBClient, but it is object [object Object]', { client: {} }],
    ["DynamoDBLockStore has no option 'tablename'; did you mean 'tableName'?", { tablename: 'locks' }],
  ])('%s', (message, options) => {
    expect(() => new DynamoDBLockStore({ tableName, ...options })).toThrow(TypeError);
    expect(() => new DynamoDBLockStore({ tableName, ...options })).toThrow(message);
  });
});
