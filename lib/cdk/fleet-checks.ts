import { Annotations, Duration, Token } from 'aws-cdk-lib';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import type { Construct } from 'constructs';
import { functionOf } from './functions.ts';
import { invalid, shown } from './invalid.ts';

/** The most workers of a fleet: as many as Lambda runs at a time in an account, unless the quota was raised. */
const MOST_WORKERS = 1_000;

export function checkWorkers(scope: Construct, workers: number): void {
  const isToken = Token.isUnresolved(workers);
  if (!isToken && Number.isInteger(workers) && workers >= 1 && workers <= MOST_WORKERS) return;
  const found = typeof workers === 'number' && !isToken ? workers : shown(workers);
  throw invalid(scope, `workers must be a whole number from 1 to 1,000, but it is ${found}.`);
}

/** Warns of a function that cannot run all workers at a time. */
export function warnOfConcurrency(
  scope: Construct,
  props: {
    readonly function: lambda.Function | lambda.Alias;
    readonly workers: number;
    readonly maxEventAge?: Duration;
  },
): void {
  const { workers, maxEventAge = Duration.hours(6) } = props;
  const fn = functionOf(props.function);
  const { reservedConcurrentExecutions: reserved } = fn.node.defaultChild as lambda.CfnFunction;
  if (typeof reserved !== 'number' || Token.isUnresolved(reserved) || reserved >= workers) return;
  const longest = maxEventAge.toHumanString();
  const effect =
    reserved === 0
      ? `so that no worker runs, and every start is lost after ${longest}`
      : `so that ${workers - reserved} of ${workers} workers wait, for up to ${longest}, until the others have ended`;
  const instead = reserved === 0 ? '' : `, or start ${reserved} workers`;
  Annotations.of(scope).addWarningV2(
    'leasehold:reservedConcurrency',
    `${fn.node.path} has a reserved concurrency of ${reserved}, ${effect}. Raise reservedConcurrentExecutions to ${workers}${instead}.`,
  );
}
