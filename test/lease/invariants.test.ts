import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { LockClient } from '../../lib/lease/client.ts';
import type { Lease } from '../../lib/lease/lease.ts';
import { LockBusyError, LockLostError, LockNoTimeError, LockStoreError } from '../../lib/record/errors.ts';
import { MemoryLockStore } from '../../lib/testing/memory.ts';
import { outcomeOf, punctual, settle, taken, type World, watchedSignal, world } from './setup.ts';

let scene: World;
beforeEach(() => {
  punctual();
  scene = world();
});
afterEach(() => {
  jest.restoreAllMocks();
});

/** The default timing: a lease of 30 s, a deadline 3 s before the expiry, and a renewal every 10 s. */
const LEASE_MS = 30_000;
const DEADLINE_MS = 27_000;
const HEARTBEAT_MS = 10_000;

const recordOf = async (key = 'job') => (await scene.memory.read(key)).record;
/** From now on no renewal reaches the store, and no answer comes. */
const cutRenewals = () => scene.store.plan({ do: 'hang', operation: 'renew', times: Number.POSITIVE_INFINITY });

describe('invariant 1: one holder', () => {
  test('no other host is granted the lock of a live lease', async () => {
    const { time } = scene;
    const holder = await taken(scene.host().client.tryAcquire('job'));
    const contender = scene.host().client;
    for (let s = 0; s < 120; s++) {
      expect(await contender.tryAcquire('job')).toBeNull();
      await time.advance(1_000);
    }
    expect(holder.isHeld()).toBe(true);
  });

  test.each([0, 1_500, 2_999])(
    'a holder that cannot renew stops believing before a contender whose clock is %i ms ahead is granted',
    async (ahead) => {
      const { time } = scene;
      const holder = await taken(scene.host().client.tryAcquire('job'));
      const contender = scene.host({ ahead }).client;
      await time.advance(25_000);
      cutRenewals();
      const renewedAt = 20_000;
      let lease = null;
      while (lease === null) {
        await time.advance(1);
        lease = await contender.tryAcquire('job');
      }
      expect(time.monotonic()).toBe(renewedAt + LEASE_MS - ahead);
      expect(holder.isHeld()).toBe(false);
      expect(holder.deadline).toBeLessThan(time.now());
    },
  );

  test('a released lock is granted to nobody before its holdAtLeastMs is over', async () => {
    const { time } = scene;
    const { client } = scene.host();
    const lease = await taken(client.tryAcquire('job', { holdAtLeastMs: 5_000 }));
    await lease.release();
    await time.advance(4_999);
    expect(await client.tryAcquire('job')).toBeNull();
    await time.advance(1);
    expect(await client.tryAcquire('job')).not.toBeNull();
  });

  test("a force release opens the lock after the end of its holder's belief", async () => {
    const { time } = scene;
    const holder = await taken(scene.host().client.tryAcquire('job', { holdAtMostMs: 60_000 }));
    const operator = scene.host().client;
    cutRenewals();
    expect(await operator.forceRelease('job', { lockId: holder.lockId })).toBe(true);
    while (holder.isHeld()) {
      expect(await operator.tryAcquire('job')).toBeNull();
      await time.advance(500);
    }
  });
});

describe('invariant 2: tokens only grow', () => {
  test('tokens grow across release, expiry, takeover, resume, force release and deletion', async () => {
    const { time, store } = scene;
    const { client } = scene.host();
    const tokens: number[] = [];
    // The client of a lease that was force-released believes until its next renewal.
    const other = scene.host().client;
    const grant = async (by = client) => {
      const lease = await taken(by.tryAcquire('job', { holdAtMostMs: 1_000 }));
      tokens.push(lease.fencingToken);
      return lease;
    };
    await (await grant()).release();
    const handle = await (await grant()).handOff({ leaseMs: 20_000 });
    const resumed = await client.resume(handle, { holdAtMostMs: 1_000 });
    tokens.push(resumed.fencingToken);
    await resumed.release();
    await grant();
    await time.advance(LEASE_MS);
    const { lockId } = await grant();
    await client.forceRelease('job', { lockId, immediately: true });
    await time.advance(2);
    for (let n = 0; n < 50; n++) await (await grant(other)).release();
    // DynamoDB's TTL, or an operator, deletes the record.
    await time.advance(1_000);
    store.inner = new MemoryLockStore();
    await (await grant()).release();
    await grant();

    expect(tokens).toHaveLength(57);
    expect(tokens).toEqual([...new Set(tokens)].sort((a, b) => a - b));
  });

  test('the next grant has a greater token than a grant that was given back', async () => {
    scene = world({ dated: true });
    const { time } = scene;
    const holder = await taken(scene.host().client.tryAcquire('job', { leaseMs: 2_000, heartbeatMs: 1_400 }));
    const early = scene.host({ ahead: 60_000 }).client;
    expect(await early.tryAcquire('job')).toBeNull();
    const given = (await recordOf())?.fencingToken;
    expect(given).toBeGreaterThan(holder.fencingToken);
    await holder.release();
    await time.advance(100_000);
    expect((await taken(early.tryAcquire('job'))).fencingToken).toBeGreaterThan(given as number);
  });
});

