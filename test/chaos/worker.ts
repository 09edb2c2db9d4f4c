/**
 * One process under chaos. The process takes locks, works under leases, counts and releases, until it is told to end. It
 * writes its history, and knows nothing of the faults.
 */
import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type AcquireOptions,
  type Clock,
  type Lease,
  type LeaseHandle,
  LockClient,
  LockDoneError,
  type LockEvent,
  LockLostError,
  type LockStore,
  type StoreAnswer,
} from '../../lib/index.ts';
import { HistoryWriter, type Operation, referenceNow } from './history.ts';
import { between, oneOf, randomOf } from './random.ts';
import { dieBetweenSteps, openPlace, type WorkerPlace } from './worker-place.ts';

/** The options of a process, which the chaos gives at its start. */
export interface WorkerOptions {
  readonly by: string;
  readonly seed: readonly number[];
  readonly folder: string;
  /** The folder in which processes leave handles for each other. */
  readonly handles: string;
  readonly place: WorkerPlace;
  readonly keys: readonly string[];
  /** The milliseconds by which the wall clock is ahead. */
  readonly offsetMs: number;
  /** True if the monotonic clock stands still while the process is frozen, as in a frozen Lambda environment. */
  readonly standsStill: boolean;
}

/** The messages to a running process. After `close` the process does a task for each key, and ends. */
export type WorkerMessage =
  | { readonly do: 'setClock'; readonly offsetMs: number }
  | { readonly do: 'dieBetweenSteps' }
  | { readonly do: 'close'; readonly tasks: readonly { readonly task: string; readonly key: string }[] };

const TICK_MS = 20;
/** The process writes down a stall of at least this time. */
const STALL_MS = 40;
const FREEZE_MS = 200;
/** The period after which a key has a new `once` token. */
const PERIOD_MS = 2_000;
/** The time for which a hand-off keeps the lock closed. */
const HAND_OFF_MS = 1_500;
/** The time for which processes try a handle. It is longer than the handle can be resumed. */
const HANDLE_MS = 3_000;

/**
 * The clocks of the process, in real time, and as wrong as the nemesis wants. A `FakeClock` cannot wait for real
 * requests.
 */
class ChaosClock implements Clock {
  offsetMs: number;
  readonly #standsStill: boolean;
  #stoodStillMs = 0;
  #lastSeen = performance.now();
  #turn: number | undefined;

  constructor({ offsetMs, standsStill }: WorkerOptions) {
    this.offsetMs = offsetMs;
    this.#standsStill = standsStill;
  }

  now(): number {
    this.turn();
    return Date.now() + this.offsetMs;
  }

