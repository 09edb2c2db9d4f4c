import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, expect, jest } from '@jest/globals';
import { DynamoDBLockStore } from '../../lib/dynamodb/store.ts';
import { LockClient } from '../../lib/lease/client.ts';
import type { LockEvent } from '../../lib/lease/events.ts';
import type { Lease } from '../../lib/lease/lease.ts';
import type { AcquireOptions } from '../../lib/lease/options.ts';
import { LockStoreError } from '../../lib/record/errors.ts';
import type { LockRecord } from '../../lib/record/record.ts';
import { disciplinedClock } from '../support/disciplined-clock.ts';
import { type Fault, type FaultProxy, type Rule, startFaultProxy } from '../support/fault-proxy.ts';
import { storeOver, TRANSPORT } from '../support/store-over.ts';
import { describe, startDynamoDB, test } from '../support/with-dynamodb.ts';

// A busy machine needs more time than Jest's default.
jest.setTimeout(30_000);

// The server starts before the tests are declared, since concurrent tests do not wait for a hook.
const dynamodb = await startDynamoDB();
const tableName = await dynamodb.createLockTable();
afterAll(() => dynamodb.stop());
/** Reaches the server without a proxy. */
const direct = new DynamoDBLockStore({ tableName, client: dynamodb.client() });

/** A store behind a proxy. */
const storeBehind = (proxy: FaultProxy) => {
  const { endpoint } = proxy;
  const client = () => dynamodb.client({ endpoint });
  return storeOver(TRANSPORT, { endpoint, client }, { tableName }, () => proxy.requests.splice(0));
};

/** A new key, a client behind a new proxy, and a second client without a proxy. */
async function setUp(defaults: AcquireOptions = {}) {
  const proxy = await startFaultProxy({ upstream: dynamodb.endpoint });
  const store = await storeBehind(proxy);
  const key = `job-${randomUUID()}`;
  const events: LockEvent[] = [];
  const locks = new LockClient({
    store,
    owner: 'us',
    clock: disciplinedClock,
    onEvent: (event) => events.push(event),
  });
  return {
    proxy,
    key,
    events,
    acquire: (options?: AcquireOptions) => locks.acquire(key, { ...defaults, ...options }),
    close: () => locks.close(),
    others: new LockClient({ store: direct, owner: 'them' }),
    record: async () => (await direct.read(key, { consistent: true })).record as LockRecord,
    [Symbol.asyncDispose]: async () => {
      await proxy.stop();
    },
  };
}

/** Leaves the record of a holder that died without a release. */
async function letHolderDie(key: string) {
  const now = Date.now();
  const request = { key, lockId: 'dead', owner: 'a dead holder', now: now - 9_000, until: now - 4_000, leaseMs: 5_000 };
  const { record } = await direct.acquire(request);
  return record as LockRecord;
}

interface Case {
  title: string;
  fault: Fault;
  /** The number of requests that the client sends in all. */
  requests: number;
  /** The number of times that the server gets the first request. */
  deliveries?: number;
  /**
   * A long default keeps a slow machine from sending a request twice.
   * @default 10,000
   */
  requestTimeoutMs?: number;
}
const cases: Case[] = [
  { title: 'the answer is lost', fault: { do: 'loseAnswer' }, requests: 2 },
  { title: 'the request is lost', fault: { do: 'loseRequest' }, requests: 2 },
  { title: 'the answer is slow', fault: { do: 'delayAnswer', ms: 150 }, requests: 1 },
  {
    title: 'the answer comes after the request was given up',
    fault: { do: 'delayAnswer', ms: 900 },
    requests: 2,
    requestTimeoutMs: 500,
  },
  {
    title: 'the request arrives after it was given up',
    fault: { do: 'delayRequest', ms: 900 },
    requests: 2,
    requestTimeoutMs: 500,
  },
  { title: 'the request arrives twice at once', fault: { do: 'duplicate' }, requests: 1, deliveries: 2 },
  {
    title: 'the request arrives a second time later',
    fault: { do: 'duplicateLater', ms: 300 },
    requests: 1,
    deliveries: 2,
  },
  { title: 'the connection hangs', fault: { do: 'hang' }, requests: 2, requestTimeoutMs: 500 },
  { title: 'the server answers 500', fault: { do: 'status', status: 500 }, requests: 2 },
  { title: 'the server answers 503', fault: { do: 'status', status: 503 }, requests: 2 },
  { title: 'the request is throttled', fault: { do: 'throttle' }, requests: 2 },
  { title: 'the item is part of a transaction', fault: { do: 'transactionConflict' }, requests: 2 },
];