describe('invariant 3: a repeated request changes nothing', () => {
  test('an acquire that is sent again after a lost answer gets the same grant', async () => {
    const { time, store } = scene;
    const first = await taken(scene.host().client.tryAcquire('job', { holdAtMostMs: 1_000 }));
    await time.advance(LEASE_MS);
    store.plan({ do: 'hangAnswer', operation: 'acquire' });
    const lease = await taken(settle(time, scene.host().client.tryAcquire('job')));
    expect(lease.isHeld()).toBe(true);
    expect(lease.fencingToken).toBe(first.fencingToken + 1);
    expect(lease.takenOverFrom?.owner).toBe('host-1');
    expect(store.operations).toEqual(['acquire', 'acquire', 'acquire']);
  });

  test('an acquire that arrives again after the release revives nothing', async () => {
    const { time, store } = scene;
    const { client } = scene.host();
    store.plan({ do: 'duplicate', ms: 5_000, operation: 'acquire' });
    await (await taken(client.tryAcquire('job'))).release();
    await time.advance(6_000);
    expect(await recordOf()).toMatchObject({ lockId: undefined });
    expect(await client.tryAcquire('job')).not.toBeNull();
  });

  test('an acquire that arrives again after its grant was given back revives nothing', async () => {
    scene = world({ dated: true });
    const { time, store } = scene;
    const holder = await taken(scene.host().client.tryAcquire('job', { leaseMs: 2_000, heartbeatMs: 1_400 }));
    store.plan({ do: 'duplicate', ms: 300, operation: 'acquire' });
    const early = scene.host({ ahead: 60_000 }).client;
    expect(await early.tryAcquire('job')).toBeNull();
    await time.advance(400);
    expect(await recordOf()).toMatchObject({ lockId: holder.lockId, owner: 'host-1' });
  });

  test('a renewal that arrives again after a later renewal does not shorten the lease', async () => {
    const { time, store } = scene;
    store.plan({ do: 'duplicate', ms: HEARTBEAT_MS + 2_000, operation: 'renew' });
    await scene.host().client.tryAcquire('job');
    await time.advance(2 * HEARTBEAT_MS + 1_000);
    const before = (await recordOf())?.expiresAt;
    await time.advance(3_000);
    expect((await recordOf())?.expiresAt).toBe(before);
  });

  test('a renewal that arrives again after the release changes nothing', async () => {
    const { time, store } = scene;
    const { client } = scene.host();
    store.plan({ do: 'duplicate', ms: 1_000, operation: 'renew' });
    const lease = await taken(client.tryAcquire('job'));
    await time.advance(HEARTBEAT_MS);
    await lease.release();
    const released = await recordOf();
    await time.advance(2_000);
    expect(await recordOf()).toEqual(released);
  });

  test('a renewal is no loss if the store refuses the renewal because of a later expiry', async () => {
    const { time, store } = scene;
    const lease = await taken(scene.host().client.tryAcquire('job'));
    const { lockId } = lease;
    const far = time.now() + 100_000;
    store.plan({ do: 'first', act: () => scene.memory.renew({ key: 'job', lockId, until: far }), operation: 'renew' });
    const renewedAt = time.now() + HEARTBEAT_MS;
    await time.advance(HEARTBEAT_MS + 1);
    expect(lease.isHeld()).toBe(true);
    expect(lease.deadline).toBe(renewedAt + DEADLINE_MS);
    expect((await recordOf())?.expiresAt).toBe(far);
  });

  test('a release that is sent again after a lost answer gives true', async () => {
    const { time, store } = scene;
    const host = scene.host();
    const lease = await taken(host.client.tryAcquire('job'));
    store.plan({ do: 'hangAnswer', operation: 'release' });
    expect(await settle(time, lease.release())).toBe(true);
    expect(store.count('release')).toBe(2);
    expect(host.of('released')).toHaveLength(1);
  });

  test('a release that is sent again after the deadline gives true', async () => {
    const { time, store } = scene;
    const host = scene.host();
    const lease = await taken(host.client.tryAcquire('job', { holdAtMostMs: 1_000 }));
    await time.advance(900);
    store.plan({ do: 'hangAnswer', operation: 'release' });
    expect(await settle(time, lease.release())).toBe(true);
    expect(host.of('released')).toHaveLength(1);
  });

  test.each([1, 2, 3])('a release that is sent again after %i grants to other hosts gives true', async (others) => {
    const { time, store } = scene;
    const host = scene.host();
    const lease = await taken(host.client.tryAcquire('job'));
    store.plan({ do: 'hangAnswer', operation: 'release' });
    const released = outcomeOf(lease.release());
    let next = lease;
    for (let other = 0; other < others; other++) {
      await time.advance(200);
      if (other > 0) await next.release();
      next = await taken(scene.host().client.tryAcquire('job'));
    }
    await time.advance(1_000);
    expect(released.value).toBe(true);
    expect(host.of('released')).toHaveLength(1);
    expect(next.isHeld()).toBe(true);
    expect(await recordOf()).toMatchObject({ lockId: next.lockId });
  });

  test('a release that is sent again after the deadline reports an unknown outcome if another grant stands in the record', async () => {
    const { time, store } = scene;
    const host = scene.host();
    const lease = await taken(host.client.tryAcquire('job', { holdAtMostMs: 1_000 }));
    await time.advance(900);
    store.plan({ do: 'hangAnswer', operation: 'release' });
    const released = outcomeOf(lease.release());
    for (let other = 0; other < 2; other++) {
      await time.advance(100);
      const next = await taken(scene.host().client.tryAcquire('job'));
      if (other === 0) await next.release();
    }
    await time.advance(1_000);
    expect(released.value).toBe(false);
    const error = host.of('releaseFailed')[0]?.error;
    expect(error).toBeInstanceOf(LockStoreError);
    expect(error?.message).toBe(
      "Releasing 'job': refused, and its deadline has passed. Nobody knows whether an earlier sending was applied. The lock opens at the expiry at the latest.",
    );
  });

  test('a lockId that was granted is not granted again, even to a late request with a later clock', async () => {
    const { time, memory } = scene;
    const now = time.now();
    const request = { key: 'job', lockId: 'one', owner: 'me', now, until: now + 1_000, leaseMs: 1_000 };
    expect(await memory.acquire(request)).toMatchObject({ applied: true });
    const again = await memory.acquire({ ...request, now: now + 5_000, until: now + 6_000 });
    expect(again).toMatchObject({ applied: false, record: { lockId: 'one', expiresAt: now + 1_000 } });
  });

  test('a release that arrives again does not end the next grant', async () => {
    const { time, store } = scene;
    const { client } = scene.host();
    store.plan({ do: 'duplicate', ms: 1_000, operation: 'release' });
    await (await taken(client.tryAcquire('job'))).release();
    const next = await taken(client.tryAcquire('job'));
    await time.advance(1_500);
    expect(await recordOf()).toMatchObject({ lockId: next.lockId });
    await next.renew();
    expect(next.isHeld()).toBe(true);
  });
});

