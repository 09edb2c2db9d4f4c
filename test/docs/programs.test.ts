import { execFile } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { globSync } from 'node:fs';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { promisify } from 'node:util';
import {
  ConditionalCheckFailedException,
  DynamoDBClient,
  PutItemCommand,
  type PutItemCommandInput,
  paginateScan,
  ScanCommand,
} from '@aws-sdk/client-dynamodb';
import { describe, expect, jest, test } from '@jest/globals';
import middy from '@middy/core';
import httpErrorHandler from '@middy/http-error-handler';
import { mockClient } from 'aws-sdk-client-mock';
import { emf, type Lease, LockBusyError, LockClient, type LockLostError, metricsOf } from '../../lib/index.ts';
import { uninstallStore } from '../../lib/lease/store-in-tests.ts';
import { FakeClock, installMemoryStore, MemoryLockStore } from '../../lib/testing.ts';
import { lock, lockPlugin, lockRecords, withLock } from '../../middleware/index.ts';
import { blocksOf } from './blocks.ts';
import { repository } from './entries.ts';
import { read } from './pages.ts';

/** The exports of the block of a page that has this text. */
async function exportsOf(page: string, text: string) {
  const { code = '' } = blocksOf(page).find(({ code }) => code.includes(text)) ?? {};
  return import(`data:text/javascript,${encodeURIComponent(stripTypeScriptTypes(code))}`);
}

/** A block as the body of a function: without its types and its imports. */
const bodyOf = (code: string) => stripTypeScriptTypes(code).replaceAll(/^import [^;]*;$/gm, '');

const newClient = () => new LockClient({ store: new MemoryLockStore() });

test("docs/fencing.md's transaction in SQL refuses an earlier holder that writes after a later one", async () => {
  const { fenced } = await exportsOf('docs/fencing.md', 'function fenced(');
  const database = new DatabaseSync(':memory:');
  database.exec(
    'CREATE TABLE fences (lock_key TEXT PRIMARY KEY, token BIGINT NOT NULL); CREATE TABLE rows (text TEXT)',
  );
  const write = (lease: Lease, text: string) =>
    fenced(database, lease, () => database.prepare('INSERT INTO rows VALUES (?)').run(text));
  const locks = newClient();
  const first = await locks.acquire('report');
  write(first, 'first');
  write(first, 'first again');
  await locks.forceRelease('report', { lockId: first.lockId, immediately: true });
  const second = await locks.acquire('report');
  write(first, 'first, before the second has written');
  write(second, 'second');
  expect(() => write(first, 'late')).toThrow(
    `A later holder than token ${first.fencingToken} has written for 'report'.`,
  );
  write(second, 'second again');
  expect(() => fenced(database, second, () => database.exec('INSERT INTO nowhere VALUES (1)'))).toThrow('nowhere');
  const rows = database.prepare('SELECT text FROM rows').all();
  expect(rows.map(({ text }) => text)).toEqual([
    'first',
    'first again',
    'first, before the second has written',
    'second',
    'second again',
  ]);
  await second.release();
});

test("docs/moving-a-table.md's function moves a finished token, and no token of a key that has none", async () => {
  const { moveToken } = await exportsOf('docs/moving-a-table.md', 'function moveToken(');
  const [from, to] = [newClient(), newClient()];
  await from.using('nightly', { once: '2026-01-01T02:00:00Z' }, async () => {});
  await from.using('plain', async () => {});
  for (const key of ['nightly', 'plain', 'unknown']) await moveToken(key, from, to);
  expect(await to.inspect('nightly')).toMatchObject({ doneToken: '2026-01-01T02:00:00Z', held: false });
  expect(await to.inspect('plain')).toBeUndefined();
});

test("docs/moving-a-table.md's program copies items, and leaves what the new table has already", async () => {
  const { code = '' } = blocksOf('docs/moving-a-table.md').find(({ code }) => code.includes('paginateScan')) ?? {};
  const items = ['moved', 'taken'].map((key) => ({ lockKey: { S: key } }));
  const put: PutItemCommandInput[] = [];
  const dynamodb = mockClient(DynamoDBClient);
  dynamodb
    .on(ScanCommand)
    .callsFake(async ({ ExclusiveStartKey: key }) =>
      key === undefined ? { Items: items.slice(0, 1), LastEvaluatedKey: items[0] } : { Items: items.slice(1) },
    );
  dynamodb.on(PutItemCommand).callsFake(async (input: PutItemCommandInput) => {
    const isThere = input.Item?.lockKey?.S === 'taken';
    if (isThere) throw new ConditionalCheckFailedException({ message: 'there', $metadata: {} });
    put.push(input);
  });
  const run = new Function(
    'DynamoDBClient',
    'paginateScan',
    'PutItemCommand',
    `return (async () => {${bodyOf(code)}})()`,
  );
  await run(DynamoDBClient, paginateScan, PutItemCommand);
  expect(put).toEqual([
    { TableName: 'new', Item: { lockKey: { S: 'moved' } }, ConditionExpression: 'attribute_not_exists(lockKey)' },
  ]);
  dynamodb.on(PutItemCommand).rejects(new Error('throttled'));
  await expect(run(DynamoDBClient, paginateScan, PutItemCommand)).rejects.toThrow('throttled');
  dynamodb.restore();
});

