import { beforeEach, describe, expect, test } from '@jest/globals';
import type { LeaseHandle } from '../../lib/lease/lease.ts';
import { outcomeOf, settle, type World, world } from './setup.ts';

const START = 1_800_000_000_000;
const HOUR = 3_600_000;

let scene: World;
let handle: LeaseHandle;
beforeEach(async () => {
  scene = world({ dated: true, start: START });
  handle = await (await scene.host().client.acquire('job')).handOff({ leaseMs: 60_000 });
});

describe('a handle that is none is refused', () => {
  test.each([
    [null, 'The handle of a lease must be what handOff() gave, but it is null.'],
    ['job', 'The handle of a lease must be what handOff() gave, but it is job.'],
    [{ key: 'job' }, 'The lockId of a handle must be a string, but it is undefined.'],
  ])('%j', async (bad, message) => {
    await expect(scene.host().client.resume(bad as never)).rejects.toThrow(new TypeError(message));
  });
});

describe('a lease that cannot be resumed says why', () => {
  test('no time is left to hold it in', async () => {
    const { store, host } = scene;
    const before = store.count();
    await expect(host().client.resume(handle, { remainingMs: () => 0 })).rejects.toMatchObject({
      reason: 'expired',
      message: "The lease of 'job' is not held: it would be resumed past its deadline: 0 ms are left to hold it in.",
    });
    expect(store.count()).toBe(before);
  });

  test('somebody else has resumed it', async () => {
    await scene.host().client.resume(handle);
    await expect(scene.host().client.resume(handle)).rejects.toMatchObject({
      reason: 'takenOver',
      message:
        "The lease of 'job' is not held: since it was handed off it was resumed, released, taken over or deleted.",
    });
  });

  test('the answer came after its deadline: what was granted is released', async () => {
    const host = scene.host();
    const act = () => {
      host.clock.offsetMs += HOUR;
    };
    scene.store.plan({ do: 'then', act, operation: 'resume' });
    await expect(host.client.resume(handle)).rejects.toMatchObject({
      reason: 'expired',
      message: "The lease of 'job' is not held: it was resumed after its own deadline.",
    });
    expect((await scene.memory.read('job')).record?.lockId).toBeUndefined();
  });
});

test('a lease that is resumed is told as one that was acquired, without a wait', async () => {
  const host = scene.host();
  const { fencingToken } = await host.client.resume(handle);
  expect(host.of('acquired')).toMatchObject([{ key: 'job', fencingToken, waitedMs: 0 }]);
});

test('a clock that is set while the request is out is asked once more', async () => {
  const host = scene.host();
  const act = () => {
    host.clock.offsetMs -= 500;
  };
  scene.store.plan({ do: 'then', act, operation: 'resume' });
  const lease = await host.client.resume(handle);
  expect(scene.store.count('resume')).toBe(2);
  expect(lease.isHeld()).toBe(true);
});

test('what the first request took of the invocation is not there for the second', async () => {
  const { time, store, host } = scene;
  store.plan({ do: 'delayAnswer', ms: 800, operation: 'resume' });
  const { client, clock } = host({ ahead: -HOUR });
  const lease = await settle(time, client.resume(handle, { remainingMs: () => 5_000 }));
  expect(store.count('resume')).toBe(2);
  expect(lease.deadline - clock.now()).toBe(4_200);
});

test('close() waits for what is under way', async () => {
  const { time, store, host } = scene;
  const { client } = host();
  store.plan({ do: 'delayAnswer', ms: 500, operation: 'acquire' });
  void outcomeOf(client.acquire('another'));
  const closing = outcomeOf(client.close());
  await time.advance(499);
  expect(closing.settled).toBe(false);
  await time.advance(1);
  expect(closing.settled).toBe(true);
});
