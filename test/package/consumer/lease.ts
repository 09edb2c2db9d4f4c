// A user's program without any peer: the lock itself, over the memory store.
import { strict as assert } from 'node:assert';
import { type Lease, LockBusyError, LockClient, LockError } from 'leasehold';
import { FakeClock, MemoryLockStore } from 'leasehold/testing';

export async function run(): Promise<void> {
  const clock = new FakeClock();
  const locks = new LockClient({ store: new MemoryLockStore({ clock }), clock });

  const lease: Lease | null = await locks.tryAcquire('nightly');
  assert.ok(lease);
  assert.ok(lease.isHeld());
  const token: number = lease.fencingToken;
  assert.equal(await locks.tryAcquire('nightly'), null);
  await assert.rejects(
    locks.acquire('nightly'),
    (error) => error instanceof LockBusyError && error instanceof LockError,
  );
  await lease.release();

  const next: number = await locks.using('nightly', async ({ fencingToken }) => fencingToken);
  assert.ok(next > token);
  await locks.close();
}
