import { show } from '../record/check.ts';

// The clients by their structure: leasehold depends on none of their packages. `any` stands where each package has a type of
// its own for the same values.

/** A client of ioredis or iovalkey, of one server or of a cluster. */
interface IoredisClient {
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  call(command: string, args: any): Promise<unknown>;
  readonly status?: string;
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  readonly options?: any;
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  nodes?(role?: any): any[];
}

/** A client of GLIDE (`@valkey/valkey-glide`), of one server or of a cluster. */
interface GlideClient {
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  customCommand(args: any[], options?: any): Promise<unknown>;
}

/** A client of node-redis (`redis`, `@redis/client`), of one server or of a pool. */
interface NodeRedisClient {
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  sendCommand(args: any, options?: any): Promise<unknown>;
  readonly isReady?: boolean;
}

/** A cluster of node-redis. */
interface NodeRedisCluster {
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  sendCommand(firstKey: any, isReadonly: any, args: any, options?: any): Promise<unknown>;
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  readonly masters: any[];
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  nodeClient(node: any): any;
}

/** A connected client of ioredis, iovalkey, node-redis or GLIDE, of one server or of a cluster. */
export type RedisClient = IoredisClient | GlideClient | NodeRedisClient | NodeRedisCluster;

/** Sends a command to one server. */
export type Send = (args: readonly string[], signal?: AbortSignal) => Promise<unknown>;

/** The commands that leasehold sends, over a client of any library. */
export interface Connection {
  /** Sends a command about one key to the server that has the key. */
  send(key: string, args: readonly string[], signal?: AbortSignal): Promise<unknown>;
  /** One sender for each server that has keys: the only server, or each primary of a cluster, in an order that stays. */
  primaries(): Promise<readonly Send[]>;
  /** Says that the client has no connection, and keeps requests in a queue until it has one. Undefined if it is connected. */
  queueing(): string | undefined;
}

/** The clients that a store takes, for messages. */
const CLIENTS = "a connected client of ioredis, iovalkey, node-redis ('redis') or GLIDE ('@valkey/valkey-glide')";
/** GLIDE's `Decoder.Bytes`. Its decoder of texts throws for a name or a value of somebody else's that is no UTF-8. */
const AS_BYTES = { decoder: 0 };

/**
 * Finds the way to send commands over a client.
 * @throws TypeError that says which clients are accepted.
 */
export function connectionOf(client: RedisClient): Connection {
  const has = (name: string) =>
    typeof (client as unknown as Record<string, unknown> | undefined)?.[name] === 'function';
  // ioredis has `sendCommand`, too, which takes other arguments.
  if (has('call')) return overIoredis(client as IoredisClient);
  if (has('customCommand')) return overGlide(client as GlideClient);
  if (has('sendCommand') && has('nodeClient')) return overNodeRedisCluster(client as NodeRedisCluster);
  if (has('sendCommand')) return overNodeRedis(client as NodeRedisClient);
  throw new TypeError(`client must be ${CLIENTS}, but it is ${show(client)}.`);
}

function overIoredis(client: IoredisClient): Connection {
  const prefix = client.options?.keyPrefix ?? client.options?.redisOptions?.keyPrefix;
  if (prefix) {
    throw new TypeError(
      `client must have no keyPrefix of its own, but its keyPrefix is ${show(prefix)}: it would not be put before the names of channels and patterns. Give keyPrefix to RedisLockStore, and a client without it.`,
    );
  }
  const sendOver =
    (node: IoredisClient): Send =>
    ([command = '', ...args]) =>
      node.call(command, args);
  const send = sendOver(client);
  return {
    send: (_key, args) => send(args),
    async primaries() {
      const nodes: IoredisClient[] | undefined = client.nodes?.('master');
      return nodes ? inOrder(nodes, ({ options }) => `${options.host}:${options.port}`).map(sendOver) : [send];
    },
    queueing: () =>
      client.status === undefined || client.status === 'ready'
        ? undefined
        : `The client is not connected (its status is '${client.status}') and queues the request. To fail at once, set enableOfflineQueue: false on the client.`,
  };
}

function overNodeRedis(client: NodeRedisClient): Connection {
  // An aborted request that still waits in the client's queue is never sent. A request on its way cannot be called back.
  const send: Send = (args, abortSignal) =>
    client.isReady === false ? client.sendCommand(args, { abortSignal }) : client.sendCommand(args);
  return {
    send: (_key, args, signal) => send(args, signal),
    primaries: async () => [send],
    queueing: () =>
      client.isReady === false
        ? 'The client is not connected and queues the request. To fail at once, set disableOfflineQueue: true on the client.'
        : undefined,
  };
}

function overNodeRedisCluster(cluster: NodeRedisCluster): Connection {
  return {
    send: (key, args) => cluster.sendCommand(key, false, args),
    async primaries() {
      const nodes = inOrder(cluster.masters, ({ address }) => address);
      const clients: NodeRedisClient[] = await Promise.all(nodes.map((node) => cluster.nodeClient(node)));
      return clients.map(
        (client): Send =>
          (args, abortSignal) =>
            client.sendCommand(args, { abortSignal }),
      );
    },
    queueing: () => undefined,
  };
}

function overGlide(client: GlideClient): Connection {
  const sendOver =
    (options: object): Send =>
    async (args) =>
      textOf(await client.customCommand([...args], options));
  const send = sendOver(AS_BYTES);
  return {
    send: (_key, args) => send(args),
    async primaries() {
      // Only GLIDE's client of a cluster has this method.
      if (!('ssubscribe' in client)) return [send];
      const ranges = (await send(['CLUSTER', 'SLOTS'])) as [from: number, to: number, primary: [string, number]][];
      // A primary has one range of slots or several.
      const primaries = new Map(ranges.map(([, , [host, port]]) => [`${host}:${port}`, { host, port: Number(port) }]));
      return inOrder([...primaries], ([address]) => address).map(([, at]) =>
        sendOver({ ...AS_BYTES, route: { type: 'routeByAddress', ...at } }),
      );
    },
    // GLIDE has no queue: it fails by its own `requestTimeout`.
    queueing: () => undefined,
  };
}

/** Makes texts of the bytes in an answer. */
const textOf = (answer: unknown): unknown => {
  if (Array.isArray(answer)) return answer.map(textOf);
  return Buffer.isBuffer(answer) ? answer.toString() : answer;
};

/** A page of a list names its server by the place in this order. */
const inOrder = <Node>(nodes: readonly Node[], nameOf: (node: Node) => string): Node[] =>
  [...nodes].sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
