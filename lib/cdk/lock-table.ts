import { Duration, RemovalPolicy } from 'aws-cdk-lib';
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import type * as iam from 'aws-cdk-lib/aws-iam';
import type * as kms from 'aws-cdk-lib/aws-kms';
import type { Construct } from 'constructs';
import { DEFAULT_RETENTION_DAYS, KEY_ATTRIBUTE, TTL_ATTRIBUTE } from '../names.ts';
import { checkNames } from '../record/check.ts';
import type { LockTableGrants } from './grants.ts';
import type { LockTableAttributes } from './imported-lock-table.ts';
import { ImportedLockTable } from './imported-lock-table.ts';
import { checkFlags, checkRemoval, invalid } from './invalid.ts';
import type { ILockTable } from './lock-table-base.ts';
import { isLockTable, LockTableBase, tableNameFault } from './lock-table-base.ts';
import { checkRegion, checkReplication, isStrong, replicationOf } from './replication.ts';
import { tableOptionsOf } from './table-options.ts';

/**
 * The props of a `LockTable`.
 * @example
 * ```ts
 * import { Duration } from 'aws-cdk-lib';
 * import type { LockTableProps } from 'leasehold/cdk';
 *
 * export const props: LockTableProps = { deletionProtection: true, retention: Duration.days(30) };
 * ```
 */
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
   * Makes the table refuse to be deleted.
   *
   * @default false
   */
  readonly deletionProtection?: boolean;

  /**
   * The fate of the table when it leaves the stack. With the table go the fencing tokens and the `once` tokens.
   *
   * @default RemovalPolicy.RETAIN
   */
  readonly removalPolicy?: RemovalPolicy;

  /**
   * The time for which a record outlives its lease before DynamoDB may delete it: whole days, 1 to 36,500. A `once`
   * token is remembered for as long. `attach` tells the function.
   *
   * @default - the runtime's default, Duration.days(7)
   */
  readonly retention?: Duration;

  /**
   * Lets DynamoDB delete records that nobody used for `retention`.
   *
   * @default true
   */
  readonly timeToLive?: boolean;

  /**
   * Other Regions to replicate the table to. Only with `MultiRegionConsistency.STRONG`: an eventually consistent
   * replica judges a lock by what its own Region knows, and grants the lock twice.
   *
   * @default - none
   */
  readonly replicas?: readonly string[];

  /**
   * The way in which the replicas agree. A `STRONG` table has no TTL, so that `timeToLive` must be false, and no
   * transactions, so that there are no guarded writes.
   *
   * @default - there are no replicas
   */
  readonly multiRegionConsistency?: dynamodb.MultiRegionConsistency;

  /**
   * A Region that only votes, in the place of a second replica.
   *
   * @default - none
   */
  readonly witnessRegion?: string;

  /**
   * Lets CloudWatch count the keys that are asked for or throttled most. Keys are then readable in CloudWatch, also with a
   * customer's `encryptionKey`.
   *
   * @default - no such counts
   */
  readonly contributorInsightsSpecification?: dynamodb.ContributorInsightsSpecification;

  /**
   * The reads and writes a second that the table serves from its first minute on, such as for 10,000 jobs that start at once:
   * whole numbers. Larger costs more once; DynamoDB grows a table by itself, but within minutes.
   *
   * @default - DynamoDB's throughput of a new table
   */
  readonly warmThroughput?: dynamodb.WarmThroughput;

  /**
   * The table class. `STANDARD_INFREQUENT_ACCESS` stores cheaper and writes dearer, which suits no table of locks but a very
   * idle one.
   *
   * @default TableClass.STANDARD
   */
  readonly tableClass?: dynamodb.TableClass;

  /**
   * Publishes each change of a lock in a stream, whose ARN is `lockTable.table.tableStreamArn`. An image of a record holds the
   * `lockId`, with which a reader of the stream can end the lease: `KEYS_ONLY` tells that a lock changed, and no secret.
   *
   * @default - no stream; with `replicas`, `NEW_AND_OLD_IMAGES`, which the CDK chooses
   */
  readonly dynamoStream?: dynamodb.StreamViewType;

  /**
   * The table's own policy, for what the grants do not cover, such as a `Deny` outside of a VPC endpoint. Grants to principals
   * of other accounts are added to the policy.
   *
   * @default - none, until a grant needs one
   */
  readonly resourcePolicy?: iam.PolicyDocument;

  /**
   * Lets the table be restored to an earlier time. The synthesis warns of it: a restored table gives out fencing tokens a second
   * time, and does not know who holds which lock. So use the backups to look at the past, and for nothing else.
   *
   * @default - no point-in-time recovery
   */
  readonly pointInTimeRecoverySpecification?: dynamodb.PointInTimeRecoverySpecification;
}

