import { beforeEach, describe, expect, jest, test } from '@jest/globals';
import { type Lease, LockClosedError, LockLostError, LockStoreError } from '../../lib/index.ts';
import { canonicalToken } from '../../lib/record/token.ts';
import type { TaskProgress } from '../../lib/tasks/index.ts';
import { counts, errorOf, marks, only, ran, run, type Work, world } from './one-worker.ts';
import { names, ONCE, sleep } from './world.ts';

describe('a task that fails', () => {
  const failing: Work = (task) => {
    ran.push(task);
    if (task === 'task/000003') throw new Error('broken');
  };

  test('a task that fails is reported with its error and tried once, and the other tasks run', async () => {
    const report = await run(names(40), {}, failing);
    expect(counts(report)).toEqual(only({ done: 39, failed: 1 }));
    expect(report.failed).toEqual([{ task: 'task/000003', key: 'task/000003', error: new Error('broken') }]);
    expect(ran.filter((task) => task === 'task/000003')).toHaveLength(1);
  });

  test('a task that failed is run by the next worker, and the other tasks are done', async () => {
    await run(names(40), {}, failing);
    ran.length = 0;
    const report = await run(names(40));
    expect(counts(report)).toEqual(only({ done: 1, alreadyDone: 39 }));
    expect(ran).toEqual(['task/000003']);
  });
});

test('a task fails alone if an item that leasehold did not write stands under its key', async () => {
  const error = new LockStoreError("the item 'task/000003' was not written by leasehold", { foreign: true });
  world.store.script = (operation, { key }) =>
    operation === 'acquire' && key === 'task/000003' ? { do: 'fail', error } : undefined;
  const report = await run(names(40));
  expect(counts(report)).toEqual(only({ done: 39, failed: 1 }));
  const message = "Acquiring 'task/000003': the item 'task/000003' was not written by leasehold";
  expect(report.failed).toMatchObject([{ task: 'task/000003', key: 'task/000003', error: { message, foreign: true } }]);
});

describe('a task that is done for a token of another form', () => {
  test('fails alone, with an error that shows both tokens, and no task is skipped', async () => {
    await world.until(world.client().using('task/000003', { once: 'week-99' }, () => {}));
    const report = await run(names(40), { once: 'week-100' });
    expect(counts(report)).toEqual(only({ done: 39, failed: 1 }));
    expect(report.failed).toMatchObject([
      { key: 'task/000003', error: { code: 'ERR_LOCK_TOKEN', once: 'week-100', doneToken: 'week-99' } },
    ]);
  });

  test('every task fails if every task was done for a token of another form, though marks say that all is done', async () => {
    await run(names(40), { once: 'week-99' });
    const report = await run(names(40), { once: 'week-100' });
    expect(counts(report)).toEqual(only({ failed: 40 }));
  });

  test('no task fails after a run by hand with a test token', async () => {
    await run(names(40), { once: 'test' });
    expect(counts(await run(names(40)))).toEqual(only({ done: 40 }));
    expect(counts(await run(names(40)))).toEqual(only({ alreadyDone: 40 }));
  });

  test('the tokens of two runs are compared as the instants that they are', async () => {
    await run(names(40), { once: '2026-01-01T03:00:00.000+01:00' });
    expect(counts(await run(names(40), { once: new Date('2026-01-01T02:00:00Z') }))).toEqual(only({ alreadyDone: 40 }));
  });
});

describe('a lost lease', () => {
  test('a lost lease aborts the work of its own task and no other work', async () => {
    const aborted: string[] = [];
    const work: Work = async (task, lease) => {
      lease.signal.addEventListener('abort', () => aborted.push(task));
      if (task === 'task/000001') {
        const { lockId } = (await world.memory.read(task)).record as { lockId: string };
        await world.memory.forceRelease({ key: task, lockId, immediately: true });
      }
      await sleep(20_000);
    };
    const report = await run(names(3), { concurrency: 3 }, work);
    expect(aborted).toEqual(['task/000001']);
    expect(counts(report)).toEqual(only({ done: 2, failed: 1 }));
    expect(report.failed[0]).toMatchObject({ task: 'task/000001', error: { reason: 'revoked' } });
    expect(report.failed[0]?.error).toBeInstanceOf(LockLostError);
  });
});

