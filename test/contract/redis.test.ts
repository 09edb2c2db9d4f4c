import { afterAll, beforeAll, describe, jest } from '@jest/globals';
import { RedisLockStore } from '../../lib/redis.ts';
import { CLIENTS, type Connected } from '../support/redis-clients.ts';
import { isRedisInstalled, REDIS, RedisServer } from '../support/redis-servers.ts';
import { aboveTheStore } from './above-the-store.ts';
import { lockStoreContract } from './lock-store-contract.ts';
import { sameAsMemory } from './same-as-memory.ts';

// A busy machine needs more time than Jest's default.
jest.setTimeout(30_000);
const describeHere = isRedisInstalled ? describe : describe.skip;
const isLong = process.env.LEASEHOLD_TEST_REDIS === 'long';

for (const [library, connect] of Object.entries(CLIENTS)) {
  // A server of its own for each library: on a server that knows the script, no client would have to send its text.
  describeHere(`RedisLockStore over ${library} (${REDIS})`, () => {
    let server: RedisServer;
    let connected: Connected;
    beforeAll(async () => {
      server = await RedisServer.start();
      connected = await connect(server.port);
    });
    afterAll(async () => {
      connected.close();
      await server[Symbol.asyncDispose]();
    });
    const newStore = () => new RedisLockStore({ client: connected.client });

    lockStoreContract(newStore);
    if (isLong || library === Object.keys(CLIENTS)[0]) aboveTheStore(newStore);
    sameAsMemory(newStore, { runs: isLong ? 400 : 60 });
  });
}
