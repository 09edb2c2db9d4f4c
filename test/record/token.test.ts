import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { canonicalToken, haveOneForm, isDone, shownToken } from '../../lib/record/token.ts';

const order = (one: unknown, other: unknown): number =>
  Buffer.compare(Buffer.from(canonicalToken(one)), Buffer.from(canonicalToken(other)));
const haveForm = (one: unknown, other: unknown): boolean => haveOneForm(canonicalToken(one), canonicalToken(other));
const iso = fc.date({ min: new Date('0001-01-01'), max: new Date('9999-12-30'), noInvalidDate: true });

describe('an instant', () => {
  test.each([
    ['2026-01-01T02:00:00Z', '2026-01-01T02:00:00Z'],
    ['2026-01-01T02:00:00.000Z', '2026-01-01T02:00:00Z'],
    ['2026-01-01T02:00:00.500Z', '2026-01-01T02:00:00.5Z'],
    ['2026-01-01T02:00:00,123456789123Z', '2026-01-01T02:00:00.123456789123Z'],
    ['2026-01-01T02:00Z', '2026-01-01T02:00:00Z'],
    ['2026-01-01t02:00:00z', '2026-01-01T02:00:00Z'],
    ['2026-01-01 02:00:00 +0000', '2026-01-01T02:00:00Z'],
    ['2026-01-01T02Z', '2026-01-01T02:00:00Z'],
    ['20260101T020000Z', '2026-01-01T02:00:00Z'],
    ['20260101T0200+0130', '2026-01-01T00:30:00Z'],
    ['2026-01-01T02:00:00+00:00', '2026-01-01T02:00:00Z'],
    ['2026-01-01T00:30:00+01', '2025-12-31T23:30:00Z'],
    ['2026-12-31T23:30:00.25-00:45', '2027-01-01T00:15:00.25Z'],
    ['2026-10-25T02:30:00+01:00[Europe/Berlin]', '2026-10-25T01:30:00Z'],
    ['0000-02-29T00:00:00Z', '0000-02-29T00:00:00Z'],
    ['0050-01-01T00:00:00Z', '0050-01-01T00:00:00Z'],
  ])('%s is shown as %s', (given, shown) => {
    expect(shownToken(canonicalToken(given))).toBe(shown);
  });

  test('a Date is the same token as each of its ISO 8601 texts', () => {
    fc.assert(
      fc.property(iso, fc.integer({ min: -1_439, max: 1_439 }), (date, ahead) => {
        const local = new Date(date.getTime() + ahead * 60_000);
        fc.pre(local.getUTCFullYear() >= 0 && local.getUTCFullYear() <= 9_999);
        const two = (value: number) => String(Math.floor(Math.abs(value))).padStart(2, '0');
        const offset = `${ahead < 0 ? '-' : '+'}${two(ahead / 60)}:${two(ahead % 60)}`;
        const text = local.toISOString().replace('Z', offset);
        const basic = text.replace(/^(.{4})-(..)-(..)T(..):(..):/, '$1$2$3T$4$5');
        for (const other of [date.toISOString(), text, text.replace('T', ' '), basic.replace('.', ','), basic]) {
          expect(canonicalToken(other)).toBe(canonicalToken(date));
        }
      }),
    );
  });

  test('the order of two instants is the order of their times, whatever their texts', () => {
    expect(order('2026-10-25T02:30:00+02:00', '2026-10-25T02:30:00+01:00')).toBe(-1);
    expect(order('2026-01-01T02:00:00+02:00', '2026-01-01T01:30:00Z')).toBe(-1);
    expect(order('2026-01-01T02:00:00Z', '2026-01-01T02:00:00.5Z')).toBe(-1);
    expect(order('2026-01-01T02:00:00.05Z', '2026-01-01T02:00:00.5Z')).toBe(-1);
    fc.assert(fc.property(iso, iso, (one, other) => expect(order(one, other)).toBe(Math.sign(+one - +other))));
  });

  test.each([
    '2026-10-25T02:30',
    '2026-10-25T02:30:00.5',
    '2026-10-25 02:30:00',
    '20261025T023000',
    '2026-10-25T02:30:00 CET',
    '2026-10-25T02:30:00[Europe/Berlin]',
    '2026-W43-7T02:30:00Z',
    '2026-298T02:30:00Z',
    '+012026-01-01T00:00:00Z',
    'Sun, 25 Oct 2026 02:30:00 GMT',
    '31.12.2025',
    '2026/10/25 02:30:00',
    '2026/10/25, 02:30:00',
    '2026-10-25, 2:30:00 a.m.',
    '2026-10-25 2:30',
    '2026-10-25T2:30Z',
    '2026.10.25 02:30',
    '2026-10-25_02:30',
    '2026-10-25  02:30',
    '12/2025',
    '12.2025',
    '1 2026',
    '12/2025 02:30',
    'Q4-2025',
    'Q4 2025',
    'W43 2026',
    '31.12.25',
    '01.01.26',
    '10.02.26',
    '1.2.26, 09:00',
    '12/31/25',
    '31/12/25',
    '1/1/26, 9:00 AM',
    '31-Dec-25',
    '2026-Jan',
    '2026 January 1',
    'January 1, 2026',
    'Jan 2026',
    'Jan 1st, 2026 at 9 p.m.',
    '1 January 2026',
    'Sunday, October 25, 2026',
    '2026 Sunday October 25',
    'Oct 25 02:30:00 2026',
    'report-mar-2026',
    'Report of March 1st, 2026',
    'batch-2026-jan',
    'dec_2025-batch',
    '12/31/2025, 2:30:00 AM',
    '31-Dec-2025',
    'Sun Oct 25 2026 02:30:00 GMT+0100 (Central European Standard Time)',
  ])('%s is refused, since its bytes have no order of time', (text) => {
    expect(() => canonicalToken(text)).toThrow(/^once must have its time in ISO 8601 with an offset, such as .+ 'S?/);
  });

  test.each([
    '2026-02-30T02:00:00Z',
    '2026-13-01T02:00:00Z',
    '2026-00-01T02:00:00Z',
    '2026-01-00T02:00:00Z',
    '2026-01-01T24:00:00Z',
    '2026-01-01T02:60:00Z',
    '2026-01-01T02:00:60Z',
    '2026-01-01T02:00:00+24:00',
    '2026-01-01T02:00:00+01:60',
  ])('%s is refused, since there is no such time', (text) => {
    expect(() => canonicalToken(text)).toThrow(`once must be a valid date and time, but it is '${text}'.`);
  });

  test.each([
    new Date(Number.NaN),
    new Date(8.64e15),
    new Date(-62_167_219_200_001),
    '9999-12-31T23:30:00-01:00',
    '0000-01-01T00:00:00+00:01',
  ])('%s is refused, since it lies outside of the years 0000 to 9999', (value) => {
    expect(() => canonicalToken(value)).toThrow(
      'once must be a valid time in the years 0000 to 9999 of UTC, but it is ',
    );
  });
});

describe('a number', () => {
  test('a number, a bigint and a string of digits of one value are one token', () => {
    for (const value of [10, 10n, '10', '0010']) expect(shownToken(canonicalToken(value))).toBe('10');
    for (const value of [0, -0, 0n, '0', '000']) expect(shownToken(canonicalToken(value))).toBe('0');
  });

  test('the order of two numbers is the order of their values, of any length', () => {
    expect(order('9', '10')).toBe(-1);
    expect(order(999, '1000')).toBe(-1);
    expect(order('18849496460467696128', '18849496460467696129')).toBe(-1);
    expect(order('9'.repeat(999), `1${'0'.repeat(999)}`)).toBe(-1);
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 10n ** 40n }), fc.bigInt({ min: 0n, max: 10n ** 20n }), (one, other) => {
        expect(order(one, String(other))).toBe(one < other ? -1 : one > other ? 1 : 0);
      }),
    );
  });

  test.each([-1, 1.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY, -1n])('%s is refused', (value) => {
    expect(() => canonicalToken(value)).toThrow(`but it is ${value}. Give a larger number as a bigint`);
  });
});

