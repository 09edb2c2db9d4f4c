import { expect, test } from '@jest/globals';
import { LockClient } from '../../lib/index.ts';
import { runTasks } from '../../lib/tasks/index.ts';
import { MemoryLockStore } from '../../lib/testing.ts';
import { names } from './world.ts';

test('a concurrency as large as 20,000 tasks costs CPU in proportion to the tasks', async () => {
  const locks = new LockClient({ store: new MemoryLockStore() });
  const before = process.cpuUsage();
  const report = await runTasks(names(20_000), { locks, key: (task) => task, concurrency: 20_000 }, () => {});
  const { user, system } = process.cpuUsage(before);
  expect(report.done).toBe(20_000);
  // If each runner that comes went through all the runners that wait: 16 s.
  expect((user + system) / 1e6).toBeLessThan(8);
}, 120_000);
