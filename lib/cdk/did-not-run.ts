import { Duration } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import type { Construct } from 'constructs';
import { show } from '../record/check.ts';
import { invalid } from './invalid.ts';

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

/**
 * Makes an alarm that goes off if a metric counted nothing for a time. The alarm is also on from its deployment to the first
 * run.
 */
export function didNotRun(scope: Construct, { name, within, metric, ...shown }: DidNotRun): cloudwatch.Alarm {
  // CloudWatch looks back for 7 days in periods of an hour or more, and for a day in shorter periods.
  const minutes =
    typeof within?.toMinutes !== 'function' || within.isUnresolved()
      ? Number.NaN
      : within.toMinutes({ integral: false });
  const isHours = minutes % 60 === 0;
  if (!Number.isInteger(minutes) || minutes < 1 || minutes > (isHours ? 7 * 24 * 60 : 24 * 60)) {
    throw invalid(
      scope,
      `${name} must be whole hours up to 7 days, or whole minutes up to a day, but it is ${show(within)}.`,
    );
  }
  if (scope.node.tryFindChild('DidNotRun')) {
    throw invalid(scope, `${name} must be given once, but there is an alarm for a run that is missing already.`);
  }
  return new cloudwatch.Alarm(scope, 'DidNotRun', {
    metric: metric({ period: isHours ? Duration.hours(1) : Duration.minutes(1), statistic: cloudwatch.Stats.SUM }),
    threshold: 1,
    comparisonOperator: cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
    evaluationPeriods: isHours ? minutes / 60 : minutes,
    treatMissingData: cloudwatch.TreatMissingData.BREACHING,
    ...shown,
  });
}
