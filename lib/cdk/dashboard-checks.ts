import { Annotations, type Duration, Token } from 'aws-cdk-lib';
import type * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import type { Construct } from 'constructs';
import { show } from '../record/check.ts';
import { unqualified } from './functions.ts';
import { checkArray, invalid, lengthOf, shown } from './invalid.ts';

/** The most log groups that one query of CloudWatch Logs Insights asks. */
const MOST_LOG_GROUPS = 50;

/** Checks the props of a dashboard. The CDK's own errors name no construct. */
export function checkDashboard(
  scope: Construct,
  props: {
    readonly dashboardName?: string;
    readonly functions: readonly lambda.IFunction[];
    readonly alarms: readonly cloudwatch.IAlarm[];
    readonly period: Duration;
  },
): void {
  const { dashboardName: name, functions, alarms, period } = props;
  const isName = typeof name === 'string' && /^[\w-]{1,255}$/.test(name);
  if (name !== undefined && !Token.isUnresolved(name) && !isName) {
    throw invalid(scope, `dashboardName must have 1 to 255 letters, digits, '-' and '_', but it is ${show(name)}.`);
  }
  checkArray(scope, 'functions', functions, {
    kind: 'functions',
    isOne: (fn: lambda.IFunction | undefined) => typeof (fn && unqualified(fn))?.functionName === 'string',
  });
  checkArray(scope, 'alarms', alarms, {
    kind: 'alarms, such as lockTable.addAlarms().all',
    isOne: (alarm: cloudwatch.IAlarm | undefined) => typeof alarm?.alarmArn === 'string',
  });
  const minutes = lengthOf(period, 'toMinutes');
  if (Number.isInteger(minutes) && minutes >= 1) return;
  throw invalid(
    scope,
    `period must be a Duration of whole minutes, such as Duration.minutes(5), but it is ${shown(period)}.`,
  );
}

/** Gives the log groups that one query can ask. Warns of those that are left out. */
export function askedLogGroups(scope: Construct, names: readonly string[]): string[] {
  const distinct = [...new Set(names)];
  if (distinct.length > MOST_LOG_GROUPS) {
    Annotations.of(scope).addWarningV2(
      'leasehold:logGroups',
      `functions write to ${distinct.length} log groups, but a query of CloudWatch Logs Insights takes ${MOST_LOG_GROUPS}: the table "Held now, by key" asks the first ${MOST_LOG_GROUPS}. Give the functions a log group that they share, or make a second LockDashboard for the others.`,
    );
  }
  return distinct.slice(0, MOST_LOG_GROUPS);
}
