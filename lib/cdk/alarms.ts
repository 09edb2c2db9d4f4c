import { Duration } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import { Construct } from 'constructs';
import type { ILockTable } from './lock-table.ts';

/** How to set up a lock table's alarms. */
export interface LockAlarmsProps {
  /**
   * What to do when an alarm goes off.
   *
   * @default - nothing but to show it
   */
  readonly actions?: readonly cloudwatch.IAlarmAction[];
}

/** The alarms of a lock table. Each says nothing while there is no data: an idle table is a healthy one. */
export class LockAlarms extends Construct {
  /** A lease was lost within the last minute: its work was not protected to its end. */
  readonly leaseLost: cloudwatch.Alarm;
  /** Three renewals failed within five minutes: leases will be lost if it goes on. */
  readonly heartbeatFailing: cloudwatch.Alarm;
  /** DynamoDB throttled writes in two of three minutes: grants, renewals and releases are late. */
  readonly writesThrottled: cloudwatch.Alarm;
  /** DynamoDB throttled reads in two of three minutes: waiters are late. */
  readonly readsThrottled: cloudwatch.Alarm;
  /** All of them. */
  readonly all: readonly cloudwatch.Alarm[];

  constructor(scope: Construct, id: string, props: LockAlarmsProps & { readonly lockTable: ILockTable }) {
    super(scope, id);
    const { lockTable, actions = [] } = props;
    const aMinute = { period: Duration.minutes(1) };
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
      evaluationPeriods: 1,
      alarmDescription: 'A lease was lost: its work went on without protection, or was aborted.',
    });
    this.heartbeatFailing = alarm(
      'HeartbeatFailing',
      {
        metric: lockTable.metricRenewFailed({ period: Duration.minutes(5) }),
        evaluationPeriods: 1,
        alarmDescription: 'Renewals fail: leases are lost if it goes on.',
      },
      3,
    );
    this.writesThrottled = alarm('WritesThrottled', {
      metric: lockTable.metricThrottledWrites(aMinute),
      evaluationPeriods: 3,
      datapointsToAlarm: 2,
      alarmDescription: 'DynamoDB throttles writes to the lock table: grants, renewals and releases are late.',
    });
    this.readsThrottled = alarm('ReadsThrottled', {
      metric: lockTable.metricThrottledReads(aMinute),
      evaluationPeriods: 3,
      datapointsToAlarm: 2,
      alarmDescription: 'DynamoDB throttles reads of the lock table: waiters are late.',
    });
    this.all = [this.leaseLost, this.heartbeatFailing, this.writesThrottled, this.readsThrottled];
  }
}
