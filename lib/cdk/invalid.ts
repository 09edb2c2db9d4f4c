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
  const fault = Array.isArray(actions) ? actions.find((action) => typeof action?.bind !== 'function') : actions;
  if (Array.isArray(actions) && fault === undefined) return;
  throw invalid(
    scope,
    `${name} must be an array of actions, such as [new SnsAction(topic)] of aws-cdk-lib/aws-cloudwatch-actions, but there is ${show(fault)}.`,
  );
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
