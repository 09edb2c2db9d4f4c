import { basename } from 'node:path';
import { withDurableExecution } from '@aws/durable-execution-sdk-js';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import middy7 from '@middy/core';
import sqsPartialBatchFailure from '@middy/sqs-partial-batch-failure';
import { build } from 'esbuild';
import middy6 from 'middy6';
import {
  type Lease,
  LockClient,
  LockError,
  LockLostError,
  type LockStore,
  LockStoreError,
  type LockTokenError,
} from '../../lib/index.ts';
import {
  type BatchResponse,
  type LambdaContext,
  type LockMiddleware,
  type LockRecordsOptions,
  lock,
  lockPlugin,
  lockRecords,
  type QueueRecord,
  type RecordLocks,
  withLock,
  withRecordLocks,
} from '../../middleware/index.ts';
import { outcomeOf } from '../lease/setup.ts';
import { type Batch, batch, failed, fifo, gate, ids, invocation, message, setUp } from './setup.ts';

type Context = LambdaContext & { locks: RecordLocks };
type Handler = (event: Batch, context: Context) => unknown;
type Invoke = (event: unknown, context: LambdaContext) => Promise<BatchResponse>;
/** The part of Middy that the tests use, the same in both versions. */
interface Middy extends Invoke {
  use(middleware: object): Middy;
  before(hook: (request: { event: Batch }) => unknown): Middy;
  after(hook: (request: { event: Batch }) => unknown): Middy;
  onError(hook: (request: { event: Batch; response: unknown }) => unknown): Middy;
  handler(handler: Handler): Middy;
}
type MakeMiddy = (plugin?: object) => Middy;

const versions = [
  { version: 7, middy: middy7 as unknown as MakeMiddy },
  { version: 6, middy: middy6 as unknown as MakeMiddy },
];
const forms = [
  ...versions.map(({ version, middy }) => ({
    form: `lockRecords() and Middy ${version}`,
    lockedBy: (options: LockRecordsOptions, handler: Handler): Invoke =>
      middy(lockPlugin()).use(lockRecords(options)).handler(handler),
  })),
  {
    form: 'withRecordLocks()',
    lockedBy: (options: LockRecordsOptions, handler: Handler) => withRecordLocks(options, handler) as Invoke,
  },
];

const key = ({ body }: { body: string }) => body;
const once = ({ attributes }: QueueRecord) => attributes.SequenceNumber;

let { clock, store, requests, events, locks, others, isHeld } = setUp();
/** The calls of `onFailed`, as 'message id: name of the error'. */
let told: string[] = [];
const onFailed = (error: unknown, { messageId }: QueueRecord) => told.push(`${messageId}: ${(error as Error).name}`);
const unhandled: unknown[] = [];
const noteUnhandled = (reason: unknown) => void unhandled.push(reason);
beforeEach(() => {
  ({ clock, store, requests, events, locks, others, isHeld } = setUp());
  told = [];
  process.on('unhandledRejection', noteUnhandled);
});
afterEach(async () => {
  await new Promise(setImmediate);
  process.off('unhandledRejection', noteUnhandled);
  expect(unhandled.splice(0)).toEqual([]);
  delete process.env.AWS_LAMBDA_MAX_CONCURRENCY;
  jest.restoreAllMocks();
});
const doneToken = async (name: string) => (await others.inspect(name))?.doneToken;
const countOf = (request: string) => requests.filter((name) => name === request).length;

/** A client over the same store, with some of its requests replaced. */
function locksOver(changed: Partial<LockStore>): LockClient {
  const changedStore = new Proxy(store, {
    get: (target, name: keyof LockStore & keyof typeof store) => changed[name] ?? target[name],
  });
  return new LockClient({ store: changedStore, clock });
}

