// Measures the cost of sharing tasks out over W workers that come in the same instant, beside workers that try every task.
// Requests to the embedded DynamoDB are counted as they leave the SDK, and priced by the table below. The exit status is 1
// when a limit is missed.
//
//   npm run bench:fanout              2, 10, 50 and 200 workers, and the chart bench/fanout.svg
//   npm run bench:fanout -- --smoke   10 workers and 200 tasks
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { type DynamoDB, startDynamoDB } from '../demo/local/launcher.ts';
import { DynamoDBLockStore } from '../lib/dynamodb.ts';
import { LockClient } from '../lib/index.ts';
import { runTasks } from '../lib/tasks/index.ts';
import { costChart } from './fanout-chart.ts';
import { PRICE } from './lib/prices.ts';

/** A read of one item of up to 4 kB, eventually consistent. */
const UNITS_OF_A_READ = 0.5;

/** The time of a task: short, so that the sharing out is the cost. */
const TASK_MS = { least: 2, most: 12 };
// The workers are Lambdas, whose clocks are disciplined: no read judges them.
process.env.AWS_LAMBDA_FUNCTION_NAME = 'worker';
const ONCE = '2026-01-01T00:00:00Z';
/** Long enough for a busy machine: a request that is sent again would be counted again. */
const requestTimeoutMs = 8_000;

/** A worker's way through the tasks. */
interface Way {
  readonly name: string;
  work(worker: { number: number; of: number }, locks: LockClient, tasks: string[], task: Task): Promise<unknown>;
}
type Task = (name: string) => Promise<void>;

const shared: Way = {
  name: 'runTasks',
  work: (worker, locks, tasks, task) =>
    runTasks(tasks, { locks, key: (name) => name, once: ONCE, requestTimeoutMs, worker }, task),
};
const sharedWithoutNumbers: Way = {
  name: 'runTasks, no worker numbers',
  work: (_worker, locks, tasks, task) =>
    runTasks(tasks, { locks, key: (name) => name, once: ONCE, requestTimeoutMs }, task),
};
const tryEvery: Way = {
  name: 'try every task',
  work: async (_worker, locks, tasks, task) => {
    for (const name of tasks) {
      const lease = await locks.tryAcquire(name, { once: ONCE, requestTimeoutMs });
      if (lease) await task(name).finally(() => lease.release({ done: true }));
    }
  },
};

interface Tally {
  writes: number;
  refused: number;
  readUnits: number;
}

interface Measured {
  readonly way: string;
  readonly workers: number;
  readonly tasks: number;
  /** The number of tasks that ran exactly once. */
  readonly ranOnce: number;
  readonly writesPerTask: number;
  readonly refusedPercent: number;
  readonly readUnitsPerTask: number;
  /** For a million tasks. */
  readonly dollars: number;
  readonly seconds: number;
}

/** Makes a client that adds each request to the tally when it is sent, also when the SDK sends it again. */
function countingClient(server: DynamoDB, tally: Tally): DynamoDBClient {
  const client = server.client();
  client.middlewareStack.add(
    (next, { commandName }) =>
      async (args) => {
        const { RequestItems = {} } = args.input as { RequestItems?: Record<string, { Keys?: unknown[] }> };
        const reads = Object.values(RequestItems).flatMap(({ Keys = [] }) => Keys).length;
        if (commandName === 'UpdateItemCommand') tally.writes++;
        else if (commandName === 'BatchGetItemCommand') tally.readUnits += UNITS_OF_A_READ * reads;
        else throw new Error(`Expected UpdateItemCommand or BatchGetItemCommand, got ${commandName}: count it here.`);
        try {
          return await next(args);
        } catch (error) {
          if ((error as Error).name === 'ConditionalCheckFailedException') tally.refused++;
          throw error;
        }
      },
    { step: 'finalizeRequest', priority: 'low' },
  );
  return client;
}

async function measure(server: DynamoDB, way: Way, workers: number, count: number): Promise<Measured> {
  const tally: Tally = { writes: 0, refused: 0, readUnits: 0 };
  const tableName = await server.createLockTable();
  const tasks = Array.from({ length: count }, (_, i) => `task/${String(i).padStart(4, '0')}`);
  const runs = new Map<string, number>();
  const task: Task = async (name) => {
    runs.set(name, (runs.get(name) ?? 0) + 1);
    await sleep(TASK_MS.least + Math.random() * (TASK_MS.most - TASK_MS.least));
  };
  const started = performance.now();
  await Promise.all(
    Array.from({ length: workers }, (_, number) => {
      const client = countingClient(server, tally);
      const locks = new LockClient({ store: new DynamoDBLockStore({ tableName, client }), owner: `worker ${number}` });
      return way.work({ number, of: workers }, locks, tasks, task).finally(() => client.destroy());
    }),
  );
  return {
    way: way.name,
    workers,
    tasks: count,
    ranOnce: tasks.filter((name) => runs.get(name) === 1).length,
    writesPerTask: tally.writes / count,
    refusedPercent: (100 * tally.refused) / tally.writes,
    readUnitsPerTask: tally.readUnits / count,
    dollars: (tally.writes * PRICE.write + tally.readUnits * PRICE.read) / count,
    seconds: (performance.now() - started) / 1000,
  };
}

