import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { LockClient } from '../../lib/lease/client.ts';
import type { LockEvent } from '../../lib/lease/events.ts';
import type { Lease } from '../../lib/lease/lease.ts';
import { LockStoreError } from '../../lib/record/errors.ts';
import { outcomeOf, punctual, settle, taken, type World, world } from './setup.ts';

let scene: World;
beforeEach(() => {
  punctual();
  scene = world();
});
afterEach(() => {
  jest.restoreAllMocks();
});

const HOUR = 3_600_000;
const EVER = Infinity;

describe('renew()', () => {
  test('renews at once, and the next heartbeat comes heartbeatMs later', async () => {
    const { time, store } = scene;
    const at = time.now();
    const lease = await scene.host().client.acquire('job');
    await time.advance(5_000);
    await lease.renew();
    expect(lease.deadline).toBe(at + 5_000 + 27_000);
    await time.advance(9_999);
    expect(store.count('renew')).toBe(1);
    await time.advance(1);
    expect(store.count('renew')).toBe(2);
  });

  test('waits for a renewal that is out, and sends no other', async () => {
    const { time, store } = scene;
    const lease = await scene.host().client.acquire('job');
    store.plan({ do: 'delayAnswer', ms: 500, operation: 'renew' });
    const calls = [outcomeOf(lease.renew()), outcomeOf(lease.renew())];
    await time.advance(500);
    expect(calls.map(({ settled, error }) => [settled, error])).toEqual([
      [true, undefined],
      [true, undefined],
    ]);
    expect(store.count('renew')).toBe(1);
  });

  test('throws the error of the store, and the lease stays held', async () => {
    const lease = await scene.host().client.acquire('job');
    scene.store.plan({ do: 'loseRequest', operation: 'renew', times: 3 });
    await expect(settle(scene.time, lease.renew())).rejects.toThrow(LockStoreError);
    expect(lease.isHeld()).toBe(true);
  });

  test('throws a LockLostError if the lease was revoked', async () => {
    const lease = await scene.host().client.acquire('job');
    await scene.host().client.forceRelease('job', { lockId: lease.lockId });
    await expect(lease.renew()).rejects.toMatchObject({ name: 'LockLostError', reason: 'revoked' });
  });
});

describe('a renewal', () => {
  test('fails if its answer comes after the deadline, even before the timer of the deadline', async () => {
    const { time, store } = scene;
    const host = scene.host();
    const lease = await taken(host.client.tryAcquire('job'));
    const act = () => {
      host.clock.offsetMs += HOUR;
    };
    store.plan({ do: 'then', act, operation: 'renew' });
    await time.advance(10_000);
    expect(host.of('renewed')).toEqual([]);
    expect(host.of('lost')).toMatchObject([{ reason: 'expired' }]);
    expect(lease.isHeld()).toBe(false);
    expect(time.timers).toBe(0);
  });

  test('does not extend the belief if the clock was set back by more than the age of the lease', async () => {
    const { time, store } = scene;
    const host = scene.host();
    const { signal } = await taken(host.client.tryAcquire('job'));
    await time.advance(5_000);
    host.clock.offsetMs -= 20_000;
    await time.advance(5_000);
    expect(store.count('renew')).toBe(1);
    expect(host.of('renewed')).toEqual([]);
    store.plan({ do: 'loseRequest', operation: 'renew', times: Number.POSITIVE_INFINITY });
    await time.advance(16_999);
    expect(signal.aborted).toBe(false);
    await time.advance(1);
    expect(signal.aborted).toBe(true);
  });

  test('extends the belief up to the written expiry if the clock was set back by less than the age of the lease', async () => {
    const { time } = scene;
    const host = scene.host();
    const lease = await taken(host.client.tryAcquire('job'));
    await time.advance(5_000);
    host.clock.offsetMs -= 5_000;
    await time.advance(5_000);
    expect(host.of('renewed')).toHaveLength(1);
    expect(lease.deadline).toBe(host.clock.now() + 27_000);
  });

  test('is sent once more if the clock was set back and the answer tells the time', async () => {
    const { time, store, host } = world({ dated: true, start: 1_800_000_000_000 });
    const holder = host();
    const lease = await taken(holder.client.tryAcquire('job'));
    await time.advance(5_000);
    holder.clock.offsetMs -= HOUR;
    await time.advance(5_000);
    expect(store.count('renew')).toBe(2);
    expect(holder.of('renewed')).toHaveLength(1);
    await time.advance(20_000);
    expect(lease.isHeld()).toBe(true);
  });

  test('is sent again before the deadline of a short lease if the first request hangs', async () => {
    const { time, store } = scene;
    const lease = await taken(scene.host().client.tryAcquire('job', { leaseMs: 1_500 }));
    store.plan({ do: 'hang', operation: 'renew' });
    // The renewal begins at 500 ms. Without another request the lease ends at 1,125 ms.
    await time.advance(1_130);
    expect(store.count('renew')).toBeGreaterThan(1);
    expect(lease.isHeld()).toBe(true);
  });

  test('comes heartbeatMs after the sending of the last request, however late its answer came', async () => {
    const { time, store } = scene;
    store.plan({ do: 'delayAnswer', ms: 900 });
    const lease = await settle(time, scene.host().client.acquire('job'));
    await time.advance(9_099);
    expect(store.count('renew')).toBe(0);
    await time.advance(1);
    expect(store.count('renew')).toBe(1);
    expect(lease.isHeld()).toBe(true);
  });

  test('comes before the deadline if the answer shows that less than heartbeatMs is left', async () => {
    const { time, store, host } = world({ dated: true, start: 1_800_000_000_000 });
    // The holder means to believe for 4 s. Its clock is 1.5 s behind, so 2.5 s are left at the most.
    const holder = host({ ahead: -1_500, leaseMs: 10_000, safetyMs: 6_000, heartbeatMs: 3_500 });
    const lease = await taken(holder.client.tryAcquire('job'));
    await time.advance(3_000);
    expect(store.count('renew')).toBeGreaterThan(0);
    expect(lease.isHeld()).toBe(true);
  });
});

