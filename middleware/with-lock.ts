import { finished } from 'node:stream/promises';
import type { Lease } from '../lib/lease/lease.ts';
import { invocationLock } from './invocation.ts';
import type { LambdaContext, LockOptions } from './options.ts';
import { hold, holdingsOf, isEarlyTimeout } from './request.ts';

/**
 * `lock()` for handlers without Middy: `handler(event, context)`, and, inside of `awslambda.streamifyResponse(...)`,
 * `handler(event, responseStream, context)`, whose lock is held until the response stream has finished. If the response
 * stream fails after the handler has returned, nobody can tell what still writes to it: the lease is abandoned, its signal
 * aborts, and the lock opens at the expiry. What `onBusy` and `onDone` return is written as the response's body, and
 * TypeScript needs the parameters' types.
 *
 * Give a handler of Middy inside `middy(lockPlugin())`, or `timeoutEarlyInMillis: 0`: an early time-out that it answers
 * without the plugin looks like a success.
 *
 * What it returns rejects as `lock()` makes an invocation fail; the handler's error always wins.
 * @throws TypeError when an option is not what it should be, with the value.
 */
export function withLock<
  Event,
  Result,
  // No stream: a handler of two parameters may be a streaming one that needs no context.
  Context extends object & { write?: never } = LambdaContext,
  const Name extends string = 'lock',
>(
  options: LockOptions<Event, Omit<Context, Name>, Name>,
  handler: (event: Event, context: Context & Record<Name, Lease>) => Result,
): (event: Event, context: Omit<Context, Name>) => Promise<Awaited<Result>>;
export function withLock<
  Event,
  ResponseStream extends NodeJS.WritableStream,
  Context = LambdaContext,
  const Name extends string = 'lock',
>(
  options: LockOptions<Event, Omit<Context, Name>, Name>,
  handler: (event: Event, responseStream: ResponseStream, context: Context & Record<Name, Lease>) => PromiseLike<void>,
): (event: Event, responseStream: ResponseStream, context: Omit<Context, Name>) => Promise<void>;
export function withLock(
  options: LockOptions<never, never, string>,
  handler: (...parameters: never[]) => unknown,
): (...parameters: never[]) => Promise<unknown> {
  const take = invocationLock(options);
  return async (...parameters) => {
    const [event, second, third] = parameters as unknown[];
    const responseStream = isWritable(second) ? second : undefined;
    const request = { context: responseStream ? third : second };
    const taken = await take(event, request.context);
    const { held } = taken;
    if (!held) return responseStream ? void responseStream.end(taken.response as string) : taken.response;
    hold(request, request, held);
    let response: unknown;
    try {
      response = await handler(...parameters);
    } catch (error) {
      // Where the handler is one of Middy's, what timed out in it may still be running.
      if (isEarlyTimeout(error)) held.abandon('timedOut');
      else await held.release();
      throw error;
    }
    // The handler has returned, but a stream of its own may still write.
    try {
      if (responseStream) await finished(responseStream);
    } catch (error) {
      held.abandon('abandoned');
      throw error;
    }
    // A handler of Middy inside has answered in the place of one that still runs.
    return holdingsOf(request).timedOut ? response : held.succeed(response);
  };
}

const isWritable = (value: unknown): value is NodeJS.WritableStream =>
  typeof (value as NodeJS.WritableStream | undefined)?.write === 'function';
