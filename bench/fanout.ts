// What it costs to share 1,000 tasks out over W workers, beside workers that try every task: requests counted on the
// embedded DynamoDB as they leave the SDK, priced by the table below.
//
//   npm run bench:fanout              the whole of it, with the chart bench/fanout.svg
//   npm run bench:fanout -- --smoke   10 workers and 200 tasks
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { DynamoDBLockStore } from '../lib/dynamodb.ts';
import { LockClient } from '../lib/index.ts';
import { runTasks } from '../lib/tasks/index.ts';
import { startDynamoDB } from '../test/dynamodb/launcher.ts';

/** US dollars for a million request units, on demand, us-east-1. https://aws.amazon.com/dynamodb/pricing/on-demand/ */
const PRICE = { write: 0.625, read: 0.125 };

/** How long a task takes: short enough for a benchmark, long enough that views go stale. */
const TASK_MS = { least: 2, most: 12 };

interface Tally {
  writes: number;
  refused: number;
  readUnits: number;
  /** Requests of any kind. */
  requests: number;
}

interface Measured extends Tally {
  readonly workers: number;
  readonly tasks: number;
  readonly runs: number;
  readonly seconds: number;
}

const { values: flags } = parseArgs({ options: { smoke: { type: 'boolean', default: false } } });
const server = await startDynamoDB();

/** A client that counts what it sends, as it is sent: resent requests too. */
function countingClient(tally: Tally): DynamoDBClient {
  const client = new DynamoDBClient(server.clientConfig);
  client.middlewareStack.add(
    (next, context) => async (args) => {
      const { input } = args as { input: { RequestItems?: Record<string, { Keys?: unknown[] }> } };
      tally.requests++;
      if (context.commandName === 'UpdateItemCommand') tally.writes++;
      else
        tally.readUnits +=
          0.5 * Object.values(input.RequestItems ?? { one: { Keys: [1] } }).flatMap(({ Keys = [] }) => Keys).length;
      try {
        return await next(args);
      } catch (error) {
        if ((error as Error).name === 'ConditionalCheckFailedException') tally.refused++;
        throw error;
      }
    },
    { step: 'serialize', priority: 'low' },
  );
  return client;
}

type Worker = (
  number: number,
  of: number,
  locks: LockClient,
  tasks: string[],
  work: () => Promise<void>,
) => Promise<unknown>;

const fanOut: Worker = (number, of, locks, tasks, work) =>
  runTasks(tasks, work, { locks, key: (task) => task, once: '2026-01-01', worker: { number, of }, concurrency: 2 });

const tryEvery: Worker = async (_number, _of, locks, tasks, work) => {
  for (const task of tasks) {
    const lease = await locks.tryAcquire(task, { once: '2026-01-01' });
    if (lease) await work().finally(() => lease.release({ done: true }));
  }
};

async function measure(workers: number, count: number, worker: Worker): Promise<Measured> {
  const tally: Tally = { writes: 0, refused: 0, readUnits: 0, requests: 0 };
  const tableName = `fanout-${workers}-${count}-${worker.name}`;
  await server.createLockTable(tableName);
  const tasks = Array.from({ length: count }, (_, i) => `task/${String(i).padStart(4, '0')}`);
  let runs = 0;
  const work = async () => {
    runs++;
    await sleep(TASK_MS.least + Math.random() * (TASK_MS.most - TASK_MS.least));
  };
  const started = performance.now();
  await Promise.all(
    Array.from({ length: workers }, (_, number) => {
      const client = countingClient(tally);
      const locks = new LockClient({ store: new DynamoDBLockStore({ tableName, client }), owner: `worker ${number}` });
      return worker(number, workers, locks, tasks, work).finally(() => client.destroy());
    }),
  );
  return { workers, tasks: count, runs, seconds: (performance.now() - started) / 1000, ...tally };
}

const dollars = ({ writes, readUnits, tasks }: Measured) => (writes * PRICE.write + readUnits * PRICE.read) / tasks;
const row = (name: string, m: Measured) =>
  console.log(
    [
      name.padEnd(10),
      String(m.workers).padStart(7),
      String(m.tasks).padStart(6),
      String(m.runs).padStart(6),
      (m.writes / m.tasks).toFixed(3).padStart(12),
      `${((100 * m.refused) / m.writes).toFixed(2)}%`.padStart(8),
      (m.readUnits / m.tasks).toFixed(2).padStart(16),
      `$${dollars(m).toFixed(3)}`.padStart(12),
      `${m.seconds.toFixed(1)} s`.padStart(8),
    ].join(' '),
  );

console.log('           workers  tasks   runs  writes/task  refused  read units/task  $/M tasks     took');
const sizes = flags.smoke
  ? [[10, 200, 200]]
  : [
      [2, 1000, 1000],
      [10, 1000, 1000],
      [50, 1000, 400],
      [200, 1000, 100],
    ];
const results: { ours: Measured; naive: Measured }[] = [];
for (const [workers = 0, tasks = 0, naiveTasks = 0] of sizes) {
  const ours = await measure(workers, tasks, fanOut);
  row('runTasks', ours);
  const naive = await measure(workers, naiveTasks, tryEvery);
  row('try every', naive);
  console.log(`           at ${((100 * dollars(ours)) / dollars(naive)).toFixed(1)}% of the cost`);
  results.push({ ours, naive });
}
await server.stop();
