import { Duration } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import { Construct } from 'constructs';
import { checkNames } from '../record/check.ts';
import { askedLogGroups, checkDashboard } from './dashboard-checks.ts';
import { unqualified } from './functions.ts';
import { checkLockTable, type ILockTable } from './lock-table-base.ts';

/**
 * The props of a `LockDashboard`.
 * @example
 * ```ts
 * import { Duration } from 'aws-cdk-lib';
 * import type { ILockTable, LockDashboardProps } from 'leasehold/cdk';
 *
 * export const propsFor = (lockTable: ILockTable): LockDashboardProps => ({
 *   lockTable,
 *   dashboardName: 'locks',
 *   period: Duration.minutes(5),
 * });
 * ```
 */
export interface LockDashboardProps {
  /** The lock table. */
  readonly lockTable: ILockTable;

  /**
   * The name of the dashboard: 1 to 255 letters, digits, `-` and `_`.
   *
   * @default - made by CloudFormation
   */
  readonly dashboardName?: string;

  /**
   * Functions that get lines of their own, for busy rate and held time, and whose logs tell which locks are held now, by key.
   * One query asks the logs of at most 50 log groups: of more, the first 50 are asked, and the synthesis warns.
   *
   * @default - none
   */
  readonly functions?: readonly lambda.IFunction[];

  /**
   * The alarms at the top, such as `lockTable.addAlarms().all`.
   *
   * @default - none
   */
  readonly alarms?: readonly cloudwatch.IAlarm[];

  /**
   * The time that a point of the graphs stands for: whole minutes, at least one.
   *
   * @default Duration.minutes(1)
   */
  readonly period?: Duration;
}

const PROPS = { lockTable: 0, dashboardName: 0, functions: 0, alarms: 0, period: 0 } satisfies Record<
  keyof LockDashboardProps,
  0
>;

/**
 * A CloudWatch dashboard of a lock table: holders, busy rate, wait and held time, losses, and the table's consumption.
 * @example
 * ```ts
 * import { App, Stack } from 'aws-cdk-lib';
 * import { LockDashboard, LockTable } from 'leasehold/cdk';
 *
 * const stack = new Stack(new App(), 'Jobs');
 * const lockTable = new LockTable(stack, 'Locks');
 * new LockDashboard(stack, 'LockDashboard', { lockTable, alarms: lockTable.addAlarms().all });
 * ```
 */
export class LockDashboard extends Construct {
  /** The dashboard itself, to add to. */
  readonly dashboard: cloudwatch.Dashboard;

