import { checkKey, checkText, checkThat } from '../record/check.ts';
import { LockLostError, LockStoreError } from '../record/errors.ts';
import { isGrantOf, type LockRecord, lossOf } from '../record/record.ts';
import { checkSlot, slotKey } from '../record/slot-keys.ts';
import { type Asking, attempt, discardUnwanted, flawError, type Grant } from './attempt.ts';
import { Budget } from './budget.ts';
import { instant } from './clock.ts';
import type { OperatorContext } from './context.ts';
import type { LeaseHandle } from './lease.ts';
import { type AcquirePlan, remainingOf } from './options.ts';
import { discard } from './release.ts';

/**
 * Puts a grant of this process in the place of a grant that was handed off.
 *
 * 1. Asks by the handle's id.
 * 2. If the answer shows that this host's clock is wrong (invariant 13), asks once more, in the place of the first grant.
 *    There is no first grant if the clock was so far behind that the lease would have expired before its acquisition: then
 *    asks by the handle's id again.
 * @throws LockLostError if the handed-off grant no longer stands in the record.
 */
export async function resume(context: OperatorContext, handle: LeaseHandle, plan: AcquirePlan): Promise<Grant> {
  const { store, clock } = context;
  const key = slotKey(checkKey(handle.key), checkSlot(handle.slot ?? 0));
  let handed = checkText('The lockId of a handle', handle.lockId);
  const { acquiredAt = 0 } = handle;
  const isMoment = Number.isSafeInteger(acquiredAt) && (acquiredAt !== 0 || plan.holdAtLeastMs === 0);
  checkThat(isMoment, 'The acquiredAt of a handle', 'as handOff() gave it', handle.acquiredAt);
  const closedUntil = acquiredAt + plan.holdAtLeastMs;
  const asking: Asking = {
    what: 'Resuming',
    key,
    lock: handle.key,
    plan,
    remainingMs: remainingOf(plan),
    since: instant(clock),
    budget: new Budget(clock, plan),
    // The work before the hand-off counts: a discard keeps the promise of `holdAtLeastMs`.
    discardHoldMs: plan.holdAtLeastMs,
    closedUntil: () => closedUntil,
    request: (lockId, { until }) => {
      const request = { key, handed, lockId, owner: plan.owner, until, leaseMs: plan.leaseMs };
      return (signal) => store.resume(request, signal);
    },
  };
  const checkHanded = (record: LockRecord | undefined) => {
    if (isGrantOf(handed, record)) return;
    const detail = 'since it was handed off it was resumed, released, taken over or deleted';
    throw new LockLostError({ key: handle.key, reason: lossOf(record), detail });
  };

  const first = await attempt(context, asking);
  if (first.type === 'granted') return first.grant;
  if (first.type === 'refused') checkHanded(first.record);
  const misjudged = first.type === 'misjudged' ? first.grant : undefined;
  try {
    if (misjudged) handed = misjudged.lockId;
    const second = await attempt(context, asking);
    if (second.type === 'granted') return second.grant;
    if (second.type === 'refused') {
      checkHanded(second.record);
      if (second.record?.flaw !== undefined) throw flawError('Resuming', second.record);
    } else if (second.grant) {
      // The clock is not right even now. But the belief in the grant ends before the record's expiry, whatever the clock.
      discardUnwanted(context, asking, second.grant);
      return second.grant;
    }
    throw new LockStoreError(
      `Resuming '${key}': refused, for by this host's clock the lease would expire before it was acquired. Set the clock right.`,
      { transient: true },
    );
  } catch (error) {
    // The handle is used up, and nobody would hold the first grant.
    if (misjudged) {
      const { lockId, term } = misjudged;
      discard(context, { key, lockId, until: term.until }, plan, plan.holdAtLeastMs);
    }
    throw error;
  }
}
