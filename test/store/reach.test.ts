import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, expect, jest } from '@jest/globals';
import { DynamoDBLockStore } from '../../lib/dynamodb/store.ts';
import { LockClient, type LockClientOptions } from '../../lib/lease/client.ts';
import { systemClock } from '../../lib/lease/clock.ts';
import type { LockEvent } from '../../lib/lease/events.ts';
import type { Lease } from '../../lib/lease/lease.ts';
import { LockBusyError } from '../../lib/record/errors.ts';
import { disciplinedClock } from '../support/disciplined-clock.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { storeOver, TRANSPORT } from '../support/store-over.ts';
import { describe, startDynamoDB, test } from '../support/with-dynamodb.ts';

// A busy machine needs more time than Jest's default.
jest.setTimeout(30_000);

// The server starts before the tests are declared, since concurrent tests do not wait for a hook.
const dynamodb = await startDynamoDB();
const tableName = await dynamodb.createLockTable();
afterAll(() => dynamodb.stop());
const direct = new DynamoDBLockStore({ tableName, client: dynamodb.client() });

const newKey = () => `job-${randomUUID()}`;
/** Expects a median of at most 100 ms. A busy machine gets three tries. */
async function expectMedianWithin100(measure: () => Promise<number[]>): Promise<void> {
  let median = Number.POSITIVE_INFINITY;
  for (let tries = 1; tries <= 3 && median > 100; tries++) {
    const values = (await measure()).sort((a, b) => a - b);
    expect(values[0]).toBeGreaterThanOrEqual(0);
    median = values[Math.floor(values.length / 2)]!;
  }
  expect(median).toBeLessThanOrEqual(100);
}

/** A client behind a proxy that logs the requests. */
async function counted(options: Partial<LockClientOptions> = {}) {
  const proxy = await startFaultProxy({ upstream: dynamodb.endpoint });
  const { endpoint } = proxy;
  const client = () => dynamodb.client({ endpoint });
  const store = await storeOver(TRANSPORT, { endpoint, client }, { tableName }, () => proxy.requests.splice(0));
  const events: LockEvent[] = [];
  const locks = new LockClient({
    store,
    clock: disciplinedClock,
    onEvent: (event) => events.push(event),
    ...options,
  });
  return {
    locks,
    events,
    proxy,
    operations: () => proxy.requests.map(({ operation }) => operation),
    [Symbol.asyncDispose]: async () => {
      await proxy.stop();
    },
  };
}

/** Leaves the record of a holder that died. */
async function letHolderDie(key: string, leaseMs: number) {
  const now = Date.now();
  const until = now + leaseMs;
  const { record } = await direct.acquire({ key, lockId: randomUUID(), owner: 'the dead', now, until, leaseMs });
  return record!;
}

/** Runs a program of the folder `programs`, and gives its lines as they come. */
function run(program: URL, args: (string | number)[], environment: Record<string, string>) {
  const child = spawn(process.execPath, [program.pathname, ...args.map(String)], {
    env: { ...process.env, NODE_OPTIONS: '', LOCK_TABLE_NAME: tableName, ...environment },
  });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  let errors = '';
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  return {
    child,
    exited: once(child, 'close'),
    errors: () => errors,
    /** Reads the next line. Throws the program's own errors if the program has ended. */
    line: async (): Promise<string> => {
      const { value, done } = await lines.next();
      if (done) throw new Error(`The program ended early: ${errors}`);
      return value;
    },
    rest: async (): Promise<string[]> => Array.fromAsync({ [Symbol.asyncIterator]: () => lines }),
  };
}
const contender = new URL('./programs/contender.ts', import.meta.url);
const holder = new URL('./programs/holder.ts', import.meta.url);

describe('requests', () => {
  test('an acquire and a release of a free lock send two requests', async () => {
    await using the = await counted();
    const lease = await the.locks.acquire(newKey());
    await lease.release();
    expect(the.operations()).toEqual(['UpdateItem', 'UpdateItem']);
    expect(the.events.map(({ type, skewMs }) => [type, skewMs])).toEqual([
      ['acquired', undefined],
      ['released', undefined],
    ]);
  });

  test('work that is shorter than heartbeatMs sends no renewal', async () => {
    await using the = await counted();
    await the.locks.using(newKey(), {}, () => sleep(300));
    expect(the.operations()).toEqual(['UpdateItem', 'UpdateItem']);
  });

  test('work that is longer than heartbeatMs sends a renewal for each heartbeatMs, and no renewal after the release', async () => {
    await using the = await counted();
    await the.locks.using(newKey(), { heartbeatMs: 200 }, () => sleep(500));
    const sent = the.operations().length;
    expect(sent).toBeGreaterThanOrEqual(3);
    expect(sent).toBeLessThanOrEqual(5);
    await sleep(300);
    expect(the.operations()).toHaveLength(sent);
  });

  test('a try of a busy lock sends one request, and gets the owner, the expiry and retryAfterMs', async () => {
    await using the = await counted();
    const key = newKey();
    const { expiresAt, fencingToken } = await letHolderDie(key, 20_000);
    const failure = await the.locks.acquire(key).catch((error: unknown) => error);
    expect(the.operations()).toEqual(['UpdateItem']);
    expect(failure).toBeInstanceOf(LockBusyError);
    expect(failure).toMatchObject({ key, owner: 'the dead', expiresAt, retryAfterMs: expect.any(Number) });
    const { retryAfterMs } = failure as LockBusyError;
    expect(retryAfterMs).toBeGreaterThan(10_000);
    expect(retryAfterMs).toBeLessThanOrEqual(20_000);
    expect(the.events).toMatchObject([
      { type: 'busy', key, owner: 'the dead', fencingToken, expiresAt, retryAfterMs: expect.any(Number) },
    ]);

    expect(await the.locks.tryAcquire(key)).toBeNull();
    expect(the.operations()).toHaveLength(2);
  });
});

