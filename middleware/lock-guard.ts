import type { Lease } from '../lib/lease/lease.ts';
import { acquireAll, type Leases, OF_ONE_KEY, orderedKeys } from '../lib/lease/leases.ts';
import type { AcquireOptions } from '../lib/lease/options.ts';
import { checkNames, checkThat, show } from '../lib/record/check.ts';
import { LockBusyError, LockDoneError } from '../lib/record/errors.ts';
import { checkSlotsOf } from '../lib/record/slot-keys.ts';
import type { OnceToken } from '../lib/record/token.ts';
import { checkChoice, configure, noPromise, sharedNames } from './configure.ts';
import { HeldLease } from './held-lease.ts';
import type { Guard } from './hooks.ts';
import { checkPlace, ofInvocation, putInto } from './invocation.ts';
import type { LambdaContext } from './lambda-context.ts';
import { logSkip } from './log-skip.ts';
import type { LockAllOptions, LockOptions } from './options.ts';
import { Remaining } from './remaining.ts';
import { noteSkip } from './request.ts';
import { type BatchResponse, messageIdOf, messagesOf, recordLocks, sendBack } from './sqs.ts';

const names = {
  ...sharedNames,
  keys: 0,
  onBusy: 0,
  onDone: 0,
  coalesce: 0,
  onlyIfOwed: 0,
  onCovered: 0,
  onOwed: 0,
} satisfies Record<keyof LockOptions | keyof LockAllOptions, 0>;

/** The options of one key, or of several. */
export type GuardOptions = LockOptions<never, never, string> | LockAllOptions<never, never, string>;
type OfEither = Partial<LockOptions<never, never, string> & LockAllOptions<never, never, string>>;

/** A function of the user's that gets the event and the context. */
export type OfRequest = (...about: unknown[]) => unknown;

/**
 * Checks the options that every lock of a handler has.
 * @throws TypeError that shows the value.
 */
export function checkLock(what: string, options: GuardOptions): void {
  checkNames(what, options, names);
  const { key, keys, permits = 1, onBusy = 'throw', onDone = 'skip', coalesce = false } = options as OfEither;
  if (keys !== undefined) checkKeys(what, options as OfEither);
  else if (typeof key !== 'function') checkSlotsOf(key, permits);
  checkChoice('onBusy', onBusy, 'throw', 'skip', 'a function');
  checkChoice('onDone', onDone, 'skip', 'a function');
  checkThat(typeof coalesce === 'boolean', 'coalesce', 'true or false', coalesce);
}

/**
 * Takes the lock of an invocation and puts the lease into the context.
 * @param what the function that takes the options, for messages.
 * @throws TypeError that shows the value, if an option is unknown or invalid.
 */
export function lockGuard(what: string, options: GuardOptions): Guard {
  checkLock(what, options);
  checkCallsOnce(what, options);
  const { key, keys, once, data, contextKey = 'lock', waitMs, reserveMs, onLost = 'throw' } = options as OfEither;
  const { client, acquire } = configure(what, options);
  const takerOf = (given: Given): ((asked: AcquireOptions) => Promise<Lease | Leases>) => {
    if (keys === undefined) {
      const name = given('key', key) as string;
      return (asked) => client.acquire(name, asked);
    }
    const names = given('keys', keys) as string[];
    return (asked) => acquireAll(client, names, asked);
  };

  return async (event, context, hold) => {
    const given = givenBy(event, context);
    // 1. Whatever may fail by the event or the context fails before the lock is taken.
    const invocation = ofInvocation(context as LambdaContext, waitMs, reserveMs);
    const remaining = new Remaining(context as LambdaContext);
    const isBatch = messagesOf(event) !== undefined;
    checkPlace(context, contextKey);
    const take = takerOf(given);
    // Without a token the handler would run every time: `acquire` refuses a token that is given and undefined.
    const token = given('once', once) as OnceToken;
    const asked = { ...acquire, ...invocation, ...(once !== undefined && { once: token }), data: given('data', data) };
    try {
      // 2. The lease is noted first of all: `before` ends what is noted, whatever fails.
      const lease = await take(asked);
      hold(new HeldLease(lease, remaining, onLost, isBatch));
      putInto(context, contextKey, lease);
      return undefined;
    } catch (error) {
      // 3. A response in the handler's place.
      return insteadOf(error, options, { token, event, context });
    }
  };
}

