import { randomUUID } from 'node:crypto';
import {
  type AttributeValue,
  CreateTableCommand,
  type DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { availableServers, type DynamoDB, startDynamoDB } from '../../demo/local/launcher.ts';
import type { DynamoDBLockStore, DynamoDBLockStoreOptions } from '../../lib/dynamodb.ts';
import { LockClient } from '../../lib/lease/client.ts';
import type { LockStore } from '../../lib/record/store.ts';
import { canonicalToken, isDone } from '../../lib/record/token.ts';
import { listed } from '../support/listed.ts';
import { needing } from '../support/needing.ts';
import { serversToTry, storeOver, TRANSPORT } from '../support/store-over.ts';
import { aboveTheStore } from './above-the-store.ts';
import { damagedRecords, type Written } from './damaged-records.ts';
import { lockStoreContract } from './lock-store-contract.ts';
import { anyRequest, sameAsMemory, send } from './same-as-memory.ts';

// A busy machine needs more time than Jest's default.
jest.setTimeout(30_000);

const daySeconds = 86_400;
const base = Date.now();

/** Values of all types. Some numbers are seconds, some are milliseconds, and some are no times. */
const value: fc.Arbitrary<AttributeValue> = fc.oneof(
  fc
    .constantFrom('0', '1', '-1', '0.5', `${base}`, `${Math.floor(base / 1000) + 3600}`, '9007199254740993', '1e100')
    .map((N) => ({ N })),
  fc.constantFrom('', 'anna', 'tomorrow', '2026-01-01', '12').map((S) => ({ S })),
  fc.constantFrom<AttributeValue>(
    { M: { cart: { L: [{ S: 'book' }] } } },
    { L: [] },
    { BOOL: true },
    { NULL: true },
    { NS: ['1'] },
  ),
);
const attributes = (
  [
    'fencingToken',
    'expiresAt',
    'acquiredAt',
    'leaseMs',
    'lockId',
    'releasedBy',
    'owner',
    'previousExpiresAt',
    'doneToken',
    'data',
    'ttl',
  ] as const
).map((name) => fc.tuple(fc.constant(name), value));
/** The attributes of an item that leasehold did not write: the fencing token or the expiry is not a number. */
const foreignItem = fc
  .subarray(attributes)
  .chain((some) => fc.tuple(...some))
  .map((pairs): Record<string, AttributeValue> => Object.fromEntries(pairs))
  .filter(({ fencingToken, expiresAt }) => fencingToken?.N === undefined || expiresAt?.N === undefined);

const servers = serversToTry(await availableServers());
const first = servers.find(({ missing }) => !missing)?.server;

for (const { server, missing } of servers) {
  needing(missing).describe(`DynamoDBLockStore on ${server}`, () => {
    let dynamodb: DynamoDB;
    let client: DynamoDBClient;
    beforeAll(async () => {
      dynamodb = await startDynamoDB({ server });
      client = dynamodb.client();
    });
    afterAll(() => dynamodb.stop());

    const storeOf = (options: DynamoDBLockStoreOptions) =>
      storeOver(TRANSPORT, { endpoint: dynamodb.endpoint, client: () => client }, options);
    const newStore = async (options: DynamoDBLockStoreOptions = {}) =>
      storeOf({ tableName: await dynamodb.createLockTable(), ...options });
    const itemOf = async (TableName: string, key: string) =>
      (await client.send(new GetItemCommand({ TableName, Key: { lockKey: { S: key } }, ConsistentRead: true }))).Item;

    lockStoreContract(() => newStore());
    if (server === first) aboveTheStore(() => newStore());

    damagedRecords(async () => {
      const store = await newStore();
      const { tableName: TableName } = store;
      const attributeOf = (value: Exclude<Written, undefined>): AttributeValue =>
        typeof value === 'number' ? { N: String(value) } : { S: value };
      return {
        store,
        raw: (key) => itemOf(TableName, key),
        async change(key, fields) {
          const Item = { ...(await itemOf(TableName, key)) };
          for (const [name, value] of Object.entries(fields)) {
            if (value === undefined) delete Item[name];
            else Item[name] = attributeOf(value);
          }
          await client.send(new PutItemCommand({ TableName, Item }));
        },
      };
    });

    sameAsMemory(() => newStore(), { runs: server === first ? 60 : 15 });

    test('judges random once tokens in the order of lib/record/token.ts', async () => {
      const store = await newStore();
      const text = fc.string({ unit: 'binary', minLength: 1, maxLength: 4 }).filter((text) => text.isWellFormed());
      const instant = fc.date({ min: new Date(0), max: new Date(8e12), noInvalidDate: true });
      const given = fc.oneof(
        text,
        text.map((rest) => `}~${rest}`),
        fc.bigInt({ min: 0n, max: 10n ** 20n }),
        instant,
      );
      const token = given.map((value) => canonicalToken(value));
      await fc.assert(
        fc.asyncProperty(token, token, async (doneToken, once) => {
          const [key, owner, leaseMs] = [randomUUID(), 'owner', 1_000];
          await store.acquire({ key, lockId: 'anna', owner, now: base, until: base + 1_000, leaseMs });
          await store.release({ key, lockId: 'anna', now: base, holdAtLeastMs: 0, doneToken });
          const next = { key, lockId: 'bert', owner, now: base + 1_000, until: base + 2_000, leaseMs, once };
          const { applied, record } = await store.acquire(next);
          expect({ applied, doneToken: record?.doneToken }).toEqual({ applied: !isDone(once, doneToken), doneToken });
        }),
        { numRuns: server === first ? 150 : 30 },
      );
    });

    describe('a record that somebody has changed', () => {
      const change = async (store: DynamoDBLockStore, key: string, name: string, value: AttributeValue) => {
        await client.send(
          new UpdateItemCommand({
            TableName: store.tableName,
            Key: { lockKey: { S: key } },
            UpdateExpression: 'SET #name = :value',
            ExpressionAttributeNames: { '#name': name },
            ExpressionAttributeValues: { ':value': value },
          }),
        );
      };
      const opened = async (key: string, once?: string) => {
        const store = await newStore();
        const locks = new LockClient({ store });
        await (await locks.acquire(key, once === undefined ? {} : { once })).release({ done: true });
        return { store, locks };
      };

      test('with a doneToken of another type, a token is refused at once, and work without a token goes on', async () => {
        for (const value of [{ N: '0' }, { NULL: true }, { SS: ['2026'] }] as AttributeValue[]) {
          const { store, locks } = await opened('job', '2026-01-01T02:00:00Z');
          await change(store, 'job', 'doneToken', value);
          const acquire = jest.spyOn(store, 'acquire');
          const [type] = Object.keys(value);
          await expect(locks.acquire('job', { once: '2026-01-02T02:00:00Z', waitMs: 60_000 })).rejects.toMatchObject({
            name: 'LockStoreError',
            foreign: true,
            message: expect.stringContaining(`its doneToken is of type ${type}, not S`),
          });
          expect(acquire).toHaveBeenCalledTimes(1);
          expect((await locks.inspect('job'))?.flaw).toBe(`doneToken is of type ${type}, not S`);
          await locks.using('job', async () => {});
          expect(await locks.resetOnce('job')).toBe(true);
          await locks.using('job', { once: '2026-01-02T02:00:00Z' }, async () => {});
          expect(await locks.inspect('job')).toMatchObject({ doneToken: '2026-01-02T02:00:00Z', flaw: undefined });
        }
      });

      test.each(['2026-01-01T02:00:00Z', '~t9999', '~t9999-01-01T00:00:00.0', '\u{1f600}', '~zz'])(
        'with the doneToken %s, which leasehold did not write, a token is refused, and work without a token goes on',
        async (doneToken) => {
          const { store, locks } = await opened('job', '2026-01-01T02:00:00Z');
          await change(store, 'job', 'doneToken', { S: doneToken });
          await expect(locks.acquire('job', { once: '2026-01-02T02:00:00Z', waitMs: 60_000 })).rejects.toMatchObject({
            name: 'LockStoreError',
            foreign: true,
            message: expect.stringMatching(/its doneToken is '.+', which leasehold did not write\. .+ reset-once/),
          });
          await locks.using('job', { waitMs: 5_000 }, async () => {});
          expect(await locks.resetOnce('job')).toBe(true);
          await locks.using('job', { once: '2026-01-02T02:00:00Z' }, async () => {});
        },
      );

      test.each([
        ['acquiredAt', { S: 'x' }, /its acquiredAt is of type S, not N\. .+ acquire the lock anew/],
        ['fencingToken', { N: '-1' }, /its fencingToken is -1, .+ leasehold repair/],
        ['expiresAt', { N: '-5' }, /its expiresAt is -5, .+ leasehold repair/],
      ] as [string, AttributeValue, RegExp][])(
        'a lease whose record has another %s is not resumed, and the clock is not blamed',
        async (name, value, message) => {
          const { store, locks } = await opened('job');
          const handle = await (await locks.acquire('job')).handOff({ leaseMs: 5_000 });
          await change(store, 'job', name, value);
          await expect(locks.resume(handle)).rejects.toMatchObject({
            name: 'LockStoreError',
            foreign: true,
            message: expect.stringMatching(message),
          });
        },
      );

      test.each([
        ['fencingToken', '9007199254740991'],
        ['fencingToken', '9007199254740993'],
        ['fencingToken', '-1'],
        ['fencingToken', '1.5', '2.5'],
        ['expiresAt', '99999999999999999999'],
        ['expiresAt', '-1'],
      ])('with the %s %s, no lease is granted and the error names the value', async (name, value, told = value) => {
        const { store, locks } = await opened('job');
        await change(store, 'job', name, { N: value });
        await expect(locks.acquire('job', { waitMs: 60_000 })).rejects.toMatchObject({
          name: 'LockStoreError',
          foreign: true,
          message: expect.stringContaining(`its ${name} is ${told}, which is no whole number from 0 to`),
        });
        // A grant that was made all the same is discarded in the background.
        await locks.close();
        expect((await itemOf(store.tableName, 'job'))?.lockId).toBeUndefined();
      });

      test('two grants up to the greatest fencing token have two tokens, and no grant comes after', async () => {
        const { store, locks } = await opened('job');
        await change(store, 'job', 'fencingToken', { N: `${Number.MAX_SAFE_INTEGER - 2}` });
        for (const token of [Number.MAX_SAFE_INTEGER - 1, Number.MAX_SAFE_INTEGER]) {
          const lease = await locks.acquire('job');
          expect(lease.fencingToken).toBe(token);
          await lease.release();
        }
        await expect(locks.acquire('job')).rejects.toThrow('its fencingToken is 9007199254740991');
      });

      test('list and inspectMany give every lock, and mark the changed ones', async () => {
        const { store, locks } = await opened('a/good');
        for (const [key, name, value] of [
          ['a/data', 'data', { S: 'no JSON' }],
          ['a/map', 'data', { M: {} }],
          ['a/acquired', 'acquiredAt', { S: 'yesterday' }],
          ['a/previous', 'previousExpiresAt', { BOOL: true }],
          ['a/done', 'doneToken', { N: '5' }],
          ['a/hand', 'doneToken', { S: '2026-01-01T02:00:00Z' }],
          ['a/token', 'fencingToken', { N: '1e30' }],
          ['a/expiry', 'expiresAt', { N: '1.5' }],
        ] as [string, string, AttributeValue][]) {
          await (await locks.acquire(key)).release();
          await change(store, key, name, value);
        }
        const listed = await Array.fromAsync(locks.list({ prefix: 'a/' }));
        const flawed = ['a/acquired', 'a/done', 'a/expiry', 'a/hand', 'a/token'];
        expect(listed).toHaveLength(9);
        expect(listed.flatMap(({ key, flaw }) => (flaw === undefined ? [] : key)).sort()).toEqual(flawed);
        const states = await locks.inspectMany(listed.map(({ key }) => key));
        expect([...states.values()].flatMap(({ key, flaw }) => (flaw === undefined ? [] : key)).sort()).toEqual(flawed);
        expect(states.get('a/data')?.data).toBe('no JSON');
        expect(states.get('a/hand')).toMatchObject({ doneToken: undefined });
      });
    });

    test('every write sets a ttl of at least the expiry and the retention', async () => {
      const store = await newStore({ retentionDays: 3 });
      const key = 'job';
      const leaseMs = 7_200_001;
      const takenAt = base;
      const until = takenAt + leaseMs;
      const expectKept = async (fromMs: number) => {
        const item = await itemOf(store.tableName, key);
        const kept = Math.max(fromMs, Number(item?.expiresAt?.N));
        expect(Number(item?.ttl?.N)).toBeGreaterThanOrEqual(kept / 1_000 + 3 * daySeconds);
      };
      const owner = 'owner';

      await store.acquire({ key, lockId: 'anna', owner, now: takenAt, until, leaseMs });
      await expectKept(takenAt);
      await store.renew({ key, lockId: 'anna', until: until + 60_000 });
      await expectKept(takenAt + 60_000);
      await store.resume({ key, handed: 'anna', lockId: 'bert', owner, until: until + 90_000, leaseMs });
      await expectKept(takenAt + 90_000);
      // The work took longer than the retention. So doneToken must stay for the retention from the end of the work.
      const end = takenAt + 5 * daySeconds * 1_000;
      await store.release({ key, lockId: 'bert', now: end, holdAtLeastMs: 0, doneToken: 'run-1' });
      await expectKept(end);
      await store.acquire({ key, lockId: 'carl', owner, now: end + 1, until: end + 11, leaseMs: 10 });
      await expectKept(end + 1);
      await store.release({ key, lockId: 'carl', now: end + 5, holdAtLeastMs: 2 * leaseMs });
      await expectKept(end + 5);
      const later = end + 2 * leaseMs + 1;
      await store.acquire({ key, lockId: 'dora', owner, now: later, until: later + leaseMs, leaseMs });
      await store.forceRelease({ key, lockId: 'dora', immediately: false });
      await expectKept(later);
    });

    test('the ttl is later than the expiry after every sequence of writes', async () => {
      const store = await newStore();
      await fc.assert(
        fc.asyncProperty(fc.array(anyRequest, { minLength: 2, maxLength: 10 }), async (sequence) => {
          const key = randomUUID();
          for (const request of sequence) {
            await send(store, key, request);
            const item = await itemOf(store.tableName, key);
            if (!item) continue;
            // A forced release keeps the TTL of a repair before it, whose moment may be some seconds before the grant's here.
            const least = Number(item.expiresAt?.N) / 1_000 + 7 * daySeconds - 5;
            expect(Number(item.ttl?.N)).toBeGreaterThanOrEqual(least);
          }
        }),
        { numRuns: server === first ? 30 : 10 },
      );
    });

    test('an item has the attributes that operators and IAM conditions use', async () => {
      const store = await newStore();
      const request = { key: 'job', owner: 'owner', leaseMs: 30_000 };
      await store.acquire({ ...request, lockId: 'anna', now: base, until: base + 30_000 });
      await store.acquire({ ...request, lockId: 'bert', now: base + 30_000, until: base + 60_000, data: '1' });
      expect(await itemOf(store.tableName, 'job')).toEqual({
        lockKey: { S: 'job' },
        lockId: { S: 'bert' },
        owner: { S: 'owner' },
        fencingToken: { N: `${base + 2}` },
        expiresAt: { N: `${base + 60_000}` },
        acquiredAt: { N: `${base + 30_000}` },
        leaseMs: { N: '30000' },
        previousLockId: { S: 'anna' },
        previousOwner: { S: 'owner' },
        previousAcquiredAt: { N: `${base}` },
        previousExpiresAt: { N: `${base + 30_000}` },
        data: { S: '1' },
        ttl: { N: `${Math.ceil((base + 60_000) / 1_000) + 7 * daySeconds}` },
      });
      await store.release({ key: 'job', lockId: 'bert', now: base + 31_000, holdAtLeastMs: 0, doneToken: 'run-1' });
      const item = await itemOf(store.tableName, 'job');
      expect(item).toMatchObject({ releasedBy: { S: 'bert' }, doneToken: { S: 'run-1' } });
      expect(Object.keys(item ?? {}).filter((name) => /previous|lockId/.test(name))).toEqual([]);
    });

    test('list reads every page of a table', async () => {
      const store = await newStore();
      const data = JSON.stringify('x'.repeat(8_000));
      // A page has at most 1 MB.
      const keys = Array.from({ length: 140 }, (_, i) => `job-${i}`);
      const request = { lockId: 'anna', owner: 'owner', now: base, until: base + 1_000, leaseMs: 1_000, data };
      await Promise.all(keys.map((key) => store.acquire({ ...request, key })));
      const all = await listed(store, 'job-');
      expect(all.map(({ key }) => key).sort()).toEqual([...keys].sort());
    });

    describe("in the user's own table, with other key names, a fixed sort key and the user's own items", () => {
      const sortKey = { name: 'sk', value: 'LOCK' };
      const foreign: Record<string, AttributeValue>[] = [
        { pk: { S: 'job' }, sk: { S: 'ORDER#1' }, fencingToken: { N: '1' }, total: { N: '12' } },
        { pk: { S: 'job-1' }, sk: { S: 'LOCKED' }, expiresAt: { S: 'never' } },
        { pk: { S: 'user' }, sk: { S: 'LOCK' }, name: { S: 'no lock at all' } },
      ];
      const newTable = async () => {
        const tableName = await dynamodb.createLockTable(undefined, { keyAttribute: 'pk', sortKeyAttribute: 'sk' });
        await Promise.all(foreign.map((Item) => client.send(new PutItemCommand({ TableName: tableName, Item }))));
        return { tableName, keyAttribute: 'pk', ttlAttribute: 'expires_at' };
      };

      // One server is enough: the store alone uses the names.
      if (server === first) lockStoreContract(async () => storeOf({ ...(await newTable()), sortKey }));

      test('reads and writes only the items under its own sort key', async () => {
        const table = await newTable();
        const store = await storeOf({ ...table, sortKey });
        const other = await storeOf({ ...table, sortKey: { name: 'sk', value: 'OTHER' } });
        const request = { key: 'job', owner: 'owner', now: base, until: base + 1_000, leaseMs: 1_000 };
        expect((await store.acquire({ ...request, lockId: 'anna' })).applied).toBe(true);
        expect((await other.acquire({ ...request, lockId: 'bert' })).applied).toBe(true);

        const Key = { pk: { S: 'job' }, sk: { S: 'LOCK' } };
        const { Item } = await client.send(new GetItemCommand({ TableName: table.tableName, Key }));
        expect(Item).toMatchObject({ expires_at: { N: `${Math.ceil((base + 1_000) / 1_000) + 7 * daySeconds}` } });
        expect(Item).not.toHaveProperty('ttl');
        expect((await store.read('job', { consistent: true })).record?.lockId).toBe('anna');
        expect((await store.readMany(['job', 'job-1'])).records).toMatchObject([{ key: 'job', lockId: 'anna' }]);
        expect(await listed(store, 'job')).toMatchObject([{ key: 'job', lockId: 'anna' }]);
        expect(await listed(other)).toMatchObject([{ key: 'job', lockId: 'bert' }]);
        for (const item of foreign) {
          const { pk, sk } = item as { pk: AttributeValue; sk: AttributeValue };
          const { Item } = await client.send(new GetItemCommand({ TableName: table.tableName, Key: { pk, sk } }));
          expect(Item).toEqual(item);
        }
      });
    });

    describe('refuses', () => {
      const request = { key: 'job', lockId: 'anna', owner: 'owner', now: base, until: base + 1_000, leaseMs: 1_000 };

      test('a record that another program wrote, and leaves the record unchanged', async () => {
        const store = await newStore();
        const { tableName: TableName } = store;
        const strangers = {
          order: { total: { N: '12' } },
          textual: { expiresAt: { S: '2026-01-01' }, fencingToken: { N: '1' } },
          counter: { expiresAt: { N: '1' }, fencingToken: { S: 'seven' }, lockId: { S: 'x' }, releasedBy: { S: 'y' } },
        };
        for (const [key, attributes] of Object.entries(strangers)) {
          const Item = { lockKey: { S: key }, ...attributes };
          await client.send(new PutItemCommand({ TableName, Item }));
          await expect(store.acquire({ ...request, key })).rejects.toMatchObject({
            name: 'LockStoreError',
            transient: false,
            message: expect.stringMatching(
              `the item '${key}' in the table '${TableName}' was not written by leasehold`,
            ),
          });
          expect(await itemOf(TableName, key)).toEqual(Item);
        }
        await expect(store.read('order', { consistent: true })).rejects.toThrow('fencingToken is missing');
        await expect(store.read('textual', { consistent: true })).rejects.toThrow('expiresAt is of type S');
        expect((await store.readMany(['order', 'textual', 'counter'])).records).toEqual([]);
      });

      test('a list of a table whose key has another name', async () => {
        const store = await newStore();
        await store.acquire(request);
        const wrong = await storeOf({ tableName: store.tableName, keyAttribute: 'pk' });
        for (const prefix of ['', 'job', 'another']) {
          await expect(listed(wrong, prefix)).rejects.toThrow("is not 'pk' (string) alone: mend keyAttribute");
        }
      });

      test("a list of another program's table, with a key of another name or type, or with another sort key", async () => {
        const items = { named: { pk: { S: 'a' } }, numbered: { lockKey: { N: '1' } } };
        const named = await dynamodb.createLockTable(undefined, { keyAttribute: 'pk' });
        const sorted = await dynamodb.createLockTable(undefined, { sortKeyAttribute: 'sk' });
        const numbered = 'numbered';
        await client.send(
          new CreateTableCommand({
            TableName: numbered,
            BillingMode: 'PAY_PER_REQUEST',
            AttributeDefinitions: [{ AttributeName: 'lockKey', AttributeType: 'N' }],
            KeySchema: [{ AttributeName: 'lockKey', KeyType: 'HASH' }],
          }),
        );
        await client.send(new PutItemCommand({ TableName: named, Item: items.named }));
        await client.send(new PutItemCommand({ TableName: numbered, Item: items.numbered }));
        await client.send(new PutItemCommand({ TableName: sorted, Item: { lockKey: { S: 'a' }, sk: { S: 'b' } } }));
        for (const options of [
          { tableName: named },
          { tableName: numbered },
          { tableName: sorted, sortKey: { name: 'sort', value: 'x' } },
        ]) {
          for (const prefix of ['', 'a']) {
            await expect(listed(await storeOf(options), prefix)).rejects.toThrow('mend keyAttribute or sortKey');
          }
        }
      });

      test('a table that does not exist, with its name and Region', async () => {
        const store = await storeOf({ tableName: 'no-such-table' });
        for (const attempt of [
          () => store.acquire(request),
          () => store.read('job', { consistent: true }),
          () => store.readMany(['job']),
          () => listed(store),
        ]) {
          await expect(attempt()).rejects.toMatchObject({
            name: 'LockStoreError',
            transient: false,
            message: expect.stringContaining(`'no-such-table' in the Region '${dynamodb.region}'`),
          });
        }
      });

      test('a table with another key schema than its options say, with the options', async () => {
        const tableName = await dynamodb.createLockTable(undefined, { keyAttribute: 'pk' });
        const sorted = await dynamodb.createLockTable(undefined, { sortKeyAttribute: 'sk' });
        const sortKey = { name: 'sort', value: 'x' };
        for (const [options, told] of [
          [{ tableName }, "'lockKey' (string) alone"],
          [{ tableName: sorted }, "'lockKey' (string) alone"],
          [{ tableName: sorted, sortKey }, "'lockKey' (string) and the sort key 'sort' (string)"],
        ] as const) {
          const store = await storeOf(options);
          for (const attempt of [
            () => store.acquire(request),
            () => store.read('job', { consistent: true }),
            () => store.readMany(['job']),
          ]) {
            await expect(attempt()).rejects.toMatchObject({
              name: 'LockStoreError',
              transient: false,
              message: expect.stringContaining(`the key of the table '${options.tableName}' is not ${told}`),
            });
          }
        }
      });
    });

    test('an item that leasehold did not write stays unchanged, and the error of each request names the item', async () => {
      const store = await newStore();
      const { tableName: TableName } = store;
      const taking = { key: 'healthy', lockId: 'bert', owner: 'owner', now: base, until: base + 1_000, leaseMs: 1_000 };
      await store.acquire(taking);
      const { record: healthy } = await store.read('healthy', { consistent: true });
      await fc.assert(
        fc.asyncProperty(foreignItem, anyRequest, async (attributes, request) => {
          // With the lockId that the operator names and both times, an item is a lock that lost its token.
          const hasTimes = attributes.acquiredAt?.N !== undefined && attributes.expiresAt?.N !== undefined;
          fc.pre(!(request.do === 'forceRelease' && attributes.lockId?.S && hasTimes));
          const key = 'session-1';
          await client.send(new PutItemCommand({ TableName, Item: { lockKey: { S: key }, ...attributes } }));
          const item = await itemOf(TableName, key);
          // A grant's lockId is random, so no foreign item has it. An operator or a handle may name any lockId.
          const isAnyones = request.do === 'forceRelease' || request.do === 'resume';
          const lockId = (isAnyones && attributes.lockId?.S) || randomUUID();
          const attempt =
            request.do === 'giveBack'
              ? store.giveBack({ key, lockId, fencingToken: 1, now: base, previous: { type: 'nothing' } })
              : request.do === 'repair'
                ? store.repair({ key, seen: { fencingToken: 1, expiresAt: base }, opensAt: base, fencingToken: 1 })
                : send(store, key, { ...request, lockId, ...('handed' in request && { handed: lockId }) } as never);
          const named = {
            name: 'LockStoreError',
            transient: false,
            foreign: true,
            message: expect.stringMatching(
              `the item '${key}' in the table '${TableName}' was not written by leasehold`,
            ),
          };
          await expect(attempt).rejects.toMatchObject(named);
          await expect(store.read(key, { consistent: true })).rejects.toMatchObject(named);
          expect((await store.readMany([key, 'healthy'])).records).toEqual([healthy]);
          expect(await listed(store)).toEqual([healthy]);
          expect(await itemOf(TableName, key)).toEqual(item);
        }),
        { numRuns: server === first ? 150 : 30 },
      );
    });

    test.each<[string, Record<string, AttributeValue>]>([
      ['a token that is a text', { fencingToken: { S: 'x' }, expiresAt: { N: '1' } }],
      ['a token beyond 2^53', { fencingToken: { N: '9007199254740993' }, expiresAt: { N: '1' } }],
      ['a token below 0', { fencingToken: { N: '-1' }, expiresAt: { N: '1' } }],
      ['no token', { expiresAt: { N: '1' } }],
      ['an expiry that is a text', { fencingToken: { N: '1' }, expiresAt: { S: 'never' }, lockId: { S: 'me' } }],
      ['an expiry beyond 2^53', { fencingToken: { N: '1' }, expiresAt: { N: '1e20' } }],
    ])('a record with %s is repaired without having been seen', async (_, attributes) => {
      const store = await newStore();
      const { tableName: TableName } = store;
      const written = { releasedBy: { S: 'anna' }, leaseMs: { N: '1000' }, doneToken: { S: 'run-5' } };
      const Item = { lockKey: { S: 'job' }, ...written, ...attributes };
      await client.send(new PutItemCommand({ TableName, Item }));
      const broken = { acquiredAt: base, immediately: false, lowersToken: false };
      const request = { key: 'job', opensAt: base, fencingToken: base, broken };
      expect(await store.repair(request)).toMatchObject({ applied: true });
      expect(await recordOf(store, 'job')).toMatchObject({ fencingToken: base, expiresAt: base, doneToken: 'run-5' });
      expect((await recordOf(store, 'job'))?.lockId).toBeUndefined();
      expect(await store.repair({ ...request, opensAt: base + 1 })).toMatchObject({ applied: false });
    });

    test.each<Record<string, AttributeValue>>([
      { total: { N: '12' }, expiresAt: { S: 'never' } },
      { total: { N: '12' }, fencingToken: { N: '17' } },
      { total: { N: '12' }, lockId: { S: 'L-17' } },
      { total: { N: '12' }, acquiredAt: { N: '1' } },
    ])("an item of the user's own is not repaired, and nobody is told to repair the item: %j", async (attributes) => {
      const store = await newStore();
      const { tableName: TableName } = store;
      const Item = { lockKey: { S: 'job' }, ...attributes };
      await client.send(new PutItemCommand({ TableName, Item }));
      const broken = { acquiredAt: base, immediately: true, lowersToken: true };
      await expect(store.repair({ key: 'job', opensAt: base, fencingToken: base, broken })).rejects.toMatchObject({
        foreign: true,
        message: expect.stringContaining('Use another key.'),
      });
      expect(await itemOf(TableName, 'job')).toEqual(Item);
    });

    test("an item of the user's own is not resumed by a lockId that stands in it", async () => {
      const store = await newStore();
      const { tableName: TableName } = store;
      const Item = {
        lockKey: { S: 'job' },
        lockId: { S: 'a' },
        fencingToken: { N: '1' },
        acquiredAt: { N: '1' },
        expiresAt: { S: 'tomorrow' },
      };
      await client.send(new PutItemCommand({ TableName, Item }));
      const request = { key: 'job', handed: 'a', lockId: 'b', owner: 'owner', until: base, leaseMs: 1_000 };
      await expect(store.resume(request)).rejects.toMatchObject({ foreign: true });
      expect(await itemOf(TableName, 'job')).toEqual(Item);
    });

    test('a token counts on from the token of a record that an earlier program wrote', async () => {
      const store = await newStore();
      await client.send(
        new UpdateItemCommand({
          TableName: store.tableName,
          Key: { lockKey: { S: 'job' } },
          UpdateExpression: 'SET fencingToken = :token, expiresAt = :past',
          ExpressionAttributeValues: { ':token': { N: '41' }, ':past': { N: '1' } },
        }),
      );
      const { record } = await store.acquire({
        key: 'job',
        lockId: 'anna',
        owner: 'owner',
        now: base,
        until: base + 1_000,
        leaseMs: 1_000,
      });
      expect(record).toMatchObject({ lockId: 'anna', fencingToken: 42 });
    });
  });
}

const recordOf = async (store: LockStore, key: string) => (await store.read(key, { consistent: true })).record;
