/** The server of the live page, `leasehold serve`: shows the locks of one place to browsers on this machine. */
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { LockClient } from '../../lib/index.ts';
import { checkDuration, checkNames, checkThat } from '../../lib/record/check.ts';
import { bodyOf, checkSender, headersFor, newSecret, pathAfterSecret, Refusal } from './guard.ts';
import { detailsOf, release } from './one-lock.ts';
import { Watch } from './watch.ts';

export interface ServeOptions {
  /** The place of the locks, for the page's title. */
  readonly place: string;
  /**
   * The port on 127.0.0.1.
   * @default 0: a free port
   */
  readonly port?: number | undefined;
  /**
   * Lets the page end grants.
   * @default false: the page only reads
   */
  readonly allowRelease?: boolean | undefined;
  /**
   * The beginning of the keys that are shown.
   * @default '': every key
   */
  readonly prefix?: string | undefined;
  /**
   * Milliseconds from the end of one look at the store to the begin of the next, while a browser shows the page. At least 250.
   * A store that needs more than a second for a look is looked at more rarely.
   * @default 2000
   */
  readonly everyMs?: number | undefined;
}

export interface LivePage {
  /** The address of the page, with the secret that opens the page. */
  readonly url: string;
  /** Ends the server and the looks at the store. The client stays open. */
  close(): Promise<void>;
}

const OPTIONS = { place: 0, port: 0, allowRelease: 0, prefix: 0, everyMs: 0 } satisfies Record<keyof ServeOptions, 0>;

/**
 * Serves the live page on 127.0.0.1, to browsers that know its URL.
 *
 * The secret stands in the path of the URL, so that the page can be loaded again. It leaves the browser in no `Referer`, and
 * the page leads nowhere else. The browser's history keeps the secret, which opens nothing once this server has ended: the
 * next one has another. No cookie has it, since a browser sends the cookies of 127.0.0.1 to every port of the machine.
 * @throws TypeError that shows the value, if an option is unknown or invalid.
 * @throws Error that says what to do, if the port cannot be opened.
 */
export async function serve(locks: LockClient, options: ServeOptions): Promise<LivePage> {
  const { place, port, allowRelease, prefix, everyMs } = checked(options);
  const watch = new Watch(locks, { prefix, everyMs, showsLockIds: allowRelease });
  const page = readFileSync(new URL('./page.html', import.meta.url), 'utf8');
  const secret = newSecret();
  const headers = headersFor(page);
  const about = JSON.stringify({ place, prefix, allowRelease });

  const answer = async (request: IncomingMessage): Promise<Answer> => {
    const { path, query } = pathAfterSecret(request, (server.address() as AddressInfo).port, secret);
    switch (path) {
      case '':
        checkSender(request, 'GET', true);
        return { status: 200, type: 'text/html', body: page };
      case 'about':
        checkSender(request, 'GET', false);
        return json(200, about);
      case 'state':
        checkSender(request, 'GET', false);
        return json(200, watch.ask(Number(query.get('have') ?? 0)));
      case 'lock':
        checkSender(request, 'GET', false);
        return json(200, JSON.stringify(await detailsOf(locks, query.get('key') ?? '')));
      case 'release': {
        checkSender(request, 'POST', false);
        if (!allowRelease) throw new Refusal(403, 'This page only reads: start it with --allow-release to end grants.');
        return json(200, JSON.stringify(await release(locks, await bodyOf(request), watch.losses)));
      }
      default:
        throw new Refusal(404, 'Not found.');
    }
  };

  const server = createServer({ requestTimeout: 10_000 }, (request, response) => {
    void answer(request)
      .catch(refused)
      .then((answer) => send(response, answer, headers));
  });
  const { port: opened } = await listen(server, port);
  return {
    url: `http://127.0.0.1:${opened}/${secret}/`,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await Promise.all([closed, watch.close()]);
    },
  };
}

function checked(options: ServeOptions) {
  checkNames('serve', options, OPTIONS);
  const { place, port = 0, allowRelease = false, prefix = '', everyMs = 2_000 } = options;
  checkThat(typeof place === 'string', 'place', 'a string', place);
  checkThat(Number.isInteger(port) && port >= 0 && port <= 65_535, 'port', 'a whole number from 0 to 65535', port);
  checkThat(typeof allowRelease === 'boolean', 'allowRelease', 'true or false', allowRelease);
  checkThat(typeof prefix === 'string', 'prefix', 'a string', prefix);
  checkDuration('everyMs', everyMs, 250);
  return { place, port, allowRelease, prefix, everyMs };
}

function listen(server: Server, port: number): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(explained(error, port)));
    server.listen({ port, host: '127.0.0.1' }, () => resolve(server.address() as AddressInfo));
  });
}

function explained(error: NodeJS.ErrnoException, port: number): Error {
  const another = 'name another by --port, or leave --port out for a free one';
  const reasons: Readonly<Record<string, string>> = {
    EADDRINUSE: `The port ${port} of 127.0.0.1 is in use: end the program that has it, or ${another}.`,
    EACCES: `The port ${port} of 127.0.0.1 is reserved for the administrator: ${another}.`,
  };
  return new Error(reasons[error.code ?? ''] ?? `Opening the port ${port} of 127.0.0.1: ${error.message}`, {
    cause: error,
  });
}

interface Answer {
  readonly status: number;
  readonly type: 'text/html' | 'application/json';
  readonly body: string;
}

const json = (status: number, body: string): Answer => ({ status, type: 'application/json', body });

function refused(error: unknown): Answer {
  const status = error instanceof Refusal ? error.status : error instanceof TypeError ? 400 : 502;
  return json(status, JSON.stringify({ message: error instanceof Error ? error.message : String(error) }));
}

function send(response: ServerResponse, { status, type, body }: Answer, headers: Record<string, string>): void {
  response.writeHead(status, {
    ...headers,
    'Content-Type': `${type}; charset=utf-8`,
    // The rest of a body that was not read would be taken for the next request.
    ...(status === 413 && { Connection: 'close' }),
  });
  response.end(body);
}
