import { getMaxListeners } from 'node:events';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { untilChange } from '../../lib/lease/change.ts';
import type { LockStore } from '../../lib/record/store.ts';
import { FakeClock } from '../../lib/testing/fake-clock.ts';
import { MemoryLockStore } from '../../lib/testing/memory.ts';
import { outcomeOf, settle, taken, watchedSignal, world } from './setup.ts';

afterEach(() => {
  jest.restoreAllMocks();
});

type Changes = NonNullable<LockStore['changes']>;

/** A pause of 200 ms on a store that hints so. Returns the outcome after each millisecond. */
function pausing(changes: Changes | undefined, signals: readonly AbortSignal[] = []) {
  const clock = new FakeClock();
  const store: LockStore = Object.assign(new MemoryLockStore(), changes && { changes });
  const outcome = outcomeOf(untilChange({ store, clock }, ['job'], 200, signals));
  return { clock, outcome };
}

const never = () => new Promise<void>(() => {});

describe('a pause until a change', () => {
  test('of several keys is over when the store hints at one of them, and may have a listener for each', async () => {
    const hints = new Map<string, () => void>();
    let listeners: number | undefined;
    const changes: Changes = (key, signal) => {
      listeners = getMaxListeners(signal);
      return new Promise((resolve) => hints.set(key, resolve));
    };
    const clock = new FakeClock();
    const store = Object.assign(new MemoryLockStore(), { changes });
    const outcome = outcomeOf(untilChange({ store, clock }, ['job', 'job#1', 'job#2'], 200, []));
    await clock.advance(50);
    expect([[...hints.keys()], listeners]).toEqual([['job', 'job#1', 'job#2'], 0]);
    expect(outcome.settled).toBe(false);
    hints.get('job#2')?.();
    await clock.advance(0);
    expect(outcome.settled).toBe(true);
  });

  test('is over when the store hints that the lock may have opened', async () => {
    let hint = () => {};
    const { clock, outcome } = pausing(() => new Promise<void>((resolve) => (hint = resolve)));
    await clock.advance(50);
    expect(outcome.settled).toBe(false);
    hint();
    await clock.advance(0);
    expect(outcome).toMatchObject({ settled: true, error: undefined });
    expect(clock.timers).toBe(0);
  });

  test.each<[string, Changes | undefined]>([
    ['has no hints', undefined],
    ['never hints', never],
    ['rejects', () => Promise.reject(new Error('unsubscribed'))],
    [
      'throws',
      () => {
        throw new Error('unsubscribed');
      },
    ],
    ['gives no promise but throws later', (async () => Promise.reject(undefined)) as never],
  ])('lasts its time, and no longer, if the store %s', async (_, changes) => {
    const { clock, outcome } = pausing(changes);
    await clock.advance(199);
    expect(outcome.settled).toBe(false);
    await clock.advance(1);
    expect(outcome).toMatchObject({ settled: true, error: undefined });
    expect(clock.timers).toBe(0);
  });

  test('lasts 5 ms at the least, if the store hints at once', async () => {
    const { clock, outcome } = pausing(async () => {});
    await clock.advance(4);
    expect(outcome.settled).toBe(false);
    await clock.advance(1);
    expect(outcome.settled).toBe(true);
    expect(clock.timers).toBe(0);
  });

  test('lasts no longer than its time, if that is shorter than 5 ms', async () => {
    const clock = new FakeClock();
    const store: LockStore = Object.assign(new MemoryLockStore(), { changes: async () => {} });
    const outcome = outcomeOf(untilChange({ store, clock }, ['job'], 2, []));
    await clock.advance(2);
    expect(outcome.settled).toBe(true);
    expect(clock.timers).toBe(0);
  });

  test.each<[string, Changes]>([
    ['never hints', never],
    ['hints at once', async () => {}],
    ['rejects when its signal aborts', (_, signal) => rejectingOn(signal)],
  ])(
    'rejects with the reason of a signal that aborts, and leaves nothing behind, if the store %s',
    async (_, changes) => {
      const { controller, listeners } = watchedSignal();
      const { clock, outcome } = pausing(changes, [controller.signal]);
      await clock.advance(3);
      controller.abort(new Error('no longer'));
      await clock.advance(0);
      expect(outcome.error).toMatchObject({ message: 'no longer' });
      expect([clock.timers, listeners()]).toEqual([0, 0]);
    },
  );

  test.each<[string, (clock: FakeClock) => Promise<void>]>([
    ['its time', (clock) => clock.advance(200)],
    ['the hint', (clock) => clock.advance(20)],
  ])('ends the hint and leaves no listener when it is over by %s', async (by, pass) => {
    const { controller, listeners } = watchedSignal();
    let given: AbortSignal | undefined;
    const { clock, outcome } = pausing(
      (_, signal) => {
        given = signal;
        return by === 'the hint' ? Promise.resolve() : rejectingOn(signal);
      },
      [controller.signal],
    );
    await pass(clock);
    expect(outcome).toMatchObject({ settled: true, error: undefined });
    expect(given?.aborted).toBe(true);
    expect([clock.timers, listeners()]).toEqual([0, 0]);
  });
});

