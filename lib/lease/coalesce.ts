import { checkDuration, checkFunction, checkNames, checkThat, isPlain } from '../record/check.ts';
import { LockStoreError } from '../record/errors.ts';
import { holderOf, isGrantOf, isOwed, type LockRecord, lossOf } from '../record/record.ts';
import { Acquisition } from './acquisition.ts';
import type { Busy } from './attempts.ts';
import { heed } from './callback.ts';
import { instant, pause } from './clock.ts';
import type { LeaseContext } from './context.ts';
import type { OwedReason } from './events.ts';
import { ORDER, sendInTurn } from './gate.ts';
import { Lease } from './lease.ts';
import type { LeaseClient } from './lease-client.ts';
import { ACQUIRE_OPTIONS, type AcquireOptions, type AcquirePlan, leavingOf } from './options.ts';
import { discarded, releaseMsOf } from './release.ts';

/**
 * The result of a call to `coalesce`.
 * @example
 * ```ts
 * import type { Coalesced } from 'leasehold';
 *
 * export const statusOf = ({ covered, owed }: Coalesced) => (owed ? 503 : covered ? 202 : 200);
 * ```
 */
export interface Coalesced {
  /** The number of runs that this call made, and that succeeded. */
  readonly runs: number;
  /** True if another holder runs for this call, or has died and left the run to the first call after its lease's expiry. */
  readonly covered: boolean;
  /**
   * True if a run is owed, or may be owed, that this call did not make: no time was left, `mayRunAgain` gave false, the client
   * was closed, the work ended its lease itself, or the store did not answer. Let the event's source deliver the event again.
   */
  readonly owed: boolean;
}

/**
 * The options of `coalesce`. With `waitMs`, the call waits for a holder that does not coalesce, and for a lock that is closed,
 * and for nobody else.
 * @example
 * ```ts
 * import type { CoalesceOptions } from 'leasehold';
 *
 * export const options: CoalesceOptions = { holdAtMostMs: 600_000, mayRunAgain: (runs) => runs < 10 };
 * ```
 */
export interface CoalesceOptions extends Omit<AcquireOptions, 'once' | 'holdAtLeastMs' | 'permits'> {
  /**
   * Called before each further run with the number of runs so far. With `false` the holder stops, and the result is `owed`.
   * @default () => true
   */
  mayRunAgain?: ((runs: number) => boolean) | undefined;
  /**
   * Runs only if a run is owed, and asks nobody for a run: for a schedule that makes up for holders that died. Costs one
   * refused write if nothing is owed. While the lease of a dead holder lasts, the call is `covered`: nobody can tell the
   * holder from one that runs. The first call after the expiry makes the run.
   * @default false
   */
  onlyIfOwed?: boolean | undefined;
  /**
   * The milliseconds of the invocation's time, or of `holdAtMostMs`, that no further run uses: the holder stops if less is left
   * than for its longest run so far and these milliseconds. Larger means that runs are left owed more often; smaller, that a
   * run may be cut off. 0 or more.
   * @default 1_000
   */
  reserveMs?: number | undefined;
}

/** Computed in each call: a bundler drops a function that nobody calls, and keeps a statement that spreads an object. */
const coalesceNames = (): Record<keyof CoalesceOptions, 0> => {
  const { once: _once, holdAtLeastMs: _hold, permits: _permits, ...names } = ACQUIRE_OPTIONS;
  return { ...names, mayRunAgain: 0, onlyIfOwed: 0, reserveMs: 0 };
};

/** The options that have no meaning beside coalescing: nobody would be there to run when their time comes. */
const CANNOT: Readonly<Record<string, string>> = {
  once: 'a token that is done would leave those without a run who asked meanwhile',
  holdAtLeastMs: 'nobody would be there to run when the lock opens',
  permits: 'a run is asked for at one holder',
  keys: 'a run is asked for at one holder',
};

/** @throws TypeError if an option cannot stand beside coalescing. */
export function checkCoalescing(what: string, options: object): void {
  // Arrays and maps have a method keys. They are no options at all, which the check of the names says.
  const wrong = Object.keys(CANNOT).find((name) => isPlain(options) && name in options);
  if (wrong !== undefined) throw new TypeError(`${what} takes no ${wrong}: ${CANNOT[wrong]}. Leave it out.`);
}

