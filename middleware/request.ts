import { AsyncLocalStorage } from 'node:async_hooks';
import type { LostReason } from '../lib/record/errors.ts';

/** Middy's request, as far as a lock uses it. */
export interface LockRequest<Event = unknown, Context = unknown> {
  event: Event;
  context: Context;
  response?: unknown;
  earlyResponse?: unknown;
  error?: unknown;
  internal: object;
}

/** A lease, or the leases of a batch of records, from the grant to the end. */
export interface Held {
  /**
   * True while no work can have begun: then nothing was taken to any purpose, and `holdAtLeastMs` keeps no lock closed.
   */
  isUnused: boolean;
  /** True once a busy lock inside has skipped its work: then no token is done. */
  hasSkipped?: boolean;
  /** Gives up without a release, for the handler may still run. Every later end does nothing then. */
  abandon(reason: LostReason): void;
  /**
   * Ends what did not succeed.
   * @param response the request's response, which may still be sent under the lease.
   * @param handled the handler's own response, if it is known.
   */
  release(response?: unknown, handled?: unknown): Promise<unknown>;
  /**
   * Ends what succeeded.
   * @param failed the message ids of the records that failed in any batch of the request: they come again.
   * @param handled the handler's own response, if it is known.
   * @returns the response to give.
   */
  succeed(response: unknown, failed: ReadonlySet<string>, handled?: unknown): Promise<unknown>;
}

/** The leases of a batch of records. */
export interface HeldBatch extends Held {
  /** All records, as they came. */
  readonly records: readonly unknown[];
  /** The records that the handler gets. */
  readonly given: readonly unknown[];
  /** Waits for the work that goes on, and gives the message ids of the records that have failed. */
  failures(): Promise<string[]>;
  /** Makes sure that SQS is told which records are to come back, where another middleware ended the request. */
  conclude(response: unknown, failed: ReadonlySet<string>): Promise<void>;
}

/**
 * Everything that a request holds. The note stands in the request itself (invariant 11): Middy's `request.internal` may
 * be one object for all requests, and the plugin may come from another copy of leasehold.
 */
interface Holdings {
  /** The leases, by the guards that took them. */
  readonly by: Map<object, Held>;
  /** True while somebody is still to tell that the handler begins: `lockPlugin()`, or the wrapper of a plain handler. */
  tellsBegin?: boolean;
  /** The handler's response, before other middlewares changed it. */
  handled?: unknown;
  /** The request that was under way when this request began: a handler may call another handler. */
  outer?: object | undefined;
  hasEnded?: boolean;
}

const holdings = Symbol.for('leasehold.holdings');
const underWayKey = Symbol.for('leasehold.underWay');
const aroundKey = Symbol.for('leasehold.around');

/** One map and one store in the process, for every copy of leasehold. */
const shared = globalThis as {
  [underWayKey]?: WeakMap<object, Set<object>>;
  [aroundKey]?: AsyncLocalStorage<readonly Held[]>;
};
shared[underWayKey] ??= new WeakMap();
shared[aroundKey] ??= new AsyncLocalStorage();
/** The requests that hold something, by their invocation's context. */
const underWay = shared[underWayKey];
/** Everything that the handlers hold which the calling code runs in: a handler may call another handler. */
const around = shared[aroundKey];

export function holdingsOf(request: object): Holdings {
  const holder = request as { [holdings]?: Holdings };
  holder[holdings] ??= { by: new Map() };
  return holder[holdings];
}

/** Everything that a request holds. The last comes first, as Middy calls `after`. */
export const heldBy = (request: object): Held[] => [...holdingsOf(request).by.values()].reverse();

export const batchesOf = (request: object): HeldBatch[] => heldBy(request).filter(isBatch);

export const isBatch = (held: Held): held is HeldBatch => 'conclude' in held;

/** Notes that a request holds something. The note lives as long as the invocation's context. */
export function hold(request: LockRequest, by: object, held: Held): void {
  holdingsOf(request).by.set(by, held);
  const context = request.context as object;
  underWay.set(context, (underWay.get(context) ?? new Set()).add(request));
}

/** Notes that the handler of a request begins, or may have begun. */
export function begin(request: object): void {
  holdingsOf(request).tellsBegin = false;
  for (const held of heldBy(request)) held.isUnused = false;
}

/**
 * Gives up everything that an invocation holds when one of its handlers has timed out. That handler may still be running,
 * and it may run under the locks of a handler that called it.
 */
export function timeOut(request: LockRequest): void {
  for (const late of new Set([request, ...(underWay.get(request.context as object) ?? [])])) {
    for (const held of heldBy(late)) held.abandon('timedOut');
  }
}

const heldAround = (request: object): Held[] => [...new Set([...heldBy(request), ...(around.getStore() ?? [])])];

/** Runs the handler of a request. */
export const runHandler = <Result>(request: object, handler: () => Result): Result =>
  around.run(heldAround(request), handler);

/** Notes that the calling code goes on to run the handler of a request, or a middleware. */
export const enterHandler = (request: object): void => around.enterWith(heldAround(request));

/**
 * Notes, in everything that the calling handlers hold, that a busy lock has skipped its work; notes nothing of a lock that is
 * done. A handler that called the skipped
 * handler may respond as if the work was done. No later success takes the note back: nobody knows whether it did the same work.
 */
export function noteSkip(isBusy: boolean): void {
  if (!isBusy) return;
  for (const held of around.getStore() ?? []) held.hasSkipped = true;
}

/** Middy's own early time-out: the handler may still be running, wherever the error was thrown. */
export function isEarlyTimeout(error: unknown): boolean {
  const { name, cause } = (error ?? {}) as { name?: string; cause?: { package?: string } };
  return name === 'TimeoutError' && cause?.package === '@middy/core';
}
