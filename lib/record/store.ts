import type { LockRecord } from './record.ts';

export interface AcquireRequest {
  readonly key: string;
  readonly lockId: string;
  readonly owner: string;
  readonly now: number;
  readonly until: number;
  readonly leaseMs: number;
  readonly once?: string | undefined;
  readonly data?: string | undefined;
}

export interface RenewRequest {
  readonly key: string;
  readonly lockId: string;
  readonly until: number;
}

export interface ReleaseRequest {
  readonly key: string;
  readonly lockId: string;
  readonly now: number;
  readonly holdAtLeastMs: number;
  readonly doneToken?: string | undefined;
}

export interface GiveBackRequest {
  readonly key: string;
  readonly lockId: string;
  /** Of the grant that is given back: a late duplicate of its acquire may be granted once more, with another token. */
  readonly fencingToken: number;
  readonly now: number;
  /**
   * What the grant took over, as its record told when it was made: by now a third grant may have come and gone. Without a
   * `lockId` the lock was free or merely closed; with `expiresAt` 0 there was no record.
   */
  readonly previous: {
    readonly lockId?: string | undefined;
    readonly owner?: string | undefined;
    readonly acquiredAt?: number | undefined;
    readonly expiresAt: number;
  };
}

export interface ResumeRequest {
  readonly key: string;
  /** The grant that was handed off. */
  readonly handed: string;
  readonly lockId: string;
  readonly owner: string;
  readonly until: number;
  readonly leaseMs: number;
}

export interface ForceReleaseRequest {
  readonly key: string;
  readonly lockId: string;
  readonly immediately: boolean;
}

/** The part of an answer that tells of the server's clock. */
export interface DatedAnswer {
  /** The server's clock when it answered, in milliseconds since the epoch, cut down to the whole second. */
  readonly serverDate?: number | undefined;
  /** The answer came over a host that may have written a `Date` of its own: a proxy, an emulator. Default false. */
  readonly relayed?: boolean | undefined;
}

/** Granted or refused, the record comes back: after the write when it was applied, as it stands when it was refused. */
export interface StoreAnswer extends DatedAnswer {
  readonly applied: boolean;
  /** Absent when there is no record, and, for an applied write whose record nobody needs, always. */
  readonly record?: LockRecord | undefined;
  /** How many times the request was sent before this answer came; over 1, an earlier one may have been applied. */
  readonly attempts?: number | undefined;
}

export interface ReadAnswer extends DatedAnswer {
  readonly record?: LockRecord | undefined;
}

export interface ReadManyAnswer extends DatedAnswer {
  /** The records that exist, in no order. */
  readonly records: readonly LockRecord[];
  /** Keys that the server left out this time: ask again, after a pause. */
  readonly unprocessed: readonly string[];
}

/**
 * Where lock records live. Every write is one conditional update of one record, judged by the server; nothing above
 * this interface knows which database it is. A call rejects with a `LockStoreError`, and gives up when `signal` aborts.
 */
export interface LockStore {
  /**
   * `no record OR (expiresAt <= now AND lockId <> me AND releasedBy <> me)`, and with `once` also
   * `no doneToken OR doneToken < once`. Sets the grant, raises the token, keeps what it takes over. An item without a
   * numeric `fencingToken` and `expiresAt` is no record of a lock: rejects, and leaves it as it is.
   */
  acquire(request: AcquireRequest, signal?: AbortSignal): Promise<StoreAnswer>;
  /** `lockId = me AND expiresAt <= until`. Sets `expiresAt`. */
  renew(request: RenewRequest, signal?: AbortSignal): Promise<StoreAnswer>;
  /** `lockId = me`. Ends the grant: the lock opens `max(1, holdAtLeastMs)` after its acquisition. */
  release(request: ReleaseRequest, signal?: AbortSignal): Promise<StoreAnswer>;
  /**
   * `lockId = me AND fencingToken = mine`. Restores what the grant took over: its `lockId`, `owner`, `acquiredAt` (from
   * which a release opens the lock) and `expiresAt`, or, where there was no record, one that is free from `now` on. Sets
   * `releasedBy = me`, which turns away a late duplicate of the acquire.
   */
  giveBack(request: GiveBackRequest, signal?: AbortSignal): Promise<StoreAnswer>;
  /** `lockId = handed AND acquiredAt < until`. A new grant, with a new id and token, in the place of the handed one. */
  resume(request: ResumeRequest, signal?: AbortSignal): Promise<StoreAnswer>;
  /**
   * `lockId = seen`. Ends somebody's grant; the lock opens at its expiry, or, with `immediately`, 2 ms after its acquisition,
   * by which its holder can tell it from a release of its own.
   */
  forceRelease(request: ForceReleaseRequest, signal?: AbortSignal): Promise<StoreAnswer>;
  /** One record; `consistent` costs twice as much and misses no write that was answered before. */
  read(key: string, options: { readonly consistent: boolean }, signal?: AbortSignal): Promise<ReadAnswer>;
  /** Up to 100 records, eventually consistent; without items that are no records of locks. */
  readMany(keys: readonly string[], signal?: AbortSignal): Promise<ReadManyAnswer>;
  /** Every record whose key starts with `prefix`, in no order; without items that are no records of locks. */
  list(prefix: string): AsyncIterable<LockRecord>;
}
