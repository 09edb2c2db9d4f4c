import { Annotations, Token } from 'aws-cdk-lib';
import type { IConstruct } from 'constructs';
import { bytes, MAX_TEXT_BYTES, show } from '../record/check.ts';
import { slotKeys } from '../record/slot-keys.ts';
import { invalid, shown } from './invalid.ts';
import { conditionOf, keyPatterns, policyFault } from './policy-text.ts';

/**
 * The locks that a grant is for. At least one of the options must be given. All may be.
 * @example
 * ```ts
 * import type { LockKeyOptions } from 'leasehold/cdk';
 *
 * export const locks: LockKeyOptions = { keyPrefixes: ['jobs/'], keys: ['closing'] };
 * ```
 */
export interface LockKeyOptions {
  /**
   * Locks whose key starts with one of these prefixes: `jobs/` allows `jobs/nightly`. End a prefix with a delimiter, or
   * `jobs` allows `jobs-of-others`, too: the synthesis warns. Each prefix has 1 to 1,024 bytes, holds no `*`, no `?` and no
   * `${`, and is known when the app is synthesised.
   *
   * @default - no prefixes
   */
  readonly keyPrefixes?: readonly string[];

  /**
   * Locks with exactly these keys. The same bounds as for prefixes.
   *
   * @default - no exact keys
   */
  readonly keys?: readonly string[];

  /**
   * Locks with permits: the greatest number of permits by the key, such as `{ partner: 5 }`. Allows the records of all
   * slots, `partner` and `partner#1` to `partner#4`, and to read these in one request. With more than 10 permits also other
   * keys with one or two characters behind the `#`, so that the policy stays short. The same bounds as for prefixes. Not
   * needed for keys that `keyPrefixes` of a fleet allow.
   *
   * @default - no locks with permits
   */
  readonly permits?: Readonly<Record<string, number>>;
}

/** The conditions of one statement. */
export type Conditions = Record<string, Record<string, unknown>>;

/**
 * Checks that the options name some locks, by keys and prefixes that a policy can hold.
 * @throws TypeError with the path of `scope`.
 */
export function checkKeys(scope: IConstruct, { keyPrefixes = [], keys = [], permits = {} }: LockKeyOptions): void {
  if (Token.isUnresolved(permits) || Object.prototype.toString.call(permits) !== '[object Object]') {
    throw invalid(scope, `permits must be an object such as { partner: 5 }, but it is ${show(permits)}.`);
  }
  const ofPermits = Object.keys(permits);
  for (const [name, values] of Object.entries({ keyPrefixes, keys, permits: ofPermits })) {
    if (Token.isUnresolved(values)) {
      throw invalid(scope, `${name} must be known when the app is synthesised, but it is the token ${values}.`);
    }
    if (!Array.isArray(values)) {
      throw invalid(scope, `${name} must be an array of strings, but it is ${show(values)}.`);
    }
    for (const [index, value] of values.entries()) {
      const fault = keyFault(value);
      if (fault) throw invalid(scope, `${name}[${index}] must ${fault}.`);
    }
  }
  for (const [key, number] of Object.entries(permits)) {
    if (Token.isUnresolved(number)) {
      throw invalid(
        scope,
        `permits of ${show(key)} must be known when the app is synthesised, but it is ${shown(number)}.`,
      );
    }
    try {
      slotKeys(key, number);
    } catch (error) {
      throw invalid(scope, `permits of ${show(key)}: ${(error as Error).message}`);
    }
  }
  if (keyPrefixes.length + keys.length + ofPermits.length === 0) {
    throw invalid(
      scope,
      "a grant must name its locks by keyPrefixes, keys or permits, but it names none; for every lock under 'jobs/' pass keyPrefixes: ['jobs/'].",
    );
  }
}

/** Checks a prop that is one key. */
export function checkKey(scope: IConstruct, key: string): void {
  const fault = keyFault(key);
  if (fault) throw invalid(scope, `key must ${fault}.`);
}

/** The characters of keys in one statement. With the rest of the statement, they fit into a policy of 6,144 characters. */
const MOST_CHARACTERS = 5_000;

/**
 * The conditions of statements that together allow the keys. IAM takes a policy of 6,144 characters, and the CDK moves what is
 * more into further policies, statement by statement.
 * @throws TypeError if the prefixes of a fleet do not fit into one statement: one read of a fleet names keys of all prefixes.
 */
export function keyConditions(scope: IConstruct, options: LockKeyOptions & { readonly fleet?: boolean }): Conditions[] {
  warnOfPrefixes(scope, options.keyPrefixes ?? []);
  const patterns = keyPatterns(options);
  const groups = grouped(patterns);
  if (options.fleet && groups.length > 1) {
    throw invalid(
      scope,
      `the keyPrefixes and keys of a fleet must fit into one statement of ${MOST_CHARACTERS} characters, since one request of a fleet reads keys of all, but these ${patterns.length} need more; name fewer and shorter prefixes.`,
    );
  }
  return groups.map(conditionOf);
}

/** Warns of prefixes that allow the locks of others, too. */
export function warnOfPrefixes(scope: IConstruct, keyPrefixes: readonly string[]): void {
  for (const prefix of keyPrefixes.filter((prefix) => /[A-Za-z0-9]$/.test(prefix))) {
    Annotations.of(scope).addWarningV2(
      'leasehold:prefixWithoutDelimiter',
      `The prefix '${prefix}' also allows the locks of others, such as '${prefix}-of-others'. End the prefix with a delimiter, as '${prefix}/', or name the key '${prefix}' in keys.`,
    );
  }
}

/**
 * Parts texts into groups that fit into one statement each.
 * @param besides the characters that the statement has besides for each text.
 */
export function grouped(texts: readonly string[], besides = 0): string[][] {
  const groups: string[][] = [];
  let room = 0;
  for (const text of texts) {
    const length = JSON.stringify([text]).length + besides;
    if (length > room) {
      groups.push([]);
      room = MOST_CHARACTERS;
    }
    groups.at(-1)?.push(text);
    room -= length;
  }
  return groups;
}

/** Says why a policy cannot hold a key or a prefix. */
function keyFault(value: unknown): string | undefined {
  if (typeof value !== 'string') return `be a string, but it is ${show(value)}`;
  if (value === '') return "not be empty, but it is ''";
  // Nobody can check a token's value, which comes at deployment: a '*' in the value would open every lock.
  if (Token.isUnresolved(value)) {
    return `be known when the app is synthesised, but it holds a token: '${value}'; use a constant, a stack's name or a context value`;
  }
  const shown = show(value);
  if (bytes(value) > MAX_TEXT_BYTES) return `have at most ${MAX_TEXT_BYTES} bytes, but ${shown} has ${bytes(value)}`;
  return policyFault(value, shown);
}
