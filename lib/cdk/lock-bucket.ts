import { Duration, RemovalPolicy, Resource, Token } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import type * as kms from 'aws-cdk-lib/aws-kms';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import * as s3 from 'aws-cdk-lib/aws-s3';
import type { Construct } from 'constructs';
import { LOCK_BUCKET_NAME, LONGEST_LEASE_DAYS } from '../names.ts';
import { checkNames, show } from '../record/check.ts';
import { acknowledge } from './acknowledge.ts';
import { attach } from './attach.ts';
import type { LockKeyOptions } from './grant-keys.ts';
import { checkRemoval, invalid, isDuration, lengthOf, shown } from './invalid.ts';
import { keyBehind } from './keys.ts';
import { LockBucketGrants, PREFIX } from './lock-bucket-grants.ts';

/**
 * The props of a `LockBucket`.
 * @example
 * ```ts
 * import { Duration } from 'aws-cdk-lib';
 * import type { LockBucketProps } from 'leasehold/cdk';
 *
 * export const props: LockBucketProps = { expiration: Duration.days(90) };
 * ```
 */
export interface LockBucketProps {
  /**
   * The name of the bucket.
   *
   * @default - made by CloudFormation
   */
  readonly bucketName?: string;

  /**
   * A customer's key to encrypt the objects with. The grants then allow its use, by way of S3 only.
   *
   * @default - S3's own key, which costs nothing
   */
  readonly encryptionKey?: kms.IKey;

  /**
   * The time after its last write for which the object of a lock stays: whole days, 26 to 36,500. A `once` token and a commit
   * are remembered for as long. Larger means that keys which nobody uses any more cost storage for longer. A lease may last for
   * 25 days without a write, so that fewer days would delete live locks. Give more days than the longest `holdAtLeastMs`.
   *
   * @default Duration.days(32)
   */
  readonly expiration?: Duration;

  /**
   * The fate of the bucket when it leaves the stack. With the bucket go the fencing tokens and the `once` tokens.
   *
   * @default RemovalPolicy.RETAIN
   */
  readonly removalPolicy?: RemovalPolicy;
}

const PROPS = { bucketName: 0, encryptionKey: 0, expiration: 0, removalPolicy: 0 } satisfies Record<
  keyof LockBucketProps,
  0
>;

const DEFAULT_DAYS = 32;
const MOST_DAYS = 36_500;

/**
 * An S3 bucket of locks, for an `S3LockStore`. The bucket keeps no versions, is closed to the public, takes requests over TLS
 * only, and deletes the objects of locks that nobody has used for `expiration`. Its policy refuses a write without a condition,
 * and a deletion, of any lock: either would end the lease of a live holder without a word.
 * @example
 * ```ts
 * import { App, Stack } from 'aws-cdk-lib';
 * import * as lambda from 'aws-cdk-lib/aws-lambda';
 * import { LockBucket } from 'leasehold/cdk';
 *
 * const stack = new Stack(new App(), 'Jobs');
 * const worker = new lambda.Function(stack, 'Worker', {
 *   runtime: lambda.Runtime.NODEJS_22_X,
 *   handler: 'index.handler',
 *   code: lambda.Code.fromAsset('worker'),
 * });
 * const lockBucket = new LockBucket(stack, 'Locks');
 * lockBucket.attach(worker, { keyPrefixes: ['jobs/'] });
 * ```
 */
export class LockBucket extends Resource {
  /** The bucket itself. */
  readonly bucket: s3.Bucket;
  /** The grants on the bucket's locks. */
  readonly grants: LockBucketGrants;

