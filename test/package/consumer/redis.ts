// A user's program beside node-redis: locks on Redis. The environment tells the server; without a server, nothing connects.
import { strict as assert } from 'node:assert';
import { LockClient } from 'leasehold';
import { RedisLockStore } from 'leasehold/redis';
import { createClient } from 'redis';

export async function run(): Promise<void> {
  const { REDIS_URL: url } = process.env;
  const client = createClient(url === undefined ? {} : { url });
  const store = new RedisLockStore({ client, keyPrefix: `consumer-${process.pid}:` });
  if (url === undefined) return;
  await client.connect();
  const locks = new LockClient({ store });
  const lease = await locks.acquire('nightly');
  assert.equal(await locks.tryAcquire('nightly'), null);
  await lease.commit({ page: 1 });
  assert.ok(await lease.release());
  for await (const { key, committed } of locks.list())
    assert.deepEqual([key, committed?.data], ['nightly', { page: 1 }]);
  await client.close();
}
