import {
  CloudWatchClient,
  DescribeAlarmsCommand,
  ListMetricsCommand,
  type MetricAlarm,
} from '@aws-sdk/client-cloudwatch';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { mockClient } from 'aws-sdk-client-mock';
import { examineMetrics } from '../../bin/metrics-doctor.ts';

const VARIABLES = ['AWS_ENDPOINT_URL', 'AWS_ENDPOINT_URL_DYNAMODB', 'AWS_ENDPOINT_URL_CLOUDWATCH', 'AWS_REGION'];
const before = Object.fromEntries(VARIABLES.map((name) => [name, process.env[name]]));
const cloudWatch = mockClient(CloudWatchClient);

beforeEach(() => {
  for (const name of VARIABLES) delete process.env[name];
  process.env.AWS_REGION = 'eu-west-1';
  cloudWatch.reset();
  cloudWatch.on(ListMetricsCommand).resolves({ Metrics: [{ MetricName: 'Lost' }] });
  cloudWatch.on(DescribeAlarmsCommand).resolves({ MetricAlarms: [leaseLost()] });
});
afterEach(() => {
  for (const [name, value] of Object.entries(before)) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
});

const ofTable = [{ Name: 'table', Value: 'locks' }];
const leaseLost = (alarm: MetricAlarm = {}): MetricAlarm => ({
  AlarmName: 'LeaseLost',
  MetricName: 'Lost',
  Namespace: 'Leasehold',
  Dimensions: ofTable,
  ActionsEnabled: true,
  AlarmActions: ['arn:aws:sns:eu-west-1:111122223333:pager'],
  StateValue: 'OK',
  ...alarm,
});
const messages = async (tableName = 'locks') =>
  (await examineMetrics(tableName)).flatMap(({ severity, message }) => (severity === 'ok' ? [] : [message]));

describe('the metrics and alarms that doctor looks at', () => {
  test('are right if metrics come in, and an alarm on lost leases tells somebody', async () => {
    expect(await examineMetrics('arn:aws:dynamodb:eu-west-1:111122223333:table/locks')).toEqual([
      { severity: 'ok', message: 'Metrics of the table came in during the last two weeks.' },
      { severity: 'ok', message: 'An alarm watches lost leases, and no alarm of the table is on.' },
    ]);
    const { input } = cloudWatch.commandCalls(ListMetricsCommand)[0]?.args[0] ?? {};
    expect(input).toEqual({ Namespace: 'Leasehold', Dimensions: ofTable });
  });

  test('are missing if no function publishes them', async () => {
    cloudWatch.on(ListMetricsCommand).resolves({ Metrics: [] });
    expect(await messages()).toEqual([
      expect.stringContaining('No metrics of the table came in during the last two weeks: set LOCK_METRICS=emf'),
    ]);
  });

  test('are missing if the alarms are of another table or another metric', async () => {
    const others = [
      leaseLost({ Dimensions: [{ Name: 'table', Value: 'locks2' }] }),
      leaseLost({ Dimensions: [{ Name: 'queue', Value: 'locks' }] }),
      leaseLost({ MetricName: 'RenewFailed' }),
    ];
    cloudWatch.on(DescribeAlarmsCommand).resolves({ MetricAlarms: others });
    expect(await messages()).toEqual([expect.stringContaining('No alarm watches the metric Lost')]);
  });

  test('are found on the second page, and in an expression', async () => {
    const Metric = {
      Namespace: 'AWS/DynamoDB',
      MetricName: 'WriteThrottleEvents',
      Dimensions: [{ Name: 'TableName', Value: 'locks' }],
    };
    const throttled: MetricAlarm = {
      AlarmName: 'Throttled',
      Metrics: [
        { Id: 'all', Expression: 'FILL(events, 0)' },
        { Id: 'events', MetricStat: { Metric, Period: 60, Stat: 'Sum' } },
      ],
    };
    cloudWatch
      .on(DescribeAlarmsCommand)
      .resolvesOnce({ MetricAlarms: [throttled], NextToken: 'more' })
      .resolves({ MetricAlarms: [leaseLost()] });
    expect(await messages()).toEqual(["The alarm 'Throttled' tells nobody: it has no actions."]);
    expect(cloudWatch.commandCalls(DescribeAlarmsCommand)).toHaveLength(2);
  });

  test('tell an alarm that is on, and one whose actions are off', async () => {
    const alarm = leaseLost({
      StateValue: 'ALARM',
      StateReason: 'Threshold crossed.',
      StateUpdatedTimestamp: new Date('2026-01-02T03:04:05Z'),
      ActionsEnabled: false,
    });
    cloudWatch.on(DescribeAlarmsCommand).resolves({ MetricAlarms: [alarm] });
    expect(await messages()).toEqual([
      "The alarm 'LeaseLost' is on since 2026-01-02T03:04:05.000Z: Threshold crossed. docs/runbook.md says what to do.",
      "The alarm 'LeaseLost' tells nobody: its actions are switched off.",
    ]);
  });

  test('are no error without the right to look at them', async () => {
    cloudWatch.on(ListMetricsCommand).rejects(new Error('not authorized to perform: cloudwatch:ListMetrics'));
    cloudWatch.on(DescribeAlarmsCommand).rejects(new Error('not authorized to perform: cloudwatch:DescribeAlarms'));
    expect(await examineMetrics('locks')).toEqual([
      { severity: 'warning', message: expect.stringMatching(/^ListMetrics was not answered.*cloudwatch:ListMetrics$/) },
      { severity: 'warning', message: expect.stringMatching(/^DescribeAlarms was not answered.*:DescribeAlarms$/) },
    ]);
  });

  test.each([
    ['AWS_ENDPOINT_URL', 'http://localhost:8000', 0],
    ['AWS_ENDPOINT_URL_DYNAMODB', 'http://amazonaws.com.localhost:8000', 0],
    ['AWS_ENDPOINT_URL_DYNAMODB', 'https://vpce-1.dynamodb.eu-west-1.vpce.amazonaws.com', 2],
  ])('are not asked of an emulator: %s=%s', async (name, url, requests) => {
    const told = jest.spyOn(console, 'error').mockReturnValue();
    process.env[name] = url;
    expect(await messages()).toEqual([]);
    expect(cloudWatch.calls()).toHaveLength(requests);
    const expected = `The metrics and alarms were not looked at: the table is at ${url}, beside no CloudWatch.`;
    expect(told.mock.calls).toEqual(requests > 0 ? [] : [[expected]]);
    told.mockRestore();
    process.env.AWS_ENDPOINT_URL_CLOUDWATCH = 'http://localhost:4566';
    await messages();
    expect(cloudWatch.calls()).toHaveLength(requests + 2);
  });
});
