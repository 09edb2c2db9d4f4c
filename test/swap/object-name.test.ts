import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { escaped, keyOf, nameOf } from '../../lib/swap/object-name.ts';

/** Keys of leases: well-formed Unicode of 1 to 1,024 bytes. Half of them are long. */
const anyKey = fc
  .oneof(
    fc.string({ unit: 'grapheme', minLength: 1 }),
    fc.string({ unit: fc.constantFrom('a', '/', '.', '%', '~', 'A', 'é', '😀'), minLength: 1, maxLength: 1_024 }),
  )
  .filter((key) => key.isWellFormed() && Buffer.byteLength(key) <= 1_024);
/** The longest name of a file, of an object, and the least that holds a hash. */
const most = fc.constantFrom(255, 1_024, 65);

describe('the name of an object', () => {
  test('leads back to its key, unless the name was cut', () => {
    fc.assert(
      fc.property(anyKey, most, (key, most) => {
        const name = nameOf(key, most);
        expect(keyOf(name)).toBe(escaped(key).length <= most ? key : undefined);
      }),
    );
  });

  test('has only bytes that every file system and every server takes as they are, and no capitals', () => {
    fc.assert(
      fc.property(anyKey, most, (key, most) => {
        expect(nameOf(key, most)).toMatch(/^[a-z0-9_\-/%~]+$/);
      }),
    );
  });

  test('is as long as allowed at the most', () => {
    fc.assert(
      fc.property(anyKey, most, (key, most) => {
        expect(nameOf(key, most).length).toBeLessThanOrEqual(most);
      }),
    );
  });

  test('begins with the escaped beginning of its key', () => {
    fc.assert(
      fc.property(anyKey, fc.nat(), (key, cut) => {
        const beginning = Array.from(key)
          .slice(0, cut % key.length)
          .join('');
        expect(nameOf(key, Number.POSITIVE_INFINITY).startsWith(escaped(beginning))).toBe(true);
      }),
    );
  });

  test('that was cut begins with the beginning of its key, and no escape in it is cut in two', () => {
    fc.assert(
      fc.property(anyKey, fc.nat({ max: 300 }), (end, padding) => {
        const key = `${'a'.repeat(padding)}${'é'.repeat(128)}${end}`;
        const [beginning = '', hash] = nameOf(key, 255).split('~');
        expect(hash).toHaveLength(64);
        expect(escaped(key).startsWith(beginning)).toBe(true);
        expect(beginning).not.toMatch(/%.?$/);
      }),
    );
  });

  test('differs for two keys, also if both names are cut', () => {
    const beginning = fc.constantFrom('', 'a'.repeat(300), 'A'.repeat(90));
    fc.assert(
      fc.property(beginning, anyKey, anyKey, most, (beginning, one, other, most) => {
        fc.pre(one !== other);
        expect(nameOf(beginning + one, most)).not.toBe(nameOf(beginning + other, most));
      }),
    );
  });

  test('of a key that looks like a cut name, or like an escape, is another name', () => {
    const long = 'a'.repeat(300);
    expect(nameOf(nameOf(long, 255), 255)).not.toBe(nameOf(long, 255));
    expect(nameOf('%41', 255)).toBe('%2541');
    expect(nameOf('A', 255)).toBe('%41');
    expect(nameOf('..', 255)).toBe('%2e%2e');
  });

  test.each(['a~b', '%4', '%zz', '%FF', '%ff', 'A', 'a b', 'é', '%61'])(
    'that leasehold did not make leads to no key: %s',
    (name) => {
      expect(keyOf(name)).toBeUndefined();
    },
  );
});
