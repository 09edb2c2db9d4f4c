// Measures a process that has many leases: requests, lost leases and CPU. The exit status is 1 if a lease is lost, if a call
// fails, or if calls at once cost a tenth more requests than they need.
//
//   npm run bench:held              10,000 leases of 30 s, an event loop that stands still for 10 s, and a server that becomes slow
//   npm run bench:held -- --smoke   300 leases of 3 s, in a few seconds
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { startDynamoDB } from '../demo/local/launcher.ts';
import { DynamoDBLockStore } from '../lib/dynamodb.ts';
import { type Lease, LockClient } from '../lib/index.ts';

const { values: flags } = parseArgs({ options: { smoke: { type: 'boolean', default: false } } });
const size = flags.smoke
  ? { leases: 300, leaseMs: 3_000, blockedMs: 1_000, atOnce: 200, slowLeases: 100 }
  : { leases: 10_000, leaseMs: 30_000, blockedMs: 10_000, atOnce: 4_000, slowLeases: 2_000 };

const server = await startDynamoDB();
const tableName = await server.createLockTable();
let hasFailed = false;

/** A client at an endpoint, whose requests are counted as they leave the SDK. */
function counted(endpoint?: string) {
  const client = server.client(endpoint ? { endpoint } : {});
  const count = { requests: 0, lost: 0, renewed: 0, renewFailed: 0 };
  client.middlewareStack.add(
    (next) => (args) => {
      count.requests++;
      return next(args);
    },
    { step: 'finalizeRequest', priority: 'low' },
  );
  const onEvent = ({ type }: { type: string }) => {
    if (type in count) count[type as keyof typeof count]++;
  };
  const locks = new LockClient({ store: new DynamoDBLockStore({ client, tableName }), leaseMs: size.leaseMs, onEvent });
  return { locks, count };
}

function row(name: string, isRight: boolean, ...columns: string[]) {
  hasFailed ||= !isRight;
  console.log(`${isRight ? 'ok    ' : 'FAILED'} ${name.padEnd(48)} ${columns.join('; ')}`);
}

const seconds = (ms: number) => `${(ms / 1_000).toFixed(1)} s`;

/** Lets `ms` pass, and tells the part of one core that the process used. */
async function cpuOver(ms: number): Promise<string> {
  const [before, from] = [process.cpuUsage(), performance.now()];
  await sleep(ms);
  const { user, system } = process.cpuUsage(before);
  return `${Math.round((user + system) / 10 / (performance.now() - from))}% of a core`;
}

async function atOnce(): Promise<void> {
  const names = Array.from({ length: size.atOnce }, (_, n) => `at-once/${n}`);
  for (const [what, call, needed] of [
    ['acquire', (locks: LockClient, key: string) => locks.acquire(key), 1],
    ['using', (locks: LockClient, key: string) => locks.using(`using/${key}`, async () => {}), 2],
  ] as const) {
    const { locks, count } = counted();
    const from = performance.now();
    const results = await Promise.allSettled(names.map((name) => call(locks, name)));
    const ms = performance.now() - from;
    const { requests, renewed } = count;
    const served = results.filter(({ status }) => status === 'fulfilled').length;
    const each = (requests - renewed) / names.length;
    const isRight = served === names.length && each < 1.1 * needed;
    row(
      `${names.length} ${what} at once`,
      isRight,
      `${served} served in ${seconds(ms)}`,
      `${each.toFixed(2)} requests each`,
    );
    await end(
      locks,
      results.flatMap((result) => (result.status === 'fulfilled' && result.value ? [result.value] : [])),
    );
  }
}

/** Releases the leases. A client that is closed waits for the end of its leases. */
async function end(locks: LockClient, leases: readonly Lease[]): Promise<void> {
  await Promise.all(leases.map((lease) => lease.release()));
  await locks.close();
}

async function take(locks: LockClient, leases: number): Promise<Lease[]> {
  return Promise.all(Array.from({ length: leases }, (_, n) => locks.acquire(`held/${n}`)));
}

async function held(): Promise<void> {
  const { locks, count } = counted();
  const leases = await take(locks, size.leases);
  const told = (name: string, ...columns: string[]) => {
    const still = leases.filter((lease) => lease.isHeld()).length;
    const { renewFailed, lost } = count;
    row(name, still === leases.length, ...columns, `${lost} lost`, `${renewFailed} renewals failed`);
  };
  const before = count.requests;
  const cpu = await cpuOver(1.5 * size.leaseMs);
  const rate = (count.requests - before) / leases.length / ((1.5 * size.leaseMs) / 1_000);
  told(`${leases.length} leases of ${seconds(size.leaseMs)}`, cpu, `${rate.toFixed(3)} requests a lease and second`);
  const until = performance.now() + size.blockedMs;
  while (performance.now() < until);
  await sleep(1.5 * size.leaseMs);
  told(`the same, after ${seconds(size.blockedMs)} without an event loop`);
  await end(locks, leases);
}

async function slow(): Promise<void> {
  const relay = fork(new URL('delaying-relay.ts', import.meta.url), [new URL(server.endpoint).port]);
  const [port] = await once(relay, 'message');
  const { locks, count } = counted(`http://127.0.0.1:${port}`);
  relay.send(5);
  const leases = await take(locks, size.slowLeases);
  relay.send(120);
  await sleep(1.5 * size.leaseMs);
  const still = leases.filter((lease) => lease.isHeld()).length;
  row(`${leases.length} leases, answers in 120 instead of 5 ms`, still === leases.length, `${count.lost} lost`);
  relay.send(0);
  await end(locks, leases);
  relay.kill();
}

await atOnce();
await held();
await slow();
await server.stop();
process.exitCode = hasFailed ? 1 : 0;
