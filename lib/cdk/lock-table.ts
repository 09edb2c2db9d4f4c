import type { IResource } from 'aws-cdk-lib';
import { Annotations, Duration, RemovalPolicy, Resource, Stack, Token } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import type * as iam from 'aws-cdk-lib/aws-iam';
import type * as kms from 'aws-cdk-lib/aws-kms';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import type { Construct } from 'constructs';
import {
  KEY_ATTRIBUTE,
  LOCK_RETENTION_DAYS,
  LOCK_TABLE_NAME,
  METRIC,
  METRIC_DIMENSION,
  METRIC_NAMESPACE,
  TTL_ATTRIBUTE,
} from '../names.ts';
import type { LockAlarmsProps } from './alarms.ts';
import { LockAlarms } from './alarms.ts';
import type { LockGrantOptions } from './grants.ts';
import { LockTableGrants } from './grants.ts';
import { invalid } from './invalid.ts';

/** How to read one of leasehold's metrics. */
export interface LockMetricOptions extends cloudwatch.MetricOptions {
  /**
   * Only what this function published.
   *
   * @default - what every function on the table published
   */
  readonly function?: lambda.IFunction;
}

/** A table of locks: one of this app, or an imported one. */
export interface ILockTable extends IResource {
  /**
   * The name of the table.
   *
   * @attribute
   */
  readonly tableName: string;

  /**
   * The ARN of the table.
   *
   * @attribute
   */
  readonly tableArn: string;

  /** The table itself. */
  readonly table: dynamodb.ITableV2;

  /** The customer's key that the table is encrypted with, if any. */
  readonly encryptionKey?: kms.IKey | undefined;

  /** Grants on the table's locks. */
  readonly grants: LockTableGrants;

  /**
   * Makes the function a user of this table: sets its environment variable `LOCK_TABLE_NAME`, and allows it to lock
   * what `options` names. Can be called again for more keys.
   *
   * Throws a `TypeError` when the variable has another value already, or when the function runs in another Region or
   * account, where that name means another table.
   */
  attach(fn: lambda.Function, options: LockGrantOptions): iam.Grant;

  /** Adds the alarms that a lock table should have. Contention is none: it is what locks are for. */
  addAlarms(props?: LockAlarmsProps): LockAlarms;

  /** One of the metrics that `emf()` publishes. Default: the sum over 5 minutes. */
  metric(metricName: string, options?: LockMetricOptions): cloudwatch.Metric;

  /** How many leases were granted. Default: the sum over 5 minutes. */
  metricAcquired(options?: LockMetricOptions): cloudwatch.Metric;

  /** How many tries were busy. Default: the sum over 5 minutes. */
  metricBusy(options?: LockMetricOptions): cloudwatch.Metric;

  /** Which part of the tries was busy, from 0 to 1. Default: the average over 5 minutes. */
  metricBusyRate(options?: LockMetricOptions): cloudwatch.Metric;

  /** How many tries came for a `once` token that had finished. Default: the sum over 5 minutes. */
  metricDone(options?: LockMetricOptions): cloudwatch.Metric;

  /** How many leases were taken over from a holder that let them expire. Default: the sum over 5 minutes. */
  metricTakeovers(options?: LockMetricOptions): cloudwatch.Metric;

  /** Milliseconds from the call to the grant, or to giving up. Default: the average over 5 minutes. */
  metricWaitTime(options?: LockMetricOptions): cloudwatch.Metric;

  /** Milliseconds from a grant to its end. Default: the average over 5 minutes. */
  metricHeldTime(options?: LockMetricOptions): cloudwatch.Metric;

  /**
   * How many locks were held at a time, on average over the period: the time for which the leases that ended in it
   * had been held, divided by its length (Little's law). A lease that is much longer than the period counts when it ends.
   */
  metricHolders(options?: LockMetricOptions): cloudwatch.MathExpression;

  /** How many leases were lost. Default: the sum over 5 minutes. */
  metricLost(options?: LockMetricOptions): cloudwatch.Metric;

  /** How many renewals failed; each is tried again until the lease's deadline. Default: the sum over 5 minutes. */
  metricRenewFailed(options?: LockMetricOptions): cloudwatch.Metric;

  /** How many releases failed; the lock opens when the lease expires. Default: the sum over 5 minutes. */
  metricReleaseFailed(options?: LockMetricOptions): cloudwatch.Metric;

