import { randomUUID } from 'node:crypto';

/**
 * A new `lockId`. Its random bytes are drawn at this moment: Node otherwise takes them from a cache, which processes that
 * are started from one snapshot share, and two holders with one `lockId` are each told that the lock is theirs.
 */
export const newLockId = (): string => randomUUID({ disableEntropyCache: true });