/**
 * Checks the options of `coalesce` beside those of `acquire`.
 * @throws TypeError that shows the value.
 */
export function coalescingOf(what: string, given: CoalesceOptions): Coalescing {
  checkCoalescing(what, given);
  checkNames(what, given, coalesceNames());
  const { mayRunAgain = () => true, onlyIfOwed = false, reserveMs = 1_000, ...options } = given;
  checkFunction('mayRunAgain', mayRunAgain);
  checkThat(typeof onlyIfOwed === 'boolean', 'onlyIfOwed', 'true or false', onlyIfOwed);
  checkDuration('reserveMs', reserveMs, 0);
  return { options, mayRunAgain, onlyIfOwed, reserveMs, remainingMs: options.remainingMs };
}

/** A call to `coalesce`, checked, and with every default filled in. */
export interface Coalescing {
  readonly options: AcquireOptions;
  readonly onlyIfOwed: boolean;
  readonly mayRunAgain: (runs: number) => unknown;
  readonly reserveMs: number;
  /** Gives the milliseconds that the invocation still lasts, also where its end does not end the lease. */
  readonly remainingMs: (() => unknown) | undefined;
}

/**
 * A release opens the lock a millisecond after the acquisition, by the clock of that holder. A holder whose clock is ahead, and
 * whose run is short, leaves the lock closed for as long: milliseconds for which a caller waits, since nobody runs. Clocks that
 * nobody knows to be wrong differ by less.
 */
const CLOCKS_MS = 2_000;
/** The most grants that end, one after the other, just before they can be asked. */
const MOST_MISSED = 10;

const COVERED: Coalesced = { runs: 0, covered: true, owed: false };
const NOTHING_OWED: Coalesced = { runs: 0, covered: false, owed: false };

/**
 * Runs `work` so that a run begins after the call, and succeeds, by this caller or by another one (invariant 15).
 *
 * 1. The lock is free: hold, and run.
 * 2. A holder runs: ask that holder for one more run, unless somebody has asked before. The call is covered.
 * 3. A holder who cannot be asked has the lock, since it does not coalesce: the lock is busy.
 */
export async function coalesce(
  client: LeaseClient,
  key: string,
  coalescing: Coalescing,
  work: (lease: Lease) => unknown,
): Promise<Coalesced> {
  const plan: AcquirePlan = {
    ...client.plan(coalescing.options),
    coalesce: coalescing.onlyIfOwed ? 'ifOwed' : 'always',
  };
  const taken = await client.track(() => take(client, key, plan));
  return taken instanceof Lease ? new Holding(client.context, taken, plan, coalescing).run(work) : taken;
}

/** Acquires the lock, or makes sure that another holder runs. */
async function take(client: LeaseClient, key: string, plan: AcquirePlan): Promise<Lease | Coalesced> {
  const acquisition = new Acquisition(client.context, key, plan);
  for (let missed = 0; ; missed++) {
    // 1. One request, if the lock is free.
    const outcome = await acquisition.run();
    if (outcome.type !== 'busy') return client.told(outcome, acquisition) as Lease;
    // 2. Nothing is owed to anybody, and this caller has no event of its own.
    if (plan.coalesce === 'ifOwed' && !isOwed(outcome.record)) return NOTHING_OWED;
    // 3. The record tells, after one more request at the most, that a run begins after this call.
    const holder = await coveredBy(client.context, acquisition, outcome, plan);
    if (holder !== undefined) {
      const { fencingToken } = holder;
      client.context.report({
        type: 'covered',
        key,
        owner: holderOf(holder),
        fencingToken,
        waitedMs: waitedBy(acquisition),
      });
      return COVERED;
    }
    // 4. Nobody can be asked: a holder who does not coalesce, or a lock that is closed.
    const openMs = client.context.serverClock.untilOpenMs(outcome.record);
    const mostMs = Math.min(CLOCKS_MS, acquisition.attempts.budget.leftMs);
    if (missed === MOST_MISSED || !isOpening(outcome.record, openMs, mostMs)) {
      client.told(outcome, acquisition);
      throw client.busyError(key, outcome);
    }
    // 5. The holder has ended meanwhile: start over.
    if (outcome.record.lockId === undefined && openMs > 0)
      await pause(client.context.clock, openMs, plan.signal, client.context.closing);
  }
}