const COLUMNS = ['workers', 'tasks', 'ran once', 'writes/task', 'refused', 'read units/task', '$/million', 'took'];
const print = (name: string, cells: string[]) =>
  console.log([name.padEnd(28), ...cells.map((cell, i) => cell.padStart(COLUMNS[i]?.length ?? 0))].join('  '));

function printRow(m: Measured): Measured {
  const { workers, tasks, ranOnce, writesPerTask, refusedPercent, readUnitsPerTask, dollars, seconds } = m;
  print(m.way, [
    `${workers}`,
    `${tasks}`,
    `${ranOnce}`,
    writesPerTask.toFixed(3),
    `${refusedPercent.toFixed(2)}%`,
    readUnitsPerTask.toFixed(2),
    dollars.toFixed(2),
    `${seconds.toFixed(1)} s`,
  ]);
  return m;
}

let missed = 0;
function check(what: string, value: number, limit: number): void {
  const isMet = value <= limit;
  if (!isMet) missed++;
  console.log(`${isMet ? 'ok    ' : 'MISSED'} ${what}: ${value.toFixed(2)}, at most ${limit}`);
}

/** Checks the limits of sharing tasks out, and compares with the cost of trying every task. */
function checkLimits(ours: Measured, naive: Measured): void {
  const { workers, tasks, ranOnce } = ours;
  const who = `${workers} workers`;
  check(`${who}: tasks not run exactly once`, tasks - ranOnce, 0);
  check(`${who}: read units a task`, ours.readUnitsPerTask, workers < 50 ? 0.5 * workers + 0.5 : 0.1 * workers + 5);
  if (workers <= 10) check(`${who}: writes a task`, ours.writesPerTask, 2.1);
  if (workers === 50) check(`${who}: percent of the writes refused`, ours.refusedPercent, 3);
  const percent = (100 * ours.dollars) / naive.dollars;
  check(
    `${who}: percent of what trying every task costs`,
    percent,
    ({ 2: 100, 10: 30 } as Record<number, number>)[workers] ?? 10,
  );
}

const { values: flags } = parseArgs({ options: { smoke: { type: 'boolean', default: false } } });
/** The numbers of workers, of tasks, and of tasks for the workers that try every task, where each task costs the same. */
const sizes: [number, number, number][] = flags.smoke
  ? [[10, 200, 50]]
  : [
      [2, 1000, 200],
      [10, 1000, 200],
      [50, 1000, 100],
      [200, 1000, 40],
    ];

const server = await startDynamoDB();
const all: { ours: Measured; naive: Measured }[] = [];
print('', COLUMNS);
for (const [workers, tasks, naiveTasks] of sizes) {
  const ours = printRow(await measure(server, shared, workers, tasks));
  all.push({ ours, naive: printRow(await measure(server, tryEvery, workers, naiveTasks)) });
}
const unnumbered = flags.smoke ? undefined : printRow(await measure(server, sharedWithoutNumbers, 50, 1000));
const long = flags.smoke ? undefined : printRow(await measure(server, shared, 50, 5000));
await server.stop();

console.log();
for (const { ours, naive } of all) checkLimits(ours, naive);
if (long) check('50 workers, 5000 tasks: read units a task', long.readUnitsPerTask, 5);
if (unnumbered) {
  check('50 workers without numbers: tasks not run exactly once', unnumbered.tasks - unnumbered.ranOnce, 0);
  check('50 workers without numbers: percent of the writes refused', unnumbered.refusedPercent, 3);
  const svg = costChart(
    [
      { name: tryEvery.name, colour: '#c0392b', side: -1, points: all.map(({ naive }) => naive) },
      { name: shared.name, colour: '#1f6fb2', side: 1, points: all.map(({ ours }) => ours) },
    ],
    2 * PRICE.write,
  );
  writeFileSync(new URL('fanout.svg', import.meta.url), svg);
}
process.exitCode = missed === 0 ? 0 : 1;
