/** Marks the errors of every copy of leasehold in a process (ESM and CommonJS, two versions), so that they agree. */
const brand = Symbol.for('leasehold.error');

/**
 * The base of every error that leasehold throws, but for the `TypeError` of a bad argument.
 * @example if (error instanceof LockError) console.warn(error.code, error.message);
 */
export class LockError extends Error {
  static readonly kind: string = 'LockError';
  readonly [brand] = true;
  /** Stable across versions, other than the message. */
  readonly code: string = 'ERR_LOCK';

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = (this.constructor as typeof LockError).kind;
  }

  /** `instanceof` asks the brand and the name, so that an error thrown by another copy of leasehold is recognised. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    if (!Object.hasOwn(this, 'kind')) return Function.prototype[Symbol.hasInstance].call(this, value);
    const error = value as { [brand]?: boolean; name?: string } | null | undefined;
    return error?.[brand] === true && (this.kind === 'LockError' || this.kind === error.name);
  }
}

/**
 * Somebody else holds the lock. The message may be shown to HTTP callers: it names the key and not the owner.
 * @example if (error instanceof LockBusyError) return { statusCode: error.statusCode, headers: error.headers };
 */
export class LockBusyError extends LockError {
  static override readonly kind: string = 'LockBusyError';
  override readonly code = 'ERR_LOCK_BUSY';
  readonly key: string;
  /** The holder; absent when the lock is only closed (hold at least). */
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
 * The work was done for this `once` token, or for a later one.
 * @example if (error instanceof LockDoneError) console.info(`done up to ${error.doneToken}`);
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
 * Why a lease is no longer held.
 * - `expired`: its deadline came before it could be renewed or released.
 * - `takenOver`: another grant stands in its place.
 * - `revoked`: it was force-released.
 * - `gone`: its record was deleted.
 * - `released`, `handedOff`: its holder ended it and then used it.
 * - `closed`: its client was closed.
 * - `timedOut`: the invocation that it was taken for timed out.
 * - `abandoned`: its work was to stop, and nobody can tell when it will have stopped.
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
 * The lock was ours and no longer is. The reason of `lease.signal`.
 * @example if (error instanceof LockLostError) console.warn(`lost: ${error.reason}`);
 */
export class LockLostError extends LockError {
  static override readonly kind: string = 'LockLostError';
  override readonly code = 'ERR_LOCK_LOST';
  readonly key: string;
  readonly reason: LostReason;

  constructor(lost: { key: string; reason: LostReason; detail: string }, options?: ErrorOptions) {
    super(`The lease of '${lost.key}' is not held: ${lost.detail}.`, options);
    this.key = lost.key;
    this.reason = lost.reason;
  }
}

/**
 * There is no time to hold the lock in: the invocation is about to end, or the store's answer came after the lease's own
 * deadline. Nothing is held.
 * @example if (error instanceof LockNoTimeError) return { statusCode: 503 };
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
 * @example if (error instanceof LockClosedError) return;
 */
export class LockClosedError extends LockError {
  static override readonly kind: string = 'LockClosedError';
  override readonly code = 'ERR_LOCK_CLOSED';

  constructor() {
    super('This LockClient is closed; make a new one to take locks.');
  }
}

/** The facts of a `LockStoreError`. Each is false, or absent, by default. */
export interface LockStoreErrorOptions extends ErrorOptions {
  transient?: boolean | undefined;
  conflict?: boolean | undefined;
  misdated?: boolean | undefined;
  serverDate?: number | undefined;
  relayed?: boolean | undefined;
  foreign?: boolean | undefined;
}

/**
 * The store did not answer, or not as it should. `cause` is the error that the store's own client threw.
 * @example if (error instanceof LockStoreError && error.transient) retryLater();
 */
export class LockStoreError extends LockError {
  static override readonly kind: string = 'LockStoreError';
  override readonly code = 'ERR_LOCK_STORE';
  /** The same request may succeed a moment later (a lost answer, throttling). False: it cannot (permissions, no table). */
  readonly transient: boolean;
  /** A conflict with another transaction: nothing was written, and the same request can be sent again at once. */
  readonly conflict: boolean;
  /**
   * The server refused the request for the time in its signature: nothing was written, and the moments in the request are
   * as wrong as that time. The request must be written anew.
   */
  readonly misdated: boolean;
  /** The server's clock when it refused: milliseconds since the epoch; undefined where no answer came. */
  readonly serverDate: number | undefined;
  /** The refusal came over a host that may have written a `Date` of its own. */
  readonly relayed: boolean;
  /** The item under the lock's key was not written by leasehold, or was changed since; other locks are not concerned. */
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
