import { LockStoreError } from '../record/errors.ts';
import type { DatedAnswer } from '../record/store.ts';
import { BackOff } from './back-off.ts';
import { type Clock, elapsedMs, type Instant, instant, pause } from './clock.ts';
import type { ServerClock } from './server-clock.ts';

/** Sendings, in all, of a request whose answer does not come: as many as the SDK makes of a request that fails. */
const SENDS = 3;
/** Sendings of a request that met another transaction, which is over within milliseconds. */
const CONFLICTS = 10;
const CONFLICT_MS = { first: 10, most: 100 };

/** The clocks by which a request is sent. */
export interface SendContext {
  readonly clock: Clock;
  readonly serverClock: ServerClock;
}

export interface SendOptions {
  /** Milliseconds after which one sending is given up, at the most. Default 1,000. */
  readonly requestTimeoutMs?: number | undefined;
  /** Milliseconds from `since` for which the request is worth sending. Default: for ever. */
  readonly withinMs?: number | undefined;
  /** The moment from which the caller's clock runs. Default: now. */
  readonly since?: Instant | undefined;
  /** Gives up at once; the caller no longer wants the answer. */
  readonly signal?: AbortSignal | undefined;
  /**
   * The request holds moments that the caller writes anew when the server refuses the time in the request's signature: that
   * refusal is thrown. Default false: the request makes its moments whenever it is sent, and is sent again.
   */
  readonly throwMisdated?: boolean | undefined;
}

/**
 * Sends one request to a store until an answer comes. The same request is sent again
 *
 * - when its answer does not come in time: a socket hangs (a request that fails, the SDK has sent again by itself);
 * - when it met another transaction.
 *
 * The store judges a request by its `lockId`, and so it may be applied twice without harm (invariant 3). No request
 * outlives `withinMs`, so that nothing is born past its deadline (invariants 4 and 6).
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
      // The time that is left is shared with the sendings to come, so that one dead socket does not cost a short lease.
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
  throw new LockStoreError(`${what}: no time is left to send it in`, { transient: true });
}

/** Sends once, and learns from the answer of the server's clock. A refusal tells as much as a grant does. */
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

function storeError(error: unknown, what: string): LockStoreError {
  if (error instanceof LockStoreError) return error;
  const reason = error === HUNG ? `no answer in time, ${SENDS} times` : error;
  return new LockStoreError(`${what}: ${reason}`, { cause: error === HUNG ? undefined : error, transient: true });
}

const HUNG = Symbol('hung');

/** Makes one request, given up after `ms` or when `signal` aborts, even by a store that does not listen. */
export function limited<Answer>(
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
