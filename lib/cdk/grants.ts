import { Stack } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import type * as kms from 'aws-cdk-lib/aws-kms';
import type { IConstruct } from 'constructs';
import { checkNames } from '../record/check.ts';
import type { LockKeyOptions } from './grant-keys.ts';
import { checkKeys } from './grant-keys.ts';
import { invalid } from './invalid.ts';

/**
 * The permissions of a holder of locks.
 * @example
 * ```ts
 * import type { LockGrantOptions } from 'leasehold/cdk';
 *
 * export const holder: LockGrantOptions = { keyPrefixes: ['jobs/'], guardedWrites: true };
 * ```
 */
export interface LockGrantOptions extends LockKeyOptions {
  /**
   * Allows `conditionCheck` and `writeWhileHeld`: transactions that commit only while the lock is held.
   *
   * @default false
   */
  readonly guardedWrites?: boolean;

  /**
   * Allows the batched reads by which a fleet of workers looks for free tasks. Needs `keyPrefixes`: `runTasks` also keeps
   * marks of finished tasks, under keys that begin as the keys of the tasks do.
   *
   * @default false
   */
  readonly fleet?: boolean;
}

const OPTIONS = { keyPrefixes: 0, keys: 0, guardedWrites: 0, fleet: 0 } satisfies Record<keyof LockGrantOptions, 0>;

/** The facts about a lock table that its grants are made of. */
export interface GrantableLockTable {
  readonly construct: IConstruct;
  readonly tableArn: string;
  readonly policyResource: iam.IResourceWithPolicy;
  readonly encryptionKey?: kms.IKey | undefined;
  /** The `kms:ViaService` of the table's Region. */
  readonly viaService: string;
  /** False for a table with strong consistency across Regions, which has no transactions. */
  readonly transactions: boolean;
}

/** The actions on a customer's key that DynamoDB needs, with the wildcards of AWS's documentation spelled out. */
const KMS_READ = ['kms:Decrypt', 'kms:DescribeKey'];
const KMS_WRITE = [
  ...KMS_READ,
  'kms:Encrypt',
  'kms:GenerateDataKey',
  'kms:GenerateDataKeyWithoutPlaintext',
  'kms:ReEncryptFrom',
  'kms:ReEncryptTo',
];

/**
 * The grants on a lock table, as `lockTable.grants`. They allow exactly the requests that leasehold sends, for exactly the
 * keys that are named.
 * @example
 * ```ts
 * import type { IGrantable } from 'aws-cdk-lib/aws-iam';
 * import type { ILockTable, LockTableGrants } from 'leasehold/cdk';
 *
 * export function letOperate(operator: IGrantable, lockTable: ILockTable) {
 *   const grants: LockTableGrants = lockTable.grants;
 *   grants.inspect(operator, { keyPrefixes: ['jobs/'] });
 *   grants.forceRelease(operator, { keyPrefixes: ['jobs/'] });
 * }
 * ```
 */
export class LockTableGrants {
  readonly #table: GrantableLockTable;

  constructor(table: GrantableLockTable) {
    this.#table = table;
  }

  /**
   * Allows to acquire, renew, release, hand off, resume and inspect the locks: `UpdateItem` and `GetItem`. Options add
   * `ConditionCheckItem` and `BatchGetItem`.
   */
  lock(grantee: iam.IGrantable, options: LockGrantOptions): iam.Grant {
    checkNames(`[${this.#table.construct.node.path}] A grant`, options, OPTIONS);
    if (options.guardedWrites && !this.#table.transactions) {
      throw invalid(
        this.#table.construct,
        'guardedWrites must be false on a table with strong consistency across Regions, which has no transactions, but it is true.',
      );
    }
    if (options.fleet && options.keys?.length && !options.keyPrefixes?.length) {
      throw invalid(
        this.#table.construct,
        `a fleet must be granted its locks by keyPrefixes, since runTasks also keeps marks under keys that begin as those of its tasks do, but there are keys alone: [${options.keys.join(', ')}].`,
      );
    }
    const actions = ['dynamodb:UpdateItem', 'dynamodb:GetItem'];
    if (options.fleet) actions.push('dynamodb:BatchGetItem');
    if (options.guardedWrites) actions.push('dynamodb:ConditionCheckItem');
    return this.#grant(grantee, actions, KMS_WRITE, this.#leadingKeys(options));
  }

  /** Allows to read who holds the locks: `GetItem`. */
  inspect(grantee: iam.IGrantable, options: LockKeyOptions): iam.Grant {
    return this.#grant(grantee, ['dynamodb:GetItem'], KMS_READ, this.#leadingKeys(options));
  }

  /**
   * Allows an operator to end another host's lease: `GetItem`, to read the `lockId` first, and `UpdateItem`. IAM cannot
   * tell the updates of a lock apart, so an operator with this grant can acquire the locks as well.
   */
  forceRelease(grantee: iam.IGrantable, options: LockKeyOptions): iam.Grant {
    return this.#grant(grantee, ['dynamodb:GetItem', 'dynamodb:UpdateItem'], KMS_WRITE, this.#leadingKeys(options));
  }

  /** Allows to list every lock of the table: `Scan`, which IAM cannot confine to keys. */
  list(grantee: iam.IGrantable): iam.Grant {
    return this.#grant(grantee, ['dynamodb:Scan'], KMS_READ);
  }

  #grant(
    grantee: iam.IGrantable,
    actions: string[],
    keyActions: string[],
    conditions?: Record<string, Record<string, unknown>>,
  ): iam.Grant {
    const { construct, tableArn, policyResource, encryptionKey, viaService } = this.#table;
    const { Service: service } = grantee.grantPrincipal.policyFragment.principalJson;
    if (service) {
      const name = Stack.of(construct).resolve(service);
      throw invalid(construct, `the grantee must be a role, a user or an account, but it is the service ${name}.`);
    }
    const grant = addGrant({
      grantee,
      actions,
      resourceArns: [tableArn],
      resource: policyResource,
      resourceSelfArns: ['*'],
      ...(conditions && { conditions }),
    });
    if (!encryptionKey) return grant;
    return grant.combine(
      addGrant({
        grantee,
        actions: keyActions,
        resourceArns: [encryptionKey.keyArn],
        resource: encryptionKey,
        resourceSelfArns: ['*'],
        conditions: { StringEquals: { 'kms:ViaService': viaService } },
      }),
    );
  }

  /**
   * `ForAllValues` is true of a request without any key, so the second condition demands that a request carries some:
   * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
   */
  #leadingKeys(options: LockKeyOptions): Record<string, Record<string, unknown>> {
    checkKeys(this.#table.construct, options);
    const { keyPrefixes = [], keys = [] } = options;
    return {
      'ForAllValues:StringLike': { 'dynamodb:LeadingKeys': [...keyPrefixes.map((prefix) => `${prefix}*`), ...keys] },
      Null: { 'dynamodb:LeadingKeys': 'false' },
    };
  }
}

/** Makes the CDK's grant, with its conditions also in a resource's policy, where older versions such as 2.223 omit them. */
function addGrant(options: iam.GrantWithResourceOptions): iam.Grant {
  const grant = iam.Grant.addToPrincipalOrResource(options);
  for (const statement of grant.resourceStatements) statement.addConditions(options.conditions ?? {});
  return grant;
}
