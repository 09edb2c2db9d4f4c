import type { LockLostError, LockStoreError, LostReason } from '../record/errors.ts';
import { call } from './callback.ts';

interface EventBase {
  readonly key: string;
  /** The moment, by this host's clock: milliseconds since the epoch. */
  readonly at: number;
  /** This host's own name for itself. Of `busy` and `waiting`: the holder, if anybody holds the lock. */
  readonly owner: string | undefined;
  /** Milliseconds by which this host's clock is ahead of the server's (behind: negative), once known to be wrong. */
  readonly skewMs?: number;
}

interface LeaseEventBase extends EventBase {
  readonly fencingToken: number;
}

interface TimesOfLease {
  /** The expiry that was written, by the server's clock: milliseconds since the epoch. */
  readonly expiresAt: number;
  /** The moment from which the lease is not believed, by this host's clock: milliseconds since the epoch. */
  readonly deadline: number;
}

/** Something that happened to a lock, for logs and metrics. An event never holds a `lockId`. */
export type LockEvent =
  /** A lease was granted. */
  | (LeaseEventBase &
      TimesOfLease & {
        readonly type: 'acquired';
        /** Milliseconds from the call to the grant. */
        readonly waitedMs: number;
        readonly takenOverFrom?: { readonly owner: string; readonly expiredAt: number };
      })
  /** Somebody else held the lock until the wait was over. */
  | (EventBase & {
      readonly type: 'busy';
      readonly fencingToken: number;
      readonly expiresAt: number;
      readonly retryAfterMs: number;
      readonly waitedMs: number;
    })
  /** The `once` token, or a later one, had finished. */
  | (EventBase & { readonly type: 'done'; readonly once: string; readonly doneToken: string })
  /** The lock is busy, and a wait begins. */
  | (EventBase & { readonly type: 'waiting'; readonly fencingToken: number; readonly expiresAt: number })
  | (LeaseEventBase & TimesOfLease & { readonly type: 'renewed' })
  /** A renewal failed; the next try comes before the deadline. */
  | (LeaseEventBase & {
      readonly type: 'renewFailed';
      readonly error: LockStoreError;
      readonly deadline: number;
      /** Milliseconds that are left to renew in. */
      readonly remainingMs: number;
    })
  /** The lease was passed on, and waits for another process until `expiresAt`. */
  | (LeaseEventBase & { readonly type: 'handedOff'; readonly expiresAt: number; readonly heldMs: number })
  /** A lease that another process had handed off goes on here. */
  | (LeaseEventBase & TimesOfLease & { readonly type: 'resumed' })
  | (LeaseEventBase & {
      readonly type: 'lost';
      readonly reason: LostReason;
      readonly error: LockLostError;
      readonly heldMs: number;
    })
  | (LeaseEventBase & { readonly type: 'released'; readonly heldMs: number; readonly done: boolean })
  /** Nobody knows whether the release was applied. The lock opens at the lease's expiry at the latest. */
  | (LeaseEventBase & { readonly type: 'releaseFailed'; readonly heldMs: number; readonly error: LockStoreError });

/**
 * Called for every event, in the middle of the operation: keep it short. An error that it throws or rejects with is ignored.
 * @example const onEvent: LockEventListener = (event) => console.log(JSON.stringify(event));
 */
export type LockEventListener = (event: LockEvent) => unknown;

type Without<Name extends string, T> = T extends LockEvent ? Omit<T, Name> : never;

/** An event before the client completes it with the time. */
export type ReportedEvent = Without<'at' | 'skewMs', LockEvent>;

/** An event of a lease, before the lease adds its own name and token. */
export type ReportedLeaseEvent = Without<
  'at' | 'skewMs' | 'key' | 'owner' | 'fencingToken',
  Extract<LockEvent, LeaseEventBase>
>;

/** Invariant 12: a listener that fails, at once or later, disturbs nothing. A broken log line must cost nobody a lease. */
export function notify(listener: LockEventListener | undefined, event: LockEvent): void {
  call(() => listener?.(event));
}
