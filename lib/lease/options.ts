import { bytes, checkDuration, checkText, show } from '../record/check.ts';
import { heed } from './callback.ts';

/** How long a lease lasts and how it is kept. Every value is a whole number of milliseconds. */
export interface LeaseTiming {
  /**
   * For how long a grant, and each renewal, closes the lock. Shorter: a dead holder's lock opens sooner, at the price
   * of more renewals. 2 to 2,147,483,647; default 30,000.
   */
  leaseMs?: number | undefined;
  /** Between two renewals. Smaller than `leaseMs - safetyMs`; default a third of `leaseMs`. */
  heartbeatMs?: number | undefined;
  /**
   * How long before the expiry the holder stops believing that it holds. With 2,000 or more nothing is assumed of
   * clocks; below it, that two hosts' clocks differ by less. Default `max(leaseMs / 10, min(2,000, leaseMs / 4))`.
   */
  safetyMs?: number | undefined;
}

export interface AcquireOptions extends LeaseTiming {
  /** How long to wait for a busy lock. 0 or more; default 0: not at all. */
  waitMs?: number | undefined;
  /** Ends the wait, with the signal's reason. What the last attempt may have been granted is released. */
  signal?: AbortSignal | undefined;
  /**
   * After how long one request is given up and sent again, at the most: three times within what is left of a short lease.
   * 1 or more; default 1,000.
   */
  requestTimeoutMs?: number | undefined;
  /** The lock stays closed that long from its acquisition, even if released earlier. 0 or more; default 0. */
  holdAtLeastMs?: number | undefined;
  /** The lease is not renewed beyond that long from its acquisition. 1 or more; default: no bound. */
  holdAtMostMs?: number | undefined;
  /**
   * How long the invocation still lasts, in milliseconds, such as `() => context.getRemainingTimeInMillis()`; asked
   * once, at the call. The lease's deadline never lies beyond. Default: no bound.
   */
  remainingMs?: (() => number) | undefined;
  /**
   * An ordered token, as a rule the schedule's time in ISO 8601: the lock is granted only for a token greater than the
   * last one that finished. 1 to 1,024 bytes; default: none.
   */
  once?: string | undefined;
  /** What to attach to the lease, for operators to read: anything that JSON holds, up to 8 kB. Default: nothing. */
  data?: unknown;
  /** Who holds it, for people to read. Default: the client's. */
  owner?: string | undefined;
}

/** Options as the protocol uses them: checked, and with every default filled in. */
export interface AcquirePlan {
  readonly leaseMs: number;
  readonly heartbeatMs: number;
  readonly safetyMs: number;
  readonly waitMs: number;
  readonly requestTimeoutMs: number;
  readonly holdAtLeastMs: number;
  readonly holdAtMostMs: number;
  readonly remainingMs: (() => number) | undefined;
  readonly signal: AbortSignal | undefined;
  readonly once: string | undefined;
  readonly data: string | undefined;
  readonly owner: string;
}

const MAX_DATA_BYTES = 8192;

function json(data: unknown): string | undefined {
  if (data === undefined) return undefined;
  let encoded: string | undefined;
  try {
    encoded = JSON.stringify(data);
  } catch (error) {
    throw new TypeError(`data must be JSON, but it cannot be encoded: ${(error as Error).message}`, { cause: error });
  }
  if (encoded === undefined) throw new TypeError(`data must be JSON, but it is ${show(data)}.`);
  if (bytes(encoded) > MAX_DATA_BYTES) {
    throw new TypeError(
      `data must have at most ${MAX_DATA_BYTES} bytes as JSON, but ${show(encoded)} has ${bytes(encoded)}.`,
    );
  }
  return encoded;
}

/** Reads what a holder attached. Text that is no JSON was changed by somebody else, and is given as it is. */
export function dataOf(data: string | undefined): unknown {
  try {
    return data === undefined ? undefined : JSON.parse(data);
  } catch {
    return data;
  }
}

export const checkLeaseMs = (value: unknown): number => checkDuration('leaseMs', value, 2);

/** Checks every option and fills in the defaults. Throws a `TypeError` that shows the value. */
export function planAcquire(options: AcquireOptions): AcquirePlan {
  const leaseMs = checkLeaseMs(options.leaseMs ?? 30_000);
  const heartbeatMs = checkDuration('heartbeatMs', options.heartbeatMs ?? Math.max(1, Math.floor(leaseMs / 3)), 1);
  const safetyMs = checkDuration(
    'safetyMs',
    options.safetyMs ?? Math.floor(Math.max(leaseMs / 10, Math.min(2_000, leaseMs / 4))),
    0,
  );
  if (heartbeatMs >= leaseMs - safetyMs) {
    throw new TypeError(
      `heartbeatMs must be smaller than leaseMs - safetyMs, or no renewal comes in time, but ${heartbeatMs} is not smaller than ${leaseMs} - ${safetyMs}.`,
    );
  }
  const { remainingMs, signal, once, owner } = options;
  if (remainingMs !== undefined && typeof remainingMs !== 'function') {
    throw new TypeError(`remainingMs must be a function, but it is ${show(remainingMs)}.`);
  }
  return {
    leaseMs,
    heartbeatMs,
    safetyMs,
    waitMs: checkDuration('waitMs', options.waitMs ?? 0, 0),
    requestTimeoutMs: checkDuration('requestTimeoutMs', options.requestTimeoutMs ?? 1_000, 1),
    holdAtLeastMs: checkDuration('holdAtLeastMs', options.holdAtLeastMs ?? 0, 0),
    holdAtMostMs:
      options.holdAtMostMs === undefined
        ? Number.POSITIVE_INFINITY
        : checkDuration('holdAtMostMs', options.holdAtMostMs, 1),
    remainingMs,
    signal,
    once: once === undefined ? undefined : checkText('once', once),
    data: json(options.data),
    owner: checkText('owner', owner),
  };
}

/** How long the invocation still lasts, as it says itself. */
export function remainingOf({ remainingMs }: Pick<AcquirePlan, 'remainingMs'>): number {
  const ms: unknown = remainingMs?.() ?? Number.POSITIVE_INFINITY;
  if (typeof ms === 'number' && !Number.isNaN(ms)) return ms;
  heed(ms);
  throw new TypeError(`remainingMs must give a number of milliseconds, but it gave ${show(ms)}.`);
}

/**
 * The time that is left less `reserveMs`, or less half of it where that is shorter, so that something is left to try in.
 * Infinity where nothing tells: what is about to end does not fail for that.
 */
export function leavingOf(remainingMs: (() => unknown) | undefined, reserveMs: number): number {
  let ms: unknown;
  try {
    ms = remainingMs?.();
  } catch {
    // The other bounds hold: a request's time-out, and the lease's deadline.
  }
  if (typeof ms !== 'number' || Number.isNaN(ms)) {
    heed(ms);
    return Number.POSITIVE_INFINITY;
  }
  return Math.max(0, ms - Math.min(reserveMs, ms / 2));
}
