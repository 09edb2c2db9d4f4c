import { DynamoDBLockStore } from '../../../lib/dynamodb.ts';
import { LockClient } from '../../../lib/index.ts';
import { withLock } from '../../../middleware/index.ts';

const locks = new LockClient({ store: new DynamoDBLockStore(), leaseMs: 2_000 });

/** A module may take a lock before its handler can run. */
if (process.env.CRASH === 'holding') {
  await locks.acquire('migration');
  throw new RangeError('The migration failed.');
}

export const handler = withLock(
  { key: process.env.CRASH === 'misconfigured' ? '' : 'migration', locks },
  async () => 'done',
);