describe('invariant 4: the clock starts before the request', () => {
  test('the deadline of a grant counts from the sending of the request', async () => {
    const { time, store } = scene;
    const sent = time.now();
    store.plan({ do: 'delayAnswer', ms: 800, operation: 'acquire' });
    const lease = await taken(settle(time, scene.host().client.tryAcquire('job', { holdAtMostMs: 100_000 })));
    expect(time.now()).toBe(sent + 800);
    expect(lease.deadline).toBe(sent + DEADLINE_MS);
    cutRenewals();
    const { signal } = lease;
    await time.advance(DEADLINE_MS - 800 - 1);
    expect(signal.aborted).toBe(false);
    await time.advance(1);
    expect(signal.aborted).toBe(true);
  });

  test('the deadline of a renewal counts from the sending of the request', async () => {
    const { time, store } = scene;
    const sent = time.now();
    const lease = await taken(scene.host().client.tryAcquire('job'));
    store.plan({ do: 'delayAnswer', ms: 900, operation: 'renew' });
    await time.advance(HEARTBEAT_MS + 950);
    expect(lease.deadline).toBe(sent + HEARTBEAT_MS + DEADLINE_MS);
  });

  test('an acquire is not sent again once its deadline has passed', async () => {
    const { time, store } = scene;
    const start = time.now();
    store.plan({ do: 'hang', operation: 'acquire', times: Number.POSITIVE_INFINITY });
    const attempt = outcomeOf(scene.host().client.tryAcquire('job', { leaseMs: 2_000, requestTimeoutMs: 1_499 }));
    await time.advance(1_500);
    expect(attempt.error).toBeInstanceOf(LockNoTimeError);
    expect(attempt.error.cause).toBeInstanceOf(LockStoreError);
    expect(store.operations.at(-1)).toBe('release');
    await time.advance(10_000);
    expect(store.count('acquire')).toBeGreaterThan(1);
    // The deadline comes 1,500 ms after the start.
    for (const { operation, at } of store.requests) if (operation === 'acquire') expect(at).toBeLessThan(start + 1_500);
  });

  test('an acquire sends nothing if the invocation has no time left', async () => {
    const { store } = scene;
    const { client } = scene.host();
    await expect(client.tryAcquire('job', { remainingMs: () => 0 })).rejects.toThrow(LockNoTimeError);
    await expect(client.tryAcquire('job', { remainingMs: () => -5 })).rejects.toThrow('the invocation has 0 ms left');
    expect(store.requests).toEqual([]);
  });

  test('an acquire whose answer comes after the deadline releases the grant, and throws', async () => {
    const { store } = scene;
    const { client, clock } = scene.host();
    // The host is frozen between the sending and the answer: the wall clock alone goes on.
    const freeze = () => {
      clock.offsetMs += DEADLINE_MS;
    };
    store.plan({ do: 'then', act: freeze, operation: 'acquire' });
    await expect(client.tryAcquire('job')).rejects.toThrow(LockNoTimeError);
    expect(store.operations).toEqual(['acquire', 'release']);
    expect(await recordOf()).toMatchObject({ lockId: undefined });
  });

  test('a resume whose answer comes after the deadline releases the grant, and throws', async () => {
    const { store } = scene;
    const { client, clock } = scene.host();
    const handle = await (await taken(client.tryAcquire('job'))).handOff({ leaseMs: LEASE_MS });
    const freeze = () => {
      clock.offsetMs += DEADLINE_MS;
    };
    store.plan({ do: 'then', act: freeze, operation: 'resume' });
    await expect(client.resume(handle)).rejects.toThrow(LockNoTimeError);
    expect(await recordOf()).toMatchObject({ lockId: undefined });
  });

  test.each([300, 900])(
    'a holder believes in a renewal for no longer than leaseMs if a clock that was %i ms behind was set right before',
    async (behind) => {
      scene = world({ dated: true });
      const { time } = scene;
      const { client, clock } = scene.host({ ahead: -behind });
      for (let round = 0; round < 100; round++) {
        await client.inspect('elsewhere');
        await time.advance(107);
      }
      const lease = await taken(client.tryAcquire('job'));
      clock.offsetMs = 0;
      await lease.renew();
      expect(lease.isHeld()).toBe(true);
      expect(lease.deadline - clock.now()).toBeLessThanOrEqual(DEADLINE_MS);
    },
  );

  test('belief ends when the holder sends the release, and not with the answer', async () => {
    const { time, store } = scene;
    const lease = await taken(scene.host().client.tryAcquire('job'));
    store.plan({ do: 'delayAnswer', ms: 500, operation: 'release' });
    const released = outcomeOf(lease.release());
    expect(lease.isHeld()).toBe(false);
    await time.advance(499);
    expect(released.settled).toBe(false);
    await time.advance(1);
    expect(released.value).toBe(true);
  });
});

describe('invariant 5: two clocks', () => {
  test('the wall clock ends belief if a frozen environment stopped the monotonic clock', async () => {
    const { client, clock } = scene.host();
    const lease = await taken(client.tryAcquire('job'));
    clock.offsetMs += DEADLINE_MS - 1;
    expect(lease.isHeld()).toBe(true);
    clock.offsetMs += 1;
    expect(lease.isHeld()).toBe(false);
    expect(() => lease.assertHeld()).toThrow(LockLostError);
  });

  test('the monotonic clock ends belief if the wall clock is set back', async () => {
    const { time } = scene;
    const { client, clock } = scene.host();
    const lease = await taken(client.tryAcquire('job'));
    cutRenewals();
    clock.offsetMs -= 3_600_000;
    await time.advance(DEADLINE_MS - 1);
    expect(lease.isHeld()).toBe(true);
    await time.advance(1);
    expect(lease.isHeld()).toBe(false);
  });

  test.each(['isHeld', 'signal', 'assertHeld', 'toJSON'] as const)(
    '%s asks both clocks at the moment of the call, before any timer fires',
    async (way) => {
      const { client, clock } = scene.host();
      const lease = await taken(client.tryAcquire('job'));
      clock.offsetMs += LEASE_MS;
      if (way === 'isHeld') expect(lease.isHeld()).toBe(false);
      if (way === 'signal') expect(lease.signal.aborted).toBe(true);
      if (way === 'assertHeld') expect(() => lease.assertHeld()).toThrow(LockLostError);
      if (way === 'toJSON') expect(lease.toJSON()).toMatchObject({ held: false });
    },
  );
});

