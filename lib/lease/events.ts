import type { LockLostError, LockStoreError, LostReason } from '../record/errors.ts';
import { call } from './callback.ts';

interface EventBase {
  readonly key: string;
  /** When it happened, by this host's clock: milliseconds since the epoch. */
  readonly at: number;
  /** This host's own name for itself, or, for `busy` and `waiting`, the one who holds the lock, if anybody does. */
  readonly owner: string | undefined;
  /** By how many milliseconds this host's clock is ahead of the server's (behind: negative), once that is known to be wrong. */
  readonly skewMs?: number;
}

interface GrantBase extends EventBase {
  readonly fencingToken: number;
}

/** What happened to a lock, for logs and metrics. It never holds a `lockId`. */
export type LockEvent =
  | (GrantBase & {
      readonly type: 'acquired';
      readonly expiresAt: number;
      readonly deadline: number;
      /** Milliseconds from the call to the grant. */
      readonly waitedMs: number;
      readonly takenOverFrom?: { readonly owner: string; readonly expiredAt: number };
    })
  | (EventBase & {
      readonly type: 'busy';
      readonly fencingToken: number;
      readonly expiresAt: number;
      readonly retryAfterMs: number;
      readonly waitedMs: number;
    })
  | (EventBase & { readonly type: 'done'; readonly once: string; readonly doneToken: string })
  | (EventBase & { readonly type: 'waiting'; readonly fencingToken: number; readonly expiresAt: number })
  | (GrantBase & { readonly type: 'renewed'; readonly expiresAt: number; readonly deadline: number })
  | (GrantBase & {
      readonly type: 'renewFailed';
      readonly error: LockStoreError;
      readonly deadline: number;
      /** Milliseconds that are left to renew in. */
      readonly remainingMs: number;
    })
  | (GrantBase & {
      readonly type: 'lost';
      readonly reason: LostReason;
      readonly error: LockLostError;
      readonly heldMs: number;
    })
  | (GrantBase & { readonly type: 'released'; readonly heldMs: number; readonly done: boolean })
  | (GrantBase & {
      readonly type: 'releaseFailed';
      readonly heldMs: number;
      /** What went wrong; whether the release was applied is not known. The lock opens at the lease's expiry at the latest. */
      readonly error: LockStoreError;
    });

/** Called for every event, in the middle of the operation: keep it short. What it throws or rejects with is ignored. */
export type LockEventListener = (event: LockEvent) => unknown;

/** Invariant 12: a listener that fails, at once or later, disturbs nothing. A broken log line must cost nobody a lease. */
export function notify(listener: LockEventListener | undefined, event: LockEvent): void {
  call(() => listener?.(event));
}
