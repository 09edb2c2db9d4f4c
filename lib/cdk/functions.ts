import { Annotations, Stack } from 'aws-cdk-lib';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import type { IConstruct } from 'constructs';
import { LOCK_TABLE_NAME } from '../names.ts';
import { show } from '../record/check.ts';

/** The parts by which the kinds of constructs are told apart. No class is asked for: an app may hold two copies of the CDK. */
type Found = Partial<IConstruct> & {
  readonly addEnvironment?: unknown;
  readonly lambda?: unknown;
  readonly functionArn?: unknown;
  readonly role?: unknown;
  readonly taskRole?: unknown;
  readonly taskDefinition?: unknown;
};

const resourceTypeOf = ({ node }: Found): string | undefined =>
  (node?.defaultChild as lambda.CfnFunction | undefined)?.cfnResourceType;

/** The function behind an alias, or the value itself. An alias gets the environment of its function with the next version. */
export function functionOf(fn: lambda.Function | lambda.Alias): lambda.Function {
  const found = fn as Partial<lambda.Alias> | undefined;
  return (found?.aliasName === undefined ? fn : found.lambda) as lambda.Function;
}

/** The function behind an alias or a version: its name, without a qualifier, is what the function publishes its metrics by. */
export const unqualified = (fn: lambda.IFunction): lambda.IFunction =>
  (fn as Partial<lambda.Alias> | undefined)?.lambda ?? fn;

/**
 * Says that a value is no function whose environment this app sets, and what to do with such a value.
 * @param variable the environment variable that the function needs, and the construct's property that has the value.
 */
export function functionFault(
  value: unknown,
  variable = { name: LOCK_TABLE_NAME as string, value: 'lockTable.tableName' },
): { readonly found: string; readonly instead: string } | undefined {
  if (typeof value !== 'object' || value === null) return { found: show(value), instead: 'pass a Function' };
  const found: Found = value;
  const { addEnvironment, taskRole, taskDefinition } = found;
  const type = resourceTypeOf(found);
  if (type === 'AWS::Lambda::Function' && typeof addEnvironment === 'function') return undefined;
  const shown = found.node?.path ?? show(value);
  const set = `set the environment variable ${variable.name} to ${variable.value}`;
  if (taskRole ?? taskDefinition) {
    return {
      found: `${shown}, an ECS task`,
      instead: `grant its taskRole with grants.lock(), and ${set} of its container`,
    };
  }
  if (type === 'AWS::Lambda::Alias') return { found: `the alias ${shown}`, instead: 'pass its function' };
  if (type === 'AWS::Lambda::Version') {
    return { found: `the version ${shown}, whose environment is fixed`, instead: 'pass its function' };
  }
  if (typeof addEnvironment === 'function') {
    return {
      found: `${shown}, a singleton function`,
      instead: `grant with grants.lock(), and ${set} with addEnvironment()`,
    };
  }
  if (found.functionArn !== undefined) {
    const role = found.role ? '' : 'import it with its role, ';
    return {
      found: `the imported function ${shown}`,
      instead: `${role}grant with grants.lock(), and ${set} where it is made`,
    };
  }
  return { found: shown, instead: `grant with grants.lock(), and ${set}` };
}

/** The value of a function's environment variable, as the template has it. */
export function environmentOf(fn: lambda.Function, name: string): unknown {
  const { environment } = fn.node.defaultChild as lambda.CfnFunction;
  return Stack.of(fn).resolve(environment)?.variables?.[name];
}

/**
 * Says that a function's environment variable has another value than the expected one.
 * @param second the way to a second place of locks, for the message.
 */
export function variableFault(fn: lambda.Function, name: string, expected: string, second: string): string[] {
  const present = environmentOf(fn, name);
  if (present === undefined || JSON.stringify(present) === JSON.stringify(Stack.of(fn).resolve(expected))) return [];
  return [
    `attach() must set ${name} of ${fn.node.path} alone, but it is ${JSON.stringify(present)} already; ${second}.`,
  ];
}

/** The oldest runtime of Lambda that leasehold runs on. */
const LEAST_NODE = 22;

/** Warns of a function whose Node is too old: its first lock would fail. */
export function warnOfRuntime(fn: lambda.Function): void {
  const [, major] = /^nodejs(\d+)\.x$/.exec(fn.runtime.name) ?? [];
  if (major === undefined || Number(major) >= LEAST_NODE) return;
  Annotations.of(fn).addWarningV2(
    'leasehold:runtime',
    `leasehold needs Node ${LEAST_NODE}.3 or later, but the runtime is ${fn.runtime.name}. Take a later one.`,
  );
}