  /** How many writes DynamoDB throttled. Default: the sum over 5 minutes. */
  metricThrottledWrites(options?: cloudwatch.MetricOptions): cloudwatch.Metric;

  /** How many reads DynamoDB throttled. Default: the sum over 5 minutes. */
  metricThrottledReads(options?: cloudwatch.MetricOptions): cloudwatch.Metric;

  /** How many writes were refused by their condition, as a busy try is. Default: the sum over 5 minutes. */
  metricRefusedWrites(options?: cloudwatch.MetricOptions): cloudwatch.Metric;

  /** Write units consumed: what is paid for. Default: the sum over 5 minutes. */
  metricConsumedWriteUnits(options?: cloudwatch.MetricOptions): cloudwatch.Metric;

  /** Read units consumed: what is paid for. Default: the sum over 5 minutes. */
  metricConsumedReadUnits(options?: cloudwatch.MetricOptions): cloudwatch.Metric;
}

/** How to make a lock table. */
export interface LockTableProps {
  /**
   * The name of the table: 3 to 255 letters, digits, `_`, `-` and `.`.
   *
   * @default - made by CloudFormation
   */
  readonly tableName?: string;

  /**
   * A customer's key to encrypt the table with. The grants then allow its use, by way of DynamoDB only. The stack must
   * have a Region of its own (`env`).
   *
   * @default - a key that DynamoDB owns, which costs nothing
   */
  readonly encryptionKey?: kms.IKey;

  /**
   * The ARN of the key in each of the other Regions.
   *
   * @default - none; needed with `encryptionKey` and `replicas`
   */
  readonly replicaKeyArns?: Readonly<Record<string, string>>;

  /**
   * Whether the table refuses to be deleted.
   *
   * @default false
   */
  readonly deletionProtection?: boolean;

  /**
   * What becomes of the table when it leaves the stack. With the table go the fencing tokens and the `once` tokens.
   *
   * @default RemovalPolicy.RETAIN
   */
  readonly removalPolicy?: RemovalPolicy;

  /**
   * For how long a record outlives its lease before DynamoDB may delete it: whole days, at least one. `attach` hands
   * it to the function. It is also for how long a `once` token is remembered.
   *
   * @default - the runtime's default, Duration.days(7)
   */
  readonly retention?: Duration;

  /**
   * Whether DynamoDB deletes records that nobody used for `retention`.
   *
   * @default true
   */
  readonly timeToLive?: boolean;

  /**
   * Other Regions to replicate the table to. Only with `MultiRegionConsistency.STRONG`: an eventually consistent
   * replica judges a lock by what its own Region knows, and grants it twice.
   *
   * @default - none
   */
  readonly replicas?: readonly string[];

  /**
   * How the replicas agree. `STRONG` has no TTL, so that `timeToLive` must be false, and no transactions, so that there
   * are no guarded writes.
   *
   * @default - there are no replicas
   */
  readonly multiRegionConsistency?: dynamodb.MultiRegionConsistency;

  /**
   * The Region that only votes, in the place of a second replica.
   *
   * @default - none
   */
  readonly witnessRegion?: string;
}

/** What to know of a lock table that another stack, or nobody's stack, made. */
export interface LockTableAttributes {
  /**
   * The name of the table, in the stack's Region and account. Either this or `tableArn`.
   *
   * @default - taken from `tableArn`
   */
  readonly tableName?: string;

  /**
   * The ARN of the table. Either this or `tableName`.
   *
   * @default - made of `tableName`
   */
  readonly tableArn?: string;

  /**
   * The customer's key that the table is encrypted with.
   *
   * @default - none
   */
  readonly encryptionKey?: kms.IKey;

  /**
   * For how long a record outlives its lease: whole days, at least one.
   *
   * @default - the runtime's default, Duration.days(7)
   */
  readonly retention?: Duration;
}

/** Marks the lock tables of every copy of leasehold in an app, so that they agree. */
const brand = Symbol.for('leasehold.LockTable');

abstract class LockTableBase extends Resource implements ILockTable {
  readonly [brand] = true;
  abstract readonly table: dynamodb.ITableV2;
  abstract readonly encryptionKey?: kms.IKey | undefined;
  abstract readonly grants: LockTableGrants;
  protected abstract readonly retention?: Duration | undefined;

  get tableName(): string {
    return this.table.tableName;
  }