describe('invariant 6: the holder is told in time', () => {
  test('the signal aborts at the deadline, by its own timer', async () => {
    const { time } = scene;
    // The lease ends at holdAtMostMs from the start. So no renewal runs that could abort the signal instead.
    const lease = await taken(scene.host().client.tryAcquire('job', { holdAtMostMs: 5_000 }));
    const { signal } = lease;
    const aborted: number[] = [];
    signal.addEventListener('abort', () => aborted.push(time.monotonic()));
    await time.advance(LEASE_MS);
    expect(aborted).toEqual([5_000]);
    expect(signal.reason).toBeInstanceOf(LockLostError);
    expect(signal.reason).toMatchObject({ key: 'job', reason: 'expired' });
  });

  test('the signal aborts at the deadline while a renewal hangs, with any requestTimeoutMs', async () => {
    const { time } = scene;
    const lease = await taken(scene.host().client.tryAcquire('job', { requestTimeoutMs: 600_000 }));
    const { signal } = lease;
    cutRenewals();
    await time.advance(DEADLINE_MS - 1);
    expect(signal.aborted).toBe(false);
    await time.advance(1);
    expect(signal.aborted).toBe(true);
    expect((await recordOf())?.expiresAt).toBe(time.now() + 3_000);
    expect(time.timers).toBe(0);
  });

  test('the signal does not abort early if its timer fires early', async () => {
    const { time } = scene;
    const { client, clock } = scene.host();
    const set = clock.setTimeout.bind(clock);
    clock.setTimeout = (callback, ms) => set(callback, ms - 1);
    const lease = await taken(client.tryAcquire('job', { holdAtMostMs: 5_000 }));
    const { signal } = lease;
    await time.advance(4_999);
    expect(signal.aborted).toBe(false);
    await time.advance(1);
    expect(signal.aborted).toBe(true);
  });

  test('the heartbeat tries a failed renewal again until the deadline', async () => {
    const { time, store } = scene;
    const host = scene.host();
    const lease = await taken(host.client.tryAcquire('job'));
    store.plan({ do: 'loseRequest', operation: 'renew', times: 8 });
    await time.advance(DEADLINE_MS);
    expect(host.of('renewFailed')).toHaveLength(8);
    expect(host.of('renewed').length).toBeGreaterThan(0);
    expect(lease.isHeld()).toBe(true);
  });

  test('the pauses between failed renewals grow up to two seconds, and start anew after a renewal that succeeds', async () => {
    jest.spyOn(Math, 'random').mockReturnValue(0.5);
    const { time, store } = scene;
    const start = time.now();
    await taken(scene.host().client.tryAcquire('job'));
    store.plan({ do: 'loseRequest', operation: 'renew', times: 9 });
    await time.advance(HEARTBEAT_MS + 20_000);
    const tries = store.requests.filter(({ operation }) => operation === 'renew').map(({ at }) => at - start);
    const pauses = tries.slice(1).map((at, index) => at - (tries[index] as number));
    expect(tries[0]).toBe(0.9 * HEARTBEAT_MS);
    expect(pauses.slice(0, 9)).toEqual([50, 100, 200, 400, 800, 1_600, 2_000, 2_000, 2_000]);
    store.plan({ do: 'loseRequest', operation: 'renew' });
    const sent = store.count('renew');
    await time.advance(HEARTBEAT_MS);
    const [failed, again] = store.requests.filter(({ operation }) => operation === 'renew').slice(sent);
    expect((again?.at ?? 0) - (failed?.at ?? 0)).toBe(50);
  });

  test.each([
    [0, 38],
    [0.999, 63],
  ])(
    'the first pause after a failed renewal is three to five quarters of 50 ms: with the random number %d, %i ms',
    async (random, ms) => {
      jest.spyOn(Math, 'random').mockReturnValue(random);
      const { time, store } = scene;
      await taken(scene.host().client.tryAcquire('job'));
      store.plan({ do: 'loseRequest', operation: 'renew' });
      await time.advance(HEARTBEAT_MS + 100);
      const [first, second] = store.requests.filter(({ operation }) => operation === 'renew');
      expect((second?.at ?? 0) - (first?.at ?? 0)).toBe(ms);
    },
  );

  test('no pause after a failed renewal is longer than heartbeatMs', async () => {
    jest.spyOn(Math, 'random').mockReturnValue(0.5);
    const { time, store } = scene;
    await taken(scene.host().client.tryAcquire('job', { leaseMs: 2_000, heartbeatMs: 100 }));
    store.plan({ do: 'loseRequest', operation: 'renew', times: 4 });
    await time.advance(700);
    const renewals = store.requests.filter(({ operation }) => operation === 'renew').map(({ at }) => at);
    const pauses = renewals.slice(1).map((at, index) => at - (renewals[index] as number));
    expect(pauses).toEqual([50, 100, 100, 100, 90, 90]);
  });

  test('a renewal that hangs is sent again before the deadline', async () => {
    const { time, store } = scene;
    const host = scene.host();
    await host.client.tryAcquire('job');
    store.plan({ do: 'hang', operation: 'renew' });
    await time.advance(HEARTBEAT_MS + 1_001);
    expect(store.count('renew')).toBe(2);
    expect(host.of('renewed')).toHaveLength(1);
    expect(host.of('renewFailed')).toEqual([]);
  });

  test('an acquire gives up its request at the deadline, with any requestTimeoutMs', async () => {
    const { time, store } = scene;
    store.plan({ do: 'hang', operation: 'acquire', times: Number.POSITIVE_INFINITY });
    const attempt = outcomeOf(scene.host().client.tryAcquire('job', { requestTimeoutMs: 600_000 }));
    await time.advance(DEADLINE_MS);
    expect(attempt.error).toBeInstanceOf(LockNoTimeError);
  });

  test.each([
    ['takenOver', 'another grant'],
    ['revoked', 'a force release'],
    ['gone', 'a deletion'],
  ] as const)('a refused renewal aborts the signal at once: %s, by %s', async (reason, _) => {
    const { time, store } = scene;
    const host = scene.host();
    const lease = await taken(host.client.tryAcquire('job'));
    const { signal } = lease;
    const operator = scene.host().client;
    if (reason === 'gone') store.inner = new MemoryLockStore();
    else await operator.forceRelease('job', { lockId: lease.lockId, immediately: true });
    await time.advance(2);
    if (reason === 'takenOver') await taken(operator.tryAcquire('job'));
    await time.advance(HEARTBEAT_MS - 3);
    expect(signal.aborted).toBe(false);
    await time.advance(1);
    expect(signal.aborted).toBe(true);
    expect(signal.reason).toMatchObject({ key: 'job', reason });
    expect(host.of('lost')).toMatchObject([{ reason }]);
  });
});

