// Work that runs once more if it is asked for meanwhile: runs, and requests of a call.
import { setTimeout as sleep } from 'node:timers/promises';
import { DynamoDBLockStore } from '../lib/dynamodb.ts';
import { LockClient } from '../lib/index.ts';
import type { Measure } from './lib/measure.ts';
import { requestsOf } from './lib/requests.ts';

const RUN_MS = 200;
const HOSTS = 4;

/** Calls within `withinMs`, spread evenly over as many clients as there are hosts. */
async function burst(tableName: string, calls: number, withinMs: number) {
  const key = `coalesce-${process.pid}-${calls}-${withinMs}`;
  const hosts = Array.from({ length: HOSTS }, () => new LockClient({ store: new DynamoDBLockStore({ tableName }) }));
  const began: number[] = [];
  let [inside, overlaps, lastCall] = [0, 0, 0];
  const work = async () => {
    if (++inside > 1) overlaps++;
    began.push(performance.now());
    await sleep(RUN_MS);
    inside--;
  };
  const call = async (number: number) => {
    await sleep((number * withinMs) / calls);
    lastCall = Math.max(lastCall, performance.now());
    return (hosts[number % HOSTS] as LockClient).coalesce(key, work);
  };
  const ended = { uncovered: 0 };
  const { writes, reads } = await requestsOf(async () => {
    const results = await Promise.all(Array.from({ length: calls }, (_, number) => call(number)));
    ended.uncovered = results.filter(({ runs, covered, owed }) => owed || (runs === 0 && !covered)).length;
  });
  return {
    runs: began.length,
    'requests a call': (writes + reads) / calls,
    uncovered: ended.uncovered,
    'two at once': overlaps,
    'runs after the last call': began.filter((at) => at >= lastCall).length,
  };
}

export default {
  about: `\`coalesce\` with work of ${RUN_MS} ms, called by ${HOSTS} clients. A call that finds the lock held asks for one more run, unless somebody has.`,
  servers: ['dynoxide'],
  async run({ server, smoke }) {
    const tableName = await server.table();
    await burst(tableName, 1, 0);
    const rows = [
      { name: 'one call', figures: await burst(tableName, 1, 1) },
      { name: '100 calls in 150 ms', figures: await burst(tableName, 100, 150) },
    ];
    if (!smoke) rows.push({ name: '100 calls in 2 s', figures: await burst(tableName, 100, 2_000) });
    return rows;
  },
} satisfies Measure;
