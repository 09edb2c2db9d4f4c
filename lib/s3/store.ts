import type { S3Client } from '@aws-sdk/client-s3';
import { emfByEnvironment } from '../emf.ts';
import { LOCK_BUCKET_NAME } from '../names.ts';
import { checkNamed, checkNames, checkThat } from '../record/check.ts';
import type { LockStore, StoreProblem } from '../record/store.ts';
import { decode, type Entry, encode } from '../swap/entry.ts';
import { keyOf, nameOf, prefixOf } from '../swap/object-name.ts';
import { readEach } from '../swap/read-each.ts';
import { type KeyPage, type Loaded, type Swapped, SwapStore } from '../swap/swap-store.ts';
import { ObjectBucket } from './bucket.ts';
import { findings } from './findings.ts';

/**
 * The options of an `S3LockStore`.
 * @example
 * ```ts
 * import { S3Client } from '@aws-sdk/client-s3';
 * import type { S3LockStoreOptions } from 'leasehold/s3';
 *
 * export const options: S3LockStoreOptions = {
 *   bucket: 'jobs-111122223333',
 *   prefix: 'nightly/locks/',
 *   client: new S3Client({ region: 'eu-west-1' }),
 * };
 * ```
 */
export interface S3LockStoreOptions {
  /**
   * The name of the bucket, or the ARN or the alias of an access point in one Region. A directory bucket of S3 Express One Zone
   * may be named, too.
   * @default the environment variable `LOCK_BUCKET_NAME`
   */
  bucket?: string | undefined;
  /**
   * The beginning of the objects' names: segments of letters, digits, `_`, `-` and `.`, each with a `/` behind. At most 512
   * characters. Empty for a bucket of locks alone.
   * @default 'locks/'
   */
  prefix?: string | undefined;
  /**
   * The client of the SDK that sends the requests.
   * @default a client of the store's own with `maxAttempts: 1`, made at the first request, since leasehold itself sends a
   *   request again, and so that heartbeats never wait for sockets that other requests use
   */
  client?: S3Client | undefined;
}

const OPTIONS = { bucket: 0, prefix: 0, client: 0 } satisfies Record<keyof S3LockStoreOptions, 0>;

const BUCKET = /^[\w.-]{3,255}$/;
/** No access point of several Regions: their buckets agree only after a while, and a lock would be granted twice. */
const ACCESS_POINT = /^arn:[^:\s]+:s3(express|-outposts)?:[\w-]+:\d{12}:[\w/:.-]+$/;
const PREFIX = /^([\w-][\w.-]*\/)*$/;
const MOST_PREFIX = 512;
/** The most names of one page of a list. Each name is an object to read, and all of them are read within one time-out. */
const PAGE = 100;
/** S3's limit on the name of an object, in bytes. */
const MOST_NAME = 1_024;

/**
 * A store that keeps locks in an S3 bucket, with one JSON object for each key. Each write is one conditional `PutObject`:
 *
 * 1. Read the object, unless this process knows its last version: `GetObject`.
 * 2. Judge the request by the record, under the conditions of `lib/record/transitions.ts`.
 * 3. Write the object over the version that was read (`If-Match`), or where there was none (`If-None-Match: *`).
 * 4. If S3 says that another version stands there, start again. If that version is our own write, whose answer was lost, the
 *    write was applied.
 *
 * No object is ever deleted: it keeps the fencing token and the `once` token.
 * @example
 * ```ts
 * import { LockClient } from 'leasehold';
 * import { S3LockStore } from 'leasehold/s3';
 *
 * export const locks = new LockClient({ store: new S3LockStore({ bucket: 'jobs-111122223333' }) });
 * ```
 */
export class S3LockStore extends SwapStore<string> {
  /** The bucket's name, or the ARN or the alias of its access point. */
  readonly bucket: string;
  /** The beginning of the objects' names. */
  readonly prefix: string;
  /** Publishes the metrics of the clients on this store, if the environment variable `LOCK_METRICS` is `emf`. */
  readonly onEvent: LockStore['onEvent'];
  /** The client that was given. Stores on one client share its sockets. */
  readonly connection: object;
  /** Twice the time of a store whose operation is one request: one write may be a reading and a write. */
  readonly requestTimeoutMs = 2_000;
  readonly #bucket: ObjectBucket;

