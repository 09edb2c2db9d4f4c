import { checkKey, checkNames, checkText, checkThat, show } from '../record/check.ts';
import { LockStoreError, REPAIR_IT } from '../record/errors.ts';
import { isBroken, isCountable } from '../record/record.ts';
import type { StoreAnswer } from '../record/store.ts';
import type { OperatorContext } from './context.ts';
import { ORDER, sendInTurn } from './gate.ts';
import { inspect, type LockState } from './inspect.ts';
import { judgedInstant } from './judge.ts';

/**
 * The options of `forceRelease`.
 * @example
 * ```ts
 * import type { ForceReleaseOptions } from 'leasehold';
 *
 * export const endingAtOnce = (lockId: string): ForceReleaseOptions => ({ lockId, immediately: true });
 * ```
 */
export interface ForceReleaseOptions {
  /** The id of the grant to end, as `inspect` shows the id. So no later grant is ended by mistake. */
  readonly lockId: string;
  /**
   * Opens the lock at once, whatever keeps it closed: the lease, an earlier forced release of the grant, `holdAtLeastMs`, or
   * a clock that was wrong.
   * @default false
   */
  readonly immediately?: boolean | undefined;
}

/**
 * The options of `repair`.
 * @example
 * ```ts
 * import type { LockState, RepairOptions } from 'leasehold';
 *
 * export const withToken = (seen: LockState, fencingToken: number): RepairOptions => ({ seen, fencingToken });
 * ```
 */
export interface RepairOptions {
  /**
   * The state as `inspect` gave it. So no later state is changed by mistake. Leave the state out only if `inspect` rejects
   * with a `foreign` error, since the record's token or expiry is missing, or is no number.
   * @default none
   */
  readonly seen?: Pick<LockState, 'lockId' | 'fencingToken' | 'expiresAt' | 'acquiredAt' | 'flaw'> | undefined;
  /**
   * The fencing token to write. The next grant has a token that is one higher. 0 to 9,007,000,000,000,000:
   * so there is room for the tokens of later grants. Not smaller than the lock's token, unless that is damaged, or lies ahead of
   * the present time in milliseconds.
   * @default the greater of the token seen and the present time in milliseconds. Every token that began from a right clock
   *   is smaller.
   */
  readonly fencingToken?: number | undefined;
  /**
   * Opens a lock at once whose record somebody has damaged, though its expiry lies ahead. Its holder may believe until then:
   * two holders may run at a time. A lock whose record is whole, and that nobody holds, always opens at once.
   * @default false
   */
  readonly immediately?: boolean | undefined;
}

/** The greatest token that an operator may write. After a greater one there would soon be none to count on. */
const MOST_TOKEN = 9_007_000_000_000_000;
/** A reason for which a store refuses a repair, and the option that overcomes the reason. */
const EXPIRY_AHEAD = 'its expiry lies ahead (immediately opens the lock all the same, and two holders may run)';
/** Two hosts' clocks differ by less, unless one of them is wrong. */
const WRONG_MS = 2_000;

/**
 * Ends a grant.
 *
 * 1. Ends the grant in one write. With `immediately`, the write also opens a lock that stayed closed after the grant's end.
 * 2. With `immediately`, looks at the lock. A wrong clock may have written an acquisition in the future, and the lock is
 *    still closed: repairs the lock.
 */
export async function forceRelease(
  context: OperatorContext,
  key: string,
  options: ForceReleaseOptions,
): Promise<boolean> {
  if (options === undefined)
    throw new TypeError('forceRelease needs the option lockId: the id of the grant, as inspect shows it.');
  checkNames('forceRelease', options, { lockId: 0, immediately: 0 });
  const lockId = checkText('lockId', options.lockId);
  const { immediately = false } = options;
  const request = { key: checkKey(key), lockId, immediately };
  const force = (signal: AbortSignal) => context.store.forceRelease(request, signal);
  const { applied, record } = await sendInTurn(context, `Force-releasing ${show(key)}`, force, {
    order: ORDER.release,
  });
  if (!applied && record?.releasedBy !== lockId) return false;
  context.leases.revoked(key, lockId);
  if (!immediately) return true;
  const seen = await inspect(context, key);
  const isClosed = seen?.lockId === undefined && seen?.releasedBy === lockId && seen.opensInMs > WRONG_MS;
  return !isClosed || repair(context, key, { seen, immediately });
}

