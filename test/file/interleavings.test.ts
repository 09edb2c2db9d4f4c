import { describe, expect, test } from '@jest/globals';
import { Explorer } from './explorer.ts';
import type { Exploration, Mutant } from './rules.ts';

// test/model has the longer ones: three processes that write twice.
describe('Every interleaving of the calls of FileLockStore', () => {
  test.each([
    ['two processes', { processes: [3, 2] }],
    ['three processes', { processes: [2, 1, 1] }],
    ['two processes and a lost answer', { processes: [2, 2], lost: 1 }],
    [
      'two processes that replace their own writes unread, and a lost answer',
      {
        processes: [3, 2],
        remembers: true,
        lost: 1,
      },
    ],
    ['two processes and a prune', { processes: [2, 1, 'prune'] }],
  ] as [string, Exploration][])(
    'of %s replaces each version at most once, and answers the truth',
    async (_, exploration) => {
      const explorer = new Explorer(exploration);
      expect(await explorer.run()).toBeUndefined();
      expect(explorer.states).toBeGreaterThan(1_000);
      // Whatever processes that were killed have left, a process alone writes on.
      const shapes = new Map(
        [...explorer.folders.values()].map((folder) => [String(Object.keys(folder ?? {})), folder]),
      );
      for (const folder of shapes.values()) {
        const alone = new Explorer({ processes: [2], folder });
        expect(await alone.run()).toBeUndefined();
        expect([...alone.folders.values()].some((left) => Object.values(left ?? {}).includes('0.1'))).toBe(true);
      }
    },
  );

  test.each([
    ['no second list', { processes: [2, 2, 2] }, /a reading shows .+, and meanwhile there stood/],
    ['no list after a link', { processes: [2, 2, 2] }, /believes that .+ stood, which never stood/],
    ['no look at the links', { processes: [2, 2], lost: 1 }, /calls .+ missed, which stood/],
    ['first versions by link', { processes: [1, 1] }, /replaces .+, and its writer went by -/],
    ['prunes young versions', { processes: [2, 1, 'prune'] }, /replaces .+, and its writer went by/],
  ] as [Mutant, Exploration, RegExp][])(
    'shows the fault of an algorithm with %s',
    async (mutant, exploration, fault) => {
      expect(await new Explorer({ ...exploration, mutant }).run()).toMatch(fault);
    },
  );
});
