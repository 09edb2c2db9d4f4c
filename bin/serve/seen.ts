/** A lock as the live page has seen it, and the row that a browser gets of it. */
import type { Clock, LockState } from '../../lib/index.ts';
import { type State, stateOf } from '../describe.ts';

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
  readonly word: State;
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
  readonly state: State;
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
    word: stateOf(state),
    waits: waitsOf(state),
    at: clock.monotonic(),
    storeNow: opensInMs > 0 && flaw === undefined ? expiresAt - opensInMs : clock.now(),
  };
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
