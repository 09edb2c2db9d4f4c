// The names and the layout of a lock table. The store, the middleware, the command and the constructs take them, and the
// checks stand here once.

import {
  KEY_ATTRIBUTE,
  LOCK_KEY_ATTRIBUTE,
  LOCK_SORT_KEY,
  LOCK_TTL_ATTRIBUTE,
  RECORD_ATTRIBUTES,
  TTL_ATTRIBUTE,
} from '../names.ts';
import { checkText, checkThat, show } from '../record/check.ts';

/** The sort key that all locks of a table have. */
export interface SortKey {
  readonly name: string;
  readonly value: string;
}

/** The attributes of a table that leasehold did not make. */
export interface TableLayout {
  readonly keyAttribute?: string | undefined;
  readonly sortKey?: SortKey | undefined;
  readonly ttlAttribute?: string | undefined;
}

/** A hundred years: the moments that DynamoDB's TTL reads stay dates of this calendar. */
const MAX_RETENTION_DAYS = 36_500;

const TABLE_NAME = /^[\w.-]{3,255}$/;
const TABLE_ARN = /^arn:[^:\s]+:dynamodb:[^:\s]+:[^:\s]+:table\/[\w.-]{3,255}$/;
export const isTableName = (name: string): boolean => TABLE_NAME.test(name);
export const isTableArn = (arn: string): boolean => TABLE_ARN.test(arn);

/** @throws TypeError that shows the value, if no table can have this name or ARN. */
export function checkTableName(tableName: unknown): string {
  const name = checkText('tableName', tableName);
  const kind = "the table's ARN, or 3 to 255 letters, digits, '_', '-' and '.'";
  checkThat(isTableName(name) || isTableArn(name), 'tableName', kind, name);
  return name;
}

export const isRetention = (days: unknown): days is number =>
  typeof days === 'number' && days >= 1 && days <= MAX_RETENTION_DAYS;
export const RETENTION = `number of days from 1 to ${MAX_RETENTION_DAYS} (100 years)`;

/**
 * Checks the names of a table's attributes. leasehold writes its own attributes, and DynamoDB changes no key: a lock would be
 * granted and could never be released.
 * @returns the layout, with its defaults filled in.
 * @throws TypeError that shows the value.
 */
export function checkLayout(layout: TableLayout): TableLayout & { keyAttribute: string; ttlAttribute: string } {
  const { keyAttribute = KEY_ATTRIBUTE, sortKey, ttlAttribute = TTL_ATTRIBUTE } = layout;
  const names = [
    ['keyAttribute', keyAttribute],
    ...(sortKey === undefined ? [] : [['sortKey.name', sortKey?.name] as const]),
    ['ttlAttribute', ttlAttribute],
  ] as const;
  for (const [index, [option, name]] of names.entries()) {
    checkText(option, name);
    if (RECORD_ATTRIBUTES.includes(name)) {
      const reason =
        option === 'ttlAttribute' && name === 'expiresAt'
          ? 'it in milliseconds, and DynamoDB reads a TTL in seconds'
          : 'an attribute of that name in each record';
      throw new TypeError(`${option} must not be ${show(name)}: leasehold writes ${reason}.`);
    }
    const [same] = names.slice(0, index).find((other) => other[1] === name) ?? [];
    if (same) throw new TypeError(`${option} must differ from ${same}, but both are ${show(name)}.`);
  }
  if (sortKey !== undefined) checkText('sortKey.value', sortKey.value);
  return { keyAttribute, sortKey, ttlAttribute };
}

/**
 * Reads a sort key from an environment variable or from the command line: `NAME=VALUE`.
 * @throws TypeError that shows the text.
 */
export function parseSortKey(what: string, text: string): SortKey {
  const [, name, value] = /^([^=]+)=(.+)$/s.exec(text) ?? [];
  checkThat(name !== undefined && value !== undefined, what, 'NAME=VALUE, such as SK=LOCK', text);
  return { name, value };
}

/** The environment variables that tell a function the layout of its table. */
export function layoutVariables({ keyAttribute, sortKey, ttlAttribute }: TableLayout): Record<string, string> {
  return {
    ...(keyAttribute !== undefined && { [LOCK_KEY_ATTRIBUTE]: keyAttribute }),
    ...(sortKey && { [LOCK_SORT_KEY]: `${sortKey.name}=${sortKey.value}` }),
    ...(ttlAttribute !== undefined && { [LOCK_TTL_ATTRIBUTE]: ttlAttribute }),
  };
}

/** Reads the layout that `layoutVariables` wrote. An empty variable counts as none. */
export function layoutIn(environment: Readonly<Record<string, string | undefined>>): TableLayout {
  const sortKey = environment[LOCK_SORT_KEY];
  return {
    keyAttribute: environment[LOCK_KEY_ATTRIBUTE] || undefined,
    sortKey: sortKey ? parseSortKey(LOCK_SORT_KEY, sortKey) : undefined,
    ttlAttribute: environment[LOCK_TTL_ATTRIBUTE] || undefined,
  };
}
