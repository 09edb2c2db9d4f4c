import { describe, expect, test } from '@jest/globals';
import { Duration, type Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import { LockDashboard, LockTable } from '../../lib/cdk/index.ts';
import { functionIn, newStack } from './stacks.ts';

describe('LockDashboard', () => {
  const bodyOf = (stack: Stack) => {
    const [dashboard] = Object.values(Template.fromStack(stack).findResources('AWS::CloudWatch::Dashboard'));
    return JSON.stringify(dashboard?.Properties);
  };

  test('the dashboard shows holders, busy rate, wait and held time, losses and takeovers', () => {
    const stack = newStack();
    new LockDashboard(stack, 'Dashboard', { lockTable: new LockTable(stack, 'Locks'), dashboardName: 'locks' });
    const body = bodyOf(stack);
    for (const shown of ['Holders', 'Busy rate', 'Wait time', 'Held time', 'Lost', 'Takeover', 'WriteThrottleEvents']) {
      expect(body).toContain(shown);
    }
    expect(body).toContain('"DashboardName":"locks"');
    expect(body).not.toContain('by function');
  });

  test('the dashboard shows functions and alarms when it is given some', () => {
    const stack = newStack();
    const lockTable = new LockTable(stack, 'Locks');
    new LockDashboard(stack, 'Dashboard', {
      lockTable,
      functions: [functionIn(stack)],
      alarms: lockTable.addAlarms().all,
    });
    expect(bodyOf(stack)).toMatch(/Busy rate by function.*Held time by function/);
    expect(bodyOf(stack)).toContain('"alarm');
  });

  test("the dashboard asks the functions' logs which locks are held now, by key", () => {
    const stack = newStack();
    const lockTable = new LockTable(stack, 'Locks', { tableName: 'locks' });
    const logGroup = new LogGroup(stack, 'Logs', { logGroupName: '/mine/worker' });
    const own = functionIn(stack, 'Own', {}, { logGroup });
    const imported = lambda.Function.fromFunctionName(stack, 'Imported', 'legacy');
    new LockDashboard(stack, 'Dashboard', { lockTable, functions: [functionIn(stack), own, imported] });
    const body = bodyOf(stack);
    expect(body).toContain('Held now, by key');
    const sources = body.split('SOURCE ').slice(1);
    expect(sources).toHaveLength(3);
    for (const [index, name] of ['"Ref":"Worker', '"Ref":"Logs', ':function:legacy'].entries()) {
      expect(sources[index]).toContain(name);
    }
    expect(body).toMatch(/filter table = .*"Ref":"LocksTable.*by key, fencingToken/);
  });

  test('the dashboard and the alarms refuse a prop whose name is misspelled', () => {
    const stack = newStack();
    const lockTable = new LockTable(stack, 'Locks');
    const props = { lockTable, alarm: [] };
    expect(() => new LockDashboard(stack, 'Dashboard', props)).toThrow(
      "[Stack/Dashboard] LockDashboard has no option 'alarm'; did you mean 'alarms'?",
    );
    const alarmsProps: Record<string, unknown> = { action: [] };
    expect(() => lockTable.addAlarms(alarmsProps)).toThrow(
      "[Stack/Locks/Alarms] LockAlarms has no option 'action'; did you mean 'actions'?",
    );
  });

  test('the dashboard refuses a period under a minute, naming its path and the value', () => {
    const stack = newStack();
    const lockTable = new LockTable(stack, 'Locks');
    const make = () => new LockDashboard(stack, 'Dashboard', { lockTable, period: Duration.seconds(30) });
    expect(make).toThrow(/\[Stack\/Dashboard\] period must be at least a minute, but it is .*30/);
    const number = () => new LockDashboard(stack, 'Number', { lockTable, period: 5 as unknown as Duration });
    expect(number).toThrow(
      '[Stack/Number] period must be a Duration, such as Duration.minutes(5), but it is number 5.',
    );
  });
});
