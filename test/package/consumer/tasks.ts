// A user's program without any peer: tasks, over the memory store.
import { strict as assert } from 'node:assert';
import { LockClient } from 'leasehold';
import { runTasks } from 'leasehold/tasks';
import { MemoryLockStore } from 'leasehold/testing';

export async function run(): Promise<void> {
  const locks = new LockClient({ store: new MemoryLockStore() });
  const done: string[] = [];
  await runTasks(['a', 'b'], { locks, key: (task) => task }, async (task) => void done.push(task));
  assert.deepEqual(done.sort(), ['a', 'b']);
  await locks.close();
}
