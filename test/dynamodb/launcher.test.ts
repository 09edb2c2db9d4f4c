import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo, Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  BatchGetItemCommand,
  type ConditionalCheckFailedException,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  type DynamoDBClient,
  GetItemCommand,
  ListTablesCommand,
  ScanCommand,
  type TransactionCanceledException,
  TransactWriteItemsCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import { afterAll, afterEach, beforeAll, expect, jest, test } from '@jest/globals';
import { needing } from '../support/needing.ts';
import { serversToTry } from '../support/store-over.ts';
import type { DynamoDB } from './launcher.ts';

const net = await import('node:net');
/** Ports that the launcher finds free although they are taken. */
const portsTakenMeanwhile: number[] = [];
jest.unstable_mockModule('node:net', () => ({
  ...net,
  createServer: () => {
    const probe: Server = net.createServer();
    const address = probe.address.bind(probe);
    probe.address = () => ({
      ...(address() as AddressInfo),
      port: portsTakenMeanwhile.pop() ?? (address() as AddressInfo).port,
    });
    return probe;
  },
}));
const { availableServers, missingDynamoDB, startDynamoDB } = await import('./launcher.ts');

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  process.env = { ...environment };
});

const servers = serversToTry(await availableServers());
const { test: testWithDynamoDB } = needing(await missingDynamoDB());
// The tests below hide servers by themselves.
delete process.env.LEASEHOLD_NO_DYNAMODB;
const environment = { ...process.env };

