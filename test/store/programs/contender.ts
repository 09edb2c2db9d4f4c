/**
 * A new process that takes some locks. The process prints `ready`. At the first byte on its standard input it takes the
 * locks, prints the leases, and ends.
 *
 *     node contender.ts <waitMs> <key>...
 */
import { once } from 'node:events';
import { DynamoDBLockStore } from '../../../lib/dynamodb/store.ts';
import { LockClient } from '../../../lib/lease/client.ts';

const [waitMs, ...keys] = process.argv.slice(2);
const locks = new LockClient({ store: new DynamoDBLockStore() });
console.log('ready');
await once(process.stdin, 'data');
process.stdin.destroy();
console.log(JSON.stringify(await Promise.all(keys.map((key) => locks.acquire(key, { waitMs: Number(waitMs) })))));