describe('a lease that has ended stays ended (invariant 7)', () => {
  test('a listener of renewFailed that releases the lease stops its renewals', async () => {
    const { time, store } = scene;
    const types: string[] = [];
    const onEvent = ({ type }: LockEvent) => {
      types.push(type);
      if (type === 'renewFailed') void lease.release();
    };
    const client = new LockClient({ store, clock: time, onEvent });
    const lease = await client.acquire('job');
    store.plan({ do: 'loseRequest', operation: 'renew', times: EVER });
    await time.advance(HOUR);
    expect(store.operations).toEqual(['acquire', 'renew', 'release']);
    expect(types).toEqual(['acquired', 'renewFailed', 'released']);
    expect(lease.signal.aborted).toBe(false);
    expect(time.timers).toBe(0);
  });

  test('a renewal that is answered after the release changes nothing', async () => {
    const { time, store } = scene;
    const host = scene.host();
    const lease = await host.client.acquire('job');
    store.plan({ do: 'delayAnswer', ms: 500, operation: 'renew' });
    await time.advance(10_000);
    await lease.release();
    await time.advance(HOUR);
    expect(host.events.map(({ type }) => type)).toEqual(['acquired', 'released']);
    expect(store.operations).toEqual(['acquire', 'renew', 'release']);
    expect(time.timers).toBe(0);
  });

  test('a loss is reported after the failure of its last renewal, which is its cause', async () => {
    const { time, store } = scene;
    const host = scene.host();
    const lease = await host.client.acquire('job', { leaseMs: 2_000 });
    store.plan({ do: 'hang', operation: 'renew', times: EVER });
    await time.advance(2_000);
    const failures = host.of('renewFailed');
    expect(host.events.map(({ type }) => type).slice(0, 2)).toEqual(['acquired', 'renewFailed']);
    expect(host.events.at(-1)?.type).toBe('lost');
    expect(lease.signal.reason).toMatchObject({ reason: 'expired', cause: failures.at(-1)?.error });
  });

  test('a loss after throttled renewals, of which the last one hangs, tells of the throttling', async () => {
    const { time, store } = scene;
    const host = scene.host();
    const lease = await host.client.acquire('job', { leaseMs: 2_000 });
    const cause = Object.assign(new Error('slow down'), { name: 'ThrottlingException' });
    const error = new LockStoreError('throttled', { transient: true, cause });
    store.plan({ do: 'fail', error, operation: 'renew' }, { do: 'hang', operation: 'renew', times: EVER });
    await time.advance(2_000);
    expect(lease.signal.reason).toMatchObject({ reason: 'expired', cause: { cause } });
    expect(host.of('renewFailed').at(-1)?.error.message).toMatch(/no answer came .* The last fault was Throttling/);
  });

  test('a loss after a renewal that succeeded has no cause', async () => {
    const { time, store } = scene;
    const lease = await scene.host().client.acquire('job', { holdAtMostMs: 12_000 });
    store.plan({ do: 'loseRequest', operation: 'renew' });
    await time.advance(20_000);
    expect(lease.signal.reason).toMatchObject({ reason: 'expired' });
    expect(lease.signal.reason.cause).toBeUndefined();
  });

  test('a store that recovers with a third of the time left keeps the lease, whatever its errors were', async () => {
    const { time, store } = scene;
    const lease = await scene.host().client.acquire('job', { leaseMs: 9_000, heartbeatMs: 2_000, safetyMs: 2_000 });
    store.script = (operation) =>
      operation === 'renew' ? { do: 'fail', error: new LockStoreError('The token has expired.') } : undefined;
    await time.advance(5_500);
    store.script = undefined;
    await time.advance(60_000);
    expect(lease.isHeld()).toBe(true);
  });

  test('a renewal that fails after the deadline is not tried again', async () => {
    const { time, store } = scene;
    const host = scene.host();
    const lease = await host.client.acquire('job');
    const act = () => {
      host.clock.offsetMs += HOUR;
      throw new Error('The connection broke.');
    };
    store.plan({ do: 'then', act, operation: 'renew' });
    await expect(lease.renew()).rejects.toMatchObject({ name: 'LockLostError', reason: 'expired' });
    await time.advance(HOUR);
    expect(host.events.map(({ type }) => type)).toEqual(['acquired', 'renewFailed', 'lost']);
    expect(store.operations).toEqual(['acquire', 'renew']);
    expect(time.timers).toBe(0);
  });
});

