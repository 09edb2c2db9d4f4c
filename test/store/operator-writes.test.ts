import { type AttributeValue, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, expect } from '@jest/globals';
import { DynamoDBLockStore } from '../../lib/dynamodb/store.ts';
import { LockClient } from '../../lib/lease/client.ts';
import { describe, startDynamoDB, test } from '../support/with-dynamodb.ts';

const dynamodb = await startDynamoDB();
const tableName = await dynamodb.createLockTable();
const client = dynamodb.client();
const locks = new LockClient({ store: new DynamoDBLockStore({ tableName, client }) });
afterAll(() => dynamodb.stop());

const put = (key: string, attributes: Record<string, AttributeValue>) =>
  client.send(new PutItemCommand({ TableName: tableName, Item: { lockKey: { S: key }, ...attributes } }));

describe('a repair', () => {
  const HIGH = '9007100000000000';
  const greatest = `9.${'9'.repeat(37)}E+125`;
  test.each<[string, AttributeValue, AttributeValue]>([
    ['a token as great as a number can be', { N: greatest }, { N: '8' }],
    ['a token and an expiry as great as numbers can be', { N: greatest }, { N: greatest }],
    ['an expiry as great as a number can be', { N: HIGH }, { N: greatest }],
    ['a token and an expiry as small as numbers can be', { N: `-${greatest}` }, { N: `-${greatest}` }],
  ])('mends a record with %s', async (key, fencingToken, expiresAt) => {
    await put(key, { fencingToken, expiresAt, acquiredAt: { N: '7' }, leaseMs: { N: '1' } });
    expect(await locks.repair(key, { seen: await locks.inspect(key), fencingToken: 12 })).toBe(true);
    expect(await locks.inspect(key)).toMatchObject({ fencingToken: 12, flaw: undefined });
  });
});
