import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { connectionOf } from '../../lib/redis/client.ts';
import { RedisLockStore } from '../../lib/redis.ts';
import { listed } from '../support/listed.ts';
import { CLIENTS, CLUSTER_CLIENTS, type Connect, type Connected, local, placeOf } from '../support/redis-clients.ts';
import { isRedisInstalled, REDIS, RedisServer, startCluster } from '../support/redis-servers.ts';
import { aboveTheStore } from './above-the-store.ts';
import { damagedRecords } from './damaged-records.ts';
import { lockStoreContract } from './lock-store-contract.ts';
import { sameAsMemory } from './same-as-memory.ts';

// A busy machine needs more time than Jest's default.
jest.setTimeout(60_000);
const describeHere = isRedisInstalled ? describe : describe.skip;
/** The command test:redis tries more histories, over more libraries. */
const isLong = process.env.LEASEHOLD_TEST_REDIS === 'long';
/** A server that somebody else runs. */
const { REDIS_URL, REDIS_CLUSTER } = process.env;

/** Declares the suites of a store over one client. */
function suites(connect: () => Promise<Connected>, { isWhole, runs }: { isWhole: boolean; runs: number }): void {
  const keyPrefix = `leasehold-test-${randomUUID()}:`;
  const prefixes = [keyPrefix];
  let connected: Connected;
  const newStore = () => new RedisLockStore({ client: connected.client, keyPrefix });
  beforeAll(async () => {
    connected = await connect();
  });
  afterAll(async () => {
    const connection = connectionOf(connected.client);
    for (const prefix of prefixes) {
      const store = new RedisLockStore({ client: connected.client, keyPrefix: prefix });
      const hashes = (await listed(store)).map(({ key }) => `${prefix}{${key}}`);
      await Promise.all(hashes.map((hash) => connection.send(hash, ['DEL', hash])));
    }
    connected.close();
  });
  lockStoreContract(newStore);
  sameAsMemory(newStore, { runs });
  if (isWhole) aboveTheStore(newStore);
  damagedRecords(() => {
    const prefix = `${keyPrefix}${randomUUID()}:`;
    prefixes.push(prefix);
    const store = new RedisLockStore({ client: connected.client, keyPrefix: prefix });
    const send = (name: string, key: string, ...words: string[]) => {
      const hash = `${prefix}{${key}}`;
      return connectionOf(connected.client).send(hash, [name, hash, ...words]);
    };
    return {
      store,
      raw: (key) => send('HGETALL', key),
      async change(key, fields) {
        for (const [name, value] of Object.entries(fields)) {
          // A field has digits, as the store writes them.
          const digits = typeof value === 'number' && Number.isInteger(value) ? BigInt(value) : value;
          await (value === undefined ? send('HDEL', key, name) : send('HSET', key, name, String(digits)));
        }
      },
    };
  });
}

for (const [library, connect] of Object.entries<Connect>(CLIENTS)) {
  // A server of its own for each library: on a server that knows the script, no client would have to send its text.
  describeHere(`RedisLockStore over ${library} (${REDIS})`, () => {
    let server: RedisServer;
    const start = async () => {
      server = await RedisServer.start();
      return connect(local(server.port));
    };
    suites(start, { isWhole: isLong || library === 'node-redis', runs: isLong ? 400 : 40 });
    // After the suites' own clean-up, which needs the server.
    afterAll(() => server[Symbol.asyncDispose]());
  });
}

describeHere(`RedisLockStore on a cluster (${REDIS})`, () => {
  let nodes: RedisServer[];
  beforeAll(async () => {
    nodes = await startCluster();
  });
  for (const [library, connect] of Object.entries<Connect>(CLUSTER_CLIENTS)) {
    describe(`over ${library}`, () => {
      const port = () => nodes[0]?.port ?? 0;
      if (isLong || library === 'GLIDE') suites(() => connect(local(port())), { isWhole: isLong, runs: 30 });

      test('list gives the locks of every primary, and check looks at each of them', async () => {
        const { client, close } = await connect(local(port()));
        try {
          const store = new RedisLockStore({ client, keyPrefix: `${randomUUID()}:` });
          const keys = Array.from({ length: 30 }, (_, i) => `job-${i}`);
          const [now, owner, leaseMs] = [Date.now(), 'owner', 1_000];
          await Promise.all(
            keys.map((key) => store.acquire({ key, lockId: 'anna', owner, now, until: now + leaseMs, leaseMs })),
          );
          expect((await listed(store)).map(({ key }) => key).sort()).toEqual([...keys].sort());
          await nodes[2]?.command('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
          expect(await store.check()).toContainEqual(expect.objectContaining({ severity: 'error' }));
        } finally {
          await nodes[2]?.command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
          close();
        }
      });
    });
  }
  // After the suites' own clean-up, which needs the servers.
  afterAll(() => Promise.all(nodes.map((node) => node[Symbol.asyncDispose]())));
});

if (REDIS_URL) {
  const clients = REDIS_CLUSTER ? CLUSTER_CLIENTS : CLIENTS;
  describe.each(Object.entries<Connect>(clients))(
    'RedisLockStore on the server of REDIS_URL, over %s',
    (_, connect) => {
      suites(() => connect(placeOf(REDIS_URL)), { isWhole: true, runs: 60 });

      test('a guard against failovers may ask for INFO in scripts', async () => {
        const { client, close } = await connect(placeOf(REDIS_URL));
        try {
          const store = new RedisLockStore({
            client,
            guardFailover: true,
            keyPrefix: `leasehold-test-${randomUUID()}:`,
          });
          const now = Date.now();
          const request = { key: 'job', lockId: 'anna', owner: 'owner', now, until: now + 10, leaseMs: 10 };
          expect((await store.acquire(request)).applied).toBe(true);
          console.log('locks.check():', await store.check());
        } finally {
          close();
        }
      });
    },
  );
}
