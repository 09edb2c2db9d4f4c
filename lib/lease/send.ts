import { LockStoreError } from '../record/errors.ts';
import type { DatedAnswer, LockStore } from '../record/store.ts';
import { type Clock, elapsedMs, type Instant, instant, pause } from './clock.ts';
import type { ServerClock } from './server-clock.ts';

/** How often a request whose answer does not come is sent in all, as the SDK does with requests that fail. */
const SENDS = 3;
/** How often a request that met another transaction is sent again: the other one is over within milliseconds. */
const CONFLICTS = 10;
/** So many answers are asked for to judge a clock that is set, or stands still, again and again. */
const READS = 3;

/** By which clocks a request is sent. */
export interface SendContext {
  readonly clock: Clock;
  readonly serverClock: ServerClock;
}

export interface SendOptions {
  /** After how long, at the most, one request is given up and sent again, in milliseconds. Default 1,000. */
  readonly requestTimeoutMs?: number | undefined;
  /** For how long, from `since`, the request is worth sending. Default: for ever. */
  readonly withinMs?: number | undefined;
  /** The moment from which the caller's clock runs. Default: now. */
  readonly since?: Instant | undefined;
  /** Gives up at once; the caller no longer wants the answer. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Throws when the server refuses the request for the time in its signature: it holds moments that the caller writes
   * anew. Default: sends it again, since it makes its moments whenever it is sent.
   */
  readonly throwMisdated?: boolean | undefined;
}

/**
 * Sends one request to a store until it is answered. The same request is sent again when its answer does not come in
 * time (a hung socket; what merely fails the SDK has sent again by itself) or when it met another transaction; being
 * judged by its `lockId`, it may be applied twice without harm (invariant 3). No request outlives `withinMs`, so that
 * nothing is born past its deadline (invariants 4 and 6).
 *
 * Rejects with a `LockStoreError`, or with the signal's reason.
 */
export async function send<Answer extends DatedAnswer & { attempts?: number | undefined }>(
  context: SendContext,
  what: string,
  request: (signal: AbortSignal) => Promise<Answer>,
  options: SendOptions = {},
): Promise<Answer> {
  const { clock } = context;
  const { requestTimeoutMs = 1_000, withinMs = Number.POSITIVE_INFINITY, since = instant(clock), signal } = options;
  let hung = 0;
  let resendsMisdated = !options.throwMisdated;
  for (let sends = 1; ; sends++) {
    signal?.throwIfAborted();
    const leftMs = checkLeft(withinMs - elapsedMs(since, instant(clock)), what);
    try {
      // What is left is shared with the sendings to come, so that one dead socket does not cost a short lease.
      const answer = await sendOnce(context, request, Math.min(requestTimeoutMs, leftMs / (SENDS - hung)), signal);
      return { ...answer, attempts: (answer.attempts ?? 1) + hung };
    } catch (error) {
      signal?.throwIfAborted();
      if (error === HUNG) hung++;
      const conflicts = sends - hung;
      if (isConflict(error) && conflicts < CONFLICTS) {
        await pause(clock, Math.min(leftMs, 5 + Math.random() * 20 * conflicts), signal);
      } else if (isMisdated(error) && resendsMisdated) resendsMisdated = false;
      else if (error !== HUNG || hung === SENDS) throw storeError(error, what);
    }
  }
}

function checkLeft(leftMs: number, what: string): number {
  if (leftMs > 0) return leftMs;
  throw new LockStoreError(`${what}: no time is left to send it in`, { transient: true });
}

/** One sending, and what its answer tells of the server's clock. A refusal tells as much as a grant does. */
async function sendOnce<Answer extends DatedAnswer>(
  { clock, serverClock }: SendContext,
  request: (signal: AbortSignal) => Promise<Answer>,
  ms: number,
  signal: AbortSignal | undefined,
): Promise<Answer> {
  const sent = instant(clock);
  try {
    const answer = await limited(clock, request, ms, signal);
    serverClock.observe(sent, answer);
    return answer;
  } catch (error) {
    if (error instanceof LockStoreError && error.serverDate !== undefined) serverClock.observe(sent, error);
    throw error;
  }
}

const isConflict = (error: unknown): boolean => error instanceof LockStoreError && error.conflict;

/** Tells a request that the server refused for the time in its signature. */
export const isMisdated = (error: unknown): boolean => error instanceof LockStoreError && error.misdated;

