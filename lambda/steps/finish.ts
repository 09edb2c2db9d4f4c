import type { LambdaContext } from '../../middleware/index.ts';
import { type Closing, locks } from './closing.ts';

/** The last step: goes on with the lease, and releases it as done. No execution begins this month again. */
export async function handler({ month, handle }: Closing, context: LambdaContext) {
  await using lease = await locks.resume(handle, { remainingMs: () => context.getRemainingTimeInMillis() });
  await lease.release({ done: true });
  lease.signal.throwIfAborted();
  return { outcome: 'done', month, fencingToken: lease.fencingToken };
}
