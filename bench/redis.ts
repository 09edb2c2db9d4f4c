// A lock on Redis: taking a free lock and releasing it, and the hand-over to a waiter. Needs the program redis-server.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { LockClient } from '../lib/index.ts';
import { RedisLockStore } from '../lib/redis.ts';
import { CLIENTS, type Connected, local } from '../test/support/redis-clients.ts';
import { RedisServer } from '../test/support/redis-servers.ts';
import type { Measure } from './lib/measure.ts';
import { redlockOn } from './lib/peers.ts';
import { inRounds } from './lib/rounds.ts';
import { median, quantile, ratio } from './lib/statistics.ts';

const LIBRARIES = ['node-redis', 'ioredis', 'GLIDE'] as const;
const LEASE_MS = 30_000;

interface Contender {
  readonly name: string;
  /** The contender that sends the same two requests by hand. */
  readonly raw: string;
  cycle(key: string): Promise<unknown>;
  /** Milliseconds from a release to the grant of a waiter that has waited for `heldMs`. */
  handOver?(heldMs: number): Promise<number>;
}

type Send = (args: string[]) => Promise<unknown>;

const sendOver = (client: Connected['client']): Send =>
  'call' in client
    ? ([command = '', ...args]) => client.call(command, args)
    : 'customCommand' in client
      ? (args) => client.customCommand(args, { decoder: 1 })
      : (args) => (client as { sendCommand(args: string[]): Promise<unknown> }).sendCommand(args);

/** Leasehold's two requests without leasehold, over the same client. */
async function raw(library: string, client: Connected['client']): Promise<Contender> {
  const send = sendOver(client);
  const sent: string[][] = [];
  const recording = {
    call(command: string, args: string[]) {
      sent.push([command, ...args]);
      return send([command, ...args]);
    },
  };
  const locks = new LockClient({ store: new RedisLockStore({ client: recording }), leaseMs: LEASE_MS });
  await (await locks.acquire('first')).release();
  sent.length = 0;
  const lease = await locks.acquire('inputs');
  const { lockId } = lease;
  await lease.release();
  const [acquire = [], release = []] = sent.filter((args) => args.includes(lockId));
  const name = `two requests by hand, ${library}`;
  const cycle = async (key: string) => {
    const names = new Map([
      ['leasehold:{inputs}', `leasehold:{${key}}`],
      [lockId, randomUUID()],
    ]);
    for (const args of [acquire, release]) {
      const writeId = randomUUID();
      await send(args.map((arg, i) => (i === 5 ? writeId : (names.get(arg) ?? arg))));
    }
  };
  return { name, raw: name, cycle };
}

function leasehold(library: string, client: Connected['client'], subscriber?: Connected['client']): Contender {
  const locks = new LockClient({ store: new RedisLockStore({ client, subscriber }), leaseMs: LEASE_MS });
  return {
    name: `leasehold, ${library}${subscriber ? ', subscriber' : ''}`,
    raw: `two requests by hand, ${library}`,
    async cycle(key) {
      const lease = await locks.acquire(key);
      if (!(await lease.release())) throw new Error(`leasehold did not release ${key}.`);
    },
    async handOver(heldMs) {
      const key = randomUUID();
      const lease = await locks.acquire(key);
      const waiting = locks.acquire(key, { waitMs: 60_000 });
      await sleep(heldMs);
      const from = performance.now();
      const [next] = await Promise.all([waiting, lease.release()]);
      const ms = performance.now() - from;
      await next.release();
      return ms;
    },
  };
}

/** The CPU of a cycle in a round, in µs, and the median time of a cycle, in ms. */
async function once({ cycle }: Contender, cycles: number): Promise<{ cpuUs: number; ms: number }> {
  const times: number[] = [];
  const before = process.cpuUsage();
  for (let i = 0; i < cycles; i++) {
    const from = performance.now();
    await cycle(randomUUID());
    times.push(performance.now() - from);
  }
  const { user, system } = process.cpuUsage(before);
  return { cpuUs: (user + system) / cycles, ms: quantile(times, 0.5) };
}

export default {
  about:
    'A lock on one redis-server of this machine: a free lock is taken and released, and a waiter is granted a lock that was held for a second. CPU is of the client alone, with the threads of GLIDE.',
  servers: ['none'],
  async run({ smoke }) {
    await using server = await RedisServer.start();
    const place = local(server.port);
    const connected: Connected[] = [];
    const connect = async (library: (typeof LIBRARIES)[number]) => {
      const one = await CLIENTS[library](place);
      connected.push(one);
      return one.client;
    };
    const contenders: Contender[] = [];
    for (const library of LIBRARIES) {
      const client = await connect(library);
      contenders.push(await raw(library, client), leasehold(library, client));
      contenders.push(leasehold(library, client, await connect(library)));
    }
    const redlock = await redlockOn(server.port);
    if (redlock) contenders.push({ ...redlock, raw: 'two requests by hand, ioredis' });
    const rounds = smoke ? { rounds: 5, warmUp: 2 } : { rounds: 40, warmUp: 10 };
    const samples = await inRounds(contenders, rounds, (contender) => once(contender, smoke ? 40 : 200));
    const handOvers = new Map<string, number[]>();
    for (const { name, handOver } of contenders) {
      const times: number[] = [];
      for (let i = 0; handOver && i < (smoke ? 2 : 10); i++) times.push(await handOver(smoke ? 200 : 1_000));
      handOvers.set(name, times);
    }
    for (const { close } of connected) close();
    const series = (name: string) => {
      const all = samples.get(name) ?? [];
      return { cpu: all.map(({ cpuUs }) => cpuUs), ms: all.map(({ ms }) => ms) };
    };
    return contenders.map(({ name, raw }) => {
      const [own, base] = [series(name), series(raw)];
      return {
        name,
        figures: {
          'CPU, µs': quantile(own.cpu, 0.5),
          'CPU / raw': ratio(own.cpu, base.cpu),
          'p50, ms': median(own.ms).value,
          'p50 / raw': ratio(own.ms, base.ms),
          'hand-over, ms': handOvers.get(name)?.length ? quantile(handOvers.get(name) ?? [], 0.5) : '-',
        },
      };
    });
  },
} satisfies Measure;
