import { AsyncLocalStorage } from 'node:async_hooks';
import { heed } from '../lib/lease/callback.ts';
import type { Lease } from '../lib/lease/lease.ts';
import type { HeldLease } from './held-lease.ts';
import { invocationLock } from './invocation.ts';
import type { LambdaContext, LockOptions, RecordLocks } from './options.ts';
import {
  endEarly,
  failedIn,
  hold,
  holdingsOf,
  type Request,
  release,
  releaseAll,
  requestEnded,
  timeOut,
} from './request.ts';

/** What Middy's `use` takes. Its handler's context has what is held: the lease, or the locks of a batch's records. */
export interface LockMiddleware<
  Event = unknown,
  Context = LambdaContext,
  Name extends string = 'lock',
  Held extends Lease | RecordLocks = Lease,
> {
  readonly before: (request: Request<Event, Context & Record<Name, Held>>) => Promise<void>;
  readonly after: (request: Request<Event, Context & Record<Name, Held>>) => Promise<void>;
  readonly onError: (request: Request<Event, Context & Record<Name, Held>>) => Promise<void>;
}

/**
 * Takes the lock before the handler runs, keeps it while the handler, or the stream that it responds with, runs, and
 * releases it then. For Middy 6 and 7.
 *
 * Register it first of those whose work the lock is to cover, behind those that only make or check what its key comes
 * from, and give Middy `lockPlugin()` too. Then what the others do in `before`, `after` and `onError` (open a transaction,
 * commit) is done under the lock. A lock that stands last covers the handler alone: Middy calls `after` in reverse order.
 *
 * Without the plugin, Middy tells a lock nothing of a request that a middleware after it ends, by what its hook returns or
 * by an `onError` that throws, nor of an early time-out whose error is replaced. What is not told is not released; the
 * lease ends with the invocation's time. With the plugin one such end is left: Middy 6 tells nobody of an `onError` that
 * throws. The same holds for an execution mode of Middy 7 that is not given to `lockPlugin()`, but to `middy()` beside it.
 *
 * Where the response is a stream whose reader leaves, or that fails, the lock destroys the stream and releases the lease
 * once the stream has closed. Only a generator that does its work itself (`Readable.from(generator())`), or a stream whose
 * `_destroy` waits for the work, closes after the work. For web streams, Duplexes and streams that somebody pushes to, the
 * lock abandons the lease: the signal aborts, and the lock opens at the expiry. `Readable.from` of an iterator without a
 * `return`, `readable.map(work, { concurrency })` and a generator that reads another working stream close too early, and
 * cannot be recognised: end their work at `lease.signal`.
 *
 * Leave the lease's release to the lock. A handler that releases its lease is warned on the console: what comes after runs
 * without the lock, and the `once` token is done only if the handler said `release({ done: true })`.
 *
 * A lock that ends a request before the handler makes Middy call no `after` and no `onError`, those of other middlewares
 * neither.
 *
 * The invocation fails with a `LockBusyError` (as `onBusy` says), a `LockLostError` (as `onLost` says), a
 * `LockStoreError` when the store does not answer, and a `LockError` in a durable execution, outside its steps. An error
 * of the handler is never replaced.
 * @throws TypeError when an option is not what it should be, with the value.
 */
export function lock<Event = unknown, Context = LambdaContext, const Name extends string = 'lock'>(
  options: LockOptions<Event, Context, Name>,
): LockMiddleware<Event, Context, Name> {
  const take = invocationLock(options);
  const lockBefore = async (request: Request) => {
    const taken = await take(request.event, request.context as object);
    if (taken.held) hold(request, middleware, taken.held);
    else await endEarly(request, taken.response);
  };
  const lockAfter = async (request: Request) => {
    const { by, timedOut, handled } = holdingsOf(request);
    const held = by.get(middleware) as HeldLease | undefined;
    // What came instead of the handler's response ends nothing, and counts as nothing done.
    if (!held || timedOut) return;
    // Middy waits for a Promise only; any other thenable is still at work.
    const response = await request.response;
    request.response = await held.succeed(response, (await failedIn(request)).size > 0, handled);
  };
  const lockOnError = async (request: Request) => {
    await release(holdingsOf(request).by.get(middleware), request);
  };
  const middleware = { before: lockBefore, after: lockAfter, onError: lockOnError };
  return middleware;
}

