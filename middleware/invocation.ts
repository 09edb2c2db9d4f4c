import { type AcquireOptions, leavingOf, remainingOf } from '../lib/lease/options.ts';
import { ownerOf } from '../lib/lease/owner.ts';
import { MOST_MS } from '../lib/record/check.ts';
import { LockError } from '../lib/record/errors.ts';
import type { LambdaContext } from './lambda-context.ts';

/**
 * The options of a lease that is taken in an invocation, now.
 * @throws LockError in a durable execution, outside its steps.
 */
export function ofInvocation(context: LambdaContext, waitMs = 0, reserveMs = 1_000): AcquireOptions {
  // The context of a durable execution has Lambda's own inside.
  if ('lambdaContext' in context && 'step' in context) {
    throw new LockError(
      'Take the lock inside a step of a durable execution, not around the execution, which suspends and starts over: ' +
        'context.step(() => locks.using(key, {}, work)).',
    );
  }
  const { functionName, functionVersion, logStreamName, awsRequestId } = context;
  const owner = functionName && ownerOf(functionName, functionVersion, logStreamName, awsRequestId);
  if (!context.getRemainingTimeInMillis) return { owner, waitMs };
  const remainingMs = () => context.getRemainingTimeInMillis();
  return {
    owner,
    waitMs: Math.max(0, Math.min(waitMs, Math.floor(remainingOf({ remainingMs })) - reserveMs)),
    withinMs: Math.min(MOST_MS, Math.floor(leavingOf(remainingMs, reserveMs))),
    // If invocations share a process, Lambda does not stop their code at the time-out, and the lease goes on with the code.
    remainingMs: process.env.AWS_LAMBDA_MAX_CONCURRENCY ? undefined : remainingMs,
  };
}

/**
 * Refuses a second lock under one `contextKey`, before the second lock is taken.
 * @throws LockError if another lock of the request stands there.
 */
export function checkPlace(context: object, contextKey: string): void {
  const other = (context as Record<string, { isHeld?: unknown } | null | undefined>)[contextKey];
  if (typeof other?.isHeld === 'function' && other.isHeld()) {
    throw new LockError(
      `Two locks would stand in context.${contextKey}, and the handler would not see the loss of the first. Set contextKey for one of them; with one lock, give each invocation its own context.`,
    );
  }
}

/**
 * Puts a lease, or the locks of records, into the context.
 * @throws LockError as `checkPlace` does, for another lock may have been granted meanwhile.
 * @throws TypeError if the context does not take the lease. The context's own error is the cause.
 */
export function putInto(context: object, contextKey: string, held: { isHeld(): boolean }): void {
  checkPlace(context, contextKey);
  const refused = `The context cannot take the lease as context.${contextKey}: give the handler Lambda's own context.`;
  try {
    Object.assign(context, { [contextKey]: held });
  } catch (cause) {
    throw new TypeError(refused, { cause });
  }
  // A setter or a proxy may drop the lease, and the handler would run without it.
  if ((context as Record<string, unknown>)[contextKey] !== held) throw new TypeError(refused);
}
