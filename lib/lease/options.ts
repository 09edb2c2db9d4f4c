// Over 250 lines: half of them document the options.

import {
  bytes,
  checkDuration,
  checkFunction,
  checkSignal,
  checkText,
  checkThat,
  printable,
  show,
} from '../record/check.ts';
import { checkPermits } from '../record/slot-keys.ts';
import { canonicalToken, type OnceToken } from '../record/token.ts';
import { heed } from './callback.ts';
import { SENDS } from './send.ts';

/**
 * The times of a lease, in whole milliseconds.
 * @example
 * ```ts
 * import type { LeaseTiming } from 'leasehold';
 *
 * export const short: LeaseTiming = { leaseMs: 10_000, heartbeatMs: 2_000 };
 * ```
 */
export interface LeaseTiming {
  /**
   * The time for which a grant, and each renewal, closes the lock. Shorter means that a dead holder's lock opens sooner;
   * longer means fewer renewals. From 2 ms to 100 years.
   * @default 30,000
   */
  leaseMs?: number | undefined;
  /**
   * The longest time from one renewal to the next, which comes after four to five fifths of this time. So leases that were
   * taken together are renewed apart. Smaller means more requests, and more tries before the deadline. 1 or more, and
   * smaller than `leaseMs - safetyMs`.
   * @default a third of `leaseMs`
   */
  heartbeatMs?: number | undefined;
  /**
   * The time before the expiry at which the holder's belief ends. Larger means that clocks may differ by more; smaller means
   * that more of the lease is used. With 2,000 or more, nothing is assumed of clocks. With less, two hosts' clocks are
   * assumed to differ by less than `safetyMs`. 0 or more.
   * @default `max(leaseMs / 10, min(2,000, leaseMs / 4))`
   */
  safetyMs?: number | undefined;
}

/**
 * The options of a lease that is acquired.
 * @example
 * ```ts
 * import type { AcquireOptions } from 'leasehold';
 *
 * export const options: AcquireOptions = { waitMs: 5_000, holdAtMostMs: 600_000, data: { ticket: 4711 } };
 * ```
 */
export interface AcquireOptions extends LeaseTiming {
  /**
   * The longest wait for a busy lock, in milliseconds. The calls of one client are served in their order. There is no order
   * among clients. 0 or more. With `Infinity`, the wait ends when the lock is acquired, when `signal` aborts, or when the
   * client is closed.
   * @default 0: no wait
   */
  waitMs?: number | undefined;
  /**
   * The longest time for the whole call, in milliseconds: its requests, its wait and its error. A lease that the store may
   * have granted to a call that failed is released in the background. 0 or more. Values over the default have no effect.
   * @default the larger of `waitMs` (and 50 ms for a last look) and `requestTimeoutMs`; without a wait, three times `requestTimeoutMs`
   */
  withinMs?: number | undefined;
  /**
   * Ends the wait, with the signal's reason. A lease that the store may have granted to the last attempt is released.
   * @default none
   */
  signal?: AbortSignal | undefined;
  /**
   * The time after which a request without an answer is sent again, in milliseconds from its sending. A short lease shortens
   * this time, so that there is room for three sendings. 1 or more.
   * @default the store's, or else 1,000
   */
  requestTimeoutMs?: number | undefined;
  /**
   * The milliseconds for which the lock stays closed from its acquisition, however the lease ends: by a release, a crash or a
   * time-out. Larger means that a dead holder's lock, and that of work that failed, stays closed for longer. 0 or more.
   * @default 0
   */
  holdAtLeastMs?: number | undefined;
  /**
   * The milliseconds from its acquisition beyond which the lease is not renewed. 1 or more.
   * @default Infinity: no bound
   */
  holdAtMostMs?: number | undefined;
  /**
   * Gives the milliseconds that the invocation still lasts: `() => context.getRemainingTimeInMillis()`. The lease's deadline
   * never lies beyond the invocation's end.
   * @default no bound
   */
  remainingMs?: (() => number) | undefined;
  /**
   * An ordered token, as a rule the schedule's time: an instant, a number, or another string. The lock is granted only for a
   * token that is greater than the last finished token. `undefined` is refused: a token that is missing would let the work
   * run every time.
   * @default none
   */
  once?: OnceToken;
  /**
   * A note to attach to the lease, for operators to read: any JSON, up to 8 kB.
   * @default none
   */
  data?: unknown;
  /**
   * The holder's name, for people to read. 1 to 1,024 bytes.
   * @default the client's `owner`
   */
  owner?: string | undefined;
  /**
   * The most holders of the key at a time. Each holder has a slot of its own: `lease.slot`. All who use the key give the same
   * number; while the number changes, the larger one counts. 1 to 100. Not with `once`.
   * @default 1: one holder
   */
  permits?: number | undefined;
}

