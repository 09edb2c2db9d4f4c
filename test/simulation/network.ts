/** The network between the hosts and the server. Messages are late, lost and repeated, and overtake each other. */
import { LockStoreError } from '../../lib/record/errors.ts';
import type { LockRecord } from '../../lib/record/record.ts';
import type {
  DatedAnswer,
  ListAnswer,
  LockStore,
  ReadAnswer,
  ReadManyAnswer,
  StoreAnswer,
} from '../../lib/record/store.ts';
import type { Entry } from '../../lib/swap/entry.ts';
import { MemoryLockStore } from '../../lib/testing/memory.ts';
import { type Fate, retentionMs, type Schedule } from './schedule.ts';
import type { Happening, Host, VirtualTime } from './virtual-time.ts';

export type Operation = Exclude<
  keyof LockStore,
  | 'list'
  | 'readMany'
  | 'onEvent'
  | 'maxInFlight'
  | 'connection'
  | 'serverDateStepMs'
  | 'requestTimeoutMs'
  | 'changes'
  | 'check'
>;
export type WriteRequest = { readonly key: string; readonly lockId: string; readonly [name: string]: unknown };

/** Hears of every request. */
export interface Witness {
  sent(host: Host, operation: Operation, request: WriteRequest): void;
  judged(operation: Operation, request: WriteRequest, answer: StoreAnswer, before: LockRecord | undefined): void;
  /** A host got an answer. The record is undefined if the request was granted. */
  answered(host: Host, record: LockRecord | undefined): void;
  swept(record: LockRecord): void;
}

/** The object of the lock, for stores that swap objects. */
interface StoredObject {
  readonly entry: Entry;
  readonly version: number;
}

/** The server with its past records, and the fates of the requests. Keeps a record, or an object, of the one lock. */
export class Server {
  readonly time: VirtualTime;
  readonly witness: Witness;
  readonly #schedule: Schedule;
  readonly #fates: Fate[];
  readonly #past: { readonly since: number; readonly record: LockRecord | undefined }[] = [];
  #memory: MemoryLockStore;
  #object: StoredObject | undefined;
  #versions = 0;
  readonly #waiters = new Set<() => void>();
  /** The moment from which TTL may delete the record. */
  #ttl = 0;
  /** The delay of TTL. Undefined if TTL does nothing. */
  #lateMs: number | undefined;
  #sweeping: Happening | undefined;

  constructor(time: VirtualTime, schedule: Schedule, witness: Witness) {
    this.time = time;
    this.witness = witness;
    this.#schedule = schedule;
    this.#fates = [...schedule.fates];
    this.#memory = this.#newMemory();
  }

  #newMemory(): MemoryLockStore {
    return new MemoryLockStore(this.#schedule.dated ? { clock: this.time } : {});
  }

  nextFate(): Fate {
    return this.#fates.shift() ?? { do: 'travel', thereMs: 3, backMs: 3, againMs: 0 };
  }

  /** Ends the disturbances, at the end of a schedule. */
  heal(): void {
    this.#fates.length = 0;
  }

  get record(): LockRecord | undefined {
    return this.#past.at(-1)?.record;
  }

  async judge(operation: Operation, request: WriteRequest): Promise<StoreAnswer | ReadAnswer> {
    if (operation === 'read') return this.#memory.read(request.key);
    const before = this.record;
    const answer: StoreAnswer = await this.#memory[operation](request as never);
    if (answer.applied) this.#wrote(operation, request, answer.record);
    this.witness.judged(operation, request, answer, before);
    return answer;
  }

  get object(): StoredObject | undefined {
    return this.#object;
  }

