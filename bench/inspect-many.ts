// The cost of a key of `inspectMany`, as keys grow: no faster than they do.
import { LockClient } from '../lib/index.ts';
import { MemoryLockStore } from '../lib/testing.ts';
import type { Measure } from './lib/measure.ts';

export default {
  about: '`inspectMany` on a `MemoryLockStore`: the CPU of a key, which may not grow with the number of keys.',
  servers: ['none'],
  async run() {
    const locks = new LockClient({ store: new MemoryLockStore() });
    const inspect = async (count: number) => {
      const keys = Array.from({ length: count }, (_, i) => `key/${i}`);
      const before = process.cpuUsage();
      await locks.inspectMany(keys);
      const { user, system } = process.cpuUsage(before);
      return (user + system) / count;
    };
    await inspect(10_000);
    const rows = [];
    let first = 0;
    for (const count of [10_000, 100_000]) {
      const cpuUs = await inspect(count);
      first ||= cpuUs;
      const figures = { 'CPU of a key, µs': cpuUs, 'CPU of a key, to the first': cpuUs / first };
      rows.push({ name: `${count.toLocaleString('en-US')} keys`, figures });
    }
    return rows;
  },
} satisfies Measure;
