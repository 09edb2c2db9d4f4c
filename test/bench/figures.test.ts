import { describe, expect, test } from '@jest/globals';
import { misses } from '../../bench/lib/bounds.ts';
import { median, quantile, ratio, show } from '../../bench/lib/statistics.ts';
import { markdown } from '../../bench/lib/table.ts';

describe('statistics', () => {
  test('a median comes with the tenth and the ninetieth percentile', () => {
    const numbers = [5, 3, 9, 1, 7, 2, 8, 4, 6, 10, 0];
    expect(median(numbers)).toEqual({ value: 5, low: 1, high: 9 });
    expect(quantile(numbers, 0.99)).toBe(10);
    expect(quantile([], 0.5)).toBeNaN();
  });

  test('a ratio compares round by round, so that a slow round counts as any other', () => {
    expect(ratio([2, 200, 2], [1, 100, 1])).toEqual({ value: 2, low: 2, high: 2 });
  });

  test.each([
    [{ value: 0.3968 }, '0.397'],
    [{ value: 12.44 }, '12.4'],
    [{ value: 1234.5 }, '1,235'],
    [{ value: 2 }, '2'],
    [{ value: 0.5, low: 0.25, high: 1.5 }, '0.500 [0.250 1.50]'],
    [{ value: Number.NaN }, '-'],
  ])('%j is shown as %s', (figure, shown) => {
    expect(show(figure)).toBe(shown);
  });

  test('a table has every column that any of its rows has', () => {
    const rows = [
      { name: 'raw', figures: { requests: '2 + 0' } },
      { name: 'ours', figures: { requests: '2 + 0', ratio: { value: 0.4 } } },
    ];
    expect(markdown({ title: 'A cycle', rows }).split('\n').slice(2)).toEqual([
      '|  | requests | ratio |',
      '|---|---|---|',
      '| raw | 2 + 0 | - |',
      '| ours | 2 + 0 | 0.400 |',
    ]);
  });
});

describe('bounds', () => {
  const on = { cpus: '', load: [], node: '', sdk: '' };
  const rows = [{ name: 'ours', figures: { requests: '2 + 0', lost: 0, ratio: { value: 1.5 } } }];
  const results = [{ measure: 'cycle', about: '', on, tables: [{ title: 'a stub', rows }] }];
  const cycle = { measure: 'cycle', rows: /^ours$/ };

  test('figures within their bounds are no misses', () => {
    const bounds = [
      { ...cycle, column: 'requests', is: '2 + 0' },
      { ...cycle, column: 'lost', most: 0 },
      { ...cycle, column: 'ratio', least: 1.5, most: 1.5 },
    ];
    expect(misses(bounds, results)).toEqual([]);
  });

  test.each([
    [{ column: 'requests', is: '1 + 0' }, 'cycle (a stub), ours, requests: 2 + 0, and the bound is 1 + 0'],
    [{ column: 'ratio', most: 1.4 }, 'cycle (a stub), ours, ratio: 1.5, and the bound is -Infinity to 1.4'],
    [{ column: 'lost', least: 1 }, 'cycle (a stub), ours, lost: 0, and the bound is 1 to Infinity'],
  ])('a figure out of bounds is named: %j', (bound, miss) => {
    expect(misses([{ ...cycle, ...bound }], results)).toEqual([miss]);
  });

  test('a figure that is no number, or was not measured, is out of bounds', () => {
    expect(misses([{ ...cycle, column: 'requests', most: 3 }], results)).toHaveLength(1);
    expect(misses([{ ...cycle, column: 'other', most: 3 }], results)).toHaveLength(1);
    expect(misses([{ measure: 'busy', rows: /ours/, column: 'ratio', most: 3 }], results)).toHaveLength(1);
  });
});
