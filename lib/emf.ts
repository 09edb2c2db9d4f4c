import type { LockEvent, LockEventListener } from './lease/events.ts';
import { LOCK_METRICS, LOCK_TABLE_NAME, METRIC, METRIC_DIMENSION, METRIC_NAMESPACE } from './names.ts';
import { checkFunction, checkNames, checkThat, printable, show } from './record/check.ts';

/**
 * The options of `emf()`.
 * @example
 * ```ts
 * import { type EmfOptions, emf } from 'leasehold';
 *
 * const options: EmfOptions = { tableName: 'locks', functionName: 'nightly' };
 * export const onEvent = emf(options);
 * ```
 */
export interface EmfOptions {
  /**
   * The `table` dimension. Of an ARN, the table's name.
   * @default the environment variable `LOCK_TABLE_NAME`
   */
  tableName?: string | undefined;
  /**
   * The `function` dimension.
   * @default the environment variable `AWS_LAMBDA_FUNCTION_NAME`; without this variable there is no such dimension
   */
  functionName?: string | undefined;
  /**
   * Prints a line. Not `console.log`: in the JSON log format, Lambda's `console.log` wraps a line in another object, where
   * CloudWatch does not find the metrics.
   * @default standard output
   */
  print?: ((line: string) => unknown) | undefined;
}

const OPTIONS = { tableName: 0, functionName: 0, print: 0 } satisfies Record<keyof EmfOptions, 0>;

const millisecondMetrics: readonly string[] = [METRIC.waitTime, METRIC.heldTime, METRIC.holdingTime];

/**
 * Gives the metrics in which an event counts, by name: for a listener that publishes by other means than `emf()`. An event
 * that counts in no metric gives an empty object.
 * @example
 * ```ts
 * import { type LockEventListener, metricsOf } from 'leasehold';
 *
 * export const onEvent: LockEventListener = (event) => {
 *   for (const [name, value] of Object.entries(metricsOf(event))) console.log(event.key, name, value);
 * };
 * ```
 */
export function metricsOf(event: LockEvent): Record<string, number> {
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
    case 'acquireFailed':
      return { [METRIC.acquireFailed]: 1 };
    case 'covered':
      return { [METRIC.covered]: 1, [METRIC.waitTime]: event.waitedMs };
    case 'owed':
      return { [METRIC.owed]: 1 };
    case 'done':
      return { [METRIC.done]: 1 };
    case 'renewed':
      return { [METRIC.holdingTime]: event.newlyHeldMs };
    case 'renewFailed':
      return { [METRIC.renewFailed]: 1, [METRIC.holdingTime]: event.newlyHeldMs };
    case 'lost':
      return { [METRIC.lost]: 1, ...heldBy(event) };
    case 'released':
      return { [METRIC.lost]: 0, ...heldBy(event) };
    case 'releaseFailed':
      return { [METRIC.releaseFailed]: 1, ...heldBy(event) };
    case 'handedOff':
      return heldBy(event);
    default:
      return {};
  }
}

const heldBy = ({ heldMs, newlyHeldMs }: { heldMs: number; newlyHeldMs: number }) => ({
  [METRIC.heldTime]: heldMs,
  [METRIC.holdingTime]: newlyHeldMs,
});

/** Properties that only some types of events have. */
interface Told {
  readonly permits?: number;
  readonly held?: number;
  readonly fencingToken?: number;
  readonly expiresAt?: number;
  readonly takenOverFrom?: { readonly owner: string };
  readonly reason?: string;
  readonly error?: Error;
}

/** Gives the properties of a line that are for people to read. CloudWatch makes no metric of them. */
function propertiesOf(event: LockEvent & Told): Record<string, unknown> {
  const { type, key, slot, permits, held, owner, fencingToken, expiresAt, takenOverFrom, reason, error, skewMs } =
    event;
  const told = {
    key,
    slot,
    permits,
    held,
    owner,
    fencingToken,
    expiresAt,
    takenOverFrom: takenOverFrom?.owner,
    reason,
    skewMs,
  };
  return { event: type, ...told, error: error?.message };
}

