import type * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import type * as scheduler from 'aws-cdk-lib/aws-scheduler';
import type * as sqs from 'aws-cdk-lib/aws-sqs';
import type * as sfn from 'aws-cdk-lib/aws-stepfunctions';
import { Construct } from 'constructs';
import { checkNames } from '../record/check.ts';
import { checkWorkers, warnOfConcurrency } from './fleet-checks.ts';
import { FleetStarter } from './fleet-starter.ts';
import { checkKeys } from './grant-keys.ts';
import { invalid } from './invalid.ts';
import type { ILockTable } from './lock-table-base.ts';
import { describeAlarm } from './runbook.ts';
import { scheduleAlarms } from './schedule-alarms.ts';
import { checkSchedule, warnOfSchedules } from './schedule-expressions.ts';
import { SCHEDULED_FUNCTION_PROPS, type ScheduledFunctionProps, scheduledFunction } from './scheduled-function.ts';

/**
 * The props of a `SingletonFleet`.
 * @example
 * ```ts
 * import type { Function } from 'aws-cdk-lib/aws-lambda';
 * import { ScheduleExpression } from 'aws-cdk-lib/aws-scheduler';
 * import type { SingletonFleetProps } from 'leasehold/cdk';
 *
 * export const propsFor = (worker: Function): SingletonFleetProps => ({
 *   function: worker,
 *   workers: 10,
 *   schedule: ScheduleExpression.cron({ hour: '2', minute: '0' }),
 *   keyPrefixes: ['invoices/'],
 * });
 * ```
 */
export interface SingletonFleetProps extends ScheduledFunctionProps {
  /**
   * The times at which the workers start: all of them, each time. The synthesis warns of a schedule `at` a time that has
   * passed.
   */
  readonly schedule: scheduler.ScheduleExpression;

  /** The number of workers that start each time: a whole number from 1 to 1,000. Each is an invocation of `function`. */
  readonly workers: number;

  /**
   * The prefixes of the keys that the workers lock: at least one prefix, within the same bounds as for `keyPrefixes` of
   * `lockTable.attach`.
   */
  readonly keyPrefixes: readonly string[];

  /**
   * Locks with permits that the workers take while they work on their tasks, such as `{ partner: 5 }`: the greatest number of
   * permits by the key. Keys that begin with one of `keyPrefixes` need no entry.
   *
   * @default - no locks with permits besides
   */
  readonly permits?: Readonly<Record<string, number>>;
}

const PROPS = {
  ...SCHEDULED_FUNCTION_PROPS,
  schedule: 0,
  workers: 0,
  keyPrefixes: 0,
  permits: 0,
} satisfies Record<keyof SingletonFleetProps, 0>;

/**
 * Workers on a schedule over one function. The workers share out tasks: each takes, with `runTasks`, the tasks that no
 * other worker holds or has done. The event of a worker is
 * `{ "worker": { "number": 0, "of": 10 }, "time": "2026-01-01T02:00:00Z" }`: its number, counted from 0, the number of all
 * workers, and the time that the schedule was for. That time is the run's `once` token.
 *
 * One schedule starts all workers, by way of a state machine, so that all workers have one time, also with `rate(…)`. No
 * worker that failed is tried again: a task that one worker did not do is done by another worker, or by the next run.
 * @example
 * ```ts
 * import { App, Stack } from 'aws-cdk-lib';
 * import * as lambda from 'aws-cdk-lib/aws-lambda';
 * import { ScheduleExpression } from 'aws-cdk-lib/aws-scheduler';
 * import { SingletonFleet } from 'leasehold/cdk';
 *
 * const stack = new Stack(new App(), 'Invoices');
 * const worker = new lambda.Function(stack, 'Worker', {
 *   runtime: lambda.Runtime.NODEJS_22_X,
 *   handler: 'index.handler',
 *   code: lambda.Code.fromAsset('worker'),
 * });
 * new SingletonFleet(stack, 'Fleet', {
 *   function: worker,
 *   workers: 10,
 *   schedule: ScheduleExpression.cron({ hour: '2', minute: '0' }),
 *   keyPrefixes: ['invoices/'],
 * });
 * ```
 */
export class SingletonFleet extends Construct {
  /** The table of the locks. */
  readonly lockTable: ILockTable;
  /** The queue for the input of a worker that was not started, or that failed. */
  readonly deadLetterQueue: sqs.IQueue;
  /** The schedule of the runs. */
  readonly schedule: scheduler.Schedule;
  /** The state machine that the schedule starts, and that starts the workers. */
  readonly starter: sfn.StateMachine;
  /** The input of a worker was sent to the dead-letter queue, or a start failed: a worker was not started, or a worker failed. */
  readonly workerFailed: cloudwatch.Alarm;
  /** No start of the workers succeeded within `runsWithin`. Undefined without `runsWithin`. */
  readonly didNotRun: cloudwatch.Alarm | undefined;
  /** `workerFailed`, `didNotRun`, and the alarms of the fleet's own table. */
  readonly alarms: readonly cloudwatch.Alarm[];

  /** @throws TypeError that shows the construct's path and the value, if a prop is unknown or invalid. */
  constructor(scope: Construct, id: string, props: SingletonFleetProps) {
    super(scope, id);
    checkNames(`[${this.node.path}] SingletonFleet`, props, PROPS);
    const { schedule, workers, keyPrefixes, permits } = props;
    checkWorkers(this, workers);
    checkSchedule(this, 'schedule', schedule);
    if (keyPrefixes === undefined || keyPrefixes.length === 0) {
      throw invalid(
        this,
        "keyPrefixes must name the locks of the workers' tasks, such as ['jobs/'], but there are none.",
      );
    }
    checkKeys(this, { keyPrefixes });
    if (permits !== undefined) checkKeys(this, { permits });
    const locks = { keyPrefixes, ...(permits && { permits }), fleet: true };
    const { lockTable, deadLetterQueue } = scheduledFunction(this, props, locks);
    this.lockTable = lockTable;
    this.deadLetterQueue = deadLetterQueue;
    warnOfConcurrency(this, props);

    const starter = new FleetStarter(this, 'Starter', { ...props, deadLetterQueue });
    this.schedule = starter.schedule;
    this.starter = starter.machine;

    const alarms = scheduleAlarms(this, props, {
      lockTable,
      deadLetterQueue,
      failed: {
        id: 'WorkerFailed',
        metrics: {
          failed: (options) => starter.machine.metricFailed(options),
          timedOut: (options) => starter.machine.metricTimedOut(options),
        },
        label: 'workers that failed',
        alarmDescription: describeAlarm(
          'A worker of a fleet was not started, or failed: its input is in the dead-letter queue.',
          'workerFailed',
        ),
      },
      didNotRun: {
        metric: (options) => starter.machine.metricSucceeded(options),
        alarmDescription: describeAlarm('The workers of a fleet were not started in time.', 'didNotRun'),
      },
    });
    warnOfSchedules(this, props, { schedule });
    this.workerFailed = alarms.failed;
    this.didNotRun = alarms.didNotRun;
    this.alarms = alarms.all;
  }
}
