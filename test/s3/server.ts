/**
 * An S3 server for tests: objects, lists by pages, and conditional writes as AWS documents them. `questions.test.ts` asks the
 * server the questions that Ceph's gateway and S3 itself are asked. With a folder, the server's objects outlive a SIGKILL.
 */
import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** The ways in which S3's servers differ. */
export interface S3ServerOptions {
  /** @default a free port */
  readonly port?: number;
  /** The ETags of an object: the MD5 of its body, as S3's, or random, as S3 Express's. */
  readonly etags?: 'md5' | 'random';
  /** Takes an ETag in `If-Match` without its quotes only, as Ceph's gateway does. S3 takes both forms. */
  readonly bareEtags?: boolean;
  /** The most names in one page of a list. */
  readonly pageSize?: number;
  /** Milliseconds that a write takes. A write that meets another write of its object is then answered with 409. */
  readonly writeMs?: number;
  /** Lists as S3 Express does: in no order, and only by prefixes that end in '/'. */
  readonly express?: boolean;
  /** The folder that keeps the objects. Default: the memory of this process. */
  readonly folder?: string;
}

/** A fault that a test plans for one request. */
export type S3Fault =
  /** The server does the request. Then the connection breaks, or the answer has this status. */
  | { readonly do: 'loseAnswer' }
  | { readonly do: 'failAfter'; readonly status: number }
  /** The server does not do the request. */
  | { readonly do: 'refuse'; readonly status: number; readonly code?: string; readonly body?: string }
  | { readonly do: 'loseRequest' }
  /** The server does the request, and never answers, or breaks off or falls silent in the middle of the answer's body. */
  | { readonly do: 'hang' | 'cutBody' | 'hangBody' };

interface Stored {
  readonly body: string;
  readonly etag: string;
}
interface Answer {
  readonly status: number;
  readonly headers?: Record<string, string>;
  readonly body?: string;
}

/** The codes that say that a setting of a bucket was never made. */
const UNSET: Readonly<Record<string, string>> = {
  lifecycle: 'NoSuchLifecycleConfiguration',
  'object-lock': 'ObjectLockConfigurationNotFoundError',
};
/** The codes of the errors, by their status. */
const CODES: Readonly<Record<number, string>> = {
  400: 'InvalidRequest',
  403: 'AccessDenied',
  404: 'NoSuchKey',
  409: 'ConditionalRequestConflict',
  412: 'PreconditionFailed',
  500: 'InternalError',
  503: 'SlowDown',
};
const error = (status: number, code = CODES[status] ?? 'UnknownError'): Answer => ({
  status,
  body: `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${code}, says the test server</Message></Error>`,
});
const escaped = (text: string) => text.replace(/[&<>\r\n]/g, (character) => `&#${character.charCodeAt(0)};`);
const bare = (etag: string | undefined) => etag?.replaceAll('"', '');

export class S3Server implements AsyncDisposable {
  /** The requests that were answered, in order: `PUT locks/job 200`. */
  readonly log: string[] = [];
  /** The faults to come: the first matching fault is taken from the list. */
  readonly faults: (S3Fault & { readonly method?: string; readonly setting?: string })[] = [];
  /** The milliseconds by which the `Date` of the answers is ahead of this host's clock. */
  dateOffsetMs = 0;
  /** Milliseconds that a read takes. */
  readMs = 0;
  /** The most reads that were under way at a time. */
  mostReads = 0;
  #reads = 0;
  /** Makes every ETag weak, as a proxy does that compresses. */
  hasWeakEtags = false;
  /** Answers to the questions about a bucket, by their names: `GET ?versioning`. */
  readonly settings: Record<string, string | undefined> = {};
  readonly #options: S3ServerOptions;
  readonly #buckets = new Map<string, Map<string, Stored>>();
  readonly #server = createServer((request, response) => void this.#serve(request, response));

  private constructor(options: S3ServerOptions) {
    this.#options = options;
    this.#server.keepAliveTimeout = 0;
    for (const line of this.#journal ? readFileSync(this.#journal, 'utf8').split('\n') : []) {
      if (line) this.#store(...(JSON.parse(line) as [string, string, Stored]));
    }
  }

