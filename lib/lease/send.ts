import { LockStoreError } from '../record/errors.ts';
import { lastFault } from '../record/last-fault.ts';
import type { DatedAnswer } from '../record/store.ts';
import { BackOff } from './back-off.ts';
import { type Clock, elapsedMs, type Instant, instant, pause, startTimer } from './clock.ts';
import { onAbort } from './on-abort.ts';
import type { ServerClock } from './server-clock.ts';

/** The most sendings of a request whose answer does not come, or tells of a fault that may pass, unless its caller insists. */
export const SENDS = 3;
/** The first pause lets a socket be replaced, and the second lets a server that throttles recover. */
const FAULT_MS = { first: 50, most: 400, growth: 8 };
/** The most sendings of a request that meets other writes of the item. Each of these writes is over within milliseconds. */
const CONFLICTS = 10;
const CONFLICT_MS = { first: 10, most: 100 };

/** The clocks by which a request is sent. */
export interface SendContext {
  readonly clock: Clock;
  readonly serverClock: ServerClock;
}

/** The caller of an operation, who may make several requests for it. */
export interface Caller {
  /** Milliseconds for which the caller still waits for an answer. */
  readonly leftMs: number;
  /** The last fault that may pass, until the operation gets an answer. An error that knows no reason names this fault. */
  fault?: unknown;
}

/** A shorter time is not used to send again after a fault: no answer would come, and the time-out would hide the fault. */
const LEAST_MS = 20;

export interface SendOptions {
  /**
   * The most milliseconds after which one sending is given up.
   * @default 1,000
   */
  readonly requestTimeoutMs?: number | undefined;
  /**
   * Milliseconds from `since` for which the request is worth sending.
   * @default no bound
   */
  readonly withinMs?: number | undefined;
  /**
   * Milliseconds from `since` for which a fault that may pass is met by one more sending, however many there were.
   * @default 0
   */
  readonly insistMs?: number | undefined;
  /**
   * The moment from which `withinMs` counts.
   * @default now
   */
  readonly since?: Instant | undefined;
  /**
   * The caller, who learns of the faults.
   * @default a caller without a bound
   */
  readonly caller?: Caller | undefined;
  /**
   * Sends the request again after a fault that may pass. `false` leaves this to the caller, who has pauses of its own.
   * @default true
   */
  readonly resendsFaults?: boolean | undefined;
  /**
   * Ends the sending at once: the caller no longer wants the answer.
   * @default none
   */
  readonly signal?: AbortSignal | undefined;
  /**
   * Decides when the server refuses the time in the request's signature.
   * - `true`: throws the refusal. The request holds moments, which the caller must write anew.
   * - `false`: sends the request again. The request makes its moments at each sending.
   * @default false
   */
  readonly throwMisdated?: boolean | undefined;
}

/**
 * Sends one request to a store until an answer comes. The caller has its turn at the gate, and keeps the turn until then.
 * This is the one layer that sends a request again, in three cases:
 *
 * - The answer does not come in time, since a socket hangs.
 * - The answer tells of a fault that may pass: throttling, a server's error, a connection that broke. A client that has sent
 *   the request several times by itself has used up as many of these sendings.
 * - The request met another write of the item.
 *
 * The store judges a request by its `lockId`, so a request may be applied twice without harm (invariant 3). No request
 * outlives `withinMs`, so no lease is granted past its deadline (invariants 4 and 6). No caller waits for longer than its
 * `leftMs`.
 * @throws LockStoreError that tells of the last fault, or the signal's reason.
 */
export async function send<Answer extends DatedAnswer & { maybeAppliedBefore?: boolean | undefined }>(
  context: SendContext,
  what: string,
  request: (signal: AbortSignal) => Promise<Answer>,
  options: SendOptions = {},
): Promise<Answer> {
  const { clock } = context;
  const { requestTimeoutMs = 1_000, withinMs = Infinity, since = instant(clock), signal } = options;
  const { caller = { leftMs: Infinity }, insistMs = 0 } = options;
  const retries = new Retries(options);
  let fault: LockStoreError | undefined;
  for (;;) {
    signal?.throwIfAborted();
    const requestMs = withinMs - elapsedMs(since, instant(clock));
    const callerMs = caller.leftMs;
    const leftMs = Math.min(requestMs, callerMs);
    if (fault && leftMs <= leastMs(caller)) throw fault;
    checkLeft(leftMs, what, caller);
    // Each sending gets a share of the time that is left, so that one dead socket does not cost a short lease.
    const ms = Math.min(requestTimeoutMs, requestMs / Math.max(1, SENDS - retries.sends), leftMs);
    try {
      const answer = await sendOnce(context, request, ms, signal);
      return retries.sends === 0 ? answer : { ...answer, maybeAppliedBefore: true };
    } catch (error) {
      signal?.throwIfAborted();
      fault = storeError(error, what, caller.fault, ms === callerMs ? CALLERS_TIMES : REQUESTS_TIMES);
      learn(caller, fault, error);
      const insists = elapsedMs(since, instant(clock)) < insistMs;
      const pauseMs = retries.pauseMs(fault, error instanceof Hung, insists);
      if (pauseMs === undefined) throw fault;
      if (pauseMs > 0) await pause(clock, Math.min(leftMs, pauseMs), signal);
    }
  }
}

