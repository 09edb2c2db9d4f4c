/**
 * One process under chaos that uses what stands above a lock: permits, several keys, coalescing, leading, and a line of
 * waiters. The process writes its history, and knows nothing of the faults. Its clock is the machine's.
 */
import { type Lease, LockClient, type LockEvent } from '../../lib/index.ts';
import { systemClock } from '../../lib/lease/clock.ts';
import { HistoryWriter, referenceNow } from './history.ts';
import { between, randomOf } from './random.ts';
import type { WorkerMessage, WorkerOptions } from './worker.ts';
import { openPlace } from './worker-place.ts';

const PERMITS = 3;
const KEYS = ['several/a', 'several/b', 'several/c', 'several/d'];
const WAITERS = 4;
const TIMING = { leaseMs: 1_500, heartbeatMs: 400, safetyMs: 400 };

const options: WorkerOptions = JSON.parse(process.argv[2] ?? '');
const random = randomOf(...options.seed);
const history = new HistoryWriter(options.folder, options.by, systemClock);
const { store, close } = await openPlace(options.place, { random, history });
const locks = new LockClient({ store, ...TIMING, owner: options.by, onEvent: tell });

let isClosing = false;
let works = 0;
/** The works that are under way, with their leases. */
const underWay = new Map<string, Pick<Lease, 'key' | 'fencingToken' | 'deadline'>>();

/** The moment of a deadline of this machine's wall clock, by the reference clock. */
const reference = (wall: number): number => wall + referenceNow() - Date.now();

function tell({ type, key, ...event }: LockEvent): void {
  if (type !== 'renewed') return;
  const { fencingToken, deadline } = event as { fencingToken: number; deadline: number };
  for (const [work, lease] of underWay) {
    if (lease.key === key && lease.fencingToken === fencingToken) {
      history.write({ type: 'believes', work, until: reference(deadline) });
    }
  }
}

/** Works for a while, or until the lease's signal aborts. */
async function work(lease: Lease, group: string, most: number, ms: number): Promise<void> {
  const name = `${options.by}/${++works}`;
  underWay.set(name, lease);
  history.write({ type: 'begins', work: name, group, most, until: reference(lease.deadline) });
  await sleep(ms, lease.signal);
  history.write({ type: 'ends', work: name });
  underWay.delete(name);
}

function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    const stop = () => {
      clearTimeout(timer);
      resolve();
    };
    if (signal?.aborted) stop();
    signal?.addEventListener('abort', stop, { once: true });
  });
}

const short = () => between(random, 10, 250);

/** Calls again and again, until the process is told to close. */
async function again(what: string, call: () => Promise<unknown>): Promise<void> {
  while (!isClosing) {
    let outcome = 'done';
    try {
      await call();
    } catch (error) {
      if (!/^Lock\w*Error$/.test((error as Error).name)) throw error;
      outcome = (error as Error).name;
    }
    history.write({ type: 'call', what, outcome });
    await sleep(between(random, 0, 100));
  }
}

async function permit(): Promise<void> {
  await using lease = await locks.acquire('pool', { permits: PERMITS, waitMs: 3_000 });
  const ms = short();
  await Promise.all([work(lease, 'pool', PERMITS, ms), work(lease, `slot ${lease.slot} of pool`, 1, ms)]);
}

async function several(): Promise<void> {
  const first = between(random, 0, KEYS.length - 1);
  const second = (first + between(random, 1, KEYS.length - 1)) % KEYS.length;
  const keys = [KEYS[first] as string, KEYS[second] as string];
  await using leases = await locks.acquireAll(keys, { waitMs: 3_000 });
  const ms = short();
  await Promise.all(keys.map((key) => work(leases.get(key), key, 1, ms)));
}

async function sync(lease: Lease): Promise<void> {
  const since = referenceNow();
  await work(lease, 'sync', 1, short());
  lease.assertHeld();
  history.write({ type: 'ran', since });
}

async function coalesce(): Promise<void> {
  const event = `${options.by}/event ${++works}`;
  history.write({ type: 'event', event });
  const { owed } = await locks.coalesce('sync', sync);
  if (!owed) history.write({ type: 'eventServed', event });
}

async function wait(): Promise<void> {
  await using lease = await locks.acquire('line', { waitMs: 4_000 });
  await work(lease, 'line', 1, short() / 4);
}

const lead = locks.lead('leader', { restMs: 100 }, (lease) => work(lease, 'leader', 1, 10 * short()));
const calls = [
  again('permit', permit),
  again('several', several),
  again('coalesce', coalesce),
  again('coalesce', coalesce),
  ...Array.from({ length: WAITERS }, () => again('line', wait)),
];

process.on('message', async (message: WorkerMessage) => {
  if (message.do !== 'close') return;
  isClosing = true;
  await Promise.all([...calls, lead.stop()]);
  // The last process to come here makes the run that a holder which was killed has left owed.
  await locks.coalesce('sync', { onlyIfOwed: true, waitMs: 2 * TIMING.leaseMs }, sync);
  await locks.close();
  close();
  process.disconnect();
});
