import { beforeGrant, isGrantOf, type LockRecord, type Takeover } from '../record/record.ts';
import type { StoreAnswer } from '../record/store.ts';
import type { Grant } from './attempt.ts';
import type { LeaseContext } from './context.ts';
import { send } from './send.ts';

/**
 * Restores what a grant took over, where the clock that asked for the grant turned out to be wrong (invariant 13). Should
 * the restoring fail, the lock stays closed until the grant's own expiry.
 * @returns the lock as callers are told of it.
 */
export async function giveBack(context: LeaseContext, grant: Grant, withinMs: number): Promise<LockRecord> {
  const { record, serverDate } = grant;
  const { tookOver } = record;
  // The grant's answer was lost. Since then another wrong clock took the grant over and gave it back, and the record no
  // longer tells what the grant itself took over, which may be a live lease. So the lock stays closed.
  if (tookOver === undefined) return record;
  const restore = (of: LockRecord, previous: Takeover) => sendBack(context, of, previous, serverDate, withinMs);
  try {
    const { record: standing } = await restore(record, tookOver);
    if (!isGrantOf(grant.lockId, standing)) return beforeGrant(record);
    // Our own id under another token. Either a duplicate of our acquire was granted once more, over the state that its
    // record tells; or one wrong clock took the lock over and has given it back to us. If more than one did, nobody knows,
    // and the lock stays closed.
    if (standing.tookOver !== undefined) await restore(standing, standing.tookOver);
    else if (standing.fencingToken === record.fencingToken + 1) await restore(standing, tookOver);
  } catch {
    // The caller is told that the lock is busy, and so it is until the grant's expiry.
  }
  return beforeGrant(record);
}

function sendBack(
  context: LeaseContext,
  { key, lockId, fencingToken }: LockRecord,
  previous: Takeover,
  serverDate = Infinity,
  withinMs: number,
): Promise<StoreAnswer> {
  const { store, serverClock } = context;
  const request = (signal: AbortSignal) => {
    // The lock opens no later than the server's time, whatever this host's clock shows by now.
    const now = Math.min(serverClock.now(key), serverDate);
    return store.giveBack({ key, lockId: lockId as string, fencingToken, now, previous }, signal);
  };
  return send(context, `Giving back '${key}'`, request, { withinMs });
}
