/**
 * The history of a run: a folder with an append-only file of JSON lines for each process, which that process alone
 * writes. What it wrote survives its SIGKILL.
 *
 * All of it is judged by one reference clock: CLOCK_MONOTONIC of the machine that all the processes run on, which is
 * the same in every one of them, never set, and goes on while a process is frozen. Their own clocks, which may be wrong,
 * stand beside it.
 */
import { openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../../lib/index.ts';

/** The reference clock: milliseconds, with microseconds behind the point. */
export const referenceNow = (): number => Number(process.hrtime.bigint() / 1_000n) / 1_000;

interface Stamp {
  /** Who wrote it: a process in one of its lives, such as `3.1`; or `server`, or `nemesis`. */
  readonly by: string;
  /** When, by the reference clock. */
  readonly at: number;
  /** When, by the writer's own clocks. */
  readonly wall: number;
  readonly monotonic: number;
}

interface OfGrant {
  readonly key: string;
  readonly fencingToken: number;
}

/** What a process writes down. */
type ProcessLine =
  | { readonly type: 'started'; readonly pid: number; readonly clock: string }
  | { readonly type: 'attempt'; readonly key: string; readonly leaseMs: number; readonly waitMs: number }
  /** Whoever got a handle from another process, or from itself, tries to go on with the lease. */
  | { readonly type: 'resuming'; readonly key: string; readonly handed: string }
  /** `doneToken`: it was told that this one has finished, and with it its own, `once`. */
  | {
      readonly type: 'refused';
      readonly key: string;
      readonly error: string;
      readonly once?: string | undefined;
      readonly doneToken?: string | undefined;
    }
  /** A request of the lock's goes out. `since`: the beginning of the turn of the event loop in which it was made. */
  | {
      readonly type: 'sent';
      readonly what: Operation;
      readonly key: string;
      readonly lockId: string;
      readonly until?: number | undefined;
      readonly since: number;
    }
  /** `deadline` is by the writer's wall clock. */
  | (OfGrant & {
      readonly type: 'granted';
      readonly lockId: string;
      readonly leaseMs: number;
      readonly safetyMs: number;
      /** `holdAtMostMs`, where that was asked for. */
      readonly atMostMs?: number | undefined;
      readonly deadline: number;
      readonly takenOver: boolean;
      readonly once?: string | undefined;
      /** The grant that was handed off, which this one goes on with. */
      readonly handed?: string | undefined;
    })
  | (OfGrant & { readonly type: 'renewed'; readonly until: number; readonly deadline: number })
  /** It worked. `asked`: a moment after the line's, `isHeld()` said yes; otherwise it only listens to the signal. */
  | (OfGrant & { readonly type: 'work'; readonly asked: boolean })
  /** The signal aborted. */
  | (OfGrant & { readonly type: 'lost'; readonly reason: string })
  | (OfGrant & { readonly type: 'releasing' })
  /** `done`: the `once` token whose work it has told to be done. */
  | (OfGrant & { readonly type: 'released'; readonly known: boolean; readonly done?: string | undefined })
  | (OfGrant & { readonly type: 'handedOff'; readonly lockId: string })
  | (OfGrant & { readonly type: 'counted'; readonly counter: Counter; readonly id: string; readonly outcome: Outcome })
  /** It did not run between `from` and this line: frozen, or kept waiting for a processor. */
  | { readonly type: 'stalled'; readonly from: number }
  /** Its wall clock was set. */
  | { readonly type: 'clockSet'; readonly offsetMs: number }
  | { readonly type: 'done'; readonly task: string; readonly key: string };

export type Operation = 'acquire' | 'renew' | 'release' | 'giveBack' | 'resume';
export type Counter = 'guarded' | 'unguarded';
/** `refused`: the lock said that nothing was written. */
export type Outcome = 'done' | 'refused' | 'unknown';

/** Which operation a request is, told by the values that it brings, not by its condition, which may be the faulty part. */
export function operationOf(values: Readonly<Record<string, unknown>>): Operation | undefined {
  if (values[':handed']) return 'resume';
  if (values[':owner'] && values[':leaseMs']) return 'acquire';
  if (values[':hold']) return 'release';
  if (values[':until']) return 'renew';
  return values[':expiresAt'] ? 'giveBack' : undefined;
}

/** A lock's record as the server keeps it. */
export interface Kept {
  readonly lockId?: string | undefined;
  readonly fencingToken: number;
  readonly expiresAt: number;
  readonly acquiredAt: number;
  readonly releasedBy?: string | undefined;
  readonly doneToken?: string | undefined;
}

/** What the recording proxy writes down, in the order in which the server did it. `since`: when the server was asked. */
export type ServerLine =
  | {
      readonly type: 'served';
      readonly what: Operation;
      readonly key: string;
      /** The `lockId` of the one who asks. */
      readonly lockId: string;
      /** Who asks, where the request says so. */
      readonly owner?: string | undefined;
      readonly leaseMs?: number | undefined;
      /** Of an acquire: the token that it is for. */
      readonly once?: string | undefined;
      /** Of a resume: the grant that was handed off. */
      readonly handed?: string | undefined;
      readonly applied: boolean;
      /** As it is afterwards; undefined when the server answered with an error, or there is none. */
      readonly record?: Kept | undefined;
      readonly since: number;
    }
  | (OfGrant & { readonly type: 'fenced'; readonly applied: boolean; readonly since: number })
  | {
      readonly type: 'counting';
      readonly counter: Counter;
      readonly key: string;
      readonly id: string;
      /** What the counter is set to. */
      readonly value: number;
      readonly applied: boolean;
      readonly since: number;
    };

/** What the nemesis writes down. */
type NemesisLine =
  | { readonly type: 'killed' | 'frozen' | 'thawed' | 'cut' | 'outage' | 'mended' | 'ended'; readonly process: string }
  | { readonly type: 'crashed'; readonly process: string; readonly how: string }
  | { readonly type: 'shifted'; readonly process: string; readonly offsetMs: number }
  /** A request of the process met a fault. */
  | { readonly type: 'fault'; readonly process: string; readonly fault: string; readonly operation: string }
  | { readonly type: 'serverFrozen' | 'serverThawed' }
  | { readonly type: 'task'; readonly task: string; readonly key: string }
  /** From here on nobody disturbs. */
  | { readonly type: 'calm' };

export type Line = ProcessLine | ServerLine | NemesisLine;
export type Entry = Line & Stamp;
export type EntryOf<Type extends Line['type']> = Extract<Line, { type: Type }> & Stamp;

/** Writes down what one process does. */
export class HistoryWriter {
  readonly #file: number;
  readonly #by: string;
  readonly #clock: Pick<Clock, 'now' | 'monotonic'>;

  constructor(folder: string, by: string, clock: Pick<Clock, 'now' | 'monotonic'>) {
    this.#file = openSync(join(folder, `${by}.jsonl`), 'a');
    this.#by = by;
    this.#clock = clock;
  }

  /** @param at the moment it tells of, where that is not now. */
  write(line: Line, at = referenceNow()): void {
    const stamp = { by: this.#by, at, wall: this.#clock.now(), monotonic: this.#clock.monotonic() };
    writeSync(this.#file, `${JSON.stringify({ ...stamp, ...line })}\n`);
  }
}

/** All that was written down in a folder, in the order of the reference clock. */
export function readHistory(folder: string): Entry[] {
  const files = readdirSync(folder).filter((file) => file.endsWith('.jsonl'));
  return files
    .flatMap((file) => {
      // What follows the last line's end is a line that its writer was killed over.
      const lines = readFileSync(join(folder, file), 'utf8').split('\n').slice(0, -1);
      return lines.map((line): Entry => JSON.parse(line));
    })
    .sort((a, b) => a.at - b.at);
}
