// A user's program with the SDK's client and nothing else. The environment names the server and the lock table.
import { strict as assert } from 'node:assert';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { LockClient } from 'leasehold';
import { conditionCheck, DynamoDBLockStore } from 'leasehold/dynamodb';

export async function run(): Promise<void> {
  const client = new DynamoDBClient({});
  const locks = new LockClient({ store: new DynamoDBLockStore({ client }) });
  const key = `dynamodb/${process.pid}`;
  await locks.using(key, {}, async (lease) => {
    assert.equal((await locks.inspect(key))?.owner, lease.owner);
    const check: { ConditionCheck: { TableName: string } } = conditionCheck(lease);
    assert.equal(check.ConditionCheck.TableName, process.env.LOCK_TABLE_NAME);
  });
  await locks.close();
  client.destroy();
}
