import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { startDynamoDB } from '../../demo/local/launcher.ts';

/** The part of a running server that measures use. */
export interface Server {
  readonly name: ServerName;
  readonly endpoint: string;
  /** Makes a lock table, with the partition key `lockKey`. */
  table(sortKeyAttribute?: string): Promise<string>;
  suspend(): void;
  resume(): void;
  stop(): Promise<unknown>;
}

/** The servers, and their titles in the tables. */
export const SERVERS = {
  dynoxide: 'An embedded DynamoDB',
  stub: 'A stub that answers in about 50 µs',
  tls: 'The stub behind TLS, 3 ms late',
  none: 'No server',
} as const;
export type ServerName = keyof typeof SERVERS;

/** The folder of key.pem and cert.pem. Whoever trusts the certificate starts with NODE_EXTRA_CA_CERTS. */
export const CERTIFICATE = 'BENCH_CERTIFICATE';

/** Starts a server, and points this process's environment there: the clients that a function on Lambda makes find it. */
export async function startServer(name: ServerName): Promise<Server> {
  const server = name === 'dynoxide' ? await embedded() : name === 'none' ? nowhere : await stub(name);
  Object.assign(process.env, {
    AWS_ENDPOINT_URL_DYNAMODB: server.endpoint,
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'local',
    AWS_SECRET_ACCESS_KEY: 'local',
    // A disciplined clock: any other process reads once, to judge its clock.
    AWS_LAMBDA_FUNCTION_NAME: 'bench',
  });
  return server;
}

const nowhere: Server = {
  name: 'none',
  endpoint: 'http://127.0.0.1:9',
  table: async () => 'locks',
  suspend() {},
  resume() {},
  stop: async () => {},
};

async function embedded(): Promise<Server> {
  const server = await startDynamoDB({ server: 'dynoxide' });
  return {
    name: 'dynoxide',
    endpoint: server.endpoint,
    table: (sortKeyAttribute) => server.createLockTable(undefined, { ...(sortKeyAttribute && { sortKeyAttribute }) }),
    suspend: () => server.suspend(),
    resume: () => server.resume(),
    stop: () => server.stop(),
  };
}

async function stub(name: 'stub' | 'tls'): Promise<Server> {
  const args = name === 'tls' ? [process.env[CERTIFICATE] ?? '', '3'] : [];
  const child: ChildProcess = fork(new URL('stub.ts', import.meta.url), args, { execArgv: [] });
  const [port] = await once(child, 'message');
  return {
    name,
    endpoint: `${name === 'tls' ? 'https' : 'http'}://127.0.0.1:${port}`,
    table: async () => 'locks',
    suspend: () => child.kill('SIGSTOP'),
    resume: () => child.kill('SIGCONT'),
    stop: async () => child.kill('SIGKILL'),
  };
}
