import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { Lease } from '../../lib/lease/lease.ts';
import { MemoryLockStore } from '../../lib/testing/memory.ts';
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

describe('a release to a server that hangs', () => {
  test.each([
    { what: 'with 5,000 ms left, three requests of a second', left: 5_000, tookMs: 3_000 },
    { what: 'with 2,000 ms left, all but 200 ms', left: 2_000, tookMs: 1_800 },
    { what: 'with 300 ms left, half of the time', left: 300, tookMs: 150 },
    { what: 'with no time left and code that goes on, three requests of a second', left: 0, tookMs: 3_000 },
    { what: 'with a remainingMs that throws, three requests of a second', left: Number.NaN, tookMs: 3_000 },
    { what: 'with a withinMs, the time of withinMs', left: 2_000, withinMs: 500, tookMs: 500 },
  ])('takes, $what, and reports releaseFailed', async ({ left, withinMs, tookMs }) => {
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
    // The time of each of the three requests is rounded down to milliseconds.
    expect(Math.abs(time.now() - started - tookMs)).toBeLessThanOrEqual(3);
    expect(host.of('releaseFailed')).toHaveLength(1);
  });
});

test("using counts work as done if the work releases its lease with done set to the lease's own token", async () => {
  const { client } = scene.host();
  const work = (lease: Lease) => lease.release({ done: '5' });
  expect(await client.using('job', { once: '5' }, work)).toBe(true);
  expect((await scene.memory.read('job')).record?.doneToken).toBe('~n0001:5');
});

test('a release with a token gives true if a proxy delivers the release twice and another host held the lock in between', async () => {
  const { time, store, memory } = scene;
  const host = scene.host();
  const lease = await host.client.acquire('job', { once: '5' });
  await time.advance(10);
  store.plan({
    do: 'first',
    operation: 'release',
    act: async () => {
      await memory.release({
        key: 'job',
        lockId: lease.lockId,
        now: time.now(),
        holdAtLeastMs: 0,
        doneToken: '~n0001:5',
      });
      await memory.acquire({ key: 'job', lockId: 'b', owner: 'b', now: time.now(), until: time.now() + 9, leaseMs: 9 });
      await memory.release({ key: 'job', lockId: 'b', now: time.now(), holdAtLeastMs: 0 });
    },
  });
  expect(await lease.release({ done: true })).toBe(true);
  expect(host.of('lost')).toEqual([]);
});

test('a release with an earlier token than the greatest finished token does not lower doneToken', async () => {
  const { client } = scene.host();
  await (await client.acquire('job', { once: '3' })).release({ done: true });
  await (await client.acquire('job', { once: '5' })).release({ done: '1' });
  expect((await scene.memory.read('job')).record?.doneToken).toBe('~n0001:3');
});

test.each([
  ['a later token than its own', { once: '5' }, '6', "'5'"],
  ['a token where it has none', {}, '5', 'undefined'],
  ['a token of another form', { once: '5' }, 'five', "'5'"],
])('a release with %s in done is refused, and the lease stays held', async (_, options, done, own) => {
  const lease = await scene.host().client.acquire('job', options);
  const message = `done must be true, false or a once token up to that of the lease, ${own}, and of the same form, but it is '${done}'.`;
  expect(() => lease.release({ done })).toThrow(new TypeError(message));
  expect(lease.isHeld()).toBe(true);
});

test("a release can mark an earlier token than the lease's own as done", async () => {
  const host = scene.host();
  const lease = await host.client.acquire('job', { once: '5' });
  scene.store.plan({ do: 'hangAnswer', operation: 'release' });
  expect(await settle(scene.time, lease.release({ done: '3' }))).toBe(true);
  expect(await recordOf()).toMatchObject({ lockId: undefined, doneToken: '~n0001:3' });
  expect(host.of('released')).toMatchObject([{ done: true }]);
});

test('a host can take a lock with a holdAtLeastMs of 1 again right after its own release', async () => {
  const { client } = scene.host();
  await (await taken(client.tryAcquire('job', { holdAtLeastMs: 1 }))).release();
  expect(await client.tryAcquire('job')).not.toBeNull();
});

