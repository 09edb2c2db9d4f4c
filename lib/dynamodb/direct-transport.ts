import { datesIn, refusalIn } from '../aws/server-date.ts';
import { noteFault } from '../record/last-fault.ts';
import type { Way } from './environment.ts';
import { agentFor, exchange, type HttpAnswer, unbracketed } from './http.ts';
import { Signer } from './sigv4.ts';
import type { Transport } from './transport.ts';

/** As many as the SDK uses. */
const MAX_SOCKETS = 50;

/**
 * Sends requests to DynamoDB without the SDK, which is not even loaded. A request costs a fifth of the SDK's CPU, since
 * everything is fixed that the SDK decides for each request anew. One request is one attempt.
 */
export class DirectTransport implements Transport {
  readonly maxSockets = MAX_SOCKETS;
  readonly #way: Way;
  readonly #signer: Signer;
  #agent: ReturnType<typeof agentFor> | undefined;
  /** The server's time less the host's, after the server has refused a signature for its time. */
  #aheadMs = 0;

  constructor(way: Way) {
    this.#way = way;
    this.#signer = new Signer(way.region);
  }

  async region(): Promise<string> {
    return this.#way.region;
  }

  send: Transport['send'] = async (operation, input, signal, heard) => {
    try {
      return await this.#send(operation, JSON.stringify(input), signal);
    } catch (error) {
      heard(error);
      throw error;
    }
  };

  async #send(operation: string, body: string, signal: AbortSignal | undefined): Promise<unknown> {
    const credentials = await this.#way.credentials((fault) => noteFault(signal, fault));
    const { protocol, hostname, host, port, pathname } = this.#way.endpoint(credentials);
    this.#agent ??= agentFor(protocol, { keepAlive: true, maxSockets: MAX_SOCKETS });
    const path = pathname.endsWith('/') ? pathname : `${pathname}/`;
    const target = `DynamoDB_20120810.${operation}`;
    const headers = this.#signer.sign({ host, path, target, body }, credentials, Date.now() + this.#aheadMs);
    const to = { protocol, hostname: unbracketed(hostname), port, path };
    const answer = await exchange({ method: 'POST', ...to, headers, agent: this.#agent }, body, signal);
    const request = { protocol, hostname, port, headers };
    try {
      const output = parse(answer);
      return { ...output, $metadata: { ...metadata(answer), ...datesIn(request, answer) } };
    } catch (error) {
      const refusal = refusalIn(request, error as Error & { $response: HttpAnswer });
      if (refusal.misdated && refusal.serverDate !== undefined) this.#aheadMs = refusal.serverDate - Date.now();
      throw Object.assign(error as Error, { $metadata: { ...metadata(answer), ...refusal } });
    }
  }
}

const metadata = ({ statusCode: httpStatusCode, headers }: HttpAnswer) => ({
  httpStatusCode,
  requestId: headers['x-amzn-requestid'],
  attempts: 1,
});

/** @throws the error that the answer tells of, in the SDK's form. An answer that nobody can read has no `$fault`. */
function parse($response: HttpAnswer): object {
  const { statusCode, headers, body } = $response;
  let answer: { __type?: string; code?: string; Code?: string; message?: string; Message?: string; Item?: object };
  try {
    // DynamoDB's shortest answer is `{}`. `null` tells as little as nothing.
    answer = (body === '' && statusCode >= 300 ? undefined : JSON.parse(body)) ?? {};
  } catch (error) {
    throw withAnswer(error as Error, $response);
  }
  if (statusCode < 300) return answer;
  const { __type, code, Code, message, Message, Item } = answer;
  const type = __type || code || Code || headers['x-amzn-errortype'];
  // `com.amazonaws.dynamodb.v20120810#ThrottlingException`, and a front end may add a colon and a namespace.
  const name = String(type || 'Unknown')
    .replace(/[,:].*$/, '')
    .replace(/^.*#/, '');
  const $fault = statusCode < 500 ? 'client' : 'server';
  const error = Object.assign(new Error(message || Message || 'UnknownError'), { name, $fault, ...(Item && { Item }) });
  throw withAnswer(error, $response);
}

/** A log of the error does not show the answer, which may hold items of other programs. */
const withAnswer = (error: Error, $response: HttpAnswer): Error =>
  Object.defineProperty(error, '$response', { value: $response });
