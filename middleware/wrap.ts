import { finished } from 'node:stream/promises';
import { checkFunction, checkThat } from '../lib/record/check.ts';
import { after, before, type Guard, onError } from './hooks.ts';
import { begin, heldBy, holdingsOf, type LockRequest, runHandler } from './request.ts';

export type Handler = (...parameters: never[]) => unknown;

/** The parameters that Lambda, or Middy, gives a handler. */
interface Call {
  readonly event: unknown;
  readonly stream: NodeJS.WritableStream | undefined;
  readonly context: object;
  readonly others: readonly unknown[];
}

/**
 * Tells the parameters of a call.
 * @param what the function that wraps the handler, for messages.
 * @throws TypeError if the context is no object, or if the handler would call back.
 */
export function callOf(what: string, handler: Handler, parameters: readonly unknown[]): Call {
  const [event, ...rest] = parameters;
  const stream = isWritable(rest[0]) ? (rest.shift() as NodeJS.WritableStream) : undefined;
  // As in Middy, tests may leave the context out.
  const [context = {}, ...more] = rest;
  const isObject = context !== null && typeof context === 'object';
  checkThat(isObject, 'The context', 'the object that Lambda gives a handler', context);
  // Middy gives its handler an object in the place of the callback.
  if (handler.length > 2 && !stream && typeof more[0] !== 'object') throw callbackError(what);
  // A handler that finds no callback fails. With the callback, the handler would work on without the lock.
  return { event, stream, context, others: more.filter((parameter) => typeof parameter !== 'function') };
}

/**
 * Wraps a handler: `handler(event, context)`, or `handler(event, responseStream, context)`.
 *
 * 1. Takes. Where that gives a response, the handler does not run.
 * 2. Runs the handler. Its error is thrown after the end of what was taken.
 * 3. Waits for the response stream, to which the handler may still write after it has returned.
 * 4. Ends what was taken.
 */
export function wrap(guard: Guard, handler: Handler): (...parameters: never[]) => Promise<unknown> {
  checkFunction('handler', handler);
  return async (...parameters: unknown[]) => {
    const { event, stream, context, others } = callOf('withLock()', handler, parameters);
    const request: LockRequest = { event, context, internal: {} };
    try {
      holdingsOf(request).tellsBegin = true;
      await before(guard, request);
      if ('earlyResponse' in request) {
        return stream ? void stream.end(request.earlyResponse as string) : request.earlyResponse;
      }
      begin(request);
      const given = [request.event, ...(stream ? [stream] : []), context, ...others] as never[];
      request.response = await runHandler(request, () => handler(...given));
      if (stream) await sent(stream, request);
      // A body in the response is produced under the lock, too.
      await runHandler(request, () => after(guard, request));
      return request.response;
    } catch (error) {
      request.error = error;
      request.response = undefined;
      await onError(guard, request);
      throw error;
    }
  };
}

/** Nobody can tell when the work of a handler ends that gives no promise, but calls back. */
export const callbackError = (what: string): TypeError =>
  new TypeError(
    `${what} takes no handler with a callback, whose lock would be released while the handler works: write ` +
      'async (event, context) => ..., and return the result.',
  );

async function sent(stream: NodeJS.WritableStream, request: LockRequest): Promise<void> {
  try {
    await finished(stream);
  } catch (error) {
    // Nobody can tell what still writes to the stream.
    for (const held of heldBy(request)) held.abandon('abandoned');
    throw error;
  }
}

const isWritable = (value: unknown): value is NodeJS.WritableStream =>
  typeof (value as NodeJS.WritableStream | undefined)?.write === 'function';
