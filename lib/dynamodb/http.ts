import type { ClientRequestArgs, IncomingHttpHeaders } from 'node:http';
import { Agent, request } from 'node:https';

/** An answer of an HTTP server. */
export interface HttpAnswer {
  readonly statusCode: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** An import of `node:http` in an ES module would load Node's WebSocket too, which takes 50 ms. */
const plain = () => process.getBuiltinModule('node:http');

/** Makes an agent whose sockets serve one request after the other. */
export const keepAliveAgent = (protocol: string, maxSockets: number) =>
  new (protocol === 'https:' ? Agent : plain().Agent)({ keepAlive: true, maxSockets });

/**
 * Makes one request, and reads the whole answer.
 * @throws the error of the connection, or of an answer that was cut short, by the names that the SDK gives to them.
 */
export function exchange(options: ClientRequestArgs, body?: string): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const send = options.protocol === 'https:' ? request : plain().request;
    send(options, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const { statusCode = 0, headers } = response;
        resolve({ statusCode, headers, body: Buffer.concat(chunks).toString() });
      });
    })
      .on('error', (error: NodeJS.ErrnoException) => {
        if (/^(ECONNRESET|EPIPE|ETIMEDOUT)$/.test(String(error.code))) error.name = 'TimeoutError';
        reject(error);
      })
      .end(body);
  });
}
