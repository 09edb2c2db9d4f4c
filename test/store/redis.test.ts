import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { LockClient } from '../../lib/lease/client.ts';
import { RedisLockStore, type RedisLockStoreOptions, runWhileHeld } from '../../lib/redis.ts';
import { MemoryLockStore } from '../../lib/testing/memory.ts';
import { listed } from '../support/listed.ts';
import { CLIENTS, type Connected, local, withClient } from '../support/redis-clients.ts';
import { isRedisInstalled, REDIS, RedisServer, startReplicated } from '../support/redis-servers.ts';
import { TcpRelay } from '../support/tcp-relay.ts';

// A busy machine needs more time than Jest's default.
jest.setTimeout(30_000);
const describeHere = isRedisInstalled ? describe : describe.skip;

const base = Date.now();
const request = { owner: 'owner', now: base, until: base + 30_000, leaseMs: 30_000 };
const newKey = () => `job-${randomUUID()}`;

test('runWhileHeld refuses the leases of several keys, which may live on several nodes', async () => {
  await using leases = await new LockClient({ store: new MemoryLockStore() }).acquireAll(['a', 'b']);
  await expect(runWhileHeld(leases as never, [['SET', 'x', 1]])).rejects.toThrow(
    'runWhileHeld needs one lease, but it got the leases of several keys',
  );
});

describe('RedisLockStore refuses', () => {
  const client = { call: async () => [] };

  test.each([undefined, {}, 'redis://localhost:6379', new Map()])('%p as a client, and names the clients', (given) => {
    expect(() => new RedisLockStore({ client: given as never })).toThrow(
      /^client must be a connected client of ioredis, iovalkey, node-redis .+ or GLIDE .+, but it is .+\.$/,
    );
  });

  test('an ioredis client with a keyPrefix of its own, since list would find no lock', () => {
    const prefixed = new Redis({ lazyConnect: true, keyPrefix: 'app:' });
    expect(() => new RedisLockStore({ client: prefixed })).toThrow(
      "client must have no keyPrefix of its own, but its keyPrefix is 'app:'",
    );
  });

  test('the client as its own subscriber: a connection that subscribes can do nothing else', () => {
    const both = { ...client, subscribe: async () => {}, unsubscribe: async () => {} };
    expect(() => new RedisLockStore({ client: both, subscriber: both })).toThrow(
      /^subscriber must be a second connected client .+, but it is the client itself: .+Connect a second client/,
    );
  });

  test.each([
    [{ keyPrefix: 'a{b}' }, 'keyPrefix must be a text of up to 256 characters without { and }'],
    [{ keyPrefix: 7 }, 'keyPrefix must be'],
    [{ retentionDays: 0 }, 'retentionDays must be a number of days, more than 0'],
    [{ retentionDays: '7' }, 'retentionDays must be'],
    [{ retentionDays: Number.NaN }, 'retentionDays must be'],
    [{ guardFailover: 'yes' }, 'guardFailover must be true or false'],
    [{ subscriber: {} }, 'subscriber must be a second connected client'],
    [{ prefix: 'a' }, "RedisLockStore has no option 'prefix'; did you mean 'keyPrefix'?"],
  ])('the options %p', (options, message) => {
    expect(() => new RedisLockStore({ client, ...options } as never)).toThrow(message);
  });
});

describe('A subscriber', () => {
  const client = { call: async () => [] };

  /** A subscriber as ioredis has it, without a server. */
  function fakeSubscriber() {
    const listeners: ((channel: string) => void)[] = [];
    const subscribed = new Set<string>();
    return {
      listeners,
      subscribed,
      call: async () => [],
      sendCommand: async () => [],
      on: (_event: string, listener: (channel: string) => void) => listeners.push(listener),
      subscribe: async (channel: string) => subscribed.add(channel),
      unsubscribe: async (channel: string) => subscribed.delete(channel),
      tell: (key: string) => {
        for (const listener of listeners) listener(`leasehold:{${key}}`);
      },
    };
  }

  test('wakes two waiters of a process at each release: the others would ask the server for nothing', async () => {
    const subscriber = fakeSubscriber();
    const store = new RedisLockStore({ client, subscriber });
    let woken = 0;
    const { signal } = new AbortController();
    for (let i = 0; i < 5; i++) void store.changes?.('job', signal).then(() => woken++);
    const heard: number[] = [];
    for (let i = 0; i < 3; i++) {
      subscriber.tell('job');
      await sleep(1);
      heard.push(woken);
    }
    expect(heard).toEqual([2, 4, 5]);
  });

  test('is shared by stores: one listener, and no store ends what another listens to', async () => {
    const subscriber = fakeSubscriber();
    const stores = Array.from({ length: 12 }, () => new RedisLockStore({ client, subscriber }));
    const told = stores[0]?.changes?.('job', AbortSignal.timeout(5_000));
    for (const store of stores) {
      const left = new AbortController();
      for (const key of ['job', ...Array.from({ length: 30 }, (_, i) => `${randomUUID()}-${i}`)]) {
        store.changes?.(key, left.signal).catch(() => {});
      }
      left.abort();
    }
    expect(subscriber.listeners).toHaveLength(1);
    expect(subscriber.subscribed.size).toBeLessThanOrEqual(130);
    expect([...subscriber.subscribed]).toContain('leasehold:{job}');
    subscriber.tell('job');
    await told;
  });
});