/**
 * The options of a lease that is acquired without a wait.
 * @example
 * ```ts
 * import type { TryAcquireOptions } from 'leasehold';
 *
 * export const options: TryAcquireOptions = { once: '2026-01-01T02:00:00Z', leaseMs: 60_000 };
 * ```
 */
export type TryAcquireOptions = Omit<AcquireOptions, 'waitMs'>;

/**
 * The options of leases that are acquired together. `waitMs`, `withinMs`, `signal` and `remainingMs` are for the whole call,
 * and everything else is for each lease. By default, a call without a wait has three times `requestTimeoutMs` for each key.
 * There is no `once`: a done token belongs to one key.
 * @example
 * ```ts
 * import type { AcquireAllOptions } from 'leasehold';
 *
 * export const options: AcquireAllOptions = { waitMs: 5_000, data: { ticket: 4711 } };
 * ```
 */
export type AcquireAllOptions = Omit<AcquireOptions, 'once' | 'permits'>;

/**
 * The options of a lease that is resumed. A resumed lease keeps the `once`, `data` and `holdAtLeastMs` of the lease that was
 * handed off.
 * @example
 * ```ts
 * import type { ResumeOptions } from 'leasehold';
 *
 * export const optionsIn = (context: { getRemainingTimeInMillis(): number }): ResumeOptions => ({
 *   remainingMs: () => context.getRemainingTimeInMillis(),
 * });
 * ```
 */
export type ResumeOptions = Omit<AcquireOptions, 'waitMs' | 'once' | 'data' | 'holdAtLeastMs' | 'permits'>;

/** The names of `LeaseTiming`. */
export const LEASE_TIMING = { leaseMs: 0, heartbeatMs: 0, safetyMs: 0 } satisfies Record<keyof LeaseTiming, 0>;

/** The names of the times of a lease that is acquired, for a task or for an invocation. */
export const LEASE_TIMES = { ...LEASE_TIMING, requestTimeoutMs: 0, holdAtLeastMs: 0, holdAtMostMs: 0 } as const;

/** The names of `ResumeOptions`. */
export const RESUME_OPTIONS = {
  ...LEASE_TIMING,
  requestTimeoutMs: 0,
  holdAtMostMs: 0,
  withinMs: 0,
  signal: 0,
  remainingMs: 0,
  owner: 0,
} as const satisfies Record<keyof ResumeOptions, 0>;

/** The names of `TryAcquireOptions`. */
export const TRY_ACQUIRE_OPTIONS = {
  ...RESUME_OPTIONS,
  holdAtLeastMs: 0,
  once: 0,
  data: 0,
  permits: 0,
} as const satisfies Record<keyof TryAcquireOptions, 0>;

/** The names of `AcquireOptions`. */
export const ACQUIRE_OPTIONS = { ...TRY_ACQUIRE_OPTIONS, waitMs: 0 } satisfies Record<keyof AcquireOptions, 0>;

/** The names of `AcquireAllOptions`. */
export const ACQUIRE_ALL_OPTIONS = { ...RESUME_OPTIONS, holdAtLeastMs: 0, data: 0, waitMs: 0 } satisfies Record<
  keyof AcquireAllOptions,
  0
>;

