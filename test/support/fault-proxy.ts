/**
 * A proxy between a DynamoDB client and a server. It loses, delays and repeats chosen requests, and answers with errors, as
 * a network or a service can. It logs every request, so that a test can count the requests.
 */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export type Fault =
  /** The server does the request, and the connection breaks before the answer. */
  | { do: 'loseAnswer' }
  /** The connection breaks before the request reaches the server. */
  | { do: 'loseRequest' }
  /** The server does the request at once, and answers `ms` later. */
  | { do: 'delayAnswer'; ms: number }
  /** The request reaches the server `ms` later, even if the client has given up by then. */
  | { do: 'delayRequest'; ms: number }
  /** The server gets the request twice at the same time, and the client gets the first answer. */
  | { do: 'duplicate' }
  /** The server does the request, answers, and gets the request again `ms` later. */
  | { do: 'duplicateLater'; ms: number }
  /** The request does not reach the server, and the connection stays open without an answer. */
  | { do: 'hang' }
  /**
   * The proxy answers with an error in DynamoDB's form: by default InternalServerError, or ServiceUnavailable for 503.
   */
  | { do: 'status'; status: number; type?: string; message?: string }
  /** The proxy answers with the status 400 and, by default, a ProvisionedThroughputExceededException. */
  | { do: 'throttle'; type?: string }
  /** The proxy answers with the status 400 and a TransactionConflictException, as if a transaction were under way. */
  | { do: 'transactionConflict' };

export type Rule = Fault & {
  /**
   * The operation of the requests, such as `UpdateItem`.
   * @default any
   */
  operation?: string;
  /**
   * Tells by their bodies the requests that the rule applies to.
   * @default any
   */
  // biome-ignore lint/suspicious/noExplicitAny: the body is whatever the client sent, and a test knows which.
  when?: (body: any) => boolean;
  /**
   * The number of matching requests that pass first.
   * @default 0
   */
  after?: number;
  /**
   * The number of matching requests that the rule applies to. Infinity for all.
   * @default 1
   */
  times?: number;
};

export interface LoggedRequest {
  /** 1 for the first request that came, 2 for the next. */
  n: number;
  operation: string;
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  body: any;
  /** The moment of its arrival: milliseconds since the epoch. */
  at: number;
  /** The fault of the request. */
  fault: Fault['do'] | undefined;
  /** The status of the answer to the client. Undefined until the client gets an answer. */
  status: number | undefined;
  /** The server's answers, one for each delivery of the request. */
  deliveries: { status: number; body: unknown; at: number }[];
}

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

/** Starts a proxy on a free port of this machine, in front of the server at `upstream` (`http://host:port`). */
export async function startFaultProxy({ upstream }: { upstream: string }): Promise<FaultProxy> {
  const proxy = new FaultProxy(upstream);
  await proxy.listen();
  return proxy;
}

export class FaultProxy implements AsyncDisposable {
  endpoint = '';
  /** Every request since the start, or since `reset()`, in order of arrival. */
  requests: LoggedRequest[] = [];
  readonly #upstream: URL;
  readonly #server = createServer((incoming, outgoing) => void this.#track(this.#serve(incoming, outgoing)));
  #rules: { rule: Rule; skip: number; left: number }[] = [];
  #dateOffsetMs: number | undefined;
  #underWay = new Set<Promise<unknown>>();
  /** `reset()` and `stop()` abort this controller, and so end every request that waits. */
  #ending = new AbortController();

  /** @internal Use `startFaultProxy`. */
  constructor(upstream: string) {
    this.#upstream = new URL(upstream);
    // A closed idle connection would be a fault that no test planned.
    this.#server.keepAliveTimeout = 0;
  }

  /** @internal */
  async listen(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.endpoint = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Adds rules. To a request applies the first rule that matches the request and is not used up. */
  plan(...rules: Rule[]): void {
    for (const rule of rules) this.#rules.push({ rule, skip: rule.after ?? 0, left: rule.times ?? 1 });
  }

  /**
   * Shifts the `Date` of every answer from now on, as if the server's clock were off. Undefined sets the clock right
   * again.
   */
  setDate(offsetMs: number | undefined): void {
    this.#dateOffsetMs = offsetMs;
  }

  /** Counts the requests, of all operations or of one. */
  count(operation?: string): number {
    return this.requests.filter((logged) => !operation || logged.operation === operation).length;
  }

  /** Resolves when no answer and no late delivery is due any more. Hanging requests do not count. */
  async idle(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay);
  }

