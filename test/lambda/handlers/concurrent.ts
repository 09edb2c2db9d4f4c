import middy from '@middy/core';
import type { Lease } from '../../../lib/index.ts';
import { type LambdaContext, lock, lockPlugin } from '../../../middleware/index.ts';
import { log, pass } from './support.ts';

interface Job {
  readonly key: string;
  readonly gate: string;
  readonly fail?: boolean;
}

const options = {
  key: (job: Job) => job.key,
  leaseMs: Number(process.env.LEASE_MS),
  onBusy: ({ key }: { key: string }) => ({ busy: key }),
  onEvent: log,
};

/** Counts the invocations of this process: the number shows that all came to one process. */
let invocations = 0;

async function work({ key, gate, fail }: Job, { lock: lease }: LambdaContext & { lock: Lease }) {
  const number = ++invocations;
  await pass(gate);
  if (fail) throw new RangeError(`The work on ${key} failed.`);
  return { number, key: lease.key, isHeld: lease.isHeld(), fencingToken: lease.fencingToken };
}

export const handler = middy<Job>(lockPlugin({ timeoutEarlyInMillis: 0 }))
  .use(lock(options))
  .handler(work);

export const early = middy<Job>(lockPlugin({ timeoutEarlyInMillis: 500, timeoutEarlyResponse: () => 'early' }))
  .use(lock(options))
  .handler(work);
