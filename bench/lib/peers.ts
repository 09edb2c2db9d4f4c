// The peers, as far as they are installed: npm ci --prefix bench. redlock also needs the program redis-server.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { DynamoDBDocument } from '@aws-sdk/lib-dynamodb';
import { type Contender, handled, type Release } from './contenders.ts';
import type { Server } from './servers.ts';

/** The milliseconds of every peer's lease. */
const LEASE_MS = 30_000;

/** Makes the peers that are installed. */
export async function peers(server: Server): Promise<Contender[]> {
  const made = [powertools, deliveryHero, lockClient, ...(server.name === 'dynoxide' ? [redlock] : [])].map((make) =>
    make(server).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ERR_MODULE_NOT_FOUND' && error.code !== 'ENOENT') throw error;
      console.error(`  left out: ${error.message.split('\n')[0]}`);
      return undefined;
    }),
  );
  return (await Promise.all(made)).filter((peer) => peer !== undefined);
}

// biome-ignore lint/suspicious/noExplicitAny: the peers need not be installed, so that their types are not known.
const load = (specifier: string): Promise<any> => import(specifier);

async function powertools(server: Server): Promise<Contender> {
  const { makeIdempotent, IdempotencyConfig } = await load('@aws-lambda-powertools/idempotency');
  const { DynamoDBPersistenceLayer } = await load('@aws-lambda-powertools/idempotency/dynamodb');
  const persistenceStore = new DynamoDBPersistenceLayer({ tableName: await server.table(), keyAttr: 'lockKey' });
  const config = new IdempotencyConfig({ eventKeyJmesPath: 'key' });
  const locked = (work: () => Promise<unknown>) => handled(makeIdempotent(work, { persistenceStore, config }));
  return {
    name: 'Powertools idempotency',
    cycle: locked(async () => ({})),
    take: (key) =>
      new Promise((resolve, reject) => {
        const held = (end: (result: object) => void) =>
          resolve(() => {
            end({});
            return ended;
          });
        const ended = locked(() => new Promise(held))(key);
        ended.catch((error) => (/InProgress/.test(error.name) ? resolve(undefined) : reject(error)));
      }),
  };
}

async function deliveryHero(server: Server): Promise<Contender> {
  const { dynamoDBLockClientFactory } = await load('@deliveryhero/dynamodb-lock');
  const [partitionKey, sortKey] = ['lockKey', 'lockGroup'];
  const tableName = await server.table(sortKey);
  const documents = DynamoDBDocument.from(new DynamoDBClient({}));
  const locks = dynamoDBLockClientFactory(documents, { tableName, partitionKey, sortKey });
  const options = { prolongLeaseEnabled: false, leaseDurationInMs: LEASE_MS, trustLocalTime: true };
  const lock = async (key: string, more: object): Promise<Release> => {
    const held = await locks.lock('group', key, { ...options, ...more });
    return () => locks.releaseLock(held);
  };
  const once = { waitDurationInMs: 1, maxRetryCount: 0 };
  return {
    name: '@deliveryhero/dynamodb-lock',
    cycle: async (key) => (await lock(key, {}))(),
    take: (key) => lock(key, once).catch(() => undefined),
    die: (key, leaseDurationInMs) => lock(key, { leaseDurationInMs }),
    wait: (key) => lock(key, { waitDurationInMs: 100 }),
    // It tells nobody: a renewal that fails ends the process by an unhandled rejection.
    async hold(key, leaseDurationInMs, lost) {
      process.on('unhandledRejection', lost);
      await lock(key, { leaseDurationInMs, prolongLeaseEnabled: true, prolongEveryMs: leaseDurationInMs / 3 });
    },
  };
}

async function lockClient(server: Server): Promise<Contender> {
  const { default: module } = await load('dynamodb-lock-client');
  const client = DynamoDBDocument.from(new DynamoDBClient({}));
  // Made for the SDK 2: an error had its name in `code`.
  type Callback = (error?: Error, data?: unknown) => void;
  const calling = (call: (input: never) => Promise<unknown>) => (input: never, callback: Callback) =>
    call(input).then(
      (data) => callback(undefined, data),
      (error) => callback(Object.assign(error, { code: error.name })),
    );
  const dynamodb = {
    get: calling((input) => client.get(input)),
    put: calling((input) => client.put(input)),
    delete: calling((input) => client.delete(input)),
  };
  const lockTable = await server.table();
  const settings = { dynamodb, lockTable, partitionKey: 'lockKey', leaseDurationMs: LEASE_MS, trustLocalTime: true };
  const locks = new module.FailOpen(settings);
  return {
    name: 'dynamodb-lock-client',
    cycle: (key) =>
      new Promise<void>((resolve, reject) => {
        locks.acquireLock(key, (error: Error | undefined, lock: { release(callback: Callback): void }) => {
          if (error) reject(error);
          else lock.release((failed) => (failed ? reject(failed) : resolve()));
        });
      }),
  };
}

async function redlock(): Promise<Contender> {
  const [{ default: Redlock }, { default: Redis }] = [await load('redlock'), await load('ioredis')];
  const { port, ...server } = await startRedis();
  const redis = new Redis(port, '127.0.0.1');
  const trying = new Redlock([redis], { retryCount: 0 });
  const waiting = new Redlock([redis], { retryCount: -1 });
  const holding = new Redlock([redis]);
  // Redlock tells of each refused attempt.
  for (const each of [trying, waiting, holding]) each.on('error', () => {});
  type Lock = { release(): Promise<unknown> };
  const release =
    (lock: Lock): Release =>
    () =>
      lock.release();
  return {
    name: 'redlock, on Redis',
    cycle: async (key) => (await trying.acquire([key], LEASE_MS)).release(),
    take: (key) => trying.acquire([key], LEASE_MS).then(release, () => undefined),
    die: (key, leaseMs) => trying.acquire([key], leaseMs),
    wait: async (key) => release(await waiting.acquire([key], LEASE_MS)),
    hold: (key, leaseMs, lost) =>
      new Promise((held) => {
        const forEver = (signal: AbortSignal) =>
          new Promise(() => {
            signal.addEventListener('abort', lost);
            held(undefined);
          });
        holding.using([key], leaseMs, forEver).catch(() => {});
      }),
    server,
  };
}

/** Redlock on a server that runs already. Undefined if Redlock is not installed. */
export async function redlockOn(port: number): Promise<Pick<Contender, 'name' | 'cycle'> | undefined> {
  try {
    const [{ default: Redlock }, { default: Redis }] = [await load('redlock'), await load('ioredis')];
    const locks = new Redlock([new Redis(port, '127.0.0.1')], { retryCount: 0 });
    return { name: 'redlock, ioredis', cycle: async (key) => (await locks.acquire([key], LEASE_MS)).release() };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    return undefined;
  }
}

async function startRedis() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  const child = spawn(
    'redis-server',
    ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'],
    {
      stdio: 'ignore',
    },
  );
  await once(child, 'spawn');
  process.once('exit', () => child.kill('SIGKILL'));
  await sleep(200);
  return { port, suspend: () => void child.kill('SIGSTOP'), resume: () => void child.kill('SIGCONT') };
}
