import { describe, expect, jest, test } from '@jest/globals';
import { explore } from './explore.ts';
import { type Exploration, FAULT, permitsModel } from './permits-model.ts';

jest.setTimeout(600_000);

const explored = (exploration: Exploration) => explore(permitsModel(exploration));

const ONE_TRY = { tries: [1, 1, 1], lease: 2 };
const TWICE = { ...ONE_TRY, end: 2, duplicates: 1 };
const lowered: Case = ['the permits are lowered from 2 to 1', { ...TWICE, permits: [2, 1, 1] }, 232_023];
const long: Case[] = [
  ['a clock is ahead', { ...ONE_TRY, permits: [2, 2, 2], ahead: [0, 1, 0], lease: 3, safety: 2, end: 3 }, 620_312],
  ['a message arrives twice', { ...TWICE, permits: [2, 2, 2] }, 991_839],
  ['the permits are raised from 1 to 2', { ...ONE_TRY, permits: [1, 2, 2], lease: 3, end: 5 }, 1_386_033],
];
type Case = [when: string, exploration: Exploration, states: number];

describe('A lock with permits has no more holders than permits, and one in each slot', () => {
  // CI leaves the long explorations out.
  test.each(process.env.CI ? [lowered] : [lowered, ...long])('with three owners, when %s', (_, exploration, count) => {
    const { states, faults } = explored(exploration);
    expect(faults).toEqual(new Map());
    expect(states).toBe(count);
  });
});

describe('The explorer finds', () => {
  test('two holders of one slot if belief lasts until the expiry and a clock is ahead', () => {
    const { faults } = explored({ permits: [1, 1], ahead: [0, 1], tries: [1, 1], safety: 0, lease: 2, end: 4 });
    expect([...faults.keys()]).toContain(FAULT.slot);
  });

  test('a permit that is gone for ever, if one record counts the holders', () => {
    const { faults } = explored({
      form: 'counter',
      permits: [1, 1],
      tries: [1, 1],
      safety: 0,
      lease: 9,
      end: 0,
      duplicates: 1,
    });
    expect(faults.get(FAULT.leak)).toEqual([
      'A asks for slot 0',
      'A gives up, and releases',
      'the release of A (1) arrives',
      'the acquire of A (1) arrives',
    ]);
  });

  test('a holder that is revived after its release, if one record has a map of the holders', () => {
    const { faults } = explored({ form: 'map', permits: [1, 1], tries: [1, 1], lease: 2, end: 3, duplicates: 1 });
    expect([...faults.keys()]).toContain(FAULT.revived);
  });
});