  /** @throws TypeError that shows the construct's path and the value, if a prop is unknown or invalid. */
  constructor(scope: Construct, id: string, props: LockBucketProps = {}) {
    super(scope, id);
    checkNames(`[${this.node.path}] LockBucket`, props, PROPS);
    const { bucketName, encryptionKey, expiration = Duration.days(DEFAULT_DAYS), removalPolicy } = props;
    this.#checkExpiration(expiration);
    this.#checkName(bucketName);
    const granted = encryptionKey === undefined ? undefined : keyBehind(this, encryptionKey);
    checkRemoval(this, removalPolicy);
    this.bucket = new s3.Bucket(this, 'Bucket', {
      ...(bucketName !== undefined && { bucketName }),
      ...(encryptionKey
        ? { encryption: s3.BucketEncryption.KMS, encryptionKey, bucketKeyEnabled: true }
        : { encryption: s3.BucketEncryption.S3_MANAGED }),
      blockPublicAccess: s3.BlockPublicAccess.BLOCK_ALL,
      objectOwnership: s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
      enforceSSL: true,
      removalPolicy: removalPolicy ?? RemovalPolicy.RETAIN,
      // Old versions come about only if somebody turns versions on.
      lifecycleRules: [{ prefix: PREFIX, expiration, noncurrentVersionExpiration: Duration.days(1) }],
    });
    this.#guard();
    acknowledge(this.bucket, {
      'AwsSolutions-S1':
        'A log line for each heartbeat would cost more than the locks, and tells less than their events.',
    });
    this.grants = new LockBucketGrants(this, this.bucket, granted);
  }

  /** The name of the bucket. */
  get bucketName(): string {
    return this.bucket.bucketName;
  }

  /** The ARN of the bucket. */
  get bucketArn(): string {
    return this.bucket.bucketArn;
  }

  /**
   * Makes the function a user of this bucket: sets its environment variable `LOCK_BUCKET_NAME`, and allows it to lock what
   * `options` names. Can be called again for more keys. Of an alias, takes the function.
   * @throws TypeError if the variable has another value already, if this app does not set the function's environment, or if
   *   the function runs in another Region or account.
   */
  attach(fn: lambda.Function | lambda.Alias, options: LockKeyOptions): iam.Grant {
    const variables = { [LOCK_BUCKET_NAME]: this.bucketName };
    return attach(this, fn, { place: 'bucket', variables }, (granted) => this.grants.lock(granted, options));
  }

  /** Refuses writes and deletions that would pass over a live holder, whoever asks for them. */
  #guard(): void {
    const deny = (sid: string, actions: string[], conditions: Record<string, unknown> = {}) =>
      this.bucket.addToResourcePolicy(
        new iam.PolicyStatement({
          sid,
          effect: iam.Effect.DENY,
          principals: [new iam.AnyPrincipal()],
          actions,
          resources: [this.bucket.arnForObjects(`${PREFIX}*`)],
          conditions,
        }),
      );
    deny('OnlyConditionalWrites', ['s3:PutObject'], { Null: { 's3:if-match': 'true', 's3:if-none-match': 'true' } });
    deny('NoDeletions', ['s3:DeleteObject', 's3:DeleteObjectVersion']);
  }

  #checkName(name: string | undefined): void {
    const faults = name === undefined || Token.isUnresolved(name) ? [] : nameFaults(name);
    if (faults.length === 0) return;
    throw invalid(
      this,
      `bucketName must be a name that S3 takes, such as 'jobs-locks', but it is ${show(name)}: ${faults.join('; ')}.`,
    );
  }

  #checkExpiration(expiration: Duration): void {
    const days = lengthOf(expiration, 'toDays');
    if (Number.isInteger(days) && days > LONGEST_LEASE_DAYS && days <= MOST_DAYS) return;
    const hint = isDuration(expiration) ? '' : ': give a Duration, such as Duration.days(32)';
    throw invalid(
      this,
      `expiration must be a whole number of days from ${LONGEST_LEASE_DAYS + 1} to ${MOST_DAYS}, since a lease may last for ${LONGEST_LEASE_DAYS} days without a write, but it is ${shown(expiration)}${hint}.`,
    );
  }
}

/** The reasons for which S3 refuses a name. The CDK knows them, but its own error names no construct. */
function nameFaults(name: unknown): string[] {
  if (typeof name !== 'string' || name === '')
    return ["a bucket has a name or, without the prop, a name of CloudFormation's"];
  try {
    s3.Bucket.validateBucketName(name);
    return [];
  } catch (error) {
    const [, ...faults] = (error as Error).message.split('\n');
    return faults;
  }
}
