import { Duration } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import type * as sqs from 'aws-cdk-lib/aws-sqs';
import type { Construct } from 'constructs';
import { didNotRun } from './did-not-run.ts';
import type { ILockTable } from './lock-table-base.ts';
import type { ScheduledFunctionProps } from './scheduled-function.ts';

type Metrics = Readonly<Record<string, (options: cloudwatch.MetricOptions) => cloudwatch.Metric>>;

interface ScheduleAlarmsProps {
  readonly lockTable: ILockTable;
  readonly deadLetterQueue: sqs.IQueue;
  readonly failed: {
    readonly id: string;
    /** The metrics of failures beside the messages that are sent to the dead-letter queue, by a name for the formula. */
    readonly metrics?: Metrics;
    readonly label: string;
    readonly alarmDescription: string;
  };
  readonly didNotRun: {
    readonly metric: (options: cloudwatch.MetricOptions) => cloudwatch.Metric;
    readonly alarmDescription: string;
  };
}

interface ScheduleAlarms {
  readonly failed: cloudwatch.Alarm;
  readonly didNotRun: cloudwatch.Alarm | undefined;
  /** Both, and the alarms of a table that the construct made. */
  readonly all: readonly cloudwatch.Alarm[];
}

/** Makes the alarms of a scheduled function: one for failures, one for silence, and those of the construct's own table. */
export function scheduleAlarms(
  scope: Construct,
  { alarmActions = [], enabled = true, ...props }: ScheduledFunctionProps,
  { lockTable, ...parts }: ScheduleAlarmsProps,
): ScheduleAlarms {
  const failed = failedAlarm(scope, parts);
  // Somebody who has paused the schedules knows that nothing runs.
  const silence = { name: 'runsWithin', ...parts.didNotRun, ...(!enabled && { actionsEnabled: false }) };
  const { runsWithin: within } = props;
  const missing = within === undefined ? undefined : didNotRun(scope, { ...silence, within });
  for (const alarm of [failed, missing]) alarm?.addAlarmAction(...alarmActions);
  const ofTable = props.lockTable ? [] : lockTable.addAlarms({ actions: alarmActions }).all;
  return { failed, didNotRun: missing, all: [failed, ...(missing ? [missing] : []), ...ofTable] };
}

/**
 * Counts the messages that are sent, and not those that lie in the queue: a second failure is told, too, while the message of
 * the first is still there.
 */
function failedAlarm(
  scope: Construct,
  { deadLetterQueue, failed }: Pick<ScheduleAlarmsProps, 'deadLetterQueue' | 'failed'>,
): cloudwatch.Alarm {
  const period = Duration.minutes(1);
  const metrics: Metrics = {
    sent: (options) => deadLetterQueue.metricNumberOfMessagesSent(options),
    ...failed.metrics,
  };
  return new cloudwatch.Alarm(scope, failed.id, {
    metric: new cloudwatch.MathExpression({
      expression: Object.keys(metrics)
        .map((name) => `FILL(${name}, 0)`)
        .join(' + '),
      usingMetrics: Object.fromEntries(Object.entries(metrics).map(([name, metric]) => [name, metric({ period })])),
      label: failed.label,
      period,
    }),
    threshold: 1,
    comparisonOperator: cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
    // SQS publishes the first metrics of a queue that was idle up to 15 minutes late.
    evaluationPeriods: 20,
    datapointsToAlarm: 1,
    treatMissingData: cloudwatch.TreatMissingData.NOT_BREACHING,
    alarmDescription: failed.alarmDescription,
  });
}
