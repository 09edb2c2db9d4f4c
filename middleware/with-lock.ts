import type { Lease } from '../lib/lease/lease.ts';
import type { LambdaContext } from './lambda-context.ts';
import { lockGuard } from './lock-guard.ts';
import type { LockOptions } from './options.ts';
import { wrap } from './wrap.ts';

/**
 * `lock()` for handlers without Middy: `handler(event, context)`, and, inside of `awslambda.streamifyResponse(...)`,
 * `handler(event, responseStream, context)`, for which TypeScript needs the parameters' types.
 *
 * The lock of a streaming handler is held until the response stream has finished. If the response stream fails after the
 * handler has returned, nobody can tell what still writes to it: the lease is abandoned, its signal aborts, and the lock
 * opens at the expiry. The results of `onBusy` and `onDone` are written as the response's body.
 *
 * Give a handler of Middy inside `middy(lockPlugin())`, or `timeoutEarlyInMillis: 0`: an early time-out that the handler
 * answers without the plugin looks like a success.
 *
 * The promise of the wrapped handler rejects where `lock()` makes an invocation fail. An error of the handler is never
 * replaced.
 * @example
 * ```ts
 * import { withLock } from 'leasehold/middy';
 *
 * export const handler = withLock(
 *   { key: (event: { customer: string }) => `invoice/${event.customer}`, waitMs: 5_000 },
 *   async (event, { lock }) => ({ customer: event.customer, token: lock.fencingToken }),
 * );
 * ```
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
  return wrap(lockGuard('withLock()', options), handler);
}
