import { Duration, Stack, Token } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import * as iam from 'aws-cdk-lib/aws-iam';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import { SqsDestination } from 'aws-cdk-lib/aws-lambda-destinations';
import * as scheduler from 'aws-cdk-lib/aws-scheduler';
import { LambdaInvoke } from 'aws-cdk-lib/aws-scheduler-targets';
import * as sqs from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import { checkNames, show } from '../record/check.ts';
import { checkKeys } from './grant-keys.ts';
import { invalid } from './invalid.ts';
import { LockTable } from './lock-table.ts';
import type { ILockTable } from './lock-table-base.ts';

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
   * The function that each worker is an invocation of. The fleet makes it a user of the lock table, as
   * `lockTable.attach` does, and turns the retries of its asynchronous invocations off.
   */
  readonly function: lambda.Function;

  /** The times at which the workers start: all of them, each time. */
  readonly schedule: scheduler.ScheduleExpression;

  /** The number of workers that start each time: a whole number from 1 to 450. Each has a schedule of its own. */
  readonly workers: number;

  /**
   * The prefixes of the keys that the workers lock: at least one prefix, within the same bounds as for `keyPrefixes` of
   * `lockTable.attach`.
   */
  readonly keyPrefixes: readonly string[];

  /**
   * Allows `conditionCheck` and `writeWhileHeld`: transactions that commit only while the lock is held.
   *
   * @default false
   */
  readonly guardedWrites?: boolean;

  /**
   * The table of the locks.
   *
   * @default - a new `LockTable`, with its alarms
   */
  readonly lockTable?: ILockTable;

  /**
   * The queue for the input of a worker that was not started, or that failed: a standard queue, in the stack's Region.
   *
   * @default - a new queue that refuses requests without TLS and keeps its messages for 14 days
   */
  readonly deadLetterQueue?: sqs.IQueue;

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
  guardedWrites: 0,
  lockTable: 0,
  deadLetterQueue: 0,
  alarmActions: 0,
} satisfies Record<keyof SingletonFleetProps, 0>;

/** The most workers of a fleet. A stack holds 500 resources, and each worker's schedule is one of them. */
const MOST_WORKERS = 450;

