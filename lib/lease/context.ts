import type { LockRecord } from '../record/record.ts';
import type { LockStore } from '../record/store.ts';
import type { LockEvent } from './events.ts';
import type { Lease } from './lease.ts';
import { type SendContext, send } from './send.ts';

type WithoutTime<T> = T extends LockEvent ? Omit<T, 'at' | 'skewMs'> : never;
/** An event without what is the same for all. */
export type ReportedEvent = WithoutTime<LockEvent>;

/** What everything of one client shares: nothing about a grant but who to release at `close` (invariant 11). */
export interface LeaseContext extends SendContext {
  readonly store: LockStore;
  /** Leases that are held, or whose release is under way. */
  readonly leases: Set<Lease>;
  /** Aborts when the client is closed. */
  readonly closing: AbortSignal;
  /** Reports an event, completed with the time and what is known of the clock. */
  report(event: ReportedEvent): void;
}

/** Milliseconds until a lock opens, by the server's clock as far as it is known; 0: it is open. */
export const untilOpenMs = ({ serverClock }: SendContext, record: LockRecord): number =>
  Math.max(0, record.expiresAt - serverClock.now(record.key));

/** Who holds a lock; nobody, where it is merely closed for a while after a release. */
export const holderOf = ({ lockId, owner }: LockRecord): string | undefined =>
  lockId === undefined ? undefined : owner;

/**
 * Releases a grant that nobody believes in, or that may have been made. One request; should that fail, the grant ends
 * with its lease, and the caller is told of what came before.
 * @param grant.until what was written, or may have been, as its expiry.
 */
export async function discard(
  context: LeaseContext,
  { key, lockId, until }: { readonly key: string; readonly lockId: string; readonly until: number },
  withinMs: number,
): Promise<void> {
  const { store } = context;
  // `until` stands for the present: by now this host's clock may have been set, and TTL would count from a wrong moment.
  const request = { key, lockId, now: until, holdAtLeastMs: 0 };
  await send(context, 'Discarding', (signal) => store.release(request, signal), { withinMs }).catch(() => {});
}
