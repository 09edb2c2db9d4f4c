import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { ServerClock, serverClockOf } from '../../lib/lease/server-clock.ts';
import { FakeClock } from '../../lib/testing/fake-clock.ts';
import { MemoryLockStore } from '../../lib/testing/memory.ts';
import { type HostClock, settle, world } from './setup.ts';

afterEach(() => {
  jest.restoreAllMocks();
});

const START = Date.UTC(2026, 0, 1);
const HOUR = 3_600_000;
const MINUTE = 60_000;
const closedUntil = (expiresAt: number) => ({ type: 'closed', acquiredAt: 1, expiresAt }) as const;

test('a resume by a clock that is an hour behind is refused if no answer tells the time, and the handle stays good', async () => {
  const { host } = world({ start: START });
  const handle = await (await host().client.acquire('job')).handOff({ leaseMs: 60_000 });
  const { client } = host({ ahead: -HOUR });
  await expect(client.resume(handle)).rejects.toMatchObject({
    name: 'LockStoreError',
    transient: true,
    message:
      "Resuming 'job': refused, for by this host's clock the lease would expire before it was acquired. Set the clock right.",
  });
  expect((await host().client.resume(handle)).isHeld()).toBe(true);
});

test('a host believes its own clock if no answer of the store carries a date', async () => {
  const { time, store, host } = world();
  const wrong = host({ ahead: HOUR });
  const lease = await wrong.client.acquire('job');
  await time.advance(MINUTE);
  await lease.release();
  expect(store.count('giveBack')).toBe(0);
  for (const event of wrong.events) expect(event).not.toHaveProperty('skewMs');
});

test.each([8_900, 12_345, 19_900, 30_000])(
  'no host overlaps a holder that is behind and was granted by one slow answer, with a lease of %i ms',
  async (leaseMs) => {
    // The worst case that no answer tells: the server writes each answer in the last millisecond of a second.
    const { time, store, host } = world({ dated: true, start: START + 986 - 9 });
    const behind = host({ ahead: -1_946, leaseMs });
    store.plan({ do: 'travel', there: 9, back: 973, operation: 'acquire' });
    const holder = await settle(time, behind.client.acquire('job'));
    expect(behind.events.at(-1)).not.toHaveProperty('skewMs');
    store.plan({ do: 'hang', operation: 'renew', times: Number.POSITIVE_INFINITY });
    const { record } = await store.inner.read('job', { consistent: true });
    await time.advance((record?.expiresAt ?? 0) - 952 - time.now());
    for (let tries = 0; tries < 60; tries++) {
      const other = await host({ ahead: 952, leaseMs }).client.tryAcquire('job');
      expect(holder.isHeld() && other?.isHeld()).not.toBe(true);
      if (other) return;
      await time.advance(20);
    }
    throw new Error('Nobody was granted the lock.');
  },
);

test('a renewal with a slow answer does not shorten the belief', async () => {
  const { time, store, host } = world({ dated: true, start: START + 600 });
  const { client, of } = host();
  const lease = await client.acquire('job');
  const before = lease.deadline;
  store.plan({ do: 'travel', there: 600, back: 5, operation: 'renew' });
  await time.advance(100);
  await settle(time, lease.renew());
  expect(lease.deadline).toBe(before);
  expect(of('renewed').at(-1)?.deadline).toBe(before);
  await time.advance(60_000);
  expect(lease.isHeld()).toBe(true);
});

test('a slow answer shortens the belief if both clocks stood still after earlier, fast answers', async () => {
  const { time, store, host } = world({ dated: true, start: START });
  const { client, clock } = host({ leaseMs: 20_000 });
  for (let n = 0; n < 6; n++) {
    await client.inspect('job');
    await time.advance(350);
  }
  // The virtual machine was paused.
  clock.lag(1_970);
  await time.advance(10_976 - (time.now() - START));
  store.plan({ do: 'travel', there: 9, back: 967, operation: 'acquire' });
  const lease = await settle(time, client.acquire('job'));
  const { record } = await store.inner.read('job', { consistent: true });
  store.plan({ do: 'hang', operation: 'renew', times: Number.POSITIVE_INFINITY });
  // Another host's clock may be a second ahead.
  await time.advance((record?.expiresAt ?? 0) - 1_000 - time.now());
  expect(lease.isHeld()).toBe(false);
});

