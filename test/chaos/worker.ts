/**
 * One process under chaos: takes locks, works under them, counts, and gives them back, for ever; and writes down what it
 * does. It knows nothing of the faults.
 */
import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DynamoDBClient, GetItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb';
import { DynamoDBLockStore, writeWhileHeld } from '../../lib/dynamodb.ts';
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
} from '../../lib/index.ts';
import { type Counter, HistoryWriter, type Operation, type Outcome, referenceNow } from './history.ts';
import { between, oneOf, randomOf } from './random.ts';
import { WORK_KEY } from './recorder.ts';

/** What a process is told at its start. */
export interface WorkerOptions {
  readonly by: string;
  readonly seed: readonly number[];
  readonly folder: string;
  /** Where processes leave handles for each other. */
  readonly handles: string;
  readonly lockTable: string;
  readonly workTable: string;
  readonly keys: readonly string[];
  /** How far its wall clock is off. */
  readonly offsetMs: number;
  /** Whether its monotonic clock stands still while it is frozen, as that of a frozen Lambda environment does. */
  readonly standsStill: boolean;
}

/** What it is told later. `close`: do a task for each key, and end. */
export type WorkerMessage =
  | { readonly do: 'setClock'; readonly offsetMs: number }
  | { readonly do: 'close'; readonly tasks: readonly { readonly task: string; readonly key: string }[] };

const TICK_MS = 20;
/** It ran not at all for so long: written down, and taken for a freeze. */
const STALL_MS = 40;
const FREEZE_MS = 200;
/** There is work for another `once` token under each key so often. */
const PERIOD_MS = 2_000;
/** How long a lock stays closed for the one who comes to resume its lease. */
const HAND_OFF_MS = 1_500;
/** A handle is tried for so long: also when it is too late. */
const HANDLE_MS = 3_000;

/** The process's clocks, in real time and as wrong as the nemesis wants: a `FakeClock` would stop at the first real request. */
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

  /** The reference time of the first look at this clock in the present turn of the event loop, or now. */
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
const { keys, workTable } = options;
const random = randomOf(...options.seed);
const clock = new ChaosClock(options);
const history = new HistoryWriter(options.folder, options.by, clock);

/** The store, and a line for each request that goes out. */
class RecordedStore extends DynamoDBLockStore {
  override acquire(...[request, signal]: Parameters<LockStore['acquire']>) {
    return super.acquire(sent('acquire', request), signal);
  }

  override renew(...[request, signal]: Parameters<LockStore['renew']>) {
    return super.renew(sent('renew', request), signal);
  }

  override release(...[request, signal]: Parameters<LockStore['release']>) {
    return super.release(sent('release', request), signal);
  }

  override resume(...[request, signal]: Parameters<LockStore['resume']>) {
    return super.resume(sent('resume', request), signal);
  }

  override giveBack(...[request, signal]: Parameters<LockStore['giveBack']>) {
    return super.giveBack(sent('giveBack', request), signal);
  }
}

function sent<Request extends { key: string; lockId: string; until?: number }>(what: Operation, request: Request) {
  const { key, lockId, until } = request;
  history.write({ type: 'sent', what, key, lockId, until, since: clock.turn() });
  return request;
}

const store = new RecordedStore({ tableName: options.lockTable });
const locks = new LockClient({ store, owner: options.by, clock, onEvent });
const dynamodb = new DynamoDBClient({ requestHandler: { requestTimeout: 1_000, throwOnRequestTimeout: true } });
const documents = DynamoDBDocumentClient.from(dynamodb);

function onEvent(event: LockEvent): void {
  if (event.type !== 'renewed') return;
  const { key, fencingToken, expiresAt, deadline } = event;
  history.write({ type: 'renewed', key, fencingToken, until: expiresAt, deadline });
}

/** Takes a lock as a user would, and writes down what came of it. */
function attempt(
  key: string,
  leaseMs: number,
  waitMs: number,
  more: Pick<AcquireOptions, 'holdAtMostMs' | 'once'> = {},
) {
  history.write({ type: 'attempt', key, leaseMs, waitMs });
  const requestTimeoutMs = oneOf(random, [undefined, 300]);
  const holdAtLeastMs = oneOf(random, [undefined, undefined, 100]);
  const { holdAtMostMs: atMostMs, once } = more;
  const ask = () => locks.acquire(key, { leaseMs, waitMs, requestTimeoutMs, holdAtLeastMs, ...more });
  return take(key, { leaseMs, atMostMs, once }, ask);
}

/** Goes on with a lease that was handed off, perhaps by this process. */
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
      const { reason } = lease.signal.reason as LockLostError;
      history.write({ type: 'lost', key, fencingToken, reason });
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

/** Works for a while. It asks before each step whether the lease is held, or only listens to its signal. */
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
  await fenced(lease);
  for (const counter of ['guarded', 'unguarded'] as const) if (lease.isHeld()) await count(lease, counter);
}

/** Writes to a resource that remembers the highest token, and refuses a lower one. */
async function fenced({ key, fencingToken }: Lease): Promise<void> {
  const write = new UpdateItemCommand({
    TableName: workTable,
    Key: { [WORK_KEY]: { S: `fence/${key}` } },
    UpdateExpression: 'SET fence = :token',
    ConditionExpression: 'attribute_not_exists(fence) OR fence <= :token',
    ExpressionAttributeValues: { ':token': { N: String(fencingToken) } },
  });
  // Refused or unanswered, the work goes on: what was accepted is the resource's business.
  await dynamodb.send(write).catch(() => {});
}

