import type { ResourceProps } from 'aws-cdk-lib';
import { Duration, Token } from 'aws-cdk-lib';
import type * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import type * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import type * as iam from 'aws-cdk-lib/aws-iam';
import type * as kms from 'aws-cdk-lib/aws-kms';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import type { Construct } from 'constructs';
import { isRetention, isTableName, layoutVariables, RETENTION, type TableLayout } from '../dynamodb/settings.ts';
import { DEFAULT_RETENTION_DAYS, KEY_ATTRIBUTE, LOCK_METRICS, LOCK_RETENTION_DAYS, LOCK_TABLE_NAME } from '../names.ts';
import { checkNames, show } from '../record/check.ts';
import type { DidNotRunAlarmProps, LockAlarmsProps } from './alarms.ts';
import { LockAlarms } from './alarms.ts';
import { attach } from './attach.ts';
import { didNotRun, warnIfBlind } from './did-not-run.ts';
import { environmentOf, functionOf } from './functions.ts';
import type { LockGrantOptions } from './grants.ts';
import { LockTableGrants } from './grants.ts';
import { checkActions, checkFlags, invalid, isDuration, lengthOf, shown } from './invalid.ts';
import { keyBehind } from './keys.ts';
import type { ILockMetrics } from './lock-metrics.ts';
import { LockMetrics } from './lock-metrics.ts';
import { JOB_DID_NOT_RUN } from './runbook.ts';

/**
 * The options of `lockTable.attach`: the permissions of the function, and its metrics.
 * @example
 * ```ts
 * import type { LockAttachOptions } from 'leasehold/cdk';
 *
 * export const options: LockAttachOptions = { keyPrefixes: ['jobs/'], metrics: false };
 * ```
 */
export interface LockAttachOptions extends LockGrantOptions {
  /**
   * Lets the function's clients publish their metrics, which the alarms and the dashboard read: sets the environment variable
   * `LOCK_METRICS` to `emf`, unless the function has set the variable itself.
   *
   * @default true
   */
  readonly metrics?: boolean;
}

/**
 * A table of locks: one of this app, or an imported one.
 * @example
 * ```ts
 * import type { Function } from 'aws-cdk-lib/aws-lambda';
 * import type { ILockTable } from 'leasehold/cdk';
 *
 * const lockJobs = (lockTable: ILockTable, worker: Function) => lockTable.attach(worker, { keyPrefixes: ['jobs/'] });
 * ```
 */
export interface ILockTable extends ILockMetrics {
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

  /** The grants on the table's locks. */
  readonly grants: LockTableGrants;

  /** The time for which a record outlives its lease. Undefined if DynamoDB deletes no records. */
  readonly retention: Duration | undefined;

  /**
   * Makes the function a user of this table. Sets the function's environment variable `LOCK_TABLE_NAME`, and those of the
   * table's retention, keys and TTL if they are given, and allows the function to lock what `options` names. Can be called
   * again for more keys. Of an alias, takes the function.
   * @throws TypeError if a variable has another value already, if this app does not set the function's environment, or if
   *   the function runs in another Region or account, where that name means another table.
   */
  attach(fn: lambda.Function | lambda.Alias, options: LockAttachOptions): iam.Grant;

  /**
   * Adds the alarms that a lock table should have. Contention raises none: locks are for it. A second call adds its actions
   * to the same alarms.
   */
  addAlarms(props?: LockAlarmsProps): LockAlarms;

  /**
   * Adds an alarm that goes off if the function took no lock of this table for a time: a scheduled job did not run. The alarm
   * is also on from its deployment to the first run.
   */
  addDidNotRunAlarm(fn: lambda.Function | lambda.Alias, props: DidNotRunAlarmProps): cloudwatch.Alarm;
}

/** Marks the lock tables of every copy of leasehold in an app, so that the copies agree. */
const brand = Symbol.for('leasehold.LockTable');

export const isLockTable = (value: unknown): value is ILockTable =>
  typeof value === 'object' && value !== null && brand in value;

/** The props of a lock table that its base needs. */
interface BaseProps extends TableLayout {
  readonly encryptionKey?: kms.IKey;
  readonly retention?: Duration;
  readonly timeToLive?: boolean;
}

/** The part that a lock table of this app and an imported one share. */
export abstract class LockTableBase extends LockMetrics implements ILockTable {
  readonly [brand] = true;
  abstract readonly table: dynamodb.ITableV2;
  abstract readonly grants: LockTableGrants;
  readonly encryptionKey?: kms.IKey | undefined;
  readonly retention: Duration | undefined;
  readonly #variables: Readonly<Record<string, string>>;
  readonly #keyAttributes: readonly string[];
  #alarms: LockAlarms | undefined;

