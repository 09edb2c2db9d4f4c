import { show } from '../record/check.ts';
import { LockStoreError } from '../record/errors.ts';
import { areCountable, isCountable, type LockRecord, MOST_ACQUIRED_AT, MOST_COUNTABLE } from '../record/record.ts';
import { isCanonical } from '../record/token.ts';

/** The content of an object or a file: the record of a lock, and the id of the write that put the record there. */
export interface Entry {
  /**
   * A random id for each write. So no two writes have the same bytes, and no two have the same version. A writer who reads
   * its own id back knows that its write was applied.
   */
  readonly writeId: string;
  readonly record: LockRecord;
}

/** The form of the content. A later form has another number. */
const FORM = 1;

/** Writes the content of an object or a file. */
export const encode = ({ writeId, record }: Entry): string => JSON.stringify({ leasehold: FORM, writeId, record });

/**
 * Reads the content of an object or a file.
 * @param where the place, as messages begin with it: `the object 's3://bucket/locks/nightly'`.
 * @throws LockStoreError if the content is no record of the lock `key`.
 */
export function decode(text: string, key: string, where: string): Entry {
  const foreign = (why: string) =>
    new LockStoreError(
      `${where} was not written by leasehold, or was changed, and is left as it is: ${why}. Use another key, or, if nobody holds the lock, delete it.`,
      { foreign: true },
    );
  let content: { leasehold?: unknown; writeId?: unknown; record?: Partial<LockRecord> } | null;
  try {
    content = JSON.parse(text);
  } catch {
    throw foreign('its content is no JSON');
  }
  if (content?.leasehold !== FORM) {
    throw foreign(`its field 'leasehold' is ${show(content?.leasehold)}, and this version of leasehold reads ${FORM}`);
  }
  const { writeId, record } = content;
  if (typeof writeId !== 'string' || typeof record !== 'object' || record === null) {
    throw foreign('its writeId or its record is missing');
  }
  if (record.key !== key) throw foreign(`its record is of the key ${show(record.key)}`);
  const { fencingToken, expiresAt } = record;
  if (typeof fencingToken !== 'number' || typeof expiresAt !== 'number') {
    throw foreign(
      `fencingToken is ${show(fencingToken)} and expiresAt is ${show(expiresAt)}, and both must be numbers`,
    );
  }
  const flaw = flawIn(record);
  // Only this reading tells of a flaw.
  const { flaw: _, ...rest } = record;
  return { writeId, record: { ...(rest as LockRecord), ...(flaw !== undefined && { flaw }) } };
}

/** Tells of a value that requests are judged by, and that leasehold cannot have written. */
function flawIn(record: Partial<LockRecord>): string | undefined {
  const { fencingToken = NaN, expiresAt = NaN, acquiredAt, lockId, doneToken } = record;
  if (!areCountable({ ...(record as LockRecord), fencingToken, expiresAt })) {
    const [name, value] = isCountable(fencingToken) ? ['expiresAt', expiresAt] : ['fencingToken', fencingToken];
    return `${name} is ${value}, which is no whole number from 0 to ${MOST_COUNTABLE}`;
  }
  if (!(typeof acquiredAt === 'number' && acquiredAt >= 0 && acquiredAt <= MOST_ACQUIRED_AT)) {
    return `acquiredAt is ${show(acquiredAt)}`;
  }
  if (lockId !== undefined && (typeof lockId !== 'string' || lockId === '')) return `lockId is ${show(lockId)}`;
  if (doneToken === undefined || (typeof doneToken === 'string' && isCanonical(doneToken))) return undefined;
  return `doneToken is ${show(doneToken)}, which leasehold did not write`;
}
