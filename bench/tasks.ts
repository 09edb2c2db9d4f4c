// The cost of a task of `runTasks`, as tasks and workers grow: no faster than they do.
import { LockClient } from '../lib/index.ts';
import { runTasks } from '../lib/tasks/index.ts';
import { MemoryLockStore } from '../lib/testing.ts';
import type { Measure } from './lib/measure.ts';

async function run(count: number, workers: number) {
  const memory = new MemoryLockStore();
  let writes = 0;
  let keysRead = 0;
  const store = new Proxy(memory, {
    get(target, name) {
      const member = target[name as keyof MemoryLockStore] as unknown;
      if (typeof member !== 'function') return member;
      return (...args: [unknown]) => {
        if (name === 'readMany') keysRead += (args[0] as unknown[]).length;
        else if (name === 'acquire' || name === 'release') writes++;
        return member.apply(target, args);
      };
    },
  });
  const names = Array.from({ length: count }, (_, i) => `task/${i}`);
  const before = process.cpuUsage();
  await Promise.all(
    Array.from({ length: workers }, (_, number) =>
      runTasks(
        names,
        { locks: new LockClient({ store }), key: (name) => name, once: 1, worker: { number, of: workers } },
        () => {},
      ),
    ),
  );
  const { user, system } = process.cpuUsage(before);
  return { cpuUs: (user + system) / count, writes: writes / count, keysRead: keysRead / count };
}

export default {
  about:
    '`runTasks` on a `MemoryLockStore`: the cost of a task, which grows neither with the tasks nor with the workers.',
  servers: ['none'],
  async run() {
    await run(1_000, 2);
    const rows = [];
    let first = 0;
    for (const count of [1_000, 10_000]) {
      for (const workers of [1, 10]) {
        const { cpuUs, writes, keysRead } = await run(count, workers);
        first ||= cpuUs;
        rows.push({
          name: `${count.toLocaleString('en-US')} tasks, ${workers} ${workers === 1 ? 'worker' : 'workers'}`,
          figures: {
            'CPU of a task, µs': cpuUs,
            'CPU of a task, to the first': cpuUs / first,
            'writes of a task': writes,
            'keys read for a task': keysRead,
          },
        });
      }
    }
    return rows;
  },
} satisfies Measure;
