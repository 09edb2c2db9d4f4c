/**
 * A proxy in front of the server that writes down each write of the server, in the server's order. The proxy passes the
 * requests for one key on one after another. The fault proxies stand before it. So the recorder writes a request that is
 * delivered twice down twice.
 */
import { once } from 'node:events';
import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { shownToken } from '../../lib/record/token.ts';
import { type HistoryWriter, type Kept, operationOf, referenceNow, type ServerLine } from './history.ts';

/** A DynamoDB item in its JSON form. */
type Item = Record<string, { S?: string; N?: string } | undefined>;

interface Body {
  TableName?: string;
  Key?: Item;
  ExpressionAttributeValues?: Item;
  ReturnValues?: string;
  ConsistentRead?: boolean;
  TransactItems?: { Update?: Body }[];
}

interface Answer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the server answered.
  body: any;
  date: string | undefined;
}

/** The partition key of the table for the work under the locks. Its items have the names `<what>/<the lock's key>`. */
export const WORK_KEY = 'name';

export class Recorder {
  endpoint = '';
  readonly #upstream: URL;
  readonly #history: HistoryWriter;
  readonly #agent = new Agent({ keepAlive: true });
  readonly #server = createServer((incoming, outgoing) => void this.#serve(incoming, outgoing));
  /** The last request under way for each key. */
  readonly #last = new Map<string, Promise<unknown>>();

  constructor(upstream: string, history: HistoryWriter) {
    this.#upstream = new URL(upstream);
    this.#history = history;
    this.#server.keepAliveTimeout = 0;
  }

  async listen(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.endpoint = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    this.#agent.destroy();
    await Promise.allSettled(this.#last.values());
  }

  async #serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    try {
      const body: Body = JSON.parse(Buffer.concat(await incoming.toArray()).toString());
      const operation = String(incoming.headers['x-amz-target']).replace(/^.*\./, '');
      const answer = await this.#answer(incoming, operation, body);
      const headers = { 'content-type': 'application/x-amz-json-1.0', ...(answer.date && { date: answer.date }) };
      outgoing.writeHead(answer.status, headers).end(JSON.stringify(answer.body));
    } catch {
      // The server is gone, or the client is gone.
      incoming.socket.destroy();
    }
  }

  #answer(incoming: IncomingMessage, operation: string, body: Body): Promise<Answer> {
    if (operation === 'TransactWriteItems') {
      const update = body.TransactItems?.find(({ Update }) => Update)?.Update ?? {};
      return this.#inTurn(update, async () => {
        const since = referenceNow();
        const answer = await this.#ask(incoming, body);
        // The server answers a repeated transaction like the first one, but does not apply it. The item shows the
        // difference.
        const { TableName, Key } = update;
        const item = await this.#ask(incoming, { TableName, Key, ConsistentRead: true }, 'GetItem');
        const isThere = item.body.Item?.id?.S === update.ExpressionAttributeValues?.[':id']?.S;
        this.#history.write(lineOf(update, isThere ? answer : { ...answer, status: 0 }, since));
        return answer;
      });
    }
    if (operation !== 'UpdateItem') return this.#ask(incoming, body);
    return this.#inTurn(body, async () => {
      const since = referenceNow();
      // With ALL_NEW the server returns the new record, so the recorder need not understand expressions.
      const answer = await this.#ask(incoming, { ...body, ReturnValues: 'ALL_NEW' });
      this.#history.write(lineOf(body, answer, since));
      if (body.ReturnValues === undefined) delete answer.body.Attributes;
      return answer;
    });
  }

  async #inTurn({ Key }: Body, ask: () => Promise<Answer>): Promise<Answer> {
    const key = lockOf(Key);
    const before = this.#last.get(key);
    const turn = (async () => {
      await before?.catch(() => {});
      return ask();
    })();
    this.#last.set(key, turn);
    return turn;
  }

  /** Passes a request on. With `operation`, sends another operation with the request's headers. */
  async #ask(incoming: IncomingMessage, body: Body, operation?: string): Promise<Answer> {
    const { method, url: path } = incoming;
    const { connection, host, 'content-length': length, ...headers } = incoming.headers;
    if (operation) headers['x-amz-target'] = `DynamoDB_20120810.${operation}`;
    const forwarded = request(this.#upstream, { method, path, headers, agent: this.#agent });
    const [answer] = (await once(forwarded.end(JSON.stringify(body)), 'response')) as [IncomingMessage];
    const text = Buffer.concat(await answer.toArray()).toString();
    return { status: answer.statusCode ?? 0, body: JSON.parse(text), date: answer.headers.date };
  }
}

const itemName = (key: Item | undefined): string => (key?.[WORK_KEY] ?? key?.lockKey)?.S ?? '';

/** The lock that an item belongs to. */
const lockOf = (key: Item | undefined): string => itemName(key).replace(/^\w+\//, '');

/** The line of a write and its answer. */
function lineOf({ Key, ExpressionAttributeValues: values = {} }: Body, answer: Answer, since: number): ServerLine {
  const applied = answer.status === 200;
  const key = lockOf(Key);
  const [what] = itemName(Key).split('/');
  if (what === 'fence') {
    return { type: 'fenced', key, fencingToken: Number(values[':token']?.N), applied, since };
  }
  if (what === 'guarded' || what === 'unguarded') {
    const id = values[':id']?.S ?? '';
    return { type: 'counting', counter: what, key, id, value: Number(values[':value']?.N), applied, since };
  }
  const operation = operationOf(values);
  if (operation === undefined) throw new Error(`Expected a write of a lock, but got ${JSON.stringify(values)}`);
  const item: Item | undefined = applied ? answer.body.Attributes : answer.body.Item;
  return {
    type: 'served',
    what: operation,
    key,
    lockId: values[':me']?.S ?? '',
    owner: values[':owner']?.S,
    leaseMs: values[':leaseMs'] && Number(values[':leaseMs'].N),
    once: shownToken(values[':once']?.S),
    handed: values[':handed']?.S,
    applied,
    record: item && keptOf(item),
    since,
  };
}

const keptOf = (item: Item): Kept => ({
  lockId: item.lockId?.S,
  fencingToken: Number(item.fencingToken?.N),
  expiresAt: Number(item.expiresAt?.N),
  acquiredAt: Number(item.acquiredAt?.N),
  releasedBy: item.releasedBy?.S,
  doneToken: shownToken(item.doneToken?.S),
});
