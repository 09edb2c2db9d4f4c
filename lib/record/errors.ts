// Over 250 lines: half of them document the public API.

import { printable } from './check.ts';

/** Marks the errors of every copy of leasehold in a process (ESM and CommonJS, two versions), so that they agree. */
const brand = Symbol.for('leasehold.error');

/** The advice of a store for an item that was a lock, and that no request but a repair can write. */
export const REPAIR_IT = 'Repair the record: leasehold repair KEY, or repair()';

/**
 * The base of every error that leasehold throws, except for the `TypeError` of a bad argument.
 * @example
 * ```ts
 * import { LockClient, LockError } from 'leasehold';
 *
 * export async function report(locks: LockClient) {
 *   try {
 *     await locks.using('report', () => fetch('https://example.com/report'));
 *   } catch (error) {
 *     if (!(error instanceof LockError)) throw error;
 *     console.warn(error.code, error.message);
 *   }
 * }
 * ```
 */
export class LockError extends Error {
  static readonly kind: string = 'LockError';
  readonly [brand] = true;
  /** Stable across versions, other than the message. */
  readonly code: string = 'ERR_LOCK';

  constructor(message: string, options?: ErrorOptions) {
    super(printable(message), options);
    this.name = (this.constructor as typeof LockError).kind;
  }

  /** Lets `instanceof` ask the brand and the name, so that an error of another copy of leasehold is recognised. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    if (!Object.hasOwn(this, 'kind')) return Function.prototype[Symbol.hasInstance].call(this, value);
    const error = value as { [brand]?: boolean; name?: string } | null | undefined;
    return error?.[brand] === true && (this.kind === 'LockError' || this.kind === error.name);
  }
}

/** A closed slot of a lock. */
export interface SlotHolder {
  readonly slot: number;
  /** Absent while a released slot is merely kept closed by `holdAtLeastMs`. */
  readonly owner: string | undefined;
  /** The moment from which others may take the slot, if its holder does not renew: milliseconds since the epoch. */
  readonly expiresAt: number;
}

/**
 * Another holder has the lock, or `holdAtLeastMs` keeps the lock closed. The message may be shown to HTTP callers: the
 * message names the key and not the owner.
 * @example
 * ```ts
 * import { LockBusyError } from 'leasehold';
 *
 * export function responseTo(error: unknown) {
 *   if (!(error instanceof LockBusyError)) throw error;
 *   return { statusCode: error.statusCode, headers: error.headers, body: error.message };
 * }
 * ```
 */
export class LockBusyError extends LockError {
  static override readonly kind: string = 'LockBusyError';
  override readonly code = 'ERR_LOCK_BUSY';
  readonly key: string;
  /** The most holders of the key at a time. 1 without the option `permits`. */
  readonly permits: number;
  /** The slots that are known to be closed, in their order. Without `permits`: slot 0. */
  readonly holders: readonly SlotHolder[];
  /** The holder; with `permits`, the holder whose slot opens first. Absent while a released lock is merely kept closed by `holdAtLeastMs`. */
  readonly owner: string | undefined;
  /** The moment from which others may take the lock, if its holder does not renew: milliseconds since the epoch. */
  readonly expiresAt: number;
  /** Milliseconds from now to `expiresAt`, 0 or more. */
  readonly retryAfterMs: number;
  /**
   * Milliseconds by which this host's clock is ahead of the server's (behind: negative), once known to be wrong by more than a
   * second.
   */
  readonly skewMs: number | undefined;
  /** 423 Locked, RFC 4918, section 11.3. */
  readonly statusCode = 423;
  /** Tells HTTP error handlers that the message may be shown. */
  readonly expose = true;
  /**
   * `Retry-After` in whole seconds, RFC 9110, section 10.2.3. Nobody knows how long a holder will go on: a lock that was
   * held for 8 seconds is asked for again after 8 more. At the least 1 second, and at the most `retryAfterMs`. If nobody
   * holds the lock, `retryAfterMs`: the lock opens then.
   */
  readonly headers: { readonly 'Retry-After': string };

  constructor(busy: {
    key: string;
    owner?: string | undefined;
    expiresAt: number;
    retryAfterMs: number;
    skewMs?: number | undefined;
    /** Milliseconds for which the holder has had the lock. Absent if nobody holds the lock, or if the time is not known. */
    heldMs?: number | undefined;
    permits?: number | undefined;
    holders?: readonly SlotHolder[] | undefined;
  }) {
    const { owner, expiresAt, retryAfterMs, heldMs = Infinity, permits = 1 } = busy;
    const seconds = Math.max(1, Math.ceil(Math.min(retryAfterMs, heldMs) / 1000));
    const what = permits === 1 ? 'is busy' : `is busy: all ${permits} permits are in use`;
    super(`The lock '${busy.key}' ${what}; retry in ${seconds} s.`);
    this.key = busy.key;
    this.permits = permits;
    this.holders = busy.holders ?? [{ slot: 0, owner, expiresAt }];
    this.owner = owner;
    this.expiresAt = expiresAt;
    this.retryAfterMs = retryAfterMs;
    this.skewMs = busy.skewMs;
    this.headers = { 'Retry-After': String(seconds) };
  }
}

/**
 * The work was done for this `once` token, or for a later token.
 * @example
 * ```ts
 * import { LockDoneError } from 'leasehold';
 *
 * export function logDone(error: unknown) {
 *   if (!(error instanceof LockDoneError)) throw error;
 *   console.info(`'${error.key}' is done up to ${error.doneToken}.`);
 * }
 * ```
 */
export class LockDoneError extends LockError {
  static override readonly kind: string = 'LockDoneError';
  override readonly code = 'ERR_LOCK_DONE';
  readonly key: string;
  /** The token that was asked for. */
  readonly once: string;
  /** The greatest token that finished. */
  readonly doneToken: string;
  /**
   * The result that was released together with `doneToken`, by `release({ done: true, result })`. Undefined if there was
   * none. If `doneToken` is greater than `once`, the result is that of the later work.
   */
  readonly result: unknown;

