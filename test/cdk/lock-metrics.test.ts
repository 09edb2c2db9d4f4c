import { describe, expect, test } from '@jest/globals';
import { Duration } from 'aws-cdk-lib';
import { LockTable } from '../../lib/cdk/index.ts';
import { ENV, functionIn, newStack } from './stacks.ts';

describe('the metrics of a LockTable', () => {
  test('a metric is read for the table, or for one function on it', () => {
    const stack = newStack();
    const table = new LockTable(stack, 'Locks');
    const fn = functionIn(stack);
    expect(table.metricLost()).toMatchObject({
      namespace: 'Leasehold',
      metricName: 'Lost',
      statistic: 'Sum',
      dimensions: { table: table.tableName },
    });
    expect(table.metricLost({ function: fn }).dimensions).toEqual({
      table: table.tableName,
      function: fn.functionName,
    });
  });

  test('a metric of an alias or of a version is that of its function, which publishes by its name alone', () => {
    const stack = newStack();
    const table = new LockTable(stack, 'Locks');
    const fn = functionIn(stack);
    for (const qualified of [fn.currentVersion, fn.addAlias('live')]) {
      expect(table.metricLost({ function: qualified }).dimensions?.function).toBe(fn.functionName);
    }
  });

  test('each metric counts, averages or divides as its name says, and takes the CDK’s options', () => {
    const table = new LockTable(newStack(), 'Locks');
    const read = Object.entries({
      Acquired: table.metricAcquired(),
      Busy: table.metricBusy(),
      Done: table.metricDone(),
      Covered: table.metricCovered(),
      Owed: table.metricOwed(),
      Takeover: table.metricTakeovers(),
      AcquireFailed: table.metricAcquireFailed(),
      RenewFailed: table.metricRenewFailed(),
      ReleaseFailed: table.metricReleaseFailed(),
    });
    for (const [name, metric] of read) expect(metric).toMatchObject({ metricName: name, statistic: 'Sum' });
    expect(table.metricBusyRate()).toMatchObject({ metricName: 'Busy', statistic: 'Average' });
    expect(table.metricWaitTime()).toMatchObject({ metricName: 'WaitTime', statistic: 'Average' });
    const p99 = table.metricHeldTime({ statistic: 'p99', period: Duration.minutes(1), label: 'held' });
    expect(p99).toMatchObject({ metricName: 'HeldTime', statistic: 'p99', label: 'held' });
    expect(p99.period.toSeconds()).toBe(60);
    expect(table.metricHolders()).toMatchObject({
      expression: 'held / (1000 * PERIOD(held))',
      usingMetrics: { held: { metricName: 'HoldingTime', statistic: 'Sum' } },
    });
  });

  test('the metrics of the table are DynamoDB’s own, by DynamoDB’s names', () => {
    const stack = newStack('Stack', ENV);
    const table = LockTable.fromLockTableArn(stack, 'Locks', 'arn:aws:dynamodb:eu-west-1:111111111111:table/locks');
    const own = Object.entries({
      WriteThrottleEvents: table.metricWriteThrottleEvents(),
      ReadThrottleEvents: table.metricReadThrottleEvents(),
      ConditionalCheckFailedRequests: table.metricConditionalCheckFailedRequests(),
      ConsumedWriteCapacityUnits: table.metricConsumedWriteCapacityUnits(),
      ConsumedReadCapacityUnits: table.metricConsumedReadCapacityUnits(),
    });
    for (const [metricName, metric] of own) {
      expect(metric).toMatchObject({
        namespace: 'AWS/DynamoDB',
        metricName,
        dimensions: { TableName: 'locks' },
        region: 'eu-west-1',
      });
    }
  });
});
