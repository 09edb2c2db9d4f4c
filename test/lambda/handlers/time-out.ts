import middy from '@middy/core';
import type { Lease } from '../../../lib/index.ts';
import { type LambdaContext, lock, lockPlugin, withLock } from '../../../middleware/index.ts';
import { log, pass } from './support.ts';

interface Job {
  readonly key: string;
  readonly gate?: string;
  readonly time?: string;
}

const options = { key: (job: Job) => job.key, onEvent: log };

/** Still works when the time is up, and logs the state of its lease. */
async function work({ gate }: Job, { lock: lease }: LambdaContext & { lock: Lease }) {
  lease.signal.addEventListener('abort', () => log({ type: 'aborted', reason: lease.signal.reason.reason }));
  await pass(gate);
  log({ type: 'went on', isHeld: lease.isHeld() });
  return 'done';
}

export const waiting = withLock({ ...options, leaseMs: 1_200, heartbeatMs: 200 }, work);

/** Blocks the thread, so that not even a timer runs. */
export const blocked = withLock(options, (_job: Job) => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
});

const early = { timeoutEarlyInMillis: 700 };

export const throwing = middy<Job>(lockPlugin(early)).use(lock(options)).handler(work);

export const returning = middy<Job>(lockPlugin({ ...early, timeoutEarlyResponse: () => ({ statusCode: 408 }) }))
  .use(lock({ ...options, once: (job) => job.time ?? '' }))
  .handler(work);
