import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { Lease } from '../../lib/lease/lease.ts';
import { LockBusyError } from '../../lib/record/errors.ts';
import { MemoryLockStore } from '../../lib/testing/memory.ts';
import { type HostClock, outcomeOf, seededRandom, settle, taken, type World, world } from './setup.ts';

afterEach(() => {
  jest.restoreAllMocks();
});

const START = Date.UTC(2026, 0, 1);
const HOUR = 3_600_000;
const MINUTE = 60_000;
const twoSeconds = { leaseMs: 2_000 };

/**
 * Hosts contend for one key for a minute. Each host tries, holds the lock for a while, and then releases or abandons the
 * lease. No host may be granted the lock, by the server's time, while another host believes that it holds the lock.
 */
async function contend(
  scene: World,
  hosts: ReturnType<World['host']>[],
  random: () => number,
  { ms = MINUTE, meddle = (_clock: HostClock) => {} } = {},
) {
  const { time, store } = scene;
  const leases: Lease[] = [];
  /** The owners that believed when the store made each grant. */
  const believers = new Map<string, string[]>();
  store.onJudged = (operation, { lockId }, { applied }) => {
    if (operation !== 'acquire' || !applied) return;
    believers.set(
      lockId,
      leases.filter((lease) => lease.isHeld() && lease.lockId !== lockId).map(({ owner }) => owner),
    );
  };
  const end = time.monotonic() + ms;
  const granted = hosts.map(() => 0);
  const upTo = (most: number) => Math.floor(random() * most);
  const sleep = (forMs: number) => new Promise<void>((resolve) => time.setTimeout(resolve, forMs));
  const running = hosts.map(async ({ client, clock }, n) => {
    while (time.monotonic() < end) {
      await sleep(1 + upTo(300));
      meddle(clock);
      const lease = await client.tryAcquire('job').catch(() => null);
      if (lease === null) continue;
      granted[n] = (granted[n] as number) + 1;
      leases.push(lease);
      expect(believers.get(lease.lockId)).toEqual([]);
      await sleep(1 + upTo(3_000));
      meddle(clock);
      if (random() < 0.3) lease.abandon('timedOut');
      else await lease.release();
    }
  });
  const all = outcomeOf(Promise.all(running));
  while (!all.settled) {
    await time.advance(500);
    expect(leases.filter((lease) => lease.isHeld()).length).toBeLessThanOrEqual(1);
  }
  if (all.error) throw all.error;
  return granted;
}

