import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, expect, jest } from '@jest/globals';
import { DynamoDBLockStore } from '../../lib/dynamodb/store.ts';
import { LockClient } from '../../lib/lease/client.ts';
import { type DynamoDB, startDynamoDB, test } from '../support/with-dynamodb.ts';
import { read } from './pages.ts';

// A busy machine needs more time than Jest's default.
jest.setTimeout(60_000);

let dynamodb: DynamoDB;
let folder: string;
let tableName: string;
let locks: LockClient;
let child: ChildProcess | undefined;
beforeAll(async () => {
  dynamodb = await startDynamoDB();
  folder = mkdtempSync(join(tmpdir(), 'shutdown-'));
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await dynamodb.stop();
});
beforeEach(async () => {
  tableName = await dynamodb.createLockTable();
  locks = new LockClient({ store: new DynamoDBLockStore({ tableName, client: dynamodb.client() }) });
});
afterEach(() => {
  child?.kill('SIGKILL');
});

/** A module of the sources of this repository, as an import names the module. */
const sourceOf = (entry: string) => `'${new URL(`../../lib/${entry}.ts`, import.meta.url)}'`;

/** The program of docs/outside-lambda.md with this name, over the sources of this repository. */
function program(name: string): string {
  const page = read('docs/outside-lambda.md');
  const code = new RegExp(`<!-- program: ${name} -->\\s+\`\`\`ts\\n(.*?)\`\`\``, 's').exec(page)?.[1] ?? '';
  expect(code).toContain('SIGTERM');
  const file = join(folder, `${name}.ts`);
  writeFileSync(
    file,
    code.replace("'leasehold'", sourceOf('index')).replace("'leasehold/dynamodb'", sourceOf('dynamodb')),
  );
  return file;
}

/** Starts a program of the page. Waits for an event that the program prints, or for the server's first answer. */
async function start(name: string, event?: string) {
  const port = 20_000 + Math.floor(Math.random() * 20_000);
  child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', program(name)], {
    env: {
      ...process.env,
      LOCK_TABLE_NAME: tableName,
      AWS_ENDPOINT_URL: dynamodb.endpoint,
      AWS_REGION: 'eu-central-1',
      AWS_ACCESS_KEY_ID: 'none',
      AWS_SECRET_ACCESS_KEY: 'none',
      PORT: String(port),
    },
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (data) => {
      said += data;
    });
  }
  const exited = once(child, 'exit').then(([code, signal]) => ({ code, signal }));
  const ask = () => fetch(`http://127.0.0.1:${port}/`).then((response) => response.text());
  const isListening = async () => Boolean(await ask().catch(() => false));
  await waitFor(async () => (event === undefined ? isListening() : said.includes(event)));
  return { child, exited, ask, said: () => said };
}

async function waitFor(isTrue: () => Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await sleep(20);
}

const isHeld = async () => (await locks.inspect('job'))?.held ?? false;

const SIGNALS = ['SIGTERM', 'SIGINT'] as const;

test.each(SIGNALS)('a loop of jobs ends at %s without an error, and its lock is released', async (signal) => {
  const { child, exited, said } = await start('loop', 'acquired job');
  child.kill(signal);
  expect(await exited).toEqual({ code: 0, signal: null });
  expect(said().split('\n')).toEqual(['acquired job', 'released job', '']);
  expect(await isHeld()).toBe(false);
});

test.each(SIGNALS)('an HTTP server answers the request that it has at %s, under the lock, and ends', async (signal) => {
  const { child, exited, ask } = await start('server');
  const answer = ask();
  await waitFor(isHeld);
  child.kill(signal);
  await sleep(300);
  expect(await isHeld()).toBe(true);
  expect(await answer).toBe('done');
  expect(await exited).toEqual({ code: 0, signal: null });
  expect(await isHeld()).toBe(false);
});

test.each(SIGNALS)('a leader stops at %s without an error, and its lock is released', async (signal) => {
  const { child, exited, said } = await start('leader', 'acquired job');
  child.kill(signal);
  expect(await exited).toEqual({ code: 0, signal: null });
  expect(said()).toMatch(/released job\n$/);
  expect(await isHeld()).toBe(false);
});

test.each(['loop', 'leader'])('a Ctrl-C that comes twice, as below npm, does not kill the %s', async (name) => {
  const { child, exited, said } = await start(name, 'acquired job');
  dynamodb.suspend(); // so that the release takes longer than the time between the signals
  for (const _ of [1, 2]) {
    child.kill('SIGINT');
    await sleep(100);
  }
  dynamodb.resume();
  expect(await exited).toEqual({ code: 0, signal: null });
  expect(said()).toContain('released job');
});

test('a Ctrl-C that comes twice leaves no request of an HTTP server without an answer', async () => {
  const { child, exited, ask } = await start('server');
  const answer = ask();
  await waitFor(isHeld);
  for (const _ of [1, 2]) {
    child.kill('SIGINT');
    await sleep(100);
  }
  expect(await answer).toBe('done');
  expect(await exited).toEqual({ code: 0, signal: null });
});

test('a process that waits for a lock ends at SIGTERM, and the holder keeps the lock', async () => {
  const holder = await locks.acquire('job');
  const { child, exited } = await start('leader', 'waiting job');
  child.kill('SIGTERM');
  expect(await exited).toEqual({ code: 0, signal: null });
  expect(await isHeld()).toBe(true);
  await holder.release();
});

test('a process with nothing else to do lives until close() has settled, and ends then', async () => {
  const code = `
    import { LockClient } from ${sourceOf('index')};
    import { MemoryLockStore } from ${sourceOf('testing')};
    const locks = new LockClient({ store: new MemoryLockStore(), leaseMs: 400 });
    const lease = await locks.acquire('job');
    await locks.close();
    console.log(lease.isHeld());`;
  const started = performance.now();
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', code]);
  expect(stdout).toBe('false\n');
  expect(performance.now() - started).toBeLessThan(20_000);
});
