import type { IResource } from 'aws-cdk-lib';
import { Token } from 'aws-cdk-lib';
import type * as iam from 'aws-cdk-lib/aws-iam';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import { functionFault, functionOf, variableFault, warnOfRuntime } from './functions.ts';
import { invalid } from './invalid.ts';

/** The place of locks that a function is told of. */
export interface Place {
  readonly place: 'table' | 'bucket';
  /** The environment variables of the function. The first names the place. */
  readonly variables: Readonly<Record<string, string>>;
}

/**
 * Makes a function a user of a place of locks: grants, and sets environment variables.
 * @param grant grants to the function. A grant that is refused leaves the function as it was.
 */
export function attach(
  scope: IResource,
  attached: lambda.Function | lambda.Alias,
  { place, variables }: Place,
  grant: (fn: lambda.Function) => iam.Grant,
): iam.Grant {
  // 1. This app sets the function's environment, where the place's name means this place.
  const fn = functionOf(attached);
  const [name = ''] = Object.keys(variables);
  const kind = functionFault(fn, { name, value: place === 'table' ? 'lockTable.tableName' : 'lockBucket.bucketName' });
  if (kind) {
    throw invalid(scope, `attach() must be given a function of this app, but it is ${kind.found}; ${kind.instead}.`);
  }
  for (const where of ['region', 'account'] as const) {
    const ours = scope.env[where];
    const theirs = fn.env[where];
    if (!Token.isUnresolved(ours) && !Token.isUnresolved(theirs) && ours !== theirs) {
      throw invalid(
        scope,
        `attach() must be given a function in the ${place}'s ${where} ${ours}, but ${fn.node.path} is in ${theirs}; grant with grants.lock() and tell the function's store which ${place} it is.`,
      );
    }
  }
  // 2. Nobody else has set the variables.
  const second = `for a second ${place} grant with grants.lock() and tell the store its name`;
  const faults = () => Object.entries(variables).flatMap(([name, value]) => variableFault(fn, name, value, second));
  const [fault] = faults();
  if (fault) throw invalid(scope, fault);
  warnOfRuntime(fn);
  // 3. Grant first.
  const granted = grant(fn);
  for (const [name, value] of Object.entries(variables)) fn.addEnvironment(name, value);
  // A variable that is set after this call would replace the place behind the grant.
  fn.node.addValidation({ validate: faults });
  return granted;
}
