/** The questions about conditional writes, races, lists and dates that any S3 server must answer in the way that locks need. */
import {
  CreateBucketCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type PutObjectCommandInput,
  S3Client,
} from '@aws-sdk/client-s3';

/** The way to a server and its bucket. */
export interface S3Place {
  readonly endpoint?: string | undefined;
  readonly bucket: string;
  readonly key?: string;
  readonly secret?: string;
}

/** Makes a client that makes one attempt at each request, or several. */
export function clientOf({ endpoint, key = 'S3RVER', secret = 'S3RVER' }: S3Place, maxAttempts = 1): S3Client {
  if (endpoint === undefined) return new S3Client({ maxAttempts });
  return new S3Client({
    endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId: key, secretAccessKey: secret },
    maxAttempts,
  });
}

export async function makeBucket(place: S3Place): Promise<void> {
  const client = clientOf(place);
  await client.send(new CreateBucketCommand({ Bucket: place.bucket }));
  client.destroy();
}

/** A question and the answers that a server may give. */
export interface Question {
  readonly name: string;
  readonly ask: (asker: Asker) => Promise<unknown>;
  readonly answers: readonly unknown[];
}

/** Asks a server, under names that nobody else uses. */
export class Asker {
  readonly client: S3Client;
  readonly #bucket: string;
  readonly #folder = `questions/${Date.now()}-${Math.random().toString(36).slice(2)}`;

  constructor(place: S3Place) {
    this.client = clientOf(place);
    this.#bucket = place.bucket;
  }

