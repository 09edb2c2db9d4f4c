// The lead passes from one process to another.
import { setTimeout as sleep } from 'node:timers/promises';
import { DynamoDBLockStore } from '../lib/dynamodb.ts';
import { LockClient } from '../lib/index.ts';
import { CandidateProcess } from './lib/candidates.ts';
import type { Measure } from './lib/measure.ts';
import type { Server } from './lib/servers.ts';
import { quantile } from './lib/statistics.ts';
import type { Table } from './lib/table.ts';

const LEASE_MS = 2_000;

/** The times of the hand-overs, in milliseconds, and the number of times at which two led at once. */
interface HandOvers {
  readonly times: number[];
  twoAtOnce: number;
}

/** Ends the leader again and again. A new process then stands by in its place. */
async function handOver(server: Server, signal: 'SIGTERM' | 'SIGKILL', standbys: number, times: number) {
  const tableName = await server.table();
  const locks = new LockClient({ store: new DynamoDBLockStore({ tableName }) });
  const overs: HandOvers = { times: [], twoAtOnce: 0 };
  const start = () => new CandidateProcess(tableName, LEASE_MS);
  let leader = start();
  await leader.when('begins');
  let waiting = Array.from({ length: standbys }, start);
  while (overs.times.length < times) {
    await Promise.all(waiting.map((each) => each.when('standsBy')));
    // A random moment between two looks of a standby.
    await sleep(Math.random() * 750);
    const from = leader.kill(signal);
    // After a kill, the record tells when the lock opens.
    const since = signal === 'SIGKILL' ? ((await locks.inspect('leader'))?.expiresAt ?? from) : from;
    const begun = await Promise.any(waiting.map(async (each) => ({ each, at: await each.when('begins') })));
    const end = signal === 'SIGTERM' ? await leader.when('ends') : since;
    overs.times.push(begun.at - since);
    if (begun.at < end) overs.twoAtOnce++;
    waiting = [...waiting.filter((each) => each !== begun.each), start()];
    leader = begun.each;
  }
  for (const each of [leader, ...waiting]) each.kill('SIGKILL');
  return overs;
}

const figuresOf = (all: readonly HandOvers[]) => {
  const times = all.flatMap((overs) => overs.times);
  return {
    'p50, ms': quantile(times, 0.5),
    'max, ms': Math.max(...times),
    'under 1 s': `${times.filter((ms) => ms < 1_000).length} of ${times.length}`,
    'over 1 s': times.filter((ms) => ms >= 1_000).length,
    'two at once': all.reduce((sum, { twoAtOnce }) => sum + twoAtOnce, 0),
  };
};

export default {
  about:
    `A leader's process gets a signal, and another process leads: from the signal, or after a kill from the expiry of the ` +
    `lease of ${LEASE_MS.toLocaleString('en-US')} ms, to the beginning of the next leader's work. The work takes 20 ms to end.`,
  servers: ['dynoxide'],
  async run({ server, smoke }) {
    const rows: Table['rows'][number][] = [];
    const kinds = [
      ['SIGTERM', 1, 100],
      ['SIGTERM', 2, 24],
      ['SIGKILL', 1, 20],
    ] as const;
    for (const [signal, standbys, times] of smoke ? ([['SIGTERM', 1, 4]] as const) : kinds) {
      // Several leads side by side: most of the time is the start of processes.
      const chains = smoke ? 2 : 4;
      const each = () => handOver(server, signal, standbys, times / chains);
      const all = await Promise.all(Array.from({ length: chains }, each));
      rows.push({ name: `${signal}, ${standbys} standing by`, figures: figuresOf(all) });
    }
    return rows;
  },
} satisfies Measure;
