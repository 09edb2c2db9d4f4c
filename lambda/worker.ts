import { setTimeout as sleep } from 'node:timers/promises';
import type { ScheduledEvent } from 'aws-lambda';
import { type Lease, LockClient, type LockStore } from '../lib/index.ts';
import { runTasks, type TaskReport } from '../lib/tasks/index.ts';
import type { LambdaContext } from '../middleware/index.ts';
import { type Task, tasks } from './tasks.ts';

/** Stands for the work on one step. */
const STEP_MS = 50;

const log = (line: object): void => console.log(JSON.stringify({ at: Date.now(), ...line }));

/** Logs each task that another worker was seen to hold. */
class WatchfulClient extends LockClient {
  override async inspectMany(...[keys, options]: Parameters<LockClient['inspectMany']>) {
    const states = await super.inspectMany(keys, options);
    for (const { key, held } of states.values()) if (held) log({ type: 'busy', key });
    return states;
  }
}

type Worker = (event: ScheduledEvent, context: LambdaContext) => Promise<TaskReport<Task>>;

/**
 * Makes the handler of one of several workers that a schedule starts at the same time over the same tasks. The worker steps
 * over each task that another worker holds or has done. At the end the worker comes back to the held tasks, since their worker
 * may have died.
 */
export function workerOn(store: LockStore): Worker {
  const locks = new WatchfulClient({
    store,
    // A dead worker's task opens after this time at the latest.
    leaseMs: 2_000,
    onEvent: log,
  });
  return ({ time }, context) =>
    runTasks(
      tasks,
      {
        locks,
        key: ({ name }) => `tasks/${name}`,
        once: time,
        remainingMs: () => context.getRemainingTimeInMillis(),
      },
      work,
    );
}

async function work({ steps }: Task, lease: Lease): Promise<void> {
  const { key, fencingToken } = lease;
  try {
    for (let step = 1; step <= steps; step++) {
      // The pause ends early when the lease is lost. Ask before each step that needs the lease.
      await sleep(STEP_MS, undefined, { signal: lease.signal }).catch(() => {});
      lease.assertHeld();
      log({ type: 'step', key, fencingToken, step, steps });
    }
  } finally {
    log({ type: 'ended', key, fencingToken, held: lease.isHeld() });
  }
}
