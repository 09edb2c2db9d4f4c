import type { Duration, ResourceProps } from 'aws-cdk-lib';
import { Stack, Token } from 'aws-cdk-lib';
import type * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import type * as iam from 'aws-cdk-lib/aws-iam';
import type * as kms from 'aws-cdk-lib/aws-kms';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import type { Construct } from 'constructs';
import { isRetention, isTableName, layoutVariables, RETENTION, type TableLayout } from '../dynamodb/settings.ts';
import { LOCK_RETENTION_DAYS, LOCK_TABLE_NAME } from '../names.ts';
import { show } from '../record/check.ts';
import type { LockAlarmsProps } from './alarms.ts';
import { LockAlarms } from './alarms.ts';
import type { LockGrantOptions } from './grants.ts';
import { LockTableGrants } from './grants.ts';
import { invalid } from './invalid.ts';
import type { ILockMetrics } from './lock-metrics.ts';
import { LockMetrics } from './lock-metrics.ts';

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

  /**
   * Makes the function a user of this table. Sets the function's environment variable `LOCK_TABLE_NAME`, and those of the
   * table's retention, keys and TTL if they are given, and allows the function to lock what `options` names. Can be called
   * again for more keys.
   * @throws TypeError if a variable has another value already, or if the function runs in another Region or
   *   account, where that name means another table.
   */
  attach(fn: lambda.Function, options: LockGrantOptions): iam.Grant;

  /** Adds the alarms that a lock table should have. Contention raises none: locks are for it. */
  addAlarms(props?: LockAlarmsProps): LockAlarms;
}

/** Marks the lock tables of every copy of leasehold in an app, so that the copies agree. */
const brand = Symbol.for('leasehold.LockTable');

export const isLockTable = (value: unknown): value is ILockTable =>
  typeof value === 'object' && value !== null && brand in value;

/** The part that a lock table of this app and an imported one share. */
export abstract class LockTableBase extends LockMetrics implements ILockTable {
  readonly [brand] = true;
  abstract readonly table: dynamodb.ITableV2;
  abstract readonly grants: LockTableGrants;
  readonly encryptionKey?: kms.IKey | undefined;
  readonly #variables: Readonly<Record<string, string>>;

  constructor(
    scope: Construct,
    id: string,
    props: TableLayout & { readonly encryptionKey?: kms.IKey; readonly retention?: Duration },
    resourceProps?: ResourceProps,
  ) {
    super(scope, id, resourceProps);
    const { encryptionKey, retention } = props;
    checkRetention(this, retention);
    this.encryptionKey = encryptionKey;
    this.#variables = {
      ...(retention && { [LOCK_RETENTION_DAYS]: String(retention.toDays()) }),
      ...layoutVariables(props),
    };
  }

  get tableName(): string {
    return this.table.tableName;
  }

  get tableArn(): string {
    return this.table.tableArn;
  }

  attach(fn: lambda.Function, options: LockGrantOptions): iam.Grant {
    // 1. The function runs where the table's name means this table.
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
    // 2. Nobody else has set the variables.
    const variables = { [LOCK_TABLE_NAME]: this.tableName, ...this.#variables };
    const faults = () => Object.entries(variables).flatMap(([name, value]) => conflict(fn, name, value));
    const [fault] = faults();
    if (fault) throw invalid(this, fault);
    // 3. Grant first: a grant that is refused leaves the function as it was.
    const grant = this.grants.lock(fn, options);
    for (const [name, value] of Object.entries(variables)) fn.addEnvironment(name, value);
    // A variable that is set after this call would replace the table behind the grant.
    fn.node.addValidation({ validate: faults });
    return grant;
  }

  addAlarms(props: LockAlarmsProps = {}): LockAlarms {
    return new LockAlarms(this, 'Alarms', { lockTable: this, ...props });
  }

  protected grantsOn(table: dynamodb.ITableV2 & iam.IResourceWithPolicy, transactions: boolean): LockTableGrants {
    return new LockTableGrants({
      construct: this,
      tableArn: table.tableArn,
      policyResource: table,
      encryptionKey: this.encryptionKey,
      viaService: `dynamodb.${this.env.region}.amazonaws.com`,
      transactions,
    });
  }
}

/** Says that a function's environment variable has another value than the expected one. */
function conflict(fn: lambda.Function, name: string, expected: string): string[] {
  const stack = Stack.of(fn);
  const environment = stack.resolve((fn.node.defaultChild as lambda.CfnFunction).environment);
  const present: unknown = environment?.variables?.[name];
  if (present === undefined || JSON.stringify(present) === JSON.stringify(stack.resolve(expected))) return [];
  return [
    `attach() must set ${name} of ${fn.node.path} alone, but it is ${JSON.stringify(present)} already; for a second table grant with grants.lock() and tell the store its name.`,
  ];
}

function checkRetention(scope: Construct, retention: Duration | undefined): void {
  if (!retention) return;
  const days = retention.isUnresolved() ? Number.NaN : retention.toDays({ integral: false });
  if (!Number.isInteger(days) || !isRetention(days)) {
    throw invalid(scope, `retention must be a whole ${RETENTION}, but it is ${retention.toString()}.`);
  }
}

/** Says that a table cannot have this name. */
export function tableNameFault(tableName: string | undefined): string | undefined {
  if (tableName === undefined || Token.isUnresolved(tableName) || isTableName(tableName)) return undefined;
  return `tableName must have 3 to 255 letters, digits, '_', '-' and '.', but it is ${show(tableName)}.`;
}
