import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import type { LockRecord, Takeover } from '../record/record.ts';

/** An item of DynamoDB. */
export type Item = Record<string, AttributeValue>;

export const S = (value: string): AttributeValue => ({ S: value });
export const N = (value: number): AttributeValue => ({ N: String(value) });

/**
 * Reads the record of a lock from an item.
 * @param foreign makes the error for an item that is no record of a lock.
 */
export function parse(item: Item, keyAttribute: string, foreign: (key: string, why: string) => Error): LockRecord {
  const key = item[keyAttribute]?.S ?? '';
  const string = (name: string): string | undefined => item[name]?.S || undefined;
  const number = (name: string, fallback?: number): number => {
    const value = Number(item[name]?.N ?? fallback ?? Number.NaN);
    if (Number.isFinite(value)) return value;
    throw foreign(key, `${name} is ${item[name] ? `of type ${Object.keys(item[name])}, not N` : 'missing'}`);
  };
  return {
    key,
    lockId: string('lockId'),
    owner: string('owner'),
    fencingToken: number('fencingToken'),
    expiresAt: number('expiresAt'),
    acquiredAt: number('acquiredAt', 0),
    leaseMs: number('leaseMs', 0),
    releasedBy: string('releasedBy'),
    tookOver: item.previousExpiresAt && tookOver(string('previousLockId'), string('previousOwner'), number),
    doneToken: string('doneToken'),
    data: string('data'),
  };
}

/**
 * Reads what a grant replaced. An expression cannot copy an absence: for a missing text a grant writes an empty string, and
 * for a missing moment 0.
 */
function tookOver(
  lockId: string | undefined,
  owner: string | undefined,
  number: (name: string, fallback?: number) => number,
): Takeover {
  const expiresAt = number('previousExpiresAt');
  if (expiresAt === 0) return { type: 'nothing' };
  const replaced = { owner, acquiredAt: number('previousAcquiredAt', 0), expiresAt };
  return lockId === undefined ? { type: 'closed', ...replaced } : { type: 'lease', lockId, ...replaced };
}