describeHere(`RedisLockStore (${REDIS})`, () => {
  let server: RedisServer;
  let client: Connected['client'];
  let close: () => unknown;
  beforeAll(async () => {
    server = await RedisServer.start();
    ({ client, close } = await CLIENTS['node-redis'](local(server.port)));
  });
  afterAll(async () => {
    close();
    await server[Symbol.asyncDispose]();
  });
  const newStore = (options: Partial<RedisLockStoreOptions> = {}) => new RedisLockStore({ client, ...options });
  const hashOf = (key: string) => `leasehold:{${key}}`;

  test('keeps a record for the retention after its expiry, by the clock of the server', async () => {
    const day = 86_400_000;
    const store = newStore({ retentionDays: 3 });
    const key = newKey();
    const ttl = async () => Number(/:(-?\d+)/.exec(await server.command('PTTL', hashOf(key)))?.[1]);
    await store.acquire({ ...request, key, lockId: 'anna', until: Date.now() + 10 * day });
    expect(Math.abs((await ttl()) - 13 * day)).toBeLessThan(10_000);
    await store.release({ key, lockId: 'anna', now: base, holdAtLeastMs: 0 });
    expect(Math.abs((await ttl()) - 3 * day)).toBeLessThan(10_000);
    // A client whose clock is a year behind must not delete the lock that it takes.
    const late = newKey();
    const past = base - 365 * day;
    await store.acquire({ ...request, key: late, lockId: 'anna', now: past, until: past + 1_000 });
    expect((await store.read(late)).record?.lockId).toBe('anna');
  });

  test('leaves a hash that another program wrote as it is, and says so', async () => {
    const store = newStore();
    const key = newKey();
    await server.command('HSET', hashOf(key), 'name', 'no lock');
    await expect(store.acquire({ ...request, key, lockId: 'anna' })).rejects.toMatchObject({
      name: 'LockStoreError',
      foreign: true,
      transient: false,
      message: expect.stringContaining(`the hash '${hashOf(key)}' was not written by leasehold`),
    });
    expect(await server.command('HGETALL', hashOf(key))).toContain('no lock');
    expect(await server.command('HLEN', hashOf(key))).toContain(':1');
  });

  test('a refusal changes nothing, whatever fields the hash has', async () => {
    const store = newStore();
    const [key, other] = [newKey(), newKey()];
    await store.acquire({ ...request, key, lockId: 'anna' });
    for (const hash of [hashOf(key), hashOf(other)]) await server.command('HSET', hash, '', 'precious', 'none', 'dear');
    expect((await store.acquire({ ...request, key, lockId: 'bert' })).applied).toBe(false);
    await expect(store.acquire({ ...request, key: other, lockId: 'bert' })).rejects.toMatchObject({ foreign: true });
    await expect(store.renew({ key: other, lockId: 'bert', until: base })).rejects.toMatchObject({ foreign: true });
    for (const hash of [hashOf(key), hashOf(other)]) {
      const fields = await server.command('HGETALL', hash);
      expect([fields.includes('precious'), fields.includes('dear')]).toEqual([true, true]);
    }
  });

  test('leaves a key of another type as it is, and says so', async () => {
    const store = newStore();
    const key = newKey();
    await server.command('SET', hashOf(key), 'text');
    await expect(store.acquire({ ...request, key, lockId: 'anna' })).rejects.toMatchObject({ foreign: true });
    await expect(new LockClient({ store }).acquire(key)).rejects.toThrow(/cannot be read as a hash/);
    expect((await store.readMany([key])).records).toEqual([]);
    expect(await server.command('GET', hashOf(key))).toContain('text');
  });

  test('shows the flaw of a record that somebody has changed, and grants no lease by it', async () => {
    const store = newStore();
    const locks = new LockClient({ store });
    const key = newKey();
    await (await locks.acquire(key)).release();
    await server.command('HSET', hashOf(key), 'fencingToken', '9007199254740991');
    await expect(locks.acquire(key, { waitMs: 5_000 })).rejects.toThrow('its fencingToken is 9007199254740991');
    await server.command('HSET', hashOf(key), 'fencingToken', 'x');
    await expect(locks.acquire(key)).rejects.toThrow('its fencingToken is no number');
  });

  test.each<[string, string, RegExp]>([
    ['lockId', '', /^lockId is empty$/],
    ['fencingToken', '5.0', /^fencingToken is 5\.0, which is no whole number/],
    ['expiresAt', '9'.repeat(300), /^expiresAt is 9{40}…, which is no whole number/],
  ])('tells and repairs a record whose %s is %j', async (name, value, flaw) => {
    const locks = new LockClient({ store: newStore() });
    const key = newKey();
    await (await locks.acquire(key)).release();
    await server.command('HSET', hashOf(key), name, value);
    const seen = await locks.inspect(key);
    expect(seen?.flaw).toMatch(flaw);
    expect(await locks.repair(key, { seen })).toBe(true);
    expect((await locks.inspect(key))?.flaw).toBeUndefined();
    await locks.using(key, async () => {});
  });

  test('reads a record without the values that leasehold did not write, if they judge no request', async () => {
    const locks = new LockClient({ store: newStore() });
    const key = newKey();
    await (await locks.acquire(key)).release();
    const odd = ['leaseMs', 'x', 'previousExpiresAt', 'x', 'committedNumber', 'x', 'asked', 'x'];
    await server.command('HSET', hashOf(key), ...odd);
    expect(await locks.inspect(key)).toMatchObject({ flaw: undefined, leaseMs: 0, committed: undefined });
    await locks.using(key, (lease) => lease.commit(1));
  });

  test('without an acquiredAt, nobody can release, force-release or resume the lock, and a grant is given back', async () => {
    const store = newStore();
    const key = newKey();
    await store.acquire({ ...request, key, lockId: 'anna' });
    await server.command('HDEL', hashOf(key), 'acquiredAt');
    const release = store.release({ key, lockId: 'anna', now: base, holdAtLeastMs: 0 });
    await expect(release).rejects.toMatchObject({
      foreign: true,
      message: expect.stringMatching(
        /its acquiredAt is missing\. Repair the record: leasehold repair KEY, or repair\(\)\.$/,
      ),
    });
    for (const immediately of [true, false]) {
      expect((await store.forceRelease({ key, lockId: 'anna', immediately })).applied).toBe(false);
    }
    const resume = { key, handed: 'anna', lockId: 'bert', owner: 'bert', until: base + 60_000, leaseMs: 1_000 };
    expect((await store.resume(resume)).applied).toBe(false);
    const later = { now: base + 40_000, until: base + 70_000 };
    const { record } = await store.acquire({ ...request, ...later, key, lockId: 'carl' });
    expect(record?.tookOver).toMatchObject({ type: 'lease', lockId: 'anna', acquiredAt: 0 });
    const { fencingToken = 0, tookOver = { type: 'nothing' } } = record ?? {};
    await store.giveBack({ key, lockId: 'carl', fencingToken, now: later.now, previous: tookOver });
    expect((await store.read(key)).record).toMatchObject({ lockId: 'anna', acquiredAt: later.now, flaw: undefined });
  });

  test.each([
    ['total', '12', 'expiresAt', 'never'],
    ['total', '12', 'fencingToken', '17'],
    ['total', '12', 'lockId', 'L-17'],
    ['total', '12', 'acquiredAt', '1', 'expiresAt', '1'],
    ['total', '12'],
  ])('repairs no hash of another program, and advises nobody to repair the hash: %j', async (...fields) => {
    const store = newStore();
    const key = newKey();
    await server.command('HSET', hashOf(key), ...fields);
    const before = await server.command('HGETALL', hashOf(key));
    const broken = { acquiredAt: base, immediately: true, lowersToken: true };
    await expect(store.repair({ key, opensAt: base, fencingToken: base, broken })).rejects.toMatchObject({
      foreign: true,
      message: expect.stringMatching(
        / is missing\. Use another key or prefix, or, if nobody needs .+ delete it: DEL '.+'\.$/,
      ),
    });
    await expect(new LockClient({ store }).repair(key, {})).rejects.toThrow(
      /^(?!.*(expiry lies ahead|Repair the)).*DEL/,
    );
    expect(await server.command('HGETALL', hashOf(key))).toBe(before);
  });

  test('repairs no key of another type', async () => {
    const key = newKey();
    await server.command('SET', hashOf(key), 'text');
    const repair = new LockClient({ store: newStore() }).repair(key, { immediately: true });
    await expect(repair).rejects.toThrow(/cannot be read as a hash: .+ Use another key or prefix/);
    expect(await server.command('GET', hashOf(key))).toContain('text');
  });

  test('wakes the waiters of a lock that a repair opens', async () => {
    const key = newKey();
    await withClient('node-redis', server.port, async (second) => {
      const store = newStore({ subscriber: second as never });
      const locks = new LockClient({ store });
      const lease = await new LockClient({ store: newStore() }).acquire(key, { leaseMs: 3_600_000 });
      await server.command('HDEL', hashOf(key), 'fencingToken');
      const heard = store.changes?.(key, AbortSignal.timeout(10_000));
      await sleep(100);
      expect(await locks.repair(key, { immediately: true })).toBe(true);
      await heard;
      await expect(lease.renew()).rejects.toMatchObject({ reason: 'revoked' });
    });
  });

  test('lists only the locks of its prefix, whatever characters the keys have', async () => {
    const store = newStore({ keyPrefix: `p[${randomUUID()}]*:` });
    const keys = ['a*b', 'a?b', 'a[b]', 'a{b}', 'a}b', 'a\\b', 'a^-b', 'ab', 'ä b', '}', '{'];
    for (const key of keys) await store.acquire({ ...request, key, lockId: 'anna' });
    const found = async (prefix: string) => (await listed(store, prefix)).map(({ key }) => key).sort();
    expect(await found('')).toEqual([...keys].sort());
    expect(await found('a*')).toEqual(['a*b']);
    expect(await found('a[')).toEqual(['a[b]']);
    expect(await found('a\\')).toEqual(['a\\b']);
    expect(await listed(newStore({ keyPrefix: 'other:' }))).toEqual([]);
  });

  test('lists every lock once from many pages', async () => {
    const store = newStore({ keyPrefix: `${randomUUID()}:` });
    const keys = Array.from({ length: 700 }, (_, i) => `job-${i}`);
    await Promise.all(keys.map((key) => store.acquire({ ...request, key, lockId: 'anna' })));
    expect((await listed(store, 'job-')).map(({ key }) => key).sort()).toEqual([...keys].sort());
  });

  describe('a guarded write', () => {
    const held = async () => {
      const key = newKey();
      return { key, lease: await new LockClient({ store: newStore() }).acquire(key) };
    };

    test('runs its commands while the lock is granted to the lease', async () => {
      const { key, lease } = await held();
      await runWhileHeld(lease, [
        ['SET', `{${key}}:total`, 12.5],
        ['HSET', `{${key}}:days`, 'monday', 'ünlike', 'tuesday', ''],
      ]);
      expect(await server.command('GET', `{${key}}:total`)).toContain('12.5');
      expect(await server.command('HGET', `{${key}}:days`, 'monday')).toContain('ünlike');
      expect(await lease.release()).toBe(true);
    });

    test('of a lease with permits is guarded by the record of its slot', async () => {
      const { key } = await held();
      const lease = await new LockClient({ store: newStore() }).acquire(key, { permits: 2 });
      await runWhileHeld(lease, [['SET', `{${key}#1}:total`, 7]]);
      expect(await server.command('GET', `{${key}#1}:total`)).toContain('7');
      await new LockClient({ store: newStore() }).forceRelease(`${key}#1`, { lockId: lease.lockId, immediately: true });
      await expect(runWhileHeld(lease, [['SET', `{${key}#1}:total`, 8]])).rejects.toMatchObject({
        name: 'LockLostError',
      });
      expect(await server.command('GET', `{${key}#1}:total`)).toContain('7');
    });

    test('is refused after a takeover, writes nothing, and ends the lease', async () => {
      const { key, lease } = await held();
      const now = Date.now() + 100_000;
      await newStore().acquire({ ...request, key, lockId: 'bert', now, until: now + 1_000 });
      await expect(runWhileHeld(lease, [['SET', `{${key}}:total`, 1]])).rejects.toMatchObject({
        name: 'LockLostError',
        reason: 'takenOver',
      });
      expect(await server.command('EXISTS', `{${key}}:total`)).toContain(':0');
      expect(lease.signal.aborted).toBe(true);
    });

    test('says which command failed', async () => {
      const { key, lease } = await held();
      const commands = [
        ['SET', `{${key}}:total`, 'text'],
        ['INCR', `{${key}}:total`],
        ['SET', `{${key}}:never`, 1],
      ] as const;
      await expect(runWhileHeld(lease, commands)).rejects.toThrow(
        /The command 2 of the guarded write, 'INCR', failed: .+not an integer.+ The commands before it were applied\./,
      );
      expect(await server.command('EXISTS', `{${key}}:never`)).toContain(':0');
    });

    test('runs its commands once if the answer is lost and the client sends the request again by itself', async () => {
      await using relay = await TcpRelay.start(server.port);
      await withClient('ioredis', relay.port, async (client) => {
        const key = newKey();
        const lease = await new LockClient({ store: new RedisLockStore({ client }) }).acquire(key);
        const count = [['INCR', `{${key}}:count`]] as const;
        await runWhileHeld(lease, count);
        relay.loseAnswers();
        await runWhileHeld(lease, count);
        expect(await server.command('GET', `{${key}}:count`)).toContain('\r\n2\r\n');
      });
    });

    test('fails if a command failed, also if the answer is lost and the client sends the request again by itself', async () => {
      await using relay = await TcpRelay.start(server.port);
      await withClient('ioredis', relay.port, async (client) => {
        const key = newKey();
        const lease = await new LockClient({ store: new RedisLockStore({ client }) }).acquire(key);
        await runWhileHeld(lease, [['SET', `{${key}}:text`, 'a']]);
        relay.loseAnswers();
        const commands = [
          ['INCR', `{${key}}:count`],
          ['INCR', `{${key}}:text`],
        ] as const;
        await expect(runWhileHeld(lease, commands)).rejects.toThrow(
          /The command 2 of .+'INCR', failed: .+not an integer/,
        );
        expect(await server.command('GET', `{${key}}:count`)).toContain('\r\n1\r\n');
        await runWhileHeld(lease, [['SET', `{${key}}:text`, 'b']]);
      });
    });

    test('that ran, and whose answer was lost, tells so after the lock was taken over', async () => {
      const requests: (readonly string[])[] = [];
      const direct = client as { sendCommand(args: readonly string[]): Promise<unknown> };
      const recording = {
        call: (name: string, args: readonly string[]) => {
          requests.push([name, ...args]);
          return direct.sendCommand([name, ...args]);
        },
      };
      const key = newKey();
      const lease = await new LockClient({ store: newStore({ client: recording }) }).acquire(key);
      await runWhileHeld(lease, [['INCR', `{${key}}:count`]]);
      const sent = requests.at(-1) ?? [];
      const now = Date.now() + 100_000;
      await newStore().acquire({ ...request, key, lockId: 'bert', now, until: now + 1_000 });
      expect(await direct.sendCommand(sent)).toEqual(['applied']);
      expect(await server.command('GET', `{${key}}:count`)).toContain('\r\n1\r\n');
    });

    test('of one lease runs after another, so that each runs once though all answers are lost', async () => {
      await using relay = await TcpRelay.start(server.port);
      await withClient('ioredis', relay.port, async (client) => {
        const key = newKey();
        const lease = await new LockClient({ store: new RedisLockStore({ client }) }).acquire(key);
        const count = () => runWhileHeld(lease, [['INCR', `{${key}}:count`]]);
        await count();
        relay.loseAnswers();
        await Promise.all([count(), count()]);
        expect(await server.command('GET', `{${key}}:count`)).toContain('\r\n3\r\n');
        // A failure ends nothing but its own write.
        const failing = runWhileHeld(lease, [['LPUSH', `{${key}}:count`, 1]]);
        const next = count();
        await expect(failing).rejects.toThrow("'LPUSH', failed");
        await next;
      });
    });

    test.each([
      ['in requestTimeoutMs', { leaseMs: 30_000, requestTimeoutMs: 300 }, /no answer came within 300 ms/],
      [
        'when the lease is lost',
        { leaseMs: 1_000, safetyMs: 100, requestTimeoutMs: 20_000 },
        /the lease's signal aborted before an answer came: LockLostError/,
      ],
    ])('on a server that hangs fails %s, and says that the commands may have run', async (_, options, message) => {
      await using server = await RedisServer.start();
      await withClient('node-redis', server.port, async (client) => {
        const lease = await new LockClient({ store: new RedisLockStore({ client }) }).acquire('job', options);
        await runWhileHeld(lease, [['INCR', '{job}:count']]);
        server.suspend();
        const from = performance.now();
        const late = sleep(5_000, 'late', { ref: false });
        const error = await Promise.race([
          runWhileHeld(lease, [['INCR', '{job}:count']]).then(
            () => undefined,
            (error) => error,
          ),
          late,
        ]);
        server.resume();
        expect(error).toMatchObject({ name: 'LockStoreError', transient: true });
        expect(error.message).toMatch(message);
        expect(error.message).toContain('The commands may have run, or may run still.');
        expect(performance.now() - from).toBeLessThan(2_500);
      });
    });

    test('refuses what is no command, and a lease of another store', async () => {
      const { lease } = await held();
      for (const command of [[], 'SET a 1', undefined, Array(7_001).fill('a')]) {
        await expect(runWhileHeld(lease, [command as never])).rejects.toThrow(/^A command must be an array of/);
      }
      const words = [Buffer.from('a'), '\ud800', Number.NaN, undefined, {}];
      for (const word of words) {
        await expect(runWhileHeld(lease, [['SET', 'a', word as never]])).rejects.toThrow(
          /^Each word of a command must be a well-formed text or a finite number, but it is /,
        );
      }
      for (const commands of [undefined, 'SET a b', new Map()]) {
        await expect(runWhileHeld(lease, commands as never)).rejects.toThrow(
          /^commands must be an array of commands, such as \[\['SET', 'a', 1\]\], but it is /,
        );
      }
      for (const none of [undefined, null, 'job']) {
        await expect(runWhileHeld(none as never, [])).rejects.toThrow(
          /^runWhileHeld needs a lease of a RedisLockStore, but it is /,
        );
      }
      const other = await new LockClient({ store: new MemoryLockStore() }).acquire('job');
      await expect(runWhileHeld(other, [])).rejects.toThrow('runWhileHeld needs a lease of a RedisLockStore');
    });
  });

  describe.each(Object.keys(CLIENTS) as (keyof typeof CLIENTS)[])('over %s', (library) => {
    test('a waiter with a subscriber learns of a release at once', async () => {
      await withClient(library, server.port, (subscriber) =>
        withClient(library, server.port, async (client) => {
          const store = new RedisLockStore({ client, subscriber });
          const locks = new LockClient({ store });
          const key = newKey();
          for (let round = 0; round < 2; round++) {
            const lease = await locks.acquire(key);
            const other = await locks.acquire(`${key}/other`);
            const timeOut = AbortSignal.timeout(5_000);
            let isTold = false;
            const told = Promise.all([0, 1].map(() => store.changes?.(key, timeOut))).then(() => {
              isTold = true;
            });
            await sleep(100);
            await other.release();
            await sleep(20);
            expect(isTold).toBe(false);
            const from = performance.now();
            await lease.release();
            await told;
            expect(performance.now() - from).toBeLessThan(250);
          }
          // A waiter that looks at the lock just then hears of the release at its next wait.
          await (await locks.acquire(key)).release();
          await sleep(50);
          await store.changes?.(key, AbortSignal.timeout(5_000));
          await expect(store.changes?.(key, AbortSignal.timeout(20))).rejects.toThrow();
        }),
      );
    });

    test('a check finds a log of writes that is not written to disk at once', async () => {
      await withClient(library, server.port, async (client) => {
        const store = new RedisLockStore({ client });
        const fsync = expect.objectContaining({ message: expect.stringContaining('Set appendfsync always') });
        await server.command('CONFIG', 'SET', 'appendonly', 'yes');
        await server.command('CONFIG', 'SET', 'appendfsync', 'everysec');
        expect(await store.check()).not.toContainEqual(fsync);
        await server.command('CONFIG', 'SET', 'appendfsync', 'no');
        expect(await store.check()).toContainEqual(fsync);
        await server.command('CONFIG', 'SET', 'appendonly', 'no');
        expect(await store.check()).not.toContainEqual(fsync);
      });
    });

    test('a list skips names and hashes that are no UTF-8', async () => {
      await withClient(library, server.port, async (client) => {
        const keyPrefix = `${randomUUID()}:`;
        const store = new RedisLockStore({ client, keyPrefix });
        await store.acquire({ ...request, key: 'jöb', lockId: 'anna' });
        const write = "redis.call('HSET', KEYS[1] .. ARGV[1], '\\255', '\\254')";
        for (const name of ["'{\\255}'", "'{foreign}'"]) {
          await server.command('EVAL', write.replace('ARGV[1]', name), '1', keyPrefix);
        }
        expect((await listed(store)).map(({ key }) => key)).toEqual(['jöb']);
        expect((await store.readMany(['foreign', 'jöb'])).records).toHaveLength(1);
      });
    });

    test('an acquire, a renewal and a release whose answers are lost cost nothing', async () => {
      await using relay = await TcpRelay.start(server.port);
      await withClient(library, relay.port, async (client) => {
        const locks = new LockClient({ store: new RedisLockStore({ client }) });
        // The text of the script is known now: each request has one answer.
        await (await locks.acquire(newKey())).release();
        relay.loseAnswers();
        const lease = await locks.acquire(newKey(), { waitMs: 10_000 });
        expect(lease.isHeld()).toBe(true);
        relay.loseAnswers();
        expect(await lease.release()).toBe(true);
      });
    });
  });

  test.each([60, -60])('a holder keeps the lock alone when the clock of the server steps by %i s', async (stepS) => {
    let aheadS = 0;
    const direct = client as { sendCommand(args: readonly string[]): Promise<unknown> };
    /** A client of the server, whose `TIME` is ahead by `aheadS`. */
    const ahead = {
      async call(name: string, [text = '', ...args]: readonly string[]) {
        if (name === 'EVALSHA') throw new Error('NOSCRIPT');
        const stepped = text.replace("redis.call('TIME')", `$& time[1] = time[1] + ${aheadS}`);
        return await direct.sendCommand([name, stepped, ...args]);
      },
    };
    const newLocks = () => new LockClient({ store: newStore({ client: ahead }), leaseMs: 3_000 });
    const [holder, other] = [newLocks(), newLocks()];
    const key = newKey();
    const lease = await holder.acquire(key);
    aheadS = stepS;
    for (let looks = 0; looks < 3; looks++) {
      expect(await other.tryAcquire(key)).toBeNull();
      await sleep(300);
    }
    expect(lease.isHeld()).toBe(true);
    expect(await lease.release()).toBe(true);
  });

  test('a request that the client sends twice by itself is applied once, and its second answer says so', async () => {
    const argv: (readonly string[])[] = [];
    const direct = client as { sendCommand(args: readonly string[]): Promise<unknown> };
    const recording = {
      call: (name: string, args: readonly string[]) => {
        argv.push([name, ...args]);
        return direct.sendCommand([name, ...args]);
      },
    };
    const store = new RedisLockStore({ client: recording });
    const key = newKey();
    await store.acquire({ ...request, key, lockId: 'anna' });
    const [status] = (await direct.sendCommand(argv.at(-1) as string[])) as string[];
    expect(status).toBe('applied');
    await store.renew({ key, lockId: 'anna', until: request.until + 1 });
    const [late] = (await direct.sendCommand(argv[0]?.[0] === 'EVALSHA' ? argv.at(-2)! : argv[1]!)) as string[];
    expect(late).toBe('refused');
  });
});

