/** Opens the store that a URL names, for the operators' command, the demo and the chaos runs. */
import { fileURLToPath } from 'node:url';
import type { LockStore } from '../lib/index.ts';
import { show } from '../lib/record/check.ts';

/** The environment variable that names a store by its URL. */
export const LOCK_STORE = 'LOCK_STORE';

/** The forms of a store's URL. */
export const STORE_FORMS =
  's3://BUCKET[/PREFIX], redis://[USER:PASSWORD@]HOST[:6379][/DB][?prefix=PREFIX], rediss://… (over TLS) or file:/PATH';

export interface OpenStore {
  readonly store: LockStore;
  /** The name of the place, for people. The name has no password. */
  readonly title: string;
  /** The part of the server in which the store looks, for people, if a server has several. */
  readonly within?: string;
  /** Closes the connection, so that the process can end. */
  close(): void;
}

export interface OpenOptions {
  /** The days that a record stays after its expiry, on Redis. */
  readonly retentionDays?: number | undefined;
}

type Opened = Omit<OpenStore, 'title'>;

/** The openers of the stores, by the URL's scheme. A store and its client are loaded when they are needed. */
const OPENERS: Readonly<Record<string, (url: string, options: OpenOptions) => Promise<Opened>>> = {
  s3: openS3,
  redis: openRedis,
  rediss: openRedis,
  file: openFile,
};

/**
 * Opens a store.
 * @throws TypeError for a URL of another form. The error shows the URL without its password.
 */
export async function openStore(url: string, options: OpenOptions = {}): Promise<OpenStore> {
  const [scheme = ''] = url.split(':', 1);
  if (!url.includes(':') || !Object.hasOwn(OPENERS, scheme)) throw wrong(url);
  const opened = await (OPENERS[scheme] as (typeof OPENERS)[string])(url, options);
  return { ...opened, title: withoutSecrets(url) };
}

/** True if a store takes the option `retentionDays`. */
export const takesRetention = (url: string): boolean => /^rediss?:/.test(url);

async function openS3(url: string): Promise<Opened> {
  // No parser of URLs: an access point is named by its ARN.
  const [, bucket, path] = /^s3:\/\/(arn:[^/]+\/[^/]+|[^/?#@]+)(?:\/(.*))?$/s.exec(url) ?? [];
  if (bucket === undefined) throw wrong(url);
  const prefix = path === undefined || path === '' || path.endsWith('/') ? path : `${path}/`;
  const { S3LockStore } = await import('../lib/s3.ts');
  const isNamed = Boolean(process.env.AWS_ENDPOINT_URL_S3 || process.env.AWS_ENDPOINT_URL);
  // The SDK takes no ARN in a path.
  const client = isNamed && !bucket.startsWith('arn:') ? await pathStyleClient() : undefined;
  return { store: new S3LockStore({ bucket, prefix, client }), close: () => client?.destroy() };
}

/**
 * A client for a server of another maker, whose name has no subdomains for the buckets, as `localhost` has none. Undefined without
 * the SDK: then the store says what to install.
 */
async function pathStyleClient() {
  const sdk = await import('@aws-sdk/client-s3').catch(() => undefined);
  return sdk && new sdk.S3Client({ forcePathStyle: true, maxAttempts: 1 });
}

async function openRedis(url: string, { retentionDays }: OpenOptions): Promise<Opened> {
  const { protocol, hostname, port, username, password, pathname, search, hash } = parsed(url);
  const [, db] = /^\/?(\d*)$/.exec(pathname) ?? [];
  // No URLSearchParams, which takes a plus sign for a space.
  const [, prefix] = /^\?prefix=([^&]+)$/.exec(search) ?? [];
  if (!hostname || db === undefined || (search && prefix === undefined) || hash) throw wrong(url);
  const keyPrefix = prefix === undefined ? undefined : decoded(url, prefix);
  const { connectRedis } = await import('./redis-clients.ts');
  const { client, close } = await connectRedis({
    host: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port || 6379),
    tls: protocol === 'rediss:',
    username: decoded(url, username) || undefined,
    password: decoded(url, password) || undefined,
    db: Number(db),
  });
  try {
    const { RedisLockStore } = await import('../lib/redis.ts');
    const store = new RedisLockStore({ client, keyPrefix, retentionDays });
    return { store, within: `the prefix ${show(store.server.keyPrefix)} on Redis`, close };
  } catch (error) {
    close();
    throw error;
  }
}

async function openFile(url: string): Promise<Opened> {
  const { host, search, hash } = parsed(url);
  // `new URL` makes `file:/locks` of `file:locks`: another folder than the operator means.
  if (!/^file:\//.test(url) || host || search || hash) throw wrong(url);
  const { FileLockStore } = await import('../lib/file.ts');
  return { store: new FileLockStore({ directory: pathOf(url) }), close() {} };
}

function pathOf(url: string): string {
  try {
    return fileURLToPath(url);
  } catch {
    throw wrong(url, ' In a path, write a percent sign as %25, and a slash as it is.');
  }
}

function parsed(url: string): URL {
  if (!URL.canParse(url)) throw wrong(url);
  return new URL(url);
}

function decoded(url: string, part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw wrong(url);
  }
}

function wrong(url: string, advice = ''): TypeError {
  return new TypeError(`A store must be ${STORE_FORMS}, but it is ${show(withoutSecrets(url))}.${advice}`);
}

/** Whatever stands before an @ may be a password, and so may a parameter, and what stands where a port should. */
const withoutSecrets = (url: string): string =>
  url
    .replace(/^((?:s3|rediss?|file):\/*)?.*@/s, '$1…@')
    .replace(/([?#]).*$/s, '$1…')
    .replace(/^(rediss?:\/*[^:/@]*:)(?!\d+(?:\/|$)).*$/s, '$1…');