  static async start(options: S3ServerOptions = {}): Promise<S3Server> {
    const server = new S3Server(options);
    server.#server.listen(options.port ?? 0, '127.0.0.1');
    await once(server.#server, 'listening');
    return server;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  makeBucket(name: string): void {
    if (!this.#buckets.has(name)) this.#buckets.set(name, new Map());
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  get #journal(): string | undefined {
    const file = join(this.#options.folder ?? '', 'objects.jsonl');
    return this.#options.folder !== undefined && existsSync(file) ? file : undefined;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url = '', headers } = request;
    const { pathname, searchParams } = new URL(url, 'http://server');
    // To a bucket of S3 Express at an address of ours, the SDK writes two slashes behind the bucket's name.
    const [, bucket = '', name = ''] = /^\/([^/]*)\/*(.*)$/s.exec(decodeURIComponent(pathname)) ?? [];
    const body = Buffer.concat(await request.toArray().catch(() => [])).toString();
    const planned = this.faults.findIndex(
      (fault) => (fault.method ?? method) === method && (!fault.setting || searchParams.has(fault.setting)),
    );
    const [fault] = planned < 0 ? [] : this.faults.splice(planned, 1);
    const isDone = fault?.do !== 'refuse' && fault?.do !== 'loseRequest';
    let answer = isDone ? await this.#answer(method, bucket, name, searchParams, headers, body) : error(400);
    if (fault?.do === 'refuse')
      answer = { ...error(fault.status, fault.code), ...(fault.body !== undefined && { body: fault.body }) };
    this.log.push(`${method} ${name || url} ${isDone || fault?.do === 'refuse' ? answer.status : 'lost'}`);
    if (fault?.do === 'loseAnswer' || fault?.do === 'loseRequest') request.socket.destroy();
    if (fault?.do === 'failAfter') answer = error(fault.status);
    if (fault?.do !== 'hang' && !request.socket.destroyed) this.#send(response, answer, fault);
  }

  #send(response: ServerResponse, { status, headers, body = '' }: Answer, fault: S3Fault | undefined): void {
    response.writeHead(status, {
      'content-type': 'application/xml',
      'content-length': String(Buffer.byteLength(body)),
      date: new Date(Date.now() + this.dateOffsetMs).toUTCString(),
      ...headers,
      ...(headers?.etag && this.hasWeakEtags && { etag: `W/${headers.etag}` }),
    });
    if (fault?.do !== 'cutBody' && fault?.do !== 'hangBody') {
      response.end(body);
      return;
    }
    response.write(body.slice(0, 10));
    if (fault.do === 'cutBody') setTimeout(() => response.destroy(), 10);
  }

  async #answer(
    method: string,
    bucket: string,
    name: string,
    query: URLSearchParams,
    headers: IncomingMessage['headers'],
    body: string,
  ): Promise<Answer> {
    if (name === '') return this.#ofBucket(method, bucket, query);
    const objects = this.#buckets.get(bucket);
    const stored = objects?.get(name);
    if (objects === undefined) return error(404, 'NoSuchBucket');
    if (method === 'PUT') return this.#put(objects, bucket, name, headers, body);
    if (method === 'DELETE') {
      const ifMatch = headers['if-match'];
      if (ifMatch !== undefined && bare(ifMatch) !== stored?.etag) return error(412);
      objects.delete(name);
      return { status: 204 };
    }
    this.mostReads = Math.max(this.mostReads, ++this.#reads);
    await sleep(this.readMs);
    this.#reads--;
    if (stored === undefined) return error(404);
    return { status: 200, headers: { etag: `"${stored.etag}"` }, body: stored.body };
  }

  /** Judges the condition when the write begins, and asks at its end whether another write came between. */
  async #put(
    objects: Map<string, Stored>,
    bucket: string,
    name: string,
    headers: IncomingMessage['headers'],
    body: string,
  ): Promise<Answer> {
    const before = objects.get(name);
    const { 'if-match': given } = headers;
    const ifMatch = this.#options.bareEtags ? given : bare(given);
    if (ifMatch !== undefined && before === undefined) return error(404);
    if (ifMatch !== undefined && ifMatch !== before?.etag) return error(412);
    if (headers['if-none-match'] === '*' && before !== undefined) return error(412);
    if (this.#options.writeMs) await sleep(this.#options.writeMs);
    const isConditional = ifMatch !== undefined || headers['if-none-match'] !== undefined;
    if (isConditional && objects.get(name) !== before) return error(409);
    const etag = this.#options.etags === 'random' ? randomUUID() : createHash('md5').update(body).digest('hex');
    this.#store(bucket, name, { body, etag });
    const { folder } = this.#options;
    // The object is on the disk before the answer goes out.
    if (folder) appendFileSync(join(folder, 'objects.jsonl'), `${JSON.stringify([bucket, name, { body, etag }])}\n`);
    return { status: 200, headers: { etag: `"${etag}"` } };
  }

  #store(bucket: string, name: string, stored: Stored): void {
    const objects = this.#buckets.get(bucket) ?? new Map<string, Stored>();
    this.#buckets.set(bucket, objects.set(name, stored));
  }

  #ofBucket(method: string, bucket: string, query: URLSearchParams): Answer {
    if (method === 'PUT') {
      this.makeBucket(bucket);
      return { status: 200 };
    }
    const objects = this.#buckets.get(bucket);
    if (objects === undefined) return error(404, 'NoSuchBucket');
    if (query.get('list-type') === '2') return this.#list([...objects.keys()], query);
    const [setting = ''] = query.keys();
    const unset = setting === 'versioning' ? '<VersioningConfiguration/>' : undefined;
    const body = this.settings[setting] ?? unset;
    return body === undefined
      ? error(404, UNSET[setting])
      : /^\d+$/.test(body)
        ? error(Number(body))
        : { status: 200, body };
  }

  #list(names: readonly string[], query: URLSearchParams): Answer {
    const prefix = query.get('prefix') ?? '';
    const { express, pageSize = 1_000 } = this.#options;
    const most = Math.min(pageSize, Number(query.get('max-keys') ?? 1_000));
    if (express && prefix !== '' && !prefix.endsWith('/')) return error(400);
    const order = (name: string) => (express ? createHash('md5').update(name).digest('hex') : name);
    const found = names.filter((name) => name.startsWith(prefix)).sort((a, b) => (order(a) < order(b) ? -1 : 1));
    const after = query.get('continuation-token');
    const rest = after === null ? found : found.filter((name) => order(name) > order(after));
    const page = rest.slice(0, most);
    const next =
      rest.length > page.length ? `<NextContinuationToken>${escaped(page.at(-1) ?? '')}</NextContinuationToken>` : '';
    const contents = page.map((name) => `<Contents><Key>${escaped(name)}</Key></Contents>`).join('');
    const body = `<?xml version="1.0"?><ListBucketResult><KeyCount>${page.length}</KeyCount><IsTruncated>${next !== ''}</IsTruncated>${next}${contents}</ListBucketResult>`;
    return { status: 200, body };
  }
}

// As a program: node server.ts PORT FOLDER. A test kills and restarts the server in the middle of its run.
if (import.meta.main) {
  const [port, folder] = process.argv.slice(2);
  const server = await S3Server.start({ port: Number(port), ...(folder !== undefined && { folder }) });
  console.log(server.endpoint);
}
