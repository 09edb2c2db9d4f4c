import { Annotations, Token } from 'aws-cdk-lib';
import type { IConstruct } from 'constructs';
import { bytes, MAX_TEXT_BYTES, show } from '../record/check.ts';
import { invalid } from './invalid.ts';

/**
 * The locks that a grant is for. At least one of the two options must be given. Both may be.
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
}

/**
 * Checks that the options name some locks, by keys and prefixes that a policy can hold.
 * @throws TypeError with the path of `scope`.
 */
export function checkKeys(scope: IConstruct, { keyPrefixes = [], keys = [] }: LockKeyOptions): void {
  for (const [name, values] of Object.entries({ keyPrefixes, keys })) {
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
  if (keyPrefixes.length + keys.length === 0) {
    throw invalid(
      scope,
      "a grant must name its locks by keyPrefixes or keys, but it names none; for every lock under 'jobs/' pass keyPrefixes: ['jobs/'].",
    );
  }
}

/** The characters of keys in one statement. With the rest of the statement, they fit into a policy of 6,144 characters. */
const MOST_CHARACTERS = 5_000;

/**
 * The conditions of statements that together allow the keys. IAM takes a policy of 6,144 characters, and the CDK moves what is
 * more into further policies, statement by statement.
 *
 * `ForAllValues` is true of a request without any key, so the second condition demands that a request carries some:
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
 * @throws TypeError if the prefixes of a fleet do not fit into one statement: one read of a fleet names keys of all prefixes.
 */
export function keyConditions(
  scope: IConstruct,
  { keyPrefixes = [], keys = [], fleet = false }: LockKeyOptions & { readonly fleet?: boolean },
): Record<string, Record<string, unknown>>[] {
  warnOfPrefixes(scope, keyPrefixes);
  const groups = grouped([...keyPrefixes.map((prefix) => `${prefix}*`), ...keys]);
  if (fleet && groups.length > 1) {
    throw invalid(
      scope,
      `the keyPrefixes and keys of a fleet must fit into one statement of ${MOST_CHARACTERS} characters, since one request of a fleet reads keys of all, but these ${keyPrefixes.length + keys.length} need more; name fewer and shorter prefixes.`,
    );
  }
  return groups.map((group) => ({
    'ForAllValues:StringLike': { 'dynamodb:LeadingKeys': group },
    Null: { 'dynamodb:LeadingKeys': 'false' },
  }));
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
  if (/[*?]/.test(value)) return `hold no wildcard (* or ?), but it is ${shown}; a prefix gets its wildcard by itself`;
  if (value.includes('${')) return `hold no policy variable (\${…}), but it is ${shown}`;
  // IAM takes policies of the characters U+0020 to U+00FF only and refuses the deployment otherwise.
  if (/[^\u0020-\u00ff]/.test(value)) {
    return `hold only characters that an IAM policy can hold (U+0020 to U+00FF), but it is ${shown}`;
  }
  return undefined;
}
