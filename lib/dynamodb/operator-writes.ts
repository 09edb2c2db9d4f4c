// The conditions of lib/record/transitions.ts as expressions of DynamoDB, for the operations of operators and of hand-offs.

import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import { MOST_ACQUIRED_AT, MOST_COUNTABLE } from '../record/record.ts';
import type { ForceReleaseRequest, RepairRequest, ResumeRequest } from '../record/store.ts';
import { N, S } from './item.ts';
import { COUNTABLE, COUNTS, END, NONE, type TableShape, type Write } from './writes.ts';

/** Every lock has a numeric token and expiry. Any other item is another program's: no request writes it or gives it out. */
export const IS_LOCK = 'attribute_type(fencingToken, :number) AND attribute_type(expiresAt, :number)';
/** Tells a lock by attributes that a forced release names anyway: the grant for it leaves out the fencing token. */
const HAS_TIMES = 'acquiredAt >= :zero AND expiresAt >= :zero';
export const NUMBER = { ':number': S('N') };

export function resume({ handed, lockId, owner, until, leaseMs }: ResumeRequest, table: TableShape): Write {
  return {
    UpdateExpression:
      'SET lockId = :me, #owner = :owner, expiresAt = :until, leaseMs = :leaseMs, #ttl = :ttl, fencingToken = fencingToken + :one',
    // The new expiry turns away every acquire that was sent before the resume (invariant 3).
    ConditionExpression: `lockId = :handed AND ${COUNTABLE} AND expiresAt BETWEEN :zero AND :most AND acquiredAt < :until`,
    ExpressionAttributeNames: { '#owner': 'owner', '#ttl': table.ttlAttribute },
    ExpressionAttributeValues: {
      ':me': S(lockId),
      ':handed': S(handed),
      ...COUNTS,
      ':owner': S(owner),
      ':until': N(until),
      ':leaseMs': N(leaseMs),
      ':ttl': table.ttl(until),
      ':one': N(1),
    },
    ReturnValues: 'ALL_NEW',
  };
}

export function forceRelease({ lockId, immediately }: ForceReleaseRequest): Write {
  // A holder's release writes 1 ms. So a holder whose release is refused can tell whose release was applied.
  const opens = immediately ? ', expiresAt = acquiredAt + :two' : '';
  return {
    UpdateExpression: `SET releasedBy = :seen${opens}${END}`,
    // The operator's `lockId` comes from elsewhere, and may stand in an item of the user's own.
    ConditionExpression: `(lockId = :seen${immediately ? ' OR (attribute_not_exists(lockId) AND releasedBy = :seen)' : ''}) AND ${HAS_TIMES}${immediately ? ' AND acquiredAt <= :most' : ''}`,
    ExpressionAttributeValues: {
      ':seen': S(lockId),
      ':zero': N(0),
      ...(immediately && { ':two': N(2), ':most': N(MOST_ACQUIRED_AT) }),
    },
  };
}

/** leasehold wrote the item, which is a lock or was one: two of leasehold's attributes are left. A user's item may have one. */
const IS_OURS =
  `((${IS_LOCK}) OR (attribute_exists(fencingToken) OR attribute_exists(lockId) OR attribute_exists(releasedBy)) AND ` +
  '(attribute_exists(acquiredAt) OR attribute_exists(leaseMs)))';
/** The token, a moment or the `lockId` has no value that leasehold writes. */
const BROKEN =
  `NOT (${IS_LOCK}) OR NOT fencingToken BETWEEN :zero AND :most OR NOT expiresAt BETWEEN :zero AND :most ` +
  'OR NOT attribute_type(acquiredAt, :number) OR NOT acquiredAt BETWEEN :zero AND :mostAcquired ' +
  'OR (attribute_exists(lockId) AND (NOT attribute_type(lockId, :string) OR lockId = :none))';
const AS_SEEN = 'attribute_not_exists(lockId) AND fencingToken = :seenToken AND expiresAt = :seenExpiry';
/** The numbers around a broken record's token and expiry as the operator saw them. */
const AROUND_SEEN = 'fencingToken BETWEEN :token0 AND :token1 AND expiresAt BETWEEN :expiry0 AND :expiry1';
/** An attribute that is missing, or that is no number, is not greater than a number. */
const OPENS_IN_TIME = 'NOT (expiresAt > :opensAt AND expiresAt <= :most)';
const RAISES_TOKEN = 'NOT (fencingToken > :token AND fencingToken <= :most)';

/** The greatest number that DynamoDB stores. */
const GREATEST = `9.${'9'.repeat(37)}E+125`;

/**
 * Gives the least and the greatest number that a number of a broken record may be, by its view. No condition tells a fraction
 * from a whole number: a fraction lies between two whole numbers. A view has fewer digits than a number that is out of range.
 */
function around(seen: number): [least: AttributeValue, greatest: AttributeValue] {
  if (seen < 0) return [{ N: `-${GREATEST}` }, N(0)];
  return seen > MOST_COUNTABLE ? [N(MOST_COUNTABLE), { N: GREATEST }] : [N(Math.floor(seen)), N(Math.ceil(seen))];
}

export function repair({ seen, opensAt, fencingToken, broken }: RepairRequest, table: TableShape): Write {
  const values = { ':opensAt': N(opensAt), ':token': N(fencingToken), ':ttl': table.ttl(opensAt) };
  const update = 'SET expiresAt = :opensAt, fencingToken = :token, #ttl = :ttl';
  const ExpressionAttributeNames = { '#ttl': table.ttlAttribute };
  if (broken === undefined) {
    return {
      UpdateExpression: `${update}${END}`,
      ConditionExpression: AS_SEEN,
      ExpressionAttributeNames,
      ExpressionAttributeValues: {
        ...values,
        ':seenToken': N(seen.fencingToken),
        ':seenExpiry': N(seen.expiresAt),
      },
    };
  }
  const { acquiredAt, immediately, lowersToken } = broken;
  const [token0, token1] = around(seen?.fencingToken ?? 0);
  const [expiry0, expiry1] = around(seen?.expiresAt ?? 0);
  return {
    UpdateExpression: `${update}, acquiredAt = :acquiredAt${END}`,
    ConditionExpression: [
      IS_OURS,
      seen ? `(${BROKEN} OR (${AROUND_SEEN}))` : `(${BROKEN})`,
      ...(immediately ? [] : [OPENS_IN_TIME]),
      // An operator who saw another token does not lower this one.
      ...(!lowersToken ? [RAISES_TOKEN] : seen ? [`(${RAISES_TOKEN} OR ${AROUND_SEEN})`] : []),
    ].join(' AND '),
    ExpressionAttributeNames,
    ExpressionAttributeValues: {
      ...values,
      ':acquiredAt': N(acquiredAt),
      ...NUMBER,
      ...COUNTS,
      ':mostAcquired': N(MOST_ACQUIRED_AT),
      ':string': S('S'),
      ':none': NONE,
      ...(seen && { ':token0': token0, ':token1': token1, ':expiry0': expiry0, ':expiry1': expiry1 }),
    },
  };
}
