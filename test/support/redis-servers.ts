// Starts redis-server for tests: on free ports, in folders of their own, gone with the process that started them.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ServerProcess } from '../../demo/local/server-process.ts';
import { TcpRelay } from './tcp-relay.ts';

/** True if the program redis-server is here. */
export const isRedisInstalled = spawnSync('redis-server', ['--version']).status === 0;

/** The end of a suite's name: says why the suite is skipped, if it is. */
export const REDIS = isRedisInstalled
  ? 'redis-server'
  : 'skipped: install redis-server (Debian: apt-get install redis-server)';

if (!isRedisInstalled && !['', '0', 'false'].includes(process.env.CI ?? '')) {
  throw new Error('Expected redis-server in CI, where a skipped suite would go unseen: apt-get install redis-server.');
}

/** One redis-server. Its options are those of the command line, without the dashes: `{ appendonly: 'yes' }`. */
export class RedisServer implements AsyncDisposable {
  readonly folder: string;
  readonly #options: Readonly<Record<string, string>>;
  readonly #portOption: string;
  #process: ServerProcess | undefined;
  #port: number | undefined;

  private constructor(options: Readonly<Record<string, string>>, portOption: string) {
    this.folder = mkdtempSync(join(tmpdir(), 'leasehold-redis-'));
    this.#options = options;
    this.#portOption = portOption;
  }

  /** Starts a server that has no password, keeps nothing on disk, and answers on 127.0.0.1. */
  static async start(options: Readonly<Record<string, string>> = {}, portOption = 'port'): Promise<RedisServer> {
    const server = new RedisServer(options, portOption);
    await server.restart();
    return server;
  }

  get port(): number {
    return this.#port as number;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Starts the server, on the port that it had before, and with the data that it keeps in its folder. */
  async restart(): Promise<void> {
    const args = (free: number) => {
      this.#port ??= free;
      const options = { save: '', dir: this.folder, bind: '127.0.0.1', ...this.#options };
      return [
        `--${this.#portOption}`,
        String(this.#port),
        ...Object.entries(options).flatMap(([name, value]) => [`--${name}`, ...words(value)]),
      ];
    };
    const isReady = async (_port: number, output: string) => /Ready to accept connections/.test(output);
    this.#process = await ServerProcess.start('redis-server', { command: 'redis-server', args, isReady });
  }

  /** Kills the server, without a goodbye. */
  async kill(): Promise<void> {
    await this.#process?.end();
  }

  /** Stops the server's process, as a pause of its machine would, until `resume`. */
  suspend(): void {
    process.kill(this.#process?.pid as number, 'SIGSTOP');
  }

  resume(): void {
    process.kill(this.#process?.pid as number, 'SIGCONT');
  }

  /** Sends a command as texts, and gives the answer as text. */
  async command(...args: string[]): Promise<string> {
    return ask(this.port, args);
  }

  /** Waits until this replica has all writes of a primary. */
  async caughtUpWith(primary: RedisServer): Promise<void> {
    const offsetOf = async (server: RedisServer) =>
      /^(?:slave_repl_offset|master_repl_offset):(\d+)/m.exec(await server.command('INFO', 'replication'))?.[1];
    const written = Number(await offsetOf(primary));
    await until(async () => Number(await offsetOf(this)) >= written);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** An option of several words, such as `replicaof: '127.0.0.1 6379'`. An empty value is one word. */
const words = (value: string): string[] => (value === '' ? [''] : value.split(' '));

/** Sends one command by the protocol itself: a test's own look must not depend on the clients that are tested. */
function ask(port: number, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let answer = '';
    socket.on('error', reject);
    socket.on('data', (data) => {
      answer += data;
    });
    socket.on('close', () => resolve(answer.replace(/\+OK\r\n$/, '')));
    const command = (words: readonly string[]) =>
      `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`;
    socket.write(command(args) + command(['QUIT']));
  });
}

/** Starts a primary, and a replica that has its data and hears of its writes over a relay. */
export async function startReplicated(): Promise<{ primary: RedisServer; replica: RedisServer; relay: TcpRelay }> {
  const primary = await RedisServer.start({ 'repl-diskless-sync-delay': '0' });
  const relay = await TcpRelay.start(primary.port);
  const replica = await RedisServer.start({ replicaof: `127.0.0.1 ${relay.port}` });
  await until(async () => (await replica.command('INFO', 'replication')).includes('master_link_status:up'));
  return { primary, replica, relay };
}

/** Starts a cluster of three primaries. */
export async function startCluster(): Promise<RedisServer[]> {
  const options = { 'cluster-enabled': 'yes', 'cluster-config-file': 'nodes.conf' };
  const nodes = await Promise.all([0, 1, 2].map(() => RedisServer.start(options)));
  const ranges = ['0 5460', '5461 10922', '10923 16383'];
  for (const [i, node] of nodes.entries()) {
    await node.command('CLUSTER', 'SET-CONFIG-EPOCH', String(i + 1));
    await node.command('CLUSTER', 'ADDSLOTSRANGE', ...words(ranges[i] as string));
    await node.command('CLUSTER', 'MEET', '127.0.0.1', String(nodes[0]?.port));
  }
  const knowsAll = (info: string) => info.includes('cluster_state:ok') && info.includes('cluster_known_nodes:3');
  await Promise.all(nodes.map((node) => until(async () => knowsAll(await node.command('CLUSTER', 'INFO')))));
  return nodes;
}

/** Starts a server that speaks TLS alone, and gives the certificate that its clients must trust. */
export async function startWithTls(): Promise<{ server: RedisServer; certificate: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'leasehold-tls-'));
  const file = (name: string) => join(folder, name);
  // GLIDE trusts no certificate that signs itself: an authority signs the server's.
  const make = (name: string, ...args: string[]) =>
    execFileSync(
      'openssl',
      ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2']
        .concat(['-keyout', file(`${name}.key`), '-out', file(`${name}.pem`), '-subj', `/CN=${name}`])
        .concat(args),
      { stdio: 'pipe' },
    );
  make('authority');
  const names = ['-addext', 'subjectAltName=IP:127.0.0.1', '-addext', 'basicConstraints=critical,CA:FALSE'];
  make('server', '-CA', file('authority.pem'), '-CAkey', file('authority.key'), ...names);
  const certificate = file('authority.pem');
  const tls = { 'tls-cert-file': file('server.pem'), 'tls-key-file': file('server.key'), 'tls-auth-clients': 'no' };
  const server = await RedisServer.start({ port: '0', ...tls }, 'tls-port');
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  return { server, certificate };
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const from = performance.now();
  while (!(await isSo().catch(() => false))) {
    if (performance.now() - from > 15_000) throw new Error('Expected redis-server to be ready within 15 s.');
    await sleep(20);
  }
}
