import { AsyncLocalStorage } from 'node:async_hooks';
import { heed } from '../lib/lease/callback.ts';
import { checkFunction, checkNames } from '../lib/record/check.ts';
import { releaseAll, requestEnded } from './hooks.ts';
import { begin, enterHandler, holdingsOf, type LockRequest, timeOut } from './request.ts';

/**
 * Middy's plugin hooks, as far as a lock uses them.
 * @example
 * ```ts
 * import { type LockPlugin, lockPlugin } from 'leasehold/middy';
 *
 * const hooks: LockPlugin = { requestEnd: ({ error }) => console.log(error === undefined ? 'succeeded' : 'failed') };
 * export const plugin = lockPlugin(hooks);
 * ```
 */
export interface LockPlugin {
  /**
   * Called when a request begins.
   * @default none
   */
  requestStart?: ((request: LockRequest) => void) | undefined;
  /**
   * Gives the response to an early time-out, or throws.
   * @default Middy's own, which throws a `TimeoutError`
   */
  timeoutEarlyResponse?: (() => unknown) | undefined;
  /**
   * Called when a middleware begins, with the name of the middleware's function.
   * @default none
   */
  beforeMiddleware?: ((name: string) => void) | undefined;
  /**
   * Called when the handler begins.
   * @default none
   */
  beforeHandler?: (() => void) | undefined;
  /**
   * Called when the handler has returned.
   * @default none
   */
  afterHandler?: (() => void) | undefined;
  /**
   * Called when a request ends. An execution mode other than the standard mode calls no `requestEnd` if the request fails.
   * @default none
   */
  requestEnd?: ((request: LockRequest) => unknown) | undefined;
  /**
   * An execution mode of Middy 7.
   * @default Middy's standard mode
   */
  executionMode?: ((...parameters: never[]) => unknown) | undefined;
}

/**
 * The hooks that `lockPlugin()` always gives Middy.
 * @example
 * ```ts
 * import middy from '@middy/core';
 * import { type LockPluginHooks, lockPlugin } from 'leasehold/middy';
 *
 * const plugin: LockPluginHooks = lockPlugin();
 * export const handler = middy(plugin);
 * ```
 */
export interface LockPluginHooks {
  /** Notes that a request begins. */
  requestStart: (request?: LockRequest) => void;
  /** Notes an early time-out: the signals of the leases abort, and nothing is released. */
  timeoutEarlyResponse: () => unknown;
  /** Notes that a request has ended, whose locks end with it. */
  requestEnd: (request: LockRequest) => Promise<void>;
}

/** The names of the plugin options of Middy 6 and 7. */
const names: Readonly<Record<string, 0>> & Readonly<Record<keyof LockPlugin, 0>> = {
  internal: 0,
  beforePrefetch: 0,
  requestStart: 0,
  beforeMiddleware: 0,
  afterMiddleware: 0,
  beforeHandler: 0,
  afterHandler: 0,
  requestEnd: 0,
  timeoutEarlyInMillis: 0,
  timeoutEarlyResponse: 0,
  executionMode: 0,
  streamifyResponse: 0,
};

type RunRequest = (request: LockRequest, ...more: unknown[]) => Promise<unknown>;

/**
 * Tells `lock()` and `lockRecords()` the ends of a request that Middy tells no middleware: `middy(lockPlugin())`. Its own
 * and your plugin's hooks both run.
 *
 * At Middy's early time-out the plugin marks the request, whatever other middlewares make of the time-out's error: the
 * handler may still be running, so the signal aborts and nothing is released. The same holds for the locks of a handler
 * that calls this one with the same `context`. An early time-out that a handler without this plugin answers cannot be told
 * from a success: give each handler that runs under another handler's lock the plugin, or `timeoutEarlyInMillis: 0`.
 * @param plugin your own plugin options for Middy, `timeoutEarlyResponse` among them. Default: none.
 * @example
 * ```ts
 * import middy from '@middy/core';
 * import { lock, lockPlugin } from 'leasehold/middy';
 *
 * export const handler = middy(lockPlugin({ timeoutEarlyInMillis: 500 }))
 *   .use(lock({ key: 'nightly' }))
 *   .handler(async () => {});
 * ```
 * @throws TypeError if the plugin has an option that Middy 6 and 7 do not have.
 */
export function lockPlugin<Plugin extends object = object>(
  plugin: Plugin & LockPlugin = {} as Plugin,
): Plugin & LockPluginHooks {
  checkNames('lockPlugin()', plugin, names);
  const {
    requestStart,
    timeoutEarlyResponse = throwTimeout,
    beforeMiddleware,
    beforeHandler,
    afterHandler,
    requestEnd,
  }: LockPlugin = plugin;
  const executionMode = plugin.executionMode as ((...parameters: unknown[]) => unknown) | undefined;
  const hooks = {
    requestStart,
    timeoutEarlyResponse,
    beforeMiddleware,
    beforeHandler,
    afterHandler,
    requestEnd,
    executionMode,
  };
  for (const [name, hook] of Object.entries(hooks)) if (hook !== undefined) checkFunction(name, hook);
  // Middy does not say which of the requests that share a process has timed out.
  const requests = new AsyncLocalStorage<LockRequest>();
  /** The request under way. A handler that has called another handler finds the other's request in its place. */
  const current = () => {
    let request = requests.getStore();
    while (request && holdingsOf(request).hasEnded) request = outerOf(request);
    return request;
  };
  /** Notes that the request under way runs a middleware or its handler. */
  const enter = () => {
    const request = current();
    if (request) enterHandler(request);
    return request;
  };
  return {
    ...plugin,
    // Middy 6's types give this hook no request; Middy 6 does.
    requestStart(request) {
      const outer = current();
      if (request) {
        holdingsOf(request).tellsBegin = true;
        holdingsOf(request).outer = outer;
        // Nobody could tell later which of the two begins.
        if (outer && outer.context !== request.context) begin(outer);
      }
      requests.enterWith(request as LockRequest);
      // Middy does not wait for the user's hook, and a rejection that nobody waits for ends the process.
      heed(requestStart?.(request as LockRequest));
    },
    timeoutEarlyResponse() {
      const request = current();
      if (request) timeOut(request);
      return timeoutEarlyResponse();
    },
    // A middleware that comes after a lock runs under that lock, as the handler does.
    beforeMiddleware(name: string) {
      enter();
      beforeMiddleware?.(name);
    },
    beforeHandler() {
      const request = enter();
      for (let each = request; each && each.context === request?.context; each = outerOf(each)) begin(each);
      beforeHandler?.();
    },
    // If a later `after` throws, Middy forgets the response, and a body in the response that is still produced.
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

const outerOf = (request: LockRequest) => holdingsOf(request).outer as LockRequest | undefined;

/** Runs a request as Middy does. If the request fails, releases the leases that are left. */
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

/** Middy's own `timeoutEarlyResponse`, which stands in `@middy/core` alone. Other middlewares know its error. */
function throwTimeout(): never {
  throw Object.assign(new Error('[AbortError]: The operation was aborted.', { cause: { package: '@middy/core' } }), {
    name: 'TimeoutError',
  });
}
