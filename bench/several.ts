// Workers who each want several locks, all or none.
import { setTimeout as sleep } from 'node:timers/promises';
import { DynamoDBLockStore } from '../lib/dynamodb.ts';
import { LockClient } from '../lib/index.ts';
import type { Measure } from './lib/measure.ts';
import { requestsOf } from './lib/requests.ts';
import type { Table } from './lib/table.ts';

const WORKERS = 6;
const KEYS = 5;
const WAIT_MS = 5_000;
/** The time for which a worker holds its locks. */
const WORK_MS = 20;

type Work = () => Promise<unknown>;
/** Takes two locks for the work. Throws if a lock stays busy. */
type Way = (locks: LockClient, keys: readonly [string, string], work: Work) => Promise<unknown>;

const ways: Record<string, Way> = {
  "acquireAll: in the keys' order": (locks, keys, work) => locks.usingAll(keys, { waitMs: WAIT_MS }, work),
  "one using in another: in the caller's order": (locks, [first, second], work) =>
    locks.using(first, { waitMs: WAIT_MS }, () => locks.using(second, { waitMs: WAIT_MS }, work)),
};

/** Each worker is a client of its own, and takes two random keys again and again. */
async function contend(way: Way, store: DynamoDBLockStore, name: string, ms: number) {
  let [cycles, gaveUp] = [0, 0];
  const until = performance.now() + ms;
  const worker = async () => {
    const locks = new LockClient({ store });
    while (performance.now() < until) {
      const first = Math.floor(Math.random() * KEYS);
      const second = (first + 1 + Math.floor(Math.random() * (KEYS - 1))) % KEYS;
      await way(locks, [`${name}-${first}`, `${name}-${second}`], () => sleep(WORK_MS)).then(
        () => cycles++,
        () => gaveUp++,
      );
    }
  };
  const { writes, reads } = await requestsOf(() => Promise.all(Array.from({ length: WORKERS }, worker)));
  return { cycles, 'writes each': writes / cycles, 'reads each': reads / cycles, 'gave up': gaveUp };
}

export default {
  about:
    `${WORKERS} workers who each take 2 of ${KEYS} locks at random for ${WORK_MS} ms, again and again for 8 s, and wait for ` +
    `${WAIT_MS.toLocaleString('en-US')} ms at most. First of all, 2 locks that nobody else wants: requests are writes + reads.`,
  servers: ['dynoxide'],
  async run({ server, smoke }) {
    const store = new DynamoDBLockStore({ tableName: await server.table() });
    const alone = await requestsOf(() => new LockClient({ store }).usingAll(['alone-b', 'alone-a'], () => {}));
    const rows: Table['rows'][number][] = [
      { name: 'acquireAll: alone', figures: { requests: `${alone.writes} + ${alone.reads}` } },
    ];
    for (const [name, way] of Object.entries(ways).slice(0, smoke ? 1 : undefined)) {
      rows.push({ name, figures: await contend(way, store, name, smoke ? 2_000 : 8_000) });
    }
    return rows;
  },
} satisfies Measure;