/** Reads a counter and writes the next number: lost, if somebody else does the same meanwhile. */
async function count(lease: Lease, counter: Counter): Promise<void> {
  const { key, fencingToken } = lease;
  const id = randomUUID();
  const name = `${counter}/${key}`;
  let outcome: Outcome = 'refused';
  try {
    const read = new GetItemCommand({ TableName: workTable, Key: { [WORK_KEY]: { S: name } }, ConsistentRead: true });
    const { Item } = await dynamodb.send(read);
    const value = Number(Item?.value?.N ?? 0) + 1;
    await sleep(oneOf(random, [0, 10, 100]));
    outcome = 'unknown';
    const change = {
      UpdateExpression: 'SET #value = :value, id = :id',
      ExpressionAttributeNames: { '#value': 'value' },
    };
    if (counter === 'guarded') {
      const Update = { TableName: workTable, Key: { [WORK_KEY]: name }, ...change };
      await writeWhileHeld(lease, documents, [
        { Update: { ...Update, ExpressionAttributeValues: { ':value': value, ':id': id } } },
      ]);
    } else {
      const ExpressionAttributeValues = { ':value': { N: String(value) }, ':id': { S: id } };
      const Key = { [WORK_KEY]: { S: name } };
      await dynamodb.send(new UpdateItemCommand({ TableName: workTable, Key, ...change, ExpressionAttributeValues }));
    }
    outcome = 'done';
  } catch (error) {
    if (error instanceof TypeError) throw error;
    if (error instanceof LockLostError) outcome = 'refused';
  }
  history.write({ type: 'counted', key, fencingToken, counter, id, outcome });
}

/** @param done the token whose work it has done. */
async function release(lease: Lease, done?: string): Promise<void> {
  const { key, fencingToken } = lease;
  history.write({ type: 'releasing', key, fencingToken });
  const known = await lease.release({ done: done !== undefined });
  history.write({ type: 'released', key, fencingToken, known, done });
}

/** Leaves a lease to whoever comes first, and no longer holds it. */
async function handOff(lease: Lease): Promise<void> {
  const { key, fencingToken, lockId } = lease;
  // Lost or unanswered, it is as it was.
  const handle = await lease.handOff({ leaseMs: HAND_OFF_MS }).catch(() => undefined);
  if (!handle) return;
  history.write({ type: 'handedOff', key, fencingToken, lockId });
  const at = referenceNow();
  if (lease.isHeld()) history.write({ type: 'work', key, fencingToken, asked: true }, at);
  // Nobody is to read a part of it.
  const file = join(options.handles, `${Math.floor(at)} ${key} ${fencingToken}`);
  writeFileSync(`${file}.part`, JSON.stringify(handle));
  renameSync(`${file}.part`, file);
}

/** A lease, and what it is for. */
interface Task {
  readonly lease: Lease;
  readonly once: string | undefined;
}

/** The names of the handles that this process has tried. */
const tried = new Set<string>();

/** A lease that some process has handed off; who comes with the same handle, late or at the same time, gets none. */
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

/** The work that is due under a key now, or, for who is late, was. */
const tokenOfNow = (): string =>
  String(Math.floor(referenceNow() / PERIOD_MS) - oneOf(random, [0, 0, 0, 1])).padStart(10, '0');

async function takeAny(): Promise<Task | undefined> {
  const leaseMs = oneOf(random, [500, 500, 2_000]);
  const holdAtMostMs = oneOf(random, [undefined, undefined, between(random, 200, 600)]);
  const once = oneOf(random, [undefined, tokenOfNow()]);
  const lease = await attempt(oneOf(random, keys), leaseMs, oneOf(random, [0, 0, 500, 1_500]), { holdAtMostMs, once });
  return lease && { lease, once };
}

/** Ticks, and writes down when it did not: then it was not running, and can have told nobody anything. */
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
      // Now and then the work fails, and its token is not done.
      await release(lease, lease.isHeld() && random() < 0.8 ? once : undefined);
    }
    await sleep(between(random, 0, 50));
  }
}

/** Does a task for each key, starting anywhere, so that not all want the same one. */
async function doTasks(tasks: readonly { task: string; key: string }[]): Promise<void> {
  const start = Math.floor(random() * tasks.length);
  const left = [...tasks.slice(start), ...tasks.slice(0, start)];
  for (let tries = 0; tries < 2 * tasks.length && left.length > 0; tries++) {
    const { task, key } = left.shift() as (typeof left)[number];
    const lease = await attempt(key, 2_000, 8_000);
    if (lease) await work(lease, 1);
    if (lease?.isHeld()) history.write({ type: 'done', task, key });
    // A busy machine can make a lease expire: a task is tried again.
    else left.push({ task, key });
    if (lease) await release(lease);
  }
}

const closed = { now: false };
// Whoever ends the chaos, however that ended, ends this.
process.on('disconnect', () => process.exit());
process.on('SIGINT', () => {});
process.on('message', async (message: WorkerMessage) => {
  if (message.do === 'setClock') {
    clock.offsetMs = message.offsetMs;
    history.write({ type: 'clockSet', offsetMs: message.offsetMs });
    return;
  }
  closed.now = true;
  await running;
  await doTasks(message.tasks);
  await locks.close();
  dynamodb.destroy();
  // From here on nothing may keep the process alive, and nobody ends it.
  process.removeAllListeners('disconnect');
  process.disconnect();
});
history.write({ type: 'started', pid: process.pid, clock: options.standsStill ? 'stands still' : 'goes on' });
watchOneself();
const running = run(closed);
