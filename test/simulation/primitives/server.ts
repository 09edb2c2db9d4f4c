/** A server of many locks, and the two kinds of stores on it: one whose server judges, and one that swaps objects. */

import { LockStoreError } from '../../../lib/record/errors.ts';
import type { LockRecord } from '../../../lib/record/record.ts';
import type { LockStore, ReadAnswer, StoreAnswer } from '../../../lib/record/store.ts';
import type { Entry } from '../../../lib/swap/entry.ts';
import { type KeyPage, type Loaded, type Swapped, SwapStore } from '../../../lib/swap/swap-store.ts';
import { MemoryLockStore } from '../../../lib/testing/memory.ts';
import { broken, carry, type Way } from '../network.ts';
import type { Fate } from '../schedule.ts';
import type { Host, VirtualTime } from '../virtual-time.ts';

type Write = Exclude<keyof MemoryLockStore, 'read' | 'readMany' | 'list' | 'clear'>;

interface StoredObject {
  readonly entry: Entry;
  readonly version: number;
}

/** The records, or the objects, of all locks. The fates are those of the requests, in the order of sending. */
export class LocksServer implements Way {
  readonly time: VirtualTime;
  readonly memory: MemoryLockStore;
  readonly #fates: Fate[];
  readonly #objects = new Map<string, StoredObject>();
  readonly #past = new Map<string, { readonly since: number; readonly record: LockRecord | undefined }[]>();
  #versions = 0;

  constructor(time: VirtualTime, fates: readonly Fate[]) {
    this.time = time;
    this.memory = new MemoryLockStore({ clock: time });
    this.#fates = [...fates];
  }

  nextFate(): Fate {
    return this.#fates.shift() ?? { do: 'travel', thereMs: 3, backMs: 3, againMs: 0 };
  }

  /** Ends the disturbances of the network. */
  heal(): void {
    this.#fates.length = 0;
  }

  /** The present record of a lock. */
  recordOf(key: string): LockRecord | undefined {
    return this.#past.get(key)?.at(-1)?.record;
  }

  /** The record that an eventually consistent read may show, `lagMs` after the record stood. */
  pastOf(key: string, lagMs: number): LockRecord | undefined {
    return this.#past.get(key)?.findLast(({ since }) => since <= this.time.now() - lagMs)?.record;
  }

  async judge(operation: Write, request: { readonly key: string }): Promise<StoreAnswer> {
    const answer = await this.memory[operation](request as never);
    if (answer.applied) this.#wrote(request.key, answer.record);
    return answer;
  }

  objectOf(key: string): StoredObject | undefined {
    return this.#objects.get(key);
  }

  /** Swaps an object for its next version, if the version `seen` still stands. */
  swap(key: string, entry: Entry, seen: number | undefined): number | undefined {
    if (this.#objects.get(key)?.version !== seen) return undefined;
    const version = ++this.#versions;
    this.#objects.set(key, { entry, version });
    this.#wrote(key, entry.record);
    return version;
  }

  get date(): number {
    return Math.floor(this.time.now() / 1_000) * 1_000;
  }

  #wrote(key: string, record: LockRecord | undefined): void {
    const past = this.#past.get(key) ?? [];
    past.push({ since: this.time.now(), record });
    this.#past.set(key, past);
  }
}

/** The store of one host, whose requests the server judges. */
export function judgedStore(server: LocksServer, host: Host): LockStore {
  const send = (operation: Write) => (request: { readonly key: string }) =>
    carry<StoreAnswer>(server, host, {
      judge: () => server.judge(operation, request),
      resent: (answer) => ({ ...answer, maybeAppliedBefore: true }),
      conflict: () => {
        throw new LockStoreError('Another transaction.', { transient: true, conflict: true });
      },
    });
  const look = <Answer>(answer: (lagMs: number) => Answer) =>
    carry<Answer>(server, host, { judge: answer, resent: (said) => said, conflict: broken });
  return {
    acquire: send('acquire'),
    renew: send('renew'),
    release: send('release'),
    giveBack: send('giveBack'),
    resume: send('resume'),
    forceRelease: send('forceRelease'),
    repair: send('repair'),
    commit: send('commit'),
    ask: send('ask'),
    turn: send('turn'),
    read: (key, { consistent }) =>
      look(
        (lagMs): ReadAnswer => ({
          record: server.pastOf(key, consistent ? 0 : lagMs),
          serverDate: server.date,
        }),
      ),
    readMany: (keys) =>
      look((lagMs) => ({
        records: keys.flatMap((key) => server.pastOf(key, lagMs) ?? []),
        unprocessed: [],
        serverDate: server.date,
      })),
    list: async () => ({ records: [] }),
  };
}

/** The store of one host that judges by itself, and swaps objects. */
export class SwappingStore extends SwapStore<number> {
  readonly #server: LocksServer;
  readonly #host: Host;

  constructor(server: LocksServer, host: Host) {
    super();
    this.#server = server;
    this.#host = host;
  }

  protected override load(key: string): Promise<Loaded<number>> {
    return carry<Loaded<number>>(this.#server, this.#host, {
      judge: () => ({ ...this.#server.objectOf(key), serverDate: this.#server.date }),
      resent: (answer) => answer,
      conflict: broken,
    });
  }

  protected override swap(key: string, entry: Entry, seen: number | undefined): Promise<Swapped<number>> {
    return carry<Swapped<number>>(this.#server, this.#host, {
      judge: () => ({ version: this.#server.swap(key, entry, seen), serverDate: this.#server.date }),
      resent: (answer) => ({ ...answer, maybeApplied: true }),
      conflict: () => ({ serverDate: this.#server.date }),
    });
  }

  protected override async keys(): Promise<KeyPage> {
    return { keys: [] };
  }
}