test("docs/logs.md's listener logs each event by its level, and an error by its message", async () => {
  const { code = '' } = blocksOf('docs/logs.md')[0] ?? {};
  const lines: [string, string, Record<string, unknown>][] = [];
  const logger = Object.fromEntries(
    ['debug', 'info', 'warn', 'error'].map((level) => [
      level,
      (text: string, line: Record<string, unknown>) => lines.push([level, text, line]),
    ]),
  );
  const log = new Function('logger', bodyOf(code).replace(/export const log\s*=/, 'return'))(logger);
  const locks = new LockClient({ store: new MemoryLockStore(), onEvent: log });
  const lease = await locks.acquire('report');
  await lease.renew();
  await locks.forceRelease('report', { lockId: lease.lockId });
  await lease.renew().catch(() => {});
  expect(lines.map(([level, text]) => `${level}: ${text}`)).toEqual([
    'info: lock acquired',
    'debug: lock renewed',
    'error: lock lost',
  ]);
  const { cause, ...lost } = lines.at(-1)?.[2] ?? {};
  const { message } = cause as LockLostError;
  expect(lost).toMatchObject({ event: 'lost', key: 'report', owner: lease.owner, reason: 'revoked', error: message });
  expect(message).toContain('report');
  expect(lines.flatMap(([, , line]) => Object.keys(line))).not.toContain('lockId');
});

test("docs/cdk/metrics.md's listener for Powertools publishes what the alarms and the runbook's query ask for", async () => {
  const { code = '' } = blocksOf('docs/cdk/metrics.md').find(({ code }) => code.includes('toPowertools')) ?? {};
  const published: Record<string, unknown>[] = [];
  const singleMetric = () => {
    const dimensions: object[] = [];
    const metadata: Record<string, string> = {};
    return {
      clearDefaultDimensions() {},
      setDefaultDimensions: (given: object) => dimensions.push(given),
      addDimensions: (given: object) => dimensions.push(given),
      addMetadata: (name: string, value: string) => Object.assign(metadata, { [name]: value }),
      addMetric: (name: string, unit: string, value: number) =>
        published.push({ name, unit, value, dimensions, ...metadata }),
    };
  };
  const body = bodyOf(code).replace(/export const toPowertools\s*=/, 'return');
  const make = new Function('metricsOf', 'metrics', 'process', body);
  const listenIn = (env: object) => make(metricsOf, { singleMetric }, { env });
  const locks = new LockClient({
    store: new MemoryLockStore(),
    onEvent: listenIn({ LOCK_TABLE_NAME: 'locks', AWS_LAMBDA_FUNCTION_NAME: 'nightly' }),
  });
  const lease = await locks.acquire('report', { owner: 'me' });
  await locks.forceRelease('report', { lockId: lease.lockId });
  await lease.renew().catch(() => {});
  const { value, ...lost } = published.find(({ name }) => name === 'Lost') ?? {};
  expect(lost).toMatchObject({ unit: 'Count', event: 'lost', key: 'report', owner: 'me', reason: 'revoked' });
  expect(lost.dimensions).toEqual([{ table: 'locks' }, {}, { function: 'nightly' }]);
  const [, query = ''] = /fields @timestamp, (.*)/.exec(read('docs/runbook.md')) ?? [];
  expect(Object.keys(lost)).toEqual(expect.arrayContaining(query.split(', ')));
  published.length = 0;
  listenIn({ LOCK_TABLE_NAME: 'locks' })({ type: 'done', key: 'report', at: 0, once: 'a', doneToken: 'a' });
  expect(published).toMatchObject([{ name: 'Done', dimensions: [{ table: 'locks' }, {}] }]);
});