const failures = (events: LockEvent[]) => events.filter(({ type }) => /Failed|lost/.test(type));

describe('acquire gives the lease, with the right token and takenOverFrom, when', () => {
  test.concurrent.each(cases)('$title', async ({ fault, requests, deliveries, requestTimeoutMs = 10_000 }) => {
    await using the = await setUp({ requestTimeoutMs });
    const dead = await letHolderDie(the.key);
    the.proxy.plan(fault);
    const lease = await the.acquire();

    expect(lease.fencingToken).toBe(dead.fencingToken + 1);
    expect(lease.takenOverFrom).toEqual({ owner: 'a dead holder', expiredAt: dead.expiresAt });
    expect(lease.isHeld()).toBe(true);
    expect(the.proxy.count()).toBe(requests);
    expect(await the.record()).toMatchObject({ lockId: lease.lockId, owner: 'us', fencingToken: lease.fencingToken });
    expect(await the.others.tryAcquire(the.key)).toBeNull();

    // No late request revives the lease.
    expect(await lease.release()).toBe(true);
    const released = await the.record();
    expect(released).toMatchObject({ lockId: undefined, releasedBy: lease.lockId });
    await the.proxy.idle();
    expect(await the.record()).toEqual(released);
    if (deliveries) expect(the.proxy.requests[0]?.deliveries).toHaveLength(deliveries);
    expect(the.events.map(({ type }) => type)).toEqual(['acquired', 'released']);
  });
});

describe('renew keeps the lease when', () => {
  test.concurrent.each(cases)('$title', async ({ fault, requests, deliveries, requestTimeoutMs = 10_000 }) => {
    await using the = await setUp({ requestTimeoutMs });
    const lease = await the.acquire();
    const before = await the.record();
    the.proxy.reset();
    the.proxy.plan(fault);
    await sleep(2);
    await lease.renew();

    expect(the.proxy.count()).toBe(requests);
    const renewed = await the.record();
    expect(renewed.expiresAt).toBeGreaterThan(before.expiresAt);
    expect({ ...renewed, expiresAt: 0 }).toEqual({ ...before, expiresAt: 0 });
    // The deadline is at least the `safetyMs` of 3,000 before the expiry of the record.
    expect(lease.deadline + 3_000).toBeLessThanOrEqual(renewed.expiresAt);
    // A slow answer may leave the deadline unchanged, but does not bring the deadline forward.
    expect(lease.deadline + 3_000).toBeGreaterThanOrEqual(before.expiresAt);

    // No late request shortens the lease.
    await lease.renew();
    const again = await the.record();
    await the.proxy.idle();
    expect(await the.record()).toEqual(again);
    if (deliveries) expect(the.proxy.requests[0]?.deliveries).toHaveLength(deliveries);
    expect(lease.isHeld()).toBe(true);
    expect(failures(the.events)).toEqual([]);
    expect(await lease.release()).toBe(true);
  });
});

describe('release opens the lock and gives true when', () => {
  test.concurrent.each(cases)('$title', async ({ fault, requests, deliveries, requestTimeoutMs = 10_000 }) => {
    await using the = await setUp({ requestTimeoutMs });
    const lease = await the.acquire({ once: '2026-01-01' });
    the.proxy.reset();
    the.proxy.plan(fault);

    expect(await lease.release({ done: true })).toBe(true);
    expect(the.proxy.count()).toBe(requests);
    expect(await the.record()).toMatchObject({
      lockId: undefined,
      releasedBy: lease.lockId,
      expiresAt: lease.acquiredAt + 1,
      doneToken: '2026-01-01',
    });

    // No late request ends the next holder's lease.
    const next = await the.others.acquire(the.key);
    expect(next).toMatchObject({ fencingToken: lease.fencingToken + 1, takenOverFrom: undefined });
    const theirs = await the.record();
    await the.proxy.idle();
    expect(await the.record()).toEqual(theirs);
    if (deliveries) expect(the.proxy.requests[0]?.deliveries).toHaveLength(deliveries);
    expect(the.events.map(({ type }) => type)).toEqual(['acquired', 'released']);
    await next.release();
  });
});

