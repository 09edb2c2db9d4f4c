import { readFileSync } from 'node:fs';
import { UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type DynamoDB, startDynamoDB } from '../../demo/local/launcher.ts';
import { DynamoDBLockStore } from '../../lib/dynamodb/store.ts';
import { LockClient } from '../../lib/lease/client.ts';
import { systemClock } from '../../lib/lease/clock.ts';

const HOUR = 3_600_000;
const KEY = 'nightly/report';

let dynamodb: DynamoDB;
beforeAll(async () => {
  dynamodb = await startDynamoDB();
});
afterAll(() => dynamodb.stop());

/** The `aws dynamodb update-item` of docs/operations.md, as a request of the SDK. */
function remedy(tableName: string): UpdateItemCommand {
  const page = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8');
  const command = /aws dynamodb update-item.*?```/s.exec(page)?.[0] ?? '';
  const option = (name: string) => new RegExp(`--${name} '([^']*)'`).exec(command)?.[1] ?? '';
  expect(command).toContain('--expression-attribute-values "{\\":now\\": {\\"N\\": \\"$(date +%s)000\\"}}"');
  return new UpdateItemCommand({
    TableName: tableName,
    Key: JSON.parse(option('key')),
    UpdateExpression: option('update-expression'),
    ConditionExpression: option('condition-expression'),
    ExpressionAttributeValues: { ':now': { N: `${Math.floor(Date.now() / 1_000)}000` } },
  });
}

describe('the remedy of docs/operations.md', () => {
  test('opens a lock that a clock an hour ahead has closed, but only after the end of its grant', async () => {
    const tableName = await dynamodb.createLockTable();
    const store = new DynamoDBLockStore({ tableName, client: dynamodb.client() });
    const locks = new LockClient({ store });
    // A host an hour ahead is granted the lock, and cut off before it gives the grant back.
    const acquiredAt = systemClock.now() + HOUR;
    const grant = { key: KEY, lockId: 'cut off', owner: 'an hour ahead', leaseMs: 30_000 };
    const { record } = await store.acquire({ ...grant, now: acquiredAt, until: acquiredAt + 30_000 });
    expect(await locks.tryAcquire(KEY)).toBeNull();
    await expect(dynamodb.client().send(remedy(tableName))).rejects.toThrow('conditional');
    await locks.forceRelease(KEY, { lockId: 'cut off', immediately: true });
    expect(await locks.tryAcquire(KEY)).toBeNull();
    await dynamodb.client().send(remedy(tableName));
    const lease = await locks.tryAcquire(KEY);
    expect(lease?.fencingToken).toBeGreaterThan(record?.fencingToken ?? 0);
    await lease?.release();
  });

  test('changes no lock that a right clock has closed', async () => {
    const tableName = await dynamodb.createLockTable();
    const locks = new LockClient({ store: new DynamoDBLockStore({ tableName, client: dynamodb.client() }) });
    await (await locks.acquire(KEY, { holdAtLeastMs: HOUR })).release();
    await new Promise((resolve) => setTimeout(resolve, 1_100 - (Date.now() % 1_000)));
    await expect(dynamodb.client().send(remedy(tableName))).rejects.toThrow('conditional');
    expect(await locks.tryAcquire(KEY)).toBeNull();
  });
});
