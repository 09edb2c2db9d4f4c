import { describe, expect, jest, test } from '@jest/globals';
import type { LockClient } from '../../lib/index.ts';
import { counts, type Options, only, ran, run, tick, type Work, world } from './one-worker.ts';
import { names, sleep } from './world.ts';

describe('the iterator of the tasks', () => {
  test('an iterator that throws ends the run with its error, after the running tasks have ended', async () => {
    const ended: string[] = [];
    function* source() {
      yield* names(2_000);
      throw new Error('The list broke off.');
    }
    const work = async (task: string) => {
      // The last tasks before the break still run when the iterator throws.
      await sleep(ran.push(task) > 1_020 ? 500 : 1);
      ended.push(task);
    };
    await expect(run(source(), { concurrency: 10 }, work)).rejects.toThrow('The list broke off.');
    expect(ran.length).toBeGreaterThan(1_000);
    expect(ended.toSorted()).toEqual(ran.toSorted());
  });

  test('the iterator is closed when the run ends early', async () => {
    let isClosed = false;
    function* source() {
      try {
        yield* names(5_000);
      } finally {
        isClosed = true;
      }
    }
    const abort = new AbortController();
    const report = await run(source(), { signal: abort.signal }, () => abort.abort());
    expect(isClosed).toBe(true);
    expect(counts(report)).toEqual(only({ done: 1, notReached: 1_023 }));
  });

  test('each task of a slow iterator runs at once, and the time of the run ends the wait for the next task', async () => {
    const end = Date.now() + 5_000;
    async function* source() {
      for (const task of names(5_000)) {
        await sleep(300);
        yield task;
      }
    }
    const startedAt: number[] = [];
    const stopTicks = tick();
    const work = () => void startedAt.push(Date.now());
    const report = await run(source(), { remainingMs: () => end - Date.now() }, work);
    stopTicks();
    expect(startedAt.length).toBeGreaterThan(8);
    expect(counts(report)).toEqual(only({ done: startedAt.length }));
    expect((startedAt[1] as number) - (startedAt[0] as number)).toBeLessThan(350);
    expect(Date.now()).toBeLessThan(end - 900);
  });

  const ends: [string, (locks: LockClient) => Options][] = [
    ['the time of the run', () => ({ remainingMs: during(5_000) })],
    ['the signal', () => ({ signal: abortedAfter(4_000) })],
    [
      'the close of the client',
      (locks) => {
        setTimeout(() => void locks.close(), 4_000);
        return {};
      },
    ],
  ];
  test.each(ends)(
    '%s ends the wait for an iterator that hangs, and the iterator is told to return',
    async (_end, more) => {
      const locks = world.client();
      const returned = jest.fn(() => new Promise<never>(() => {}));
      const source = names(2)[Symbol.iterator]();
      const next = () => {
        const result = source.next();
        return result.done ? new Promise<never>(() => {}) : Promise.resolve(result);
      };
      const tasks = { [Symbol.asyncIterator]: () => ({ next, return: returned }) };
      const started = Date.now();
      const stopTicks = tick();
      const report = await run(tasks, { locks, ...more(locks) });
      stopTicks();
      expect(counts(report)).toEqual(only({ done: 2 }));
      expect(Date.now() - started).toBeLessThan(4_100);
      expect(returned).toHaveBeenCalledTimes(1);
    },
  );

  const failing = async function* () {
    yield 'a';
    await sleep(50);
    throw new Error('Page 2 is missing.');
  };

  test('an error that comes while the last task runs ends the run, though the time is over then', async () => {
    const stopTicks = tick();
    const rejection = expect(run(failing(), { remainingMs: during(1_500) }, () => sleep(800))).rejects;
    await rejection.toThrow('Page 2 is missing.');
    stopTicks();
  });

  test.each([
    ['while the task before it ran', 20, 1],
    ['after another runner had seen the end', 400, 2],
  ])(
    'a task that came %s is not reached, and the return of the iterator is waited for',
    async (_when, ms, concurrency) => {
      let isClosed = false;
      async function* source() {
        try {
          for (const task of names(3)) {
            yield task;
            await sleep(ms);
          }
        } finally {
          await sleep(30);
          isClosed = true;
        }
      }
      const stopTicks = tick();
      const report = await run(source(), { signal: abortedAfter(200), concurrency }, () => sleep(600));
      stopTicks();
      expect(counts(report)).toEqual(only({ done: 1, notReached: 1 }));
      expect(isClosed).toBe(true);
    },
  );

  test('an iterator that heeds the signal of the run, and rejects, does not end the run with its error', async () => {
    const signal = abortedAfter(200);
    async function* source() {
      yield 'a';
      await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    }
    const stopTicks = tick();
    const report = await run(source(), { signal });
    stopTicks();
    expect(counts(report)).toEqual(only({ done: 1 }));
  });

  /** Gives each task in a turn of its own, so that each window is of one task. */
  async function* slowly(tasks: readonly string[]) {
    for (const task of tasks) {
      await sleep(30);
      yield task;
    }
  }

  test('a slow iterator has as many tasks run at a time as the concurrency says', async () => {
    let running = 0;
    let most = 0;
    const stopTicks = tick();
    const report = await run(slowly(names(300)), { concurrency: 300 }, async () => {
      most = Math.max(most, ++running);
      await sleep(60_000);
      running--;
    });
    stopTicks();
    expect(counts(report)).toEqual(only({ done: 300 }));
    expect(most).toBe(300);
  });

  test('free tasks of a slow iterator behind hundreds of busy ones run, and busy ones are read 32 at a time', async () => {
    const tasks = names(350);
    for (const task of tasks.slice(0, 320)) await world.holdFor(task, 60_000);
    const stopTicks = tick();
    const report = await run(slowly(tasks), { remainingMs: during(40_000) });
    stopTicks();
    expect(counts(report)).toEqual(only({ done: 30, busy: 320 }));
    // Each task was read once as it came, and some ten rounds went over the busy tasks.
    const rounds = world.store.count('readMany') - 350;
    expect(rounds).toBeGreaterThan(50);
    expect(rounds).toBeLessThan(400);
  });

  test('a generator that yields a promise which rejects is closed', async () => {
    let isClosed = false;
    function* source() {
      try {
        yield Promise.reject(new Error('Page 2 is missing.')) as unknown as string;
      } finally {
        isClosed = true;
      }
    }
    await expect(run(source())).rejects.toThrow('Page 2 is missing.');
    expect(isClosed).toBe(true);
  });

  test('an iterator that throws by itself is not told to return', async () => {
    const returned = jest.fn(() => ({ done: true as const, value: undefined }));
    const next = () => {
      throw new Error('Page 1 is missing.');
    };
    await expect(run({ [Symbol.iterator]: () => ({ next, return: returned }) })).rejects.toThrow('Page 1 is missing.');
    expect(returned).not.toHaveBeenCalled();
  });

  test.each([null, undefined, 7])('an iterator whose result is %p ends the run with a TypeError', async (result) => {
    const next = () => result as unknown as IteratorResult<string>;
    const rejection = expect(run({ [Symbol.iterator]: () => ({ next }) })).rejects;
    const shown = result === 7 ? 'number 7' : result;
    await rejection.toThrow(new TypeError(`The result of the tasks' iterator must be an object, but it is ${shown}.`));
  });
});

