import type {
  AgentOptions,
  ClientRequestArgs,
  Agent as HttpAgent,
  IncomingHttpHeaders,
  IncomingMessage,
} from 'node:http';
import { Agent, request } from 'node:https';

/** A request to an HTTP server. */
type HttpRequest = ClientRequestArgs & { readonly agent: HttpAgent };

/** An answer of an HTTP server. */
export interface HttpAnswer {
  readonly statusCode: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** An import of `node:http` in an ES module would load Node's WebSocket too, which takes 50 ms. */
const plain = () => process.getBuiltinModule('node:http');

/** Makes an agent. The agent of the process may have a proxy, which must not hear the credentials of a container. */
export const agentFor = (protocol: string, options: AgentOptions = {}) =>
  new (protocol === 'https:' ? Agent : plain().Agent)(options);

/** Gives the host's name of a URL as sockets take it: an address of IPv6 has brackets in a URL alone. */
export const unbracketed = (hostname: string): string => hostname.replace(/^\[|\]$/g, '');

/**
 * Makes one request, and reads the whole answer.
 * @param signal ends the request, and its socket with it.
 * @throws the error of the connection, or of an answer that was cut short, by the names that the SDK gives to them; or the
 *   signal's reason.
 */
export async function exchange(options: HttpRequest, body?: string, signal?: AbortSignal): Promise<HttpAnswer> {
  signal?.throwIfAborted();
  let abort: (() => void) | undefined;
  try {
    const chunks: Buffer[] = [];
    const { statusCode = 0, headers } = await new Promise<IncomingMessage>((resolve, reject) => {
      const send = options.protocol === 'https:' ? request : plain().request;
      const sent = send(options, (response) => {
        response.on('data', (chunk) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => resolve(response));
      });
      sent.on('error', (error: NodeJS.ErrnoException) => {
        if (/^(ECONNRESET|EPIPE|ETIMEDOUT)$/.test(String(error.code))) error.name = 'TimeoutError';
        reject(error);
      });
      // Node's own option for a signal costs a tenth of a request. A request that still waits for a socket, and one whose
      // socket was upgraded, would tell of no error.
      abort = () => {
        reject(signal?.reason);
        sent.destroy();
      };
      signal?.addEventListener('abort', abort);
      sent.end(body);
    });
    return { statusCode, headers, body: Buffer.concat(chunks).toString() };
  } finally {
    if (abort) signal?.removeEventListener('abort', abort);
  }
}
