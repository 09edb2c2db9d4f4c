import { randomUUID } from 'node:crypto';
import { checkNames, checkThat, checkText, show } from '../record/check.ts';
import { LockStoreError, type LockStoreErrorOptions } from '../record/errors.ts';
import type { LockRecord } from '../record/record.ts';
import type {
  AcquireRequest,
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
  StoreProblem,
} from '../record/store.ts';
import { connectionOf, type RedisClient, type Send } from './client.ts';
import { storeError } from './faults.ts';
import { evicts, problemsOf, REPLICA } from './problems.ts';
import { fieldsOf, parse } from './record.ts';
import { Releases, type Subscriber } from './releases.ts';
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
   * The days that a record stays after its expiry. A record keeps the fencing token and the `once` token that is done.
   * More than 0, and at most 36,500.
   * @default 7
   */
  readonly retentionDays?: number | undefined;
  /**
   * Keeps each lock closed for one lease after a failover of the server, and lifts its fencing token. So a grant that the
   * failover lost is over before the next grant, and has a lower token. The server must allow `INFO` in scripts.
   * @default false
   */
  readonly guardFailover?: boolean | undefined;
  /**
   * A second connected client of the same library, which only subscribes. Waiters then learn of a release at once, and not
   * at their next look.
   * @default none
   */
  readonly subscriber?: Subscriber | undefined;
}

const OPTIONS = {
  client: 0,
  keyPrefix: 0,
  retentionDays: 0,
  guardFailover: 0,
  subscriber: 0,
} satisfies Record<keyof RedisLockStoreOptions, 0>;

/** The hashes that one page of a list asks for, about. */
const PAGE = 100;

/**
 * Keeps locks on a Redis or Valkey server, or on a cluster of them. Each operation is one script, in one round trip.
 *
 * A lock is as safe as the server's writes are durable. On MemoryDB, and on ElastiCache for Valkey with synchronous writes,
 * no failover loses a grant. Elsewhere a failover may lose a grant, and two holders run at once; `guardFailover` narrows
 * this. The server must have the eviction policy `noeviction`: the first request is refused otherwise.
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
  /** The server was asked, with the first request, whether it is a place for locks. */
  #isChecked = false;

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
      const releases = new Releases(subscriber);
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

  async read(key: string, _options?: unknown, signal?: AbortSignal): Promise<ReadAnswer> {
    const { record, serverDate } = await this.#operate('read', key, '', [], signal);
    return { record, serverDate };
  }

  async readMany(keys: readonly string[], signal?: AbortSignal): Promise<ReadManyAnswer> {
    const answers = await Promise.all(keys.map((key) => this.#readIfLock(key, signal)));
    const records = answers.flatMap(({ record }) => record ?? []);
    return { records, unprocessed: [], serverDate: answers.find(({ serverDate }) => serverDate)?.serverDate };
  }

  async list(prefix: string, cursor?: unknown, signal?: AbortSignal): Promise<ListAnswer> {
    const { server = 0, scan = '0' } = (cursor ?? {}) as Cursor;
    // An answer of SCAN holds names that match a pattern, in which some characters have a meaning of their own.
    const pattern = `${`${this.server.keyPrefix}{${prefix}`.replace(/[*?[\]\\^-]/g, '\\$&')}*`;
    const { primaries, found } = await this.#asking(async () => {
      const primaries = await this.server.connection.primaries();
      const command = ['SCAN', scan, 'MATCH', pattern, 'COUNT', String(PAGE)];
      return { primaries, found: (await primaries[server]?.(command, signal)) as [unknown, unknown[]] | undefined };
    });
    const [next, hashes] = found ?? ['0', []];
    const keys = new Set(hashes.flatMap((hash) => this.server.keyIn(String(hash)) ?? []));
    const answer = await this.readMany([...keys], signal);
    const { records, serverDate } = answer;
    if (String(next) !== '0') return { records, serverDate, cursor: { server, scan: String(next) } };
    const isLast = server + 1 >= primaries.length;
    return { records, serverDate, cursor: isLast ? undefined : { server: server + 1, scan: '0' } };
  }
}
