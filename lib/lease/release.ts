import { LockStoreError, type LostReason } from '../record/errors.ts';
import { isGrantOf, type LockRecord, lossOf } from '../record/record.ts';
import type { StoreAnswer } from '../record/store.ts';
import { isDone } from '../record/token.ts';
import { inBackground, type LeaseContext } from './context.ts';
import { ORDER, sendInTurn } from './gate.ts';
import { type AcquirePlan, leavingOf } from './options.ts';

/** The grant that a release ends, and the state that the release leaves. */
export interface Releasing {
  readonly key: string;
  readonly lockId: string;
  readonly fencingToken: number;
  readonly acquiredAt: number;
  /** The expiry that was last written. */
  readonly until: number;
  readonly holdAtLeastMs: number;
  /**
   * The `once` token that becomes done. Absent if no token does, or if a later token is done already. Empty if the record's
   * token is taken away.
   */
  readonly doneToken?: string | undefined;
  /** JSON: the result that belongs to `doneToken`. */
  readonly doneResult?: string | undefined;
  /** Of a coalescing lease whose run has succeeded: the value of `asked` up to which the run has served. */
  readonly served?: number | undefined;
}

/** The outcome of a release. */
export type Released =
  | { readonly type: 'released' }
  /** Somebody has asked for one more run since the run began. The grant stands, as the record shows it (invariant 15). */
  | { readonly type: 'asked'; readonly record: LockRecord }
  /** Another grant, an operator or a deletion had ended the grant. */
  | { readonly type: 'lost'; readonly reason: LostReason }
  /** Nobody knows whether the release was applied. */
  | { readonly type: 'unknown'; readonly error: LockStoreError };

/**
 * Milliseconds of an invocation's time that a release leaves to the response. If the response comes too late, work that
 * succeeded is done again. Larger means less time to try the release: the lock stays closed if the store is slow.
 */
const RESPONSE_MS = 200;

/**
 * Milliseconds for which a release may be tried. There is no bound if the invocation's time is over and its code still runs,
 * as it does if invocations share a process: then there is no response left to delay.
 */
export const releaseMsOf = (remainingMs: (() => unknown) | undefined): number =>
  leavingOf(remainingMs, RESPONSE_MS) || Infinity;

/**
 * Releases a grant. Never rejects.
 * @param isBelieved tells whether the deadline of the lease is still ahead.
 */
export async function release(
  context: LeaseContext,
  releasing: Releasing,
  limits: { readonly requestTimeoutMs: number; readonly withinMs: number; readonly insistMs?: number },
  isBelieved: () => boolean,
): Promise<Released> {
  const { store, serverClock } = context;
  const { key, lockId, acquiredAt, until, holdAtLeastMs, doneToken, doneResult, served } = releasing;
  const request = (signal: AbortSignal) => {
    // The clock may have been set back since the last renewal. By such a clock, TTL would delete the record too soon.
    const now = Math.max(serverClock.now(key), until - holdAtLeastMs);
    return store.release({ key, lockId, now, holdAtLeastMs, doneToken, doneResult, served }, signal);
  };
  try {
    const answer = await sendInTurn(context, `Releasing '${key}'`, request, { ...limits, order: ORDER.release });
    if (answer.applied || wasReleasedBefore(releasing, answer, isBelieved())) {
      if (holdAtLeastMs <= 1) serverClock.wrote(key, acquiredAt + 1);
      return { type: 'released' };
    }
    const { record } = answer;
    if (served !== undefined && isGrantOf(lockId, record)) return { type: 'asked', record };
    if (record?.lockId === undefined || isBelieved()) return { type: 'lost', reason: lossOf(record) };
    const message = `Releasing '${key}': refused, and its deadline has passed. Nobody knows whether an earlier sending was applied. The lock opens at the expiry at the latest.`;
    return { type: 'unknown', error: new LockStoreError(message) };
  } catch (error) {
    return { type: 'unknown', error: error as LockStoreError };
  }
}

/**
 * Tells whether a refused release had been applied by an earlier delivery: the first answer was lost, or the network
 * delivered the request twice. An operator's force release also writes our `lockId` into `releasedBy`, and may have ended
 * our grant instead.
 *
 * - **A token is due.** The token must stand in the record. With our `releasedBy`, the token proves our release: an operator
 *   writes no token, and another holder's release writes its own `releasedBy`. Without our `releasedBy`, another holder's
 *   grant before our deadline proves our release: only our release, or an operator, lets another holder in so early.
 * - **No token is due.** Our `releasedBy` and the expiry that our release writes prove our release: an operator writes
 *   another expiry. (If `holdAtLeastMs` outlasts the lease, an operator leaves that same expiry. Then the lock opens at the
 *   same moment, and nobody was let in before. So the lease counts as released.) If another holder was granted the lock
 *   since, the record still has that expiry, in `tookOver`.
 * - **An earlier sending may have been applied.** Then it most likely was. Our `releasedBy` is enough, and so is
 *   another holder's grant before our deadline.
 * - **A run has served.** The record's `served` proves our release, or a later run's: then no run is owed to anybody whom
 *   our run was to serve.
 */
function wasReleasedBefore(
  releasing: Releasing,
  { record, maybeAppliedBefore = false }: StoreAnswer,
  isBelieved: boolean,
): boolean {
  const { lockId, fencingToken, acquiredAt, holdAtLeastMs, doneToken, served } = releasing;
  if (served !== undefined) return (record?.served ?? 0) >= served;
  const isDue = doneToken !== undefined && doneToken !== '';
  if (isDue && !isDone(doneToken, record?.doneToken)) return false;
  if (record?.releasedBy !== lockId) return (maybeAppliedBefore || isDue) && isBelieved;
  const { tookOver } = record;
  const replacedAt = tookOver && tookOver.type !== 'nothing' ? tookOver.expiresAt : undefined;
  const opened = record.fencingToken === fencingToken ? record.expiresAt : replacedAt;
  return maybeAppliedBefore || isDue || opened === acquiredAt + Math.max(1, holdAtLeastMs);
}

/**
 * Releases a grant that nobody believes in, or that the store may have made. Nobody waits for the release: its caller has got
 * an answer. If the release fails, or if Lambda freezes the process meanwhile, the lock opens at the expiry. A release that
 * arrives late ends no other grant (invariant 9).
 * @param grant.until the expiry that was written, or may have been written.
 * @param holdAtLeastMs of a grant that was resumed. Any other grant that is discarded was for nothing, and opens at once.
 */
export function discard(...grant: Parameters<typeof discarded>): void {
  void discarded(...grant);
}

/** Does what `discard` does. The promise, whose rejection is handled, settles with the release. */
export function discarded(
  context: LeaseContext,
  { key, lockId, until }: { readonly key: string; readonly lockId: string; readonly until: number },
  { requestTimeoutMs, leaseMs }: Pick<AcquirePlan, 'requestTimeoutMs' | 'leaseMs'>,
  holdAtLeastMs = 0,
): Promise<unknown> {
  const { store } = context;
  // `until` stands for the present. This host's clock may have been set, and TTL would count from a wrong moment.
  const request = { key, lockId, now: until, holdAtLeastMs };
  const discarding = (signal: AbortSignal) => store.release(request, signal);
  const limits = { order: ORDER.release, requestTimeoutMs, withinMs: leaseMs };
  const sent = sendInTurn(context, `Discarding '${key}'`, discarding, limits);
  inBackground(context, sent);
  return sent;
}
