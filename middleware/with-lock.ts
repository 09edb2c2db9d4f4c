import type { Lease } from '../lib/lease/lease.ts';
import type { Leases } from '../lib/lease/leases.ts';
import { coalesced } from './coalesced.ts';
import type { LambdaContext } from './lambda-context.ts';
import { type GuardOptions, lockGuard } from './lock-guard.ts';
import type { Either, LockAllOptions, LockOptions } from './options.ts';
import type { BatchResponse, Lockable, QueueEvent } from './sqs.ts';
import { wrap } from './wrap.ts';

/** The options as they were written, from which the compiler learns how a handler that does not run responds. */
type Written = { [Name in keyof (LockOptions & LockAllOptions)]?: unknown };
type EitherOptions<Event, Context, Name extends string> = Either<
  LockOptions<Event, Context, Name>,
  LockAllOptions<Event, Context, Name>
>;
type HeldBy<Keys> = Keys extends undefined ? Lease : Leases;
type Of<Options, Name> = Name extends keyof Options ? Options[Name] : never;
type ResultOf<Way> = Way extends (...parameters: never[]) => infer Result ? Awaited<Result> : never;

/**
 * The response in the place of a handler that does not run, as `onBusy` says, with `once` `onDone`, and with `coalesce`
 * `onCovered` and `onOwed`. With `onlyIfOwed`, there may be no response.
 * @example
 * ```ts
 * import type { Instead } from 'leasehold/middy';
 *
 * export const skipped: Instead<{ onBusy: 'skip' }> = undefined;
 * ```
 */
export type Instead<Options, Event = unknown> =
  | Busy<Of<Options, 'onBusy'>, Event>
  | ('onlyIfOwed' extends keyof Options ? undefined : never)
  | ('coalesce' extends keyof Options ? Covered<Of<Options, 'onCovered'>> | ResultOf<Of<Options, 'onOwed'>> : never)
  | ('once' extends keyof Options ? ('onDone' extends keyof Options ? Done<Options['onDone']> : undefined) : never);
type Busy<Way, Event> = Way extends 'skip'
  ? Event extends QueueEvent<Lockable>
    ? BatchResponse
    : undefined
  : ResultOf<Way>;
type Covered<Way> = [ResultOf<Way>] extends [never] ? undefined : ResultOf<Way>;
type Done<Way> = Way extends 'skip' | undefined ? undefined : ResultOf<Way>;

/**
 * `lock()` for handlers without Middy: `handler(event, context)`, and, inside of `awslambda.streamifyResponse(...)`,
 * `handler(event, responseStream, context)`, for which TypeScript needs the parameters' types.
 *
 * A handler with a callback is refused with a `TypeError` at its first call, before the lock is taken: nobody could tell when
 * its work ends.
 *
 * The lock of a streaming handler is held until the response stream has finished. If the response stream fails after the
 * handler has returned, nobody can tell what still writes to it: the lease is abandoned, its signal aborts, and the lock
 * opens at the expiry. The results of `onBusy` and `onDone` are written as the response's body.
 *
 * Give a handler of Middy inside `middy(lockPlugin())`, or `timeoutEarlyInMillis: 0`: an early time-out that the handler
 * answers without the plugin looks like a success.
 *
 * The result is the handler's, or the response in the handler's place: `undefined` with `onBusy: 'skip'`, or with `once` and
 * without `onDone`. The promise rejects where `lock()` makes an invocation fail. An error of the handler is never replaced.
 * With `coalesce: true`, the handler runs once more if it is asked for while it runs: see docs/coalesce.md.
 * @example
 * ```ts
 * import { withLock } from 'leasehold/middy';
 *
 * export const handler = withLock(
 *   { key: (event: { customer: string }) => `invoice/${event.customer}`, waitMs: 5_000 },
 *   async (event, { lock }) => ({ customer: event.customer, token: lock.fencingToken }),
 * );
 * ```
 * @throws TypeError that shows the value, if an option is unknown or invalid.
 */
export function withLock<
  Event,
  Result,
  // No stream: a handler of two parameters may be a streaming one that needs no context.
  Context extends object & { write?: never } = LambdaContext,
  const Name extends string = 'lock',
  const Options extends Written = object,
>(
  options: LockOptions<Event, Omit<Context, Name>, Name> &
    Options &
    Record<Exclude<keyof Options, keyof LockOptions>, never>,
  handler: (event: Event, context: Context & Record<Name, Lease>) => Result,
): (event: Event, context: Omit<Context, Name>) => Promise<Awaited<Result> | Instead<Options, Event>>;
export function withLock<
  Event,
  Result,
  // No stream: a handler of two parameters may be a streaming one that needs no context.
  Context extends object & { write?: never } = LambdaContext,
  const Name extends string = 'lock',
  const Options extends Written = object,
>(
  options: LockAllOptions<Event, Omit<Context, Name>, Name> &
    Options &
    Record<Exclude<keyof Options, keyof LockAllOptions>, never>,
  handler: (event: Event, context: Context & Record<Name, Leases>) => Result,
): (event: Event, context: Omit<Context, Name>) => Promise<Awaited<Result> | Instead<Options, Event>>;
export function withLock<
  Event,
  ResponseStream extends NodeJS.WritableStream,
  Context = LambdaContext,
  const Name extends string = 'lock',
  Keys = undefined,
>(
  options: EitherOptions<Event, Omit<Context, Name>, Name> & { keys?: Keys },
  handler: (
    event: Event,
    responseStream: ResponseStream,
    context: Context & Record<Name, HeldBy<Keys>>,
  ) => PromiseLike<void>,
): (event: Event, responseStream: ResponseStream, context: Omit<Context, Name>) => Promise<void>;
// The compiler explains a mistake by the last overload alone: so this overload takes either kind of options.
export function withLock<
  Event,
  Result,
  Context extends object & { write?: never } = LambdaContext,
  const Name extends string = 'lock',
  Keys = undefined,
>(
  options: EitherOptions<Event, Omit<Context, Name>, Name> & { keys?: Keys },
  handler: (event: Event, context: Context & Record<Name, HeldBy<Keys>>) => Result,
): (event: Event, context: Omit<Context, Name>) => Promise<unknown>;
export function withLock(
  options: GuardOptions,
  handler: (...parameters: never[]) => unknown,
): (...parameters: never[]) => Promise<unknown> {
  if ((options as LockOptions | undefined)?.coalesce) return coalesced(options as LockOptions, handler);
  return wrap(lockGuard('withLock()', options), handler);
}