/** The handler is called once: a run that is asked for would never come. */
function checkCallsOnce(what: string, options: GuardOptions): void {
  const { coalesce, onlyIfOwed, onCovered, onOwed } = options as OfEither;
  if (coalesce) {
    throw new TypeError(
      `${what} takes no coalesce, since Middy calls a handler once: give the handler as withLock({ coalesce: true }, handler).`,
    );
  }
  const [stray] = Object.entries({ onlyIfOwed, onCovered, onOwed }).find(([, value]) => value !== undefined) ?? [];
  if (stray !== undefined) throw new TypeError(`${what} takes ${stray} only with coalesce: true, of withLock().`);
}

/** Gives the value of an option, which may be a function of the event and the context. */
export const givenBy =
  (event: unknown, context: object): Given =>
  (name, value) =>
    typeof value === 'function' ? noPromise(name, (value as OfRequest)(event, context)) : value;

type Given = (name: string, value: unknown) => unknown;

/**
 * Gives the response in the place of a handler that does not run: a lock is busy, or the token is done.
 * @throws the error, if the invocation is to fail.
 */
export async function insteadOf(
  error: unknown,
  options: GuardOptions,
  { token, event, context }: { readonly token?: OnceToken; readonly event: unknown; readonly context: object },
): Promise<{ response: unknown }> {
  const { onBusy = 'throw', onDone = 'skip' } = options as OfEither;
  const isBusy = error instanceof LockBusyError;
  const respond = isBusy ? onBusy : error instanceof LockDoneError ? onDone : 'throw';
  if (respond === 'throw') throw error;
  logSkip((error as LockBusyError | LockDoneError).key, token, error);
  noteSkip(isBusy);
  const response = typeof respond === 'function' ? await (respond as OfRequest)(error, event, context) : undefined;
  const sent = isBusy && respond === 'skip' ? allFailed(event) : besideRecords(event, context);
  return { response: sent || response };
}

/**
 * The response to a batch whose records have locks of their own, which say what is done. SQS must not delete messages that
 * nobody has worked on.
 */
export const besideRecords = (event: unknown, context: object): BatchResponse | undefined =>
  hasRecordLocks(context) ? allFailed(event) : undefined;

/** @throws TypeError that shows the value, if an option of one key stands beside `keys`, or if the keys are none. */
function checkKeys(what: string, options: OfEither): void {
  const { key, keys } = options;
  if (key !== undefined) {
    throw new TypeError(`${what} takes either key or keys, not both: leave out the key, which is ${show(key)}.`);
  }
  // A token that is given must be there. Of any other option, undefined means that it is not given.
  const given = Object.entries(options).filter(([name, value]) => value !== undefined || name === 'once');
  const other = OF_ONE_KEY.find((name) => given.some(([each]) => each === name));
  if (other !== undefined) throw new TypeError(`${what} takes no ${other} with keys: it belongs to one key.`);
  if (typeof keys !== 'function') orderedKeys(keys as readonly string[]);
}

const hasRecordLocks = (context: object): boolean =>
  Object.values(context).some((value) => (value as { [recordLocks]?: true } | null | undefined)?.[recordLocks]);

/** The response that all messages of a batch failed. Undefined if the event is no batch. */
const allFailed = (event: unknown): BatchResponse | undefined => {
  const messages = messagesOf(event);
  return messages && sendBack(messages.map(messageIdOf));
};