const waitedBy = ({ elapsedMs }: Acquisition): number => Math.round(elapsedMs);

/** Tells whether a lock that was busy is open by now, or may be asked for in a moment. */
function isOpening({ lockId, serving }: LockRecord, openMs: number, mostMs: number): boolean {
  return serving !== undefined || openMs <= 0 || (lockId === undefined && openMs <= mostMs);
}

/**
 * Tells the record of the holder who makes a run that begins from now on. Undefined if there is none: acquire anew.
 *
 * - Somebody has asked for a run that has not begun: nothing is to be sent.
 * - Nobody has: ask. Whatever the answer, the record decides. A request that is sent twice, or late, asks at most once more.
 */
async function coveredBy(
  context: LeaseContext,
  acquisition: Acquisition,
  { record: seen }: Busy,
  plan: AcquirePlan,
): Promise<LockRecord | undefined> {
  const { lockId, serving } = seen;
  if (lockId === undefined || serving === undefined) return undefined;
  // A sweeper asks for no run of its own: the run under way serves everything that was owed, or leaves it owed.
  if (plan.coalesce === 'ifOwed' || (seen.asked ?? 0) > serving) return seen;
  const record = await ask(context, acquisition, { ...seen, lockId, serving }, plan);
  if (record === undefined) return undefined;
  // An attempt of ours that was given up was granted late: nobody runs under that grant.
  if (acquisition.attempts.isOurs(record)) {
    await discarded(context, { key: record.key, lockId: record.lockId as string, until: record.expiresAt }, plan);
    return undefined;
  }
  // Asked, by us or by another; or another run has begun, or another coalescing grant, which counts as an ask.
  const runs = record.serving !== undefined && context.serverClock.untilOpenMs(record) > 0;
  return runs ? record : undefined;
}

/** Asks the holder for one more run. Gives the record as it stands then. */
async function ask(
  context: LeaseContext,
  acquisition: Acquisition,
  { key, lockId, serving }: LockRecord & { readonly lockId: string; readonly serving: number },
  { requestTimeoutMs, signal, owner }: AcquirePlan,
): Promise<LockRecord | undefined> {
  const { store, closing, report } = context;
  const asking = (signal: AbortSignal) => store.ask({ key, seen: lockId, serving }, signal);
  const limits = { order: ORDER.acquire, requestTimeoutMs, caller: acquisition.attempts.budget, signal, closing };
  try {
    return (await sendInTurn(context, `Asking for a run under '${key}'`, asking, limits)).record;
  } catch (error) {
    if (error instanceof LockStoreError) {
      report({ type: 'acquireFailed', key, owner, error, waitedMs: waitedBy(acquisition) });
    }
    throw error;
  }
}

/** A coalescing lease, from its grant to its end. */
class Holding {
  readonly #context: LeaseContext;
  readonly #lease: Lease;
  readonly #plan: AcquirePlan;
  readonly #coalescing: Coalescing;
  #runs = 0;
  #longestMs = 0;

  constructor(context: LeaseContext, lease: Lease, plan: AcquirePlan, coalescing: Coalescing) {
    this.#context = context;
    this.#lease = lease;
    this.#plan = plan;
    this.#coalescing = coalescing;
  }

