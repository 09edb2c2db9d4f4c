import type {
  GetBucketLifecycleConfigurationCommandOutput,
  GetBucketVersioningCommandOutput,
  GetObjectLockConfigurationCommandOutput,
  LifecycleRule,
} from '@aws-sdk/client-s3';
import { LONGEST_LEASE_DAYS } from '../names.ts';
import { LockStoreError } from '../record/errors.ts';
import type { StoreProblem } from '../record/store.ts';
import type { ObjectBucket } from './bucket.ts';

const error = (message: string): StoreProblem => ({ severity: 'error', message });
const warning = (message: string): StoreProblem => ({ severity: 'warning', message });

/** Gives the findings about the bucket of a store. A bucket of S3 Express has none of the settings that are read here. */
export async function findings(bucket: ObjectBucket, prefix: string, signal?: AbortSignal): Promise<StoreProblem[]> {
  try {
    await bucket.list(prefix, undefined, signal, 1);
  } catch (fault) {
    return [error((fault as Error).message)];
  }
  if (bucket.isExpress) return [];
  const settings = [objectLock, oldVersions, lifecycle].map((look) => look(bucket, prefix, signal).catch(unread));
  return (await Promise.all(settings)).flat();
}

/** A setting that may not be read is no fault of the locks. */
function unread(fault: unknown): StoreProblem[] {
  if (!(fault instanceof LockStoreError)) throw fault;
  return [warning(`One setting of the bucket could not be read, and was not checked: ${fault.message}`)];
}

async function objectLock(bucket: ObjectBucket, _prefix: string, signal?: AbortSignal): Promise<StoreProblem[]> {
  const found = await bucket.setting<GetObjectLockConfigurationCommandOutput>('GetObjectLockConfiguration', signal);
  if (found === 'none' || found.ObjectLockConfiguration?.ObjectLockEnabled !== 'Enabled') return [];
  return [
    error(
      `The bucket '${bucket.name}' has S3 Object Lock, which keeps every version of every object, and which no heartbeat needs. Use a bucket without S3 Object Lock for locks.`,
    ),
  ];
}

async function oldVersions(bucket: ObjectBucket, prefix: string, signal?: AbortSignal): Promise<StoreProblem[]> {
  const versioning = await bucket.setting<GetBucketVersioningCommandOutput>('GetBucketVersioning', signal);
  if (versioning === 'none' || versioning.Status !== 'Enabled') return [];
  const rules = await rulesOf(bucket, signal);
  if (rules.some((rule) => rule.NoncurrentVersionExpiration && prefix.startsWith(prefixOf(rule)))) return [];
  return [
    warning(
      `The bucket '${bucket.name}' keeps every version of an object: a heartbeat of 10 s leaves 8,640 a day. Add a rule to its lifecycle that removes noncurrent versions under '${prefix}' after 1 day, or use a bucket without versions.`,
    ),
  ];
}

async function lifecycle(bucket: ObjectBucket, prefix: string, signal?: AbortSignal): Promise<StoreProblem[]> {
  const rules = (await rulesOf(bucket, signal)).filter((rule) => {
    const of = prefixOf(rule);
    return prefix.startsWith(of) || of.startsWith(prefix);
  });
  return rules.flatMap((rule) => {
    const { ID = 'without an ID', Expiration: { Days, Date: at } = {}, Transitions = [] } = rule;
    const what = `The rule '${ID}' of the lifecycle of the bucket '${bucket.name}'`;
    const archive = Transitions.find(({ StorageClass = '' }) => /^(GLACIER|DEEP_ARCHIVE)$/.test(StorageClass));
    const isShort = at !== undefined || (Days !== undefined && Days <= LONGEST_LEASE_DAYS);
    return [
      ...(isShort
        ? [
            error(
              `${what} deletes locks ${at ? `on ${at.toISOString().slice(0, 10)}` : `${Days} days after their last write`}, and a lease may last for ${LONGEST_LEASE_DAYS} days without a write. Let the rule wait for more than ${LONGEST_LEASE_DAYS} days, or leave '${prefix}' out of the rule.`,
            ),
          ]
        : []),
      ...(archive
        ? [
            error(
              `${what} archives locks to ${archive.StorageClass}, where nobody can take them. Leave '${prefix}' out of the rule.`,
            ),
          ]
        : []),
    ];
  });
}

/** The rules of the lifecycle that may be for objects of locks. */
async function rulesOf(bucket: ObjectBucket, signal?: AbortSignal): Promise<LifecycleRule[]> {
  const found = await bucket.setting<GetBucketLifecycleConfigurationCommandOutput>(
    'GetBucketLifecycleConfiguration',
    signal,
  );
  // The objects of locks have no tags.
  return (found === 'none' ? [] : (found.Rules ?? [])).filter(
    ({ Status, Filter }) => Status === 'Enabled' && !Filter?.Tag && !Filter?.And?.Tags?.length,
  );
}

/** The beginning of the names that a rule is for. */
const prefixOf = ({ Prefix, Filter }: LifecycleRule): string => Filter?.And?.Prefix ?? Filter?.Prefix ?? Prefix ?? '';
