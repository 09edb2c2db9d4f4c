import { randomUUID } from 'node:crypto';
import { type CancellationReason, TransactionCanceledException } from '@aws-sdk/client-dynamodb';
import { DynamoDBDocumentClient, GetCommand, TransactWriteCommand } from '@aws-sdk/lib-dynamodb';
import { afterAll, beforeAll, beforeEach, expect, jest } from '@jest/globals';
import { mockClient } from 'aws-sdk-client-mock';
import { conditionCheck, writeWhileHeld } from '../../lib/dynamodb/guarded-write.ts';
import { DynamoDBLockStore } from '../../lib/dynamodb/store.ts';
import { LockClient } from '../../lib/lease/client.ts';
import type { LockEvent } from '../../lib/lease/events.ts';
import type { Lease } from '../../lib/lease/lease.ts';
import { LockLostError } from '../../lib/record/errors.ts';
import { MemoryLockStore } from '../../lib/testing/memory.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { type DynamoDB, describe, startDynamoDB, test } from '../support/with-dynamodb.ts';

let dynamodb: DynamoDB;
let documents: DynamoDBDocumentClient;
/** The user's own table, without locks. */
let users: string;
let tableName: string;
beforeAll(async () => {
  dynamodb = await startDynamoDB();
  documents = DynamoDBDocumentClient.from(dynamodb.client());
  users = await dynamodb.createLockTable(undefined, { keyAttribute: 'id' });
  tableName = await dynamodb.createLockTable();
});
afterAll(() => dynamodb.stop());

let id: string;
let events: LockEvent[];
let ours: LockClient;
let theirs: LockClient;
beforeEach(() => {
  id = randomUUID();
  events = [];
  const store = new DynamoDBLockStore({ tableName, client: dynamodb.client() });
  ours = new LockClient({ store, owner: 'us', onEvent: (event) => events.push(event) });
  theirs = new LockClient({ store, owner: 'them' });
});

const put = (value: string) => ({ Put: { TableName: users, Item: { id, value } } });
const written = async (): Promise<unknown> =>
  (await documents.send(new GetCommand({ TableName: users, Key: { id }, ConsistentRead: true }))).Item?.value;
/** Another host is granted the lock while the holder still believes that it holds the lock. */
async function takeFrom(lease: Lease): Promise<Lease> {
  await theirs.forceRelease(lease.key, { lockId: lease.lockId, immediately: true });
  return theirs.acquire(lease.key, { waitMs: 1_000 });
}
const canceled = (...codes: string[]) =>
  new TransactionCanceledException({
    message: `Transaction cancelled for ${codes}`,
    $metadata: {},
    CancellationReasons: codes.map((Code): CancellationReason => ({ Code })),
  });

