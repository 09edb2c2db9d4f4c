import type { LockRecord, Takeover } from './record.ts';

/** A request for the grant of a free lock. */
export interface AcquireRequest {
  readonly key: string;
  /** The secret id of the grant that is asked for: a new id for each attempt. */
  readonly lockId: string;
  readonly owner: string;
  /** The present moment, with which the record's expiry is compared: milliseconds since the epoch. */
  readonly now: number;
  /** The expiry to write: milliseconds since the epoch. */
  readonly until: number;
  readonly leaseMs: number;
  /** The canonical text of the token, as `LockRecord.doneToken` has it. */
  readonly once?: string | undefined;
  readonly data?: string | undefined;
  /**
   * Makes a coalescing grant, whose holder runs once more if somebody asks meanwhile. With `'ifOwed'`, the lock is granted
   * only if a run is owed.
   * @default no such grant
   */
  readonly coalesce?: 'always' | 'ifOwed' | undefined;
}

/** A request to write a later expiry for a grant. */
export interface RenewRequest {
  readonly key: string;
  readonly lockId: string;
  readonly until: number;
}

/** A request to end a grant. */
export interface ReleaseRequest {
  readonly key: string;
  readonly lockId: string;
  readonly now: number;
  readonly holdAtLeastMs: number;
  /**
   * The canonical text of the token that is done from now on. Absent: the record's token stays. Empty: the record has no
   * token from now on.
   */
  readonly doneToken?: string | undefined;
  /** JSON: the result of the work that `doneToken` stands for. Only with a `doneToken`, whose write replaces any result. */
  readonly doneResult?: string | undefined;
  /**
   * The value of `asked` up to which the run has served, which has succeeded. Refused if the record's run serves another
   * value, or if somebody has asked since. Absent: nothing has been served.
   */
  readonly served?: number | undefined;
}

/** A request for one more run, to the holder of a coalescing grant. */
export interface AskRequest {
  readonly key: string;
  /** The `lockId` of the grant under which the run was seen. */
  readonly seen: string;
  /** The record's `serving`, as it was seen. */
  readonly serving: number;
}

/** Says that the holder begins one more run, which serves everybody who has asked so far. */
export interface TurnRequest {
  readonly key: string;
  readonly lockId: string;
  /** The value of `asked` up to which the run will serve. */
  readonly serving: number;
}

/** A request to end a grant that nobody will use, and to restore the state before the grant. */
export interface GiveBackRequest {
  readonly key: string;
  readonly lockId: string;
  /**
   * The token of the grant that is given back. A late duplicate of the acquire may be granted once more, with another token.
   */
  readonly fencingToken: number;
  readonly now: number;
  /** The state to restore, as the answer to the grant told. A third grant may have come and gone since. */
  readonly previous: Takeover;
}

/** A request to put a new grant in the place of a grant that was handed off. */
export interface ResumeRequest {
  readonly key: string;
  /** The grant that was handed off. */
  readonly handed: string;
  readonly lockId: string;
  readonly owner: string;
  readonly until: number;
  readonly leaseMs: number;
}

/** A write of the holder's own into the record of the lock. */
export interface CommitRequest {
  readonly key: string;
  readonly lockId: string;
  /** JSON. */
  readonly data: string;
  /** One more than the number of the last commit in the record, so that a commit which comes late overwrites no later one. */
  readonly number: number;
}

/** An operator's request to end another holder's grant. */
export interface ForceReleaseRequest {
  readonly key: string;
  readonly lockId: string;
  readonly immediately: boolean;
}

/** A repair of a record as the operator saw it, or of a broken record, which the operator may not have been able to see. */
export type RepairRequest = {
  readonly key: string;
  /** The expiry to write: milliseconds since the epoch. */
  readonly opensAt: number;
  /** The token to write. The next grant has a token that is one higher. */
  readonly fencingToken: number;
} & (
  | { readonly seen: SeenRecord; readonly broken?: undefined }
  | { readonly seen?: SeenRecord | undefined; readonly broken: BrokenRecord }
);

/**
 * The record as the operator saw it. Any other record is not repaired, unless it is broken.
 * @inline
 */
interface SeenRecord {
  readonly fencingToken: number;
  readonly expiresAt: number;
}

