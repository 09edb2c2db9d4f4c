import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { AcquireOptions } from '../../lib/lease/options.ts';
import { LockBusyError, LockStoreError } from '../../lib/record/errors.ts';
import { outcomeOf, seededRandom, settle, watchedSignal, world } from './setup.ts';

afterEach(() => {
  jest.restoreAllMocks();
});

const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] as number;
const transient = () => new LockStoreError('throttled', { transient: true });

describe('a lock that is released after 500 ms', () => {
  async function run(seed: number, latencyMs: number) {
    const random = seededRandom(seed);
    const { time, store, host } = world();
    const lease = await host().client.acquire('job');
    // A read shows the record as it was up to 20 ms ago.
    store.lagMs = Math.floor(random() * 20);
    await time.advance(100);
    const sentBefore = store.count();
    if (latencyMs > 0) store.plan({ do: 'delayAnswer', ms: latencyMs, times: Number.POSITIVE_INFINITY });
    const waiting = outcomeOf(host().client.acquire('job', { waitMs: 10_000 }));
    await time.advance(500);
    const releasedAt = time.monotonic();
    const released = lease.release();
    while (!waiting.settled) await time.advance(1);
    await released;
    return {
      delayMs: time.monotonic() - releasedAt,
      requests: store.count() - sentBefore - 1,
      writes: store.count('acquire') - 1,
      granted: waiting.value !== undefined,
    };
  }

  test.each([0, 5])(
    'goes to the waiter within 100 ms in the median, with at most 12 requests and two writes: answers take %i ms',
    async (ms) => {
      const runs = [];
      for (let seed = 1; seed <= 100; seed++) runs.push(await run(seed, ms));
      expect(runs.every(({ granted }) => granted)).toBe(true);
      expect(median(runs.map(({ delayMs }) => delayMs))).toBeLessThan(100);
      expect(Math.max(...runs.map(({ requests }) => requests))).toBeLessThanOrEqual(12);
      expect(Math.max(...runs.map(({ writes }) => writes))).toBe(2);
    },
  );
});

describe('a look that the end of the wait cuts off', () => {
  async function run(waitMs: number, answersAfterMs: number, { permits = 1, ...options }: AcquireOptions = {}) {
    const { time, store, host } = world();
    for (let slot = 0; slot < permits; slot++) await host().client.acquire('job', { permits });
    store.plan({ do: 'delayAnswer', ms: answersAfterMs, times: Number.POSITIVE_INFINITY });
    const waiter = host();
    const waiting = outcomeOf(waiter.client.acquire('job', { waitMs, permits, ...options }));
    while (!waiting.settled) await time.advance(1);
    expect(waiting.error).toBeInstanceOf(LockBusyError);
    return waiter.of('acquireFailed').map(({ error }) => error.message);
  }

  test.each([1, 3])('is no fault of the store: %i permits', async (permits) => {
    for (let waitMs = 900; waitMs <= 1_150; waitMs += 10) expect(await run(waitMs, 200, { permits })).toEqual([]);
  });

  test('is told if the call fails by it, since no record was seen before', async () => {
    const { time, store, host } = world();
    await host().client.acquire('job', { permits: 2 });
    await host().client.acquire('job', { permits: 2 });
    const caller = host();
    store.plan({ operation: 'readMany', do: 'delayAnswer', ms: 5_000, times: Number.POSITIVE_INFINITY });
    const call = outcomeOf(caller.client.acquire('job', { permits: 2, withinMs: 300 }));
    while (!call.settled) await time.advance(1);
    expect(call.error).toBeInstanceOf(LockStoreError);
    expect(caller.of('acquireFailed')).toMatchObject([{ error: call.error }]);
  });

  test('is a fault if the store has not answered for a second', async () => {
    expect(await run(2_500, 1_300, { withinMs: 2_500, requestTimeoutMs: 5_000 })).toEqual([
      expect.stringMatching(/^Reading 'job': no answer came within 1\d\d\d ms/),
    ]);
  });
});