describe('a guarded write', () => {
  test('commits while the lease is held, more than once', async () => {
    const lease = await ours.acquire(id);
    await writeWhileHeld(lease, documents, [put('first')]);
    expect(await written()).toBe('first');
    await lease.renew();
    await writeWhileHeld(lease, documents, [put('second')]);
    expect(await written()).toBe('second');
    expect(lease.isHeld()).toBe(true);
    expect(await lease.release()).toBe(true);
  });

  test('of a lease with permits is guarded by the record of its slot', async () => {
    const [first, second] = [
      await ours.acquire(id, { permits: 2 }),
      await theirs.acquire(id, { permits: 2, waitMs: 5_000 }),
    ];
    await writeWhileHeld(first, documents, [put('first')]);
    await writeWhileHeld(second, documents, [put('second')]);
    expect(await written()).toBe('second');
    const [own, other] = first.slot === 0 ? [first, second] : [second, first];
    expect(conditionCheck(own).ConditionCheck.Key).toEqual({ lockKey: id });
    expect(conditionCheck(other).ConditionCheck.Key).toEqual({ lockKey: `${id}#1` });
    await theirs.forceRelease(`${id}#1`, { lockId: other.lockId, immediately: true });
    await expect(writeWhileHeld(other, documents, [put('late')])).rejects.toThrow(LockLostError);
    await writeWhileHeld(own, documents, [put('third')]);
    expect(await written()).toBe('third');
  });

  test('is refused after a takeover, writes nothing, and loses the lease', async () => {
    const lease = await ours.acquire(id);
    const next = await takeFrom(lease);
    expect(lease.isHeld()).toBe(true);

    const failure = await writeWhileHeld(lease, documents, [put('late')]).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(LockLostError);
    expect(failure).toMatchObject({
      message:
        `The lease of '${id}' is not held: ` +
        'its guarded write was refused, for another grant stands in its place or it was released. Stop its work.',
      key: id,
      reason: 'takenOver',
      cause: { name: 'TransactionCanceledException' },
    });
    expect(await written()).toBeUndefined();
    expect(lease.isHeld()).toBe(false);
    expect(lease.signal.aborted).toBe(true);
    expect(lease.signal.reason).toBeInstanceOf(LockLostError);
    expect(lease.signal.reason).toMatchObject({ reason: 'takenOver' });
    expect(events.map(({ type }) => type)).toEqual(['acquired', 'lost']);
    // The new holder is not disturbed.
    await writeWhileHeld(next, documents, [put('theirs')]);
    expect(await written()).toBe('theirs');
    expect(await next.release()).toBe(true);
  });

  test('is refused after a force release, even if no other host took the lock', async () => {
    const lease = await ours.acquire(id);
    await theirs.forceRelease(id, { lockId: lease.lockId });
    await expect(writeWhileHeld(lease, documents, [put('late')])).rejects.toBeInstanceOf(LockLostError);
    expect(await written()).toBeUndefined();
    expect(lease.isHeld()).toBe(false);
  });

  test('is not sent under a lease that was released or handed off', async () => {
    const released = await ours.acquire(id);
    await released.release();
    const handedOff = await ours.acquire(`${id}/2`);
    await handedOff.handOff({ leaseMs: 10_000 });
    const sent = mockClient(DynamoDBDocumentClient.from(dynamodb.client()));
    for (const [lease, reason] of [
      [released, 'released'],
      [handedOff, 'handedOff'],
    ] as const) {
      await expect(writeWhileHeld(lease, sent as never, [put('late')])).rejects.toMatchObject({
        name: 'LockLostError',
        reason,
      });
    }
    expect(sent.calls()).toEqual([]);
  });

  test("throws the user's own TransactionCanceledException if the user's own condition fails, and the lease stays held", async () => {
    const lease = await ours.acquire(id);
    const guarded = { Put: { ...put('never').Put, ConditionExpression: 'attribute_exists(id)' } };
    const failure = await writeWhileHeld(lease, documents, [guarded]).catch(
      (error: TransactionCanceledException) => error,
    );
    expect(failure).toBeInstanceOf(TransactionCanceledException);
    expect((failure as TransactionCanceledException).CancellationReasons?.map(({ Code }) => Code)).toEqual([
      'None',
      'ConditionalCheckFailed',
    ]);
    expect(await written()).toBeUndefined();
    expect(lease.isHeld()).toBe(true);
    expect(lease.signal.aborted).toBe(false);
    await lease.release();
  });

  test('commits between the renewals of its own lease', async () => {
    const lease = await ours.acquire(id, { heartbeatMs: 5 });
    const add = {
      Update: {
        TableName: users,
        Key: { id },
        UpdateExpression: 'ADD #value :one',
        ExpressionAttributeNames: { '#value': 'value' },
        ExpressionAttributeValues: { ':one': 1 },
      },
    };
    for (let i = 0; i < 20; i++) await writeWhileHeld(lease, documents, [add]);
    expect(await written()).toBe(20);
    expect(events.some(({ type }) => type === 'renewed')).toBe(true);
    expect(await lease.release()).toBe(true);
  });

  test('takes up to 99 operations, and refuses 100 operations before any request', async () => {
    const lease = await ours.acquire(id);
    const items = Array.from({ length: 100 }, (_, i) => ({ Put: { TableName: users, Item: { id: `${id}/${i}` } } }));
    await expect(writeWhileHeld(lease, documents, items)).rejects.toThrow(
      new TypeError('writeWhileHeld takes up to 99 operations, but there are 100.'),
    );
    await writeWhileHeld(lease, documents, items.slice(1));
    const has = async (i: number) =>
      (await documents.send(new GetCommand({ TableName: users, Key: { id: `${id}/${i}` } }))).Item !== undefined;
    expect([await has(0), await has(1), await has(99)]).toEqual([false, true, true]);
    await lease.release();
  });
});