describe('a release that a proxy delivers twice, and that the client sent once,', () => {
  const releaseTwice = async (ms: number, once: string | undefined, done = true, holdAtLeastMs = 0) => {
    const holder = scene.host();
    const lease = await taken(holder.client.tryAcquire('job', { ...(once && { once }), holdAtLeastMs }));
    scene.store.plan({ do: 'twice', ms, operation: 'release' });
    return { holder, lease, released: outcomeOf(lease.release({ done })) };
  };

  test.each([
    ['without a token', undefined, true, 0],
    ['with a token that is done', '1', true, 0],
    ['with a token that is not done', '1', false, 0],
    ['of a lock with a holdAtLeastMs', undefined, true, 60_000],
  ])('is no loss: %s', async (_, once, done, holdAtLeastMs) => {
    const { holder, released } = await releaseTwice(100, once, done, holdAtLeastMs);
    await scene.time.advance(200);
    expect(released).toMatchObject({ settled: true, value: true });
    expect(holder.of('lost')).toEqual([]);
    expect(holder.of('released')).toHaveLength(1);
  });

  test.each([
    ['the record has the token', '1'],
    ['the next grant shows the expiry that the release wrote', undefined],
  ])('is no loss if another host is granted the lock between the deliveries: %s', async (_, once) => {
    const { holder, released } = await releaseTwice(100, once);
    await scene.time.advance(50);
    await taken(scene.host().client.tryAcquire('job', { once: '2' }));
    await scene.time.advance(100);
    expect(released.value).toBe(true);
    expect(holder.of('lost')).toEqual([]);
  });
});

describe('a release after a force release is a loss', () => {
  describe.each([true, false])('immediately: %j', (immediately) => {
    test.each([
      ['with a token that is done', '1', true],
      ['with a token that is not done', '1', false],
      ['without a token', undefined, true],
    ])('%s', async (_, once, done) => {
      const holder = scene.host();
      const lease = await taken(holder.client.tryAcquire('job', { ...(once && { once }) }));
      await scene.host().client.forceRelease('job', { lockId: lease.lockId, immediately });
      expect(await lease.release({ done })).toBe(false);
      expect(holder.of('lost')).toMatchObject([{ reason: 'revoked' }]);
    });
  });

  test.each([
    ['holds the lock since then', false, 'takenOver'],
    ['has held and released the lock since then', true, 'revoked'],
  ])('if another host %s', async (_, hasReleased, reason) => {
    const holder = scene.host();
    const lease = await taken(holder.client.tryAcquire('job'));
    await scene.host().client.forceRelease('job', { lockId: lease.lockId, immediately: true });
    await scene.time.advance(2);
    const other = await taken(scene.host().client.tryAcquire('job'));
    if (hasReleased) await other.release();
    expect(await lease.release()).toBe(false);
    expect(holder.of('lost')).toMatchObject([{ reason }]);
  });

  test('even if its answer comes after the deadline', async () => {
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

describe('a release that is sent twice around a force release', () => {
  test.each([
    ['gives true if the work failed', undefined, false, true],
    ['gives true if the work failed, even with a token', '1', false, true],
    ['gives true if the work succeeded without a token', undefined, true, true],
    ['is a loss if the work succeeded with a token that the record does not have', '1', true, false],
  ])('%s', async (_, once, done, counts) => {
    const { time, store, host } = scene;
    const holder = host();
    const lease = await taken(holder.client.tryAcquire('job', { ...(once && { once }) }));
    store.plan({ do: 'hang', operation: 'release' });
    const released = outcomeOf(lease.release({ done }));
    await time.advance(1);
    await host().client.forceRelease('job', { lockId: lease.lockId });
    await time.advance(2_000);
    expect(released).toMatchObject({ settled: true, value: counts });
    expect(holder.of('lost')).toMatchObject(counts ? [] : [{ reason: 'revoked' }]);
  });
});

describe('the LockLostError of a lease that is not held has the reason', () => {
  test.each([
    ['expired', 'its deadline has passed', async (lease: Lease) => lease.abandon('expired')],
    ['timedOut', 'its invocation timed out', async (lease: Lease) => lease.abandon('timedOut')],
    ['abandoned', 'it was given up, for its work may go on', async (lease: Lease) => lease.abandon('abandoned')],
    ['released', 'it was released', (lease: Lease) => lease.release()],
    ['handedOff', 'it was handed off', (lease: Lease) => lease.handOff({ leaseMs: 1_000 })],
    [
      'closed',
      'its client was closed or its candidate told to stop, and its work had not ended in time',
      async (lease: Lease) => lease.abandon('closed'),
    ],
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
    const error = signal.aborted ? signal.reason : await lease.renew().catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ name: 'LockLostError', key: 'job', reason });
    expect(error.message).toBe(`The lease of 'job' is not held: ${detail}. Stop its work.`);
  });
});