const isAcquire = (body: { ReturnValues?: string }) => body.ReturnValues === 'ALL_NEW';
const isRelease = (body: { UpdateExpression?: string }) => /^SET releasedBy/.test(body.UpdateExpression ?? '');

describe('acquire throws a LockStoreError and leaves no grant when', () => {
  const everything: { title: string; fault: Fault; requestTimeoutMs?: number }[] = [
    { title: 'every answer is lost', fault: { do: 'loseAnswer' } },
    { title: 'every request is lost', fault: { do: 'loseRequest' } },
    { title: 'every answer comes too late', fault: { do: 'delayAnswer', ms: 700 }, requestTimeoutMs: 200 },
    { title: 'every connection hangs', fault: { do: 'hang' }, requestTimeoutMs: 200 },
    { title: 'every answer is 500', fault: { do: 'status', status: 500 } },
    { title: 'every request is throttled', fault: { do: 'throttle' }, requestTimeoutMs: 300 },
  ];
  test.concurrent.each(everything)('$title', async ({ fault, requestTimeoutMs }) => {
    await using the = await setUp({ requestTimeoutMs });
    const dead = await letHolderDie(the.key);
    the.proxy.plan({ ...fault, times: Number.POSITIVE_INFINITY });
    const failure = await the.acquire().catch((error: unknown) => error);

    expect(failure).toBeInstanceOf(LockStoreError);
    expect(failure).toMatchObject({ transient: true, message: expect.stringContaining(the.key) });
    expect(the.events).toMatchObject([{ type: 'acquireFailed', key: the.key, owner: 'us', error: failure }]);
    // A lease that the store may have granted is released in the background.
    await the.close();
    await the.proxy.idle();
    const record = await the.record();
    expect([undefined, 'dead']).toContain(record.lockId);
    const lease = await the.others.acquire(the.key);
    expect(lease.fencingToken).toBeGreaterThan(dead.fencingToken);
    await lease.release();
  });
});

test.concurrent('an acquire that hangs in the retries of the client tells of the last fault that the client met', async () => {
  await using the = await setUp({ requestTimeoutMs: 300 });
  the.proxy.plan({ do: 'throttle' }, { do: 'hang', times: Number.POSITIVE_INFINITY });
  const failure = (await the.acquire({ withinMs: 300 }).catch((error: unknown) => error)) as LockStoreError;
  expect(failure).toMatchObject({ transient: true, cause: { name: 'ProvisionedThroughputExceededException' } });
  expect(failure.message).toContain('The last fault was ProvisionedThroughputExceededException');
});

test.concurrent('the grant of a given-up acquire that arrives late ends at its expiry', async () => {
  await using the = await setUp({ leaseMs: 2_000, requestTimeoutMs: 100 });
  the.proxy.plan({ do: 'delayRequest', ms: 1_000, when: isAcquire, times: Number.POSITIVE_INFINITY });
  await expect(the.acquire()).rejects.toBeInstanceOf(LockStoreError);
  await the.proxy.idle();

  const { lockId, expiresAt } = await the.record();
  expect(lockId).toBeDefined();
  const lease = await the.others.acquire(the.key, { waitMs: 3_000 });
  expect(lease.acquiredAt).toBeGreaterThanOrEqual(expiresAt);
  expect((await the.record()).expiresAt).toBe(lease.deadline + 3_000);
  await lease.release();
});

