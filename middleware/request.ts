import type { LostReason } from '../lib/record/errors.ts';

/** Middy's request, as far as it concerns a lock. */
export interface Request<Event = unknown, Context = unknown> {
  event: Event;
  context: Context;
  response?: unknown;
  earlyResponse?: unknown;
  error?: unknown;
  internal: object;
}

/** A lease, or the leases of a batch of records. */
interface Held {
  abandon(reason: LostReason): void;
  /**
   * @param response the request's response, which may still be sent under the lease.
   * @param handled the handler's own response, if it is known.
   */
  release(response: unknown, handled?: unknown): Promise<unknown>;
  /** Of a batch: ends its leases, and adds to a response the records that are to come back. */
  finish?(response: unknown, failed?: ReadonlySet<string>): Promise<unknown>;
  /** Of a batch: waits for the work that goes on, and gives the message ids of the records that have failed. */
  failures?(): Promise<string[]>;
  /** Of a batch: makes sure that SQS is told which records are to come back. */
  conclude?(response: unknown, failed: ReadonlySet<string>): Promise<void>;
}

/**
 * What a request holds. It stands in the request itself (invariant 11): Middy's `request.internal` may be one object for
 * all requests, and the plugin may come from another copy of leasehold.
 */
interface Holdings {
  /** By the middleware that took it. */
  readonly by: Map<object, Held>;
  /** Its response came instead of the handler's, which may still be running. */
  timedOut?: boolean;
  /** The handler's response, before other middlewares changed it. */
  handled?: unknown;
  /** The request that was under way when this one began with the same context: a handler may call another one. */
  outer?: object | undefined;
  hasEnded?: boolean;
}

const underWayKey = Symbol.for('leasehold.underWay');

/** The requests that hold something, by their invocation's context; one map in the process, for every copy of leasehold. */
const shared = globalThis as { [underWayKey]?: WeakMap<object, Set<object>> };
shared[underWayKey] ??= new WeakMap();
const underWay = shared[underWayKey];

/** Notes what a request holds. The note lives as long as the invocation's context. */
export function hold(request: { readonly context: unknown }, by: object, held: Held): void {
  holdingsOf(request).by.set(by, held);
  const context = request.context as object;
  underWay.set(context, (underWay.get(context) ?? new Set()).add(request));
}

/**
 * Gives up what an invocation holds when one of its handlers has timed out: that handler may still be running, under the
 * locks of whoever called it too.
 */
export function timeOut(request: { readonly context: unknown }): void {
  for (const late of [request, ...(underWay.get(request.context as object) ?? [])]) {
    const { by } = Object.assign(holdingsOf(late), { timedOut: true });
    for (const held of by.values()) held.abandon('timedOut');
  }
}

const holdings = Symbol.for('leasehold.holdings');

export function holdingsOf(request: object): Holdings {
  const holder = request as { [holdings]?: Holdings };
  holder[holdings] ??= { by: new Map() };
  return holder[holdings];
}

/** Middy's own early time-out: whoever else throws it, the handler may still be running. */
export function isEarlyTimeout(error: unknown): boolean {
  const { name, cause } = (error ?? {}) as { name?: string; cause?: { package?: string } };
  return name === 'TimeoutError' && cause?.package === '@middy/core';
}

/** Ends a request before its handler. Middy calls no other hook, those of earlier locks neither. */
export async function endEarly(request: Request, response: unknown): Promise<void> {
  let answer = response;
  for (const held of heldBy(request)) if (held.finish) answer = await held.finish(answer);
  request.earlyResponse = answer;
  await releaseAll(request);
}

/** Nothing of a request is left to run, but for a handler that Middy has left behind. */
export async function requestEnded(request: Request): Promise<void> {
  try {
    const fails = request.error !== undefined && request.response === undefined;
    const failed = await failedIn(request);
    for (const held of fails ? [] : heldBy(request)) await held.conclude?.(request.response, failed);
  } finally {
    await releaseAll(request);
  }
}

/** The message ids of the records that have failed, in whichever of the request's batches: a record that comes again is not done. */
export async function failedIn(request: Request): Promise<Set<string>> {
  const failed = await Promise.all(heldBy(request).map((held) => held.failures?.() ?? []));
  return new Set(failed.flat());
}

/** The last first, as Middy calls `after`. */
const heldBy = (request: Request): Held[] => [...holdingsOf(request).by.values()].reverse();

export async function releaseAll(request: Request): Promise<void> {
  await Promise.all(heldBy(request).map((held) => release(held, request)));
}

/** Invariant 9: what may still be used is not released, not even a lease that has expired and may be ours all the same. */
export async function release(held: Held | undefined, request: Request): Promise<void> {
  const { timedOut, handled } = holdingsOf(request);
  if (timedOut || isEarlyTimeout(request.error)) held?.abandon('timedOut');
  else await held?.release(request.response, handled);
}
