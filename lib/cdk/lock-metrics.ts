import type { IResource } from 'aws-cdk-lib';
import { Duration, Resource } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import { METRIC, METRIC_DIMENSION, METRIC_NAMESPACE } from '../names.ts';
import { unqualified } from './functions.ts';
import { invalid, shown } from './invalid.ts';

/**
 * The options of one of leasehold's metrics: the CDK's, and the function that published the metric.
 * @example
 * ```ts
 * import type { IFunction } from 'aws-cdk-lib/aws-lambda';
 * import type { ILockTable, LockMetricOptions } from 'leasehold/cdk';
 *
 * const lostBy = (lockTable: ILockTable, fn: IFunction) => {
 *   const options: LockMetricOptions = { function: fn, label: 'lost' };
 *   return lockTable.metricLost(options);
 * };
 * ```
 */
export interface LockMetricOptions extends cloudwatch.MetricOptions {
  /**
   * Reads only what this function published, in all of its versions. Of an alias or a version, takes the function.
   *
   * @default - what every function on the table published
   */
  readonly function?: lambda.IFunction;
}

/** The metrics of a lock table: the metrics that the clients publish, and DynamoDB's own, by DynamoDB's names. */
export interface ILockMetrics extends IResource {
  /** One of the metrics that the clients publish. Default: the sum over 5 minutes. */
  metric(metricName: string, options?: LockMetricOptions): cloudwatch.Metric;

  /** The leases that were granted. Default: the sum over 5 minutes. */
  metricAcquired(options?: LockMetricOptions): cloudwatch.Metric;

  /** The tries that met the lock busy. Default: the sum over 5 minutes. */
  metricBusy(options?: LockMetricOptions): cloudwatch.Metric;

  /** The share of the tries that met the lock busy, from 0 to 1. Default: the average over 5 minutes. */
  metricBusyRate(options?: LockMetricOptions): cloudwatch.Metric;

  /** The tries for a `once` token that had finished. Default: the sum over 5 minutes. */
  metricDone(options?: LockMetricOptions): cloudwatch.Metric;

  /** The calls of `coalesce` that another holder runs for. Default: the sum over 5 minutes. */
  metricCovered(options?: LockMetricOptions): cloudwatch.Metric;

  /** The runs of `coalesce` that a holder left owed. Default: the sum over 5 minutes. */
  metricOwed(options?: LockMetricOptions): cloudwatch.Metric;

  /** The leases that were taken over from a holder that let them expire. Default: the sum over 5 minutes. */
  metricTakeovers(options?: LockMetricOptions): cloudwatch.Metric;

  /** Milliseconds from the call to the grant, or to giving up. Default: the average over 5 minutes. */
  metricWaitTime(options?: LockMetricOptions): cloudwatch.Metric;

  /** Milliseconds from a grant to its end. Default: the average over 5 minutes. */
  metricHeldTime(options?: LockMetricOptions): cloudwatch.Metric;

  /**
   * Milliseconds for which locks were held, told by each renewal and by each end: the time since the line before of the same
   * lease. Default: the sum over 5 minutes.
   */
  metricHoldingTime(options?: LockMetricOptions): cloudwatch.Metric;

  /**
   * The number of locks that were held at a time, on average over the period: the time for which locks were held, divided by
   * the period's length. A lease counts while it is held, with each renewal. With a `heartbeatMs` that is longer than the
   * period, some periods show too few locks, and others too many.
   */
  metricHolders(options?: LockMetricOptions): cloudwatch.MathExpression;

  /** The leases that were lost. Default: the sum over 5 minutes. */
  metricLost(options?: LockMetricOptions): cloudwatch.Metric;

  /**
   * The attempts and looks that failed: the store did not answer, or answered with a fault, or no time was left. Default: the
   * sum over 5 minutes.
   */
  metricAcquireFailed(options?: LockMetricOptions): cloudwatch.Metric;

  /** The renewals that failed. Each is tried again until the lease's deadline. Default: the sum over 5 minutes. */
  metricRenewFailed(options?: LockMetricOptions): cloudwatch.Metric;

  /** The releases that failed. The lock opens when the lease expires. Default: the sum over 5 minutes. */
  metricReleaseFailed(options?: LockMetricOptions): cloudwatch.Metric;

  /** The writes that DynamoDB throttled. Default: the sum over 5 minutes. */
  metricWriteThrottleEvents(options?: cloudwatch.MetricOptions): cloudwatch.Metric;

  /** The reads that DynamoDB throttled. Default: the sum over 5 minutes. */
  metricReadThrottleEvents(options?: cloudwatch.MetricOptions): cloudwatch.Metric;

  /** The writes that their condition refused, as a busy try is. Default: the sum over 5 minutes. */
  metricConditionalCheckFailedRequests(options?: cloudwatch.MetricOptions): cloudwatch.Metric;

