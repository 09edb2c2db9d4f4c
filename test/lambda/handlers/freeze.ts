import { DynamoDBLockStore } from '../../../lib/dynamodb.ts';
import { type Lease, LockClient } from '../../../lib/index.ts';
import { withLock } from '../../../middleware/index.ts';
import { log } from './support.ts';

const locks = new LockClient({ store: new DynamoDBLockStore(), leaseMs: Number(process.env.LEASE_MS), onEvent: log });

/** The lease that an invocation forgot to release. */
let left: Lease | null | undefined;

export async function leave({ key }: { key?: string }) {
  if (key) left = await locks.tryAcquire(key);
  // The handler asks before any timer has had its turn.
  return { isHeld: left?.isHeld(), reason: left?.signal.reason?.reason };
}

export const handler = withLock({ key: ({ key }: { key: string }) => key, locks }, async (_event, { lock }) =>
  lock.isHeld(),
);
