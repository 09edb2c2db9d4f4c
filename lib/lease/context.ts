import type { LockStore } from '../record/store.ts';
import type { ReportedEvent } from './events.ts';
import type { SendContext } from './send.ts';

/** The part of a client that all its operations share. Of grants it knows only which to end at `close` (invariant 11). */
export interface LeaseContext extends SendContext {
  readonly store: LockStore;
  /** Leases that are held, or whose release is under way. */
  readonly leases: Set<{ close(): Promise<unknown> }>;
  /** Aborts when the client is closed. */
  readonly closing: AbortSignal;
  /** Reports an event, completed with the time and with what is known of the clock. */
  report(event: ReportedEvent): void;
}
