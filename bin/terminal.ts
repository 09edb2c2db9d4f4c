/** Prints for people: escapes, colours, widths, times, questions, and the exit status of what went wrong. */
import { createInterface } from 'node:readline/promises';
import { styleText } from 'node:util';
import { CommanderError, Help } from 'commander';
import widthOf from 'fast-string-truncated-width';
import { MOST_MS, printable } from '../lib/record/check.ts';
import { inOwnWords } from './own-words.ts';

/** Wrong usage, told with the way to the help. */
export class UsageError extends Error {}

/** The exit statuses, besides 0 and 1. Those of a failed output are those of `sysexits.h`, and of a shell after SIGPIPE. */
export const STATUS = { usage: 2, store: 3, output: 74, closedPipe: 141 } as const;

/** Prints one line. Others choose keys, owners and data, and must not rule the operator's terminal. */
export const print = (line: string): void => console.log(printable(line));
export const warn = (line: string): void => console.error(printable(line));

/** Ends the process if nobody reads its output, or if the output cannot be written. An answer that is cut off is no success. */
export function guardOutput(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    const isClosed = error.code === 'EPIPE';
    if (!isClosed) warn(`leasehold: the output could not be written: ${error.message}. Is the disk full?`);
    process.exit(isClosed ? STATUS.closedPipe : STATUS.output);
  });
  process.stderr.on('error', () => {});
}

/** The signals by which a terminal, a supervisor or an operator stops a program. */
export const STOP_SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

/** Aborts at the first signal to stop, which then does not end the process. */
export function untilStopped(): AbortSignal {
  const stopping = new AbortController();
  for (const signal of STOP_SIGNALS) process.once(signal, () => stopping.abort());
  return stopping.signal;
}

/** Tells an error. Returns the exit status. */
export function statusOf(error: unknown): number {
  // Commander has told its own error, and shown its help.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : STATUS.usage;
  const isUsage = error instanceof UsageError || error instanceof TypeError;
  warn(`leasehold: ${inOwnWords(error instanceof Error ? error.message : String(error))}`);
  if (isUsage) warn('leasehold --help shows the commands; leasehold COMMAND --help shows the options of one.');
  return isUsage ? STATUS.usage : STATUS.store;
}

/** The width of a terminal. Undefined if the output goes elsewhere, where nothing is cut. */
export const columns = (stream: NodeJS.WriteStream): number | undefined => {
  if (!stream.isTTY) return undefined;
  return stream.columns || Number(process.env.COLUMNS) || 80;
};

export const helpWidth = (stream: NodeJS.WriteStream): number => Math.min(100, columns(stream) ?? 100);

/** Breaks a paragraph of the help into lines. */
export const paragraph = (text: string): string => `\n${new Help().boxWrap(text, helpWidth(process.stdout))}`;

type Style = 'bold' | 'dim' | 'green' | 'red' | 'yellow';

/** Colours a text that is safe to print, unless the output is no terminal, or `NO_COLOR` is set. */
export const styled = (style: Style, text: string): string =>
  process.stdout.isTTY && process.stdout.hasColors() ? styleText(style, text) : text;

/** Cuts or fills a text to a width in columns of the terminal. */
export function fitted(text: string, width: number): string {
  const { truncated, index } = widthOf(text, { limit: width, ellipsis: '…', ellipsisWidth: 1 });
  const cut = truncated ? `${text.slice(0, index)}…` : text;
  return cut + ' '.repeat(Math.max(0, width - textWidth(cut)));
}

/** The width of a text in columns of the terminal. */
export const textWidth = (text: string): number => widthOf(text).width;

/** A damaged record may have a number that is no moment. */
export const shownTime = (ms: number): string => {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? String(ms) : date.toISOString();
};

const UNITS = [
  [86_400, 'd'],
  [3_600, 'h'],
  [60, 'min'],
  [1, 's'],
] as const;

/** A duration for people, in at most two units: `7 s`, `3 min 20 s`, `2 d 4 h`. Parts of a second are rounded up. */
export function shownDuration(ms: number): string {
  // No option names a longer time: the record is damaged.
  if (ms > MOST_MS) return '100+ years';
  let seconds = Math.max(0, Math.ceil(ms / 1000));
  const first = UNITS.findIndex(([size]) => seconds >= size);
  if (first === -1) return '0 s';
  const parts: string[] = [];
  for (const [size, unit] of UNITS.slice(first, first + 2)) {
    const count = Math.floor(seconds / size);
    seconds -= count * size;
    if (count > 0) parts.push(`${count} ${unit}`);
  }
  return parts.join(' ');
}

/** The time by which a clock is off, and the side: `2 h ahead of`. */
export const offBy = (ms: number): string => `${shownDuration(Math.abs(ms))} ${ms > 0 ? 'ahead of' : 'behind'}`;

/** `7 s`, or further ahead `2 h (at 2026-01-01T02:00:00.000Z)`. */
export const inTime = (ms: number): string => {
  const date = new Date(Date.now() + ms);
  const isNear = ms < 3_600_000 || Number.isNaN(date.getTime());
  return `${shownDuration(ms)}${isNear ? '' : ` (at ${date.toISOString()})`}`;
};

/** Asks on the terminal. Anything but y or yes is a no, and so is the end of the input. */
export async function confirmed(question: string): Promise<boolean> {
  const asking = createInterface({ input: process.stdin, output: process.stderr });
  const closed = new Promise<string>((resolve) => asking.once('close', () => resolve('')));
  try {
    return /^y(es)?$/i.test((await Promise.race([asking.question(`${printable(question)} [y/N] `), closed])).trim());
  } finally {
    asking.close();
  }
}
