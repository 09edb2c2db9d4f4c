import { Duration, Stack } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import * as scheduler from 'aws-cdk-lib/aws-scheduler';
import type { ScheduleTargetBaseProps } from 'aws-cdk-lib/aws-scheduler-targets';
import type * as sqs from 'aws-cdk-lib/aws-sqs';
import type { Construct } from 'constructs';
import type { ScheduleTimes } from './scheduled-function-checks.ts';

/** Makes a role that a service takes for this account alone. */
export const serviceRole = (scope: Construct, id: string, service: string): iam.Role =>
  new iam.Role(scope, id, {
    assumedBy: new iam.ServicePrincipal(service, {
      conditions: { StringEquals: { 'aws:SourceAccount': Stack.of(scope).account } },
    }),
  });

/** Allows a role to invoke the function, and no version of it, or the alias alone. */
export function grantStart(fn: lambda.Function | lambda.Alias, role: iam.Role): void {
  if ('aliasName' in fn) fn.grantInvoke(role);
  else fn.grantInvokeLatestVersion(role);
}

/**
 * Gives the part of a schedule's target that a job and a fleet share. A start that was not delivered is tried again. A start
 * that is delivered twice changes nothing: the lock, and the time as its `once` token, let one run. A start that comes much
 * later is better left to the next run.
 * @param role the role of the schedule, which is allowed what it needs.
 */
export const targetProps = (
  role: iam.Role,
  deadLetterQueue: sqs.IQueue,
  { maxEventAge = Duration.minutes(15) }: ScheduleTimes,
): ScheduleTargetBaseProps => ({
  // A target's own grants would cover more: every version of a function.
  role: role.withoutPolicyUpdates(),
  maxEventAge,
  deadLetterQueue,
  input: scheduler.ScheduleTargetInput.fromObject({ time: scheduler.ContextAttribute.scheduledTime }),
});

/** Makes a schedule that starts its target at the minute. */
export function addSchedule(
  scope: Construct,
  id: string,
  expression: scheduler.ScheduleExpression,
  target: scheduler.IScheduleTarget,
  { enabled, start, end, scheduleGroup }: ScheduleTimes,
): scheduler.Schedule {
  const schedule = new scheduler.Schedule(scope, id, {
    schedule: expression,
    timeWindow: scheduler.TimeWindow.off(),
    target,
    ...(enabled !== undefined && { enabled }),
    // Scheduler refuses a schedule whose start has passed, and starts without one at once.
    ...(start && start.getTime() > Date.now() && { start }),
    ...(end && { end }),
    ...(scheduleGroup && { scheduleGroup }),
  });
  // A group whose name is given is referred to by that name: without this, the schedule may be made before its group.
  if (scheduleGroup) schedule.node.addDependency(scheduleGroup);
  return schedule;
}