describe('a holder that is behind takes the time that a slow answer hid off its belief', () => {
  // The answer of the judge read takes 980 ms. So it can hide that the clock is behind by this much.
  const behindMs = 1_900;
  const steps: Record<string, (clock: HostClock) => void> = {
    'not at all': () => {},
    'by 110 ms': (clock) => {
      clock.offsetMs += 110;
    },
    'back by 110 ms': (clock) => {
      clock.offsetMs -= 110;
    },
  };

  test.each(Object.keys(steps).flatMap((step) => [['acquire', step] as const, ['renew', step] as const]))(
    'if the clock is set during the next %s: %s',
    async (operation, step) => {
      const { time, store, host } = world({ dated: true, start: START + 990 });
      const { client, clock } = host({ ahead: -behindMs, isDisciplined: false, leaseMs: 8_000 });
      store.plan({ do: 'travel', there: 5, back: 975, operation: 'read' });
      const act = () => steps[step]?.(clock);
      store.plan({ do: 'then', act, operation });
      const lease = await settle(time, client.acquire('job'));
      if (operation === 'renew') await lease.renew();
      const { record } = await store.inner.read('job', { consistent: true });
      // Another host's clock may be a second ahead.
      const openMs = (record?.expiresAt ?? 0) - 1_000 - time.now();
      store.plan({ do: 'hang', operation: 'renew', times: Number.POSITIVE_INFINITY });
      expect(lease.isHeld()).toBe(true);
      await time.advance(openMs);
      expect(lease.isHeld()).toBe(false);
    },
  );
});

test.each([
  ['30 s behind', -30_000],
  ['60 s ahead', 60_000],
  ['10 minutes behind', -600_000],
])('two hosts with right clocks never overlap if one host is behind a relay whose clock is %s', async (_, offMs) => {
  const { time, store, memory } = world({ dated: true, start: START });
  // Every request of the first host goes over the relay.
  const dated = { now: () => time.now() + offMs };
  const relay = new Proxy(store, {
    get: (target, name) => {
      const method: unknown = target[name as 'read'];
      if (typeof method !== 'function') return method;
      return async (...request: never[]) => {
        const answer = await method.apply(target, request);
        return { ...answer, serverDate: Math.floor(dated.now() / 1_000) * 1_000, relayed: true };
      };
    },
  });
  const behind = world({ dated: true }).host({ store: relay, clock: time }).client;
  const direct = world({ dated: true }).host({ store, clock: time }).client;
  for (const [first, second] of [
    [behind, direct],
    [direct, behind],
  ] as const) {
    const lease = await settle(time, first.acquire('job', { waitMs: 30_000 }));
    await time.advance(15_000);
    expect(await second.tryAcquire('job')).toBeNull();
    expect(lease.isHeld()).toBe(true);
    await lease.release();
    await time.advance(Math.abs(offMs));
  }
  expect((await memory.read('job')).record?.lockId).toBeUndefined();
});

