import { describe, expect, jest, test } from '@jest/globals';
import { Explorer } from '../file/explorer.ts';
import type { Exploration } from '../file/rules.ts';

jest.setTimeout(600_000);

/** In CI two of the processes write once: the short form. */
const last = process.env.CI ? 1 : 2;

describe('Every interleaving of the calls of FileLockStore', () => {
  test.each([
    ['three processes that write twice', { processes: [2, last, last] }],
    ['three processes that replace their own writes unread', { processes: [2, 2, last], remembers: true }],
    ['three processes and a lost answer', { processes: [2, 1, 1], lost: 1 }],
    ['two processes that write twice, and a prune', { processes: [2, last, 'prune'] }],
  ] as [string, Exploration][])('of %s has no fault', async (_, exploration) => {
    const explorer = new Explorer(exploration);
    expect(await explorer.run()).toBeUndefined();
    expect(explorer.states).toBeGreaterThan(5_000);
  });
});
