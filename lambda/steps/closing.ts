import { DynamoDBLockStore } from '../../lib/dynamodb/index.ts';
import { emf } from '../../lib/emf.ts';
import { type LeaseHandle, LockClient } from '../../lib/index.ts';

/** A month that is being closed, on its way from step to step. */
export interface Closing {
  /** Such as 2026-01. */
  readonly month: string;
  /** The accounts that are not closed yet. */
  readonly left: readonly string[];
  /** The lease, for the next step alone. A secret: whatever logs what the steps pass on must leave it out. */
  readonly handle: LeaseHandle;
}

/** One month is closed at a time. */
export const KEY = 'closing';

/** For so long the lock waits for the next step to come. */
export const NEXT_STEP = { leaseMs: 60_000 };

export const locks = new LockClient({
  store: new DynamoDBLockStore(),
  // A step that dies keeps the next try waiting no longer than this.
  leaseMs: 4_000,
  onEvent: emf(),
});