test("docs/queues.md's handler answers the event of that page as the page says", async () => {
  const [{ code = '' } = {}, { code: ofEvent = '' } = {}] = blocksOf('docs/queues.md');
  const { event } = await exportsOf('docs/queues.md', 'as SQSRecord');
  const body = bodyOf(code).replace(/export const handler\s*=/, 'return');
  const booked: string[] = [];
  installMemoryStore();
  const make = new Function('middy', 'lockPlugin', 'lockRecords', 'book', body);
  const handler = make(middy, lockPlugin, lockRecords, async (order: string) => booked.push(order));
  uninstallStore();
  const answer = { batchItemFailures: [{ itemIdentifier: '3' }] };
  const told = jest.spyOn(console, 'error').mockReturnValue();
  expect(await handler(event, {})).toEqual(answer);
  expect(told).toHaveBeenCalledTimes(1);
  told.mockRestore();
  expect(booked.sort()).toEqual(['{"account":"a"}', '{"account":"b"}']);
  const [, shown = ''] = /gives (\{.*\})/.exec(ofEvent) ?? [];
  expect(new Function(`return ${shown}`)()).toEqual(answer);
});

test("docs/without-the-cdk.md's runner calls a handler as Lambda does", async () => {
  const page = read('docs/without-the-cdk.md');
  const [, runner = ''] = /<!-- file: invoke\.mjs -->\n\n```js\n(.*?)```/s.exec(page) ?? [];
  const folder = await mkdtemp(join(tmpdir(), 'invoke-'));
  await writeFile(join(folder, 'invoke.mjs'), runner);
  const handler =
    'export const handler = async (event, context) => ({ event, owner: context.logStreamName, left: context.getRemainingTimeInMillis() > 50_000 });';
  await writeFile(join(folder, 'nightly.mjs'), handler);
  const { stdout } = await promisify(execFile)(process.execPath, ['invoke.mjs', './nightly.mjs', '{"time":"now"}'], {
    cwd: folder,
  });
  expect(stdout).toMatch(/^answer: \{\s*event: \{ time: 'now' \},\s*owner: 'local-\d+',\s*left: true\s*\}\n$/);
});

