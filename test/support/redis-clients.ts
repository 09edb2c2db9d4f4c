// The client libraries that RedisLockStore takes, each under one name and one way to connect and to close.
import { GlideClient, GlideClusterClient, Logger } from '@valkey/valkey-glide';
import { Cluster, Redis } from 'ioredis';
import { Valkey, Cluster as ValkeyCluster } from 'iovalkey';
import { createClient, createCluster } from 'redis';
import type { RedisClient, RedisSubscriber } from '../../lib/redis.ts';

/** A server, or any server of a cluster. */
export interface Place {
  readonly host: string;
  readonly port: number;
  readonly username?: string;
  readonly password?: string;
  /** The certificate to trust, as PEM, or `true` for those that Node trusts. */
  readonly tls?: string | true;
}

export interface Connected {
  readonly client: RedisClient & RedisSubscriber;
  close(): unknown;
}

export type Connect = (place: Place) => Promise<Connected>;

/** A server of this machine. */
export const local = (port: number): Place => ({ host: '127.0.0.1', port });

/** Reads `rediss://USER:PASSWORD@HOST:PORT`. */
export function placeOf(text: string): Place {
  const { protocol, hostname, port, username, password } = new URL(text);
  return {
    host: hostname,
    port: Number(port || 6379),
    ...(username && { username: decodeURIComponent(username) }),
    ...(password && { password: decodeURIComponent(password) }),
    ...(protocol === 'rediss:' && { tls: true as const }),
  };
}

const quiet = () => {};
// The faults are planned: GLIDE would log each.
Logger.setLoggerConfig('off');

const caOf = ({ tls }: Place) => (typeof tls === 'string' ? { ca: tls } : {});

type Ioredis = { on(event: 'error', listener: () => void): unknown; connect(): Promise<void>; disconnect(): void };
/** ioredis and iovalkey. */
async function connected(client: Ioredis): Promise<Connected> {
  client.on('error', quiet);
  await client.connect();
  return { client: client as unknown as Connected['client'], close: () => client.disconnect() };
}

function ioredisOptions(place: Place) {
  const { tls, ...options } = place;
  return { ...options, ...(tls && { tls: caOf(place) }) };
}

function nodeRedisOptions(place: Place) {
  const { host, port, tls, ...user } = place;
  return { socket: tls ? { host, port, tls: true as const, ...caOf(place) } : { host, port }, ...user };
}

function glideOptions(place: Place) {
  const { host, port, tls, username, password } = place;
  const rootCertificates = typeof tls === 'string' ? Buffer.from(tls) : undefined;
  return {
    addresses: [{ host, port }],
    ...(password !== undefined && { credentials: { password, ...(username && { username }) } }),
    useTLS: tls !== undefined,
    ...(rootCertificates && { advancedConfiguration: { tlsAdvancedConfiguration: { rootCertificates } } }),
  };
}

async function nodeRedis(place: Place, RESP: 2 | 3): Promise<Connected> {
  const client = createClient({ ...nodeRedisOptions(place), RESP });
  client.on('error', quiet);
  await client.connect();
  return { client: client as unknown as Connected['client'], close: () => client.destroy() };
}

/** Each library's client of one server. */
export const CLIENTS = {
  ioredis: (place) => connected(new Redis({ ...ioredisOptions(place), lazyConnect: true })),
  iovalkey: (place) => connected(new Valkey({ ...ioredisOptions(place), lazyConnect: true })),
  'node-redis': (place) => nodeRedis(place, 2),
  'node-redis with RESP3': (place) => nodeRedis(place, 3),
  async GLIDE(place) {
    const client = await GlideClient.createClient(glideOptions(place));
    return { client, close: () => client.close() };
  },
} as const satisfies Record<string, Connect>;

/** A first node alone: its other properties would go before the options of all nodes. */
const nodeOf = ({ host, port }: Place) => ({ host, port });
/** Without a bound, a client that may not connect tries for ever, and the tests do not end. */
const ioredisClusterOptions = {
  lazyConnect: true,
  clusterRetryStrategy: (times: number) => (times < 100 ? 100 : null),
};

/** Each library's client of a cluster. */
export const CLUSTER_CLIENTS = {
  ioredis: (place) =>
    connected(new Cluster([nodeOf(place)], { ...ioredisClusterOptions, redisOptions: ioredisOptions(place) })),
  iovalkey: (place) =>
    connected(new ValkeyCluster([nodeOf(place)], { ...ioredisClusterOptions, redisOptions: ioredisOptions(place) })),
  async 'node-redis'(place) {
    const options = nodeRedisOptions(place);
    const client = createCluster({ rootNodes: [options], defaults: options });
    client.on('error', quiet);
    await client.connect();
    return { client: client as unknown as Connected['client'], close: () => client.destroy() };
  },
  async GLIDE(place) {
    const client = await GlideClusterClient.createClient(glideOptions(place));
    return { client, close: () => client.close() };
  },
} as const satisfies Record<string, Connect>;

/** Runs `use` with a library's client, which is closed afterwards. */
export async function withClient<T>(
  library: keyof typeof CLIENTS,
  place: Place | number,
  use: (client: Connected['client']) => Promise<T>,
): Promise<T> {
  const { client, close } = await CLIENTS[library](typeof place === 'number' ? local(place) : place);
  try {
    return await use(client);
  } finally {
    close();
  }
}
