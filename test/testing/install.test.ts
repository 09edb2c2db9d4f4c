import { afterAll, afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import middy from '@middy/core';
import { DynamoDBLockStore } from '../../lib/dynamodb.ts';
import { LockClient } from '../../lib/index.ts';
import { uninstallStore } from '../../lib/lease/store-in-tests.ts';
import { S3LockStore } from '../../lib/s3.ts';
import { installMemoryStore, MemoryLockStore } from '../../lib/testing.ts';
import { lock, lockPlugin, withLock } from '../../middleware/index.ts';

const store = installMemoryStore();
beforeEach(() => {
  installMemoryStore();
});
afterAll(() => uninstallStore());

const context = () => ({}) as never;

test.each([
  [
    'lock()',
    () =>
      middy(lockPlugin())
        .use(lock({ key: 'nightly', onBusy: () => 'busy' }))
        .handler(async () => 'done'),
  ],
  ['withLock()', () => withLock({ key: 'nightly', onBusy: () => 'busy' }, async () => 'done')],
  [
    'a client of DynamoDB',
    () => {
      const locks = new LockClient({ store: new DynamoDBLockStore() });
      return () => locks.using('nightly', async () => 'done').catch(() => 'busy');
    },
  ],
  [
    'a client of S3',
    () => {
      const locks = new LockClient({ store: new S3LockStore() });
      return () => locks.using('nightly', async () => 'done').catch(() => 'busy');
    },
  ],
])('a handler over %s that is made after the store in memory is installed takes its lock there', async (_, make) => {
  const handler = make() as (event: unknown, context: never) => Promise<unknown>;
  const other = await new LockClient({ store, owner: 'another host' }).acquire('nightly');
  expect(await handler({}, context())).toBe('busy');
  await other.release();
  expect(await handler({}, context())).toBe('done');
  expect((await new LockClient({ store }).inspect('nightly'))?.held).toBe(false);
});

test('installing the store in memory again forgets the locks and the tokens of the test before', async () => {
  const handler = withLock({ key: 'nightly', once: '1' }, async () => 'done');
  expect(await handler({}, context())).toBe('done');
  expect(await handler({}, context())).toBeUndefined();
  expect(installMemoryStore()).toBe(store);
  expect(await handler({}, context())).toBe('done');
});

test('a client that is given a store in memory of its own keeps that store', async () => {
  const own = new MemoryLockStore();
  await new LockClient({ store: own }).acquire('nightly', { holdAtMostMs: 1_000 });
  expect((await own.read('nightly')).record).toBeDefined();
  expect((await store.read('nightly')).record).toBeUndefined();
});

test('a table that the environment of the test names keeps its name', () => {
  process.env.LOCK_TABLE_NAME = 'mine';
  installMemoryStore();
  expect(process.env.LOCK_TABLE_NAME).toBe('mine');
});

describe('fake timers, which begin anew for each test,', () => {
  const own = new MemoryLockStore();
  const mine = new LockClient({ store: own, owner: 'mine' });
  const start = Date.now();
  beforeEach(() => {
    jest.useFakeTimers({ now: start });
    own.clear();
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  test('let a test release a lock a minute ahead', async () => {
    await jest.advanceTimersByTimeAsync(60_000);
    await (await mine.acquire('nightly')).release();
    expect((await mine.inspect('nightly'))?.held).toBe(false);
  });

  test('let the next test meet a holder, whose lease the client does not take', async () => {
    const other = await new LockClient({ store: own, owner: 'other' }).acquire('nightly');
    expect(await mine.tryAcquire('nightly')).toBeNull();
    expect(other.isHeld()).toBe(true);
  });
});

test('the store in memory is refused on Lambda, where its locks would exclude nobody', () => {
  process.env.AWS_EXECUTION_ENV = 'AWS_Lambda_nodejs22.x';
  try {
    expect(() => installMemoryStore()).toThrow('installMemoryStore() is for tests, but this is a Lambda function');
  } finally {
    delete process.env.AWS_EXECUTION_ENV;
  }
});
