import { beforeEach, describe, expect, test } from '@jest/globals';
import { backgroundTimer, pause, startTimer, systemClock } from '../../lib/lease/clock.ts';
import { FakeClock } from '../../lib/testing/fake-clock.ts';
import { outcomeOf, world } from './setup.ts';

const DAY_MS = 86_400_000;
const LONGEST_TIMER_MS = 2_147_483_647;
const CENTURY_MS = 100 * 365 * DAY_MS;

/** A clock whose timers are Node's: a longer timer fires at once. */
class NodeLikeClock extends FakeClock {
  override setTimeout(callback: () => void, ms: number): unknown {
    return super.setTimeout(callback, ms > LONGEST_TIMER_MS ? 1 : ms);
  }
}

let clock: NodeLikeClock;
beforeEach(() => {
  clock = new NodeLikeClock();
});

test("a lease's timer keeps no process alive (invariant 12), and any other timer does", () => {
  const timers: NodeJS.Timeout[] = [];
  const real = {
    ...systemClock,
    setTimeout: (callback: () => void, ms: number) => {
      const timer = setTimeout(callback, ms);
      timers.push(timer);
      return timer;
    },
  };
  const stops = [backgroundTimer(real, 60_000, () => {}), startTimer(real, 60_000, () => {})];
  expect(timers.map((timer) => timer.hasRef())).toEqual([false, true]);
  for (const stop of stops) stop();
});

describe('a time of 60 days', () => {
  test('is waited for by a timer, and not a millisecond less', async () => {
    let isOver = false;
    backgroundTimer(clock, 60 * DAY_MS, () => {
      isOver = true;
    });
    await clock.advance(60 * DAY_MS - 1);
    expect(isOver).toBe(false);
    await clock.advance(1);
    expect(isOver).toBe(true);
    expect(clock.timers).toBe(0);
  });

  test('is waited for by a pause, which a signal ends after 50 days', async () => {
    const controller = new AbortController();
    const paused = outcomeOf(pause(clock, 60 * DAY_MS, controller.signal));
    await clock.advance(50 * DAY_MS);
    expect(paused.settled).toBe(false);
    controller.abort();
    await clock.advance(0);
    expect(paused.settled).toBe(true);
    expect(clock.timers).toBe(0);
  });
});

test('a timer of 60 days that is stopped after 50 days leaves no timer', async () => {
  const stop = backgroundTimer(clock, 60 * DAY_MS, () => {});
  await clock.advance(50 * DAY_MS);
  stop();
  expect(clock.timers).toBe(0);
});

test('a time without an end sets no timer', () => {
  const stop = backgroundTimer(clock, Infinity, () => {});
  expect(clock.timers).toBe(0);
  stop();
});

describe.each([
  ['leaseMs', { leaseMs: CENTURY_MS }],
  ['holdAtLeastMs', { holdAtLeastMs: CENTURY_MS }],
  ['holdAtMostMs', { holdAtMostMs: CENTURY_MS }],
  ['holdAtMostMs without a bound', { holdAtMostMs: Infinity }],
  ['waitMs', { waitMs: CENTURY_MS }],
  ['waitMs without a bound', { waitMs: Infinity }],
  ['requestTimeoutMs', { requestTimeoutMs: CENTURY_MS, waitMs: 1 }],
])('the longest %s', (_, options) => {
  test('leaves the lease held after its grant, and no timer after its release', async () => {
    const scene = world();
    const { client } = scene.host({ clock });
    const lease = await client.acquire('job', options);
    await clock.advance(10);
    expect(lease.isHeld()).toBe(true);
    expect(await lease.release()).toBe(true);
    expect(clock.timers).toBe(0);
  });
});

test('a wait without a bound outlasts a holder of 60 days', async () => {
  const scene = world();
  const holder = await scene.host().client.acquire('job', { leaseMs: 60 * DAY_MS });
  const waiting = outcomeOf(scene.host().client.acquire('job', { waitMs: Infinity }));
  await scene.time.advance(60_000);
  expect(waiting.settled).toBe(false);
  await holder.release();
  await scene.time.advance(2_000);
  expect(waiting.value?.isHeld()).toBe(true);
});

test('a wait without a bound ends when its client is closed', async () => {
  const scene = world();
  await scene.host().client.acquire('job');
  const { client } = scene.host();
  const waiting = outcomeOf(client.acquire('job', { waitMs: Infinity }));
  await scene.time.advance(60_000);
  await client.close();
  await scene.time.advance(0);
  expect(waiting.error).toMatchObject({ name: 'LockClosedError' });
});