/** The options as the protocol uses them: checked, and with every default filled in. */
export interface AcquirePlan {
  /**
   * The milliseconds between the looks of a waiter, for who does not hurry.
   * @default growing pauses
   */
  readonly pollMs: number | undefined;
  readonly leaseMs: number;
  readonly heartbeatMs: number;
  readonly safetyMs: number;
  readonly waitMs: number;
  readonly withinMs: number;
  /** Tells whether `withinMs` counts from the call, and not from the first request's turn. */
  readonly countsQueue: boolean;
  readonly requestTimeoutMs: number;
  readonly holdAtLeastMs: number;
  readonly holdAtMostMs: number;
  readonly remainingMs: (() => number) | undefined;
  readonly signal: AbortSignal | undefined;
  /** The canonical text of the token. */
  readonly once: string | undefined;
  readonly data: string | undefined;
  readonly owner: string;
  /** Asks for a coalescing grant, as `AcquireRequest` says. */
  readonly coalesce?: 'always' | 'ifOwed' | undefined;
  readonly permits: number;
}

const MAX_DATA_BYTES = 8192;
/** The most levels of data. `JSON.stringify` fails beyond some thousand, by the rest of the stack, and `JSON.parse` does not. */
const MOST_LEVELS = 1000;
/** The time for a last look at the end of a wait. */
const LAST_LOOK_MS = 50;

/**
 * Encodes a value that a record is to hold.
 * @param name the name of the value, for messages.
 * @param beside the text that stands in the same record, and that counts together with the value.
 * @throws TypeError that shows the value, if the value is no JSON or too long.
 */
export function json(value: unknown, name = 'data', beside = ''): string | undefined {
  if (value === undefined) return undefined;
  let encoded: string | undefined;
  try {
    encoded = JSON.stringify(value);
  } catch (error) {
    throw new TypeError(`${name} must be JSON, but it cannot be encoded: ${printable((error as Error).message)}`, {
      cause: error,
    });
  }
  checkThat(encoded !== undefined, name, 'JSON', value);
  if (bytes(encoded) + bytes(beside) > MAX_DATA_BYTES) {
    const together = beside && `, and the lease's data ${bytes(beside)} more`;
    throw new TypeError(
      `${name} must have at most ${MAX_DATA_BYTES} bytes as JSON, but ${show(encoded)} has ${bytes(encoded)}${together}.`,
    );
  }
  // Each level has two brackets, so a short text cannot be deep, and is not parsed for that.
  const isDeep = encoded.length > 2 * MOST_LEVELS && !isShallow(JSON.parse(encoded));
  checkThat(!isDeep, name, `nested at most ${MOST_LEVELS} levels deep`, encoded);
  return encoded;
}

/**
 * Parses the note that a holder attached. Somebody else has changed a note that is no JSON, or that no program could give
 * back as JSON: gives its text as it is.
 */
export function dataOf(data: string | undefined): unknown {
  try {
    const value: unknown = data === undefined ? undefined : JSON.parse(data);
    return isShallow(value) ? value : data;
  } catch {
    return data;
  }
}

const isShallow = (value: unknown, levels = MOST_LEVELS): boolean =>
  Object(value) !== value || (levels > 0 && Object.values(value as object).every((one) => isShallow(one, levels - 1)));

/** @throws TypeError that shows the permits of a lock with `once`, if there are several. */
export function checkAlone(permits: number | undefined = 1): void {
  if (permits === 1) return;
  throw new TypeError(
    `permits must be 1 with once, since a token that is done is done in one slot alone, but it is ${permits}. Leave one of the two out.`,
  );
}

export const checkLeaseMs = (value: unknown): number => checkDuration('leaseMs', value, 2);

/** The `safetyMs` of a lease if nobody says otherwise. */
export const standardSafetyMs = (leaseMs: number): number =>
  Math.floor(Math.max(leaseMs / 10, Math.min(2_000, leaseMs / 4)));

/**
 * Checks every option and fills in the defaults.
 * @throws TypeError that shows the value.
 */
