import { inspect } from 'node:util';
import { PutItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, expect } from '@jest/globals';
import { LockClient, type LockEvent, LockStoreError } from '../../lib/index.ts';
import { storeOver, TRANSPORT } from '../support/store-over.ts';
import { type DynamoDB, describe, startDynamoDB, test } from '../support/with-dynamodb.ts';

let server: DynamoDB;
let tableName: string;

beforeAll(async () => {
  server = await startDynamoDB();
  tableName = await server.createLockTable();
});
afterAll(() => server.stop());

const events: LockEvent[] = [];
const newClient = async () =>
  new LockClient({
    store: await storeOver(TRANSPORT, { endpoint: server.endpoint, client: () => server.client() }, { tableName }),
    onEvent: (event) => events.push(event),
  });

const HOSTILE = {
  'expression syntax': 'lockId = :me OR attribute_not_exists(#key) -- :now #ttl',
  'names of placeholders': ':me',
  JSON: '{"S":"x"}',
  'control characters': 'a\u0000b\u0001\n\r\t\u007f\u2028',
  emoji: '🔒👨‍👩‍👧‍👦 été',
  'a lone surrogate’s neighbour': '\u{10ffff}',
  'a prototype': '__proto__',
  'one byte': '/',
  '1,024 bytes': `${'€'.repeat(341)}x`,
};

describe('a key and data with', () => {
  test.each(Object.entries(HOSTILE))('%s come back unchanged from every operation', async (_name, text) => {
    const locks = await newClient();
    const lease = await locks.acquire(text, { data: { text, [text]: 1 }, once: text.slice(0, 100), owner: text });
    expect(await locks.tryAcquire(text)).toBeNull();
    expect(await locks.inspect(text)).toMatchObject({ key: text, held: true, owner: text, lockId: lease.lockId });
    expect((await locks.inspect(text))?.data).toEqual({ text, [text]: 1 });
    expect((await locks.inspectMany([text])).get(text)?.lockId).toBe(lease.lockId);
    await lease.renew();
    expect(await lease.release({ done: true })).toBe(true);
    expect((await locks.inspect(text))?.doneToken).toBe(text.slice(0, 100));
    const keys: string[] = [];
    for await (const lock of locks.list({ prefix: text })) keys.push(lock.key);
    expect(keys).toContain(text);
  });
});

describe('a record that another program wrote', () => {
  const whole = {
    lockId: { S: 'secret-of-another' },
    owner: { S: 'another' },
    fencingToken: { N: '7' },
    expiresAt: { N: String(Date.now() + 60_000) },
    acquiredAt: { N: '1' },
    leaseMs: { N: '60000' },
  };
  const broken = {
    'without expiresAt': { ...whole, expiresAt: undefined },
    'with a text for expiresAt': { ...whole, expiresAt: { S: 'tomorrow' } },
    'without fencingToken': { ...whole, fencingToken: undefined },
    'with a list for fencingToken': { ...whole, fencingToken: { L: [] } },
    'with the key alone': {},
  };
  test.each(Object.entries<object>(broken))(
    '%s stays unchanged, and the error names the wrong attribute',
    async (name: string, item: object) => {
      const key = `broken/${name}`;
      const Item = Object.fromEntries(Object.entries({ lockKey: { S: key }, ...item }).filter(([, value]) => value));
      await server.client().send(new PutItemCommand({ TableName: tableName, Item }));
      const failure = await (await newClient()).tryAcquire(key).catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(LockStoreError);
      expect((failure as Error).message).toMatch(
        /was not written by leasehold.* and is left as it is: (expiresAt|fencingToken) is (missing|of type [SL], not N)/,
      );
      expect((failure as Error).message).not.toContain('secret-of-another');
    },
  );

  test('with a huge token gets a token that is one greater', async () => {
    const key = 'broken/huge';
    const Item = { lockKey: { S: key }, fencingToken: { N: '1e15' }, expiresAt: { N: '1' } };
    await server.client().send(new PutItemCommand({ TableName: tableName, Item }));
    expect((await (await newClient()).acquire(key)).fencingToken).toBe(1e15 + 1);
  });
});

describe('the secret of a grant, its lockId,', () => {
  test('is missing from every event, error, JSON text and log of a lease', async () => {
    events.length = 0;
    const locks = await newClient();
    const lease = await locks.acquire('secret', { leaseMs: 500 });
    const busy = await (await newClient()).acquire('secret', { waitMs: 50 }).catch((error: unknown) => error);
    const state = await locks.inspect('secret');
    await locks.forceRelease('secret', { lockId: state?.lockId as string });
    const lost = await lease.renew().catch((error: unknown) => error);
    const shown = [events, lease, busy, lost, JSON.stringify([events, lease, busy, lost])].map((value) =>
      inspect(value, { depth: 9, showHidden: true, getters: false }),
    );
    expect(events.map(({ type }) => type)).toEqual(expect.arrayContaining(['acquired', 'waiting', 'busy', 'lost']));
    for (const text of shown) expect(text).not.toContain(lease.lockId);
  });

  test('is different for each grant', async () => {
    const locks = await newClient();
    const ids = new Set<string>();
    for (let i = 0; i < 100; i++) {
      const lease = await locks.acquire(`ids/${i % 3}`);
      ids.add(lease.lockId);
      await lease.release();
    }
    expect(ids.size).toBe(100);
  });
});