  monotonic(): number {
    const now = performance.now();
    if (this.#standsStill && now - this.#lastSeen > FREEZE_MS) this.#stoodStillMs += now - this.#lastSeen;
    this.#lastSeen = now;
    return now - this.#stoodStillMs;
  }

  setTimeout(callback: () => void, ms: number): unknown {
    return setTimeout(callback, ms);
  }

  clearTimeout(timer: unknown): void {
    clearTimeout(timer as NodeJS.Timeout);
  }

  /** The reference time of the first read of this clock in the present turn of the event loop. */
  turn(): number {
    if (this.#turn === undefined) {
      this.#turn = referenceNow();
      queueMicrotask(() => {
        this.#turn = undefined;
      });
    }
    return this.#turn;
  }
}

const options: WorkerOptions = JSON.parse(process.argv[2] ?? '');
const { keys } = options;
const random = randomOf(...options.seed);
const clock = new ChaosClock(options);
const history = new HistoryWriter(options.folder, options.by, clock);

/** The operations of a lease, whose requests are written down. */
const OPERATIONS = ['acquire', 'renew', 'release', 'resume', 'giveBack'] as const satisfies Operation[];

function sent(what: Operation, request: { key: string; lockId: string; until?: number }) {
  const { key, lockId, until } = request;
  history.write({ type: 'sent', what, key, lockId, until, since: clock.turn() });
  return request;
}

/** Lets a store write a line for each request that goes out. */
function recorded(store: LockStore): LockStore {
  for (const what of OPERATIONS) {
    const ask = store[what].bind(store) as (request: never, signal?: AbortSignal) => Promise<StoreAnswer>;
    store[what] = (request: Parameters<typeof sent>[1], signal?: AbortSignal) =>
      ask(sent(what, request) as never, signal);
  }
  return store;
}

// The process ends with its parent, however the parent ended.
process.on('disconnect', () => process.exit());
const { store, write, close } = await openPlace(options.place, { random, history });
const locks = new LockClient({ store: recorded(store), owner: options.by, clock, onEvent });

function onEvent(event: LockEvent): void {
  if (event.type === 'lost' && event.reason === 'closed') {
    history.write({ type: 'lost', key: event.key, fencingToken: event.fencingToken, reason: event.reason });
  }
  if (event.type !== 'renewed') return;
  const { key, fencingToken, expiresAt, deadline } = event;
  history.write({ type: 'renewed', key, fencingToken, until: expiresAt, deadline });
}

/** Acquires a lock, and writes down the result. */
function attempt(
  key: string,
  leaseMs: number,
  waitMs: number,
  more: Pick<AcquireOptions, 'holdAtMostMs'> & { readonly once?: string | undefined } = {},
) {
  history.write({ type: 'attempt', key, leaseMs, waitMs });
  const requestTimeoutMs = oneOf(random, [undefined, 300]);
  const holdAtLeastMs = oneOf(random, [undefined, undefined, 100]);
  const { holdAtMostMs: atMostMs, once } = more;
  const ask = () => locks.acquire(key, { leaseMs, waitMs, requestTimeoutMs, holdAtLeastMs, ...more });
  return take(key, { leaseMs, atMostMs, once }, ask);
}

/** Resumes a handed-off lease. This process may have handed the lease off itself. */
function resume(handle: LeaseHandle, leaseMs: number): Promise<Lease | undefined> {
  const { key, lockId: handed, once } = handle;
  history.write({ type: 'resuming', key, handed });
  return take(key, { leaseMs, once, handed }, () => locks.resume(handle, { leaseMs }));
}

interface Terms {
  readonly leaseMs: number;
  readonly atMostMs?: number | undefined;
  readonly once?: string | undefined;
  readonly handed?: string | undefined;
}

async function take(key: string, terms: Terms, ask: () => Promise<Lease>): Promise<Lease | undefined> {
  try {
    const lease = await ask();
    const { fencingToken, lockId, deadline } = lease;
    lease.signal.addEventListener('abort', () => {
      // The signal of a lease that is held aborts, too, when the client is closed.
      const { reason } = lease.signal;
      if (reason instanceof LockLostError) history.write({ type: 'lost', key, fencingToken, reason: reason.reason });
    });
    const { leaseMs } = terms;
    const safetyMs = Math.max(leaseMs / 10, Math.min(2_000, leaseMs / 4));
    const takenOver = lease.takenOverFrom !== undefined;
    history.write({ type: 'granted', key, fencingToken, lockId, ...terms, safetyMs, deadline, takenOver });
    return lease;
  } catch (error) {
    const done = error instanceof LockDoneError && { once: terms.once, doneToken: error.doneToken };
    history.write({ type: 'refused', key, error: `${(error as Error).name}: ${(error as Error).message}`, ...done });
    return undefined;
  }
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Works for some steps. Before each step the process asks `isHeld()`, or it only listens to the signal. */
async function work(lease: Lease, steps: number): Promise<void> {
  const { key, fencingToken, signal } = lease;
  const asks = random() < 0.4;
  for (let step = 0; step < steps; step++) {
    const at = referenceNow();
    if (asks ? !lease.isHeld() : signal.aborted) return;
    history.write({ type: 'work', key, fencingToken, asked: asks }, at);
    await sleep(between(random, 5, 50));
  }
  if (signal.aborted) return;
  await write(lease);
}

/** @param done the `once` token whose work succeeded. */
async function release(lease: Lease, done?: string): Promise<void> {
  const { key, fencingToken } = lease;
  history.write({ type: 'releasing', key, fencingToken });
  const known = await lease.release({ done: done !== undefined });
  history.write({ type: 'released', key, fencingToken, known, done });
}

/** Hands a lease off to the process that comes first. */
async function handOff(lease: Lease): Promise<void> {
  const { key, fencingToken, lockId } = lease;
  // After an error the lease is as before.
  const handle = await lease.handOff({ leaseMs: HAND_OFF_MS }).catch(() => undefined);
  if (!handle) return;
  history.write({ type: 'handedOff', key, fencingToken, lockId });
  const at = referenceNow();
  if (lease.isHeld()) history.write({ type: 'work', key, fencingToken, asked: true }, at);
  // The file gets its name when it is whole, so no process reads a part.
  const file = join(options.handles, `${Math.floor(at)} ${key} ${fencingToken}`);
  writeFileSync(`${file}.part`, JSON.stringify(handle));
  renameSync(`${file}.part`, file);
}

/** A lease and its `once` token. */
interface Task {
  readonly lease: Lease;
  readonly once: string | undefined;
}

/** The names of the handles that this process has tried. */
const tried = new Set<string>();

/**
 * Resumes a lease that a process has handed off. One resume of a handle succeeds. Late and simultaneous resumes fail.
 */
async function takeHandedOff(): Promise<Task | undefined> {
  const now = referenceNow();
  const isFresh = (file: string) => now - Number(file.split(' ', 1)) < HANDLE_MS;
  const files = readdirSync(options.handles).filter((file) => !file.endsWith('.part') && isFresh(file));
  const file = files.find((file) => !tried.has(file));
  if (file === undefined) return undefined;
  tried.add(file);
  const handle: LeaseHandle = JSON.parse(readFileSync(join(options.handles, file), 'utf8'));
  const leaseMs = oneOf(random, [500, 2_000]);
  const resumed = await Promise.all(Array.from({ length: oneOf(random, [1, 1, 2]) }, () => resume(handle, leaseMs)));
  const lease = resumed.find((lease) => lease !== undefined);
  return lease && { lease, once: handle.once };
}

/** The `once` token of the present period, or sometimes of the last period. All have ten digits, for the checker to compare. */
const tokenOfNow = (): string =>
  String(1_000_000_000 + Math.floor(referenceNow() / PERIOD_MS) - oneOf(random, [0, 0, 0, 1]));

async function takeAny(): Promise<Task | undefined> {
  const leaseMs = oneOf(random, [500, 500, 2_000]);
  const holdAtMostMs = oneOf(random, [undefined, undefined, between(random, 200, 600)]);
  const once = oneOf(random, [undefined, tokenOfNow()]);
  const lease = await attempt(oneOf(random, keys), leaseMs, oneOf(random, [0, 0, 500, 1_500]), { holdAtMostMs, once });
  return lease && { lease, once };
}

/** Ticks, and writes down each stall: a time in which the process did not run. */
function watchOneself(): void {
  let ticked = referenceNow();
  setInterval(() => {
    const from = ticked;
    ticked = referenceNow();
    clock.monotonic();
    if (ticked - from > STALL_MS) history.write({ type: 'stalled', from }, ticked);
  }, TICK_MS).unref();
}

async function run(closed: { now: boolean }): Promise<void> {
  while (!closed.now) {
    const task = (await takeHandedOff()) ?? (await takeAny());
    if (task) {
      const { lease, once } = task;
      await work(lease, between(random, 0, 25));
      if (random() < 0.3 && lease.isHeld()) await handOff(lease);
      // Sometimes the work fails, and its token is not done.
      await release(lease, lease.isHeld() && random() < 0.8 ? once : undefined);
    }
    await sleep(between(random, 0, 50));
  }
}

/** Does a task for each key. Each process starts at a random key, so that not all processes want the same lock. */
async function doTasks(tasks: readonly { task: string; key: string }[]): Promise<void> {
  const start = Math.floor(random() * tasks.length);
  const left = [...tasks.slice(start), ...tasks.slice(0, start)];
  for (let tries = 0; tries < 2 * tasks.length && left.length > 0; tries++) {
    const { task, key } = left.shift() as (typeof left)[number];
    const lease = await attempt(key, 2_000, 8_000);
    if (lease) await work(lease, 1);
    if (lease?.isHeld()) history.write({ type: 'done', task, key });
    // A lease can expire on a busy machine. So the process tries the task again.
    else left.push({ task, key });
    if (lease) await release(lease);
  }
}

/** Closes the client under work that asks `isHeld()`, and does not listen to its signal. */
async function closeUnderWork(): Promise<void> {
  const task = await takeAny();
  const closing = locks.close({ graceMs: oneOf(random, [undefined, 0, 200]) });
  if (task) {
    const { key, fencingToken } = task.lease;
    for (let step = 0; step < 20; step++) {
      const at = referenceNow();
      if (!task.lease.isHeld()) break;
      history.write({ type: 'work', key, fencingToken, asked: true }, at);
      await sleep(between(random, 5, 50));
    }
    await release(task.lease);
  }
  await closing;
}

const closed = { now: false };
process.on('SIGINT', () => {});
process.on('message', async (message: WorkerMessage) => {
  if (message.do === 'setClock') {
    clock.offsetMs = message.offsetMs;
    history.write({ type: 'clockSet', offsetMs: message.offsetMs });
    return;
  }
  if (message.do === 'dieBetweenSteps') {
    dieBetweenSteps(random);
    return;
  }
  closed.now = true;
  await running;
  await doTasks(message.tasks);
  await closeUnderWork();
  close();
  // From here on nothing may keep the process alive, and no other process ends it.
  process.removeAllListeners('disconnect');
  process.disconnect();
});
history.write({ type: 'started', pid: process.pid, clock: options.standsStill ? 'stands still' : 'goes on' });
watchOneself();
const running = run(closed);
