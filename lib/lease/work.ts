import { show } from '../record/check.ts';

/**
 * The options and the work of a call `(key, work)` or `(key, options, work)`. A function and an object cannot be confused:
 * callers without types may give them in the other order.
 * @param what the method, and its first parameter, for the message.
 * @throws TypeError that shows the value, if there is no work.
 */
export function optionsAndWork<Options, Work>(what: string, first: string, given: readonly unknown[]): [Options, Work] {
  const [options = {}, work] =
    given.length < 2 ? [{}, given[0]] : typeof given[0] === 'function' ? [given[1], given[0]] : given;
  if (typeof work === 'function') return [options as Options, work as Work];
  throw new TypeError(`${what} takes (${first}, work) or (${first}, options, work), but the work is ${show(work)}.`);
}
