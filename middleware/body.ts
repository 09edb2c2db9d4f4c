import { Readable } from 'node:stream';

/** The body of a response that is a stream: Node's own or a web stream. */
export type Body = Readable | ReadableStream;

/** The stream in a response, where Middy and Lambda look for one. */
export function bodyIn(response: unknown): Body | undefined {
  if (isStream(response)) return response;
  const { statusCode, headers, body } = (response ?? {}) as { statusCode?: number; headers?: object; body?: unknown };
  return (statusCode || headers) && isStream(body) ? body : undefined;
}

const isStream = (value: unknown): value is Body =>
  isWeb(value) || typeof (value as Readable | undefined)?.pipe === 'function';

/** Node loads its web streams at the first look at their global, which takes some milliseconds of a cold start. */
const isWeb = (value: unknown): value is ReadableStream =>
  typeof (value as ReadableStream | undefined)?.getReader === 'function' && value instanceof ReadableStream;

export const readableOf = (body: Body): Readable =>
  isWeb(body) ? Readable.fromWeb(body as never, { objectMode: true }) : body;

/**
 * Tells whether a body closes only after the work that produces the body. Only a stream with a `_destroy` of its own can
 * wait for its work, as the stream of a generator does. Nobody can tell when the work ends behind
 *
 * - a web stream,
 * - a Duplex, which somebody else writes to,
 * - a stream that somebody pushes to.
 */
export function tellsItsEnd(body: Body): boolean {
  if (!(body instanceof Readable) || 'write' in body || body._destroy === Readable.prototype._destroy) return false;
  // Node closes a stream made of a web stream without waiting for the web stream's work.
  return String(body._destroy) !== String(Readable.fromWeb(new ReadableStream() as never)._destroy);
}
