import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { Lease } from '../../lib/lease/lease.ts';
import { outcomeOf, settle, taken, type World, world } from './setup.ts';

let scene: World;
beforeEach(() => {
  scene = world();
});
afterEach(() => {
  jest.restoreAllMocks();
});

const HOUR = 3_600_000;
const recordOf = async () => (await scene.memory.read('job')).record;

describe('close() of a lease', () => {
  test('releases it without calling its work done', async () => {
    const { client } = scene.host();
    await client.acquire('job', { once: '1' });
    await client.close();
    expect(await recordOf()).toMatchObject({ lockId: undefined, doneToken: undefined });
  });

  test('that was given up sends nothing: its work may go on', async () => {
    const { store, host } = scene;
    const lease = await taken(host().client.tryAcquire('job'));
    lease.abandon('timedOut');
    expect(await lease.close()).toBe(false);
    expect(store.operations).toEqual(['acquire']);
    expect(lease.signal.reason).toMatchObject({ reason: 'timedOut' });
  });
});

test('close() of a client sends nothing for a lease that was lost', async () => {
  const { time, store, host } = scene;
  const { client } = host();
  await client.acquire('job', { holdAtMostMs: 1_000 });
  await time.advance(1_000);
  await client.close();
  expect(store.operations).toEqual(['acquire']);
});

describe('a release to a server that hangs', () => {
  test.each([
    { what: 'with 5,000 ms left: three requests of a second', left: 5_000, tookMs: 3_000 },
    { what: 'with 2,000 ms left: 200 ms are left for the response', left: 2_000, tookMs: 1_800 },
    { what: 'with 300 ms left: half of them are', left: 300, tookMs: 150 },
    { what: 'with no time left, and code that goes on: three requests of a second', left: 0, tookMs: 3_000 },
    { what: 'with a clock that fails: three requests of a second', left: Number.NaN, tookMs: 3_000 },
    { what: 'with a withinMs of its own, that counts', left: 2_000, withinMs: 500, tookMs: 500 },
  ])('$what, and releaseFailed is told', async ({ left, withinMs, tookMs }) => {
    const { time, store } = scene;
    const host = scene.host();
    let remaining = 60_000;
    const remainingMs = () => {
      if (Number.isNaN(remaining)) throw new Error('No context.');
      return remaining;
    };
    const lease = await host.client.acquire('job', { remainingMs });
    remaining = left;
    store.plan({ do: 'hang', operation: 'release', times: Number.POSITIVE_INFINITY });
    const started = time.now();
    const released = outcomeOf(lease.release(withinMs === undefined ? {} : { withinMs }));
    while (!released.settled) await time.advance(1);
    expect(released.value).toBe(false);
    // Each of three tries is cut to whole milliseconds.
    expect(Math.abs(time.now() - started - tookMs)).toBeLessThanOrEqual(3);
    expect(host.of('releaseFailed')).toHaveLength(1);
  });
});

test('work that releases its lease by naming its own token has done it', async () => {
  const { client } = scene.host();
  const work = (lease: Lease) => lease.release({ done: '5' });
  expect(await client.using('job', { once: '5' }, work)).toBe(true);
  expect((await scene.memory.read('job')).record?.doneToken).toBe('5');
});

test('a release with its token that a proxy delivers twice is one, also if another came and went between the two', async () => {
  const { time, store, memory } = scene;
  const host = scene.host();
  const lease = await host.client.acquire('job', { once: '5' });
  await time.advance(10);
  store.plan({
    do: 'first',
    operation: 'release',
    act: async () => {
      await memory.release({ key: 'job', lockId: lease.lockId, now: time.now(), holdAtLeastMs: 0, doneToken: '5' });
      await memory.acquire({ key: 'job', lockId: 'b', owner: 'b', now: time.now(), until: time.now() + 9, leaseMs: 9 });
      await memory.release({ key: 'job', lockId: 'b', now: time.now(), holdAtLeastMs: 0 });
    },
  });
  expect(await lease.release({ done: true })).toBe(true);
  expect(host.of('lost')).toEqual([]);
});

test('a release that says so of a token before the greatest one that finished leaves that', async () => {
  const { client } = scene.host();
  await (await client.acquire('job', { once: '3' })).release({ done: true });
  await (await client.acquire('job', { once: '5' })).release({ done: '1' });
  expect((await scene.memory.read('job')).record?.doneToken).toBe('3');
});

