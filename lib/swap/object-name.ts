import { createHash } from 'node:crypto';

/** The bytes of a key that stand for themselves in a name. Capitals do not: some file systems know no difference of case. */
const PLAIN = /[a-z0-9_\-/]/;
/** Stands before the hash of a key that is too long. No name without a hash has this character. */
const CUT = '~';
/** The length of `CUT` and a hash. */
const HASH_LENGTH = 65;

/**
 * Makes the name of an object or a file from a key. Other bytes of the key's UTF-8 than `a-z`, `0-9`, `_`, `-` and `/` become
 * `%xx`. So the beginning of a key is the beginning of its name, and a prefix of keys can be granted and listed. A name that
 * would be longer than `most` is cut, and ends in a hash of the whole key.
 */
export function nameOf(key: string, most: number): string {
  const name = escaped(key);
  if (name.length <= most) return name;
  return prefixOf(key, most) + CUT + createHash('sha256').update(key).digest('hex');
}

/** The beginning that the names of all keys with a prefix share, also of those keys whose names are cut. */
export const prefixOf = (prefix: string, most: number): string =>
  escaped(prefix)
    .slice(0, most - HASH_LENGTH)
    .replace(/%.?$/, '');

/** Escapes a key, or the beginning of a key. */
export const escaped = (key: string): string =>
  Array.from(Buffer.from(key), (byte) => {
    const character = String.fromCharCode(byte);
    return PLAIN.test(character) ? character : `%${byte.toString(16).padStart(2, '0')}`;
  }).join('');

/** Reads the key from a name. Undefined if the name was cut, or if leasehold did not make the name. */
export function keyOf(name: string): string | undefined {
  const text = name.replaceAll(/%([0-9a-f]{2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
  const key = Buffer.from(text, 'latin1').toString();
  return escaped(key) === name ? key : undefined;
}
