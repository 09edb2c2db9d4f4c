/** Connects to Redis by the client library that is installed. leasehold itself depends on none. */
import type { RedisClient } from '../lib/redis.ts';

/** The address of a server and the account there, as a URL has them. */
export interface RedisServer {
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly db: number;
}

export interface Connected {
  readonly client: RedisClient;
  close(): void;
}

const CONNECT_MS = 3_000;
/** The time for the connection and the first answers. The libraries bound the connection alone. */
const READY_MS = 5_000;
const RECONNECT_MS = 100;

type Libraries = Readonly<Record<string, (server: RedisServer) => Promise<Connected>>>;

/** The libraries, in the order in which they are tried. None keeps requests in a queue while the server is away. */
export const LIBRARIES: Libraries = {
  async redis({ host, port, tls, db, ...account }) {
    const { createClient } = await import('redis');
    let wasConnected = false;
    // A server that was never there is an error, and not a reason to wait.
    const reconnectStrategy = () => wasConnected && RECONNECT_MS;
    const socket = { host, port, connectTimeout: CONNECT_MS, reconnectStrategy, ...(tls && { tls: true as const }) };
    const client = createClient({ socket, ...account, database: db, disableOfflineQueue: true });
    client.on('error', () => {});
    await ready(client.connect(), () => end(client));
    wasConnected = true;
    return { client, close: () => end(client) };
  },
  ioredis: async (server) => connectIoredis((await import('ioredis')).Redis, server),
  iovalkey: async (server) => connectIoredis((await import('iovalkey')).Valkey, server),
  async '@valkey/valkey-glide'({ host, port, tls, username, password, db }) {
    const { GlideClient, Logger } = await import('@valkey/valkey-glide');
    // GLIDE would log to the standard output, among the command's answers.
    Logger.setLoggerConfig('off');
    const client = await GlideClient.createClient({
      addresses: [{ host, port }],
      useTLS: tls,
      ...(password !== undefined && { credentials: { ...(username !== undefined && { username }), password } }),
      databaseId: db,
      requestTimeout: CONNECT_MS,
      connectionBackoff: { numberOfRetries: 1, factor: RECONNECT_MS, exponentBase: 1 },
      advancedConfiguration: { connectionTimeout: CONNECT_MS },
    });
    return { client, close: () => client.close() };
  },
};

/** Ends the connection of node-redis at once. Version 4 has no `destroy`, and its `disconnect` rejects on a closed connection. */
export function end(client: { destroy?(): void; disconnect(): unknown }): void {
  if (client.destroy) client.destroy();
  else Promise.resolve(client.disconnect()).catch(() => {});
}

/** Gives up a connection to a server that accepts connections and does not answer. */
async function ready(connecting: Promise<unknown>, giveUp: () => void): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`no answer came within ${READY_MS} ms`));
      giveUp();
    }, READY_MS);
  });
  try {
    await Promise.race([connecting, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The part of ioredis that iovalkey, which was forked off, has as well. */
type Ioredis = RedisClient & {
  on(event: 'error', listener: (error: Error) => void): unknown;
  connect(): Promise<unknown>;
  disconnect(): void;
};

async function connectIoredis(
  Client: new (options: object) => Ioredis,
  { tls, ...server }: RedisServer,
): Promise<Connected> {
  let cause: Error | undefined;
  let wasConnected = false;
  const client = new Client({
    ...server,
    ...(tls && { tls: {} }),
    lazyConnect: true,
    enableOfflineQueue: false,
    connectTimeout: CONNECT_MS,
    retryStrategy: () => (wasConnected ? RECONNECT_MS : null),
  });
  client.on('error', (error) => {
    cause = error;
  });
  try {
    await ready(client.connect(), () => client.disconnect());
  } catch (error) {
    // The rejection says no more than that the connection is closed.
    throw cause ?? error;
  }
  wasConnected = true;
  return { client, close: () => client.disconnect() };
}

/**
 * Connects to a server.
 * @throws Error that says what to install if no library is there, or names the server that did not let us in.
 */
export async function connectRedis(server: RedisServer, libraries = LIBRARIES): Promise<Connected> {
  for (const [name, connect] of Object.entries(libraries)) {
    try {
      return await connect(server);
    } catch (error) {
      if (isMissing(error, name)) continue;
      const { message } = error as Error;
      throw new Error(`Connecting to Redis at ${server.host}:${server.port}: ${message}`, { cause: error });
    }
  }
  const others = Object.keys(LIBRARIES).slice(1).join(', ');
  throw new Error(`No client of Redis is installed. Type: npm install redis (or one of ${others}).`);
}

/** True if a library is not installed. A library that lacks a package of its own is broken. */
function isMissing(error: unknown, library: string): boolean {
  const { code, message } = error as NodeJS.ErrnoException;
  const isAbsent = code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND';
  return isAbsent && message.includes(`'${library}'`);
}
