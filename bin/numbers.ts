/** Options of commands that are numbers. */
import { InvalidArgumentError, Option } from 'commander';
import { show } from '../lib/record/check.ts';

/**
 * Makes the parser of a number.
 * @param kind the numbers that the parser takes, for the message.
 */
export const parserOf =
  (kind: string, isOne: (value: number) => boolean) =>
  (text: string): number => {
    const value = Number(text || Number.NaN);
    if (isOne(value)) return value;
    throw new InvalidArgumentError(`It must be ${kind}, but it is ${show(text)}.`);
  };

/** Makes the parser of a number within bounds. */
export const parserBetween = (kind: string, least: number, most: number) =>
  parserOf(`${kind} from ${least} to ${most}`, (value) => value >= least && value <= most);

/** Makes an option that is typed in seconds and read in milliseconds. */
export const secondsOption = (
  flags: string,
  description: string,
  parse: (text: string) => number,
  standard: number,
): Option =>
  new Option(flags, description)
    .argParser((text) => Math.round(parse(text) * 1000))
    .default(standard * 1000, String(standard));