describe('a task whose work ends its lease itself', () => {
  const ending =
    (end: (lease: Lease) => unknown): Work =>
    (task, lease) =>
      task === 'task/000003' ? end(lease) : undefined;

  test('with once, a task whose work releases its lease without done has failed, and another run takes the task', async () => {
    const report = await run(
      names(40),
      {},
      ending((lease) => lease.release()),
    );
    expect(counts(report)).toEqual(only({ done: 39, failed: 1 }));
    expect(errorOf(report)).toMatch("Releasing 'task/000003': the work released its lease itself, so the once token");
    expect(counts(await run(names(40)))).toEqual(only({ done: 1, alreadyDone: 39 }));
  });

  test('without once, a task whose work releases its lease is done', async () => {
    const work = ending((lease) => lease.release());
    expect(counts(await run(names(4), { withoutOnce: true }, work))).toEqual(only({ done: 4 }));
  });

  test('a task whose work releases its lease as done is done', async () => {
    const work = ending((lease) => lease.release({ done: true }));
    expect(counts(await run(names(40), {}, work))).toEqual(only({ done: 40 }));
    expect(counts(await run(names(40)))).toEqual(only({ alreadyDone: 40 }));
  });

  test.each([{ once: ONCE }, { withoutOnce: true }])(
    'a task whose work hands its lease off is busy, and the run does not wait for it, with %j',
    async (options) => {
      const started = Date.now();
      const work = ending((lease) => lease.handOff({ leaseMs: 60_000 }));
      expect(counts(await run(names(32), options, work))).toEqual(only({ done: 31, busy: 1 }));
      expect(Date.now() - started).toBeLessThan(1_000);
      expect(await marks()).toEqual([]);
    },
  );
});

describe('a task whose release fails', () => {
  beforeEach(() => {
    world.store.script = (operation, { key }) =>
      operation === 'release' && key === 'task/000003' ? { do: 'hangAnswer' } : undefined;
  });

  test('with once, a task whose release fails has failed, since nobody knows whether the task is done', async () => {
    const report = await run(names(32));
    expect(counts(report)).toEqual(only({ done: 31, failed: 1 }));
    expect(report.failed[0]?.error).toBeInstanceOf(LockStoreError);
    expect(errorOf(report)).toMatch("Releasing 'task/000003': the task was run, but the release failed");
    expect(await marks()).toEqual([]);
  });

  test('without once, a task whose release fails is done', async () => {
    expect(counts(await run(names(4), { withoutOnce: true }))).toEqual(only({ done: 4 }));
  });
});

