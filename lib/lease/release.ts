import { LockStoreError, type LostReason } from '../record/errors.ts';
import { isDone, lossOf } from '../record/record.ts';
import type { StoreAnswer } from '../record/store.ts';
import type { LeaseContext } from './context.ts';
import { leavingOf } from './options.ts';
import { send } from './send.ts';

/** The grant that a release ends, and the state that the release leaves. */
export interface Releasing {
  readonly key: string;
  readonly lockId: string;
  readonly fencingToken: number;
  readonly acquiredAt: number;
  /** The expiry that was last written. */
  readonly until: number;
  readonly holdAtLeastMs: number;
  /** The `once` token that becomes done. Absent where none does, or where a later one is done already. */
  readonly doneToken: string | undefined;
}

/** The outcome of a release. */
export type Released =
  | { readonly type: 'released' }
  /** Somebody else had ended the grant. */
  | { readonly type: 'lost'; readonly reason: LostReason }
  /** Nobody knows whether the release was applied. */
  | { readonly type: 'unknown'; readonly error: LockStoreError };

/**
 * Milliseconds of an invocation's time that a release leaves to the response. Work that succeeded, and whose response comes
 * too late, is done again. Larger: less time to try the release in, and a lock that stays closed when the store is slow.
 */
const RESPONSE_MS = 200;

/**
 * Milliseconds for which a release may be tried. Without a bound where the invocation's time is over and its code goes on
 * all the same, as where invocations share a process: then nothing is left that a release could spoil.
 */
export const releaseMsOf = (remainingMs: (() => unknown) | undefined): number =>
  leavingOf(remainingMs, RESPONSE_MS) || Infinity;

/**
 * Releases a grant. Never rejects.
 * @param isBelieved whether the deadline of the lease is still to come.
 */
export async function release(
  context: LeaseContext,
  releasing: Releasing,
  limits: { readonly requestTimeoutMs: number; readonly withinMs: number },
  isBelieved: () => boolean,
): Promise<Released> {
  const { store, serverClock } = context;
  const { key, lockId, acquiredAt, until, holdAtLeastMs, doneToken } = releasing;
  const request = (signal: AbortSignal) => {
    // By a clock that was set back since the last renewal, TTL would delete the record too soon.
    const now = Math.max(serverClock.now(key), until);
    return store.release({ key, lockId, now, holdAtLeastMs, doneToken }, signal);
  };
  try {
    const answer = await send(context, `Releasing '${key}'`, request, limits);
    if (answer.applied || wasReleasedBefore(releasing, answer, isBelieved())) {
      if (holdAtLeastMs <= 1) serverClock.wrote(key, acquiredAt + 1);
      return { type: 'released' };
    }
    const { record } = answer;
    if (record?.lockId === undefined || isBelieved()) return { type: 'lost', reason: lossOf(record) };
    const message = `Releasing '${key}': refused, and its deadline has passed. Nobody knows whether an earlier sending was applied.`;
    return { type: 'unknown', error: new LockStoreError(message) };
  } catch (error) {
    return { type: 'unknown', error: error as LockStoreError };
  }
}

/**
 * Tells whether a refused release was applied before: its first answer was lost, or the network delivered it twice. An
 * operator's force release, too, writes our `lockId` into `releasedBy`, and may have ended our grant instead.
 *
 * - A token that is due must stand in the record. With our `releasedBy` beside it, the token proves our release: an operator
 *   writes no token, and another holder's release writes its own `releasedBy`. Without our `releasedBy`, another's grant
 *   before our deadline proves our release: nothing else, but an operator, lets another in so early.
 * - With no token due, our `releasedBy` and the expiry that our release writes prove the release: an operator writes another
 *   expiry. If another has been granted the lock since, its record keeps that expiry as the one that it took over.
 * - A release that we sent more than once was most likely applied. Our `releasedBy` is then enough, and so is another's
 *   grant before our deadline, which nothing but our release, or an operator, made possible.
 */
function wasReleasedBefore(releasing: Releasing, { record, attempts = 1 }: StoreAnswer, isBelieved: boolean): boolean {
  const { lockId, fencingToken, acquiredAt, holdAtLeastMs, doneToken } = releasing;
  const isDue = doneToken !== undefined;
  if (isDue && !isDone(doneToken, record?.doneToken)) return false;
  if (record?.releasedBy !== lockId) return (attempts > 1 || isDue) && isBelieved;
  const { tookOver } = record;
  const replacedAt = tookOver && tookOver.type !== 'nothing' ? tookOver.expiresAt : undefined;
  const opened = record.fencingToken === fencingToken ? record.expiresAt : replacedAt;
  return attempts > 1 || isDue || opened === acquiredAt + Math.max(1, holdAtLeastMs);
}

/**
 * Releases a grant that nobody believes in, or that may have been made. One request; should it fail, the grant ends with
 * its lease, and the caller is told of the fault that came before.
 * @param grant.until the expiry that was written, or may have been.
 */
export async function discard(
  context: LeaseContext,
  { key, lockId, until }: { readonly key: string; readonly lockId: string; readonly until: number },
  withinMs: number,
): Promise<void> {
  const { store } = context;
  // `until` stands for the present: this host's clock may have been set, and TTL would count from a wrong moment.
  const request = { key, lockId, now: until, holdAtLeastMs: 0 };
  await send(context, `Discarding '${key}'`, (signal) => store.release(request, signal), { withinMs }).catch(() => {});
}
