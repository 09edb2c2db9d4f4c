// The conditions of lib/record/transitions.ts as expressions of DynamoDB, one conditional UpdateItem for each operation of a
// lease. lib/dynamodb/operator-writes.ts has the others.

import type { AttributeValue, UpdateItemCommandInput } from '@aws-sdk/client-dynamodb';
import { MOST_COUNTABLE } from '../record/record.ts';
import type {
  AcquireRequest,
  AskRequest,
  CommitRequest,
  GiveBackRequest,
  ReleaseRequest,
  RenewRequest,
  TurnRequest,
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
const FORGET_TOOK_OVER = ' REMOVE previousLockId, previousOwner, previousAcquiredAt, previousExpiresAt';
/** Removes what stands in a record only under a grant. */
export const END = `${FORGET_TOOK_OVER}, serving, lockId`;
/** A coalescing grant counts as an ask, which its first run serves (invariant 15). */
const ASK = ', asked = if_not_exists(asked, :zero) + :one, serving = if_not_exists(asked, :zero) + :one';
const ASKABLE = '(attribute_not_exists(asked) OR asked BETWEEN :zero AND :most)';
const OWED = '(asked BETWEEN :one AND :most AND (attribute_not_exists(served) OR asked > served))';

export function acquire(request: AcquireRequest, table: TableShape): Write {
  const { lockId, owner, now, until, leaseMs, once, data, coalesce } = request;
  const gone = [...(data === undefined ? ['#data'] : []), ...(coalesce === undefined ? ['serving'] : [])];
  const demands = [
    ...(once === undefined ? [] : [NOT_DONE]),
    ...(coalesce === undefined ? [] : [coalesce === 'ifOwed' ? OWED : ASKABLE]),
  ];
  return {
    UpdateExpression: [
      GRANT,
      data === undefined ? '' : ', #data = :data',
      coalesce === undefined ? '' : ASK,
      gone.length === 0 ? '' : ` REMOVE ${gone.join(', ')}`,
    ].join(''),
    ConditionExpression: demands.length === 0 ? FREE : [`(${FREE})`, ...demands].join(' AND '),
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

export function release(request: ReleaseRequest, table: TableShape): Write {
  const { lockId, now, holdAtLeastMs, doneToken, doneResult, served } = request;
  const set = [
    'SET releasedBy = :me, expiresAt = acquiredAt + :hold, #ttl = :ttl',
    ...(doneToken === undefined ? [] : ['doneToken = :done']),
    ...(doneResult === undefined ? [] : ['doneResult = :result']),
    ...(served === undefined ? [] : ['served = :served']),
  ];
  return {
    // The expiry is at least 1 ms past the acquisition, never 0. So it turns away every acquire that was sent before
    // (invariant 3).
    UpdateExpression: `${set.join(', ')}${END}${doneToken !== undefined && doneResult === undefined ? ', doneResult' : ''}`,
    // Invariant 9: nobody releases another holder's grant. Invariant 15: nobody who asked is forgotten.
    ConditionExpression: served === undefined ? MINE : `${MINE} AND serving = :served AND asked = :served`,
    ExpressionAttributeNames: { '#ttl': table.ttlAttribute },
    ExpressionAttributeValues: {
      ':me': S(lockId),
      ':hold': N(Math.max(1, holdAtLeastMs)),
      ':ttl': table.ttl(now + holdAtLeastMs),
      ...(doneToken !== undefined && { ':done': S(doneToken) }),
      ...(doneResult !== undefined && { ':result': S(doneResult) }),
      ...(served !== undefined && { ':served': N(served) }),
    },
  };
}

export function ask({ seen, serving }: AskRequest): Write {
  return {
    UpdateExpression: 'SET asked = :next',
    ConditionExpression: 'lockId = :seen AND serving = :serving AND asked = :serving',
    ExpressionAttributeValues: { ':seen': S(seen), ':serving': N(serving), ':next': N(serving + 1) },
    ReturnValues: 'ALL_NEW',
  };
}

export function turn({ lockId, serving }: TurnRequest): Write {
  return {
    UpdateExpression: 'SET serving = :serving',
    ConditionExpression: `${MINE} AND (attribute_not_exists(serving) OR serving < :serving) AND asked >= :serving`,
    ExpressionAttributeValues: { ':me': S(lockId), ':serving': N(serving) },
    ReturnValues: 'ALL_NEW',
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
    // The holder of the lease that is restored keeps `serving`.
    UpdateExpression: set + (restored ? `, lockId = :restored${FORGET_TOOK_OVER}` : END),
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
