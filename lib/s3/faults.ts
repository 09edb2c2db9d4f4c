import { messageOf, type Thrown } from '../aws/faults.ts';

/** The permission that a request needs, and the one beside it without which S3 answers 403 to a name that is free. */
const PERMISSIONS: Readonly<Record<string, string>> = {
  GetObject:
    's3:GetObject on the object, and s3:ListBucket on the bucket: without s3:ListBucket, S3 answers 403 in the place of 404, and no lock of a new name can be taken',
  PutObject: 's3:PutObject on the object, and look for a Deny in the policy of the bucket',
  ListObjectsV2: 's3:ListBucket on the bucket',
  GetBucketVersioning: 's3:GetBucketVersioning',
  GetBucketLifecycleConfiguration: 's3:GetLifecycleConfiguration',
  GetObjectLockConfiguration: 's3:GetBucketObjectLockConfiguration',
};

const SERVICE = { name: 'S3', client: '@aws-sdk/client-s3', endpoint: 'AWS_ENDPOINT_URL_S3', place: 'bucket' };

/** Says who failed at a request, and what to do. */
export function textOf(thrown: Thrown, operation: string, bucket: string): string {
  const { name = '', message = '', $fault, $metadata } = thrown;
  const request = `s3:${operation} on the bucket '${bucket}'`;
  const status = $metadata?.httpStatusCode;
  if ($metadata?.misdated) {
    return `${request} was refused for the time in its signature: set the clock of this host right. ${message}`;
  }
  if (name === 'NoSuchBucket') return `there is no bucket '${bucket}': create it, or mend LOCK_BUCKET_NAME or bucket.`;
  if (name === 'AccessDenied' || (status === 403 && $fault === undefined)) {
    return `${request} is not allowed: grant ${PERMISSIONS[operation]} (LockBucket.grants does). ${message}`;
  }
  if (/^(PermanentRedirect|TemporaryRedirect|AuthorizationHeaderMalformed)$/.test(name) || status === 301) {
    return `${request} was sent to another Region than the bucket's: set AWS_REGION to the bucket's Region, or give a client that has it. ${message}`;
  }
  if (name === 'InvalidObjectState') {
    return `${request} was refused, since the object has been moved to an archive: restore it, and leave locks out of rules that archive. ${message}`;
  }
  if (name === 'NotImplemented' || status === 501) {
    return `${request} was refused: the server knows no conditional writes, and is no place for locks. ${message}`;
  }
  return messageOf(thrown, request, SERVICE);
}
