import { LockNoTimeError, LockStoreError } from '../record/errors.ts';
import { isGrantOf, type LockRecord } from '../record/record.ts';
import type { StoreAnswer } from '../record/store.ts';
import { elapsedMs, type Instant, instant } from './clock.ts';
import type { LeaseContext } from './context.ts';
import { judgedInstant } from './judge.ts';
import { newLockId } from './lock-id.ts';
import type { AcquirePlan } from './options.ts';
import { discard } from './release.ts';
import { isMisdated, send } from './send.ts';
import { Term } from './term.ts';

/** A grant, as the store confirmed it. */
export interface Grant {
  readonly key: string;
  readonly lockId: string;
  readonly term: Term;
  readonly record: LockRecord;
  /** The `Date` of the answer. */
  readonly serverDate: number | undefined;
}

/** The outcome of one request for a lease. */
export type Attempt =
  | { readonly type: 'granted'; readonly grant: Grant }
  /** The record shows another grant than the one that was asked for. */
  | { readonly type: 'refused'; readonly record: LockRecord | undefined; readonly term: Term }
  /**
   * This host's clock turned out to be wrong (invariant 13): it is to be asked for once more. With a grant, one was made
   * by that clock; without, the server refused the request for the time in its signature.
   */
  | { readonly type: 'misjudged'; readonly grant?: Grant };

/** The request of an attempt, and the time that there is for it. */
export interface Asking {
  /** The operation, as messages begin with it: `Acquiring`. */
  readonly what: string;
  readonly key: string;
  readonly plan: AcquirePlan;
  /** Milliseconds from `since` that the invocation lasts. */
  readonly remainingMs: number;
  readonly since: Instant;
  /** Makes the request. It is the same each time that it is sent. */
  request(lockId: string, term: Term): (signal: AbortSignal) => Promise<StoreAnswer>;
}

/**
 * Asks the store for a lease, once.
 * @throws LockNoTimeError when no time is left for the lease.
 * @throws LockStoreError when no answer came. If the lease may have been granted, it is released.
 */
export async function attempt(context: LeaseContext, asking: Asking): Promise<Attempt> {
  const { what, key, plan, remainingMs, since } = asking;
  const { holdAtMostMs, requestTimeoutMs, signal } = plan;
  // 1. A moment to write by: one of a judged clock (invariant 13), in the time that is left (invariant 4).
  const withinMs = remainingMs - elapsedMs(since, instant(context.clock));
  checkTime(asking, withinMs);
  const sent = await judgedInstant(context, key, { requestTimeoutMs, withinMs, signal }, context.closing);
  signal?.throwIfAborted();

  // 2. The term: no longer than the work may last, and, on Lambda, than the invocation (invariant 8).
  const capMs = Math.min(holdAtMostMs, remainingMs - elapsedMs(since, sent));
  const term = new Term(context, sent, { ...plan, capMs });
  checkTime(asking, term.believeMs);

  // 3. An id of its own: the record tells whether the grant in it is this very attempt's (invariant 3).
  const lockId = newLockId();

  // 4. The request. Past its deadline it is not sent (invariant 4).
  const limits = { requestTimeoutMs, withinMs: term.believeMs, since: sent, signal, throwMisdated: true };
  let answer: StoreAnswer;
  try {
    answer = await send(context, `${what} '${key}'`, asking.request(lockId, term), limits);
  } catch (error) {
    if (isMisdated(error)) return { type: 'misjudged' };
    // Nobody knows whether the lease was granted: if it was, it is released.
    if (!(error instanceof LockStoreError) || error.transient) {
      await discard(context, { key, lockId, until: term.until }, requestTimeoutMs);
    }
    throw error;
  }
  const { record, serverDate } = answer;
  if (!isGrantOf(lockId, record)) return { type: 'refused', record, term };

  // 5. The grant is judged by the server's clock, as its answer told it (invariant 13).
  const grant = { key, lockId, term, record, serverDate };
  const isTooEarly = context.serverClock.tooEarly(record.tookOver, serverDate);
  if (term.isDisproved || isTooEarly) return { type: 'misjudged', grant };

  // 6. A grant that came too late is no grant (invariant 4), nor is one that nobody waits for any more.
  await discardUnwanted(context, asking, grant);

  // 7. A clock that was set meanwhile may have written anything (invariant 13).
  return { type: term.wasInterrupted ? 'misjudged' : 'granted', grant };
}

/**
 * Releases a grant that came too late, or that nobody waits for any more.
 * @throws LockNoTimeError, or the reason of the signal that aborted, when it did.
 */
export async function discardUnwanted(context: LeaseContext, { what, plan }: Asking, grant: Grant): Promise<void> {
  const { closing } = context;
  const { signal, requestTimeoutMs } = plan;
  const { key, lockId, term } = grant;
  if (!term.isOver && !closing.aborted && !signal?.aborted) return;
  await discard(context, { key, lockId, until: term.until }, requestTimeoutMs);
  closing.throwIfAborted();
  signal?.throwIfAborted();
  throw new LockNoTimeError({
    key,
    message: `${what} '${key}': the store's answer came after the lease's own deadline, so the lease was given up. Try again, or set a longer leaseMs.`,
  });
}

/** Invariant 4: no request is sent for a lease that would be past its deadline when it is granted. */
function checkTime({ what, key }: Asking, leftMs: number): void {
  if (leftMs > 0) return;
  throw new LockNoTimeError({
    key,
    message: `Not ${what.toLowerCase()} '${key}': the invocation has ${Math.max(0, Math.round(leftMs))} ms left. Take the lock earlier, or raise the function's timeout.`,
  });
}
