import { finished } from 'node:stream/promises';
import { checkChoice } from './configure.ts';
import { after, before, type Guard, onError } from './hooks.ts';
import { heldBy, type LockRequest } from './request.ts';

type Handler = (...parameters: never[]) => unknown;

/**
 * Wraps a handler: `handler(event, context)`, or `handler(event, responseStream, context)`.
 *
 * 1. Takes. Where that gives a response, the handler does not run.
 * 2. Runs the handler. Its error is thrown after the end of what was taken.
 * 3. Waits for the response stream, to which the handler may still write after it has returned.
 * 4. Ends what was taken.
 */
export function wrap(guard: Guard, handler: Handler): (...parameters: never[]) => Promise<unknown> {
  checkChoice('handler', handler, 'a function');
  return async (...parameters: unknown[]) => {
    const [event, ...rest] = parameters;
    const stream = isWritable(rest[0]) ? rest[0] : undefined;
    const request: LockRequest = { event, context: stream ? rest[1] : rest[0], internal: {} };
    try {
      await before(guard, request);
      if ('earlyResponse' in request) {
        return stream ? void stream.end(request.earlyResponse as string) : request.earlyResponse;
      }
      request.response = await handler(...([request.event, ...rest] as never[]));
      if (stream) await sent(stream, request);
      await after(guard, request);
      return request.response;
    } catch (error) {
      request.error = error;
      request.response = undefined;
      await onError(guard, request);
      throw error;
    }
  };
}

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