/** Decides whether, and after which pause, a request is sent again. */
class Retries {
  /** The sendings that failed, and that the store may have applied. */
  sends = 0;
  #conflicts = 0;
  #resendsMisdated: boolean;
  readonly #resendsFaults: boolean;
  readonly #afterConflict = new BackOff(CONFLICT_MS.first, CONFLICT_MS.most);
  readonly #afterFault = new BackOff(FAULT_MS.first, FAULT_MS.most, FAULT_MS.growth);

  constructor({ throwMisdated = false, resendsFaults = true }: SendOptions) {
    this.#resendsMisdated = !throwMisdated;
    this.#resendsFaults = resendsFaults;
  }

  /** Gives the pause before the next sending, in milliseconds. Undefined if the request is not sent again. */
  pauseMs(
    { transient, conflict, misdated, attempts }: LockStoreError,
    isHung: boolean,
    insists: boolean,
  ): number | undefined {
    if (conflict) return ++this.#conflicts < CONFLICTS || insists ? this.#afterConflict.nextMs() : undefined;
    if (misdated) {
      const resends = this.#resendsMisdated;
      this.#resendsMisdated = false;
      return resends ? 0 : undefined;
    }
    this.sends += attempts;
    if (!transient || (this.sends >= SENDS && !insists)) return undefined;
    if (isHung) return 0;
    return this.#resendsFaults ? this.#afterFault.nextMs() : undefined;
  }
}

/** Tells the caller of a fault that may pass. A time-out without a reason is none. */
function learn(caller: Caller, { transient, misdated, cause }: LockStoreError, error: unknown): void {
  if (transient && !misdated) caller.fault = cause ?? (error instanceof Hung ? undefined : error);
}

const leastMs = ({ fault }: Caller): number => (fault === undefined ? 0 : LEAST_MS);

export function checkLeft(leftMs: number, what: string, caller: Caller): number {
  if (leftMs > leastMs(caller)) return leftMs;
  const message = `${what}: no time is left to send the request. Allow more time.${named(caller.fault)}`;
  throw new LockStoreError(message, { cause: caller.fault, transient: true });
}

/** The last fault, for the end of a message. */
const named = (fault: unknown): string => (fault === undefined ? '' : ` The last fault was ${fault}`);

/** Sends once, and learns the server's time from the answer. A refusal tells as much as a grant does. */
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

/** The options that bound the time of a caller, and of a request. */
export const CALLERS_TIMES = 'waitMs, withinMs';
const REQUESTS_TIMES = 'requestTimeoutMs, leaseMs, holdAtMostMs';

/** Tells whether the server refused the request for the time in its signature. */
export const isMisdated = (error: unknown): boolean => error instanceof LockStoreError && error.misdated;

/**
 * Makes the error of an operation: of a store's error, whose facts are kept, or of any other fault.
 * @param before the last fault before, which a request without an answer may have met again.
 * @param options the options that bounded the time. Empty if no option did.
 */
export function storeError(error: unknown, what: string, before: unknown, options: string): LockStoreError {
  if (error instanceof LockStoreError) return new LockStoreError(`${what}: ${error.message}`, error);
  if (!(error instanceof Hung)) return new LockStoreError(`${what}: ${error}`, { cause: error });
  const { ms, fault = before } = error;
  const advice = options ? `allow more time (${options})` : 'try again';
  return new LockStoreError(
    `${what}: no answer came within ${Math.ceil(ms)} ms. Check the network, or ${advice}.${named(fault)}`,
    { cause: fault, transient: true },
  );
}

/** The fault of a request whose answer did not come in time. */
class Hung {
  readonly ms: number;
  /** The last fault that the store's own client met meanwhile. */
  readonly fault: unknown;

  constructor(ms: number, fault: unknown) {
    this.ms = ms;
    this.fault = fault;
  }
}

/** Makes one request. Gives up after `ms`, or when `signal` aborts, even if the store does not listen to the signal. */
export function limited<Answer>(
  clock: Clock,
  request: (signal: AbortSignal) => Promise<Answer>,
  ms: number,
  signal: AbortSignal | undefined,
): Promise<Answer> {
  return new Promise<Answer>((resolve, reject) => {
    const controller = new AbortController();
    let isOver = false;
    const end = () => {
      isOver = true;
      stopTimer();
      stop();
    };
    const giveUp = (reason: unknown) => {
      if (isOver) return;
      end();
      reject(reason);
      controller.abort();
    };
    const hung = () => giveUp(new Hung(ms, lastFault(controller.signal)));
    // If the event loop was blocked, the timer fires before an answer is read that has arrived meanwhile.
    const late = () => (clock.setImmediate ? clock.setImmediate(hung) : hung());
    const stopTimer = startTimer(clock, Math.max(1, Math.floor(ms)), late);
    const stop = onAbort([signal], giveUp);
    new Promise<Answer>((answer) => answer(request(controller.signal))).then(resolve, reject).finally(end);
  });
}