/**
 * Workers on a schedule over one function. The workers share out tasks: each takes, with `runTasks`, the tasks that no
 * other worker holds or has done. The event of a worker is
 * `{ "worker": { "number": 0, "of": 10 }, "time": "2026-01-01T02:00:00Z" }`: its number, counted from 0, the number of all
 * workers, and the time that the schedule was for. That time is the run's `once` token.
 *
 * Nothing is started twice: neither the schedules nor Lambda's asynchronous invocations retry a worker. A task that one
 * worker did not do is done by another worker, or by the next run.
 * @example
 * ```ts
 * import { App, Stack } from 'aws-cdk-lib';
 * import * as lambda from 'aws-cdk-lib/aws-lambda';
 * import { ScheduleExpression } from 'aws-cdk-lib/aws-scheduler';
 * import { SingletonFleet } from 'leasehold/cdk';
 *
 * const stack = new Stack(new App(), 'Invoices');
 * const worker = new lambda.Function(stack, 'Worker', {
 *   runtime: lambda.Runtime.NODEJS_24_X,
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
  /** The schedule of each worker, by its number. */
  readonly schedules: readonly scheduler.Schedule[];
  /** A message lies in the dead-letter queue: a worker was not started, or a worker failed. */
  readonly workerFailed: cloudwatch.Alarm;
  /** `workerFailed`, and the alarms of the fleet's own table. */
  readonly alarms: readonly cloudwatch.Alarm[];

  /** @throws TypeError that shows the construct's path and the value, if a prop is unknown or invalid. */
  constructor(scope: Construct, id: string, props: SingletonFleetProps) {
    super(scope, id);
    checkNames(`[${this.node.path}] SingletonFleet`, props, PROPS);
    const { function: fn, schedule, workers, keyPrefixes, guardedWrites = false, alarmActions = [] } = props;
    checkWorkers(this, workers);
    checkSchedule(this, schedule);
    checkKeys(this, { keyPrefixes });
    checkFunction(this, fn);
    checkQueue(this, props.deadLetterQueue);

    this.lockTable = props.lockTable ?? new LockTable(this, 'Locks');
    this.lockTable.attach(fn, { keyPrefixes, guardedWrites, fleet: true });

    this.deadLetterQueue =
      props.deadLetterQueue ??
      new sqs.Queue(this, 'DeadLetters', { enforceSSL: true, retentionPeriod: Duration.days(14) });
    fn.configureAsyncInvoke({ retryAttempts: 0, onFailure: new SqsDestination(this.deadLetterQueue) });

    const role = this.#schedulerRole(fn);
    this.schedules = Array.from({ length: workers }, (_, number) => {
      const input = { worker: { number, of: workers }, time: scheduler.ContextAttribute.scheduledTime };
      return new scheduler.Schedule(this, `Worker${number}`, {
        schedule,
        timeWindow: scheduler.TimeWindow.off(),
        target: new LambdaInvoke(fn, {
          // The target's own grant covers every version of the function.
          role: role.withoutPolicyUpdates(),
          retryAttempts: 0,
          deadLetterQueue: this.deadLetterQueue,
          input: scheduler.ScheduleTargetInput.fromObject(input),
        }),
      });
    });

    this.workerFailed = new cloudwatch.Alarm(this, 'WorkerFailed', {
      metric: this.deadLetterQueue.metricApproximateNumberOfMessagesVisible({ period: Duration.minutes(1) }),
      threshold: 1,
      comparisonOperator: cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
      evaluationPeriods: 1,
      treatMissingData: cloudwatch.TreatMissingData.NOT_BREACHING,
      alarmDescription: 'A worker of a fleet was not started, or failed: its input lies in the dead-letter queue.',
    });
    this.workerFailed.addAlarmAction(...alarmActions);
    const ofTable = props.lockTable ? [] : this.lockTable.addAlarms({ actions: alarmActions }).all;
    this.alarms = [this.workerFailed, ...ofTable];
  }

  #schedulerRole(fn: lambda.Function): iam.Role {
    const role = new iam.Role(this, 'Role', {
      assumedBy: new iam.ServicePrincipal('scheduler.amazonaws.com', {
        conditions: { StringEquals: { 'aws:SourceAccount': Stack.of(this).account } },
      }),
    });
    fn.grantInvokeLatestVersion(role);
    this.deadLetterQueue.grantSendMessages(role);
    return role;
  }
}

function checkWorkers(scope: Construct, workers: number): void {
  if (!Token.isUnresolved(workers) && Number.isInteger(workers) && workers >= 1 && workers <= MOST_WORKERS) return;
  const shown = Token.isUnresolved(workers) ? 'a token, known at deployment only' : String(workers);
  throw invalid(scope, `workers must be a whole number from 1 to ${MOST_WORKERS}, but it is ${shown}.`);
}

function checkSchedule(scope: Construct, schedule: scheduler.ScheduleExpression): void {
  if (typeof schedule?.expressionString === 'string') return;
  throw invalid(
    scope,
    `schedule must be a ScheduleExpression, such as ScheduleExpression.cron({ hour: '2', minute: '0' }), but it is ${show(schedule)}.`,
  );
}

function checkFunction(scope: Construct, fn: lambda.Function): void {
  if (typeof fn?.addEnvironment !== 'function') {
    throw invalid(scope, `function must be a Function of the Lambda module, but it is ${show(fn)}.`);
  }
  if (fn.node.tryFindChild('EventInvokeConfig')) {
    throw invalid(
      scope,
      `function must leave its asynchronous invocations to the fleet, but ${fn.node.path} has set them up already: by retryAttempts, maxEventAge, onFailure or onSuccess, or as the function of another fleet.`,
    );
  }
}

function checkQueue(scope: Construct, queue: sqs.IQueue | undefined): void {
  if (!queue?.fifo) return;
  throw invalid(
    scope,
    `deadLetterQueue must be a standard queue, since EventBridge Scheduler sends to no other, but ${queue.node.path} is a FIFO queue.`,
  );
}
