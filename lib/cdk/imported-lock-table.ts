import type { Duration } from 'aws-cdk-lib';
import { Stack, Token } from 'aws-cdk-lib';
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import type * as iam from 'aws-cdk-lib/aws-iam';
import type * as kms from 'aws-cdk-lib/aws-kms';
import type { Construct } from 'constructs';
import { checkLayout, isTableArn } from '../dynamodb/settings.ts';
import { checkNames, show } from '../record/check.ts';
import type { LockTableGrants } from './grants.ts';
import { LockTableBase, tableNameFault } from './lock-table-base.ts';

/**
 * A lock table that another stack made, or that no stack made.
 * @example
 * ```ts
 * import { Stack } from 'aws-cdk-lib';
 * import { LockTable, type LockTableAttributes } from 'leasehold/cdk';
 *
 * const attributes: LockTableAttributes = { tableArn: 'arn:aws:dynamodb:eu-west-1:123456789012:table/locks' };
 * LockTable.fromLockTableAttributes(new Stack(), 'Locks', attributes);
 * ```
 */
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
   * The time for which a record outlives its lease: whole days, 1 to 36,500.
   *
   * @default - the runtime's default, Duration.days(7)
   */
  readonly retention?: Duration;

  /**
   * The table's partition key: an attribute of type string, and none that leasehold writes. `attach` tells the function.
   *
   * @default 'lockKey'
   */
  readonly keyAttribute?: string;

  /**
   * The name of the table's sort key, of type string, and the value that all locks have there. `attach` tells the function.
   *
   * @default - the table has no sort key
   */
  readonly sortKey?: { readonly name: string; readonly value: string };

  /**
   * The attribute that the table's TTL reads, in seconds since the epoch. `attach` tells the function.
   *
   * @default 'ttl'
   */
  readonly ttlAttribute?: string;
}

type Names = Record<keyof LockTableAttributes, 0>;
const ATTRIBUTES = {
  tableName: 0,
  tableArn: 0,
  encryptionKey: 0,
  retention: 0,
  keyAttribute: 0,
  sortKey: 0,
  ttlAttribute: 0,
} satisfies Names;

/** A lock table that is there already. */
export class ImportedLockTable extends LockTableBase {
  readonly table: dynamodb.ITableV2;
  readonly grants: LockTableGrants;

  constructor(scope: Construct, id: string, attributes: LockTableAttributes) {
    const environmentFromArn = importedArn(scope, id, attributes);
    super(scope, id, attributes, { environmentFromArn });
    const table = dynamodb.TableV2.fromTableArn(this, 'Table', environmentFromArn);
    this.table = table;
    // Every table of the CDK has a resource policy: that of an imported one answers that nothing was added.
    this.grants = this.grantsOn(table as dynamodb.ITableV2 & iam.IResourceWithPolicy, true);
  }
}

/** Gives the ARN of an imported table. There is no construct yet, so the path in a message is put together here. */
function importedArn(scope: Construct, id: string, attributes: LockTableAttributes): string {
  const path = `[${scope.node.path}/${id}]`;
  checkNames(`${path} LockTable`, attributes, ATTRIBUTES);
  const fault = (message: string) => new TypeError(`${path} ${message}`);
  const { tableName, tableArn } = attributes;
  try {
    checkLayout(attributes);
  } catch (error) {
    throw fault((error as Error).message);
  }
  if (attributes.sortKey?.name.includes('=')) {
    throw fault(
      `sortKey.name must hold no '=', which the function's variable LOCK_SORT_KEY cannot hold, but it is ${show(attributes.sortKey.name)}.`,
    );
  }
  if ((tableName === undefined) === (tableArn === undefined)) {
    throw fault(
      `either tableName or tableArn must be given, but tableName is ${tableName} and tableArn is ${tableArn}.`,
    );
  }
  if (tableArn === undefined) {
    const reason = tableNameFault(tableName);
    if (reason) throw fault(reason);
    return Stack.of(scope).formatArn({ service: 'dynamodb', resource: 'table', resourceName: tableName });
  }
  if (!Token.isUnresolved(tableArn) && !isTableArn(tableArn)) {
    throw fault(
      `tableArn must look like arn:aws:dynamodb:eu-west-1:123456789012:table/locks, but it is ${show(tableArn)}.`,
    );
  }
  return tableArn;
}