for (const { server, missing } of servers) {
  needing(missing).describe(server, () => {
    let dynamodb: DynamoDB;
    let client: DynamoDBClient;
    beforeAll(async () => {
      dynamodb = await startDynamoDB({ server });
      client = dynamodb.client();
    }, 30_000);
    afterAll(() => dynamodb.stop());

    test('makes lock tables with names of their own, TTL on ttl, and the keys asked for', async () => {
      const plain = await dynamodb.createLockTable();
      const other = await dynamodb.createLockTable();
      const mine = await dynamodb.createLockTable(`mine-${plain}`, { keyAttribute: 'pk', sortKeyAttribute: 'sk' });
      const tables = await Promise.all(
        [plain, other, mine].map((TableName) => client.send(new DescribeTableCommand({ TableName }))),
      );
      const ttl = await client.send(new DescribeTimeToLiveCommand({ TableName: plain }));

      expect(plain).not.toBe(other);
      expect(mine).toBe(`mine-${plain}`);
      expect(tables.map(({ Table }) => Table?.KeySchema?.map(({ AttributeName }) => AttributeName))).toEqual([
        ['lockKey'],
        ['lockKey'],
        ['pk', 'sk'],
      ]);
      expect(ttl.TimeToLiveDescription).toMatchObject({ AttributeName: 'ttl', TimeToLiveStatus: 'ENABLED' });
    });

    test('answers with a Date, and gives the record back when a condition refuses', async () => {
      const TableName = await dynamodb.createLockTable();
      const Key = { lockKey: { S: 'job' } };
      let date: string | undefined;
      client.middlewareStack.add(
        (next) => async (args) => {
          const result = await next(args);
          date = (result.response as { headers: Record<string, string> }).headers.date;
          return result;
        },
        { step: 'deserialize', name: 'date', priority: 'low', override: true },
      );
      // <> on a missing attribute is true, as in DynamoDB.
      await client.send(
        new UpdateItemCommand({
          TableName,
          Key,
          UpdateExpression: 'SET lockId = :a',
          ConditionExpression: 'releasedBy <> :a',
          ExpressionAttributeValues: { ':a': { S: 'a' } },
        }),
      );
      expect(Math.abs(Date.parse(String(date)) - Date.now())).toBeLessThan(5_000);

      const refusal = await client
        .send(
          new UpdateItemCommand({
            TableName,
            Key,
            UpdateExpression: 'SET lockId = :b',
            ConditionExpression: 'lockId = :b',
            ExpressionAttributeValues: { ':b': { S: 'b' } },
            ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
          }),
        )
        .catch((error: ConditionalCheckFailedException) => error);
      expect(refusal).toMatchObject({
        name: 'ConditionalCheckFailedException',
        Item: { lockKey: { S: 'job' }, lockId: { S: 'a' } },
      });
    });

    test('commits a transaction only while its ConditionCheck holds', async () => {
      const TableName = await dynamodb.createLockTable();
      const write = (key: string, lockId: string) =>
        client.send(
          new TransactWriteItemsCommand({
            TransactItems: [
              {
                ConditionCheck: {
                  TableName,
                  Key: { lockKey: { S: 'lease' } },
                  ConditionExpression: 'lockId = :me',
                  ExpressionAttributeValues: { ':me': { S: lockId } },
                  ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
                },
              },
              { Put: { TableName, Item: { lockKey: { S: key } } } },
            ],
          }),
        );
      await client.send(
        new UpdateItemCommand({
          TableName,
          Key: { lockKey: { S: 'lease' } },
          UpdateExpression: 'SET lockId = :me',
          ExpressionAttributeValues: { ':me': { S: 'me' } },
        }),
      );
      await write('held', 'me');
      const refusal = await write('lost', 'other').catch((error: TransactionCanceledException) => error);
      const [held, lost] = await Promise.all(
        ['held', 'lost'].map((key) => client.send(new GetItemCommand({ TableName, Key: { lockKey: { S: key } } }))),
      );

      expect(held?.Item).toEqual({ lockKey: { S: 'held' } });
      expect(lost?.Item).toBeUndefined();
      expect(refusal).toMatchObject({
        name: 'TransactionCanceledException',
        CancellationReasons: [{ Code: 'ConditionalCheckFailed', Item: { lockId: { S: 'me' } } }, { Code: 'None' }],
      });
    });

    test('counts the capacity that reads and writes consume', async () => {
      const TableName = await dynamodb.createLockTable();
      const ReturnConsumedCapacity = 'TOTAL' as const;
      const Key = { lockKey: { S: 'job' } };
      const update = await client.send(
        new UpdateItemCommand({
          TableName,
          Key,
          UpdateExpression: 'SET fencingToken = :n',
          ExpressionAttributeValues: { ':n': { N: '1' } },
          ReturnConsumedCapacity,
        }),
      );
      const batch = await client.send(
        new BatchGetItemCommand({ RequestItems: { [TableName]: { Keys: [Key] } }, ReturnConsumedCapacity }),
      );
      const scan = await client.send(new ScanCommand({ TableName, ReturnConsumedCapacity }));

      expect(update.ConsumedCapacity?.CapacityUnits).toBe(1);
      expect(batch.ConsumedCapacity?.[0]?.CapacityUnits).toBe(0.5);
      expect(scan.ConsumedCapacity?.CapacityUnits).toBe(0.5);
      expect(batch.Responses?.[TableName]).toHaveLength(1);
      expect(scan.Items).toHaveLength(1);
    });

    if (server === 'endpoint') return;

    test('takes another port when somebody takes the one it chose before the server binds it', async () => {
      const taken = Number(new URL(dynamodb.endpoint).port);
      portsTakenMeanwhile.push(taken);
      await using second = await startDynamoDB({ server });
      const tables = await second.client().send(new ListTablesCommand());

      expect(portsTakenMeanwhile).toEqual([]);
      expect(second.endpoint).not.toBe(dynamodb.endpoint);
      expect(tables.TableNames).toEqual([]);
    }, 30_000);

    test('answers nothing while suspended, and goes on when resumed', async () => {
      dynamodb.suspend();
      const hasty = () =>
        client.send(new ListTablesCommand(), { abortSignal: AbortSignal.timeout(200) }).then(
          () => 'answered',
          (error: Error) => error.name,
        );
      // On a busy machine a thread that runs while the signal comes may still answer its request.
      const outcomes = [await hasty(), await hasty()];
      dynamodb.resume();

      expect(outcomes[1]).toMatch(/Abort|Timeout/);
      await expect(client.send(new ListTablesCommand())).resolves.toBeDefined();
    });

    test('is gone after stop(), suspended or not, however often it is stopped', async () => {
      const doomed = await startDynamoDB({ server });
      doomed.suspend();
      await Promise.all([doomed.stop(), doomed.stop()]);
      await doomed.stop();

      expect(isAlive(doomed.pid)).toBe(false);
      expect(() => doomed.resume()).toThrow(`send SIGCONT to, but ${server} has been stopped`);
    }, 30_000);

    test('is gone when its parent is killed by SIGKILL, even while it is suspended', async () => {
      const parent = run(
        `${start(server)} dynamodb.suspend(); console.log(dynamodb.pid); setInterval(() => {}, 1_000);`,
      );
      const [line] = await once(parent.stdout, 'data');
      const pid = Number(line);
      expect(isAlive(pid)).toBe(true);

      parent.kill('SIGKILL');
      await gone(pid);
    }, 30_000);
  });
}