describe.each(forms)('with $form', ({ lockedBy }) => {
  /** Runs a batch through a handler. By default the handler succeeds with all records. */
  const run = async (records: QueueRecord[], options: Partial<LockRecordsOptions> = {}, handler?: Handler) => {
    const seen: string[] = [];
    const handle = lockedBy({ key, locks, onFailed, ...options }, async (event, context) => {
      seen.push(...ids(event));
      return handler?.(event, context);
    });
    const response = await handle(batch(...records), invocation());
    return { seen, failed: failed(response), response };
  };

  describe('an event or record that is no message of SQS', () => {
    test.each([
      [{ Records: [{ messageId: '', body: 'a' }] }, "{ Records: [ { messageId: '', body: 'a' } ] }"],
      [{ Records: [] }, '{ Records: [] }'],
      [{ Records: [undefined] }, '{ Records: [ undefined ] }'],
      [{ detail: 'x'.repeat(400) }, `{ detail: '${'x'.repeat(289)}`],
    ])('the event is refused, and shown: %j', async (event, shown) => {
      const handle = lockedBy({ key, locks }, () => 'never');
      await expect(handle(event, invocation())).rejects.toThrow(
        new TypeError(
          'An event of SQS was expected, { Records: [{ messageId, body, ... }] } with one record or more, but it is ' +
            `${shown}. Lock events of other sources with lock().`,
        ),
      );
    });

    test('a record needs no more than an id and the input of its key', async () => {
      const bare = [
        { messageId: '1', body: 'a' },
        { messageId: '2', body: 'b', eventSourceARN: 'arn:aws:sqs:eu-central-1:123456789012:orders.fifo' },
      ];
      const { seen } = await run(bare as never);
      expect(seen).toEqual(['1', '2']);
    });

    test('locks.using() and locks.of() refuse a record that is not of the batch, and a value that is no record', async () => {
      await run([message('1', 'a')], {}, (_event, { locks }) => {
        for (const [record, shown] of [
          [message('7', 'a'), '7'],
          [undefined, 'undefined'],
        ] as const) {
          expect(() => locks.of(record as never)).toThrow(
            new TypeError(`A record must be one of event.Records as the handler was given them, but it is ${shown}.`),
          );
        }
      });
    });

    test('a token of undefined fails its message, and the error names once', async () => {
      const errors: unknown[] = [];
      const { failed } = await run([message('1', 'a')], {
        once: () => undefined as never,
        onFailed: (error) => errors.push(error),
      });
      expect(failed).toEqual(['1']);
      expect(errors).toEqual([
        new TypeError(
          'once is given, but it is undefined: the value is missing, as with an event that has no time. Leave once out only for work that may run every time.',
        ),
      ]);
    });
  });

  describe('one lease per key', () => {
    test('the handler gets every record with the lease of its key, which the records of one key share', async () => {
      const { response } = await run(
        [message('1', 'a'), message('2', 'b'), message('3', 'a')],
        {},
        async (event, { locks }) => {
          const leases = event.Records.map((record) => locks.of(record));
          expect(leases.map((lease) => [lease.key, lease.isHeld()])).toEqual([
            ['a', true],
            ['b', true],
            ['a', true],
          ]);
          expect(leases[2]).toBe(leases[0]);
          expect([await isHeld('a'), await isHeld('b')]).toEqual([true, true]);
        },
      );
      expect(response).toEqual({ batchItemFailures: [] });
      expect(requests).toEqual(['acquire', 'acquire', 'release', 'release']);
      expect([await isHeld('a'), await isHeld('b')]).toEqual([false, false]);
      expect(clock.timers).toBe(0);
    });

    test('all leases are acquired at once: no acquire waits for the answer of another', async () => {
      const asked = gate();
      let inFlight = 0;
      const locks = locksOver({
        async acquire(request) {
          if (++inFlight === 10) asked.open();
          await asked.opened;
          return store.acquire(request);
        },
      });
      const records = Array.from({ length: 10 }, (_, index) => message(`${index}`, `account-${index}`));
      const { seen } = await run(records, { locks });
      expect(seen).toHaveLength(10);
    });

    test('a large batch sends 45 acquires at a time, and 45 releases, and leaves five slots to renewals', async () => {
      const most = { acquire: 0, release: 0 };
      const counting = (name: 'acquire' | 'release') => {
        let inFlight = 0;
        return async (request: never) => {
          most[name] = Math.max(most[name], ++inFlight);
          await new Promise(setImmediate);
          inFlight--;
          return store[name](request);
        };
      };
      const locks = locksOver({ acquire: counting('acquire'), release: counting('release') });
      const records = Array.from({ length: 230 }, (_, index) => message(`${index}`, `account-${index}`));
      const { seen, failed } = await run(records, { locks });
      expect([seen, failed]).toEqual([ids(batch(...records)), []]);
      expect(most).toEqual({ acquire: 45, release: 45 });
    });

    test('leases are renewed while the handler runs, and capped by the end of the invocation', async () => {
      const handle = lockedBy({ key, locks }, async (event, { locks }) => {
        for (let second = 0; second < 59; second++) await clock.advance(1_000);
        for (const record of event.Records) locks.of(record).assertHeld();
        return locks.of(event.Records[0]!).deadline - clock.now();
      });
      const start = clock.now();
      await handle(batch(message('1', 'a'), message('2', 'b')), invocation());
      expect(countOf('renew')).toBeGreaterThan(4);
      const deadlines = events.flatMap((event) => (event.type === 'renewed' ? [event.deadline - start] : []));
      expect(Math.max(...deadlines)).toBe(60_000);
    });

    test('where invocations share a process, the end of an invocation caps no lease', async () => {
      process.env.AWS_LAMBDA_MAX_CONCURRENCY = '32';
      await run([message('1', 'a')], {}, async (event, { locks }) => {
        await clock.advance(70_000);
        locks.of(event.Records[0]!).assertHeld();
      });
      expect(countOf('renew')).toBeGreaterThan(4);
    });

    test('two batches in one process have leases of their own', async () => {
      const working = gate();
      const handle = lockedBy({ key, locks, onFailed }, () => working.opened);
      const first = handle(batch(message('1', 'a')), invocation());
      const second = await handle(batch(message('2', 'a')), invocation());
      expect(failed(second)).toEqual(['2']);
      expect(await isHeld('a')).toBe(true);
      working.open();
      expect(failed(await first)).toEqual([]);
      expect(await isHeld('a')).toBe(false);
    });

    test('the options of a lease hold for each lease', async () => {
      const options = { leaseMs: 5_000, safetyMs: 1_000, holdAtLeastMs: 3_000 };
      await run([message('1', 'a'), message('2', 'b')], options, (event, { locks }) => {
        for (const record of event.Records) expect(locks.of(record).deadline - clock.now()).toBe(4_000);
      });
      expect(await others.tryAcquire('a')).toBeNull();
      await clock.advance(3_000);
      expect(await others.tryAcquire('a')).not.toBeNull();
    });

    test('the owner, the data and the place in the context come from the options and the invocation', async () => {
      const options = { data: ({ body }: QueueRecord) => ({ account: body }), contextKey: 'leases' } as object;
      await run([message('1', 'a'), message('2', 'a')], options, (event, context) => {
        const lease = (context as unknown as { leases: RecordLocks }).leases.of(event.Records[1]!);
        expect([lease.data, lease.owner]).toEqual([{ account: 'a' }, 'reports:7 2026/01/01/[7]abc request-1']);
        expect(context).not.toHaveProperty('locks');
        expect(JSON.stringify(context)).not.toContain(lease.lockId);
      });
    });

    test('locks.of() throws for a record that the handler was not given', async () => {
      await others.acquire('b');
      const records = [message('1', 'a'), message('2', 'b')];
      await run(records, {}, async (_event, { locks }) => {
        expect(() => locks.of(records[1]!)).toThrow(/one of event.Records.*but it is 2/);
        expect(() => locks.of(undefined as never)).toThrow(TypeError);
        await expect(locks.using(records[1]!, () => 'never')).rejects.toThrow(TypeError);
      });
    });

    test('a message that comes twice in a batch is given once, and fares once', async () => {
      const twice = [message('1', 'a'), message('2', 'b'), message('1', 'a')];
      expect(await run(twice)).toMatchObject({ seen: ['1', '2'], failed: [] });
      expect(await run(twice, {}, () => ({ batchItemFailures: [{ itemIdentifier: '1' }] }))).toMatchObject({
        failed: ['1'],
      });
    });
  });

  describe('records that the handler is not given', () => {
    test('records of a busy key go back, and the others are worked on', async () => {
      await others.acquire('b');
      const { seen, failed } = await run([message('1', 'a'), message('2', 'b'), message('3', 'c'), message('4', 'b')]);
      expect(seen).toEqual(['1', '3']);
      expect(failed).toEqual(['2', '4']);
      expect(told).toEqual(['2: LockBusyError', '4: LockBusyError']);
      expect(await isHeld('b')).toBe(true);
    });

    test('all keys are busy: the handler does not run, and all records go back', async () => {
      await others.acquire('a');
      await others.acquire('b');
      const { seen, response } = await run([message('1', 'a'), message('2', 'b')]);
      expect(seen).toEqual([]);
      expect(response).toEqual({ batchItemFailures: [{ itemIdentifier: '1' }, { itemIdentifier: '2' }] });
      expect(requests).toEqual(['acquire', 'acquire']);
    });

    test('a busy key is waited for, as long as waitMs and the invocation allow', async () => {
      const other = await others.acquire('a');
      const waiting = run([message('1', 'a')], { waitMs: 5_000 });
      await clock.advance(100);
      await other.release();
      await clock.advance(5_000);
      expect(await waiting).toMatchObject({ seen: ['1'], failed: [] });
      await others.acquire('a');
      const handle = lockedBy({ key, locks, onFailed, waitMs: 60_000, reserveMs: 1_000 }, () => 'never');
      const start = clock.now();
      const short = handle(batch(message('1', 'a')), invocation({ getRemainingTimeInMillis: () => 3_000 }));
      await clock.advance(10_000);
      expect(failed(await short)).toEqual(['1']);
      const busy = events.filter((event) => event.type === 'busy').at(-1)!;
      expect(busy.at - start).toBeLessThanOrEqual(2_000);
    });

    test.each([
      { what: 'throws', body: 'throw' },
      { what: 'gives an empty key', body: '' },
      { what: 'gives one of 1,026 bytes', body: 'é'.repeat(513) },
      { what: 'gives a number', body: 7 },
      { what: 'gives nothing', body: undefined },
      { what: 'gives the promise of a key', body: Promise.resolve('a') },
    ])('the key function $what: the record fails alone', async ({ body }) => {
      const options = {
        key: (record: QueueRecord) => {
          if (record.body === 'throw') throw new TypeError('No account.');
          return record.body;
        },
      };
      const { seen, failed } = await run([message('1', 'a'), message('2', body as never), message('3', 'b')], options);
      expect(seen).toEqual(['1', '3']);
      expect(failed).toEqual(['2']);
      expect(told).toEqual(['2: TypeError']);
      expect(countOf('acquire')).toBe(2);
    });

    test('the data or the token is bad: the record fails alone', async () => {
      const data = ({ body }: QueueRecord) => (body === 'b' ? 7n : body);
      expect(await run([message('1', 'a'), message('2', 'b')], { data })).toMatchObject({ seen: ['1'], failed: ['2'] });
      const token = (record: QueueRecord) => (record.body === 'b' ? new Date(Number.NaN) : '1');
      expect(await run([message('3', 'a'), message('4', 'b')], { once: token })).toMatchObject({ failed: ['4'] });
      // Without a token the record would be worked on at every delivery.
      expect(await run([message('5', 'a')], { once: () => undefined })).toMatchObject({ seen: [], failed: ['5'] });
      expect(told).toEqual(['2: TypeError', '4: TypeError', '5: TypeError']);
    });

    test('the store does not answer for one key: the records of that key fail, and no others', async () => {
      const locks = locksOver({
        async acquire(request) {
          if (request.key === 'b') throw new LockStoreError('No such table.');
          return store.acquire(request);
        },
      });
      const { seen, failed } = await run([message('1', 'a'), message('2', 'b'), message('3', 'b')], { locks });
      expect(seen).toEqual(['1']);
      expect(failed).toEqual(['2', '3']);
      expect(told).toEqual(['2: LockStoreError', '3: LockStoreError']);
    });

    test('no time is left in the invocation: all records fail, and nothing is sent', async () => {
      const handle = lockedBy({ key, locks, onFailed }, () => 'never');
      const late = invocation({ getRemainingTimeInMillis: () => 0 });
      expect(failed(await handle(batch(message('1', 'a')), late))).toEqual(['1']);
      expect(told).toEqual(['1: LockNoTimeError']);
      expect(requests).toEqual([]);
    });

    test('without onFailed, the console shows every error but a LockBusyError', async () => {
      const error = jest.spyOn(console, 'error').mockImplementation(() => {});
      await others.acquire('b');
      await run([message('1', ''), message('2', 'b')], { onFailed: undefined });
      expect(error.mock.calls).toEqual([[expect.stringContaining('message 1'), expect.any(TypeError)]]);
    });

    test('an onFailed that throws or rejects disturbs nothing', async () => {
      await others.acquire('b');
      for (const onFailed of [
        () => {
          throw new Error('No log.');
        },
        () => Promise.reject(new Error('No log.')),
      ]) {
        expect(await run([message('1', 'a'), message('2', 'b')], { onFailed })).toMatchObject({ failed: ['2'] });
      }
    });
  });

  describe('in a FIFO queue', () => {
    test('a busy record holds back the later records of its group, no earlier record and no other group', async () => {
      await others.acquire('busy');
      const records = [
        fifo('1', 'h', 'a'),
        fifo('2', 'g', 'b'),
        fifo('3', 'h', 'busy'),
        fifo('4', 'h', 'c'),
        fifo('5', 'g', 'd'),
        fifo('6', 'h', 'a'),
      ];
      const { seen, failed } = await run(records);
      expect(seen).toEqual(['1', '2', '5']);
      expect(failed).toEqual(['3', '4', '6']);
      expect(told).toEqual(['3: LockBusyError', '4: LockBusyError', '6: LockBusyError']);
    });

    test('a lease that only held-back records need is released at once, and the other leases are kept', async () => {
      await others.acquire('busy');
      await run(
        [fifo('1', 'g', 'busy'), fifo('2', 'g', 'alone'), fifo('3', 'g', 'shared'), fifo('4', 'h', 'shared')],
        {},
        async (event) => {
          expect(ids(event)).toEqual(['4']);
          expect([await isHeld('alone'), await isHeld('shared')]).toEqual([false, true]);
        },
      );
      expect([countOf('acquire'), countOf('release')]).toEqual([3, 2]);
    });

    test('with holdAtLeastMs, the locks of held-back records open at once, and those of records that were worked on stay closed', async () => {
      const busy = await others.acquire('busy');
      const records = [
        fifo('1', 'h', 'worked on'),
        fifo('2', 'g', 'busy'),
        fifo('3', 'g', 'held back'),
        fifo('3', 'g', 'held back'),
      ];
      const fail: Handler = async (event, { locks }) => {
        await locks.using(event.Records[0]!, () => Promise.reject(new Error('Disk full.'))).catch(() => {});
      };
      const options = { holdAtLeastMs: 60_000 };
      expect((await run(records, options, fail)).failed).toEqual(['1', '2', '3']);
      await busy.release();
      await clock.advance(1);
      expect((await run(records, options)).failed).toEqual(['1']);
      expect(await isHeld('worked on')).toBe(false);
    });

    test('with holdAtLeastMs, the lock of a record whose work never began behind a failed record opens at once', async () => {
      const records = [
        fifo('1', 'g', 'failed'),
        fifo('2', 'g', 'behind'),
        fifo('3', 'g', 'read'),
        fifo('4', 'h', 'left'),
      ];
      const [, ...behind] = records;
      const fail: Handler = async ({ Records }, { locks }) => {
        locks.of(Records[2]!);
        const work = () => Promise.reject(new Error('Disk full.'));
        await Promise.allSettled(Records.slice(0, 3).map((record) => locks.using(record, work)));
      };
      expect((await run(records, { holdAtLeastMs: 60_000 }, fail)).failed).toEqual(['1', '2', '3']);
      await clock.advance(1);
      // Nobody can tell whether the handler worked under a lease that it read, or on a record that it left to itself.
      expect((await run(behind.map(({ messageId, body }) => message(messageId, body)))).failed).toEqual(['3', '4']);
      expect(await others.tryAcquire('failed')).toBeNull();
    });

    test('a record with a bad key holds back the later records of its group, whose locks are not acquired', async () => {
      const { seen, failed } = await run([
        fifo('1', 'g', 'a'),
        fifo('2', 'g', ''),
        fifo('3', 'g', 'b'),
        fifo('4', 'h', 'c'),
      ]);
      expect(seen).toEqual(['1', '4']);
      expect(failed).toEqual(['2', '3']);
      expect(countOf('acquire')).toBe(2);
    });

    test('a record for which the store does not answer holds back the later records of its group', async () => {
      const locks = locksOver({
        async acquire(request) {
          if (request.key === 'b') throw new LockStoreError('No such table.');
          return store.acquire(request);
        },
      });
      expect(await run([fifo('1', 'g', 'b'), fifo('2', 'g', 'a'), fifo('3', 'h', 'c')], { locks })).toMatchObject({
        seen: ['3'],
        failed: ['1', '2'],
      });
    });

    test('a done record holds nothing back, and goes back itself behind a busy record', async () => {
      await (await others.acquire('done', { once: '9' })).release({ done: true });
      await others.acquire('busy');
      const records = [fifo('1', 'g', 'done'), fifo('2', 'g', 'a'), fifo('3', 'g', 'busy'), fifo('4', 'g', 'done')];
      expect(await run(records, { once })).toMatchObject({ seen: ['2'], failed: ['3', '4'] });
    });

    test('a record that fails in locks.using() fails the records behind it, though nobody passes them to locks.using()', async () => {
      const records = [fifo('1', 'g', 'a'), fifo('2', 'g', 'b'), fifo('3', 'g', 'c'), fifo('4', 'h', 'd')];
      const { failed } = await run(records, { once }, async (event, { locks }) => {
        await locks.using(event.Records[0]!, () => {});
        const broken = locks.using(event.Records[1]!, () => Promise.reject(new Error('Broken.')));
        await broken.catch(() => {});
      });
      expect(failed).toEqual(['2', '3']);
      expect(told).toEqual(['2: Error', '3: Error']);
      expect([await doneToken('a'), await doneToken('c'), await doneToken('d')]).toEqual(['1', undefined, '4']);
    });

    test('a record whose work has not ended when the time is nearly up fails the records behind it', async () => {
      const handle = lockedBy({ key, locks, onFailed }, (event, { locks }) => {
        void locks.using(event.Records[0]!, () => new Promise(() => {}));
      });
      const context = invocation({ getRemainingTimeInMillis: () => 40 });
      expect(failed(await handle(batch(fifo('1', 'g', 'a'), fifo('2', 'g', 'b')), context))).toEqual(['1', '2']);
    });

    test('the message groups of a standard queue have no order: they are for fairness', async () => {
      await others.acquire('busy');
      const fair = { group: 'tenant' };
      const records = [message('1', 'busy', fair), message('2', 'a', fair)];
      expect(await run(records)).toMatchObject({ seen: ['2'], failed: ['1'] });
    });
  });

  describe('a message that stands for another', () => {
    test('a message that comes twice, with another key the second time, is given once and fares once', async () => {
      const keys = ['k1', 'k2'];
      const twice = [message('1', 'a'), message('1', 'a')];
      const options = { key: () => keys.shift() as string, once: () => '1' };
      const { seen, failed } = await run(twice, options);
      expect([seen, failed]).toEqual([['1'], []]);
      expect([await doneToken('k1'), countOf('acquire')]).toEqual(['1', 1]);
    });

    test('a failed message that stands for a message of another group holds back the later records of both groups', async () => {
      const records = [fifo('5', 'g', 'shared'), fifo('3', 'h', 'shared'), fifo('4', 'h', 'alone')];
      const begun: string[] = [];
      const { failed } = await run(records, { once }, (event, { locks }) =>
        Promise.allSettled(
          event.Records.map((record) =>
            locks.using(record, () => {
              begun.push(record.messageId);
              throw new Error('Disk full.');
            }),
          ),
        ),
      );
      expect([begun, failed]).toEqual([['5'], ['5', '3', '4']]);
    });

    test('a busy message that stands for a message of another group holds back the later records of both groups', async () => {
      await others.acquire('shared');
      const records = [fifo('5', 'g', 'shared'), fifo('3', 'h', 'shared'), fifo('4', 'h', 'alone')];
      expect(await run(records, { once })).toMatchObject({ seen: [], failed: ['5', '3', '4'] });
    });
  });

  test.each([
    { what: 'key', options: { key: async () => Promise.reject(new Error('No account.')) } },
    { what: 'once', options: { once: async () => Promise.reject(new Error('No account.')) } },
    { what: 'data', options: { data: async () => Promise.reject(new Error('No account.')) } },
    { what: 'data, of a foreign thenable', options: { data: () => ({ then: (_: unknown, no: () => void) => no() }) } },
  ])('a promise from $what that rejects: the record goes back, and no rejection is unhandled', async ({ options }) => {
    expect(await run([message('1', 'a')], options as never)).toMatchObject({ seen: [], failed: ['1'] });
    expect(told).toEqual(['1: TypeError']);
    expect(requests).toEqual([]);
  });

  test.each([
    { what: 'rejects', onFailed: () => Promise.reject(new Error('No log.')) },
    {
      what: 'gives a thenable that rejects',
      onFailed: () => ({ then: (_: unknown, no: (e: Error) => void) => no(new Error('No log.')) }),
    },
    {
      what: 'gives a thenable that throws',
      onFailed: () => ({
        then() {
          throw new Error('No log.');
        },
      }),
    },
    { what: 'never settles', onFailed: () => new Promise(() => {}) },
  ])('an onFailed that $what disturbs nothing', async ({ onFailed }) => {
    await others.acquire('b');
    expect(await run([message('1', 'a'), message('2', 'b')], { onFailed })).toMatchObject({
      seen: ['1'],
      failed: ['2'],
    });
    await new Promise(setImmediate);
  });

  describe('the response', () => {
    const records = [message('1', 'a'), message('2', 'busy'), message('3', 'b'), message('4', 'c')];
    beforeEach(() => others.acquire('busy'));

    test.each([
      { what: 'nothing', response: undefined, expected: ['2'] },
      { what: 'null', response: null, expected: ['2'] },
      { what: 'a string', response: 'done', expected: ['2'] },
      { what: 'an empty batch response', response: { batchItemFailures: [] }, expected: ['2'] },
      { what: 'failures of its own', response: { batchItemFailures: [{ itemIdentifier: '3' }] }, expected: ['2', '3'] },
      {
        what: 'known failures twice',
        response: { batchItemFailures: ['2', '3', '3', '2'].map((itemIdentifier) => ({ itemIdentifier })) },
        expected: ['2', '3'],
      },
      {
        what: 'settled results',
        response: [{ status: 'fulfilled' }, { status: 'rejected', reason: new Error() }, { status: 'fulfilled' }],
        expected: ['2', '3'],
      },
      {
        what: 'a rejected result among too few, which names no record',
        response: [{ status: 'rejected', reason: new Error() }, { status: 'fulfilled' }],
        expected: ['1', '2', '3', '4'],
      },
      { what: 'too few results, none rejected', response: [{ status: 'fulfilled' }], expected: ['2'] },
      { what: 'results that are none of settled promises', response: [1, null, 'three'], expected: ['2'] },
      // Lambda does the same.
      {
        what: 'an unknown id',
        response: { batchItemFailures: [{ itemIdentifier: '9' }] },
        expected: ['1', '2', '3', '4'],
      },
      {
        what: 'an empty id',
        response: { batchItemFailures: [{ itemIdentifier: '' }] },
        expected: ['1', '2', '3', '4'],
      },
      { what: 'a wrong name', response: { batchItemFailures: [{ messageId: '3' }] }, expected: ['1', '2', '3', '4'] },
      { what: 'no list', response: { batchItemFailures: '3' }, expected: ['1', '2', '3', '4'] },
      { what: 'a list of nothing', response: { batchItemFailures: [null] }, expected: ['1', '2', '3', '4'] },
    ])('the handler returns $what: the response names the failed records', async ({ response, expected }) => {
      const answer = await run(records, { once: () => '1' }, () => response);
      expect(answer.response).toEqual({ batchItemFailures: expected.map((itemIdentifier) => ({ itemIdentifier })) });
      // Only the records that did not fail are done.
      for (const [id, account] of [
        ['1', 'a'],
        ['3', 'b'],
        ['4', 'c'],
      ] as const) {
        expect(await doneToken(account)).toBe(expected.includes(id) ? undefined : '1');
      }
    });

    test('the handler returns a thenable that is no Promise: the locks are held until the thenable has settled', async () => {
      const working = gate<BatchResponse>();
      const handle = lockedBy({ key, locks, onFailed }, () => ({
        then: (resolve: (value: BatchResponse) => void) => void working.opened.then(resolve),
      }));
      const response = handle(batch(...records), invocation());
      await clock.advance(100);
      expect(await isHeld('a')).toBe(true);
      working.open({ batchItemFailures: [{ itemIdentifier: '4' }] });
      expect(failed(await response)).toEqual(['2', '4']);
    });

    test('the handler throws: its error is thrown, and every lease is released and not done', async () => {
      const running = run(records, { once: () => '1' }, () => {
        throw new Error('Disk full.');
      });
      await expect(running).rejects.toThrow('Disk full.');
      expect([await isHeld('a'), await isHeld('b'), await isHeld('c')]).toEqual([false, false, false]);
      expect(await doneToken('a')).toBeUndefined();
      expect(clock.timers).toBe(2);
    });
  });

  describe('a lease that is lost', () => {
    const records = [message('1', 'a'), message('2', 'b'), message('3', 'b')];
    /** Takes the lock of b away while the handler goes on. */
    const losing: Handler = async (event, { locks }) => {
      const { lockId } = (await others.inspect('b'))!;
      await others.forceRelease('b', { lockId: lockId as string });
      const lease = locks.of(event.Records[1]!);
      await expect(lease.renew()).rejects.toBeInstanceOf(LockLostError);
      expect(lease.signal.aborted).toBe(true);
      expect(locks.of(event.Records[0]!).signal.aborted).toBe(false);
    };

    test('a lost lease fails the records of its key, and no others', async () => {
      expect(await run(records, { once: () => '1' }, losing)).toMatchObject({ failed: ['2', '3'] });
      expect(told).toEqual(['2: LockLostError', '3: LockLostError']);
      expect([await doneToken('a'), await doneToken('b')]).toEqual(['1', undefined]);
    });

    test("with onLost: 'ignore' a lost lease fails no record, and its records are not done", async () => {
      const options = { once: () => '1', onLost: 'ignore' } as const;
      expect(await run(records, options, losing)).toMatchObject({ failed: [] });
      expect([await doneToken('a'), await doneToken('b')]).toEqual(['1', undefined]);
    });

    test('a client that is closed under the handler fails no record that ends in order', async () => {
      const closing: Handler = async (event, { locks: recordLocks }) => {
        void locks.close();
        expect(recordLocks.of(event.Records[0]!).signal.aborted).toBe(true);
        await clock.advance(20_000);
        expect(await isHeld('a')).toBe(true);
      };
      expect(await run(records, { once: () => '1' }, closing)).toMatchObject({ failed: [] });
      expect([await doneToken('a'), await doneToken('b')]).toEqual(['1', '1']);
      expect(await isHeld('a')).toBe(false);
    });

    test('a loss that only the release finds fails the records of the key', async () => {
      const silently: Handler = async () => {
        const { lockId } = (await others.inspect('b'))!;
        await others.forceRelease('b', { lockId: lockId as string });
      };
      expect(await run(records, {}, silently)).toMatchObject({ failed: ['2', '3'] });
    });

    test('all leases have passed their deadlines: all records fail', async () => {
      expect(await run(records, {}, () => clock.step(60_000))).toMatchObject({ failed: ['1', '2', '3'] });
    });
  });

  describe('once', () => {
    const sequence = (...sequences: string[]) => sequences.map((n) => fifo(n, 'a'));
    const done = async (token: string) => {
      await (await others.acquire('a', { once: token })).release({ done: true });
      await clock.advance(1);
    };

    test('done records are dropped: the handler does not get them, and they do not come back', async () => {
      await done('2');
      expect(await run([...sequence('1', '2', '3'), fifo('4', 'b')], { once })).toMatchObject({
        seen: ['3', '4'],
        failed: [],
      });
      expect([await doneToken('a'), await doneToken('b')]).toEqual(['3', '4']);
      expect(await run(sequence('1', '2', '3'), { once })).toMatchObject({ seen: [], failed: [] });
      expect(await isHeld('a')).toBe(false);
    });

    test('tokens of more and more digits are ordered as numbers, and an equal instant in another text is done', async () => {
      expect(await run(sequence('9', '10', '11'), { once })).toMatchObject({ seen: ['9', '10', '11'], failed: [] });
      expect(await doneToken('a')).toBe('11');
      const instants = { once: ({ body }: QueueRecord) => body, key: () => 'instants' };
      expect(await run([message('1', '2026-01-01T02:00:00Z')], instants)).toMatchObject({ seen: ['1'], failed: [] });
      await clock.advance(1);
      expect(await run([message('2', '2026-01-01T03:00:00+01:00')], instants)).toMatchObject({ seen: [], failed: [] });
    });

    test('a record whose token has another form than the token before it fails, and is not taken for done', async () => {
      const runs = { once: ({ body }: QueueRecord) => body, key: () => 'runs' };
      const records = [message('1', 'run-8'), message('2', 'run-9'), message('3', 'run-10')];
      expect(await run(records, { ...runs })).toMatchObject({ seen: ['1', '2'], failed: ['3'] });
      await clock.advance(1);
      expect(await run([message('3', 'run-10')], { ...runs })).toMatchObject({ seen: [], failed: ['3'] });
      await clock.advance(1);
      expect(await run([message('4', 'run-80'), message('5', 'run-95')], { ...runs })).toMatchObject({
        seen: ['5'],
        failed: ['4'],
      });
      expect(told).toEqual(['3: LockTokenError', '3: LockTokenError', '4: LockTokenError']);
      // By run-95 as the finished token, run-80 would be taken for done.
      expect(await doneToken('runs')).toBe('run-9');
    });

    test.each([
      ['week-1', 'week-10'],
      ['5', '2026-01-01T00:00:00Z'],
    ])(
      'the record with %p fails no release when the record behind it, with %p of another form, fails',
      async (first, second) => {
        const runs = { once: ({ body }: QueueRecord) => body, key: () => 'runs' };
        const fail: Handler = () => ({ batchItemFailures: [{ itemIdentifier: '2' }] });
        expect(await run([message('1', first), message('2', second)], runs, fail)).toMatchObject({ failed: ['2'] });
        expect([await isHeld('runs'), await doneToken('runs')]).toEqual([false, first]);
        expect(clock.timers).toBe(0);
      },
    );

    test('a record whose token has another form than the finished one fails alone, with its own token in the error', async () => {
      const errors: string[] = [];
      const runs = {
        once: ({ body }: QueueRecord) => body,
        key: () => 'a',
        onFailed: (error: unknown) => void errors.push((error as LockTokenError).once),
      };
      await done('run-5');
      const records = [message('1', 'run-10'), message('2', 'run-6'), message('3', 'run-7')];
      expect(await run(records, runs)).toMatchObject({ seen: ['2', '3'], failed: ['1'] });
      expect(await doneToken('a')).toBe('run-5');
      await clock.advance(1);
      await done('run-7');
      expect(await run(records, runs)).toMatchObject({ seen: [], failed: ['1'] });
      await clock.advance(1);
      expect(await run([message('1', 'run-10'), message('4', 'run-60')], runs)).toMatchObject({ failed: ['1', '4'] });
      expect(errors).toEqual(['run-10', 'run-10', 'run-10', 'run-60']);
    });

    test('the greatest token of a key is done when all of its records have succeeded, in two writes and no read', async () => {
      expect(await run(sequence('1', '2', '3'), { once })).toMatchObject({ seen: ['1', '2', '3'], failed: [] });
      expect(await doneToken('a')).toBe('3');
      expect(requests).toEqual(['acquire', 'release']);
    });

    test('a key with one token costs one acquire and one release', async () => {
      await run(sequence('1'), { once });
      expect(requests).toEqual(['acquire', 'release']);
    });

    test('one record fails: the token before is done, in one write, and the tokens behind are not', async () => {
      const third: Handler = () => ({ batchItemFailures: [{ itemIdentifier: '3' }] });
      expect(await run(sequence('1', '2', '3', '4'), { once }, third)).toMatchObject({ failed: ['3'] });
      expect(await doneToken('a')).toBe('2');
      expect(requests).toEqual(['acquire', 'release']);
      expect(await isHeld('a')).toBe(false);
      await clock.advance(1);
      expect(await run(sequence('3'), { once })).toMatchObject({ seen: ['3'], failed: [] });
      expect(await doneToken('a')).toBe('3');
      expect(clock.timers).toBe(0);
    });

    test('the last record of three fails: the batch costs one acquire and one release, and the second token is done', async () => {
      const last: Handler = () => ({ batchItemFailures: [{ itemIdentifier: '3' }] });
      expect(await run(sequence('1', '2', '3'), { once }, last)).toMatchObject({ failed: ['3'] });
      expect(requests).toEqual(['acquire', 'release']);
      expect(await doneToken('a')).toBe('2');
    });

    test('part of a key is done already, and its first open record fails: the done token stays', async () => {
      await done('2');
      const third: Handler = () => ({ batchItemFailures: [{ itemIdentifier: '3' }] });
      expect(await run(sequence('1', '2', '3', '4'), { once }, third)).toMatchObject({
        seen: ['3', '4'],
        failed: ['3'],
      });
      expect(requests).toEqual(['acquire', 'release']);
      expect(await doneToken('a')).toBe('2');
    });

    test('the first record fails: nothing is done', async () => {
      await run(sequence('1', '2'), { once }, () => ({ batchItemFailures: [{ itemIdentifier: '1' }] }));
      expect(await doneToken('a')).toBeUndefined();
      expect(requests).toEqual(['acquire', 'release']);
    });

    test('a record that is held back counts as failed: the later records of its key are not done', async () => {
      await others.acquire('busy');
      const records = [fifo('1', 'g', 'busy'), fifo('2', 'g', 'shared'), fifo('3', 'h', 'shared')];
      expect(await run(records, { once })).toMatchObject({ seen: ['3'], failed: ['1', '2'] });
      expect(await doneToken('shared')).toBeUndefined();
    });

    test('of two records with one key and token, one is worked on and the other fares the same', async () => {
      const twins = [message('1', 'a', { sequence: '7' }), message('2', 'a', { sequence: '7' })];
      const first: Handler = () => ({ batchItemFailures: [{ itemIdentifier: '1' }] });
      expect(await run(twins, { once }, first)).toMatchObject({ seen: ['1'], failed: ['1', '2'] });
      expect(await run(twins, { once })).toMatchObject({ seen: ['1'], failed: [] });
      expect(await run(twins, { once })).toMatchObject({ seen: [], failed: [] });
    });

    test('tokens of different keys are not compared', async () => {
      await done('2');
      expect(await run([fifo('1', 'b'), fifo('2', 'a')], { once })).toMatchObject({ seen: ['1'], failed: [] });
    });

    test('the store does not answer the release of a part: the part has succeeded, and nothing is done', async () => {
      const locks = locksOver({ release: () => Promise.reject(new LockStoreError('No answer.')) });
      const second: Handler = () => ({ batchItemFailures: [{ itemIdentifier: '2' }] });
      expect(await run(sequence('1', '2'), { once, locks }, second)).toMatchObject({ failed: ['2'] });
      expect(await doneToken('a')).toBeUndefined();
      await clock.advance(30_000);
      expect(await isHeld('a')).toBe(false);
    });
  });

  describe('a store that does not answer before the handler runs', () => {
    const never = () => new Promise<never>(() => {});
    /** Runs a batch in an invocation that has `ms` left, and gives the response with the milliseconds that it leaves. */
    async function inTime(ms: number, handle: Invoke, records: QueueRecord[]) {
      const end = clock.now() + ms;
      const context = invocation({ getRemainingTimeInMillis: () => end - clock.now() });
      const answer = outcomeOf(handle(batch(...records), context));
      while (!answer.settled && clock.now() < end + 5_000) await clock.advance(10);
      return { failed: failed(answer.value as BatchResponse), leftMs: end - clock.now() };
    }

    test('no answer for one key: its records go back in time, the others are worked on, and nothing stays held', async () => {
      const locks = locksOver({ acquire: (request) => (request.key === 'a' ? never() : store.acquire(request)) });
      const seen: string[] = [];
      const handle = lockedBy({ key, once, locks, onFailed }, (event) => void seen.push(...ids(event)));
      const records = [fifo('1', 'g', 'a'), fifo('2', 'g', 'a'), fifo('3', 'h', 'b')];
      expect(await inTime(600, handle, records)).toEqual({ failed: ['1', '2'], leftMs: 300 });
      expect(seen).toEqual(['3']);
      expect(told).toEqual(['1: LockStoreError', '2: LockStoreError']);
      await new Promise(setImmediate);
      expect([await isHeld('a'), await isHeld('b')]).toEqual([false, false]);
    });

    test('no answer for 200 keys: the response comes when reserveMs is left', async () => {
      const handle = lockedBy({ key, locks: locksOver({ acquire: never }), onFailed }, () => 'never');
      const records = Array.from({ length: 200 }, (_, index) => message(`${index}`, `account-${index}`));
      const { failed, leftMs } = await inTime(3_000, handle, records);
      expect(failed).toHaveLength(200);
      expect(leftMs).toBe(1_000);
    });
  });

  test('a handler that releases a lease of locks.of() is warned', async () => {
    const warn = jest.spyOn(console, 'warn').mockImplementation(() => {});
    await run([message('1', 'a'), message('2', 'a')], {}, (event, { locks }) => locks.of(event.Records[0]!).release());
    expect(warn.mock.calls).toEqual([[expect.stringContaining("The handler released the lease of 'a' itself.")]]);
  });

  describe('releases that the store does not answer', () => {
    const hangAfter = (ms: number, count: number) => {
      const end = clock.now() + ms;
      let waiting = 0;
      const told: string[] = [];
      const hanging = new Proxy(store, {
        get: (target, name: keyof LockStore & keyof typeof store) =>
          name === 'release'
            ? () => {
                waiting++;
                return new Promise(() => {});
              }
            : target[name],
      });
      const locks = new LockClient({ store: hanging, clock, onEvent: ({ type }) => told.push(type) });
      const context = invocation({ getRemainingTimeInMillis: () => end - clock.now() });
      const records = Array.from({ length: count }, (_, index) => message(`${index}`, `account-${index}`));
      return { end, told, locks, context, records, tries: () => waiting };
    };

    test.each([
      { count: 1, ms: 2_000, concurrency: undefined },
      { count: 200, ms: 8_000, concurrency: undefined },
      { count: 200, ms: 100, concurrency: undefined },
      { count: 1, ms: 2_000, concurrency: '8' },
    ])(
      'no answer for $count keys, with $ms ms left (max. concurrency: $concurrency): the response comes in time, with an event for each key',
      async ({ count, ms, concurrency }) => {
        if (concurrency) process.env.AWS_LAMBDA_MAX_CONCURRENCY = concurrency;
        const { end, told, locks, context, records, tries } = hangAfter(ms, count);
        const handle = lockedBy({ key, locks, onFailed }, () => {});
        let response: BatchResponse | undefined;
        void handle(batch(...records), context).then((answer) => {
          response = answer;
        });
        while (!response && clock.now() < end + 5_000) await clock.advance(10);
        expect(clock.now()).toBeLessThan(end);
        expect(response).toEqual({ batchItemFailures: [] });
        expect(told.filter((type) => type === 'releaseFailed')).toHaveLength(count);
        expect(tries()).toBeGreaterThanOrEqual(count);
      },
    );
  });

  describe('locks.using()', () => {
    /** A handler that begins all work at once, as `Promise.allSettled` does, and logs each begin and end. */
    const together =
      (log: string[], work: (id: string, lease: Lease) => unknown = () => {}): Handler =>
      (event, { locks }) =>
        Promise.allSettled(
          event.Records.map((record) =>
            locks.using(record, async (lease) => {
              log.push(`+${record.messageId}`);
              try {
                return await work(record.messageId, lease);
              } finally {
                log.push(`-${record.messageId}`);
              }
            }),
          ),
        );
    const tick = () => new Promise(setImmediate);

    test('records of one key are worked on one after the other, in order, and records of different keys together', async () => {
      const log: string[] = [];
      await run([message('1', 'a'), message('2', 'b'), message('3', 'a')], {}, together(log, tick));
      expect(log.filter((line) => !line.endsWith('2'))).toEqual(['+1', '-1', '+3', '-3']);
      expect(log.slice(0, 2)).toEqual(['+1', '+2']);
    });

    test('records of one message group of a FIFO queue are worked on one after the other, whatever their keys are', async () => {
      const log: string[] = [];
      await run([fifo('1', 'g', 'a'), fifo('2', 'g', 'b'), fifo('3', 'h', 'c')], {}, together(log, tick));
      expect(log.filter((line) => !line.endsWith('3'))).toEqual(['+1', '-1', '+2', '-2']);
      expect(log.slice(0, 2)).toEqual(['+1', '+3']);
    });

    test('each lease is released when the last record of its key has been worked on', async () => {
      const held: Record<string, boolean> = {};
      const others = gate();
      await run(
        [message('1', 'a'), message('2', 'a'), message('3', 'b')],
        { once: ({ messageId }) => messageId },
        async (event, { locks }) => {
          const [first, second, third] = event.Records as [QueueRecord, QueueRecord, QueueRecord];
          const slow = locks.using(third, () => others.opened);
          expect(await locks.using(first, ({ key }) => `${key}!`)).toBe('a!');
          held.afterFirst = await isHeld('a');
          await locks.using(second, () => {});
          held.afterSecond = await isHeld('a');
          held.third = await isHeld('b');
          expect(await doneToken('a')).toBe('2');
          others.open();
          await slow;
        },
      );
      expect(held).toEqual({ afterFirst: true, afterSecond: false, third: true });
      expect(countOf('release')).toBe(2);
    });

    test('a lease is released when the last record of its key has failed', async () => {
      await run([message('1', 'a'), message('2', 'b')], {}, async (event, { locks }) => {
        await locks.using(event.Records[0]!, () => Promise.reject(new Error('Disk full.'))).catch(() => {});
        expect([await isHeld('a'), await isHeld('b')]).toEqual([false, true]);
      });
    });

    test('a record whose work fails goes back, though the handler does not report it, and the others do not', async () => {
      const log: string[] = [];
      const records = [message('1', 'a'), message('2', 'a'), message('3', 'b')];
      const { failed } = await run(records, { once: ({ messageId }) => messageId }, async (event, context) => {
        await together(log, (id) => id === '1' && Promise.reject(new Error('Disk full.')))(event, context);
      });
      expect(failed).toEqual(['1']);
      expect(log).toEqual(['+1', '+3', '-1', '-3', '+2', '-2']);
      expect(told).toEqual(['1: Error']);
      expect([await doneToken('a'), await doneToken('b')]).toEqual([undefined, '3']);
    });

    test('in a FIFO queue a record whose work fails stops the later records of its group, and all of them go back', async () => {
      const log: string[] = [];
      const records = [fifo('1', 'g'), fifo('2', 'g'), fifo('3', 'g'), fifo('4', 'h')];
      const { failed } = await run(
        records,
        { once },
        together(log, (id) => id === '2' && Promise.reject(new Error('Disk full.'))),
      );
      expect(failed).toEqual(['2', '3']);
      expect(log).toEqual(['+1', '+4', '-1', '-4', '+2', '-2']);
      expect([await doneToken('g'), await doneToken('h')]).toEqual(['1', '4']);
    });

    test('a failure is final: a second call for the record does not undo the failure', async () => {
      const { failed } = await run([message('1', 'a'), message('2', 'a')], {}, async (event, { locks }) => {
        const [first] = event.Records as [QueueRecord];
        await expect(locks.using(first, () => Promise.reject(new Error('Disk full.')))).rejects.toThrow('Disk full.');
        expect(await locks.using(first, () => 'written')).toBe('written');
        await expect(locks.using(first, () => Promise.reject(new Error('Disk full.')))).rejects.toThrow('Disk full.');
      });
      expect(failed).toEqual(['1']);
      expect(told).toEqual(['1: Error']);
    });

    test('a record that the handler reports as failed goes back, though its work had succeeded', async () => {
      const { failed } = await run([message('1', 'a')], {}, async (event, { locks }) => {
        await locks.using(event.Records[0]!, () => {});
        return { batchItemFailures: [{ itemIdentifier: '1' }] };
      });
      expect(failed).toEqual(['1']);
    });

    test('a lost lease fails the present record and the records to come, not a record that had succeeded', async () => {
      const log: string[] = [];
      const records = [message('1', 'a'), message('2', 'a'), message('3', 'a'), message('4', 'b')];
      const { failed } = await run(
        records,
        {},
        together(log, (id, lease) => id === '2' && lease.abandon('revoked')),
      );
      expect(failed).toEqual(['2', '3']);
      expect(log.filter((line) => line.startsWith('+'))).toEqual(['+1', '+4', '+2']);
      expect(told).toEqual(['2: LockLostError', '3: LockLostError']);
    });

    test("a release that finds the lease lost fails the last record of the key, and with onLost: 'ignore' none", async () => {
      const silently = async () => {
        const { lockId } = (await others.inspect('a'))!;
        await others.forceRelease('a', { lockId: lockId as string, immediately: true });
      };
      const handler: Handler = async (event, { locks }) => {
        await locks.using(event.Records[0]!, silently).catch(() => {});
      };
      expect(await run([message('1', 'a')], {}, handler)).toMatchObject({ failed: ['1'] });
      await clock.advance(2);
      expect(await run([message('1', 'a')], { onLost: 'ignore' }, handler)).toMatchObject({ failed: [] });
    });

    test.each([
      { what: 'returns', error: undefined },
      { what: 'throws', error: new Error('Disk full.') },
    ])('the handler $what and has not waited: each lease is kept until its work has ended', async ({ error }) => {
      const working = gate();
      let heldAtEnd: boolean | undefined;
      const running = run([message('1', 'a'), message('2', 'a')], {}, (event, { locks }) => {
        const [first, second] = event.Records as [QueueRecord, QueueRecord];
        void locks.using(first, () => working.opened);
        void locks.using(second, async () => {
          await tick();
          heldAtEnd = await isHeld('a');
        });
        if (error) throw error;
      });
      const ended = running.catch((reason) => reason);
      await tick();
      expect(await isHeld('a')).toBe(true);
      working.open();
      expect(await ended).toEqual(error ?? expect.objectContaining({ failed: [] }));
      expect(heldAtEnd).toBe(true);
      expect(await isHeld('a')).toBe(false);
    });

    test('a second work on a record whose lease has been released is refused, and the record has succeeded all the same', async () => {
      const ran: string[] = [];
      const { failed } = await run([message('1', 'a')], { once: () => '1' }, async (event, { locks }) => {
        const [record] = event.Records as [QueueRecord];
        await locks.using(record, () => ran.push('first'));
        await expect(locks.using(record, () => ran.push('second'))).rejects.toThrow(
          new LockError(
            'locks.using() for the message 1 was called after the lease had been released: do all work on a message in ' +
              'one call, and before the handler ends.',
          ),
        );
      });
      expect([failed, ran, told]).toEqual([[], ['first'], []]);
      expect(await doneToken('a')).toBe('1');
    });

    test.each([
      { how: 'has returned', error: undefined },
      { how: 'has failed', error: new Error('Disk full.') },
    ])('a call when the handler $how and other leases are being released is refused', async ({ error }) => {
      const ran: string[] = [];
      let late: Promise<unknown> | undefined;
      let begin = () => {};
      const locks = locksOver({
        release: (request) => {
          begin();
          return store.release(request);
        },
      });
      const records = Array.from({ length: 60 }, (_, index) => message(`${index}`, `account-${index}`));
      const running = run(records, { locks }, (event, { locks: held }) => {
        begin = () => {
          late ??= held.using(event.Records[59]!, () => ran.push('late')).catch((reason) => reason);
        };
        if (error) throw error;
      });
      await running.catch(() => {});
      expect(await late).toMatchObject({ name: 'LockError' });
      expect(ran).toEqual([]);
    });

    test('the lease of work that begins after the handler, while other work is waited for, is kept until the work has ended', async () => {
      const accounts = ['a', 'b', 'c', 'd', 'e'];
      const gates = accounts.map(() => gate());
      const running = run(
        accounts.map((account) => message(account, account)),
        {},
        (event, { locks }) => {
          const begin = (index: number) => {
            const work = async () => {
              await gates[index]?.opened;
              if (index < 4) begin(index + 1);
            };
            void locks.using(event.Records[index]!, work);
          };
          begin(0);
        },
      );
      for (const [index, { open }] of gates.entries()) {
        for (let turn = 0; turn < 5; turn++) await tick();
        expect([await isHeld('e'), index]).toEqual([true, index]);
        open();
      }
      expect((await running).failed).toEqual([]);
    });

    describe('inside the work on another record', () => {
      const nested =
        (seen: unknown[], inner: number, through?: number): Handler =>
        async (event, { locks }) => {
          const using = (index: number, work: () => unknown) => locks.using(event.Records[index]!, work);
          const nest = () => using(inner, () => seen.push('inner')).catch((error) => seen.push(error));
          await using(0, () => (through === undefined ? nest() : using(through, nest)));
          // This record stands behind the other one.
          await using(inner + 1, () => seen.push('later')).catch(() => {});
        };
      const refused = expect.objectContaining({
        name: 'LockError',
        message: expect.stringContaining('would wait for itself: the message goes back. Call locks.using() for one'),
      });

      test('a call for a record of the same key is refused at once, and its record goes back', async () => {
        const seen: unknown[] = [];
        const records = [message('1', 'a'), message('2', 'a'), message('3', 'a')];
        expect(await run(records, {}, nested(seen, 1))).toMatchObject({ failed: ['2'] });
        expect(seen).toEqual([refused, 'later']);
        expect(told).toEqual(['2: LockError']);
      });

      test('a call for a record of the same group of a FIFO queue is refused, and no later record of the group is begun', async () => {
        const seen: unknown[] = [];
        const records = [fifo('1', 'g', 'a'), fifo('2', 'g', 'b'), fifo('3', 'g', 'c')];
        expect(await run(records, {}, nested(seen, 1))).toMatchObject({ failed: ['2', '3'] });
        expect(seen).toEqual([refused]);
      });

      test('a call for a record of the same key, through a third record, is refused', async () => {
        const seen: unknown[] = [];
        const records = [message('1', 'a'), message('2', 'a'), message('3', 'a'), message('4', 'b')];
        expect(await run(records, {}, nested(seen, 1, 3))).toMatchObject({ failed: ['2'] });
        expect(seen).toEqual([refused, 'later']);
      });

      test('a call for a record of another key runs, and so does a call after the outer work has ended', async () => {
        const seen: unknown[] = [];
        await run([message('1', 'a'), message('2', 'b'), message('3', 'a')], {}, async (event, { locks }) => {
          const [first, second, third] = event.Records as [QueueRecord, QueueRecord, QueueRecord];
          const ended = gate();
          const later = gate();
          await locks.using(first, async () => {
            await locks.using(second, () => seen.push('2'));
            void ended.opened.then(() => locks.using(third, () => seen.push('3'))).then(() => later.open());
          });
          ended.open();
          await later.opened;
        });
        expect(seen).toEqual(['2', '3']);
      });
    });

    test('work has not ended when the time is nearly up: its lease is abandoned, its records go back, and the others do not', async () => {
      const begun: string[] = [];
      let lease: Lease | undefined;
      const handle = lockedBy({ key, locks, onFailed, once: ({ messageId }) => messageId }, (event, { locks }) => {
        for (const record of event.Records) {
          void locks.using(record, () => {
            begun.push(record.messageId);
            if (record.messageId !== '1') return;
            lease = locks.of(record);
            return new Promise(() => {});
          });
        }
      });
      const records = [message('1', 'a'), message('2', 'a'), message('3', 'b')];
      // The wait is real: 30 ms.
      const late = invocation({ getRemainingTimeInMillis: () => 60 });
      const timers = jest.spyOn(globalThis, 'setTimeout');
      expect(failed(await handle(batch(...records), late))).toEqual(['1', '2']);
      // One timer limits the wait.
      expect(timers).toHaveBeenCalledTimes(1);
      expect(begun).toEqual(['1', '3']);
      expect(lease?.signal.reason).toMatchObject({ reason: 'abandoned' });
      expect([await isHeld('a'), await isHeld('b'), await doneToken('b')]).toEqual([true, false, '3']);
    });

    test('work fails that nobody waits for: its record goes back, and no rejection is unhandled', async () => {
      const { failed } = await run([message('1', 'a')], {}, (event, { locks }) => {
        void locks.using(event.Records[0]!, () => Promise.reject(new Error('Disk full.')));
        void locks.using(message('9', 'a'), () => {});
      });
      expect(failed).toEqual(['1']);
    });

    test("work that releases its own lease is warned, the key's next records go back, and nothing is done", async () => {
      const warn = jest.spyOn(console, 'warn').mockImplementation(() => {});
      const { failed } = await run(
        [message('1', 'a'), message('2', 'a')],
        { once: ({ messageId }) => messageId },
        (event, { locks }) =>
          Promise.allSettled(event.Records.map((record) => locks.using(record, (lease) => lease.release()))),
      );
      expect(failed).toEqual(['2']);
      expect(warn.mock.calls).toEqual([[expect.stringContaining("released the lease of 'a' itself")]]);
      expect(await doneToken('a')).toBeUndefined();
    });

    test('the handler throws: records that had succeeded before are done, and are dropped when the batch comes back', async () => {
      const records = [fifo('1', 'a'), fifo('2', 'a'), fifo('3', 'a')];
      const handler: Handler = async (event, { locks }) => {
        await locks.using(event.Records[0]!, () => {});
        await locks.using(event.Records[2]!, () => {});
        throw new Error('Disk full.');
      };
      await expect(run(records, { once }, handler)).rejects.toThrow('Disk full.');
      // The end of the second record is not known. If the third token were done, nobody would ever work on the second.
      expect(await doneToken('a')).toBe('1');
      expect(await run(records, { once })).toMatchObject({ seen: ['2', '3'], failed: [] });
    });
  });

  test.each([
    { what: 'no event', event: undefined, shown: 'undefined|{}' },
    { what: 'an event of a schedule', event: { time: '2026-01-01T02:00:00Z' }, shown: '2026-01-01T02:00:00Z' },
    { what: 'an empty batch', event: { Records: [] }, shown: 'Records: \\[\\]' },
    { what: 'records that are none', event: { Records: 'all' }, shown: "Records: 'all'" },
    { what: 'records of a stream', event: { Records: [{ eventID: 'shard:1' }] }, shown: 'shard:1' },
    { what: 'a record without an id among them', event: { Records: [message('1', 'a'), null] }, shown: 'null' },
  ])(
    '$what is no batch of SQS: a TypeError shows the event, nothing is sent, and the handler does not run',
    async ({ event, shown }) => {
      const handle = lockedBy({ key, locks }, () => 'never');
      const handling = handle(event, invocation());
      await expect(handling).rejects.toBeInstanceOf(TypeError);
      await expect(handling).rejects.toThrow(new RegExp(`event of SQS was expected.*it is .*(${shown})`));
      expect(requests).toEqual([]);
    },
  );

  test('a durable execution is refused as a whole, outside its steps', async () => {
    const handle = lockedBy({ key, locks }, () => 'never');
    const durable = { lambdaContext: invocation(), step: withDurableExecution };
    await expect(handle(batch(message('1', 'a')), durable as never)).rejects.toThrow(LockError);
    expect(requests).toEqual([]);
  });
});

