/**
 * One process under chaos: takes locks, works under them, counts, and gives them back, for ever; and writes down what it
 * does. It knows nothing of the faults.
 */
import { randomUUID } from 'node:crypto';
import { DynamoDBClient, GetItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb';
import { DynamoDBLockStore, writeWhileHeld } from '../../lib/dynamodb.ts';
import { type Clock, type Lease, LockClient, type LockEvent, LockLostError, type LockStore } from '../../lib/index.ts';
import { type Counter, HistoryWriter, type Operation, type Outcome, referenceNow } from './history.ts';
import { between, oneOf, randomOf } from './random.ts';
import { WORK_KEY } from './recorder.ts';

/** What a process is told at its start. */
export interface WorkerOptions {
  readonly by: string;
  readonly seed: readonly number[];
  readonly folder: string;
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

/** The process's clocks, wrong as the nemesis wants them. */
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
async function attempt(key: string, leaseMs: number, waitMs: number, holdAtMostMs?: number) {
  history.write({ type: 'attempt', key, leaseMs, waitMs });
  const requestTimeoutMs = oneOf(random, [undefined, 300]);
  const holdAtLeastMs = oneOf(random, [undefined, undefined, 100]);
  try {
    const lease = await locks.acquire(key, { leaseMs, waitMs, requestTimeoutMs, holdAtLeastMs, holdAtMostMs });
    const { fencingToken, lockId, deadline } = lease;
    lease.signal.addEventListener('abort', () => {
      const { reason } = lease.signal.reason as LockLostError;
      history.write({ type: 'lost', key, fencingToken, reason });
    });
    const safetyMs = Math.max(leaseMs / 10, Math.min(2_000, leaseMs / 4));
    const takenOver = lease.takenOverFrom !== undefined;
    const terms = { leaseMs, safetyMs, atMostMs: holdAtMostMs };
    history.write({ type: 'granted', key, fencingToken, lockId, ...terms, deadline, takenOver });
    return lease;
  } catch (error) {
    history.write({ type: 'refused', key, error: `${(error as Error).name}: ${(error as Error).message}` });
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

async function release(lease: Lease): Promise<void> {
  const { key, fencingToken } = lease;
  history.write({ type: 'releasing', key, fencingToken });
  const known = await lease.release();
  history.write({ type: 'released', key, fencingToken, known });
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
    const leaseMs = oneOf(random, [500, 500, 2_000]);
    const holdAtMostMs = oneOf(random, [undefined, undefined, between(random, 200, 600)]);
    const lease = await attempt(oneOf(random, keys), leaseMs, oneOf(random, [0, 0, 500, 1_500]), holdAtMostMs);
    if (lease) {
      await work(lease, between(random, 0, 25));
      await release(lease);
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