/**
 * Invariant 13: the present moment, by a clock that an answer has judged since it was set. Nobody writes a moment by any
 * other clock: a host an hour ahead that dies before it learns of that would leave a lock closed for the hour.
 *
 * 1. A disciplined clock is not asked about.
 * 2. A clock that an answer has judged, and that was neither set nor stood still since, costs no request.
 * 3. Any other clock is judged by the answer to one eventually consistent read.
 *
 * @throws LockStoreError when no answer came; transient when the clock was set, or stood still, during each read.
 */
export async function judgedInstant(
  context: SendContext & { readonly store: LockStore },
  key: string,
  options: SendOptions,
  closing?: AbortSignal,
): Promise<Instant> {
  const { clock, serverClock } = context;
  const now = instant(clock);
  if (clock.isDisciplined || serverClock.isJudged(now)) return now;
  const { requestTimeoutMs = 1_000, withinMs = Number.POSITIVE_INFINITY } = options;
  const what = `Reading '${key}', to judge the clock of this host`;
  const { signal, end } = either(closing, options.signal);
  let mayJoin = true;
  try {
    for (let reads = 0; ; ) {
      const moment = instant(clock);
      if (serverClock.isJudged(moment)) return moment;
      const leftMs = checkLeft(withinMs - elapsedMs(now, moment), what);
      if (serverClock.judging !== undefined && mayJoin) {
        // One read judges the clock for all who wait for it. Should it fail, each reads for itself.
        mayJoin = false;
        await limited(clock, async () => serverClock.judging, Math.min(requestTimeoutMs, leftMs), signal).catch(noop);
        signal.throwIfAborted();
      } else if (reads++ < READS) await judge(context, key, what, { ...options, signal, withinMs: leftMs });
      else {
        throw new LockStoreError(
          `${what}: none of ${READS} answers could tell, for it was set, or stood still, meanwhile, or they had no date; try again`,
          { transient: true },
        );
      }
    }
  } finally {
    end();
  }
}

/** Aborts when either signal does. Not AbortSignal.any: what that registers cannot stand in a startup snapshot. */
function either(...signals: (AbortSignal | undefined)[]): { readonly signal: AbortSignal; end(): void } {
  const controller = new AbortController();
  const abort = () => controller.abort(signals.find((signal) => signal?.aborted)?.reason);
  for (const signal of signals) signal?.addEventListener('abort', abort);
  if (signals.some((signal) => signal?.aborted)) abort();
  const end = () => {
    for (const signal of signals) signal?.removeEventListener('abort', abort);
  };
  return { signal: controller.signal, end };
}

async function judge(
  { store, ...context }: SendContext & { readonly store: LockStore },
  key: string,
  what: string,
  options: SendOptions,
): Promise<void> {
  const { clock, serverClock } = context;
  const read = (signal: AbortSignal) => store.read(key, { consistent: false }, signal);
  const reading = send(context, what, read, { ...options, throwMisdated: true });
  const judging = reading.then(noop, noop);
  serverClock.judging = judging;
  try {
    const { serverDate } = await reading;
    if (serverDate === undefined) serverClock.observeDateless();
  } catch (error) {
    // A host that may not read, or whose signature is misdated, learns the server's time from that refusal.
    if (!serverClock.isJudged(instant(clock))) throw error;
  } finally {
    if (serverClock.judging === judging) serverClock.judging = undefined;
  }
}

const noop = () => {};

function storeError(error: unknown, what: string): LockStoreError {
  if (error instanceof LockStoreError) return error;
  const reason = error === HUNG ? `no answer in time, ${SENDS} times` : error;
  return new LockStoreError(`${what}: ${reason}`, { cause: error === HUNG ? undefined : error, transient: true });
}

const HUNG = Symbol('hung');

/** One request, given up after `ms` or when `signal` aborts, even by a store that does not listen. */
function limited<Answer>(
  clock: Clock,
  request: (signal: AbortSignal) => Promise<Answer>,
  ms: number,
  signal: AbortSignal | undefined,
): Promise<Answer> {
  return new Promise<Answer>((resolve, reject) => {
    const controller = new AbortController();
    const end = () => {
      clock.clearTimeout(timer);
      signal?.removeEventListener('abort', cancel);
    };
    const giveUp = (reason: unknown) => {
      end();
      reject(reason);
      controller.abort();
    };
    const cancel = () => giveUp(signal?.reason);
    const timer = clock.setTimeout(() => giveUp(HUNG), Math.max(1, Math.floor(ms)));
    signal?.addEventListener('abort', cancel);
    new Promise<Answer>((answer) => answer(request(controller.signal))).then(resolve, reject).finally(end);
  });
}
