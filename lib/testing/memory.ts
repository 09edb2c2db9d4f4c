import type { LockRecord } from '../record/record.ts';
import { isDone } from '../record/record.ts';
import type {
  AcquireRequest,
  ForceReleaseRequest,
  GiveBackRequest,
  LockStore,
  ReadAnswer,
  ReadManyAnswer,
  ReleaseRequest,
  RenewRequest,
  ResumeRequest,
  StoreAnswer,
} from '../record/store.ts';

/**
 * Locks in this process's memory, under the same conditions as in DynamoDB: for unit tests of what uses a lock. Every
 * write is judged and applied in one step.
 */
export class MemoryLockStore implements LockStore {
  readonly #records = new Map<string, LockRecord>();
  readonly #clock: { now(): number } | undefined;

  /** @param options.clock the server's clock; without it, answers carry no date, and the client's clock is believed. */
  constructor(options: { readonly clock?: { now(): number } } = {}) {
    this.#clock = options.clock;
  }

  async acquire({ key, lockId, owner, now, until, leaseMs, once, data }: AcquireRequest): Promise<StoreAnswer> {
    return this.#update(key, (old) => {
      const free = old === undefined || (old.expiresAt <= now && old.lockId !== lockId && old.releasedBy !== lockId);
      if (!free || isDone(once, old?.doneToken)) return undefined;
      return {
        ...old,
        key,
        lockId,
        owner,
        expiresAt: until,
        acquiredAt: now,
        leaseMs,
        fencingToken: (old?.fencingToken ?? now) + 1,
        previousLockId: old?.lockId,
        previousOwner: old?.owner,
        previousAcquiredAt: old?.acquiredAt ?? 0,
        previousExpiresAt: old?.expiresAt ?? 0,
        data,
      };
    });
  }

  async renew({ key, lockId, until }: RenewRequest): Promise<StoreAnswer> {
    return this.#updateOf(key, lockId, (old) => (old.expiresAt <= until ? { ...old, expiresAt: until } : undefined));
  }

  async release({ key, lockId, holdAtLeastMs, doneToken }: ReleaseRequest): Promise<StoreAnswer> {
    return this.#updateOf(key, lockId, (old) => ({
      ...ended(old),
      releasedBy: lockId,
      expiresAt: old.acquiredAt + Math.max(1, holdAtLeastMs),
      doneToken: doneToken ?? old.doneToken,
    }));
  }

  async giveBack({ key, lockId, fencingToken, now, previous }: GiveBackRequest): Promise<StoreAnswer> {
    return this.#updateOf(key, lockId, (old) => {
      if (old.fencingToken !== fencingToken) return undefined;
      return {
        ...ended(old),
        releasedBy: lockId,
        lockId: previous.lockId || undefined,
        owner: previous.owner || old.owner,
        acquiredAt: previous.acquiredAt || now,
        expiresAt: previous.expiresAt || now,
      };
    });
  }

  async resume({ key, handed, lockId, owner, until, leaseMs }: ResumeRequest): Promise<StoreAnswer> {
    return this.#updateOf(key, handed, (old) => {
      if (old.acquiredAt >= until) return undefined;
      return { ...old, lockId, owner, expiresAt: until, leaseMs, fencingToken: old.fencingToken + 1 };
    });
  }

  async forceRelease({ key, lockId, immediately }: ForceReleaseRequest): Promise<StoreAnswer> {
    return this.#updateOf(key, lockId, (old) => ({
      ...ended(old),
      releasedBy: lockId,
      expiresAt: immediately ? old.acquiredAt + 2 : old.expiresAt,
    }));
  }

  async read(key: string): Promise<ReadAnswer> {
    return { record: this.#records.get(key), serverDate: this.#date() };
  }

  async readMany(keys: readonly string[]): Promise<ReadManyAnswer> {
    const records = keys.flatMap((key) => this.#records.get(key) ?? []);
    return { records, unprocessed: [], serverDate: this.#date() };
  }

  async *list(prefix: string): AsyncIterable<LockRecord> {
    for (const record of [...this.#records.values()]) if (record.key.startsWith(prefix)) yield record;
  }

  #updateOf(key: string, lockId: string, change: (old: LockRecord) => LockRecord | undefined): StoreAnswer {
    return this.#update(key, (old) => (old !== undefined && old.lockId === lockId ? change(old) : undefined));
  }

  /** Judges and applies one write: `change` gives the record as it is to be, or undefined to refuse. */
  #update(key: string, change: (old: LockRecord | undefined) => LockRecord | undefined): StoreAnswer {
    const old = this.#records.get(key);
    const changed = change(old);
    if (changed !== undefined) this.#records.set(key, changed);
    return { applied: changed !== undefined, record: changed ?? old, serverDate: this.#date() };
  }

  #date(): number | undefined {
    return this.#clock && Math.floor(this.#clock.now() / 1000) * 1000;
  }
}

/** A record without its grant and what that had taken over. */
const ended = (record: LockRecord): LockRecord => ({
  ...record,
  lockId: undefined,
  previousLockId: undefined,
  previousOwner: undefined,
  previousAcquiredAt: undefined,
  previousExpiresAt: undefined,
});
