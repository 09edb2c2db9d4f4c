import { type Duration, NestedStack, Stack, Token } from 'aws-cdk-lib';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import type * as scheduler from 'aws-cdk-lib/aws-scheduler';
import type * as sqs from 'aws-cdk-lib/aws-sqs';
import type { Construct, IConstruct } from 'constructs';
import { show } from '../record/check.ts';
import { functionFault, functionOf } from './functions.ts';
import { checkFlags, invalid, lengthOf, shown } from './invalid.ts';
import type { ILockTable } from './lock-table-base.ts';

export function checkFunction(scope: Construct, fn: lambda.Function | lambda.Alias): void {
  const fault = functionFault(functionOf(fn));
  if (fault) {
    throw invalid(scope, `function must be a Function of this app, or an Alias of one, but it is ${fault.found}.`);
  }
  if (!fn.node.tryFindChild('EventInvokeConfig')) return;
  throw invalid(
    scope,
    `function must leave its asynchronous invocations to this construct, but ${fn.node.path} has set them up already: by retryAttempts, maxEventAge, onFailure or onSuccess, or as the function of another job or fleet.`,
  );
}

/**
 * Refuses a function of another stack. The construct refers to the function, and the function refers to the table and the
 * queue of the construct: two stacks would need each other first.
 */
export function checkStack(
  scope: Construct,
  fn: lambda.Function | lambda.Alias,
  given: { readonly lockTable?: ILockTable; readonly deadLetterQueue?: sqs.IQueue },
): void {
  const ours = Stack.of(scope);
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
  const outside = [functionOf(fn), fn].find((part) => !isInside(Stack.of(part)));
  if (outside === undefined || missing.length === 0) return;
  throw invalid(
    scope,
    `function must be in the stack ${ours.node.path}, or each of the two stacks would need the other first, but ${outside.node.path} is in ${Stack.of(outside).node.path}; make this construct in that stack, or pass a ${missing.join(' and a ')} of that stack.`,
  );
}

export function checkQueue(scope: Construct, queue: sqs.IQueue | undefined): void {
  if (queue === undefined) return;
  if (typeof queue?.queueUrl !== 'string') {
    const { path } = (queue as Partial<sqs.IQueue> | null)?.node ?? {};
    throw invalid(scope, `deadLetterQueue must be a Queue, but it is ${path ?? show(queue)}.`);
  }
  const { region } = queue.env;
  const ours = Stack.of(scope).region;
  if (![region, ours].some((each) => Token.isUnresolved(each)) && region !== ours) {
    throw invalid(
      scope,
      `deadLetterQueue must be in the stack's Region, ${ours}, but ${queue.node.path} is in ${region}.`,
    );
  }
  if (!queue.fifo) return;
  throw invalid(
    scope,
    `deadLetterQueue must be a standard queue, since EventBridge Scheduler sends to no other, but ${queue.node.path} is a FIFO queue.`,
  );
}

/** The props that say when the schedules start runs. */
export interface ScheduleTimes {
  readonly enabled?: boolean;
  readonly start?: Date;
  readonly end?: Date;
  readonly maxEventAge?: Duration;
  readonly scheduleGroup?: scheduler.IScheduleGroup;
}

export function checkTimes(scope: Construct, { enabled, start, end, maxEventAge, scheduleGroup }: ScheduleTimes): void {
  checkFlags(scope, { enabled });
  for (const [name, date] of Object.entries({ start, end })) {
    if (date === undefined || (date instanceof Date && !Number.isNaN(date.getTime()))) continue;
    throw invalid(
      scope,
      `${name} must be a valid Date, such as new Date('2026-01-01T00:00:00Z'), but it is ${date instanceof Date ? date : shown(date)}.`,
    );
  }
  if (start && end && start >= end) {
    throw invalid(
      scope,
      `end must be later than start, but start is ${start.toISOString()} and end is ${end.toISOString()}.`,
    );
  }
  checkAge(scope, maxEventAge);
  if (scheduleGroup !== undefined && typeof scheduleGroup?.scheduleGroupName !== 'string') {
    throw invalid(
      scope,
      `scheduleGroup must be a ScheduleGroup, or one of ScheduleGroup.fromScheduleGroupName(), but it is ${show(scheduleGroup)}.`,
    );
  }
}

/** Lambda's bounds, which are narrower than Scheduler's. */
function checkAge(scope: Construct, age: Duration | undefined): void {
  if (age === undefined) return;
  const seconds = lengthOf(age, 'toSeconds');
  if (Number.isInteger(seconds) && seconds >= 60 && seconds <= 6 * 3_600) return;
  throw invalid(
    scope,
    `maxEventAge must be a Duration of 1 minute to 6 hours, in whole seconds, but it is ${shown(age)}.`,
  );
}
