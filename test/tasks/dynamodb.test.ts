// On a real server, with a process that is killed by SIGKILL.
import { fork } from 'node:child_process';
import { once as event } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type AttributeValue, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, beforeEach, expect, jest } from '@jest/globals';
import { DynamoDBLockStore } from '../../lib/dynamodb.ts';
import { LockClient } from '../../lib/index.ts';
import { type RunTasksOptions, runTasks } from '../../lib/tasks/index.ts';
import { type DynamoDB, describe, startDynamoDB, test } from '../support/with-dynamodb.ts';
import { names, ONCE } from './world.ts';

// Room for a busy machine.
jest.setTimeout(60_000);

let dynamodb: DynamoDB;
let tableName: string;
beforeAll(async () => {
  dynamodb = await startDynamoDB();
});
afterAll(() => dynamodb.stop());
beforeEach(async () => {
  tableName = await dynamodb.createLockTable();
});

const options = (more: Partial<RunTasksOptions<string>> = {}): RunTasksOptions<string> => ({
  locks: new LockClient({ store: new DynamoDBLockStore({ tableName, client: dynamodb.client() }) }),
  key: (task) => task,
  once: ONCE,
  ...more,
});

describe('on DynamoDB', () => {
  test('ten workers do each task once, and a second run steps over all of it', async () => {
    const tasks = names(300);
    const ran: string[] = [];
    const fleet = () =>
      Promise.all(
        Array.from({ length: 10 }, (_, number) =>
          runTasks(tasks, options({ worker: { number, of: 10 }, concurrency: 2 }), (task) => ran.push(task)),
        ),
      );
    const first = await fleet();
    expect(ran.toSorted()).toEqual(tasks);
    expect(first.reduce((sum, { done }) => sum + done, 0)).toBe(300);
    const second = await fleet();
    expect(second.map(({ alreadyDone }) => alreadyDone)).toEqual(Array(10).fill(300));
    expect(ran).toHaveLength(300);
  });

  test.each([
    ['data', { S: 'no JSON' }, { done: 40, failed: [] }],
    ['doneToken', { N: '0' }, { done: 39, failed: [{ key: 'task/000007' }] }],
    ['fencingToken', { N: '1e20' }, { done: 39, failed: [{ key: 'task/000007' }] }],
    ['expiresAt', { N: '1e20' }, { done: 39, failed: [{ key: 'task/000007' }] }],
    ['expiresAt', { S: 'never' }, { done: 39, failed: [{ key: 'task/000007' }] }],
  ] as [string, AttributeValue, object][])(
    'a task whose record has %s of %j disturbs no other task',
    async (name, value, report) => {
      const { locks } = options();
      await (await locks.acquire('task/000007')).release();
      await dynamodb.client().send(
        new UpdateItemCommand({
          TableName: tableName,
          Key: { lockKey: { S: 'task/000007' } },
          UpdateExpression: 'SET #name = :value',
          ExpressionAttributeNames: { '#name': name },
          ExpressionAttributeValues: { ':value': value },
        }),
      );
      expect(await runTasks(names(40), options(), () => {})).toMatchObject({ ...report, busy: 0, notReached: 0 });
    },
  );

  test('a worker that is killed in mid-task delays that task alone, by its lease at the most', async () => {
    const leaseMs = 3_000;
    const tasks = names(40);
    const killed = 'task/000022';
    const worker = fork(join(import.meta.dirname, 'killed-worker.ts'), [tableName, `${leaseMs}`, ONCE, killed], {
      env: { ...process.env, ...dynamodb.environment, NODE_OPTIONS: '' },
    });
    await event(worker, 'message');
    worker.kill('SIGKILL');
    await event(worker, 'exit');
    const killedAt = performance.now();
    const startedAt = new Map<string, number>();
    const takenOver: unknown[] = [];
    await Promise.all(
      [0, 1].map((number) =>
        runTasks(tasks, options({ worker: { number, of: 2 }, leaseMs }), async (task, lease) => {
          startedAt.set(task, performance.now() - killedAt);
          if (lease.takenOverFrom) takenOver.push([task, lease.takenOverFrom.owner]);
          await sleep(2);
        }),
      ),
    );
    expect(startedAt.size).toBe(40);
    expect(takenOver).toEqual([[killed, 'the killed worker']]);
    const order = [...startedAt.keys()];
    expect(order.at(-1)).toBe(killed);
    // Room for a busy machine.
    expect(startedAt.get(killed)).toBeLessThan(leaseMs + 1_000);
  });

  test('a missing table ends the run, and the error names the table', async () => {
    const missing = options({
      locks: new LockClient({
        store: new DynamoDBLockStore({ tableName: 'no-such-table', client: dynamodb.client() }),
      }),
    });
    await expect(runTasks(names(3), missing, () => {})).rejects.toThrow("there is no table 'no-such-table'");
  });
});
