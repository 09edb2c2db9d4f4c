// Measures the cost of a lock: requests, CPU, bytes in a bundle and time to import. Each is measured beside raw SDK calls in
// the same run, and beside a peer if one is installed (npm ci --prefix bench). Machines are noisy: compare the ratios.
//
//   npm run bench              the whole of it, about a minute
//   npm run bench -- --smoke   a few seconds, to see that it runs
import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { DynamoDBClient, UpdateItemCommand, type UpdateItemCommandInput } from '@aws-sdk/client-dynamodb';
import { DynamoDBDocument } from '@aws-sdk/lib-dynamodb';
import { build } from 'esbuild';
import { startDynamoDB } from '../demo/local/launcher.ts';
import { DynamoDBLockStore } from '../lib/dynamodb.ts';
import { LockClient } from '../lib/index.ts';

const { values: flags } = parseArgs({ options: { smoke: { type: 'boolean', default: false } } });
const ROUNDS = flags.smoke ? 20 : 200;
const CYCLES_A_ROUND = 25;
/** Rounds until the code is compiled and the connections are open. */
const WARM_UP = flags.smoke ? 4 : 20;

const server = await startDynamoDB();
const tableName = await server.createLockTable();

/** Every input that a client sends: to count them, and to send the same inputs again raw. */
const sent: UpdateItemCommandInput[] = [];
function recordingClient(): DynamoDBClient {
  const client = new DynamoDBClient(server.clientConfig);
  client.middlewareStack.add(
    (next) => (args) => {
      sent.push(args.input as UpdateItemCommandInput);
      return next(args);
    },
    { step: 'initialize' },
  );
  return client;
}

async function requestsOf(what: () => Promise<unknown>): Promise<number> {
  sent.length = 0;
  await what();
  return sent.length;
}

const median = (numbers: number[]): number => numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN;

interface PeerLock {
  lock(group: string, id: string, options: object): Promise<object>;
  releaseLock(lock: object): Promise<unknown>;
}

async function peer(): Promise<PeerLock | undefined> {
  try {
    const specifier = '@deliveryhero/dynamodb-lock';
    const { dynamoDBLockClientFactory } = await import(specifier);
    const table = await server.createLockTable(undefined, { keyAttribute: 'lockId', sortKeyAttribute: 'lockGroup' });
    const documents = DynamoDBDocument.from(recordingClient());
    return dynamoDBLockClientFactory(documents, { tableName: table, partitionKey: 'lockId', sortKey: 'lockGroup' });
  } catch {
    console.log('@deliveryhero/dynamodb-lock is not installed: npm ci --prefix bench');
    return undefined;
  }
}

async function requests(locks: LockClient, other: PeerLock | undefined): Promise<void> {
  console.log('\nrequests                        leasehold   @deliveryhero/dynamodb-lock');
  const row = (name: string, ours: number, theirs: number | undefined) =>
    console.log(`${name.padEnd(30)} ${String(ours).padStart(10)}   ${theirs ?? '-'}`);
  const options = { prolongLeaseEnabled: false, leaseDurationInMs: 30_000 };
  row(
    'acquire and release',
    await requestsOf(async () => (await locks.acquire('a')).release()),
    other && (await requestsOf(async () => other.releaseLock(await other.lock('g', 'a', options)))),
  );
  await locks.acquire('held');
  await other?.lock('g', 'held', options);
  const busy = { ...options, trustLocalTime: true, waitDurationInMs: 1, maxRetryCount: 0 };
  row(
    'a try that finds it busy',
    await requestsOf(() => locks.tryAcquire('held')),
    other && (await requestsOf(() => other.lock('g', 'held', busy).catch(() => {}))),
  );
}

