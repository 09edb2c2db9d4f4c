// Over 250 lines: half of them document the public API.

import { printable } from './check.ts';

/** Marks the errors of every copy of leasehold in a process (ESM and CommonJS, two versions), so that they agree. */
const brand = Symbol.for('leasehold.error');

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
  /** The holder. Absent while a released lock is merely kept closed by `holdAtLeastMs`. */
  readonly owner: string | undefined;
  /** The moment from which others may take the lock, if its holder does not renew: milliseconds since the epoch. */
  readonly expiresAt: number;
  /** Milliseconds from now to `expiresAt`, 0 or more. */
  readonly retryAfterMs: number;
  /** Milliseconds by which this host's clock is ahead of the server's (behind: negative), once known to be wrong. */
  readonly skewMs: number | undefined;
  /** 423 Locked, RFC 4918, section 11.3. */
  readonly statusCode = 423;
  /** Tells HTTP error handlers that the message may be shown. */
  readonly expose = true;
  /** `Retry-After` in whole seconds, RFC 9110, section 10.2.3. */
  readonly headers: { readonly 'Retry-After': string };

  constructor(busy: {
    key: string;
    owner?: string | undefined;
    expiresAt: number;
    retryAfterMs: number;
    skewMs?: number | undefined;
  }) {
    super(`The lock '${busy.key}' is busy; retry in ${Math.ceil(busy.retryAfterMs)} ms.`);
    this.key = busy.key;
    this.owner = busy.owner;
    this.expiresAt = busy.expiresAt;
    this.retryAfterMs = busy.retryAfterMs;
    this.skewMs = busy.skewMs;
    this.headers = { 'Retry-After': String(Math.max(1, Math.ceil(busy.retryAfterMs / 1000))) };
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

  constructor(done: { key: string; once: string; doneToken: string }) {
    super(`The lock '${done.key}' is done for '${done.once}': '${done.doneToken}' has finished.`);
    this.key = done.key;
    this.once = done.once;
    this.doneToken = done.doneToken;
  }
}

/**
 * The reason for which a lease is no longer held.
 * - `expired`: the deadline came before the holder could renew or release the lease.
 * - `takenOver`: another grant stands in the record.
 * - `revoked`: an operator force-released the lease.
 * - `gone`: somebody deleted the record.
 * - `released`, `handedOff`: the holder ended the lease and then used the lease.
 * - `closed`: the holder closed the lease's client.
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
 * A lease was held and no longer is. `lease.signal` aborts with this error.
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

  constructor(lost: { key: string; reason: LostReason; detail: string }, options?: ErrorOptions) {
    super(`The lease of '${lost.key}' is not held: ${lost.detail}. Stop its work.`, options);
    this.key = lost.key;
    this.reason = lost.reason;
  }
}

/**
 * No time is left to hold the lock: the invocation is about to end, or the store's answer came after the lease's own
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

  constructor({ key, message }: { key: string; message: string }) {
    super(message);
    this.key = key;
  }
}

/**
 * The client was closed, and takes no more locks.
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
    super('This LockClient is closed: make a new LockClient to take locks.');
  }
}

/** The facts of a `LockStoreError`. Each fact is false, or absent, by default. */
export interface LockStoreErrorOptions extends ErrorOptions {
  transient?: boolean | undefined;
  conflict?: boolean | undefined;
  misdated?: boolean | undefined;
  serverDate?: number | undefined;
  relayed?: boolean | undefined;
  foreign?: boolean | undefined;
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
   * True if the same request may succeed a moment later (a lost answer, throttling). False if the request cannot succeed
   * (no permission, no table).
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
  /** True if the refusal came over a relay: a host that may have written a `Date` of its own. */
  readonly relayed: boolean;
  /**
   * True if leasehold did not write the item under the lock's key, or if somebody changed the item. Other locks are not
   * concerned.
   */
  readonly foreign: boolean;

  constructor(message: string, options: LockStoreErrorOptions = {}) {
    super(message, options);
    this.transient = options.transient ?? false;
    this.conflict = options.conflict ?? false;
    this.misdated = options.misdated ?? false;
    this.serverDate = options.serverDate;
    this.relayed = options.relayed ?? false;
    this.foreign = options.foreign ?? false;
  }
}
