import { checkNames, checkThat } from '../record/check.ts';
import { LockStoreError, REPAIR_IT } from '../record/errors.ts';
import { freshId } from '../record/fresh-id.ts';
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
  StoreProblem,
  TurnRequest,
} from '../record/store.ts';
import { connectionOf, type RedisClient } from './client.ts';
import { faultOf, foreignError, storeError } from './faults.ts';
import { problemsOf } from './problems.ts';
import { fieldsOf, parse } from './record.ts';
import { type RedisSubscriber, Releases } from './releases.ts';
import { OPERATION } from './scripts.ts';
import { Server } from './server.ts';

/**
 * The options of a `RedisLockStore`.
 * @example
 * ```ts
 * import type { RedisLockStoreOptions } from 'leasehold/redis';
 * import { createClient } from 'redis';
 *
 * const client = await createClient({ url: 'rediss://locks.example.com', disableOfflineQueue: true }).connect();
 * export const options: RedisLockStoreOptions = { client, keyPrefix: 'orders:', guardFailover: true };
 * ```
 */
export interface RedisLockStoreOptions {
  /**
   * A connected client: of ioredis, iovalkey, node-redis or GLIDE, of one server or of a cluster. The store never closes it.
   * A client without a queue for the time offline fails at once when the server is down.
   */
  readonly client: RedisClient;
  /**
   * The beginning of every name that leasehold uses on the server. Up to 256 characters, without `{` and `}`.
   * @default 'leasehold:'
   */
  readonly keyPrefix?: string | undefined;
  /**
   * The days that a record stays after its expiry. A record keeps the fencing token, the `once` token that is
   * done, and the committed data. More than 0, and at most 36,500.
   * @default 7
   */
  readonly retentionDays?: number | undefined;
  /**
   * Keeps each lock closed for one lease after a failover of the server, and lifts its fencing token. So a grant that the
   * failover lost is over before the next grant, and has a lower token. The server must allow `INFO` in scripts. A lock is also
   * closed for one lease when a primary gets its first replica, or has had none for an hour.
   * @default false
   */
  readonly guardFailover?: boolean | undefined;
  /**
   * A second connected client of the same library, which only subscribes. Waiters then learn of a release at once, and not
   * at their next look.
   * @default none
   */
  readonly subscriber?: RedisSubscriber | undefined;
}

const OPTIONS = {
  client: 0,
  keyPrefix: 0,
  retentionDays: 0,
  guardFailover: 0,
  subscriber: 0,
} satisfies Record<keyof RedisLockStoreOptions, 0>;

/** Milliseconds after which the server is asked again whether it is a place for locks: an operator may have changed it. */
const CHECK_MS = 60_000;
/** The operations that ask so. The others end or keep a grant that was made, and a holder gains nothing by their refusal. */
const CHECKING: ReadonlySet<string> = new Set(['acquire', 'resume', 'read']);

/** The hashes that one page of a list asks for, about. */
const PAGE = 100;

/**
 * Keeps locks on a Redis or Valkey server, or on a cluster of them. Each operation is one script, in one round trip.
 *
 * A lock is as safe as the server's writes are durable. On MemoryDB, and on ElastiCache for Valkey with synchronous writes,
 * no failover loses a grant. Elsewhere a failover may lose a grant, and two holders run at once; `guardFailover` narrows
 * this. The server must have the eviction policy `noeviction`: acquires are refused otherwise.
 * @example
 * ```ts
 * import { LockClient } from 'leasehold';
 * import { RedisLockStore } from 'leasehold/redis';
 * import { createClient } from 'redis';
 *
 * const client = await createClient({ url: process.env.REDIS_URL, disableOfflineQueue: true }).connect();
 * export const locks = new LockClient({ store: new RedisLockStore({ client }) });
 * ```
 */
