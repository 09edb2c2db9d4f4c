import { Stack, Token } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import type * as kms from 'aws-cdk-lib/aws-kms';
import type { IConstruct } from 'constructs';
import { invalid } from './invalid.ts';

/** Which locks a grant is for. At least one of the two must be given; both may be. */
export interface LockKeyOptions {
  /**
   * Locks whose key starts with one of these: `jobs/` allows `jobs/nightly`. End a prefix with a delimiter, or `jobs`
   * allows `jobs-of-others`, too. Each has 1 to 1,024 bytes, holds no `*`, no `?` and no `${`, and is known when the
   * app is synthesised.
   *
   * @default - no prefixes
   */
  readonly keyPrefixes?: readonly string[];

  /**
   * Locks with exactly these keys. The same bounds as for prefixes.
   *
   * @default - no exact keys
   */
  readonly keys?: readonly string[];
}

/** What a holder of locks may do. */
export interface LockGrantOptions extends LockKeyOptions {
  /**
   * Allow `conditionCheck` and `writeWhileHeld`: transactions that commit only while the lock is held.
   *
   * @default false
   */
  readonly guardedWrites?: boolean;

  /**
   * Allow the batched reads by which a fleet of workers looks for free tasks. Needs `keyPrefixes`: `runTasks` also keeps
   * marks of what is done, under keys that begin as those of its tasks do.
   *
   * @default false
   */
  readonly fleet?: boolean;
}

/** What `LockTableGrants` must know of a lock table. */
export interface GrantableLockTable {
  readonly construct: IConstruct;
  readonly tableArn: string;
  readonly policyResource: iam.IResourceWithPolicy;
  readonly encryptionKey?: kms.IKey | undefined;
  /** The `kms:ViaService` of the table's Region. */
  readonly viaService: string;
  /** Whether the table has transactions; one with strong consistency across Regions has none. */
  readonly transactions: boolean;
}

const MAX_KEY_BYTES = 1024;

/** What a key table is asked for with a customer's key; the wildcards of AWS's documentation, spelled out. */
const KMS_READ = ['kms:Decrypt', 'kms:DescribeKey'];
const KMS_WRITE = [
  ...KMS_READ,
  'kms:Encrypt',
  'kms:GenerateDataKey',
  'kms:GenerateDataKeyWithoutPlaintext',
  'kms:ReEncryptFrom',
  'kms:ReEncryptTo',
];

/** Grants on a lock table: exactly the requests that leasehold sends, for exactly the keys that are named. */
export class LockTableGrants {
  readonly #table: GrantableLockTable;

  constructor(table: GrantableLockTable) {
    this.#table = table;
  }

  /**
   * Allows to acquire, renew, release, hand off, resume and inspect the locks: `UpdateItem` and `GetItem`, and by
   * option `ConditionCheckItem` and `BatchGetItem`.
   */
  lock(grantee: iam.IGrantable, options: LockGrantOptions): iam.Grant {
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

  /** Allows to see who holds the locks: `GetItem`. */
  inspect(grantee: iam.IGrantable, options: LockKeyOptions): iam.Grant {
    return this.#grant(grantee, ['dynamodb:GetItem'], KMS_READ, this.#leadingKeys(options));
  }

  /**
   * Allows an operator to end somebody's lease: `GetItem`, to see it first, and `UpdateItem`. IAM sees no
   * difference between the updates of a lock, so that who has this grant can acquire the locks as well.
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
   * `ForAllValues` is true of a request without any key, which is why a request must carry some, too:
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

/** The CDK's grant. Older versions, such as 2.223, leave the conditions out of what they add to a resource's policy. */
function addGrant(options: iam.GrantWithResourceOptions): iam.Grant {
  const grant = iam.Grant.addToPrincipalOrResource(options);
  for (const statement of grant.resourceStatements) statement.addConditions(options.conditions ?? {});
  return grant;
}

/** Throws, with the path of `scope`, unless the options name some locks, by keys and prefixes that a policy can hold. */
export function checkKeys(scope: IConstruct, { keyPrefixes = [], keys = [] }: LockKeyOptions): void {
  for (const [name, values] of Object.entries({ keyPrefixes, keys })) {
    if (Token.isUnresolved(values)) {
      throw invalid(scope, `${name} must be known when the app is synthesised, but it is the token ${values}.`);
    }
    if (!Array.isArray(values)) {
      throw invalid(scope, `${name} must be an array of strings, but it is ${typeof values} ${String(values)}.`);
    }
    for (const [index, value] of values.entries()) {
      const fault = keyFault(value);
      if (fault) throw invalid(scope, `${name}[${index}] must ${fault}.`);
    }
  }
  if (keyPrefixes.length + keys.length === 0) {
    throw invalid(
      scope,
      "a grant must name its locks by keyPrefixes or keys, but it names none; for every lock under 'jobs/' pass keyPrefixes: ['jobs/'].",
    );
  }
}

/** What is wrong with a key or a prefix, if anything. */
function keyFault(value: unknown): string | undefined {
  if (typeof value !== 'string') return `be a string, but it is ${typeof value} ${String(value)}`;
  if (value === '') return "not be empty, but it is ''";
  // A token's value comes at deployment, where nobody can check it: a '*' in it would open every lock.
  if (Token.isUnresolved(value)) {
    return `be known when the app is synthesised, but it holds a token: '${value}'; use a constant, a stack's name or a context value`;
  }
  const shown = value.length > 80 ? `'${value.slice(0, 80)}…'` : `'${value}'`;
  const bytes = Buffer.byteLength(value);
  if (bytes > MAX_KEY_BYTES) return `have at most ${MAX_KEY_BYTES} bytes, but ${shown} has ${bytes}`;
  if (/[*?]/.test(value)) return `hold no wildcard (* or ?), but it is ${shown}; a prefix gets its wildcard by itself`;
  if (value.includes('${')) return `hold no policy variable (\${…}), but it is ${shown}`;
  // IAM takes policies of the characters U+0020 to U+00FF only and refuses the deployment otherwise.
  if (/[^\u0020-\u00ff]/.test(value)) {
    return `hold only characters that an IAM policy can hold (U+0020 to U+00FF), but it is ${shown}`;
  }
  return undefined;
}