export function planAcquire(options: AcquireOptions & { readonly pollMs?: number | undefined }): AcquirePlan {
  const { waitMs = 0, withinMs, requestTimeoutMs = 1_000, holdAtLeastMs = 0, holdAtMostMs = Infinity } = options;
  checkDuration('waitMs', waitMs, 0, true);
  checkDuration('requestTimeoutMs', requestTimeoutMs, 1);
  const callMs = waitMs === 0 ? SENDS * requestTimeoutMs : Math.max(waitMs + LAST_LOOK_MS, requestTimeoutMs);
  const leaseMs = checkLeaseMs(options.leaseMs === undefined ? 30_000 : options.leaseMs);
  const { heartbeatMs = Math.max(1, Math.floor(leaseMs / 3)) } = options;
  const { safetyMs = standardSafetyMs(leaseMs) } = options;
  checkDuration('heartbeatMs', heartbeatMs, 1);
  checkDuration('safetyMs', safetyMs, 0);
  if (safetyMs >= leaseMs) {
    throw new TypeError(
      `safetyMs must be smaller than leaseMs, or nobody ever believes in the lease, but ${safetyMs} is not smaller than ${leaseMs}.`,
    );
  }
  if (heartbeatMs >= leaseMs - safetyMs) {
    throw new TypeError(
      `heartbeatMs must be smaller than leaseMs - safetyMs, or no renewal comes in time, but ${heartbeatMs} is not smaller than ${leaseMs} - ${safetyMs}.`,
    );
  }
  const { remainingMs, signal, owner } = options;
  const permits = checkPermits(options.permits === undefined ? 1 : options.permits);
  if ('once' in options) checkAlone(permits);
  if (remainingMs !== undefined) checkFunction('remainingMs', remainingMs);
  checkSignal(signal);
  return {
    pollMs: options.pollMs,
    leaseMs,
    heartbeatMs,
    safetyMs,
    waitMs,
    withinMs: withinMs === undefined ? callMs : Math.min(callMs, checkDuration('withinMs', withinMs, 0)),
    countsQueue: waitMs > 0 || withinMs !== undefined,
    requestTimeoutMs,
    holdAtLeastMs: checkDuration('holdAtLeastMs', holdAtLeastMs, 0),
    holdAtMostMs: checkDuration('holdAtMostMs', holdAtMostMs, 1, true),
    remainingMs,
    signal,
    once: 'once' in options ? canonicalToken(options.once) : undefined,
    data: json(options.data),
    owner: checkText('owner', owner),
    permits,
  };
}

/**
 * Milliseconds that the invocation still lasts, as `remainingMs` says.
 * @throws TypeError if `remainingMs` throws, or gives anything but a number.
 */
export function remainingOf({ remainingMs }: Pick<AcquirePlan, 'remainingMs'>): number {
  let ms: unknown;
  try {
    ms = remainingMs?.() ?? Infinity;
  } catch (cause) {
    const thrown = printable(String((cause as Error | undefined)?.message ?? cause));
    throw new TypeError(`remainingMs must give a number of milliseconds, but it threw: ${thrown}`, { cause });
  }
  if (typeof ms === 'number' && !Number.isNaN(ms)) return ms;
  heed(ms);
  throw new TypeError(`remainingMs must give a number of milliseconds, but it gave ${show(ms)}.`);
}

/**
 * The rest of the invocation's time, in milliseconds, less `reserveMs` or less half of the rest, whichever is shorter. So
 * some time to try is always left. Infinity if `remainingMs` is missing or fails: a lease's end does not fail for that.
 */
export function leavingOf(remainingMs: (() => unknown) | undefined, reserveMs: number): number {
  let ms: unknown;
  try {
    ms = remainingMs?.();
  } catch {
    // Two other bounds remain: a request's time-out, and the lease's deadline.
  }
  if (typeof ms !== 'number' || Number.isNaN(ms)) {
    heed(ms);
    return Infinity;
  }
  return Math.max(0, ms - Math.min(reserveMs, ms / 2));
}
