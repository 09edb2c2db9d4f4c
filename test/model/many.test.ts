import { describe, expect, test } from '@jest/globals';
import { cycleIn } from './cycle.ts';
import { explore, NO_WAY } from './explore.ts';
import { type ManyBounds, many } from './many-model.ts';

const RING = [
  [0, 1],
  [1, 2],
  [2, 0],
];
const BOTH_WAYS = [
  [0, 1],
  [1, 0],
];

describe('owners who take their keys in the order of the keys', () => {
  test.each<[string, number, ManyBounds]>([
    ['two owners, both ways round', 12, { way: 'sorted', keys: BOTH_WAYS }],
    ['three owners in a ring, a wait that ends, a loss', 136, { way: 'sorted', keys: RING, timeouts: 1, losses: 1 }],
    ['three owners in a ring, a death', 264, { way: 'sorted', keys: RING, deaths: 1 }],
    [
      'four owners of three keys',
      116,
      {
        way: 'sorted',
        keys: [
          [0, 1, 2],
          [2, 1],
          [1, 0],
          [2, 0],
        ],
      },
    ],
  ])('can all end from every state, and leave nothing behind: %s', (_, states, bounds) => {
    expect(explore(many(bounds))).toEqual({ states, faults: new Map() });
    expect(cycleIn(many(bounds))).toBeUndefined();
  });
});

describe('a fault is found when owners', () => {
  test.each<[string, ManyBounds, string[]]>([
    ['two', { way: 'as given', keys: BOTH_WAYS }, ['A gets 0', 'B gets 1']],
    ['three in a ring', { way: 'as given', keys: RING }, ['A gets 0', 'B gets 1', 'C gets 2']],
  ])('take their keys in the order of the caller, %s: each waits for another', (_, bounds, story) => {
    expect(explore(many(bounds)).faults).toEqual(new Map([[NO_WAY, story]]));
  });

  test('ask for all keys at once and give back what they got: nobody ever wins', () => {
    const bounds: ManyBounds = { way: 'at once', keys: BOTH_WAYS };
    expect(explore(many(bounds)).faults).toEqual(new Map());
    const cycle = cycleIn(many(bounds)) ?? [];
    expect(cycle.filter((step) => step.endsWith('refused')).length).toBeGreaterThan(0);
    expect(cycle.filter((step) => step.endsWith('gives all back')).length).toBeGreaterThan(0);
  });
});