describe('a lock whose holder died', () => {
  test('is taken by a waiter within 100 ms of its expiry, in one write', async () => {
    for (let seed = 1; seed <= 30; seed++) {
      seededRandom(seed);
      const { time, store, host } = world();
      const lease = await host().client.acquire('job');
      const expiry = time.monotonic() + 30_000;
      lease.abandon('timedOut');
      await time.advance(seed * 990);
      const waiting = outcomeOf(host().client.acquire('job', { waitMs: 60_000 }));
      await time.advance(30_000 - seed * 990 - 1);
      expect(waiting.settled).toBe(false);
      while (!waiting.settled) await time.advance(1);
      expect(time.monotonic()).toBeGreaterThanOrEqual(expiry);
      expect(time.monotonic()).toBeLessThanOrEqual(expiry + 100);
      expect(waiting.value?.takenOverFrom).toMatchObject({ owner: 'host-1' });
      expect(store.count('acquire')).toBe(3);
    }
  });

  test('is taken after its expiry by the first try of a new process, in one request', async () => {
    const { time, store, host } = world();
    (await host().client.acquire('job')).abandon('timedOut');
    await time.advance(30_000);
    expect(await host().client.tryAcquire('job')).not.toBeNull();
    expect(store.operations).toEqual(['acquire', 'acquire']);
  });

  test('is taken by one of many waiters, and the other waiters go on waiting', async () => {
    seededRandom(7);
    const { time, store, host } = world();
    (await host().client.acquire('job')).abandon('timedOut');
    const waiting = Array.from({ length: 20 }, () => outcomeOf(host().client.acquire('job', { waitMs: 60_000 })));
    await time.advance(29_000);
    const before = store.count('acquire');
    await time.advance(2_000);
    expect(waiting.filter(({ settled }) => settled)).toHaveLength(1);
    expect(store.count('acquire') - before).toBeLessThanOrEqual(20);
  });
});

describe('a lock whose holder is alive', () => {
  test.each([
    { leaseMs: 30_000 },
    { leaseMs: 2_000 },
    { leaseMs: 1_000 },
    { leaseMs: 300 },
    { leaseMs: 3_000, heartbeatMs: 2_000, safetyMs: 500 },
  ])('gets one write from a waiter, and reads after that: %p', async (timing) => {
    seededRandom(3);
    const { time, store, host } = world();
    const holder = await host(timing).client.acquire('job');
    const waiting = outcomeOf(host(timing).client.acquire('job', { waitMs: 60_000 }));
    await time.advance(60_100);
    expect(waiting.error).toBeInstanceOf(LockBusyError);
    expect(holder.isHeld()).toBe(true);
    expect(store.count('acquire')).toBe(2);
    expect(store.count('read')).toBeGreaterThan(50);
  });

  test('is read by a waiter about four times a second in the long run', async () => {
    const { time, store, host } = world();
    await host().client.acquire('job');
    void outcomeOf(host().client.acquire('job', { waitMs: 600_000 }));
    await time.advance(60_000);
    const before = store.count('read');
    await time.advance(300_000);
    expect(store.count('read') - before).toBeGreaterThan(1_100);
    expect(store.count('read') - before).toBeLessThan(1_300);
  });

  test('makes a waiter report one waiting event, with the owner, and one busy event', async () => {
    const { time, host } = world();
    await host().client.acquire('job');
    const waiter = host();
    const waiting = outcomeOf(waiter.client.acquire('job', { waitMs: 5_000 }));
    await time.advance(6_000);
    expect(waiting.settled).toBe(true);
    expect(waiter.events.map(({ type }) => type)).toEqual(['waiting', 'busy']);
    expect(waiter.events[0]).toMatchObject({ key: 'job', owner: 'host-1' });
    expect(waiter.of('busy')[0]?.waitedMs).toBe(5_000);
  });
});

