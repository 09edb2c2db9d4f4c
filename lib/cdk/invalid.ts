import type { Duration } from 'aws-cdk-lib';
import { RemovalPolicy, Token } from 'aws-cdk-lib';
import type { IAlarmAction } from 'aws-cdk-lib/aws-cloudwatch';
import type { IConstruct } from 'constructs';
import { show } from '../record/check.ts';

/**
 * Makes the error of a bad argument. Its message begins with the construct's path: so the user of a large app finds the
 * line.
 */
export const invalid = (scope: IConstruct, message: string): TypeError =>
  new TypeError(`[${scope.node.path}] ${message}`);

/** No class is asked for: an app may hold two copies of the CDK. */
export const isDuration = (value: unknown): value is Duration =>
  typeof (value as Partial<Duration> | null | undefined)?.toMilliseconds === 'function';

/** The length of a duration in a unit. NaN for what is no duration, and for a token. */
export const lengthOf = (value: unknown, unit: 'toDays' | 'toMinutes' | 'toSeconds'): number =>
  isDuration(value) && !value.isUnresolved() ? value[unit]({ integral: false }) : Number.NaN;

/** Formats a prop's value for a message. The text of a token, such as `Duration.hours(-1.88e+289)`, would say nothing. */
export function shown(value: unknown): string {
  if (Token.isUnresolved(value) || (isDuration(value) && value.isUnresolved())) {
    return 'a token, known at deployment only';
  }
  return isDuration(value) ? value.toString() : show(value);
}

/** Refuses a flag that is neither true nor false: a text, such as 'false', would count as true. */
export function checkFlag(scope: IConstruct, name: string, value: unknown): void {
  if (typeof value === 'boolean' || Token.isUnresolved(value)) return;
  throw invalid(scope, `${name} must be true or false, but it is ${show(value)}.`);
}

/** Does what `checkFlag` does for flags that may be left out. */
export function checkFlags(scope: IConstruct, flags: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(flags)) if (value !== undefined) checkFlag(scope, name, value);
}

/** Refuses actions that are no actions of alarms, such as the ARN of a topic. */
export function checkActions(scope: IConstruct, name: string, actions: readonly IAlarmAction[] | undefined): void {
  if (actions === undefined) return;
  checkArray(scope, name, actions, {
    kind: 'actions, such as [new SnsAction(topic)] of aws-cdk-lib/aws-cloudwatch-actions',
    isOne: (action: IAlarmAction | undefined) => typeof action?.bind === 'function',
  });
}

/**
 * Refuses what is no array, and an array with an element that is not of the kind.
 * @param kind the elements, for the message.
 */
export function checkArray<T>(
  scope: IConstruct,
  name: string,
  values: unknown,
  { kind, isOne }: { readonly kind: string; readonly isOne: (value: T | undefined) => boolean },
): void {
  const isArray = Array.isArray(values);
  const index = isArray ? values.findIndex((value) => !isOne(value)) : -1;
  if (isArray && index < 0) return;
  const found = isArray ? `${name}[${index}] is ${shown(values[index])}` : `it is ${shown(values)}`;
  throw invalid(scope, `${name} must be an array of ${kind}, but ${found}.`);
}

/** Refuses what is no removal policy: the CDK's own error names no construct. */
export function checkRemoval(scope: IConstruct, policy: unknown): void {
  const policies = Object.values(RemovalPolicy);
  if (policy === undefined || policies.includes(policy as RemovalPolicy)) return;
  throw invalid(
    scope,
    `removalPolicy must be a RemovalPolicy, one of ${policies.join(', ')}, but it is ${show(policy)}.`,
  );
}
