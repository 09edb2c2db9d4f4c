/** The record of one key, as every store keeps it. Instants are milliseconds since the epoch. */
export interface LockRecord {
  readonly key: string;
  /** The secret id of the grant; present exactly while a grant is outstanding. */
  readonly lockId?: string | undefined;
  /** Who holds it, or held it last, for people to read. */
  readonly owner?: string | undefined;
  readonly fencingToken: number;
  /** The lock is free if and only if this moment has come, or there is no record. */
  readonly expiresAt: number;
  readonly acquiredAt: number;
  readonly leaseMs: number;
  /** The `lockId` of the last grant that ended by a release. */
  readonly releasedBy?: string | undefined;
  /** What the present grant took over: the holder that let it expire. */
  readonly previousLockId?: string | undefined;
  readonly previousOwner?: string | undefined;
  /** When that was acquired; 0 when there was no record. */
  readonly previousAcquiredAt?: number | undefined;
  /** Until when the lock was closed before the present grant; 0 when there was no record. */
  readonly previousExpiresAt?: number | undefined;
  /** The greatest `once` token that finished. */
  readonly doneToken?: string | undefined;
  /** JSON, as the user attached it. */
  readonly data?: string | undefined;
}

/** Orders `once` tokens as DynamoDB does: by the bytes of their UTF-8. */
const isLater = (token: string, than: string): boolean => Buffer.compare(Buffer.from(token), Buffer.from(than)) > 0;

/** Whether the work was done for a `once` token, or for a later one. */
export const isDone = (once: string | undefined, doneToken: string | undefined): doneToken is string =>
  once !== undefined && doneToken !== undefined && !isLater(once, doneToken);
