import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { LockClient } from '../../lib/lease/client.ts';
import type { LockEvent } from '../../lib/lease/events.ts';
import type { Lease, LeaseHandle } from '../../lib/lease/lease.ts';
import { LockBusyError, LockDoneError, LockError, LockLostError, LockStoreError } from '../../lib/record/errors.ts';
import { MemoryLockStore } from '../../lib/testing/memory.ts';
import { outcomeOf, settle, taken, type World, world } from './setup.ts';

let scene: World;
beforeEach(() => {
  scene = world();
});
afterEach(() => {
  jest.restoreAllMocks();
});

const recordOf = async (key = 'job') => (await scene.memory.read(key)).record;
const thrownBy = async (promise: Promise<unknown>) => {
  const outcome = outcomeOf(promise);
  await promise.catch(() => {});
  return outcome.error;
};

describe('tryAcquire and release', () => {
  test('take two requests, and no other for work that is shorter than a heartbeat', async () => {
    const { time, store } = scene;
    const lease = await taken(scene.host().client.tryAcquire('job'));
    await time.advance(9_999);
    expect(await lease.release({ done: true })).toBe(true);
    await time.advance(100_000);
    expect(store.operations).toEqual(['acquire', 'release']);
  });

  test('a try that finds the lock busy is one request and null', async () => {
    const { store } = scene;
    await scene.host().client.tryAcquire('job');
    expect(await scene.host().client.tryAcquire('job')).toBeNull();
    expect(store.count()).toBe(2);
  });

  test('a try does not wait: waitMs is refused', async () => {
    const options = { waitMs: 1_000 } as object;
    await expect(scene.host().client.tryAcquire('job', options)).rejects.toThrow("tryAcquire has no option 'waitMs'");
  });

  test('a try whose once token is done throws LockDoneError', async () => {
    const { client } = scene.host();
    const lease = await client.acquire('job', { once: '2026-01-02' });
    await lease.release({ done: true });
    await expect(client.tryAcquire('job', { once: '2026-01-01' })).rejects.toMatchObject({
      name: 'LockDoneError',
      code: 'ERR_LOCK_DONE',
      doneToken: '2026-01-02',
    });
  });

  test('a try with no time left throws LockNoTimeError, which has a code of its own', async () => {
    const { client } = scene.host();
    await expect(client.tryAcquire('job', { remainingMs: () => 0 })).rejects.toMatchObject({
      name: 'LockNoTimeError',
      code: 'ERR_LOCK_NO_TIME',
      key: 'job',
      message: "Acquiring 'job': the invocation has 0 ms left. Take the lock earlier, or raise the function's timeout.",
    });
  });

  test('the lease tells what was granted', async () => {
    const { time, store } = scene;
    const at = time.now();
    const data = { job: 'nightly', tries: [1, 2] };
    const lease = await taken(scene.host().client.tryAcquire('job', { data, owner: 'me' }));
    expect(lease).toMatchObject({ key: 'job', owner: 'me', acquiredAt: at, deadline: at + 27_000, data });
    expect(lease.takenOverFrom).toBeUndefined();
    expect(lease.store).toBe(store);
    expect(await recordOf()).toMatchObject({
      key: 'job',
      lockId: lease.lockId,
      owner: 'me',
      fencingToken: lease.fencingToken,
      acquiredAt: at,
      expiresAt: at + 30_000,
      leaseMs: 30_000,
      data: JSON.stringify(data),
    });
  });

  test('a released lock is free at once: for its own host in the same millisecond, for others in the next', async () => {
    const { client } = scene.host();
    for (let round = 0; round < 3; round++) expect(await (await taken(client.tryAcquire('job'))).release()).toBe(true);
    await scene.time.advance(3);
    expect(await scene.host().client.tryAcquire('job')).not.toBeNull();
  });

  test('takenOverFrom names the holder that let its lease expire, and when it did', async () => {
    const { time } = scene;
    const at = time.now();
    await scene.host().client.tryAcquire('job', { holdAtMostMs: 1_000 });
    await time.advance(4_000);
    const lease = await taken(scene.host().client.tryAcquire('job'));
    expect(lease.takenOverFrom).toEqual({ owner: 'host-1', expiredAt: at + 4_000 });
    await lease.release();
    await time.advance(1);
    expect((await taken(scene.host().client.tryAcquire('job'))).takenOverFrom).toBeUndefined();
  });

  test('a second release answers as the first, and sends nothing', async () => {
    const { store } = scene;
    const lease = await taken(scene.host().client.tryAcquire('job'));
    expect(await Promise.all([lease.release(), lease.release()])).toEqual([true, true]);
    expect(await lease.release({ done: true })).toBe(true);
    expect(store.count('release')).toBe(1);
  });

  test('await using releases', async () => {
    {
      await using lease = await scene.host().client.acquire('job');
      expect(lease.isHeld()).toBe(true);
    }
    expect(await recordOf()).toMatchObject({ lockId: undefined });
  });

  test('a lease that expired is released where the record is still its own, and that is no success', async () => {
    const { time, store } = scene;
    const lease = await taken(scene.host().client.tryAcquire('job', { holdAtMostMs: 1_000, once: '1' }));
    await time.advance(1_500);
    expect(await lease.release({ done: true })).toBe(false);
    expect(store.operations).toEqual(['acquire', 'release']);
    const record = await recordOf();
    expect(record?.lockId).toBeUndefined();
    expect(record?.doneToken).toBeUndefined();
  });

  test.each(['takenOver', 'gone'] as const)(
    'a release that finds the lease ended by others before its deadline says lost: %s',
    async (reason) => {
      const { store } = scene;
      const host = scene.host();
      const lease = await taken(host.client.tryAcquire('job'));
      store.inner = world().memory;
      if (reason === 'takenOver') await scene.host().client.acquire('job');
      expect(await lease.release({ done: true })).toBe(false);
      expect(host.of('lost')).toMatchObject([{ reason }]);
      expect(host.of('released')).toEqual([]);
      expect(lease.signal.reason).toMatchObject({ reason });
    },
  );

  test('a lease that was force-released meanwhile is not said to be released, and done', async () => {
    const host = scene.host();
    const lease = await taken(host.client.tryAcquire('job', { once: '2026-01-01' }));
    await scene.host().client.forceRelease('job', { lockId: lease.lockId });
    expect(await lease.release({ done: true })).toBe(false);
    expect((await recordOf())?.doneToken).toBeUndefined();
    expect(host.of('released')).toEqual([]);
    expect(host.of('lost')).toMatchObject([{ reason: 'revoked' }]);
  });
});