describe('an iterator that stays open', () => {
  /** Gives all tasks at once, and then further tasks ever after: one each 300 ms, or none. */
  async function* open(tasks: readonly string[], further: boolean) {
    yield* tasks;
    for (let i = 0; ; i++) {
      await (further ? sleep(300) : new Promise<never>(() => {}));
      yield `further/${i}`;
    }
  }
  async function runFor(tasks: AsyncIterable<string>, ms: number, work?: Work) {
    const stopTicks = tick();
    await run(tasks, { signal: abortedAfter(ms) }, work);
    stopTicks();
  }
  const kinds = [
    ['gives nothing more', false],
    ['gives a task now and then', true],
  ] as const;

  test.each(kinds)(
    "a dead worker's task is taken when its lease expires, though the iterator %s",
    async (_how, further) => {
      await world.holdFor('task/000001', 5_000);
      const started = Date.now();
      let takenAfter = Infinity;
      const work = (task: string) => {
        if (task === 'task/000001') takenAfter = Date.now() - started;
      };
      await runFor(open(names(3), further), 20_000, work);
      expect(takenAfter).toBeGreaterThanOrEqual(5_000);
      expect(takenAfter).toBeLessThan(5_200);
    },
  );

  test.each(kinds)(
    'a block that others hold keeps no free task waiting, though the iterator %s',
    async (_how, further) => {
      const tasks = names(320);
      for (const task of tasks.slice(0, 288)) await world.holdFor(task, 3_600_000);
      await runFor(open(tasks, further), 20_000);
      expect(ran.filter((task) => task.startsWith('task')).toSorted()).toEqual(tasks.slice(288));
    },
  );

  test('busy tasks are read ever more seldom while nothing comes', async () => {
    await world.holdFor('task/000001', 3_600_000);
    await runFor(open(names(3), false), 60_000);
    expect(world.store.count('readMany')).toBeGreaterThan(20);
    expect(world.store.count('readMany')).toBeLessThan(50);
  });

  test('nothing is read while nothing comes and no task is left', async () => {
    await runFor(open(names(3), false), 60_000);
    expect(world.store.count('readMany')).toBeLessThan(4);
  });
});

function during(ms: number): () => number {
  const end = Date.now() + ms;
  return () => end - Date.now();
}

function abortedAfter(ms: number): AbortSignal {
  const abort = new AbortController();
  setTimeout(() => abort.abort(), ms);
  return abort.signal;
}