  /** Forgets the rules, the log and the clock's offset, and breaks the connection of every request that still waits. */
  reset(): void {
    this.#rules = [];
    this.requests = [];
    this.#dateOffsetMs = undefined;
    this.#ending.abort();
    this.#ending = new AbortController();
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    this.#ending.abort();
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const { signal } = this.#ending;
    const cut = () => incoming.socket.destroy();
    try {
      const raw = Buffer.concat(await incoming.toArray({ signal }));
      const logged: LoggedRequest = {
        n: this.requests.length + 1,
        operation: String(incoming.headers['x-amz-target'] ?? '').replace(/^.*\./, ''),
        body: parse(raw),
        at: Date.now(),
        fault: undefined,
        status: undefined,
        deliveries: [],
      };
      this.requests.push(logged);
      const fault = this.#faultFor(logged);
      logged.fault = fault?.do;
      if (fault?.do === 'hang') {
        signal.addEventListener('abort', cut, { once: true });
        outgoing.once('close', () => signal.removeEventListener('abort', cut));
        return;
      }
      const deliver = () => this.#deliver(incoming, raw, logged, signal);
      const answer = await this.#answer(fault, deliver, signal);
      if (answer === 'none') cut();
      if (answer === 'none' || incoming.socket.destroyed) return;
      logged.status = answer.status;
      outgoing.writeHead(answer.status, answer.headers).end(answer.body);
    } catch {
      // The connection of the server or of the client broke, or the proxy is ending. The client sees a broken
      // connection.
      cut();
    }
  }

  #faultFor(logged: LoggedRequest): Fault | undefined {
    for (const planned of this.#rules) {
      const { operation, when } = planned.rule;
      if (planned.left <= 0 || (operation && operation !== logged.operation) || (when && !when(logged.body))) continue;
      if (planned.skip > 0) {
        planned.skip--;
        continue;
      }
      planned.left--;
      return planned.rule;
    }
    return undefined;
  }

  async #answer(
    fault: Fault | undefined,
    deliver: () => Promise<Answer>,
    signal: AbortSignal,
  ): Promise<Answer | 'none'> {
    switch (fault?.do) {
      case 'loseRequest':
        return 'none';
      case 'loseAnswer':
        await deliver();
        return 'none';
      case 'delayRequest':
        await sleep(fault.ms, undefined, { signal });
        return deliver();
      case 'delayAnswer': {
        const answer = await deliver();
        await sleep(fault.ms, undefined, { signal });
        return answer;
      }
      case 'duplicate': {
        const both = [deliver(), deliver()];
        this.#track(Promise.all(both)).catch(() => {});
        return Promise.race(both);
      }
      case 'duplicateLater': {
        const answer = await deliver();
        this.#track(sleep(fault.ms, undefined, { signal }).then(deliver)).catch(() => {});
        return answer;
      }
      case 'status':
        return this.#error(
          fault.status,
          fault.type ?? (fault.status === 503 ? 'ServiceUnavailable' : 'InternalServerError'),
          fault.message,
        );
      case 'throttle':
        return this.#error(400, fault.type ?? 'ProvisionedThroughputExceededException');
      case 'transactionConflict':
        return this.#error(400, 'TransactionConflictException');
      default:
        return deliver();
    }
  }

  /** One connection per delivery, so that no delivery waits for another delivery or breaks with it. */
  async #deliver(incoming: IncomingMessage, raw: Buffer, logged: LoggedRequest, signal: AbortSignal): Promise<Answer> {
    const { connection, host, ...headers } = incoming.headers;
    const { method, url: path } = incoming;
    const forwarded = request(this.#upstream, { method, path, headers, agent: false, signal });
    // An error may also come after the head of the answer. Then the reading of the answer throws the error.
    forwarded.on('error', () => {});
    const [answer] = (await once(forwarded.end(raw), 'response')) as [IncomingMessage];
    const body = Buffer.concat(await answer.toArray());
    const status = answer.statusCode ?? 0;
    logged.deliveries.push({ status, body: parse(body), at: Date.now() });
    return { status, headers: { ...answer.headers, connection: 'keep-alive', ...this.#date() }, body };
  }

  #error(status: number, type: string, message = `${type} by the fault proxy`): Answer {
    const body = Buffer.from(JSON.stringify({ __type: `com.amazonaws.dynamodb.v20120810#${type}`, message }));
    return { status, headers: { 'content-type': 'application/x-amz-json-1.0', ...this.#date() }, body };
  }

  #date(): { date?: string } {
    return this.#dateOffsetMs === undefined ? {} : { date: new Date(Date.now() + this.#dateOffsetMs).toUTCString() };
  }

  #track<T>(work: Promise<T>): Promise<T> {
    this.#underWay.add(work);
    const done = () => this.#underWay.delete(work);
    work.then(done, done);
    return work;
  }
}

function parse(raw: Buffer): unknown {
  try {
    return JSON.parse(raw.toString());
  } catch {
    return raw.toString();
  }
}