describe('once', () => {
  test('a task that is done for the once token, or for a later token, is stepped over', async () => {
    await run(names(20), { once: '2026-01-02' });
    world.store.requests = [];
    for (const once of ['2026-01-02', '2026-01-01']) {
      expect(counts(await run(names(20), { once }))).toEqual(only({ alreadyDone: 20 }));
    }
    expect(world.store.count()).toBe(world.store.count('readMany'));
    expect(ran).toHaveLength(20);
    expect(counts(await run(names(20), { once: '2026-01-03' }))).toEqual(only({ done: 20 }));
  });

  test('a task that another worker finishes while this worker tries it is stepped over', async () => {
    const client = world.client();
    world.store.plan({
      do: 'first',
      operation: 'acquire',
      act: () => world.holdFor('task/000000', 5).then(() => releaseAsDone('task/000000')),
    });
    const report = await run(['task/000000'], { locks: client });
    expect(counts(report)).toEqual(only({ alreadyDone: 1 }));
  });

  const releaseAsDone = (key: string) =>
    world.memory.release({
      key,
      lockId: `dead ${key}`,
      now: Date.now(),
      holdAtLeastMs: 0,
      doneToken: canonicalToken(ONCE),
    });

  test('without once, a worker that comes later runs a task again', async () => {
    await run(names(40), { withoutOnce: true });
    expect(counts(await run(names(40), { withoutOnce: true }))).toEqual(only({ done: 40 }));
    expect(ran).toHaveLength(80);
    expect(await marks()).toEqual([]);
  });

  test('without once, a busy task that its holder released is not run again', async () => {
    const holder = await world.until(world.client().acquire('task/000001'));
    setTimeout(() => void holder.release(), 300);
    expect(counts(await run(names(3), { withoutOnce: true }))).toEqual(only({ done: 2, busy: 1 }));
    expect(ran.toSorted()).toEqual(['task/000000', 'task/000002']);
  });

  test('without once, a busy task whose holder let its lease expire is taken', async () => {
    await world.holdFor('task/000001', 3_000);
    expect(counts(await run(names(3), { withoutOnce: true }))).toEqual(only({ done: 3 }));
  });

  test('holdAtLeastMs keeps a short task closed to the other workers', async () => {
    const blink = { withoutOnce: true, holdAtLeastMs: 60_000 };
    await run(names(3), blink);
    expect(counts(await run(names(3), { ...blink, revisitBusy: false }))).toEqual(only({ busy: 3 }));
  });
});

describe('the close of the client', () => {
  test('a client that is closed ends the run: running tasks end in order, and no other task begins', async () => {
    const locks = world.client();
    let closed: Promise<void> | undefined;
    const work = async (task: string, lease: Lease) => {
      ran.push(task);
      if (ran.length < 3) return;
      closed = locks.close();
      expect(lease.signal.aborted).toBe(true);
      await sleep(5_000);
      lease.assertHeld();
    };
    const report = await run(names(10), { locks }, work);
    expect(counts(report)).toEqual(only({ done: 3, notReached: 7 }));
    expect(ran).toHaveLength(3);
    await closed;
    for (const task of ran)
      expect((await world.memory.read(task)).record).toMatchObject({ doneToken: canonicalToken(ONCE) });
  });

  test('a client that is closed ends the wait for busy tasks', async () => {
    await world.holdFor('task/000001', 3_600_000);
    const locks = world.client();
    setTimeout(() => void locks.close(), 5_000);
    expect(counts(await run(names(3), { locks }))).toEqual(only({ done: 2, busy: 1 }));
  });

  test('a client that is closed while the store does not answer ends the run with a report', async () => {
    world.store.script = () => ({ do: 'hang' });
    const locks = world.client();
    setTimeout(() => void locks.close(), 100);
    expect(counts(await run(names(3), { locks }))).toEqual(only({ notReached: 3 }));
  });

  test('a client that was closed before takes no run', async () => {
    const locks = world.client();
    await locks.close();
    await expect(run(names(3), { locks })).rejects.toThrow(LockClosedError);
    expect(ran).toEqual([]);
  });

  test('a client keeps no listener of a run that has ended', async () => {
    const locks = world.client();
    const added = jest.spyOn(locks.closing, 'addEventListener');
    const removed = jest.spyOn(locks.closing, 'removeEventListener');
    await run(names(3), { locks });
    expect(added.mock.calls.length).toBeGreaterThan(0);
    expect(removed.mock.calls.length).toBeGreaterThanOrEqual(added.mock.calls.length);
  });
});