const PROPS = {
  tableName: 0,
  encryptionKey: 0,
  replicaKeyArns: 0,
  deletionProtection: 0,
  removalPolicy: 0,
  retention: 0,
  timeToLive: 0,
  replicas: 0,
  multiRegionConsistency: 0,
  witnessRegion: 0,
  contributorInsightsSpecification: 0,
  warmThroughput: 0,
  tableClass: 0,
  dynamoStream: 0,
  resourcePolicy: 0,
  pointInTimeRecoverySpecification: 0,
} satisfies Record<keyof LockTableProps, 0>;

/**
 * A DynamoDB table of locks. The table is on demand, DynamoDB deletes its old records by TTL, and it stays when it leaves
 * the stack. Unless asked for, the table has no point-in-time recovery: a restored table gives out fencing tokens a second
 * time. `Tags.of(lockTable)` tags the table.
 * @example
 * ```ts
 * import { App, Stack } from 'aws-cdk-lib';
 * import * as lambda from 'aws-cdk-lib/aws-lambda';
 * import { LockTable } from 'leasehold/cdk';
 *
 * const stack = new Stack(new App(), 'Jobs');
 * const worker = new lambda.Function(stack, 'Worker', {
 *   runtime: lambda.Runtime.NODEJS_22_X,
 *   handler: 'index.handler',
 *   code: lambda.Code.fromAsset('worker'),
 * });
 * const lockTable = new LockTable(stack, 'Locks', { deletionProtection: true });
 * lockTable.attach(worker, { keyPrefixes: ['jobs/'] });
 * ```
 */
export class LockTable extends LockTableBase {
  /** Imports the lock table of that name in the stack's Region and account. */
  static fromLockTableName(scope: Construct, id: string, tableName: string): ILockTable {
    return LockTable.fromLockTableAttributes(scope, id, { tableName });
  }

  /** Imports the lock table with that ARN. */
  static fromLockTableArn(scope: Construct, id: string, tableArn: string): ILockTable {
    return LockTable.fromLockTableAttributes(scope, id, { tableArn });
  }

  /** Imports a lock table that another stack made, or that no stack made. */
  static fromLockTableAttributes(scope: Construct, id: string, attributes: LockTableAttributes): ILockTable {
    return new ImportedLockTable(scope, id, attributes);
  }

  /** Tells a lock table from other values, also one of another copy of leasehold. */
  static isLockTable(value: unknown): value is ILockTable {
    return isLockTable(value);
  }

  readonly table: dynamodb.TableV2;
  readonly grants: LockTableGrants;

  /** @throws TypeError that shows the construct's path and the value, if a prop is unknown or invalid. */
  constructor(scope: Construct, id: string, props: LockTableProps = {}) {
    const { timeToLive = true, retention = timeToLive ? Duration.days(DEFAULT_RETENTION_DAYS) : undefined } =
      props ?? {};
    super(scope, id, { ...props, ...(retention && { retention }) });
    checkNames(`[${this.node.path}] LockTable`, props, PROPS);
    const { tableName, encryptionKey, deletionProtection } = props;
    const fault = tableNameFault(tableName);
    if (fault) throw invalid(this, fault);
    checkFlags(this, { timeToLive: props.timeToLive, deletionProtection });
    checkRemoval(this, props.removalPolicy);
    checkReplication(this, props);
    checkRegion(this, props);
    this.table = new dynamodb.TableV2(this, 'Table', {
      partitionKey: { name: KEY_ATTRIBUTE, type: dynamodb.AttributeType.STRING },
      billing: dynamodb.Billing.onDemand(),
      removalPolicy: props.removalPolicy ?? RemovalPolicy.RETAIN,
      ...(tableName !== undefined && { tableName }),
      ...((props.timeToLive ?? true) && { timeToLiveAttribute: TTL_ATTRIBUTE }),
      ...(deletionProtection !== undefined && { deletionProtection }),
      ...(encryptionKey && {
        encryption: dynamodb.TableEncryptionV2.customerManagedKey(encryptionKey, { ...props.replicaKeyArns }),
      }),
      ...replicationOf(props),
      ...tableOptionsOf(this, props),
    });
    this.grants = this.grantsOn(this.table, !isStrong(props));
  }
}
