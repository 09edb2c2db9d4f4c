// The requests and the price of a lock with permits, as workers grow: a worker that comes back to its slot meets nobody.
import { setTimeout as sleep } from 'node:timers/promises';
import { DynamoDBLockStore } from '../lib/dynamodb.ts';
import { LockClient, type LockStore } from '../lib/index.ts';
import type { Measure } from './lib/measure.ts';
import { PRICE } from './lib/prices.ts';

/** The time for which a worker holds its slot, in milliseconds, and for which it rests when it finds the lock busy. */
const HOLD_MS = 100;
/** The pause of a worker between two cycles, in milliseconds. */
const REST_MS = 5;
const about = (ms: number) => sleep(ms * (0.5 + Math.random()));

interface Units {
  writes: number;
  reads: number;
}

/** Counts the units of a store's requests. A look reads half a unit of each record. */
function counted(store: LockStore, units: Units): LockStore {
  return new Proxy(store, {
    get(target, name) {
      const member = target[name as keyof LockStore] as unknown;
      if (typeof member !== 'function') return member;
      return (...args: [unknown]) => {
        if (name === 'readMany') units.reads += (args[0] as unknown[]).length / 2;
        else if (name === 'read') units.reads += 0.5;
        else units.writes++;
        return member.apply(target, args);
      };
    },
  });
}

/** Lets workers take and release slots of one key until the time is over. Busy tries count. */
async function run(tableName: string, permits: number, workers: number, ms: number) {
  const total = { writes: 0, reads: 0 };
  const held = new Set<number>();
  let [cycles, most, twice] = [0, 0, 0];
  const key = `permits-${permits}-${workers}`;
  const work = async () => {
    const units = { writes: 0, reads: 0 };
    const locks = new LockClient({ store: counted(new DynamoDBLockStore({ tableName }), units) });
    const cycle = async () => {
      let lease = await locks.tryAcquire(key, { permits });
      for (; lease === null; lease = await locks.tryAcquire(key, { permits })) await about(HOLD_MS);
      if (held.has(lease.slot)) twice++;
      most = Math.max(most, held.add(lease.slot).size);
      await about(HOLD_MS);
      held.delete(lease.slot);
      await lease.release();
      await about(REST_MS);
    };
    const cyclesFor = async (ms: number) => {
      const from = performance.now();
      for (let count = 0; ; count++) {
        if (performance.now() - from >= ms) return count;
        await cycle();
      }
    };
    // The first cycles, in which the workers find their slots, do not count.
    await cyclesFor(ms / 4);
    Object.assign(units, { writes: 0, reads: 0 });
    const count = await cyclesFor(ms);
    cycles += count;
    total.writes += units.writes;
    total.reads += units.reads;
  };
  await Promise.all(Array.from({ length: workers }, work));
  return { writes: total.writes / cycles, reads: total.reads / cycles, most, twice };
}

export default {
  about: `Workers take a slot of a lock with permits, hold it for about ${HOLD_MS} ms and release it. A worker that finds all slots closed comes back after about ${HOLD_MS} ms, and its request counts. Units for each cycle, and dollars for a million cycles.`,
  servers: ['dynoxide'],
  async run({ server, smoke }) {
    const tableName = await server.table();
    const rows = [];
    for (const [permits, workers] of [
      [10, 5],
      [10, 10],
      [10, 20],
      [3, 10],
      [50, 60],
    ] as const) {
      const { writes, reads, most, twice } = await run(tableName, permits, workers, smoke ? 2_000 : 10_000);
      const dollars = writes * PRICE.write + reads * PRICE.read;
      const figures = {
        'write units': writes,
        'read units': reads,
        'dollars for a million': dollars,
        'held at once, at the most': most,
        'two in one slot': twice,
      };
      const load = workers <= permits ? 'permits for all' : workers === 2 * permits ? 'twice as many' : 'more';
      rows.push({ name: `${permits} permits, ${workers} workers (${load})`, figures });
    }
    return rows;
  },
} satisfies Measure;
