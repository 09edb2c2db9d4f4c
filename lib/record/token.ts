// The order of `once` tokens. A store compares the bytes of two texts. So each token has one canonical text, whose order by
// the bytes of UTF-8 is the order of the tokens:
//
//     text      as it is; from `}~` on behind another `}~`, so that every text sorts before numbers and instants
//     number    `~n`, the number of digits in four digits, `:`, and the digits: `~n0002:10`
//     instant   `~t`, the time in UTC, and the fraction of the second without zeros at its end: `~t2026-01-01T02:00:00.5`
//
// Records, and the requests of a store, have canonical texts. People are shown tokens by `shownToken`.

import { checkText, checkThat, MAX_TEXT_BYTES, show } from './check.ts';

/**
 * A `once` token. Give all tokens of a lock in one form:
 * - An instant: a `Date`, or a date and a time with an offset in ISO 8601.
 * - A number, 0 or more: a safe integer, a `bigint`, or a string of digits of any length.
 * - Any other string of 1 to 1,024 bytes, in the order of its bytes in UTF-8.
 * @example
 * ```ts
 * import type { LockClient, OnceToken } from 'leasehold';
 *
 * export const importOnce = (locks: LockClient, once: OnceToken) =>
 *   locks.using('import', { once }, ({ signal }) => fetch('https://example.com/import', { method: 'POST', signal }));
 *
 * export const examples: OnceToken[] = [new Date(), '2026-01-01T02:00:00+01:00', 4711, '18849496460467696128', 'week-07'];
 * ```
 */
export type OnceToken = string | number | bigint | Date;

const NUMBER = '~n';
const INSTANT = '~t';
const HIGH_TEXT = '}~';

/** A date, a time and an offset, in ISO 8601's extended or basic form, with a suffix of RFC 9557 such as `[Europe/Rome]`. */
const DATE_TIME =
  /^(\d{4})-?(\d\d)-?(\d\d)[Tt ](\d\d)(?::?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?)? ?(?:[Zz]|([+-])(\d\d)(?::?(\d\d))?)(?:\[[^\]]+\])*$/;
/** The beginning of a date and a time: with an ordinal date, a week date or an expanded year, too. */
const BEGINS_AS_DATE_TIME = /^[+-]?\d{4,6}-?(?:\d\d-?\d\d|\d{3}|W\d\d-?\d)[Tt ]\d\d/;
/** The beginning of a date and a time that are written in another way: `2026/10/25, 2:30`, `2026-10-25_02:30`. */
const BEGINS_AS_LOCAL_TIME = /^\d{4}([-/.])\d\d?\1\d\d?\D{1,3}\d\d?:\d\d/;
/**
 * The beginning of `String(new Date())`, of a date of mail and HTTP, and of a date that begins with its day or its month
 * (`31.12.2026`, `12/31/2026`, `31 Dec 2026`). Their bytes have no order of time.
 */
const BEGINS_WITH_DAY =
  /^(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? (?:[A-Z][a-z]{2} )?\d\d|\d\d?[ ./-](?:\d\d?|[A-Z][a-z]{2})[ ./-](?:19|20)\d\d(?!\d))/;
const YEAR = '(?<!\\d)(?:19|20)\\d\\d(?!\\d)';
const DAY = '(?:0?[1-9]|[12]\\d|3[01])';
const MONTH = '(?:0?[1-9]|1[0-2])';
/**
 * A date that has its year at the end:
 * - Four digits behind a month, a quarter or a week: `12/2025`, `Q4-2025`. `10-2048` and `5_2000` are numbers of something.
 * - Two digits: `12/31/25`, `31-Dec-25`, `1.2.26 09:00`, `31.12.25`. Without a time, `1.2.26` is a version. `10.02.26` may
 *   be a version too, but is refused: an error is seen, and a run that is skipped because of a wrong order is not.
 */
