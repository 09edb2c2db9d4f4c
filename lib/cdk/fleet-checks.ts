import { Annotations, NestedStack, Stack, Token } from 'aws-cdk-lib';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import type * as scheduler from 'aws-cdk-lib/aws-scheduler';
import type * as sqs from 'aws-cdk-lib/aws-sqs';
import type { Construct, IConstruct } from 'constructs';
import { show } from '../record/check.ts';
import { functionFault } from './functions.ts';
import { invalid } from './invalid.ts';
import type { ILockTable } from './lock-table-base.ts';

/** The most workers of a fleet: as many as Lambda runs at a time in an account, unless the quota was raised. */
const MOST_WORKERS = 1_000;

export function checkWorkers(scope: Construct, workers: number): void {
  if (!Token.isUnresolved(workers) && Number.isInteger(workers) && workers >= 1 && workers <= MOST_WORKERS) return;
  const shown = Token.isUnresolved(workers) ? 'a token, known at deployment only' : String(workers);
  throw invalid(scope, `workers must be a whole number from 1 to 1,000, but it is ${shown}.`);
}

export function checkSchedule(scope: Construct, schedule: scheduler.ScheduleExpression): void {
  if (typeof schedule?.expressionString === 'string') return;
  throw invalid(
    scope,
    `schedule must be a ScheduleExpression, such as ScheduleExpression.cron({ hour: '2', minute: '0' }), but it is ${show(schedule)}.`,
  );
}

export function checkFunction(scope: Construct, fn: lambda.Function, workers: number): void {
  const fault = functionFault(fn);
  if (fault) throw invalid(scope, `function must be a Function of this app, but it is ${fault.found}.`);
  if (fn.node.tryFindChild('EventInvokeConfig')) {
    throw invalid(
      scope,
      `function must leave its asynchronous invocations to the fleet, but ${fn.node.path} has set them up already: by retryAttempts, maxEventAge, onFailure or onSuccess, or as the function of another fleet.`,
    );
  }
  const { reservedConcurrentExecutions: reserved } = fn.node.defaultChild as lambda.CfnFunction;
  if (typeof reserved === 'number' && !Token.isUnresolved(reserved) && reserved < workers) {
    const effect =
      reserved === 0
        ? 'so that no worker runs, and every start is lost after six hours'
        : `so that ${workers - reserved} of ${workers} workers wait, for up to six hours, until the others have ended`;
    const instead = reserved === 0 ? '' : `, or start ${reserved} workers`;
    Annotations.of(scope).addWarningV2(
      'leasehold:reservedConcurrency',
      `${fn.node.path} has a reserved concurrency of ${reserved}, ${effect}. Raise reservedConcurrentExecutions to ${workers}${instead}.`,
    );
  }
}

/**
 * Refuses a function of another stack. The fleet refers to the function, and the function refers to the table and the queue
 * of the fleet: two stacks would need each other first.
 */
export function checkStack(
  scope: Construct,
  fn: lambda.Function,
  given: { readonly lockTable?: ILockTable; readonly deadLetterQueue?: sqs.IQueue },
): void {
  const ours = Stack.of(scope);
  const theirs = Stack.of(fn);
  // A nested stack takes what it needs as parameters of the stack around it.
  const isInside = (stack: Stack | undefined): boolean =>
    stack !== undefined && (stack === ours || (NestedStack.isNestedStack(stack) && isInside(stack.nestedStackParent)));
  const { lockTable, deadLetterQueue } = given;
  // An imported table or queue belongs to no stack.
  const isElsewhere = (construct: IConstruct | undefined) =>
    construct !== undefined && (construct.node.defaultChild === undefined || !isInside(Stack.of(construct)));
  const missing = [
    ...(isElsewhere(lockTable?.table) ? [] : ['lockTable']),
    ...(isElsewhere(deadLetterQueue) ? [] : ['deadLetterQueue']),
  ];
  if (isInside(theirs) || missing.length === 0) return;
  throw invalid(
    scope,
    `function must be in the fleet's stack ${ours.node.path}, or each of the two stacks would need the other first, but ${fn.node.path} is in ${theirs.node.path}; make the fleet in that stack, or pass a ${missing.join(' and a ')} of that stack.`,
  );
}

export function checkQueue(scope: Construct, queue: sqs.IQueue | undefined): void {
  if (queue === undefined) return;
  if (typeof queue?.queueUrl !== 'string') {
    const { path } = (queue as Partial<sqs.IQueue> | null)?.node ?? {};
    throw invalid(scope, `deadLetterQueue must be a Queue, but it is ${path ?? show(queue)}.`);
  }
  if (!queue.fifo) return;
  throw invalid(
    scope,
    `deadLetterQueue must be a standard queue, since EventBridge Scheduler sends to no other, but ${queue.node.path} is a FIFO queue.`,
  );
}
