import { describe, expect, test } from '@jest/globals';
import type { LockClient, LockState } from '../../lib/index.ts';
import { counts, errorOf, only, ran, run, tick, world } from './one-worker.ts';
import { names, ONCE, sleep } from './world.ts';

describe('the key function', () => {
  test('a key function that throws fails its task, and the other tasks run', async () => {
    const key = (task: string) => {
      if (task === 'task/000002') throw new Error('no key for this one');
      return task;
    };
    const report = await run(names(5), { key });
    expect(counts(report)).toEqual(only({ done: 4, failed: 1 }));
    expect(report.failed).toEqual([{ task: 'task/000002', key: undefined, error: new Error('no key for this one') }]);
  });

  test.each([
    ['empty', '', /must not be empty, but it is ''/],
    ['no string', 42 as unknown as string, /must be a string, but it is number 42/],
    ['too long', 'k'.repeat(1_025), /at most 1024 bytes/],
  ])('a key that is %s fails its task, and the other tasks run', async (_what, bad, message) => {
    const report = await run(names(3), { key: (task) => (task === 'task/000001' ? bad : task) });
    expect(counts(report)).toEqual(only({ done: 2, failed: 1 }));
    expect(report.failed[0]?.error).toBeInstanceOf(TypeError);
    expect(errorOf(report)).toMatch(message);
  });

  test('a hole of an array is a task that is undefined, and counts', async () => {
    const tasks = names(4);
    delete tasks[2];
    const report = await run(tasks, { key: (task) => task.toString() });
    expect(counts(report)).toEqual(only({ done: 3, failed: 1 }));
    expect(report.failed[0]).toMatchObject({ task: undefined, key: undefined });
  });

  test('of two tasks with one key the first runs, and the second fails', async () => {
    const tasks = ['a', 'b', 'a again'];
    const report = await run(tasks, { key: (task) => task.slice(0, 1) });
    expect(counts(report)).toEqual(only({ done: 2, failed: 1 }));
    expect(report.failed[0]).toMatchObject({ task: 'a again', key: 'a' });
    expect(errorOf(report)).toBe("Two tasks have the key 'a': give each task a key of its own.");
    expect(ran.toSorted()).toEqual(['a', 'b']);
  });

  test.each([
    ['with once', {}],
    ['without once', { withoutOnce: true }],
  ])('%s, of two tasks of an iterable with one key the second fails, also if the first is done', async (_how, more) => {
    async function* source() {
      yield 'a';
      await sleep(1_000);
      yield* ['b', 'a again'];
    }
    const stopTicks = tick();
    const report = await run(source(), { ...more, key: (task) => task.slice(0, 1) });
    stopTicks();
    expect(counts(report)).toEqual(only({ done: 2, failed: 1 }));
    expect(errorOf(report)).toBe("Two tasks have the key 'a': give each task a key of its own.");
    expect(ran).toEqual(['a', 'b']);
  });

  test('of an iterable the keys of the last 100,000 tasks are compared', async () => {
    const all: LockClient['inspectMany'] = async (keys) =>
      new Map(keys.map((key) => [key, { key, held: false, opensInMs: 0, doneToken: ONCE } as LockState]));
    const locks = world.client();
    locks.inspectMany = all;
    function* source() {
      yield* names(300_000);
      yield* names(300_000).slice(200_000);
      yield* names(10);
    }
    const report = await run(source(), { locks });
    expect(counts(report)).toEqual(only({ alreadyDone: 300_010, failed: 100_000 }));
  });
});