  /**
   * 1. Runs. An error of the work leaves the run owed, and is thrown.
   * 2. Releases the lease as served. The server refuses if somebody has asked since the run began.
   * 3. If so: writes that one more run begins, which serves everybody who has asked so far, and starts over.
   */
  async run(work: (lease: Lease) => unknown): Promise<Coalesced> {
    const lease = this.#lease;
    // A grant that a wrong clock took over and gave back may have lost its level. Then its release is refused once.
    const { serving, asked = 1 } = lease.record;
    let level = serving ?? asked;
    try {
      for (;;) {
        await this.#runOnce(work);
        if (!lease.isHeld()) return this.#endedBy('ended');
        const released = await lease.releaseServed(level, this.#releaseMs);
        if (released.type === 'released') return { runs: this.#runs, covered: false, owed: false };
        if (released.type === 'unknown') return this.#owed('unknown');
        if (released.type === 'lost') return this.#endedBy('unknown');
        const reason = this.#reasonToStop();
        const next = reason === undefined ? await this.#turn(level, released.record) : undefined;
        if (next === undefined) return this.#endedBy(reason ?? this.#whyUnknown);
        level = next;
        this.#report({ type: 'again', runs: this.#runs });
      }
    } catch (error) {
      await lease.release({ withinMs: this.#releaseMs });
      if (!lease.loss) this.#owed('failed');
      throw error;
    }
  }

  /** The reason of a run that is owed since a request got no answer. */
  get #whyUnknown(): OwedReason {
    return this.#context.closing.aborted ? 'closed' : 'unknown';
  }

  async #runOnce(work: (lease: Lease) => unknown): Promise<void> {
    const { clock } = this.#context;
    const began = instant(clock);
    await work(this.#lease);
    this.#runs++;
    this.#longestMs = Math.max(this.#longestMs, clock.monotonic() - began.monotonic);
  }

  /**
   * Writes that one more run begins, for everybody who has asked so far (invariant 15). The lease must be held when the answer
   * comes.
   * @returns the value of `asked` up to which the run serves. Undefined if nobody knows whether the write was applied.
   * @throws LockLostError if the lease is lost.
   */
  async #turn(level: number, { asked = level, serving: stood }: LockRecord): Promise<number | undefined> {
    const { store } = this.#context;
    const lease = this.#lease;
    const { recordKey: key, lockId } = lease;
    lease.assertHeld();
    const serving = Math.max(asked, level);
    // A release is refused only if the run or the asks have changed: somebody else has changed the record.
    if (serving === level && stood === level) return undefined;
    const turning = (signal: AbortSignal) => store.turn({ key, lockId, serving }, signal);
    const { requestTimeoutMs } = this.#plan;
    const limits = { order: ORDER.release, requestTimeoutMs, signal: lease.signal };
    const [answer] = await Promise.allSettled([
      sendInTurn(this.#context, `Running again under '${key}'`, turning, limits),
    ]);
    lease.assertHeld();
    if (answer.status === 'rejected') return undefined;
    const { record } = answer.value;
    if (!isGrantOf(lockId, record)) {
      lease.abandon(lossOf(record));
      lease.assertHeld();
    }
    // A refusal that shows our own `lockId` and this run, or a later one: an earlier sending was applied.
    return record?.serving !== undefined && record.serving >= serving ? record.serving : undefined;
  }

  /** The reason not to run again, though somebody has asked. */
  #reasonToStop(): OwedReason | undefined {
    const { mayRunAgain, reserveMs, remainingMs } = this.#coalescing;
    if (this.#context.closing.aborted) return 'closed';
    const leftMs = Math.min(this.#lease.capLeftMs, leavingOf(remainingMs, 0));
    if (leftMs < this.#longestMs + reserveMs) return 'noTime';
    const may: unknown = mayRunAgain(this.#runs);
    // A promise is true, whatever it settles with.
    if (typeof may !== 'boolean') heed(may);
    checkThat(typeof may === 'boolean', 'The result of mayRunAgain', 'true or false', may);
    return may ? undefined : 'declined';
  }

  /**
   * Ends a lease under which no more runs are made, and that has not been released as served.
   * @throws LockLostError if the lease is lost.
   */
  async #endedBy(reason: OwedReason): Promise<Coalesced> {
    const lease = this.#lease;
    await lease.release({ withinMs: this.#releaseMs });
    if (lease.loss) throw lease.loss;
    return this.#owed(reason);
  }

  #owed(reason: OwedReason): Coalesced {
    this.#report({ type: 'owed', runs: this.#runs, reason });
    return { runs: this.#runs, covered: false, owed: true };
  }

  #report(event: { type: 'again'; runs: number } | { type: 'owed'; runs: number; reason: OwedReason }): void {
    const { key, owner, fencingToken } = this.#lease;
    this.#context.report({ ...event, key, owner, fencingToken });
  }

  get #releaseMs(): number {
    return releaseMsOf(this.#coalescing.remainingMs);
  }
}