describe('a guarded write that meets another transaction', () => {
  /** A document client that throws these errors first, and then writes. */
  function failing(...errors: Error[]) {
    const client = DynamoDBDocumentClient.from(dynamodb.client());
    const answers = mockClient(client);
    const behavior = errors.reduce((on, error) => on.rejectsOnce(error), answers.on(TransactWriteCommand));
    behavior.callsFake((input) => documents.send(new TransactWriteCommand(input)));
    return { client, sends: () => answers.calls().length };
  }

  test("is sent again after a conflict on the lease or on the user's item", async () => {
    const lease = await ours.acquire(id);
    const { client, sends } = failing(
      canceled('TransactionConflict', 'None'),
      canceled('None', 'TransactionConflict'),
      canceled('ThrottlingError', 'TransactionConflict'),
      canceled('None', 'ProvisionedThroughputExceeded'),
      // The document client leaves out a Code that is undefined.
      Object.assign(canceled(), { CancellationReasons: [{}, { Code: 'TransactionConflict' }] }),
    );
    await writeWhileHeld(lease, client, [put('in the end')]);
    expect(sends()).toBe(6);
    expect(await written()).toBe('in the end');
    await lease.release();
  });

  test('throws the error of the tenth conflict', async () => {
    const lease = await ours.acquire(id);
    const conflict = canceled('TransactionConflict', 'None');
    const { client, sends } = failing(...Array.from({ length: 20 }, () => conflict));
    await expect(writeWhileHeld(lease, client, [put('never')])).rejects.toBe(conflict);
    expect(sends()).toBe(10);
    expect(lease.isHeld()).toBe(true);
    await lease.release();
  });

  test('is sent again after pauses that grow', async () => {
    const lease = await ours.acquire(id);
    jest.spyOn(Math, 'random').mockReturnValue(0.5);
    const pauses: unknown[] = [];
    const real = globalThis.setTimeout;
    jest.spyOn(globalThis, 'setTimeout').mockImplementation(((callback: () => void, ms: number) => {
      pauses.push(ms);
      return real(callback, 0);
    }) as never);
    const client = { send: () => Promise.reject(canceled('TransactionConflict', 'None')) };
    await expect(writeWhileHeld(lease, client, [put('never')])).rejects.toThrow();
    jest.restoreAllMocks();
    expect(pauses).toEqual([10, 20, 40, 80, 100, 100, 100, 100, 100]);
    await lease.release();
  });

  test('is not sent again after the release of the lease', async () => {
    const lease = await ours.acquire(id);
    const client = DynamoDBDocumentClient.from(dynamodb.client());
    const answers = mockClient(client);
    answers.on(TransactWriteCommand).callsFake(async () => {
      await lease.release();
      throw canceled('TransactionConflict', 'None');
    });
    await expect(writeWhileHeld(lease, client, [put('late')])).rejects.toMatchObject({ reason: 'released' });
    expect(answers.calls()).toHaveLength(1);
    expect(await written()).toBeUndefined();
  });

  test.each([
    ["a conflict beside the user's own failed condition", canceled('TransactionConflict', 'ConditionalCheckFailed')],
    ['an item that is too large', canceled('None', 'ItemCollectionSizeLimitExceeded')],
    ['a cancellation without a reason', canceled()],
    ['any other error', new Error('the network is down')],
  ])('throws the same error after one request on %s', async (_, error) => {
    const lease = await ours.acquire(id);
    const { client, sends } = failing(error);
    await expect(writeWhileHeld(lease, client, [put('never')])).rejects.toBe(error);
    expect(sends()).toBe(1);
    expect(lease.isHeld()).toBe(true);
    await lease.release();
  });

  test('is applied once if its answer is lost', async () => {
    await using proxy = await startFaultProxy({ upstream: dynamodb.endpoint });
    const proxied = DynamoDBDocumentClient.from(dynamodb.client({ endpoint: proxy.endpoint }));
    const lease = await ours.acquire(id);
    const create = { Put: { ...put('once').Put, ConditionExpression: 'attribute_not_exists(id)' } };
    proxy.plan({ do: 'loseAnswer' });
    await writeWhileHeld(lease, proxied, [create]);
    expect(proxy.count('TransactWriteItems')).toBe(2);
    expect(await written()).toBe('once');
    await lease.release();
  });
});

