import { isCountable, type LockRecord, type Takeover, uncountableIn } from '../record/record.ts';
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
 * Reads the record of a lock.
 * @param foreign makes the error for a hash that is no record of a lock.
 */
export function parse(key: string, fields: Fields, foreign: (why: string) => Error): LockRecord {
  const text = (name: string): string | undefined => fields.get(name) || undefined;
  const number = (name: string): number => {
    const value = fields.get(name);
    if (value !== undefined && /^-?\d+\.?\d*$/.test(value)) return Number(value);
    throw foreign(`its ${name} is ${value === undefined ? 'missing' : 'no number'}`);
  };
  const record = { fencingToken: number('fencingToken'), expiresAt: number('expiresAt') };
  const count = (name: string): number | undefined => {
    const value = text(name);
    return value !== undefined && isCountable(Number(value)) ? Number(value) : undefined;
  };
  const committedNumber = text('committedNumber');
  return {
    key,
    lockId: text('lockId'),
    owner: text('owner'),
    ...record,
    acquiredAt: number('acquiredAt'),
    leaseMs: Number(text('leaseMs') ?? 0),
    releasedBy: text('releasedBy'),
    tookOver: tookOver(text),
    doneToken: text('doneToken'),
    doneResult: text('doneResult'),
    data: text('data'),
    asked: count('asked'),
    serving: count('serving'),
    served: count('served'),
    committed:
      committedNumber === undefined
        ? undefined
        : {
            data: fields.get('committedData') ?? '',
            number: Number(committedNumber),
            fencingToken: Number(text('committedToken')),
          },
    flaw: flawIn(record, text('doneToken')),
  };
}

/** Tells a value that requests are judged by, and that leasehold does not write: somebody has changed the hash. */
function flawIn(record: Parameters<typeof uncountableIn>[0], doneToken: string | undefined): string | undefined {
  const isToken = doneToken === undefined || isCanonical(doneToken);
  return uncountableIn(record) ?? (isToken ? undefined : 'doneToken is a text that leasehold did not write');
}

/** Reads the state that a grant replaced. An expiry of 0 stands for no record. */
function tookOver(text: (name: string) => string | undefined): Takeover | undefined {
  const expiresAt = text('previousExpiresAt');
  if (expiresAt === undefined) return undefined;
  if (expiresAt === '0') return { type: 'nothing' };
  const lockId = text('previousLockId');
  const replaced = {
    owner: text('previousOwner'),
    acquiredAt: Number(text('previousAcquiredAt') ?? 0),
    expiresAt: Number(expiresAt),
  };
  return lockId === undefined ? { type: 'closed', ...replaced } : { type: 'lease', lockId, ...replaced };
}
