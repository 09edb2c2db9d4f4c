// The conditions of lib/record/transitions.ts as expressions of DynamoDB, one conditional UpdateItem for each operation.

import type { AttributeValue, UpdateItemCommandInput } from '@aws-sdk/client-dynamodb';
import { MOST_ACQUIRED_AT, MOST_COUNTABLE } from '../record/record.ts';
import type {
  AcquireRequest,
  ForceReleaseRequest,
  GiveBackRequest,
  ReleaseRequest,
  RenewRequest,
  RepairRequest,
  ResumeRequest,
} from '../record/store.ts';
import { N, S } from './item.ts';

/** The part of an `UpdateItem` that an operation decides. */
export type Write = Omit<UpdateItemCommandInput, 'TableName' | 'Key'>;

/** The part of a table's settings that writes need. */
export interface TableShape {
  readonly keyAttribute: string;
  readonly ttlAttribute: string;
  /** Gives the moment for DynamoDB's TTL, from an expiry in milliseconds. */
  ttl(expiresAt: number): AttributeValue;
}

/** Stands for a missing text, since an expression cannot copy an absence. */
const NONE = S('');

/** Every lock has a numeric token and expiry. Any other item is another program's: no request writes it or gives it out. */
export const IS_LOCK = 'attribute_type(fencingToken, :number) AND attribute_type(expiresAt, :number)';
/** Tells a lock by attributes that a forced release names anyway: the grant for it leaves out the fencing token. */
const HAS_TIMES = 'acquiredAt >= :zero AND expiresAt >= :zero';
export const NUMBER = { ':number': S('N') };
/** After any greater token, JavaScript could not tell the next tokens apart. */
const COUNTABLE = 'fencingToken BETWEEN :zero AND :most';
const COUNTS = { ':zero': N(0), ':most': N(MOST_COUNTABLE) };
const FREE = `attribute_not_exists(#key) OR (${COUNTABLE} AND expiresAt BETWEEN :zero AND :now AND lockId <> :me AND releasedBy <> :me)`;
const NOT_DONE = '(attribute_not_exists(doneToken) OR doneToken < :once)';
/** The random `lockId` proves that leasehold wrote the record. */
const MINE = 'lockId = :me';
const GRANT =
  'SET lockId = :me, #owner = :owner, expiresAt = :until, acquiredAt = :now, leaseMs = :leaseMs, #ttl = :ttl, ' +
  'fencingToken = if_not_exists(fencingToken, :now) + :one, previousLockId = if_not_exists(lockId, :none), ' +
  'previousOwner = if_not_exists(#owner, :none), previousAcquiredAt = if_not_exists(acquiredAt, :zero), ' +
  'previousExpiresAt = if_not_exists(expiresAt, :zero)';
const FORGET_TOOK_OVER = ' REMOVE previousLockId, previousOwner, previousAcquiredAt, previousExpiresAt';

export function acquire(request: AcquireRequest, table: TableShape): Write {
  const { lockId, owner, now, until, leaseMs, once, data } = request;
  return {
    UpdateExpression: data === undefined ? `${GRANT} REMOVE #data` : `${GRANT}, #data = :data`,
    ConditionExpression: once === undefined ? FREE : `(${FREE}) AND ${NOT_DONE}`,
    ExpressionAttributeNames: {
      '#key': table.keyAttribute,
      '#owner': 'owner',
      '#ttl': table.ttlAttribute,
      '#data': 'data',
    },
    ExpressionAttributeValues: {
      ':me': S(lockId),
      ':owner': S(owner),
      ':now': N(now),
      ':until': N(until),
      ':leaseMs': N(leaseMs),
      ':ttl': table.ttl(until),
      ':one': N(1),
      ...COUNTS,
      ':none': NONE,
      ...(once !== undefined && { ':once': S(once) }),
      ...(data !== undefined && { ':data': S(data) }),
    },
    ReturnValues: 'ALL_NEW',
  };
}

export function renew({ lockId, until }: RenewRequest, table: TableShape): Write {
  return {
    UpdateExpression: 'SET expiresAt = :until, #ttl = :ttl',
    // A renewal that is sent twice or late never shortens a lease (invariant 3).
    ConditionExpression: `${MINE} AND expiresAt <= :until`,
    ExpressionAttributeNames: { '#ttl': table.ttlAttribute },
    ExpressionAttributeValues: { ':me': S(lockId), ':until': N(until), ':ttl': table.ttl(until) },
  };
}

export function release({ lockId, now, holdAtLeastMs, doneToken }: ReleaseRequest, table: TableShape): Write {
  const done = doneToken === undefined ? '' : ', doneToken = :done';
  return {
    // The expiry is at least 1 ms past the acquisition, never 0. So it turns away every acquire that was sent before
    // (invariant 3).
    UpdateExpression: `SET releasedBy = :me, expiresAt = acquiredAt + :hold, #ttl = :ttl${done}${FORGET_TOOK_OVER}, lockId`,
    // Invariant 9: nobody releases another holder's grant.
    ConditionExpression: MINE,
    ExpressionAttributeNames: { '#ttl': table.ttlAttribute },
    ExpressionAttributeValues: {
      ':me': S(lockId),
      ':hold': N(Math.max(1, holdAtLeastMs)),
      ':ttl': table.ttl(now + holdAtLeastMs),
      ...(doneToken !== undefined && { ':done': S(doneToken) }),
    },
  };
}