  get tableArn(): string {
    return this.table.tableArn;
  }

  attach(fn: lambda.Function, options: LockGrantOptions): iam.Grant {
    for (const place of ['region', 'account'] as const) {
      const ours = this.env[place];
      const theirs = fn.env[place];
      if (!Token.isUnresolved(ours) && !Token.isUnresolved(theirs) && ours !== theirs) {
        throw invalid(
          this,
          `attach() must be given a function in the table's ${place} ${ours}, but ${fn.node.path} is in ${theirs}; grant with grants.lock() and tell the function's store which table it is.`,
        );
      }
    }
    const variables = { [LOCK_TABLE_NAME]: this.tableName, ...this.#retentionVariable() };
    const faults = () => Object.entries(variables).flatMap(([name, value]) => this.#conflict(fn, name, value));
    const [fault] = faults();
    if (fault) throw invalid(this, fault);
    const grant = this.grants.lock(fn, options);
    for (const [name, value] of Object.entries(variables)) fn.addEnvironment(name, value);
    // What is set after this call would replace the table behind the grant.
    fn.node.addValidation({ validate: faults });
    return grant;
  }

  #retentionVariable(): Record<string, string> {
    return this.retention ? { [LOCK_RETENTION_DAYS]: String(this.retention.toDays()) } : {};
  }

  #conflict(fn: lambda.Function, name: string, expected: string): string[] {
    const stack = Stack.of(fn);
    const environment = stack.resolve((fn.node.defaultChild as lambda.CfnFunction).environment);
    const present: unknown = environment?.variables?.[name];
    if (present === undefined || JSON.stringify(present) === JSON.stringify(stack.resolve(expected))) return [];
    return [
      `attach() must set ${name} of ${fn.node.path} alone, but it is ${JSON.stringify(present)} already; for a second table grant with grants.lock() and tell the store its name.`,
    ];
  }

  addAlarms(props: LockAlarmsProps = {}): LockAlarms {
    return new LockAlarms(this, 'Alarms', { lockTable: this, ...props });
  }

