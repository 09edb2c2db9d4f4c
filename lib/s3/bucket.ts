import type { Readable } from 'node:stream';
import type {
  GetObjectCommandOutput,
  ListObjectsV2CommandOutput,
  PutObjectCommandOutput,
  S3Client,
} from '@aws-sdk/client-s3';
import { kindOf, type Thrown } from '../aws/faults.ts';
import { keepDates, markOurs, maxSocketsOf } from '../aws/sdk-client.ts';
import { datesOf, type Metadata } from '../aws/server-date.ts';
import { LockStoreError } from '../record/errors.ts';
import { noteFault } from '../record/last-fault.ts';
import type { DatedAnswer } from '../record/store.ts';
import { textOf } from './faults.ts';

/** The SDK, once a store needs the SDK. */
let sdk: Promise<typeof import('@aws-sdk/client-s3')> | undefined;
function loadSdk() {
  sdk ??= import('@aws-sdk/client-s3');
  return sdk;
}

/** More than the longest record takes. A longer object is not read: somebody else put it there. */
const MOST_BYTES = 1_000_000;

/**
 * S3's code for an object that does not exist. The status 404 alone says nothing of the object: a proxy that knows no way to
 * S3 answers 404, too, and a holder behind such a proxy would be told that its record was deleted.
 */
const NO_OBJECT = 'NoSuchKey';
/** S3's codes for a setting that was never made. */
const UNSET = /^(NoSuch\w*Configuration|\w+ConfigurationNotFoundError)$/;

/** An object as it was read. Without an object there is neither. */
export interface ReadObject extends DatedAnswer {
  readonly text?: string | undefined;
  readonly etag?: string | undefined;
}

/** The outcome of a write: the ETag that the write made, or none if another version than the expected one stood there. */
export interface WrittenObject extends DatedAnswer {
  readonly etag?: string | undefined;
  /** The times that the SDK sent the request. */
  readonly attempts: number;
}

/**
 * The requests to one bucket, and the reading of its answers and faults. The class has not the name `Bucket`: TypeScript 7.0
 * would rename the property `Bucket` of the requests with it.
 */
export class ObjectBucket {
  readonly name: string;
  #client: S3Client | undefined;

  constructor(name: string, client: S3Client | undefined) {
    this.name = name;
    this.#client = client;
    if (client === undefined) return;
    keepDates(client);
    // Whoever made the client has loaded the SDK. The first request reports an SDK that is missing.
    loadSdk().catch(() => {});
  }

  /** A directory bucket of S3 Express One Zone. */
  get isExpress(): boolean {
    return this.name.endsWith('--x-s3');
  }

  /** The most sockets that the client's requests may use. Undefined until the first request, or if there is no bound. */
  get maxSockets(): number | undefined {
    return this.#client && maxSocketsOf(this.#client);
  }

  /** @throws LockStoreError, also for an object that is too long for a record. */
  async get(name: string, signal?: AbortSignal): Promise<ReadObject> {
    const read = async ({ Body, ContentLength = 0, ETag, $metadata }: GetObjectCommandOutput) => {
      const body = Body as unknown as Readable & { transformToString(): Promise<string> };
      if (ContentLength > MOST_BYTES) {
        body.on('error', () => {}).destroy();
        throw new LockStoreError(
          `the object '${name}' in the bucket '${this.name}' was not written by leasehold, and is left as it is: it has ${ContentLength} bytes. Use another key, or another prefix.`,
          { foreign: true },
        );
      }
      const text = await body.transformToString();
      return { text, etag: this.#etagIn(ETag, 'GetObject', $metadata), ...datesOf($metadata) };
    };
    return this.#send('GetObject', { Key: name }, signal, read, ({ code, dates }) =>
      code === NO_OBJECT ? dates : undefined,
    );
  }