  /** The write units that are paid for. Default: the sum over 5 minutes. */
  metricConsumedWriteCapacityUnits(options?: cloudwatch.MetricOptions): cloudwatch.Metric;

  /** The read units that are paid for. Default: the sum over 5 minutes. */
  metricConsumedReadCapacityUnits(options?: cloudwatch.MetricOptions): cloudwatch.Metric;
}

const AVERAGE = { statistic: cloudwatch.Stats.AVERAGE };

/** A resource with the metrics of the lock table `tableName`. */
export abstract class LockMetrics extends Resource implements ILockMetrics {
  abstract readonly tableName: string;

  metric(metricName: string, options: LockMetricOptions = {}): cloudwatch.Metric {
    const { function: fn, ...metricOptions } = options;
    if (fn !== undefined && typeof unqualified(fn)?.functionName !== 'string') {
      throw invalid(this, `function of a metric must be a function, but it is ${shown(fn)}.`);
    }
    return new cloudwatch.Metric({
      namespace: METRIC_NAMESPACE,
      metricName,
      statistic: cloudwatch.Stats.SUM,
      dimensionsMap: {
        [METRIC_DIMENSION.table]: this.tableName,
        ...(fn && { [METRIC_DIMENSION.function]: unqualified(fn).functionName }),
      },
      ...metricOptions,
    }).attachTo(this);
  }

  metricAcquired(options?: LockMetricOptions): cloudwatch.Metric {
    return this.metric(METRIC.acquired, options);
  }

  metricBusy(options?: LockMetricOptions): cloudwatch.Metric {
    return this.metric(METRIC.busy, options);
  }

  metricBusyRate(options?: LockMetricOptions): cloudwatch.Metric {
    return this.metric(METRIC.busy, { ...AVERAGE, ...options });
  }

  metricDone(options?: LockMetricOptions): cloudwatch.Metric {
    return this.metric(METRIC.done, options);
  }

  metricCovered(options?: LockMetricOptions): cloudwatch.Metric {
    return this.metric(METRIC.covered, options);
  }

  metricOwed(options?: LockMetricOptions): cloudwatch.Metric {
    return this.metric(METRIC.owed, options);
  }

  metricTakeovers(options?: LockMetricOptions): cloudwatch.Metric {
    return this.metric(METRIC.takeover, options);
  }

  metricWaitTime(options?: LockMetricOptions): cloudwatch.Metric {
    return this.metric(METRIC.waitTime, { ...AVERAGE, ...options });
  }

  metricHeldTime(options?: LockMetricOptions): cloudwatch.Metric {
    return this.metric(METRIC.heldTime, { ...AVERAGE, ...options });
  }

  metricHoldingTime(options?: LockMetricOptions): cloudwatch.Metric {
    return this.metric(METRIC.holdingTime, options);
  }

  metricHolders(options: LockMetricOptions = {}): cloudwatch.MathExpression {
    const { label, color, ...metricOptions } = options;
    return new cloudwatch.MathExpression({
      expression: 'held / (1000 * PERIOD(held))',
      usingMetrics: { held: this.metricHoldingTime(metricOptions) },
      label: label ?? 'holders',
      period: options.period ?? Duration.minutes(5),
      ...(color && { color }),
    });
  }

  metricLost(options?: LockMetricOptions): cloudwatch.Metric {
    return this.metric(METRIC.lost, options);
  }

  metricAcquireFailed(options?: LockMetricOptions): cloudwatch.Metric {
    return this.metric(METRIC.acquireFailed, options);
  }

  metricRenewFailed(options?: LockMetricOptions): cloudwatch.Metric {
    return this.metric(METRIC.renewFailed, options);
  }

  metricReleaseFailed(options?: LockMetricOptions): cloudwatch.Metric {
    return this.metric(METRIC.releaseFailed, options);
  }

  metricWriteThrottleEvents(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.#ofDynamoDB('WriteThrottleEvents', options);
  }

  metricReadThrottleEvents(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.#ofDynamoDB('ReadThrottleEvents', options);
  }

  metricConditionalCheckFailedRequests(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.#ofDynamoDB('ConditionalCheckFailedRequests', options);
  }

  metricConsumedWriteCapacityUnits(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.#ofDynamoDB('ConsumedWriteCapacityUnits', options);
  }

  metricConsumedReadCapacityUnits(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.#ofDynamoDB('ConsumedReadCapacityUnits', options);
  }

  /** Reads a metric by table. The same metric by operation has no data until that operation was throttled. */
  #ofDynamoDB(metricName: string, options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return new cloudwatch.Metric({
      namespace: 'AWS/DynamoDB',
      metricName,
      statistic: cloudwatch.Stats.SUM,
      dimensionsMap: { TableName: this.tableName },
      region: this.env.region,
      account: this.env.account,
      ...options,
    }).attachTo(this);
  }
}