describe('ServerClock', () => {
  /**
   * A `ServerClock` that observed these answers, one after the other. Each answer comes at once, when the host shows
   * `now`.
   */
  async function knowing(...answers: [now: number, date: number | undefined][]) {
    const time = new FakeClock(0);
    const serverClock = new ServerClock(time);
    let at = 0;
    for (const [now, date] of answers) {
      await time.advance(now - at);
      at = now;
      serverClock.observe({ wall: time.now(), monotonic: time.monotonic() }, { serverDate: date });
    }
    return { time, serverClock };
  }

  test('keeps the intersection of the intervals of all answers', async () => {
    // The server is 5 to 6 s ahead by the first answer, and 4.001 to 5.001 s by the second answer.
    const { serverClock } = await knowing([1_000, 6_000], [1_999, 6_000]);
    expect(serverClock.expiryOffsetMs).toBe(5_001);
    expect(serverClock.skewMs).toBe(-5_001);
  });

  test.each([
    [1_000, undefined],
    [1_001, -1_001],
    [-1_000, undefined],
    [-1_001, 1_001],
  ])('reports a skew only beyond a second: with a server that is %i ms ahead, %s', async (ahead, skewMs) => {
    // Two answers that meet in a point, a second apart: the server is exactly so far ahead.
    const { serverClock } = await knowing([11_000, 11_000 + ahead], [12_000, 11_000 + ahead]);
    expect(serverClock.isWrong).toBe(true);
    expect(serverClock.skewMs).toBe(skewMs);
  });

  test('knows the exact offset if the intervals meet in a point', async () => {
    const { serverClock } = await knowing([1_000, 6_000], [2_000, 6_000]);
    expect(serverClock.expiryOffsetMs).toBe(5_000);
    expect(serverClock.now('job')).toBe(7_000);
  });

  test('keeps the interval of the last answer if the intervals of two servers do not meet', async () => {
    const { serverClock } = await knowing([1_000, 6_000], [1_001, 9_000]);
    expect(serverClock.expiryOffsetMs).toBe(8_999);
  });

  test('learns nothing from an answer without a date', async () => {
    const { serverClock } = await knowing([1_000, undefined], [1_000, Number.NaN], [1_000, 6_000]);
    expect(serverClock.expiryOffsetMs).toBe(6_000);
  });

  test('judges a takeover by the later time: of the answer, or of the earlier answers', async () => {
    // The server is 5 to 5.001 s ahead: when this host's clock shows 2.5 s, the server's clock shows 7.5 s.
    const { time, serverClock } = await knowing([1_000, 6_000], [1_999, 6_000], [2_500, undefined]);
    expect(time.now()).toBe(2_500);
    expect(serverClock.tooEarly('job', closedUntil(7_500), 7_000)).toBe(false);
    expect(serverClock.tooEarly('job', closedUntil(7_501), 7_000)).toBe(true);
    expect(serverClock.tooEarly('job', closedUntil(7_900), 8_000)).toBe(false);
  });

  test('judges a takeover by the answer alone if the clock may be right, and only a certain takeover is too early', async () => {
    const { serverClock } = await knowing([1_000, 1_000]);
    expect(serverClock.skewMs).toBeUndefined();
    expect(serverClock.tooEarly('job', closedUntil(2_000), 1_000)).toBe(true);
    expect(serverClock.tooEarly('job', closedUntil(1_999), 1_000)).toBe(false);
    expect(serverClock.tooEarly('job', undefined, 1_000)).toBe(false);
    expect(serverClock.tooEarly('job', closedUntil(2_000), undefined)).toBe(false);
  });

  test.each([
    ['at once', 0, 0],
    ['after 900 ms on the way back', 0, 900],
    ['after 300 ms on the way there and 600 ms back', 300, 600],
  ])(
    'takes a clock that is more than a second behind for right, and shortens the belief: answered %s',
    (_, thereMs, backMs) => {
      // The server judges in the last millisecond of a second. The date does not show the millisecond.
      const serverDate = 10_000;
      const time = new FakeClock(serverDate);
      const serverClock = new ServerClock(time);
      const sent = { wall: serverDate - thereMs - backMs, monotonic: -thereMs - backMs };
      const behindMs = serverDate + 999 - (sent.wall + thereMs);
      serverClock.observe(sent, { serverDate });
      expect(serverClock.isWrong).toBe(false);
      // The written expiry comes `behindMs` sooner. Another host may be a second ahead. `safetyMs` is 2,000.
      const believedMs = serverClock.untilMs(sent, sent.wall + 30_000, 0) - 2_000;
      expect(believedMs).toBeLessThanOrEqual(30_000 - behindMs - 1_000);
      expect(believedMs).toBeGreaterThanOrEqual(30_000 - behindMs - 2_000);
    },
  );

  test('shortens the belief of a right clock by the time that the request took to arrive', () => {
    const time = new FakeClock(10_000);
    const serverClock = new ServerClock(time);
    serverClock.observe({ wall: 9_960, monotonic: -40 }, { serverDate: 10_000 });
    expect(serverClock.untilMs({ wall: 9_960, monotonic: -40 }, 39_960, 0)).toBe(30_000 - 40);
    serverClock.observe({ wall: 9_960, monotonic: -40 }, { serverDate: 9_000 });
    expect(serverClock.untilMs({ wall: 9_960, monotonic: -40 }, 39_960, 0)).toBe(30_000);
  });

  describe('with a date that a relay wrote', () => {
    const relayed = (aheadMs: number) => {
      const time = new FakeClock(10_000_000);
      const serverClock = new ServerClock(time);
      const here = { wall: time.now(), monotonic: time.monotonic() };
      serverClock.observe(here, { serverDate: time.now() + aheadMs, relayed: true });
      return { compared: serverClock.now('job') - time.now(), written: serverClock.expiryOffsetMs };
    };

    test.each([3_000, 60_000, 600_000])(
      "compares by the host's clock and writes by the date if the date is %i ms ahead",
      (ms) => {
        expect(relayed(ms)).toEqual({ compared: 0, written: ms + 1_000 });
      },
    );

    test.each([3_000, 60_000, 600_000])(
      "compares by the date and writes by the host's clock if the date is %i ms behind",
      (ms) => {
        expect(relayed(-ms)).toEqual({ compared: -ms, written: 0 });
      },
    );

    test.each([HOUR, -HOUR])(
      'believes a date that is %i ms off, since DynamoDB refuses signatures that are so far off',
      (ms) => {
        expect(relayed(ms)).toEqual({ compared: ms, written: ms + 1_000 });
      },
    );
  });

  test('is shared by the clients that share both the store and the clock', () => {
    const [store, other, time] = [new MemoryLockStore(), new MemoryLockStore(), new FakeClock(0)];
    expect(serverClockOf(store, time)).toBe(serverClockOf(store, time));
    expect(serverClockOf(store, time)).not.toBe(serverClockOf(other, time));
    expect(serverClockOf(store, time)).not.toBe(serverClockOf(store, new FakeClock(0)));
  });
});

