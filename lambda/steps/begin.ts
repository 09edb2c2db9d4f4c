import { LockBusyError, LockDoneError } from '../../lib/index.ts';
import type { LambdaContext } from '../../middleware/index.ts';
import { type Closing, KEY, locks } from './closing.ts';
import { NEXT_STEP } from './next-step.ts';

/** The input of an execution. */
interface Order {
  /** For example 2026-01. */
  readonly month: string;
  readonly accounts: readonly string[];
}

/**
 * The end of an execution that has nothing to do:
 * - `busy`: another execution is closing a month;
 * - `already done`: this month or a later month is closed.
 */
interface SteppedOver {
  readonly outcome: 'busy' | 'already done';
}

/** The first step: takes the lock for the whole execution, and hands the lease to the next step. */
export async function handler({ month, accounts }: Order, context: LambdaContext): Promise<Closing | SteppedOver> {
  if (!/^\d{4}-\d\d$/.test(month)) {
    throw new TypeError(`month must look like 2026-01, but it is ${JSON.stringify(month)}.`);
  }
  if (!Array.isArray(accounts)) {
    throw new TypeError(`accounts must be an array, but it is ${JSON.stringify(accounts)}.`);
  }
  try {
    const remainingMs = () => context.getRemainingTimeInMillis();
    await using lease = await locks.acquire(KEY, { once: month, remainingMs, data: { month } });
    return { month, left: accounts, handle: await lease.handOff(NEXT_STEP) };
  } catch (error) {
    if (error instanceof LockBusyError) return { outcome: 'busy' };
    if (error instanceof LockDoneError) return { outcome: 'already done' };
    throw error;
  }
}
