// A process that has many leases: its CPU, its requests, and the leases that it loses.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { DynamoDBLockStore } from '../lib/dynamodb.ts';
import { type Lease, LockClient } from '../lib/index.ts';
import type { Measure } from './lib/measure.ts';
import { requestsOf } from './lib/requests.ts';
import type { Server } from './lib/servers.ts';

interface Size {
  readonly leases: number;
  readonly leaseMs: number;
  readonly blockedMs: number;
  readonly atOnce: number;
  readonly slowLeases: number;
}
/** Each lease is watched for so many times its length. */
const HELD_FOR = 1.2;
const WHOLE: Size = { leases: 10_000, leaseMs: 30_000, blockedMs: 10_000, atOnce: 4_000, slowLeases: 2_000 };
const SMOKE: Size = { leases: 200, leaseMs: 2_000, blockedMs: 600, atOnce: 200, slowLeases: 100 };

const clientOf = (tableName: string, leaseMs: number) =>
  new LockClient({ store: new DynamoDBLockStore({ tableName }), leaseMs });

/** The CPU of the work, as percent of one core. */
async function cpuOf(work: () => Promise<unknown>): Promise<number> {
  const [before, from] = [process.cpuUsage(), performance.now()];
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 10 / (performance.now() - from);
}

/** Releases the leases. A client that is closed waits for the end of its leases. */
async function end(locks: LockClient, leases: readonly Lease[]): Promise<void> {
  await Promise.all(leases.map((lease) => lease.release()));
  await locks.close();
}

const take = (locks: LockClient, leases: number): Promise<Lease[]> =>
  Promise.all(Array.from({ length: leases }, (_, n) => locks.acquire(`held/${n}`)));

const lost = (leases: readonly Lease[]) => leases.filter((lease) => !lease.isHeld()).length;

/** No lease needs a renewal meanwhile. */
async function atOnce(tableName: string, { atOnce }: Size) {
  const locks = clientOf(tableName, 600_000);
  const from = performance.now();
  let failed = 0;
  const { writes } = await requestsOf(() => {
    const call = (n: number) => locks.using(`using/${n}`, async () => {}).catch(() => failed++);
    return Promise.all(Array.from({ length: atOnce }, (_, n) => call(n)));
  });
  const figures = { lost: failed, 'took, s': (performance.now() - from) / 1_000, 'writes each': writes / atOnce };
  await locks.close();
  return { name: `${atOnce.toLocaleString('en-US')} \`using\` at once`, figures };
}

async function held(tableName: string, size: Size) {
  const locks = clientOf(tableName, size.leaseMs);
  const leases = await take(locks, size.leases);
  let cpu = 0;
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  const { writes } = await requestsOf(async () => {
    cpu = await cpuOf(() => sleep(HELD_FOR * size.leaseMs));
  });
  delay.disable();
  const name = `${size.leases.toLocaleString('en-US')} leases of ${size.leaseMs / 1_000} s`;
  const perSecond = writes / size.leases / ((HELD_FOR * size.leaseMs) / 1_000);
  const figures = {
    lost: lost(leases),
    'CPU, % of a core': cpu,
    'writes of a lease, 1/s': perSecond,
    'loop delay p99, ms': delay.percentile(99) / 1e6,
  };
  const quiet = { name, figures };
  const until = performance.now() + size.blockedMs;
  while (performance.now() < until);
  await sleep(HELD_FOR * size.leaseMs);
  const after = {
    name: `the same, after ${size.blockedMs / 1_000} s without an event loop`,
    figures: { lost: lost(leases) },
  };
  await end(locks, leases);
  return [quiet, after];
}

async function slow(server: Server, tableName: string, size: Size) {
  const relay = fork(new URL('delaying-relay.ts', import.meta.url), [new URL(server.endpoint).port], { execArgv: [] });
  const [port] = await once(relay, 'message');
  process.env.AWS_ENDPOINT_URL_DYNAMODB = `http://127.0.0.1:${port}`;
  const locks = clientOf(tableName, size.leaseMs);
  relay.send(5);
  const leases = await take(locks, size.slowLeases);
  relay.send(120);
  await sleep(HELD_FOR * size.leaseMs);
  const figures = { lost: lost(leases) };
  relay.send(0);
  await end(locks, leases);
  relay.kill();
  return { name: `${leases.length.toLocaleString('en-US')} leases, answers after 120 instead of 5 ms`, figures };
}

export default {
  about:
    'One process that has many leases. A call at once that failed, or a lease that was no longer held, is lost. Each row ' +
    'of leases watches them for longer than one lease.',
  servers: ['dynoxide'],
  async run({ server, smoke }) {
    const size = smoke ? SMOKE : WHOLE;
    const tableName = await server.table();
    return [await atOnce(tableName, size), ...(await held(tableName, size)), await slow(server, tableName, size)];
  },
} satisfies Measure;
