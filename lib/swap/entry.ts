import { show } from '../record/check.ts';
import { LockStoreError, REPAIR_IT } from '../record/errors.ts';
import {
  type Committed,
  isCountable,
  type LockRecord,
  MOST_ACQUIRED_AT,
  type Takeover,
  uncountableIn,
} from '../record/record.ts';
import { isCanonical } from '../record/token.ts';

/** The content of an object or a file: the record of a lock, and the id of the write that put the record there. */
export interface Entry {
  /**
   * A random id for each write. So no two writes have the same bytes, and no two have the same version. A writer who reads
   * its own id back knows that its write was applied.
   */
  readonly writeId: string;
  readonly record: LockRecord;
  /**
   * Says what is wrong with the content of a lock whose token or expiry is no number (`NaN` in the record). No request but a
   * repair is judged by such a record, and nobody is given the record.
   */
  readonly damage?: string | undefined;
}

/** The form of the content. A later form has another number. */
const FORM = 1;

/** Writes the content of an object or a file. */
export const encode = ({ writeId, record }: Omit<Entry, 'damage'>): string =>
  JSON.stringify({ leasehold: FORM, writeId, record });

/**
 * Reads the content of an object or a file.
 * @param where the place, as messages begin with it: `the object 's3://bucket/locks/nightly'`.
 * @throws LockStoreError if the content is no record of the lock `key`.
 */
export function decode(text: string, key: string, where: string): Entry {
  const told = (why: string, hint: string) =>
    `${where} was not written by leasehold, or was changed, and is left as it is: ${why}. ${hint}.`;
  const foreign = (why: string) =>
    new LockStoreError(told(why, 'Use another key, or, if nobody holds the lock, delete it'), { foreign: true });
  let content: { leasehold?: unknown; writeId?: unknown; record?: Content } | null;
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
  const judging = { fencingToken: numberOf(fencingToken) ?? NaN, expiresAt: numberOf(expiresAt) ?? NaN };
  const entry = { writeId, record: recordOf(record, key, judging) };
  if (typeof fencingToken === 'number' && typeof expiresAt === 'number') return entry;
  const why = `fencingToken is ${show(fencingToken)} and expiresAt is ${show(expiresAt)}, and both must be numbers`;
  return { ...entry, damage: told(why, REPAIR_IT) };
}

type Content = { readonly [Name in keyof LockRecord]?: unknown };

/** Stands for a finished token that is no text. By its bytes no token is greater, and none is equal. */
const NO_TOKEN = '~\u{10ffff}';

/**
 * Reads the record. A value that judges no request is left out if it has another type: one bad value hides no lock. A value
 * that requests are judged by, and that leasehold cannot have written, is told as `flaw`.
 */
function recordOf(
  content: Content,
  key: string,
  judging: { readonly fencingToken: number; readonly expiresAt: number },
): LockRecord {
  const { acquiredAt, leaseMs, doneToken } = content;
  const hasNoText = doneToken !== undefined && typeof doneToken !== 'string';
  const record = {
    key,
    lockId: textOf(content.lockId),
    owner: textOf(content.owner),
    ...judging,
    acquiredAt: numberOf(acquiredAt) ?? 0,
    leaseMs: numberOf(leaseMs) ?? 0,
    releasedBy: textOf(content.releasedBy),
    tookOver: takeoverOf(content.tookOver),
    doneToken: hasNoText ? NO_TOKEN : textOf(doneToken),
    doneResult: textOf(content.doneResult),
    data: textOf(content.data),
    asked: countOf(content.asked),
    serving: countOf(content.serving),
    served: countOf(content.served),
    committed: committedOf(content.committed),
  };
  const flaw = flawIn(content, record);
  return flaw === undefined ? record : { ...record, flaw };
}

const textOf = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined);
/** Whoever writes a count that leasehold does not write takes the count away. */
const countOf = (value: unknown): number | undefined =>
  typeof value === 'number' && isCountable(value) ? value : undefined;
const numberOf = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined);

function takeoverOf(value: unknown): Takeover | undefined {
  const { type, lockId, owner, acquiredAt, expiresAt } = (value ?? {}) as { readonly [name: string]: unknown };
  if (type === 'nothing') return { type };
  if (typeof acquiredAt !== 'number' || typeof expiresAt !== 'number') return undefined;
  const replaced = { owner: textOf(owner), acquiredAt, expiresAt };
  if (type === 'lease' && typeof lockId === 'string') return { type, lockId, ...replaced };
  return type === 'closed' ? { type, ...replaced } : undefined;
}

function committedOf(value: unknown): Committed | undefined {
  const { data, number, fencingToken } = (value ?? {}) as { readonly [name: string]: unknown };
  const isWhole = typeof data === 'string' && typeof number === 'number' && typeof fencingToken === 'number';
  return isWhole ? { data, number, fencingToken } : undefined;
}

function flawIn({ acquiredAt, lockId, doneToken }: Content, record: LockRecord): string | undefined {
  const uncountable = uncountableIn(record);
  if (uncountable !== undefined) return uncountable;
  if (!(typeof acquiredAt === 'number' && acquiredAt >= 0 && acquiredAt <= MOST_ACQUIRED_AT)) {
    return `acquiredAt is ${show(acquiredAt)}`;
  }
  if (lockId !== undefined && record.lockId === undefined) return `lockId is ${show(lockId)}`;
  if (record.doneToken === undefined || isCanonical(record.doneToken)) return undefined;
  return `doneToken is ${show(doneToken)}, which leasehold did not write`;
}
