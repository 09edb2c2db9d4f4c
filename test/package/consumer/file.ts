// A user's program without any peer: locks in files.
import { strict as assert } from 'node:assert';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LockClient } from 'leasehold';
import { FileLockStore } from 'leasehold/file';

export async function run(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'leasehold-'));
  const locks = new LockClient({ store: new FileLockStore({ directory }) });
  const lease = await locks.acquire('nightly');
  assert.equal(await locks.tryAcquire('nightly'), null);
  await lease.commit({ page: 1 });
  assert.ok(await lease.release());
  for await (const { key, committed } of locks.list())
    assert.deepEqual([key, committed?.data], ['nightly', { page: 1 }]);
  rmSync(directory, { recursive: true });
}