describe.each(versions)('in the life of a Lambda with Middy $version', ({ middy }) => {
  const locking = (options: Partial<LockRecordsOptions> = {}) => lockRecords({ key, locks, onFailed, ...options });
  const settle = (event: Batch, work: (record: QueueRecord) => unknown) =>
    Promise.allSettled(event.Records.map(async (record) => work(record)));
  const settling: Handler = (event) =>
    settle(event, ({ body }) => (body === 'broken' ? Promise.reject(new Error('Broken.')) : body));
  const quiet = { logger: () => {} };
  const records = [message('1', 'busy'), message('2', 'a'), message('3', 'broken'), message('4', 'b')];
  beforeEach(() => others.acquire('busy'));

  describe('beside sqs-partial-batch-failure', () => {
    test('behind lockRecords(): the failures of both are reported, and only the other records are done', async () => {
      const handle = middy(lockPlugin())
        .use(locking({ once: () => '1' }))
        .use(sqsPartialBatchFailure(quiet))
        .handler(settling);
      expect(failed(await handle(batch(...records), invocation()))).toEqual(['1', '3']);
      expect([await doneToken('a'), await doneToken('broken'), await doneToken('b')]).toEqual(['1', undefined, '1']);
    });

    test('behind lockRecords(), and the handler throws: its response of the error has our records too', async () => {
      const handle = middy(lockPlugin())
        .use(locking({ once: () => '1' }))
        .use(sqsPartialBatchFailure(quiet))
        .handler(() => {
          throw new Error('Disk full.');
        });
      expect(failed(await handle(batch(...records), invocation())).sort()).toEqual(['1', '2', '3', '4']);
      expect(await doneToken('a')).toBeUndefined();
      expect(await isHeld('a')).toBe(false);
    });

    test('before lockRecords(), which is wrong: all records come back, and none is lost', async () => {
      const handle = middy(lockPlugin()).use(sqsPartialBatchFailure(quiet)).use(locking()).handler(settling);
      expect(failed(await handle(batch(...records), invocation()))).toEqual(['1', '2', '3', '4']);
    });

    test('before lockRecords(), which is wrong, and the handler throws: all records come back', async () => {
      const handle = middy(lockPlugin())
        .use(sqsPartialBatchFailure(quiet))
        .use(locking())
        .handler(() => {
          throw new Error('Disk full.');
        });
      expect(failed(await handle(batch(...records), invocation()))).toEqual(['1', '2', '3', '4']);
    });
  });

  describe("beside middlewares as Middy's for batches of any source", () => {
    /** Parses each body in its place, as event-batch-parser does. */
    const parser = {
      before({ event }: { event: Batch }) {
        for (const record of event.Records) Object.assign(record, { body: JSON.parse(record.body) });
      },
    };
    /** Keeps the records that it sees before the handler, and reports the records whose result is not fulfilled, as event-batch-response does. */
    const responder = () => {
      let seen: QueueRecord[] = [];
      return {
        before({ event }: { event: Batch }) {
          seen = event.Records;
        },
        after(request: { response: unknown }) {
          if (!Array.isArray(request.response)) return;
          const { response } = request;
          const failures = seen.filter((_, index) => response[index]?.status !== 'fulfilled');
          request.response = { batchItemFailures: failures.map(({ messageId }) => ({ itemIdentifier: messageId })) };
        },
      };
    };
    /** Calls a handler for each record, as event-batch-handler does. */
    const eachRecord =
      (handleRecord: (record: QueueRecord, context: Context) => unknown): Handler =>
      (event, context) =>
        settle(event, (record) => handleRecord(record, context));

    test('the key comes from the parsed body, each record has a handler of its own, and the response has all failures', async () => {
      const order: string[] = [];
      const handle = middy(lockPlugin())
        .use(parser)
        .use(
          lockRecords({
            key: (record: { messageId: string; body: { account: string } }) => record.body.account,
            locks,
          }),
        )
        .use(responder())
        .handler(
          eachRecord((record, { locks }) =>
            locks.using(record, async () => {
              await new Promise(setImmediate);
              order.push(record.messageId);
              if (record.messageId === '3') throw new Error('Broken.');
            }),
          ),
        );
      jest.spyOn(console, 'error').mockImplementation(() => {});
      const body = (account: string) => JSON.stringify({ account });
      const event = batch(
        message('1', body('busy')),
        message('2', body('a')),
        message('3', body('b')),
        message('4', body('a')),
      );
      expect(failed(await handle(event, invocation()))).toEqual(['1', '3']);
      expect(order).toEqual(['2', '3', '4']);
    });
  });

  test('the event has all its records again when the middlewares before it are called', async () => {
    const seen: string[][] = [];
    const look = ({ event }: { event: Batch }) => void seen.push(ids(event));
    const handle = middy(lockPlugin()).before(look).after(look).onError(look).use(locking()).before(look);
    await handle.handler(() => {})(batch(...records), invocation());
    const failing = handle.handler(() => {
      throw new Error('Disk full.');
    });
    await expect(failing(batch(...records), invocation())).rejects.toThrow('Disk full.');
    const all = ['1', '2', '3', '4'];
    expect(seen).toEqual([all, ['2', '3', '4'], all, all, ['2', '3', '4'], all]);
  });

  test('another middleware makes a response of an error: the response has our records too', async () => {
    const handle = middy(lockPlugin())
      .use(locking())
      .onError((request) => {
        request.response = { batchItemFailures: [{ itemIdentifier: '2' }] };
      })
      .handler(() => {
        throw new Error('Disk full.');
      });
    const warn = jest.spyOn(console, 'warn').mockImplementation(() => {});
    expect(failed(await handle(batch(...records), invocation()))).toEqual(['1', '2']);
    expect(warn).not.toHaveBeenCalled();
  });

  test('an outer after throws: each lease is released once, and the error is that of the after', async () => {
    const handle = middy(lockPlugin())
      .after(() => {
        throw new Error('No such template.');
      })
      .use(locking())
      .handler(() => {});
    await expect(handle(batch(message('1', 'a')), invocation())).rejects.toThrow('No such template.');
    expect(requests).toEqual(['acquire', 'release']);
  });

  describe('a later middleware ends the request', () => {
    const ending = (plugin: object, hook: 'before' | 'after' | 'onError', response: () => unknown) =>
      middy(plugin)
        .use(locking({ once: () => '1' }))
        [hook](response)
        .handler(() => {
          if (hook === 'onError') throw new Error('Disk full.');
        });
    const two = () => batch(message('1', 'a'), message('2', 'busy'));
    const hooks = ['before', 'after', 'onError'] as const;

    test.each(hooks)(
      'in %s, with a batch response: the records that were held back are added, and the leases are released',
      async (hook) => {
        const handle = ending(lockPlugin(), hook, () => ({ batchItemFailures: [] }));
        expect(failed(await handle(two(), invocation()))).toEqual(['2']);
        expect(requests).toEqual(['acquire', 'acquire', 'release']);
      },
    );

    test.each(hooks)(
      'in %s, with another response: the invocation fails, so that SQS keeps the messages, and nothing is done',
      async (hook) => {
        const handle = ending(lockPlugin(), hook, () => 'early');
        await expect(handle(two(), invocation())).rejects.toThrow(
          new LockError(
            'A middleware after lockRecords() ended the request, and 2 of 2 records were not worked on: the invocation ' +
              'fails, so that SQS keeps them. Register that middleware before lockRecords(), or let it respond with ' +
              '{ batchItemFailures }.',
          ),
        );
        expect(requests).toEqual(['acquire', 'acquire', 'release']);
        expect(await doneToken('a')).toBeUndefined();
      },
    );

    test('after all records have succeeded: the response is that of the middleware', async () => {
      const handle = middy(lockPlugin())
        .use(locking({ once: () => '1' }))
        .after(() => 'early')
        .handler((event, { locks }) => locks.using(event.Records[0]!, () => {}));
      expect(await handle(batch(message('1', 'a')), invocation())).toBe('early');
      expect(await doneToken('a')).toBe('1');
    });

    test("by throwing: the error is that of the middleware, and the plugin's other hook runs", async () => {
      let ended = false;
      const plugin = lockPlugin({
        requestEnd: () => {
          ended = true;
        },
      });
      const failing = ending(plugin, 'before', () => Promise.reject(new Error('No token.')));
      await expect(failing(two(), invocation())).rejects.toThrow('No token.');
      const early = ending(plugin, 'before', () => 'early');
      await expect(early(two(), invocation())).rejects.toThrow(LockError);
      expect(ended).toBe(true);
    });
  });

  describe('lock() on the same handler', () => {
    beforeEach(async () => {
      await others.acquire('nightly');
      await (await others.acquire('job', { once: '1' })).release({ done: true });
      await clock.advance(1);
    });
    const ends = [
      { end: "busy, onBusy: 'skip'", options: { key: 'nightly', onBusy: 'skip' } },
      { end: 'busy, onBusy a function', options: { key: 'nightly', onBusy: () => ({ batchItemFailures: [] }) } },
      { end: 'done', options: { key: 'job', once: '1' } },
      { end: 'done, onDone a function', options: { key: 'job', once: '1', onDone: async () => 'done' } },
    ] as const;
    const both = [message('1', 'a'), message('2', 'busy'), message('3', 'b')];

    test.each(ends)(
      'after lockRecords() ($end): every message that was not worked on comes back',
      async ({ options }) => {
        const handle = middy(lockPlugin())
          .use(locking({ once: () => '1' }))
          .use(lockRecords({ key: ({ messageId }) => `id/${messageId}`, locks, contextKey: 'ids' }))
          .use(lock({ ...options, locks }))
          .handler(() => 'never');
        expect(failed(await handle(batch(...both), invocation())).sort()).toEqual(['1', '2', '3']);
        expect([await isHeld('a'), await isHeld('b'), await isHeld('id/1')]).toEqual([false, false, false]);
        expect(await doneToken('a')).toBeUndefined();
      },
    );

    test('after lockRecords(): a done record stays done', async () => {
      await (await others.acquire('a', { once: '1' })).release({ done: true });
      await clock.advance(1);
      const handle = middy(lockPlugin())
        .use(locking({ once: () => '1' }))
        .use(lock({ key: 'nightly', onBusy: 'skip', locks }))
        .handler(() => 'never');
      expect(failed(await handle(batch(...both), invocation())).sort()).toEqual(['2', '3']);
    });

    test.each(ends)(
      'inside withRecordLocks() ($end): every message that was not worked on comes back',
      async ({ options }) => {
        const handle = withRecordLocks(
          { key, locks, onFailed },
          withLock({ ...options, locks } as never, () => 'never') as never,
        );
        expect(failed(await handle(batch(...both), invocation())).sort()).toEqual(['1', '2', '3']);
      },
    );

    test("before lockRecords(), or alone (busy, onBusy: 'skip'): all messages come back", async () => {
      const options = { key: 'nightly', onBusy: 'skip', locks } as const;
      const all = { batchItemFailures: ['1', '2', '3'].map((itemIdentifier) => ({ itemIdentifier })) };
      for (const plugin of [lockPlugin(), {}]) {
        const handle = middy(plugin)
          .use(lock(options))
          .use(locking())
          .handler(() => 'never');
        expect(await handle(batch(...both), invocation())).toEqual(all);
      }
      const around = withLock(options, withRecordLocks<QueueRecord>({ key, locks }, () => 'never') as never);
      expect(await around(batch(...both), invocation())).toEqual(all);
    });

    const one = [{ itemIdentifier: '2' }];
    const partial = [
      { response: 'a batch response with failures', respond: () => ({ batchItemFailures: one }), done: undefined },
      { response: 'a rejected result', respond: () => [{ status: 'rejected' }], done: undefined },
      { response: 'a batch response that is none', respond: () => ({ batchItemFailures: 'all' }), done: undefined },
      { response: 'an empty batch response', respond: () => ({ batchItemFailures: [] }), done: '7' },
      { response: 'a batch response of null', respond: () => ({ batchItemFailures: null }), done: '7' },
      { response: 'fulfilled results', respond: () => [{ status: 'fulfilled' }], done: '7' },
    ];
    test.each(partial)('alone, and the response is $response: the token is $done', async ({ respond, done }) => {
      const options = { key: 'batch', once: '7', locks } as const;
      const forms = [
        middy(lockPlugin())
          .use(lock(options))
          .handler(respond as never),
        withLock({ ...options, key: 'other' }, respond as () => unknown),
      ] as Invoke[];
      for (const handle of forms) await handle(batch(...both), invocation());
      expect([await doneToken('batch'), await doneToken('other')]).toEqual([done, done]);
    });

    test('a rejected result to an event that is no batch of messages is a response like any other', async () => {
      const handle = withLock({ key: 'batch', once: '7', locks }, () => [{ status: 'rejected' }]);
      await handle({}, invocation());
      expect(await doneToken('batch')).toBe('7');
    });

    test.each(['before', 'after'])(
      '%s lockRecords(), and a record fails in locks.using(): the token is not done',
      async (place) => {
        const batchLock = lock({ key: 'batch', once: '7', locks });
        const used = place === 'before' ? [batchLock, locking()] : [locking(), batchLock];
        const handle = used
          .reduce((app, middleware) => app.use(middleware), middy(lockPlugin()))
          .handler((event, { locks: held }) =>
            settle(event, (record) => held.using(record, () => Promise.reject(new Error('Broken.')))).then(() => {}),
          );
        expect(failed(await handle(batch(message('1', 'a')), invocation()))).toEqual(['1']);
        expect(await doneToken('batch')).toBeUndefined();
      },
    );

    test('before lockRecords(), and done for its token: the messages are done too', async () => {
      const handle = middy(lockPlugin())
        .use(lock({ key: 'job', once: '1', locks }))
        .use(locking())
        .handler(() => 'never');
      expect(await handle(batch(...both), invocation())).toBeUndefined();
    });
  });

  test('no record is left for the handler: another lock of the request is released, also without the plugin', async () => {
    const handle = middy()
      .use(lock({ key: 'nightly', locks }))
      .use(locking())
      .handler(() => 'never');
    expect(failed(await handle(batch(message('1', 'busy')), invocation()))).toEqual(['1']);
    expect(await isHeld('nightly')).toBe(false);
  });

  test('a later middleware throws: the leases are released without the plugin', async () => {
    const handle = middy()
      .use(locking())
      .before(() => {
        throw new Error('No token.');
      })
      .handler(() => 'never');
    await expect(handle(batch(message('1', 'a')), invocation())).rejects.toThrow('No token.');
    expect(await isHeld('a')).toBe(false);
  });

  describe('two lockRecords(), for two locks of each record', () => {
    const region = ({ attributes }: QueueRecord) => attributes.MessageGroupId as string;
    const two = (plugin?: object) =>
      middy(plugin)
        .use(locking({ once: () => '1' }))
        .use(lockRecords({ key: region, locks, onFailed, contextKey: 'regions' }));
    const away = [
      message('1', 'busy', { group: 'r' }),
      message('2', 'a', { group: 'r' }),
      message('3', 'b', { group: 's' }),
    ];

    test('a record that either holds back comes back', async () => {
      await others.acquire('r');
      const seen: string[] = [];
      const handle = two(lockPlugin()).handler((event) => void seen.push(...ids(event)));
      expect(failed(await handle(batch(...away), invocation())).sort()).toEqual(['1', '2']);
      expect(seen).toEqual(['3']);
      expect([await doneToken('a'), await doneToken('b')]).toEqual([undefined, '1']);
    });

    test.each([
      { end: 'the handler returns', use: { after: () => {} } },
      { end: 'a later middleware responds', use: { after: () => ({ batchItemFailures: [] }) } },
    ])('a record that fails under the first is not done under the second ($end)', async ({ use }) => {
      const handle = middy(lockPlugin())
        .use(locking())
        .use(lockRecords({ key: region, once: () => '1', locks, onFailed, contextKey: 'regions' }))
        .use(use)
        .handler(async (event, { locks: held }) => {
          await settle(event, (record) => held.using(record, () => Promise.reject(new Error('Broken.'))));
        });
      expect(failed(await handle(batch(message('1', 'a', { group: 'r' })), invocation()))).toEqual(['1']);
      expect(await doneToken('r')).toBeUndefined();
    });

    test('the second has no record for the handler: the records that the first held back come back, also without the plugin', async () => {
      await others.acquire('r');
      await others.acquire('s');
      const handle = two().handler(() => 'never');
      expect(failed(await handle(batch(...away), invocation())).sort()).toEqual(['1', '2', '3']);
      expect([await isHeld('a'), await isHeld('b')]).toEqual([false, false]);
      expect(await doneToken('a')).toBeUndefined();
    });
  });

  describe("Middy's early time-out", () => {
    // Middy's timers are real: 20 ms pass.
    const late = () => invocation({ getRemainingTimeInMillis: () => 30 });
    const timeoutEarlyInMillis = 10;
    const never = new Promise<void>(() => {});
    const neverEnding =
      (leases: Lease[]): Handler =>
      async (event, { locks }) => {
        const [first, ...rest] = event.Records as [QueueRecord, ...QueueRecord[]];
        leases.push(...event.Records.map((record) => locks.of(record)));
        await locks.using(first, () => {});
        await Promise.all(rest.map((record) => locks.using(record, () => never)));
      };
    const lateRecords = [fifo('1', 'a'), fifo('2', 'a'), fifo('3', 'b'), fifo('4', 'busy')];
    const expectAbandoned = async (leases: Lease[]) => {
      for (const { signal } of leases)
        expect(signal.reason).toMatchObject({ name: 'LockLostError', reason: 'timedOut' });
      expect([await isHeld('a'), await isHeld('b')]).toEqual([true, true]);
      expect(requests).not.toContain('release');
      await clock.advance(3_030);
      expect([await isHeld('a'), await isHeld('b')]).toEqual([false, false]);
      expect(requests).not.toContain('release');
    };

    test.each([
      { how: 'without the plugin', plugin: { timeoutEarlyInMillis } },
      { how: 'with the plugin', plugin: lockPlugin({ timeoutEarlyInMillis }) },
      {
        how: 'throwing an error of its own',
        plugin: lockPlugin({
          timeoutEarlyInMillis,
          timeoutEarlyResponse: () => {
            throw new Error('Too late.');
          },
        }),
      },
    ])('throwing, $how: the signals abort, nothing is released, and the invocation fails', async ({ plugin }) => {
      const leases: Lease[] = [];
      const handle = middy(plugin).use(locking({ once })).handler(neverEnding(leases));
      await expect(handle(batch(...lateRecords), late())).rejects.toThrow(/aborted|Too late/);
      await expectAbandoned(leases);
    });

    test('throwing, with sqs-partial-batch-failure behind lockRecords(): all records fail, and nothing is released', async () => {
      const leases: Lease[] = [];
      const handle = middy(lockPlugin({ timeoutEarlyInMillis }))
        .use(locking())
        .use(sqsPartialBatchFailure(quiet))
        .handler(neverEnding(leases));
      expect(failed(await handle(batch(...lateRecords), late())).sort()).toEqual(['1', '2', '3', '4']);
      await expectAbandoned(leases);
    });

    test.each(['throw', 'ignore'] as const)(
      "returning a value, with onLost: '%s': records that had not succeeded by then fail, whatever the value is, and nothing is released",
      async (onLost) => {
        const leases: Lease[] = [];
        const plugin = lockPlugin({ timeoutEarlyInMillis, timeoutEarlyResponse: () => ({ batchItemFailures: [] }) });
        const handle = middy(plugin).use(locking({ onLost })).handler(neverEnding(leases));
        expect(failed(await handle(batch(...lateRecords), late()))).toEqual(['2', '3', '4']);
        expect(told).toEqual(['4: LockBusyError', '2: LockLostError', '3: LockLostError']);
        await expectAbandoned(leases);
      },
    );

    test('leases that have expired are not released: their locks may be ours all the same', async () => {
      const expiring: Handler = async (event, { locks }) => {
        clock.step(2_500);
        expect(locks.of(event.Records[0]!).isHeld()).toBe(false);
        await never;
      };
      const throwing = middy(lockPlugin({ timeoutEarlyInMillis })).use(locking()).handler(expiring);
      await expect(throwing(batch(message('1', 'a')), late())).rejects.toThrow('aborted');
      expect(await isHeld('a')).toBe(true);
      const returning = middy(lockPlugin({ timeoutEarlyInMillis, timeoutEarlyResponse: () => 'late' }));
      const handle = returning.use(locking()).handler(expiring);
      expect(failed(await handle(batch(message('2', 'b')), late()))).toEqual(['2']);
      expect(await isHeld('b')).toBe(true);
      expect(requests).toEqual(['acquire', 'acquire']);
    });
  });
});