  constructor(done: { key: string; once: string; doneToken: string; result?: unknown }) {
    super(`The lock '${done.key}' is done for '${done.once}': '${done.doneToken}' has finished.`);
    this.key = done.key;
    this.once = done.once;
    this.doneToken = done.doneToken;
    this.result = done.result;
  }
}

/**
 * A run under a coalescing lock is owed, and nobody is there to run: whoever found the lock busy was told that a run would
 * come. Deliver the event again, or run `coalesce` with `onlyIfOwed` on a schedule. The error's HTTP status says so to a sender
 * that delivers again by itself, as senders of webhooks do. Other HTTP callers do not: there, only the schedule makes the run.
 * @example
 * ```ts
 * import { LockOwedError } from 'leasehold';
 *
 * export function responseTo(error: unknown) {
 *   if (!(error instanceof LockOwedError)) throw error;
 *   return { statusCode: error.statusCode, headers: error.headers, body: error.message };
 * }
 * ```
 */
export class LockOwedError extends LockError {
  static override readonly kind: string = 'LockOwedError';
  override readonly code = 'ERR_LOCK_OWED';
  readonly key: string;
  /** The number of runs that have succeeded under the lease. */
  readonly runs: number;
  /** 503 Service Unavailable, RFC 9110, section 15.6.4. */
  readonly statusCode = 503;
  /** Tells HTTP error handlers that the message may be shown. */
  readonly expose = true;
  /** `Retry-After` in whole seconds. As a rule the lock is open already. */
  readonly headers: { readonly 'Retry-After': string } = { 'Retry-After': '1' };

  constructor({ key, runs }: { key: string; runs: number }) {
    super(`One more run of '${key}' is owed, and was not made here. Deliver the event again.`);
    this.key = key;
    this.runs = runs;
  }
}

/**
 * Nobody can tell whether the work was done for this `once` token: the greatest finished token has another form, and the
 * order of two forms means nothing. The work was not run.
 *
 * - A token of another form is a mistake: give all tokens of a lock in one form.
 * - The finished token is the mistake, as after a test by hand: reset that token by `resetOnce(key)`.
 * @example
 * ```ts
 * import { type LockClient, LockTokenError } from 'leasehold';
 *
 * export async function forgetTests(locks: LockClient, error: unknown) {
 *   if (!(error instanceof LockTokenError)) throw error;
 *   if (error.doneToken.startsWith('test')) await locks.resetOnce(error.key);
 * }
 * ```
 */
export class LockTokenError extends LockError {
  static override readonly kind: string = 'LockTokenError';
  override readonly code = 'ERR_LOCK_TOKEN';
  readonly key: string;
  /** The token that was asked for. */
  readonly once: string;
  /** The token of another form that has finished, or that comes before in the same batch. */
  readonly doneToken: string;

  constructor({ key, once, doneToken }: { key: string; once: string; doneToken: string }) {
    super(
      `The lock '${key}' cannot tell whether '${once}' is done: the token before is '${doneToken}', which has another form. Give all tokens of a lock in one form, with the same length and separators. If '${doneToken}' is a mistake, reset it: leasehold reset-once '${key}'.`,
    );
    this.key = key;
    this.once = once;
    this.doneToken = doneToken;
  }
}

/**
 * The reason for which a lease is no longer held.
 * - `expired`: the deadline came before the holder could renew or release the lease.
 * - `takenOver`: another grant stands in the record.
 * - `revoked`: an operator force-released the lease.
 * - `gone`: somebody deleted the record.
 * - `released`, `handedOff`: the holder ended the lease and then used the lease.
 * - `closed`: the lease's client was closed, or its candidate was stopped or resigned, and its work had not ended in time.
 * - `timedOut`: the invocation that holds the lease timed out.
 * - `abandoned`: the work was to stop, and nobody can tell when the work will have stopped.
 */
export type LostReason =
  | 'expired'
  | 'takenOver'
  | 'revoked'
  | 'gone'
  | 'released'
  | 'handedOff'
  | 'closed'
  | 'timedOut'
  | 'abandoned';

/**
 * A lease was held and no longer is. `lease.signal` aborts with this error. `cause` is the error of the last renewal, if the
 * lease expired since renewals failed.
 * @example
 * ```ts
 * import { LockLostError } from 'leasehold';
 *
 * export function logLoss(error: unknown) {
 *   if (!(error instanceof LockLostError)) throw error;
 *   console.warn(`The lease of '${error.key}' was lost: ${error.reason}.`);
 * }
 * ```
 */
export class LockLostError extends LockError {
  static override readonly kind: string = 'LockLostError';
  override readonly code = 'ERR_LOCK_LOST';
  readonly key: string;
  readonly reason: LostReason;
  /**
   * Milliseconds for which nothing ran in this process while a renewal was due, if the lease expired after that: the event loop
   * was blocked, or the process stood still. At least 100 and a quarter of the lease. A wall clock that was set forward looks
   * the same.
   */
  readonly blockedMs: number | undefined;