test('docs/runbook.md has a section for each alarm of the constructs, and for no other', () => {
  const sources = globSync('lib/cdk/*.ts', { cwd: repository }).map(read).join('\n');
  const alarms = [...sources.matchAll(/readonly (\w+): cloudwatch\.Alarm(?: \| undefined)?;/g)].map(([, name]) => name);
  const sections = [...read('docs/runbook.md').matchAll(/^## `(\w+)`$/gm)].map(([, name]) => name);
  expect(sections.length).toBeGreaterThan(3);
  expect([...new Set([...alarms, 'failed'])].sort()).toEqual(sections.sort());
});

/** The bytes of the lines that `emf()` prints on Lambda for a key and a function's name of 14 characters. */
async function bytesOfLines() {
  const key = 'nightly-report';
  const bytes = new Map<string, number>();
  const print = (line: string) => bytes.set(JSON.parse(line).event, Buffer.byteLength(line));
  const owner = `${key}:$LATEST 2026/01/01/[$LATEST]${'0'.repeat(32)}`;
  const clock = new FakeClock();
  const onEvent = emf({ tableName: 'locks', functionName: key, print });
  const locks = new LockClient({ store: new MemoryLockStore({ clock }), clock, owner, onEvent });
  const lease = await locks.acquire(key);
  await clock.advance(12_345);
  expect(await locks.tryAcquire(key)).toBeNull();
  await lease.release();
  return (...events: string[]) => events.reduce((sum, event) => sum + (bytes.get(event) ?? Number.NaN), 0);
}

test("docs/scale.md's costs of the log are those of the lines that emf() prints", async () => {
  const bytesOf = await bytesOfLines();
  const dollars = (events: string[]) => ((bytesOf(...events) + 26 * events.length) * 0.5) / 1_000;
  const rows = [['acquired', 'released'], ['renewed'], ['busy']].map((events) => [
    `${bytesOf(...events).toLocaleString('en')} bytes each`,
    dollars(events).toFixed(2),
  ]);
  const page = /## The log of the metrics\n(.*?)\n## /s.exec(read('docs/scale.md'))?.[1] ?? '';
  const told = [...page.matchAll(/^\| .* \| ([\d,]+ bytes each) \| ([\d.]+) \|$/gm)].map(([, ...row]) => row);
  expect(told).toEqual(rows);
  expect(read('docs/cdk/metrics.md')).toContain(`[$${rows[0]?.[1]} in the log]`);
});

test("docs/middy.md's handler of rates gives those who wait the result of the first", async () => {
  const { code = '' } = blocksOf('docs/middy.md').find((block) => block.code.includes('fetchRates')) ?? {};
  const body = stripTypeScriptTypes(code)
    .replace(/^import .*$/m, '')
    .replace('export const handler =', 'return');
  let fetched = 0;
  installMemoryStore();
  const handler = new Function('withLock', 'fetchRates', body)(withLock, async () => ({ usd: ++fetched }));
  uninstallStore();
  const answers = await Promise.all([{}, {}, {}].map((context) => handler({}, context)));
  expect(answers).toEqual([{ usd: 1 }, { usd: 1 }, { usd: 1 }]);
});

test("docs/middy.md's logger of HTTP errors passes over a busy lock, and logs any other error", async () => {
  const { code = '' } = blocksOf('docs/middy.md').find((block) => block.code.includes('httpErrorHandler')) ?? {};
  const body = code.replaceAll(/^import .*$/gm, '').replace('export const handler =', 'return');
  const store = installMemoryStore();
  const make = new Function('middy', 'httpErrorHandler', 'LockBusyError', 'lock', 'lockPlugin', 'console', body);
  const logged: unknown[] = [];
  const handler = make(middy, httpErrorHandler, LockBusyError, lock, lockPlugin, {
    error: (error: unknown) => logged.push(error),
  });
  uninstallStore();
  expect(await handler({}, {})).toMatchObject({ statusCode: 200 });
  const other = await new LockClient({ store }).acquire('report');
  expect(await handler({}, {})).toMatchObject({ statusCode: 423, headers: { 'Retry-After': '1' } });
  expect(logged).toEqual([]);
  await other.release();
  // A context without a place for the lease.
  expect(await handler({}, Object.freeze({}))).toMatchObject({ statusCode: 500 });
  expect(logged).toEqual([expect.any(TypeError)]);
});

/** An old lock that the test can lose. It stands for redlock and dynamodb-lock-client, which are not installed here. */
class OldLock extends EventEmitter {
  isReleased = false;
  readonly #lost = new AbortController();

  constructor() {
    super();
    this.on('error', (error) => this.#lost.abort(error));
  }

  async using(_keys: string[], _duration: number, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    await work(this.#lost.signal).finally(() => this.release(() => {}));
  }

  acquireLock(_id: string, callback: (error: undefined, lock: OldLock) => void): void {
    callback(undefined, this);
  }

  release(callback: () => void): void {
    this.isReleased = true;
    callback();
  }
}

/** Runs a program of docs/coming-from.md that takes two locks, until the program's work runs. */
async function underTwoLocks(name: string) {
  const { code = '' } = blocksOf('docs/coming-from.md').find((block) => block.code.includes(`from '${name}'`)) ?? {};
  const [clock, old, works] = [new FakeClock(), new OldLock(), new EventEmitter()];
  const store = new MemoryLockStore({ clock });
  const making = (made: object) =>
    function Made() {
      return made;
    };
  const names = {
    LockClient: making(new LockClient({ store, clock })),
    AWS: { DynamoDB: { DocumentClient: making({}) } },
    FailOpen: making(old),
    DynamoDBLockStore: making(store),
    Redis: making({ quit() {} }),
    Redlock: making(old),
    RedisLockStore: making(store),
    fetch: async (_url: string, { signal }: { signal: AbortSignal }) => {
      works.emit('begin');
      await once(signal, 'abort');
      throw signal.reason;
    },
  };
  const body = stripTypeScriptTypes(code).replaceAll(/^import .*$/gm, '');
  const program = new Function(...Object.keys(names), `return (async () => {${body}})()`);
  const begun = once(works, 'begin');
  const ended: Promise<unknown> = program(...Object.values(names)).catch((error: unknown) => error);
  await Promise.race([begun, ended.then((error) => Promise.reject(error))]);
  return { clock, old, locks: new LockClient({ store, clock }), ended };
}

describe.each(['redlock', 'dynamodb-lock-client'])('the program of docs/coming-from.md that imports %s', (name) => {
  test('stops its work when the old lock is lost, and releases both locks', async () => {
    const { old, locks, ended } = await underTwoLocks(name);
    expect(await locks.inspect('nightly')).toMatchObject({ held: true });
    const loss = new Error('the old lock is lost');
    old.emit('error', loss);
    expect(await ended).toBe(loss);
    expect(await locks.inspect('nightly')).toMatchObject({ held: false });
    expect(old.isReleased).toBe(true);
  });

  test("stops its work when leasehold's lock is lost, and releases the old lock", async () => {
    const { clock, old, locks, ended } = await underTwoLocks(name);
    const { lockId = '' } = (await locks.inspect('nightly')) ?? {};
    await locks.forceRelease('nightly', { lockId });
    await clock.advance(30_000);
    expect(await ended).toMatchObject({ code: 'ERR_LOCK_LOST' });
    expect(old.isReleased).toBe(true);
  });
});
