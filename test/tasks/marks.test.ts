import { describe, expect, test } from '@jest/globals';
import { LockStoreError } from '../../lib/index.ts';
import { counts, marks, only, ran, run, type Work, world } from './one-worker.ts';
import { names, sleep } from './world.ts';

describe('the marks of blocks', () => {
  test('marks spare the next worker the records of their tasks', async () => {
    await run(names(1_000));
    expect((await marks()).length).toBe(32);
    world.store.requests = [];
    expect(counts(await run(names(1_000)))).toEqual(only({ alreadyDone: 1_000 }));
    expect(world.reads).toBe(32);
    // The marks are read in batches: four, eight, sixteen, and the rest.
    expect(world.store.operations).toEqual(Array(4).fill('readMany'));
  });

  test.each([1, 32])('marks cost two writes for each 32 tasks, with %i tasks at a time', async (concurrency) => {
    await run(names(320), { concurrency }, () => sleep(10));
    expect(world.store.count('acquire', 'release')).toBe(2 * 320 + 2 * 10);
  });

  test('the key of a mark is valid, and starts with the key of a task', async () => {
    await run(names(64));
    expect((await marks()).toSorted()).toEqual([
      expect.stringMatching(/^task\/000000#[\w-]{43}$/),
      expect.stringMatching(/^task\/000032#[\w-]{43}$/),
    ]);
  });

  test('a worker whose list differs does not believe the mark', async () => {
    await run(names(32));
    const changed = [...names(31), 'task/new'];
    expect(counts(await run(changed))).toEqual(only({ done: 1, alreadyDone: 31 }));
    expect(ran.at(-1)).toBe('task/new');
  });

  test('a worker leaves no mark for a block with a failed task', async () => {
    await run(names(32), {}, (task) => {
      if (task === 'task/000009') throw new Error('broken');
    });
    expect(await marks()).toEqual([]);
    expect(counts(await run(names(32)))).toEqual(only({ done: 1, alreadyDone: 31 }));
    expect(await marks()).toHaveLength(1);
  });

  test('a worker leaves no mark for a block with a lost lease', async () => {
    const work: Work = (task, lease) => {
      if (task === 'task/000009') lease.abandon('timedOut');
    };
    expect(counts(await run(names(32), {}, work))).toEqual(only({ done: 31, failed: 1 }));
    expect(await marks()).toEqual([]);
  });

  test('a worker leaves no mark for a block with a busy task that it does not come back to', async () => {
    await world.holdFor('task/000007', 2_000);
    expect(counts(await run(names(32), { revisitBusy: false }))).toEqual(only({ done: 31, busy: 1 }));
    expect(await marks()).toEqual([]);
    await world.pass(2_000);
    expect(counts(await run(names(32)))).toEqual(only({ done: 1, alreadyDone: 31 }));
  });

  test('a mark that is read while a task of its block runs here does not settle the running task', async () => {
    await run(names(32), { once: '2026-01-01' });
    const [mark = ''] = await marks();
    const markAsDone = async () => {
      await world.holdFor(mark, 1);
      await world.memory.release({
        key: mark,
        lockId: `dead ${mark}`,
        now: 0,
        holdAtLeastMs: 0,
        doneToken: '2026-01-02',
      });
    };
    const report = await run(names(32), { once: '2026-01-02', concurrency: 2 }, async (task) => {
      const isFirst = ran.push(task) === 33;
      if (isFirst) await markAsDone();
      await sleep(isFirst ? 5_000 : 100);
    });
    expect(report.done).toBe(2);
    expect(counts(report)).toEqual(only({ done: report.done, alreadyDone: 32 - report.done }));
  });

  test('a mark of a later token settles no task: the tasks were reset after a test event in the future', async () => {
    await run(names(40), { once: '2030-01-01T00:00:00Z' });
    for (const task of names(40)) await world.until(world.client().resetOnce(task));
    expect(counts(await run(names(40)))).toEqual(only({ done: 40 }));
    expect(counts(await run(names(40)))).toEqual(only({ alreadyDone: 40 }));
  });

  test('a mark of the same token settles a task that was reset, unless the list is another', async () => {
    await run(names(32));
    await world.until(world.client().resetOnce('task/000003'));
    expect(counts(await run(names(32)))).toEqual(only({ alreadyDone: 32 }));
    expect(counts(await run(['task/000003']))).toEqual(only({ done: 1 }));
  });

  test('a few tasks have no mark, since looking at them costs less', async () => {
    await run(names(7));
    expect(await marks()).toEqual([]);
  });

  test('a block has no mark if the key of the mark would be too long', async () => {
    const longKey = (task: string) => task.padEnd(1_000, '.');
    expect(counts(await run(names(100), { key: longKey }))).toEqual(only({ done: 100 }));
    expect(counts(await run(names(100), { key: longKey }))).toEqual(only({ alreadyDone: 100 }));
    expect(await marks()).toEqual([]);
  });

  const forbidden = new LockStoreError('dynamodb:UpdateItem on the table is not allowed', { transient: false });

  test.each(['readMany', 'acquire'] as const)(
    'a worker that may use %s for the tasks alone does without marks',
    async (name) => {
      const isMark = ({ key = '', keys = [key] }: { key?: string; keys?: string[] }) =>
        keys.some((one) => one.includes('#'));
      world.store.script = (operation, request) =>
        operation === name && isMark(request) ? { do: 'fail', error: forbidden } : undefined;
      expect(counts(await run(names(100)))).toEqual(only({ done: 100 }));
      expect(await marks()).toEqual([]);
      const failures = world.store.requests.filter(({ operation, request }) => operation === name && isMark(request));
      expect(failures).toHaveLength(1);
      expect(counts(await run(names(100)))).toEqual(only({ alreadyDone: 100 }));
    },
  );
});
