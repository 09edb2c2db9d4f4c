import type { Lease } from '../lib/lease/lease.ts';
import type { Leases } from '../lib/lease/leases.ts';
import { after, before, onError } from './hooks.ts';
import type { LambdaContext } from './lambda-context.ts';
import { type GuardOptions, lockGuard } from './lock-guard.ts';
import type { Either, LockAllOptions, LockOptions } from './options.ts';
import type { RecordLocks } from './record-options.ts';
import type { LockRequest } from './request.ts';

/**
 * A middleware for Middy's `use`. Its handler's context has the lease, the leases of several keys, or the locks of a batch's records.
 * @example
 * ```ts
 * import { type LockMiddleware, lock } from 'leasehold/middy';
 *
 * export const nightly: LockMiddleware = lock({ key: 'nightly' });
 * ```
 */
export interface LockMiddleware<
  Event = unknown,
  Context = LambdaContext,
  Name extends string = 'lock',
  Held extends Lease | Leases | RecordLocks = Lease,
> {
  /** Takes the lock. */
  readonly before: (request: LockRequest<Event, Context & Record<Name, Held>>) => Promise<void>;
  /** Releases the lock after the handler has succeeded. */
  readonly after: (request: LockRequest<Event, Context & Record<Name, Held>>) => Promise<void>;
  /** Releases the lock after the handler has failed. */
  readonly onError: (request: LockRequest<Event, Context & Record<Name, Held>>) => Promise<void>;
}

/** Middy calls a handler once, and so nobody would make a run that is asked for. */
type CalledOnce<Options> = Omit<Options, 'coalesce' | 'onlyIfOwed' | 'onCovered' | 'onOwed'>;

/**
 * Takes the lock before the handler runs, keeps the lock while the handler runs, or the stream of its response, and then
 * releases the lock. For Middy 6 and 7.
 *
 * **Its place.** Register `lock()` first of the middlewares whose work the lock is to cover, behind those that only make or
 * check the input of its key, and give Middy `lockPlugin()` too. Then the others do their work in `before`, `after` and
 * `onError` (open a transaction, commit) under the lock. A lock that stands last covers the handler alone: Middy calls
 * `after` in reverse order.
 *
 * **Without the plugin** Middy tells a lock nothing of
 *
 * - a request that a middleware after the lock ends, by the result of its hook or by an `onError` that throws,
 * - an early time-out whose error is replaced.
 *
 * Then the lease is not released, and ends with the invocation's time. With the plugin one such end is left: Middy 6 tells
 * nobody of an `onError` that throws. The same holds for an execution mode of Middy 7 that is given to `middy()` beside
 * `lockPlugin()`, and not to `lockPlugin()`.
 *
 * **A response that is a stream** is sent under the lock. If its reader leaves, or the stream fails, the lock destroys the
 * stream and releases the lease once the stream has closed. Only a generator that does its work itself
 * (`Readable.from(generator())`), or a stream whose `_destroy` waits for the work, closes after the work. For web streams,
 * Duplexes and streams that somebody pushes to, the lock abandons the lease: the signal aborts, and the lock opens at the
 * expiry. `Readable.from` of an iterator without a `return`, `readable.map(work, { concurrency })` and a generator that
 * reads another working stream close too early, and cannot be recognised: end their work at `lease.signal`.
 *
 * **The release** is the lock's. If a handler releases its lease, leasehold warns on the console: the work after the
 * release runs without the lock, and the `once` token is done only if the handler called `release({ done: true })`. A
 * handler that calls `release({ done: true, result })` as its last act is not warned of.
 *
 * **Several keys**, `lock({ keys: [...] })`, are locked together or not at all, and the context has `Leases`.
 *
 * If a lock ends a request before the handler, Middy calls no `after` and no `onError` of any middleware.
 *
 * The invocation fails with
 *
 * - a `LockBusyError`, as `onBusy` says,
 * - a `LockLostError`, as `onLost` says,
 * - a `LockStoreError` when the store does not answer,
 * - a `LockError` in a durable execution, outside its steps.
 *
 * An error of the handler is never replaced.
 * @example
 * ```ts
 * import middy from '@middy/core';
 * import { lock, lockPlugin } from 'leasehold/middy';
 *
 * export const handler = middy(lockPlugin())
 *   .use(lock({ key: 'nightly', onBusy: 'skip' }))
 *   .handler(async (_event, context) => {
 *     context.lock.assertHeld();
 *   });
 * ```
 * @throws TypeError that shows the value, if an option is unknown or invalid.
 */
export function lock<Event = unknown, Context = LambdaContext, const Name extends string = 'lock'>(
  options: CalledOnce<LockOptions<Event, Context, Name>>,
): LockMiddleware<Event, Context, Name>;
export function lock<Event = unknown, Context = LambdaContext, const Name extends string = 'lock'>(
  options: LockAllOptions<Event, Context, Name>,
): LockMiddleware<Event, Context, Name, Leases>;
// The compiler explains a mistake by the last overload alone: so this overload takes either kind of options.
export function lock<Event = unknown, Context = LambdaContext, const Name extends string = 'lock'>(
  options: Either<CalledOnce<LockOptions<Event, Context, Name>>, LockAllOptions<Event, Context, Name>>,
): LockMiddleware<Event, Context, Name, Lease | Leases>;
export function lock(options: GuardOptions): LockMiddleware<unknown, object, string, never> {
  const guard = lockGuard('lock()', options);
  const lockBefore = (request: LockRequest) => before(guard, request);
  const lockAfter = (request: LockRequest) => after(guard, request);
  const lockOnError = (request: LockRequest) => onError(guard, request);
  return { before: lockBefore, after: lockAfter, onError: lockOnError };
}