describe('stale reads', () => {
  test('without a record cause no write of the waiter', async () => {
    const { time, store, host } = world();
    await host().client.acquire('job');
    store.lagMs = 1_000;
    void outcomeOf(host().client.acquire('job', { waitMs: 10_000 }));
    await time.advance(5_000);
    expect(store.count('acquire')).toBe(2);
  });

  test('with an expiry from before a renewal cause no write of the waiter', async () => {
    const { time, store, host } = world();
    await host({ leaseMs: 6_000 }).client.acquire('job');
    store.lagMs = 1_000;
    await time.advance(2_000);
    void outcomeOf(host().client.acquire('job', { waitMs: 60_000 }));
    await time.advance(60_000);
    expect(store.count('acquire')).toBe(2);
  });

  test('with an earlier holder cause at most one write of the waiter', async () => {
    const { time, store, host } = world();
    const first = await host().client.acquire('job');
    await time.advance(5_000);
    store.lagMs = 3_000;
    void outcomeOf(host().client.acquire('job', { waitMs: 60_000 }));
    await time.advance(1_000);
    await first.release();
    await time.advance(1);
    await host().client.acquire('job');
    await time.advance(20_000);
    // The first holder, the waiter and the second holder write once each. The stale read makes the waiter write once more.
    expect(store.count('acquire')).toBeLessThanOrEqual(4);
  });

  test('with a holder that has released delay the waiter by less than 400 ms', async () => {
    const { time, store, host } = world();
    const first = await host().client.acquire('job');
    store.lagMs = 200;
    await time.advance(1_000);
    const waiting = outcomeOf(host().client.acquire('job', { waitMs: 60_000 }));
    await time.advance(500);
    await first.release();
    await time.advance(400);
    expect(waiting.value?.isHeld()).toBe(true);
  });
});

describe('a wait that is cancelled', () => {
  test.each(Array.from({ length: 24 }, (_, n) => n * 17))(
    'leaves no timer, no listener and no grant: cancelled %i ms after the release',
    async (ms) => {
      seededRandom(ms + 1);
      const { time, store, memory, host } = world();
      const holder = await host().client.acquire('job', { holdAtMostMs: 1 });
      const { controller, listeners } = watchedSignal();
      store.plan({ do: 'delayAnswer', ms: 40, times: Number.POSITIVE_INFINITY });
      const { client } = host();
      const waiting = outcomeOf(client.acquire('job', { waitMs: 60_000, signal: controller.signal }));
      await time.advance(150);
      void holder.release();
      await time.advance(ms);
      const granted = waiting.value;
      controller.abort(new Error('cancelled'));
      await time.advance(100);
      expect(waiting.settled).toBe(true);
      void granted?.release();
      await time.advance(100);
      if (granted === undefined) expect(waiting.error).toMatchObject({ message: 'cancelled' });
      expect((await memory.read('job')).record?.lockId).toBeUndefined();
      expect(listeners()).toBe(0);
      expect(time.timers).toBe(0);
    },
  );

  test('while its write is out releases the grant of that write', async () => {
    const { time, store, memory, host } = world();
    const controller = new AbortController();
    store.plan({ do: 'delayAnswer', ms: 400, operation: 'acquire' });
    const attempt = outcomeOf(host().client.acquire('job', { waitMs: 5_000, signal: controller.signal }));
    await time.advance(100);
    controller.abort(new Error('cancelled'));
    await time.advance(0);
    expect(attempt.error).toMatchObject({ message: 'cancelled' });
    expect((await memory.read('job')).record?.lockId).toBeUndefined();
  });

  test('while its write is out rejects within the time of one request, even if the store never answers', async () => {
    const { time, store, host } = world();
    const { controller, listeners } = watchedSignal();
    store.plan({ do: 'hang', times: Number.POSITIVE_INFINITY });
    const attempt = outcomeOf(host().client.acquire('job', { waitMs: 50_000, signal: controller.signal }));
    await time.advance(500);
    controller.abort(new Error('cancelled'));
    await time.advance(1_001);
    expect(attempt.error).toMatchObject({ message: 'cancelled' });
    expect(listeners()).toBe(0);
    // A lease that the store may have granted is discarded in the background.
    await time.advance(3_000);
    expect(time.timers).toBe(0);
  });

  test('by the end of waitMs is reported in one busy event', async () => {
    const { time, host } = world();
    await host().client.acquire('job');
    const waiter = host();
    const waiting = outcomeOf(waiter.client.acquire('job', { waitMs: 100 }));
    await time.advance(200);
    expect(waiting.error).toBeInstanceOf(LockBusyError);
    expect(waiter.of('busy')).toHaveLength(1);
    expect(time.timers).toBe(2);
  });
});