/** The events that a listener of `emf()` has printed. The store's own listener, which comes later, leaves them out. */
const printed = new WeakSet<LockEvent>();

/**
 * The listener of a store whose clients publish their metrics by themselves, as `lockTable.attach` arranges.
 * @throws TypeError if the environment variable has an unknown value.
 */
export function emfByEnvironment(tableName: string): LockEventListener | undefined {
  const how = process.env[LOCK_METRICS] || 'off';
  if (how === 'off') return undefined;
  checkThat(how === 'emf', LOCK_METRICS, "'emf' or 'off'", how);
  const print = printer(tableName, functionInEnvironment(), toStandardOutput);
  return (event) => !printed.has(event) && print(event);
}

/**
 * Makes an `onEvent` listener that publishes CloudWatch metrics without a request. The listener prints a line in the
 * Embedded Metric Format for each event that counts, in the namespace `Leasehold`, by table and by table and function. The
 * key is a property of the line and no dimension: every value of a dimension is a metric that is paid for.
 *
 * A function that `lockTable.attach` attached needs no `emf()`: its clients publish by themselves. With both, each event is
 * published once.
 *
 * The format: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
 * @example
 * ```ts
 * import { emf, LockClient } from 'leasehold';
 * import { DynamoDBLockStore } from 'leasehold/dynamodb';
 *
 * export const locks = new LockClient({ store: new DynamoDBLockStore(), onEvent: emf() });
 * ```
 * @throws TypeError if no table is named, or if an option is unknown.
 */
export function emf(options: EmfOptions = {}): LockEventListener {
  checkNames('emf', options, OPTIONS);
  const tableName = options.tableName ?? process.env[LOCK_TABLE_NAME];
  const functionName = options.functionName ?? functionInEnvironment();
  const print = options.print ?? toStandardOutput;
  if (typeof tableName !== 'string' || tableName === '') {
    throw new TypeError(
      `emf() must know the lock table's name, but it is ${show(tableName)}; pass tableName or set ${LOCK_TABLE_NAME}.`,
    );
  }
  checkFunction('print', print);
  return printer(tableName, functionName, print);
}

const functionInEnvironment = (): string | undefined => process.env.AWS_LAMBDA_FUNCTION_NAME;

const toStandardOutput = (line: string): unknown => process.stdout.write(`${line}\n`);

/** The table in the metrics. Of an ARN, the part behind the last slash: the alarms and the dashboard know the table by its name. */
export const tableIn = (nameOrArn: string): string => nameOrArn.slice(nameOrArn.lastIndexOf('/') + 1);

function printer(
  tableName: string,
  functionName: string | undefined,
  print: (line: string) => unknown,
): LockEventListener {
  const table = tableIn(tableName);
  const dimensions: Record<string, string> = { [METRIC_DIMENSION.table]: table };
  const dimensionSets: string[][] = [[METRIC_DIMENSION.table]];
  if (functionName) {
    dimensions[METRIC_DIMENSION.function] = functionName;
    dimensionSets.push([METRIC_DIMENSION.table, METRIC_DIMENSION.function]);
  }

  return (event) => {
    const metrics = metricsOf(event);
    const definitions = Object.keys(metrics).map((name) => ({
      Name: name,
      Unit: millisecondMetrics.includes(name) ? 'Milliseconds' : 'Count',
    }));
    if (definitions.length === 0) return undefined;
    printed.add(event);
    const line = {
      _aws: {
        Timestamp: event.at,
        CloudWatchMetrics: [{ Namespace: METRIC_NAMESPACE, Dimensions: dimensionSets, Metrics: definitions }],
      },
      ...propertiesOf(event),
      ...dimensions,
      ...metrics,
    };
    // Others choose keys and owners, which people read in a terminal.
    return print(printable(JSON.stringify(line)));
  };
}
