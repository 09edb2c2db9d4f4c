import { Stack } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import type * as kms from 'aws-cdk-lib/aws-kms';
import type * as s3 from 'aws-cdk-lib/aws-s3';
import type { IConstruct } from 'constructs';
import { checkNames } from '../record/check.ts';
import { slotKeys } from '../record/slot-keys.ts';
import { nameOf, prefixOf } from '../swap/object-name.ts';
import { checkKeys, grouped, type LockKeyOptions, warnOfPrefixes } from './grant-keys.ts';
import { checkGrantee, warnOfNothing } from './grantee.ts';
import { checkPolicySize } from './policy-size.ts';
import { slotPatterns } from './policy-text.ts';

/** The beginning of the names of all objects of locks: the default of an `S3LockStore`. */
export const PREFIX = 'locks/';
/** S3's limit on the name of an object, less the prefix. */
const MOST_NAME = 1_024 - PREFIX.length;

/** The length of the longest ARN of a bucket, with the `/` behind. */
const MOST_ARN = 100;

/**
 * The grants on the locks of a bucket, as `lockBucket.grants`. They allow exactly the requests that leasehold sends, for
 * exactly the keys that are named.
 *
 * Each grant has `ListBucket` on the bucket, and so shows the names of all keys: without this permission, S3 answers 403 in the
 * place of 404, and no lock of a new key can be taken.
 * @example
 * ```ts
 * import type { IGrantable } from 'aws-cdk-lib/aws-iam';
 * import type { LockBucket, LockBucketGrants } from 'leasehold/cdk';
 *
 * export function letLock(worker: IGrantable, lockBucket: LockBucket) {
 *   const grants: LockBucketGrants = lockBucket.grants;
 *   grants.lock(worker, { keyPrefixes: ['jobs/'] });
 * }
 * ```
 */
export class LockBucketGrants {
  readonly #scope: IConstruct;
  readonly #bucket: s3.Bucket;
  readonly #encryptionKey: kms.IKey | undefined;

  /** @param encryptionKey the customer's key of the bucket, and no alias. */
  constructor(scope: IConstruct, bucket: s3.Bucket, encryptionKey?: kms.IKey) {
    this.#scope = scope;
    this.#bucket = bucket;
    this.#encryptionKey = encryptionKey;
  }

  /**
   * Allows to acquire, renew, release, commit, hand off, resume and inspect the locks, and an operator to end or to repair
   * them: `GetObject` and `PutObject`. All of these are one write of the object, which IAM cannot tell apart.
   */
  lock(grantee: iam.IGrantable, options: LockKeyOptions): iam.Grant {
    return this.#grant(grantee, ['s3:GetObject', 's3:PutObject'], this.#names(options));
  }

  /** Allows to read who holds the locks: `GetObject`. */
  inspect(grantee: iam.IGrantable, options: LockKeyOptions): iam.Grant {
    return this.#grant(grantee, ['s3:GetObject'], this.#names(options));
  }

  /** Allows to list every lock of the bucket, and to read who holds them. */
  list(grantee: iam.IGrantable): iam.Grant {
    return this.#grant(grantee, ['s3:GetObject'], [[`${PREFIX}*`]]);
  }

  /** The names of objects that the options are for, in groups that fit into one statement each. */
  #names(options: LockKeyOptions): string[][] {
    checkNames(`[${this.#scope.node.path}] A grant`, options, { keyPrefixes: 0, keys: 0, permits: 0 });
    checkKeys(this.#scope, options);
    const { keyPrefixes = [], keys = [], permits = {} } = options;
    warnOfPrefixes(this.#scope, keyPrefixes);
    const names = [
      ...keyPrefixes.map((prefix) => `${PREFIX}${prefixOf(prefix, MOST_NAME)}*`),
      ...keys.map((key) => PREFIX + nameOf(key, MOST_NAME)),
      ...Object.entries(permits).flatMap(([key, number]) => slotNames(key, number)),
    ];
    return grouped(names, MOST_ARN);
  }

  #grant(grantee: iam.IGrantable, actions: string[], names: readonly string[][]): iam.Grant {
    checkGrantee(this.#scope, grantee);
    const { bucketArn } = this.#bucket;
    const on = (actions: string[], resourceArns: string[]) =>
      iam.Grant.addToPrincipalOrResource({ grantee, actions, resourceArns, resource: this.#bucket });
    const grants = [
      on(['s3:ListBucket'], [bucketArn]),
      ...names.map((group) =>
        on(
          actions,
          group.map((name) => this.#bucket.arnForObjects(name)),
        ),
      ),
    ];
    warnOfNothing(
      this.#scope,
      grantee,
      grants.some(({ resourceStatements }) => resourceStatements.length > 0),
    );
    const encryptionKey = this.#encryptionKey;
    if (encryptionKey) {
      const { region } = Stack.of(this.#bucket);
      grants.push(
        iam.Grant.addToPrincipalOrResource({
          grantee,
          actions: actions.includes('s3:PutObject') ? ['kms:Decrypt', 'kms:GenerateDataKey'] : ['kms:Decrypt'],
          resourceArns: [encryptionKey.keyArn],
          resource: encryptionKey,
          resourceSelfArns: ['*'],
          conditions: { StringEquals: { 'kms:ViaService': `s3.${region}.amazonaws.com` } },
        }),
      );
    }
    checkPolicySize(grantee);
    return grants.reduce((all, grant) => all.combine(grant));
  }
}

/** The names of the objects of all slots. A name that is cut ends in a hash, and not in the number of its slot. */
function slotNames(key: string, permits: number): string[] {
  const name = (slot: string) => PREFIX + nameOf(slot, MOST_NAME);
  const names = slotKeys(key, permits).map(name);
  return names.some((name) => name.includes('~')) ? names : slotPatterns(key, permits, name);
}