describe('invariant 7: lost is final', () => {
  test('a lost lease is not renewed, even if no other host took the lock', async () => {
    const { time, store } = scene;
    const { client, clock } = scene.host();
    const lease = await taken(client.tryAcquire('job'));
    clock.offsetMs += DEADLINE_MS;
    await expect(lease.renew()).rejects.toThrow(LockLostError);
    await expect(lease.handOff({ leaseMs: 60_000 })).rejects.toThrow(LockLostError);
    await time.advance(LEASE_MS);
    expect(store.count('renew')).toBe(0);
  });

  test('a lost lease is not revived by a renewal whose answer comes late', async () => {
    const { time, store } = scene;
    const deadline = time.now() + DEADLINE_MS;
    const host = scene.host();
    const lease = await taken(host.client.tryAcquire('job', { requestTimeoutMs: 600_000 }));
    store.plan({ do: 'delayAnswer', ms: DEADLINE_MS, operation: 'renew', times: Number.POSITIVE_INFINITY });
    await time.advance(DEADLINE_MS);
    expect(lease.isHeld()).toBe(false);
    await time.advance(2 * LEASE_MS);
    expect(lease.isHeld()).toBe(false);
    expect(host.of('renewed')).toEqual([]);
    expect(host.of('lost')).toHaveLength(1);
    for (const { at } of store.requests) expect(at).toBeLessThan(deadline);
  });

  test('a lost lease is not revived by a clock that is set back', async () => {
    const { client, clock } = scene.host();
    const lease = await taken(client.tryAcquire('job'));
    clock.offsetMs += LEASE_MS;
    expect(lease.isHeld()).toBe(false);
    clock.offsetMs -= LEASE_MS;
    expect(lease.isHeld()).toBe(false);
    expect(lease.signal.aborted).toBe(true);
  });

  test('a lost lease keeps its first reason, and reports one lost event', async () => {
    const host = scene.host();
    const lease = await taken(host.client.tryAcquire('job'));
    lease.abandon('timedOut');
    lease.abandon('expired');
    expect(lease.signal.reason).toMatchObject({ reason: 'timedOut' });
    expect(lease.isHeld()).toBe(false);
    expect(host.of('lost')).toMatchObject([{ reason: 'timedOut' }]);
  });

  test('a lease that was released or handed off is never lost', async () => {
    const host = scene.host();
    const released = await taken(host.client.tryAcquire('released'));
    await released.release();
    const handed = await taken(host.client.tryAcquire('handed'));
    await handed.handOff({ leaseMs: 60_000 });
    for (const lease of [released, handed]) {
      lease.abandon('timedOut');
      expect(lease.signal.aborted).toBe(false);
    }
    expect(host.of('lost')).toEqual([]);
  });

  test('a released lease is not held, and renew() rejects', async () => {
    const { store } = scene;
    const lease = await taken(scene.host().client.tryAcquire('job'));
    await lease.release();
    expect(lease.isHeld()).toBe(false);
    expect(() => lease.assertHeld()).toThrow('it was released');
    await expect(lease.renew()).rejects.toMatchObject({ name: 'LockLostError', reason: 'released' });
    expect(store.count('renew')).toBe(0);
  });
});

describe('invariant 8: renewal ends with the work', () => {
  test('renewal ends at the release', async () => {
    const { time, store } = scene;
    const lease = await taken(scene.host().client.tryAcquire('job'));
    await time.advance(HEARTBEAT_MS);
    await lease.release();
    expect(time.timers).toBe(0);
    await time.advance(100_000);
    expect(store.operations).toEqual(['acquire', 'renew', 'release']);
  });

  test('a renewal that is in flight at the release does not close the lock', async () => {
    const { time, store } = scene;
    const { client } = scene.host();
    const lease = await taken(client.tryAcquire('job'));
    store.plan({ do: 'delayRequest', ms: 200, operation: 'renew' });
    await time.advance(HEARTBEAT_MS + 100);
    expect(await lease.release()).toBe(true);
    await time.advance(200);
    expect(await client.tryAcquire('job')).not.toBeNull();
  });

  test('a failed renewal is not tried again after the release', async () => {
    const { time, store } = scene;
    const lease = await taken(scene.host().client.tryAcquire('job'));
    store.plan({ do: 'loseRequest', operation: 'renew', times: Number.POSITIVE_INFINITY });
    await time.advance(HEARTBEAT_MS);
    const sent = store.count('renew');
    await lease.release();
    await time.advance(100_000);
    expect(store.count('renew')).toBe(sent);
    expect(time.timers).toBe(0);
  });

  test('renewal ends at the loss', async () => {
    const { time, store } = scene;
    const lease = await taken(scene.host().client.tryAcquire('job'));
    lease.abandon('timedOut');
    expect(time.timers).toBe(0);
    await time.advance(100_000);
    expect(store.operations).toEqual(['acquire']);
  });

  test('renewal ends at the hand-off', async () => {
    const { time, store } = scene;
    const lease = await taken(scene.host().client.tryAcquire('job'));
    await lease.handOff({ leaseMs: 50_000 });
    expect(time.timers).toBe(0);
    await time.advance(100_000);
    expect(store.operations).toEqual(['acquire', 'renew']);
    expect(await lease.release()).toBe(false);
    expect(store.operations).toEqual(['acquire', 'renew']);
  });

  test.each([1, 20_000, 45_000, 100_000])('renewal ends at a holdAtMostMs of %i', async (holdAtMostMs) => {
    const { time, store } = scene;
    const start = time.now();
    const lease = await taken(scene.host().client.tryAcquire('job', { holdAtMostMs }));
    const { signal } = lease;
    await time.advance(holdAtMostMs - 1);
    expect(signal.aborted).toBe(false);
    await time.advance(1);
    expect(signal.aborted).toBe(true);
    expect((await recordOf())?.expiresAt).toBe(start + holdAtMostMs + 3_000);
    expect(store.count('renew')).toBe(Math.max(0, Math.ceil((holdAtMostMs - DEADLINE_MS) / HEARTBEAT_MS)));
    await time.advance(100_000);
    expect(store.requests.every(({ at }) => at < start + holdAtMostMs)).toBe(true);
  });

  test("renewal ends at the invocation's end, and the client asks for the remaining time once", async () => {
    const { time } = scene;
    const start = time.now();
    const remainingMs = jest.fn(() => 12_345);
    const lease = await taken(scene.host().client.tryAcquire('job', { remainingMs }));
    expect(lease.deadline).toBe(start + 12_345);
    const { signal } = lease;
    await time.advance(12_345);
    expect(signal.aborted).toBe(true);
    expect((await recordOf())?.expiresAt).toBe(start + 12_345 + 3_000);
    expect(remainingMs).toHaveBeenCalledTimes(1);
  });

  test("the invocation's end counts from the call of acquire, and not from the grant after a wait", async () => {
    const { time } = scene;
    const start = time.now();
    const holder = await taken(scene.host().client.tryAcquire('job'));
    const waiting = scene.host().client.acquire('job', { waitMs: 10_000, remainingMs: () => 15_000 });
    await time.advance(4_000);
    await holder.release();
    const lease = await settle(time, waiting);
    expect(lease.deadline).toBe(start + 15_000);
  });

  test('renew() does not extend the lease beyond holdAtMostMs', async () => {
    const { time, store } = scene;
    const start = time.now();
    const lease = await taken(scene.host().client.tryAcquire('job', { holdAtMostMs: 20_000 }));
    await time.advance(5_000);
    await lease.renew();
    expect(lease.deadline).toBe(start + 20_000);
    store.plan({ do: 'loseRequest', operation: 'renew', times: 3 });
    await expect(settle(time, lease.renew())).rejects.toThrow(LockStoreError);
    await time.advance(100_000);
    expect(store.requests.every(({ at }) => at < start + 20_000)).toBe(true);
    expect(lease.isHeld()).toBe(false);
  });
});

