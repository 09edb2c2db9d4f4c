import { describe, expect, test } from '@jest/globals';
import { ServerClock } from '../../lib/lease/server-clock.ts';
import type { StoreProblem } from '../../lib/record/store.ts';
import { FakeClock } from '../../lib/testing/fake-clock.ts';
import { outcomeOf, settle, type World, world } from './setup.ts';

const MISSING_PERMISSION: StoreProblem = { severity: 'error', message: 's3:ListBucket is missing. Grant it.' };

describe('the requestTimeoutMs of a store', () => {
  const impatient = (requestTimeoutMs = 250) => {
    const scene = world({ dated: true });
    return Object.assign(scene, { store: Object.assign(scene.store, { requestTimeoutMs }) });
  };
  /** The milliseconds between the first two sendings of an operation. */
  const resentAfter = ({ store }: World, operation: string) => {
    const [first = 0, second = 0] = store.requests.filter((sent) => sent.operation === operation).map(({ at }) => at);
    return second - first;
  };

  test('is the time after which an acquire, a renewal, a commit and a release are sent again', async () => {
    const scene = impatient();
    const { time, store, host } = scene;
    for (const operation of ['acquire', 'renew', 'commit', 'release'] as const) store.plan({ do: 'hang', operation });
    const lease = await settle(time, host().client.acquire('job'));
    await settle(time, lease.renew());
    await settle(time, lease.commit('a'));
    await settle(time, lease.release());
    for (const operation of ['acquire', 'renew', 'commit', 'release']) {
      expect([operation, resentAfter(scene, operation)]).toEqual([operation, 250]);
    }
  });

  test('is the time after which the read that judges a clock is sent again', async () => {
    const scene = impatient();
    scene.store.plan({ do: 'hang', operation: 'read' });
    await settle(scene.time, scene.host({ isDisciplined: false }).client.acquire('job'));
    expect(resentAfter(scene, 'read')).toBe(250);
  });

  test('is the time after which a reading of operators and a forced release are sent again', async () => {
    const scene = impatient();
    const { time, store, host } = scene;
    for (const operation of ['read', 'readMany', 'forceRelease'] as const) store.plan({ do: 'hang', operation });
    const { client } = host();
    await settle(time, client.inspect('job'));
    await settle(time, client.inspectMany(['job']));
    await settle(time, client.forceRelease('job', { lockId: 'it' }));
    for (const operation of ['read', 'readMany', 'forceRelease']) {
      expect([operation, resentAfter(scene, operation)]).toEqual([operation, 250]);
    }
  });

  test('may be longer than the default of a second', async () => {
    const scene = impatient(3_000);
    scene.store.plan({ do: 'hang', operation: 'acquire' });
    await settle(scene.time, scene.host().client.acquire('job', { leaseMs: 60_000 }));
    expect(resentAfter(scene, 'acquire')).toBe(3_000);
  });

  test('gives way to the option of a call', async () => {
    const scene = impatient();
    scene.store.plan({ do: 'hang', operation: 'acquire' });
    await settle(scene.time, scene.host().client.acquire('job', { requestTimeoutMs: 700 }));
    expect(resentAfter(scene, 'acquire')).toBe(700);
  });

  test.each([0, -1, 1.5, Number.NaN])('is refused if it is no whole number of milliseconds from 1: %p', (ms) => {
    expect(() => impatient(ms).host()).toThrow(
      new RegExp(`requestTimeoutMs must be a whole number of milliseconds from 1 .* but it is ${ms}`),
    );
  });
});

