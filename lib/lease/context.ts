import type { LeaseStore, LockStore } from '../record/store.ts';
import type { ReportedEvent } from './events.ts';
import type { Gate } from './gate.ts';
import type { OwnLeases } from './own-leases.ts';
import type { SendContext } from './send.ts';
import type { SlotMemory } from './slots.ts';

/**
 * The part of a client that all its operations share. Of grants it has only the leases that `close` waits for (invariant 11).
 */
export interface LeaseContext extends SendContext {
  readonly store: LeaseStore;
  /** The one way to the store: the client's operations wait here for a turn. */
  readonly gate: Gate;
  /** The leases that are held, or whose release is under way. */
  readonly leases: OwnLeases;
  /** The calls that are under way, and the work that goes on after its caller has got an answer. `close` waits for them. */
  readonly pending: Set<Promise<unknown>>;
  /** The slots that this client had last, of keys with `permits`. Knows of slots and of no grant (invariant 11). */
  readonly slots: SlotMemory;
  /** Aborts when the client is closed. */
  readonly closing: AbortSignal;
  /** Reports an event. Adds the time, and the skew of a clock that is known to be wrong. */
  report(event: ReportedEvent): void;
}

/** The context of a client whose store also has the operators' operations. */
export type OperatorContext = LeaseContext & { readonly store: LockStore };

/** Lets work go on that nobody waits for but `close`. Nobody hears of a failure of the work (invariant 12). */
export function inBackground({ pending }: LeaseContext, work: Promise<unknown>): void {
  const end = () => pending.delete(work);
  pending.add(work);
  work.then(end, end);
}
