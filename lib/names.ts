/** The names that the runtime code and the constructs share. */

/** The environment variable that names the lock table. */
export const LOCK_TABLE_NAME = 'LOCK_TABLE_NAME';

/** The environment variable that names the bucket of an `S3LockStore`. */
export const LOCK_BUCKET_NAME = 'LOCK_BUCKET_NAME';

/** The days that the longest lease may last: a timer of Node counts to 2^31 - 1 ms. */
export const LONGEST_LEASE_DAYS = 25;

/** The environment variable that says for how many days a record outlives its lease. */
export const LOCK_RETENTION_DAYS = 'LOCK_RETENTION_DAYS';

/** The days that a record outlives its lease if nobody says otherwise. */
export const DEFAULT_RETENTION_DAYS = 7;

/** The environment variable by which every client publishes its metrics: `emf`, or `off`. */
export const LOCK_METRICS = 'LOCK_METRICS';

/** The environment variable that names the partition key of the table that `LOCK_TABLE_NAME` names. */
export const LOCK_KEY_ATTRIBUTE = 'LOCK_KEY_ATTRIBUTE';

/** The environment variable that gives the sort key of all locks in the table that `LOCK_TABLE_NAME` names: `NAME=VALUE`. */
export const LOCK_SORT_KEY = 'LOCK_SORT_KEY';

/** The environment variable that names the TTL attribute of the table that `LOCK_TABLE_NAME` names. */
export const LOCK_TTL_ATTRIBUTE = 'LOCK_TTL_ATTRIBUTE';

/** The environment variable that gives the endpoint of a `LockCache`: `HOST:PORT`. */
export const LOCK_REDIS_ENDPOINT = 'LOCK_REDIS_ENDPOINT';

/** The environment variable that names the user of a `LockCache`, who connects by IAM. */
export const LOCK_REDIS_USER = 'LOCK_REDIS_USER';

/** The environment variable that names the replication group of a `LockCache`, which IAM asks for. */
export const LOCK_REDIS_CACHE = 'LOCK_REDIS_CACHE';

/**
 * The least rights of a user of a Redis or Valkey server who locks under the default key prefix: keys, channels and commands.
 * The cluster clients of all libraries ask for `cluster|slots`, and for `asking` while a lock moves to another server. Those
 * of ioredis and iovalkey ask for `cluster|info`, too.
 */
export const REDIS_ACCESS =
  '~leasehold:* &leasehold:* +evalsha +eval +hgetall +hget +hset +hdel +pexpireat +publish +subscribe +unsubscribe +time +scan +info +ping +hello +client|setname +asking +cluster|slots +cluster|info';

/** The partition key of a lock table. */
export const KEY_ATTRIBUTE = 'lockKey';

/** The attribute by which DynamoDB's TTL deletes records that nobody has used for long: seconds since the epoch. */
export const TTL_ATTRIBUTE = 'ttl';

/** The attributes beside the keys that a forced release reads in its condition or writes. IAM cannot tell the two apart. */
export const FORCE_RELEASE_ATTRIBUTES = [
  'lockId',
  'releasedBy',
  'acquiredAt',
  'expiresAt',
  'previousLockId',
  'previousOwner',
  'previousAcquiredAt',
  'previousExpiresAt',
  'serving',
] as const;

/** The attributes of a record beside its keys and its TTL. */
export const RECORD_ATTRIBUTES: readonly string[] = [
  ...FORCE_RELEASE_ATTRIBUTES,
  'owner',
  'fencingToken',
  'leaseMs',
  'doneToken',
  'doneResult',
  'data',
  'asked',
  'served',
  'committed',
  'commits',
  'committedToken',
];

/** The CloudWatch namespace of leasehold's metrics. */
export const METRIC_NAMESPACE = 'Leasehold';

/** The CloudWatch dimensions: every metric is published for the table, and for each function on it. */
export const METRIC_DIMENSION = { table: 'table', function: 'function' } as const;

/** The CloudWatch metrics. A count is published as 0 or 1, so that its average is a rate. */
export const METRIC = {
  /** 1 for a grant, 0 for a try that was busy. */
  acquired: 'Acquired',
  /** 1 for a try that was busy, 0 for a grant: the average is the busy rate. */
  busy: 'Busy',
  /** An attempt, or a look during a wait, to which the store did not answer in time. */
  acquireFailed: 'AcquireFailed',
  /** A try for a `once` token that had finished. */
  done: 'Done',
  /** A caller that another holder runs for. */
  covered: 'Covered',
  /** A run that a holder left owed. */
  owed: 'Owed',
  /** 1 for a grant that took over an expired lease, 0 for any other. */
  takeover: 'Takeover',
  /** Milliseconds from the call to the grant, or to giving up. */
  waitTime: 'WaitTime',
  /** Milliseconds from the grant to its end. */
  heldTime: 'HeldTime',
  /** Milliseconds for which the lease was held since its line before: told by each renewal and by the end. */
  holdingTime: 'HoldingTime',
  /** 1 for a lease that was lost, 0 for one that was released. */
  lost: 'Lost',
  /** A renewal that failed. The heartbeat tries again until the deadline. */
  renewFailed: 'RenewFailed',
  /** A release that failed; the lock opens when the lease expires. */
  releaseFailed: 'ReleaseFailed',
} as const;
