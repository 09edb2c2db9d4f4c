import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { LeaseHandle } from '../../lib/lease/lease.ts';
import { LockLostError, LockStoreError } from '../../lib/record/errors.ts';
import { outcomeOf, punctual, settle, taken, type World, world } from './setup.ts';

let scene: World;
beforeEach(() => {
  punctual();
  scene = world();
});
afterEach(() => {
  jest.restoreAllMocks();
});

const recordOf = async (key = 'job') => (await scene.memory.read(key)).record;

describe('handOff and resume', () => {
  test('a resume continues the lease in another process, under a new lockId and a greater token', async () => {
    const { time } = scene;
    const at = time.now();
    const lease = await scene.host().client.acquire('job', { data: { step: 1 }, once: '7', holdAtLeastMs: 90_000 });
    const handle = await lease.handOff({ leaseMs: 60_000 });
    expect(handle).toEqual({
      key: 'job',
      lockId: lease.lockId,
      fencingToken: lease.fencingToken,
      once: '7',
      holdAtLeastMs: 90_000,
      acquiredAt: at,
    });
    expect(lease.isHeld()).toBe(false);
    expect(lease.signal.aborted).toBe(false);
    expect((await recordOf())?.expiresAt).toBe(at + 90_000);
    await time.advance(59_000);
    expect(await scene.host().client.tryAcquire('job')).toBeNull();

    const passed = JSON.parse(JSON.stringify(handle)) as LeaseHandle;
    const resumed = await scene.host().client.resume(passed, { leaseMs: 20_000 });
    expect(resumed).toMatchObject({ key: 'job', owner: 'host-3', acquiredAt: at, data: { step: 1 } });
    expect(resumed.lockId).not.toBe(lease.lockId);
    expect(resumed.fencingToken).toBeGreaterThan(lease.fencingToken);
    await time.advance(60_000);
    expect(resumed.isHeld()).toBe(true);
    expect(await resumed.release({ done: true })).toBe(true);
    expect((await recordOf())?.doneToken).toBe('~n0001:7');
  });

  test('a hand-off keeps the lock closed for its leaseMs, even beyond the end of its own invocation', async () => {
    const { time } = scene;
    const at = time.now();
    const lease = await scene.host().client.acquire('job', { remainingMs: () => 5_000 });
    await lease.handOff({ leaseMs: 600_000 });
    expect((await recordOf())?.expiresAt).toBe(at + 600_000);
  });

  test('a hand-off for less than safetyMs keeps the lock closed, and the handle works', async () => {
    const lease = await scene.host().client.acquire('job');
    const handle = await lease.handOff({ leaseMs: 1_000 });
    await scene.time.advance(500);
    expect(await scene.host().client.tryAcquire('job')).toBeNull();
    expect((await scene.host().client.resume(handle)).isHeld()).toBe(true);
  });

  test('one of two resumes of the same handle is refused', async () => {
    const handle = await (await scene.host().client.acquire('job')).handOff({ leaseMs: 60_000 });
    const both = await Promise.allSettled([scene.host().client.resume(handle), scene.host().client.resume(handle)]);
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    const refused = both.find((one) => one.status === 'rejected');
    expect(refused?.reason).toBeInstanceOf(LockLostError);
    expect(refused?.reason).toMatchObject({ key: 'job', reason: 'takenOver' });
  });

  test('a resume that is sent again after a lost answer gets the same grant', async () => {
    const { time, store } = scene;
    const handle = await (await scene.host().client.acquire('job')).handOff({ leaseMs: 60_000 });
    store.plan({ do: 'hangAnswer', operation: 'resume' });
    const lease = await settle(time, scene.host().client.resume(handle));
    expect(lease.isHeld()).toBe(true);
    expect(lease.fencingToken).toBe(handle.fencingToken + 1);
  });

  test('a lease whose hand-off fails stays held and is renewed', async () => {
    const { time, store } = scene;
    const lease = await scene.host().client.acquire('job');
    store.plan({ do: 'loseRequest', operation: 'renew', times: 3 });
    await expect(settle(time, lease.handOff({ leaseMs: 60_000 }))).rejects.toThrow(LockStoreError);
    expect(lease.isHeld()).toBe(true);
    await time.advance(100_000);
    expect(lease.isHeld()).toBe(true);
    expect(await lease.release()).toBe(true);
  });

  test('a hand-off waits for a renewal that is out, and the expiry of the hand-off stands', async () => {
    const { time, store } = scene;
    const lease = await scene.host().client.acquire('job');
    store.plan({ do: 'delayAnswer', ms: 300, operation: 'renew' });
    const at = time.now() + 10_300;
    await time.advance(10_000);
    const handing = outcomeOf(lease.handOff({ leaseMs: 90_000 }));
    await time.advance(1_000);
    expect(handing.value).toMatchObject({ key: 'job' });
    expect((await recordOf())?.expiresAt).toBe(at + 90_000);
  });
});

test('handOff without leaseMs is refused, and the lease stays held', async () => {
  const lease = await taken(scene.host().client.tryAcquire('job'));
  await expect(lease.handOff(undefined as never)).rejects.toThrow('leaseMs must be a whole number of milliseconds');
  expect(lease.isHeld()).toBe(true);
});

test('the handle of a lease without options has its key, lockId and token alone', async () => {
  const lease = await taken(scene.host().client.tryAcquire('job'));
  const { lockId, fencingToken } = lease;
  expect(await lease.handOff({ leaseMs: 1_000 })).toStrictEqual({ key: 'job', lockId, fencingToken });
});
