import { describe, expect, jest, test } from '@jest/globals';
import { explore, NO_WAY } from './explore.ts';
import { type LeadBounds, lead } from './lead-model.ts';

jest.setTimeout(300_000);

/** In CI, three candidates have one term each: the short form. */
const three: [string, number, LeadBounds] = process.env.CI
  ? ['three candidates, a term each', 64_010, { candidates: 3, terms: 1 }]
  : ['three candidates, two terms each', 697_713, { candidates: 3, terms: 2 }];

describe('candidates for one lead', () => {
  test.each<[string, number, LeadBounds]>([
    ['two candidates, three terms each', 87_471, { candidates: 2, terms: 3 }],
    three,
  ])('never work at once, and always have a way to a leader: %s', (_, states, bounds) => {
    const explored = explore(lead(bounds));
    expect(explored.faults).toEqual(new Map());
    expect(explored.states).toBe(states);
  });
});

describe('a fault is found in a loop that', () => {
  test('campaigns again before its work has ended: two works in one process', () => {
    const { faults } = explore(lead({ candidates: 2, terms: 3, mutant: 'campaigns without waiting' }));
    expect(faults.get('two works in one process')).toEqual([
      'A is elected',
      'A loses its lease, and its work is told before the expiry',
      'A has rested',
      'the lease expires',
      'A is elected',
    ]);
  });

  test('releases first and then waits for its work: two works at once', () => {
    const { faults } = explore(lead({ candidates: 2, terms: 3, mutant: 'releases first' }));
    expect(faults.get('two works at once')).toEqual([
      'A is elected',
      'A is stopped, and its work is told',
      'B is elected',
    ]);
  });

  test('leads on when its work has returned: nobody works, for ever', () => {
    const bounds = { stops: 0, deaths: 0, losses: 0, resignations: 0 };
    const { faults } = explore(lead({ candidates: 2, terms: 2, mutant: 'outlives the work', ...bounds }));
    expect(faults.get(NO_WAY)).toEqual(['A is elected', 'the work of A returns']);
  });
});
