import type { LockRecord, Takeover } from './record.ts';

export interface AcquireRequest {
  readonly key: string;
  /** The secret id of the grant that is asked for: a new one for each attempt. */
  readonly lockId: string;
  readonly owner: string;
  /** The present moment, as the record is judged by it: milliseconds since the epoch. */
  readonly now: number;
  /** The expiry to write: milliseconds since the epoch. */
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
  /** The token of the grant that is given back: a late duplicate of its acquire may be granted once more, with another one. */
  readonly fencingToken: number;
  readonly now: number;
  /** The state to restore, as the grant's own record told when it was made: by now a third grant may have come and gone. */
  readonly previous: Takeover;
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

/** The answer to a write. Granted or refused, the record comes back: as it stands now. */
export interface StoreAnswer extends DatedAnswer {
  readonly applied: boolean;
  /** Absent when there is no record, and, for an applied write whose record nobody needs, always. */
  readonly record?: LockRecord | undefined;
  /** The number of times that the request was sent before this answer came. Over 1, an earlier sending may have been applied. */
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
 * The place where lock records live. Every write is one conditional update of one record, judged by the server under the
 * condition of the same name in transitions.ts. Nothing above this interface knows which database it is. A call rejects with
 * a `LockStoreError`, and gives up when `signal` aborts.
 */
export interface LockStore {
  /**
   * Grants a free lock. An item without a numeric `fencingToken` and `expiresAt` is no record of a lock: the call rejects,
   * and the item stays as it is.
   */
  acquire(request: AcquireRequest, signal?: AbortSignal): Promise<StoreAnswer>;
  /** Moves the expiry of a grant on. */
  renew(request: RenewRequest, signal?: AbortSignal): Promise<StoreAnswer>;
  /** Ends a grant: the lock opens `max(1, holdAtLeastMs)` after its acquisition. */
  release(request: ReleaseRequest, signal?: AbortSignal): Promise<StoreAnswer>;
  /** Restores what a grant took over. */
  giveBack(request: GiveBackRequest, signal?: AbortSignal): Promise<StoreAnswer>;
  /** Puts a new grant in the place of one that was handed off. */
  resume(request: ResumeRequest, signal?: AbortSignal): Promise<StoreAnswer>;
  /** Ends somebody's grant. */
  forceRelease(request: ForceReleaseRequest, signal?: AbortSignal): Promise<StoreAnswer>;
  /** Reads one record. A consistent read costs twice as much and misses no write that was answered before. */
  read(key: string, options: { readonly consistent: boolean }, signal?: AbortSignal): Promise<ReadAnswer>;
  /** Reads up to 100 records, eventually consistent; without items that are no records of locks. */
  readMany(keys: readonly string[], signal?: AbortSignal): Promise<ReadManyAnswer>;
  /** Reads every record whose key starts with `prefix`, in no order; without items that are no records of locks. */
  list(prefix: string): AsyncIterable<LockRecord>;
}