test('a bundle with lock() alone has nothing of lockRecords()', async () => {
  const bundled = async (contents: string) => {
    const { metafile } = await build({
      stdin: { contents, resolveDir: import.meta.dirname },
      external: ['@aws-sdk/*'],
      bundle: true,
      platform: 'node',
      format: 'esm',
      metafile: true,
      write: false,
    });
    const inputs = Object.values(metafile.outputs).flatMap(({ inputs }) => Object.entries(inputs));
    return inputs.flatMap(([path, { bytesInOutput }]) => (bytesInOutput > 0 ? [basename(path)] : []));
  };
  const ofRecords = ['lock-records.ts', 'record-batch.ts'];
  expect(await bundled("export { lockRecords } from '../../middleware/index.ts'")).toEqual(
    expect.arrayContaining(ofRecords),
  );
  const alone = await bundled("export { lock, lockPlugin, withLock } from '../../middleware/index.ts'");
  expect(alone).toContain('lock.ts');
  expect(alone.filter((name) => ofRecords.includes(name))).toEqual([]);
});

test('a remaining time that is a promise and rejects fails the invocation, and ends no process', async () => {
  const { locks } = setUp();
  const unhandled: unknown[] = [];
  const listen = (error: unknown) => unhandled.push(error);
  process.on('unhandledRejection', listen);
  try {
    const handler = withRecordLocks({ key: ({ body }) => body, locks }, async () => {});
    const context = invocation({
      getRemainingTimeInMillis: (async () => Promise.reject(new Error('no context'))) as never,
    });
    await expect(handler(batch(message('1', 'a')), context)).rejects.toThrow('remainingMs must give a number');
    await new Promise((resolve) => setImmediate(resolve));
  } finally {
    process.off('unhandledRejection', listen);
  }
  expect(unhandled).toEqual([]);
});

describe('two locks of records, or of records and of the request, under one contextKey are refused before the second is taken', () => {
  const contextKey = 'both';
  const one = () => lock({ key: 'request', locks, contextKey });
  const many = (prefix: string) => lockRecords({ key: ({ body }) => prefix + body, locks, contextKey });
  test.each([
    ['lock, then lockRecords', () => [one(), many('a')]],
    ['lockRecords, then lock', () => [many('a'), one()]],
    ['lockRecords twice', () => [many('a'), many('b')]],
  ])('%s', async (_, middlewares) => {
    const handler = middy7(lockPlugin())
      .use(middlewares() as unknown as LockMiddleware[])
      .handler(() => 'never');
    await expect(handler(batch(message('1', 'x')), invocation() as never)).rejects.toThrow(
      'Two locks would stand in context.both',
    );
    expect(requests).toEqual(['acquire', 'release']);
  });
});
