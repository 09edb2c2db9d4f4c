import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GetItemCommand, TransactWriteItemsCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { DynamoDBLockStore } from '../../lib/dynamodb.ts';
import { LockClient } from '../../lib/index.ts';
import { systemClock } from '../../lib/lease/clock.ts';
import { type Entry, HistoryWriter, readHistory } from '../chaos/history.ts';
import { planOf } from '../chaos/nemesis.ts';
import { Recorder } from '../chaos/recorder.ts';
import { type DynamoDB, describe as describeWithDynamoDB, startDynamoDB } from '../support/with-dynamodb.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'leasehold-history-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe('a history', () => {
  test('has the lines of all processes, in the order of the reference clock', () => {
    const wrong = { now: () => 0, monotonic: () => 0 };
    new HistoryWriter(folder, '1.1', systemClock).write({ type: 'task', task: 'second', key: 'k' }, 20);
    new HistoryWriter(folder, '2.1', wrong).write({ type: 'task', task: 'first', key: 'k' }, 10);
    expect(readHistory(folder)).toEqual([
      { by: '2.1', at: 10, wall: 0, monotonic: 0, type: 'task', task: 'first', key: 'k' },
      expect.objectContaining({ by: '1.1', at: 20, task: 'second' }),
    ]);
  });

  test('leaves out a half line of a writer that was killed', () => {
    new HistoryWriter(folder, '1.1', systemClock).write({ type: 'calm' });
    writeFileSync(join(folder, '1.1.jsonl'), '{"by":"1.1","at":', { flag: 'a' });
    expect(readHistory(folder)).toHaveLength(1);
  });
});

describe('the plan of the nemesis', () => {
  const KINDS = ['cut', 'fault', 'freeze', 'freezeServer', 'kill', 'killServer', 'outage', 'shift'] as const;
  const clocks = { shifted: [6, 7], standingStill: [4, 5], farOff: false };

  test('has no kind of blow that the place of the locks does not take', () => {
    const plan = planOf(7, 60, 8, clocks, ['kill', 'shift']);
    expect(new Set(plan.map((blow) => blow.do))).toEqual(new Set(['kill', 'shift']));
  });

  test('is the same for the same seed, and differs for another seed', () => {
    expect(planOf(7, 60, 8, clocks, KINDS)).toEqual(planOf(7, 60, 8, clocks, KINDS));
    expect(planOf(7, 60, 8, clocks, KINDS)).not.toEqual(planOf(8, 60, 8, clocks, KINDS));
  });

  test('has every kind of blow, within the time, on existing processes, and sets only the clocks that may be set', () => {
    const plan = planOf(7, 60, 8, clocks, KINDS);
    const kinds = new Set(plan.map((blow) => blow.do));
    expect([...kinds].sort()).toEqual([...KINDS].sort());
    expect(plan.every(({ at, process }) => at >= 0 && at <= 60_000 && process >= 1 && process <= 8)).toBe(true);
    const shifted = plan.filter((blow) => blow.do === 'shift').map(({ process }) => process);
    expect(new Set(shifted)).toEqual(new Set([6, 7]));
    const faults = plan.flatMap((blow) => (blow.do === 'fault' ? [blow.fault.do] : []));
    expect(new Set(faults).size).toBe(10);
  });
});