describe("invariant 9: nobody releases another holder's lease", () => {
  test('the release of a lost lease leaves the lease of the next holder alone', async () => {
    const { time } = scene;
    const late = await taken(scene.host().client.tryAcquire('job', { holdAtMostMs: 1_000 }));
    await time.advance(LEASE_MS);
    const holder = await taken(scene.host().client.tryAcquire('job'));
    const record = await recordOf();
    expect(await late.release()).toBe(false);
    expect(await recordOf()).toEqual(record);
    expect(holder.isHeld()).toBe(true);
  });

  test('a release that arrives late leaves the lease of the next holder alone', async () => {
    const { time, store } = scene;
    const late = await taken(scene.host().client.tryAcquire('job', { holdAtMostMs: 2_000 }));
    store.plan({ do: 'delayRequest', ms: 10_000, operation: 'release', times: 3 });
    const released = outcomeOf(late.release());
    await time.advance(5_000);
    expect(released.value).toBe(false);
    const holder = await taken(scene.host().client.tryAcquire('job'));
    await time.advance(10_000);
    expect(await recordOf()).toMatchObject({ lockId: holder.lockId });
  });

  test('a busy attempt sends no release', async () => {
    const { store } = scene;
    await scene.host().client.tryAcquire('job');
    expect(await scene.host().client.tryAcquire('job')).toBeNull();
    expect(store.operations).toEqual(['acquire', 'acquire']);
  });

  test('a force release of an earlier grant ends nothing', async () => {
    const { client } = scene.host();
    const first = await taken(client.tryAcquire('job'));
    await first.release();
    const second = await taken(client.tryAcquire('job'));
    expect(await client.forceRelease('job', { lockId: 'some-other-grant', immediately: true })).toBe(false);
    expect(await recordOf()).toMatchObject({ lockId: second.lockId });
  });

  test('an abandoned lease is not released, and its lock opens at the expiry', async () => {
    const { time, store } = scene;
    const lease = await taken(scene.host().client.tryAcquire('job'));
    lease.abandon('timedOut');
    expect(await lease.release()).toBe(false);
    expect(store.operations).toEqual(['acquire']);
    const { client } = scene.host();
    await time.advance(LEASE_MS - 1);
    expect(await client.tryAcquire('job')).toBeNull();
    await time.advance(1);
    expect(await client.tryAcquire('job')).not.toBeNull();
  });

  test('close() releases nothing while the work goes on', async () => {
    const { time, store } = scene;
    const { client } = scene.host();
    const lease = await taken(client.tryAcquire('job'));
    const closed = outcomeOf(client.close({ graceMs: LEASE_MS * 10 }));
    await time.advance(LEASE_MS * 10 - 1);
    expect([lease.signal.aborted, lease.isHeld(), closed.settled]).toEqual([true, true, false]);
    expect(await scene.host().client.tryAcquire('job')).toBeNull();
    await time.advance(1);
    expect([lease.isHeld(), closed.settled]).toEqual([false, true]);
    expect(store.count('release')).toBe(0);
  });
});

describe("invariant 10: the user's error wins", () => {
  const denied = new LockStoreError('not allowed');
  const denyReleases = () => scene.store.plan({ do: 'fail', error: denied, operation: 'release', times: 9 });

  test('using throws the error of the work and reports releaseFailed if the release fails, too', async () => {
    const host = scene.host();
    denyReleases();
    const work = new Error('the work failed');
    await expect(host.client.using('job', {}, () => Promise.reject(work))).rejects.toBe(work);
    expect(host.of('releaseFailed')).toMatchObject([
      { key: 'job', error: { message: "Releasing 'job': not allowed", transient: false } },
    ]);
  });

  test('a failed release does not reject, so a finally block hides no error', async () => {
    denyReleases();
    const lease = await taken(scene.host().client.tryAcquire('job'));
    expect(await lease.release()).toBe(false);
    await expect(lease[Symbol.asyncDispose]()).resolves.toBeUndefined();
  });

  test('a release does not reject if the store throws an error of another class', async () => {
    const host = scene.host();
    const odd = new RangeError('odd');
    scene.store.plan({ do: 'fail', error: odd, operation: 'release' });
    const lease = await taken(host.client.tryAcquire('job'));
    expect(await lease.release()).toBe(false);
    expect(host.of('releaseFailed')[0]?.error).toBeInstanceOf(LockStoreError);
    expect(host.of('releaseFailed')[0]?.error.cause).toBe(odd);
  });

  test('using gives the result of the work if the release fails', async () => {
    denyReleases();
    expect(await scene.host().client.using('job', {}, () => 42)).toBe(42);
  });

  test('using throws the error of work that failed on a lost lease', async () => {
    const work = new Error('the work failed');
    const failing = scene.host().client.using('job', {}, (lease) => {
      lease.abandon('timedOut');
      throw work;
    });
    await expect(failing).rejects.toBe(work);
  });
});

describe('invariant 11: no shared state', () => {
  test('every attempt of every client has a lockId of its own', async () => {
    const { store } = scene;
    const clients = [scene.host().client, scene.host().client];
    const keys = ['a', 'b', 'c', 'a', 'b', 'a'];
    await Promise.all(clients.flatMap((client) => keys.map((key) => client.tryAcquire(key))));
    const ids = store.requests.map(({ request }) => request.lockId);
    expect(ids).toHaveLength(12);
    expect(new Set(ids).size).toBe(12);
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4/);
  });

  test('one of two attempts of the same client at the same key is busy', async () => {
    const { client } = scene.host();
    const leases = await Promise.all([client.tryAcquire('job'), client.tryAcquire('job')]);
    expect(leases.filter((lease) => lease !== null)).toHaveLength(1);
    expect(await client.tryAcquire('job')).toBeNull();
  });

  test('the loss and the release of two leases leave a third lease of their client alone', async () => {
    const { time, store } = scene;
    const { client } = scene.host();
    const lost = await taken(client.tryAcquire('lost'));
    const released = await taken(client.tryAcquire('released'));
    const kept = await taken(client.tryAcquire('kept'));
    lost.abandon('timedOut');
    await released.release();
    expect(kept.isHeld()).toBe(true);
    expect(kept.signal.aborted).toBe(false);
    await time.advance(100_000);
    expect(kept.isHeld()).toBe(true);
    expect(
      new Set(store.requests.filter((sent) => sent.operation === 'renew').map((sent) => sent.request.key)),
    ).toEqual(new Set(['kept']));
  });
});

