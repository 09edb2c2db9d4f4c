import type { Lease } from '../lib/lease/lease.ts';
import type { LeaseClient } from '../lib/lease/lease-client.ts';
import type { AcquireOptions } from '../lib/lease/options.ts';
import { LockDoneError, LockTokenError } from '../lib/record/errors.ts';
import { canonicalToken, isDone, shownToken } from '../lib/record/token.ts';
import { assertOneForm, type Entry, isOpen } from './batch-records.ts';

/** The lock of one key, which the key's records of a batch share. */
export class KeyLock<Item> {
  readonly key: string;
  /** In the batch's order, and with growing tokens. */
  readonly entries: readonly Entry<Item>[];
  lease?: Lease;
  /** True once the lease is being released: all entries have been worked on, or the handler has ended. */
  ended = false;
  /** The entry whose token the lease was acquired with: the greatest. */
  #last: Entry<Item> | undefined;

  constructor(key: string, entries: readonly Entry<Item>[]) {
    this.key = key;
    this.entries = entries;
  }

  /** The entries whose end is not known yet. */
  get open(): Entry<Item>[] {
    return this.entries.filter(isOpen);
  }

  /**
   * Acquires the lock for the open entries. Entries whose tokens had finished before become `done`.
   * @param fail is told each entry that fails alone: the token that had finished has another form than the entry's.
   */
  async acquire(
    client: LeaseClient,
    options: AcquireOptions,
    fail: (entry: Entry<Item>, error: unknown) => void,
  ): Promise<void> {
    this.#last = this.open.at(-1);
    const once = shownToken(this.#last?.token);
    try {
      this.lease = await client.acquire(this.key, { ...options, ...(once !== undefined && { once }) });
      this.#judge(this.lease.doneToken, fail);
    } catch (error) {
      if (!(error instanceof LockDoneError || error instanceof LockTokenError)) throw error;
      this.#judge(error.doneToken, fail);
      if (this.open.length > 0) throw error;
    }
  }

  /** Judges each open entry by the token that had finished. */
  #judge(finished: string | undefined, fail: (entry: Entry<Item>, error: unknown) => void): void {
    for (const entry of this.open) {
      try {
        const doneToken = finished === undefined ? undefined : canonicalToken(finished);
        if (!isDone(entry.token, doneToken)) continue;
        assertOneForm(this.key, entry.token as string, doneToken);
        entry.state = 'done';
      } catch (error) {
        fail(entry, error);
      }
    }
  }

  /**
   * Releases the lease. Done is the greatest token up to which no record has failed: with a later token, nobody would
   * work on the failed record again.
   * @param isUnused whether no work on the entries can have begun.
   */
  async end(withinMs: number, isUnused: boolean): Promise<void> {
    this.ended = true;
    const failed = this.entries.findIndex(({ state }) => state === 'open' || state === 'failed');
    const finished = failed < 0 ? this.entries : this.entries.slice(0, failed);
    const done = finished.findLast(({ state }) => state === 'succeeded');
    if (isUnused && done === undefined) await this.lease?.discard(withinMs);
    else {
      // The tokens of a batch may have two forms, and their order by bytes is known.
      const part = done !== undefined && (done === this.#last || (done.token ?? false));
      await this.lease?.releasePart(part, withinMs);
    }
  }
}
