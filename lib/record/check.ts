/** The longest time that an option may name: a hundred years. So every moment in a record is a safe integer. */
export const MOST_MS = 100 * 365 * 86_400_000;
/** DynamoDB's limit on a sort key, and our limit on every text that names something. */
export const MAX_TEXT_BYTES = 1024;

/**
 * Escapes the characters of a text that are not printed: controls, line breaks, marks of direction, and halves of surrogate
 * pairs. Others may choose a key or an owner, and such characters would rule a reader's terminal or forge a line of a log.
 * The escapes `\u001b` are those of JSON, so escaped JSON is JSON.
 */
export const printable = (text: string): string =>
  text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) =>
    character.replace(/./gs, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`),
  );

/** Formats a value for a message: `'short text'`, `number 7`, `['a','b']`, `undefined`. */
export function show(value: unknown): string {
  if (typeof value === 'string')
    return `'${printable(value.length > 80 ? `${value.slice(0, 80).replace(/[\ud800-\udbff]$/, '')}…` : value)}'`;
  if (value == null) return String(value);
  try {
    if (Array.isArray(value)) {
      return `[${value.slice(0, 5).map((one) => (Array.isArray(one) ? '[…]' : show(one)))}${value.length > 5 ? ',…' : ''}]`;
    }
    return `${typeof value} ${printable(String(value))}`;
  } catch {
    return `${typeof value} that cannot be shown`;
  }
}

/**
 * Checks an argument.
 * @param kind the values that the argument may have.
 * @throws TypeError that shows the value, unless `isOne`.
 */
export function checkThat(isOne: boolean, name: string, kind: string, value: unknown): asserts isOne {
  if (!isOne) throw new TypeError(`${name} must be ${kind}, but it is ${show(value)}.`);
}

/** Checks that an option, or else the environment variable, names the place of the locks. */
export function checkNamed(name: string, thing: string, variable: string, value: unknown): void {
  if (value !== undefined && value !== '') return;
  throw new TypeError(
    `${name} is missing: give the ${thing}'s name, or set ${variable}, which is ${value === '' ? "''" : 'not set'}. A test calls installMemoryStore() first.`,
  );
}

export const checkFunction = (name: string, value: unknown): void =>
  checkThat(typeof value === 'function', name, 'a function', value);

/** The length of a text in UTF-8. */
export const bytes = (text: string): number => Buffer.byteLength(text);

/** @param unbounded true if Infinity may stand for "no bound". */
export function checkDuration(name: string, value: unknown, least: number, unbounded = false): number {
  const isWhole = Number.isInteger(value) && (value as number) >= least && (value as number) <= MOST_MS;
  if (isWhole || (unbounded && value === Infinity)) return value as number;
  throw new TypeError(
    `${name} must be a whole number of milliseconds from ${least} to ${MOST_MS} (100 years)${unbounded ? ', or Infinity' : ''}, but it is ${typeof value === 'number' ? value : show(value)}.`,
  );
}

/**
 * Checks a text that names something: well-formed Unicode, of 1 to 1,024 bytes of UTF-8.
 * @param kind the types that the value may have, for the message.
 */
export function checkText(name: string, value: unknown, kind = 'a string'): string {
  // A user's function may have given a promise in the place of a string. Nobody waits for the promise, which may reject.
  if (typeof value !== 'string') Promise.resolve(value).then(undefined, () => {});
  checkThat(typeof value === 'string', name, kind, value);
  if (value === '') throw new TypeError(`${name} must not be empty, but it is ''.`);
  if (bytes(value) > MAX_TEXT_BYTES) {
    throw new TypeError(`${name} must have at most ${MAX_TEXT_BYTES} bytes, but ${show(value)} has ${bytes(value)}.`);
  }
  // In UTF-8 the halves of all surrogate pairs are the same three bytes: three keys would be one lock.
  if (!value.isWellFormed()) {
    throw new TypeError(
      `${name} must be well-formed Unicode, but ${show(value)} has half of a surrogate pair: cut texts between characters.`,
    );
  }
  return value;
}

export const checkKey = (key: unknown): string => checkText('The key of a lock', key);

export function checkSignal(signal: AbortSignal | undefined): void {
  const isSignal = signal === undefined || typeof signal?.throwIfAborted === 'function';
  checkThat(isSignal, 'signal', 'an AbortSignal', signal);
}

/**
 * Checks that options are an object whose names are all known. A misspelled name would otherwise be ignored: a lock would
 * have no `once`, say.
 * @param what the function or class that takes the options, for the message.
 * @param known the known names, as the keys of an object, so that the compiler can compare the names with the options' type.
 * @throws TypeError that names the nearest known name, or all known names if none is near; or a known name that is no property
 * of the options' own.
 */
export function checkNames(what: string, options: unknown, known: Readonly<Record<string, unknown>>): void {
  if (!isPlain(options)) {
    throw new TypeError(`${what}: the options must be a plain object, but they are ${show(options)}.`);
  }
  const names = Object.keys(known);
  const inherited = names.find((name) => name in options && !Object.hasOwn(options, name));
  if (inherited !== undefined) {
    throw new TypeError(
      `${what}: the option '${inherited}' stands on the prototype of the options: a copy of the options would lose it. Give a plain object.`,
    );
  }
  const unknown = Object.keys(options).find((name) => !Object.hasOwn(known, name));
  if (unknown === undefined) return;
  const [nearest = ''] = names.toSorted((a, b) => editDistance(unknown, a) - editDistance(unknown, b));
  const isNear = editDistance(unknown, nearest) <= Math.max(unknown.length, nearest.length) / 2;
  throw new TypeError(
    `${what} has no option ${show(unknown)}; ${isNear ? `did you mean '${nearest}'?` : `it has ${names.sort().join(', ')}.`}`,
  );
}

/** Tells an object of any class or realm from what has contents of its own: an array, a `Map`, a `Date` or a signal. */
export const isPlain = (value: unknown): value is object => Object.prototype.toString.call(value) === '[object Object]';

/** Counts the insertions, deletions and substitutions between two texts, whatever their case: Levenshtein's distance. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, i) => i);
  for (const [i, a] of [...from.toLowerCase()].entries()) {
    const above = row;
    row = [i + 1];
    for (const [j, b] of [...to.toLowerCase()].entries()) {
      row.push(
        Math.min((above[j] as number) + (a === b ? 0 : 1), (above[j + 1] as number) + 1, (row[j] as number) + 1),
      );
    }
  }
  return row.at(-1) as number;
}
