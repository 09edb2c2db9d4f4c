import type { LockStoreError } from '../record/errors.ts';
import { Recent } from '../record/recent.ts';
import { fresher, type LockRecord } from '../record/record.ts';
import { slotKey, slotKeys, slotOf } from '../record/slot-keys.ts';
import type { ReadManyAnswer } from '../record/store.ts';
import type { OwnLeases } from './own-leases.ts';

/** The most keys of which a client remembers slots. A key that is forgotten costs a write or a look more. */
const MOST_KEYS = 1_000;

/** The most writes of one try. More would take the write capacity that the holders' heartbeats need. */
const MOST_WRITES = 3;

/** The place of a lease: the key that the caller gave, and the slot. There is no slot without `permits`. */
export interface Place {
  readonly key: string;
  readonly slot?: number | undefined;
}

interface SlotContext {
  readonly slots: SlotMemory;
  readonly leases: OwnLeases;
}

/** The rights of a call in a line. */
export interface SlotRights {
  /** True for the call that looks at the lock for the whole line. Any other call writes once, and returns to the line. */
  readonly isFirst: boolean;
  /** Tells whether the call may ask for a slot. */
  mayAsk(key: string): boolean;
  /** Tells whether a slot is worth a write before a look: no call of the line was refused. */
  looksOpen(key: string): boolean;
}

const ALONE: SlotRights = { isFirst: true, mayAsk: () => true, looksOpen: () => true };

/**
 * The slots of one key, as one call to acquire knows them. A look may be older than what is known, and may leave slots out:
 * such a slot is taken for closed until a later look.
 */
export class Slots {
  /** The keys of the records. */
  readonly keys: readonly string[];
  /** The error for a damaged record. */
  damage: LockStoreError | undefined;
  readonly #key: string;
  readonly #context: SlotContext;
  readonly #isOpen: (record: LockRecord) => boolean;
  readonly #known = new Map<string, LockRecord>();
  readonly #damaged = new Set<string>();
  #leftOut: ReadonlySet<string> = new Set();
  /** The records that this try has asked for. */
  readonly #tried = new Set<string>();
  #needsLook = true;
  #hasLooked = false;
  #rights = ALONE;
  #mostWrites = MOST_WRITES;

  /** @param isOpen tells whether a write on this record is worthwhile now. */
  constructor(key: string, permits: number, context: SlotContext, isOpen: (record: LockRecord) => boolean) {
    this.keys = slotKeys(key, permits);
    this.#key = key;
    this.#context = context;
    this.#isOpen = isOpen;
  }