describe('conditionCheck', () => {
  test("gives an element for the user's own TransactWriteCommand, with the table and key names of the lease's store", async () => {
    const lease = await ours.acquire(id);
    expect(conditionCheck(lease)).toEqual({
      ConditionCheck: {
        TableName: tableName,
        Key: { lockKey: id },
        ConditionExpression: 'lockId = :lockId',
        ExpressionAttributeValues: { ':lockId': lease.lockId },
      },
    });
    const transaction = new TransactWriteCommand({ TransactItems: [put('guarded'), conditionCheck(lease)] });
    await documents.send(transaction);
    expect(await written()).toBe('guarded');

    const next = await takeFrom(lease);
    await expect(documents.send(transaction)).rejects.toMatchObject({
      CancellationReasons: [{ Code: 'None' }, { Code: 'ConditionalCheckFailed' }],
    });
    await next.release();
    await lease.release();
  });

  test("works in the user's own table, with other key names and a fixed sort key", async () => {
    const own = await dynamodb.createLockTable(undefined, { keyAttribute: 'pk', sortKeyAttribute: 'sk' });
    const store = new DynamoDBLockStore({
      tableName: own,
      client: dynamodb.client(),
      keyAttribute: 'pk',
      sortKey: { name: 'sk', value: 'LOCK' },
    });
    const lease = await new LockClient({ store }).acquire(id);
    expect(conditionCheck(lease).ConditionCheck).toMatchObject({ TableName: own, Key: { pk: id, sk: 'LOCK' } });
    const item = { pk: id, sk: 'ORDER', total: 12 };
    await writeWhileHeld(lease, documents, [{ Put: { TableName: own, Item: item } }]);
    const { Item } = await documents.send(new GetCommand({ TableName: own, Key: { pk: id, sk: 'ORDER' } }));
    expect(Item).toEqual(item);
    await lease.release();
  });

  describe('under the leases of several keys', () => {
    const keys = () => [`${id}-a`, `${id}-b`, `${id}-c`];

    test('commits while all are held', async () => {
      await using leases = await ours.acquireAll(keys());
      await writeWhileHeld(leases, documents, [put('first')]);
      expect(await written()).toBe('first');
      expect(conditionCheck(leases)).toEqual([...leases].map((lease) => conditionCheck(lease)));
    });

    test('writes nothing if one of them was taken over, and loses that lease alone', async () => {
      await using leases = await ours.acquireAll(keys());
      await takeFrom(leases.get(`${id}-b`));
      expect(leases.isHeld()).toBe(true);
      await expect(writeWhileHeld(leases, documents, [put('late')])).rejects.toMatchObject({
        key: `${id}-b`,
        reason: 'takenOver',
      });
      expect(await written()).toBeUndefined();
      expect([...leases].map((lease) => lease.isHeld())).toEqual([true, false, true]);
    });

    test('takes up to 100 operations with the checks, and refuses more before any request', async () => {
      await using leases = await ours.acquireAll(keys());
      const puts = (count: number) =>
        Array.from({ length: count }, (_, i) => ({ Put: { TableName: users, Item: { id: `${id}-${i}` } } }));
      await writeWhileHeld(leases, documents, puts(97));
      await expect(writeWhileHeld(leases, documents, puts(98))).rejects.toThrow(
        'writeWhileHeld takes up to 97 operations beside the checks of 3 leases, but there are 98.',
      );
    });
  });

  test('refuses a lease of another store, and names the class of that store', async () => {
    const lease = await new LockClient({ store: new MemoryLockStore() }).acquire(id);
    const message = `conditionCheck needs a lease of a DynamoDBLockStore; '${id}' lives in MemoryLockStore.`;
    expect(() => conditionCheck(lease)).toThrow(new TypeError(message));
    await expect(writeWhileHeld(lease, documents, [put('never')])).rejects.toThrow(new TypeError(message));
    expect(await written()).toBeUndefined();
    await lease.release();
  });
});