const ENDS_WITH_YEAR = new RegExp(
  `^(?:${[
    `${MONTH}[ ./]${YEAR}`,
    `(?:Q[1-4]|W\\d\\d?)[ ./_-]${YEAR}`,
    `(?:${MONTH}/${DAY}|${DAY}/${MONTH})/\\d\\d`,
    '\\d\\d?[ -][A-Z][a-z]{2}[ -]\\d\\d',
    `${DAY}\\.${MONTH}\\.\\d\\d(?=,? \\d\\d?:)`,
    `(?=\\d\\d\\.\\d\\d\\.)${DAY}\\.${MONTH}\\.\\d\\d`,
  ].join('|')})(?=$|[ ,])`,
);
const MONTH_NAME =
  '(?<!\\p{L})(?:jan|febr?|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)(?:uary|ch|il|ust|(?:em)?ber|ober)?(?!\\p{L})';
/** The other parts of a date with the name of its month. */
const PARTS_OF_DATE =
  '(?:(?:sun|mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?)(?:day)?|[ap]\\.?m|st|nd|rd|th|at|utc|gmt|[\\dTZ]|[ ,./_:+-])*';
/** The English name of a month beside a year: `2026-Jan`, `January 1, 2026`, `report-mar-2026`. */
const NAMES_MONTH = new RegExp(`${MONTH_NAME}${PARTS_OF_DATE}${YEAR}|${YEAR}${PARTS_OF_DATE}${MONTH_NAME}`, 'iu');

/**
 * Gives the canonical text of a token.
 * @throws TypeError that shows the value, if it is no token.
 */
export function canonicalToken(value: unknown, name = 'once'): string {
  if (isDate(value)) return instant(name, value, value);
  if (typeof value === 'bigint' || typeof value === 'number') {
    const digits = String(value);
    if (typeof value === 'bigint' && digits.length > MAX_TEXT_BYTES) {
      throw new TypeError(`${name} must have at most ${MAX_TEXT_BYTES} digits, but it has ${digits.length}.`);
    }
    if ((typeof value === 'bigint' || Number.isSafeInteger(value)) && value >= 0) return number(digits);
    throw new TypeError(
      `${name} must be a whole number from 0 to ${Number.MAX_SAFE_INTEGER}, but it is ${value}. Give a larger number as a bigint or as a string of digits.`,
    );
  }
  if (value === undefined) {
    throw new TypeError(
      `${name} is given, but it is undefined: the value is missing, as with an event that has no time. Leave ${name} out only for work that may run every time.`,
    );
  }
  const text = checkText(name, value, 'a Date, a number or a string');
  if (/^\d+$/.test(text)) return number(text);
  const parts = DATE_TIME.exec(text);
  if (parts) return instantOf(name, text, parts);
  const hasNoOrder = [BEGINS_AS_DATE_TIME, BEGINS_AS_LOCAL_TIME, BEGINS_WITH_DAY, ENDS_WITH_YEAR, NAMES_MONTH];
  if (hasNoOrder.some((form) => form.test(text))) {
    throw new TypeError(
      `${name} must have its time in ISO 8601 with an offset, such as 2026-01-01T02:00:00+01:00, but it is ${show(text)}. A local time comes twice when the clocks go back; a date that does not begin with its year, or that names its month, has no order as text.`,
    );
  }
  return compare(text, HIGH_TEXT) < 0 ? text : HIGH_TEXT + text;
}

/** Tells a `Date` of any realm. */
function isDate(value: unknown): value is Date {
  try {
    Date.prototype.getTime.call(value);
    return true;
  } catch {
    return false;
  }
}

/** Gives a token from its canonical text as people read it. Its canonical text is the same again. */
export function shownToken(token: string): string;
export function shownToken(token: string | undefined): string | undefined;
export function shownToken(token: string | undefined): string | undefined {
  if (token?.startsWith(INSTANT)) return `${token.slice(INSTANT.length)}Z`;
  if (token?.startsWith(NUMBER)) return token.slice(token.indexOf(':') + 1);
  return token?.startsWith(HIGH_TEXT) ? token.slice(HIGH_TEXT.length) : token;
}

