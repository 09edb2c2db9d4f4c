import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { DescribeTimeToLiveCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, expect } from '@jest/globals';
import { Deployment } from '../../demo/local/deployment.ts';
import type { Lambda } from '../../demo/local/lambda.ts';
import { execute } from '../../demo/local/state-machine.ts';
import type { Closing } from '../../lambda/steps/closing.ts';
import { tasks } from '../../lambda/tasks.ts';
import { DynamoDBLockStore } from '../../lib/dynamodb.ts';
import { LockClient } from '../../lib/index.ts';
import { describe, test } from '../support/with-dynamodb.ts';

let deployment: Deployment;
beforeAll(async () => {
  deployment = await Deployment.make();
}, 60_000);
afterAll(() => deployment?.remove());

/** Makes tokens that no test has used before: `once` tokens must grow, and the tests share a table. */
let nights = 0;
const night = () => new Date(Date.UTC(2026, 0, ++nights, 3)).toISOString().replace('.000', '');
const month = () => new Date(Date.UTC(2026, ++nights)).toISOString().slice(0, 7);

test('the deployed table has its TTL on', async () => {
  const { dynamodb, tableName } = deployment;
  const answer = await dynamodb.client().send(new DescribeTimeToLiveCommand({ TableName: tableName }));
  expect(answer.TimeToLiveDescription).toEqual({ AttributeName: 'ttl', TimeToLiveStatus: 'ENABLED' });
});

test('a deployed bundle is an ES module and its source map, and nothing else', () => {
  const functions = deployment.all('AWS::Lambda::Function');
  expect(functions).toHaveLength(6);
  for (const [id] of functions) {
    expect(readdirSync(deployment.bundle(deployment.function(id)[1])).sort()).toEqual(['index.mjs', 'index.mjs.map']);
  }
});

describe('the nightly job, deployed', () => {
  test('the nightly job runs once when both schedules fire at the same time, and again the next night', async () => {
    const [first, second] = await deployment.start('Nightly', 2);
    const tonight = { time: night() };
    const answers = await Promise.all([first.invoke(tonight), second.invoke(tonight)]);
    expect(answers.map(({ outcome }) => outcome).sort()).toEqual(['busy', 'done']);

    const late = await second.invoke(tonight);
    expect(late).toEqual({ outcome: 'already done', doneToken: tonight.time });

    const done = answers.find(({ outcome }) => outcome === 'done');
    const next = await first.invoke({ time: night() });
    expect(next.outcome).toBe('done');
    expect(next.fencingToken).toBeGreaterThan(done?.fencingToken as number);

    const published = [...first.printed('_aws'), ...second.printed('_aws')];
    const sum = (name: string) => published.reduce((total, line) => total + Number(line[name] ?? 0), 0);
    expect({ Acquired: sum('Acquired'), Busy: sum('Busy'), Done: sum('Done'), Lost: sum('Lost') }).toEqual({
      Acquired: 2,
      Busy: 1,
      Done: 1,
      Lost: 0,
    });
    expect(new Set(published.map(({ table }) => table))).toEqual(new Set([deployment.tableName]));
    expect(new Set(published.map((line) => line.function))).toEqual(new Set([deployment.function('Nightly')[0]]));
  }, 20_000);
});

describe('the queue consumer, deployed', () => {
  const message = (messageId: string, body: object) => ({ Records: [{ messageId, body: JSON.stringify(body) }] });

  test('the queue consumer works on one message of an account at a time, and on different accounts at once', async () => {
    const [first, second] = await deployment.start('QueueConsumer', 2);
    const sameAccount = await Promise.all([
      first.invoke(message('m-1', { account: 'a' })),
      second.invoke(message('m-2', { account: 'a' })),
    ]);
    expect(sameAccount.flatMap(({ batchItemFailures }) => batchItemFailures)).toHaveLength(1);

    const otherAccounts = await Promise.all([
      first.invoke(message('m-3', { account: 'a' })),
      second.invoke(message('m-4', { account: 'b' })),
    ]);
    expect(otherAccounts).toEqual([{ batchItemFailures: [] }, { batchItemFailures: [] }]);
  }, 20_000);

  test('the queue consumer gives an unreadable message back, and logs the line in the source', async () => {
    const [consumer] = await deployment.start('QueueConsumer', 1);
    expect(await consumer.invoke(message('m-5', {}))).toEqual({ batchItemFailures: [{ itemIdentifier: 'm-5' }] });
    expect(consumer.log).toMatch(/A message must name its account, but it is \{\}.*lambda\/queue\.ts:\d+/s);
  }, 20_000);
});

