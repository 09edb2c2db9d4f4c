import { DynamoDBLockStore } from '../../lib/dynamodb.ts';
import { type LeaseHandle, LockClient } from '../../lib/index.ts';

/** A month that is being closed, on its way from step to step. */
export interface Closing {
  /** For example 2026-01. */
  readonly month: string;
  /** The accounts that are not closed yet. */
  readonly left: readonly string[];
  /** The lease, for the next step alone. The handle is a secret: a log of the steps' inputs must leave it out. */
  readonly handle: LeaseHandle;
}

/** One lock for all months: one month is closed at a time. */
export const KEY = 'closing';

export const locks = new LockClient({
  store: new DynamoDBLockStore(),
  // A dead step's lock opens for the next try after this time at the latest.
  leaseMs: 4_000,
});
