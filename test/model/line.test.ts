import { describe, expect, test } from '@jest/globals';
import { explore, NO_WAY } from './explore.ts';
import { lineModel, NOBODY_ASKS } from './line-model.ts';

describe('Every interleaving of a line, of another process that takes the lock twice, and of a lease that is lost', () => {
  test.each([
    [3, 1_176],
    [4, 6_939],
  ])('has somebody who asks, never two holders, and an end for each of %i calls', (calls, states) => {
    const explored = explore(lineModel({ calls }));
    expect(explored.faults).toEqual(new Map());
    expect(explored.states).toBe(states);
  });

  test.each([
    [2, 4, 62_179],
    [3, 3, 32_933],
  ])('has the same with %i permits, and never two calls that ask for one slot', (permits, calls, states) => {
    const explored = explore(lineModel({ calls, permits }));
    expect(explored.faults).toEqual(new Map());
    expect(explored.states).toBe(states);
  });

  test.each(['release', 'loss', 'giving up'] as const)(
    'and a line with two permits that nobody asks for: %s',
    (mutant) => {
      const { faults } = explore(lineModel({ calls: 4, permits: 2, mutant }));
      expect(faults.has(NOBODY_ASKS)).toBe(true);
    },
  );

  test.each([
    ['giving up', ['0 comes', '1 comes', '0 gives up']],
    ['release', ['0 comes', '1 comes', '0 writes and is granted', '0 releases']],
    ['loss', ['0 comes', '1 comes', '0 writes and is granted', '0 loses its lease to another process']],
  ] as const)('leaves a line that nobody asks for if the first is not woken by a %s', (mutant, story) => {
    const { faults } = explore(lineModel({ calls: 3, mutant }));
    expect(faults.get(NOBODY_ASKS)).toEqual(story);
    // Those who wait may give up still.
    expect(faults.has(NO_WAY)).toBe(false);
  });
});
