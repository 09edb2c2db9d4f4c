// The conditions of the protocol, normative for every store: from a record and a request to the record that the write
// leaves, or to undefined, a refusal. Together they keep one holder at a time (invariant 1). MemoryLockStore applies them.
// A store that judges by itself, as DynamoDB does, is
// compared with these functions by random histories (test/contract).

import {
  areCountable,
  isBroken,
  isCountable,
  isGrantOf,
  isOwed,
  type LockRecord,
  MOST_ACQUIRED_AT,
  replacedBy,
} from './record.ts';
import type {
  AcquireRequest,
  AskRequest,
  CommitRequest,
  ForceReleaseRequest,
  GiveBackRequest,
  ReleaseRequest,
  RenewRequest,
  RepairRequest,
  ResumeRequest,
  TurnRequest,
} from './store.ts';
import { isDone } from './token.ts';

type Transition = LockRecord | undefined;

/**
 * Grants the lock in two cases:
 * - There is no record.
 * - The expiry has come, and neither the record's grant nor its last release has this request's `lockId`. So a repeated
 *   request is harmless (invariant 3).
 *
 * With `once`, a token up to the greatest finished token is refused. The fencing token only grows. The first token of a key
 * starts from the clock (invariant 2). A record whose next token JavaScript could not tell from the one after is refused.
 *
 * A coalescing grant counts as an ask, which its first run serves. So a grant whose holder dies leaves a run owed
 * (invariant 15). With `ifOwed`, the grant is refused unless a run is owed.
 */
export function acquire(record: LockRecord | undefined, request: AcquireRequest): Transition {
  const { key, lockId, owner, now, until, leaseMs, once, data, coalesce } = request;
  const isFree =
    record === undefined ||
    (areCountable(record) && record.expiresAt <= now && record.lockId !== lockId && record.releasedBy !== lockId);
  if (!isFree || isDone(once, record?.doneToken)) return undefined;
  if (coalesce === 'ifOwed' && !isOwed(record ?? {})) return undefined;
  const asked = coalesce === undefined ? record?.asked : (record?.asked ?? 0) + 1;
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
    asked,
    serving: coalesce === undefined ? undefined : asked,
  };
}

/** Writes a later expiry for one's own grant. A renewal that is sent twice or late never shortens a lease (invariant 3). */
export function renew(record: LockRecord | undefined, { lockId, until }: RenewRequest): Transition {
  if (!isGrantOf(lockId, record) || record.expiresAt > until) return undefined;
  return { ...record, expiresAt: until };
}

/**
 * Ends one's own grant: nobody releases another holder's grant (invariant 9). The new expiry is at least one millisecond
 * past the acquisition, and never 0. So the expiry turns away every acquire that was sent before the release (invariant 3).
 *
 * With `served`, the release says that a run has succeeded. Such a release is refused if another run is under way, or if
 * somebody has asked since the run began: nobody who was told that a run will come is forgotten (invariant 15).
 */
export function release(record: LockRecord | undefined, request: ReleaseRequest): Transition {
  const { lockId, holdAtLeastMs, doneToken, doneResult, served } = request;
  if (!isGrantOf(lockId, record)) return undefined;
  if (served !== undefined && (record.serving !== served || record.asked !== served)) return undefined;
  return {
    ...ended(record),
    expiresAt: record.acquiredAt + Math.max(1, holdAtLeastMs),
    // An empty text takes the token away.
    doneToken: (doneToken ?? record.doneToken) || undefined,
    doneResult: doneToken === undefined ? record.doneResult : doneResult,
    served: served ?? record.served,
  };
}

/**
 * Asks the holder of a coalescing grant for one more run, on behalf of everybody who asks during the present run. The grant
 * and the run must be those that the asker saw, and nobody may have asked yet: a repeated request changes nothing
 * (invariant 3), and a lock that is free is asked for nothing (invariant 15).
 */
export function ask(record: LockRecord | undefined, { seen, serving }: AskRequest): Transition {
  if (!isGrantOf(seen, record) || record.serving !== serving || record.asked !== serving) return undefined;
  return { ...record, asked: serving + 1 };
}

/**
 * Begins one more run of one's own grant. Written before the run: whoever asks from then on asks for yet another run
 * (invariant 15). A request that comes late or twice begins no run that serves less.
 */
export function turn(record: LockRecord | undefined, { lockId, serving }: TurnRequest): Transition {
  if (!isGrantOf(lockId, record) || (record.serving ?? 0) >= serving || (record.asked ?? 0) < serving) return undefined;
  return { ...record, serving };
}

/**
 * Restores the state that one's own grant replaced. If the grant replaced no record, leaves a lock that is free from `now`
 * on. The fencing token tells the grant from a later grant of the same acquire, delivered twice. `releasedBy` turns away a
 * late duplicate of the acquire (invariant 3).
 */