describe('acquire', () => {
  test('throws LockBusyError at once by default, with all that the caller can use', async () => {
    const { time, store } = scene;
    const at = time.now();
    await scene.host().client.tryAcquire('job');
    await time.advance(500);
    const error = await thrownBy(scene.host().client.acquire('job'));
    expect(error).toBeInstanceOf(LockBusyError);
    expect(error).toMatchObject({
      name: 'LockBusyError',
      key: 'job',
      owner: 'host-1',
      expiresAt: at + 30_000,
      retryAfterMs: 29_500,
      statusCode: 423,
      expose: true,
      headers: { 'Retry-After': '30' },
    });
    expect(error.message).toContain("'job'");
    expect(error.message).not.toContain('host-1');
    expect(store.count()).toBe(2);
  });

  test('of a lock that is only closed names no owner', async () => {
    const { client } = scene.host();
    await (await client.acquire('job', { holdAtLeastMs: 400 })).release();
    const error = await thrownBy(client.acquire('job'));
    expect(error).toMatchObject({ owner: undefined, retryAfterMs: 400, headers: { 'Retry-After': '1' } });
  });

  test('waits up to waitMs, and gets the lock when it is released in that time', async () => {
    const { time } = scene;
    const lease = await scene.host().client.acquire('job');
    const waiting = outcomeOf(scene.host().client.acquire('job', { waitMs: 5_000 }));
    await time.advance(2_000);
    expect(waiting.settled).toBe(false);
    await lease.release();
    await time.advance(1_000);
    expect(waiting.value?.isHeld()).toBe(true);
  });

  test('throws LockBusyError when waitMs is over', async () => {
    const { time } = scene;
    await scene.host().client.acquire('job');
    const waiting = outcomeOf(scene.host().client.acquire('job', { waitMs: 5_000 }));
    await time.advance(4_999);
    expect(waiting.settled).toBe(false);
    await time.advance(2);
    expect(waiting.error).toBeInstanceOf(LockBusyError);
  });

  test('ends with the reason of its signal, while it waits', async () => {
    const { time, store } = scene;
    await scene.host().client.acquire('job');
    const controller = new AbortController();
    const { signal } = controller;
    const waiting = outcomeOf(scene.host().client.acquire('job', { waitMs: 5_000, signal }));
    await time.advance(1_000);
    const reason = new Error('no longer wanted');
    controller.abort(reason);
    await time.advance(0);
    expect(waiting.error).toBe(reason);
    const sent = store.count('acquire', 'read');
    await time.advance(10_000);
    expect(store.count('acquire', 'read')).toBe(sent);
    expect(store.count('release')).toBe(0);
  });

  test('with a signal that has aborted sends nothing', async () => {
    const signal = AbortSignal.abort(new Error('too late'));
    await expect(scene.host().client.acquire('job', { signal })).rejects.toThrow('too late');
    expect(scene.store.count('acquire')).toBe(0);
  });

  test('with a signal that aborts later leaves the lease alone', async () => {
    const controller = new AbortController();
    const lease = await scene.host().client.acquire('job', { signal: controller.signal });
    controller.abort();
    expect(lease.isHeld()).toBe(true);
    expect(lease.signal.aborted).toBe(false);
  });

  test('when no answer comes throws LockStoreError, and what may have been granted is released', async () => {
    const { time, store } = scene;
    store.plan({ do: 'hangAnswer', operation: 'acquire', times: 3 });
    const attempt = outcomeOf(scene.host().client.acquire('job'));
    await time.advance(5_000);
    expect(attempt.error).toBeInstanceOf(LockStoreError);
    expect(attempt.error).toMatchObject({ transient: true });
    expect(attempt.error.message).toContain("'job'");
    expect(store.operations).toEqual(['acquire', 'acquire', 'acquire', 'release']);
    expect(await recordOf()).toMatchObject({ lockId: undefined });
  });

  test('with an error that will not pass throws it as it is, and releases nothing', async () => {
    const { store } = scene;
    const denied = new LockStoreError('dynamodb:UpdateItem is not allowed');
    store.plan({ do: 'fail', error: denied, operation: 'acquire' });
    await expect(scene.host().client.acquire('job', { waitMs: 1_000 })).rejects.toMatchObject({
      message: "Acquiring 'job': dynamodb:UpdateItem is not allowed",
      transient: false,
    });
    expect(store.operations).toEqual(['acquire']);
  });

  test('with a store that throws anything else makes it the cause of a LockStoreError', async () => {
    const odd = new RangeError('odd');
    scene.store.plan({ do: 'fail', error: odd, operation: 'acquire' });
    const error = await thrownBy(scene.host().client.acquire('job'));
    expect(error).toBeInstanceOf(LockStoreError);
    expect(error.cause).toBe(odd);
  });

  test('sends again what met another transaction, and gives up when that does not end', async () => {
    const { time, store } = scene;
    const conflict = new LockStoreError('conflict', { conflict: true, transient: true });
    store.plan({ do: 'fail', error: conflict, operation: 'acquire', times: 4 });
    const lease = await settle(time, scene.host().client.acquire('job'));
    expect(store.count('acquire')).toBe(5);
    store.plan({ do: 'fail', error: conflict, operation: 'release', times: 4 });
    expect(await settle(time, lease.release())).toBe(true);
    store.plan({ do: 'fail', error: conflict, operation: 'acquire', times: Number.POSITIVE_INFINITY });
    const endless = outcomeOf(scene.host().client.acquire('job'));
    await time.advance(20_000);
    expect(endless.error).toMatchObject({ message: "Acquiring 'job': conflict", conflict: true, transient: true });
    expect(store.count('acquire')).toBeLessThan(20);
  });

  test('of a store that refuses without the record says what is missing', async () => {
    scene.store.acquire = async () => ({ applied: false });
    const error = await thrownBy(scene.host().client.acquire('job'));
    expect(error).toBeInstanceOf(LockStoreError);
    expect(error.message).toContain('ReturnValuesOnConditionCheckFailure');
  });
});

