/** The part of the live page's server that keeps strangers out: web pages and programs that do not know its URL. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** A request that is refused, with the status of the answer. */
export class Refusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** The most bytes of a body: a key and a `lockId`, each of 1,024 bytes with every character escaped. */
const MOST_BODY_BYTES = 16_384;

/** A secret of 256 bits. */
export const newSecret = (): string => randomBytes(32).toString('base64url');

const digest = (text: string) => createHash('sha256').update(text).digest();
/** Compares in a time that does not depend on the place of the first difference, nor on the lengths. */
const isSame = (one: string, other: string): boolean => timingSafeEqual(digest(one), digest(other));

/**
 * Finds the path of a request after the secret: '' for the page itself.
 * @throws Refusal that says nothing, to whoever does not know the secret.
 */
export function pathAfterSecret(
  request: IncomingMessage,
  port: number,
  secret: string,
): { path: string; query: URLSearchParams } {
  // Another site's name may be made to lead to this address: its pages would then share an origin with this one.
  const { host } = request.headers;
  if (host !== `127.0.0.1:${port}` && host !== `localhost:${port}`) throw new Refusal(403, 'Forbidden.');
  const [, given = '', path, query] = /^\/([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/.exec(request.url ?? '') ?? [];
  if (!isSame(given, secret) || path === undefined) throw new Refusal(404, 'Not found.');
  return { path, query: new URLSearchParams(query) };
}

/** Refuses a method, and a request for data or for a write that the page itself has not sent. */
export function checkSender({ method, headers }: IncomingMessage, allowed: string, isPage: boolean): void {
  // Node sends no body in answer to a HEAD.
  const asked = method === 'HEAD' ? 'GET' : method;
  if (asked !== allowed) throw new Refusal(405, `Expected ${allowed}, but the method is ${method}.`);
  const site = headers['sec-fetch-site'];
  // A link to the page may stand in a terminal that is itself a web page.
  const isStranger = site !== undefined && site !== 'same-origin' && site !== 'none' && !isPage;
  const isForeign = method === 'POST' && headers.origin !== `http://${headers.host}`;
  if (isStranger || isForeign) throw new Refusal(403, 'Forbidden.');
}

/** Reads a JSON object from a request. */
export async function bodyOf(request: IncomingMessage): Promise<Record<string, unknown>> {
  const type = request.headers['content-type'] ?? '';
  if (!/^application\/json(;|$)/i.test(type)) throw new Refusal(415, 'Expected a body of the type application/json.');
  const chunks: Buffer[] = [];
  let length = 0;
  // The answer still needs the connection.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    length += chunk.length;
    if (length > MOST_BODY_BYTES) throw new Refusal(413, `Expected a body of at most ${MOST_BODY_BYTES} bytes.`);
    chunks.push(chunk);
  }
  const value = parsed(Buffer.concat(chunks).toString());
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw new Refusal(400, 'Expected a JSON object in the body.');
  }
  return value as Record<string, unknown>;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refusal(400, 'Expected JSON in the body.');
  }
}

/** The headers of every answer. The page may run its own script and style alone, and talk to its own server alone. */
export function headersFor(page: string): Record<string, string> {
  return {
    'Content-Security-Policy': [
      "default-src 'none'",
      `script-src ${hashOf(page, 'script')}`,
      `style-src ${hashOf(page, 'style')}`,
      "connect-src 'self'",
      'img-src data:',
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
      // Texts of records never become HTML: the browser refuses the attempt.
      "require-trusted-types-for 'script'",
      "trusted-types 'none'",
    ].join('; '),
    'Referrer-Policy': 'no-referrer',
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Resource-Policy': 'same-origin',
  };
}

function hashOf(page: string, element: 'script' | 'style'): string {
  const [, content = ''] = new RegExp(`<${element}>(.*?)</${element}>`, 's').exec(page) ?? [];
  return `'sha256-${digest(content).toString('base64')}'`;
}
