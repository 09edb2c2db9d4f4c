import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type DynamoDBClient,
  type DynamoDBClientConfig,
  GetItemCommand,
  ListTablesCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import { afterAll, afterEach, beforeAll, beforeEach, expect } from '@jest/globals';
import { type FaultProxy, startFaultProxy } from './fault-proxy.ts';
import { type DynamoDB, describe, startDynamoDB, test } from './with-dynamodb.ts';

let dynamodb: DynamoDB;
let proxy: FaultProxy;
let table: string;
/** A client behind the proxy that sends a request once. */
let client: DynamoDBClient;
/** A client behind the proxy that sends a request again, as the SDK does by default. */
let retrying: DynamoDBClient;
/** A client without the proxy. */
let direct: DynamoDBClient;

beforeAll(async () => {
  dynamodb = await startDynamoDB();
  direct = dynamodb.client();
});
afterAll(() => dynamodb.stop());
beforeEach(async () => {
  proxy = await startFaultProxy({ upstream: dynamodb.endpoint });
  table = await dynamodb.createLockTable();
  const through = (config: DynamoDBClientConfig = {}) => dynamodb.client({ endpoint: proxy.endpoint, ...config });
  client = through({ maxAttempts: 1 });
  retrying = through();
});
afterEach(() => proxy.stop());

/** Adds one to the counter of a key, so the counter shows the number of deliveries. */
const increment = (key = 'job') =>
  new UpdateItemCommand({
    TableName: table,
    Key: { lockKey: { S: key } },
    UpdateExpression: 'ADD fencingToken :one',
    ExpressionAttributeValues: { ':one': { N: '1' } },
    ReturnValues: 'ALL_NEW',
  });
const read = (key = 'job') =>
  new GetItemCommand({ TableName: table, Key: { lockKey: { S: key } }, ConsistentRead: true });
const counted = async (key = 'job') => Number((await direct.send(read(key))).Item?.fencingToken?.N ?? 0);
const failure = (sent: Promise<unknown>) =>
  sent.then(
    () => 'no failure',
    (error: Error) => error.name,
  );

describe('without a plan', () => {
  test('requests and answers pass unchanged, and the proxy counts the requests by operation', async () => {
    await client.send(increment());
    await client.send(increment());
    const { Item } = await client.send(read());

    expect(Item).toEqual({ lockKey: { S: 'job' }, fencingToken: { N: '2' } });
    expect([proxy.count(), proxy.count('UpdateItem'), proxy.count('GetItem'), proxy.count('Scan')]).toEqual([
      3, 2, 1, 0,
    ]);
    expect(proxy.requests).toMatchObject([
      { n: 1, operation: 'UpdateItem', status: 200, body: { Key: { lockKey: { S: 'job' } } } },
      { n: 2, operation: 'UpdateItem', status: 200, deliveries: [{ status: 200 }] },
      { n: 3, operation: 'GetItem', status: 200, body: { ConsistentRead: true } },
    ]);
    expect(Math.abs((proxy.requests[0]?.at ?? 0) - Date.now())).toBeLessThan(60_000);
  });

  test("the server's refusals pass unchanged", async () => {
    const refused = new UpdateItemCommand({ ...increment().input, ConditionExpression: 'attribute_exists(lockKey)' });

    expect(await failure(client.send(refused))).toBe('ConditionalCheckFailedException');
    expect(proxy.requests).toMatchObject([{ status: 400 }]);
  });

  test('60 simultaneous requests get their own answers, and cause no warning', async () => {
    const warnings: Error[] = [];
    const collect = (warning: Error) => void warnings.push(warning);
    process.on('warning', collect);
    const keys = Array.from({ length: 60 }, (_, n) => `job-${n}`);
    const answers = await Promise.all(keys.map((key) => client.send(increment(key))));
    await sleep(0);
    process.off('warning', collect);

    expect(answers.map(({ Attributes }) => Attributes?.lockKey?.S)).toEqual(keys);
    expect(warnings).toEqual([]);
  });

  test('a request waits for a frozen server until reset(), and a stopped server breaks the connection to the client', async () => {
    const own = await startDynamoDB();
    await using toOwn = await startFaultProxy({ upstream: own.endpoint });
    const viaOwn = dynamodb.client({ endpoint: toOwn.endpoint, maxAttempts: 1 });
    own.suspend();
    const waiting = viaOwn.send(new ListTablesCommand());
    expect(await Promise.race([waiting, sleep(100, 'waiting')])).toBe('waiting');
    own.resume();
    expect((await waiting).TableNames).toEqual([]);

    own.suspend();
    const cutOff = failure(viaOwn.send(new ListTablesCommand()));
    while (toOwn.count() < 2) await sleep(5);
    toOwn.reset();
    expect(await cutOff).not.toBe('no failure');
    own.resume();

    await own.stop();
    await expect(viaOwn.send(new ListTablesCommand())).rejects.toThrow('socket hang up');
  });
});

