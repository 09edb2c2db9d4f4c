import { describe, expect, test } from '@jest/globals';
import { counts, errorOf, only, ran, run } from './one-worker.ts';
import { names } from './world.ts';

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

  test('of two tasks with one key the first runs, and the second fails', async () => {
    const tasks = ['a', 'b', 'a again'];
    const report = await run(tasks, { key: (task) => task.slice(0, 1) });
    expect(counts(report)).toEqual(only({ done: 2, failed: 1 }));
    expect(report.failed[0]).toMatchObject({ task: 'a again', key: 'a' });
    expect(errorOf(report)).toBe("Two tasks have the key 'a': give each task a key of its own.");
    expect(ran.toSorted()).toEqual(['a', 'b']);
  });
});