/**
 * Opens a lock that nobody holds, and writes its token. If the record is broken, ends the grant, too. Then the lock opens at
 * the expiry, when the belief of a holder has ended, unless `immediately` says otherwise.
 */
export async function repair(context: OperatorContext, key: string, options: RepairOptions): Promise<boolean> {
  if (options === undefined) {
    throw new TypeError(
      'repair needs the option seen: the state of the lock, as inspect gives it ({} if inspect rejects).',
    );
  }
  checkNames('repair', options, { seen: 0, fencingToken: 0, immediately: 0 });
  checkKey(key);
  const { seen, immediately = false } = options;
  const whole = seen !== undefined && !isBroken(seen) ? seen : undefined;
  // A grant may have ended since, with the same expiry, which then keeps the promise of `holdAtLeastMs`.
  if (whole?.lockId !== undefined) return false;
  // The moment that is written must be right: any other moment would close the lock again (invariant 13).
  await judgedInstant(context, key, {});
  const now = context.serverClock.now(key);
  const fencingToken = tokenToWrite(options, whole !== undefined, now);
  // The expiry turns away each acquire that was sent before the last acquisition (invariant 3). A moment that lies far in the
  // future is a wrong clock's, and not the acquisition.
  const lastAcquiredAt = seen?.acquiredAt ?? 0;
  const soonest = lastAcquiredAt > now + WRONG_MS ? now : Math.max(now, Math.floor(lastAcquiredAt) + 1);
  const expiresAt = Math.ceil(seen?.expiresAt ?? 0);
  const opensAt = whole || immediately || !isCountable(expiresAt) ? soonest : Math.max(soonest, expiresAt);
  // Whoever has not seen the record does not know its token.
  const lowersToken = seen !== undefined || options.fencingToken !== undefined;
  const broken = { acquiredAt: soonest, immediately, lowersToken };
  const request = { key, opensAt, fencingToken, ...(whole ? { seen: whole } : { seen, broken }) };
  const mend = (signal: AbortSignal) => context.store.repair(request, signal);
  const sent = sendInTurn(context, `Repairing ${show(key)}`, mend, { order: ORDER.release, throwMisdated: true });
  const { applied, record }: StoreAnswer = await sent.catch((error: unknown) => {
    // A store says so of an item that was a lock.
    const isOurs = error instanceof LockStoreError && error.foreign && error.message.includes(REPAIR_IT);
    const reasons = [
      ...(immediately ? [] : [EXPIRY_AHEAD]),
      ...(lowersToken ? [] : ['its token is greater than the present time in milliseconds (name a fencingToken)']),
    ];
    if (!isOurs || reasons.length === 0) throw error;
    throw new LockStoreError(`${error.message} The record is not repaired, since ${reasons.join(', or ')}.`, error);
  });
  // A refusal that shows what this request writes comes after a lost answer.
  const isMended =
    applied || (record?.lockId === undefined && record?.expiresAt === opensAt && record.fencingToken === fencingToken);
  if (isMended) context.leases.revoked(key);
  return isMended;
}

/** The token that a repair writes. */
function tokenToWrite({ seen, fencingToken: named }: RepairOptions, isWhole: boolean, now: number): number {
  const token = Math.ceil(seen?.fencingToken ?? 0);
  // A token that nobody has damaged was granted, and never goes back (invariant 2).
  const isKept = isCountable(token) && (isWhole || token <= MOST_TOKEN);
  if (named === undefined) return isKept ? Math.max(token, now) : now;
  const isToken = isCountable(named) && named <= MOST_TOKEN;
  checkThat(isToken, 'fencingToken', `a whole number from 0 to ${MOST_TOKEN}`, named);
  // A token ahead of the clock may be a wrong clock's, or somebody else's.
  if (isWhole && token <= now) {
    checkThat(named >= token, 'fencingToken', `at least ${token}, the lock's token, which never goes down`, named);
  }
  return named;
}
