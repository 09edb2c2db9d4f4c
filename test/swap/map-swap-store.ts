import { LockStoreError } from '../../lib/record/errors.ts';
import type { LockRecord } from '../../lib/record/record.ts';
import { decode, type Entry, encode } from '../../lib/swap/entry.ts';
import { type KeyPage, type Loaded, type Swapped, SwapStore } from '../../lib/swap/swap-store.ts';

/** The fate of one swap. */
export type Fate =
  /** The swap is applied, its answer is lost, and the client that sent it again is told that it missed. */
  | 'resent'
  /** As `resent`, and another host's write came between the two sendings. */
  | 'resentAndOvertaken'
  /** The swap is applied, and nobody hears of it. */
  | 'answerLost'
  /** The swap is not applied, and nobody hears of it. */
  | 'requestLost'
  /** Another host's write comes just before the swap. */
  | 'raced';

interface Stored {
  readonly text: string;
  readonly version: number;
}

/** Objects on a server that all stores of a test share. */
export class Objects {
  readonly #objects = new Map<string, Stored>();
  #versions = 0;

  get(key: string): Stored | undefined {
    return this.#objects.get(key);
  }

  put(key: string, text: string): number {
    const version = ++this.#versions;
    this.#objects.set(key, { text, version });
    return version;
  }

  /** Writes the same record anew, under a writeId of another host, or changes the record. */
  overtake(key: string, change: (record: LockRecord) => LockRecord = (record) => record): void {
    const { text = '' } = this.get(key) ?? {};
    if (text === '') return;
    this.put(key, encode({ writeId: 'of another host', record: change(decode(text, key, 'x').record) }));
  }

  get keys(): string[] {
    return [...this.#objects.keys()].sort();
  }
}

/** A store that swaps objects in a `Map`. Logs its requests, and disturbs the next swaps as `fates` says. */
export class MapSwapStore extends SwapStore<number> {
  readonly objects: Objects;
  readonly requests: string[] = [];
  readonly fates: (Fate | undefined)[] = [];
  /** Called between a reading, or before a swap, and its effect. */
  before: ((what: 'load' | 'swap', key: string) => unknown) | undefined;
  readonly #pageSize: number;

  constructor(objects = new Objects(), pageSize = 2) {
    super();
    this.objects = objects;
    this.#pageSize = pageSize;
  }

  /** The requests since the last call. */
  get asked(): string {
    return this.requests.splice(0).join(' ');
  }

  protected async load(key: string, { dated }: { dated: boolean }, signal?: AbortSignal): Promise<Loaded<number>> {
    signal?.throwIfAborted();
    this.requests.push('load');
    await this.before?.('load', key);
    const stored = this.objects.get(key);
    const date = dated ? { serverDate: Math.floor(Date.now() / 1_000) * 1_000 } : {};
    return stored ? { entry: decode(stored.text, key, `the object '${key}'`), version: stored.version, ...date } : date;
  }

  protected async swap(key: string, entry: Entry, seen: number | undefined): Promise<Swapped<number>> {
    this.requests.push('swap');
    await this.before?.('swap', key);
    const { objects } = this;
    const serverDate = Math.floor(Date.now() / 1_000) * 1_000;
    const fate = this.fates.shift();
    const lost = () => new LockStoreError('The connection broke.', { transient: true });
    if (fate === 'requestLost') throw lost();
    if (fate === 'raced') objects.overtake(key);
    if (objects.get(key)?.version !== seen) return { serverDate, maybeApplied: false };
    const version = objects.put(key, encode(entry));
    if (fate === 'answerLost') throw lost();
    if (fate === 'resentAndOvertaken') objects.overtake(key);
    if (fate === 'resent' || fate === 'resentAndOvertaken') return { serverDate, maybeApplied: true };
    return { version, serverDate };
  }

  protected async keys(prefix: string, cursor: unknown): Promise<KeyPage> {
    const from = Number(cursor ?? 0);
    const all = this.objects.keys.filter((key) => key.startsWith(prefix));
    const to = from + this.#pageSize;
    return { keys: all.slice(from, to), ...(to < all.length && { cursor: to }) };
  }
}
