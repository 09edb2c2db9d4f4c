/** The state of a lock in words. */
import type { LockState } from '../lib/index.ts';
import { inTime } from './terminal.ts';

/**
 * - `held`: a grant is outstanding.
 * - `expired`: the grant ran out without a release. The lock is free.
 * - `closed`: nobody holds the lock, which opens later.
 * - `free`: the next caller gets the lock.
 * - `bad`: somebody has changed the record.
 */
export type State = 'held' | 'expired' | 'closed' | 'free' | 'bad';

export function stateOf({ flaw, held, opensInMs, lockId }: LockState): State {
  if (flaw !== undefined) return 'bad';
  if (held) return 'held';
  if (opensInMs > 0) return 'closed';
  return lockId === undefined ? 'free' : 'expired';
}

/** The holder's name. A record that somebody has changed may have none. */
export const holderIn = ({ owner = 'an unknown holder' }: Pick<LockState, 'owner'>): string => owner;

export function describe(lock: LockState): string {
  if (lock.flaw !== undefined)
    return `${describe({ ...lock, flaw: undefined })}; somebody has changed the record: ${lock.flaw}`;
  if (lock.owed) return `${describe({ ...lock, owed: false })}; a run is owed`;
  if (lock.held) return `held by ${holderIn(lock)}, opens in ${inTime(lock.opensInMs)} unless renewed`;
  if (lock.opensInMs > 0) return `closed, opens in ${inTime(lock.opensInMs)}`;
  return lock.lockId === undefined ? 'free' : `free: the lease of ${holderIn(lock)} expired without a release`;
}