test.each([
  ['a later token than its own', { once: '5' }, '6', "'5'"],
  ['a token where it has none', {}, '5', 'undefined'],
  ['an empty text', { once: '5' }, '', "'5'"],
])('a release that calls %s done is refused, and the lease is held', async (_, options, done, own) => {
  const lease = await scene.host().client.acquire('job', options);
  if (done === '') return expect(await lease.release({ done })).toBe(true);
  const message = `done must be true, false or a once token up to that of the lease, ${own}, but it is '${done}'.`;
  expect(() => lease.release({ done })).toThrow(new TypeError(message));
  expect(lease.isHeld()).toBe(true);
});

test('a release can say that an earlier token is done than its own', async () => {
  const host = scene.host();
  const lease = await host.client.acquire('job', { once: '5' });
  scene.store.plan({ do: 'hangAnswer', operation: 'release' });
  expect(await settle(scene.time, lease.release({ done: '3' }))).toBe(true);
  expect(await recordOf()).toMatchObject({ lockId: undefined, doneToken: '3' });
  expect(host.of('released')).toMatchObject([{ done: false }]);
});

test('a lease is handed off for a time, and not without one', async () => {
  const lease = await taken(scene.host().client.tryAcquire('job'));
  await expect(lease.handOff(undefined as never)).rejects.toThrow('leaseMs must be a whole number of milliseconds');
  expect(lease.isHeld()).toBe(true);
});

