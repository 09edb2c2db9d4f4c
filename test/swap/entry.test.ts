import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { REPAIR_IT } from '../../lib/record/errors.ts';
import { isBroken, type LockRecord } from '../../lib/record/record.ts';
import { canonicalToken } from '../../lib/record/token.ts';
import { acquire } from '../../lib/record/transitions.ts';
import { decode, encode } from '../../lib/swap/entry.ts';

const WHERE = "the object 's3://bucket/locks/nightly'";
const text = fc.string({ unit: 'binary' });
const name = fc.oneof(
  text.filter((value) => value !== ''),
  fc.constantFrom('__proto__', 'constructor', 'toString', '\ud800', '\u2028', '"', '\\'),
);
const moment = fc.nat({ max: 9_007_199_254_740_000 });
const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const replaced = { owner: optional(name), acquiredAt: moment, expiresAt: moment };
const record: fc.Arbitrary<LockRecord> = fc.record({
  key: name,
  lockId: optional(name),
  owner: optional(name),
  fencingToken: moment,
  expiresAt: moment,
  acquiredAt: moment,
  leaseMs: moment,
  releasedBy: optional(name),
  tookOver: optional(
    fc.oneof(
      fc.record({ type: fc.constant('nothing' as const) }),
      fc.record({ type: fc.constant('closed' as const), ...replaced }),
      fc.record({ type: fc.constant('lease' as const), lockId: text, ...replaced }),
    ),
  ),
  doneToken: fc.constantFrom(undefined, '~t2026-01-01T02:00:00', '~n0002:10', 'a text'),
  data: optional(fc.json()),
  committed: optional(fc.record({ data: fc.json(), number: fc.nat(), fencingToken: moment })),
});

describe('an entry', () => {
  test('is read back as it was written, whatever the record', () => {
    fc.assert(
      fc.property(record, text, (record, writeId) => {
        expect(decode(encode({ writeId, record }), record.key, WHERE)).toEqual({ writeId, record });
      }),
    );
  });

  test('of two writes of one record has other bytes', () => {
    const one: LockRecord = { key: 'nightly', fencingToken: 1, expiresAt: 2, acquiredAt: 1, leaseMs: 1 };
    expect(encode({ writeId: 'a', record: one })).not.toBe(encode({ writeId: 'b', record: one }));
  });

  test('keeps no flaw that an earlier reading told of', () => {
    const mended = { key: 'nightly', fencingToken: 1, expiresAt: 2, acquiredAt: 1, leaseMs: 1, flaw: 'once was' };
    expect(decode(encode({ writeId: 'a', record: mended }), 'nightly', WHERE).record).not.toHaveProperty('flaw');
  });
});

const whole = { key: 'nightly', lockId: 'anna', fencingToken: 7, expiresAt: 2_000, acquiredAt: 1_000, leaseMs: 1_000 };
const read = (record: object, writeId: unknown = 'w', leasehold: unknown = 1) =>
  decode(JSON.stringify({ leasehold, writeId, record }), 'nightly', WHERE);

describe('a record that somebody has changed', () => {
  test.each([
    ['a fraction of a token', { fencingToken: 7.5 }, 'fencingToken is 7.5, which is no whole number', true],
    ['a token past the countable', { fencingToken: 2 ** 53 - 1 }, 'fencingToken is 9007199254740991, which', true],
    ['a negative expiry', { expiresAt: -1 }, 'expiresAt is -1, which is no whole number', true],
    ['no acquisition', { acquiredAt: undefined }, 'acquiredAt is undefined', true],
    ['an acquisition that is a text', { acquiredAt: '1000' }, "acquiredAt is '1000'", true],
    ['an acquisition past the countable', { acquiredAt: 2 ** 53 }, 'acquiredAt is number 9007199254740992', true],
    ['an empty lockId', { lockId: '' }, "lockId is ''", true],
    ['a lockId that is a number', { lockId: 5 }, 'lockId is number 5', true],
    ['a done token that is a number', { doneToken: 5 }, 'doneToken is number 5, which leasehold did not write', false],
    ['a done token of no form', { doneToken: '~x' }, "doneToken is '~x', which leasehold did not write", false],
  ])('is read with its flaw: %s', (_, change, flaw, broken) => {
    const { record } = read({ ...whole, ...change });
    expect(record.flaw).toMatch(flaw);
    expect(isBroken(record)).toBe(broken);
  });

  test('is read without a flaw that it claims', () => {
    expect(read({ ...whole, flaw: 'acquiredAt is odd' }).record).not.toHaveProperty('flaw');
  });

  test.each([
    ['a name that is no text', { owner: 5 }, 'owner'],
    ['a releasedBy that is no text', { releasedBy: {} }, 'releasedBy'],
    ['data that is no text', { data: { a: 1 } }, 'data'],
    ['a commit that is a text', { committed: 'a' }, 'committed'],
    ['a commit that is null', { committed: null }, 'committed'],
    ['a commit without a number', { committed: { data: '1', fencingToken: 7 } }, 'committed'],
    ['a commit of data that is no text', { committed: { data: 1, number: 1, fencingToken: 7 } }, 'committed'],
    ['a takeover that is a text', { tookOver: 'a' }, 'tookOver'],
    ['a takeover of no known type', { tookOver: { type: 'x', expiresAt: 1, acquiredAt: 1 } }, 'tookOver'],
    ['a takeover without an expiry', { tookOver: { type: 'closed', acquiredAt: 1 } }, 'tookOver'],
    ['a lease taken over without its lockId', { tookOver: { type: 'lease', acquiredAt: 1, expiresAt: 1 } }, 'tookOver'],
  ])('is read without a value that judges no request: %s', (_, change, name) => {
    const { record } = read({ ...whole, ...change });
    expect(record[name as keyof LockRecord]).toBeUndefined();
    expect(record).not.toHaveProperty('flaw');
  });

  test('has a lease time of 0 if it has no number there, as on DynamoDB', () => {
    expect(read({ ...whole, leaseMs: '1' }).record.leaseMs).toBe(0);
  });
});

