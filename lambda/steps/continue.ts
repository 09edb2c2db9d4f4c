import { setTimeout as sleep } from 'node:timers/promises';
import type { LambdaContext } from '../../middleware/index.ts';
import { type Closing, locks } from './closing.ts';
import { NEXT_STEP } from './next-step.ts';

/** Stands for the work on one account. */
const WORK_MS = 300;

/**
 * A step in the middle: resumes the lease, closes one account, and hands the lease off. If the work fails, `await using`
 * releases the lease, and the lock opens at once. After the hand-off, this release does nothing.
 */
export async function handler({ month, left, handle }: Closing, context: LambdaContext): Promise<Closing> {
  await using lease = await locks.resume(handle, { remainingMs: () => context.getRemainingTimeInMillis() });
  const [account, ...others] = left;
  if (typeof account !== 'string' || account === '') {
    throw new TypeError(`An account must have a name, but it is ${JSON.stringify(account)}.`);
  }
  await sleep(WORK_MS, undefined, { signal: lease.signal });
  console.log(JSON.stringify({ closed: account, month, fencingToken: lease.fencingToken }));
  return { month, left: others, handle: await lease.handOff(NEXT_STEP) };
}
