import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { LockClient } from '../../lib/lease/client.ts';
import {
  LockBusyError,
  LockClosedError,
  LockDoneError,
  LockError,
  LockLostError,
  LockStoreError,
} from '../../lib/record/errors.ts';
import { canonicalToken } from '../../lib/record/token.ts';
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
const thrownBy = async (promise: Promise<unknown>) => {
  const outcome = outcomeOf(promise);
  await promise.catch(() => {});
  return outcome.error;
};

describe('tryAcquire and release', () => {
  test('take two requests in all for work that is shorter than a heartbeat', async () => {
    const { time, store } = scene;
    const lease = await taken(scene.host().client.tryAcquire('job'));
    await time.advance(9_999);
    expect(await lease.release({ done: true })).toBe(true);
    await time.advance(100_000);
    expect(store.operations).toEqual(['acquire', 'release']);
  });

  test('a try that finds the lock busy sends one request and gives null', async () => {
    const { store } = scene;
    await scene.host().client.tryAcquire('job');
    expect(await scene.host().client.tryAcquire('job')).toBeNull();
    expect(store.count()).toBe(2);
  });

  test('a try refuses waitMs, since a try does not wait', async () => {
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

  test('a lease and the record show the grant and its options', async () => {
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

  test('a released lock is free in the same millisecond for its own host, and in the next millisecond for others', async () => {
    const { client } = scene.host();
    for (let round = 0; round < 3; round++) expect(await (await taken(client.tryAcquire('job'))).release()).toBe(true);
    await scene.time.advance(3);
    expect(await scene.host().client.tryAcquire('job')).not.toBeNull();
  });

  test('takenOverFrom names the holder whose lease expired, and the expiry', async () => {
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

  test('a second release answers as the first release did, and sends nothing', async () => {
    const { store } = scene;
    const lease = await taken(scene.host().client.tryAcquire('job'));
    expect(await Promise.all([lease.release(), lease.release()])).toEqual([true, true]);
    expect(await lease.release({ done: true })).toBe(true);
    expect(store.count('release')).toBe(1);
  });

  test('await using releases the lease at the end of the block', async () => {
    {
      await using lease = await scene.host().client.acquire('job');
      expect(lease.isHeld()).toBe(true);
    }
    expect(await recordOf()).toMatchObject({ lockId: undefined });
  });

  test('a release after the deadline opens a lock that nobody took, but marks no token as done', async () => {
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
    'a release reports the loss if another host ended the lease before its deadline: %s',
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

  test('a release after a force release reports the loss, and marks no token as done', async () => {
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
  test('throws a LockBusyError at once by default, with the owner, the expiry and the headers', async () => {
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
      headers: { 'Retry-After': '1' },
    });
    expect(error.message).toContain("'job'");
    expect(error.message).not.toContain('host-1');
    expect(store.count()).toBe(2);
  });

  test('asks to come back after as long as the holder has had the lock, and at the expiry at the latest', async () => {
    const { time } = scene;
    const { client } = scene.host();
    const lease = await client.acquire('job', { leaseMs: 60_000 });
    const retryAfter = async () => (await thrownBy(scene.host().client.acquire('job'))).headers['Retry-After'];
    await time.advance(100);
    expect(await retryAfter()).toBe('1');
    await time.advance(7_900);
    expect(await retryAfter()).toBe('8');
    lease.abandon('abandoned');
    await time.advance(47_000);
    expect(await retryAfter()).toBe('5');
  });

  test('asks to come back when the lock opens if nobody holds the lock', async () => {
    const { client } = scene.host();
    await (await client.acquire('job', { holdAtLeastMs: 40_000 })).release();
    await scene.time.advance(1_000);
    const error = await thrownBy(client.acquire('job'));
    expect(error).toMatchObject({
      headers: { 'Retry-After': '39' },
      message: "The lock 'job' is busy; retry in 39 s.",
    });
  });

  test('names no owner of a lock that holdAtLeastMs keeps closed', async () => {
    const { client } = scene.host();
    await (await client.acquire('job', { holdAtLeastMs: 400 })).release();
    const error = await thrownBy(client.acquire('job'));
    expect(error).toMatchObject({ owner: undefined, retryAfterMs: 400, headers: { 'Retry-After': '1' } });
  });

  test('gets a lock that its holder releases within waitMs', async () => {
    const { time } = scene;
    const lease = await scene.host().client.acquire('job');
    const waiting = outcomeOf(scene.host().client.acquire('job', { waitMs: 5_000 }));
    await time.advance(2_000);
    expect(waiting.settled).toBe(false);
    await lease.release();
    await time.advance(1_000);
    expect(waiting.value?.isHeld()).toBe(true);
  });

  test('throws a LockBusyError when waitMs is over', async () => {
    const { time } = scene;
    await scene.host().client.acquire('job');
    const waiting = outcomeOf(scene.host().client.acquire('job', { waitMs: 5_000 }));
    await time.advance(4_999);
    expect(waiting.settled).toBe(false);
    await time.advance(2);
    expect(waiting.error).toBeInstanceOf(LockBusyError);
  });

  test('rejects with the reason of its signal if the signal aborts during the wait', async () => {
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

  test('sends nothing if its signal has aborted before the call', async () => {
    const signal = AbortSignal.abort(new Error('too late'));
    await expect(scene.host().client.acquire('job', { signal })).rejects.toThrow('too late');
    expect(scene.store.count('acquire')).toBe(0);
  });

  test('keeps the lease if its signal aborts after the grant', async () => {
    const controller = new AbortController();
    const lease = await scene.host().client.acquire('job', { signal: controller.signal });
    controller.abort();
    expect(lease.isHeld()).toBe(true);
    expect(lease.signal.aborted).toBe(false);
  });

  test('throws a LockStoreError if no answer comes, and releases the grant that the store may have made', async () => {
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

  test('throws an error unchanged if the error is not transient, and releases nothing', async () => {
    const { store } = scene;
    const denied = new LockStoreError('dynamodb:UpdateItem is not allowed');
    store.plan({ do: 'fail', error: denied, operation: 'acquire' });
    await expect(scene.host().client.acquire('job', { waitMs: 1_000 })).rejects.toMatchObject({
      message: "Acquiring 'job': dynamodb:UpdateItem is not allowed",
      transient: false,
    });
    expect(store.operations).toEqual(['acquire']);
  });

  test('makes any other error of the store the cause of a LockStoreError', async () => {
    const odd = new RangeError('odd');
    scene.store.plan({ do: 'fail', error: odd, operation: 'acquire' });
    const error = await thrownBy(scene.host().client.acquire('job'));
    expect(error).toBeInstanceOf(LockStoreError);
    expect(error.cause).toBe(odd);
  });

  test('sends a request again that met another transaction, and gives up after fewer than 20 requests', async () => {
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

  test('names the missing feature of a store that refuses without the record', async () => {
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

  test('a finished token and every earlier token are done, and a later token is granted', async () => {
    const { client } = scene.host();
    await run(client, '2026-01-02T00:00:00Z', true);
    await expect(client.tryAcquire('job', { once: '2026-01-02T00:00:00Z' })).rejects.toThrow(LockDoneError);
    const error = await thrownBy(client.acquire('job', { once: '2026-01-01T00:00:00Z', waitMs: 5_000 }));
    expect(error).toBeInstanceOf(LockDoneError);
    expect(error).toMatchObject({ key: 'job', once: '2026-01-01T00:00:00Z', doneToken: '2026-01-02T00:00:00Z' });
    await run(client, '2026-01-02T00:00:01Z', true);
  });

  test('a token whose work failed is not done', async () => {
    const { client } = scene.host();
    await run(client, '1', false);
    await run(client, '1', true);
    await run(client, '2', false);
    expect((await recordOf())?.doneToken).toBe('~n0001:1');
  });

  test('a waiter learns by a read that another host finished its token', async () => {
    const { time, store } = scene;
    const first = await scene.host().client.acquire('job', { once: '1' });
    const second = outcomeOf(scene.host().client.acquire('job', { once: '1', waitMs: 10_000 }));
    await time.advance(1_000);
    await first.release({ done: true });
    await time.advance(1_000);
    expect(second.error).toBeInstanceOf(LockDoneError);
    expect(store.count('acquire')).toBe(2);
  });

  test('an acquire without a token is granted after a finished token', async () => {
    const { client } = scene.host();
    await run(client, '1', true);
    expect(await client.tryAcquire('job')).not.toBeNull();
  });
});

describe('using', () => {
  test('gives the result of the work, releases the lease and marks the token as done', async () => {
    const { client } = scene.host();
    const result = await client.using('job', { once: '1' }, async (lease) => {
      expect(lease.isHeld()).toBe(true);
      return lease.key;
    });
    expect(result).toBe('job');
    expect(await recordOf()).toMatchObject({ lockId: undefined, doneToken: '~n0001:1' });
  });

  test('releases the lease of work that fails, and marks no token as done', async () => {
    const { client } = scene.host();
    const failing = client.using('job', { once: '1' }, () => {
      throw new Error('broken');
    });
    await expect(failing).rejects.toThrow('broken');
    const record = await recordOf();
    expect(record?.lockId).toBeUndefined();
    expect(record?.doneToken).toBeUndefined();
  });

  test('throws a LockLostError if the work succeeded on a lost lease, and marks no token as done', async () => {
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

  test('lets the work release or hand off the lease', async () => {
    const { client } = scene.host();
    expect(await client.using('job', {}, (lease) => lease.release())).toBe(true);
    const handle = await client.using('job', {}, (lease) => lease.handOff({ leaseMs: 60_000 }));
    expect((await client.resume(handle)).isHeld()).toBe(true);
  });

  test('with once, rejects if the work released the lease without done', async () => {
    const { client } = scene.host();
    const using = client.using('job', { once: '1' }, (lease) => lease.release());
    await expect(using).rejects.toThrow(LockError);
    await expect(using).rejects.toThrow(
      "Releasing 'job': the work released its lease itself, so the once token '1' is not done. Call release({ done: true })",
    );
    expect((await recordOf())?.doneToken).toBeUndefined();
  });

  test('with once, lets the work release the lease as done, or hand the lease off', async () => {
    const { client } = scene.host();
    expect(await client.using('job', { once: '1' }, (lease) => lease.release({ done: true }))).toBe(true);
    expect((await recordOf())?.doneToken).toBe('~n0001:1');
    const handle = await client.using('job', { once: '2' }, (lease) => lease.handOff({ leaseMs: 60_000 }));
    await (await client.resume(handle)).finish();
    expect((await recordOf())?.doneToken).toBe('~n0001:2');
  });

  test('throws the error of work that fails after its own release', async () => {
    const using = scene.host().client.using('job', { once: '1' }, async (lease) => {
      await lease.release();
      throw new Error('broken');
    });
    await expect(using).rejects.toThrow('broken');
  });

  test('gives the result of the work and reports releaseFailed if the release fails', async () => {
    const { client, of } = scene.host();
    scene.store.plan({ do: 'fail', error: new LockStoreError('no'), operation: 'release' });
    expect(await client.using('job', { once: '1' }, () => 'result')).toBe('result');
    expect(of('releaseFailed')).toHaveLength(1);
  });
});

describe('close', () => {
  test('refuses new leases and ends waits at once', async () => {
    const { time } = scene;
    const { client } = scene.host();
    await scene.host().client.acquire('job');
    const waiting = outcomeOf(client.acquire('job', { waitMs: 60_000 }));
    await time.advance(100);
    await client.close();
    await time.advance(0);
    expect(waiting.error).toBeInstanceOf(LockClosedError);
    await expect(client.acquire('another')).rejects.toThrow('closed');
    await expect(client.tryAcquire('another')).rejects.toThrow(LockClosedError);
    expect(time.timers).toBe(2); // the heartbeat and the deadline of the other host's lease
    await client.close();
  });

  test('aborts the signals, and renews the leases until their holder releases them', async () => {
    const { time, store, host } = scene;
    const { client, of } = host();
    const leases = [await client.acquire('a'), await client.acquire('b')];
    const closing = outcomeOf(client.close({ graceMs: 600_000 }));
    for (const lease of leases) expect(lease.signal.reason).toBeInstanceOf(LockClosedError);
    await time.advance(300_000);
    expect(leases.map((lease) => lease.isHeld())).toEqual([true, true]);
    expect(await host().client.tryAcquire('a')).toBeNull();
    expect(store.count('release')).toBe(0);
    expect(await leases[0]?.release()).toBe(true);
    expect(closing.settled).toBe(false);
    expect(await leases[1]?.release()).toBe(true);
    await time.advance(0);
    expect(closing).toMatchObject({ settled: true, error: undefined });
    expect(of('lost')).toEqual([]);
    expect(time.timers).toBe(0);
  });

  test('lets work under `using` end, and its token become done', async () => {
    const { time, host } = scene;
    const { client } = host();
    const using = client.using('job', { once: '1' }, async ({ signal }) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      await new Promise<void>((resolve) => time.setTimeout(resolve, 5_000));
      return 'in order';
    });
    const worked = outcomeOf(using);
    await time.advance(10);
    const closing = outcomeOf(client.close());
    await time.advance(4_999);
    expect(await recordOf()).toMatchObject({ lockId: expect.any(String) });
    expect(closing.settled).toBe(false);
    await time.advance(1);
    expect(worked.value).toBe('in order');
    expect(closing.settled).toBe(true);
    expect(await recordOf()).toMatchObject({ lockId: undefined, doneToken: canonicalToken('1') });
  });

  test('lets a holder hand its lease off', async () => {
    const { client } = scene.host();
    const lease = await client.acquire('job');
    const closing = outcomeOf(client.close());
    const handle = await lease.handOff({ leaseMs: 60_000 });
    await scene.time.advance(0);
    expect(closing.settled).toBe(true);
    expect((await scene.host().client.resume(handle)).isHeld()).toBe(true);
  });

  test.each([
    ['graceMs', { graceMs: 5_000 }, 5_000],
    ['its deadline at the call, without graceMs', {}, 17_000],
    ['graceMs, although this is later than its deadline at the call', { graceMs: 120_000 }, 120_000],
    ['a millisecond, with a graceMs of 0', { graceMs: 0 }, 0],
  ])('abandons, and never releases, a lease whose work goes on until %s', async (_, options, graceMs) => {
    const { time, store, host } = scene;
    const { client, of } = host();
    // A deadline of 27 seconds, of which 10 are over: the second renewal is due.
    const lease = await client.acquire('job', { heartbeatMs: 26_000 });
    await time.advance(10_000);
    const closing = outcomeOf(client.close(options));
    await time.advance(graceMs - 1);
    expect(closing.settled).toBe(graceMs === 0);
    expect(lease.isHeld()).toBe(graceMs !== 0);
    await time.advance(1);
    expect(closing.settled).toBe(true);
    expect(lease.isHeld()).toBe(false);
    expect(lease.loss).toMatchObject({ reason: 'closed' });
    expect(of('lost')).toMatchObject([{ reason: 'closed' }]);
    expect(await lease.release()).toBe(false);
    expect(store.count('release')).toBe(0);
    expect(time.timers).toBe(0);
    const renewed = store.count('renew');
    expect(await host().client.tryAcquire('job')).toBeNull();
    await time.advance(30_000);
    expect(store.count('renew')).toBe(renewed);
    expect(await host().client.tryAcquire('job')).not.toBeNull();
  });

  test('a second call with less time ends the wait of the first', async () => {
    const { client } = scene.host();
    const lease = await client.acquire('job');
    const first = outcomeOf(client.close({ graceMs: Infinity }));
    await scene.time.advance(100_000);
    expect([lease.isHeld(), first.settled]).toEqual([true, false]);
    await client.close({ graceMs: 0 });
    await scene.time.advance(0);
    expect([lease.isHeld(), first.settled]).toEqual([false, true]);
    expect(scene.time.timers).toBe(0);
  });

  test('waits for a call that hangs for graceMs at the most', async () => {
    const { time, store } = scene;
    const { client } = scene.host();
    store.plan({ do: 'hang', operation: 'acquire', times: 3 });
    void outcomeOf(client.acquire('job', { requestTimeoutMs: 60_000, leaseMs: 600_000 }));
    const closing = outcomeOf(client.close({ graceMs: 1_000 }));
    await time.advance(999);
    expect(closing.settled).toBe(false);
    await time.advance(1);
    expect(closing.settled).toBe(true);
  });

  test.each([
    ['a graceMs that is negative', { graceMs: -1 }],
    ['a graceMs that is text', { graceMs: '5' }],
    ['a misspelled option', { gracems: 5 }],
  ])('refuses %s, and nothing is closed', async (_, options) => {
    const { client } = scene.host();
    await expect(client.close(options as never)).rejects.toThrow(TypeError);
    expect((await client.acquire('job')).signal.aborted).toBe(false);
  });

  test('sends nothing for a lease that was lost', async () => {
    const { time, store, host } = scene;
    const { client } = host();
    const lease = await client.acquire('job', { holdAtMostMs: 1_000 });
    await time.advance(1_000);
    await client.close();
    expect(lease.signal.reason).toMatchObject({ reason: 'expired' });
    expect(store.operations).toEqual(['acquire']);
  });

  test('releases the grant of an acquire that is under way', async () => {
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

  test('releases the grant of a resume that is under way', async () => {
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
    'knows every lease of an %s, in whichever microtask after the answer the close comes',
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
        const closing = outcomeOf(client.close());
        await time.advance(0);
        // A lease that was handed out is waited for, and its work is told to stop.
        const lease = taking.value;
        expect([microtasks, taking.settled, closing.settled]).toEqual([microtasks, true, lease === undefined]);
        if (lease) {
          expect([microtasks, lease.isHeld(), lease.signal.aborted]).toEqual([microtasks, true, true]);
          await lease.release();
          await time.advance(0);
        }
        const { record } = await store.inner.read('job', { consistent: true });
        expect([microtasks, closing.settled, record?.lockId]).toEqual([microtasks, true, undefined]);
        expect([microtasks, time.timers]).toEqual([microtasks, 0]);
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

  test('resolves even if a release fails, and waits no longer than the requests of the release', async () => {
    const { time, store } = scene;
    const { client } = scene.host();
    const lease = await client.acquire('job');
    store.plan({ do: 'hang', operation: 'release', times: 3 });
    const closings = [outcomeOf(client.close()), outcomeOf(client.close())];
    void lease.release();
    await time.advance(2_900);
    expect(closings.map(({ settled }) => settled)).toEqual([false, false]);
    await time.advance(100);
    expect(closings).toMatchObject([
      { settled: true, error: undefined },
      { settled: true, error: undefined },
    ]);
  });
});

describe('owner', () => {
  const { env } = process;
  afterEach(() => {
    process.env = env;
  });

  test('is the host and the process by default', async () => {
    process.env = { ...env, AWS_LAMBDA_FUNCTION_NAME: undefined };
    delete process.env.AWS_LAMBDA_FUNCTION_NAME;
    const { owner } = await new LockClient({ store: scene.store, clock: scene.time }).acquire('job');
    expect(owner).toMatch(new RegExp(`.+:${process.pid}$`));
  });

  test('is the function, its version and its log stream by default on Lambda', async () => {
    process.env = {
      ...env,
      AWS_LAMBDA_FUNCTION_NAME: 'nightly',
      AWS_LAMBDA_FUNCTION_VERSION: '7',
      AWS_LAMBDA_LOG_STREAM_NAME: '2026/01/01/[7]abc',
    };
    const { owner } = await new LockClient({ store: scene.store, clock: scene.time }).acquire('job');
    expect(owner).toBe('nightly:7 2026/01/01/[7]abc');
  });

  test('leaves out what a test does not set', async () => {
    process.env = { ...env, AWS_LAMBDA_FUNCTION_NAME: 'nightly' };
    const { owner } = await new LockClient({ store: scene.store, clock: scene.time }).acquire('job');
    expect(owner).toBe('nightly');
  });
});