describe('a lock whose holder died is taken within 100 ms of its expiry', () => {
  /** Leaves the records of holders whose leases expire 70 ms apart, so that the next holders do not meet. */
  const letHoldersDie = (leaseMs: number, keys: string[]) =>
    Promise.all(keys.map((key, i) => letHolderDie(key, leaseMs + i * 70)));
  const newKeys = () => Array.from({ length: 5 }, newKey);

  test.concurrent('by a waiter, in the median', async () => {
    await using the = await counted();
    await expectMedianWithin100(async () => {
      // The lease is so long that the waiter's pauses grow to several times 100 ms.
      const dead = await letHoldersDie(2_500, newKeys());
      return Promise.all(
        dead.map(async ({ key, expiresAt }) => {
          const lease = await the.locks.acquire(key, { waitMs: 5_000 });
          const grantedAt = Date.now();
          expect(lease.takenOverFrom).toEqual({ owner: 'the dead', expiredAt: expiresAt });
          await lease.release();
          return grantedAt - expiresAt;
        }),
      );
    });
  });

  test('by the first try after the expiry, with one request', async () => {
    await using the = await counted();
    const key = newKey();
    const { expiresAt, fencingToken } = await letHolderDie(key, 300);
    await sleep(expiresAt - 60 - Date.now());
    expect(await the.locks.tryAcquire(key)).toBeNull();
    await sleep(expiresAt - Date.now() + 1);
    const lease = await the.locks.tryAcquire(key);
    expect(lease).toMatchObject({ fencingToken: fencingToken + 1, takenOverFrom: { owner: 'the dead' } });
    expect(the.operations()).toHaveLength(2);
    await lease?.release();
  });

  test.concurrent('by a waiter in a new process, in the median', async () => {
    await expectMedianWithin100(async () => {
      const keys = newKeys();
      const cold = run(contender, [5_000, ...keys], dynamodb.environment);
      expect(await cold.line()).toBe('ready');
      const dead = await letHoldersDie(700, keys);
      cold.child.stdin.write('go');
      const leases: Lease[] = JSON.parse(await cold.line());
      await cold.exited;

      expect(leases.map(({ fencingToken }) => fencingToken)).toEqual(dead.map(({ fencingToken }) => fencingToken + 1));
      expect(leases.every(({ takenOverFrom }) => takenOverFrom?.owner === 'the dead')).toBe(true);
      return leases.map(({ acquiredAt }, i) => acquiredAt - dead[i]!.expiresAt);
    });
  });

  test.concurrent.each([
    ['on Lambda, with one request', { AWS_LAMBDA_FUNCTION_NAME: 'f' }, ['UpdateItem']],
    ['elsewhere, after one judge read', {}, ['GetItem', 'UpdateItem']],
  ])('by the first try of a new process after the expiry: %s', async (_, where, operations) => {
    await using the = await counted();
    const key = newKey();
    const { expiresAt, fencingToken } = await letHolderDie(key, 100);
    const environment = { ...dynamodb.environment, AWS_ENDPOINT_URL_DYNAMODB: the.proxy.endpoint, ...where };
    const cold = run(contender, [0, key], environment);
    expect(await cold.line()).toBe('ready');
    await sleep(Math.max(0, expiresAt - Date.now() + 1));
    cold.child.stdin.write('go');

    const takenOverFrom = { owner: 'the dead', expiredAt: expiresAt };
    expect(JSON.parse(await cold.line())).toMatchObject([{ fencingToken: fencingToken + 1, takenOverFrom }]);
    expect(the.operations()).toEqual(operations);
    await cold.exited;
  });
});