describe('a renewal', () => {
  test('that is answered after the deadline, before its timer, is none', async () => {
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

  test('by a clock that was set back by more than it has run gains nothing: belief ends when it would have', async () => {
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

  test('by one that was set back by less is one, for as long as it wrote', async () => {
    const { time } = scene;
    const host = scene.host();
    const lease = await taken(host.client.tryAcquire('job'));
    await time.advance(5_000);
    host.clock.offsetMs -= 5_000;
    await time.advance(5_000);
    expect(host.of('renewed')).toHaveLength(1);
    expect(lease.deadline).toBe(host.clock.now() + 27_000);
  });

  test('by a clock that was set back is written once more as soon as the answer tells the time', async () => {
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

  test('that hangs is sent again within what is left of a short lease', async () => {
    const { time, store } = scene;
    const lease = await taken(scene.host().client.tryAcquire('job', { leaseMs: 1_500 }));
    store.plan({ do: 'hang', operation: 'renew' });
    // Renewed at 500 ms, it would end at 1,125 ms.
    await time.advance(1_130);
    expect(store.count('renew')).toBeGreaterThan(1);
    expect(lease.isHeld()).toBe(true);
  });

  test('is due a heartbeat after the request before it was sent, however late that was answered', async () => {
    const { time, store } = scene;
    store.plan({ do: 'delayAnswer', ms: 900 });
    const lease = await settle(time, scene.host().client.acquire('job'));
    await time.advance(9_099);
    expect(store.count('renew')).toBe(0);
    await time.advance(1);
    expect(store.count('renew')).toBe(1);
    expect(lease.isHeld()).toBe(true);
  });

  test('comes in time though the answer showed that less is left than a heartbeat', async () => {
    const { time, store, host } = world({ dated: true, start: 1_800_000_000_000 });
    // Of the 4 s that the holder means to believe, its clock, 1.5 s behind, leaves two and a half at the most.
    const holder = host({ ahead: -1_500, leaseMs: 10_000, safetyMs: 6_000, heartbeatMs: 3_500 });
    const lease = await taken(holder.client.tryAcquire('job'));
    await time.advance(3_000);
    expect(store.count('renew')).toBeGreaterThan(0);
    expect(lease.isHeld()).toBe(true);
  });
});

test('the handle of a lease has no more than there is to hand over', async () => {
  const lease = await taken(scene.host().client.tryAcquire('job'));
  const { lockId, fencingToken } = lease;
  expect(await lease.handOff({ leaseMs: 1_000 })).toStrictEqual({ key: 'job', lockId, fencingToken });
});

test('a lock with the shortest holdAtLeastMs is had again at once by the one who released it', async () => {
  const { client } = scene.host();
  await (await taken(client.tryAcquire('job', { holdAtLeastMs: 1 }))).release();
  expect(await client.tryAcquire('job')).not.toBeNull();
});

describe('a release that a proxy delivers twice, so that the client counts one request,', () => {
  const releaseTwice = async (ms: number, once: string | undefined, done = true, holdAtLeastMs = 0) => {
    const holder = scene.host();
    const lease = await taken(holder.client.tryAcquire('job', { once, holdAtLeastMs }));
    scene.store.plan({ do: 'twice', ms, operation: 'release' });
    return { holder, lease, released: outcomeOf(lease.release({ done })) };
  };

  test.each([
    ['without a token', undefined, true, 0],
    ['with a token that is done', '1', true, 0],
    ['with a token that is not done', '1', false, 0],
    ['of a lock that is held at least for a while', undefined, true, 60_000],
  ])('is no loss: %s', async (_, once, done, holdAtLeastMs) => {
    const { holder, released } = await releaseTwice(100, once, done, holdAtLeastMs);
    await scene.time.advance(200);
    expect(released).toMatchObject({ settled: true, value: true });
    expect(holder.of('lost')).toEqual([]);
    expect(holder.of('released')).toHaveLength(1);
  });

  test.each([
    ['its token stands', '1'],
    ["the other's grant keeps the expiry that it wrote", undefined],
  ])('is no loss when another is granted the lock in between: %s', async (_, once) => {
    const { holder, released } = await releaseTwice(100, once);
    await scene.time.advance(50);
    await taken(scene.host().client.tryAcquire('job', { once: '2' }));
    await scene.time.advance(100);
    expect(released.value).toBe(true);
    expect(holder.of('lost')).toEqual([]);
  });
});

describe('a release that an operator came before is a loss', () => {
  describe.each([true, false])('immediately: %j', (immediately) => {
    test.each([
      ['with a token that is due', '1', true],
      ['with a token that is not', '1', false],
      ['without a token', undefined, true],
    ])('%s', async (_, once, done) => {
      const holder = scene.host();
      const lease = await taken(holder.client.tryAcquire('job', { once }));
      await scene.host().client.forceRelease('job', { lockId: lease.lockId, immediately });
      expect(await lease.release({ done })).toBe(false);
      expect(holder.of('lost')).toMatchObject([{ reason: 'revoked' }]);
    });
  });

  test.each([
    ['holds the lock', false, 'takenOver'],
    ['has held it', true, 'revoked'],
  ])('when another %s since', async (_, hasReleased, reason) => {
    const holder = scene.host();
    const lease = await taken(holder.client.tryAcquire('job'));
    await scene.host().client.forceRelease('job', { lockId: lease.lockId, immediately: true });
    await scene.time.advance(2);
    const other = await taken(scene.host().client.tryAcquire('job'));
    if (hasReleased) await other.release();
    expect(await lease.release()).toBe(false);
    expect(holder.of('lost')).toMatchObject([{ reason }]);
  });
});

describe('a release that an operator came before, and that was sent twice,', () => {
  test.each([
    ['counts where nothing was done', undefined, false, true],
    ['counts where nothing was done, though there is a token', '1', false, true],
    ['counts where what was done has no token', undefined, true, true],
    ['does not count where a token was done, which stands nowhere', '1', true, false],
  ])('%s', async (_, once, done, counts) => {
    const { time, store, host } = scene;
    const holder = host();
    const lease = await taken(holder.client.tryAcquire('job', { once }));
    store.plan({ do: 'hang', operation: 'release' });
    const released = outcomeOf(lease.release({ done }));
    await time.advance(1);
    await host().client.forceRelease('job', { lockId: lease.lockId });
    await time.advance(2_000);
    expect(released).toMatchObject({ settled: true, value: counts });
    expect(holder.of('lost')).toMatchObject(counts ? [] : [{ reason: 'revoked' }]);
  });

  test('is told as such also when it is answered after the deadline', async () => {
    const { time, store } = scene;
    const holder = scene.host();
    const lease = await taken(holder.client.tryAcquire('job', { requestTimeoutMs: HOUR }));
    await scene.host().client.forceRelease('job', { lockId: lease.lockId });
    store.plan({ do: 'delayAnswer', ms: 28_000, operation: 'release' });
    expect(await settle(time, lease.release())).toBe(false);
    expect(holder.of('lost')).toMatchObject([{ reason: 'revoked' }]);
    expect(holder.of('releaseFailed')).toEqual([]);
  });
});
