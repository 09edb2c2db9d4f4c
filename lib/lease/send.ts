import { type Clock, elapsedMs, type Instant, instant, pause } from './clock.ts';
import { LockStoreError } from './errors.ts';
import type { ServerClock } from './server-clock.ts';

/** How often a request whose answer does not come is sent in all, as the SDK does with requests that fail. */
const SENDS = 3;
/** How often a request that met another transaction is sent again: the other one is over within milliseconds. */
const CONFLICTS = 10;

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
}

/**
 * Sends one request to a store until it is answered. The same request is sent again when its answer does not come in
 * time (a hung socket; what merely fails the SDK has sent again by itself) or when it met another transaction; being
 * judged by its `lockId`, it may be applied twice without harm (invariant 3). No request outlives `withinMs`, so that
 * nothing is born past its deadline (invariants 4 and 6).
 *
 * Rejects with a `LockStoreError`, or with the signal's reason.
 */
export async function send<Answer extends { attempts?: number | undefined; serverDate?: number | undefined }>(
  { clock, serverClock }: SendContext,
  what: string,
  request: (signal: AbortSignal) => Promise<Answer>,
  options: SendOptions = {},
): Promise<Answer> {
  const { requestTimeoutMs = 1_000, withinMs = Number.POSITIVE_INFINITY, since = instant(clock), signal } = options;
  let hung = 0;
  for (let sends = 1; ; sends++) {
    signal?.throwIfAborted();
    const sent = instant(clock);
    const leftMs = withinMs - elapsedMs(since, sent);
    if (!(leftMs > 0)) throw new LockStoreError(`${what}: no time is left to send it in`, { transient: true });
    try {
      // What is left is shared with the sendings to come, so that one dead socket does not cost a short lease.
      const answer = await limited(clock, request, Math.min(requestTimeoutMs, leftMs / (SENDS - hung)), signal);
      serverClock.observe(sent, answer.serverDate);
      return { ...answer, attempts: (answer.attempts ?? 1) + hung };
    } catch (error) {
      signal?.throwIfAborted();
      if (error === HUNG) hung++;
      const conflicts = sends - hung;
      if (isConflict(error) && conflicts < CONFLICTS) await pause(clock, 5 + Math.random() * 20 * conflicts, signal);
      else if (error !== HUNG || hung === SENDS) throw storeError(error, what);
    }
  }
}

const isConflict = (error: unknown): boolean => error instanceof LockStoreError && error.conflict;

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