describe('never two believers at once', () => {
  const skews: [number, number][] = [
    [0, 0],
    [0, 3_000],
    [0, -3_000],
    [0, HOUR],
    [0, -HOUR],
    [HOUR, -HOUR],
    [-HOUR, 3_000 - HOUR],
    [3_000, -3_000],
    [200, -200],
  ];
  test.each(skews)('with leases of 2 s and clocks that are %i and %i ms ahead', async (...aheads) => {
    for (const [seed, start] of [START, START + 1, START + 500, START + 999].entries()) {
      const random = seededRandom(seed + 1);
      const scene = world({ dated: true, start });
      const latency = () => ({
        do: 'travel' as const,
        there: Math.floor(random() * 60),
        back: Math.floor(random() * 60),
      });
      scene.store.script = seed % 2 === 0 ? undefined : latency;
      const hosts = aheads.map((ahead) => scene.host({ ...twoSeconds, ahead }));
      const granted = await contend(scene, hosts, random);
      for (const times of granted) expect(times).toBeGreaterThan(3);
    }
  });

  test.each([...skews, [900, -900], [1_500, -1_400], [2_900, 0], [0, -20_000]] as [number, number][])(
    'with leases of 8 s, a safetyMs of 2,000, and clocks that are %i and %i ms ahead',
    async (...aheads) => {
      for (let seed = 1; seed <= 3; seed++) {
        const random = seededRandom(seed);
        const scene = world({ dated: true, start: START + seed * 333 });
        const hosts = aheads.map((ahead) => scene.host({ leaseMs: 8_000, ahead }));
        for (const times of await contend(scene, hosts, random)) expect(times).toBeGreaterThan(0);
      }
    },
  );

  test.each([3_000, HOUR])('with clocks that are stepped by up to %i ms, even during a request', async (most) => {
    for (let seed = 1; seed <= 8; seed++) {
      const random = seededRandom(seed);
      const scene = world({ dated: true, start: START + seed * 100 });
      const step = (clock: HostClock) => {
        if (random() < 0.05) clock.offsetMs = (Math.floor(random() * 3) - 1) * most;
      };
      const hosts = [
        scene.host({ leaseMs: 8_000 }),
        scene.host({ leaseMs: 8_000, ahead: most }),
        scene.host({ leaseMs: 8_000 }),
      ];
      scene.store.script = () => {
        for (const { clock } of hosts) if (random() < 0.02) step(clock);
        return { do: 'travel', there: Math.floor(random() * 60), back: Math.floor(random() * 60) };
      };
      await contend(scene, hosts, random, { meddle: step });
    }
  });

  test('with servers whose clocks differ by milliseconds', async () => {
    for (const aheads of [
      [0, 0],
      [3_000, 0],
      [-HOUR, 0],
    ]) {
      const random = seededRandom(5);
      const scene = world({ dated: true });
      scene.store.inner = new MemoryLockStore({
        clock: { now: () => scene.time.now() + Math.floor(random() * 20) - 10 },
      });
      const hosts = aheads.map((ahead) => scene.host({ ...twoSeconds, ahead }));
      for (const times of await contend(scene, hosts, random)) expect(times).toBeGreaterThan(3);
    }
  });

  test.each([0, 500, 999])(
    'with a contender 3 s ahead whose first two requests hang, %i ms after the start of a second',
    async (past) => {
      const scene = world({ dated: true, start: START + past });
      const { time, store } = scene;
      const early = scene.host({ ahead: 3_000 });
      // The first two requests of the contender hang. The request of the holder comes between them.
      store.plan({ do: 'hang', operation: 'acquire' }, { do: 'hang', operation: 'acquire', after: 1 });
      const attempt = outcomeOf(early.client.tryAcquire('job'));
      await time.advance(900);
      // The expiry comes 900 ms after the third sending, at 2,000 ms. The holder believes for 400 ms more.
      const holder = await taken(scene.host(twoSeconds).client.tryAcquire('job'));
      store.plan({ do: 'hang', operation: 'renew', times: Number.POSITIVE_INFINITY });
      await time.advance(1_150);
      expect(attempt.settled).toBe(true);
      expect([holder.isHeld(), attempt.value?.isHeld() ?? false]).not.toEqual([true, true]);
    },
  );
});

