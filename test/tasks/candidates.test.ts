import { describe, expect, test } from '@jest/globals';
import type { LockRecord } from '../../lib/record/record.ts';
import { canonicalToken } from '../../lib/record/token.ts';
import { runTasks } from '../../lib/tasks/index.ts';
import { counts, type Options, only, options, ran, run, world, writesOf } from './one-worker.ts';
import { names, ONCE, sleep } from './world.ts';

describe('the tasks of runTasks', () => {
  test('the tasks of an array run once each, each under a lease of its own', async () => {
    const held: string[] = [];
    const report = await run(names(70), {}, (task, lease) => {
      ran.push(task);
      if (lease.isHeld()) held.push(lease.key);
    });
    expect(counts(report)).toEqual(only({ done: 70 }));
    expect(ran.toSorted()).toEqual(names(70));
    expect(held).toEqual(ran);
  });

  test('the tasks of an iterable run once each', async () => {
    expect(counts(await run(new Set(names(5))))).toEqual(only({ done: 5 }));
    expect(ran.toSorted()).toEqual(names(5));
  });

  test('the tasks of an async iterable run once each, also more tasks than are held at a time', async () => {
    async function* pages() {
      for (const name of names(2_500)) yield name;
    }
    expect(counts(await run(pages(), { concurrency: 50 }))).toEqual(only({ done: 2_500 }));
    expect(ran.toSorted()).toEqual(names(2_500));
  });

  test('a run without tasks asks the store nothing', async () => {
    expect(counts(await run([]))).toEqual(only({}));
    expect(counts(await run(new Set<string>()))).toEqual(only({}));
    expect(world.store.requests).toEqual([]);
  });

  test('tasks may be values of any type, with a key that the key function makes', async () => {
    const tenants = [{ id: 7 }, { id: 8 }];
    const seen: unknown[] = [];
    const report = await world.until(
      runTasks(
        tenants,
        {
          locks: world.client(),
          key: ({ id }) => `tenant/${id}`,
        },
        (tenant, lease) => void seen.push([tenant, lease.key]),
      ),
    );
    expect(report.done).toBe(2);
    expect(seen.toSorted()).toEqual([
      [{ id: 7 }, 'tenant/7'],
      [{ id: 8 }, 'tenant/8'],
    ]);
  });

  /** Makes a source that counts the tasks in hand: taken, and not settled. */
  function counted(count: number) {
    const inHand = { now: 0, most: 0 };
    async function* source() {
      for (let i = 0; i < count; i++) {
        inHand.most = Math.max(inHand.most, ++inHand.now);
        yield `task/${i}`;
      }
    }
    return { source, inHand, onProgress: () => void inHand.now-- };
  }

  test('of 200,000 tasks a few thousand are held at a time', async () => {
    const { source, inHand, onProgress } = counted(200_000);
    const done = (key: string): LockRecord => ({
      key,
      fencingToken: 1,
      expiresAt: 1,
      acquiredAt: 0,
      leaseMs: 1,
      doneToken: canonicalToken(ONCE),
    });
    world.store.readMany = async (keys) => ({ records: keys.map(done), unprocessed: [] });
    const report = await run(source(), { onProgress });
    expect(counts(report)).toEqual(only({ alreadyDone: 200_000 }));
    expect(inHand.most).toBeLessThanOrEqual(1_024);
  });

  test('no more than a few thousand tasks are held while others have all of them in hand', async () => {
    const { source, inHand, onProgress } = counted(6_000);
    const opensAt = Date.now() + 60_000;
    const held = (key: string): LockRecord => ({
      key,
      lockId: 'another',
      fencingToken: 1,
      expiresAt: opensAt,
      acquiredAt: 0,
      leaseMs: 1,
    });
    world.store.readMany = async (keys) => {
      if (Date.now() >= opensAt) return world.memory.readMany(keys);
      return { records: keys.filter((key) => !key.includes('#')).map(held), unprocessed: [] };
    };
    const report = await run(source(), { onProgress, concurrency: 100 });
    expect(counts(report)).toEqual(only({ done: 6_000 }));
    expect(inHand.most).toBeLessThanOrEqual(100 * 32 + 1_024);
  });
});

