/**
 * A process that knows nothing of a lock when it is told to take it. It says `ready`, and at the first byte on its
 * standard input takes the lock, prints what it was granted, and ends.
 *
 *     node contender.ts <key> <waitMs>
 */
import { once } from 'node:events';
import { LockClient } from '../../../lib/lease/client.ts';
import { DynamoDBLockStore } from '../../../lib/store/dynamodb.ts';

const [key = '', waitMs] = process.argv.slice(2);
const locks = new LockClient({ store: new DynamoDBLockStore() });
console.log('ready');
await once(process.stdin, 'data');
process.stdin.destroy();
const lease = await locks.acquire(key, { waitMs: Number(waitMs) });
console.log(JSON.stringify(lease));
