import { randomUUID } from 'node:crypto';

/**
 * Makes a new `lockId` of random bytes that are drawn at this moment. By default Node takes random bytes from a cache, which
 * processes that are started from one snapshot share. Two holders with one `lockId` would each be told that the lock is
 * theirs.
 */
export const newLockId = (): string => randomUUID({ disableEntropyCache: true });
