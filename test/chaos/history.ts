/**
 * The history of a run is a folder. Each process appends JSON lines to a file of its own. The lines survive a SIGKILL of
 * the process.
 *
 * The checker judges by one reference clock: CLOCK_MONOTONIC of the machine. All processes share this clock, nobody sets
 * it, and it goes on while a process is frozen. Each line also has the times of the process's own clocks, which may be
 * wrong.
 */
import { openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../../lib/index.ts';

/** The reference clock, in milliseconds with three decimals. */
export const referenceNow = (): number => Number(process.hrtime.bigint() / 1_000n) / 1_000;

interface Stamp {
  /** The writer: a process in one of its lives, such as `3.1`, or `server`, or `nemesis`. */
  readonly by: string;
  /** The moment by the reference clock. */
  readonly at: number;
  /** The moment by the writer's own wall clock, and below by its own monotonic clock. */
  readonly wall: number;
  readonly monotonic: number;
}

interface OfGrant {
  readonly key: string;
  readonly fencingToken: number;
}

/** The lines of a process. */
type ProcessLine =
  | { readonly type: 'started'; readonly pid: number; readonly clock: string }
  | { readonly type: 'attempt'; readonly key: string; readonly leaseMs: number; readonly waitMs: number }
  /** The process tries to resume a lease, which it or another process handed off. */
  | { readonly type: 'resuming'; readonly key: string; readonly handed: string }
  /** `once` is the token of the refused acquisition, and `doneToken` is the finished token that the process was told. */
  | {
      readonly type: 'refused';
      readonly key: string;
      readonly error: string;
      readonly once?: string | undefined;
      readonly doneToken?: string | undefined;
    }
  /** A request of the lock goes out. `since` is the beginning of the turn of the event loop that made the request. */
  | {
      readonly type: 'sent';
      readonly what: Operation;
      readonly key: string;
      readonly lockId: string;
      readonly until?: number | undefined;
      readonly since: number;
    }
  /** The process got a lease. `deadline` is by the writer's wall clock. */
  | (OfGrant & {
      readonly type: 'granted';
      readonly lockId: string;
      readonly leaseMs: number;
      readonly safetyMs: number;
      /** The `holdAtMostMs` of the acquisition, if any. */
      readonly atMostMs?: number | undefined;
      readonly deadline: number;
      readonly takenOver: boolean;
      readonly once?: string | undefined;
      /** The handed-off grant that the lease continues. */
      readonly handed?: string | undefined;
    })
  | (OfGrant & { readonly type: 'renewed'; readonly until: number; readonly deadline: number })
  /**
   * The process worked. With `asked`, `isHeld()` was true just after this moment; without, the process listens to the
   * signal.
   */
  | (OfGrant & { readonly type: 'work'; readonly asked: boolean })
  /** The lease's signal aborted. */
  | (OfGrant & { readonly type: 'lost'; readonly reason: string })
  | (OfGrant & { readonly type: 'releasing' })
  /** The process released the lease. `done` is the `once` token that the release marks as done. */
  | (OfGrant & { readonly type: 'released'; readonly known: boolean; readonly done?: string | undefined })
  | (OfGrant & { readonly type: 'handedOff'; readonly lockId: string })
  | (OfGrant & { readonly type: 'counted'; readonly counter: Counter; readonly id: string; readonly outcome: Outcome })
  /** The process is about to commit a value of the counter that stands in the lock's own record. */
  | (OfGrant & { readonly type: 'committing'; readonly id: string; readonly value: number })
  /** The process did not run between `from` and this line. It was frozen, or waited for a processor. */
  | { readonly type: 'stalled'; readonly from: number }
  /** The wall clock of the process was set. */
  | { readonly type: 'clockSet'; readonly offsetMs: number }
  | { readonly type: 'done'; readonly task: string; readonly key: string };

export type Operation = 'acquire' | 'renew' | 'release' | 'giveBack' | 'resume' | 'ask' | 'turn';
export type Counter = 'guarded' | 'unguarded';
/** `refused` means that the lock reported that nothing was written. */
export type Outcome = 'done' | 'refused' | 'unknown';

/** The operation of a request, by its values. Its condition may be the faulty part, and is not read. */
export function operationOf(values: Readonly<Record<string, unknown>>): Operation | undefined {
  if (values[':handed']) return 'resume';
  if (values[':owner'] && values[':leaseMs']) return 'acquire';
  if (values[':hold']) return 'release';
  if (values[':until']) return 'renew';
  if (values[':serving']) return values[':next'] ? 'ask' : 'turn';
  return values[':expiresAt'] ? 'giveBack' : undefined;
}

/** A lock's record on the server. */
export interface Kept {
  readonly lockId?: string | undefined;
  readonly fencingToken: number;
  readonly expiresAt: number;
  readonly acquiredAt: number;
  readonly releasedBy?: string | undefined;
  readonly doneToken?: string | undefined;
}

/**
 * The lines of the recording proxy, in the order of the server. `since` is the moment at which the proxy asked the
 * server.
 */
export type ServerLine =
  | {
      readonly type: 'served';
      readonly what: Operation;
      readonly key: string;
      /** The `lockId` of the request. */
      readonly lockId: string;
      /** The owner in the request, if any. */
      readonly owner?: string | undefined;
      readonly leaseMs?: number | undefined;
      /** The `once` token of an acquire. */
      readonly once?: string | undefined;
      /** The handed-off grant of a resume. */
      readonly handed?: string | undefined;
      readonly applied: boolean;
      /** The record after the request. Undefined if the server answered with an error, or if there is no record. */
      readonly record?: Kept | undefined;
      readonly since: number;
    }
  | (OfGrant & { readonly type: 'fenced'; readonly applied: boolean; readonly since: number })
  | {
      readonly type: 'counting';
      readonly counter: Counter;
      readonly key: string;
      readonly id: string;
      /** The new value of the counter. */
      readonly value: number;
      readonly applied: boolean;
      readonly since: number;
    };

/** The lines of the nemesis. */
type NemesisLine =
  | { readonly type: 'killed' | 'frozen' | 'thawed' | 'cut' | 'outage' | 'mended' | 'ended'; readonly process: string }
  | { readonly type: 'crashed'; readonly process: string; readonly how: string }
  | { readonly type: 'shifted'; readonly process: string; readonly offsetMs: number }
  /** A request of the process met a fault. */
  | { readonly type: 'fault'; readonly process: string; readonly fault: string; readonly operation: string }
  | { readonly type: 'serverFrozen' | 'serverThawed' | 'serverKilled' | 'serverRestarted' }
  /** The place of the locks. Only a recorded place has lines of its server in the history. */
  | { readonly type: 'place'; readonly store: string; readonly isRecorded: boolean }
  /** The value that stands in the record of a lock after the run. */
  | { readonly type: 'committed'; readonly key: string; readonly value: number }
  | { readonly type: 'task'; readonly task: string; readonly key: string }
  /** The nemesis does nothing after this line. */
  | { readonly type: 'calm' };

/** The lines of a process that uses what stands above a lock. Moments are by the reference clock. */
type AboveLine =
  /** Work begins, under a lease that is believed until a moment. At most `most` works of a group may be under way. */
  | {
      readonly type: 'begins';
      readonly work: string;
      readonly group: string;
      readonly most: number;
      readonly until: number;
    }
  | { readonly type: 'believes'; readonly work: string; readonly until: number }
  | { readonly type: 'ends'; readonly work: string }
  /** Something has happened of which the process is about to tell the coalescing lock. */
  | { readonly type: 'event'; readonly event: string }
  /** The process was told that a run serves the event, its own or that of another. */
  | { readonly type: 'eventServed'; readonly event: string }
  /** A run has succeeded that began at a moment. */
  | { readonly type: 'ran'; readonly since: number }
  /** A call came to an end. */
  | { readonly type: 'call'; readonly what: string; readonly outcome: string };

export type Line = ProcessLine | ServerLine | NemesisLine | AboveLine;
export type Entry = Line & Stamp;
export type EntryOf<Type extends Line['type']> = Extract<Line, { type: Type }> & Stamp;

/** Writes the lines of one process. */
export class HistoryWriter {
  readonly #file: number;
  readonly #by: string;
  readonly #clock: Pick<Clock, 'now' | 'monotonic'>;

  constructor(folder: string, by: string, clock: Pick<Clock, 'now' | 'monotonic'>) {
    this.#file = openSync(join(folder, `${by}.jsonl`), 'a');
    this.#by = by;
    this.#clock = clock;
  }

  /** @param at the moment of the line, by default now. */
  write(line: Line, at = referenceNow()): void {
    const stamp = { by: this.#by, at, wall: this.#clock.now(), monotonic: this.#clock.monotonic() };
    writeSync(this.#file, `${JSON.stringify({ ...stamp, ...line })}\n`);
  }
}

/** Reads all lines of a folder, in the order of the reference clock. */
export function readHistory(folder: string): Entry[] {
  const files = readdirSync(folder).filter((file) => file.endsWith('.jsonl'));
  return files
    .flatMap((file) => {
      // The text after the last line's end is a half line of a writer that was killed.
      const lines = readFileSync(join(folder, file), 'utf8').split('\n').slice(0, -1);
      return lines.map((line): Entry => JSON.parse(line));
    })
    .sort((a, b) => a.at - b.at);
}
