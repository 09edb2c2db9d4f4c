import { checkCoalescing, coalesce } from '../lib/lease/coalesce.ts';
import type { Lease } from '../lib/lease/lease.ts';
import type { AcquireOptions } from '../lib/lease/options.ts';
import { checkFunction, checkThat } from '../lib/record/check.ts';
import { LockOwedError } from '../lib/record/errors.ts';
import { bodyIn, readableOf } from './body.ts';
import { checkChoice, configure } from './configure.ts';
import { checkPlace, ofInvocation, putInto } from './invocation.ts';
import type { LambdaContext } from './lambda-context.ts';
import { besideRecords, checkLock, givenBy, insteadOf, type OfRequest } from './lock-guard.ts';
import type { LockOptions } from './options.ts';
import { Remaining } from './remaining.ts';
import { type Held, hold, isEarlyTimeout, type LockRequest, noteSkip, runHandler } from './request.ts';
import { hasFailures, messagesOf } from './sqs.ts';
import { callOf, type Handler } from './wrap.ts';

const WHAT = 'withLock({ coalesce: true })';

/**
 * Wraps a handler that runs once more, with the same event, if it is asked for while it runs.
 *
 * 1. Another holder runs for this event, or, with `onlyIfOwed`, nothing is owed: the handler does not run, and the invocation
 *    has succeeded.
 * 2. The handler runs, and runs again as long as it is asked. The response is that of the last run.
 * 3. A run is left owed: the invocation fails, as `onOwed` says, so that the event comes again.
 */
export function coalesced(
  options: LockOptions<never, never, string>,
  handler: Handler,
): (...parameters: never[]) => Promise<unknown> {
  checkFunction('handler', handler);
  checkCoalescing(WHAT, options);
  checkLock(WHAT, options);
  const { key, data, contextKey = 'lock', waitMs, reserveMs = 1_000 } = options;
  const { onlyIfOwed = false, onCovered = 'skip', onOwed = 'throw', onLost = 'throw' } = options;
  checkThat(typeof onlyIfOwed === 'boolean', 'onlyIfOwed', 'true or false', onlyIfOwed);
  checkChoice('onCovered', onCovered, 'skip', 'a function');
  checkChoice('onOwed', onOwed, 'throw', 'a function');
  // Those who were told that they are covered rely on the run.
  checkThat(onLost === 'throw', 'onLost', "'throw' with coalesce", onLost);
  const { client, acquire } = configure(WHAT, options);

  return async (...parameters: unknown[]) => {
    const { event, context, stream, others } = callOf(WHAT, handler, parameters);
    checkThat(stream === undefined, 'The handler', 'one that gives its response, with coalesce', 'a streaming handler');
    checkPlace(context, contextKey);
    const given = givenBy(event, context);
    const name = given('key', key) as string;
    const invocation = ofInvocation(context as LambdaContext, waitMs, reserveMs);
    const asked: AcquireOptions = { ...acquire, ...invocation, data: given('data', data) };
    const remaining = new Remaining(context as LambdaContext);
    const limits = { onlyIfOwed, mayRunAgain: () => true, reserveMs, remainingMs: () => remaining.leftMs };
    const runs = new Runs({ event, context, internal: {} }, contextKey, () =>
      handler(...([event, context, ...others] as never[])),
    );
    const ended = await coalesce(client, name, { options: asked, ...limits }, (lease) =>
      runs.run(lease, remaining),
    ).catch((error: unknown) => {
      if (runs.began) throw error;
      return insteadOf(error, options, { event, context });
    });
    if ('response' in ended) return ended.response;
    if (ended.covered) {
      const response = typeof onCovered === 'function' ? await (onCovered as OfRequest)(event, context) : undefined;
      return besideRecords(event, context) ?? response;
    }
    if (!runs.began) return besideRecords(event, context);
    if (!ended.owed || runs.comesAgain) return runs.response;
    const error = new LockOwedError({ key: name, runs: ended.runs });
    if (onOwed === 'throw') throw error;
    noteSkip(true);
    return (onOwed as OfRequest)(error, event, context);
  };
}

/** The runs of a handler in one invocation, under one lease. */
class Runs {
  /** The response of the last run. */
  response: unknown;
  began = false;
  /** True if the last response sends records of a batch back: then the event comes again by itself. */
  comesAgain = false;
  readonly #request: LockRequest;
  readonly #contextKey: string;
  readonly #handle: () => unknown;
  #held: Held | undefined;

  constructor(request: LockRequest, contextKey: string, handle: () => unknown) {
    this.#request = request;
    this.#contextKey = contextKey;
    this.#handle = handle;
  }

  /** Runs the handler. A run that worked on a part alone releases the lease, and so leaves the run owed. */
  async run(lease: Lease, remaining: Remaining): Promise<void> {
    this.began = true;
    this.#held ??= this.#hold(lease);
    try {
      this.response = await runHandler(this.#request, this.#handle);
    } catch (error) {
      // The handler may still be running (invariant 9).
      if (isEarlyTimeout(error)) lease.abandon('timedOut');
      throw error;
    }
    const body = bodyIn(this.response) ?? bodyIn({ statusCode: 200, body: Object(this.response).body });
    if (body) {
      readableOf(body).destroy();
      throw new TypeError(`${WHAT} takes no response with a stream, which is made after the handler has returned.`);
    }
    this.comesAgain = hasFailures(this.response, messagesOf(this.#request.event) !== undefined);
    if (this.comesAgain || this.#held.hasSkipped) await lease.release({ withinMs: remaining.releaseMs });
  }

  #hold(lease: Lease): Held {
    const held: Held = {
      isUnused: false,
      abandon: (reason) => lease.abandon(reason),
      release: async () => {},
      succeed: async (response) => response,
    };
    hold(this.#request, this, held);
    putInto(this.#request.context as object, this.#contextKey, lease);
    return held;
  }
}
