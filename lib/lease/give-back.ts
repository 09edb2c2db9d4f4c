import { beforeGrant, isGrantOf, type LockRecord, type Takeover } from '../record/record.ts';
import type { StoreAnswer } from '../record/store.ts';
import type { Grant } from './attempt.ts';
import type { LeaseContext } from './context.ts';
import { ORDER, sendInTurn } from './gate.ts';
import type { AcquirePlan } from './options.ts';

/**
 * Restores the state that a grant replaced, if the clock that asked for the grant turned out to be wrong (invariant 13). If
 * the request fails, the lock stays closed until the grant's own expiry.
 * @returns the lock as callers are told of the lock.
 */
export async function giveBack(context: LeaseContext, grant: Grant, plan: AcquirePlan): Promise<LockRecord> {
  const { record, serverDate } = grant;
  const { tookOver } = record;
  // The grant's answer was lost. Since then another wrong clock has taken the grant over and given it back. So the record no
  // longer tells what our grant replaced, which may be a live lease, and the lock stays closed.
  if (tookOver === undefined) return record;
  const restore = (of: LockRecord, previous: Takeover) => sendBack(context, of, previous, serverDate, plan);
  try {
    const { record: standing } = await restore(record, tookOver);
    if (!isGrantOf(grant.lockId, standing)) return beforeGrant(record);
    // The record has our own id and another token. There are three cases.
    // - A duplicate of our acquire was granted once more: the record tells the state that this grant replaced.
    // - One wrong clock took the lock over and has given it back to us: the token is the next one.
    // - Several wrong clocks did so: nobody can tell what our grant replaced, and the lock stays closed.
    if (standing.tookOver !== undefined) await restore(standing, standing.tookOver);
    else if (standing.fencingToken === record.fencingToken + 1) await restore(standing, tookOver);
  } catch {
    // The lock stays closed until the grant's expiry, and the caller is told that the lock is busy.
  }
  return beforeGrant(record);
}

function sendBack(
  context: LeaseContext,
  { key, lockId, fencingToken }: LockRecord,
  previous: Takeover,
  serverDate = Infinity,
  { requestTimeoutMs, leaseMs }: AcquirePlan,
): Promise<StoreAnswer> {
  const { store, serverClock } = context;
  const request = (signal: AbortSignal) => {
    // The lock opens at the server's time at the latest, whatever this host's clock shows by now.
    const now = Math.min(serverClock.now(key), serverDate);
    return store.giveBack({ key, lockId: lockId as string, fencingToken, now, previous }, signal);
  };
  const limits = { order: ORDER.release, requestTimeoutMs, withinMs: leaseMs };
  return sendInTurn(context, `Giving back '${key}'`, request, limits);
}