testWithDynamoDB('dynoxide is the default where it runs, and is up within a second', async () => {
  await using dynamodb = await startDynamoDB();

  expect(dynamodb.server).toBe(servers.find(({ missing }) => !missing)?.server);
  if (dynamodb.server !== 'dynoxide') return;
  const startedAt = performance.now();
  await using second = await startDynamoDB();
  expect(performance.now() - startedAt).toBeLessThan(1_000);
  expect(second.endpoint).not.toBe(dynamodb.endpoint);
});

testWithDynamoDB('a server is gone when its parent is killed by SIGKILL', async () => {
  const parent = run(`${start()} console.log(dynamodb.pid); setInterval(() => {}, 1_000);`);
  const [line] = await once(parent.stdout, 'data');
  expect(isAlive(Number(line))).toBe(true);

  parent.kill('SIGKILL');
  await gone(Number(line));
});

testWithDynamoDB('a server keeps no process alive that forgets to stop it, and ends with the process', async () => {
  const parent = run(`${start()} await dynamodb.createLockTable(); console.log(dynamodb.pid);`);
  const [[line], [code]] = await Promise.all([once(parent.stdout, 'data'), once(parent, 'exit')]);

  expect(code).toBe(0);
  await gone(Number(line));
});

testWithDynamoDB('a server is gone when its watchdog is killed by SIGKILL', async () => {
  await using dynamodb = await startDynamoDB();
  process.kill(parentOf(dynamodb.pid), 'SIGKILL');

  // The pid would not tell: an orphan stays in the process table until somebody reaps it.
  while (await isListening(dynamodb.endpoint)) await sleep(10);
});

testWithDynamoDB('a server leaves nothing in the event loop after stop()', async () => {
  const parent = run(
    `${start()} await dynamodb.createLockTable(); await dynamodb.stop();
     await new Promise(setImmediate); await new Promise(setImmediate);
     console.log(JSON.stringify(process.getActiveResourcesInfo().filter((name) => name !== 'PipeWrap')));`,
  );
  const [[line], [code]] = await Promise.all([once(parent.stdout, 'data'), once(parent, 'exit')]);

  expect(JSON.parse(String(line))).toEqual([]);
  expect(code).toBe(0);
});

testWithDynamoDB('another process needs only the environment to use the server', async () => {
  await using dynamodb = await startDynamoDB();
  const table = await dynamodb.createLockTable();
  const sdk = import.meta.resolve('@aws-sdk/client-dynamodb');
  const other = run(
    `const { DynamoDBClient, ListTablesCommand } = await import('${sdk}');
     console.log((await new DynamoDBClient().send(new ListTablesCommand())).TableNames.join());`,
    dynamodb.environment,
  );
  const [line] = await once(other.stdout, 'data');

  expect(String(line).trim()).toBe(table);
});