/** Tells whether a text is the canonical text of a token. Somebody else may have written the text into a record. */
export function isCanonical(text: string): boolean {
  try {
    return canonicalToken(shownToken(text)) === text;
  } catch {
    return false;
  }
}

/** Tells whether the work was done for a `once` token, or for a later token. Both are canonical texts. */
export const isDone = (once: string | undefined, doneToken: string | undefined): doneToken is string =>
  once !== undefined && doneToken !== undefined && compare(once, doneToken) <= 0;

/**
 * Tells whether two tokens have one form, so that their order means something. Both are canonical texts. Two texts have one
 * form if they have the same length and the same separators at the same places, and:
 * - Letters stand where letters stand, and digits where digits stand: `run-9` and `run-10` have two forms.
 * - Letters and digits may stand for one another in an identifier that mixes them, as a ULID or a hexadecimal number does.
 * - Behind a prefix that ends with `-`, two hexadecimal numbers have one form also if neither mixes them: `x-0010`, `x-abcd`.
 */
export function haveOneForm(one: string, other: string): boolean {
  const typeOf = (token: string) => (token.startsWith(INSTANT) || token.startsWith(NUMBER) ? token.slice(0, 2) : '');
  if (typeOf(one) || typeOf(other)) return typeOf(one) === typeOf(other);
  const texts = [shownToken(one), shownToken(other)];
  const [prefix, otherPrefix] = texts.map((text) => /^(.+-)[\da-f]+$/i.exec(text)?.[1]);
  const isHex = prefix !== undefined && prefix === otherPrefix;
  const isMixed = isHex || texts.some((text) => /\p{L}\p{N}|\p{N}\p{L}/u.test(text));
  const shapeOf = (token: string) => token.replace(/\p{L}/gu, 'a').replace(/\p{N}/gu, isMixed ? 'a' : '0');
  const [shape, otherShape] = texts.map(shapeOf);
  return shape === otherShape;
}

/** Compares the bytes of UTF-8, as DynamoDB does. JavaScript's own order differs beyond the Basic Multilingual Plane. */
const compare = (one: string, other: string): number => Buffer.compare(Buffer.from(one), Buffer.from(other));

function number(digits: string): string {
  const trimmed = digits.replace(/^0+(?=\d)/, '');
  return `${NUMBER}${String(trimmed.length).padStart(4, '0')}:${trimmed}`;
}

function instantOf(name: string, text: string, parts: RegExpExecArray): string {
  const [, year, month, day, hour, minute = '00', second = '00', fraction = ''] = parts;
  const [sign = '+', hours = '00', minutes = '00'] = parts.slice(8);
  const local = `${year}-${month}-${day}T${hour}:${minute}:${second}`;
  const at = new Date(`${local}${sign}${hours}:${minutes}`);
  // To a `Date`, the 30th of February is the 2nd of March, and 24:00 is a time of the next day.
  const isTime = !Number.isNaN(at.getTime()) && new Date(`${local}Z`).toISOString().startsWith(local);
  checkThat(isTime, name, 'a valid date and time', text);
  return instant(name, text, at, fraction);
}

/** @param fraction the digits of the fraction of the second. Default: those of the date. */
function instant(name: string, given: unknown, at: Date, fraction?: string): string {
  const iso = Number.isNaN(at.getTime()) ? '' : at.toISOString();
  const [, seconds, milliseconds] = /^(\d{4}-.{14})\.(\d+)Z$/.exec(iso) ?? [];
  checkThat(seconds !== undefined, name, 'a valid time in the years 0000 to 9999 of UTC', given);
  return `${INSTANT}${seconds}.${fraction ?? milliseconds}`.replace(/\.?0*$/, '');
}
