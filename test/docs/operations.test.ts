import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { DynamoDBLockStore } from '../../lib/dynamodb/store.ts';
import { LockClient } from '../../lib/lease/client.ts';
import { systemClock } from '../../lib/lease/clock.ts';
import { type DynamoDB, startDynamoDB, test as testWithDynamoDB } from '../support/with-dynamodb.ts';

const HOUR = 3_600_000;
const KEY = 'nightly-report';

let dynamodb: DynamoDB;
beforeAll(async () => {
  dynamodb = await startDynamoDB();
});
afterAll(() => dynamodb.stop());

describe('the remedy of docs/operations.md for a clock that is wrong', () => {
  testWithDynamoDB(
    'opens a lock that a clock an hour ahead has closed, but only after the end of its grant',
    async () => {
      const tableName = await dynamodb.createLockTable();
      const store = new DynamoDBLockStore({ tableName, client: dynamodb.client() });
      const locks = new LockClient({ store });
      // A host an hour ahead is granted the lock, and cut off before it gives the grant back.
      const acquiredAt = systemClock.now() + HOUR;
      const grant = { key: KEY, lockId: 'cut off', owner: 'an hour ahead', leaseMs: 30_000 };
      const { record } = await store.acquire({ ...grant, now: acquiredAt, until: acquiredAt + 30_000 });
      expect(await locks.tryAcquire(KEY)).toBeNull();
      expect(await locks.repair(KEY, { seen: await locks.inspect(KEY) })).toBe(false);
      await locks.forceRelease(KEY, { lockId: 'cut off' });
      expect(await locks.tryAcquire(KEY)).toBeNull();
      expect(await locks.repair(KEY, { seen: await locks.inspect(KEY) })).toBe(true);
      const lease = await locks.tryAcquire(KEY);
      expect(lease?.fencingToken).toBeGreaterThan(record?.fencingToken ?? 0);
      await lease?.release();
    },
  );

  test('is the order of the commands on the page', () => {
    const page = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8');
    expect(page).toMatch(
      /1\. End the grant.*leasehold release.*2\. Wait for as long as a lease.*3\. Open the lock: `leasehold repair`/s,
    );
  });
});
