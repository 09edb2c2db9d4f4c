// Servers that fail over, die and start again, TLS with the user of docs/redis.md, and processes that fight for one lock.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, jest, test } from '@jest/globals';
import { LockClient } from '../../lib/lease/client.ts';
import { REDIS_ACCESS } from '../../lib/names.ts';
import { RedisLockStore, runWhileHeld } from '../../lib/redis.ts';
import { repository } from '../docs/entries.ts';
import { CLIENTS, CLUSTER_CLIENTS, type Connect, local, withClient } from '../support/redis-clients.ts';
import {
  isRedisInstalled,
  REDIS,
  RedisServer,
  startCluster,
  startReplicated,
  startWithTls,
} from '../support/redis-servers.ts';

// A busy machine needs more time than Jest's default.
jest.setTimeout(30_000);
const describeHere = isRedisInstalled ? describe : describe.skip;
const isLong = process.env.LEASEHOLD_TEST_REDIS === 'long';

describeHere(`A failover that loses the last grant (${REDIS})`, () => {
  const leaseMs = 1_500;

  /** Grants a lock on a primary whose replica does not hear of it, kills the primary, and gives the lock out once more. */
  async function failOver(guardFailover: boolean) {
    const { primary, replica, relay } = await startReplicated();
    await using servers = new AsyncDisposableStack();
    for (const each of [primary, replica, relay]) servers.use(each);
    const optionsOf = (client: ConstructorParameters<typeof RedisLockStore>[0]['client']) => ({
      client,
      guardFailover,
    });
    return await withClient('node-redis', primary.port, (client) =>
      withClient('node-redis', replica.port, async (successor) => {
        const before = new LockClient({ store: new RedisLockStore(optionsOf(client)), leaseMs });
        const after = new LockClient({ store: new RedisLockStore(optionsOf(successor)), leaseMs });
        await (await before.acquire('job')).release();
        await replica.caughtUpWith(primary);
        relay.stall();
        const lost = await before.acquire('job');
        await primary.kill();
        await replica.command('REPLICAOF', 'NO', 'ONE');
        const next = await after.acquire('job', { waitMs: 10_000 });
        const overlapped = lost.isHeld();
        const again = { token: next.fencingToken, isReleased: await next.release() };
        // The guard closes a lock once for each failover.
        expect((await after.tryAcquire('job'))?.fencingToken).toBe(again.token + 1);
        return { overlapped, lost: lost.fencingToken, next: again.token };
      }),
    );
  }

  test('gives the lock to two holders with one token: this is the limit that docs/redis.md tells', async () => {
    const { overlapped, lost, next } = await failOver(false);
    expect({ overlapped, next }).toEqual({ overlapped: true, next: lost });
  });

  test('with guardFailover, the next holder waits for the end of the lost lease, and has a higher token', async () => {
    const { overlapped, lost, next } = await failOver(true);
    expect(overlapped).toBe(false);
    expect(next).toBeGreaterThan(lost);
  });
});

describeHere(`A failover that loses a resumed hand-off (${REDIS})`, () => {
  const leaseMs = 20_000;
  const request = { key: 'job', owner: 'other', leaseMs };

  test.each([
    ['a second resume', async () => {}],
    [
      'a resume after an acquire that closed the lock',
      async (store: RedisLockStore) => {
        const now = Date.now() + 2 * leaseMs;
        const answer = await store.acquire({ ...request, lockId: 'other', now, until: now + leaseMs });
        expect(answer.applied).toBe(false);
      },
    ],
  ])('with guardFailover, %s is refused: the holder that resumed first may still run', async (_, before) => {
    const { primary, replica, relay } = await startReplicated();
    await using servers = new AsyncDisposableStack();
    for (const each of [primary, replica, relay]) servers.use(each);
    await withClient('node-redis', primary.port, (client) =>
      withClient('node-redis', replica.port, async (successor) => {
        const locks = new LockClient({ store: new RedisLockStore({ client, guardFailover: true }), leaseMs });
        const store = new RedisLockStore({ client: successor, guardFailover: true });
        const after = new LockClient({ store, leaseMs });
        const handOff = await (await locks.acquire('job')).handOff({ leaseMs });
        await replica.caughtUpWith(primary);
        relay.stall();
        const lost = await locks.resume(handOff);
        await primary.kill();
        await replica.command('REPLICAOF', 'NO', 'ONE');
        await before(store);
        await expect(after.resume(handOff)).rejects.toMatchObject({ name: 'LockLostError', reason: 'revoked' });
        expect(lost.isHeld()).toBe(true);
        expect(await after.tryAcquire('job')).toBeNull();
        const { record } = await store.read('job');
        expect(record?.fencingToken).toBeGreaterThanOrEqual(lost.fencingToken);
        expect(record?.expiresAt).toBeGreaterThan(lost.deadline);
      }),
    );
  });
});

