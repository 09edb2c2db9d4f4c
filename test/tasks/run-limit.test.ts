import { describe, expect, jest, test } from '@jest/globals';
import { LockStoreError } from '../../lib/index.ts';
import { counts, only, ran, run, type Work, world } from './one-worker.ts';
import { names, sleep } from './world.ts';

describe('the time that remains', () => {
  const during = (ms: number) => {
    const end = Date.now() + ms;
    return () => end - Date.now();
  };

  test('the run ends when the time that remains is too short for the longest task so far and the margin', async () => {
    // Tasks of 100 ms and a margin of 1,000: the last one begins with 1,100 ms left at the least.
    let least = Number.POSITIVE_INFINITY;
    const remainingMs = during(2_000);
    const report = await run(names(50), { remainingMs }, async (task) => {
      if (ran.push(task) > 1) least = Math.min(least, remainingMs());
      await sleep(100);
    });
    expect(least).toBeGreaterThanOrEqual(1_090);
    expect(least).toBeLessThan(1_230);
    expect(report.done).toBe(ran.length);
    expect(counts(report)).toEqual(only({ done: report.done, notReached: 50 - report.done }));
    expect(remainingMs()).toBeGreaterThanOrEqual(990);
  });

  test('a remainingMs that throws ends the run, which rejects with the error', async () => {
    const end = Date.now() + 500;
    const remainingMs = () => {
      if (Date.now() >= end) throw new Error('The context is gone.');
      return end - Date.now();
    };
    const ended: string[] = [];
    const work = async (task: string) => {
      await sleep(1_000);
      ended.push(task);
    };
    await expect(run(names(5), { remainingMs, marginMs: 0 }, work)).rejects.toThrow('The context is gone.');
    expect(ended).toHaveLength(1);
  });

  test('the margin may be 0', async () => {
    const remainingMs = during(2_000);
    await run(names(50), { remainingMs, marginMs: 0 }, async (task) => {
      ran.push(task);
      await sleep(100);
    });
    expect(ran.length).toBeGreaterThan(15);
    expect(remainingMs()).toBeGreaterThanOrEqual(0);
  });

  test('a time that is too short from the start lets no task begin', async () => {
    const report = await run(names(5), { remainingMs: () => 999 });
    expect(counts(report)).toEqual(only({ notReached: 5 }));
    expect(world.store.requests).toEqual([]);
  });

  test('the end of the time ends the wait for busy tasks', async () => {
    await world.holdFor('task/000001', 3_600_000);
    const remainingMs = during(10_000);
    const report = await run(names(3), { remainingMs });
    expect(counts(report)).toEqual(only({ done: 2, busy: 1 }));
    expect(remainingMs()).toBeGreaterThanOrEqual(990);
    expect(remainingMs()).toBeLessThan(1_010);
  });

  test.each(['readMany', 'acquire'])(
    'the end of the time ends the wait for a store that never answers a %s, and the run rejects',
    async (operation) => {
      const remainingMs = during(10_000);
      world.store.script = (name) => (name === operation ? { do: 'hang' } : undefined);
      const error = await run(names(3), { remainingMs }).catch((error) => error);
      expect(error).toMatchObject({ name: 'LockStoreError', transient: true, cause: { name: 'LockStoreError' } });
      expect(error.message).toBe(
        'runTasks: the time was over while the store did not answer, with 3 tasks not reached and 0 settled. Run the tasks again.',
      );
      expect(error.cause.message).toContain('no answer came within 1000 ms');
      expect(remainingMs()).toBeGreaterThanOrEqual(990);
    },
  );

  test('a run that is over before its first request is answered rejects', async () => {
    world.store.script = () => ({ do: 'hang' });
    await expect(run(names(3), { remainingMs: during(1_500) })).rejects.toMatchObject({ cause: { transient: true } });
  });

  test('a run whose store answers again before the end of the time is a report', async () => {
    const remainingMs = during(10_000);
    world.store.plan({ do: 'hang', operation: 'readMany', times: 6 });
    expect(counts(await run(names(3), { remainingMs }))).toEqual(only({ done: 3 }));
  });

  test('a run without remainingMs rejects if the store does not answer for a minute', async () => {
    world.store.script = () => ({ do: 'fail', error: new LockStoreError('ECONNREFUSED', { transient: true }) });
    const started = Date.now();
    await expect(run(names(3))).rejects.toThrow('Reading 3 locks: ECONNREFUSED');
    expect(Date.now() - started).toBeGreaterThanOrEqual(60_000);
    expect(Date.now() - started).toBeLessThan(70_000);
  });

  test('a run with marks rejects as soon: a store that does not answer is no store that refuses marks', async () => {
    world.store.script = () => ({ do: 'fail', error: new LockStoreError('ECONNREFUSED', { transient: true }) });
    const started = Date.now();
    await expect(run(names(20))).rejects.toThrow('ECONNREFUSED');
    expect(Date.now() - started).toBeLessThan(70_000);
  });

  test('a run that its user aborts is a report, though the store does not answer', async () => {
    world.store.script = () => ({ do: 'hang' });
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 5_000);
    const report = await run(names(3), { signal: abort.signal });
    expect(counts(report)).toEqual(only({ notReached: 3 }));
  });

  test('tasks whose leases are shorter than each answer fail, and the error says so', async () => {
    world.store.plan({ do: 'delayAnswer', ms: 40, operation: 'acquire', times: Infinity });
    const report = await run(names(3), { holdAtMostMs: 20 });
    expect(counts(report)).toEqual(only({ failed: 3 }));
    expect(report.failed.map(({ error }) => error)).toMatchObject(Array(3).fill({ name: 'LockNoTimeError' }));
    expect(world.store.count('acquire')).toBeLessThanOrEqual(27);
  });

  test('a run whose every answer comes after the deadline of its lease rejects, if tasks were not reached', async () => {
    world.store.plan({ do: 'delayAnswer', ms: 40, operation: 'acquire', times: Infinity });
    const error = await run(names(2_000), { holdAtMostMs: 20, remainingMs: during(20_000) }).catch((error) => error);
    expect(error).toMatchObject({ name: 'LockStoreError', transient: true });
    expect(error.cause?.code).toMatch(/^ERR_LOCK_(NO_TIME|STORE)$/);
    // The last request of the run may be one that no answer came to.
    const why = 'every lease came too late|the time was over while the store did not answer';
    expect(error.message).toMatch(new RegExp(`^runTasks: (${why}), with \\d+ tasks not reached and \\d+ settled\\.`));
  });

  test('a task whose first answer comes after the deadline of its lease is met again, and is done', async () => {
    world.store.plan({ do: 'delayAnswer', ms: 60_000, operation: 'acquire' });
    expect(counts(await run(names(1), { holdAtMostMs: 2_000, requestTimeoutMs: 60_000 }))).toEqual(only({ done: 1 }));
  });

  test('the end of the time ends the wait for a store that leaves all keys unprocessed', async () => {
    const remainingMs = during(10_000);
    world.store.readMany = async (keys) => ({ records: [], unprocessed: keys });
    await expect(run(names(3), { remainingMs })).rejects.toMatchObject({ cause: { transient: true } });
    expect(remainingMs()).toBeGreaterThanOrEqual(990);
  });

  test('the time that remains bounds the leases too', async () => {
    const end = Date.now() + 5_000;
    let deadline = Number.POSITIVE_INFINITY;
    await run(['a'], { remainingMs: during(5_000) }, (_task, lease) => {
      deadline = lease.deadline;
    });
    expect(deadline).toBeLessThanOrEqual(end);
  });
});