describe('once', () => {
  const run = async (client: LockClient, once: string, done: boolean) => {
    const lease = await client.acquire('job', { once });
    await lease.release({ done });
    await scene.time.advance(1);
  };

  test('a token that finished, and any before it, is done; a later one is granted', async () => {
    const { client } = scene.host();
    await run(client, '2026-01-02T00:00:00Z', true);
    expect(await client.tryAcquire('job', { once: '2026-01-02T00:00:00Z' })).toBeNull();
    const error = await thrownBy(client.acquire('job', { once: '2026-01-01T00:00:00Z', waitMs: 5_000 }));
    expect(error).toBeInstanceOf(LockDoneError);
    expect(error).toMatchObject({ key: 'job', once: '2026-01-01T00:00:00Z', doneToken: '2026-01-02T00:00:00Z' });
    await run(client, '2026-01-02T00:00:01Z', true);
  });

  test('a run that failed does not count', async () => {
    const { client } = scene.host();
    await run(client, '1', false);
    await run(client, '1', true);
    await run(client, '2', false);
    expect((await recordOf())?.doneToken).toBe('1');
  });

  test('who waits for a run of its own token learns that it is done, by a read', async () => {
    const { time, store } = scene;
    const first = await scene.host().client.acquire('job', { once: '1' });
    const second = outcomeOf(scene.host().client.acquire('job', { once: '1', waitMs: 10_000 }));
    await time.advance(1_000);
    await first.release({ done: true });
    await time.advance(1_000);
    expect(second.error).toBeInstanceOf(LockDoneError);
    expect(store.count('acquire')).toBe(2);
  });

  test('who does not care for tokens is not kept out', async () => {
    const { client } = scene.host();
    await run(client, '1', true);
    expect(await client.tryAcquire('job')).not.toBeNull();
  });
});

