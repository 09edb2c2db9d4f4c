import { Annotations } from 'aws-cdk-lib';
import type * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import type * as scheduler from 'aws-cdk-lib/aws-scheduler';
import { LambdaInvoke } from 'aws-cdk-lib/aws-scheduler-targets';
import type * as sqs from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import { checkNames, show } from '../record/check.ts';
import { warnIfBlind } from './did-not-run.ts';
import { functionOf, unqualified } from './functions.ts';
import { checkKey } from './grant-keys.ts';
import { invalid } from './invalid.ts';
import type { ILockTable } from './lock-table-base.ts';
import { describeAlarm, JOB_DID_NOT_RUN } from './runbook.ts';
import { scheduleAlarms } from './schedule-alarms.ts';
import { checkSchedule, warnOfSchedules } from './schedule-expressions.ts';
import { SCHEDULED_FUNCTION_PROPS, type ScheduledFunctionProps, scheduledFunction } from './scheduled-function.ts';
import { addSchedule, grantStart, serviceRole, targetProps } from './schedules.ts';

/**
 * The props of a `SingletonJob`.
 * @example
 * ```ts
 * import type { Function } from 'aws-cdk-lib/aws-lambda';
 * import { ScheduleExpression } from 'aws-cdk-lib/aws-scheduler';
 * import type { SingletonJobProps } from 'leasehold/cdk';
 *
 * export const propsFor = (nightly: Function): SingletonJobProps => ({
 *   function: nightly,
 *   schedules: [ScheduleExpression.cron({ hour: '2', minute: '0' })],
 *   key: 'nightly-report',
 * });
 * ```
 */
export interface SingletonJobProps extends ScheduledFunctionProps {
  /**
   * The times at which the job starts: one schedule or several, each with a time zone of its own. The synthesis warns of a
   * schedule `at` a time that has passed.
   */
  readonly schedules: readonly scheduler.ScheduleExpression[];

  /**
   * The key of the job's lock, as in the handler's `lock({ key })`: 1 to 1,024 bytes, without `*`, `?` and `${`, known when the
   * app is synthesised. A job that takes more locks is granted these by `job.lockTable.attach`.
   */
  readonly key: string;
}

const PROPS = { ...SCHEDULED_FUNCTION_PROPS, schedules: 0, key: 0 } satisfies Record<keyof SingletonJobProps, 0>;

/**
 * A function on one or more schedules, under one lock: the job runs once at a time, and once for each time. The event is
 * `{ "time": "2026-01-01T02:00:00Z" }`, the time that the schedule was for. Give that time to the lock as its `once` token:
 * `lock({ key: 'nightly-report', once: (event) => event.time })`. Two schedules for the same time then start one run: the
 * second start meets the lock busy, or the job done. The same is true of a start that is delivered twice.
 *
 * A start that Lambda did not take is tried again, for `maxEventAge`. A run that failed is not tried again: its event goes to
 * the dead-letter queue, and the alarm `failed` goes off. So let the lock skip when it is busy (`onBusy: 'skip'`): an error
 * counts as a run that failed.
 * @example
 * ```ts
 * import { App, Duration, Stack } from 'aws-cdk-lib';
 * import * as lambda from 'aws-cdk-lib/aws-lambda';
 * import { ScheduleExpression } from 'aws-cdk-lib/aws-scheduler';
 * import { SingletonJob } from 'leasehold/cdk';
 *
 * const stack = new Stack(new App(), 'Reports');
 * const nightly = new lambda.Function(stack, 'Nightly', {
 *   runtime: lambda.Runtime.NODEJS_22_X,
 *   handler: 'index.handler',
 *   code: lambda.Code.fromAsset('nightly'),
 * });
 * new SingletonJob(stack, 'Job', {
 *   function: nightly,
 *   schedules: [ScheduleExpression.cron({ hour: '2', minute: '0' })],
 *   key: 'nightly-report',
 *   runsWithin: Duration.hours(25),
 * });
 * ```
 */
