import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { type App, Duration, Stack } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { Alarm, type IAlarmAction } from 'aws-cdk-lib/aws-cloudwatch';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import { ScheduleExpression } from 'aws-cdk-lib/aws-scheduler';
import {
  type DidNotRunAlarmProps,
  type LockAlarmsProps,
  LockTable,
  SingletonFleet,
  SingletonJob,
} from '../../lib/cdk/index.ts';
import { functionIn, newStack } from './stacks.ts';

describe('LockAlarms', () => {
  test('the alarms go off for a lost lease, failing renewals and throttling, and never for contention or silence', () => {
    const stack = newStack();
    const alarms = new LockTable(stack, 'Locks').addAlarms();
    const template = Template.fromStack(stack);
    const found = Object.values(template.findResources('AWS::CloudWatch::Alarm')).map(({ Properties }) => Properties);
    const common = {
      ComparisonOperator: 'GreaterThanOrEqualToThreshold',
      TreatMissingData: 'notBreaching',
    };
    const published = { ...common, Statistic: 'Sum' };
    const throttled = (MetricName: string) => ({
      ...common,
      Threshold: 1,
      EvaluationPeriods: 3,
      DatapointsToAlarm: 2,
      Metrics: [
        expect.objectContaining({ Expression: 'FILL(events, 0)' }),
        { Id: 'events', ReturnData: false, MetricStat: expect.objectContaining({ Stat: 'Sum', Period: 60 }) },
      ],
      AlarmDescription: expect.stringContaining(MetricName.startsWith('Write') ? 'writes' : 'reads'),
    });
    expect(found).toEqual([
      expect.objectContaining({
        ...published,
        MetricName: 'Lost',
        Threshold: 1,
        Period: 60,
        EvaluationPeriods: 5,
        DatapointsToAlarm: 1,
      }),
      expect.objectContaining({
        ...published,
        MetricName: 'RenewFailed',
        Threshold: 3,
        Period: 300,
        EvaluationPeriods: 1,
      }),
      expect.objectContaining(throttled('WriteThrottleEvents')),
      expect.objectContaining(throttled('ReadThrottleEvents')),
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

  test('a second call of addAlarms() adds its actions to the alarms of the first', () => {
    const stack = newStack();
    const action = (name: string): IAlarmAction => ({
      bind: () => ({ alarmActionArn: `arn:aws:sns:us-east-1:1:${name}` }),
    });
    const lockTable = LockTable.fromLockTableName(stack, 'Locks', 'locks');
    const alarms = lockTable.addAlarms({ actions: [action('first')] });
    expect(lockTable.addAlarms({ actions: [action('second')] })).toBe(alarms);
    Template.fromStack(stack).allResourcesProperties('AWS::CloudWatch::Alarm', {
      AlarmActions: ['arn:aws:sns:us-east-1:1:first', 'arn:aws:sns:us-east-1:1:second'],
    });
    expect(() => lockTable.addAlarms({ action: [] } as LockAlarmsProps)).toThrow(
      "[Stack/Locks/Alarms] LockAlarms has no option 'action'",
    );
  });
});

describe('the alarm on a job that did not run', () => {
  test('goes off if the function took no lock of the table for the time, in the stack of the function', () => {
    const stack = newStack();
    const lockTable = new LockTable(stack, 'Locks');
    const far = new Stack(stack.node.root as App, 'Far');
    const fn = functionIn(far);
    lockTable.attach(fn, { keys: ['nightly'] });
    const action: IAlarmAction = { bind: () => ({ alarmActionArn: 'arn:aws:sns:us-east-1:111111111111:pager' }) };
    lockTable.addDidNotRunAlarm(fn, { within: Duration.hours(25), actions: [action] });
    Template.fromStack(far).hasResourceProperties('AWS::CloudWatch::Alarm', {
      MetricName: 'Acquired',
      Dimensions: [
        { Name: 'function', Value: { Ref: Match.stringLikeRegexp('^Worker') } },
        { Name: 'table', Value: Match.anyValue() },
      ],
      Statistic: 'Sum',
      Threshold: 1,
      ComparisonOperator: 'LessThanThreshold',
      Period: 3_600,
      EvaluationPeriods: 25,
      TreatMissingData: 'breaching',
      AlarmActions: ['arn:aws:sns:us-east-1:111111111111:pager'],
    });
  });

  test('warns if the function was never attached', () => {
    const stack = newStack();
    const lockTable = new LockTable(stack, 'Locks');
    for (const id of ['Attached', 'Forgotten'])
      lockTable.addDidNotRunAlarm(functionIn(stack, id), { within: Duration.hours(25) });
    lockTable.attach(stack.node.findChild('Attached') as lambda.Function, { keys: ['nightly'] });
    const warnings = Annotations.fromStack(stack).findWarning(
      '*',
      Match.stringLikeRegexp('publishes no metrics of its locks'),
    );
    expect(warnings.map(({ id }) => id)).toEqual(['/Stack/Forgotten/DidNotRun']);
  });

  test('is refused a second time, for a time that CloudWatch cannot look back, and for what is no function', () => {
    const stack = newStack();
    const lockTable = new LockTable(stack, 'Locks');
    const fn = functionIn(stack);
    const add = (props: DidNotRunAlarmProps, watched = fn) => lockTable.addDidNotRunAlarm(watched, props);
    expect(() => add({ within: Duration.days(8) })).toThrow(
      /\[Stack\/Worker\] within must be whole hours up to 7 days/,
    );
    expect(() => add({} as DidNotRunAlarmProps)).toThrow(/within must be whole hours .* but it is undefined/);
    expect(() => add({ within: Duration.hours(25) }, 'nightly' as never)).toThrow(
      "[Stack/Locks] addDidNotRunAlarm() must be given a function, but it is 'nightly'.",
    );
    add({ within: Duration.hours(25) });
    expect(() => add({ within: Duration.hours(25) })).toThrow(/\[Stack\/Worker\] .* there is an alarm .* already/);
  });
});

test('every alarm has the address of its section in the runbook', () => {
  const stack = newStack();
  const own = { function: functionIn(stack, 'Job'), runsWithin: Duration.hours(25) };
  new SingletonJob(stack, 'Nightly', {
    ...own,
    key: 'nightly',
    schedules: [ScheduleExpression.rate(Duration.days(1))],
  });
  const fleet = { function: functionIn(stack, 'Worker'), runsWithin: Duration.hours(25), keyPrefixes: ['jobs/'] };
  new SingletonFleet(stack, 'Fleet', { ...fleet, workers: 2, schedule: ScheduleExpression.rate(Duration.days(1)) });
  const runbook = readFileSync(new URL('../../docs/runbook.md', import.meta.url), 'utf8');
  const sections = [...runbook.matchAll(/^## `(\w+)`$/gm)].map(([, name = '']) => name.toLowerCase());
  const alarms = Object.values(Template.fromStack(stack).findResources('AWS::CloudWatch::Alarm'));
  const told = alarms.map(
    ({ Properties }) =>
      /https:\/\/github\.com\/leasehold\/leasehold\/blob\/main\/docs\/runbook\.md#(\w+)$/.exec(
        Properties.AlarmDescription,
      )?.[1],
  );
  expect([...new Set(told)].sort()).toEqual(sections.sort());
});