test.concurrent('a waiter releases the grant of its own given-up attempt, and gets the lease', async () => {
  await using the = await setUp({ requestTimeoutMs: 100 });
  // The waiter sends each of two attempts three times. The first request of the first attempt arrives during the second
  // attempt. The other requests never arrive.
  the.proxy.plan({ do: 'delayRequest', ms: 500, when: isAcquire }, { do: 'hang', when: isAcquire, times: 5 });
  const lease = await the.acquire({ waitMs: 5_000 });

  const ghost = the.proxy.requests[0]?.body.ExpressionAttributeValues[':me'].S;
  expect(await the.record()).toMatchObject({ lockId: lease.lockId, releasedBy: ghost });
  expect(lease.takenOverFrom).toBeUndefined();
  expect(the.events.map(({ type }) => type).filter((type) => type !== 'acquireFailed')).toEqual(['acquired']);
  expect(await lease.release()).toBe(true);
});

test.concurrent('a renewal rejects if every answer is lost, and the heartbeat renews the lease again', async () => {
  await using the = await setUp();
  const lease = await the.acquire({ heartbeatMs: 20_000 });
  the.proxy.plan({ do: 'loseAnswer', times: Number.POSITIVE_INFINITY });
  await expect(lease.renew()).rejects.toBeInstanceOf(LockStoreError);
  the.proxy.reset();
  expect(lease.isHeld()).toBe(true);
  expect(the.events.at(-1)).toMatchObject({ type: 'renewFailed', fencingToken: lease.fencingToken });

  // The heartbeat tries again long before heartbeatMs is over.
  while (the.events.at(-1)?.type !== 'renewed') await sleep(10);
  expect((await the.record()).expiresAt).toBe(lease.deadline + 3_000);
  expect(await lease.release()).toBe(true);
});

test.concurrent('a release reports releaseFailed if every answer is lost, and the lock is open', async () => {
  await using the = await setUp();
  const lease = await the.acquire();
  the.proxy.plan({ do: 'loseAnswer', times: Number.POSITIVE_INFINITY });

  expect(await lease.release()).toBe(false);
  expect(lease.isHeld()).toBe(false);
  expect(the.events.at(-1)).toMatchObject({ type: 'releaseFailed', error: expect.any(LockStoreError) });
  expect(await the.record()).toMatchObject({ lockId: undefined, releasedBy: lease.lockId });
});

test.concurrent('a release reports releaseFailed in bounded time if every request hangs, and the lock opens at the expiry', async () => {
  await using the = await setUp({ requestTimeoutMs: 100 });
  const lease = await the.acquire();
  const before = await the.record();
  the.proxy.plan({ do: 'hang', times: Number.POSITIVE_INFINITY });

  expect(await lease.release()).toBe(false);
  expect(lease.isHeld()).toBe(false);
  expect(the.events.at(-1)).toMatchObject({ type: 'releaseFailed', error: expect.any(LockStoreError) });
  expect(await the.record()).toEqual(before);
  expect(lease.signal.aborted).toBe(false);
});

describe('a release whose answer was lost gives true, even if before the second request', () => {
  const loseAndDelay = (ms: number): Rule[] => [
    { do: 'loseAnswer', when: isRelease },
    { do: 'delayRequest', ms, when: isRelease },
  ];

  test.concurrent('the next holder acquires the lock', async () => {
    await using the = await setUp();
    const lease = await the.acquire();
    the.proxy.plan(...loseAndDelay(300));
    const released = lease.release();
    const next = await the.others.acquire(the.key, { waitMs: 3_000 });

    expect(await released).toBe(true);
    expect(the.proxy.requests.at(-1)?.status).toBe(400);
    expect(await the.record()).toMatchObject({ lockId: next.lockId, owner: 'them' });
    expect(failures(the.events)).toEqual([]);
    await next.release();
  });

  test.concurrent('the next holder acquires and releases the lock', async () => {
    await using the = await setUp();
    const lease = await the.acquire();
    the.proxy.plan(...loseAndDelay(300));
    const released = lease.release();
    const next = await the.others.acquire(the.key, { waitMs: 3_000 });
    await next.release();

    expect(await released).toBe(true);
    expect(the.proxy.requests.at(-1)?.status).toBe(400);
    expect(await the.record()).toMatchObject({ lockId: undefined, releasedBy: next.lockId });
    expect(failures(the.events)).toEqual([]);
  });

  test.concurrent('the deadline passes', async () => {
    await using the = await setUp({ leaseMs: 1_000, requestTimeoutMs: 10_000 });
    const lease = await the.acquire();
    the.proxy.plan(...loseAndDelay(1_000));

    expect(await lease.release()).toBe(true);
    expect(Date.now()).toBeGreaterThan(lease.deadline);
    expect(failures(the.events)).toEqual([]);
  });
});

