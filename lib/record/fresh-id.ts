import { randomUUID } from 'node:crypto';

/**
 * Makes a new id of random bytes that are drawn at this moment: a `lockId`, or the id of a write. By default Node takes random
 * bytes from a cache, which processes that are started from one snapshot share. Two holders with one `lockId` would each be
 * told that the lock is theirs, and a writer would take another's write for its own.
 */
export const freshId = (): string => randomUUID({ disableEntropyCache: true });