describe('the fleet, deployed', () => {
  /** Starts the workers as the schedule's state machine does when the schedule fires for that time. */
  async function fire(workers: readonly Lambda[], time: string) {
    const { Target } = deployment.only('AWS::Scheduler::Schedule', 'FleetStarter')[1];
    const input = (Target as { Input: string }).Input.replace('<aws.scheduler.scheduled-time>', time);
    const running: Promise<Record<string, unknown>>[] = [];
    await execute(deployment.definition('FleetStarter'), JSON.parse(input), async (functionId, shift) => {
      expect(functionId).toBe(deployment.function('FleetWorker')[0]);
      running.push((workers[running.length] as Lambda).invoke(shift));
    });
    expect(running).toHaveLength(3);
    return running;
  }
  /** The names of the tasks that ran for that time, one for each run. */
  const ranFor = (workers: readonly Lambda[], time: string) =>
    workers
      .flatMap((worker) => worker.printed('task'))
      .flatMap((line) => (line.time === time ? [String(line.task)] : []));
  const sum = (reports: readonly Record<string, unknown>[], count: string) =>
    reports.reduce((total, report) => total + Number(report[count]), 0);
  /** Gives the lease of some task to another holder, who lets the lease expire at once. Returns the task's name. */
  async function steal(): Promise<string> {
    const { dynamodb, tableName: TableName } = deployment;
    const client = dynamodb.client();
    const locks = new LockClient({ store: new DynamoDBLockStore({ client, tableName: TableName }) });
    for (;;) {
      for await (const { key, held, lockId = '' } of locks.list({ prefix: 'fleet/' })) {
        if (!held || !everyTask.includes(key.replace('fleet/', ''))) continue;
        const theft = new UpdateItemCommand({
          TableName,
          Key: { lockKey: { S: key } },
          ConditionExpression: 'lockId = :seen',
          UpdateExpression: 'SET lockId = :other, expiresAt = :now',
          ExpressionAttributeValues: {
            ':seen': { S: lockId },
            ':other': { S: 'other' },
            ':now': { N: String(Date.now()) },
          },
        });
        const isStolen = await client.send(theft).then(
          () => true,
          () => false,
        );
        if (isStolen) return key.replace('fleet/', '');
      }
    }
  }
  const everyTask = tasks.map(({ name }) => name).sort();

  test('the workers of the fleet start at the same time, share the tasks, and do each once', async () => {
    const workers = await deployment.start('FleetWorker', 3);
    const time = night();
    const reports = await Promise.all(await fire(workers, time));
    expect(ranFor(workers, time).sort()).toEqual(everyTask);
    expect(sum(reports, 'done')).toBe(tasks.length);
    expect(reports.filter(({ done }) => Number(done) > 0).length).toBeGreaterThan(1);
    for (const [number, worker] of workers.entries()) {
      for (const line of worker.printed('task')) expect(line.worker).toBe(number);
    }

    expect(await Promise.all(await fire(workers, time))).toEqual(
      workers.map(() => ({ done: 0, alreadyDone: tasks.length, busy: 0, notReached: 0 })),
    );
  }, 20_000);

  test('the fleet does each task once when the schedule fires a second time in the middle of a run', async () => {
    const [one, two, three, ...second] = await deployment.start('FleetWorker', 6);
    const first = [one, two, three];
    const time = night();
    const running = await fire(first, time);
    await Promise.race(first.map((worker) => worker.hasPrinted('task')));
    expect(ranFor(first, time).length).toBeLessThan(tasks.length / 2);

    const reports = await Promise.all([...(await fire(second, time)), ...running]);
    expect(ranFor([...first, ...second], time).sort()).toEqual(everyTask);
    expect(sum(reports, 'done')).toBe(tasks.length);
    expect(sum(reports, 'busy') + sum(reports, 'notReached')).toBe(0);
  }, 20_000);

  test('a worker of the fleet whose task failed fails, so that its event goes to the dead-letter queue, and does the other tasks', async () => {
    const workers = await deployment.start('FleetWorker', 3);
    const time = night();
    const running = Promise.allSettled(await fire(workers, time));
    const stolen = await steal();
    const failed = (await running).filter(({ status }) => status === 'rejected');
    expect(failed).toMatchObject([
      { reason: { message: expect.stringContaining(`Error: Failed: ${stolen}. Not reached: 0.`) } },
    ]);
    expect(workers.map(({ log }) => log).join('')).toContain('LockLostError');
    expect(new Set(ranFor(workers, time))).toEqual(new Set(everyTask));
  }, 20_000);
});

