// The client libraries that RedisLockStore takes, each under one name and one way to connect and to close.
import { GlideClient, GlideClusterClient, Logger } from '@valkey/valkey-glide';
import { Cluster, Redis } from 'ioredis';
import { Valkey, Cluster as ValkeyCluster } from 'iovalkey';
import { createClient, createCluster } from 'redis';
import type { RedisClient } from '../../lib/redis.ts';

export interface Connected {
  readonly client: RedisClient;
  close(): unknown;
}

const host = '127.0.0.1';
const quiet = () => {};
// The faults are planned: GLIDE would log each.
Logger.setLoggerConfig('off');

/** Each library's client of one server. */
export const CLIENTS: Readonly<Record<string, (port: number) => Promise<Connected>>> = {
  async ioredis(port) {
    const client = new Redis({ host, port, lazyConnect: true });
    client.on('error', quiet);
    await client.connect();
    return { client, close: () => client.disconnect() };
  },
  async iovalkey(port) {
    const client = new Valkey({ host, port, lazyConnect: true });
    client.on('error', quiet);
    await client.connect();
    return { client, close: () => client.disconnect() };
  },
  async 'node-redis'(port) {
    const client = createClient({ socket: { host, port } });
    client.on('error', quiet);
    await client.connect();
    return { client, close: () => client.destroy() };
  },
  async 'node-redis with RESP3'(port) {
    const client = createClient({ socket: { host, port }, RESP: 3 });
    client.on('error', quiet);
    await client.connect();
    return { client, close: () => client.destroy() };
  },
  async GLIDE(port) {
    const client = await GlideClient.createClient({ addresses: [{ host, port }] });
    return { client, close: () => client.close() };
  },
};

/** Each library's client of a cluster. */
export const CLUSTER_CLIENTS: Readonly<Record<string, (ports: readonly number[]) => Promise<Connected>>> = {
  async ioredis(ports) {
    const client = new Cluster(
      ports.map((port) => ({ host, port })),
      { lazyConnect: true },
    );
    client.on('error', quiet);
    await client.connect();
    return { client, close: () => client.disconnect() };
  },
  async iovalkey(ports) {
    const client = new ValkeyCluster(
      ports.map((port) => ({ host, port })),
      { lazyConnect: true },
    );
    client.on('error', quiet);
    await client.connect();
    return { client, close: () => client.disconnect() };
  },
  async 'node-redis'(ports) {
    const client = createCluster({ rootNodes: ports.map((port) => ({ socket: { host, port } })) });
    client.on('error', quiet);
    await client.connect();
    return { client, close: () => client.destroy() };
  },
  async GLIDE(ports) {
    const client = await GlideClusterClient.createClient({ addresses: ports.map((port) => ({ host, port })) });
    return { client, close: () => client.close() };
  },
};
