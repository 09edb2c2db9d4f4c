// Many who wait for one lock: the requests of each, their order, and the shares of processes.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { LockClient, type LockStore } from '../lib/index.ts';
import { FakeClock, MemoryLockStore } from '../lib/testing.ts';
import { mulberry32 } from '../test/support/mulberry32.ts';
import type { Measure } from './lib/measure.ts';
import { quantile } from './lib/statistics.ts';
import type { Row } from './lib/table.ts';
import { JOB_MS, type Waited, type Waiting, waitForLock } from './lib/waiters.ts';

const ROUND_TRIP_MS = 5;
const WAIT_MS = 30_000;
const FAKE_MS = 120_000;
let keys = 0;

/** Lets some processes wait for one lock, all from one moment on. */
async function processes(count: number, task: Omit<Waiting, 'key'>): Promise<Waited[]> {
  const args = [JSON.stringify({ ...task, key: `fairness-${keys++}` })];
  const children = Array.from({ length: count }, () => fork(new URL('lib/waiters.ts', import.meta.url), args));
  await Promise.all(children.map((child) => once(child, 'message')));
  const answers = children.map((child) => once(child, 'message') as Promise<[Waited]>);
  for (const child of children) child.send('begin');
  return (await Promise.all(answers)).map(([waited]) => waited);
}

const sum = (all: readonly Waited[], of: keyof Waited): number => all.reduce((total, each) => total + each[of], 0);

/** Each call has the lock once. */
async function servedOnce(name: string, work: () => Promise<Waited[]>) {
  const from = performance.now();
  const all = await work();
  const grants = sum(all, 'grants');
  return {
    name,
    figures: {
      'writes each': sum(all, 'writes') / grants,
      'reads each': sum(all, 'reads') / grants,
      'took, s': (performance.now() - from) / 1_000,
      'out of order': sum(all, 'outOfOrder'),
    },
  };
}

/** Processes that always want the lock. */
async function shares(tableName: string, calls: number, forMs: number) {
  const all = await processes(3, { tableName, calls, waitMs: 5_000, forMs });
  const grants = all.map(({ grants }) => grants);
  return {
    name: `3 processes of ${calls}, always waiting`,
    figures: {
      'writes each': sum(all, 'writes') / sum(all, 'grants'),
      'reads each': sum(all, 'reads') / sum(all, 'grants'),
      grants: grants.join(' / '),
      'least share, %': (100 * Math.min(...grants)) / sum(all, 'grants'),
      'timed out': sum(all, 'timedOut'),
    },
  };
}

/** A store whose requests take some time on their way, there and back. */
function distant(store: LockStore, clock: FakeClock, count: (name: string) => void): LockStore {
  const travel = () => new Promise<void>((resolve) => clock.setTimeout(resolve, ROUND_TRIP_MS / 2));
  return new Proxy(store, {
    get(target, name: keyof LockStore) {
      const member: unknown = target[name];
      if (typeof member !== 'function' || name === 'onEvent') return member;
      return async (...args: unknown[]) => {
        count(name);
        await travel();
        const answer = await member.apply(target, args);
        await travel();
        return answer;
      };
    },
  });
}

