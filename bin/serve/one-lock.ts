/** The requests of the live page that are about one lock. */
import type { LockClient, LockState } from '../../lib/index.ts';
import { checkKey, checkText, checkThat, show } from '../../lib/record/check.ts';
import { holderIn } from '../describe.ts';
import { Refusal } from './guard.ts';
import type { Losses } from './losses.ts';

/**
 * Reads what a lock's row does not show. Without the ids of grants: a page that only reads needs none.
 * @throws Refusal if there is no record.
 */
export async function detailsOf(locks: LockClient, key: string) {
  const state = await locks.inspect(key);
  if (state === undefined) throw new Refusal(404, `There is no record of the lock ${show(key)}: the lock is free.`);
  const { owner, fencingToken, acquiredAt, expiresAt, leaseMs, doneToken, doneResult, committed, data, flaw } = state;
  const { asked, served } = state;
  return {
    owner,
    fencingToken,
    acquiredAt,
    expiresAt,
    leaseMs,
    doneToken,
    doneResult,
    committed,
    data,
    flaw,
    asked,
    served,
  };
}

/** Ends the grant that the operator saw. */
export async function release(locks: LockClient, body: Record<string, unknown>, losses: Losses) {
  const { key: givenKey, lockId: givenId, immediately = false } = body;
  const key = checkKey(givenKey);
  const lockId = checkText('lockId', givenId);
  checkThat(typeof immediately === 'boolean', 'immediately', 'true or false', immediately);
  const isEnded = await locks.forceRelease(key, { lockId, immediately }).catch((error: Error) => {
    throw new Error(
      `${error.message} Nobody knows whether the grant is ended. End it again: a grant that has ended does not end twice.`,
    );
  });
  if (isEnded) losses.ended(lockId);
  // The grant is ended, also if the store does not answer now.
  const state = await locks.inspect(key).catch(() => undefined);
  if (!isEnded) {
    const advice = state?.held ? ' Look at that grant first.' : '';
    throw new Refusal(409, `Nothing was released: the grant has ended before. ${standing(key, state)}${advice}`);
  }
  return { message: `The grant is ended. ${standing(key, state)}`, opensInMs: state?.opensInMs ?? null };
}

function standing(key: string, state: LockState | undefined): string {
  if (state === undefined) return `No record of ${show(key)} could be read.`;
  const { held, owner, fencingToken, opensInMs } = state;
  if (held)
    return `${show(key)} is now held by ${owner === undefined ? holderIn({}) : show(owner)}, with the fencing token ${fencingToken}.`;
  if (opensInMs > 0) return `Nobody holds ${show(key)}, which opens in ${Math.ceil(opensInMs / 1000)} s.`;
  return `${show(key)} is free.`;
}
