import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { LockClient } from '../../lib/lease/client.ts';
import type { Lease } from '../../lib/lease/lease.ts';
import type { AcquireOptions } from '../../lib/lease/options.ts';
import { LockStoreError } from '../../lib/record/errors.ts';
import { MemoryLockStore } from '../../lib/testing/memory.ts';
import { punctual, type World, world } from './setup.ts';

let scene: World;
let us: ReturnType<World['host']>;
beforeEach(() => {
  // The first heartbeat comes after 10 seconds, and the deadline after 27.
  punctual();
  scene = world();
  us = scene.host();
});
afterEach(() => {
  jest.restoreAllMocks();
});

const hold = (options: AcquireOptions = {}): Promise<Lease> => us.client.acquire('job', options);
/** Both clocks go on, and no timer fires. */
const block = (ms: number) => us.clock.lag(-ms);
/** The wall clock alone goes on, as in an environment that Lambda freezes. */
const freeze = (ms: number) => {
  us.clock.offsetMs += ms;
};

describe('a lease that expires', () => {
  test('since the event loop was blocked, says so', async () => {
    const lease = await hold();
    block(28_000);
    expect(lease.isHeld()).toBe(false);
    expect(lease.loss).toMatchObject({ reason: 'expired', blockedMs: 18_000 });
    expect(lease.loss?.message).toBe(
      "The lease of 'job' is not held: its deadline has passed: the event loop was blocked for 18000 ms or longer, or the process stood still. Stop its work.",
    );
    expect(us.of('lost')[0]?.error).toBe(lease.loss);
  });

  test('since the process was frozen, says that, and that the clock may have been set', async () => {
    const lease = await hold();
    freeze(28_000);
    expect(lease.isHeld()).toBe(false);
    expect(lease.loss?.blockedMs).toBe(18_000);
    expect(lease.loss?.message).toContain('the process stood still for 18000 ms or longer, or its clock was set');
  });

  test('since the event loop was blocked while the clock was set back, counts by the clock that is never set', async () => {
    const lease = await hold();
    block(28_000);
    freeze(-10_000);
    expect(lease.isHeld()).toBe(false);
    expect(lease.loss?.blockedMs).toBe(18_000);
  });

  test('since a renewal was sent late and had no answer, says by how much it was late', async () => {
    const { time, store } = scene;
    const lease = await hold();
    store.plan({ do: 'hang', operation: 'renew', times: Number.POSITIVE_INFINITY });
    block(12_000);
    await time.advance(10_000);
    expect(store.count('renew')).toBe(1);
    await time.advance(5_000);
    expect(lease.loss?.blockedMs).toBe(12_000);
  });

  test('since the answer of a renewal could not be read, says so', async () => {
    const { time, store } = scene;
    const lease = await hold();
    store.plan({ do: 'delayAnswer', operation: 'renew', ms: 100 });
    await time.advance(10_050);
    block(30_000);
    expect(lease.isHeld()).toBe(false);
    expect(lease.loss?.blockedMs).toBe(13_050);
  });

  test('long after a block that a renewal survived, says nothing of the block', async () => {
    const { time, store } = scene;
    const lease = await hold();
    block(12_000);
    await time.advance(10_000);
    expect(us.of('renewed')).toHaveLength(1);
    store.plan({
      do: 'fail',
      operation: 'renew',
      error: new LockStoreError('no permission'),
      times: Number.POSITIVE_INFINITY,
    });
    await time.advance(27_000);
    expect(lease.loss).toMatchObject({ reason: 'expired', blockedMs: undefined });
    expect(lease.loss?.message).toBe("The lease of 'job' is not held: its deadline has passed. Stop its work.");
  });

  test.each([
    ['less than 100 ms', { leaseMs: 200 }, 160, undefined],
    ['100 ms, and a quarter of the lease', { leaseMs: 200 }, 166, 100],
    ['less than a quarter of the lease', { leaseMs: 1_000, heartbeatMs: 600, safetyMs: 200 }, 840, undefined],
    ['a quarter of the lease', { leaseMs: 1_000, heartbeatMs: 600, safetyMs: 200 }, 850, 250],
  ])('after a block of %s', async (_, times, ms, blockedMs) => {
    const lease = await hold(times);
    block(ms);
    expect(lease.isHeld()).toBe(false);
    expect(lease.loss?.blockedMs).toBe(blockedMs);
  });

  test('at the end of its invocation says nothing of a block: no renewal was due', async () => {
    const lease = await hold({ leaseMs: 910_000, remainingMs: () => 5_000 });
    block(500_000);
    expect(lease.isHeld()).toBe(false);
    expect(lease.loss).toMatchObject({ reason: 'expired', blockedMs: undefined });
  });
});

test('A lease that is lost for another reason says nothing of a block', async () => {
  const lease = await hold();
  await scene.host().client.forceRelease('job', { lockId: lease.lockId });
  block(12_000);
  await scene.time.advance(10_000);
  expect(lease.loss).toMatchObject({ reason: 'revoked', blockedMs: undefined });
});

test('A loop that keeps the event loop busy loses its lease, and the error says so', async () => {
  jest.restoreAllMocks();
  await using lease = await new LockClient({ store: new MemoryLockStore() }).acquire('job', { leaseMs: 400 });
  const aborted = new Promise((resolve) => lease.signal.addEventListener('abort', resolve));
  for (const from = performance.now(); performance.now() - from < 450; );
  // The signal cannot abort while the loop is busy. The checks at the moment of the call tell.
  expect(lease.isHeld()).toBe(false);
  await aborted;
  expect(lease.loss?.message).toMatch(/the event loop was blocked for \d+ ms or longer/);
  expect(lease.loss?.blockedMs).toBeGreaterThanOrEqual(300);
  expect(lease.loss?.blockedMs).toBeLessThan(450);
});

/** On Lambda: a lease that is longer than any invocation needs no heartbeat, and opens with its invocation all the same. */
describe('a lease of 910,000 ms in an invocation', () => {
  const options: AcquireOptions = { leaseMs: 910_000, safetyMs: 2_000, remainingMs: () => 60_000 };

  test('sends no renewal, also in the longest invocation that there is', async () => {
    const { time, store } = scene;
    const lease = await hold({ ...options, remainingMs: () => 900_000 });
    await time.advance(899_999);
    expect(lease.isHeld()).toBe(true);
    expect(store.operations).toEqual(['acquire']);
  });

  test('sends no renewal, and survives a block for nearly the whole invocation', async () => {
    const { time, store } = scene;
    const lease = await hold(options);
    block(50_000);
    await time.advance(9_999);
    expect(lease.isHeld()).toBe(true);
    expect(store.count('renew')).toBe(0);
    await time.advance(1);
    expect(lease.loss?.reason).toBe('expired');
  });

  test('opens safetyMs after the end of the invocation, if its process dies', async () => {
    const { time } = scene;
    const lease = await hold(options);
    lease.abandon('timedOut');
    const other = scene.host().client;
    await time.advance(61_999);
    expect(await other.tryAcquire('job')).toBeNull();
    await time.advance(1);
    expect((await other.tryAcquire('job'))?.isHeld()).toBe(true);
  });
});
