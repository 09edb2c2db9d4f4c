import { runInNewContext } from 'node:vm';
import { describe, expect, test } from '@jest/globals';
import { checkKey, checkNames, checkText, printable, show } from '../../lib/record/check.ts';

const known = { leaseMs: 0, heartbeatMs: 0, waitMs: 0, onBusy: 0, once: 0 };

test('an array is shown by its first elements', () => {
  expect(show([])).toBe('[]');
  expect(show(['a', 1, undefined])).toBe("['a',number 1,undefined]");
  expect(show(Array.from({ length: 1_000_000 }, () => 'x'))).toBe("['x','x','x','x','x',…]");
  const itself: unknown[] = [];
  itself.push(itself);
  expect(show(itself)).toBe('[[…]]');
});

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

  test('a name that is like no known name is refused, and the message lists the known names in the order of the alphabet', () => {
    expect(() => checkNames('resume', { data: 1 }, { owner: 0, signal: 0, leaseMs: 0 })).toThrow(
      new TypeError("resume has no option 'data'; it has leaseMs, owner, signal."),
    );
  });

  test('a name of Object.prototype is refused', () => {
    expect(() => checkNames('acquire', { toString: 1 }, known)).toThrow("acquire has no option 'toString'");
  });

  test.each([
    [5000, 'number 5000'],
    ['text', "'text'"],
    [null, 'null'],
    [undefined, 'undefined'],
    [Math.max, 'function function max() { [native code] }'],
    [['5'], "['5']"],
    [[], '[]'],
    [[[], undefined], '[[…],undefined]'],
    [new Map([['once', '5']]), 'object [object Map]'],
    [new Date(Number.NaN), 'object Invalid Date'],
    [AbortSignal.timeout(1), 'object [object AbortSignal]'],
    [Promise.resolve({ once: '5' }), 'object [object Promise]'],
  ])('%p in the place of options is refused', (value, shown) => {
    expect(() => checkNames('acquire', value, known)).toThrow(
      new TypeError(`acquire: the options must be a plain object, but they are ${shown}.`),
    );
  });

  test.each([
    [
      'of a class',
      new (class Options {
        once = '5';
      })(),
    ],
    ['without a prototype', Object.assign(Object.create(null), { once: '5' })],
    ['of another realm', runInNewContext("({ once: '5' })")],
  ])('options %s pass, if they are own properties', (_, options) => {
    expect(() => checkNames('acquire', options, known)).not.toThrow();
  });

  test('a known name on the prototype of the options is refused, since a copy of the options has none', () => {
    class Options {
      get once() {
        return '5';
      }
    }
    for (const options of [new Options(), Object.create({ once: '5' })]) {
      expect(() => checkNames('acquire', options, known)).toThrow(
        "acquire: the option 'once' stands on the prototype of the options: a copy of the options would lose it. Give a plain object.",
      );
    }
  });

  test('known names pass', () => {
    expect(() => checkNames('acquire', { leaseMs: 1, once: undefined }, known)).not.toThrow();
  });
});

describe('a text that is not well-formed Unicode', () => {
  test.each(['job/\ud800', '\udbff/job', 'job/\ude00\ud83d'])(
    'is refused as a key, and the message shows it escaped: %j',
    (key) => {
      const shown = JSON.stringify(key).slice(1, -1);
      expect(() => checkKey(key)).toThrow(
        new TypeError(
          `The key of a lock must be well-formed Unicode, but '${shown}' has half of a surrogate pair: cut texts between characters.`,
        ),
      );
      expect(() => checkText('owner', key)).toThrow(/^owner must be well-formed Unicode/);
    },
  );

  test('is told from whole surrogate pairs, which pass', () => {
    expect(checkKey('job/\u{1f512}\u{10ffff}')).toBe('job/\u{1f512}\u{10ffff}');
  });
});

describe('printable', () => {
  test.each([
    ['C0 controls', 'a\u001b[2K\r\n\t\0', 'a\\u001b[2K\\u000d\\u000a\\u0009\\u0000'],
    ['DEL and C1 controls', '\u007f\u009b31m\u0085', '\\u007f\\u009b31m\\u0085'],
    ['marks of direction', '\u202egpj\u2066\u200f\u061c', '\\u202egpj\\u2066\\u200f\\u061c'],
    ['line and paragraph separators', '\u2028\u2029', '\\u2028\\u2029'],
    ['invisible characters', 'a\u200bb\ufeff\u00ad', 'a\\u200bb\\ufeff\\u00ad'],
    ['halves of surrogate pairs', '\ud800 \udfff', '\\ud800 \\udfff'],
    ['characters beyond the BMP that nobody prints', '\u{e0041}\u{10ffff}', '\\udb40\\udc41\\udbff\\udfff'],
  ])('escapes %s', (_, text, escaped) => {
    expect(printable(text)).toBe(escaped);
    expect(JSON.parse(`"${escaped}"`)).toBe(text);
  });

  test('leaves what is printed', () => {
    const text = "nightly/réport 'x' \u{1f512} 日本 a\\b";
    expect(printable(text)).toBe(text);
    expect(show(text)).toBe(`'${text}'`);
  });
});

test('a long text is cut between characters for a message', () => {
  expect(show(`${'x'.repeat(79)}\u{1f512}yz`)).toBe(`'${'x'.repeat(79)}…'`);
});

test('an unknown option is shown escaped', () => {
  expect(() => checkNames('acquire', { 'on\nBusy': 1 }, known)).toThrow("acquire has no option 'on\\u000aBusy'");
});
