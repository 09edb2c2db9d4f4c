/** A lock as the live page has seen it, and the row that a browser gets of it. */
import type { Clock, LockState } from '../../lib/index.ts';

/**
 * The state of a lock, in one word:
 * - `bad`: somebody has changed the record, and no request can be judged by it.
 * - `held`: a grant is outstanding.
 * - `expired`: the lease expired without a release, since its holder died or stood still. The lock is open.
 * - `closed`: nobody holds the lock, and it is not open yet: after a forced release, or by `holdAtLeastMs`.
 * - `free`: the lock is open, and its last holder released it.
 */
export type Word = 'bad' | 'held' | 'expired' | 'closed' | 'free';

type Kept = Pick<
  LockState,
  | 'key'
  | 'lockId'
  | 'owner'
  | 'fencingToken'
  | 'acquiredAt'
  | 'expiresAt'
  | 'leaseMs'
  | 'opensInMs'
  | 'releasedBy'
  | 'tookOver'
  | 'doneToken'
  | 'flaw'
>;

/** The part of a lock's state that is kept from one look at the store to the next. Without `data`, which may be large. */
export interface Seen extends Kept {
  readonly word: Word;
  /**
   * - `owed`: a run is owed, and nobody runs.
   * - `again`: the holder was asked for one more run.
   */
  readonly waits: 'owed' | 'again' | undefined;
  /** The moment of the sighting, in milliseconds of the clock that is never set. */
  readonly at: number;
  /** The moment of the sighting by the store's clock, as far as known: milliseconds since the epoch. */
  readonly storeNow: number;
}

/** A lock for browsers. Durations count from the end of the look at the store. */
export interface Row {
  readonly key: string;
  readonly state: Word;
  readonly owner: string | undefined;
  readonly fencingToken: number;
  readonly acquiredAt: number;
  readonly expiresAt: number;
  readonly leaseMs: number;
  /** Milliseconds since the last acquisition. */
  readonly sinceMs: number;
  /** Milliseconds since the expiry. Negative while the expiry lies ahead. */
  readonly expiredMs: number;
  /** Milliseconds until the lock opens, unless the holder renews. */
  readonly opensInMs: number;
  readonly doneToken: string | undefined;
  readonly waits: Seen['waits'];
  /** The holder whose lease expired without a release before the present holder came. */
  readonly tookOverFrom: string | undefined;
  readonly flaw: string | undefined;
  /** The id that ends the grant. Absent from a page that is read-only, which has no use for the id. */
  readonly lockId: string | undefined;
}

export function seen(state: LockState, clock: Clock): Seen {
  const { key, lockId, owner, fencingToken, acquiredAt, expiresAt, leaseMs, opensInMs } = state;
  const { releasedBy, tookOver, doneToken, flaw } = state;
  return {
    ...{ key, lockId, owner, fencingToken, acquiredAt, expiresAt, leaseMs, opensInMs },
    ...{ releasedBy, tookOver, doneToken, flaw },
    word: wordOf(state),
    waits: waitsOf(state),
    at: clock.monotonic(),
    storeNow: opensInMs > 0 && flaw === undefined ? expiresAt - opensInMs : clock.now(),
  };
}

function wordOf({ flaw, held, opensInMs, lockId }: LockState): Word {
  if (flaw !== undefined) return 'bad';
  if (held) return 'held';
  if (lockId !== undefined) return 'expired';
  return opensInMs > 0 ? 'closed' : 'free';
}

function waitsOf({ held, owed, asked = 0, serving }: LockState): Seen['waits'] {
  if (!owed) return undefined;
  // Under the grant of a run, the run itself is owed until it has succeeded.
  if (!held) return 'owed';
  return serving === undefined || asked > serving ? 'again' : undefined;
}

/** @param now the end of the look at the store, in milliseconds of the clock that is never set. */
export function rowOf(lock: Seen, now: number, showsLockId: boolean): Row {
  const { key, word, owner, fencingToken, acquiredAt, expiresAt, leaseMs, doneToken, waits, flaw, tookOver } = lock;
  const storeNow = lock.storeNow + (now - lock.at);
  return {
    ...{ key, state: word, owner, fencingToken, acquiredAt, expiresAt, leaseMs, doneToken, waits, flaw },
    sinceMs: storeNow - acquiredAt,
    expiredMs: storeNow - expiresAt,
    opensInMs: Math.max(0, lock.opensInMs - (now - lock.at)),
    tookOverFrom: tookOver?.type === 'lease' ? (tookOver.owner ?? '') : undefined,
    lockId: showsLockId && word === 'held' ? lock.lockId : undefined,
  };
}
