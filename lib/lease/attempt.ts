import { LockNoTimeError, LockStoreError } from '../record/errors.ts';
import { freshId } from '../record/fresh-id.ts';
import { isGrantOf, type LockRecord } from '../record/record.ts';
import type { StoreAnswer } from '../record/store.ts';
import type { Budget } from './budget.ts';
import { elapsedMs, type Instant, instant } from './clock.ts';
import type { LeaseContext } from './context.ts';
import { ORDER } from './gate.ts';
import { judgedInstant } from './judge.ts';
import type { AcquirePlan } from './options.ts';
import { discard } from './release.ts';
import { checkLeft, isMisdated, send } from './send.ts';
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

/** The outcome of one attempt. */
export type Attempt =
  | { readonly type: 'granted'; readonly grant: Grant }
  /** The record shows another grant, or none. */
  | { readonly type: 'refused'; readonly record: LockRecord | undefined; readonly term: Term }
  /**
   * This host's clock turned out to be wrong (invariant 13), and the caller is to ask once more. `grant` is a grant that was
   * made by the wrong clock. There is no grant if the server refused the request for the time in its signature.
   */
  | { readonly type: 'misjudged'; readonly grant?: Grant };

/** The request of an attempt, and the time that is left for the request. */
export interface Asking {
  /** The operation, as messages begin with it: `Acquiring`. */
  readonly what: string;
  /** The key of the record. */
  readonly key: string;
  /** The key that the caller gave, which the caller's errors name. */
  readonly lock: string;
  readonly plan: AcquirePlan;
  /** Milliseconds from `since` to the invocation's end. */
  readonly remainingMs: number;
  readonly since: Instant;
  readonly budget: Budget;
  /** Milliseconds for which a grant that is discarded keeps the lock closed. 0 if the grant was for nothing. */
  readonly discardHoldMs: number;
  /** The moment before which `holdAtLeastMs` lets nobody in, for a request that is sent at `sent`. */
  closedUntil(sent: Instant): number;
  /** Makes the request. Every sending of the request is the same. */
  request(lockId: string, term: Term): (signal: AbortSignal) => Promise<StoreAnswer>;
}

/**
 * Asks the store for a lease, once.
 * @throws LockNoTimeError if no time is left for the lease, or if no answer came before the lease's deadline.
 * @throws LockStoreError if no answer came. A grant that the store may have made is released in the background.
 */
export async function attempt(context: LeaseContext, asking: Asking): Promise<Attempt> {
  const { key, plan } = asking;
  const { signal } = plan;
  // 1. A turn, in which the request is written and sent. An attempt that leaves the queue has sent nothing.
  const withinMs = Math.min(timeFor(asking, context), asking.budget.queueMs);
  const turn = { clock: context.clock, what: nameOf(asking), order: ORDER.acquire, withinMs };
  const signals = [signal, context.closing];
  const { lockId, term, answered } = await context.gate.run({ ...turn, signals }, () => ask(context, asking));
  if (answered.status === 'rejected') {
    const error: unknown = answered.reason;
    // The reason of the caller's signal may look like any answer, and is none.
    const isAnswer = error instanceof LockStoreError && !signal?.aborted;
    if (isAnswer && isMisdated(error)) return { type: 'misjudged' };
    // Nobody knows whether the store has made the grant, unless the server refused. Release the grant, if there is one.
    if (!isAnswer || error.transient || (error.cause !== undefined && error.serverDate === undefined)) {
      discard(context, { key, lockId, until: term.until }, plan, asking.discardHoldMs);
    }
    if (isAnswer && error.transient && term.isOver) {
      const message = `${nameOf(asking)}: no answer came in the time of the lease, which would be past its deadline now. Set a longer leaseMs or holdAtMostMs, or check the network.`;
      throw new LockNoTimeError({ key: asking.lock, message }, { cause: error });
    }
    throw error;
  }
  asking.budget.fault = undefined;
  const { record, serverDate } = answered.value;
  if (!isGrantOf(lockId, record)) return { type: 'refused', record, term };
  // A condition of DynamoDB's cannot tell a fraction from a whole number, whose order a fencing token needs.
  if (!Number.isSafeInteger(record.fencingToken)) {
    discard(context, { key, lockId, until: term.until }, plan, asking.discardHoldMs);
    throw flawError(asking.what, record);
  }

  // 2. The server's clock, as the answer told it, judges the grant (invariant 13).
  const grant = { key, lockId, term, record, serverDate };
  const isTooEarly = context.serverClock.tooEarly(key, record.tookOver, serverDate);
  if (term.isDisproved || isTooEarly) return { type: 'misjudged', grant };

  // 3. A grant that came too late (invariant 4), or that nobody waits for any more, is discarded.
  discardUnwanted(context, asking, grant);

  // 4. If the clock was set meanwhile, the expiry that was written may be wrong (invariant 13).
  return { type: term.wasInterrupted ? 'misjudged' : 'granted', grant };
}

