import { describe, expect, test } from '@jest/globals';
import { Template } from 'aws-cdk-lib/assertions';
import { Alarm, type IAlarmAction } from 'aws-cdk-lib/aws-cloudwatch';
import { LockTable } from '../../lib/cdk/index.ts';
import { newStack } from './stacks.ts';

describe('LockAlarms', () => {
  test('the alarms go off for a lost lease, failing renewals and throttling, and never for contention or silence', () => {
    const stack = newStack();
    const alarms = new LockTable(stack, 'Locks').addAlarms();
    const template = Template.fromStack(stack);
    const found = Object.values(template.findResources('AWS::CloudWatch::Alarm')).map(({ Properties }) => Properties);
    const common = {
      ComparisonOperator: 'GreaterThanOrEqualToThreshold',
      Statistic: 'Sum',
      TreatMissingData: 'notBreaching',
    };
    expect(found).toEqual([
      expect.objectContaining({ ...common, MetricName: 'Lost', Threshold: 1, Period: 60, EvaluationPeriods: 1 }),
      expect.objectContaining({
        ...common,
        MetricName: 'RenewFailed',
        Threshold: 3,
        Period: 300,
        EvaluationPeriods: 1,
      }),
      expect.objectContaining({ ...common, MetricName: 'WriteThrottleEvents', Threshold: 1, DatapointsToAlarm: 2 }),
      expect.objectContaining({ ...common, MetricName: 'ReadThrottleEvents', Threshold: 1, DatapointsToAlarm: 2 }),
    ]);
    expect(alarms.all).toEqual([
      alarms.leaseLost,
      alarms.heartbeatFailing,
      alarms.writesThrottled,
      alarms.readsThrottled,
    ]);
    expect(alarms.all.every((alarm) => alarm instanceof Alarm)).toBe(true);
  });

  test('every alarm has the actions that the props name', () => {
    const stack = newStack();
    const action: IAlarmAction = { bind: () => ({ alarmActionArn: 'arn:aws:sns:us-east-1:111111111111:pager' }) };
    LockTable.fromLockTableName(stack, 'Locks', 'locks').addAlarms({ actions: [action] });
    Template.fromStack(stack).allResourcesProperties('AWS::CloudWatch::Alarm', {
      AlarmActions: ['arn:aws:sns:us-east-1:111111111111:pager'],
    });
  });
});
