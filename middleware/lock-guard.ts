import { checkKey, checkNames, checkThat } from '../lib/record/check.ts';
import { LockBusyError, LockDoneError } from '../lib/record/errors.ts';
import type { OnceToken } from '../lib/record/token.ts';
import { checkChoice, configure, noPromise, sharedNames } from './configure.ts';
import { HeldLease } from './held-lease.ts';
import type { Guard } from './hooks.ts';
import { checkPlace, ofInvocation, putInto } from './invocation.ts';
import type { LambdaContext } from './lambda-context.ts';
import { logSkip } from './log-skip.ts';
import type { LockOptions } from './options.ts';
import { Remaining } from './remaining.ts';
import { noteSkip } from './request.ts';
import { type BatchResponse, messageIdOf, messagesOf, recordLocks, sendBack } from './sqs.ts';

/** The names of `LockOptions`. */
export const lockNames = {
  ...sharedNames,
  onBusy: 0,
  onDone: 0,
  coalesce: 0,
  onCovered: 0,
  onOwed: 0,
} satisfies Record<keyof LockOptions, 0>;

/** A function of the user's that gets the event and the context. */
export type OfRequest = (...about: unknown[]) => unknown;

type AnyOptions = LockOptions<never, never, string>;

/**
 * Checks the options that every lock of a handler has.
 * @throws TypeError that shows the value.
 */
export function checkLock(what: string, options: AnyOptions): void {
  checkNames(what, options, lockNames);
  const { key, onBusy = 'throw', onDone = 'skip', coalesce = false } = options;
  if (typeof key !== 'function') checkKey(key);
  checkChoice('onBusy', onBusy, 'throw', 'skip', 'a function');
  checkChoice('onDone', onDone, 'skip', 'a function');
  checkThat(typeof coalesce === 'boolean', 'coalesce', 'true or false', coalesce);
}

/**
 * Takes the lock of an invocation and puts the lease into the context.
 * @param what the function that takes the options, for messages.
 * @throws TypeError that shows the value, if an option is unknown or invalid.
 */
export function lockGuard(what: string, options: LockOptions<never, never, string>): Guard {
  checkLock(what, options);
  const { key, once, data, contextKey = 'lock', waitMs, reserveMs, onLost = 'throw' } = options;
  checkCallsOnce(what, options);
  const { client, acquire } = configure(what, options);

  return async (event, context, hold) => {
    const given = givenBy(event, context);
    // 1. Whatever may fail by the event or the context fails before the lock is taken.
    const invocation = ofInvocation(context as LambdaContext, waitMs, reserveMs);
    const remaining = new Remaining(context as LambdaContext);
    const isBatch = messagesOf(event) !== undefined;
    checkPlace(context, contextKey);
    const name = given(key) as string;
    // Without a token the handler would run every time: `acquire` refuses a token that is given and undefined.
    const token = given(once) as OnceToken;
    const asked = { ...acquire, ...invocation, ...(once !== undefined && { once: token }), data: given(data) };
    try {
      // 2. The lease is noted first of all: `before` ends what is noted, whatever fails.
      const lease = await client.acquire(name, asked);
      hold(new HeldLease(lease, remaining, onLost, isBatch));
      putInto(context, contextKey, lease);
      return undefined;
    } catch (error) {
      // 3. A response in the handler's place.
      return insteadOf(error, options, { name, token, event, context });
    }
  };
}

/** The lock of `lock()`, or of a handler that is called once: a run that is asked for would never come. */
function checkCallsOnce(what: string, { coalesce, onCovered, onOwed }: AnyOptions): void {
  if (coalesce) {
    throw new TypeError(
      `${what} takes no coalesce, since Middy calls a handler once: give the handler as withLock({ coalesce: true }, handler).`,
    );
  }
  const [stray] = Object.entries({ onCovered, onOwed }).find(([, value]) => value !== undefined) ?? [];
  if (stray !== undefined) throw new TypeError(`${what} takes ${stray} only with coalesce: true, of withLock().`);
}

/** Gives the value of an option, which may be a function of the event and the context. */
export const givenBy = (event: unknown, context: object) => (value: unknown) =>
  typeof value === 'function' ? noPromise((value as OfRequest)(event, context)) : value;

/**
 * Gives the response in the place of a handler that does not run: the lock is busy, or the token is done.
 * @throws the error, if the invocation is to fail.
 */
export async function insteadOf(
  error: unknown,
  { onBusy = 'throw', onDone = 'skip' }: AnyOptions,
  call: { readonly name: string; readonly token?: OnceToken; readonly event: unknown; readonly context: object },
): Promise<{ response: unknown }> {
  const { name, token, event, context } = call;
  const isBusy = error instanceof LockBusyError;
  const respond = isBusy ? onBusy : error instanceof LockDoneError ? onDone : 'throw';
  if (respond === 'throw') throw error;
  logSkip(name, token, error);
  noteSkip(isBusy);
  const response = typeof respond === 'function' ? await (respond as OfRequest)(error, event, context) : undefined;
  return { response: (isBusy && respond === 'skip' && sentBack(event)) || besideRecords(event, context) || response };
}

/**
 * The response to a batch whose records have locks of their own, which say what is done. SQS must not delete messages that
 * nobody has worked on.
 */
export const besideRecords = (event: unknown, context: object): BatchResponse | undefined =>
  hasRecordLocks(context) ? sentBack(event) : undefined;

const hasRecordLocks = (context: object): boolean =>
  Object.values(context).some((value) => (value as { [recordLocks]?: true } | null | undefined)?.[recordLocks]);

/** The response that all messages of a batch failed. Undefined if the event is no batch. */
const sentBack = (event: unknown): BatchResponse | undefined => {
  const messages = messagesOf(event);
  return messages && sendBack(messages.map(messageIdOf));
};