test.concurrent('a renewal that hangs at the release is not sent again', async () => {
  await using the = await setUp({ requestTimeoutMs: 400 });
  const lease = await the.acquire({ heartbeatMs: 50 });
  the.proxy.plan({ do: 'hang', when: (body) => !isRelease(body), times: Number.POSITIVE_INFINITY });
  while (the.proxy.requests.at(-1)?.fault !== 'hang') await sleep(5);
  const sent = the.proxy.count();
  expect(await lease.release()).toBe(true);
  await sleep(900);
  expect(the.proxy.count()).toBe(sent + 1);
});

test.concurrent('a resume whose answer was lost gives the lease', async () => {
  await using the = await setUp();
  const handle = await (await the.acquire()).handOff({ leaseMs: 10_000 });
  const proxied = new LockClient({
    store: await storeBehind(the.proxy),
  });
  the.proxy.plan({ do: 'loseAnswer' });
  const lease = await proxied.resume(handle);

  expect(lease.fencingToken).toBe(handle.fencingToken + 1);
  expect(await the.record()).toMatchObject({ lockId: lease.lockId });
  expect(await lease.release()).toBe(true);
});

describe('a renewal that is in flight at the release leaves the lock free', () => {
  const rounds = 25;
  const inFlight: Fault[] = [
    { do: 'delayRequest', ms: 120 },
    { do: 'delayAnswer', ms: 120 },
  ];
  test.concurrent.each(inFlight)('in each of 25 rounds: $do', async (fault) => {
    await using the = await setUp();
    const isRenewal = (body: { UpdateExpression?: string }) =>
      body.UpdateExpression?.startsWith('SET expiresAt') ?? false;
    the.proxy.plan({ ...fault, when: isRenewal, times: Number.POSITIVE_INFINITY });
    const store = await storeBehind(the.proxy);
    const events: LockEvent[] = [];
    const locks = new LockClient({ store, onEvent: (event) => events.push(event) });
    const renewalsOf = (lease: Lease) =>
      the.proxy.requests.filter(({ body }) => isRenewal(body) && body.Key.lockKey.S === lease.key);

    const leases: Lease[] = [];
    const releasedAt: number[] = [];
    const release = async (round: number) => {
      const lease = await locks.acquire(`${the.key}/${round}`, { heartbeatMs: 50 });
      leases[round] = lease;
      while (renewalsOf(lease).every(({ status }) => status !== undefined)) await sleep(5);
      releasedAt[round] = Date.now();
      return lease.release();
    };
    const released = await Promise.all(Array.from({ length: rounds }, (_, round) => release(round)));
    expect(released).toEqual(leases.map(() => true));
    await the.proxy.idle();

    const records = await Promise.all(leases.map(({ key }) => direct.read(key, { consistent: true })));
    expect(records.map(({ record }) => [record?.lockId, record?.releasedBy, record?.expiresAt])).toEqual(
      leases.map(({ lockId, acquiredAt }) => [undefined, lockId, acquiredAt + 1]),
    );
    // No renewal began after the release. The expiry that a renewal writes shows the moment at which it began.
    for (const [round, lease] of leases.entries()) {
      const begun = renewalsOf(lease).map(({ body }) => body.ExpressionAttributeValues[':until'].N - 30_000);
      expect(Math.max(...begun)).toBeLessThanOrEqual(releasedAt[round]! + 1);
    }
    const next = await Promise.all(leases.map(({ key }) => the.others.tryAcquire(key)));
    expect(next.every((lease) => lease?.takenOverFrom === undefined && lease?.isHeld())).toBe(true);
    await the.others.close({ graceMs: 0 });
    expect(failures(events)).toEqual([]);
  });
});
