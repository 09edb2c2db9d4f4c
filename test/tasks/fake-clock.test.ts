// A run takes its time from the clock of its client, so that a user's test with `FakeClock` never waits.
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { LockClient, LockStoreError } from '../../lib/index.ts';
import { type RunTasksOptions, runTasks, type TaskReport } from '../../lib/tasks/index.ts';
import { FakeClock, MemoryLockStore } from '../../lib/testing.ts';

let clock: FakeClock;
let store: MemoryLockStore;
beforeEach(() => {
  clock = new FakeClock();
  store = new MemoryLockStore();
});

afterEach(() => {
  jest.restoreAllMocks();
});

/** Starts a run, and notes its end. */
function start(tasks: readonly string[], work: () => unknown, options: Partial<RunTasksOptions<string>> = {}) {
  const run = { report: undefined as TaskReport<string> | undefined, endedAt: Number.NaN };
  const locks = new LockClient({ store, clock });
  void runTasks(tasks, { locks, key: (task) => task, ...options }, work).then((report) => {
    run.report = report;
    run.endedAt = clock.monotonic();
  });
  return run;
}

/** Takes a lock for a holder that died. */
async function holdFor(key: string, ms: number): Promise<void> {
  const now = clock.now();
  await store.acquire({ key, lockId: `dead ${key}`, owner: 'a dead worker', now, until: now + ms, leaseMs: ms });
}

const waitFor = (ms: number) => new Promise<void>((resolve) => clock.setTimeout(resolve, ms));

describe('runTasks under a FakeClock', () => {
  test('a run under a FakeClock comes back to a busy task when the task opens, without real waiting', async () => {
    // The rounds, which come every 2 s by then, do not fall upon the opening by chance.
    jest.spyOn(Math, 'random').mockReturnValue(0.5);
    await holdFor('busy', 30_000);
    const reads = jest.spyOn(store, 'readMany');
    const realStart = performance.now();
    const run = start(['free', 'busy'], () => {}, { once: '2026-01-01' });
    await clock.advance(29_999);
    expect(run.report).toBeUndefined();
    await clock.advance(101);
    expect(run.report).toMatchObject({ done: 2, busy: 0 });
    expect(run.endedAt).toBeGreaterThanOrEqual(30_000);
    expect(reads.mock.calls.length).toBeLessThan(40);
    expect(performance.now() - realStart).toBeLessThan(5_000);
    expect(clock.timers).toBe(0);
  });

  test('a run under a FakeClock begins no task that would last too long, by the time of the last task', async () => {
    const end = clock.now() + 10_000;
    const remainingMs = () => end - clock.now();
    const run = start(['a', 'b', 'c', 'd'], () => waitFor(3_000), { remainingMs, marginMs: 0 });
    await clock.advance(10_000);
    expect(run.report).toMatchObject({ done: 3, notReached: 1 });
    expect(run.endedAt).toBe(9_000);
  });

  test('a run under a FakeClock ends the wait for a busy task when its time is over', async () => {
    await holdFor('busy', 60_000);
    const end = clock.now() + 10_000;
    const run = start(['busy'], () => {}, { remainingMs: () => end - clock.now() });
    await clock.advance(9_002);
    expect(run.report).toMatchObject({ done: 0, busy: 1 });
    expect(run.endedAt).toBe(9_001);
  });

  test('a run under a FakeClock goes on after a throttled read when the clock goes on', async () => {
    const { readMany } = store;
    let reads = 0;
    store.readMany = (keys) => {
      if (++reads === 1) return Promise.reject(new LockStoreError('throttled', { transient: true }));
      return readMany.call(store, keys);
    };
    const run = start(['a'], () => {});
    await clock.advance(60_000);
    expect(run.report).toMatchObject({ done: 1 });
  });
});