describe('an attempt that was given up and is granted late', () => {
  /** The acquire is given up after 3 s. Its first sending reaches the store just after the release that followed. */
  function givenUp() {
    const scene = world();
    const { store } = scene;
    store.plan({ do: 'delayRequest', ms: 3_010, operation: 'acquire' }, { do: 'hang', operation: 'acquire', times: 2 });
    return scene;
  }
  beforeEach(() => {
    seededRandom(1);
  });

  test('is released by the next attempt, and then an attempt is granted', async () => {
    const { time, store, host } = givenUp();
    const waiter = host();
    const lease = await settle(time, waiter.client.acquire('job', { waitMs: 20_000 }));
    expect(time.monotonic()).toBeLessThan(3_500);
    expect(lease.isHeld()).toBe(true);
    expect(store.operations.slice(-4)).toEqual(['release', 'acquire', 'release', 'acquire']);
    expect(waiter.of('busy')).toEqual([]);
    expect(waiter.of('waiting')).toEqual([]);
  });

  test.each(['loseRequest', 'hang'] as const)(
    'is not reported as busy with its own host when its release fails, too: %s',
    async (fault) => {
      const { time, store, host } = givenUp();
      const waiter = host();
      store.plan({ do: fault, operation: 'release', after: 1 });
      const waiting = outcomeOf(waiter.client.acquire('job', { waitMs: 4_500 }));
      await time.advance(20_000);
      expect(waiting.settled).toBe(true);
      const named = [...waiter.of('busy'), ...waiter.of('waiting')].map(({ owner }) => owner);
      expect(named).not.toContain('host-1');
      expect(waiting.error?.owner).not.toBe('host-1');
    },
  );

  test('is released at the end of the wait, and another host can take the lock', async () => {
    const { time, store, memory, host } = world();
    store.plan({ do: 'hangAnswer', operation: 'acquire' });
    const attempt = outcomeOf(host().client.acquire('job', { waitMs: 100 }));
    await time.advance(5_000);
    expect(attempt.error).toBeInstanceOf(LockStoreError);
    expect((await memory.read('job')).record?.lockId).toBeUndefined();
    expect(await host().client.tryAcquire('job')).not.toBeNull();
  });
});

