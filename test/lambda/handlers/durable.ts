import { type DurableContext, withDurableExecution } from '@aws/durable-execution-sdk-js';
import middy from '@middy/core';
import { executionModeDurableContext } from '@middy/core/DurableContext';
import { DynamoDBLockStore } from '../../../lib/dynamodb.ts';
import { type Lease, LockClient } from '../../../lib/index.ts';
import { lock, lockPlugin, withLock } from '../../../middleware/index.ts';

const locks = new LockClient({ store: new DynamoDBLockStore() });

export const outside = withDurableExecution(
  withLock({ key: 'outside', locks }, async (_event: unknown, _context: DurableContext & { lock: Lease }) => 'ran'),
);

export const outsideWithMiddy = middy(lockPlugin({ executionMode: executionModeDurableContext }))
  .use(lock({ key: 'outside', locks }))
  .handler(async () => 'ran');

/** Takes the lock in each of two steps, and is suspended between them. */
export const inside = withDurableExecution(async (_event: unknown, context: DurableContext) => {
  const step = () => locks.using('inside', {}, (lease) => lease.fencingToken);
  const first = await context.step('first', step);
  await context.wait({ seconds: 1 });
  const between = await context.step('between', async () => (await locks.inspect('inside'))?.held);
  const second = await context.step('second', step);
  return { first, between, second };
});
