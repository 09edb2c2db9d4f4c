/**
 * A process that takes one lock on a Redis server many times. Under each grant it makes a file, which must not be there, and
 * notes the fencing token. It prints the number of its grants and of the overlaps that it saw.
 *
 *     node redis-contender.ts <port> <key> <grants> <folder>
 */
import { appendFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createClient } from 'redis';
import { LockClient } from '../../../lib/lease/client.ts';
import { RedisLockStore } from '../../../lib/redis.ts';

// Whoever started this process is gone.
process.stdin.on('end', () => process.exit()).resume();

const [port, key = '', grants, folder = ''] = process.argv.slice(2);
const clients = [0, 1].map(() => createClient({ socket: { host: '127.0.0.1', port: Number(port) } }));
for (const client of clients) {
  client.on('error', () => {});
  await client.connect();
}
const [client, subscriber] = clients as [(typeof clients)[0], (typeof clients)[0]];
const locks = new LockClient({ store: new RedisLockStore({ client, subscriber }) });
const inside = join(folder, 'inside');
let granted = 0;
let overlaps = 0;
while (granted < Number(grants)) {
  // A server that is killed and started again answers after some seconds.
  const lease = await locks.acquire(key, { waitMs: 30_000, leaseMs: 5_000 }).catch(() => undefined);
  if (lease === undefined) continue;
  granted++;
  try {
    writeFileSync(inside, '', { flag: 'wx' });
  } catch {
    overlaps++;
  }
  appendFileSync(join(folder, 'tokens'), `${lease.fencingToken}\n`);
  rmSync(inside, { force: true });
  await lease.release().catch(() => {});
}
console.log(JSON.stringify({ granted, overlaps }));
process.exit();
