import { beforeEach, describe, expect, test } from '@jest/globals';
import { LockClient } from '../../lib/lease/client.ts';
import type { LockEvent } from '../../lib/lease/events.ts';
import { type World, world } from './setup.ts';

const HOUR = 3_600_000;
const EVER = Number.POSITIVE_INFINITY;

let scene: World;
beforeEach(() => {
  scene = world();
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
    expect(host.events.map(({ type }) => type)).toEqual(['acquired', 'lost']);
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
