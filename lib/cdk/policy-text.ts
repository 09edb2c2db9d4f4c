/** The parts of a policy on a lock table, for the constructs and for the command. So the file imports nothing of the CDK. */
import { slotKeys } from '../record/slot-keys.ts';

/** Says why a policy cannot hold a key or a prefix. */
export function policyFault(text: string, shown: string): string | undefined {
  if (/[*?]/.test(text)) return `hold no wildcard (* or ?), but it is ${shown}; a prefix gets its wildcard by itself`;
  if (text.includes('${')) return `hold no policy variable (\${…}), but it is ${shown}`;
  // IAM takes policies of the characters U+0020 to U+00FF only and refuses the deployment otherwise.
  if (/[^\u0020-\u00ff]/.test(text)) {
    return `hold only characters that an IAM policy can hold (U+0020 to U+00FF), but it is ${shown}`;
  }
  return undefined;
}

/** The actions of whoever takes locks. */
export function lockActions({ fleet, guardedWrites }: { fleet?: boolean; guardedWrites?: boolean }): string[] {
  const actions = ['dynamodb:UpdateItem', 'dynamodb:GetItem'];
  if (fleet) actions.push('dynamodb:BatchGetItem');
  if (guardedWrites) actions.push('dynamodb:ConditionCheckItem');
  return actions;
}

/** The most permits, and characters, of a key whose slots a policy names one by one. */
const MOST_NAMED = { permits: 10, characters: 1_000 };

/**
 * The keys of all slots as a policy names them: one by one, or, if these are many, by patterns for numbers of one digit and of
 * two.
 * @param nameOf the name of a key in the policy, which ends in the number of the slot.
 */
export function slotPatterns(key: string, permits: number, nameOf = (key: string): string => key): string[] {
  const names = slotKeys(key, permits).map(nameOf);
  const [first = '', second = ''] = names;
  const isShort = permits <= MOST_NAMED.permits && names.join().length <= MOST_NAMED.characters;
  if (isShort || permits === 1) return names;
  const before = second.slice(0, -1);
  return [first, `${before}?`, ...(permits > 10 ? [`${before}??`] : [])];
}

/** Locks by which a policy names what it allows. */
export interface NamedLocks {
  readonly keyPrefixes?: readonly string[] | undefined;
  readonly keys?: readonly string[] | undefined;
  readonly permits?: Readonly<Record<string, number>> | undefined;
}

/** The keys of records, or patterns of such keys, that a policy names. */
export const keyPatterns = ({ keyPrefixes = [], keys = [], permits = {} }: NamedLocks): string[] => [
  ...keyPrefixes.map((prefix) => `${prefix}*`),
  ...keys,
  ...Object.entries(permits).flatMap(([key, number]) => slotPatterns(key, number)),
];

/**
 * The conditions of a statement that allows the keys.
 *
 * `ForAllValues` is true of a request without any key, so the second condition demands that a request carries some:
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
 */
export const conditionOf = (keys: readonly string[]) => ({
  'ForAllValues:StringLike': { 'dynamodb:LeadingKeys': keys },
  Null: { 'dynamodb:LeadingKeys': 'false' },
});

/** The requests that read all slots of a lock with permits, with the conditions of one statement for each key. */
export const readOfSlots = ({ permits = {} }: NamedLocks) => ({
  actions: ['dynamodb:BatchGetItem'],
  conditions: Object.entries(permits).map(([key, number]) => conditionOf(slotPatterns(key, number))),
});
