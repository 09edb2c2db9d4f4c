import { DynamoDBLockStore } from '../lib/dynamodb/store.ts';
import { heed } from '../lib/lease/callback.ts';
import { LockClient } from '../lib/lease/client.ts';
import type { Lease } from '../lib/lease/lease.ts';
import { type AcquireOptions, planAcquire, remainingOf } from '../lib/lease/options.ts';
import { checkKey, checkText } from '../lib/record/check.ts';
import { LockBusyError, LockDoneError, LockError } from '../lib/record/errors.ts';
import type { LockStore } from '../lib/record/store.ts';
import { HeldLease } from './held-lease.ts';
import type { BatchResponse, LambdaContext, LockOptions, SharedOptions } from './options.ts';
import { Remaining } from './remaining.ts';

/** A lease for the handler, or a response in the handler's place. */
type Taken = { readonly held: HeldLease } | { readonly held?: undefined; readonly response: unknown };

/**
 * Takes an invocation's lock and puts the lease into the context.
 * @throws when the handler is not to run and that is an error.
 */
export type Take = (event: unknown, context: unknown) => Promise<Taken>;

type OfRequest = (...about: unknown[]) => unknown;

/**
 * Checks what every lock can be told, so that bad options throw when the lock is configured and not at midnight.
 * @returns the client that takes its leases.
 * @throws TypeError that shows the value.
 */
export function configure(
  options: SharedOptions<string> & { once?: unknown; data?: unknown; onLost?: unknown },
): LockClient {
  const { once, data, contextKey = 'lock', reserveMs = 1_000, onLost = 'throw' } = options;
  const shared = typeof (options.locks as LockClient | undefined)?.using === 'function';
  checkText('contextKey', contextKey);
  checkChoice('onLost', onLost, 'throw', 'ignore');
  if (!(Number.isInteger(reserveMs) && reserveMs >= 0)) {
    throw new TypeError(`reserveMs must be a whole number of milliseconds, 0 or more, but it is ${String(reserveMs)}.`);
  }
  planAcquire({
    // A shared client has a lease time of its own to judge the heartbeat by.
    ...(shared && { leaseMs: 2 ** 31 - 1 }),
    ...options,
    once: typeof once === 'function' ? undefined : (once as string | undefined),
    data: typeof data === 'function' ? undefined : data,
    owner: 'known at each request',
  });
  if (shared) return options.locks as LockClient;
  return new LockClient({ ...options, store: (options.locks as LockStore) ?? new DynamoDBLockStore(options) });
}

/**
 * What `lock()` and `withLock()` share. Checks the options as `configure` does.
 * @throws TypeError that shows the value.
 */
export function invocationLock(options: LockOptions<never, never, string>): Take {
  const { key, once, data, contextKey = 'lock', waitMs, reserveMs, onLost } = options;
  const { onBusy = 'throw', onDone = 'skip' } = options;
  if (typeof key !== 'function') checkKey(key);
  checkChoice('onBusy', onBusy, 'throw', 'skip', 'a function');
  checkChoice('onDone', onDone, 'skip', 'a function');
  const client = configure(options);

  async function acquire(event: unknown, context: object): Promise<HeldLease> {
    const given = (value: unknown) =>
      typeof value === 'function' ? noPromise((value as OfRequest)(event, context)) : value;
    const lease = await client.acquire(given(key) as string, {
      ...options,
      ...ofInvocation(context as LambdaContext, waitMs, reserveMs),
      // Without a token it would run every time.
      once: once && checkText('once', given(once)),
      data: given(data),
    });
    const held = new HeldLease(lease, new Remaining(context as LambdaContext), onLost, messagesOf(event) !== undefined);
    try {
      if (isHeldLease((context as Record<string, unknown>)[contextKey])) {
        throw new LockError(
          `Two locks would stand in context.${contextKey}, and the lease of '${lease.key}' would hide the other one, whose ` +
            'loss the handler would not see. Set contextKey for one of them.',
        );
      }
      Object.assign(context, { [contextKey]: lease });
    } catch (error) {
      // A context that is frozen, or has such a property that cannot be set or is taken, has no place for the lease.
      await held.release();
      throw error;
    }
    return held;
  }

  return async (event, context) => {
    try {
      return { held: await acquire(event, context as object) };
    } catch (error) {
      const isBusy = error instanceof LockBusyError;
      const respond = isBusy ? onBusy : error instanceof LockDoneError ? onDone : 'throw';
      if (respond === 'throw') throw error;
      const response = typeof respond === 'function' ? await (respond as OfRequest)(error, event, context) : undefined;
      // Messages that nobody has worked on must not be deleted. A batch that is done may be, but for one whose records
      // have locks of their own: those say what is done.
      const keep = (isBusy && respond === 'skip') || hasRecordLocks(context);
      return { response: (keep && allFailed(event)) || response };
    }
  };
}

