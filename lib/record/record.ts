/** The record of one key, as every store keeps the record. Moments are milliseconds since the epoch. */
export interface LockRecord {
  readonly key: string;
  /** The secret id of the grant. Present exactly while a grant is outstanding. */
  readonly lockId?: string | undefined;
  /** The name of the present holder, or else of the last holder, for people to read. */
  readonly owner?: string | undefined;
  readonly fencingToken: number;
  /** The lock is free if and only if this moment has come, or there is no record. */
  readonly expiresAt: number;
  readonly acquiredAt: number;
  readonly leaseMs: number;
  /** The `lockId` of the last grant that ended by a release. */
  readonly releasedBy?: string | undefined;
  /** The state that the present grant replaced. Absent once another write has forgotten that state. */
  readonly tookOver?: Takeover | undefined;
  /**
   * The greatest `once` token that finished, as the canonical text whose order by the bytes of UTF-8 is the order of tokens:
   * `~t2026-01-01T02:00:00`, `~n0002:10`, `text`.
   */
  readonly doneToken?: string | undefined;
  /** JSON: the result that was released together with `doneToken`, if there was one. */
  readonly doneResult?: string | undefined;
  /** JSON, as the user attached it. */
  readonly data?: string | undefined;
  /** The number of times that a run was asked for: each coalescing grant asks once, and so may others during a run. */
  readonly asked?: number | undefined;
  /** The value of `asked` up to which the present run serves. Present only under a coalescing grant. */
  readonly serving?: number | undefined;
  /** The value of `asked` up to which runs have succeeded. While `asked` is greater, a run is owed. */
  readonly served?: number | undefined;
  /** The last commit. Stays when the grant ends, and when another grant comes. */
  readonly committed?: Committed | undefined;
  /**
   * Says what is wrong with a record that somebody has changed: a value that no request can be judged by. No lease is
   * granted by such a value.
   */
  readonly flaw?: string | undefined;
}

/** Data that a holder wrote into the record of its lock. */
export interface Committed {
  /** JSON. */
  readonly data: string;
  /** Grows by one with every commit of the key, from 1. */
  readonly number: number;
  /** The fencing token of the grant that wrote the data. */
  readonly fencingToken: number;
}

/** The greatest fencing token after which there is a next one that JavaScript can tell apart. */
export const MOST_COUNTABLE = Number.MAX_SAFE_INTEGER - 1;

/** A forced release writes an expiry 2 ms past the acquisition. */
export const MOST_ACQUIRED_AT = MOST_COUNTABLE - 2;

/** Tells whether a fencing token or an expiry is a number that JavaScript counts exactly, also after the next grant. */
export const isCountable = (value: number): boolean =>
  Number.isSafeInteger(value) && value >= 0 && value <= MOST_COUNTABLE;

export const areCountable = ({ fencingToken, expiresAt }: LockRecord): boolean =>
  isCountable(fencingToken) && isCountable(expiresAt);

/** Tells whether only a repair mends a record, also under a grant: no condition can compare the values that are flawed. */
export const isBroken = ({ flaw = '' }: Pick<LockRecord, 'flaw'>): boolean =>
  /^(fencingToken|expiresAt|acquiredAt|lockId) /.test(flaw);

/** Says that the token or the expiry of a record is a number that leasehold does not write. */
export function uncountableIn(record: Pick<LockRecord, 'fencingToken' | 'expiresAt'>): string | undefined {
  for (const name of ['fencingToken', 'expiresAt'] as const) {
    if (!isCountable(record[name])) {
      return `${name} is ${record[name]}, which is no whole number from 0 to ${MOST_COUNTABLE}`;
    }
  }
  return undefined;
}

/** The state of a lock that a grant replaced. */
export type Takeover =
  /** There was no record. */
  | { readonly type: 'nothing' }
  /** No grant was outstanding: the lock had been released. */
  | ({ readonly type: 'closed' } & Replaced)
  /** A grant was outstanding, and its holder had let it expire. */
  | ({ readonly type: 'lease'; readonly lockId: string } & Replaced);

/**
 * The grant that was replaced.
 * @inline
 */
interface Replaced {
  readonly owner?: string | undefined;
  readonly acquiredAt: number;
  readonly expiresAt: number;
}

/** Tells whether the grant in a record has this `lockId`. This one question decides over every answer. */
export const isGrantOf = (lockId: string, record: LockRecord | undefined): record is LockRecord =>
  record?.lockId === lockId;

/** Tells whether a run is owed: one was asked for, and none that began later has succeeded. */
export const isOwed = ({ asked = 0, served = 0 }: Pick<LockRecord, 'asked' | 'served'>): boolean => asked > served;

/** The holder of a lock. Nobody holds a released lock that `holdAtLeastMs` keeps closed. */
export const holderOf = ({ lockId, owner }: LockRecord): string | undefined =>
  lockId === undefined ? undefined : owner;

/** The reason for which a holder's request was refused, by the record in the refusal. */
export const lossOf = (record: LockRecord | undefined): 'gone' | 'revoked' | 'takenOver' =>
  record === undefined ? 'gone' : record.lockId === undefined ? 'revoked' : 'takenOver';

/** The state that a grant replaces, by the record before the grant. */
export function replacedBy(record: LockRecord | undefined): Takeover {
  if (record === undefined) return { type: 'nothing' };
  const { lockId, owner, acquiredAt, expiresAt } = record;
  const replaced = { owner, acquiredAt, expiresAt };
  return lockId === undefined ? { type: 'closed', ...replaced } : { type: 'lease', lockId, ...replaced };
}

/** The lock as it stood before a grant, as far as callers are told of the lock. */
export function beforeGrant({ tookOver, ...record }: LockRecord): LockRecord {
  const none = { lockId: undefined, owner: undefined, expiresAt: 0 };
  return { ...record, ...none, ...(tookOver?.type === 'nothing' ? {} : tookOver) };
}

/**
 * The newer of two views of a lock. An eventually consistent read may be older than what is known. But tokens only grow,
 * a grant is outstanding before it is released, and the expiry of a grant only moves on.
 */
export function fresher(known: LockRecord, read: LockRecord | undefined): LockRecord {
  if (read === undefined) return known;
  const ahead = read.fencingToken - known.fencingToken;
  if (ahead !== 0) return ahead > 0 ? read : known;
  if (read.lockId === undefined) return read;
  return known.lockId === undefined || (read.lockId === known.lockId && read.expiresAt < known.expiresAt)
    ? known
    : read;
}