/** A request that was sent, and the answer or the reason why none came. */
interface Asked {
  readonly lockId: string;
  readonly term: Term;
  readonly answered: PromiseSettledResult<StoreAnswer>;
}

/** Writes the request and sends it. The attempt has its turn. */
async function ask(context: LeaseContext, asking: Asking): Promise<Asked> {
  const { plan, remainingMs, since, budget } = asking;
  const { holdAtMostMs, requestTimeoutMs, signal } = plan;
  budget.start();
  // 1. The moment of sending, by a judged clock (invariant 13), within the time that is left (invariant 4).
  const withinMs = timeFor(asking, context);
  const sent = await judgedInstant(
    context,
    asking.key,
    { requestTimeoutMs, withinMs, caller: budget, signal },
    context.closing,
  );
  signal?.throwIfAborted();

  // 2. The term: no longer than `holdAtMostMs`, and no longer than the invocation (invariant 8).
  const capMs = Math.min(holdAtMostMs, remainingMs - elapsedMs(since, sent));
  const term = new Term(context, sent, { ...plan, capMs, closedUntil: asking.closedUntil(sent) });
  checkTime(asking, term.believeMs);

  // 3. A `lockId` of its own: the record in the answer tells whether its grant is this attempt's (invariant 3).
  const lockId = freshId();
  checkLeft(budget.leftMs, nameOf(asking), budget);

  // 4. The request, which is not sent past the deadline (invariant 4).
  const limits = {
    requestTimeoutMs,
    withinMs: term.believeMs,
    since: sent,
    caller: budget,
    signal,
    throwMisdated: true,
  };
  const sending = send(context, nameOf(asking), asking.request(lockId, term), limits);
  const [answered] = await Promise.allSettled([sending]);
  return { lockId, term, answered };
}

/** The operation, as messages begin with it: `Acquiring 'nightly'`. */
const nameOf = ({ what, key }: Asking): string => `${what} '${key}'`;

/** Gives the milliseconds that are left of the invocation (invariant 4). */
function timeFor(asking: Asking, { clock }: LeaseContext): number {
  const leftMs = asking.remainingMs - elapsedMs(asking.since, instant(clock));
  checkTime(asking, leftMs);
  return leftMs;
}

/**
 * Releases a grant that came too late, or that nobody waits for any more.
 * @throws LockNoTimeError if the grant came too late.
 * @throws the reason of the signal, or of the client's closing, if nobody waits any more.
 */
export function discardUnwanted(
  context: LeaseContext,
  { what, lock, plan, discardHoldMs }: Pick<Asking, 'what' | 'lock' | 'plan' | 'discardHoldMs'>,
  grant: Grant,
): void {
  const { closing } = context;
  const { signal } = plan;
  const { key, lockId, term } = grant;
  if (!term.isOver && !closing.aborted && !signal?.aborted) return;
  discard(context, { key, lockId, until: term.until }, plan, discardHoldMs);
  closing.throwIfAborted();
  signal?.throwIfAborted();
  throw new LockNoTimeError({
    key: lock,
    message: `${what} '${key}': the store's answer came after the lease's own deadline, so the lease was given up. Try again, or set a longer leaseMs.`,
  });
}

const HINTS: Readonly<Record<string, string>> = {
  doneToken: 'Reset the token: leasehold reset-once KEY, or resetOnce()',
  acquiredAt: 'Let the lease expire, and acquire the lock anew',
};

/** Makes the error for a record with a value that no request can be judged by. The flaw begins with the attribute. */
export function flawError(what: string, { key, flaw = '' }: Pick<LockRecord, 'key' | 'flaw'>): LockStoreError {
  const [name = ''] = flaw.split(' ');
  const hint = HINTS[name] ?? 'Repair the record while nobody holds the lock: leasehold repair KEY, or repair()';
  const message = `${what} '${key}': somebody has changed the record: its ${flaw}. ${hint}.`;
  return new LockStoreError(message, { foreign: true });
}

/** Invariant 4: no request is sent for a lease that would be past its deadline at its grant. */
function checkTime({ what, key, lock }: Asking, leftMs: number): void {
  if (leftMs > 0) return;
  throw new LockNoTimeError({
    key: lock,
    message: `${what} '${key}': the invocation has ${Math.max(0, Math.round(leftMs))} ms left. Take the lock earlier, or raise the function's timeout.`,
  });
}