export class SingletonJob extends Construct {
  /** The table of the lock. */
  readonly lockTable: ILockTable;
  /** The queue for the event of a run that was not started, or that failed. */
  readonly deadLetterQueue: sqs.IQueue;
  /** The schedules, in the order of the prop. */
  readonly schedules: readonly scheduler.Schedule[];
  /** An event was sent to the dead-letter queue: the job was not started, or a run failed. */
  readonly failed: cloudwatch.Alarm;
  /** The job took no lock within `runsWithin`. Undefined without `runsWithin`. */
  readonly didNotRun: cloudwatch.Alarm | undefined;
  /** `failed`, `didNotRun`, and the alarms of the job's own table. */
  readonly alarms: readonly cloudwatch.Alarm[];

  readonly #key: string;

  /** @throws TypeError that shows the construct's path and the value, if a prop is unknown or invalid. */
  constructor(scope: Construct, id: string, props: SingletonJobProps) {
    super(scope, id);
    checkNames(`[${this.node.path}] SingletonJob`, props, PROPS);
    const { function: fn, schedules, key } = props;
    this.#key = key;
    this.#checkSchedules(schedules);
    checkKey(this, key);
    const { lockTable, deadLetterQueue } = scheduledFunction(this, props, { keys: [key] });
    this.lockTable = lockTable;
    this.deadLetterQueue = deadLetterQueue;

    const clock = serviceRole(this, 'SchedulerRole', 'scheduler.amazonaws.com');
    grantStart(fn, clock);
    deadLetterQueue.grantSendMessages(clock);
    const target = new LambdaInvoke(fn, targetProps(clock, deadLetterQueue, props));
    this.schedules = schedules.map((expression, index) =>
      addSchedule(this, `Schedule${index === 0 ? '' : index + 1}`, expression, target, props),
    );

    const alarms = scheduleAlarms(this, props, {
      lockTable,
      deadLetterQueue,
      failed: {
        id: 'Failed',
        label: 'runs that failed',
        alarmDescription: describeAlarm(
          'A job was not started, or failed: its event is in the dead-letter queue.',
          'failed',
        ),
      },
      didNotRun: {
        metric: (options) => lockTable.metricAcquired({ ...options, function: unqualified(fn) }),
        alarmDescription: JOB_DID_NOT_RUN,
      },
    });
    if (alarms.didNotRun) warnIfBlind(alarms.didNotRun, functionOf(fn));
    this.#warnOfTwin();
    const named = schedules.map((schedule, index) => [`schedules[${index}]`, schedule] as const);
    warnOfSchedules(this, props, Object.fromEntries(named));
    this.failed = alarms.failed;
    this.didNotRun = alarms.didNotRun;
    this.alarms = alarms.all;
  }

  /** Warns of a job of this app with the same key in another table: the two do not exclude each other. */
  #warnOfTwin(): void {
    const twin = this.node.root.node
      .findAll()
      .find((node) => node instanceof SingletonJob && node.#key === this.#key && node.lockTable !== this.lockTable);
    if (twin === undefined) return;
    Annotations.of(this).addWarningV2(
      'leasehold:twoTables',
      `${twin.node.path} has the key ${show(this.#key)}, too, in another table, so that the two jobs do not exclude each other. If they must, give both one lockTable; if not, give each a key of its own.`,
    );
  }

  #checkSchedules(schedules: readonly scheduler.ScheduleExpression[]): void {
    if (!Array.isArray(schedules) || schedules.length === 0) {
      throw invalid(
        this,
        `schedules must be an array of one ScheduleExpression or more, such as [ScheduleExpression.cron({ hour: '2', minute: '0' })], but it is ${show(schedules)}.`,
      );
    }
    for (const [index, schedule] of schedules.entries()) checkSchedule(this, `schedules[${index}]`, schedule);
  }
}
