import { Duration } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import { SqsDestination } from 'aws-cdk-lib/aws-lambda-destinations';
import type * as scheduler from 'aws-cdk-lib/aws-scheduler';
import * as sqs from 'aws-cdk-lib/aws-sqs';
import type * as sfn from 'aws-cdk-lib/aws-stepfunctions';
import { Construct } from 'constructs';
import { checkNames } from '../record/check.ts';
import { acknowledge } from './acknowledge.ts';
import { didNotRun } from './did-not-run.ts';
import { checkFunction, checkQueue, checkSchedule, checkStack, checkWorkers } from './fleet-checks.ts';
import { FleetStarter } from './fleet-starter.ts';
import { checkKeys } from './grant-keys.ts';
import { LockTable } from './lock-table.ts';
import { checkLockTable, type ILockTable } from './lock-table-base.ts';
import { checkRetention, queueRetentionFor, retentionFor } from './retention.ts';

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
export interface SingletonFleetProps {
  /**
   * The function that each worker is an invocation of, in the fleet's stack. The fleet makes it a user of the lock table, as
   * `lockTable.attach` does, and turns the retries of its asynchronous invocations off.
   */
  readonly function: lambda.Function;

  /** The times at which the workers start: all of them, each time. */
  readonly schedule: scheduler.ScheduleExpression;

  /** The number of workers that start each time: a whole number from 1 to 1,000. */
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

  /**
   * Allows `conditionCheck` and `writeWhileHeld`: transactions that commit only while the lock is held.
   *
   * @default false
   */
  readonly guardedWrites?: boolean;

  /**
   * The table of the locks. Its `retention` must be a day longer than the dead-letter queue keeps a message: a worker that
   * is redriven later would do finished tasks once more.
   *
   * @default - a new `LockTable`, with its alarms, and with such a retention
   */
  readonly lockTable?: ILockTable;

  /**
   * The queue for the input of a worker that was not started, or that failed: a standard queue, in the stack's Region.
   *
   * @default - a new queue that refuses requests without TLS, and keeps its messages for 14 days or, if that is less, for a
   *   day less than `lockTable` keeps its records
   */
  readonly deadLetterQueue?: sqs.IQueue;

  /**
   * The longest time from one start of the workers to the next, with some reserve: 25 hours for a nightly fleet. If no start
   * succeeds for so long, the alarm `didNotRun` goes off. Whole hours up to 7 days, or whole minutes up to a day.
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
}

const PROPS = {
  function: 0,
  schedule: 0,
  workers: 0,
  keyPrefixes: 0,
  permits: 0,
  guardedWrites: 0,
  lockTable: 0,
  deadLetterQueue: 0,
  runsWithin: 0,
  alarmActions: 0,
} satisfies Record<keyof SingletonFleetProps, 0>;

const DEAD_LETTERS = 'This is a dead-letter queue, of starts and of asynchronous invocations.';

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
    const { function: fn, schedule, workers, keyPrefixes, permits, guardedWrites = false, alarmActions = [] } = props;
    checkWorkers(this, workers);
    checkSchedule(this, schedule);
    checkKeys(this, { keyPrefixes });
    if (permits !== undefined) checkKeys(this, { permits });
    checkFunction(this, fn, workers);
    checkQueue(this, props.deadLetterQueue);
    if (props.lockTable !== undefined) checkLockTable(this, props.lockTable);
    checkStack(this, fn, props);

    this.lockTable =
      props.lockTable ?? new LockTable(this, 'Locks', { retention: retentionFor(props.deadLetterQueue) });
    this.deadLetterQueue = props.deadLetterQueue ?? this.#makeQueue();
    checkRetention(this, this.lockTable, this.deadLetterQueue);
    this.lockTable.attach(fn, { keyPrefixes, ...(permits && { permits }), guardedWrites, fleet: true });
    fn.configureAsyncInvoke({ retryAttempts: 0, onFailure: new SqsDestination(this.deadLetterQueue) });

    const { deadLetterQueue } = this;
    const starter = new FleetStarter(this, 'Starter', { function: fn, workers, schedule, deadLetterQueue });
    this.schedule = starter.schedule;
    this.starter = starter.machine;

    this.workerFailed = this.#workerFailed();
    this.workerFailed.addAlarmAction(...alarmActions);
    this.didNotRun = props.runsWithin && this.#didNotRun(props.runsWithin);
    this.didNotRun?.addAlarmAction(...alarmActions);
    const ofTable = props.lockTable ? [] : this.lockTable.addAlarms({ actions: alarmActions }).all;
    this.alarms = [this.workerFailed, ...(this.didNotRun ? [this.didNotRun] : []), ...ofTable];
  }

  #makeQueue(): sqs.Queue {
    const retentionPeriod = queueRetentionFor(this, this.lockTable);
    const queue = new sqs.Queue(this, 'DeadLetters', { enforceSSL: true, retentionPeriod });
    acknowledge(queue, {
      'AwsSolutions-SQS3': DEAD_LETTERS,
      'Serverless-SQSRedrivePolicy': DEAD_LETTERS,
    });
    return queue;
  }

  /**
   * Counts the messages that are sent, and not those that lie in the queue: a second failure is told, too, while the message
   * of the first is still there.
   */
  #workerFailed(): cloudwatch.Alarm {
    const period = Duration.minutes(1);
    return new cloudwatch.Alarm(this, 'WorkerFailed', {
      metric: new cloudwatch.MathExpression({
        expression: 'FILL(sent, 0) + FILL(failed, 0) + FILL(timedOut, 0)',
        usingMetrics: {
          sent: this.deadLetterQueue.metricNumberOfMessagesSent({ period }),
          failed: this.starter.metricFailed({ period }),
          timedOut: this.starter.metricTimedOut({ period }),
        },
        label: 'workers that failed',
        period,
      }),
      threshold: 1,
      comparisonOperator: cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
      evaluationPeriods: 5,
      datapointsToAlarm: 1,
      treatMissingData: cloudwatch.TreatMissingData.NOT_BREACHING,
      alarmDescription: 'A worker of a fleet was not started, or failed: its input is in the dead-letter queue.',
    });
  }

  #didNotRun(within: Duration): cloudwatch.Alarm {
    return didNotRun(this, {
      name: 'runsWithin',
      within,
      metric: (options) => this.starter.metricSucceeded(options),
      alarmDescription: 'The workers of a fleet were not started in time.',
    });
  }
}
