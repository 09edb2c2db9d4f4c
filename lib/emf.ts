import type { LockEvent, LockEventListener } from './lease/events.ts';
import { LOCK_TABLE_NAME, METRIC, METRIC_DIMENSION, METRIC_NAMESPACE } from './names.ts';

export interface EmfOptions {
  /** The `table` dimension. Default: the environment variable `LOCK_TABLE_NAME`. */
  tableName?: string | undefined;
  /** The `function` dimension. Default: the environment variable `AWS_LAMBDA_FUNCTION_NAME`; without it, there is none. */
  functionName?: string | undefined;
  /**
   * Where a line goes. Default: standard output, past Lambda's `console.log`, which in the JSON log format wraps
   * a line in another object, where CloudWatch does not find the metrics.
   */
  print?: ((line: string) => unknown) | undefined;
}

type Metrics = Readonly<Record<string, number>>;

const millisecondMetrics: readonly string[] = [METRIC.waitTime, METRIC.heldTime];

/** What an event adds to the metrics; nothing for one that only tells how things go on. */
function metricsOf(event: LockEvent): Metrics | undefined {
  switch (event.type) {
    case 'acquired':
      return {
        [METRIC.acquired]: 1,
        [METRIC.busy]: 0,
        [METRIC.takeover]: event.takenOverFrom ? 1 : 0,
        [METRIC.waitTime]: event.waitedMs,
      };
    case 'resumed':
      return { [METRIC.acquired]: 1, [METRIC.busy]: 0, [METRIC.takeover]: 0 };
    case 'busy':
      return { [METRIC.acquired]: 0, [METRIC.busy]: 1, [METRIC.waitTime]: event.waitedMs };
    case 'done':
      return { [METRIC.done]: 1 };
    case 'renewFailed':
      return { [METRIC.renewFailed]: 1 };
    case 'lost':
      return { [METRIC.lost]: 1, [METRIC.heldTime]: event.heldMs };
    case 'released':
      return { [METRIC.lost]: 0, [METRIC.heldTime]: event.heldMs };
    case 'releaseFailed':
      return { [METRIC.releaseFailed]: 1, [METRIC.heldTime]: event.heldMs };
    case 'handedOff':
      return { [METRIC.heldTime]: event.heldMs };
    case 'waiting':
    case 'renewed':
      return undefined;
  }
}

/** What a person who reads the line wants to know besides; CloudWatch makes no metric of it. */
function propertiesOf(event: LockEvent): Record<string, unknown> {
  return {
    event: event.type,
    key: event.key,
    owner: event.owner,
    fencingToken: 'fencingToken' in event ? event.fencingToken : undefined,
    takenOverFrom: event.type === 'acquired' ? event.takenOverFrom?.owner : undefined,
    reason: event.type === 'lost' ? event.reason : undefined,
    error: 'error' in event ? event.error.message : undefined,
    skewMs: event.skewMs,
  };
}

/**
 * An `onEvent` listener that publishes CloudWatch metrics without a request: it prints a line in the Embedded Metric
 * Format for each event that counts, in the namespace `Leasehold`, by table and by table and function. The key is a
 * property of the line and no dimension: every dimension's value is a metric that is paid for.
 *
 * Throws a `TypeError` when no table is named.
 *
 * The format: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
 */
export function emf(options: EmfOptions = {}): LockEventListener {
  const tableName = options.tableName ?? process.env[LOCK_TABLE_NAME];
  const functionName = options.functionName ?? process.env.AWS_LAMBDA_FUNCTION_NAME;
  const print = options.print ?? ((line: string) => process.stdout.write(`${line}\n`));
  if (typeof tableName !== 'string' || tableName === '') {
    throw new TypeError(
      `emf() must know the lock table's name, but it is ${tableName === '' ? "''" : String(tableName)}; pass tableName or set ${LOCK_TABLE_NAME}.`,
    );
  }
  const dimensions: Record<string, string> = { [METRIC_DIMENSION.table]: tableName };
  const dimensionSets: string[][] = [[METRIC_DIMENSION.table]];
  if (functionName) {
    dimensions[METRIC_DIMENSION.function] = functionName;
    dimensionSets.push([METRIC_DIMENSION.table, METRIC_DIMENSION.function]);
  }

  return (event) => {
    const metrics = metricsOf(event);
    if (!metrics) return undefined;
    const definitions = Object.keys(metrics).map((name) => ({
      Name: name,
      Unit: millisecondMetrics.includes(name) ? 'Milliseconds' : 'Count',
    }));
    return print(
      JSON.stringify({
        _aws: {
          Timestamp: event.at,
          CloudWatchMetrics: [{ Namespace: METRIC_NAMESPACE, Dimensions: dimensionSets, Metrics: definitions }],
        },
        ...propertiesOf(event),
        ...dimensions,
        ...metrics,
      }),
    );
  };
}