  /** @throws TypeError that shows the value, if no bucket is named, or if an option is unknown or invalid. */
  constructor(options: S3LockStoreOptions = {}) {
    super();
    checkNames('S3LockStore', options, OPTIONS);
    const { bucket = process.env[LOCK_BUCKET_NAME], prefix = 'locks/', client } = options;
    checkNamed('bucket', 'bucket', LOCK_BUCKET_NAME, bucket);
    const isBucket = typeof bucket === 'string' && (BUCKET.test(bucket) || ACCESS_POINT.test(bucket));
    checkThat(isBucket, 'bucket', "a bucket's name, or the ARN of an access point in one Region", bucket);
    const isPrefix = typeof prefix === 'string' && PREFIX.test(prefix) && prefix.length <= MOST_PREFIX;
    checkThat(isPrefix, 'prefix', `at most ${MOST_PREFIX} characters, as 'jobs/locks/', or ''`, prefix);
    const { serviceId = 'S3' } = (client?.config as { serviceId?: string } | undefined) ?? {};
    const isClient = client === undefined || (typeof client?.send === 'function' && serviceId === 'S3');
    checkThat(isClient, 'client', 'an S3Client', client);
    this.bucket = bucket;
    this.prefix = prefix;
    this.#bucket = new ObjectBucket(bucket, client);
    this.connection = client ?? this;
    this.onEvent = emfByEnvironment(bucket);
  }

  /** The sockets of the client's request handler. Undefined until the client has sent a request, or without a bound. */
  get maxInFlight(): number | undefined {
    return this.#bucket.maxSockets;
  }

  /**
   * Gives the findings about the bucket: a bucket that does not exist or may not be read, S3 Object Lock, versions that
   * nothing removes, and rules of the lifecycle that delete or archive the objects of locks.
   */
  check(signal?: AbortSignal): Promise<readonly StoreProblem[]> {
    return findings(this.#bucket, this.prefix, signal);
  }

  protected async load(key: string, _options: { dated: boolean }, signal?: AbortSignal): Promise<Loaded<string>> {
    const name = this.#nameOf(key);
    const { text, etag, ...dates } = await this.#bucket.get(name, signal);
    if (text === undefined) return dates;
    return { entry: decode(text, key, `the object 's3://${this.bucket}/${name}'`), version: etag, ...dates };
  }

  protected async swap(
    key: string,
    entry: Entry,
    seen: string | undefined,
    signal?: AbortSignal,
  ): Promise<Swapped<string>> {
    const { etag, attempts, ...dates } = await this.#bucket.put(this.#nameOf(key), encode(entry), seen, signal);
    return { version: etag, maybeApplied: attempts > 1, ...dates };
  }

  protected async keys(prefix: string, cursor: unknown, signal?: AbortSignal): Promise<KeyPage> {
    const from = this.prefix + prefixOf(prefix, MOST_NAME - this.prefix.length);
    // S3 Express lists whole folders only.
    const asked = this.#bucket.isExpress ? from.slice(0, from.lastIndexOf('/') + 1) : from;
    const { names, token } = await this.#bucket.list(asked, cursor as string | undefined, signal, PAGE);
    const keys = await readEach(names, (name) => this.#keyOf(name, signal));
    return { keys: keys.filter((key) => key.startsWith(prefix)), cursor: token };
  }

  #nameOf(key: string): string {
    return this.prefix + nameOf(key, MOST_NAME - this.prefix.length);
  }

  /** Reads the key of an object. A name that was cut does not tell the key, and the object does. */
  async #keyOf(name: string, signal?: AbortSignal): Promise<string | undefined> {
    const key = keyOf(name.slice(this.prefix.length));
    if (key !== undefined || !name.includes('~')) return key;
    const { text = 'null' } = await this.#bucket.get(name, signal);
    try {
      const told: unknown = JSON.parse(text)?.record?.key;
      return typeof told === 'string' && this.#nameOf(told) === name ? told : undefined;
    } catch {
      return undefined;
    }
  }
}