describe('invariant 12: quiet', () => {
  /** Node reports an unhandled rejection when the microtasks are done. Then the test that runs fails. */
  const noneUnhandled = async () => {
    for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
  };

  test.each([
    [
      'throws',
      () => {
        throw new Error('broken log');
      },
    ],
    ['rejects', () => Promise.reject(new Error('broken log'))],
    [
      'is a thenable that rejects',
      () => {
        return { then: (_: unknown, reject: (error: Error) => void) => reject(new Error('broken log')) };
      },
    ],
  ])('a listener that %s disturbs no acquire, renewal or release', async (_, onEvent) => {
    const { time } = scene;
    const { client } = scene.host({ onEvent });
    const lease = await taken(client.tryAcquire('job'));
    expect(await client.tryAcquire('job')).toBeNull();
    await time.advance(HEARTBEAT_MS);
    expect(await lease.release()).toBe(true);
    await noneUnhandled();
  });

  test('failed renewals in the background and the following loss cause no unhandled rejection', async () => {
    const { time, store } = scene;
    const { client } = scene.host();
    await client.tryAcquire('job');
    store.plan({ do: 'fail', error: new RangeError('odd'), operation: 'renew', times: Number.POSITIVE_INFINITY });
    await time.advance(LEASE_MS);
    await noneUnhandled();
    expect(time.timers).toBe(0);
  });

  test('a renewal that a release gives up causes no unhandled rejection', async () => {
    const { time } = scene;
    const lease = await taken(scene.host().client.tryAcquire('job'));
    cutRenewals();
    await time.advance(HEARTBEAT_MS + 10);
    await lease.release();
    await noneUnhandled();
    expect(time.timers).toBe(0);
  });

  test('a granted, a busy and a denied attempt leave no timer and no listener', async () => {
    const { time, store } = scene;
    const { client } = scene.host();
    const { controller, listeners } = watchedSignal();
    const { signal } = controller;
    const attempt = (waitMs: number) => outcomeOf(client.acquire('job', { signal, waitMs }));
    const lease = await client.acquire('job', { signal });
    const busy = attempt(200);
    await time.advance(1_000);
    expect(busy.error).toBeInstanceOf(LockBusyError);
    await lease.release();
    store.plan({ do: 'fail', error: new LockStoreError('denied'), operation: 'acquire' });
    const denied = attempt(200);
    await time.advance(0);
    expect(denied.error).toBeInstanceOf(LockStoreError);
    expect(listeners()).toBe(0);
    expect(time.timers).toBe(0);
  });

  test('an attempt that is cancelled between two reads leaves no timer and no listener', async () => {
    const { time } = scene;
    (await taken(scene.host().client.tryAcquire('job'))).abandon('timedOut');
    const { controller, listeners } = watchedSignal();
    const attempt = outcomeOf(scene.host().client.acquire('job', { signal: controller.signal, waitMs: 20_000 }));
    await time.advance(10_000);
    expect(time.timers).toBe(1);
    controller.abort(new Error('cancelled'));
    await time.advance(0);
    expect(attempt.error).toMatchObject({ message: 'cancelled' });
    expect(listeners()).toBe(0);
    expect(time.timers).toBe(0);
  });

  test('an attempt without an answer leaves no timer and no listener', async () => {
    const { time, store } = scene;
    const { controller, listeners } = watchedSignal();
    store.plan({ do: 'hang', operation: 'acquire', times: 3 });
    const attempt = outcomeOf(scene.host().client.acquire('job', { signal: controller.signal }));
    await time.advance(10_000);
    expect(attempt.error).toBeInstanceOf(LockStoreError);
    expect(listeners()).toBe(0);
    expect(time.timers).toBe(0);
  });

  test('an attempt whose store throws synchronously leaves no timer and no listener', async () => {
    const { time, store } = scene;
    const { client } = scene.host();
    const { controller, listeners } = watchedSignal();
    store.acquire = () => {
      throw new RangeError('odd');
    };
    await expect(client.tryAcquire('job', { signal: controller.signal })).rejects.toThrow('odd');
    expect(listeners()).toBe(0);
    expect(time.timers).toBe(0);
  });

  test('a lease that nobody released keeps no process alive', async () => {
    const library = new URL('../../lib/', import.meta.url);
    const child = spawn(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        `const { LockClient } = await import('${library}index.ts');
         const { MemoryLockStore } = await import('${library}testing.ts');
         const lease = await new LockClient({ store: new MemoryLockStore() }).acquire('job');
         console.log(lease.isHeld());`,
      ],
      { env: { ...process.env, NODE_OPTIONS: '' }, stdio: ['ignore', 'pipe', 'inherit'], timeout: 8_000 },
    );
    const [[line], [code]] = await Promise.all([once(child.stdout, 'data'), once(child, 'exit')]);
    expect(String(line)).toBe('true\n');
    expect(code).toBe(0);
  }, 10_000);
});

