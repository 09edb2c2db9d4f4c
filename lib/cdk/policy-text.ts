/** The parts of a policy on a lock table, for the constructs and for the command. So the file imports nothing of the CDK. */

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

/** The keys that a policy names for prefixes and keys. */
export const keyPatterns = (keyPrefixes: readonly string[], keys: readonly string[]): string[] => [
  ...keyPrefixes.map((prefix) => `${prefix}*`),
  ...keys,
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