  /** Swaps the object for its next version, if the version `seen` still stands. Gives the next version. */
  swap(operation: Operation, request: WriteRequest, entry: Entry, seen: number | undefined): number | undefined {
    if (this.#object?.version !== seen) return undefined;
    const before = this.record;
    const { record } = entry;
    this.#object = { entry, version: ++this.#versions };
    this.#wrote(operation, request, record);
    this.witness.judged(operation, request, { applied: true, record }, before);
    return this.#versions;
  }

  /**
   * Resolves when a grant ends, if the host is not cut off. In half of the schedules, stores hint so to their waiters.
   * @returns undefined in the other half.
   */
  hintsTo(host: Host): LockStore['changes'] {
    if (this.#schedule.seed % 2 === 0) return undefined;
    return (_, signal) =>
      new Promise((resolve) => {
        const hint = () => {
          if (this.time.now() >= host.cutOffUntil) this.time.after(3, () => host.whenRunning(resolve));
        };
        this.#waiters.add(hint);
        signal.addEventListener('abort', () => this.#waiters.delete(hint), { once: true });
      });
  }

  /** The steps in which the dates of objects are told: as by a file server, by a finer clock, or by HTTP. */
  get dateStepMs(): number {
    return [10, 1, 1_000][this.#schedule.seed % 3] as number;
  }

  /** The date of an object. */
  get date(): number | undefined {
    return this.#schedule.dated ? Math.floor(this.time.now() / this.dateStepMs) * this.dateStepMs : undefined;
  }

  #wrote(operation: Operation, request: WriteRequest, record: LockRecord | undefined): void {
    this.#past.push({ since: this.time.now(), record });
    if (record?.lockId === undefined) for (const hint of this.#waiters) hint();
    // The real store writes the ttl from the expiry, and for a release from the present. Other writes keep the ttl.
    const { until, now, holdAtLeastMs } = request as { until?: number; now?: number; holdAtLeastMs?: number };
    const keptFrom = operation === 'release' ? (now ?? 0) + (holdAtLeastMs ?? 0) : until;
    if (keptFrom !== undefined) this.#ttl = keptFrom + retentionMs(this.#schedule);
    this.#scheduleSweep();
  }

  /** From now on TTL deletes the record `lateMs` after the record's ttl. */
  sweep(lateMs: number): void {
    this.#lateMs = lateMs;
    this.#scheduleSweep();
  }

  #scheduleSweep(): void {
    if (this.#sweeping) this.time.cancel(this.#sweeping);
    if (this.#lateMs === undefined || this.record === undefined) return;
    const sweep = () => {
      if (this.record) this.witness.swept(this.record);
      this.#memory = this.#newMemory();
      this.#object = undefined;
      this.#past.push({ since: this.time.now(), record: undefined });
    };
    this.#sweeping = this.time.after(Math.max(0, this.#ttl - this.time.now()) + this.#lateMs, sweep);
  }

  /** Tells if the store ever had a record with this `lockId`, token and expiry. */
  stood({ lockId, fencingToken, expiresAt }: LockRecord): boolean {
    return this.#past.some(
      ({ record }) =>
        record?.lockId === lockId && record?.fencingToken === fencingToken && record.expiresAt === expiresAt,
    );
  }

  /** The record that an eventually consistent read may show. */
  recordAt(moment: number): LockRecord | undefined {
    return this.#past.findLast(({ since }) => since <= moment)?.record;
  }
}

/** One request, as the network carries it. */
interface Carried<Answer> {
  /** Does the request. `againMs` is the delay of a second delivery, or the lag of a read. */
  judge(againMs: number): Answer | Promise<Answer>;
  /** The answer to a request that the client sent twice, since the first answer was lost. */
  resent(answer: Answer): Answer;
  /** The answer to a request that meets another one. May throw. */
  conflict(): Answer;
  arrived?(answer: Answer): void;
}

export const broken = (): never => {
  throw new LockStoreError('The connection broke.', { transient: true });
};

/** The part of a server that the way to it needs. */
export interface Way {
  readonly time: VirtualTime;
  nextFate(): Fate;
}

/** Carries a request to the server and its answer back, as its fate says. */
export function carry<Answer>(server: Way, host: Host, carried: Carried<Answer>): Promise<Answer> {
  const { time } = server;
  const fate = server.nextFate();
  const { thereMs, backMs, againMs } = fate;
  return new Promise((resolve, reject) => {
    if (time.now() < host.cutOffUntil) return;
    const judge = () => carried.judge(againMs);
    const back = (arrive: () => void) => time.after(backMs, () => host.whenRunning(arrive));
    const answer =
      (change = (said: Answer) => said) =>
      async () => {
        const said = await judge();
        back(() => {
          carried.arrived?.(said);
          resolve(change(said));
        });
      };
    const fail = (reason: () => Answer) => () =>
      back(() => {
        try {
          resolve(reason());
        } catch (error) {
          reject(error);
        }
      });
    const then = (ms: number, run: () => unknown) => time.after(ms, () => void run());

    if (fate.do === 'travel' || fate.do === 'duplicate') then(thereMs, answer());
    if (fate.do === 'duplicate') then(thereMs + againMs, judge);
    // The answer is lost, and the SDK sends the request again.
    if (fate.do === 'resend') then(thereMs + againMs, answer(carried.resent));
    if (fate.do === 'resend' || fate.do === 'loseAnswer' || fate.do === 'hangAnswer') then(thereMs, judge);
    if (fate.do === 'loseAnswer' || fate.do === 'loseRequest') then(thereMs, fail(broken));
    if (fate.do === 'conflict') then(thereMs, fail(carried.conflict));
  });
}

/** Dates an answer as a relay does, if there is a relay: its clock is `relayS` seconds ahead. */
export function relayed<Answer extends DatedAnswer>(answer: Answer, relayS: number | undefined): Answer {
  if (relayS === undefined || answer.serverDate === undefined) return answer;
  return { ...answer, serverDate: answer.serverDate + relayS * 1_000, relayed: true };
}

type Answer = StoreAnswer & ReadAnswer;

/** A store whose server judges each request, as DynamoDB does. */
export class Wire implements LockStore {
  readonly changes: LockStore['changes'];
  readonly #host: Host;
  readonly #server: Server;
  readonly #relayS: number | undefined;

  /** @param relayS the seconds by which the dates of a relay on the way are ahead; undefined without a relay. */
  constructor(host: Host, server: Server, relayS?: number) {
    this.#host = host;
    this.#server = server;
    this.#relayS = relayS;
    this.changes = server.hintsTo(host);
  }

  acquire = (request: object, signal?: AbortSignal) => this.#send('acquire', request, signal);
  renew = (request: object, signal?: AbortSignal) => this.#send('renew', request, signal);
  release = (request: object, signal?: AbortSignal) => this.#send('release', request, signal);
  giveBack = (request: object, signal?: AbortSignal) => this.#send('giveBack', request, signal);
  resume = (request: object, signal?: AbortSignal) => this.#send('resume', request, signal);
  forceRelease = (request: object, signal?: AbortSignal) => this.#send('forceRelease', request, signal);
  repair = (request: object, signal?: AbortSignal) => this.#send('repair', request, signal);
  commit = (request: object, signal?: AbortSignal) => this.#send('commit', request, signal);
  ask = (request: object, signal?: AbortSignal) => this.#send('ask', request, signal);
  turn = (request: object, signal?: AbortSignal) => this.#send('turn', request, signal);
  read = (key: string, { consistent }: { consistent: boolean }, signal?: AbortSignal) =>
    this.#send('read', { key, consistent }, signal);

  /** Reads the one lock. If the fate is a conflict, the server leaves the key out this time. */
  async readMany(keys: readonly string[], signal?: AbortSignal): Promise<ReadManyAnswer> {
    try {
      const { record, serverDate, relayed } = await this.#send('read', { key: 'job', consistent: false }, signal);
      return { records: record ? [record] : [], unprocessed: [], serverDate, relayed };
    } catch (error) {
      if (!(error as LockStoreError).conflict) throw error;
      return { records: [], unprocessed: keys };
    }
  }

  async list(): Promise<ListAnswer> {
    return { records: [] };
  }

  #send(operation: Operation, request: object, signal?: AbortSignal): Promise<Answer> {
    const host = this.#host;
    const { witness } = this.#server;
    const { lockId } = request as WriteRequest;
    witness.sent(host, operation, request as WriteRequest);
    return carry(this.#server, host, {
      judge: (againMs) => this.#judge(operation, request as WriteRequest, againMs),
      resent: (answer) => ({ ...answer, maybeAppliedBefore: true }),
      conflict: () => {
        throw new LockStoreError('Another transaction.', { transient: true, conflict: true });
      },
      // A refusal with the request's own lockId is a grant. Nobody reads an answer that comes after the request was given up.
      arrived: (said) => {
        if (!signal?.aborted)
          witness.answered(host, said.applied || said.record?.lockId === lockId ? undefined : said.record);
      },
    });
  }

  async #judge(operation: Operation, request: WriteRequest, lagMs: number): Promise<Answer> {
    const answer = relayed((await this.#server.judge(operation, request)) as Answer, this.#relayS);
    if (operation !== 'read' || request.consistent) return answer;
    return { ...answer, record: this.#server.recordAt(this.#server.time.now() - lagMs) };
  }
}
