import { describe, expect, test } from '@jest/globals';
import { describe as describeLock } from '../../bin/describe.ts';
import { LockTable } from '../../bin/lock-table.ts';
import { fitted, shownDuration, textWidth } from '../../bin/terminal.ts';
import type { LockState } from '../../lib/index.ts';

const now = Date.now();
const held: LockState = {
  key: 'nightly-report',
  lockId: 'a',
  owner: 'anna',
  fencingToken: 7,
  acquiredAt: now - 65_000,
  expiresAt: now + 15_000,
  leaseMs: 30_000,
  held: true,
  opensInMs: 15_000,
  owed: false,
  data: undefined,
  committed: undefined,
};
const long = { ...held, key: '日本語/'.repeat(40), owner: '👩‍💻'.repeat(40), owed: true };

describe('a table of locks', () => {
  test.each([20, 29, 40, 80, 160])('of %i columns has no line that is wider', (width) => {
    const table = new LockTable(width);
    expect(textWidth(table.header)).toBeLessThanOrEqual(width);
    for (const lock of [held, long]) expect(textWidth(table.line({ lock, readAt: now }))).toBeLessThanOrEqual(width);
  });

  test('shows key, state and time left on 40 columns, and besides the holder and a bar on 80', () => {
    expect(new LockTable(40).line({ lock: held, readAt: now })).toMatch(/^nightly-report +held +15 s$/);
    expect(new LockTable(80).line({ lock: held, readAt: now })).toMatch(
      /^nightly-report +held +anna +█████░░░░░ 15 s$/,
    );
    expect(new LockTable(160).line({ lock: held, readAt: now })).toMatch(/ anna +1 min \d s +█{10}░{10} 15 s +7$/);
  });

  test.each([40, 80, 160])('of %i columns cuts no time', (width) => {
    for (const [opensInMs, text] of [
      [3_598_000, '59 min 58 s'],
      [23.9 * 3_600_000, '23 h 54 min'],
      [36_500 * 86_400_000, '36500 d'],
      [1e124, '100+ years'],
    ] as const) {
      const line = new LockTable(width).line({
        lock: { ...held, opensInMs, acquiredAt: now - opensInMs },
        readAt: now,
      });
      expect(line).toContain(` ${text}`);
      expect(line).not.toContain('…');
    }
  });

  test('counts the time on that has passed since the lock was read', () => {
    expect(new LockTable(40).line({ lock: held, readAt: now - 10_000 })).toMatch(/held +5 s$/);
  });

  test('shows characters that do not print as escapes', () => {
    expect(new LockTable(80).line({ lock: { ...held, owner: '\u001b[2K' }, readAt: now })).toContain('\\u001b[2K');
  });
});

test('a lock whose owner is no text is held by an unknown holder', () => {
  const { owner, ...nameless } = held;
  expect(describeLock(nameless)).toBe('held by an unknown holder, opens in 15 s unless renewed');
  expect(describeLock({ ...nameless, held: false, opensInMs: 0 })).toBe(
    'free: the lease of an unknown holder expired without a release',
  );
});

test.each([
  [0, '0 s'],
  [1, '1 s'],
  [61_000, '1 min 1 s'],
  [3_600_000, '1 h'],
  [90_061_000, '1 d 1 h'],
  [1e124, '100+ years'],
])('%i ms are shown as %s', (ms, text) => {
  expect(shownDuration(ms)).toBe(text);
});

test('a text is cut by columns, and never inside of a wide character', () => {
  expect(fitted('日本語', 4)).toBe('日… ');
  expect(fitted('abc', 5)).toBe('abc  ');
});
