import { afterAll, beforeAll, beforeEach, expect } from '@jest/globals';
import middy from '@middy/core';
import { DynamoDBLockStore } from '../../lib/dynamodb.ts';
import { type Lease, LockClient } from '../../lib/index.ts';
import { type LockRecordsOptions, lockPlugin, lockRecords, type QueueRecord } from '../../middleware/index.ts';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { type DynamoDB, describe, startDynamoDB, test } from '../support/with-dynamodb.ts';
import { batch, failed, fifo, gate, ids, invocation, message } from './setup.ts';

// The clock is disciplined, as on Lambda, so that no read judges it.
process.env.AWS_LAMBDA_FUNCTION_NAME = 'consumer';

describe('lockRecords() on DynamoDB', () => {
  let dynamodb: DynamoDB;
  let proxy: FaultProxy;
  let tableName: string;
  let others: LockClient;
  beforeAll(async () => {
    dynamodb = await startDynamoDB();
    proxy = await startFaultProxy({ upstream: dynamodb.endpoint });
  });
  afterAll(async () => {
    await proxy.stop();
    await dynamodb.stop();
  });
  beforeEach(async () => {
    proxy.reset();
    tableName = await dynamodb.createLockTable();
    others = new LockClient({ store: new DynamoDBLockStore({ tableName, client: dynamodb.client() }) });
  });

  const once = ({ attributes }: QueueRecord) => attributes.SequenceNumber;
  /** A consumer whose requests go through the proxy. */
  const consumer = (
    work: (record: QueueRecord, lease: Lease) => unknown,
    { client = dynamodb.client({ endpoint: proxy.endpoint }), ...options }: Partial<LockRecordsOptions> = {},
  ) => {
    const handler = middy<{ Records: QueueRecord[] }>(lockPlugin())
      .use(lockRecords({ key: ({ body }) => body, tableName, client, onFailed() {}, ...options }))
      .handler(({ Records }, { locks }) =>
        Promise.allSettled(Records.map((record) => locks.using(record, async (lease) => work(record, lease)))),
      );
    return (...records: QueueRecord[]) => handler(batch(...records), invocation() as never);
  };

  test('for 10 records with 10 keys, 10 requests are in flight at once, so that the leases are taken in one round trip', async () => {
    const client = dynamodb.client({ endpoint: proxy.endpoint });
    const allSent = gate();
    let inFlight = 0;
    // The proxy sends no request on before all 10 have come: a request that waited for another's answer would never come.
    client.middlewareStack.add(
      (next) => async (request) => {
        if (++inFlight === 10) allSent.open();
        await allSent.opened;
        return next(request);
      },
      { step: 'finalizeRequest', priority: 'low' },
    );
    const worked: string[] = [];
    const records = Array.from({ length: 10 }, (_, index) => message(`${index}`, `account-${index}`));
    const response = await consumer(({ messageId }) => worked.push(messageId), { client })(...records);
    expect(failed(response)).toEqual([]);
    expect(worked).toEqual(ids(batch(...records)));
    // One write takes each lease, and one releases it.
    expect([inFlight, proxy.requests.length]).toEqual([20, 20]);
  });

  test('of two consumers at once, neither works on an account of the other, and records of a held account come back', async () => {
    const working = gate();
    const active = new Set<string>();
    const work = async ({ body }: QueueRecord) => {
      expect(active.has(body)).toBe(false);
      active.add(body);
      await working.opened;
      active.delete(body);
    };
    const first = consumer(work)(fifo('1', 'a'), fifo('2', 'b'));
    while (active.size < 2) await new Promise(setImmediate);
    const second = consumer(work)(fifo('3', 'c'), fifo('4', 'b'), fifo('5', 'c'), fifo('6', 'b'));
    while (active.size < 3) await new Promise(setImmediate);
    working.open();
    expect(failed(await first)).toEqual([]);
    expect(failed(await second)).toEqual(['4', '6']);
  });

  test('the third record of a FIFO batch fails: two are done, and when the batch comes back the handler gets the rest', async () => {
    const worked: string[] = [];
    let broken = true;
    const consume = consumer(
      ({ messageId }) => {
        if (broken && messageId === '3') throw new Error('Disk full.');
        worked.push(messageId);
      },
      { once },
    );
    const records = ['1', '2', '3', '4'].map((sequence) => fifo(sequence, 'a'));
    expect(failed(await consume(...records))).toEqual(['3', '4']);
    expect(await others.inspect('a')).toMatchObject({ held: false, doneToken: '2' });
    // The queue may give the whole batch once more, and does.
    broken = false;
    expect(failed(await consume(...records))).toEqual([]);
    expect(worked).toEqual(['1', '2', '3', '4']);
    expect(await others.inspect('a')).toMatchObject({ held: false, doneToken: '4' });
  });

  test('the store refuses one key: its record goes back, and the others are worked on', async () => {
    const validation = { do: 'status', status: 400, type: 'ValidationException' } as const;
    proxy.plan({ ...validation, operation: 'UpdateItem', when: ({ Key }) => Key.lockKey.S === 'b', times: Infinity });
    const worked: string[] = [];
    const response = await consumer(({ messageId }) => worked.push(messageId))(message('1', 'a'), message('2', 'b'));
    expect([worked, failed(response)]).toEqual([['1'], ['2']]);
    expect(await others.inspect('a')).toMatchObject({ held: false });
  });
});
