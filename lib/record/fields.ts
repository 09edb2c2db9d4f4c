import type { Takeover } from './record.ts';

/** Gives the value of a field, or undefined if the field has no value of the type. */
export type Text = (name: string) => string | undefined;
export type Numeric = (name: string) => number | undefined;

/**
 * Reads what a grant replaced, from the fields that DynamoDB and Redis name alike. An expression cannot copy an absence: for a
 * missing moment a grant writes 0, and in DynamoDB for a missing text an empty string.
 */
export function takeoverIn(text: Text, number: Numeric): Takeover | undefined {
  const expiresAt = number('previousExpiresAt');
  if (expiresAt === undefined) return undefined;
  if (expiresAt === 0) return { type: 'nothing' };
  const lockId = text('previousLockId');
  const replaced = { owner: text('previousOwner'), acquiredAt: number('previousAcquiredAt') ?? 0, expiresAt };
  return lockId === undefined ? { type: 'closed', ...replaced } : { type: 'lease', lockId, ...replaced };
}

/**
 * Tells whether a record without a token or an expiry was a lock: two of leasehold's fields are left. Something of the user's
 * own may have one of the names. The condition of a repair tells a lock by the same fields.
 */
export function wasLock(has: (name: string) => boolean): boolean {
  return ['fencingToken', 'lockId', 'releasedBy'].some(has) && ['acquiredAt', 'leaseMs'].some(has);
}
