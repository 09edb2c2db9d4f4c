import { LockStoreError } from '../record/errors.ts';
import type { LeaseStore } from '../record/store.ts';
import { elapsedMs, type Instant, instant } from './clock.ts';
import { either } from './either.ts';
import { checkLeft, limited, type SendContext, type SendOptions, send } from './send.ts';

/** The most judge reads for a clock that is set, or stands still, again and again. */
const READS = 3;

type JudgeContext = SendContext & { readonly store: LeaseStore };

/**
 * Gives the present moment, by a clock that an answer has judged since the clock was set (invariant 13). Nobody writes a
 * moment by any other clock. Otherwise a host that is an hour ahead, and dies before it learns of its clock, would leave a
 * lock closed for an hour.
 *
 * 1. A disciplined clock needs no judgement.
 * 2. A clock that an answer has judged costs no request, as long as it was neither set nor stood still since.
 * 3. Any other clock is judged by the answer to one judge read.
 *
 * The caller has its turn at the gate.
 * @throws LockStoreError if no answer came. Transient if the clock was set, or stood still, during each read.
 */
export async function judgedInstant(
  context: JudgeContext,
  key: string,
  options: SendOptions,
  closing?: AbortSignal,
): Promise<Instant> {
  const { clock, serverClock, store } = context;
  const now = instant(clock);
  if (clock.isDisciplined || serverClock.isJudged(now)) return now;
  const { requestTimeoutMs = store.requestTimeoutMs ?? 1_000, withinMs = Infinity } = options;
  const { caller = { leftMs: Infinity } } = options;
  const what = `Reading '${key}', to judge the clock of this host`;
  const { signal, end } = either(closing, options.signal);
  let mayJoin = true;
  try {
    for (let reads = 0; ; ) {
      const moment = instant(clock);
      if (serverClock.isJudged(moment)) return moment;
      const leftMs = withinMs - elapsedMs(now, moment);
      const waitMs = checkLeft(Math.min(leftMs, caller.leftMs), what, caller);
      if (serverClock.judging !== undefined && mayJoin) {
        // One read judges the clock for all callers who wait. If the read fails, each caller reads for itself.
        mayJoin = false;
        await limited(clock, async () => serverClock.judging, Math.min(requestTimeoutMs, waitMs), signal).catch(noop);
        signal.throwIfAborted();
      } else if (reads++ < READS)
        await judge(context, key, what, { ...options, requestTimeoutMs, signal, withinMs: leftMs });
      else {
        throw new LockStoreError(
          `${what}: none of ${READS} answers could tell. Each had no date, or the clock was set, or stood still, meanwhile. Try again.`,
          { transient: true },
        );
      }
    }
  } finally {
    end();
  }
}

/** Sends one judge read. A caller who comes meanwhile waits for `serverClock.judging`. */
async function judge(
  { store, ...context }: JudgeContext,
  key: string,
  what: string,
  options: SendOptions,
): Promise<void> {
  const { clock, serverClock } = context;
  const read = (signal: AbortSignal) => store.read(key, { consistent: false, dated: true }, signal);
  const reading = send(context, what, read, { ...options, throwMisdated: true });
  const judging = reading.then(noop, noop);
  serverClock.judging = judging;
  try {
    const { serverDate } = await reading;
    if (serverDate === undefined) serverClock.observeDateless();
  } catch (error) {
    // A host that may not read, or whose signature has a wrong time, learns the server's time from the refusal.
    if (!serverClock.isJudged(instant(clock))) throw error;
  } finally {
    if (serverClock.judging === judging) serverClock.judging = undefined;
  }
}

const noop = () => {};