describe('a call to acquire is bounded', () => {
  const hangs = { do: 'hang', times: Infinity } as const;
  /** The milliseconds from a call to its error. The store answers nothing. */
  async function errorAfter(options: AcquireOptions, isDisciplined = true) {
    const { time, store, host } = world();
    store.plan(hangs);
    const { client, of } = host({ isDisciplined });
    const call = outcomeOf(client.acquire('job', options));
    const start = time.monotonic();
    while (!call.settled) await time.advance(10);
    expect(call.error).toMatchObject({ name: 'LockStoreError', transient: true });
    expect(of('acquireFailed').at(-1)).toMatchObject({ key: 'job', owner: 'host-1', error: call.error });
    const ms = time.monotonic() - start;
    await time.advance(10_000);
    expect(time.timers).toBe(0);
    return ms;
  }

  test.each([
    [{ waitMs: 5_000 }, 5_050],
    [{ waitMs: 100 }, 1_000],
    [{ waitMs: 100, requestTimeoutMs: 300 }, 300],
    [{ waitMs: 1_500 }, 1_550],
    [{}, 3_000],
    [{ withinMs: 2_000 }, 2_000],
    [{ waitMs: 60_000, withinMs: 2_000 }, 2_000],
  ])('with %j and a store that answers nothing, the error comes after %i ms', async (options, ms) => {
    expect(await errorAfter(options)).toBe(ms);
    expect(await errorAfter(options, false)).toBe(ms);
  });

  test('with withinMs 0 no request is sent', async () => {
    const { store, host } = world();
    await expect(host().client.acquire('job', { withinMs: 0 })).rejects.toMatchObject({ name: 'LockStoreError' });
    expect(store.requests).toEqual([]);
  });

  test('a resume of a store that answers nothing is bounded too', async () => {
    const { time, store, host } = world();
    const handle = await (await host().client.acquire('job')).handOff({ leaseMs: 60_000 });
    store.plan(hangs);
    const call = outcomeOf(host().client.resume(handle, { withinMs: 1_500 }));
    await time.advance(1_500);
    expect(call.error).toMatchObject({ name: 'LockStoreError', transient: true });
  });

  test('a wait ends in time though its reads are never answered, and the lock counts as busy', async () => {
    const { time, store, host } = world();
    await host().client.acquire('job');
    const call = outcomeOf(host().client.acquire('job', { waitMs: 5_000 }));
    await time.advance(1_000);
    store.plan({ ...hangs, operation: 'read' });
    await time.advance(4_050);
    expect(call.error).toBeInstanceOf(LockBusyError);
  });

  test('what the store may have granted to a call that failed is released in the background, and close() waits for it', async () => {
    const { time, store, memory, host } = world();
    store.plan(
      { do: 'hangAnswer', operation: 'acquire', times: 3 },
      { do: 'delayAnswer', ms: 800, operation: 'release' },
    );
    const { client } = host();
    const call = outcomeOf(client.tryAcquire('job'));
    await time.advance(3_000);
    expect(call.error).toMatchObject({ name: 'LockStoreError' });
    const closing = outcomeOf(client.close());
    await time.advance(799);
    expect(closing.settled).toBe(false);
    await time.advance(1);
    expect(closing.settled).toBe(true);
    expect((await memory.read('job')).record?.lockId).toBeUndefined();
  });

  test('a lease whose own time is shorter than an answer: the error says so', async () => {
    const { time, store, host } = world();
    store.plan({ do: 'delayAnswer', ms: 40, times: Infinity });
    const { client } = host();
    const error = await settle(
      time,
      client.acquire('job', { holdAtMostMs: 20 }).catch((error) => error),
    );
    expect(error).toMatchObject({ name: 'LockNoTimeError', cause: { transient: true } });
    expect(error.message).toContain('Set a longer leaseMs or holdAtMostMs');
    // A fault that may pass ends no wait.
    store.heal();
    store.plan({ do: 'hang', operation: 'acquire', times: 3 });
    const lease = await settle(time, client.acquire('job', { leaseMs: 300, waitMs: 5_000 }));
    expect(lease.isHeld()).toBe(true);
  });
});

describe('errors of the store', () => {
  test('a transient error ends no wait: the waiter tries writes and reads again', async () => {
    const { time, store, host } = world();
    store.plan({ do: 'fail', error: transient(), operation: 'acquire', times: 3 });
    const lease = await settle(time, host().client.acquire('job', { waitMs: 5_000 }));
    await time.advance(1);
    const waiting = outcomeOf(host().client.acquire('job', { waitMs: 10_000 }));
    await time.advance(100);
    store.plan({ do: 'fail', error: transient(), operation: 'read', times: 3 });
    await time.advance(1_000);
    await lease.release();
    await time.advance(1_000);
    expect(waiting.value?.isHeld()).toBe(true);
  });

  test('a transient error that lasts until the end of the wait is thrown', async () => {
    const { time, store, host } = world();
    const error = transient();
    store.plan({ do: 'fail', error, operation: 'acquire', times: Number.POSITIVE_INFINITY });
    const waiting = outcomeOf(host().client.acquire('job', { waitMs: 5_000 }));
    await time.advance(6_000);
    expect(waiting.error).toMatchObject({ message: `Acquiring 'job': ${error.message}`, transient: true });
    expect(store.count('acquire')).toBeLessThan(40);
  });

  test('an error that is not transient ends a wait at once', async () => {
    const { time, store, host } = world();
    await host().client.acquire('job');
    const denied = new LockStoreError('dynamodb:GetItem is not allowed');
    store.plan({ do: 'fail', error: denied, operation: 'read' });
    const waiting = outcomeOf(host().client.acquire('job', { waitMs: 10_000 }));
    await time.advance(1_000);
    expect(waiting.error).toMatchObject({
      message: "Reading 'job': dynamodb:GetItem is not allowed",
      transient: false,
    });
  });
});