describe('the serverDateStepMs of a store', () => {
  /** A store whose answers tell the true time in steps. */
  function stepping(stepMs: number | undefined, toldMs = stepMs ?? 1_000) {
    const scene = world();
    const { store, memory, time } = scene;
    Object.assign(store, { serverDateStepMs: stepMs });
    store.inner = new Proxy(memory, {
      get(_, name) {
        const method = Reflect.get(memory, name);
        if (typeof method !== 'function') return method;
        return async (...args: unknown[]) => ({
          ...(await method.apply(memory, args)),
          serverDate: Math.floor(time.now() / toldMs) * toldMs,
        });
      },
    });
    return scene;
  }

  test.each([
    [1, 300],
    [1, -300],
    [10, 300],
    [10, -300],
  ])('of %i ms corrects a clock that is %i ms ahead, by the first answer', async (stepMs, ahead) => {
    const { time, memory, host } = stepping(stepMs);
    const lease = await host({ ahead, isDisciplined: false }).client.acquire('job', { leaseMs: 2_000, safetyMs: 100 });
    const { record } = await memory.read('job');
    expect(Math.abs((record?.acquiredAt ?? 0) - time.now())).toBeLessThanOrEqual(stepMs);
    expect(Math.abs((record?.expiresAt ?? 0) - (time.now() + 2_000))).toBeLessThanOrEqual(stepMs);
    expect(lease.isHeld()).toBe(true);
  });

  test('of a second, the default, cannot tell that a clock is 300 ms ahead, and corrects nothing', async () => {
    const { time, memory, host } = stepping(undefined);
    await host({ ahead: 300, isDisciplined: false }).client.acquire('job');
    const { record } = await memory.read('job');
    expect(record?.acquiredAt).toBe(time.now() + 300);
  });

  test.each([1, 10])(
    'of %i ms keeps a clock that is 300 ms ahead from taking a lease that has not expired',
    async (stepMs) => {
      const { time, host } = stepping(stepMs);
      const right = await host().client.acquire('job', { leaseMs: 2_000, safetyMs: 100, holdAtMostMs: 2_000 });
      const { client } = host({ ahead: 300, isDisciplined: false });
      while (right.isHeld()) {
        expect(await client.tryAcquire('job')).toBeNull();
        await time.advance(1);
      }
      for (let ms = 0; ms < 100 - stepMs; ms++) {
        expect(await client.tryAcquire('job')).toBeNull();
        await time.advance(1);
      }
      await time.advance(2 * stepMs);
      expect((await client.tryAcquire('job'))?.isHeld()).toBe(true);
    },
  );

  test.each([1, 10, 1_000])('of %i ms never calls a right clock wrong, however the answers travel', (stepMs) => {
    const time = new FakeClock(Date.UTC(2026, 0, 1) + 3);
    const serverClock = new ServerClock(time, { serverDateStepMs: stepMs });
    for (let n = 0; n < 1_000; n++) {
      const sent = { wall: time.now(), monotonic: time.monotonic() };
      void time.advance(n % 7);
      const serverDate = Math.floor(time.now() / stepMs) * stepMs;
      void time.advance(n % 5);
      serverClock.observe(sent, { serverDate });
      expect(serverClock.isWrong).toBe(false);
    }
  });

  test('does not report a skew under a second, though the skew is corrected', async () => {
    const { host } = stepping(1);
    const { client, events } = host({ ahead: 300, isDisciplined: false });
    await client.acquire('job');
    for (const event of events) expect(event).not.toHaveProperty('skewMs');
  });
});

describe('check', () => {
  const checking = (check: unknown) => {
    const scene = world();
    Object.assign(scene.store, { check });
    return scene;
  };

  test("gives the store's findings", async () => {
    const { time, host } = checking(async () => [MISSING_PERMISSION]);
    expect(await host().client.check()).toEqual([MISSING_PERMISSION]);
    expect(time.timers).toBe(0);
  });

  test.each([
    ['checks nothing', undefined],
    ['finds nothing', async () => []],
  ])('gives no findings if the store %s', async (_, check) => {
    expect(await checking(check).host().client.check()).toEqual([]);
  });

  test('has its store as this', async () => {
    const { store, host } = checking(async function (this: unknown) {
      return this === store ? [MISSING_PERMISSION] : [];
    });
    expect(await host().client.check()).toHaveLength(1);
  });

  test.each([
    ['rejects', () => Promise.reject(new Error('unplugged'))],
    [
      'throws',
      () => {
        throw new Error('unplugged');
      },
    ],
  ])('rejects with a LockStoreError if the check %s', async (_, check) => {
    const { time, host } = checking(check);
    await expect(host().client.check()).rejects.toMatchObject({
      name: 'LockStoreError',
      message: 'Checking the store: Error: unplugged',
    });
    expect(time.timers).toBe(0);
  });

  test('gives a check up that never ends, after 10 seconds, and aborts its signal', async () => {
    let given: AbortSignal | undefined;
    const { time, host } = checking((signal: AbortSignal) => {
      given = signal;
      return new Promise(() => {});
    });
    const checked = outcomeOf(host().client.check());
    await time.advance(9_999);
    expect([checked.settled, given?.aborted]).toEqual([false, false]);
    await time.advance(1);
    expect(checked.error).toMatchObject({
      name: 'LockStoreError',
      transient: true,
      message: 'Checking the store: no answer came within 10000 ms. Check the network, or try again.',
    });
    expect(given?.aborted).toBe(true);
    expect(time.timers).toBe(0);
  });

  test('ends when the client is closed, and a closed client checks nothing', async () => {
    const { time, host } = checking(() => new Promise(() => {}));
    const { client } = host();
    const checked = outcomeOf(client.check());
    await time.advance(1);
    await settle(time, client.close());
    expect(checked.error).toMatchObject({ name: 'LockClosedError' });
    await expect(client.check()).rejects.toMatchObject({ name: 'LockClosedError' });
    expect(time.timers).toBe(0);
  });
});
