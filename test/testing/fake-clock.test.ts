import { expect, test } from '@jest/globals';
import { FakeClock } from '../../lib/testing/fake-clock.ts';

test('a fake clock starts at the start of 2026 or at the given time, and stands still until a test advances it', async () => {
  expect(new FakeClock().now()).toBe(Date.UTC(2026, 0, 1));
  const clock = new FakeClock(1_000);
  expect([clock.now(), clock.monotonic()]).toEqual([1_000, 0]);
  await clock.advance(250);
  expect([clock.now(), clock.monotonic()]).toEqual([1_250, 250]);
});

test('a fake clock fires each timer at its time, and timers of the same moment in the order of their setting', async () => {
  const clock = new FakeClock(0);
  const fired: string[] = [];
  const set = (name: string, ms: number) => clock.setTimeout(() => fired.push(`${name} at ${clock.now()}`), ms);
  set('late', 30);
  set('first', 10);
  set('second', 10);
  set('at once', 0);
  set('overdue', -5);
  const cancelled = set('cancelled', 20);
  expect(clock.timers).toBe(6);
  clock.clearTimeout(cancelled);
  await clock.advance(0);
  expect(fired).toEqual([]);
  await clock.advance(29);
  expect(fired).toEqual(['at once at 1', 'overdue at 1', 'first at 10', 'second at 10']);
  await clock.advance(1);
  expect(fired.at(-1)).toBe('late at 30');
  expect(clock.timers).toBe(0);
});

test('a fake clock lets the work of a timer settle before the time goes on, and fires the timers that this work sets', async () => {
  const clock = new FakeClock(0);
  const seen: number[] = [];
  const tick = async () => {
    await Promise.resolve();
    await new Promise(process.nextTick);
    seen.push(clock.now());
    if (seen.length < 3) clock.setTimeout(() => void tick(), 10);
  };
  clock.setTimeout(() => void tick(), 10);
  await clock.advance(100);
  expect(seen).toEqual([10, 20, 30]);
  expect(clock.now()).toBe(100);
});

test('a step moves the wall clock of a fake clock for good, and moves no timer', async () => {
  const clock = new FakeClock(0);
  let fired = false;
  clock.setTimeout(() => {
    fired = true;
  }, 100);
  clock.step(3_600_000);
  await clock.advance(50);
  expect([clock.now(), clock.monotonic(), fired]).toEqual([3_600_050, 50, false]);
  clock.step(-7_200_000);
  await clock.advance(50);
  expect([clock.now(), clock.monotonic(), fired]).toEqual([-3_599_900, 100, true]);
});

test('a fake clock that a timer advances does not go back', async () => {
  const clock = new FakeClock(0);
  clock.setTimeout(() => void clock.advance(100), 10);
  await clock.advance(20);
  expect(clock.monotonic()).toBe(110);
});