describe("invariant 13: the server's clock judges", () => {
  const twoSeconds = { leaseMs: 2_000 };
  beforeEach(() => {
    scene = world({ dated: true });
  });

  /** The contender tries every 10 ms. When the contender is granted, the holder must have stopped believing. */
  async function takeAfter(holder: Lease, contender: LockClient) {
    cutRenewals();
    let lease = null;
    while (lease === null) {
      await scene.time.advance(10);
      lease = await contender.tryAcquire('job');
    }
    expect(holder.isHeld()).toBe(false);
  }

  test.each([3_000, 3_600_000])("a contender that is %i ms ahead gives back a live holder's lock", async (ahead) => {
    const { time, store } = scene;
    const holder = await taken(scene.host(twoSeconds).client.tryAcquire('job'));
    const early = scene.host({ ...twoSeconds, ahead });
    expect(await early.client.tryAcquire('job')).toBeNull();
    expect(store.operations).toEqual(['acquire', 'acquire', 'giveBack', 'acquire']);
    expect(await recordOf()).toMatchObject({ lockId: holder.lockId, owner: 'host-1' });
    await time.advance(30_000);
    expect(holder.isHeld()).toBe(true);
    expect(early.of('busy')[0]?.skewMs).toBeGreaterThan(ahead - 1_000);
  });

  test.each([-3_000, -3_600_000])('no contender overlaps a holder whose clock is %i ms off', async (ahead) => {
    const { time } = scene;
    const holder = await taken(scene.host({ ...twoSeconds, ahead }).client.tryAcquire('job'));
    const contender = scene.host(twoSeconds).client;
    for (let ms = 0; ms < 10_000; ms += 100) {
      expect(await contender.tryAcquire('job')).toBeNull();
      await time.advance(100);
    }
    expect(holder.isHeld()).toBe(true);
    await takeAfter(holder, contender);
  });

  test("a contender whose clock is set right during its request gives back a live holder's lock", async () => {
    const { store } = scene;
    const holder = await taken(scene.host(twoSeconds).client.tryAcquire('job'));
    const early = scene.host({ ...twoSeconds, ahead: 3_600_000 });
    const setRight = () => {
      early.clock.offsetMs = 0;
    };
    store.plan({ do: 'first', act: setRight, operation: 'acquire' });
    expect(await early.client.tryAcquire('job')).toBeNull();
    expect(await recordOf()).toMatchObject({ lockId: holder.lockId });
  });

  test('a client forgets the skew of its clock when the clock is stepped', async () => {
    const { time } = scene;
    const { client, clock } = scene.host({ ...twoSeconds, ahead: 3_000 });
    for (let round = 0; round < 100; round++) {
      await client.inspect('elsewhere');
      await time.advance(107);
    }
    // Late in a second, the new answer alone does not contradict the earlier answers.
    await time.advance(1_950 - (time.now() % 1_000));
    clock.offsetMs -= 900;
    await takeAfter(await taken(client.tryAcquire('job')), scene.host(twoSeconds).client);
  });

  test('a client learns nothing from an answer during whose request the clock was stepped', async () => {
    const { time, store } = scene;
    const { client, clock } = scene.host({ ...twoSeconds, ahead: 3_600_000 });
    const lease = await taken(client.tryAcquire('job'));
    const setRight = () => {
      clock.offsetMs = 0;
    };
    store.plan({ do: 'first', act: setRight, operation: 'read' });
    await client.inspect('elsewhere');
    const before = store.count();
    await taken(client.tryAcquire('another'));
    expect(store.count() - before).toBe(1);
    await time.advance(60_000);
    expect(lease.isHeld()).toBe(true);
  });

  test('no contender overlaps a holder whose clock runs slow', async () => {
    const { time } = scene;
    const { client, clock } = scene.host(twoSeconds);
    const holder = await taken(client.tryAcquire('job'));
    for (let s = 0; s < 1_200; s++) {
      await time.advance(1_000);
      clock.lag(3);
    }
    expect(holder.isHeld()).toBe(true);
    await takeAfter(holder, scene.host(twoSeconds).client);
  });

  test('no contender overlaps a holder whose clock is stepped while the lease is held', async () => {
    const { time } = scene;
    const stepped = scene.host(twoSeconds);
    const holder = await taken(stepped.client.tryAcquire('job'));
    stepped.clock.offsetMs -= 3_600_000;
    const contender = scene.host(twoSeconds).client;
    for (let ms = 0; ms < 6_000; ms += 10) {
      await time.advance(10);
      const lease = await contender.tryAcquire('job');
      expect(lease !== null && holder.isHeld()).toBe(false);
      await lease?.release();
    }
  });
});

describe('invariant 14: a commit fences itself', () => {
  const committed = async () => (await recordOf())?.committed;
  const late = { do: 'delayRequest', ms: 60_000, operation: 'commit', times: 3 } as const;

  test('a commit that arrives late is not written over the commit of a later grant', async () => {
    const { time, store } = scene;
    const first = await taken(scene.host().client.tryAcquire('job'));
    store.plan(late);
    await expect(settle(time, first.commit('first'))).rejects.toThrow(LockStoreError);
    await settle(time, first.release());
    await time.advance(1);
    const second = await taken(scene.host().client.tryAcquire('job'));
    await second.commit('second');
    await time.advance(60_000);
    expect(await committed()).toEqual({ data: '"second"', number: 1, fencingToken: second.fencingToken });
  });

  test('a commit that arrives late is not written over a later commit of its own grant', async () => {
    const { time, store } = scene;
    const lease = await taken(scene.host().client.tryAcquire('job'));
    store.plan(late);
    await expect(settle(time, lease.commit('first'))).rejects.toThrow(LockStoreError);
    await lease.commit('second');
    await time.advance(60_000);
    expect(await committed()).toEqual({ data: '"second"', number: 1, fencingToken: lease.fencingToken });
  });
});

describe('invariant 15: nobody who is covered is forgotten', () => {
  /** A holder whose run takes 100 ms, and a caller who is covered 50 ms after the run began. */
  async function coveredDuringARun() {
    const { time } = scene;
    const began: number[] = [];
    const work = () => {
      began.push(time.now());
      return new Promise<void>((resolve) => time.setTimeout(resolve, 100));
    };
    const holding = scene.host().client.coalesce('job', work);
    holding.catch(() => {});
    await time.advance(50);
    const asked = time.now();
    expect(await settle(time, scene.host().client.coalesce('job', work))).toMatchObject({ covered: true });
    return { holding, runsSince: () => began.filter((at) => at >= asked).length };
  }
  const isOwed = async () => (await scene.host().client.inspect('job'))?.owed;

  test('a run begins after the call', async () => {
    const { holding, runsSince } = await coveredDuringARun();
    expect(await isOwed()).toBe(true);
    await settle(scene.time, holding);
    expect(runsSince()).toBe(1);
    expect(await isOwed()).toBe(false);
  });

  test('a release that is delivered again, late, does not end the run that was asked for', async () => {
    const { time, store } = scene;
    store.plan({ operation: 'release', do: 'duplicate', ms: 20 });
    const { holding, runsSince } = await coveredDuringARun();
    await time.advance(80);
    expect(runsSince()).toBe(1);
    expect((await recordOf())?.lockId).toBeDefined();
    expect(await settle(time, holding)).toMatchObject({ runs: 2 });
  });

  test('a holder that dies leaves the run owed', async () => {
    const { time, store } = scene;
    const { runsSince } = await coveredDuringARun();
    store.plan(
      { operation: 'turn', do: 'hang', times: 3 },
      { operation: 'release', after: 1, do: 'hang', times: Infinity },
    );
    await time.advance(LEASE_MS + 4_000);
    expect(runsSince()).toBe(0);
    expect(await isOwed()).toBe(true);
  });
});
