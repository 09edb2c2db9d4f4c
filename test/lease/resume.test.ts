import { beforeEach, describe, expect, test } from '@jest/globals';
import type { LeaseHandle } from '../../lib/lease/lease.ts';
import { LockStoreError } from '../../lib/record/errors.ts';
import type { LockRecord } from '../../lib/record/record.ts';
import { outcomeOf, settle, type World, world } from './setup.ts';

const START = 1_800_000_000_000;
const HOUR = 3_600_000;

let scene: World;
let handle: LeaseHandle;
beforeEach(async () => {
  scene = world({ dated: true, start: START });
  handle = await (await scene.host().client.acquire('job')).handOff({ leaseMs: 60_000 });
});

describe('a value that is no handle is refused', () => {
  test.each([
    [null, 'The handle of a lease must be what handOff() gave, but it is null.'],
    ['job', "The handle of a lease must be what handOff() gave, but it is 'job'."],
    [{ key: 'job' }, 'The lockId of a handle must be a string, but it is undefined.'],
  ])('%j', async (bad, message) => {
    await expect(scene.host().client.resume(bad as never)).rejects.toThrow(new TypeError(message));
  });
});

describe('the error of a failed resume has the reason', () => {
  test('the invocation has no time left to hold the lease in', async () => {
    const { store, host } = scene;
    const before = store.count();
    await expect(host().client.resume(handle, { remainingMs: () => 0 })).rejects.toMatchObject({
      code: 'ERR_LOCK_NO_TIME',
      message: "Resuming 'job': the invocation has 0 ms left. Take the lock earlier, or raise the function's timeout.",
    });
    expect(store.count()).toBe(before);
  });

  test('another host has resumed the lease', async () => {
    await scene.host().client.resume(handle);
    await expect(scene.host().client.resume(handle)).rejects.toMatchObject({
      reason: 'takenOver',
      message:
        "The lease of 'job' is not held: since it was handed off it was resumed, released, taken over or deleted. Stop its work.",
    });
  });

  test("the answer came after the lease's deadline: the client releases the grant", async () => {
    const host = scene.host();
    const act = () => {
      host.clock.offsetMs += HOUR;
    };
    scene.store.plan({ do: 'then', act, operation: 'resume' });
    await expect(host.client.resume(handle)).rejects.toMatchObject({
      code: 'ERR_LOCK_NO_TIME',
      message:
        "Resuming 'job': the store's answer came after the lease's own deadline, so the lease was given up. Try again, or set a longer leaseMs.",
    });
    expect((await scene.memory.read('job')).record?.lockId).toBeUndefined();
  });
});

test('a hand-off is a handedOff event, and a resume is a resumed event', async () => {
  const { store } = scene;
  const from = scene.host();
  const lease = await from.client.acquire('other');
  await scene.time.advance(5);
  const handOff = await lease.handOff({ leaseMs: 60_000 });
  const { record } = await scene.memory.read('other');
  expect(from.of('handedOff')).toMatchObject([{ key: 'other', expiresAt: record?.expiresAt, heldMs: 5 }]);
  const host = scene.host();
  const { fencingToken, deadline } = await host.client.resume(handOff);
  const { expiresAt } = (await scene.memory.read('other')).record as LockRecord;
  expect(host.of('resumed')).toMatchObject([{ key: 'other', fencingToken, deadline, expiresAt }]);
  expect(host.of('acquired')).toEqual([]);
  expect(store.count('resume')).toBe(1);
});

test.each(['waitMs', 'once', 'data', 'holdAtLeastMs'])(
  'resume refuses the option %s, which the handed-off lease decides',
  async (name) => {
    await expect(scene.host().client.resume(handle, { [name]: 1 })).rejects.toThrow(`resume has no option '${name}'`);
  },
);

test('a client whose clock is set while a resume is out resumes once more', async () => {
  const host = scene.host();
  const act = () => {
    host.clock.offsetMs -= 500;
  };
  scene.store.plan({ do: 'then', act, operation: 'resume' });
  const lease = await host.client.resume(handle);
  expect(scene.store.count('resume')).toBe(2);
  expect(lease.isHeld()).toBe(true);
});

test('a second grant that is over when it is answered is released', async () => {
  const { time, store, memory, host } = scene;
  const { client, clock } = host({ leaseMs: 10_000 });
  await time.advance(30_000);
  const act = () => {
    clock.offsetMs = -20_000;
  };
  // The clock is set while the first request is out: no answer judges it before the second one is written.
  store.plan({ do: 'then', act, operation: 'resume' });
  await expect(client.resume(handle)).rejects.toMatchObject({ code: 'ERR_LOCK_NO_TIME' });
  expect(store.count('resume')).toBe(2);
  expect((await memory.read('job')).record?.lockId).toBeUndefined();
});

test('a grant whose answer never comes is released', async () => {
  const { time, store, memory, host } = scene;
  store.plan({ do: 'hangAnswer', operation: 'resume', times: 3 });
  await expect(settle(time, host().client.resume(handle))).rejects.toMatchObject({ name: 'LockStoreError' });
  expect((await memory.read('job')).record?.lockId).toBeUndefined();
});

test('a first grant is released when the second request fails for good', async () => {
  const { store, memory, host } = scene;
  const { client, clock } = host();
  const act = () => {
    clock.offsetMs = -500;
  };
  store.plan({ do: 'then', act, operation: 'resume' });
  store.plan({ do: 'fail', error: new LockStoreError('not allowed'), operation: 'resume' });
  await expect(client.resume(handle)).rejects.toThrow('not allowed');
  expect((await memory.read('job')).record?.lockId).toBeUndefined();
});

test('the time that the first resume took is missing from the deadline of the second resume', async () => {
  const { time, store, host } = scene;
  store.plan({ do: 'delayAnswer', ms: 800, operation: 'resume' });
  const { client, clock } = host({ ahead: -HOUR });
  const lease = await settle(time, client.resume(handle, { remainingMs: () => 5_000 }));
  expect(store.count('resume')).toBe(2);
  expect(lease.deadline - clock.now()).toBe(4_200);
});

test('close() waits for an acquire that is under way', async () => {
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
