import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import { show } from '../record/check.ts';
import { REPAIR_IT } from '../record/errors.ts';
import { type Numeric, type Text, takeoverIn, wasLock } from '../record/fields.ts';
import { type Committed, isCountable, type LockRecord, MOST_ACQUIRED_AT, MOST_COUNTABLE } from '../record/record.ts';
import { isCanonical } from '../record/token.ts';

/** An item of DynamoDB. */
export type Item = Record<string, AttributeValue>;

export const S = (value: string): AttributeValue => ({ S: value });
export const N = (value: number): AttributeValue => ({ N: String(value) });

/**
 * Reads the record of a lock from an item. An attribute that judges no request is left out if it has another type: one bad
 * attribute hides no lock. A value that requests are judged by, and that leasehold cannot have written, is told as `flaw`.
 * @param foreign makes the error for an item that is no record of a lock.
 */
export function parse(item: Item, keyAttribute: string, foreign: (key: string, why: string) => Error): LockRecord {
  const key = item[keyAttribute]?.S ?? '';
  const string = (name: string): string | undefined => item[name]?.S || undefined;
  const number = (name: string): number | undefined => (item[name]?.N === undefined ? undefined : Number(item[name].N));
  const judging = (name: string): number => {
    const value = number(name);
    if (value !== undefined) return value;
    const hint = wasLock((field) => field in item) ? REPAIR_IT : 'Use another key';
    throw foreign(key, `${name} is ${item[name] ? `of type ${Object.keys(item[name])}, not N` : 'missing'}. ${hint}.`);
  };
  return {
    key,
    lockId: string('lockId'),
    owner: string('owner'),
    fencingToken: judging('fencingToken'),
    expiresAt: judging('expiresAt'),
    acquiredAt: number('acquiredAt') ?? 0,
    leaseMs: number('leaseMs') ?? 0,
    releasedBy: string('releasedBy'),
    tookOver: takeoverIn(string, number),
    doneToken: string('doneToken'),
    doneResult: string('doneResult'),
    data: string('data'),
    asked: number('asked'),
    serving: number('serving'),
    served: number('served'),
    committed: committed(string, number),
    flaw: flawIn(item),
  };
}

function flawIn(item: Item): string | undefined {
  for (const name of ['fencingToken', 'expiresAt']) {
    const value = item[name]?.N;
    if (!isCountable(Number(value))) return `${name} is ${value}, which is no whole number from 0 to ${MOST_COUNTABLE}`;
  }
  const { acquiredAt, lockId, doneToken = S('') } = item;
  // A forced release needs the acquisition, and a release the id. Only a repair mends the two.
  if (!(Number(acquiredAt?.N) >= 0 && Number(acquiredAt?.N) <= MOST_ACQUIRED_AT)) {
    return `acquiredAt is ${acquiredAt?.N ?? (acquiredAt ? `of type ${Object.keys(acquiredAt)}, not N` : 'missing')}`;
  }
  if (lockId !== undefined && !lockId.S) {
    return `lockId is ${lockId.S === '' ? 'empty' : `of type ${Object.keys(lockId)}, not S`}`;
  }
  const { S: token } = doneToken;
  if (token === undefined) return `doneToken is of type ${Object.keys(doneToken)}, not S`;
  return token === '' || isCanonical(token) ? undefined : `doneToken is ${show(token)}, which leasehold did not write`;
}

function committed(string: Text, number: Numeric): Committed | undefined {
  const [data, count, fencingToken] = [string('committed'), number('commits'), number('committedToken')];
  return data === undefined || count === undefined || fencingToken === undefined
    ? undefined
    : { data, number: count, fencingToken };
}
