/**
 * The record of a demo: a folder with an append-only file of JSON lines for each process. The file of a Lambda is its log.
 * The file of the demo lists its own doings. All files are written on one machine, by one clock.
 */
import { appendFileSync, closeSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { tasks } from '../lambda/tasks.ts';
import type { LockEvent } from '../lib/index.ts';

/** A line that the handler logs. `held` is true if the handler still had the lease when it stopped. */
type WorkLine =
  | { type: 'step'; at: number; key: string; fencingToken: number; step: number; steps: number }
  | { type: 'ended'; at: number; key: string; fencingToken: number; held: boolean };

/** A line for a deed of the demo. */
type DemoLine = { type: 'invoked' | 'killed' | 'frozen' | 'thawed' | 'responded'; at: number; lambda: number };

export type Entry = (LockEvent | WorkLine | DemoLine) & { lambda: number };

/** The names of the tasks. The workers also lock marks for finished ranges of tasks, which are no tasks. */
const names = new Set(tasks.map(({ name }) => name));

export const logFile = (folder: string, lambda: number): string => join(folder, `lambda-${lambda}.jsonl`);

/** Writes down a deed of the demo to a Lambda. */
export function writeDown(folder: string, type: DemoLine['type'], lambda: number): void {
  appendFileSync(join(folder, 'demo.jsonl'), `${JSON.stringify({ type, at: Date.now(), lambda })}\n`);
}

/** Reads a record, also while it is being written. */
export class RecordReader {
  readonly #folder: string;
  /** The number of bytes of each file that have been read. */
  readonly #offsets = new Map<string, number>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Reads the entries that were written since the last call, in the order of time. */
  poll(): Entry[] {
    const files = readdirSync(this.#folder).filter((file) => file.endsWith('.jsonl'));
    return files.flatMap((file) => this.#pollFile(file)).sort((a, b) => a.at - b.at);
  }

  #pollFile(file: string): Entry[] {
    const offset = this.#offsets.get(file) ?? 0;
    const added = readFrom(join(this.#folder, file), offset);
    // A line without its end is still being written, or its writer was killed in the middle of the line.
    const length = added.lastIndexOf('\n') + 1;
    this.#offsets.set(file, offset + length);
    const lambda = Number(/^lambda-(\d+)/.exec(file)?.[1]);
    const lines = added.subarray(0, length).toString().split('\n').slice(0, -1);
    return lines
      .map((line) => JSON.parse(line))
      .filter((line) => 'type' in line && (line.key === undefined || names.has(taskOf(line.key))))
      .map((line) => (lambda ? { ...line, lambda } : line));
  }
}

function readFrom(path: string, offset: number): Buffer {
  const file = openSync(path, 'r');
  try {
    const buffer = Buffer.alloc(Math.max(0, fstatSync(file).size - offset));
    return buffer.subarray(0, readSync(file, buffer, 0, buffer.length, offset));
  } finally {
    closeSync(file);
  }
}

/** One grant of a task's lock, and its end. Moments are milliseconds since the epoch. */
export interface Run {
  readonly task: string;
  readonly lambda: number;
  readonly fencingToken: number;
  /** The Lambda whose lease was taken over. */
  readonly takenOverFrom: number | undefined;
  readonly grantedAt: number;
  /** The end of the Lambda's belief: the end of its work, its death, or its deadline. */
  readonly believedUntil: number;
  /** The expiry: the lock was closed to others until then, if nobody released the lease. */
  readonly expiresAt: number;
  readonly end: 'done' | 'killed' | 'lost' | 'unfinished';
  /** The moment of each step of the work. */
  readonly stepsAt: readonly number[];
  readonly steps: number;
}

export const taskOf = (key: string): string => key.replace(/^tasks\//, '');

/** Finds the runs in a record, in the order of their grants. */
export function runsOf(entries: readonly Entry[]): Run[] {
  const lambdaOf = new Map<string | undefined, number>();
  for (const entry of entries) if (entry.type === 'acquired') lambdaOf.set(entry.owner, entry.lambda);
  const grants = entries.filter((entry) => entry.type === 'acquired');
  return grants
    .map((grant): Run => {
      const { key, lambda, fencingToken, at: grantedAt, takenOverFrom } = grant;
      const mine = entries.filter(
        (entry) =>
          entry.lambda === lambda &&
          'key' in entry &&
          entry.key === key &&
          'fencingToken' in entry &&
          entry.fencingToken === fencingToken,
      );
      const terms = mine.filter((entry) => entry.type === 'acquired' || entry.type === 'renewed');
      const steps = mine.filter((entry) => entry.type === 'step');
      const ended = mine.find((entry) => entry.type === 'ended');
      const death = entries.find(
        (entry) => entry.type === 'killed' && entry.lambda === lambda && entry.at >= grantedAt,
      );
      const deadline = Math.max(...terms.map((term) => term.deadline));
      return {
        task: taskOf(key),
        lambda,
        fencingToken,
        takenOverFrom: takenOverFrom && lambdaOf.get(takenOverFrom.owner),
        grantedAt,
        believedUntil: Math.min(deadline, ended?.at ?? death?.at ?? deadline),
        expiresAt: Math.max(...terms.map((term) => term.expiresAt)),
        end: endOf(mine, death),
        stepsAt: steps.map((step) => step.at),
        steps: steps.at(-1)?.steps ?? 0,
      };
    })
    .sort((a, b) => a.grantedAt - b.grantedAt);
}

function endOf(mine: readonly Entry[], death: Entry | undefined): Run['end'] {
  if (mine.some((entry) => entry.type === 'released' && entry.done)) return 'done';
  if (mine.some((entry) => entry.type === 'lost')) return 'lost';
  return death && !mine.some((entry) => entry.type === 'ended') ? 'killed' : 'unfinished';
}

/** Lists each time that a Lambda met a task busy. */
export const busyTriesOf = (entries: readonly Entry[]): { task: string; lambda: number; at: number }[] =>
  entries.flatMap(({ lambda, ...entry }) =>
    entry.type === 'busy' ? [{ task: taskOf(entry.key), lambda, at: entry.at }] : [],
  );

/** The moment at which the first Lambda was invoked. */
export const startOf = (entries: readonly Entry[]): number =>
  Math.min(...entries.filter((entry) => entry.type === 'invoked').map((entry) => entry.at));