describe('a store', () => {
  const throttled = new LockStoreError('ThrottlingException', { transient: true });

  test('a store that throttles slows the run down, and the run finishes', async () => {
    world.store.plan({ do: 'fail', error: throttled, operation: 'readMany', times: 5 });
    world.store.plan({ do: 'fail', error: throttled, operation: 'acquire', times: 5 });
    const started = Date.now();
    expect(counts(await run(names(20)))).toEqual(only({ done: 20 }));
    expect(Date.now() - started).toBeGreaterThan(1_000);
  });

  test('keys that a store leaves unprocessed are read again', async () => {
    let asked = 0;
    world.store.readMany = async (keys) => {
      const some = keys.slice(0, 10);
      const { records } = await world.memory.readMany(some);
      asked += some.length;
      return { records, unprocessed: keys.slice(10) };
    };
    expect(counts(await run(names(100)))).toEqual(only({ done: 100 }));
    expect(asked).toBeGreaterThan(100);
  });

  const refusals = [
    ['acquire', new LockStoreError('dynamodb:UpdateItem on the table is not allowed')],
    ['readMany', new LockStoreError('dynamodb:BatchGetItem on the table is not allowed')],
  ] as const;

  test.each(refusals)('a store that does not allow %s ends the run with its error', async (operation, error) => {
    world.store.plan({ do: 'fail', error, operation, times: Number.POSITIVE_INFINITY });
    await expect(run(names(100))).rejects.toThrow(`: ${error.message}`);
    expect(ran).toEqual([]);
  });

  test.each([
    ['an array', names(40)],
    ['an iterable', new Set(names(40))],
  ])('the error of a run over %s that the store ends has the report of the run', async (_what, tasks) => {
    const error = new LockStoreError('dynamodb:UpdateItem on the table is not allowed');
    world.store.plan({ do: 'fail', error, operation: 'acquire', after: 4, times: Infinity });
    const work: Work = (task) => {
      if (ran.push(task) === 2) throw new Error('broken');
    };
    const thrown = await run(tasks, {}, work).catch((thrown) => thrown);
    expect(thrown).toBeInstanceOf(LockStoreError);
    expect(counts(thrown.report)).toEqual(only({ done: 3, failed: 1, notReached: 36 }));
  });

  test('a store that refuses in mid-run lets running tasks end, and no other task begins', async () => {
    const error = new LockStoreError('dynamodb:UpdateItem on the table is not allowed');
    world.store.plan({ do: 'fail', error, operation: 'acquire', after: 4 });
    const ended: string[] = [];
    const work: Work = async (task) => {
      await sleep(ran.push(task) === 1 ? 100 : 5_000);
      ended.push(task);
    };
    await expect(run(names(100), { concurrency: 4 }, work)).rejects.toThrow(`: ${error.message}`);
    expect(ran).toHaveLength(4);
    expect(ended.toSorted()).toEqual(ran.toSorted());
  });
});