describe('the state machine, deployed', () => {
  /** Starts processes of the functions, and gives a way to run the state machine on them. */
  async function machine() {
    const definition = deployment.definition('Closing');
    const steps = new Map<string, Lambda>();
    for (const id of ['ClosingBegin', 'ClosingContinue', 'ClosingFinish']) {
      const [lambda] = await deployment.start(id, 1);
      steps.set(deployment.function(id)[0], lambda);
    }
    const named = (id: string) => steps.get(deployment.function(id)[0]) as Lambda;
    const run = (input: unknown, after = async (_functionId: string, _output: unknown) => {}) =>
      execute(definition, input, async (functionId, stepInput) => {
        const output = await steps.get(functionId)?.invoke(stepInput);
        await after(functionId, output);
        return output;
      });
    return { run, begin: named('ClosingBegin'), continues: named('ClosingContinue'), finish: named('ClosingFinish') };
  }

  test('the state machine holds one lock over all steps: other executions step over, and the month is closed once', async () => {
    const { run, begin, continues, finish } = await machine();
    const order = { month: month(), accounts: ['north', 'south', 'west'] };
    const met: unknown[] = [];
    const handles: string[] = [];
    const outcome = await run(order, async (_, output) => {
      const { handle } = output as Closing;
      if (!handle) return;
      handles.push(handle.lockId);
      met.push(await run(order));
    });
    expect(outcome).toEqual({ outcome: 'done', month: order.month, fencingToken: expect.any(Number) });
    expect(met).toEqual(Array(4).fill({ outcome: 'busy' }));
    expect(await run(order)).toEqual({ outcome: 'already done' });

    const closed = continues.printed('closed');
    expect(closed.map((line) => line.closed)).toEqual(order.accounts);
    const tokens = [...closed, outcome as { fencingToken: number }].map(({ fencingToken }) => Number(fencingToken));
    expect(tokens).toEqual([...new Set(tokens)].sort((a, b) => a - b));

    expect(new Set(handles).size).toBe(4);
    const logs = [begin, continues, finish].map(({ log }) => log).join('');
    expect(handles.filter((lockId) => logs.includes(lockId))).toEqual([]);
  }, 20_000);

  test('the state machine opens its lock at once when a step fails', async () => {
    const { run } = await machine();
    const order = { month: month(), accounts: ['north', '', 'west'] };
    await expect(run(order)).rejects.toThrow('TypeError: An account must have a name, but it is "".');
    expect(await run({ ...order, accounts: ['south'] })).toMatchObject({ outcome: 'done' });
  }, 20_000);

  test('the state machine opens its lock when the lease expires if a step dies', async () => {
    const { run, begin, continues } = await machine();
    const order = { month: month(), accounts: ['north'] };
    const running = run(order);
    const died = expect(running).rejects.toThrow('SIGKILL');
    await continues.hasPrinted('Acquired');
    await continues.kill();
    await died;

    expect(await run({ ...order, accounts: [] })).toEqual({ outcome: 'busy' });
    let outcome: unknown;
    do {
      await sleep(200);
      outcome = await run({ ...order, accounts: [] });
    } while ((outcome as { outcome: string }).outcome === 'busy');
    expect(outcome).toMatchObject({ outcome: 'done' });
    expect(begin.printed('Takeover').filter(({ Takeover }) => Takeover === 1)).toHaveLength(1);
  }, 20_000);

  test('the state machine refuses the second of two deliveries of one step', async () => {
    const [begin] = await deployment.start('ClosingBegin', 1);
    const [one, two] = await deployment.start('ClosingContinue', 2);
    const [finish] = await deployment.start('ClosingFinish', 1);
    const closing = await begin.invoke({ month: month(), accounts: ['north'] });
    const deliveries = await Promise.allSettled([one.invoke(closing), two.invoke(closing)]);
    const passed = deliveries.flatMap((delivery) => (delivery.status === 'fulfilled' ? [delivery.value] : []));
    expect(passed).toHaveLength(1);
    expect(deliveries.find(({ status }) => status === 'rejected')).toMatchObject({
      reason: { message: expect.stringContaining('LockLostError') },
    });
    expect(await finish.invoke(passed[0])).toMatchObject({ outcome: 'done' });
  }, 20_000);

  test.each([
    ['a month that is none', { month: 'January', accounts: [] }, 'month must look like 2026-01, but it is "January".'],
    ['no accounts', { month: '2026-01' }, 'accounts must be an array, but it is undefined.'],
  ])(
    'the first step refuses %s, and shows the value',
    async (_, order, message) => {
      const [begin] = await deployment.start('ClosingBegin', 1);
      await expect(begin.invoke(order)).rejects.toThrow(message);
    },
    20_000,
  );
});