describeWithDynamoDB('the recording proxy', () => {
  let dynamodb: DynamoDB;
  beforeAll(async () => {
    dynamodb = await startDynamoDB();
  });
  afterAll(() => dynamodb.stop());

  let recorder: Recorder;
  const recorded = (): Entry[] => readHistory(folder);
  const client = () => dynamodb.client({ endpoint: recorder.endpoint });
  beforeEach(async () => {
    recorder = new Recorder(dynamodb.endpoint, new HistoryWriter(folder, 'server', systemClock));
    await recorder.listen();
  });
  afterEach(() => recorder.stop());

  test('writes down each write of a lock, and changes no answer for the client', async () => {
    const tableName = await dynamodb.createLockTable();
    const store = new DynamoDBLockStore({ tableName, client: client() });
    const lease = await new LockClient({ store, owner: '1.1' }).acquire('k1');
    const { lockId, fencingToken } = lease;
    expect(await new LockClient({ store, owner: '1.2' }).tryAcquire('k1')).toBeNull();
    await lease.renew();
    expect(await lease.release()).toBe(true);
    const held = expect.objectContaining({ lockId, fencingToken });
    expect(recorded()).toMatchObject([
      {
        type: 'served',
        what: 'acquire',
        key: 'k1',
        lockId,
        owner: '1.1',
        leaseMs: 30_000,
        applied: true,
        record: held,
      },
      { type: 'served', what: 'acquire', key: 'k1', applied: false, record: held },
      { type: 'served', what: 'renew', lockId, applied: true, record: held },
      { type: 'served', what: 'release', lockId, applied: true, record: { fencingToken, releasedBy: lockId } },
    ]);
    expect(recorded().at(-1)).not.toHaveProperty('record.lockId');
  });

  test('writes down the once token of a grant, the resume, and the doneToken of the release', async () => {
    const tableName = await dynamodb.createLockTable();
    const locks = new LockClient({ store: new DynamoDBLockStore({ tableName, client: client() }), owner: '1.1' });
    const handle = await (await locks.acquire('k1', { once: '7' })).handOff({ leaseMs: 1_000 });
    const resumed = await locks.resume(handle);
    const { lockId } = resumed;
    expect(await resumed.release({ done: true })).toBe(true);
    expect(recorded()).toMatchObject([
      { what: 'acquire', lockId: handle.lockId, once: '7' },
      { what: 'renew', lockId: handle.lockId },
      { what: 'resume', lockId, handed: handle.lockId, owner: '1.1', record: { lockId } },
      { what: 'release', lockId, record: { releasedBy: lockId, doneToken: '7' } },
    ]);
  });

  test('tells a guarded write that was applied from a repeated guarded write that was only answered', async () => {
    const TableName = await dynamodb.createLockTable(undefined, { keyAttribute: 'name' });
    const Key = { name: { S: 'guarded/k1' } };
    const write = (value: number, id: string) => {
      const ExpressionAttributeValues = { ':value': { N: String(value) }, ':id': { S: id } };
      const UpdateExpression = 'SET #value = :value, id = :id';
      const Update = { TableName, Key, UpdateExpression, ExpressionAttributeValues };
      const TransactItems = [{ Update: { ...Update, ExpressionAttributeNames: { '#value': 'value' } } }];
      return client().send(new TransactWriteItemsCommand({ ClientRequestToken: id, TransactItems }));
    };
    await write(1, 'a');
    await write(2, 'b');
    await write(1, 'a');
    expect(recorded()).toMatchObject([
      { type: 'counting', counter: 'guarded', key: 'k1', id: 'a', value: 1, applied: true },
      { type: 'counting', counter: 'guarded', key: 'k1', id: 'b', value: 2, applied: true },
      { type: 'counting', counter: 'guarded', key: 'k1', id: 'a', value: 1, applied: false },
    ]);
    const { Item } = await client().send(new GetItemCommand({ TableName, Key }));
    expect(Item).toEqual({ ...Key, value: { N: '2' }, id: { S: 'b' } });
  });

  test('writes down the tokens that a fenced resource accepted and refused', async () => {
    const TableName = await dynamodb.createLockTable(undefined, { keyAttribute: 'name' });
    const write = (token: number) =>
      client().send(
        new UpdateItemCommand({
          TableName,
          Key: { name: { S: 'fence/k1' } },
          UpdateExpression: 'SET fence = :token',
          ConditionExpression: 'attribute_not_exists(fence) OR fence <= :token',
          ExpressionAttributeValues: { ':token': { N: String(token) } },
        }),
      );
    await write(2);
    await expect(write(1)).rejects.toThrow('conditional');
    expect(recorded()).toMatchObject([
      { type: 'fenced', key: 'k1', fencingToken: 2, applied: true },
      { type: 'fenced', key: 'k1', fencingToken: 1, applied: false },
    ]);
  });
});