  /** @throws TypeError that shows the construct's path and the value, if a prop is unknown or invalid. */
  constructor(scope: Construct, id: string, props: LockDashboardProps) {
    super(scope, id);
    checkNames(`[${this.node.path}] LockDashboard`, props, PROPS);
    const { lockTable, functions: given = [], alarms = [], period = Duration.minutes(1) } = props;
    checkLockTable(this, lockTable);
    checkDashboard(this, { ...props, functions: given, alarms, period });
    const functions = given.map(unqualified);
    const { BLUE, GREEN, ORANGE, PURPLE, RED } = cloudwatch.Color;

    const wholeWidth = { width: 24 };
    const numbers = new cloudwatch.SingleValueWidget({
      ...wholeWidth,
      height: 4,
      title: 'Locks, over the time that is shown',
      setPeriodToTimeRange: true,
      metrics: [
        lockTable.metricAcquired({ label: 'leases granted', color: GREEN }),
        lockTable.metricBusy({ label: 'busy tries', color: BLUE }),
        lockTable.metricTakeovers({ label: 'takeovers', color: ORANGE }),
        lockTable.metricLost({ label: 'leases lost', color: RED }),
      ],
    });

    const heldNow = (logGroupNames: string[]) =>
      new cloudwatch.LogQueryWidget({
        ...wholeWidth,
        height: 6,
        title: 'Held now, by key',
        logGroupNames,
        queryLines: heldNowQuery(lockTable.tableName),
      });
    const graph = (title: string, left: cloudwatch.IMetric[], axis: cloudwatch.YAxisProps, width = 12) =>
      new cloudwatch.GraphWidget({
        title,
        width,
        height: 6,
        left,
        leftYAxis: { min: 0, showUnits: false, ...axis },
        liveData: true,
      });
    const times = (title: string, metric: (options: cloudwatch.MetricOptions) => cloudwatch.Metric) =>
      graph(
        title,
        [
          metric({ statistic: 'p50', period, label: 'p50', color: GREEN }),
          metric({ statistic: 'p99', period, label: 'p99', color: ORANGE }),
          metric({ statistic: 'Maximum', period, label: 'longest', color: RED }),
        ],
        { label: 'ms' },
      );

    this.dashboard = new cloudwatch.Dashboard(this, 'Dashboard', {
      ...(props.dashboardName !== undefined && { dashboardName: props.dashboardName }),
      defaultInterval: Duration.hours(3),
    });
    if (alarms.length > 0) {
      this.dashboard.addWidgets(
        new cloudwatch.AlarmStatusWidget({ ...wholeWidth, height: 2, title: 'Alarms', alarms: [...alarms] }),
      );
    }
    this.dashboard.addWidgets(numbers);
    this.dashboard.addWidgets(
      graph('Holders', [lockTable.metricHolders({ period, label: 'locks held at a time', color: GREEN })], {}),
      graph('Busy rate', [lockTable.metricBusyRate({ period, label: 'busy tries, of all', color: BLUE })], { max: 1 }),
    );
    this.dashboard.addWidgets(
      times('Wait time', (options) => lockTable.metricWaitTime(options)),
      times('Held time', (options) => lockTable.metricHeldTime(options)),
    );
    this.dashboard.addWidgets(
      graph(
        'Lost and failing',
        [
          lockTable.metricLost({ period, label: 'leases lost', color: RED }),
          lockTable.metricRenewFailed({ period, label: 'renewals failed', color: ORANGE }),
          lockTable.metricReleaseFailed({ period, label: 'releases failed', color: PURPLE }),
        ],
        {},
      ),
      graph(
        'Takeovers and repeats',
        [
          lockTable.metricTakeovers({ period, label: 'takeovers', color: ORANGE }),
          lockTable.metricDone({ period, label: 'already done', color: BLUE }),
        ],
        {},
      ),
    );
    if (functions.length > 0) {
      this.dashboard.addWidgets(heldNow(askedLogGroups(this, functions.map(logGroupOf))));
      this.dashboard.addWidgets(
        graph(
          'Busy rate by function',
          functions.map((fn) => lockTable.metricBusyRate({ period, function: fn, label: fn.functionName })),
          { max: 1 },
        ),
        graph(
          'Held time by function',
          functions.map((fn) => lockTable.metricHeldTime({ period, function: fn, label: fn.functionName })),
          { label: 'ms' },
        ),
      );
    }
    this.dashboard.addWidgets(
      graph(
        'Table: units consumed',
        [
          lockTable.metricConsumedWriteCapacityUnits({ period, label: 'write units', color: ORANGE }),
          lockTable.metricConsumedReadCapacityUnits({ period, label: 'read units', color: BLUE }),
        ],
        {},
      ),
      graph(
        'Table: refused and throttled',
        [
          lockTable.metricConditionalCheckFailedRequests({ period, label: 'writes refused (busy)', color: BLUE }),
          lockTable.metricWriteThrottleEvents({ period, label: 'writes throttled', color: RED }),
          lockTable.metricReadThrottleEvents({ period, label: 'reads throttled', color: PURPLE }),
        ],
        {},
      ),
    );
  }
}

/** The name of the log group that a function writes to, by its logging configuration, or else by its name. */
function logGroupOf(fn: lambda.IFunction): string {
  const { loggingConfig } = (fn.node.defaultChild ?? {}) as Partial<lambda.CfnFunction>;
  const { logGroup } = (loggingConfig ?? {}) as lambda.CfnFunction.LoggingConfigProperty;
  return logGroup ?? `/aws/lambda/${fn.functionName}`;
}

/**
 * Asks the lines of the metrics for the grants that have not ended. The last line of a grant decides; the expiry tells the
 * holders that died.
 */
const heldNowQuery = (tableName: string): string[] => [
  `filter table = "${tableName}" and ispresent(fencingToken) and event not in ["busy", "waiting", "covered", "owed"]`,
  'stats latest(event) as lastEvent, latest(owner) as holder, latest(expiresAt) as expires by key, fencingToken',
  'filter lastEvent in ["acquired", "resumed", "renewed", "renewFailed"] and expires > now() * 1000',
  'sort key asc',
];