describe('the report', () => {
  test('the report counts each task once, as onProgress does', async () => {
    await run(names(300).slice(0, 40));
    await world.holdFor('task/000100', 3_600_000);
    await world.holdFor('task/000101', 5_000);
    const progress: TaskProgress<string>[] = [];
    const seen: number[] = [];
    const onProgress = (step: TaskProgress<string>) => {
      progress.push(step);
      const { done, alreadyDone, busy, failed } = step.report;
      seen.push(done + alreadyDone + busy + failed.length);
    };
    const end = Date.now() + 20_000;
    const report = await run(
      names(300),
      { onProgress, concurrency: 3, remainingMs: () => end - Date.now() },
      (task) => {
        if (task === 'task/000200') throw new Error('broken');
      },
    );
    expect(counts(report)).toEqual(only({ done: 258, alreadyDone: 40, busy: 1, failed: 1 }));
    expect(progress.map(({ task }) => task).toSorted()).toEqual(names(300));
    expect(seen).toEqual(Array.from({ length: 300 }, (_, i) => i + 1));
    const outcomes = Map.groupBy(progress, ({ outcome }) => outcome);
    expect(outcomes.get('done')).toHaveLength(258);
    expect(outcomes.get('alreadyDone')).toHaveLength(40);
    expect(outcomes.get('busy')?.map(({ key }) => key)).toEqual(['task/000100']);
    expect(outcomes.get('failed')).toMatchObject([{ key: 'task/000200', error: new Error('broken') }]);
  });

  test('an onProgress that throws ends the run, which rejects', async () => {
    const onProgress = () => {
      throw new LockLostError({ key: 'x', reason: 'gone', detail: 'thrown on by the callback' });
    };
    await expect(run(names(10), { onProgress })).rejects.toThrow('thrown on by the callback');
    expect(ran).toHaveLength(1);
  });

  test('an onProgress that rejects ends the run, which rejects after the running tasks', async () => {
    const ended: string[] = [];
    const onProgress = () => sleep(150).then(() => Promise.reject(new Error('not written')));
    const work: Work = async (task) => {
      ran.push(task);
      await sleep(100);
      ended.push(task);
    };
    await expect(run(names(10), { onProgress }, work)).rejects.toThrow('not written');
    expect(ran).toHaveLength(3);
    expect(ended).toEqual(ran);
  });

  test('an onProgress that rejects after the run changes nothing', async () => {
    const onProgress = () => sleep(1_000).then(() => Promise.reject(new Error('not written')));
    expect(counts(await run(names(3), { onProgress }))).toEqual(only({ done: 3 }));
    await world.pass(2_000);
  });
});

describe('concurrency', () => {
  test('a concurrency of a million runs all tasks at a time', async () => {
    const concurrency = 1_000_000;
    expect(counts(await run(names(40), { concurrency }))).toEqual(only({ done: 40 }));
    expect(counts(await run(new Set(names(40)), { concurrency }))).toEqual(only({ alreadyDone: 40 }));
    expect(counts(await run([], { concurrency }))).toEqual(only({}));
  });

  test.each([1, 7])(
    'a concurrency of %i is reached and not passed, also when one task takes long',
    async (concurrency) => {
      let running = 0;
      let most = 0;
      const endedAt = new Map<string, number>();
      const started = Date.now();
      const work: Work = async (task) => {
        most = Math.max(most, ++running);
        await sleep(task === 'task/000000' ? 60_000 : 10);
        running--;
        endedAt.set(task, Date.now() - started);
      };
      expect(counts(await run(names(100), { concurrency }, work))).toEqual(only({ done: 100 }));
      expect(most).toBe(concurrency);
      if (concurrency === 1) return;
      // The other tasks do not wait for the long task, not even at the ends of blocks. After the long task the run ends at once.
      expect(Date.now() - started).toBeLessThan((endedAt.get('task/000000') ?? 0) + 20);
      endedAt.delete('task/000000');
      expect(Math.max(...endedAt.values())).toBeLessThan(5_000);
    },
  );

  test('a worker finds a free task while another of its tasks runs', async () => {
    await world.holdFor('task/000001', 5_000);
    const startedAt = new Map<string, number>();
    const started = Date.now();
    const work: Work = async (task) => {
      startedAt.set(task, Date.now() - started);
      if (task === 'task/000000') await sleep(60_000);
    };
    await run(names(2), { concurrency: 2 }, work);
    expect(startedAt.get('task/000001')).toBeLessThan(5_200);
  });
});
