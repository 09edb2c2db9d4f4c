// The conditions of lib/record/transitions.ts as expressions of DynamoDB, one conditional UpdateItem for each operation of a
// lease. lib/dynamodb/operator-writes.ts has the others.

import type { AttributeValue, UpdateItemCommandInput } from '@aws-sdk/client-dynamodb';
import { MOST_COUNTABLE } from '../record/record.ts';
import type { AcquireRequest, CommitRequest, GiveBackRequest, ReleaseRequest, RenewRequest } from '../record/store.ts';
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
export const NONE = S('');

/** After any greater token, JavaScript could not tell the next tokens apart. */
export const COUNTABLE = 'fencingToken BETWEEN :zero AND :most';
export const COUNTS = { ':zero': N(0), ':most': N(MOST_COUNTABLE) };
const FREE = `attribute_not_exists(#key) OR (${COUNTABLE} AND expiresAt BETWEEN :zero AND :now AND lockId <> :me AND releasedBy <> :me)`;
const NOT_DONE = '(attribute_not_exists(doneToken) OR doneToken < :once)';
/** The random `lockId` proves that leasehold wrote the record. */
const MINE = 'lockId = :me';
const GRANT =
  'SET lockId = :me, #owner = :owner, expiresAt = :until, acquiredAt = :now, leaseMs = :leaseMs, #ttl = :ttl, ' +
  'fencingToken = if_not_exists(fencingToken, :now) + :one, previousLockId = if_not_exists(lockId, :none), ' +
  'previousOwner = if_not_exists(#owner, :none), previousAcquiredAt = if_not_exists(acquiredAt, :zero), ' +
  'previousExpiresAt = if_not_exists(expiresAt, :zero)';
export const FORGET_TOOK_OVER = ' REMOVE previousLockId, previousOwner, previousAcquiredAt, previousExpiresAt';

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

export function commit({ lockId, data, number }: CommitRequest): Write {
  return {
    // The token of the grant is copied by the server: the record's `lockId` is the grant's (invariant 14).
    UpdateExpression: 'SET committed = :data, commits = :number, committedToken = fencingToken',
    ConditionExpression: `${MINE} AND ${number === 1 ? 'attribute_not_exists(commits)' : 'commits = :before'}`,
    ExpressionAttributeValues: {
      ':me': S(lockId),
      ':data': S(data),
      ':number': N(number),
      ...(number > 1 && { ':before': N(number - 1) }),
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
