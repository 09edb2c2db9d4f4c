import { REPAIR_IT } from '../record/errors.ts';
import { type Numeric, type Text, takeoverIn, wasLock } from '../record/fields.ts';
import { type Committed, isCountable, type LockRecord, MOST_ACQUIRED_AT, MOST_COUNTABLE } from '../record/record.ts';
import { isCanonical } from '../record/token.ts';

/** The fields of a lock's hash. */
export type Fields = ReadonlyMap<string, string>;

/** Reads the fields of a hash from an answer: names and values in turn. A client may be set to give buffers for texts. */
export function fieldsOf(flat: readonly unknown[]): Fields {
  const fields = new Map<string, string>();
  for (let i = 0; i + 1 < flat.length; i += 2) fields.set(String(flat[i]), String(flat[i + 1]));
  return fields;
}

/**
 * Reads the record of a lock. A field that judges no request is left out if it has no value that leasehold writes: one bad
 * field hides no lock. A value that requests are judged by, and that leasehold cannot have written, is told as `flaw`.
 * @param foreign makes the error for a hash that is no record of a lock. `hint` is the thing to do, if the hash was a lock.
 */
export function parse(key: string, fields: Fields, foreign: (why: string, hint?: string) => Error): LockRecord {
  const text = (name: string): string | undefined => fields.get(name) || undefined;
  const number = (name: string): number | undefined => {
    const value = fields.get(name);
    return value !== undefined && NUMBER.test(value) ? Number(value) : undefined;
  };
  const judging = (name: string): number => {
    const value = number(name);
    if (value !== undefined) return value;
    const hint = wasLock((field) => fields.has(field)) ? REPAIR_IT : undefined;
    throw foreign(`its ${name} is ${fields.has(name) ? 'no number' : 'missing'}`, hint);
  };
  const count = (name: string): number | undefined => {
    const value = text(name);
    return value !== undefined && isCountable(Number(value)) ? Number(value) : undefined;
  };
  return {
    key,
    lockId: text('lockId'),
    owner: text('owner'),
    fencingToken: judging('fencingToken'),
    expiresAt: judging('expiresAt'),
    acquiredAt: number('acquiredAt') ?? 0,
    leaseMs: number('leaseMs') ?? 0,
    releasedBy: text('releasedBy'),
    tookOver: takeoverIn(text, number),
    doneToken: text('doneToken'),
    doneResult: text('doneResult'),
    data: text('data'),
    asked: count('asked'),
    serving: count('serving'),
    served: count('served'),
    committed: committed(text, number),
    flaw: flawIn(fields),
  };
}

/** A number as the script reads one. */
const NUMBER = /^-?\d+\.?\d*$/;

/** Tells a value that requests are judged by, and that leasehold does not write: somebody has changed the hash. */
function flawIn(fields: Fields): string | undefined {
  for (const name of ['fencingToken', 'expiresAt']) {
    const value = fields.get(name) ?? '';
    // The script compares no number that has a point.
    const isWhole = /^\d+$/.test(value) && isCountable(Number(value));
    if (!isWhole) return `${name} is ${shown(value)}, which is no whole number from 0 to ${MOST_COUNTABLE}`;
  }
  const acquiredAt = fields.get('acquiredAt');
  // A forced release needs the acquisition, and a release the id. Only a repair mends the two.
  const isMoment = acquiredAt !== undefined && NUMBER.test(acquiredAt);
  if (!isMoment) return `acquiredAt is ${acquiredAt === undefined ? 'missing' : 'no number'}`;
  if (!(Number(acquiredAt) >= 0 && Number(acquiredAt) <= MOST_ACQUIRED_AT)) return `acquiredAt is ${shown(acquiredAt)}`;
  if (fields.get('lockId') === '') return 'lockId is empty';
  const doneToken = fields.get('doneToken') || undefined;
  const isToken = doneToken === undefined || isCanonical(doneToken);
  return isToken ? undefined : 'doneToken is a text that leasehold did not write';
}

/** A number of a hash in a message. Somebody may have written a long one. */
const shown = (digits: string): string => (digits.length <= 40 ? digits : `${digits.slice(0, 40)}…`);

function committed(text: Text, number: Numeric): Committed | undefined {
  const [count, fencingToken] = [number('committedNumber'), number('committedToken')];
  return count === undefined || fencingToken === undefined
    ? undefined
    : { data: text('committedData') ?? '', number: count, fencingToken };
}
