import { LockStoreError } from '../record/errors.ts';
import { freshId } from '../record/fresh-id.ts';
import { Recent } from '../record/recent.ts';
import type { LockRecord } from '../record/record.ts';
import type {
  AcquireRequest,
  AskRequest,
  CommitRequest,
  DatedAnswer,
  ForceReleaseRequest,
  GiveBackRequest,
  ListAnswer,
  LockStore,
  ReadAnswer,
  ReadManyAnswer,
  ReadOptions,
  ReleaseRequest,
  RenewRequest,
  RepairRequest,
  ResumeRequest,
  StoreAnswer,
  TurnRequest,
} from '../record/store.ts';
import * as transitions from '../record/transitions.ts';
import type { Entry } from './entry.ts';
import { readEach } from './read-each.ts';

/** The state of a key, as a reading showed it. Without a version there is no object. */
export interface Loaded<Version> extends DatedAnswer {
  readonly entry?: Entry | undefined;
  readonly version?: Version | undefined;
}

/** The outcome of a swap. */
export interface Swapped<Version> extends DatedAnswer {
  /** The version that the write made. Absent if the write missed: another version than the one seen stood there. */
  readonly version?: Version | undefined;
  /**
   * True if a write that missed may have been applied all the same, and overtaken since: its first answer was lost.
   * @default false
   */
  readonly maybeApplied?: boolean | undefined;
}

/** One page of the keys in a store. */
export interface KeyPage {
  readonly keys: readonly string[];
  /** Stands for the place from which the next page begins. Absent on the last page. */
  readonly cursor?: unknown;
}

/** The most swaps of one write that miss. Each met another write of the key, which is over within milliseconds. */
const SWAPS = 8;
/** The most keys whose last version a store remembers. */
const MOST_REMEMBERED = 1_000;

/**
 * A store that judges each write itself, under the conditions of `lib/record/transitions.ts`, and then swaps an object for its
 * next version, if nobody else has done so since. One write:
 *
 * 1. Load the object. An object whose last version this process knows is not loaded: nothing is refused by such a memory. An
 *    acquire also loads an object that showed another holder.
 * 2. Judge the request by the record.
 * 3. Swap the object, on the condition that the version still stands.
 * 4. If another version stood there, load and judge again: the other write need not refuse this one (invariant 3). The own
 *    `writeId` in the object says that the write was applied, and that only its answer was lost.
 */
export abstract class SwapStore<Version> implements LockStore {
  /** The last known state of each key. A hint that saves a reading: the swap judges it. Of grants it says nothing (invariant 11). */
  readonly #remembered = new Recent<string, Loaded<Version>>(MOST_REMEMBERED);

  /**
   * Reads the object of a key. A reading misses no write that was answered before.
   * @param options.dated true if the caller needs the server's date.
   * @throws LockStoreError, also for an object that leasehold did not write.
   */
  protected abstract load(key: string, options: { dated: boolean }, signal?: AbortSignal): Promise<Loaded<Version>>;

  /**
   * Writes the object of a key, if the version `seen` still stands there. Undefined stands for no object.
   * @throws LockStoreError if nobody knows whether the object was written.
   */
  protected abstract swap(
    key: string,
    entry: Entry,
    seen: Version | undefined,
    signal?: AbortSignal,
  ): Promise<Swapped<Version>>;

  /** Gives one page of the keys that start with a prefix. All objects of a page are read within one time-out. */
  protected abstract keys(prefix: string, cursor: unknown, signal?: AbortSignal): Promise<KeyPage>;