describeHere(`A server that is no place for locks (${REDIS})`, () => {
  test('an eviction policy other than noeviction is refused with the first request, and nothing is written', async () => {
    await using server = await RedisServer.start({ maxmemory: '100mb', 'maxmemory-policy': 'volatile-lru' });
    await withClient('node-redis', server.port, async (client) => {
      const store = new RedisLockStore({ client });
      await expect(store.acquire({ ...request, key: 'job', lockId: 'anna' })).rejects.toMatchObject({
        name: 'LockStoreError',
        transient: false,
        message: expect.stringMatching(
          /maxmemory-policy is volatile-lru: .+ given twice. Set maxmemory-policy to noevict/,
        ),
      });
      expect(await server.command('DBSIZE')).toContain(':0');
      expect(await store.check()).toContainEqual({
        severity: 'error',
        message: expect.stringContaining('maxmemory-policy is volatile-lru'),
      });
      await server.command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
      expect((await store.acquire({ ...request, key: 'job', lockId: 'anna' })).applied).toBe(true);
      expect((await store.check()).filter(({ severity }) => severity === 'error')).toEqual([]);
    });
  });

  test('a policy that is set later is refused with a request a minute after the last look', async () => {
    await using server = await RedisServer.start();
    await withClient('node-redis', server.port, async (client) => {
      const store = new RedisLockStore({ client });
      const acquire = (lockId: string) => store.acquire({ ...request, key: 'job', lockId });
      const clock = jest.spyOn(performance, 'now').mockReturnValue(1_000_000);
      try {
        expect((await acquire('anna')).applied).toBe(true);
        await server.command('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
        clock.mockReturnValue(1_059_999);
        expect((await acquire('bert')).applied).toBe(false);
        clock.mockReturnValue(1_060_000);
        // A release makes no holder.
        expect((await store.release({ key: 'job', lockId: 'anna', now: base, holdAtLeastMs: 0 })).applied).toBe(true);
        await expect(acquire('bert')).rejects.toThrow('maxmemory-policy is allkeys-lru');
        await expect(acquire('bert')).rejects.toThrow('maxmemory-policy is allkeys-lru');
        await server.command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
        expect((await acquire('bert')).record?.releasedBy).toBe('anna');
      } finally {
        clock.mockRestore();
      }
    });
  });

  test('a server whose memory is full grants no lock, and does everything else', async () => {
    await using server = await RedisServer.start();
    await withClient('node-redis', server.port, async (client) => {
      const store = new RedisLockStore({ client });
      const acquire = (key: string) => store.acquire({ ...request, key, lockId: 'anna' });
      for (const key of ['job', 'given-back', 'handed']) await acquire(key);
      await server.command('CONFIG', 'SET', 'maxmemory', '1');
      await expect(acquire('new')).rejects.toMatchObject({
        transient: false,
        message: expect.stringContaining('the server is out of memory: raise its maxmemory, or delete data'),
      });
      const grant = { lockId: 'anna', fencingToken: base + 1, now: base };
      const done = [
        await store.renew({ key: 'job', lockId: 'anna', until: request.until + 1 }),
        await store.commit({ key: 'job', lockId: 'anna', data: '{}', number: 1 }),
        await store.release({ key: 'job', lockId: 'anna', now: base, holdAtLeastMs: 0, doneToken: '1' }),
        await store.forceRelease({ key: 'job', lockId: 'anna', immediately: true }),
        await store.giveBack({ ...grant, key: 'given-back', previous: { type: 'nothing' } }),
        await store.resume({ ...request, key: 'handed', handed: 'anna', lockId: 'bert' }),
        await store.forceRelease({ key: 'handed', lockId: 'bert', immediately: false }),
      ];
      expect(done.map(({ applied }) => applied)).toEqual(done.map(() => true));
      expect((await store.read('job')).record).toMatchObject({
        releasedBy: 'anna',
        doneToken: '1',
        committed: { number: 1 },
      });
      const later = { ...request, now: base + 10 };
      await expect(store.acquire({ ...later, key: 'job', lockId: 'carl' })).rejects.toThrow('out of memory');
      expect(await server.command('EXISTS', 'leasehold:{new}')).toContain(':0');
    });
  });

  test('a replica is refused, and a primary that becomes a replica is, too', async () => {
    const { primary, replica, relay } = await startReplicated();
    await using _relay = relay;
    await using _primary = primary;
    await using _replica = replica;
    await withClient('ioredis', replica.port, async (client) => {
      const store = new RedisLockStore({ client });
      await expect(store.acquire({ ...request, key: 'job', lockId: 'anna' })).rejects.toThrow(
        /no place for locks: it is a replica.+connect to the primary/,
      );
      expect(await store.check()).toContainEqual(expect.objectContaining({ severity: 'error' }));
      await replica.command('REPLICAOF', 'NO', 'ONE');
      expect((await store.acquire({ ...request, key: 'job', lockId: 'anna' })).applied).toBe(true);
      await replica.command('REPLICAOF', '127.0.0.1', String(primary.port));
      // The client may find the new primary.
      const passing = { transient: true, message: expect.stringContaining('connect to the primary') };
      const renewed = store.renew({ key: 'job', lockId: 'anna', until: request.until + 1 });
      await expect(renewed).rejects.toMatchObject(passing);
      const refused = new RedisLockStore({ client }).renew({ key: 'job', lockId: 'anna', until: request.until + 1 });
      await expect(refused).rejects.toMatchObject({ ...passing, transient: false });
      const locks = new LockClient({ store });
      const waiting = locks.acquire('other', { waitMs: 20_000 });
      await sleep(500);
      await replica.command('REPLICAOF', 'NO', 'ONE');
      expect((await waiting).isHeld()).toBe(true);
      // A look at the server finds the same, a minute later.
      await replica.command('REPLICAOF', '127.0.0.1', String(primary.port));
      const clock = jest.spyOn(performance, 'now').mockReturnValue(performance.now() + 60_000);
      const looked = store.acquire({ ...request, key: 'job', lockId: 'bert' }).finally(() => clock.mockRestore());
      await expect(looked).rejects.toMatchObject(passing);
    });
    await withClient('node-redis', primary.port, async (client) => {
      const warning = expect.objectContaining({
        severity: 'warning',
        message: expect.stringContaining('guardFailover'),
      });
      expect(await new RedisLockStore({ client }).check()).toContainEqual(warning);
      const guarded = new RedisLockStore({ client, guardFailover: true });
      // A primary that starts again without its data empties its replicas, too.
      const forgets = expect.objectContaining({ message: expect.stringContaining('a restart forgets the locks') });
      expect(await guarded.check()).toEqual([forgets]);
      await primary.command('CONFIG', 'SET', 'save', '3600 1');
      expect(await guarded.check()).toEqual([]);
      await primary.command('CONFIG', 'SET', 'save', '');
      await primary.command('CONFIG', 'SET', 'appendonly', 'yes');
      expect(await guarded.check()).toEqual([]);
      await primary.command('CONFIG', 'SET', 'appendfsync', 'no');
      expect(await guarded.check()).toEqual([
        { severity: 'warning', message: expect.stringMatching(/appendfsync is no: .+Set appendfsync always/) },
      ]);
      await primary.command('ACL', 'SETUSER', 'default', '-config');
      expect(await guarded.check()).toEqual([]);
    });
  });

  test.each(['ioredis', 'iovalkey', 'node-redis', 'GLIDE'] as const)(
    'over %s, a server that is down fails the request in its time, and the error names the cause',
    async (library) => {
      await using server = await RedisServer.start();
      await withClient(library, server.port, async (client) => {
        const locks = new LockClient({ store: new RedisLockStore({ client }) });
        await (await locks.acquire('job')).release();
        await server.kill();
        await sleep(50);
        const from = performance.now();
        await expect(locks.tryAcquire('job', { requestTimeoutMs: 100 })).rejects.toMatchObject({
          name: 'LockStoreError',
          transient: true,
          message: expect.stringMatching(
            library === 'GLIDE' ? /./ : /The client is not connected.+OfflineQueue: (true|false)/,
          ),
        });
        expect(performance.now() - from).toBeLessThan(3_000);
        await server.restart();
        const again = await locks.acquire('job', { waitMs: 10_000 });
        expect(again.isHeld()).toBe(true);
      });
    },
  );

  test('a client of node-redis that was never connected fails at once, and is told to connect', async () => {
    const client = createClient({ url: 'redis://127.0.0.1:1' });
    await expect(new LockClient({ store: new RedisLockStore({ client }) }).tryAcquire('job')).rejects.toMatchObject({
      transient: false,
      message: expect.stringContaining('connect the client before its first use'),
    });
  });
});