test.each([
  ['a token that is a text', { ...whole, fencingToken: '7' }, "fencingToken is '7' and expiresAt is number 2000"],
  ['no expiry', { key: 'nightly', fencingToken: 7 }, 'fencingToken is number 7 and expiresAt is undefined'],
])('a lock with %s is read as damaged, for a repair alone', (_, content, why) => {
  const { record, damage } = read(content);
  const [begin, end] = [`${WHERE} was not written by leasehold, or was changed, and is left as it is: `, REPAIR_IT];
  expect(damage).toBe(`${begin}${why}, and both must be numbers. ${end}.`);
  expect(isBroken(record)).toBe(true);
});

test('a finished token that is no text refuses every once token, and no other acquire', () => {
  const { record } = read({ ...whole, lockId: undefined, doneToken: 5 });
  const request = { key: 'nightly', lockId: 'bert', owner: 'bert', now: 2_000, until: 3_000, leaseMs: 1_000 };
  fc.assert(
    fc.property(
      fc.oneof(
        name.filter(canBeOnce),
        fc.nat(),
        fc.date({ noInvalidDate: true, min: new Date(0), max: new Date('9999-01-01') }),
      ),
      (once) => {
        expect(acquire(record, { ...request, once: canonicalToken(once) })).toBeUndefined();
      },
    ),
  );
  expect(acquire(record, request)).toMatchObject({ lockId: 'bert' });
});

function canBeOnce(token: string): boolean {
  try {
    return canonicalToken(token) !== '';
  } catch {
    return false;
  }
}

describe('a content that is no entry', () => {
  const foreign = (why: string) =>
    `${WHERE} was not written by leasehold, or was changed, and is left as it is: ${why}. Use another key, or, if nobody holds the lock, delete it.`;
  test.each([
    ['no JSON', 'hello', 'its content is no JSON'],
    ['nothing', '', 'its content is no JSON'],
    ['half an entry', encode({ writeId: 'w', record: whole }).slice(0, 40), 'its content is no JSON'],
    ['null', 'null', "its field 'leasehold' is undefined, and this version of leasehold reads 1"],
    ['a number', '5', "its field 'leasehold' is undefined, and this version of leasehold reads 1"],
    ['a list', '[1]', "its field 'leasehold' is undefined, and this version of leasehold reads 1"],
    ['a later form', '{"leasehold":2}', "its field 'leasehold' is number 2, and this version of leasehold reads 1"],
    ['no writeId', JSON.stringify({ leasehold: 1, record: whole }), 'its writeId or its record is missing'],
    ['no record', '{"leasehold":1,"writeId":"w"}', 'its writeId or its record is missing'],
    ['a record that is null', '{"leasehold":1,"writeId":"w","record":null}', 'its writeId or its record is missing'],
    [
      'the record of another key',
      encode({ writeId: 'w', record: { ...whole, key: 'hourly' } }),
      "its record is of the key 'hourly'",
    ],
  ])('is foreign, and told: %s', (_, content, why) => {
    expect(() => decode(content, 'nightly', WHERE)).toThrow(
      expect.objectContaining({ name: 'LockStoreError', foreign: true, transient: false, message: foreign(why) }),
    );
  });
});
