import type { LambdaContext } from '../../middleware/index.ts';
import { type Closing, locks } from './closing.ts';

/** The last step: resumes the lease, and releases the lease as done. No later execution begins this month again. */
export async function handler({ month, handle }: Closing, context: LambdaContext) {
  await using lease = await locks.resume(handle, { remainingMs: () => context.getRemainingTimeInMillis() });
  await lease.release({ done: true });
  lease.signal.throwIfAborted();
  return { outcome: 'done', month, fencingToken: lease.fencingToken };
}