describeHere(`The user of docs/redis.md, over TLS (${REDIS})`, () => {
  const line = /^ACL SETUSER locks (.+)$/m.exec(readFileSync(join(repository, 'docs/redis.md'), 'utf8'))?.[1] ?? '';
  const rules = line.replace('>PASSWORD', '>secret').split(' ');
  const names = Object.keys(CLIENTS) as (keyof typeof CLIENTS)[];

  test('may do everything that leasehold does, and nothing else, and may do without none of its rights', async () => {
    const { server, certificate } = await startWithTls();
    await using _server = server;
    const place = { ...local(server.port), tls: readFileSync(certificate, 'utf8') };
    const user = { ...place, username: 'locks', password: 'secret' };
    await withClient('node-redis', place, async (operator) => {
      const admin = (...args: string[]) =>
        (operator as { sendCommand(args: string[]): Promise<unknown> }).sendCommand(args);
      /** Does one of everything. Gives the number of hints that came. */
      const everything = async (library: keyof typeof CLIENTS) =>
        withClient(library, user, (client) =>
          withClient(library, user, async (subscriber) => {
            await admin('SCRIPT', 'FLUSH');
            const store = new RedisLockStore({ client, subscriber, guardFailover: true });
            const locks = new LockClient({ store });
            const lease = await locks.acquire('job');
            const hint = store.changes?.('job', AbortSignal.timeout(1_000));
            hint?.catch(() => {});
            await sleep(50);
            await runWhileHeld(lease, [['HSET', 'leasehold:{job}:totals', 'monday', 12]]);
            expect((await Array.fromAsync(locks.list())).map(({ key }) => key)).toContain('job');
            expect((await locks.check()).filter(({ severity }) => severity === 'error')).toEqual([]);
            expect(await lease.release()).toBe(true);
            await hint;
          }),
        );

      await admin('ACL', 'SETUSER', 'locks', ...rules);
      for (const library of names) await everything(library);
      await withClient('node-redis', user, async (client) => {
        const elsewhere = new RedisLockStore({ client, keyPrefix: 'other:' });
        await expect(new LockClient({ store: elsewhere }).acquire('job')).rejects.toThrow(/docs\/redis\.md lists/);
        await expect(
          (client as { sendCommand(args: string[]): Promise<unknown> }).sendCommand(['FLUSHALL']),
        ).rejects.toThrow('NOPERM');
      });
      // The library asks these for itself, and does without: `hello`, `ping`, `client|setname`. Nobody unsubscribes here.
      const needed = /^\+(evalsha|eval|hgetall|hget|hset|hdel|pexpireat|publish|subscribe|time|scan|info)$|^[~&]/;
      for (const rule of rules.filter((rule) => needed.test(rule))) {
        const others = rules.filter((other) => other !== rule);
        await admin('ACL', 'SETUSER', 'locks', 'reset', ...others);
        await expect(everything('node-redis').then(() => `without ${rule}`)).rejects.toThrow();
      }
    });
  });
});

describeHere(`A cluster that moves a lock to another server (${REDIS})`, () => {
  test('grants the lock to the user of docs/redis.md, over each client', async () => {
    const nodes = await startCluster();
    await using servers = new AsyncDisposableStack();
    for (const node of nodes) servers.use(node);
    for (const node of nodes)
      await node.command('ACL', 'SETUSER', 'locks', 'on', '>secret', ...REDIS_ACCESS.split(' '));
    const numberIn = (answer: string) => Number(/:(\d+)/.exec(answer)?.[1]);
    const slot = numberIn((await nodes[0]?.command('CLUSTER', 'KEYSLOT', 'leasehold:{job}')) ?? '');
    const from = slot <= 5460 ? 0 : slot <= 10922 ? 1 : 2;
    const move = async (node: number, state: string, other: number) => {
      const id = /\r\n(\w+)/.exec((await nodes[other]?.command('CLUSTER', 'MYID')) ?? '')?.[1] ?? '';
      await nodes[node]?.command('CLUSTER', 'SETSLOT', String(slot), state, id);
    };
    const to = (from + 1) % 3;
    await move(to, 'IMPORTING', from);
    await move(from, 'MIGRATING', to);
    for (const connect of Object.values<Connect>(CLUSTER_CLIENTS)) {
      const place = { ...local(nodes[0]?.port ?? 0), username: 'locks', password: 'secret' };
      const { client, close } = await connect(place);
      try {
        const lease = await new LockClient({ store: new RedisLockStore({ client }) }).acquire('job');
        expect(await lease.release()).toBe(true);
      } finally {
        close();
      }
    }
  });
});

describeHere(`Processes that fight for one lock (${REDIS})`, () => {
  /** Starts processes that take a lock, and expects no overlap and growing tokens. */
  async function fight(
    server: RedisServer,
    { processes, grants }: { processes: number; grants: number },
    meanwhile = async () => {},
  ) {
    const folder = mkdtempSync(join(tmpdir(), 'leasehold-fight-'));
    try {
      const program = join(import.meta.dirname, 'programs/redis-contender.ts');
      const args = [program, String(server.port), 'job', String(grants), folder];
      const contenders = Array.from({ length: processes }, () => run(args));
      await meanwhile();
      const results = (await Promise.all(contenders)).map((text) => JSON.parse(text));
      expect(results).toEqual(Array.from({ length: processes }, () => ({ granted: grants, overlaps: 0 })));
      const tokens = readFileSync(join(folder, 'tokens'), 'utf8').trim().split('\n').map(Number);
      expect(tokens).toEqual([...new Set(tokens)].sort((a, b) => a - b));
      expect(tokens.length).toBe(processes * grants);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  test('never overlap, and their tokens grow', async () => {
    await using server = await RedisServer.start();
    await fight(server, { processes: isLong ? 4 : 2, grants: isLong ? 200 : 50 });
  });

  test('never overlap while the server is killed and started again, if it keeps its data', async () => {
    await using server = await RedisServer.start({ appendonly: 'yes', appendfsync: 'always' });
    await fight(server, { processes: isLong ? 4 : 2, grants: isLong ? 200 : 100 }, async () => {
      for (let kills = 0; kills < (isLong ? 3 : 1); kills++) {
        await sleep(700);
        await server.kill();
        await sleep(100);
        await server.restart();
      }
    });
  });
});

/** Runs a program, and gives its output. The program ends with this process: its standard input closes. */
function run(args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.on('data', (data) => {
      output += data;
    });
    child.on('error', reject);
    child.on('exit', (code) => (code === 0 ? resolve(output) : reject(new Error(`A contender ended with ${code}.`))));
  });
}
