import type { Duration } from 'aws-cdk-lib';
import type * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import { SqsDestination } from 'aws-cdk-lib/aws-lambda-destinations';
import type * as scheduler from 'aws-cdk-lib/aws-scheduler';
import * as sqs from 'aws-cdk-lib/aws-sqs';
import type { Construct } from 'constructs';
import { acknowledge } from './acknowledge.ts';
import type { LockGrantOptions } from './grants.ts';
import { checkActions, checkFlags } from './invalid.ts';
import { LockTable } from './lock-table.ts';
import { checkLockTable, type ILockTable } from './lock-table-base.ts';
import { checkRetention, queueRetentionFor, retentionFor } from './retention.ts';
import { checkFunction, checkQueue, checkStack, checkTimes } from './scheduled-function-checks.ts';

/**
 * The props that a `SingletonJob` and a `SingletonFleet` have in common: a function that schedules start under a lock.
 * @example
 * ```ts
 * import { Duration } from 'aws-cdk-lib';
 * import type { Function } from 'aws-cdk-lib/aws-lambda';
 * import type { ScheduledFunctionProps } from 'leasehold/cdk';
 *
 * export const propsFor = (worker: Function): ScheduledFunctionProps => ({
 *   function: worker.addAlias('live'),
 *   start: new Date('2030-01-01T00:00:00Z'),
 *   maxEventAge: Duration.minutes(30),
 *   runsWithin: Duration.hours(25),
 * });
 * ```
 */
export interface ScheduledFunctionProps {
  /**
   * The function that is started, in this construct's stack, or an alias of such a function. The construct makes the function
   * a user of the lock table, as `lockTable.attach` does, and turns the retries of its asynchronous invocations off. With an
   * alias, that counts for the alias alone, and the alias is what is started.
   */
  readonly function: lambda.Function | lambda.Alias;

  /**
   * Allows `conditionCheck` and `writeWhileHeld`: transactions that commit only while the lock is held.
   *
   * @default false
   */
  readonly guardedWrites?: boolean;

  /**
   * The table of the locks. Its `retention` must be a day longer than the dead-letter queue keeps a message: an event that is
   * redriven later would repeat work that is done.
   *
   * @default - a new `LockTable`, with its alarms, and with such a retention
   */
  readonly lockTable?: ILockTable;

  /**
   * The queue for the event of an invocation that was not started, or that failed: a standard queue, in the stack's Region.
   *
   * @default - a new queue that refuses requests without TLS, and keeps its messages for 14 days or, if that is less, for a
   *   day less than `lockTable` keeps its records
   */
  readonly deadLetterQueue?: sqs.IQueue;

  /**
   * The longest time from one run to the next, with some reserve: 25 hours for a nightly run. If there is none for so long,
   * the alarm `didNotRun` goes off. Whole hours up to 7 days, or whole minutes up to a day. The synthesis warns of less than
   * the period of the only schedule.
   *
   * @default - no such alarm
   */
  readonly runsWithin?: Duration;

  /**
   * The actions of every alarm.
   *
   * @default - nothing but to show it
   */
  readonly alarmActions?: readonly cloudwatch.IAlarmAction[];

  /**
   * Lets the schedules start runs. With `false`, the alarm `didNotRun` shows its state and takes no actions.
   *
   * @default true
   */
  readonly enabled?: boolean;

  /**
   * The time before which no schedule starts a run. EventBridge Scheduler ignores the time for a schedule `at` one time.
   *
   * @default - from the deployment on
   */
  readonly start?: Date;

  /**
   * The time after which no schedule starts a run: later than `start`. EventBridge Scheduler ignores the time for a schedule
   * `at` one time. The alarm `didNotRun` goes off after the last run. The synthesis warns of an end that has passed.
   *
   * @default - without end
   */
  readonly end?: Date;

  /**
   * The greatest age of an event, 1 minute to 6 hours, in whole seconds. Counts twice, each time from zero: while EventBridge
   * Scheduler tries to deliver a start, and while Lambda keeps the event of an asynchronous invocation for which there is no
   * concurrency. An older event goes to the dead-letter queue. Larger means that a run may begin later, smaller that a short
   * outage costs a run.
   *
   * @default - 15 minutes for Scheduler, 6 hours for Lambda
   */
  readonly maxEventAge?: Duration;

  /**
   * The group of the schedules.
   *
   * @default - Scheduler's group `default`
   */
  readonly scheduleGroup?: scheduler.IScheduleGroup;
}

export const SCHEDULED_FUNCTION_PROPS = {
  function: 0,
  guardedWrites: 0,
  lockTable: 0,
  deadLetterQueue: 0,
  runsWithin: 0,
  alarmActions: 0,
  enabled: 0,
  start: 0,
  end: 0,
  maxEventAge: 0,
  scheduleGroup: 0,
} satisfies Record<keyof ScheduledFunctionProps, 0>;

/** The parts around a scheduled function. */
interface Parts {
  readonly lockTable: ILockTable;
  readonly deadLetterQueue: sqs.IQueue;
}

/**
 * Makes the parts that a job and a fleet have in common, in `scope`:
 * 1. Checks the common props.
 * 2. Makes the table and the queue that are not given. A record of finished work outlives every message of the queue.
 * 3. Grants the function its locks.
 * 4. Turns the retries of the function off. The event of an invocation that failed goes to the queue.
 */
export function scheduledFunction(scope: Construct, props: ScheduledFunctionProps, locks: LockGrantOptions): Parts {
  const { function: fn, maxEventAge, guardedWrites = false } = props;
  checkActions(scope, 'alarmActions', props.alarmActions);
  checkFlags(scope, { guardedWrites });
  checkFunction(scope, fn);
  checkQueue(scope, props.deadLetterQueue);
  if (props.lockTable !== undefined) checkLockTable(scope, props.lockTable);
  checkStack(scope, fn, props);
  checkTimes(scope, props);

  const lockTable =
    props.lockTable ?? new LockTable(scope, 'Locks', { retention: retentionFor(props.deadLetterQueue) });
  const deadLetterQueue = props.deadLetterQueue ?? deadLettersOf(scope, lockTable);
  checkRetention(scope, lockTable, deadLetterQueue);

  lockTable.attach(fn, { ...locks, guardedWrites });

  fn.configureAsyncInvoke({
    retryAttempts: 0,
    onFailure: new SqsDestination(deadLetterQueue),
    ...(maxEventAge && { maxEventAge }),
  });
  return { lockTable, deadLetterQueue };
}

const DEAD_LETTERS = 'This is a dead-letter queue, of starts and of asynchronous invocations.';

function deadLettersOf(scope: Construct, lockTable: ILockTable): sqs.Queue {
  const retentionPeriod = queueRetentionFor(scope, lockTable);
  const queue = new sqs.Queue(scope, 'DeadLetters', { enforceSSL: true, retentionPeriod });
  acknowledge(queue, {
    'AwsSolutions-SQS3': DEAD_LETTERS,
    'Serverless-SQSRedrivePolicy': DEAD_LETTERS,
  });
  return queue;
}