describe('a text', () => {
  const unicode = fc.string({ unit: 'binary', minLength: 1, maxLength: 6 });
  const text = fc.oneof(
    unicode,
    unicode.map((rest) => `}~${rest}`),
    unicode.map((rest) => `~t${rest}`),
  );

  test('the order of two texts is the order of their bytes in UTF-8, beyond the Basic Multilingual Plane too', () => {
    expect(order('\uffee', '\u{1f600}')).toBe(-1);
    fc.assert(
      fc.property(text, text, (one, other) => {
        fc.pre(![one, other].some((text) => /^\d+$/.test(text)));
        expect(order(one, other)).toBe(Buffer.compare(Buffer.from(one), Buffer.from(other)));
      }),
      { numRuns: 1_000 },
    );
  });

  test.each([
    'Monitor 1',
    'Sunrise-01',
    '1.0.1234',
    '1.2.10',
    '1.2023.4',
    '10.0.0.1',
    '10.11.12.13',
    '2026-01-01',
    '2026/01/01',
    '2026-W07',
    '2026-Q4',
    '2026-01-01-7',
    '25-12-31',
    'run-2026',
    'march-madness-2026',
    'mart-2026',
    '2026-decor',
    '4711-2025',
    '01-2026',
    '10-1900',
    '10-2099',
    '5_2000',
    '05-1999',
    '13/2025',
    'Q5-2025',
    '1.2.26',
    '32.12.25',
    '10.13.25',
    '20/30/40',
    '1/32/26',
    '01-2026-orders',
    'dec-4711',
    'march',
  ])('%s is a text, and no date of another form', (text) => {
    expect(canonicalToken(text)).toBe(text);
  });

  test('every text sorts before every number, and every number before every instant', () => {
    for (const text of ['test', '}~', '~t2026', 'é', '\u{10ffff}']) {
      expect(order(text, 0)).toBe(-1);
      expect(order(text, '0000-01-01T00:00:00Z')).toBe(-1);
    }
    expect(order('9'.repeat(1_000), '0000-01-01T00:00:00Z')).toBe(-1);
  });
});

