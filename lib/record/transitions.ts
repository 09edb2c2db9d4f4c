// The conditions of the protocol, normative for every store: from a record and a request to the record that the write
// leaves, or to undefined, a refusal. Together they keep one holder at a time (invariant 1). MemoryLockStore applies them.
// A store that judges by itself, as DynamoDB does, is
// compared with these functions by random histories (test/contract).

import { isDone, isGrantOf, type LockRecord, replacedBy } from './record.ts';
import type {
  AcquireRequest,
  ForceReleaseRequest,
  GiveBackRequest,
  ReleaseRequest,
  RenewRequest,
  ResumeRequest,
} from './store.ts';

type Transition = LockRecord | undefined;

/**
 * Grants the lock if there is no record, or if the expiry has come and the record's grant and last release are not of this
 * very request. The latter makes a repeated request harmless (invariant 3). With `once`, a token that is done is refused,
 * and so is one before it. The fencing token only grows; a first one starts from the clock (invariant 2).
 */
export function acquire(record: LockRecord | undefined, request: AcquireRequest): Transition {
  const { key, lockId, owner, now, until, leaseMs, once, data } = request;
  const isFree =
    record === undefined || (record.expiresAt <= now && record.lockId !== lockId && record.releasedBy !== lockId);
  if (!isFree || isDone(once, record?.doneToken)) return undefined;
  return {
    ...record,
    key,
    lockId,
    owner,
    expiresAt: until,
    acquiredAt: now,
    leaseMs,
    fencingToken: (record?.fencingToken ?? now) + 1,
    tookOver: replacedBy(record),
    data,
  };
}

/** Moves the expiry of one's own grant on. Sent twice or late, a renewal never shortens a lease (invariant 3). */
export function renew(record: LockRecord | undefined, { lockId, until }: RenewRequest): Transition {
  if (!isGrantOf(lockId, record) || record.expiresAt > until) return undefined;
  return { ...record, expiresAt: until };
}

/**
 * Ends one's own grant; nobody releases what is not theirs (invariant 9). The new expiry is one past the acquisition at the
 * least, never 0. So it turns away every acquire that was sent before (invariant 3).
 */
export function release(record: LockRecord | undefined, request: ReleaseRequest): Transition {
  const { lockId, holdAtLeastMs, doneToken } = request;
  if (!isGrantOf(lockId, record)) return undefined;
  return {
    ...ended(record),
    expiresAt: record.acquiredAt + Math.max(1, holdAtLeastMs),
    doneToken: doneToken ?? record.doneToken,
  };
}

/**
 * Restores what one's own grant took over, or, where there was no record, leaves a lock that is free from `now` on. The
 * fencing token tells the grant from a later one of the same acquire, delivered twice. `releasedBy` turns away a late
 * duplicate of the acquire (invariant 3).
 */
export function giveBack(record: LockRecord | undefined, request: GiveBackRequest): Transition {
  const { lockId, fencingToken, now, previous } = request;
  if (!isGrantOf(lockId, record) || record.fencingToken !== fencingToken) return undefined;
  if (previous.type === 'nothing') return { ...ended(record), acquiredAt: now, expiresAt: now };
  return {
    ...ended(record),
    lockId: previous.type === 'lease' ? previous.lockId : undefined,
    owner: previous.owner ?? record.owner,
    acquiredAt: previous.acquiredAt || now,
    expiresAt: previous.expiresAt,
  };
}

/**
 * Puts a new grant, with a new id and token, in the place of one that was handed off. The new expiry lies past the
 * acquisition. So it turns away every acquire that was sent before (invariant 3).
 */
export function resume(record: LockRecord | undefined, request: ResumeRequest): Transition {
  const { handed, lockId, owner, until, leaseMs } = request;
  if (!isGrantOf(handed, record) || record.acquiredAt >= until) return undefined;
  return { ...record, lockId, owner, expiresAt: until, leaseMs, fencingToken: record.fencingToken + 1 };
}

/**
 * Ends somebody's grant. The lock opens at the expiry, or, with `immediately`, 2 ms after the acquisition. By that a holder
 * tells the operator's release from one of its own, which opens the lock after 1 ms.
 */
export function forceRelease(record: LockRecord | undefined, request: ForceReleaseRequest): Transition {
  const { lockId, immediately } = request;
  if (!isGrantOf(lockId, record)) return undefined;
  return { ...ended(record), expiresAt: immediately ? record.acquiredAt + 2 : record.expiresAt };
}

/** A record whose grant has ended, and with it the memory of what the grant took over. */
const ended = (record: LockRecord): LockRecord => ({
  ...record,
  lockId: undefined,
  releasedBy: record.lockId,
  tookOver: undefined,
});
