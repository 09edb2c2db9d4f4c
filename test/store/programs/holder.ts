/**
 * A process that works under a lease until the lease's signal aborts. The process prints the loss, and every error or
 * warning out of band. The process holds a second lease, and never releases that lease.
 *
 *     node holder.ts <key> <leaseMs>
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { DynamoDBLockStore } from '../../../lib/dynamodb/store.ts';
import { LockClient } from '../../../lib/lease/client.ts';

const say = (line: object) => console.log(JSON.stringify(line));
for (const outOfBand of ['unhandledRejection', 'uncaughtException', 'warning']) {
  process.on(outOfBand, (thrown) => say({ outOfBand, thrown: String(thrown) }));
}

const [key = '', leaseMs] = process.argv.slice(2);
let renewedUntil = 0;
const locks = new LockClient({
  store: new DynamoDBLockStore(),
  leaseMs: Number(leaseMs),
  onEvent: (event) => {
    if (event.key === key && event.type === 'renewed') renewedUntil = event.expiresAt;
  },
});
await locks.acquire(`${key}/forgotten`);
const lease = await locks.acquire(key, { requestTimeoutMs: 200 });
// The program reads `signal` once, since `lease.signal` and `lease.isHeld()` look at the clocks.
const { signal } = lease;
signal.addEventListener('abort', () => {
  const expiresAt = Math.max(lease.acquiredAt + Number(leaseMs), renewedUntil);
  say({ abortedAt: Date.now(), expiresAt, isHeld: lease.isHeld(), reason: signal.reason.reason });
});
say({ held: true });
while (!signal.aborted) await sleep(20);
say({ released: await lease.release() });