  acquire(request: AcquireRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    // A holder who was seen here has most likely renewed since. A reading costs less than a swap that misses.
    if (this.#remembered.get(request.key)?.entry?.record.lockId !== undefined) this.#remembered.delete(request.key);
    return this.#write(transitions.acquire, request, signal);
  }

  renew(request: RenewRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write(transitions.renew, request, signal);
  }

  release(request: ReleaseRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write(transitions.release, request, signal);
  }

  giveBack(request: GiveBackRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write(transitions.giveBack, request, signal);
  }

  resume(request: ResumeRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write(transitions.resume, request, signal);
  }

  forceRelease(request: ForceReleaseRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write(transitions.forceRelease, request, signal);
  }

  repair(request: RepairRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write(transitions.repair, request, signal);
  }

  commit(request: CommitRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write(transitions.commit, request, signal);
  }

  ask(request: AskRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write(transitions.ask, request, signal);
  }

  turn(request: TurnRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write(transitions.turn, request, signal);
  }

  async read(key: string, { dated = false }: ReadOptions, signal?: AbortSignal): Promise<ReadAnswer> {
    const loaded = await this.#load(key, dated, signal);
    if (loaded.entry?.damage !== undefined) throw damaged(loaded.entry.damage, loaded);
    return { record: loaded.entry?.record, ...datesOf(loaded) };
  }

  async readMany(keys: readonly string[], signal?: AbortSignal): Promise<ReadManyAnswer> {
    const readOne = async (key: string) => (await this.read(key, { consistent: false }, signal)).record;
    return { records: await readEach(keys, readOne), unprocessed: [] };
  }

  async list(prefix: string, cursor?: unknown, signal?: AbortSignal): Promise<ListAnswer> {
    const page = await this.keys(prefix, cursor, signal);
    const { records } = await this.readMany(page.keys, signal);
    return { records, cursor: page.cursor };
  }

  async #load(key: string, dated: boolean, signal?: AbortSignal): Promise<Loaded<Version>> {
    const loaded = await this.load(key, { dated }, signal);
    this.#remember(key, loaded);
    return loaded;
  }

  async #write<Request extends { readonly key: string }>(
    transition: (record: LockRecord | undefined, request: Request) => LockRecord | undefined,
    request: Request,
    signal: AbortSignal | undefined,
  ): Promise<StoreAnswer> {
    const { key } = request;
    const writeId = freshId();
    let maybeAppliedBefore = false;
    let remembered = this.#remembered.get(key);
    for (let misses = 0; ; ) {
      // 1. The state of the key, as it was remembered or as it is.
      const seen = remembered ?? (await this.#load(key, true, signal));
      const { entry, version } = seen;
      const record = entry?.record;
      if (entry?.writeId === writeId) return { applied: true, record, ...datesOf(seen) };
      // 2. The judgement.
      const changed = judged(transition, request, seen);
      if (changed === undefined && remembered === undefined) {
        return { applied: false, record, ...datesOf(seen), ...(maybeAppliedBefore && { maybeAppliedBefore }) };
      }
      remembered = undefined;
      if (changed === undefined) continue;
      if (misses === SWAPS) throw conflictOver(key, maybeAppliedBefore);
      // Nobody waits for a request that was given up. A store that cannot cancel its readings comes here late.
      signal?.throwIfAborted();
      // 3. The swap. If its answer is lost, nobody knows the version that stands.
      this.#remembered.delete(key);
      const written = { writeId, record: changed };
      const swapped = await this.swap(key, written, version, signal);
      if (swapped.version !== undefined) {
        this.#remember(key, { entry: written, version: swapped.version });
        return { applied: true, record: changed, ...datesOf(swapped) };
      }
      // 4. Another version stood there.
      misses++;
      maybeAppliedBefore ||= swapped.maybeApplied ?? false;
    }
  }

  #remember(key: string, { entry, version }: Loaded<Version>): void {
    // Of a damaged record nothing is remembered: somebody else may have repaired the record since.
    if (entry?.damage === undefined) this.#remembered.set(key, { entry, version });
    else this.#remembered.delete(key);
  }
}

/** If an earlier swap of the request may have been applied, the next sending of the request must know. */
const conflictOver = (key: string, maybeAppliedBefore: boolean): LockStoreError =>
  new LockStoreError(`the lock '${key}' was written by others ${SWAPS} times meanwhile.`, {
    transient: true,
    conflict: !maybeAppliedBefore,
  });

/**
 * Judges a request by a record. A record whose token or expiry is no number is judged for a repair alone.
 * @throws LockStoreError if such a record is not repaired.
 */
function judged<Request>(
  transition: (record: LockRecord | undefined, request: Request) => LockRecord | undefined,
  request: Request,
  { entry, ...dates }: Loaded<unknown>,
): LockRecord | undefined {
  const damage = entry?.damage;
  const isJudged = damage === undefined || (transition as unknown) === transitions.repair;
  const changed = isJudged ? transition(entry?.record, request) : undefined;
  if (changed === undefined && damage !== undefined) throw damaged(damage, dates);
  return changed;
}

const damaged = (message: string, dates: DatedAnswer): LockStoreError =>
  new LockStoreError(message, { foreign: true, ...datesOf(dates) });

const datesOf = ({ serverDate, relayed }: DatedAnswer): DatedAnswer => ({ serverDate, relayed });
