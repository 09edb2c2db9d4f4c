import { describe, expect, test } from '@jest/globals';
import { checkNames } from '../../lib/record/check.ts';

const known = { leaseMs: 0, heartbeatMs: 0, waitMs: 0, onBusy: 0, once: 0 };

describe('checkNames', () => {
  test.each([
    ['leaseMS', 'leaseMs'],
    ['onbusy', 'onBusy'],
    ['wait', 'waitMs'],
    ['hartbeatMs', 'heartbeatMs'],
    ['one', 'once'],
  ])('%s is refused, and the message names %s', (unknown, nearest) => {
    expect(() => checkNames('acquire', { [unknown]: undefined }, known)).toThrow(
      new TypeError(`acquire has no option '${unknown}'; did you mean '${nearest}'?`),
    );
  });

  test('a name that is like no known name is refused, and the message lists the known names, the nearest first', () => {
    expect(() => checkNames('resume', { data: 1 }, { leaseMs: 0, owner: 0 })).toThrow(
      new TypeError("resume has no option 'data'; it has owner, leaseMs."),
    );
  });

  test('a name of Object.prototype is refused', () => {
    expect(() => checkNames('acquire', { toString: 1 }, known)).toThrow("acquire has no option 'toString'");
  });

  test.each([[5000], ['text'], [null], [undefined]])('%p in the place of options is refused', (value) => {
    expect(() => checkNames('acquire', value, known)).toThrow(/^acquire: the options must be an object, but they are /);
  });

  test('known names pass', () => {
    expect(() => checkNames('acquire', { leaseMs: 1, once: undefined }, known)).not.toThrow();
  });
});