  /** Writes, and gives the ETag without its quotes, or the status of the refusal. */
  put(name: string, Body: string, condition: Partial<PutObjectCommandInput> = {}): Promise<string | number> {
    const Key = `${this.#folder}/${name}`;
    const command = new PutObjectCommand({ Bucket: this.#bucket, Key, Body, ...condition });
    return statusOr(this.client.send(command).then(({ ETag = '' }) => ETag.replaceAll('"', '')));
  }

  async get(name: string): Promise<{ body: string; etag: string } | number> {
    const command = new GetObjectCommand({ Bucket: this.#bucket, Key: `${this.#folder}/${name}` });
    return statusOr(
      this.client.send(command).then(async ({ Body, ETag = '' }) => ({
        body: (await Body?.transformToString()) ?? '',
        etag: ETag.replaceAll('"', ''),
      })),
    );
  }

  /** Gives the codes of the errors of a read, and of a write over a version. */
  codes(name: string): Promise<unknown[]> {
    const missing = { Bucket: this.#bucket, Key: `${this.#folder}/${name}` };
    const write = { ...missing, Body: '1', IfMatch: 'd41d8cd98f00b204e9800998ecf8427e' };
    return Promise.all([
      codeOf(this.client.send(new GetObjectCommand(missing))),
      codeOf(this.client.send(new PutObjectCommand(write))),
    ]);
  }

  async list(prefix: string): Promise<string[]> {
    const names: string[] = [];
    let token: string | undefined;
    do {
      const Prefix = `${this.#folder}/${prefix}`;
      const page = await this.client.send(
        new ListObjectsV2Command({ Bucket: this.#bucket, Prefix, ContinuationToken: token }),
      );
      names.push(...(page.Contents ?? []).map(({ Key = '' }) => Key.slice(this.#folder.length + 1)));
      token = page.NextContinuationToken;
    } while (token !== undefined);
    return names.sort();
  }
}

const statusOr = <T>(answer: Promise<T>): Promise<T | number> =>
  answer.catch((error: { $metadata?: { httpStatusCode?: number } }) => {
    const { httpStatusCode } = error.$metadata ?? {};
    if (httpStatusCode === undefined) throw error;
    return httpStatusCode;
  });

const isEtag = (answer: string | number) => typeof answer === 'string';
/** Gives the code of the error that a request meets. */
const codeOf = (request: Promise<unknown>): Promise<unknown> =>
  request.then(
    () => 'none',
    (error: Error) => error.name,
  );
/** Counts the writers of fifty at once that the server let through. */
const winners = async (puts: Promise<string | number>[]) => (await Promise.all(puts)).filter(isEtag).length;
const fifty = <T>(make: (i: number) => T): T[] => Array.from({ length: 50 }, (_, i) => make(i));
const etagOf = async (asker: Asker, name: string, body = '0') => String(await asker.put(name, body));

/** Adds 1 to a counter by compare and swap until `most` additions are made. */
async function count(asker: Asker, most: number): Promise<void> {
  for (let made = 0; made < most; ) {
    const seen = await asker.get('counter');
    if (typeof seen === 'number') throw new Error(`The counter is gone: ${seen}`);
    if (isEtag(await asker.put('counter', String(Number(seen.body) + 1), { IfMatch: seen.etag }))) made++;
  }
}

/** The dates of an answer with the status 200, of one with 404 and of one with 412. */
async function dates(asker: Asker): Promise<boolean> {
  const heard: unknown[] = [];
  const note = (response: unknown) => heard.push((response as { headers?: { date?: string } }).headers?.date);
  asker.client.middlewareStack.add(
    (next) => async (args) => {
      try {
        const result = await next(args);
        note(result.response);
        return result;
      } catch (error) {
        note((error as { $response?: unknown }).$response);
        throw error;
      }
    },
    { step: 'deserialize', priority: 'high', name: 'noteDates' },
  );
  await asker.put('dated', '1');
  await asker.get('undated');
  await asker.put('dated', '1', { IfNoneMatch: '*' });
  asker.client.middlewareStack.remove('noteDates');
  return heard.length === 3 && heard.every((date) => Math.abs(Date.parse(String(date)) - Date.now()) < 60_000);
}

export const questions: readonly Question[] = [
  { name: 'a read of a missing object', ask: (s3) => s3.get('nobody'), answers: [404] },
  {
    name: 'a second creation of one object',
    ask: async (s3) => [
      isEtag(await s3.put('a', '1', { IfNoneMatch: '*' })),
      await s3.put('a', '2', { IfNoneMatch: '*' }),
    ],
    answers: [[true, 412]],
  },
  {
    name: 'a write over another version',
    ask: async (s3) => {
      const first = await etagOf(s3, 'b', '1');
      await s3.put('b', '2');
      return [await s3.put('b', '3', { IfMatch: first }), ((await s3.get('b')) as { body: string }).body];
    },
    answers: [[412, '2']],
  },
  {
    name: 'a write over the present version, by its ETag without quotes',
    ask: async (s3) => isEtag(await s3.put('c', '2', { IfMatch: await etagOf(s3, 'c') })),
    answers: [true],
  },
  // Ceph's gateway calls a missing object another version.
  {
    name: 'a write over a version of a missing object',
    ask: (s3) => s3.put('missing', '1', { IfMatch: 'd41d8cd98f00b204e9800998ecf8427e' }),
    answers: [404, 412],
  },
  {
    name: 'the codes of a read and a write of a missing object',
    ask: (s3) => s3.codes('missing'),
    answers: [
      ['NoSuchKey', 'NoSuchKey'],
      ['NoSuchKey', 'PreconditionFailed'],
    ],
  },
  {
    name: 'fifty creations of one object at once',
    ask: (s3) => winners(fifty((i) => s3.put('race', `${i}`, { IfNoneMatch: '*' }))),
    answers: [1],
  },
  {
    name: 'fifty writes over one version at once',
    ask: async (s3) => {
      const etag = await etagOf(s3, 'race-2');
      return winners(fifty((i) => s3.put('race-2', `by ${i}`, { IfMatch: etag })));
    },
    answers: [1],
  },
  {
    name: 'four writers that count to 20 together',
    ask: async (s3) => {
      await s3.put('counter', '0');
      await Promise.all([1, 2, 3, 4].map(() => count(s3, 5)));
      return ((await s3.get('counter')) as { body: string }).body;
    },
    answers: ['20'],
  },
  {
    name: 'a list right after its writes',
    ask: async (s3) => {
      for (const name of ['p/x', 'p/%41b', 'p/y/z', 'q']) await s3.put(name, '1');
      return s3.list('p/');
    },
    answers: [['p/%41b', 'p/x', 'p/y/z']],
  },
  { name: 'the Date of the answers 200, 404 and 412', ask: dates, answers: [true] },
];
