import * as iam from 'aws-cdk-lib/aws-iam';
import type * as kms from 'aws-cdk-lib/aws-kms';
import type { IConstruct } from 'constructs';
import { FORCE_RELEASE_ATTRIBUTES } from '../names.ts';
import { checkNames } from '../record/check.ts';
import type { Conditions, LockKeyOptions } from './grant-keys.ts';
import { checkKeys, keyConditions } from './grant-keys.ts';
import { checkGrantee, warnOfNothing } from './grantee.ts';
import { checkFlags, invalid } from './invalid.ts';
import { checkPolicySize } from './policy-size.ts';
import { lockActions, readOfSlots } from './policy-text.ts';

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

const KEY_OPTIONS = { keyPrefixes: 0, keys: 0, permits: 0 } satisfies Record<keyof LockKeyOptions, 0>;
const OPTIONS = { ...KEY_OPTIONS, guardedWrites: 0, fleet: 0 } satisfies Record<keyof LockGrantOptions, 0>;

/**
 * The facts about a lock table that its grants are made of.
 * @inline
 */
export interface GrantableLockTable {
  readonly construct: IConstruct;
  readonly tableArn: string;
  readonly policyResource: iam.IResourceWithPolicy;
  readonly encryptionKey?: kms.IKey | undefined;
  /** The `kms:ViaService` of the table's Region. */
  readonly viaService: string;
  /** False for a table with strong consistency across Regions, which has no transactions. */
  readonly transactions: boolean;
  /** The names of the table's partition key and sort key. */
  readonly keyAttributes: readonly string[];
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
    checkFlags(this.#table.construct, { guardedWrites: options.guardedWrites, fleet: options.fleet });
    checkKeys(this.#table.construct, options);
    if (options.guardedWrites && !this.#table.transactions) {
      throw invalid(
        this.#table.construct,
        'guardedWrites must be false on a table with strong consistency across Regions, which has no transactions, but it is true.',
      );
    }
    const single = [...(options.keys ?? []), ...Object.keys(options.permits ?? {})];
    if (options.fleet && single.length > 0 && !options.keyPrefixes?.length) {
      throw invalid(
        this.#table.construct,
        `a fleet must be granted its locks by keyPrefixes, since runTasks also keeps marks under keys that begin as those of its tasks do, but there are keys alone: [${single.join(', ')}].`,
      );
    }
    const requests = [{ actions: lockActions(options), conditions: keyConditions(this.#table.construct, options) }];
    return this.#grant(grantee, options.fleet ? requests : [...requests, readOfSlots(options)], KMS_WRITE);
  }

  /** Allows to read who holds the locks: `GetItem`, and with `permits` also `BatchGetItem`. */
  inspect(grantee: iam.IGrantable, options: LockKeyOptions): iam.Grant {
    const actions = ['dynamodb:GetItem'];
    const requests = [{ actions, conditions: this.#keys(options) }, readOfSlots(options)];
    return this.#grant(grantee, requests, KMS_READ);
  }

  /**
   * Allows an operator to end another host's lease: `GetItem`, to read the `lockId` first, and `UpdateItem` of the attributes
   * that a forced release names. Those are too few to acquire, to renew and to release, and leave out the fencing token and
   * the `once` token. A hand-made update can set the expiry, and so close a lock.
   */
  forceRelease(grantee: iam.IGrantable, options: LockKeyOptions): iam.Grant {
    const keys = this.#keys(options);
    const attributes = [...this.#table.keyAttributes, ...FORCE_RELEASE_ATTRIBUTES];
    const updates = keys.map((condition) => ({
      ...condition,
      'ForAllValues:StringEquals': { 'dynamodb:Attributes': attributes },
      Null: { ...condition.Null, 'dynamodb:Attributes': 'false' },
    }));
    const requests = [
      { actions: ['dynamodb:GetItem'], conditions: keys },
      { actions: ['dynamodb:UpdateItem'], conditions: updates },
    ];
    return this.#grant(grantee, requests, KMS_WRITE);
  }

  /** Allows to list every lock of the table: `Scan`, which IAM cannot confine to keys. */
  list(grantee: iam.IGrantable): iam.Grant {
    return this.#grant(grantee, [{ actions: ['dynamodb:Scan'], conditions: [{}] }], KMS_READ);
  }

  #keys(options: LockKeyOptions): Conditions[] {
    checkNames(`[${this.#table.construct.node.path}] A grant`, options, KEY_OPTIONS);
    checkKeys(this.#table.construct, options);
    return keyConditions(this.#table.construct, options);
  }

  /** Grants with a statement for each set of conditions. */
  #grant(grantee: iam.IGrantable, requests: readonly Requests[], keyActions: string[]): iam.Grant {
    const { construct, tableArn, policyResource, encryptionKey, viaService } = this.#table;
    checkGrantee(construct, grantee);
    const grants = requests.flatMap(({ actions, conditions }) =>
      conditions.map((condition) =>
        addGrant({
          grantee,
          actions,
          resourceArns: [tableArn],
          resource: policyResource,
          resourceSelfArns: ['*'],
          conditions: condition,
        }),
      ),
    );
    // An imported table takes statements for its policy, and adds them nowhere.
    const hasPolicy = policyResource.node.defaultChild !== undefined;
    warnOfNothing(
      construct,
      grantee,
      hasPolicy && grants.some(({ resourceStatements }) => resourceStatements.length > 0),
    );
    if (encryptionKey) {
      grants.push(
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
    checkPolicySize(grantee);
    return grants.reduce((all, grant) => all.combine(grant));
  }
}

interface Requests {
  readonly actions: string[];
  /** One statement is made for each. */
  readonly conditions: readonly Conditions[];
}

/** Makes the CDK's grant, with its conditions also in a resource's policy, where older versions such as 2.223 omit them. */
function addGrant(options: iam.GrantWithResourceOptions): iam.Grant {
  const grant = iam.Grant.addToPrincipalOrResource(options);
  for (const statement of grant.resourceStatements) statement.addConditions(options.conditions ?? {});
  return grant;
}
