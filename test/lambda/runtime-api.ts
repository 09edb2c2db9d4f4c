/**
 * The service that Lambda offers to the runtime in an environment: hands out invocations, and takes their responses.
 * https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface RuntimeError {
  errorType: string;
  errorMessage: string;
}

/** The end of an invocation. */
export interface Outcome {
  /** The handler's response. */
  response?: unknown;
  /** The bytes of a response that is a stream. */
  body?: string;
  /** The error. A stream may have sent bytes before. */
  error?: RuntimeError;
  /** The stream's connection was closed before its end. */
  broken?: true;
  /** Lambda killed the environment at the deadline. */
  timedOut?: true;
  /** The signal or exit code of a runtime that ended by itself. */
  exited?: string;
}

export interface Delivery {
  readonly requestId: string;
  readonly event: unknown;
  /** The moment at which Lambda would end the invocation: milliseconds since the epoch. */
  readonly deadline: number;
}

/** An invocation that the runtime has been given, or will be. */
export class Invocation {
  readonly requestId: string;
  readonly deadline: number;
  readonly outcome: Promise<Outcome>;
  /** The bytes of a stream so far. */
  body = '';
  readonly #event: unknown;
  #stream: IncomingMessage | undefined;
  #arrival = Promise.withResolvers<void>();
  #end: (outcome: Outcome) => void;
  #hasEnded = false;

  constructor({ requestId, event, deadline }: Delivery) {
    this.requestId = requestId;
    this.deadline = deadline;
    this.#event = event;
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    this.outcome = promise;
    this.#end = resolve;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  end(outcome: Outcome): void {
    this.#hasEnded = true;
    this.#end(outcome);
  }

  /** Resolves when the stream has sent this text. */
  async received(text: string): Promise<void> {
    while (!this.body.includes(text)) await this.#arrival.promise;
  }

  /** Closes the stream's connection before its end. */
  cut(): void {
    if (!this.#stream) throw new Error(`Expected a stream to cut, but invocation ${this.requestId} has sent none.`);
    this.#stream.socket.resetAndDestroy();
  }

  deliver(answer: ServerResponse): void {
    answer.writeHead(200, {
      'content-type': 'application/json',
      'lambda-runtime-aws-request-id': this.requestId,
      'lambda-runtime-deadline-ms': String(this.deadline),
      'lambda-runtime-invoked-function-arn': 'arn:aws:lambda:us-east-1:123456789012:function:tested',
      'lambda-runtime-trace-id': 'Root=1-00000000-000000000000000000000000;Sampled=0',
    });
    answer.end(JSON.stringify(this.#event));
  }

  /** Takes the response, which may be a stream, or the error. */
  async take(kind: string, request: IncomingMessage): Promise<void> {
    const isStream = request.headers['lambda-runtime-function-response-mode'] === 'streaming';
    if (isStream) this.#stream = request;
    request.setEncoding('utf8');
    for await (const chunk of request) {
      this.body += chunk;
      this.#arrival.resolve();
      this.#arrival = Promise.withResolvers();
    }
    if (kind === 'error') return this.end({ error: JSON.parse(this.body) });
    if (!isStream) return this.end({ response: JSON.parse(this.body) });
    const failure = request.trailers['lambda-runtime-function-error-body'];
    const error = failure && JSON.parse(Buffer.from(failure, 'base64').toString());
    this.end({ body: this.body, ...(error && { error }) });
  }
}

export class RuntimeApi {
  /** Host and port, for the environment variable AWS_LAMBDA_RUNTIME_API. */
  address = '';
  /** The error that ended the runtime's init. */
  initError: RuntimeError | undefined;
  readonly #server = createServer((request, answer) => void this.#serve(request, answer));
  readonly #invocations = new Map<string, Invocation>();
  readonly #queue: Invocation[] = [];
  readonly #waiting = new Set<ServerResponse>();
  #changed = Promise.withResolvers<void>();

  async listen(): Promise<void> {
    // The runtime keeps its connection through a freeze.
    this.#server.keepAliveTimeout = 0;
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.address = `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  begin(delivery: Delivery): Invocation {
    const invocation = new Invocation(delivery);
    this.#invocations.set(delivery.requestId, invocation);
    this.#queue.push(invocation);
    this.#handOut();
    return invocation;
  }

  /** Resolves when the runtime asks for the next invocation and there is none: now Lambda would freeze the environment. */
  async idle(): Promise<void> {
    const isBusy = () => this.#queue.length > 0 || [...this.#invocations.values()].some(({ hasEnded }) => !hasEnded);
    while (this.#waiting.size === 0 || isBusy()) await this.#changed.promise;
  }

  async stop(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, 'close');
  }

  #change(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  #handOut(): void {
    for (const answer of this.#waiting) {
      const invocation = this.#queue.shift();
      if (!invocation) break;
      this.#waiting.delete(answer);
      invocation.deliver(answer);
    }
    this.#change();
  }

  async #serve(request: IncomingMessage, answer: ServerResponse): Promise<void> {
    const [, requestId = '', kind = ''] =
      /\/runtime\/(?:invocation\/)?([^/]+)(?:\/(\w+))?$/.exec(request.url ?? '') ?? [];
    if (requestId === 'next') {
      this.#waiting.add(answer);
      answer.on('close', () => this.#waiting.delete(answer));
      return this.#handOut();
    }
    if (requestId === 'init') this.initError = JSON.parse((await request.toArray()).join(''));
    else
      await this.#invocations
        .get(requestId)
        ?.take(kind, request)
        .catch(() => this.#broken(requestId));
    answer.writeHead(202, { 'content-type': 'application/json' }).end('{"status":"OK"}');
    this.#change();
  }

  /** Ends a stream that broke. The runtime goes on, unless the stream broke by the runtime's own end. */
  async #broken(requestId: string): Promise<void> {
    while (this.#waiting.size === 0) await this.#changed.promise;
    const invocation = this.#invocations.get(requestId);
    invocation?.end({ body: invocation.body, broken: true });
  }
}