/**
 * Refuses the promise that a function gave from which a value was expected; its rejection is nobody's.
 * @throws TypeError
 */
export function noPromise(value: unknown): unknown {
  if (typeof (value as PromiseLike<unknown> | null | undefined)?.then !== 'function') return value;
  heed(value);
  throw new TypeError(
    'key, once and data must be a string or JSON, or a function that gives it at once, but it gave a Promise.',
  );
}

const isHeldLease = (value: unknown): boolean =>
  typeof (value as Lease | null | undefined)?.assertHeld === 'function' && (value as Lease).isHeld();

/** The brand of the locks of a batch's records, in the context. */
export const recordLocks = Symbol.for('leasehold.recordLocks');

const hasRecordLocks = (context: unknown): boolean =>
  Object.values(context as object).some(
    (value) => (value as { [recordLocks]?: true } | null | undefined)?.[recordLocks],
  );

/** The messages of an event of SQS; undefined if it is none. */
export function messagesOf<Item extends { messageId: string }>(event: unknown): Item[] | undefined {
  const { Records: records } = (event ?? {}) as { Records?: Item[] };
  const isMessage = (record: Item | undefined) => typeof record?.messageId === 'string' && record.messageId !== '';
  return Array.isArray(records) && records.length > 0 && records.every(isMessage) ? records : undefined;
}

const allFailed = (event: unknown): BatchResponse | undefined => {
  const messages = messagesOf(event);
  return messages && failuresOf(messages.map(({ messageId }) => messageId));
};

export const failuresOf = (messageIds: Iterable<string>): BatchResponse => ({
  batchItemFailures: Array.from(messageIds, (itemIdentifier) => ({ itemIdentifier })),
});

/** What the invocation says of a lease that is taken in it, now. */
export function ofInvocation(context: LambdaContext, waitMs = 0, reserveMs = 1_000): AcquireOptions {
  // The context of a durable execution has Lambda's own inside.
  if ('lambdaContext' in context && 'step' in context) {
    throw new LockError(
      'A lock must be taken inside a step of a durable execution, not around the execution, which suspends unseen and ' +
        'starts over: context.step(() => locks.using(key, {}, work)).',
    );
  }
  const { functionName, functionVersion, logStreamName, awsRequestId } = context;
  const owner = functionName && `${functionName}:${functionVersion} ${logStreamName} ${awsRequestId}`;
  if (!context.getRemainingTimeInMillis) return { owner, waitMs };
  const remainingMs = () => context.getRemainingTimeInMillis();
  return {
    owner,
    waitMs: Math.max(0, Math.min(waitMs, Math.floor(remainingOf({ remainingMs })) - reserveMs)),
    // Where invocations share a process, Lambda does not stop their code at the time-out: the lease goes on with it.
    remainingMs: process.env.AWS_LAMBDA_MAX_CONCURRENCY ? undefined : remainingMs,
  };
}

export function checkChoice(name: string, value: unknown, ...choices: string[]): void {
  if (choices.includes(typeof value === 'function' ? 'a function' : (value as string))) return;
  throw new TypeError(`${name} must be ${choices.join(' or ')}, but it is ${String(value)}.`);
}