describe('a host whose clock is wrong', () => {
  let scene: World;
  beforeEach(() => {
    scene = world({ dated: true });
  });

  test.each([3_000, -3_000, HOUR, -HOUR])(
    'whose clock is %i ms ahead tells, in renewed, handedOff and resumed, the expiry that stands in the record',
    async (ahead) => {
      const { time, memory } = scene;
      const { client, of } = scene.host({ ahead });
      const written = async () => (await memory.read('job')).record?.expiresAt;
      const lease = await client.acquire('job');
      await time.advance(10_000);
      expect(of('renewed')).toMatchObject([{ expiresAt: await written() }]);
      const handle = await lease.handOff({ leaseMs: 60_000 });
      expect(of('handedOff')).toMatchObject([{ expiresAt: await written() }]);
      await client.resume(handle);
      expect(of('resumed')).toMatchObject([{ expiresAt: await written() }]);
    },
  );

  test.each([3_000, -3_000, HOUR, -HOUR])('by %i ms puts its skewMs into events and errors', async (ahead) => {
    const { time } = scene;
    await scene.host().client.acquire('job');
    const wrong = scene.host({ ahead });
    const error = await wrong.client.acquire('job').catch((thrown) => thrown);
    expect(error).toBeInstanceOf(LockBusyError);
    const off = (skewMs: number | undefined) => Math.abs((skewMs ?? Number.NaN) - ahead);
    expect(off(error.skewMs)).toBeLessThanOrEqual(500);
    expect(off(wrong.of('busy')[0]?.skewMs)).toBeLessThanOrEqual(500);
    const lease = await wrong.client.acquire('other', { waitMs: 1_000 });
    await time.advance(10_000);
    await lease.release();
    for (const { skewMs } of wrong.events) expect(off(skewMs)).toBeLessThanOrEqual(500);
    expect(new Set(wrong.events.map(({ type }) => type))).toEqual(new Set(['busy', 'acquired', 'renewed', 'released']));
  });

  test.each([3_000, -3_000, HOUR, -HOUR])(
    'by %i ms takes a new key for no longer than leaseMs, and keeps the lock by renewals',
    async (ahead) => {
      const { time, memory } = scene;
      const at = time.now();
      const { client, clock } = scene.host({ ...twoSeconds, ahead });
      const lease = await taken(client.tryAcquire('job'));
      expect(lease.deadline - clock.now()).toBeLessThanOrEqual(1_500);
      expect((await memory.read('job')).record?.expiresAt).toBeGreaterThanOrEqual(at + 1_000);
      expect((await memory.read('job')).record?.expiresAt).toBeLessThanOrEqual(at + 3_000);
      await time.advance(MINUTE);
      expect(lease.isHeld()).toBe(true);
    },
  );

  test.each([3_000, -3_000, HOUR, -HOUR])(
    'by %i ms leaves the key free for other hosts within two seconds of its release',
    async (ahead) => {
      const { time } = scene;
      const wrong = scene.host({ ...twoSeconds, ahead });
      const right = scene.host(twoSeconds);
      for (let round = 0; round < 3; round++) {
        const lease = await settle(time, wrong.client.acquire('job', { waitMs: 5_000 }));
        await time.advance(5_000);
        expect(await lease.release()).toBe(true);
        await time.advance(2_000);
        await (await taken(right.client.tryAcquire('job'))).release();
        await time.advance(2_000);
      }
    },
  );

  test.each([3_000, HOUR])(
    'by %i ms does not keep the key closed after giving the lock back, if the holder releases',
    async (ahead) => {
      const { time } = scene;
      const holder = await taken(scene.host(twoSeconds).client.tryAcquire('job'));
      expect(await scene.host({ ...twoSeconds, ahead }).client.tryAcquire('job')).toBeNull();
      await holder.release();
      await time.advance(1);
      expect(await scene.host(twoSeconds).client.tryAcquire('job')).not.toBeNull();
    },
  );

  test.each([3_000, -3_000, HOUR, -HOUR])(
    'by %i ms waits for a holder, and gets the lock after the release',
    async (ahead) => {
      const { time } = scene;
      const holder = await taken(scene.host(twoSeconds).client.tryAcquire('job'));
      const waiting = outcomeOf(scene.host({ ...twoSeconds, ahead }).client.acquire('job', { waitMs: 30_000 }));
      await time.advance(10_000);
      expect(waiting.settled).toBe(false);
      expect(holder.isHeld()).toBe(true);
      await holder.release();
      await time.advance(2_000);
      expect(waiting.value?.isHeld()).toBe(true);
    },
  );

  test.each([3_000, -3_000, HOUR, -HOUR])(
    'by %i ms believes for no longer than leaseMs after its clock is set right',
    async (ahead) => {
      const { time, memory } = scene;
      const { client, clock } = scene.host({ ...twoSeconds, ahead });
      await (await taken(client.tryAcquire('learn'))).release();
      clock.offsetMs = 0;
      const lease = await settle(time, client.acquire('job', { waitMs: 5_000 }));
      expect(lease.deadline - clock.now()).toBeLessThanOrEqual(1_500);
      expect((await memory.read('job')).record?.expiresAt).toBeLessThanOrEqual(time.now() + 4_000);
    },
  );

  test.each([3_000, -3_000, HOUR, -HOUR])('by %i ms resumes a lease for no longer than leaseMs', async (ahead) => {
    const { time, memory } = scene;
    const handle = await (await scene.host().client.acquire('job')).handOff({ leaseMs: MINUTE });
    const { client, clock } = scene.host({ ...twoSeconds, ahead });
    const lease = await client.resume(handle);
    expect(lease.isHeld()).toBe(true);
    expect(lease.deadline - clock.now()).toBeLessThanOrEqual(1_500);
    await time.advance(5_000);
    expect(lease.isHeld()).toBe(true);
    expect((await memory.read('job')).record?.expiresAt).toBeLessThanOrEqual(time.now() + 4_000);
  });

  test('learns of its clock once, and then needs two requests for a lease', async () => {
    const { time, store } = scene;
    const { client } = scene.host({ ahead: HOUR });
    await (await client.acquire('job')).release();
    await time.advance(2_000);
    const before = store.count();
    await (await client.acquire('job')).release();
    expect(store.count() - before).toBe(2);
  });

  test('takes an open lock at its first try if the clock is an hour behind', async () => {
    const { time } = scene;
    await (await scene.host().client.acquire('job')).release();
    await time.advance(5_000);
    const behind = scene.host({ ahead: -HOUR });
    expect(await behind.client.tryAcquire('job')).not.toBeNull();
    expect(behind.of('busy')).toEqual([]);
  });

  test('learns of its clock from an answer about another key', async () => {
    const { store } = scene;
    const { client } = scene.host({ ahead: HOUR });
    expect(await client.inspect('elsewhere')).toBeUndefined();
    await client.acquire('job');
    expect(store.operations).toEqual(['read', 'acquire']);
  });
});

