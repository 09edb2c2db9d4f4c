// Compiled, and never run. Users may write this with the middleware; the compiler must refuse the lines that say so.

import type { Writable } from 'node:stream';
import middy, { executionModeStreamifyResponse } from '@middy/core';
import type { Context, EventBridgeEvent, SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda';
import middy6 from 'middy6';
import type { CoalesceOptions, Lease, Leases } from '../../lib/index.ts';
import { LockClient } from '../../lib/index.ts';
import { MemoryLockStore } from '../../lib/testing.ts';
import {
  type BatchResponse,
  type LambdaContext,
  type LockAllOptions,
  type LockOptions,
  lock,
  lockPlugin,
  lockRecords,
  withLock,
  withRecordLocks,
} from '../../middleware/index.ts';

/** Compiles only when the two types are the same, `any` and `unknown` told apart. */
function same<Expected>() {
  return <Actual>(
    _: Actual,
    ..._same: (<T>() => T extends Actual ? 1 : 2) extends <T>() => T extends Expected ? 1 : 2 ? [] : [never]
  ) => {};
}

interface Job {
  readonly name: string;
}
type Schedule = EventBridgeEvent<'Scheduled Event', { job: string }>;
declare const context: Context;

// The context has a Lease, without a cast, and the event's type survives.
middy<Schedule>()
  .use(lock({ key: 'nightly', once: (event: Schedule) => event.time }))
  .handler(async (event, context) => {
    same<Lease>()(context.lock);
    same<string>()(event.detail.job);
    same<string>()(context.awsRequestId);
    // @ts-expect-error the event is not of type any
    event.nothing;
    // @ts-expect-error the context is not of type any
    context.nothing;
  });
middy6<Schedule>()
  .use(lock({ key: 'nightly', once: (event: Schedule) => event.time }))
  .handler(async (event, context) => {
    same<Lease>()(context.lock);
    same<string>()(event.detail.job);
    // @ts-expect-error the context is not of type any
    context.nothing;
  });

// A key without a parameter leaves the event's type as it is. The type of a key's parameter is asked of the event.
middy<SQSEvent>()
  .use(lock({ key: 'queue' }))
  .handler(async (event) => same<SQSEvent>()(event as SQSEvent & typeof event));
middy()
  .use(lock({ key: (event: Job) => event.name }))
  .handler(async (event) => same<string>()(event.name));
middy()
  .use(lock<Job>({ key: (event) => event.name, data: (event, { awsRequestId }) => [event.name, awsRequestId] }))
  .handler(async (event) => same<string>()(event.name));

// Two locks, each under its own name, among other middlewares.
middy<Job>()
  .use({ before: async (request: middy.Request<Job>) => same<Job>()(request.event) })
  .use(lock({ key: 'account' }))
  .use(lock({ key: 'region', contextKey: 'region' }))
  .handler(async (_event, context) => {
    same<Lease>()(context.lock);
    same<Lease>()(context.region);
    // @ts-expect-error no lock stands there
    context.zone;
  });

// A context that other middlewares have filled.
lock({ key: (_event: Job, context: Context & { tenant: string }) => context.tenant });

// Every option.
lock({
  key: 'nightly',
  once: '2026-01-01',
  data: { job: 1 },
  onBusy: (busy, event, context) => {
    same<string>()(busy.key);
    same<unknown>()(event);
    same<LambdaContext>()(context);
  },
  onDone: (done) => same<string>()(done.doneToken),
  onLost: 'ignore',
  onEvent: (event) => event.type,
  waitMs: 1,
  reserveMs: 1,
  leaseMs: 1,
  heartbeatMs: 1,
  safetyMs: 1,
  requestTimeoutMs: 1,
  holdAtLeastMs: 1,
  holdAtMostMs: 1,
  locks: new LockClient({ store: new MemoryLockStore() }),
});
lock({ key: 'nightly', locks: new MemoryLockStore(), onBusy: 'skip' });
lock({ key: 'nightly', tableName: 'locks' });
// @ts-expect-error a key is needed
lock({});
// @ts-expect-error a key is a string
lock({ key: 1 });
// @ts-expect-error 'skip' is written small
lock({ key: 'nightly', onBusy: 'Skip' });
lock({ key: 'nightly', once: () => new Date() });
// @ts-expect-error a token must be there
lock({ key: 'nightly', once: () => undefined });
// @ts-expect-error each invocation has its own signal and owner
lock({ key: 'nightly', owner: 'me' });

// Middy takes the plugin, with and without one of the user's.
middy(lockPlugin()).use(lock({ key: 'nightly' }));
middy6(lockPlugin()).use(lock({ key: 'nightly' }));
middy(
  lockPlugin({
    timeoutEarlyInMillis: 50,
    timeoutEarlyResponse: () => 'late',
    executionMode: executionModeStreamifyResponse,
  }),
);
middy6(lockPlugin({ timeoutEarlyInMillis: 50, timeoutEarlyResponse: () => 'late', streamifyResponse: true }));
lockPlugin({ requestEnd: async ({ context, error }) => [context, error] });
// @ts-expect-error a hook is a function
lockPlugin({ requestStart: 'now' });

// Without Middy.
const plain = withLock({ key: (event: Job) => event.name }, async (event: Job, context: Context & { lock: Lease }) => {
  same<Lease>()(context.lock);
  return event.name.length;
});
same<Promise<number>>()(plain({ name: 'nightly' }, context));
// @ts-expect-error the event is a Job
plain({}, context);

// A handler that may not run: the result says what comes in its place.
const length = async (event: Job) => event.name.length;
const job = { name: 'nightly' };
same<Promise<number>>()(withLock({ key: 'nightly', onBusy: 'throw' }, length)(job, context));
same<Promise<number | undefined>>()(withLock({ key: 'nightly', onBusy: 'skip' }, length)(job, context));
same<Promise<number | string>>()(withLock({ key: 'nightly', onBusy: (busy) => busy.key }, length)(job, context));
same<Promise<number | string>>()(
  withLock({ key: 'nightly', onBusy: async (_, { name }) => name }, length)(job, context),
);
same<Promise<number | undefined>>()(withLock({ key: 'nightly', once: '2026' }, length)(job, context));
same<Promise<number | undefined>>()(withLock({ key: 'nightly', once: (event) => event.name }, length)(job, context));
same<Promise<number | string>>()(
  withLock({ key: 'nightly', once: '2026', onDone: ({ doneToken }) => doneToken }, length)(job, context),
);
same<Promise<number | boolean | undefined>>()(
  withLock({ key: 'nightly', once: '2026', onBusy: () => true, onDone: 'skip' }, length)(job, context),
);
same<Promise<string | BatchResponse>>()(
  withLock({ key: 'queue', onBusy: 'skip' }, async (_event: SQSEvent) => 'done')({ Records: [] }, context),
);
// Options of the wide type may respond with anything.
declare const elsewhere: LockOptions<Job>;
same<Promise<unknown>>()(withLock(elsewhere, length)(job, context));
// @ts-expect-error there is no such option
withLock({ key: 'nightly', onBussy: 'skip' }, length);
// @ts-expect-error 'skip' is written small
withLock({ key: 'nightly', onBusy: 'Skip' }, length);
withLock({ key: 'nightly', once: 5n }, length);
// @ts-expect-error a token is a Date, a number or a string
withLock({ key: 'nightly', once: true }, length);
// @ts-expect-error onBusy gets a LockBusyError
withLock({ key: 'nightly', onBusy: (busy: number) => busy }, length);

// Middy's `use` does not tell a middleware the type of the event, so the middleware must.
middy<Schedule>().use(
  lock({
    key: 'nightly',
    // @ts-expect-error the event is unknown here
    once: (event) => event.time,
  }),
);

const inferred = withLock({ key: 'nightly', contextKey: 'lease' }, (event: Job, context) => {
  same<Lease>()(context.lease);
  same<string>()(context.functionName);
  // @ts-expect-error the lease has another name
  context.lock;
  return event.name;
});
same<Promise<string>>()(inferred({ name: 'nightly' }, context));

const streaming = withLock(
  { key: 'nightly' },
  async (_event: Job, responseStream: Writable, { lock }: { lock: Lease }) => {
    lock.assertHeld();
    responseStream.end();
  },
);
same<Promise<void>>()(streaming({ name: 'nightly' }, process.stdout, context));

// A streaming handler that needs no context is no handler of an event and a context.
const deaf = withLock({ key: 'nightly' }, async (_event: Job, responseStream: Writable) => void responseStream.end());
deaf({ name: 'nightly' }, process.stdout as never, context);

// Several keys: the context has all their leases.
middy<Schedule>()
  .use(lock({ keys: ['a', 'b'] }))
  .use(lock({ keys: (event: Schedule) => [event.time, event.id], contextKey: 'two', onBusy: (busy) => busy.key }))
  .handler(async (event, context) => {
    same<Leases>()(context.lock);
    same<Leases>()(context.two);
    same<string>()(event.detail.job);
    // @ts-expect-error the context is not of type any
    context.nothing;
  });
const both = withLock({ keys: (event: Job) => [event.name, 'all'] }, async (event, context) => {
  same<Leases>()(context.lock);
  return event.name.length;
});
same<Promise<number>>()(both(job, context));
same<Promise<number | string>>()(
  withLock({ keys: ['a', 'b'], onBusy: ({ key }) => key }, async (event: Job, { lock }) => {
    same<Leases>()(lock);
    return event.name.length;
  })(job, context),
);
// @ts-expect-error either key or keys
lock({ key: 'a', keys: ['a', 'b'] });
// @ts-expect-error a done token belongs to one key
lock({ keys: ['a', 'b'], once: '2026' });
// @ts-expect-error a done token belongs to one key
withLock({ keys: ['a', 'b'], once: '2026' }, length);

// The compiler names the mistake, and not an option that is right: each error stands at the line of its option.
withLock(
  {
    key: 'nightly',
    // @ts-expect-error there is no such option
    onBussy: 'skip',
  },
  length,
);
withLock(
  {
    key: 'nightly',
    // @ts-expect-error there is no such option
    leesMs: 10_000,
  },
  length,
);
withLock(
  {
    keys: ['a', 'b'],
    // @ts-expect-error there is no such option
    onBussy: 'skip',
  },
  length,
);
withLock(
  {
    key: 'nightly',
    // @ts-expect-error milliseconds are a number
    leaseMs: '10_000',
  },
  length,
);
lock({
  key: 'nightly',
  // @ts-expect-error there is no such option
  onBussy: 'skip',
});
lock({
  keys: ['a', 'b'],
  // @ts-expect-error there is no such option
  onBussy: 'skip',
});
// Options of either kind, as a caller may choose them at run time.
declare const either: LockOptions<Job> | LockAllOptions<Job>;
same<Promise<unknown>>()(withLock(either, length)(job, context));
const several = withLock(
  { keys: ['a', 'b'] },
  async (_event: Job, responseStream: Writable, { lock }: { lock: Leases }) => {
    lock.assertHeld();
    responseStream.end();
  },
);
same<Promise<void>>()(several({ name: 'nightly' }, process.stdout, context));

// Coalescing: Middy calls a handler once, and a run is asked for at one holder.
same<Promise<number | undefined>>()(
  withLock({ key: 'index', coalesce: true, onlyIfOwed: true, onCovered: () => 0 }, length)(job, context),
);
lock({
  key: 'index',
  // @ts-expect-error Middy calls a handler once
  coalesce: true,
});
const coalescing = { reserveMs: 5, leaseMs: 5 } satisfies CoalesceOptions;
same<number>()(coalescing.reserveMs);
// @ts-expect-error a run is asked for at one holder
same<object>()({ permits: 5 } satisfies CoalesceOptions as object);

// Records: each has its lease, without a cast, and the event's type survives.
middy<SQSEvent>(lockPlugin())
  .use(lockRecords({ key: (record) => record.body, once: ({ attributes }) => attributes.SequenceNumber }))
  .handler(async (event, { locks, awsRequestId }) => {
    same<string>()(awsRequestId);
    for (const record of event.Records) {
      same<string>()(record.attributes.ApproximateReceiveCount);
      same<Lease>()(locks.of(record));
      same<number>()(await locks.using(record, async (lease) => lease.fencingToken));
      same<string>()(await locks.using(record, ({ key }) => key));
      // @ts-expect-error a record is not of type any
      record.nothing;
    }
    // @ts-expect-error the records are those of the event
    locks.of('m-1');
    return { batchItemFailures: [] };
  });
middy6<SQSEvent>(lockPlugin())
  .use(lockRecords({ key: (record: SQSRecord) => record.messageId }))
  .handler(async (event, { locks }) => {
    same<Lease>()(locks.of(event.Records[0] as SQSRecord));
    // @ts-expect-error the context is not of type any
    locks.nothing;
  });
// Without a type of its own, the event is a batch.
middy()
  .use(lockRecords({ key: (record) => record.body }))
  .handler(async (event) => same<string>()(event.Records[0]?.body ?? ''));

// Bodies that were parsed before.
interface Order {
  messageId: string;
  body: { account: string };
}
middy<{ Records: Order[] }>()
  .use(lockRecords({ key: (record: Order) => record.body.account, contextKey: 'accounts' }))
  .handler(async (event, { accounts }) => {
    for (const record of event.Records) same<string>()(accounts.of(record).key + record.body.account);
  });

// Every option.
lockRecords({
  key: (record) => record.body,
  once: () => '1',
  data: (record) => [record.messageId],
  onLost: 'ignore',
  onFailed: (error, record) => {
    same<unknown>()(error);
    same<string>()(record.messageId);
  },
  onEvent: (event) => event.type,
  contextKey: 'locks',
  waitMs: 1,
  reserveMs: 1,
  leaseMs: 1,
  holdAtLeastMs: 1,
  locks: new MemoryLockStore(),
});
// @ts-expect-error a key is needed
lockRecords({});
// @ts-expect-error each record has its own
lockRecords({ key: 'queue' });
lockRecords({ key: (record) => record.body, once: ({ attributes }) => attributes.SequenceNumber });
// @ts-expect-error a token is a Date, a number or a string
lockRecords({ key: (record) => record.body, once: () => ({}) });
// @ts-expect-error a busy record goes back
lockRecords({ key: (record) => record.body, onBusy: 'skip' });
// @ts-expect-error a record has an id
lockRecords({ key: (record: { body: string }) => record.body });

// Without Middy.
const consume = withRecordLocks({ key: (record) => record.body }, async (event, { locks, awsRequestId }) => {
  same<string>()(awsRequestId);
  for (const record of event.Records) same<Lease>()(locks.of(record));
});
declare const sqsEvent: SQSEvent;
const consumed: Promise<SQSBatchResponse> = consume(sqsEvent, context);
consumed.catch(() => {});
// @ts-expect-error an event of SQS
consume({}, context).catch(() => {});