  /**
   * Writes an object, if the object with the ETag `seen` still stands there. Undefined stands for no object.
   *
   * S3 tells of a miss in three ways. A miss is no refusal, since the object is read again. So the statuses 412 and 409 decide
   * without a code: some servers give none.
   * - 412: another version stands there, or the object exists.
   * - 409: another write of the object was under way.
   * - 404 with the code `NoSuchKey`: the expected object is gone. Ceph's gateway answers 412 instead.
   */
  put(name: string, text: string, seen: string | undefined, signal?: AbortSignal): Promise<WrittenObject> {
    const condition = seen === undefined ? { IfNoneMatch: '*' } : { IfMatch: seen };
    const input = { Key: name, Body: text, ContentType: 'application/json', ...condition };
    const written = async ({ ETag, $metadata }: PutObjectCommandOutput) => ({
      etag: this.#etagIn(ETag, 'PutObject', $metadata),
      attempts: $metadata.attempts ?? 1,
      ...datesOf($metadata),
    });
    return this.#send('PutObject', input, signal, written, ({ status, code, attempts, dates }) => {
      if (status !== 412 && status !== 409 && code !== NO_OBJECT) return undefined;
      return { attempts, ...dates };
    });
  }

  /** Gives one page of the names that start with a prefix, and the token of the next page. */
  list(prefix: string, token: string | undefined, signal: AbortSignal | undefined, most: number) {
    const input = { Prefix: prefix, ContinuationToken: token, MaxKeys: most };
    return this.#send('ListObjectsV2', input, signal, async (page: ListObjectsV2CommandOutput) => ({
      names: (page.Contents ?? []).flatMap(({ Key }) => Key ?? []),
      token: page.NextContinuationToken,
    }));
  }

  /** Reads a setting of the bucket. Undefined if the setting was never made. */
  setting<Output>(operation: Setting, signal?: AbortSignal): Promise<Output | 'none'> {
    return this.#send<Output, Output | 'none'>(
      operation,
      {},
      signal,
      async (output) => output,
      ({ code = '' }) => (UNSET.test(code) ? 'none' : undefined),
    );
  }

  /**
   * Sends a request and reads its answer.
   * @param refused gives the answer that a refusal stands for. Undefined for a refusal that is a fault.
   * @throws LockStoreError
   */
  async #send<Output, Answer>(
    operation: Operation,
    input: object,
    signal: AbortSignal | undefined,
    read: (output: Output) => Promise<Answer>,
    refused: (refusal: Refusal) => Answer | undefined = () => undefined,
  ): Promise<Answer> {
    // The SDK may wrap the error of its last attempt, and the wrapper has neither code nor status.
    const faults: unknown[] = [];
    const heard = (fault: unknown) => {
      faults.push(fault);
      noteFault(signal, fault);
    };
    try {
      const loaded = await loadSdk();
      this.#client ??= ownClient(loaded);
      const Command = loaded[`${operation}Command`] as new (input: object) => { readonly input: object };
      // The middleware of S3's checksums copies the input.
      const command = markOurs(new Command({ Bucket: this.name, ...input }), heard, true);
      const output = (await this.#client.send(command as never, signal && { abortSignal: signal })) as Output;
      // From here on, only the reading of the answer can fail.
      faults.length = 0;
      return await read(output);
    } catch (error) {
      if (error instanceof LockStoreError) throw error;
      const thrown = (faults.at(-1) ?? error ?? {}) as Thrown;
      const { name: code, $metadata: metadata } = thrown;
      const attempts = Math.max(1, faults.length);
      const answer = refused({ status: metadata?.httpStatusCode, code, attempts, dates: datesOf(metadata) });
      if (answer !== undefined) return answer;
      throw this.#storeError(thrown, operation, attempts);
    }
  }

  #storeError(cause: Thrown, operation: Operation, attempts: number): LockStoreError {
    const { misdated = false, ...metadata } = cause.$metadata ?? {};
    // A server without conditional writes is one of another kind for ever.
    const isPassing = kindOf(cause) !== 'lasting' && metadata.httpStatusCode !== 501;
    return new LockStoreError(textOf(cause, operation, this.name), {
      cause,
      transient: misdated || isPassing,
      misdated,
      attempts,
      ...datesOf(metadata),
    });
  }

  /**
   * Reads an ETag. Without its quotes: Ceph's gateway and servers that are made of it take no other form in `If-Match`, and
   * S3 takes both.
   *
   * S3's ETags are strong. A weak ETag was made by a proxy that compresses, or by a server that gives one ETag to several
   * versions. The answer does not tell which, so nothing is swapped by a weak ETag, nor by the strong part of it: such a server
   * may let two writers replace one version.
   * @throws LockStoreError if the answer has no ETag, as that of a proxy which has cut it, or a weak one. Nobody knows then
   *   what stands there.
   */
  #etagIn(etag: string | undefined, operation: Operation, metadata: Metadata): string {
    const isWeak = etag?.startsWith('W/');
    const bare = etag?.replaceAll('"', '');
    if (bare && !isWeak) return bare;
    const answer = `the answer to s3:${operation} on the bucket '${this.name}' has`;
    throw new LockStoreError(
      isWeak
        ? `${answer} the weak ETag ${etag}, by which nothing can be swapped: a proxy between here and S3 compresses. Switch off its compression for this bucket, or go around the proxy.`
        : `${answer} no ETag: a proxy may have cut it, or this server keeps none, and is no place for locks.`,
      { transient: !isWeak, ...datesOf(metadata) },
    );
  }
}

type Setting = 'GetBucketVersioning' | 'GetBucketLifecycleConfiguration' | 'GetObjectLockConfiguration';
type Operation = 'GetObject' | 'PutObject' | 'ListObjectsV2' | Setting;

/** A refusal of the server. */
interface Refusal {
  readonly status: number | undefined;
  readonly code: string | undefined;
  /** The times that the SDK sent the request. */
  readonly attempts: number;
  readonly dates: DatedAnswer;
}

/** Makes a client of the store's own. It makes one attempt at each request, since leasehold itself sends a request again. */
const ownClient = ({ S3Client }: typeof import('@aws-sdk/client-s3')): S3Client => {
  const client = new S3Client({ maxAttempts: 1 });
  keepDates(client);
  return client;
};
