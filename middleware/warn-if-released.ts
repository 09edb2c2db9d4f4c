import { show } from '../lib/record/check.ts';
import { LockLostError } from '../lib/record/errors.ts';

/** Warns on the console where a handler released a lease that is not its own to release: nothing else would tell. */
export function warnIfReleased(lease: { assertHeld(): void; readonly gaveResult?: boolean }): void {
  if (lease.gaveResult) return;
  try {
    lease.assertHeld();
  } catch (error) {
    if (!(error instanceof LockLostError && error.reason === 'released')) return;
    console.warn(
      `The handler released the lease of ${show(error.key)} itself. Leave that to leasehold: the work after it ran without the ` +
        'lock, and a once token is done only after release({ done: true }).',
    );
  }
}
