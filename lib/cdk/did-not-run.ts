import { Annotations, Aspects, Duration } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import type { Construct } from 'constructs';
import { LOCK_METRICS } from '../names.ts';
import { environmentOf } from './functions.ts';
import { invalid, lengthOf, shown } from './invalid.ts';

interface DidNotRun {
  /** The name of the option `within`, for a message. */
  readonly name: string;
  readonly within: Duration;
  /** Counts the runs. */
  readonly metric: (options: cloudwatch.MetricOptions) => cloudwatch.Metric;
  readonly alarmDescription: string;
  /** False for an alarm that only shows its state. */
  readonly actionsEnabled?: boolean;
}

/** Warns of an alarm on a function that publishes no metrics of its locks: the alarm would be on for ever. */
export function warnIfBlind(alarm: cloudwatch.Alarm, fn: lambda.Function): void {
  // The function may be attached, or its variable set, after the alarm was made. So the synthesis looks.
  Aspects.of(alarm).add({
    visit: (node) => {
      if (node !== alarm || environmentOf(fn, LOCK_METRICS) === 'emf') return;
      Annotations.of(alarm).addWarningV2(
        'leasehold:blindAlarm',
        `${fn.node.path} publishes no metrics of its locks, so that this alarm is always on. Attach the function with its metrics, or set ${LOCK_METRICS} of the function to 'emf'.`,
      );
    },
  });
}

/**
 * Makes an alarm that goes off if a metric counted nothing for a time. The alarm is also on from its deployment to the first
 * run.
 */
export function didNotRun(scope: Construct, { name, within, metric, ...alarmProps }: DidNotRun): cloudwatch.Alarm {
  // CloudWatch looks back for 7 days in periods of an hour or more, and for a day in shorter periods.
  const minutes = lengthOf(within, 'toMinutes');
  const isHours = minutes % 60 === 0;
  if (!Number.isInteger(minutes) || minutes < 1 || minutes > (isHours ? 7 * 24 * 60 : 24 * 60)) {
    throw invalid(
      scope,
      `${name} must be whole hours up to 7 days, or whole minutes up to a day, but it is ${shown(within)}.`,
    );
  }
  if (scope.node.tryFindChild('DidNotRun')) {
    throw invalid(
      scope,
      `${name} must be given once for a function, but there is an alarm for a run that is missing already. For a second table, make an Alarm of lockTable.metricAcquired({ function }).`,
    );
  }
  return new cloudwatch.Alarm(scope, 'DidNotRun', {
    metric: metric({ period: isHours ? Duration.hours(1) : Duration.minutes(1), statistic: cloudwatch.Stats.SUM }),
    threshold: 1,
    comparisonOperator: cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
    evaluationPeriods: isHours ? minutes / 60 : minutes,
    treatMissingData: cloudwatch.TreatMissingData.BREACHING,
    ...alarmProps,
  });
}