/**
 * A record that somebody has changed: its token, a moment or the `lockId` has no value that leasehold writes. A repair ends
 * the grant of such a record, too.
 * @inline
 */
interface BrokenRecord {
  /** The acquisition to write: milliseconds since the epoch. */
  readonly acquiredAt: number;
  /** Opens the lock before an expiry of the record that lies past `opensAt`. Such a record is not repaired otherwise. */
  readonly immediately: boolean;
  /** Replaces a token that is greater than `fencingToken`. Such a record is not repaired otherwise. */
  readonly lowersToken: boolean;
}

/** The part of an answer that tells the server's time. */
export interface DatedAnswer {
  /**
   * The time of the server's clock at the answer, in milliseconds since the epoch, cut down by less than the store's
   * `serverDateStepMs`. The answer to a write has a date, unless the server gave none.
   */
  readonly serverDate?: number | undefined;
  /**
   * True if the date may be wrong, as the clock of one host may be: the answer came over a relay, such as a proxy or an
   * emulator, which may have written a `Date` of its own, or from a database on one host, whose clock may be set.
   * @default false
   */
  readonly relayed?: boolean | undefined;
}

/** The answer to a write. The present record comes back, whether the write was applied or refused. */
export interface StoreAnswer extends DatedAnswer {
  readonly applied: boolean;
  /** Absent if there is no record. May be absent after an applied write whose record nobody needs. */
  readonly record?: LockRecord | undefined;
  /**
   * True if an earlier sending of the request may have been applied, before this answer.
   * @default false
   */
  readonly maybeAppliedBefore?: boolean | undefined;
}

/**
 * The needs of a reader.
 * @inline
 */
export interface ReadOptions {
  /** True if no write may be missed that was answered before the read. Such a read may cost more. */
  readonly consistent: boolean;
  /**
   * True if the caller needs the server's date. A store whose dates cost requests leaves the date out otherwise.
   * @default false
   */
  readonly dated?: boolean | undefined;
}

/** The answer to a read of one record. The record is absent if there is none. */
export interface ReadAnswer extends DatedAnswer {
  readonly record?: LockRecord | undefined;
}

/** The answer to a read of several records. */
export interface ReadManyAnswer extends DatedAnswer {
  /** The records that exist, in no order. */
  readonly records: readonly LockRecord[];
  /** The keys that the server left out this time. Ask for these keys again after a pause. */
  readonly unprocessed: readonly string[];
}

/** One page of records, in no order. */
export interface ListAnswer extends DatedAnswer {
  readonly records: readonly LockRecord[];
  /** Stands for the place from which the next page begins. Absent on the last page. */
  readonly cursor?: unknown;
}

/** A finding about the place where the locks live. */
export interface StoreProblem {
  /** `error`: locks are not safe, or not possible, there. `warning`: locks work, and something will cost or confuse. */
  readonly severity: 'error' | 'warning';
  /** Says what is wrong, and what to do. */
  readonly message: string;
}

/**
 * The place where lock records live. Every write is one conditional update of one record, which the server judges under the
 * condition of the same name in `lib/record/transitions.ts`. Nothing above this interface knows the database. A call rejects
 * with a `LockStoreError`, and gives up when `signal` aborts.
 * @example
 * ```ts
 * import type { LockStore } from 'leasehold';
 *
 * // Counts the requests to acquire. The methods of a store need the store as their `this`.
 * export function counting(store: LockStore, count: () => void): LockStore {
 *   return {
 *     get maxInFlight() {
 *       return store.maxInFlight;
 *     },
 *     connection: store.connection ?? store,
 *     requestTimeoutMs: store.requestTimeoutMs,
 *     serverDateStepMs: store.serverDateStepMs,
 *     onEvent: store.onEvent?.bind(store),
 *     ...(store.changes && { changes: store.changes.bind(store) }),
 *     ...(store.check && { check: store.check.bind(store) }),
 *     acquire(request, signal) {
 *       count();
 *       return store.acquire(request, signal);
 *     },
 *     renew: store.renew.bind(store),
 *     release: store.release.bind(store),
 *     giveBack: store.giveBack.bind(store),
 *     resume: store.resume.bind(store),
 *     forceRelease: store.forceRelease.bind(store),
 *     repair: store.repair.bind(store),
 *     commit: store.commit.bind(store),
 *     ask: store.ask.bind(store),
 *     turn: store.turn.bind(store),
 *     read: store.read.bind(store),
 *     readMany: store.readMany.bind(store),
 *     list: store.list.bind(store),
 *   };
 * }
 * ```
 */