  metric(metricName: string, options: LockMetricOptions = {}): cloudwatch.Metric {
    const { function: fn, ...metricOptions } = options;
    return new cloudwatch.Metric({
      namespace: METRIC_NAMESPACE,
      metricName,
      statistic: cloudwatch.Stats.SUM,
      dimensionsMap: {
        [METRIC_DIMENSION.table]: this.tableName,
        ...(fn && { [METRIC_DIMENSION.function]: fn.functionName }),
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
    return this.metric(METRIC.busy, { statistic: cloudwatch.Stats.AVERAGE, ...options });
  }

  metricDone(options?: LockMetricOptions): cloudwatch.Metric {
    return this.metric(METRIC.done, options);
  }

  metricTakeovers(options?: LockMetricOptions): cloudwatch.Metric {
    return this.metric(METRIC.takeover, options);
  }

  metricWaitTime(options?: LockMetricOptions): cloudwatch.Metric {
    return this.metric(METRIC.waitTime, { statistic: cloudwatch.Stats.AVERAGE, ...options });
  }

  metricHeldTime(options?: LockMetricOptions): cloudwatch.Metric {
    return this.metric(METRIC.heldTime, { statistic: cloudwatch.Stats.AVERAGE, ...options });
  }

  metricHolders(options: LockMetricOptions = {}): cloudwatch.MathExpression {
    const { label, color, ...metricOptions } = options;
    return new cloudwatch.MathExpression({
      expression: 'held / (1000 * PERIOD(held))',
      usingMetrics: { held: this.metricHeldTime({ ...metricOptions, statistic: cloudwatch.Stats.SUM }) },
      label: label ?? 'holders',
      period: options.period ?? Duration.minutes(5),
      ...(color && { color }),
    });
  }

  metricLost(options?: LockMetricOptions): cloudwatch.Metric {
    return this.metric(METRIC.lost, options);
  }

  metricRenewFailed(options?: LockMetricOptions): cloudwatch.Metric {
    return this.metric(METRIC.renewFailed, options);
  }

  metricReleaseFailed(options?: LockMetricOptions): cloudwatch.Metric {
    return this.metric(METRIC.releaseFailed, options);
  }

  metricThrottledWrites(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.#tableMetric('WriteThrottleEvents', options);
  }

  metricThrottledReads(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.#tableMetric('ReadThrottleEvents', options);
  }

  metricRefusedWrites(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.#tableMetric('ConditionalCheckFailedRequests', options);
  }

  metricConsumedWriteUnits(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.#tableMetric('ConsumedWriteCapacityUnits', options);
  }

  metricConsumedReadUnits(options?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.#tableMetric('ConsumedReadCapacityUnits', options);
  }

  /** DynamoDB's own metric, by table: those by operation say nothing until that operation was throttled. */
  #tableMetric(metricName: string, options?: cloudwatch.MetricOptions): cloudwatch.Metric {
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

/**
 * A DynamoDB table of locks: on demand, its records deleted by TTL, kept when it leaves the stack. It has no
 * point-in-time recovery, since a restored table would give out fencing tokens that were given out before.
 *
 * Throws a `TypeError` that names the construct's path and the value.
 */
export class LockTable extends LockTableBase {
  /** A lock table of that name in the stack's Region and account. */
  static fromLockTableName(scope: Construct, id: string, tableName: string): ILockTable {
    return LockTable.fromLockTableAttributes(scope, id, { tableName });
  }

  /** The lock table with that ARN. */
  static fromLockTableArn(scope: Construct, id: string, tableArn: string): ILockTable {
    return LockTable.fromLockTableAttributes(scope, id, { tableArn });
  }

  /** A lock table that another stack, or nobody's stack, made. */
  static fromLockTableAttributes(scope: Construct, id: string, attributes: LockTableAttributes): ILockTable {
    return new ImportedLockTable(scope, id, attributes);
  }

  /** Whether that is a lock table, also one of another copy of leasehold. */
  static isLockTable(value: unknown): value is ILockTable {
    return typeof value === 'object' && value !== null && brand in value;
  }

  readonly table: dynamodb.TableV2;
  readonly encryptionKey?: kms.IKey | undefined;
  readonly grants: LockTableGrants;
  protected readonly retention?: Duration | undefined;

  constructor(scope: Construct, id: string, props: LockTableProps = {}) {
    super(scope, id);
    const timeToLive = props.timeToLive ?? true;
    checkTableName(this, props.tableName);
    checkRetention(this, props.retention);
    checkConsistency(this, props, timeToLive);
    checkRegion(this, props);
    const strong = props.multiRegionConsistency === dynamodb.MultiRegionConsistency.STRONG;
    this.encryptionKey = props.encryptionKey;
    this.retention = props.retention;
    this.table = new dynamodb.TableV2(this, 'Table', {
      partitionKey: { name: KEY_ATTRIBUTE, type: dynamodb.AttributeType.STRING },
      billing: dynamodb.Billing.onDemand(),
      removalPolicy: props.removalPolicy ?? RemovalPolicy.RETAIN,
      ...(props.tableName !== undefined && { tableName: props.tableName }),
      ...(timeToLive && { timeToLiveAttribute: TTL_ATTRIBUTE }),
      ...(props.deletionProtection !== undefined && { deletionProtection: props.deletionProtection }),
      ...(props.encryptionKey && {
        encryption: dynamodb.TableEncryptionV2.customerManagedKey(props.encryptionKey, { ...props.replicaKeyArns }),
      }),
      ...(strong && {
        multiRegionConsistency: props.multiRegionConsistency,
        replicas: (props.replicas ?? []).map((region) => ({ region })),
      }),
      ...(props.witnessRegion !== undefined && { witnessRegion: props.witnessRegion }),
    });
    this.grants = grantsOf(this, this.table, !strong);
    if (strong) {
      Annotations.of(this).addWarningV2(
        'leasehold:strongConsistency',
        'With strong consistency across Regions DynamoDB has no TTL, so that the records of keys that are no longer used stay, and no transactions, so that there are no guarded writes (conditionCheck, writeWhileHeld).',
      );
    }
  }
}

class ImportedLockTable extends LockTableBase {
  readonly table: dynamodb.ITableV2;
  readonly encryptionKey?: kms.IKey | undefined;
  readonly grants: LockTableGrants;
  protected readonly retention?: Duration | undefined;

  constructor(scope: Construct, id: string, attributes: LockTableAttributes) {
    const tableArn = importedArn(scope, id, attributes);
    super(scope, id, { environmentFromArn: tableArn });
    checkRetention(this, attributes.retention);
    this.retention = attributes.retention;
    this.encryptionKey = attributes.encryptionKey;
    const table = dynamodb.TableV2.fromTableArn(this, 'Table', tableArn);
    this.table = table;
    // Every table of the CDK is one: an imported one answers that nothing was added.
    this.grants = grantsOf(this, table as dynamodb.ITableV2 & iam.IResourceWithPolicy, true);
  }
}

const grantsOf = (
  construct: LockTableBase,
  table: dynamodb.ITableV2 & iam.IResourceWithPolicy,
  transactions: boolean,
): LockTableGrants =>
  new LockTableGrants({
    construct,
    tableArn: table.tableArn,
    policyResource: table,
    encryptionKey: construct.encryptionKey,
    viaService: `dynamodb.${construct.env.region}.amazonaws.com`,
    transactions,
  });

/** The ARN of an imported table; checked before there is a construct, so that the path is put together here. */
function importedArn(scope: Construct, id: string, attributes: LockTableAttributes): string {
  const fault = (message: string) => new TypeError(`[${scope.node.path}/${id}] ${message}`);
  const { tableName, tableArn } = attributes;
  if ((tableName === undefined) === (tableArn === undefined)) {
    throw fault(
      `either tableName or tableArn must be given, but tableName is ${tableName} and tableArn is ${tableArn}.`,
    );
  }
  const stack = Stack.of(scope);
  if (tableArn === undefined) {
    const reason = tableNameFault(tableName);
    if (reason) throw fault(reason);
    return stack.formatArn({ service: 'dynamodb', resource: 'table', resourceName: tableName });
  }
  if (!Token.isUnresolved(tableArn) && !/^arn:[^:]+:dynamodb:[^:]+:[^:]+:table\/[\w.-]{3,255}$/.test(tableArn)) {
    throw fault(
      `tableArn must look like arn:aws:dynamodb:eu-west-1:123456789012:table/locks, but it is '${tableArn}'.`,
    );
  }
  return tableArn;
}

function tableNameFault(tableName: string | undefined): string | undefined {
  if (tableName === undefined || Token.isUnresolved(tableName) || /^[\w.-]{3,255}$/.test(tableName)) return undefined;
  return `tableName must have 3 to 255 letters, digits, '_', '-' and '.', but it is '${tableName}'.`;
}

function checkTableName(scope: Construct, tableName: string | undefined): void {
  const fault = tableNameFault(tableName);
  if (fault) throw invalid(scope, fault);
}

function checkRetention(scope: Construct, retention: Duration | undefined): void {
  if (!retention) return;
  const days = retention.isUnresolved() ? Number.NaN : retention.toDays({ integral: false });
  if (!Number.isInteger(days) || days < 1) {
    throw invalid(scope, `retention must be a whole number of days, at least 1, but it is ${retention.toString()}.`);
  }
}

function checkConsistency(scope: Construct, props: LockTableProps, timeToLive: boolean): void {
  const { replicas = [], multiRegionConsistency, witnessRegion = [] } = props;
  const others = [replicas, witnessRegion].flat(2);
  if (multiRegionConsistency !== dynamodb.MultiRegionConsistency.STRONG) {
    if (others.length === 0) return;
    throw invalid(
      scope,
      `replicas and a witness must have multiRegionConsistency STRONG, but it is ${multiRegionConsistency ?? 'EVENTUAL by default'} for [${others.join(', ')}]; an eventually consistent replica judges a lock by what its own Region knows, and grants it twice.`,
    );
  }
  if (timeToLive) {
    throw invalid(
      scope,
      'timeToLive must be false with strong consistency across Regions, which DynamoDB offers without TTL, but it is true; the records of keys that are no longer used then stay.',
    );
  }
}

function checkRegion(scope: Construct, props: LockTableProps): void {
  const { region } = Stack.of(scope);
  const { replicas = [], encryptionKey } = props;
  if (Token.isUnresolved(region) && (replicas.length > 0 || encryptionKey)) {
    const what =
      replicas.length > 0 ? `replicas [${replicas.join(', ')}]` : `encryptionKey ${encryptionKey?.node.path}`;
    throw invalid(
      scope,
      `${what} must be in a stack whose Region is known when the app is synthesised, but it is ${region}; give the stack an env.`,
    );
  }
  if (replicas.includes(region)) {
    throw invalid(scope, `replicas must be other Regions than the stack's, but ${region} is among them.`);
  }
}