export class RedisLockStore implements LockStore {
  /** The server's clock tells milliseconds. */
  readonly serverDateStepMs = 1;
  /** Stores on one client share its connection. */
  readonly connection: object;
  /** Resolves when a grant of the lock may have ended. Absent without a `subscriber`. */
  readonly changes?: (key: string, signal: AbortSignal) => Promise<void>;
  /** @internal The guarded write uses it. */
  readonly server: Server;
  readonly #retentionMs: number;
  readonly #guardFailover: boolean;
  /** The moment, on the monotonic clock, when the server was last seen to be a place for locks. */
  #checkedAt = -Infinity;

  /** @throws TypeError that shows the value, if an option is unknown or wrong. */
  constructor(options: RedisLockStoreOptions) {
    checkNames('RedisLockStore', options, OPTIONS);
    const { client, keyPrefix = 'leasehold:', retentionDays = 7, guardFailover = false, subscriber } = options;
    const isPrefix = typeof keyPrefix === 'string' && /^[^{}]{0,256}$/.test(keyPrefix) && keyPrefix.isWellFormed();
    checkThat(isPrefix, 'keyPrefix', 'a text of up to 256 characters without { and }', keyPrefix);
    const isRetention = typeof retentionDays === 'number' && retentionDays > 0 && retentionDays <= 36_500;
    checkThat(isRetention, 'retentionDays', 'a number of days, more than 0 and at most 36,500', retentionDays);
    checkThat(typeof guardFailover === 'boolean', 'guardFailover', 'true or false', guardFailover);
    this.server = new Server(connectionOf(client), keyPrefix);
    this.connection = client;
    this.#retentionMs = Math.ceil(retentionDays * 86_400_000);
    this.#guardFailover = guardFailover;
    if (subscriber !== undefined) {
      if ((subscriber as object) === client) {
        throw new TypeError(
          'subscriber must be a second connected client of the same library as client, but it is the client itself: a connection that subscribes does nothing else. Connect a second client for it.',
        );
      }
      const releases = Releases.of(subscriber);
      this.changes = (key, signal) => releases.next(this.server.hashOf(key), signal);
    }
  }

  acquire(request: AcquireRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write('acquire', request, signal);
  }

  renew(request: RenewRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write('renew', request, signal);
  }

  release(request: ReleaseRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write('release', request, signal);
  }

  giveBack(request: GiveBackRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write('giveBack', request, signal);
  }

  resume(request: ResumeRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write('resume', request, signal);
  }

  forceRelease(request: ForceReleaseRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write('forceRelease', request, signal);
  }

  repair(request: RepairRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write('repair', request, signal);
  }

  commit(request: CommitRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write('commit', request, signal);
  }

  ask(request: AskRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write('ask', request, signal);
  }

  turn(request: TurnRequest, signal?: AbortSignal): Promise<StoreAnswer> {
    return this.#write('turn', request, signal);
  }

  async read(key: string, _options?: ReadOptions, signal?: AbortSignal): Promise<ReadAnswer> {
    const { applied: _, ...answer } = await this.#operate('read', key, '', [], signal);
    return answer;
  }