export interface LockStore {
  /** Receives every `LockEvent` of the clients on this store, after the client's own listener, and in the same way. */
  readonly onEvent?: ((event: never) => unknown) | undefined;
  /**
   * The most requests that leasehold has under way at a time, in all clients of the store's connection in a process. Further
   * requests wait in a queue: renewals first, the soonest deadline first. 1 or more.
   * @default 50
   */
  readonly maxInFlight?: number | undefined;
  /**
   * The object that stands for the store's sockets. Stores with one connection share the bound of `maxInFlight`.
   * @default the store itself
   */
  readonly connection?: object | undefined;
  /**
   * The steps in which the server's dates are told, in milliseconds: the server's clock showed the last date, or less than a
   * step more. 1 or more. A store that learns the step from its dates tells the longest step before the first date.
   * @default 1,000: a `Date` of HTTP
   */
  readonly serverDateStepMs?: number | undefined;
  /**
   * The default of the option `requestTimeoutMs` on this store, in milliseconds. 1 or more.
   * @default 1,000
   */
  readonly requestTimeoutMs?: number | undefined;
  /**
   * Grants a free lock. An item without a numeric `fencingToken` and `expiresAt` is no record of a lock. The call for such
   * an item rejects and leaves the item as it is.
   */
  acquire(request: AcquireRequest, signal?: AbortSignal): Promise<StoreAnswer>;
  /** Writes a later expiry for a grant. */
  renew(request: RenewRequest, signal?: AbortSignal): Promise<StoreAnswer>;
  /** Ends a grant: the lock opens `max(1, holdAtLeastMs)` after its acquisition. */
  release(request: ReleaseRequest, signal?: AbortSignal): Promise<StoreAnswer>;
  /** Restores the state that a grant replaced. */
  giveBack(request: GiveBackRequest, signal?: AbortSignal): Promise<StoreAnswer>;
  /** Puts a new grant in the place of a grant that was handed off. */
  resume(request: ResumeRequest, signal?: AbortSignal): Promise<StoreAnswer>;
  /** Ends another holder's grant. With `immediately`, also opens a lock that stayed closed after that grant's end. */
  forceRelease(request: ForceReleaseRequest, signal?: AbortSignal): Promise<StoreAnswer>;
  /** Writes the expiry and the token of a lock that nobody holds, or whose record is broken. */
  repair(request: RepairRequest, signal?: AbortSignal): Promise<StoreAnswer>;
  /** Writes data of the holder's own into the record of a lock, for a grant that stands there. */
  commit(request: CommitRequest, signal?: AbortSignal): Promise<StoreAnswer>;
  /** Asks the holder of a coalescing grant for one more run. */
  ask(request: AskRequest, signal?: AbortSignal): Promise<StoreAnswer>;
  /** Begins one more run under a coalescing grant. */
  turn(request: TurnRequest, signal?: AbortSignal): Promise<StoreAnswer>;
  /** Reads one record. */
  read(key: string, options: ReadOptions, signal?: AbortSignal): Promise<ReadAnswer>;
  /** Reads up to 100 records, eventually consistent. Leaves out items that are no records of locks. */
  readMany(keys: readonly string[], signal?: AbortSignal): Promise<ReadManyAnswer>;
  /**
   * Reads one page of the records whose keys start with `prefix`, in no order. Leaves out items that are no records of locks.
   * @param cursor the `cursor` of the page before. Undefined for the first page.
   */
  list(prefix: string, cursor?: unknown, signal?: AbortSignal): Promise<ListAnswer>;
  /**
   * Resolves when the lock of a key may have opened. A hint, which may be missed or wrong: whoever waits looks at the record
   * in any case. Gives up when `signal` aborts.
   */
  changes?(key: string, signal: AbortSignal): Promise<void>;
  /** Gives the findings about the place of the locks. None if all is well. */
  check?(signal?: AbortSignal): Promise<readonly StoreProblem[]>;
}

/** The part of a store that a lease needs, from its acquisition to its release. */
export type LeaseStore = Omit<LockStore, 'resume' | 'forceRelease' | 'repair' | 'list' | 'check'>;