export function giveBack(request: GiveBackRequest): Write {
  const { lockId, fencingToken, now, previous } = request;
  const { owner, acquiredAt = 0, expiresAt = now } = previous.type === 'nothing' ? {} : previous;
  const restored = previous.type === 'lease' ? previous.lockId : undefined;
  const set = `SET releasedBy = :me, acquiredAt = :acquiredAt, expiresAt = :expiresAt${owner ? ', #owner = :owner' : ''}`;
  return {
    UpdateExpression: set + (restored ? `, lockId = :restored${FORGET_TOOK_OVER}` : `${FORGET_TOOK_OVER}, lockId`),
    // The token tells the grant from a later grant of the same acquire, delivered twice.
    ConditionExpression: `${MINE} AND fencingToken = :token`,
    ...(owner && { ExpressionAttributeNames: { '#owner': 'owner' } }),
    ExpressionAttributeValues: {
      ':me': S(lockId),
      ':token': N(fencingToken),
      ':acquiredAt': N(acquiredAt || now),
      ':expiresAt': N(expiresAt),
      ...(owner && { ':owner': S(owner) }),
      ...(restored && { ':restored': S(restored) }),
    },
  };
}

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
    UpdateExpression: `SET releasedBy = :seen${opens}${FORGET_TOOK_OVER}, lockId`,
    // The operator's `lockId` comes from elsewhere, and may stand in an item of the user's own.
    ConditionExpression: `(lockId = :seen${immediately ? ' OR (attribute_not_exists(lockId) AND releasedBy = :seen)' : ''}) AND ${HAS_TIMES}${immediately ? ' AND acquiredAt <= :most' : ''}`,
    ExpressionAttributeValues: {
      ':seen': S(lockId),
      ':zero': N(0),
      ...(immediately && { ':two': N(2), ':most': N(MOST_ACQUIRED_AT) }),
    },
  };
}

/** leasehold wrote the item, which has two of leasehold's attributes. An item of the user's own may have one. */
const IS_OURS =
  '(attribute_exists(fencingToken) OR attribute_exists(lockId) OR attribute_exists(releasedBy)) AND ' +
  '(attribute_exists(acquiredAt) OR attribute_exists(leaseMs))';
/** The token, a moment or the `lockId` has no value that leasehold writes. */
const BROKEN =
  `NOT (${IS_LOCK}) OR NOT fencingToken BETWEEN :zero AND :most OR NOT expiresAt BETWEEN :zero AND :most ` +
  'OR NOT attribute_type(acquiredAt, :number) OR NOT acquiredAt BETWEEN :zero AND :mostAcquired ' +
  'OR (attribute_exists(lockId) AND (NOT attribute_type(lockId, :string) OR lockId = :none))';
const AS_SEEN = 'attribute_not_exists(lockId) AND fencingToken = :seenToken AND expiresAt = :seenExpiry';
/** No condition tells a fraction from a whole number. So a fraction is known by the whole numbers around what was seen. */
const AROUND_SEEN = 'fencingToken BETWEEN :token0 AND :token1 AND expiresAt BETWEEN :expiry0 AND :expiry1';
/** An attribute that is missing, or that is no number, is not greater than a number. */
const OPENS_IN_TIME = 'NOT (expiresAt > :opensAt AND expiresAt <= :most)';
const RAISES_TOKEN = 'NOT (fencingToken > :token AND fencingToken <= :most)';

export function repair({ seen, opensAt, fencingToken, broken }: RepairRequest, table: TableShape): Write {
  const values = { ':opensAt': N(opensAt), ':token': N(fencingToken), ':ttl': table.ttl(opensAt) };
  const update = 'SET expiresAt = :opensAt, fencingToken = :token, #ttl = :ttl';
  const ExpressionAttributeNames = { '#ttl': table.ttlAttribute };
  if (broken === undefined) {
    return {
      UpdateExpression: `${update}${FORGET_TOOK_OVER}, lockId`,
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
  return {
    UpdateExpression: `${update}, acquiredAt = :acquiredAt${FORGET_TOOK_OVER}, lockId`,
    ConditionExpression: [
      IS_OURS,
      seen ? `(${BROKEN} OR (${AROUND_SEEN}))` : `(${BROKEN})`,
      ...(immediately ? [] : [OPENS_IN_TIME]),
      ...(lowersToken ? [] : [RAISES_TOKEN]),
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
      ...(seen && {
        ':token0': N(Math.floor(seen.fencingToken)),
        ':token1': N(Math.ceil(seen.fencingToken)),
        ':expiry0': N(Math.floor(seen.expiresAt)),
        ':expiry1': N(Math.ceil(seen.expiresAt)),
      }),
    },
  };
}