test('a token as it is shown is the same token', () => {
  const token = fc.oneof(iso, fc.bigInt({ min: 0n }), fc.string({ unit: 'binary', minLength: 1 }));
  fc.assert(
    fc.property(token, (given) => {
      const canonical = canonicalToken(given);
      expect(canonicalToken(shownToken(canonical))).toBe(canonical);
    }),
  );
  expect(shownToken(undefined)).toBeUndefined();
});

test.each([
  [undefined, 'once is given, but it is undefined: the value is missing'],
  [null, 'once must be a Date, a number or a string, but it is null.'],
  [{ [Symbol.toStringTag]: 'Date' }, 'once must be a Date, a number or a string, but it is object [object Date].'],
  [10n ** 1_024n, 'once must have at most 1024 digits, but it has 1025.'],
  [{}, 'once must be a Date, a number or a string, but it is object [object Object].'],
  [true, 'once must be a Date, a number or a string, but it is boolean true.'],
  ['', "once must not be empty, but it is ''."],
  ['x'.repeat(1_025), 'once must have at most 1024 bytes'],
])('%p is refused', (value, message) => {
  expect(() => canonicalToken(value)).toThrow(message);
});

test('done is a token up to the greatest finished token', () => {
  const [one, two] = [canonicalToken(1), canonicalToken(2)];
  expect([isDone(one, two), isDone(one, one), isDone(two, one)]).toEqual([true, true, false]);
  expect([isDone(undefined, two), isDone(one, undefined)]).toEqual([false, false]);
  // By UTF-16, the first of these texts would be the greater one.
  const [earlier, later] = [canonicalToken('\uffee'), canonicalToken('\u{1f512}')];
  expect([isDone(earlier, later), isDone(later, earlier)]).toEqual([true, false]);
});

describe('the form of a token', () => {
  test.each([
    ['2026-01-01T02:00:00Z', '20260101T0200+01'],
    ['9', '18849496460467696128'],
    ['2026-W09', '2026-W10'],
    ['run-09', 'run-10'],
    ['01ARZ3NDEKTSV4RRFFQ69G5FAV', '01ARZ3NDEKTSV4RRFFQ69G5F00'],
    ['0ujtsYcgvSTl8PAuAdqWYSMnLOv', '0ujsswThIGTUYm2K8FjOOfXtY1K'],
    ['017f22e2-79b0-7cc3-98c4-dc0c0c07398f', '017f22e2-abcd-7123-9876-000000000000'],
    ['00ff', '100a'],
    ['x-0010', 'x-abcd'],
    ['x-99', 'x-ab'],
    ['\u{1f600}-9', '\u{1f600}-8'],
    ['a-1', 'é-2'],
    ['é-1', 'ü-2'],
  ])('%s and %s have one form', (one, other) => {
    expect(haveForm(one, other)).toBe(true);
  });

  test.each([
    ['2026-01-01T02:00:00Z', '1767225600000'],
    ['2026-01-01T02:00:00Z', '2026-01-01'],
    ['2026-01-01T02:00:00Z', 'test'],
    ['run-9', 'run-10'],
    ['v1.9.0', 'v1.10.0'],
    ['2026-W9', '2026-W10'],
    ['2026-9', '2026-10'],
    ['2026-01-01', 'test-ab-cd'],
    ['test', '2026'],
    ['week-09', 'week_09'],
    ['x-0010', 'y-abcd'],
    ['x-99', 'x-abc'],
    ['x-99', 'x-xy'],
    ['}~9', 'xyz~9'],
    ['\u{1f600}', 'ab'],
  ])('%s and %s have two forms', (one, other) => {
    expect(haveForm(one, other)).toBe(false);
  });
});