describe('a host sends two requests for each lease', () => {
  async function cycles(ahead: number, serverJitterMs: number, latencyMs: number) {
    const random = seededRandom(ahead + serverJitterMs + latencyMs + 1);
    const scene = world({ dated: true });
    const { time, store } = scene;
    const upTo = (most: number) => Math.floor(random() * (most + 1));
    store.inner = new MemoryLockStore({ clock: { now: () => time.now() + upTo(serverJitterMs) - serverJitterMs / 2 } });
    store.script = () => (latencyMs > 0 ? { do: 'travel', there: upTo(latencyMs), back: upTo(latencyMs) } : undefined);
    const { client, events } = scene.host({ ahead });
    for (let round = 0; round < 1_000; round++) {
      const lease = await settle(time, client.acquire(`job ${round}`));
      await time.advance(upTo(50));
      expect(await settle(time, lease.release())).toBe(true);
      await time.advance(upTo(700));
    }
    return { requests: store.count(), events };
  }

  test.each([
    [0, 0, 0],
    [0, 0, 30],
  ])(
    'with a right clock, and reports no skewMs: %i ms ahead, servers %i ms apart, answers within twice %i ms',
    async (ahead, jitter, latency) => {
      const { requests, events } = await cycles(ahead, jitter, latency);
      expect(requests).toBe(2_000);
      for (const event of events) expect(event).not.toHaveProperty('skewMs');
    },
  );

  test.each([
    [5, 0, 0],
    [-5, 0, 0],
    [40, 0, 10],
    [-40, 0, 10],
    [0, 10, 0],
    [3, 10, 5],
    [-3, 10, 5],
  ])(
    'with a clock that is off by little: %i ms ahead, servers %i ms apart, answers within twice %i ms',
    async (ahead, jitter, latency) => {
      const { requests } = await cycles(ahead, jitter, latency);
      expect(requests).toBe(2_000);
    },
  );
});