/** Calls that come at random moments, in fake time: each from a process of its own, or all from one process. */
async function load(
  name: string,
  { load, jobMs, calls }: { load: number; jobMs: number; calls: number },
  isOne: boolean,
) {
  const random = mulberry32(1);
  const clock = new FakeClock();
  const requests: Record<string, number> = {};
  const store = distant(new MemoryLockStore({ clock }), clock, (name) => {
    requests[name] = (requests[name] ?? 0) + 1;
  });
  const client = () => new LockClient({ store, clock, leaseMs: 600_000 });
  const one = client();
  const waits: number[] = [];
  const waiting = new Set<number>();
  let [timedOut, toOldest, ended] = [0, 0, 0];
  const call = async (number: number) => {
    const from = clock.monotonic();
    const locks = isOne ? one : client();
    waiting.add(number);
    const lease = await locks.acquire('job', { waitMs: WAIT_MS }).catch(() => undefined);
    if (lease && Math.min(...waiting) === number) toOldest++;
    waiting.delete(number);
    if (lease) {
      waits.push(clock.monotonic() - from);
      await new Promise<void>((resolve) => clock.setTimeout(resolve, jobMs));
      await lease.release();
    } else timedOut++;
    ended++;
  };
  for (let number = 0; number < calls; number++) {
    void call(number);
    await clock.advance((-Math.log(1 - random()) * jobMs) / load);
  }
  while (ended < calls) await clock.advance(1_000);
  const { acquire = 0, read = 0 } = requests;
  return {
    name,
    figures: {
      calls,
      'timed out': timedOut,
      'p50, s': quantile(waits, 0.5) / 1_000,
      'p99, s': quantile(waits, 0.99) / 1_000,
      'to the oldest, %': (100 * toOldest) / waits.length,
      'tries of a grant': acquire / waits.length,
      'reads of a grant': read / waits.length,
    },
  };
}

/** Processes that always want the lock, in fake time: so long that chance does not decide. */
async function fakeShares(calls: number) {
  const clock = new FakeClock();
  const store = distant(new MemoryLockStore({ clock }), clock, () => {});
  const grants = [0, 0, 0];
  let left = 3 * calls;
  const always = async (locks: LockClient, number: number) => {
    while (clock.monotonic() < FAKE_MS) {
      const lease = await locks.acquire('job', { waitMs: 5_000 }).catch(() => undefined);
      if (lease === undefined) continue;
      grants[number] = (grants[number] ?? 0) + 1;
      await new Promise<void>((resolve) => clock.setTimeout(resolve, JOB_MS));
      await lease.release();
    }
    left--;
  };
  for (const number of grants.keys()) {
    const locks = new LockClient({ store, clock });
    for (let call = 0; call < calls; call++) void always(locks, number);
  }
  while (left > 0) await clock.advance(1_000);
  const all = grants.reduce((sum, each) => sum + each, 0);
  const figures = { grants: grants.join(' / '), 'least share, %': (100 * Math.min(...grants)) / all };
  return { name: `3 processes of ${calls}, always waiting, ${FAKE_MS / 1_000} s of fake time`, figures };
}

async function loads(smoke: boolean) {
  const calls = smoke ? 100 : 1_400;
  const rows: Row[] = [await fakeShares(8), await fakeShares(1)];
  for (const each of [
    { load: 0.7, jobMs: 700, calls },
    { load: 0.9, jobMs: 200, calls },
  ]) {
    const name = `load ${each.load}, jobs of ${each.jobMs} ms`;
    rows.push(await load(`${name}, a process each`, each, false), await load(`${name}, one process`, each, true));
  }
  return rows;
}

export default {
  about:
    `Many wait for one lock; each has it for ${JOB_MS} ms. Requests are of a grant: its acquire, its release and the looks. ` +
    'Three processes that always wait do so for 30 s, and a process of one call takes the lock again at once. ' +
    `Then, in fake time with a round trip of ${ROUND_TRIP_MS} ms: calls that come at random moments and wait for ` +
    `${WAIT_MS / 1_000} s at the most.`,
  servers: ['dynoxide', 'none'],
  async run({ server, smoke }) {
    if (server.name === 'none') return loads(smoke);
    const tableName = await server.table();
    const once = { tableName, waitMs: 60_000 };
    // The first requests of a process are slow.
    await waitForLock({ ...once, key: 'warm-up', calls: 5 });
    const one = async () => [await waitForLock({ ...once, key: `fairness-${keys++}`, calls: 50 })];
    const forMs = smoke ? 12_000 : 30_000;
    return [
      await servedOnce('50 in one process', one),
      await servedOnce('4 processes of 10', () => processes(4, { ...once, calls: 10 })),
      ...(await Promise.all([shares(tableName, 8, forMs), shares(tableName, 1, forMs)])),
    ];
  },
} satisfies Measure;