  constructor(scope: Construct, id: string, props: BaseProps, resourceProps?: ResourceProps) {
    super(scope, id, resourceProps);
    const { encryptionKey, retention, timeToLive = true, keyAttribute = KEY_ATTRIBUTE, sortKey } = props;
    checkRetention(this, retention);
    this.encryptionKey = encryptionKey === undefined ? undefined : keyBehind(this, encryptionKey);
    this.retention = timeToLive ? (retention ?? Duration.days(DEFAULT_RETENTION_DAYS)) : undefined;
    this.#keyAttributes = sortKey ? [keyAttribute, sortKey.name] : [keyAttribute];
    this.#variables = {
      ...(retention && { [LOCK_RETENTION_DAYS]: String(retention.toDays()) }),
      ...layoutVariables(props),
    };
  }

  /** The name of the table. */
  get tableName(): string {
    return this.table.tableName;
  }

  get tableArn(): string {
    return this.table.tableArn;
  }

  attach(attached: lambda.Function | lambda.Alias, options: LockAttachOptions): iam.Grant {
    const { metrics = true, ...grantOptions } = options ?? {};
    checkFlags(this, { metrics });
    const variables = { [LOCK_TABLE_NAME]: this.tableName, ...this.#variables };
    return attach(this, attached, { place: 'table', variables }, (fn) => {
      const grant = this.grants.lock(fn, options && grantOptions);
      if (metrics && environmentOf(fn, LOCK_METRICS) === undefined) fn.addEnvironment(LOCK_METRICS, 'emf');
      return grant;
    });
  }

  addAlarms(props: LockAlarmsProps = {}): LockAlarms {
    if (this.#alarms) this.#alarms.addActions(props);
    else this.#alarms = new LockAlarms(this, 'Alarms', { lockTable: this, ...props });
    return this.#alarms;
  }

  addDidNotRunAlarm(watched: lambda.Function | lambda.Alias, props: DidNotRunAlarmProps): cloudwatch.Alarm {
    const fn = functionOf(watched);
    if (fn?.functionName === undefined) {
      throw invalid(this, `addDidNotRunAlarm() must be given a function, but it is ${show(watched)}.`);
    }
    checkNames(`[${this.node.path}] addDidNotRunAlarm`, props, { within: 0, actions: 0 });
    checkActions(this, 'actions', props.actions);
    // In the function's stack: with the alarm in the table's stack, each stack would need the other.
    const alarm = didNotRun(fn, {
      name: 'within',
      within: props.within,
      metric: (options) => this.metricAcquired({ ...options, function: fn }),
      alarmDescription: JOB_DID_NOT_RUN,
    });
    warnIfBlind(alarm, fn);
    alarm.addAlarmAction(...(props.actions ?? []));
    return alarm;
  }

  protected grantsOn(table: dynamodb.ITableV2 & iam.IResourceWithPolicy, transactions: boolean): LockTableGrants {
    return new LockTableGrants({
      construct: this,
      tableArn: table.tableArn,
      policyResource: table,
      encryptionKey: this.encryptionKey,
      viaService: `dynamodb.${this.env.region}.amazonaws.com`,
      transactions,
      keyAttributes: this.#keyAttributes,
    });
  }
}

/** Refuses what is no lock table, such as a `TableV2`. */
export function checkLockTable(scope: Construct, lockTable: unknown): void {
  if (isLockTable(lockTable)) return;
  const { path } = (lockTable as Partial<ILockTable> | undefined | null)?.node ?? {};
  throw invalid(
    scope,
    `lockTable must be a LockTable, or one of LockTable.fromLockTableName(), but it is ${path ?? show(lockTable)}.`,
  );
}

function checkRetention(scope: Construct, retention: Duration | undefined): void {
  if (retention === undefined) return;
  const days = lengthOf(retention, 'toDays');
  if (!Number.isInteger(days) || !isRetention(days)) {
    const hint = isDuration(retention) ? '' : ': give a Duration, such as Duration.days(30)';
    throw invalid(scope, `retention must be a whole ${RETENTION}, but it is ${shown(retention)}${hint}.`);
  }
}

/** Says that a table cannot have this name. */
export function tableNameFault(tableName: string | undefined): string | undefined {
  if (tableName === undefined || Token.isUnresolved(tableName)) return undefined;
  if (typeof tableName === 'string' && isTableName(tableName)) return undefined;
  return `tableName must have 3 to 255 letters, digits, '_', '-' and '.', but it is ${show(tableName)}.`;
}