  /**
   * Begins a try.
   * @param isWoken true if a lease of this client has ended since the last try: its slot comes first, and no look.
   * @param rights the rights of a call that stands in a line.
   * @returns the key of the first record to ask for. After a look during the wait: a random slot that looks free. Else the
   *   slot that this client had last, or else a random slot. Undefined if the last answer for this key was busy: a look comes
   *   first. Undefined also if calls of this client have, or ask for, all slots.
   */
  begin(isWoken: boolean, rights = ALONE): string | undefined {
    const { isFirst } = rights;
    const isBlind = isWoken || !this.#hasLooked;
    this.#rights = rights;
    this.#mostWrites = isFirst ? MOST_WRITES : 1;
    this.#needsLook = isBlind;
    this.#hasLooked = false;
    this.#tried.clear();
    if (!isBlind) return this.next();
    const askable = this.#askable;
    const last = this.#context.slots.next(this.#key, (slot) => askable.includes(slotKey(this.#key, slot)));
    if (last === 'look' && isFirst) return undefined;
    if (typeof last === 'number') return slotKey(this.#key, last);
    const open = oneOf(this.#free.filter((key) => rights.looksOpen(key)));
    return open ?? (isFirst ? undefined : oneOf(this.#free));
  }

  /** Runs the request for a slot. Meanwhile the slot is worth no write of another call of this client. */
  async asking<Answer>(key: string, ask: () => Promise<Answer>): Promise<Answer> {
    const { asked } = this.#context.leases;
    asked.add(key);
    try {
      return await ask();
    } finally {
      asked.delete(key);
    }
  }

  /** True if this try has not looked yet, may write once more, and a slot is left to write to. */
  get needsLook(): boolean {
    return this.#needsLook && this.#tried.size < this.#mostWrites && this.#askable.some((key) => !this.#tried.has(key));
  }

  /**
   * The next record to ask for: a random slot that looks free. So callers that look at the same moment spread over the slots.
   * Undefined if none looks free, or after the last write of the try.
   */
  next(): string | undefined {
    return this.#tried.size < this.#mostWrites ? oneOf(this.#free.filter((key) => !this.#tried.has(key))) : undefined;
  }

  /** Learns from a look at all slots. */
  saw({ records, unprocessed }: ReadManyAnswer): void {
    this.#hasLooked = true;
    this.#needsLook = false;
    this.#leftOut = new Set(unprocessed);
    for (const record of records) {
      const known = this.#known.get(record.key);
      this.#known.set(record.key, known === undefined ? record : fresher(known, record));
      if (!this.#isOpen(record)) this.#context.slots.forget(this.#key, slotOf(this.#key, record.key));
    }
  }

  /** Learns from a refusal, which shows the record as it stands. */
  refused(key: string, record: LockRecord): void {
    this.#tried.add(key);
    this.#hasLooked = false;
    this.#known.set(key, record);
  }

  /**
   * Learns of a request that failed.
   * @param damage the error for a record that somebody has changed, which is worth no further write of this call.
   */
  failed(key: string, damage?: LockStoreError): void {
    this.damage ??= damage;
    (damage ? this.#damaged : this.#tried).add(key);
    this.#hasLooked = false;
  }

  /** The records that are known, in the order of the slots. Of its own leases, a client knows them without a request. */
  get records(): LockRecord[] {
    return this.keys.flatMap((key) => this.#context.leases.of(key)?.record ?? this.#known.get(key) ?? []);
  }

  /** True if no slot can be granted before somebody repairs a record. */
  get areAllDamaged(): boolean {
    return this.#damaged.size === this.keys.length;
  }

  get hasFree(): boolean {
    return this.#free.length > 0;
  }

  get #free(): string[] {
    return this.#askable.filter((key) => {
      const record = this.#known.get(key);
      return !this.#leftOut.has(key) && (record === undefined || this.#isOpen(record));
    });
  }

  /**
   * The slots that no call of this client has or asks for. If all are asked for, and nobody knows of a record, any may be
   * asked for: a busy answer names a record.
   */
  get #askable(): string[] {
    const { leases } = this.#context;
    const left = this.keys.filter((key) => !leases.of(key)?.isHeld() && !this.#damaged.has(key));
    const askable = left.filter((key) => !leases.asked.has(key) && this.#rights.mayAsk(key));
    return askable.length > 0 || this.records.length > 0 ? askable : left;
  }
}

const oneOf = (keys: readonly string[]): string | undefined => keys[Math.floor(Math.random() * keys.length)];

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
  readonly #keys = new Recent<string, Remembered>(MOST_KEYS);

  /**
   * The slot to ask for first, which is no longer remembered; `look` after a busy answer; undefined if none is known.
   * @param isAskable tells whether a slot is worth a write. The number of permits may have been lowered.
   */
  next(key: string, isAskable: (slot: number) => boolean): number | 'look' | undefined {
    const { ended = [], isFull = false } = this.#keys.get(key) ?? {};
    const at = ended.findLastIndex(isAskable);
    return at >= 0 ? ended.splice(at, 1)[0] : isFull ? 'look' : undefined;
  }

  /** The lease of a slot has ended. */
  ended(key: string, slot: number): void {
    this.forget(key, slot);
    this.#touch(key).ended.push(slot);
  }

  /** A slot has another holder. */
  forget(key: string, slot: number): void {
    const ended = this.#keys.get(key)?.ended;
    const at = ended?.indexOf(slot) ?? -1;
    if (at >= 0) ended?.splice(at, 1);
  }

  /** The last answer for a key was busy, or a grant. */
  answered(key: string, isFull: boolean): void {
    this.#touch(key).isFull = isFull;
  }

  #touch(key: string): Remembered {
    const remembered = this.#keys.get(key) ?? { ended: [], isFull: false };
    this.#keys.set(key, remembered);
    return remembered;
  }
}
