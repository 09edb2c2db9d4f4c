import { Duration } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import { Construct } from 'constructs';
import { checkNames } from '../record/check.ts';
import type { ILockMetrics } from './lock-metrics.ts';
import { describeAlarm } from './runbook.ts';

/**
 * The props of a lock table's alarms.
 * @example
 * ```ts
 * import { Stack } from 'aws-cdk-lib';
 * import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
 * import { Topic } from 'aws-cdk-lib/aws-sns';
 * import type { LockAlarmsProps } from 'leasehold/cdk';
 *
 * export const props: LockAlarmsProps = { actions: [new SnsAction(new Topic(new Stack(), 'Pager'))] };
 * ```
 */
export interface LockAlarmsProps {
  /**
   * The actions of every alarm.
   *
   * @default - nothing but to show it
   */
  readonly actions?: readonly cloudwatch.IAlarmAction[];
}

/**
 * The props of the alarm on a job that did not run.
 * @example
 * ```ts
 * import { Duration } from 'aws-cdk-lib';
 * import type { IAlarmAction } from 'aws-cdk-lib/aws-cloudwatch';
 * import type { Function } from 'aws-cdk-lib/aws-lambda';
 * import type { ILockTable } from 'leasehold/cdk';
 *
 * export const watch = (lockTable: ILockTable, nightly: Function, pager: IAlarmAction) =>
 *   lockTable.addDidNotRunAlarm(nightly, { within: Duration.hours(25), actions: [pager] });
 * ```
 */
export interface DidNotRunAlarmProps extends LockAlarmsProps {
  /**
   * The longest time from one run to the next, with some reserve: 25 hours for a nightly job. Whole hours up to 7 days, or
   * whole minutes up to a day.
   */
  readonly within: Duration;
}

const PROPS = { lockTable: 0, actions: 0 } satisfies Record<keyof LockAlarmsProps | 'lockTable', 0>;

/**
 * The alarms of a lock table, as `lockTable.addAlarms()` makes them. No alarm goes off without data: an idle table is a
 * healthy one. Each alarm looks back for some minutes, since CloudWatch gets a metric late.
 * @example
 * ```ts
 * import type { ILockTable, LockAlarms } from 'leasehold/cdk';
 *
 * export function watch(lockTable: ILockTable) {
 *   const alarms: LockAlarms = lockTable.addAlarms();
 *   return alarms.leaseLost;
 * }
 * ```
 */
export class LockAlarms extends Construct {
  /** A lease was lost within the last five minutes: its work was not protected to its end. */
  readonly leaseLost: cloudwatch.Alarm;
  /** Three renewals failed within five minutes. If that goes on, leases will be lost. */
  readonly heartbeatFailing: cloudwatch.Alarm;
  /** DynamoDB throttled writes in two of three minutes: grants, renewals and releases are late. */
  readonly writesThrottled: cloudwatch.Alarm;
  /** DynamoDB throttled reads in two of three minutes: waiters are late. */
  readonly readsThrottled: cloudwatch.Alarm;
  /** All four alarms. */
  readonly all: readonly cloudwatch.Alarm[];

  constructor(scope: Construct, id: string, props: LockAlarmsProps & { readonly lockTable: ILockMetrics }) {
    super(scope, id);
    checkNames(`[${this.node.path}] LockAlarms`, props, PROPS);
    const { lockTable, actions = [] } = props;
    const aMinute = { period: Duration.minutes(1) };
    // Throttling is published only while there is some. Without the zeros in between, an alarm would look further back.
    const filled = (events: cloudwatch.Metric) =>
      new cloudwatch.MathExpression({
        expression: 'FILL(events, 0)',
        usingMetrics: { events },
        label: events.metricName,
        ...aMinute,
      });
    const alarm = (name: string, alarmProps: Omit<cloudwatch.AlarmProps, 'threshold'>, threshold = 1) => {
      const made = new cloudwatch.Alarm(this, name, {
        threshold,
        comparisonOperator: cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
        treatMissingData: cloudwatch.TreatMissingData.NOT_BREACHING,
        ...alarmProps,
      });
      made.addAlarmAction(...actions);
      return made;
    };

    this.leaseLost = alarm('LeaseLost', {
      metric: lockTable.metricLost(aMinute),
      evaluationPeriods: 5,
      datapointsToAlarm: 1,
      alarmDescription: describeAlarm(
        'A lease was lost: its work went on without protection, or was aborted.',
        'leaseLost',
      ),
    });
    this.heartbeatFailing = alarm(
      'HeartbeatFailing',
      {
        metric: lockTable.metricRenewFailed({ period: Duration.minutes(5) }),
        evaluationPeriods: 1,
        alarmDescription: describeAlarm('Renewals fail: leases are lost if it goes on.', 'heartbeatFailing'),
      },
      3,
    );
    this.writesThrottled = alarm('WritesThrottled', {
      metric: filled(lockTable.metricWriteThrottleEvents(aMinute)),
      evaluationPeriods: 3,
      datapointsToAlarm: 2,
      alarmDescription: describeAlarm(
        'DynamoDB throttles writes to the lock table: grants, renewals and releases are late.',
        'writesThrottled',
      ),
    });
    this.readsThrottled = alarm('ReadsThrottled', {
      metric: filled(lockTable.metricReadThrottleEvents(aMinute)),
      evaluationPeriods: 3,
      datapointsToAlarm: 2,
      alarmDescription: describeAlarm(
        'DynamoDB throttles reads of the lock table: waiters are late.',
        'readsThrottled',
      ),
    });
    this.all = [this.leaseLost, this.heartbeatFailing, this.writesThrottled, this.readsThrottled];
  }

  /** @internal Adds the actions of a second call to `addAlarms`. */
  addActions(props: LockAlarmsProps): void {
    checkNames(`[${this.node.path}] LockAlarms`, props, PROPS);
    for (const alarm of this.all) alarm.addAlarmAction(...(props.actions ?? []));
  }
}
