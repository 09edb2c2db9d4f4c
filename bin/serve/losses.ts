/** The leases and records that were lost in the last hour, as far as records tell. */
import type { Clock } from '../../lib/index.ts';
import type { Seen } from './seen.ts';

/** Something that was lost. */
export interface Loss {
  /**
   * - `expired`: a lease expired without a release.
   * - `forced`: an operator ended the grant.
   * - `damaged`: somebody has changed the record.
   * - `deleted`: the record of a lock that was held is gone.
   */
  readonly type: 'expired' | 'forced' | 'damaged' | 'deleted';
  readonly key: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** The holder that lost its lease. */
  readonly owner: string | undefined;
  /** The holder that came after the expiry. */
  readonly takenOverBy?: string | undefined;
  /** The fault of the record. */
  readonly flaw?: string | undefined;
}

const HOUR_MS = 3_600_000;
/** The most losses that are kept: the rest of a bad hour tells nothing new. */
const MOST = 1_000;
/** A read of DynamoDB's may be older than the read before it, and so miss a record that is younger than this. */
const YOUNG_MS = 5_000;

/**
 * Learns of losses from one look at the store to the next. A record itself tells of a lease that expired, and of a takeover.
 * So the losses begin with those that the first look finds.
 */
export class Losses {
  /** By the grant that was lost, so that a look that finds a loss again counts nothing twice. */
  readonly #losses = new Map<string, Loss>();
  /** The grants that this page ended. */
  readonly #endedHere = new Set<string>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Learns that an operator ended a grant on this page. */
  ended(lockId: string): void {
    this.#endedHere.add(lockId);
  }

  /** Compares a look at the store with the look before. */
  learn(before: ReadonlyMap<string, Seen>, locks: ReadonlyMap<string, Seen>, isWhole: boolean): void {
    for (const lock of locks.values()) this.#learnOf(before.get(lock.key), lock);
    if (isWhole) for (const lock of before.values()) if (!locks.has(lock.key)) this.#learnOfAbsent(lock);
    this.#forget();
  }

  /** The losses of the last hour, the newest first. */
  recent(): readonly Loss[] {
    const since = this.#clock.now() - HOUR_MS;
    return [...this.#losses.values()].filter(({ at }) => at >= since).sort((a, b) => b.at - a.at);
  }

  #learnOf(before: Seen | undefined, lock: Seen): void {
    const { key, word, owner, lockId, flaw, tookOver } = lock;
    if (word === 'bad') {
      // A record that was damaged before this page began may have been damaged at any time.
      if (before !== undefined && before.word !== 'bad') {
        this.#add(`${key} ${flaw}`, { type: 'damaged', key, at: this.#clock.now(), owner, flaw });
      }
      return;
    }
    if (word === 'expired' && lockId !== undefined) {
      this.#add(lockId, { type: 'expired', key, at: lock.expiresAt, owner });
    }
    if (tookOver?.type === 'lease') {
      const lost = { type: 'expired', key, at: tookOver.expiresAt, owner: tookOver.owner } as const;
      this.#add(tookOver.lockId, { ...lost, takenOverBy: owner });
    }
    if (before?.lockId !== undefined && lock.releasedBy === before.lockId && this.#wasForced(before, lock)) {
      this.#add(before.lockId, { type: 'forced', key, at: this.#clock.now(), owner: before.owner });
    }
  }

  /**
   * Tells whether an operator ended the grant, and not its holder:
   * - this page ended the grant; or
   * - the lock opened 2 ms after the acquisition, as a forced release with `immediately` writes; or
   * - the expiry is still that of a renewed lease. A holder's release counts `holdAtLeastMs` from the acquisition, which may
   *   leave the expiry of a lease that was never renewed. So such an expiry tells nothing.
   */
  #wasForced(before: Seen, lock: Seen): boolean {
    if (this.#endedHere.has(before.lockId as string)) return true;
    const left = lock.lockId === undefined ? lock : lock.tookOver?.type === 'closed' ? lock.tookOver : undefined;
    if (left === undefined || left.acquiredAt !== before.acquiredAt) return false;
    const wasRenewed = before.expiresAt !== before.acquiredAt + before.leaseMs;
    return left.expiresAt === left.acquiredAt + 2 || (wasRenewed && left.expiresAt === before.expiresAt);
  }

  #learnOfAbsent({ key, word, owner, lockId, opensInMs, at, storeNow, acquiredAt }: Seen): void {
    const isStillHeld = word === 'held' && opensInMs > this.#clock.monotonic() - at;
    if (!isStillHeld || storeNow - acquiredAt < YOUNG_MS) return;
    this.#add(lockId as string, { type: 'deleted', key, at: this.#clock.now(), owner });
  }

  /** A takeover tells more of a lease that is known to have expired. Any other loss is told once. */
  #add(grant: string, loss: Loss): void {
    if (loss.at < this.#clock.now() - HOUR_MS) return;
    if (!this.#losses.has(grant) || loss.takenOverBy !== undefined) this.#losses.set(grant, loss);
  }

  #forget(): void {
    const since = this.#clock.now() - HOUR_MS;
    for (const [grant, { at }] of this.#losses) {
      if (at < since || this.#losses.size > MOST) this.#losses.delete(grant);
    }
    if (this.#endedHere.size > MOST) this.#endedHere.clear();
  }
}
