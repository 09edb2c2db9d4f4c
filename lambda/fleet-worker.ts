import { setTimeout as sleep } from 'node:timers/promises';
import { DynamoDBLockStore } from '../lib/dynamodb.ts';
import { LockClient } from '../lib/index.ts';
import { runTasks } from '../lib/tasks/index.ts';
import type { LambdaContext } from '../middleware/index.ts';
import { tasks } from './tasks.ts';

/** The event that the schedules of a `SingletonFleet` send. */
interface Shift {
  /** The number of this worker, counted from 0, and the number of all workers. */
  readonly worker: { readonly number: number; readonly of: number };
  /** The time that the schedule was for, in ISO 8601: the same for every worker of one run. */
  readonly time: string;
}

/** Stands for the work on one step of a task. */
const STEP_MS = 5;

const locks = new LockClient({ store: new DynamoDBLockStore() });

/**
 * One worker of a fleet. The worker does each task that no other worker holds or has done for this time of the schedule.
 * If a task fails or is not reached, the worker fails, too: its event goes to the dead-letter queue, and an alarm tells the
 * operator.
 */
export async function handler({ worker, time }: Shift, context: LambdaContext) {
  const { failed, ...counts } = await runTasks(
    tasks,
    {
      locks,
      key: ({ name }) => `fleet/${name}`,
      once: time,
      worker,
      remainingMs: () => context.getRemainingTimeInMillis(),
    },
    async ({ name, steps }, lease) => {
      await sleep(steps * STEP_MS, undefined, { signal: lease.signal });
      console.log(JSON.stringify({ task: name, time, worker: worker.number, fencingToken: lease.fencingToken }));
    },
  );
  for (const { error } of failed) console.error(error);
  if (failed.length + counts.notReached > 0) {
    const names = failed.map(({ task }) => task.name).join(', ') || 'none';
    throw new Error(`Failed: ${names}. Not reached: ${counts.notReached}.`);
  }
  return counts;
}