test('a lease whose first term reaches its cap is not renewed, and is lost at the cap (invariant 8)', async () => {
  const { time, store } = scene;
  const host = scene.host();
  // 30,000 ms of lease, less 3,000 ms of safety.
  const lease = await host.client.acquire('job', { holdAtMostMs: 27_000 });
  await time.advance(26_999);
  expect(lease.isHeld()).toBe(true);
  await time.advance(1);
  expect(lease.isHeld()).toBe(false);
  expect(store.operations).toEqual(['acquire']);
});

describe('a listener of lost', () => {
  const act: Record<string, (lease: Lease) => Promise<unknown>> = {
    release: (lease) => lease.release(),
    finish: (lease) => lease.finish(),
    renew: (lease) => lease.renew(),
    handOff: (lease) => lease.handOff({ leaseMs: 60_000 }),
  };
  test.each(Object.keys(act))('that calls %s meets a lease that knows why it is lost', async (name) => {
    const { time, store } = scene;
    let met: Promise<unknown> | undefined;
    const onEvent = ({ type }: LockEvent) => {
      if (type === 'lost') met = act[name]?.(lease).catch((error) => error.reason);
    };
    const client = new LockClient({ store, clock: time, onEvent });
    const lease = await client.acquire('job');
    store.plan({ do: 'hang', operation: 'renew', times: EVER });
    await time.advance(60_000);
    expect(lease.signal.reason).toMatchObject({ reason: 'expired' });
    expect(await met).toBe(name === 'release' ? false : 'expired');
    await expect(lease.release()).resolves.toBe(false);
  });
});

test.each([2_000, 60_000])('handedOff tells the expiry in the record, for a hand-off of %i ms', async (leaseMs) => {
  const host = scene.host();
  const lease = await host.client.acquire('job');
  await lease.handOff({ leaseMs });
  const { record } = await scene.memory.read('job');
  expect(host.of('handedOff')).toMatchObject([{ expiresAt: record?.expiresAt }]);
});
