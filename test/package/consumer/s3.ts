// A user's program beside the SDK's client for S3: locks in a bucket. The environment tells the server.
import { strict as assert } from 'node:assert';
import { LockClient } from 'leasehold';
import { S3LockStore } from 'leasehold/s3';

export async function run(): Promise<void> {
  const locks = new LockClient({ store: new S3LockStore({ bucket: 'consumer', prefix: `locks-${process.pid}/` }) });
  assert.deepEqual(await locks.check(), []);
  const lease = await locks.acquire('nightly');
  assert.equal(await locks.tryAcquire('nightly'), null);
  await lease.commit({ page: 1 });
  assert.ok(await lease.release());
  for await (const { key, committed } of locks.list())
    assert.deepEqual([key, committed?.data], ['nightly', { page: 1 }]);
}