const rejectingOn = (signal: AbortSignal): Promise<void> =>
  new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));

describe('a wait on a store that hints', () => {
  const hinting = () => {
    const { time, store, host } = world();
    const waiting = new Map<string, () => void>();
    Object.assign(store, {
      changes: (key: string) => new Promise<void>((resolve) => waiting.set(key, resolve)),
    });
    return { time, store, host, hint: (key: string) => waiting.get(key)?.() };
  };

  test('is granted the lock as soon as the release is told', async () => {
    const { time, host, hint } = hinting();
    const held = await taken(host().client.tryAcquire('job'));
    const waiter = outcomeOf(host().client.acquire('job', { waitMs: 10_000 }));
    await time.advance(3_000);
    // A look has just been made.
    await held.release();
    const before = time.now();
    hint('job');
    while (!waiter.settled) await time.advance(1);
    expect(time.now() - before).toBeLessThanOrEqual(5);
    expect(waiter.value?.isHeld()).toBe(true);
  });

  test('looks anyway: a hint that never comes costs nobody the lock', async () => {
    const { time, host } = hinting();
    const held = await taken(host().client.tryAcquire('job'));
    const waiter = outcomeOf(host().client.acquire('job', { waitMs: 10_000 }));
    await time.advance(3_000);
    await held.release();
    await time.advance(300);
    expect(waiter.value?.isHeld()).toBe(true);
  });

  test('goes on waiting after a wrong hint, and looks every 5 ms at the most if the store hints at all times', async () => {
    const { time, store, host } = world();
    Object.assign(store, { changes: async () => {} });
    await taken(host().client.tryAcquire('job'));
    const waiter = outcomeOf(host().client.acquire('job', { waitMs: 1_000 }));
    store.requests = [];
    await time.advance(990);
    expect(waiter.settled).toBe(false);
    expect(store.count('read')).toBeLessThanOrEqual(200);
    expect(store.count('acquire')).toBe(1);
    await time.advance(20);
    expect(waiter.error).toMatchObject({ name: 'LockBusyError' });
  });

  test('ends at once when the client is closed, or the caller gives up, and leaves no timer', async () => {
    const { time, host } = hinting();
    await taken(host().client.tryAcquire('job', { holdAtMostMs: 1 }));
    await time.advance(1);
    const { client } = host();
    const closed = outcomeOf(client.acquire('job', { waitMs: 10_000 }));
    const controller = new AbortController();
    const givenUp = outcomeOf(host().client.acquire('job', { waitMs: 10_000, signal: controller.signal }));
    await time.advance(100);
    controller.abort(new Error('no longer'));
    await settle(time, client.close());
    expect(closed.error).toMatchObject({ name: 'LockClosedError' });
    expect(givenUp.error).toMatchObject({ message: 'no longer' });
    await time.advance(0);
    expect(time.timers).toBe(0);
  });
});