export function giveBack(record: LockRecord | undefined, request: GiveBackRequest): Transition {
  const { lockId, fencingToken, now, previous } = request;
  if (!isGrantOf(lockId, record) || record.fencingToken !== fencingToken) return undefined;
  if (previous.type === 'nothing') return { ...ended(record), acquiredAt: now, expiresAt: now };
  return {
    ...ended(record),
    // The holder of the lease that is restored runs once more than it need: the grant counted as an ask.
    serving: previous.type === 'lease' ? record.serving : undefined,
    lockId: previous.type === 'lease' ? previous.lockId : undefined,
    owner: previous.owner ?? record.owner,
    acquiredAt: previous.acquiredAt || now,
    expiresAt: previous.expiresAt,
  };
}

/**
 * Puts a new grant, with a new id and token, in the place of a grant that was handed off. The new expiry lies past the
 * acquisition. So the expiry turns away every acquire that was sent before the resume (invariant 3).
 */
export function resume(record: LockRecord | undefined, request: ResumeRequest): Transition {
  const { handed, lockId, owner, until, leaseMs } = request;
  if (!isGrantOf(handed, record) || !areCountable(record) || record.acquiredAt >= until) return undefined;
  return { ...record, lockId, owner, expiresAt: until, leaseMs, fencingToken: record.fencingToken + 1 };
}

/**
 * Writes data for one's own grant. Whoever was granted the lock later has another `lockId`, so nobody overwrites the commit
 * of a later holder, whatever the clocks say (invariant 14). The number turns away a commit that comes late or twice.
 */
export function commit(record: LockRecord | undefined, { lockId, data, number }: CommitRequest): Transition {
  if (!isGrantOf(lockId, record) || number !== (record.committed?.number ?? 0) + 1) return undefined;
  return { ...record, committed: { data, number, fencingToken: record.fencingToken } };
}

/**
 * Ends another holder's grant. The lock opens at the expiry. With `immediately`, the lock opens 2 ms after the acquisition,
 * also if the grant has ended before and the lock is closed still, by a forced release or by `holdAtLeastMs`. A holder's own
 * release opens the lock after 1 ms, so the holder can tell the operator's release from its own.
 */
export function forceRelease(record: LockRecord | undefined, request: ForceReleaseRequest): Transition {
  const { lockId, immediately } = request;
  const hasEnded = record?.lockId === undefined && record?.releasedBy === lockId;
  if (!isGrantOf(lockId, record) && !(immediately && hasEnded)) return undefined;
  // The expiry to write must be a number that JavaScript counts exactly.
  if (immediately && record.acquiredAt > MOST_ACQUIRED_AT) return undefined;
  return { ...ended(record), releasedBy: lockId, expiresAt: immediately ? record.acquiredAt + 2 : record.expiresAt };
}

/**
 * Writes the expiry and the token of a lock that nobody holds. The record must be as the operator saw it: the token and the
 * expiry tell the record from any later record, so a repeated request changes nothing (invariant 3).
 *
 * Of a broken record, the repair also ends the grant, since nobody can tell whose it is. Such a repair neither opens the lock
 * before an expiry that may be a holder's, nor lowers a token, unless the operator asks for it.
 */
export function repair(record: LockRecord | undefined, request: RepairRequest): Transition {
  const { seen, opensAt, fencingToken, broken } = request;
  if (record === undefined) return undefined;
  if (broken !== undefined) {
    const { acquiredAt, immediately, lowersToken } = broken;
    const isBefore = (written: number, value: number) => isCountable(value) && written < value;
    if (!isBroken(record) || (!immediately && isBefore(opensAt, record.expiresAt))) return undefined;
    // An operator who saw another token does not lower this one.
    const mayLower = lowersToken && (seen === undefined || isSeen(record, seen));
    if (!mayLower && isBefore(fencingToken, record.fencingToken)) return undefined;
    const ending = { lockId: undefined, tookOver: undefined, serving: undefined };
    const mended = { ...ending, expiresAt: opensAt, fencingToken, acquiredAt };
    return { ...record, ...mended, flaw: undefined };
  }
  if (record.lockId !== undefined) return undefined;
  if (!isSeen(record, seen)) return undefined;
  return { ...record, expiresAt: opensAt, fencingToken };
}

const isSeen = (record: LockRecord, seen: Exclude<RepairRequest['seen'], undefined>): boolean =>
  record.fencingToken === seen.fencingToken && record.expiresAt === seen.expiresAt;

/** A record whose grant has ended. The record then no longer tells what the grant replaced. */
const ended = (record: LockRecord): LockRecord => ({
  ...record,
  lockId: undefined,
  releasedBy: record.lockId,
  tookOver: undefined,
  serving: undefined,
});
