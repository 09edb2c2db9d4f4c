import { AsyncLocalStorage } from 'node:async_hooks';
import type { Lease } from '../lib/lease/lease.ts';
import { invocationLock } from './invocation.ts';
import type { LambdaContext, LockOptions } from './options.ts';

/** Middy's request, as far as it concerns a lock. */
interface Request<Event = unknown, Context = unknown> {
  event: Event;
  context: Context;
  response?: unknown;
  earlyResponse?: unknown;
  error?: unknown;
  internal: object;
}

/** What Middy's `use` takes. Its handler's context has the lease. */
export interface LockMiddleware<Event = unknown, Context = LambdaContext, Name extends string = 'lock'> {
  readonly before: (request: Request<Event, Context & Record<Name, Lease>>) => Promise<void>;
  readonly after: (request: Request<Event, Context & Record<Name, Lease>>) => Promise<void>;
  readonly onError: (request: Request<Event, Context & Record<Name, Lease>>) => Promise<void>;
}

/**
 * The leases of a request, by the middleware that took them. They stand in the request itself (invariant 11): Middy's
 * `request.internal` may be one object for all requests, and the plugin may come from another copy of leasehold.
 */
const leases = Symbol.for('leasehold.leases');

function leasesOf(request: object): Map<object, Lease> {
  const holder = request as { [leases]?: Map<object, Lease> };
  holder[leases] ??= new Map();
  return holder[leases];
}

/** Middy's own early time-out: whoever else throws it, the handler may still be running. */
function isEarlyTimeout(error: unknown): boolean {
  const { name, cause } = (error ?? {}) as { name?: string; cause?: { package?: string } };
  return name === 'TimeoutError' && cause?.package === '@middy/core';
}

/** Nothing of a request is left to run, but for a handler that Middy has left behind. */
async function releaseAll(request: Request): Promise<void> {
  for (const lease of leasesOf(request).values()) await release(lease, request);
}

/** Invariant 9: what may still be used is not released, not even a lease that has expired and may be ours all the same. */
async function release(lease: Lease | undefined, { error }: Request): Promise<void> {
  if (isEarlyTimeout(error)) lease?.abandon('timedOut');
  else await lease?.release();
}

/**
 * Takes the lock before the handler runs, keeps it while the handler, or the stream that it responds with, runs, and
 * releases it then. For Middy 6 and 7.
 *
 * Register it last, and give Middy `lockPlugin()` too: when a middleware after it returns early, Middy calls none of a
 * middleware's hooks, and the lease would end only with the invocation's time; and a `timeoutEarlyResponse` of your own
 * cannot be told from the handler's response, so that the lock would be released while the handler still runs.
 *
 * The invocation fails with a `LockBusyError` (as `onBusy` says), a `LockLostError` (as `onLost` says), a
 * `LockStoreError` when the store does not answer, and a `LockError` in a durable execution, outside its steps. An error
 * of the handler is never replaced.
 * @throws TypeError when an option is not what it should be, with the value.
 */
export function lock<Event = unknown, Context = LambdaContext, const Name extends string = 'lock'>(
  options: LockOptions<Event, Context, Name>,
): LockMiddleware<Event, Context, Name> {
  const { take, finish } = invocationLock(options);
  const lockBefore = async (request: Request) => {
    const taken = await take(request.event, request.context as object);
    if (taken.lease) leasesOf(request).set(middleware, taken.lease);
    else {
      request.earlyResponse = taken.response;
      // The other locks of this request: without the plugin, Middy will tell nobody that it ends here.
      await releaseAll(request);
    }
  };
  const lockAfter = async (request: Request) => {
    const lease = leasesOf(request).get(middleware);
    // Middy waits for a Promise only; any other thenable is still at work.
    if (lease) request.response = await finish(lease, await request.response);
  };
  const lockOnError = async (request: Request) => {
    await release(leasesOf(request).get(middleware), request);
  };
  const middleware = { before: lockBefore, after: lockAfter, onError: lockOnError };
  return middleware;
}

/** Middy's plugin hooks, as far as they concern a lock. */
export interface LockPlugin {
  requestStart?: ((request: Request) => void) | undefined;
  timeoutEarlyResponse?: (() => unknown) | undefined;
  requestEnd?: ((request: Request) => unknown) | undefined;
}

/**
 * What Middy must be told for `lock()` to be right in every case: `middy(lockPlugin())`. Its own and your plugin's hooks
 * both run.
 * @param plugin Middy's plugin configuration of your own, `timeoutEarlyResponse` among it. Default: none.
 */
export function lockPlugin<Plugin extends object = object>(
  plugin?: Plugin & LockPlugin,
): Plugin & { requestStart: (request?: Request) => void; requestEnd: (request: Request) => Promise<void> } {
  const { requestStart, timeoutEarlyResponse, requestEnd }: LockPlugin = plugin ?? {};
  // Middy does not say which of the requests that share a process has timed out.
  const requests = new AsyncLocalStorage<Request>();
  return {
    ...(plugin as Plugin),
    // Middy 6's types give this hook no request; Middy 6 does.
    requestStart(request) {
      requests.enterWith(request as Request);
      requestStart?.(request as Request);
    },
    // Middy's own, which throws, is known by its error.
    ...(timeoutEarlyResponse && {
      timeoutEarlyResponse() {
        const timedOut = leasesOf(requests.getStore() ?? {});
        for (const lease of timedOut.values()) lease.abandon('timedOut');
        // What comes instead of the handler's response ends nothing, and counts as nothing done.
        timedOut.clear();
        return timeoutEarlyResponse();
      },
    }),
    async requestEnd(request) {
      await releaseAll(request);
      await requestEnd?.(request);
    },
  };
}
