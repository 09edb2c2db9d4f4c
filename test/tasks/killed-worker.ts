/** A worker in a process of its own, for a test to kill: it says when it has begun the task that it never ends. */
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { DynamoDBLockStore } from '../../lib/dynamodb.ts';
import { LockClient } from '../../lib/index.ts';
import { runTasks } from '../../lib/tasks/index.ts';

const [tableName, leaseMs, once, task] = process.argv.slice(2) as [string, string, string, string];
const locks = new LockClient({
  store: new DynamoDBLockStore({ tableName, client: new DynamoDBClient({}) }),
  leaseMs: Number(leaseMs),
  owner: 'the killed worker',
});
const work = async () => {
  process.send?.('begun');
  await new Promise((resolve) => setTimeout(resolve, 60_000));
};
await runTasks([task], { locks, key: (name) => name, once }, work);
