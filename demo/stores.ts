/** The places of locks that the demo runs on: each starts on this machine, and is gone with the demo. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { LOCK_STORE } from '../bin/open-store.ts';
import { LOCK_TABLE_NAME } from '../lib/names.ts';

interface Place {
  /** The server's name, or the folder's. */
  readonly name: string;
  /** The environment variables by which the handler finds the place. */
  readonly environment: Record<string, string>;
}

interface Store {
  /** The kind of place, for people: `one table of locks`. */
  readonly title: string;
  /** The source of the handler that takes its locks there. */
  readonly handler: string;
  /** Says what to install if the store does not run here. */
  missing(): Promise<string | undefined>;
  start(started: AsyncDisposableStack): Promise<Place>;
}

const BY_URL = 'demo/task-worker.ts';

const STORES = {
  dynamodb: {
    title: 'one table of locks',
    handler: 'lambda/task-worker.ts',
    missing: async () => (await import('./local/servers.ts')).missingDynamoDB(),
    async start(started) {
      const { startDynamoDB } = await import('./local/launcher.ts');
      const dynamodb = started.use(await startDynamoDB());
      const table = await dynamodb.createLockTable('locks');
      return {
        name: dynamodb.server,
        environment: { ...dynamodb.environment, [LOCK_TABLE_NAME]: table },
      };
    },
  },
  redis: {
    title: 'one Redis with the locks',
    handler: BY_URL,
    async missing() {
      const { isRedisInstalled } = await import('../test/support/redis-servers.ts');
      return isRedisInstalled ? undefined : 'install redis-server, for example by apt-get install redis-server';
    },
    async start(started) {
      const { RedisServer } = await import('../test/support/redis-servers.ts');
      const server = started.use(await RedisServer.start());
      return { name: 'redis-server', environment: { [LOCK_STORE]: server.url } };
    },
  },
  s3: {
    title: 'one bucket of locks',
    handler: BY_URL,
    missing: async () => undefined,
    async start(started) {
      const { S3Server } = await import('../test/s3/server.ts');
      const server = started.use(await S3Server.start());
      server.makeBucket('jobs');
      return {
        name: 'the S3 server of the tests',
        environment: {
          AWS_ENDPOINT_URL_S3: server.endpoint,
          AWS_REGION: 'us-east-1',
          AWS_ACCESS_KEY_ID: 'local',
          AWS_SECRET_ACCESS_KEY: 'local',
          [LOCK_STORE]: 's3://jobs/locks',
        },
      };
    },
  },
  file: {
    title: 'one folder of locks',
    handler: BY_URL,
    missing: async () => undefined,
    async start(started) {
      const folder = mkdtempSync(join(tmpdir(), 'leasehold-locks-'));
      started.defer(() => rmSync(folder, { recursive: true, force: true }));
      return { name: folder, environment: { [LOCK_STORE]: pathToFileURL(folder).href } };
    },
  },
} satisfies Record<string, Store>;

/** The names of the stores, for people. */
export const STORE_NAMES = Object.keys(STORES).join(', ');

/** The store that was asked for. Where no DynamoDB runs, the default is files in a temporary folder, and a line says so. */
export async function storeOf(name: string | undefined): Promise<Store> {
  if (name !== undefined && !Object.hasOwn(STORES, name)) {
    throw new TypeError(`--store must be one of ${STORE_NAMES}, but it is '${name}'.`);
  }
  const store: Store = STORES[(name ?? 'dynamodb') as keyof typeof STORES];
  const missing = await store.missing();
  if (missing === undefined) return store;
  if (name !== undefined) throw new Error(`Expected ${name} to run here: ${missing}.`);
  console.log(`No DynamoDB runs here (${missing}), so the locks are files in a temporary folder.`);
  return STORES.file;
}
