import { describe, expect, test } from '@jest/globals';
import { Duration, Lazy, type Stack } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import { LockDashboard, type LockDashboardProps, LockTable } from '../../lib/cdk/index.ts';
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

  test('one query asks the first 50 log groups of the functions, and the synthesis warns of more', () => {
    const dashboardOf = (functions: number, logGroups: number) => {
      const stack = newStack();
      const lockTable = new LockTable(stack, 'Locks', { tableName: 'locks' });
      const groups = Array.from({ length: logGroups }, (_, i) => new LogGroup(stack, `Logs${i}`));
      const given = Array.from({ length: functions }, (_, i) => {
        const logGroup = groups[i % logGroups];
        return functionIn(stack, `Worker${i}`, {}, logGroup && { logGroup });
      });
      new LockDashboard(stack, 'Dashboard', { lockTable, functions: given });
      const warnings = Annotations.fromStack(stack).findWarning('/Stack/Dashboard', Match.anyValue());
      return {
        asked: bodyOf(stack).split('SOURCE ').length - 1,
        warnings: warnings.map(({ entry }) => String(entry.data)),
      };
    };
    expect(dashboardOf(50, 0)).toEqual({ asked: 50, warnings: [] });
    expect(dashboardOf(53, 0)).toEqual({
      asked: 50,
      warnings: [
        expect.stringContaining(
          'functions write to 53 log groups, but a query of CloudWatch Logs Insights takes 50: the table "Held now, by key" asks the first 50.',
        ),
      ],
    });
    expect(dashboardOf(53, 2)).toEqual({ asked: 2, warnings: [] });
  });

  const bad = (value: unknown) => value as never;
  test.each<[string, Partial<LockDashboardProps>, string]>([
    [
      'a period under a minute',
      { period: Duration.seconds(30) },
      'period must be a Duration of whole minutes, such as Duration.minutes(5), but it is Duration.seconds(30).',
    ],
    ['a part of a minute', { period: Duration.seconds(90) }, 'but it is Duration.seconds(90).'],
    ['a period that is a number', { period: bad(5) }, 'but it is number 5.'],
    [
      'a period that comes with the deployment',
      { period: Duration.minutes(Lazy.number({ produce: () => 5 })) },
      'but it is a token, known at deployment only.',
    ],
    [
      'a name with a space',
      { dashboardName: 'a b' },
      "dashboardName must have 1 to 255 letters, digits, '-' and '_', but it is 'a b'.",
    ],
    ['an empty name', { dashboardName: '' }, "but it is ''."],
    ['a name that is too long', { dashboardName: 'a'.repeat(256) }, "but it is 'aaaa"],
    ['a name that is a number', { dashboardName: bad(5) }, 'but it is number 5.'],
    [
      'functions that are a text',
      { functions: bad('nightly') },
      "functions must be an array of functions, but it is 'nightly'.",
    ],
    ['a missing function', { functions: bad([undefined]) }, 'but functions[0] is undefined.'],
    ['a function that is a name', { functions: bad(['nightly']) }, "but functions[0] is 'nightly'."],
    [
      'alarms that are no array',
      { alarms: bad({}) },
      'alarms must be an array of alarms, such as lockTable.addAlarms().all, but it is',
    ],
    ['an alarm that is an ARN', { alarms: bad(['arn']) }, "but alarms[0] is 'arn'."],
  ])('the dashboard refuses %s, naming its path and the value', (_, props, message) => {
    const make = () => {
      const stack = newStack();
      return new LockDashboard(stack, 'Dashboard', { lockTable: new LockTable(stack, 'Locks'), ...props });
    };
    expect(make).toThrow(TypeError);
    expect(make).toThrow(message);
    expect(make).toThrow('[Stack/Dashboard]');
  });

  test('the dashboard takes a name that comes with the deployment', () => {
    const stack = newStack();
    const dashboardName = Lazy.string({ produce: () => 'a-name' });
    new LockDashboard(stack, 'Dashboard', { lockTable: new LockTable(stack, 'Locks'), dashboardName });
    expect(bodyOf(stack)).toContain('"DashboardName":"a-name"');
  });
});
