import { LockStoreError } from '../record/errors.ts';
import type { DatedAnswer } from '../record/store.ts';
import { BackOff } from './back-off.ts';
import { type Clock, elapsedMs, type Instant, instant, pause, startTimer } from './clock.ts';
import { onAbort } from './on-abort.ts';
import type { ServerClock } from './server-clock.ts';

/** The most sendings of a request whose answer does not come. The SDK sends a request that fails as often. */
const SENDS = 3;
/** The most sendings of a request that meets other transactions. Each transaction is over within milliseconds. */
const CONFLICTS = 10;
const CONFLICT_MS = { first: 10, most: 100 };

/** The clocks by which a request is sent. */
export interface SendContext {
  readonly clock: Clock;
  readonly serverClock: ServerClock;
}

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
   * The moment from which `withinMs` counts.
   * @default now
   */
  readonly since?: Instant | undefined;
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
 * Sends one request to a store until an answer comes. The caller has its slot of the gate, and keeps the slot until then.
 * The same request is sent again in two cases:
 *
 * - The answer does not come in time, since a socket hangs. (The SDK itself sends a request again that fails.)
 * - The request met another transaction.
 *
 * The store judges a request by its `lockId`, so a request may be applied twice without harm (invariant 3). No request
 * outlives `withinMs`, so no lease is granted past its deadline (invariants 4 and 6).
 * @throws LockStoreError, or the signal's reason.
 */
export async function send<Answer extends DatedAnswer & { attempts?: number | undefined }>(
  context: SendContext,
  what: string,
  request: (signal: AbortSignal) => Promise<Answer>,
  options: SendOptions = {},
): Promise<Answer> {
  const { clock } = context;
  const { requestTimeoutMs = 1_000, withinMs = Infinity, since = instant(clock), signal } = options;
  const backOff = new BackOff(CONFLICT_MS.first, CONFLICT_MS.most);
  let hung = 0;
  let resendsMisdated = !options.throwMisdated;
  for (let sends = 1; ; sends++) {
    signal?.throwIfAborted();
    const leftMs = checkLeft(withinMs - elapsedMs(since, instant(clock)), what);
    try {
      // Each sending gets a share of the time that is left, so that one dead socket does not cost a short lease.
      const answer = await sendOnce(context, request, Math.min(requestTimeoutMs, leftMs / (SENDS - hung)), signal);
      return { ...answer, attempts: (answer.attempts ?? 1) + hung };
    } catch (error) {
      signal?.throwIfAborted();
      if (error === HUNG) hung++;
      if (isConflict(error) && sends - hung < CONFLICTS) {
        await pause(clock, Math.min(leftMs, backOff.nextMs()), signal);
      } else if (isMisdated(error) && resendsMisdated) resendsMisdated = false;
      else if (error !== HUNG || hung === SENDS) throw storeError(error, what);
    }
  }
}

export function checkLeft(leftMs: number, what: string): number {
  if (leftMs > 0) return leftMs;
  throw new LockStoreError(`${what}: no time is left to send the request. Allow more time.`, { transient: true });
}

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

const isConflict = (error: unknown): boolean => error instanceof LockStoreError && error.conflict;

/** Tells whether the server refused the request for the time in its signature. */
export const isMisdated = (error: unknown): boolean => error instanceof LockStoreError && error.misdated;

/** Makes the error of an operation: of a store's error, whose facts are kept, or of any other fault. */
export function storeError(error: unknown, what: string): LockStoreError {
  if (error instanceof LockStoreError) return new LockStoreError(`${what}: ${error.message}`, error);
  const reason =
    error === HUNG ? `no answer came, ${SENDS} times. Check the network, or raise requestTimeoutMs.` : error;
  return new LockStoreError(`${what}: ${reason}`, { cause: error === HUNG ? undefined : error, transient: true });
}

const HUNG = Symbol('hung');

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
    const hung = () => giveUp(HUNG);
    // If the event loop was blocked, the timer fires before an answer is read that has arrived meanwhile.
    const late = () => (clock.setImmediate ? clock.setImmediate(hung) : hung());
    const stopTimer = startTimer(clock, Math.max(1, Math.floor(ms)), late);
    const stop = onAbort([signal], () => giveUp(signal?.reason));
    new Promise<Answer>((answer) => answer(request(controller.signal))).then(resolve, reject).finally(end);
  });
}
