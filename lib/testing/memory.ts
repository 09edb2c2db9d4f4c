import { IN_MEMORY } from '../lease/store-in-tests.ts';
import { checkNames } from '../record/check.ts';
import type { LockRecord } from '../record/record.ts';
import type {
  AcquireRequest,
  AskRequest,
  CommitRequest,
  ForceReleaseRequest,
  GiveBackRequest,
  ListAnswer,
  LockStore,
  ReadAnswer,
  ReadManyAnswer,
  ReleaseRequest,
  RenewRequest,
  RepairRequest,
  ResumeRequest,
  StoreAnswer,
  TurnRequest,
} from '../record/store.ts';
import * as transitions from '../record/transitions.ts';

/**
 * A store that keeps locks in this process's memory, under the same conditions as DynamoDB. For unit tests of code that uses
 * a lock.
 * @example
 * ```ts
 * import { LockClient } from 'leasehold';
 * import { FakeClock, MemoryLockStore } from 'leasehold/testing';
 *
 * const clock = new FakeClock();
 * export const locks = new LockClient({ store: new MemoryLockStore({ clock }), clock });
 * ```
 */
export class MemoryLockStore implements LockStore {
  readonly #records = new Map<string, LockRecord>();
  readonly #clock: { now(): number } | undefined;

  /**
   * @param options.clock the server's clock. Default: none. Then answers have no date, and the client's clock is believed.
   * @throws TypeError if an option is unknown.
   */
  constructor(options: { readonly clock?: { now(): number } } = {}) {
    checkNames('MemoryLockStore', options, { clock: 0 });
    this.#clock = options.clock;
    // A client that is given such a store keeps it, also in a test that has installed another one.
    Object.defineProperty(this, IN_MEMORY, { value: true });
  }

  /** Forgets every lock. A lease that is held is lost at its next renewal. */
  clear(): void {
    this.#records.clear();
  }

  async acquire(request: AcquireRequest): Promise<StoreAnswer> {
    return this.#write(transitions.acquire, request);
  }

  async renew(request: RenewRequest): Promise<StoreAnswer> {
    return this.#write(transitions.renew, request);
  }

  async release(request: ReleaseRequest): Promise<StoreAnswer> {
    return this.#write(transitions.release, request);
  }

  async giveBack(request: GiveBackRequest): Promise<StoreAnswer> {
    return this.#write(transitions.giveBack, request);
  }

  async resume(request: ResumeRequest): Promise<StoreAnswer> {
    return this.#write(transitions.resume, request);
  }

  async forceRelease(request: ForceReleaseRequest): Promise<StoreAnswer> {
    return this.#write(transitions.forceRelease, request);
  }

  async repair(request: RepairRequest): Promise<StoreAnswer> {
    return this.#write(transitions.repair, request);
  }

  async commit(request: CommitRequest): Promise<StoreAnswer> {
    return this.#write(transitions.commit, request);
  }

  async ask(request: AskRequest): Promise<StoreAnswer> {
    return this.#write(transitions.ask, request);
  }

  async turn(request: TurnRequest): Promise<StoreAnswer> {
    return this.#write(transitions.turn, request);
  }

  async read(key: string): Promise<ReadAnswer> {
    return { record: this.#records.get(key), serverDate: this.#date() };
  }

  async readMany(keys: readonly string[]): Promise<ReadManyAnswer> {
    const records = keys.flatMap((key) => this.#records.get(key) ?? []);
    return { records, unprocessed: [], serverDate: this.#date() };
  }

  async list(prefix: string): Promise<ListAnswer> {
    const records = [...this.#records.values()].filter(({ key }) => key.startsWith(prefix));
    return { records, serverDate: this.#date() };
  }

  /** Judges and applies one write in one step. */
  #write<Request extends { readonly key: string }>(
    transition: (record: LockRecord | undefined, request: Request) => LockRecord | undefined,
    request: Request,
  ): StoreAnswer {
    const old = this.#records.get(request.key);
    const changed = transition(old, request);
    if (changed !== undefined) this.#records.set(request.key, changed);
    return { applied: changed !== undefined, record: changed ?? old, serverDate: this.#date() };
  }

  #date(): number | undefined {
    return this.#clock && Math.floor(this.#clock.now() / 1000) * 1000;
  }
}
