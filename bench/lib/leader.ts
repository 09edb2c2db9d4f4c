// A candidate for the lead, in a process of its own: node leader.ts STORE LEASE_MS. The store is a table of DynamoDB, or a
// folder if it is an absolute path. Tells its parent of each term. Ends in order at SIGTERM, and at once with its parent.
import { isAbsolute } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DynamoDBLockStore } from '../../lib/dynamodb.ts';
import { FileLockStore } from '../../lib/file.ts';
import { LockClient } from '../../lib/index.ts';

/** The time that the work takes to end once it is told to stop. */
const END_MS = 20;

const [place = '', leaseMs] = process.argv.slice(2);
const store = isAbsolute(place) ? new FileLockStore({ directory: place }) : new DynamoDBLockStore({ tableName: place });
const locks = new LockClient({
  store,
  onEvent: ({ type, at }) => type === 'waiting' && process.send?.({ type: 'standsBy', at }),
});
process.once('disconnect', () => process.exit(1));

const candidate = locks.lead('leader', { leaseMs: Number(leaseMs) }, async ({ fencingToken }, signal) => {
  process.send?.({ type: 'begins', at: Date.now(), fencingToken });
  await new Promise((resolve) => signal.addEventListener('abort', resolve));
  await sleep(END_MS);
  process.send?.({ type: 'ends', at: Date.now(), fencingToken });
});
process.once('SIGTERM', async () => {
  await candidate.stop();
  process.disconnect();
});