describe('a lock that a process has released', () => {
  test.each([30, 700, 1_500])('is open for the process at once, though its clock is %i ms ahead', async (ahead) => {
    const { time, host } = world({ dated: true, start: START });
    const { client, events } = host({ ahead });
    for (let n = 0; n < 600; n++) {
      await (await client.acquire('job')).release();
      await time.advance(7);
    }
    expect(events.map(({ type }) => type)).not.toContain('busy');
  });

  test('is open to its process at once, by a clock that shows at least the expiry', () => {
    const time = new FakeClock(5_000);
    const serverClock = new ServerClock(time);
    serverClock.wrote('job', 5_001);
    expect(serverClock.now('job')).toBe(5_001);
    expect(serverClock.now('other')).toBe(5_000);
  });

  test('is forgotten after a thousand other releases', () => {
    const serverClock = new ServerClock(new FakeClock(5_000));
    for (let n = 0; n < 1_000; n++) serverClock.wrote(`job-${n}`, 5_001);
    expect(serverClock.now('job-0')).toBe(5_001);
    serverClock.wrote('one more', 5_001);
    expect(serverClock.now('job-0')).toBe(5_000);
    expect(serverClock.now('one more')).toBe(5_001);
  });

  test('is forgotten when the clock is set back, even after another release', () => {
    const time = new FakeClock(HOUR);
    const serverClock = new ServerClock(time);
    serverClock.wrote('job', HOUR + 1);
    time.step(-HOUR / 2);
    serverClock.wrote('other', HOUR / 2 + 1);
    expect(serverClock.now('job')).toBe(HOUR / 2);
  });
});