  constructor(
    lost: { key: string; reason: LostReason; detail: string; blockedMs?: number | undefined },
    options?: ErrorOptions,
  ) {
    super(`The lease of '${lost.key}' is not held: ${lost.detail}. Stop its work.`, options);
    this.key = lost.key;
    this.reason = lost.reason;
    this.blockedMs = lost.blockedMs;
  }
}

/**
 * No time is left to hold the lock: the invocation is about to end, or the store's answer did not come before the lease's own
 * deadline. Nothing is held.
 * @example
 * ```ts
 * import { LockNoTimeError } from 'leasehold';
 *
 * export function responseTo(error: unknown) {
 *   if (!(error instanceof LockNoTimeError)) throw error;
 *   return { statusCode: 503, body: error.message };
 * }
 * ```
 */
export class LockNoTimeError extends LockError {
  static override readonly kind: string = 'LockNoTimeError';
  override readonly code = 'ERR_LOCK_NO_TIME';
  readonly key: string;

  constructor({ key, message }: { key: string; message: string }, options?: ErrorOptions) {
    super(message, options);
    this.key = key;
  }
}

/**
 * The client was closed: it takes no more locks, and the work under its leases is to stop. `lease.signal` aborts with this
 * error. The lease is held until the work has ended.
 * @example
 * ```ts
 * import { type LockClient, LockClosedError } from 'leasehold';
 *
 * export async function poll(locks: LockClient) {
 *   try {
 *     return await locks.tryAcquire('report');
 *   } catch (error) {
 *     if (error instanceof LockClosedError) return null; // the process is shutting down
 *     throw error;
 *   }
 * }
 * ```
 */
export class LockClosedError extends LockError {
  static override readonly kind: string = 'LockClosedError';
  override readonly code = 'ERR_LOCK_CLOSED';

  constructor() {
    super('This LockClient is closed. Stop the work under its locks. To take locks, make a new LockClient.');
  }
}

/**
 * The facts of a `LockStoreError`. Each fact is false, or absent, by default. `attempts` is 1 by default.
 * @inline
 */
export interface LockStoreErrorOptions extends ErrorOptions {
  transient?: boolean | undefined;
  conflict?: boolean | undefined;
  misdated?: boolean | undefined;
  serverDate?: number | undefined;
  relayed?: boolean | undefined;
  foreign?: boolean | undefined;
  attempts?: number | undefined;
}

/**
 * The store did not answer, or answered with a fault. `cause` is the error that the store's own client threw.
 * @example
 * ```ts
 * import { LockStoreError } from 'leasehold';
 *
 * export const mayRetry = (error: unknown) => error instanceof LockStoreError && error.transient;
 * ```
 */
export class LockStoreError extends LockError {
  static override readonly kind: string = 'LockStoreError';
  override readonly code = 'ERR_LOCK_STORE';
  /**
   * True if the same request may succeed a moment later (a lost answer, throttling). False if somebody must mend the cause
   * first (no permission, no table, no credentials, no Region, a host that does not exist).
   */
  readonly transient: boolean;
  /** True after a conflict with another transaction. Nothing was written, and the same request may be sent again at once. */
  readonly conflict: boolean;
  /**
   * True if the server refused the request for the time in the request's signature. Nothing was written. The moments in the
   * request are as wrong as the signature's time, so the request must be written anew.
   */
  readonly misdated: boolean;
  /** The time of the server's clock at the refusal, in milliseconds since the epoch. Undefined if no answer came. */
  readonly serverDate: number | undefined;
  /** True if the date may be wrong: the refusal came over a relay, or from a database on one host. */
  readonly relayed: boolean;
  /**
   * True if leasehold did not write the item under the lock's key, or if somebody changed the item. Other locks are not
   * concerned.
   */
  readonly foreign: boolean;
  /** The number of times that the store's own client sent the request before it gave up. */
  readonly attempts: number;

  constructor(message: string, options: LockStoreErrorOptions = {}) {
    super(message, options);
    this.transient = options.transient ?? false;
    this.conflict = options.conflict ?? false;
    this.misdated = options.misdated ?? false;
    this.serverDate = options.serverDate;
    this.relayed = options.relayed ?? false;
    this.foreign = options.foreign ?? false;
    this.attempts = options.attempts ?? 1;
  }
}