describe('faults', () => {
  test('loseAnswer: the server does the request, and the client sends the request again', async () => {
    proxy.plan({ do: 'loseAnswer' });
    const { Attributes } = await retrying.send(increment());

    expect(Attributes?.fencingToken).toEqual({ N: '2' });
    expect(proxy.requests).toMatchObject([
      { fault: 'loseAnswer', status: undefined, deliveries: [{ status: 200 }] },
      { fault: undefined, status: 200, deliveries: [{ status: 200 }] },
    ]);
  });

  test('loseRequest: the server does not get the request, and the client sends the request again', async () => {
    proxy.plan({ do: 'loseRequest' });
    const { Attributes } = await retrying.send(increment());

    expect(Attributes?.fencingToken).toEqual({ N: '1' });
    expect(proxy.requests).toMatchObject([{ status: undefined, deliveries: [] }, { status: 200 }]);
  });

  test.each(['loseAnswer', 'loseRequest'] as const)(
    '%s: a client that does not resend gets a broken connection',
    async (loss) => {
      proxy.plan({ do: loss });

      await expect(client.send(increment())).rejects.toThrow('socket hang up');
      expect(await counted()).toBe(loss === 'loseAnswer' ? 1 : 0);
    },
  );

  test('delayAnswer: the server does the request at once, and the client waits', async () => {
    proxy.plan({ do: 'delayAnswer', ms: 300 });
    let answered = false;
    const sent = client.send(increment()).then(() => {
      answered = true;
    });
    while (!proxy.requests[0]?.deliveries.length) await sleep(5);

    expect(await counted()).toBe(1);
    expect(answered).toBe(false);
    await sent;
    expect(proxy.requests[0]?.status).toBe(200);
  });

  test('delayRequest: the server gets the request late, even if the client has given up', async () => {
    proxy.plan({ do: 'delayRequest', ms: 300 });
    const gaveUp = await failure(client.send(increment(), { abortSignal: AbortSignal.timeout(100) }));

    expect(gaveUp).toBe('AbortError');
    expect(await counted()).toBe(0);
    await proxy.idle();
    expect(await counted()).toBe(1);
    expect(proxy.requests).toMatchObject([{ status: undefined, deliveries: [{ status: 200 }] }]);
  });

  test('duplicate: the server does the request twice, and the client gets one answer', async () => {
    proxy.plan({ do: 'duplicate' });
    await client.send(increment());
    await proxy.idle();

    expect(await counted()).toBe(2);
    expect(proxy.count()).toBe(1);
    expect(proxy.requests[0]?.deliveries).toMatchObject([{ status: 200 }, { status: 200 }]);
  });

  test('duplicateLater: the server does the request again after the answer', async () => {
    proxy.plan({ do: 'duplicateLater', ms: 200 });
    const { Attributes } = await client.send(increment());

    expect(Attributes?.fencingToken).toEqual({ N: '1' });
    expect(await counted()).toBe(1);
    await proxy.idle();
    expect(await counted()).toBe(2);
  });

  test('hang: no answer comes, and other requests pass', async () => {
    proxy.plan({ do: 'hang', operation: 'UpdateItem' });
    const hanging = failure(client.send(increment()));
    await client.send(read());
    await proxy.idle();

    expect(await Promise.race([hanging, sleep(100, 'hanging')])).toBe('hanging');
    expect(proxy.requests[0]).toMatchObject({ fault: 'hang', status: undefined, deliveries: [] });
    await proxy.stop();
    expect(await hanging).not.toBe('no failure');
  });

  test.each([
    [{ do: 'status', status: 500 }, 'InternalServerError', 500],
    [{ do: 'status', status: 503 }, 'ServiceUnavailable', 503],
    [{ do: 'status', status: 400, type: 'AccessDeniedException', message: 'no' }, 'AccessDeniedException', 400],
    [{ do: 'throttle' }, 'ProvisionedThroughputExceededException', 400],
    [{ do: 'throttle', type: 'ThrottlingException' }, 'ThrottlingException', 400],
    [{ do: 'transactionConflict' }, 'TransactionConflictException', 400],
  ] as const)(
    "%j: the client gets DynamoDB's error, and the server does not get the request",
    async (fault, name, httpStatusCode) => {
      proxy.plan(fault);

      await expect(client.send(increment())).rejects.toMatchObject({ name, $metadata: { httpStatusCode } });
      expect(proxy.requests).toMatchObject([{ status: httpStatusCode, deliveries: [] }]);
      expect(await counted()).toBe(0);
    },
  );

  test('the SDK sends a request again after a 5xx and a throttle, and not after a transaction conflict', async () => {
    proxy.plan({ do: 'status', status: 500 }, { do: 'status', status: 503 });
    await retrying.send(increment());
    expect(proxy.count()).toBe(3);

    proxy.reset();
    proxy.plan({ do: 'throttle' });
    await retrying.send(increment());
    expect(proxy.count()).toBe(2);

    proxy.reset();
    proxy.plan({ do: 'transactionConflict' });
    expect(await failure(retrying.send(increment()))).toBe('TransactionConflictException');
    expect(proxy.count()).toBe(1);
  });

  test('setDate: the Date of answers and errors is off until setDate(undefined)', async () => {
    const offset = async () => {
      const answer = await fetch(proxy.endpoint, { method: 'POST', body: '{}' });
      return Date.parse(answer.headers.get('date') ?? '') - Date.now();
    };
    expect(Math.abs(await offset())).toBeLessThan(5_000);
    proxy.setDate(-3_600_000);
    expect(Math.abs((await offset()) + 3_600_000)).toBeLessThan(5_000);
    proxy.plan({ do: 'throttle' });
    expect(Math.abs((await offset()) + 3_600_000)).toBeLessThan(5_000);
    proxy.setDate(undefined);
    expect(Math.abs(await offset())).toBeLessThan(5_000);
  });
});

