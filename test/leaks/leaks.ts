/**
 * `npm run test:leaks`: takes and releases a lock 100,000 times, cancels 10,000 waits, serves 10,000 calls in lines and loses
 * 1,000 leases. Then no timer, listener, handle, line or lease may be left, and no heap beyond noise. Needs
 * `node --expose-gc`.
 */
import { appendFileSync } from 'node:fs';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { LockClient } from '../../lib/lease/client.ts';
import { type Clock, systemClock } from '../../lib/lease/clock.ts';
import type { Lease } from '../../lib/lease/lease.ts';
import { MemoryLockStore } from '../../lib/testing/memory.ts';

/** Timers that are set and have neither fired nor been cleared, also timers that keep no process alive. */
const timers = new Set<unknown>();
// The system's clock, in real time: collections and handles are the point.
const clock: Clock = {
  ...systemClock,
  setTimeout: (callback, ms) => {
    const timer = systemClock.setTimeout(() => {
      timers.delete(timer);
      callback();
    }, ms);
    timers.add(timer);
    return timer;
  },
  clearTimeout: (timer) => {
    timers.delete(timer);
    systemClock.clearTimeout(timer);
  },
};

/** The number of listeners on all signals. */
let listeners = 0;
const { addEventListener, removeEventListener } = EventTarget.prototype;
Object.assign(AbortSignal.prototype, {
  addEventListener(this: AbortSignal, ...listener: Parameters<typeof addEventListener>) {
    listeners++;
    addEventListener.apply(this, listener);
  },
  removeEventListener(this: AbortSignal, ...listener: Parameters<typeof removeEventListener>) {
    listeners--;
    removeEventListener.apply(this, listener);
  },
});

/** The leases of the measured work that have not been collected. */
let leases: WeakRef<Lease>[] = [];
const store = new MemoryLockStore();
const client = new LockClient({ store, clock, owner: 'leaks' });
const others = new LockClient({ store, clock, owner: 'others' });

async function take(key: string): Promise<Lease> {
  const lease = await client.tryAcquire(key);
  if (lease === null) throw new Error(`The lock '${key}' was expected to be free.`);
  if (leases.length < MOST_LEASES) leases.push(new WeakRef(lease));
  return lease;
}
const MOST_LEASES = 1_000;

async function cycle(index: number): Promise<void> {
  const lease = await take(`cycle-${index}`);
  if (index % 4 === 0) await lease.renew();
  await lease.release();
}

/** Each wait of a hundred asks for a key of its own. */
async function cancelledWait(index: number): Promise<void> {
  const controller = new AbortController();
  const reason = new Error('cancelled');
  const wait = client.acquire(`busy-${index}`, { waitMs: 60_000, signal: controller.signal });
  await turn();
  controller.abort(reason);
  const error = await wait.catch((thrown) => thrown);
  if (error !== reason) throw new Error(`A cancelled wait was expected to reject with its reason, but: ${error}`);
}

/** A hundred calls stand in one line. Every fifth call leaves the line before its turn. */
async function turnInLine(index: number): Promise<void> {
  const signal = index % 5 === 4 ? AbortSignal.abort() : undefined;
  await client.using('line', { waitMs: 60_000, signal }, turn).catch((error) => {
    if (signal === undefined) throw error;
  });
}

async function loss(index: number): Promise<void> {
  const key = `loss-${index}`;
  const lease = await take(key);
  await client.forceRelease(key, { lockId: lease.lockId, immediately: true });
  await lease.renew().catch(() => {});
  if (!lease.signal.aborted) throw new Error('A lease that was force-released was expected to be lost.');
  await lease.release();
}

/** Counts what is there while nobody is at work. */
async function rest() {
  // Later turns of the loop tidy collected signals up, which frees more.
  for (let round = 0; round < 10; round++) {
    await sleep(10);
    globalThis.gc?.();
  }
  return {
    timers: timers.size,
    listeners,
    lines: client.lines.size,
    handles: process.getActiveResourcesInfo().length,
    heapKb: Math.round(process.memoryUsage().heapUsed / 1_024),
    leases: leases.filter((lease) => lease.deref() !== undefined).length,
  };
}

/** Does a piece of work many times, 100 at once, and returns the growth. */
async function growth(times: number, work: (index: number) => Promise<void>) {
  const some = async (count: number) => {
    for (let done = 0; done < count; done += 100) {
      await Promise.all(Array.from({ length: 100 }, (_, index) => work(index)));
      await turn();
    }
  };
  // Objects that are made once, and compiled code, are no growth.
  await some(Math.max(1_000, times / 5));
  leases = [];
  const before = await rest();
  await some(times);
  const after = await rest();
  return {
    timers: after.timers - before.timers,
    listeners: after.listeners - before.listeners,
    lines: after.lines,
    handles: after.handles - before.handles,
    leases: after.leases,
    heapKb: after.heapKb - before.heapKb,
  };
}

/** The growth that is allowed: of each kind none, and of the heap the difference between two collections. */
const ALLOWED = { timers: 0, listeners: 0, lines: 0, handles: 0, leases: 0, heapKb: 400 };

async function main(): Promise<number> {
  if (globalThis.gc === undefined) throw new Error('Run it with node --expose-gc: npm run test:leaks does.');
  const held = await Promise.all(Array.from({ length: 100 }, (_, index) => others.acquire(`busy-${index}`)));
  // The first collections after so much work free the remains of loading this program.
  await growth(100_000, cycle);
  const table: Record<string, Awaited<ReturnType<typeof growth>>> = {};
  table['100,000 cycles'] = await growth(100_000, cycle);
  table['10,000 cancelled waits'] = await growth(10_000, cancelledWait);
  table['10,000 turns in a line'] = await growth(10_000, turnInLine);
  table['1,000 losses'] = await growth(1_000, loss);
  for (const lease of held) await lease.release();
  await Promise.all([client.close(), others.close()]);
  console.table(table);

  let failed = 0;
  for (const [work, grown] of Object.entries(table)) {
    const leaks = (Object.keys(ALLOWED) as (keyof typeof ALLOWED)[]).filter((kind) => grown[kind] > ALLOWED[kind]);
    if (leaks.length === 0) continue;
    failed++;
    const found = leaks.map((kind) => `${grown[kind]} ${kind}, where at most ${ALLOWED[kind]} are noise`);
    console.log(`${work} leave behind: ${found.join('; ')}.`);
  }
  const passed = Object.keys(table).length - failed;
  console.log(`${passed} passed, ${failed} failed`);
  if (process.env.TEST_COUNTS) appendFileSync(process.env.TEST_COUNTS, `${passed} ${failed} 0\n`);
  return failed;
}

process.exitCode = (await main()) === 0 ? 0 : 1;