test('a waiter gets a released lock within 100 ms in the median, with at most 12 requests and two writes', async () => {
  await using the = await counted();
  const others = new LockClient({ store: direct });
  const leases: Lease[] = [];
  const wait = async () => {
    const key = newKey();
    const held = await others.acquire(key);
    const acquired = the.locks.acquire(key, { waitMs: 5_000 }).then((lease) => {
      leases.push(lease);
      return Date.now();
    });
    await sleep(500);
    const releasedAt = Date.now();
    await held.release();
    const lateMs = (await acquired) - releasedAt;
    const requests = the.proxy.requests.filter(({ body }) => body.Key.lockKey.S === key);
    expect(requests.length).toBeLessThanOrEqual(12);
    expect(requests.filter(({ operation }) => operation === 'UpdateItem')).toHaveLength(2);
    expect(requests.filter(({ body }) => body.ConsistentRead)).toHaveLength(0);
    return lateMs;
  };
  await expectMedianWithin100(async () => {
    const late: number[] = [];
    for (let round = 0; round < 3; round++) late.push(...(await Promise.all([wait(), wait(), wait()])));
    return late;
  });
  await Promise.all(leases.map((lease) => lease.release()));
  await the.locks.close();
});

test('a holder is told in time, and its process ends, if the server stands still for longer than the lease', async () => {
  await using frozen = await startDynamoDB();
  await frozen.createLockTable('locks');
  const program = run(holder, ['job', 1_200], { ...frozen.environment, LOCK_TABLE_NAME: 'locks' });
  expect(await program.line()).toBe('{"held":true}');
  frozen.suspend();
  const [code, signal] = await program.exited;
  frozen.resume();

  expect(program.errors()).toBe('');
  expect([code, signal]).toEqual([0, null]);
  const [lost, ...rest] = (await program.rest()).map((line) => JSON.parse(line));
  expect(lost).toEqual({
    abortedAt: expect.any(Number),
    expiresAt: expect.any(Number),
    isHeld: false,
    reason: 'expired',
  });
  expect(lost.abortedAt).toBeLessThan(lost.expiresAt);
  expect(rest).toEqual([{ released: false }]);
});

describe('a clock that is wrong, with leases of 2 s:', () => {
  const hour = 3_600_000;
  const offsets = [3_000, hour, -3_000, -hour];
  const clockOff = (offsetMs: number) => ({ ...systemClock, now: () => Date.now() + offsetMs });
  /** Expects no `skewMs` for a right clock, and `skewMs` to the second for a wrong clock. */
  const expectSkew = (skewMs: number | undefined, offsetMs: number) => {
    if (offsetMs === 0) expect(skewMs).toBeUndefined();
    else expect(Math.abs(Number(skewMs) - offsetMs)).toBeLessThanOrEqual(1_000);
  };
  const cases = [
    { title: 'a contender 3 s ahead', holding: 0, contending: 3_000 },
    { title: 'a contender an hour ahead', holding: 0, contending: hour },
    { title: 'a contender beside a holder 3 s behind', holding: -3_000, contending: 0 },
    { title: 'a contender an hour ahead beside a holder an hour behind', holding: -hour, contending: hour },
    { title: 'a contender an hour behind beside a holder an hour ahead', holding: hour, contending: -hour },
  ];

  test.concurrent.each(cases)(
    '$title never overlaps the holder, and gets the lock after the release',
    async ({ holding, contending }) => {
      const key = newKey();
      await using us = await counted({ owner: 'us', leaseMs: 2_000, clock: clockOff(holding) });
      await using them = await counted({ owner: 'them', leaseMs: 2_000, clock: clockOff(contending) });
      const held = await us.locks.acquire(key, { waitMs: 3_000 });
      const acquired = them.locks.acquire(key, { waitMs: 5_000 });
      let next: Lease | undefined;
      let overlaps = 0;
      const watched = acquired.then((lease) => {
        next = lease;
        if (held.isHeld()) overlaps++;
      });
      // The holder needs renewals, since this time is longer than its lease.
      await Promise.race([sleep(2_500), watched]);
      expect(overlaps).toBe(0);
      expect(next).toBeUndefined();
      expect(held.isHeld()).toBe(true);
      expect(await held.release()).toBe(true);

      const lease = await acquired;
      expect(overlaps).toBe(0);
      expect(lease.fencingToken).toBeGreaterThan(held.fencingToken);
      expect(lease.isHeld()).toBe(true);
      expect(await lease.release()).toBe(true);
      for (const [{ events }, offsetMs] of [
        [us, holding],
        [them, contending],
      ] as const) {
        expect(events.filter(({ type }) => /lost|Failed/.test(type))).toEqual([]);
        for (const { skewMs } of events) expectSkew(skewMs, offsetMs);
      }
    },
  );

  test.concurrent.each(offsets)('a busy try gets the skewMs of a clock that is off by %p ms', async (offsetMs) => {
    await using the = await counted({ leaseMs: 2_000, clock: clockOff(offsetMs) });
    const key = newKey();
    const lease = await new LockClient({ store: direct }).acquire(key);
    const failure = (await the.locks.acquire(key).catch((error: unknown) => error)) as LockBusyError;
    expect(failure).toBeInstanceOf(LockBusyError);
    expectSkew(failure.skewMs, offsetMs);
    expect(lease.isHeld()).toBe(true);
    await lease.renew();
    expect(await lease.release()).toBe(true);
  });
});