describe('plans', () => {
  test('choose requests by operation, body and number, and the first rule that fits applies', async () => {
    proxy.plan(
      { do: 'throttle', operation: 'GetItem' },
      { do: 'transactionConflict', when: (body) => body.Key.lockKey.S === 'b', after: 1, times: 2 },
      { do: 'status', status: 500, when: (body) => body.Key.lockKey.S === 'c', times: Number.POSITIVE_INFINITY },
    );
    const failures: string[] = [];
    for (const key of ['a', 'b', 'b', 'b', 'b', 'c', 'c', 'c'])
      failures.push(await failure(client.send(increment(key))));

    expect(failures).toEqual([
      'no failure',
      'no failure',
      'TransactionConflictException',
      'TransactionConflictException',
      'no failure',
      'InternalServerError',
      'InternalServerError',
      'InternalServerError',
    ]);
    expect(await failure(client.send(read('a')))).toBe('ProvisionedThroughputExceededException');
    expect(await failure(client.send(read('a')))).toBe('no failure');
  });

  test('are forgotten by reset(), with the log and the clock, and the waiting connections break', async () => {
    proxy.plan({ do: 'hang' }, { do: 'delayRequest', ms: 60_000 }, { do: 'throttle' });
    proxy.setDate(1_000_000);
    const waiting = [failure(client.send(increment())), failure(client.send(increment()))];
    while (proxy.count() < 2) await sleep(5);
    proxy.reset();
    for (const broken of await Promise.all(waiting)) expect(broken).not.toBe('no failure');
    await proxy.idle();

    expect(proxy.requests).toEqual([]);
    await client.send(increment());
    expect(await counted()).toBe(1);
    expect(proxy.count()).toBe(1);
  });

  test('keep no process alive after stop(), even with waiting requests', async () => {
    const module = new URL('./fault-proxy.ts', import.meta.url);
    const child = spawn(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        `const { startFaultProxy } = await import('${module}');
         const proxy = await startFaultProxy({ upstream: '${dynamodb.endpoint}' });
         proxy.plan(
           { do: 'hang' },
           { do: 'delayRequest', ms: 60_000 },
           { do: 'delayAnswer', ms: 60_000 },
           { do: 'duplicateLater', ms: 60_000 },
         );
         const sent = [1, 2, 3, 4].map(() => fetch(proxy.endpoint, { method: 'POST', body: '{}' }));
         while (proxy.requests.flatMap(({ deliveries }) => deliveries).length < 2) await new Promise(setImmediate);
         await proxy.stop();
         const outcomes = await Promise.allSettled(sent);
         console.log(outcomes.map(({ status }) => status).join());`,
      ],
      { env: { ...process.env, NODE_OPTIONS: '' }, stdio: ['ignore', 'pipe', 'inherit'], timeout: 15_000 },
    );
    const [[line], [code]] = await Promise.all([once(child.stdout, 'data'), once(child, 'exit')]);

    expect(String(line).split('rejected').length - 1).toBeGreaterThanOrEqual(3);
    expect(code).toBe(0);
  }, 20_000);
});