describe('a busy task', () => {
  test('a busy task is stepped over without a write', async () => {
    await world.holdFor('task/000001', 60_000);
    expect(counts(await run(names(3), { revisitBusy: false }))).toEqual(only({ done: 2, busy: 1 }));
    expect(writesOf('task/000001')).toBe(0);
  });

  test("a dead worker's task is taken when its lease has expired", async () => {
    await world.holdFor('task/000001', 30_000);
    const expiresAt = Date.now() + 30_000;
    let takenAt = 0;
    const report = await run(names(100), {}, (task, lease) => {
      if (task !== 'task/000001') return;
      takenAt = Date.now();
      expect(lease.takenOverFrom).toMatchObject({ owner: 'a dead worker' });
    });
    expect(counts(report)).toEqual(only({ done: 100 }));
    expect(takenAt).toBeGreaterThanOrEqual(expiresAt);
    expect(takenAt).toBeLessThan(expiresAt + 200);
  });

  test("a dead worker's task is taken also while others hold the tasks beside it", async () => {
    await world.holdFor('task/000001', 5_000);
    await world.holdFor('task/000002', 60_000);
    const end = Date.now() + 20_000;
    let takenAt = 0;
    const work = (task: string) => {
      if (task === 'task/000001') takenAt = Date.now() - end + 20_000;
    };
    await run(names(3), { remainingMs: () => end - Date.now() }, work);
    expect(takenAt).toBeGreaterThanOrEqual(5_000);
    expect(takenAt).toBeLessThan(5_150);
  });

  test('the run waits for a busy task until its holder has done it', async () => {
    const holder = await world.until(world.client().acquire('task/000001', { once: ONCE }));
    setTimeout(() => void holder.release({ done: true }), 65_000);
    const started = Date.now();
    expect(counts(await run(names(3)))).toEqual(only({ done: 2, alreadyDone: 1 }));
    expect(Date.now() - started).toBeGreaterThanOrEqual(65_000);
    expect(Date.now() - started).toBeLessThan(68_000);
  });

  test('a busy task is read ever more seldom', async () => {
    const holder = await world.until(world.client().acquire('task/000001', { once: ONCE }));
    setTimeout(() => void holder.release({ done: true }), 60_000);
    await run(names(3));
    expect(world.store.count('readMany')).toBeLessThan(50);
  });
});

describe('beside workers that hold much', () => {
  /** Holds every task of nine of ten blocks for an hour: all but the last block. */
  const tasks = names(320);
  const free = tasks.slice(288);
  const noMarks = (task: string) => task.padEnd(1_000, '.');

  test.each([
    ['without once', { withoutOnce: true }],
    ['without marks', { key: noMarks }],
  ])('%s one pass finds every free task among many busy ones', async (_how, more: Options) => {
    for (const task of tasks.slice(0, 288)) await world.holdFor(more.key?.(task) ?? task, 3_600_000);
    const started = Date.now();
    const end = started + 10_000;
    let lastAt = 0;
    const work = () => {
      lastAt = Date.now() - started;
    };
    const report = await run(tasks, { ...more, remainingMs: () => end - Date.now() }, work);
    expect(counts(report)).toEqual(only({ done: 32, busy: 288 }));
    expect(lastAt).toBeLessThan(1_000);
  });

  test('with marks, a free task among many busy ones is found soon', async () => {
    for (const task of tasks.slice(0, 288)) await world.holdFor(task, 3_600_000);
    const end = Date.now() + 60_000;
    const report = await run(tasks, { remainingMs: () => end - Date.now() });
    expect(counts(report)).toEqual(only({ done: 32, busy: 288 }));
    expect(ran.toSorted()).toEqual(free);
  });

  test('a worker without revisitBusy leaves no free task out', async () => {
    const locks = world.client();
    const work = () => sleep(10);
    const reports = await world.until(
      Promise.all([1, 2, 3].map(() => runTasks(tasks, options({ locks, revisitBusy: false }), work))),
    );
    expect(reports.map(({ notReached }) => notReached)).toEqual([0, 0, 0]);
    expect(reports.reduce((sum, { done }) => sum + done, 0)).toBe(320);
  });

  test('one pass finds a few free tasks that are left over in many blocks', async () => {
    await run(tasks, {}, (task) => {
      if (task.endsWith('7')) throw new Error('broken');
    });
    await world.pass(5_000);
    const started = Date.now();
    expect(counts(await run(tasks))).toEqual(only({ done: 32, alreadyDone: 288 }));
    expect(Date.now() - started).toBeLessThan(1_000);
  });
});

describe('beside other workers', () => {
  /** Gives the milliseconds until the first task begins, and until the last one does. */
  async function begun(tasks: readonly string[]) {
    const started = Date.now();
    const at: number[] = [];
    await run(tasks, { revisitBusy: true, remainingMs: () => started + 3_000 - Date.now() }, () => {
      at.push(Date.now() - started);
    });
    return { first: Math.min(...at), last: Math.max(...at) };
  }

  test('a worker helps at once where many tasks are free', async () => {
    await world.holdFor('task/000020', 60_000);
    expect((await begun(names(32))).first).toBeLessThan(20);
  });

  test('a worker leaves a free task to the others that work beside it, and takes the task when nobody else does', async () => {
    // Others have just done all but three tasks of a block.
    await run(names(32), {}, (task) => {
      if (Number(task.slice(-2)) < 3) throw new Error('broken');
    });
    const { first, last } = await begun(names(32));
    expect(first).toBeGreaterThanOrEqual(50);
    expect(last).toBeLessThan(300);
  });
});