describe('the signal', () => {
  test('the signal ends the run: running tasks go on to their ends, and no other task begins', async () => {
    const abort = new AbortController();
    const ended: string[] = [];
    const work: Work = async (task, lease) => {
      ran.push(task);
      await sleep(1_000);
      expect(lease.signal.aborted).toBe(false);
      ended.push(task);
    };
    setTimeout(() => abort.abort(), 500);
    const report = await run(names(10), { signal: abort.signal, concurrency: 2 }, work);
    expect(counts(report)).toEqual(only({ done: 2, notReached: 8 }));
    expect(ended).toEqual(ran);
  });

  test('a signal that aborted before the run lets no task begin', async () => {
    expect(counts(await run(names(3), { signal: AbortSignal.abort() }))).toEqual(only({ notReached: 3 }));
    expect(world.store.requests).toEqual([]);
  });

  test('the signal ends the wait for busy tasks', async () => {
    await world.holdFor('task/000001', 3_600_000);
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 500);
    const started = Date.now();
    expect(counts(await run(names(3), { signal: abort.signal }))).toEqual(only({ done: 2, busy: 1 }));
    expect(Date.now() - started).toBe(500);
  });
});

test('a run leaves no timer and no listener behind', async () => {
  const abort = new AbortController();
  const added = jest.spyOn(abort.signal, 'addEventListener');
  const removed = jest.spyOn(abort.signal, 'removeEventListener');
  await run(names(50), { signal: abort.signal, remainingMs: () => 100_000 });
  expect(jest.getTimerCount()).toBe(0);
  expect(added.mock.calls.length).toBe(removed.mock.calls.length);
});