testWithDynamoDB(
  'DYNAMODB_ENDPOINT is used as it is, with the credentials of the environment: its tables are deleted, and it is neither frozen nor ended',
  async () => {
    await using dynamodb = await startDynamoDB();
    await dynamodb.createLockTable('theirs');
    process.env.DYNAMODB_ENDPOINT = dynamodb.endpoint;
    Object.assign(process.env, { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b', AWS_SESSION_TOKEN: 'c' });
    const borrowed = await startDynamoDB({ server: 'endpoint' });
    expect(borrowed.clientConfig.credentials).toEqual({ accessKeyId: 'a', secretAccessKey: 'b', sessionToken: 'c' });
    expect(borrowed.environment.AWS_SESSION_TOKEN).toBe('c');
    expect(dynamodb.credentials).toMatchObject({ accessKeyId: 'local', secretAccessKey: 'local' });
    await borrowed.createLockTable('ours');

    expect(await availableServers()).toContainEqual({ server: 'endpoint' });
    expect(() => borrowed.suspend()).toThrow(`endpoint was not started here (${dynamodb.endpoint})`);
    await borrowed.stop();
    const { TableNames } = await dynamodb.client().send(new ListTablesCommand());
    expect(TableNames).toEqual(['theirs']);
  },
);

test('a server that does not run here is refused with what to install', async () => {
  delete process.env.DYNAMODB_ENDPOINT;
  process.env.JAVA_HOME = '/nowhere';

  await expect(startDynamoDB({ server: 'endpoint' })).rejects.toThrow('set DYNAMODB_ENDPOINT to the URL of a DynamoDB');
  await expect(startDynamoDB({ server: 'dynamodb-local' })).rejects.toThrow(
    'install Java 17 or later, for example openjdk-17-jre-headless ("/nowhere/bin/java" does not run)',
  );
});

test('a contract suite learns which server is missing, and in CI that is an error', async () => {
  process.env.JAVA_HOME = '/nowhere';
  process.env.CI = '';
  expect(await availableServers()).toContainEqual({
    server: 'dynamodb-local',
    missing: expect.stringContaining('install Java 17'),
  });

  process.env.CI = 'true';
  await expect(availableServers()).rejects.toThrow(/Expected every DynamoDB server to run in CI.*install Java 17/s);
});

test('LEASEHOLD_NO_DYNAMODB hides every server, for a look at a machine without', async () => {
  process.env.LEASEHOLD_NO_DYNAMODB = '1';

  expect(await missingDynamoDB()).toContain('install Java 17 or later, and unset LEASEHOLD_NO_DYNAMODB');
  await expect(startDynamoDB()).rejects.toThrow('found none');
});

test('a server that ends at once is reported with its command and output', async () => {
  await using home = await fakeJava(
    `case "$1" in -version) echo 'version "17.0.1"' >&2;; *) echo no memory; exit 1;; esac`,
  );
  process.env.JAVA_HOME = home.path;

  await expect(startDynamoDB({ server: 'dynamodb-local' })).rejects.toThrow(
    /Expected dynamodb-local to answer on port \d+, but it ended at once.*-inMemory.*no memory/s,
  );
});

test('an older Java is refused with its version', async () => {
  await using home = await fakeJava(`echo 'openjdk version "11.0.2"' >&2`);
  process.env.JAVA_HOME = home.path;

  await expect(startDynamoDB({ server: 'dynamodb-local' })).rejects.toThrow(
    `install Java 17 or later, for example openjdk-17-jre-headless ("${home.path}/bin/java" is version 11)`,
  );
});

async function fakeJava(script: string) {
  const path = await mkdtemp(join(tmpdir(), 'java-'));
  await mkdir(join(path, 'bin'));
  await writeFile(join(path, 'bin', 'java'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

function start(server?: string): string {
  const launcher = new URL('../../demo/local/launcher.ts', import.meta.url);
  return `const { startDynamoDB } = await import('${launcher}'); const dynamodb = await startDynamoDB(${JSON.stringify({ server })});`;
}

function run(program: string, env: Record<string, string> = {}) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    env: { ...process.env, NODE_OPTIONS: '', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  return child;
}

function isAlive(pid: number | undefined): boolean {
  try {
    return process.kill(Number(pid), 0);
  } catch {
    return false;
  }
}

function parentOf(pid: number | undefined): number {
  return Number(execFileSync('ps', ['-o', 'ppid=', '-p', String(pid)]));
}

async function isListening(endpoint: string): Promise<boolean> {
  const socket = net.connect(Number(new URL(endpoint).port), '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** Fails by the test's time-out. */
async function gone(pid: number): Promise<void> {
  while (isAlive(pid)) await sleep(10);
}
