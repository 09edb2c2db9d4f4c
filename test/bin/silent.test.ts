/** The command, before a server that accepts connections and never answers. */
import { createServer, type Server, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { connectRedis, LIBRARIES } from '../../bin/redis-clients.ts';
import { leaseholdIn } from './run.ts';

jest.setTimeout(30_000);

const sockets: Socket[] = [];
let server: Server;
let port: number;

beforeAll(async () => {
  server = createServer((socket) => sockets.push(socket.on('error', () => {})));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  port = (server.address() as { port: number }).port;
});
afterAll(() => {
  for (const socket of sockets) socket.destroy();
  server.close();
});

describe('a server that accepts connections and never answers', () => {
  test('ends table create, which says meanwhile that it waits', async () => {
    const keys = { AWS_ACCESS_KEY_ID: 'id', AWS_SECRET_ACCESS_KEY: 'secret', AWS_REGION: 'eu-west-1' };
    const args = ['table', 'create', '--table', 'locks', '--endpoint', `http://127.0.0.1:${port}`];
    const { status, out, err } = await leaseholdIn(keys, args);
    expect({ status, out }).toEqual({ status: 3, out: '' });
    expect(err).toMatch(
      /^Waiting for the table 'locks' to be made …\nleasehold: DynamoDB did not answer the request to make the table 'locks'/,
    );
  });

  test('ends the connecting to Redis, by each library', async () => {
    const to = { host: '127.0.0.1', port, tls: false, username: undefined, password: undefined, db: 0 };
    const connecting = Object.entries(LIBRARIES).map(([name, connect]) => connectRedis(to, { [name]: connect }));
    for (const one of await Promise.allSettled(connecting)) {
      expect(one).toMatchObject({
        status: 'rejected',
        reason: { message: expect.stringContaining(`Connecting to Redis at 127.0.0.1:${port}: `) },
      });
    }
  });
});
