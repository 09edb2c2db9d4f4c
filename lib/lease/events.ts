import type { LockLostError, LockNoTimeError, LockStoreError, LostReason } from '../record/errors.ts';
import { call } from './callback.ts';

/** The part that all events have. */
export interface EventBase {
  readonly key: string;
  /**
   * The slot, with `permits`. Of `waiting`: the slot that opens first. Absent from `busy`, and from an `acquireFailed` that
   * is about all slots.
   */
  readonly slot?: number;
  /** The moment, by this host's clock: milliseconds since the epoch. */
  readonly at: number;
  /** The name of the lease's holder. Of `busy` and `waiting`: the other holder, if anybody holds the lock. */
  readonly owner: string | undefined;
  /**
   * Milliseconds by which this host's clock is ahead of the server's (negative: behind). Present if this host's clock is
   * known to be wrong by more than a second.
   */
  readonly skewMs?: number;
}

/** The part that all events of a lease have. */
export interface LeaseEventBase extends EventBase {
  readonly fencingToken: number;
}

/** The part that the events of a held lease have. */
export interface HeldEventBase extends LeaseEventBase {
  /** Milliseconds from the grant to this event. */
  readonly heldMs: number;
  /** The part of `heldMs` that no earlier event told. The sum over all events is the time for which locks were held. */
  readonly newlyHeldMs: number;
}

/**
 * The reason for which a run is left owed.
 * - `failed`: the work threw.
 * - `ended`: the work released its lease, or handed the lease off.
 * - `declined`: `mayRunAgain` gave false.
 * - `noTime`: too little time was left for one more run.
 * - `closed`: the client was closed.
 * - `unknown`: the store did not answer. Nobody knows whether somebody has asked for one more run.
 */
export type OwedReason = 'failed' | 'ended' | 'declined' | 'noTime' | 'closed' | 'unknown';

/** The moments at which a lease ends, unless the holder renews it. */
export interface TimesOfLease {
  /** The expiry that was written, by the server's clock: milliseconds since the epoch. */
  readonly expiresAt: number;
  /** The moment at which the holder's belief ends, by this host's clock: milliseconds since the epoch. */
  readonly deadline: number;
}

/** A change of a lock or a lease, for logs and metrics. No event holds a `lockId`. */
export type LockEvent =
  /** A lease was granted. */
  | (LeaseEventBase &
      TimesOfLease & {
        readonly type: 'acquired';
        /** Milliseconds from the call to the grant. */
        readonly waitedMs: number;
        readonly takenOverFrom?: { readonly owner: string; readonly expiredAt: number };
      })
  /** The lock was busy until the wait was over. */
  | (EventBase & {
      readonly type: 'busy';
      /** With `permits`: the most holders of the key. */
      readonly permits?: number;
      /** With `permits`: the slots that are known to be closed. */
      readonly held?: number;
      readonly fencingToken: number;
      readonly expiresAt: number;
      readonly retryAfterMs: number;
      readonly waitedMs: number;
    })
  /** The lock was busy, and its holder makes one more run, or another holder does (`coalesce`). `owner` is that holder. */
  | (EventBase & { readonly type: 'covered'; readonly fencingToken: number; readonly waitedMs: number })
  /** The `once` token, or a later token, had finished. */
  | (EventBase & { readonly type: 'done'; readonly once: string; readonly doneToken: string })
  /**
   * An attempt, or a look during a wait, failed: the store did not answer, or no time was left. A wait goes on if the fault
   * may pass. `owner` is the name of the holder that was not to be.
   */
  | (EventBase & {
      readonly type: 'acquireFailed';
      readonly error: LockStoreError | LockNoTimeError;
      /** Milliseconds since the call. */
      readonly waitedMs: number;
    })
  /** The lock is busy, and a wait begins. */
  | (EventBase & { readonly type: 'waiting'; readonly fencingToken: number; readonly expiresAt: number })
  /** A renewal was confirmed. */
  | (HeldEventBase & TimesOfLease & { readonly type: 'renewed' })
  /** A renewal failed. The heartbeat tries again until the deadline. */
  | (HeldEventBase & {
      readonly type: 'renewFailed';
      readonly error: LockStoreError;
      readonly deadline: number;
      /** Milliseconds that are left for a renewal. */
      readonly remainingMs: number;
    })
  /** The lease was handed off. The lock stays closed until `expiresAt`, for another process to resume the lease. */
  | (HeldEventBase & { readonly type: 'handedOff'; readonly expiresAt: number })
  /** This client continues a lease that another process had handed off. */
  | (LeaseEventBase & TimesOfLease & { readonly type: 'resumed' })
  /** Somebody has asked for one more run, which begins under the same lease (`coalesce`). */
  | (LeaseEventBase & {
      readonly type: 'again';
      /** The runs that have succeeded under the lease. */
      readonly runs: number;
    })
  /** The holder leaves a run owed: nobody is there to run (`coalesce`). */
  | (LeaseEventBase & {
      readonly type: 'owed';
      /** The runs that have succeeded under the lease. */
      readonly runs: number;
      /** The reason for which the holder does not run, or does not know of the run. */
      readonly reason: OwedReason;
    })
  /** The lease ended before its holder ended it. */
  | (HeldEventBase & { readonly type: 'lost'; readonly reason: LostReason; readonly error: LockLostError })
  /** The release was confirmed. */
  | (HeldEventBase & { readonly type: 'released'; readonly done: boolean })
  /**
   * The release failed, and nobody knows whether the store applied it. The lock opens at the lease's expiry at the latest.
   */
  | (HeldEventBase & { readonly type: 'releaseFailed'; readonly error: LockStoreError });

/**
 * A listener that is called for every event, in the middle of the operation: keep the listener short. An error that the
 * listener throws or rejects with is ignored.
 * @example
 * ```ts
 * import type { LockEventListener } from 'leasehold';
 *
 * export const onEvent: LockEventListener = (event) => console.log(JSON.stringify(event));
 * ```
 */
export type LockEventListener = (event: LockEvent) => unknown;

type Without<Name extends string, T> = T extends LockEvent ? Omit<T, Name> : never;

/** An event before the client adds the time. */
export type ReportedEvent = Without<'at' | 'skewMs', LockEvent>;

/** An event of a lease, before the lease adds its own name and token, and the time for which the lease was held. */
export type ReportedLeaseEvent = Without<
  'at' | 'skewMs' | 'key' | 'slot' | 'owner' | 'fencingToken' | 'heldMs' | 'newlyHeldMs',
  Extract<LockEvent, HeldEventBase>
>;

/** Calls the listener. Invariant 12: a listener that fails, at once or later, disturbs nothing and costs nobody a lease. */
export function notify(listener: LockEventListener | undefined, event: LockEvent): void {
  call(() => listener?.(event));
}
