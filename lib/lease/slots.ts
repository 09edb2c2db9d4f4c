import { fresher, type LockRecord } from '../record/record.ts';
import { slotKeys } from '../record/slot-keys.ts';
import type { ReadManyAnswer } from '../record/store.ts';

/** The most keys of which a client remembers slots. A key that is forgotten costs a write or a look more. */
const MOST_KEYS = 1_000;

/** The most writes of one try. More would take the write capacity that the holders' heartbeats need. */
const MOST_WRITES = 3;
/** The place of a lease: the key that the caller gave, and the slot. There is no slot without `permits`. */
export interface Place {
  readonly key: string;
  readonly slot?: number | undefined;
}

/**
 * The slots of one key, as one call to acquire knows them. A look may be older than what is known, and may leave slots out:
 * such a slot is taken for closed until a later look.
 */
export class Slots {
  /** The keys of the records. */
  readonly keys: readonly string[];
  readonly #key: string;
  readonly #memory: SlotMemory;
  readonly #isOpen: (record: LockRecord) => boolean;
  readonly #known = new Map<string, LockRecord>();
  #leftOut: ReadonlySet<string> = new Set();
  /** The records that this try has asked for. */
  readonly #asked = new Set<string>();
  #needsLook = true;
  #hasLooked = false;

  /** @param isOpen tells whether a write on this record is worthwhile now. */
  constructor(key: string, permits: number, memory: SlotMemory, isOpen: (record: LockRecord) => boolean) {
    this.keys = slotKeys(key, permits);
    this.#key = key;
    this.#memory = memory;
    this.#isOpen = isOpen;
  }

  /**
   * Begins a try.
   * @returns the key of the first record to ask for. After a look during the wait: a random slot that looks free. Else the
   *   slot that this client had last, or else a random slot. Undefined if the last answer for this key was busy: a look comes first.
   */
  begin(): string | undefined {
    this.#asked.clear();
    this.#needsLook = !this.#hasLooked;
    this.#hasLooked = false;
    if (!this.#needsLook) return this.next();
    const last = this.#memory.next(this.#key, this.keys.length);
    return last === 'look' ? undefined : this.keys[last ?? Math.floor(Math.random() * this.keys.length)];
  }

  /** True if this try has not looked yet, and may write once more. */
  get needsLook(): boolean {
    return this.#needsLook && this.#asked.size < MOST_WRITES;
  }

  /**
   * The next record to ask for: a random slot that looks free. So callers that look at the same moment spread over the slots.
   * Undefined if none looks free, or after the last write of the try.
   */
  next(): string | undefined {
    if (this.#asked.size >= MOST_WRITES) return undefined;
    const free = this.#free.filter((key) => !this.#asked.has(key));
    return free[Math.floor(Math.random() * free.length)];
  }

  /** Learns from a look at all slots. */
  saw({ records, unprocessed }: ReadManyAnswer): void {
    this.#hasLooked = true;
    this.#needsLook = false;
    this.#leftOut = new Set(unprocessed);
    for (const record of records) {
      const known = this.#known.get(record.key);
      this.#known.set(record.key, known === undefined ? record : fresher(known, record));
    }
  }

  /** Learns from a refusal, which shows the record as it stands. */
  refused(key: string, record: LockRecord): void {
    this.#asked.add(key);
    this.#hasLooked = false;
    this.#known.set(key, record);
  }

  /** The records that are known to be closed, in the order of the slots. */
  get closed(): LockRecord[] {
    return this.keys.flatMap((key) => {
      const record = this.#known.get(key);
      return record !== undefined && !this.#isOpen(record) ? [record] : [];
    });
  }

  /** The closed record that opens first. If none is closed any more, the record that opened first. */
  get soonest(): LockRecord | undefined {
    const first = (records: LockRecord[]) => records.sort((a, b) => a.expiresAt - b.expiresAt)[0];
    return first(this.closed) ?? first([...this.#known.values()]);
  }

  get hasFree(): boolean {
    return this.#free.length > 0;
  }

  get #free(): string[] {
    return this.keys.filter((key) => {
      const record = this.#known.get(key);
      return !this.#leftOut.has(key) && (record === undefined || this.#isOpen(record));
    });
  }
}

/** The slots of a key that are worth asking for first. */
interface Remembered {
  /** The slots whose leases have ended, the last at the end. */
  readonly ended: number[];
  /** True after a busy answer, until a grant. */
  isFull: boolean;
}

/**
 * The slots that a client had last, by key. A worker that comes back to its own slot meets nobody there: a cycle is two
 * writes. Several workers of one client have a slot each. The memory knows of slots and of no grant (invariant 11): the
 * store judges every write as if there were no memory.
 */
export class SlotMemory {
  /** The key that was used last stands at the end. */
  readonly #keys = new Map<string, Remembered>();

  /** The slot to ask for first, which is no longer remembered; `look` after a busy answer; undefined if none is known. */
  next(key: string, permits: number): number | 'look' | undefined {
    const remembered = this.#keys.get(key);
    if (remembered?.isFull) return 'look';
    const { ended = [] } = remembered ?? {};
    // The number of permits may have been lowered.
    for (let slot = ended.pop(); slot !== undefined; slot = ended.pop()) if (slot < permits) return slot;
    return undefined;
  }

  /** The lease of a slot has ended. */
  ended(key: string, slot: number): void {
    const { ended } = this.#touch(key);
    const at = ended.indexOf(slot);
    if (at >= 0) ended.splice(at, 1);
    ended.push(slot);
  }

  /** The last answer for a key was busy, or a grant. */
  answered(key: string, isFull: boolean): void {
    this.#touch(key).isFull = isFull;
  }

  #touch(key: string): Remembered {
    const remembered = this.#keys.get(key) ?? { ended: [], isFull: false };
    this.#keys.delete(key);
    this.#keys.set(key, remembered);
    const [oldest] = this.#keys.keys();
    if (this.#keys.size > MOST_KEYS && oldest !== undefined) this.#keys.delete(oldest);
    return remembered;
  }
}
