import { setTimeout as sleep } from 'node:timers/promises';
import type { ScheduledEvent } from 'aws-lambda';
import { DynamoDBLockStore } from '../lib/dynamodb.ts';
import { emf } from '../lib/emf.ts';
import { type Lease, LockBusyError, LockClient, LockDoneError, LockLostError } from '../lib/index.ts';
import type { LambdaContext } from '../middleware/index.ts';
import { type Task, tasks } from './tasks.ts';

/** Stands for the work on one step. */
const STEP_MS = 50;
/** Between two passes over the tasks that were busy. */
const REVISIT_MS = 250;
/** No task is begun with less of the invocation's time left. */
const RESERVE_MS = 3_000;

const log = (line: object): void => console.log(JSON.stringify({ at: Date.now(), ...line }));

const publishMetrics = emf();
const locks = new LockClient({
  store: new DynamoDBLockStore(),
  // A worker that dies keeps its task from the others for no longer than this.
  leaseMs: 2_000,
  onEvent: (event) => {
    log(event);
    publishMetrics(event);
  },
});

/**
 * One of several workers that a schedule starts at the same time over the same tasks. It steps over each task that
 * another worker holds or has done, and comes back to the held ones at the end, since their worker may have died.
 */
export async function handler(event: ScheduledEvent, context: LambdaContext): Promise<{ done: string[] }> {
  const remainingMs = () => context.getRemainingTimeInMillis();
  const left = new Set(startingAt(placeOf(event)));
  const done: string[] = [];
  while (left.size > 0 && remainingMs() > RESERVE_MS) {
    for (const task of left) {
      if (remainingMs() <= RESERVE_MS) break;
      const outcome = await tryTask(task, event.time, remainingMs);
      if (outcome !== 'busy') left.delete(task);
      if (outcome === 'done') done.push(task.name);
    }
    if (left.size > 0) await sleep(REVISIT_MS);
  }
  return { done };
}

/** Does one task, unless another worker holds it or has done it for this time of the schedule. */
async function tryTask(task: Task, once: string, remainingMs: () => number): Promise<'done' | 'done before' | 'busy'> {
  try {
    await locks.using(`tasks/${task.name}`, { once, remainingMs }, (lease) => work(task, lease));
    return 'done';
  } catch (error) {
    if (error instanceof LockDoneError) return 'done before';
    // Ours no more: somebody else works on it by now, and only a later look tells whether it gets done.
    if (error instanceof LockBusyError || error instanceof LockLostError) return 'busy';
    throw error;
  }
}

async function work({ steps }: Task, lease: Lease): Promise<void> {
  const { key, fencingToken } = lease;
  try {
    for (let step = 1; step <= steps; step++) {
      // The pause ends early with the lease; what the handler must not do without it comes after the question.
      await sleep(STEP_MS, undefined, { signal: lease.signal }).catch(() => {});
      lease.assertHeld();
      log({ type: 'step', key, fencingToken, step, steps });
    }
  } finally {
    log({ type: 'ended', key, fencingToken, held: lease.isHeld() });
  }
}

/**
 * Where this worker starts, from 0 to 1, so that workers do not queue behind one another. Steps of the golden ratio
 * spread any number of workers; without a number in the rule's name (task-worker-3) the place is a random one.
 */
function placeOf({ resources: [rule = ''] }: ScheduledEvent): number {
  const worker = /\d+$/.exec(rule)?.[0];
  return worker === undefined ? Math.random() : (Number(worker) * 0.618) % 1;
}

function startingAt(place: number): Task[] {
  const first = Math.floor(place * tasks.length);
  return [...tasks.slice(first), ...tasks.slice(0, first)];
}