/** Middy's plugin hooks, as far as they concern a lock. */
export interface LockPlugin {
  requestStart?: ((request: Request) => void) | undefined;
  timeoutEarlyResponse?: (() => unknown) | undefined;
  afterHandler?: (() => void) | undefined;
  requestEnd?: ((request: Request) => unknown) | undefined;
  /** Of Middy 7: its modes but the standard one do not call `requestEnd` when a request fails. */
  executionMode?: ((...parameters: never[]) => unknown) | undefined;
}

type RunRequest = (request: Request, ...more: unknown[]) => Promise<unknown>;

/**
 * What Middy must be told for `lock()` to be right in every case: `middy(lockPlugin())`. Its own and your plugin's hooks
 * both run. At Middy's early time-out it marks the request, whatever other middlewares make of the time-out's error: the
 * handler may still be running, so the signal aborts and nothing is released. The same holds for the locks of a handler that
 * calls this one with the same `context`. An early time-out that a handler without this plugin answers cannot be told from
 * a success: give each handler that runs under another one's lock the plugin, or `timeoutEarlyInMillis: 0`.
 * @param plugin Middy's plugin configuration of your own, `timeoutEarlyResponse` among it. Default: none.
 */
export function lockPlugin<Plugin extends object = object>(
  plugin?: Plugin & LockPlugin,
): Plugin & {
  requestStart: (request?: Request) => void;
  timeoutEarlyResponse: () => unknown;
  requestEnd: (request: Request) => Promise<void>;
} {
  const { requestStart, timeoutEarlyResponse = throwTimeout, afterHandler, requestEnd }: LockPlugin = plugin ?? {};
  const executionMode = (plugin as LockPlugin | undefined)?.executionMode as
    | ((...of: unknown[]) => unknown)
    | undefined;
  // Middy does not say which of the requests that share a process has timed out.
  const requests = new AsyncLocalStorage<Request>();
  /** A handler that calls another one finds that one's request in its place. */
  const current = () => {
    let request = requests.getStore();
    while (request && holdingsOf(request).hasEnded) request = holdingsOf(request).outer as Request | undefined;
    return request ?? requests.getStore();
  };
  return {
    ...(plugin as Plugin),
    // Middy 6's types give this hook no request; Middy 6 does.
    requestStart(request) {
      const outer = current();
      if (request && outer?.context === request.context) holdingsOf(request).outer = outer;
      requests.enterWith(request as Request);
      // Middy does not wait for it, and a rejection that nobody waits for ends the process.
      heed(requestStart?.(request as Request));
    },
    timeoutEarlyResponse() {
      const request = current();
      if (request) timeOut(request);
      return timeoutEarlyResponse();
    },
    // Where a later `after` throws, Middy forgets the response, and with it a body that is still produced.
    afterHandler() {
      const request = current();
      if (request) holdingsOf(request).handled = request.response;
      afterHandler?.();
    },
    ...(executionMode && {
      executionMode: (core: { runRequest: RunRequest }, ...rest: unknown[]) =>
        executionMode({ ...core, runRequest: releasing(core.runRequest) }, ...rest),
    }),
    async requestEnd(request) {
      try {
        await requestEnded(request);
      } finally {
        holdingsOf(request).hasEnded = true;
        await requestEnd?.(request);
      }
    },
  };
}

/** Runs a request as Middy does, and releases what is left of one that fails. */
const releasing =
  (runRequest: RunRequest): RunRequest =>
  async (request, ...more) => {
    try {
      return await runRequest(request, ...more);
    } catch (error) {
      await releaseAll(request);
      holdingsOf(request).hasEnded = true;
      throw error;
    }
  };

/** Middy's own `timeoutEarlyResponse`, which stands in `@middy/core` alone: other middlewares know the error. */
function throwTimeout(): never {
  throw Object.assign(new Error('[AbortError]: The operation was aborted.', { cause: { package: '@middy/core' } }), {
    name: 'TimeoutError',
  });
}
