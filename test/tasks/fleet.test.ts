// Several workers over the same tasks, in one process under a fake time. The benchmark has the same bounds, and counts on a
// real server.
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import type { Lease } from '../../lib/index.ts';
import { runTasks, type TaskReport } from '../../lib/tasks/index.ts';
import { names, ONCE, sleep, World } from './world.ts';

// Room for a busy machine.
jest.setTimeout(60_000);

afterEach(() => {
  jest.useRealTimers();
});

const between = (least: number, most: number) => least + Math.random() * (most - least);

interface Fleet {
  workers: number;
  tasks: number;
  numbered: boolean;
  taskMs: () => number;
  concurrency?: number;
  iterable?: boolean;
}

/** Lets the workers come in the same instant, and run to their ends. */
async function runFleet({ workers, tasks, numbered, taskMs, concurrency = 1, iterable = false }: Fleet) {
  const world = new World(() => between(1, 4));
  const list = names(tasks);
  const runs: { task: string; from: number; to: number }[] = [];
  const work = async (task: string, _lease: Lease) => {
    const from = Date.now();
    await sleep(taskMs());
    runs.push({ task, from, to: Date.now() });
  };
  const started = Date.now();
  const reports = await world.until(
    Promise.all(
      Array.from({ length: workers }, (_, number) =>
        runTasks(
          iterable ? list.values() : list,
          {
            locks: world.client(),
            key: (task) => task,
            once: ONCE,
            concurrency,
            ...(numbered && { worker: { number, of: workers } }),
          },
          work,
        ),
      ),
    ),
  );
  const writes = world.store.count() - world.store.count('readMany');
  return {
    reports,
    ran: runs.map(({ task }) => task).toSorted(),
    list,
    tookMs: Date.now() - started,
    writesPerTask: writes / tasks,
    refusedPercent: (100 * world.refused) / writes,
    readUnitsPerTask: (0.5 * world.reads) / tasks,
  };
}

const sum = (reports: TaskReport<unknown>[], count: 'done' | 'alreadyDone' | 'busy' | 'notReached') =>
  reports.reduce((total, report) => total + report[count], 0);

const short = () => between(2, 12);
const long = () => between(50, 300);
const mixed = () => (Math.random() < 0.9 ? short() : between(300, 1_000));

const fleets: [string, Fleet, { writes: number; refused: number; reads: number }][] = [
  ['2 workers', { workers: 2, tasks: 500, numbered: true, taskMs: short }, { writes: 2.1, refused: 1, reads: 1.5 }],
  ['10 workers', { workers: 10, tasks: 1_000, numbered: true, taskMs: short }, { writes: 2.1, refused: 2, reads: 3 }],
  [
    '10 workers with tasks of mixed length, several at a time',
    { workers: 10, tasks: 1_000, numbered: true, taskMs: mixed, concurrency: 4 },
    { writes: 2.1, refused: 2, reads: 5 },
  ],
  [
    '10 workers without numbers',
    { workers: 10, tasks: 1_000, numbered: false, taskMs: long },
    { writes: 2.1, refused: 2, reads: 5 },
  ],
  [
    '10 workers with the tasks of an iterable',
    { workers: 10, tasks: 3_000, numbered: true, taskMs: short, iterable: true },
    { writes: 2.1, refused: 2, reads: 4 },
  ],
  [
    '50 workers',
    { workers: 50, tasks: 1_000, numbered: true, taskMs: short },
    { writes: 2.12, refused: 2.5, reads: 8 },
  ],
  [
    '50 workers with longer tasks',
    { workers: 50, tasks: 1_000, numbered: true, taskMs: long },
    { writes: 2.12, refused: 2.5, reads: 10 },
  ],
  [
    '50 workers without numbers',
    { workers: 50, tasks: 1_000, numbered: false, taskMs: long },
    { writes: 2.14, refused: 3, reads: 14 },
  ],
  [
    '50 workers without numbers and with short tasks',
    { workers: 50, tasks: 1_000, numbered: false, taskMs: short, concurrency: 2 },
    { writes: 2.15, refused: 4, reads: 12 },
  ],
];

describe('workers that come in the same instant', () => {
  test.each(fleets)(
    '%s that come in the same instant do each task once, and each worker counts it',
    async (_name, fleet, limit) => {
      const result = await runFleet(fleet);
      expect(result.ran).toEqual(result.list);
      expect(sum(result.reports, 'done')).toBe(fleet.tasks);
      expect(sum(result.reports, 'alreadyDone')).toBe((fleet.workers - 1) * fleet.tasks);
      expect(result.writesPerTask).toBeLessThanOrEqual(limit.writes);
      expect(result.refusedPercent).toBeLessThanOrEqual(limit.refused);
      expect(result.readUnitsPerTask).toBeLessThanOrEqual(limit.reads);
    },
  );

  test('ten workers need less than a fifth of the time of one worker', async () => {
    const fleet = { tasks: 500, numbered: true, taskMs: () => 100 };
    const alone = await runFleet({ ...fleet, workers: 1 });
    jest.useRealTimers();
    const together = await runFleet({ ...fleet, workers: 10 });
    expect(together.tookMs).toBeLessThan(alone.tookMs / 5);
  });

  test("the others do a slow worker's share", async () => {
    const world = new World();
    const done = { slow: 0, fast: 0 };
    const work = (who: 'slow' | 'fast', ms: number) => async () => {
      await sleep(ms);
      done[who]++;
    };
    const options = { locks: world.client(), key: (task: string) => task, once: ONCE };
    await world.until(
      Promise.all([
        runTasks(names(200), { ...options, worker: { number: 0, of: 2 } }, work('slow', 1_000)),
        runTasks(names(200), { ...options, worker: { number: 1, of: 2 } }, work('fast', 10)),
      ]),
    );
    expect(done.slow + done.fast).toBe(200);
    expect(done.slow).toBeLessThan(20);
  });
});

describe('a worker that dies in mid-task', () => {
  test.each([true, false])(
    'a dead worker delays its own task alone, by the lease at the most (worker numbers: %s)',
    async (numbered) => {
      const world = new World();
      const leaseMs = 20_000;
      const deadTasks = ['task/000010', 'task/000011', 'task/000150'];
      const endedAt = new Map<string, number>();
      const started = Date.now();
      for (const task of deadTasks) await world.holdFor(task, leaseMs);
      const work = async (task: string) => {
        await sleep(10);
        endedAt.set(task, Date.now() - started);
      };
      const reports = await world.until(
        Promise.all(
          [0, 1, 2].map((number) =>
            runTasks(
              names(200),
              {
                locks: world.client(),
                key: (task) => task,
                once: ONCE,
                ...(numbered && { worker: { number, of: 3 } }),
              },
              work,
            ),
          ),
        ),
      );
      expect(sum(reports, 'done')).toBe(200);
      const late = [...endedAt].filter(([, at]) => at > 5_000);
      expect(late.map(([task]) => task).toSorted()).toEqual(deadTasks);
      for (const [, at] of late) expect(at).toBeLessThan(leaseMs + 300);
    },
  );

  test("dead workers' tasks do not keep a worker from the task beside them", async () => {
    const world = new World();
    for (const task of names(3).slice(1)) await world.holdFor(task, 60_000);
    const started = Date.now();
    let ranAfterMs = Number.POSITIVE_INFINITY;
    const work = () => {
      ranAfterMs = Math.min(ranAfterMs, Date.now() - started);
    };
    await world.until(runTasks(names(3), { locks: world.client(), key: (task) => task, once: ONCE }, work));
    expect(ranAfterMs).toBeLessThan(1_000);
  });
});