describe('using', () => {
  test('gives the result of the work, releases, and counts it as done', async () => {
    const { client } = scene.host();
    const result = await client.using('job', { once: '1' }, async (lease) => {
      expect(lease.isHeld()).toBe(true);
      return lease.key;
    });
    expect(result).toBe('job');
    expect(await recordOf()).toMatchObject({ lockId: undefined, doneToken: '1' });
  });

  test('of work that fails releases, and counts nothing', async () => {
    const { client } = scene.host();
    const failing = client.using('job', { once: '1' }, () => {
      throw new Error('broken');
    });
    await expect(failing).rejects.toThrow('broken');
    const record = await recordOf();
    expect(record?.lockId).toBeUndefined();
    expect(record?.doneToken).toBeUndefined();
  });

  test('of work that succeeded on a lease that was lost throws LockLostError, and counts nothing', async () => {
    const { client, clock } = scene.host();
    const lost = client.using('job', { once: '1' }, () => {
      clock.offsetMs += 60_000;
    });
    await expect(lost).rejects.toThrow(LockLostError);
    expect((await recordOf())?.doneToken).toBeUndefined();
  });

  test('runs no work without the lock', async () => {
    await scene.host().client.acquire('job');
    const work = jest.fn(() => {});
    await expect(scene.host().client.using('job', undefined, work)).rejects.toThrow(LockBusyError);
    expect(work).not.toHaveBeenCalled();
  });

  test('lets the work release, or hand off, by itself', async () => {
    const { client } = scene.host();
    expect(await client.using('job', {}, (lease) => lease.release())).toBe(true);
    const handle = await client.using('job', {}, (lease) => lease.handOff({ leaseMs: 60_000 }));
    expect((await client.resume(handle)).isHeld()).toBe(true);
  });

  test('with once, rejects when the work released its own lease without done: nobody could know that it is not', async () => {
    const { client } = scene.host();
    const using = client.using('job', { once: '1' }, (lease) => lease.release());
    await expect(using).rejects.toThrow(LockError);
    await expect(using).rejects.toThrow(
      "Releasing 'job': the work released its lease itself, so the once token '1' is not done. Call release({ done: true })",
    );
    expect((await recordOf())?.doneToken).toBeUndefined();
  });

  test('with once, lets the work release its own lease as done, or hand it off', async () => {
    const { client } = scene.host();
    expect(await client.using('job', { once: '1' }, (lease) => lease.release({ done: true }))).toBe(true);
    expect((await recordOf())?.doneToken).toBe('1');
    const handle = await client.using('job', { once: '2' }, (lease) => lease.handOff({ leaseMs: 60_000 }));
    await (await client.resume(handle)).finish();
    expect((await recordOf())?.doneToken).toBe('2');
  });

  test('of work that released its own lease and then fails throws its error', async () => {
    const using = scene.host().client.using('job', { once: '1' }, async (lease) => {
      await lease.release();
      throw new Error('broken');
    });
    await expect(using).rejects.toThrow('broken');
  });

  test('gives the result of the work when the release fails, which an event tells', async () => {
    const { client, of } = scene.host();
    scene.store.plan({ do: 'fail', error: new LockStoreError('no'), operation: 'release' });
    expect(await client.using('job', { once: '1' }, () => 'result')).toBe('result');
    expect(of('releaseFailed')).toHaveLength(1);
  });
});

describe('inspect, list and forceRelease', () => {
  test('inspect tells what the store knows, by one consistent read', async () => {
    const { time, store } = scene;
    const { client } = scene.host();
    expect(await client.inspect('job')).toBeUndefined();
    const lease = await client.acquire('job', { data: [1] });
    expect(await client.inspect('job')).toMatchObject({
      key: 'job',
      held: true,
      owner: 'host-1',
      lockId: lease.lockId,
      data: [1],
    });
    expect(store.requests.filter(({ operation }) => operation === 'read')).toMatchObject([
      { request: { consistent: true } },
      { request: { consistent: true } },
    ]);
    lease.abandon('timedOut');
    await time.advance(30_000);
    expect(await client.inspect('job')).toMatchObject({ held: false, lockId: lease.lockId });
    await (await client.acquire('job', { holdAtLeastMs: 5_000 })).release();
    expect(await client.inspect('job')).toMatchObject({ held: false, data: undefined });
  });

  test('list gives the locks under a prefix', async () => {
    const { client } = scene.host();
    for (const key of ['a/1', 'a/2', 'b/1']) await client.acquire(key);
    expect((await Array.fromAsync(client.list({ prefix: 'a/' }))).map(({ key }) => key).sort()).toEqual(['a/1', 'a/2']);
    expect(await Array.fromAsync(client.list())).toHaveLength(3);
  });

  test('forceRelease opens the lock at its expiry, or at once with immediately', async () => {
    const { time } = scene;
    const { client } = scene.host();
    const operator = scene.host().client;
    const first = await client.acquire('job');
    expect(await operator.forceRelease('job', { lockId: first.lockId })).toBe(true);
    await time.advance(1);
    expect(await operator.tryAcquire('job')).toBeNull();
    await time.advance(30_000);
    const second = await operator.acquire('job');
    expect(await operator.forceRelease('job', { lockId: second.lockId, immediately: true })).toBe(true);
    await time.advance(2);
    expect(await client.tryAcquire('job')).not.toBeNull();
  });

  test('forceRelease whose answer was lost says that it was done', async () => {
    const { time, store } = scene;
    const { client } = scene.host();
    const { lockId } = await client.acquire('job');
    store.plan({ do: 'hangAnswer', operation: 'forceRelease' });
    expect(await settle(time, client.forceRelease('job', { lockId }))).toBe(true);
    expect(store.count('forceRelease')).toBe(2);
  });
});

