import { describe, expect, test } from '@jest/globals';
import { type Options, ran, run } from './one-worker.ts';
import { names, ONCE } from './world.ts';

describe('an option that is not what it should be is refused, with the value', () => {
  const bad: [string, Record<string, unknown>, string][] = [
    ['locks', { locks: undefined }, 'locks must be a LockClient, but it is undefined.'],
    ['locks', { locks: 'locks' }, "locks must be a LockClient, but it is 'locks'."],
    ['a misspelled option', { onlyOnce: ONCE }, "runTasks has no option 'onlyOnce'; did you mean 'once'?"],
    [
      'a misspelled option of the lease',
      { leaseMS: 9_000 },
      "runTasks has no option 'leaseMS'; did you mean 'leaseMs'?",
    ],
    ['key', { key: 'id' }, "key must be a function, but it is 'id'."],
    ['once', { once: undefined }, 'once is given, but it is undefined: the value is missing'],
    ['once', { once: '2026-01-01T02:00' }, 'once must have its time in ISO 8601 with an offset'],
    ['once', { once: null }, 'once must be a Date, a number or a string, but it is null.'],
    ['once', { once: '' }, "once must not be empty, but it is ''."],
    ['concurrency', { concurrency: 0 }, 'concurrency must be a whole number from 1 to 1000000, but it is 0.'],
    ['concurrency', { concurrency: 1.5 }, 'concurrency must be a whole number from 1 to 1000000, but it is 1.5.'],
    [
      'concurrency',
      { concurrency: Number.NaN },
      'concurrency must be a whole number from 1 to 1000000, but it is NaN.',
    ],
    ['concurrency', { concurrency: 2 ** 32 }, 'from 1 to 1000000, but it is 4294967296.'],
    ['concurrency', { concurrency: Infinity }, 'from 1 to 1000000, but it is Infinity.'],
    ['marginMs', { marginMs: -1 }, 'marginMs must be a whole number from 0 to 9007199254740991, but it is -1.'],
    ['worker', { worker: { number: 2, of: 2 } }, 'worker must be { number, of } with 0 <= number < of, but it is'],
    ['worker', { worker: { number: -1, of: 2 } }, '{ number: number -1, of: number 2 }'],
    ['remainingMs', { remainingMs: 5_000 }, 'remainingMs must be a function, but it is number 5000.'],
    ['onProgress', { onProgress: true }, 'onProgress must be a function, but it is boolean true.'],
    ['leaseMs', { leaseMs: 0 }, 'leaseMs must be a whole number of milliseconds from 2'],
  ];

  test.each(bad)('a wrong option is refused: %s, %j', async (_name, wrong, message) => {
    const attempt = run(names(3), wrong as Options);
    await expect(attempt).rejects.toThrow(TypeError);
    await expect(attempt).rejects.toThrow(message);
    expect(ran).toEqual([]);
  });

  test.each([
    [{ heartbeatMs: 60_000 }, /60000 is not smaller than/],
    [{ safetyMs: 40_000 }, /safetyMs must be smaller than leaseMs.* 40000 is not smaller than/],
    [{ owner: '\ud800' }, /owner must be well-formed/],
  ])(
    '%j, which the lease of the client makes impossible, is refused before a task is looked at',
    async (wrong, message) => {
      await expect(run([], wrong)).rejects.toThrow(message);
    },
  );

  test('a work that is no function is refused', async () => {
    await expect(run(names(3), {}, 'work' as never)).rejects.toThrow("work must be a function, but it is 'work'.");
  });

  test('tasks that are not iterable are refused', async () => {
    await expect(run(3 as never)).rejects.toThrow(
      'tasks must be an array, an iterable or an async iterable, but it is number 3.',
    );
  });
});
