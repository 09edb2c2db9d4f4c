import { expect, test } from '@jest/globals';
import { Recent } from '../../lib/record/recent.ts';

test('beyond its bound, a map forgets the entry that was set longest ago, and an entry that is set again is new', () => {
  const recent = new Recent<string, number>(2);
  recent.set('a', 1).set('b', 2).set('a', 3).set('c', 4);
  expect([...recent]).toEqual([
    ['a', 3],
    ['c', 4],
  ]);
});