async function cpu(locks: LockClient, client: DynamoDBClient, other: PeerLock | undefined): Promise<void> {
  let n = 0;
  sent.length = 0;
  await (await locks.acquire('template')).release();
  const [acquire, release] = sent as [UpdateItemCommandInput, UpdateItemCommandInput];
  const cycles: Record<string, () => Promise<unknown>> = {
    'two raw SDK calls': async () => {
      const Key = { lockKey: { S: `raw-${n++}` } };
      await client.send(new UpdateItemCommand({ ...acquire, Key }));
      await client.send(new UpdateItemCommand({ ...release, Key }));
    },
    leasehold: async () => (await locks.acquire(`k-${n++}`)).release(),
    ...(other && {
      '@deliveryhero/dynamodb-lock': async () =>
        other.releaseLock(await other.lock('g', `k-${n++}`, { prolongLeaseEnabled: false, leaseDurationInMs: 30_000 })),
    }),
  };
  const micros: Record<string, number[]> = Object.fromEntries(Object.keys(cycles).map((name) => [name, []]));
  for (let round = 0; round < WARM_UP + ROUNDS; round++) {
    for (const [name, cycle] of Object.entries(cycles)) {
      const before = process.cpuUsage();
      for (let i = 0; i < CYCLES_A_ROUND; i++) await cycle();
      const { user, system } = process.cpuUsage(before);
      if (round >= WARM_UP) micros[name]?.push((user + system) / CYCLES_A_ROUND);
      sent.length = 0;
    }
  }
  const raw = micros['two raw SDK calls'] ?? [];
  console.log('\nCPU of an acquire and a release   microseconds   ratio to raw, round by round');
  for (const [name, each] of Object.entries(micros)) {
    const ratio = median(each.map((value, round) => value / (raw[round] ?? Number.NaN)));
    console.log(`${name.padEnd(32)} ${median(each).toFixed(0).padStart(13)}   ${ratio.toFixed(3)}`);
  }
}

/** Bundles an entry as users do, next to the SDK's client. */
async function bundleOf(entry: string): Promise<Uint8Array> {
  const { outputFiles } = await build({
    entryPoints: [join(import.meta.dirname, '..', entry)],
    bundle: true,
    minify: true,
    write: false,
    platform: 'node',
    format: 'esm',
    mainFields: ['module', 'main'],
    external: ['@aws-sdk/*'],
  });
  return outputFiles[0]?.contents ?? new Uint8Array();
}

async function bytes(): Promise<void> {
  console.log('\nbytes added to a bundle that has the SDK     minified   and gzipped');
  for (const entry of ['lib/index.ts', 'lib/dynamodb.ts', 'middleware/index.ts', 'lib/tasks/index.ts']) {
    const code = await bundleOf(entry);
    const zipped = gzipSync(code).length;
    console.log(`${entry.padEnd(40)} ${String(code.length).padStart(12)} ${String(zipped).padStart(13)}`);
  }
}

/** Measures the milliseconds to import the bundled middleware beyond the SDK's client, each import in a process of its own. */
async function imports(): Promise<void> {
  // The bundles stand beside this file, where Node finds the SDK.
  const bundle = join(import.meta.dirname, `.middleware-${process.pid}.mjs`);
  writeFileSync(bundle, await bundleOf('middleware/index.ts'));
  const program = `
    const start = performance.now();
    await import('@aws-sdk/client-dynamodb');
    const sdk = performance.now();
    await import(${JSON.stringify(bundle)});
    console.log(sdk - start, performance.now() - sdk);`;
  try {
    const times = Array.from({ length: flags.smoke ? 3 : 15 }, () =>
      execFileSync(process.execPath, ['--input-type=module', '-e', program], {
        cwd: import.meta.dirname,
        encoding: 'utf8',
      })
        .split(' ')
        .map(Number),
    );
    const [sdk, ours] = [0, 1].map((i) => median(times.map((each) => each[i] ?? Number.NaN)).toFixed(1));
    console.log(`\nimport: the SDK's client ${sdk} ms, and leasehold/middy after it ${ours} ms`);
  } finally {
    rmSync(bundle);
  }
}

const client = recordingClient();
// A disciplined clock, as on Lambda: any other process reads once, to judge its clock.
process.env.AWS_LAMBDA_FUNCTION_NAME = 'bench';
const locks = new LockClient({ store: new DynamoDBLockStore({ client, tableName }) });
const other = await peer();
await requests(locks, other);
await cpu(locks, client, other);
await bytes();
await imports();
await locks.close();
await server.stop();