  async readMany(keys: readonly string[], signal?: AbortSignal): Promise<ReadManyAnswer> {
    const answers = await Promise.all(keys.map((key) => this.#readIfLock(key, signal)));
    const records = answers.flatMap(({ record }) => record ?? []);
    const dated = answers.find(({ serverDate }) => serverDate);
    return { records, unprocessed: [], serverDate: dated?.serverDate, relayed: true };
  }

  async list(prefix: string, cursor?: unknown, signal?: AbortSignal): Promise<ListAnswer> {
    const { server = 0, scan = '0' } = (cursor ?? {}) as Cursor;
    // An answer of SCAN holds names that match a pattern, in which some characters have a meaning of their own.
    const pattern = `${`${this.server.keyPrefix}{${prefix}`.replace(/[*?[\]\\^-]/g, '\\$&')}*`;
    const { primaries, found } = await asking(async () => {
      const primaries = await this.server.connection.primaries();
      const command = ['SCAN', scan, 'MATCH', pattern, 'COUNT', String(PAGE)];
      return { primaries, found: (await primaries[server]?.(command, signal)) as [unknown, unknown[]] | undefined };
    });
    const [next, hashes] = found ?? ['0', []];
    const keys = new Set(hashes.flatMap((hash) => this.server.keyIn(String(hash)) ?? []));
    const { unprocessed: _, ...answer } = await this.readMany([...keys], signal);
    if (String(next) !== '0') return { ...answer, cursor: { server, scan: String(next) } };
    const isLast = server + 1 >= primaries.length;
    return { ...answer, cursor: isLast ? undefined : { server: server + 1, scan: '0' } };
  }

  /**
   * Gives the findings about the server, or about each primary of a cluster: its eviction policy, its role, its replicas,
   * and how it keeps its writes.
   */
  async check(signal?: AbortSignal): Promise<readonly StoreProblem[]> {
    const options = { guardFailover: this.#guardFailover, signal };
    return asking(async () => {
      const primaries = await this.server.connection.primaries();
      const findings = (await Promise.all(primaries.map((send) => problemsOf(send, options)))).flat();
      // The primaries of a cluster are alike, as a rule.
      return [...new Map(findings.map((finding) => [finding.message, finding])).values()];
    });
  }

  async #write(operation: string, request: { readonly key: string }, signal?: AbortSignal): Promise<StoreAnswer> {
    // Nobody else writes this id. Reading it back proves that this request was applied, if its answer was lost.
    const writeId = freshId();
    return this.#operate(operation, request.key, writeId, pairsOf(request), signal);
  }

  /** Reads a record, or nothing from a hash that is no lock, which must not hide the locks beside it. */
  async #readIfLock(key: string, signal: AbortSignal | undefined): Promise<ReadAnswer> {
    try {
      return await this.read(key, undefined, signal);
    } catch (error) {
      if (error instanceof LockStoreError && error.foreign) return { serverDate: error.serverDate, relayed: true };
      throw error;
    }
  }

  async #operate(
    operation: string,
    key: string,
    writeId: string,
    request: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<StoreAnswer> {
    const now = performance.now();
    const isChecking = CHECKING.has(operation) && now - this.#checkedAt >= CHECK_MS;
    const extra = `${isChecking ? 'check ' : ''}${this.#guardFailover ? 'guard' : ''}`;
    const argv = [operation, writeId, String(this.#retentionMs), extra, ...request];
    const [status, time, detail, ...flat] = await this.server.run(OPERATION, key, argv, signal);
    const serverDate = Number(time);
    if (status !== 'applied' && status !== 'refused' && status !== 'damaged') {
      const transient = status === 'replica' && this.server.wasPrimary;
      throw faultOf(String(status), String(detail), this.server.hashOf(key), { ...datesOf(serverDate), transient });
    }
    if (operation !== 'read') this.server.wasPrimary = true;
    if (isChecking) this.#checkedAt = now;
    const hash = this.server.hashOf(key);
    const foreign = (why: string, hint?: string) => foreignError(hash, why, datesOf(serverDate), hint);
    const record = flat.length === 0 ? undefined : parse(key, fieldsOf(flat), foreign);
    if (status === 'damaged') throw foreign(`its ${record?.flaw}`, REPAIR_IT);
    return { applied: status === 'applied', record, ...datesOf(serverDate) };
  }
}

/** The place from which the next page of a list begins: the primary of the cluster, and the cursor of its SCAN. */
interface Cursor {
  readonly server?: number;
  readonly scan?: string;
}

/** The fields of a request as names and values in turn. A value that is absent is left out. */
function pairsOf(request: object, prefix = ''): string[] {
  return Object.entries(request).flatMap(([name, value]) => {
    if (value === undefined || name === 'key') return [];
    return typeof value === 'object' ? pairsOf(value, `${name}.`) : [prefix + name, String(value)];
  });
}

/** The server's time is the clock of one host, which may be wrong or set. The protocol then believes no clock alone. */
const datesOf = (serverDate: number): DatedAnswer => ({ serverDate, relayed: true });

async function asking<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    throw storeError(error, 'that asks the whole server');
  }
}
