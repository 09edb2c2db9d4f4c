import middy from '@middy/core';
import type { Lease } from '../../../lib/index.ts';
import { type LambdaContext, lock, lockPlugin, withLock } from '../../../middleware/index.ts';
import { log, pass } from './support.ts';

interface Job {
  readonly key: string;
  readonly gate?: string;
  readonly end?: 'fail' | 'exit';
}

const options = { key: (job: Job) => job.key, onEvent: log };

async function work({ gate, end }: Job, { lock: lease }: LambdaContext & { lock: Lease }) {
  await pass(gate);
  if (end === 'fail') throw new RangeError('The work failed.');
  if (end === 'exit') process.exit(3);
  return { isHeld: lease.isHeld(), fencingToken: lease.fencingToken };
}

export const handler = middy<Job>(lockPlugin()).use(lock(options)).handler(work);

export const plain = withLock(options, work);

/** Returns before the handler, as a cache or a validator may. */
const early = () => 'early';

export const earlyWithPlugin = middy<Job>(lockPlugin()).use(lock(options)).before(early).handler(work);

const shortLease = { ...options, leaseMs: 1_200, heartbeatMs: 200 };
export const earlyWithoutPlugin = middy<Job>().use(lock(shortLease)).before(early).handler(work);