describe('handOff and resume', () => {
  test('another process goes on with the lease, under a new id and a greater token', async () => {
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
    });
    expect(lease.isHeld()).toBe(false);
    expect(lease.signal.aborted).toBe(false);
    expect((await recordOf())?.expiresAt).toBe(at + 60_000);
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
    expect((await recordOf())?.doneToken).toBe('7');
  });

  test('is not bound by the cap of the one who hands off', async () => {
    const { time } = scene;
    const at = time.now();
    const lease = await scene.host().client.acquire('job', { remainingMs: () => 5_000 });
    await lease.handOff({ leaseMs: 600_000 });
    expect((await recordOf())?.expiresAt).toBe(at + 600_000);
  });

  test('for a time shorter than the safety is a hand-off all the same', async () => {
    const lease = await scene.host().client.acquire('job');
    const handle = await lease.handOff({ leaseMs: 1_000 });
    await scene.time.advance(500);
    expect(await scene.host().client.tryAcquire('job')).toBeNull();
    expect((await scene.host().client.resume(handle)).isHeld()).toBe(true);
  });

  test('of two resumes of one handle one is refused', async () => {
    const handle = await (await scene.host().client.acquire('job')).handOff({ leaseMs: 60_000 });
    const both = await Promise.allSettled([scene.host().client.resume(handle), scene.host().client.resume(handle)]);
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    const refused = both.find((one) => one.status === 'rejected');
    expect(refused?.reason).toBeInstanceOf(LockLostError);
    expect(refused?.reason).toMatchObject({ key: 'job', reason: 'takenOver' });
  });

  test('a resume whose answer was lost, sent again, is the same grant', async () => {
    const { time, store } = scene;
    const handle = await (await scene.host().client.acquire('job')).handOff({ leaseMs: 60_000 });
    store.plan({ do: 'hangAnswer', operation: 'resume' });
    const lease = await settle(time, scene.host().client.resume(handle));
    expect(lease.isHeld()).toBe(true);
    expect(lease.fencingToken).toBe(handle.fencingToken + 1);
  });

  test('a hand-off that fails leaves the lease as it was', async () => {
    const { time, store } = scene;
    const lease = await scene.host().client.acquire('job');
    store.plan({ do: 'loseRequest', operation: 'renew' });
    await expect(lease.handOff({ leaseMs: 60_000 })).rejects.toThrow(LockStoreError);
    expect(lease.isHeld()).toBe(true);
    await time.advance(100_000);
    expect(lease.isHeld()).toBe(true);
    expect(await lease.release()).toBe(true);
  });

  test('a hand-off waits for a renewal that is out, and its expiry stands', async () => {
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

describe('renew', () => {
  test('renews now, and the next heartbeat counts from there', async () => {
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

  test('a call while a renewal is out waits for that one', async () => {
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

  test('throws what went wrong, and the lease is held until its deadline all the same', async () => {
    const lease = await scene.host().client.acquire('job');
    scene.store.plan({ do: 'loseRequest', operation: 'renew' });
    await expect(lease.renew()).rejects.toThrow(LockStoreError);
    expect(lease.isHeld()).toBe(true);
  });

  test('throws LockLostError when the lease turns out not to be held', async () => {
    const lease = await scene.host().client.acquire('job');
    await scene.host().client.forceRelease('job', { lockId: lease.lockId });
    await expect(lease.renew()).rejects.toMatchObject({ name: 'LockLostError', reason: 'revoked' });
  });
});

describe('close', () => {
  test('refuses new leases, ends waits, and releases what it holds after aborting its signals', async () => {
    const { time } = scene;
    const host = scene.host();
    const leases = [await host.client.acquire('a'), await host.client.acquire('b')];
    const signals = leases.map(({ signal }) => signal);
    await scene.host().client.acquire('c');
    const waiting = outcomeOf(host.client.acquire('c', { waitMs: 60_000 }));
    await time.advance(100);
    await host.client.close();
    expect(waiting.error).toBeInstanceOf(LockError);
    for (const [n, key] of ['a', 'b'].entries()) {
      expect(await recordOf(key)).toMatchObject({ lockId: undefined });
      expect(leases[n]?.isHeld()).toBe(false);
      expect(signals[n]?.reason).toMatchObject({ name: 'LockLostError', reason: 'closed' });
    }
    await expect(host.client.acquire('d')).rejects.toThrow('closed');
    await expect(host.client.tryAcquire('d')).rejects.toThrow(LockError);
    await host.client.close();
  });

  test('leaves nothing behind of an acquire that is under way', async () => {
    const { time, store } = scene;
    const { client } = scene.host();
    store.plan({ do: 'delayAnswer', ms: 500, operation: 'acquire' });
    const acquiring = outcomeOf(client.acquire('job'));
    const closing = outcomeOf(client.close());
    await time.advance(1_000);
    expect(acquiring.error).toBeInstanceOf(LockError);
    expect(closing.settled).toBe(true);
    expect(await recordOf()).toMatchObject({ lockId: undefined });
    expect(time.timers).toBe(0);
  });

  test('leaves nothing behind of a resume that is under way', async () => {
    const { time, store } = scene;
    const handle = await (await scene.host().client.acquire('job')).handOff({ leaseMs: 60_000 });
    const { client } = scene.host();
    store.plan({ do: 'delayAnswer', ms: 500, operation: 'resume' });
    const resuming = outcomeOf(client.resume(handle));
    const closing = outcomeOf(client.close());
    await time.advance(1_000);
    expect(closing.settled).toBe(true);
    expect(resuming.error).toBeInstanceOf(LockError);
    expect(await recordOf()).toMatchObject({ lockId: undefined });
    expect(time.timers).toBe(0);
  });

  test.each(['acquire', 'resume'] as const)(
    'leaves no lease of an %s, in whichever microtask after its answer it comes',
    async (operation) => {
      for (let microtasks = 0; microtasks < 40; microtasks++) {
        const { time, store, host } = world();
        const { client } = host();
        const handle =
          operation === 'resume' && (await (await host().client.acquire('job')).handOff({ leaseMs: 60_000 }));
        let answer = () => {};
        const gate = new Promise<void>((resolve) => {
          answer = resolve;
        });
        store.plan({ do: 'then', act: () => gate, operation });
        const taking = outcomeOf(handle ? client.resume(handle) : client.acquire('job'));
        await time.advance(0);
        answer();
        for (let passed = 0; passed < microtasks; passed++) await undefined;
        await client.close();
        expect([microtasks, (await store.inner.read('job', { consistent: true })).record?.lockId]).toEqual([
          microtasks,
          undefined,
        ]);
        await time.advance(0);
        expect([microtasks, taking.settled, taking.value?.isHeld() ?? false]).toEqual([microtasks, true, false]);
      }
    },
  );

  test('waits for a release that is under way', async () => {
    const { time, store } = scene;
    const { client } = scene.host();
    const lease = await client.acquire('job');
    store.plan({ do: 'delayRequest', ms: 500, operation: 'release' });
    const releasing = outcomeOf(lease.release());
    const closing = outcomeOf(client.close());
    await time.advance(499);
    expect(closing.settled).toBe(false);
    await time.advance(1);
    expect(closing.settled).toBe(true);
    expect(releasing.value).toBe(true);
  });

  test('does not fail when a release does, and waits no longer than its requests', async () => {
    const { time, store } = scene;
    const { client } = scene.host();
    await client.acquire('job');
    store.plan({ do: 'hang', operation: 'release', times: 3 });
    const closings = [outcomeOf(client.close()), outcomeOf(client.close())];
    await time.advance(2_900);
    expect(closings.map(({ settled }) => settled)).toEqual([false, false]);
    await time.advance(100);
    expect(closings).toMatchObject([
      { settled: true, error: undefined },
      { settled: true, error: undefined },
    ]);
  });
});

describe('events', () => {
  /** Every type of event, with the values that are its own. */
  async function everything() {
    const { time, store } = scene;
    const other = scene.host();
    const host = scene.host();
    const { client } = host;

    await other.client.acquire('taken', { holdAtMostMs: 1_000 });
    expect(await client.tryAcquire('taken')).toBeNull();
    const waiting = client.acquire('taken', { waitMs: 10_000 });
    await time.advance(5_000);
    await (await waiting).release();

    const done = await client.acquire('once', { once: '1' });
    await done.release({ done: true });
    await client.tryAcquire('once', { once: '1' });

    const renewed = await client.acquire('renewed');
    store.plan({ do: 'loseRequest', operation: 'renew' });
    await time.advance(15_000);
    store.plan({ do: 'fail', error: new LockStoreError('no'), operation: 'release' });
    await renewed.release();

    const lost = await client.acquire('lost');
    store.plan({ do: 'hang', operation: 'renew', times: Number.POSITIVE_INFINITY });
    await time.advance(27_000);
    const secrets = store.requests.flatMap(({ request }) => [request.lockId ?? []].flat());
    return { events: [...host.events, ...other.events], host, leases: [done, renewed, lost], secrets };
  }
  const start = Date.UTC(2026, 0, 1);

  test('there is one of every type, with key, owner, token and times', async () => {
    const { host } = await everything();
    const token = expect.any(Number);
    const first = (type: LockEvent['type'], key: string) => host.of(type).find((event) => event.key === key);
    expect(first('busy', 'taken')).toEqual({
      type: 'busy',
      key: 'taken',
      at: start,
      owner: 'host-1',
      fencingToken: token,
      expiresAt: start + 4_000,
      retryAfterMs: 4_000,
      waitedMs: 0,
    });
    expect(first('waiting', 'taken')).toEqual({
      type: 'waiting',
      key: 'taken',
      at: start,
      owner: 'host-1',
      fencingToken: token,
      expiresAt: start + 4_000,
    });
    const taking = first('acquired', 'taken') as Extract<LockEvent, { type: 'acquired' }>;
    expect(taking).toEqual({
      type: 'acquired',
      key: 'taken',
      at: start + taking.waitedMs,
      owner: 'host-2',
      fencingToken: token,
      expiresAt: start + taking.waitedMs + 30_000,
      deadline: start + taking.waitedMs + 27_000,
      waitedMs: expect.any(Number),
      takenOverFrom: { owner: 'host-1', expiredAt: start + 4_000 },
    });
    expect(taking.waitedMs).toBeGreaterThanOrEqual(4_000);
    expect(first('released', 'once')).toEqual({
      type: 'released',
      key: 'once',
      at: start + 5_000,
      owner: 'host-2',
      fencingToken: token,
      heldMs: 0,
      done: true,
    });
    expect(first('done', 'once')).toEqual({
      type: 'done',
      key: 'once',
      at: start + 5_000,
      owner: 'host-2',
      once: '1',
      doneToken: '1',
    });
    expect(first('acquired', 'renewed')).not.toHaveProperty('takenOverFrom');
    expect(first('renewFailed', 'renewed')).toEqual({
      type: 'renewFailed',
      key: 'renewed',
      at: start + 15_000,
      owner: 'host-2',
      fencingToken: token,
      error: expect.any(LockStoreError),
      deadline: start + 32_000,
      remainingMs: 17_000,
    });
    const renewal = first('renewed', 'renewed') as Extract<LockEvent, { type: 'renewed' }>;
    expect(renewal).toEqual({
      type: 'renewed',
      key: 'renewed',
      at: renewal.at,
      owner: 'host-2',
      fencingToken: token,
      expiresAt: renewal.at + 30_000,
      deadline: renewal.at + 27_000,
    });
    expect(first('releaseFailed', 'renewed')).toEqual({
      type: 'releaseFailed',
      key: 'renewed',
      at: start + 20_000,
      owner: 'host-2',
      fencingToken: token,
      heldMs: 15_000,
      error: expect.any(LockStoreError),
    });
    expect(first('lost', 'lost')).toEqual({
      type: 'lost',
      key: 'lost',
      at: start + 47_000,
      owner: 'host-2',
      fencingToken: token,
      reason: 'expired',
      error: expect.any(LockLostError),
      heldMs: 27_000,
    });
  });

  test('none tells a lockId, nor does an error, a lease as JSON, or a lease in the log', async () => {
    const { events, leases, secrets } = await everything();
    expect(new Set(events.map(({ type }) => type)).size).toBe(9);
    expect(secrets.length).toBeGreaterThan(10);
    const deep = { depth: 20, showHidden: true, getters: true };
    const said = [
      ...events.flatMap((event) => [JSON.stringify(event), inspect(event, { depth: 20 })]),
      ...events.flatMap((event) =>
        'error' in event ? [event.error.message, event.error.stack, String(event.error)] : [],
      ),
      ...leases.flatMap((lease) => [
        JSON.stringify(lease),
        inspect(lease),
        inspect({ lease }, { depth: 20 }),
        `${lease}`,
      ]),
      inspect(await thrownBy(scene.host().client.acquire('lost')), deep),
    ].join('\n');
    for (const secret of new Set(secrets)) expect(said).not.toContain(secret);
  });

  test('a lease as JSON tells people what they may read', async () => {
    const lease = await scene.host().client.acquire('job', { data: 7 });
    expect(JSON.parse(JSON.stringify(lease))).toEqual({
      key: 'job',
      owner: 'host-1',
      fencingToken: lease.fencingToken,
      acquiredAt: start,
      deadline: start + 27_000,
      data: 7,
      held: true,
    });
  });

  test('a loss is told before the signal aborts, and then once', async () => {
    const host = scene.host();
    const lease = await host.client.acquire('job');
    const told: number[] = [];
    lease.signal.addEventListener('abort', () => told.push(host.of('lost').length));
    lease.abandon('timedOut');
    await lease.release();
    expect(told).toEqual([1]);
    expect(host.of('lost')).toHaveLength(1);
    expect(host.of('released')).toEqual([]);
  });
});

describe('a lease that is not held says why', () => {
  test.each([
    ['expired', 'its deadline has passed', async (lease: Lease) => lease.abandon('expired')],
    ['timedOut', 'its invocation timed out', async (lease: Lease) => lease.abandon('timedOut')],
    ['abandoned', 'it was given up, for its work may go on', async (lease: Lease) => lease.abandon('abandoned')],
    ['released', 'it was released', (lease: Lease) => lease.release()],
    ['handedOff', 'it was handed off', (lease: Lease) => lease.handOff({ leaseMs: 1_000 })],
    ['closed', 'its client was closed', (lease: Lease) => lease.close()],
    [
      'gone',
      'its record was deleted',
      (lease: Lease) => {
        scene.store.inner = new MemoryLockStore();
        return lease.renew().catch(() => {});
      },
    ],
    [
      'revoked',
      'it was force-released',
      async (lease: Lease) => {
        await scene.host().client.forceRelease('job', { lockId: lease.lockId });
        await lease.renew().catch(() => {});
      },
    ],
    [
      'takenOver',
      'another grant stands in its place',
      async (lease: Lease) => {
        const { client } = scene.host();
        await client.forceRelease('job', { lockId: lease.lockId, immediately: true });
        await scene.time.advance(2);
        await client.acquire('job');
        await lease.renew().catch(() => {});
      },
    ],
  ] as const)('%s: %s', async (reason, detail, end) => {
    const lease = await scene.host().client.acquire('job');
    const { signal } = lease;
    await end(lease);
    const error = signal.aborted ? signal.reason : await thrownBy(lease.renew());
    expect(error).toMatchObject({ name: 'LockLostError', key: 'job', reason });
    expect(error.message).toBe(`The lease of 'job' is not held: ${detail}. Stop its work.`);
  });
});

describe('errors', () => {
  const every = () => [
    new LockBusyError({ key: 'job', owner: 'me', expiresAt: 5, retryAfterMs: 2_001 }),
    new LockDoneError({ key: 'job', once: '1', doneToken: '2' }),
    new LockLostError({ key: 'job', reason: 'expired', detail: 'its deadline has passed' }),
    new LockStoreError('no answer', { transient: true }),
  ];

  test('each is an Error and a LockError under its own name', () => {
    const kinds = [LockBusyError, LockDoneError, LockLostError, LockStoreError];
    for (const [n, error] of every().entries()) {
      expect(error).toBeInstanceOf(Error);
      expect(error instanceof LockError).toBe(true);
      expect(kinds.map((kind) => error instanceof kind)).toEqual(kinds.map((_, m) => m === n));
      expect(error.name).toBe(kinds[n]?.name);
      expect(error.stack).toContain(error.message);
    }
  });

  test('another copy of the module knows them, and they know its', async () => {
    // @ts-expect-error: the query makes another copy, and TypeScript knows no such file.
    const copy = (await import('../../lib/record/errors.ts?copy')) as typeof import('../../lib/record/errors.ts');
    expect(copy.LockError).not.toBe(LockError);
    const theirs = new copy.LockLostError({ key: 'job', reason: 'expired', detail: '' });
    expect(theirs instanceof LockLostError).toBe(true);
    expect(theirs instanceof LockError).toBe(true);
    expect(theirs instanceof LockBusyError).toBe(false);
    for (const error of every()) {
      expect(error instanceof copy.LockError).toBe(true);
      expect(error instanceof copy.LockBusyError).toBe(error.name === 'LockBusyError');
    }
  });

  test.each([[undefined], [null], ['LockBusyError'], [{ name: 'LockBusyError' }], [new Error('x')]])(
    'what is none of them is not taken for one: %p',
    (value) => {
      expect((value as unknown) instanceof LockError).toBe(false);
      expect((value as unknown) instanceof LockBusyError).toBe(false);
    },
  );

  test('a class that extends one of them recognises its own alone', () => {
    class MyBusyError extends LockBusyError {}
    const [busy] = every();
    const mine = new MyBusyError({ key: 'job', expiresAt: 5, retryAfterMs: 0 });
    expect(busy instanceof MyBusyError).toBe(false);
    expect(mine instanceof MyBusyError).toBe(true);
    expect(mine instanceof LockBusyError).toBe(true);
  });

  test.each([
    [0, '1'],
    [1, '1'],
    [1_000, '1'],
    [1_001, '2'],
    [30_000, '30'],
  ])('%i ms make Retry-After %s, in whole seconds and never 0', (retryAfterMs, seconds) => {
    const { headers } = new LockBusyError({ key: 'job', expiresAt: 0, retryAfterMs });
    expect(headers).toEqual({ 'Retry-After': seconds });
  });
});

describe('owner', () => {
  const { env } = process;
  afterEach(() => {
    process.env = env;
  });

  test('is by default the host and the process', async () => {
    process.env = { ...env, AWS_LAMBDA_FUNCTION_NAME: undefined };
    delete process.env.AWS_LAMBDA_FUNCTION_NAME;
    const { owner } = await new LockClient({ store: scene.store, clock: scene.time }).acquire('job');
    expect(owner).toMatch(new RegExp(`.+:${process.pid}$`));
  });

  test('is by default, on Lambda, the function, its version and the log stream', async () => {
    process.env = {
      ...env,
      AWS_LAMBDA_FUNCTION_NAME: 'nightly',
      AWS_LAMBDA_FUNCTION_VERSION: '7',
      AWS_LAMBDA_LOG_STREAM_NAME: '2026/01/01/[7]abc',
    };
    const { owner } = await new LockClient({ store: scene.store, clock: scene.time }).acquire('job');
    expect(owner).toBe('nightly:7 2026/01/01/[7]abc');
  });
});
