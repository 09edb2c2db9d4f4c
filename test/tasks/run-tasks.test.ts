import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { type Lease, LockLostError, LockStoreError } from '../../lib/index.ts';
import type { LockRecord } from '../../lib/record/record.ts';
import { type RunTasksOptions, runTasks, type TaskProgress, type TaskReport } from '../../lib/tasks/index.ts';
import { names, ONCE, sleep, World } from './world.ts';

// A busy machine takes its time.
jest.setTimeout(60_000);

let world: World;
let ran: string[];
beforeEach(() => {
  world = new World();
  ran = [];
});
afterEach(() => {
  jest.useRealTimers();
});

type Options = Partial<RunTasksOptions<string>>;

const options = (more: Options = {}): RunTasksOptions<string> => ({
  locks: world.client(),
  key: (task) => task,
  once: ONCE,
  ...more,
});
const record = (task: string): void => {
  ran.push(task);
};
/** One worker's run, to its end. */
const run = (tasks: Iterable<string> | AsyncIterable<string>, more: Options = {}, work: Work = record) =>
  world.until(runTasks(tasks, work, options(more)));
type Work = (task: string, lease: Lease) => unknown;

const counts = ({ failed, ...rest }: TaskReport<unknown>) => ({ ...rest, failed: failed.length });
const only = (some: Partial<ReturnType<typeof counts>>) => ({
  done: 0,
  alreadyDone: 0,
  busy: 0,
  failed: 0,
  notReached: 0,
  ...some,
});
const errorOf = ({ failed }: TaskReport<unknown>) => String((failed[0]?.error as Error | undefined)?.message);
const writesOf = (key: string) => world.store.requests.filter(({ request }) => request.key === key).length;
const marks = async (): Promise<string[]> => {
  const keys: string[] = [];
  for await (const { key } of world.memory.list('')) if (key.includes('#')) keys.push(key);
  return keys;
};

describe('the tasks', () => {
  test('of an array are each run once, each under a lease of its own', async () => {
    const held: string[] = [];
    const report = await run(names(70), {}, (task, lease) => {
      ran.push(task);
      if (lease.isHeld()) held.push(lease.key);
    });
    expect(counts(report)).toEqual(only({ done: 70 }));
    expect(ran.toSorted()).toEqual(names(70));
    expect(held).toEqual(ran);
  });

  test('of an iterable', async () => {
    expect(counts(await run(new Set(names(5))))).toEqual(only({ done: 5 }));
    expect(ran.toSorted()).toEqual(names(5));
  });

  test('of an async iterable, more than are held at a time', async () => {
    async function* pages() {
      for (const name of names(2_500)) yield name;
    }
    expect(counts(await run(pages(), { concurrency: 50 }))).toEqual(only({ done: 2_500 }));
    expect(ran.toSorted()).toEqual(names(2_500));
  });

  test('may be none', async () => {
    expect(counts(await run([]))).toEqual(only({}));
    expect(counts(await run(new Set<string>()))).toEqual(only({}));
    expect(world.store.requests).toEqual([]);
  });

  test('may be things of any kind, with a key of their own', async () => {
    const tenants = [{ id: 7 }, { id: 8 }];
    const seen: unknown[] = [];
    const report = await world.until(
      runTasks(tenants, (tenant, lease) => void seen.push([tenant, lease.key]), {
        locks: world.client(),
        key: ({ id }) => `tenant/${id}`,
      }),
    );
    expect(report.done).toBe(2);
    expect(seen.toSorted()).toEqual([
      [{ id: 7 }, 'tenant/7'],
      [{ id: 8 }, 'tenant/8'],
    ]);
  });

  /** Takes from a source, and counts how many are in hand: taken, and not settled. */
  function counted(count: number) {
    const inHand = { now: 0, most: 0 };
    async function* source() {
      for (let i = 0; i < count; i++) {
        inHand.most = Math.max(inHand.most, ++inHand.now);
        yield `task/${i}`;
      }
    }
    return { source, inHand, onProgress: () => void inHand.now-- };
  }

  test('may be a million, of which a few thousand are held at a time', async () => {
    const { source, inHand, onProgress } = counted(1_000_000);
    const done = (key: string): LockRecord => ({
      key,
      fencingToken: 1,
      expiresAt: 1,
      acquiredAt: 0,
      leaseMs: 1,
      doneToken: ONCE,
    });
    world.store.readMany = async (keys) => ({ records: keys.map(done), unprocessed: [] });
    const report = await run(source(), { onProgress });
    expect(counts(report)).toEqual(only({ alreadyDone: 1_000_000 }));
    expect(inHand.most).toBeLessThanOrEqual(1_024);
  });

  test('are held to a few thousand also when others have all of them in hand', async () => {
    const { source, inHand, onProgress } = counted(6_000);
    const opensAt = Date.now() + 60_000;
    const held = (key: string): LockRecord => ({
      key,
      lockId: 'another',
      fencingToken: 1,
      expiresAt: opensAt,
      acquiredAt: 0,
      leaseMs: 1,
    });
    world.store.readMany = async (keys) => {
      if (Date.now() >= opensAt) return world.memory.readMany(keys);
      return { records: keys.filter((key) => !key.includes('#')).map(held), unprocessed: [] };
    };
    const report = await run(source(), { onProgress, concurrency: 100 });
    expect(counts(report)).toEqual(only({ done: 6_000 }));
    expect(inHand.most).toBeLessThanOrEqual(100 * 32 + 1_024);
  });

  test('whose iterator throws end the run with that, after the running ones have ended', async () => {
    const ended: string[] = [];
    function* source() {
      yield* names(2_000);
      throw new Error('The list broke off.');
    }
    const work = async (task: string) => {
      // The last ones before the break run while it is met.
      await sleep(ran.push(task) > 1_020 ? 500 : 1);
      ended.push(task);
    };
    await expect(run(source(), { concurrency: 10 }, work)).rejects.toThrow('The list broke off.');
    expect(ran.length).toBeGreaterThan(1_000);
    expect(ended.toSorted()).toEqual(ran.toSorted());
  });

  test('are closed when the run ends early', async () => {
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
});

describe('a key', () => {
  test('that cannot be made fails its task, and the rest go on', async () => {
    const key = (task: string) => {
      if (task === 'task/000002') throw new Error('no key for this one');
      return task;
    };
    const report = await run(names(5), { key });
    expect(counts(report)).toEqual(only({ done: 4, failed: 1 }));
    expect(report.failed).toEqual([{ task: 'task/000002', key: undefined, error: new Error('no key for this one') }]);
  });

  test.each([
    ['empty', '', /must not be empty, but it is ''/],
    ['no string', 42 as unknown as string, /must be a string, but it is number 42/],
    ['too long', 'k'.repeat(1_025), /at most 1024 bytes/],
  ])('that is %s fails its task, and the rest go on', async (_what, bad, message) => {
    const report = await run(names(3), { key: (task) => (task === 'task/000001' ? bad : task) });
    expect(counts(report)).toEqual(only({ done: 2, failed: 1 }));
    expect(report.failed[0]?.error).toBeInstanceOf(TypeError);
    expect(errorOf(report)).toMatch(message);
  });

  test('that two tasks have is run for the first, and fails the second', async () => {
    const tasks = ['a', 'b', 'a again'];
    const report = await run(tasks, { key: (task) => task.slice(0, 1) });
    expect(counts(report)).toEqual(only({ done: 2, failed: 1 }));
    expect(report.failed[0]).toMatchObject({ task: 'a again', key: 'a' });
    expect(errorOf(report)).toBe("Two tasks have the key 'a': each needs one of its own.");
    expect(ran.toSorted()).toEqual(['a', 'b']);
  });
});

describe('a task that fails', () => {
  const failing: Work = (task) => {
    ran.push(task);
    if (task === 'task/000003') throw new Error('broken');
  };

  test('is reported with its error, tried once by this worker, and the rest go on', async () => {
    const report = await run(names(40), {}, failing);
    expect(counts(report)).toEqual(only({ done: 39, failed: 1 }));
    expect(report.failed).toEqual([{ task: 'task/000003', key: 'task/000003', error: new Error('broken') }]);
    expect(ran.filter((task) => task === 'task/000003')).toHaveLength(1);
  });

  test('is not done: another worker takes it, and the rest are', async () => {
    await run(names(40), {}, failing);
    ran = [];
    const report = await run(names(40));
    expect(counts(report)).toEqual(only({ done: 1, alreadyDone: 39 }));
    expect(ran).toEqual(['task/000003']);
  });
});

test('a task under whose key there is an item of somebody else fails alone', async () => {
  const error = new LockStoreError("The item 'task/000003' was not written by leasehold", { foreign: true });
  world.store.script = (operation, { key }) =>
    operation === 'acquire' && key === 'task/000003' ? { do: 'fail', error } : undefined;
  const report = await run(names(40));
  expect(counts(report)).toEqual(only({ done: 39, failed: 1 }));
  expect(report.failed).toEqual([{ task: 'task/000003', key: 'task/000003', error }]);
});

describe('a lost lease', () => {
  test('aborts the work of its task and of none other', async () => {
    const aborted: string[] = [];
    const work: Work = async (task, lease) => {
      lease.signal.addEventListener('abort', () => aborted.push(task));
      if (task === 'task/000001') {
        const { lockId } = (await world.memory.read(task)).record as { lockId: string };
        await world.memory.forceRelease({ key: task, lockId, immediately: true });
      }
      await sleep(20_000);
    };
    const report = await run(names(3), { concurrency: 3 }, work);
    expect(aborted).toEqual(['task/000001']);
    expect(counts(report)).toEqual(only({ done: 2, failed: 1 }));
    expect(report.failed[0]).toMatchObject({ task: 'task/000001', error: { reason: 'revoked' } });
    expect(report.failed[0]?.error).toBeInstanceOf(LockLostError);
  });
});

describe('a task whose work ends its lease itself', () => {
  const ending =
    (end: (lease: Lease) => unknown): Work =>
    (task, lease) =>
      task === 'task/000003' ? end(lease) : undefined;

  test('by a release without done has failed, with once: it is not done, and another run takes it', async () => {
    const report = await run(
      names(40),
      {},
      ending((lease) => lease.release()),
    );
    expect(counts(report)).toEqual(only({ done: 39, failed: 1 }));
    expect(errorOf(report)).toMatch("The work released its lease of 'task/000003', so its once token");
    expect(counts(await run(names(40)))).toEqual(only({ done: 1, alreadyDone: 39 }));
  });

  test('by a release without done is done, without once', async () => {
    const work = ending((lease) => lease.release());
    expect(counts(await run(names(4), { once: undefined }, work))).toEqual(only({ done: 4 }));
  });

  test('by a release as done is done', async () => {
    const work = ending((lease) => lease.release({ done: true }));
    expect(counts(await run(names(40), {}, work))).toEqual(only({ done: 40 }));
    expect(counts(await run(names(40)))).toEqual(only({ alreadyDone: 40 }));
  });

  test.each([ONCE, undefined])('by a hand-off is busy, and is not waited for, with once: %s', async (once) => {
    const started = Date.now();
    const work = ending((lease) => lease.handOff({ leaseMs: 60_000 }));
    expect(counts(await run(names(32), { once }, work))).toEqual(only({ done: 31, busy: 1 }));
    expect(Date.now() - started).toBeLessThan(1_000);
    expect(await marks()).toEqual([]);
  });
});

describe('a task whose release fails', () => {
  beforeEach(() => {
    world.store.script = (operation, { key }) =>
      operation === 'release' && key === 'task/000003' ? { do: 'hangAnswer' } : undefined;
  });

  test('has failed, with once: nobody knows whether it is done', async () => {
    const report = await run(names(32));
    expect(counts(report)).toEqual(only({ done: 31, failed: 1 }));
    expect(report.failed[0]?.error).toBeInstanceOf(LockStoreError);
    expect(errorOf(report)).toMatch("The task 'task/000003' was run, but its release failed");
    expect(await marks()).toEqual([]);
  });

  test('is done, without once', async () => {
    expect(counts(await run(names(4), { once: undefined }))).toEqual(only({ done: 4 }));
  });
});

describe('once', () => {
  test('a task that is done for it, or for a later one, is stepped over', async () => {
    await run(names(20), { once: '2026-01-02' });
    world.store.requests = [];
    for (const once of ['2026-01-02', '2026-01-01']) {
      expect(counts(await run(names(20), { once }))).toEqual(only({ alreadyDone: 20 }));
    }
    expect(world.store.count()).toBe(world.store.count('readMany'));
    expect(ran).toHaveLength(20);
    expect(counts(await run(names(20), { once: '2026-01-03' }))).toEqual(only({ done: 20 }));
  });

  test('a task that is done while it is tried is stepped over', async () => {
    const client = world.client();
    world.store.plan({
      do: 'first',
      operation: 'acquire',
      act: () => world.holdFor('task/000000', 5).then(() => releaseAsDone('task/000000')),
    });
    const report = await run(['task/000000'], { locks: client });
    expect(counts(report)).toEqual(only({ alreadyDone: 1 }));
  });

  const releaseAsDone = (key: string) =>
    world.memory.release({ key, lockId: `dead ${key}`, now: Date.now(), holdAtLeastMs: 0, doneToken: ONCE });

  test('without it a task is run again by who comes later', async () => {
    await run(names(40), { once: undefined });
    expect(counts(await run(names(40), { once: undefined }))).toEqual(only({ done: 40 }));
    expect(ran).toHaveLength(80);
    expect(await marks()).toEqual([]);
  });

  test('without it a busy task that is released is left to who released it', async () => {
    const holder = await world.until(world.client().acquire('task/000001'));
    setTimeout(() => void holder.release(), 300);
    expect(counts(await run(names(3), { once: undefined }))).toEqual(only({ done: 2, busy: 1 }));
    expect(ran.toSorted()).toEqual(['task/000000', 'task/000002']);
  });

  test('without it a busy task whose holder let it expire is taken', async () => {
    await world.holdFor('task/000001', 3_000);
    expect(counts(await run(names(3), { once: undefined }))).toEqual(only({ done: 3 }));
  });

  test('holding at least keeps a task closed that ended in a blink', async () => {
    const blink = { once: undefined, holdAtLeastMs: 60_000 };
    await run(names(3), blink);
    expect(counts(await run(names(3), { ...blink, revisitBusy: false }))).toEqual(only({ busy: 3 }));
  });
});

describe('the time that remains', () => {
  const during = (ms: number) => {
    const end = Date.now() + ms;
    return () => end - Date.now();
  };

  test('ends the run when it is too short for the longest task so far and the margin', async () => {
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

  test('that cannot be told any more counts as over, and the run rejects with the reason', async () => {
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

  test('takes a margin of 0', async () => {
    const remainingMs = during(2_000);
    await run(names(50), { remainingMs, marginMs: 0 }, async (task) => {
      ran.push(task);
      await sleep(100);
    });
    expect(ran.length).toBeGreaterThan(15);
    expect(remainingMs()).toBeGreaterThanOrEqual(0);
  });

  test('that is too short from the start takes no task', async () => {
    const report = await run(names(5), { remainingMs: () => 999 });
    expect(counts(report)).toEqual(only({}));
    expect(world.store.requests).toEqual([]);
  });

  test('ends the wait for busy tasks', async () => {
    await world.holdFor('task/000001', 3_600_000);
    const remainingMs = during(10_000);
    const report = await run(names(3), { remainingMs });
    expect(counts(report)).toEqual(only({ done: 2, busy: 1 }));
    expect(remainingMs()).toBeGreaterThanOrEqual(990);
    expect(remainingMs()).toBeLessThan(1_010);
  });

  test('ends the wait for a store that answers nothing', async () => {
    const remainingMs = during(10_000);
    world.store.script = () => ({ do: 'hang' });
    const report = await run(names(3), { remainingMs });
    expect(counts(report)).toEqual(only({ notReached: 3 }));
    expect(remainingMs()).toBeGreaterThanOrEqual(990);
  });

  test('ends the wait for a store that grants nothing', async () => {
    const remainingMs = during(10_000);
    world.store.script = (operation) => (operation === 'acquire' ? { do: 'hang' } : undefined);
    const report = await run(names(3), { remainingMs });
    expect(counts(report)).toEqual(only({ notReached: 3 }));
    expect(remainingMs()).toBeGreaterThanOrEqual(900);
  });

  test('ends the wait for a store that leaves all keys unprocessed', async () => {
    const remainingMs = during(10_000);
    world.store.readMany = async (keys) => ({ records: [], unprocessed: keys });
    const report = await run(names(3), { remainingMs });
    expect(counts(report)).toEqual(only({ notReached: 3 }));
    expect(remainingMs()).toBeGreaterThanOrEqual(990);
  });

  test('bounds the leases too', async () => {
    const end = Date.now() + 5_000;
    let deadline = Number.POSITIVE_INFINITY;
    await run(['a'], { remainingMs: during(5_000) }, (_task, lease) => {
      deadline = lease.deadline;
    });
    expect(deadline).toBeLessThanOrEqual(end);
  });
});

describe('a busy task', () => {
  test('is stepped over without a write', async () => {
    await world.holdFor('task/000001', 60_000);
    expect(counts(await run(names(3), { revisitBusy: false }))).toEqual(only({ done: 2, busy: 1 }));
    expect(writesOf('task/000001')).toBe(0);
  });

  test('of a dead worker is taken when its lease has expired', async () => {
    await world.holdFor('task/000001', 30_000);
    const expiresAt = Date.now() + 30_000;
    let takenAt = 0;
    const report = await run(names(100), {}, (task, lease) => {
      if (task !== 'task/000001') return;
      takenAt = Date.now();
      expect(lease.takenOverFrom).toMatchObject({ owner: 'a dead worker' });
    });
    expect(counts(report)).toEqual(only({ done: 100 }));
    expect(takenAt).toBeGreaterThanOrEqual(expiresAt);
    expect(takenAt).toBeLessThan(expiresAt + 200);
  });

  test('of a dead worker is taken also while others hold the tasks beside it', async () => {
    await world.holdFor('task/000001', 5_000);
    await world.holdFor('task/000002', 60_000);
    const end = Date.now() + 20_000;
    let takenAt = 0;
    const work = (task: string) => {
      if (task === 'task/000001') takenAt = Date.now() - end + 20_000;
    };
    await run(names(3), { remainingMs: () => end - Date.now() }, work);
    expect(takenAt).toBeGreaterThanOrEqual(5_000);
    expect(takenAt).toBeLessThan(5_150);
  });

  test('is waited for until it is done by its holder', async () => {
    const holder = await world.until(world.client().acquire('task/000001', { once: ONCE }));
    setTimeout(() => void holder.release({ done: true }), 65_000);
    const started = Date.now();
    expect(counts(await run(names(3)))).toEqual(only({ done: 2, alreadyDone: 1 }));
    expect(Date.now() - started).toBeGreaterThanOrEqual(65_000);
    expect(Date.now() - started).toBeLessThan(68_000);
  });

  test('is looked at ever more seldom', async () => {
    const holder = await world.until(world.client().acquire('task/000001', { once: ONCE }));
    setTimeout(() => void holder.release({ done: true }), 60_000);
    await run(names(3));
    expect(world.store.count('readMany')).toBeLessThan(50);
  });
});

describe('where others hold much', () => {
  /** Ten blocks, and in all but the last of them every task is held for an hour. */
  const tasks = names(320);
  const free = tasks.slice(288);
  const noMarks = (task: string) => task.padEnd(1_000, '.');

  test.each([
    ['without once', { once: undefined }],
    ['without marks', { key: noMarks }],
  ])('%s one pass finds all that is free', async (_how, more: Options) => {
    for (const task of tasks.slice(0, 288)) await world.holdFor(more.key?.(task) ?? task, 3_600_000);
    const started = Date.now();
    const end = started + 10_000;
    let lastAt = 0;
    const work = () => {
      lastAt = Date.now() - started;
    };
    const report = await run(tasks, { ...more, remainingMs: () => end - Date.now() }, work);
    expect(counts(report)).toEqual(only({ done: 32, busy: 288 }));
    expect(lastAt).toBeLessThan(1_000);
  });

  test('what is free is found soon, by the marks too', async () => {
    for (const task of tasks.slice(0, 288)) await world.holdFor(task, 3_600_000);
    const end = Date.now() + 60_000;
    const report = await run(tasks, { remainingMs: () => end - Date.now() });
    expect(counts(report)).toEqual(only({ done: 32, busy: 288 }));
    expect(ran.toSorted()).toEqual(free);
  });

  test('a worker that does not come back leaves nothing out', async () => {
    const locks = world.client();
    const work = () => sleep(10);
    const reports = await world.until(
      Promise.all([1, 2, 3].map(() => runTasks(tasks, work, options({ locks, revisitBusy: false })))),
    );
    expect(reports.map(({ notReached }) => notReached)).toEqual([0, 0, 0]);
    expect(reports.reduce((sum, { done }) => sum + done, 0)).toBe(320);
  });

  test('a few tasks that are left over in many blocks are found in one pass', async () => {
    await run(tasks, {}, (task) => {
      if (task.endsWith('7')) throw new Error('broken');
    });
    await world.pass(5_000);
    const started = Date.now();
    expect(counts(await run(tasks))).toEqual(only({ done: 32, alreadyDone: 288 }));
    expect(Date.now() - started).toBeLessThan(1_000);
  });
});

describe('where others are', () => {
  /** After how many milliseconds the first task is begun, and the last. */
  async function begun(tasks: readonly string[]) {
    const started = Date.now();
    const at: number[] = [];
    await run(tasks, { revisitBusy: true, remainingMs: () => started + 3_000 - Date.now() }, () => {
      at.push(Date.now() - started);
    });
    return { first: Math.min(...at), last: Math.max(...at) };
  }

  test('a worker helps if much is free', async () => {
    await world.holdFor('task/000020', 60_000);
    expect((await begun(names(32))).first).toBeLessThan(20);
  });

  test('it leaves to them what they are about to take, and takes what they do not', async () => {
    // Others have just done all but three tasks of a block.
    await run(names(32), {}, (task) => {
      if (Number(task.slice(-2)) < 3) throw new Error('broken');
    });
    const { first, last } = await begun(names(32));
    expect(first).toBeGreaterThanOrEqual(50);
    expect(last).toBeLessThan(300);
  });
});

describe('the marks of blocks', () => {
  test('spare the next worker the records of their tasks', async () => {
    await run(names(1_000));
    expect((await marks()).length).toBe(32);
    world.store.requests = [];
    expect(counts(await run(names(1_000)))).toEqual(only({ alreadyDone: 1_000 }));
    expect(world.reads).toBe(32);
    // Four, then eight, then sixteen, and the rest.
    expect(world.store.operations).toEqual(Array(4).fill('readMany'));
  });

  test.each([1, 32])('cost two writes for each 32 tasks, with %i at a time', async (concurrency) => {
    await run(names(320), { concurrency }, () => sleep(10));
    expect(world.store.count('acquire', 'release')).toBe(2 * 320 + 2 * 10);
  });

  test('start with the key of a task, and are keys themselves', async () => {
    await run(names(64));
    expect((await marks()).toSorted()).toEqual([
      expect.stringMatching(/^task\/000000#[\w-]{43}$/),
      expect.stringMatching(/^task\/000032#[\w-]{43}$/),
    ]);
  });

  test('are not believed by a worker whose list differs', async () => {
    await run(names(32));
    const changed = [...names(31), 'task/new'];
    expect(counts(await run(changed))).toEqual(only({ done: 1, alreadyDone: 31 }));
    expect(ran.at(-1)).toBe('task/new');
  });

  test('are not left where a task failed', async () => {
    await run(names(32), {}, (task) => {
      if (task === 'task/000009') throw new Error('broken');
    });
    expect(await marks()).toEqual([]);
    expect(counts(await run(names(32)))).toEqual(only({ done: 1, alreadyDone: 31 }));
    expect(await marks()).toHaveLength(1);
  });

  test('are not left where a lease was lost', async () => {
    const work: Work = (task, lease) => {
      if (task === 'task/000009') lease.abandon('timedOut');
    };
    expect(counts(await run(names(32), {}, work))).toEqual(only({ done: 31, failed: 1 }));
    expect(await marks()).toEqual([]);
  });

  test('are not left where a task was busy and is not come back to', async () => {
    await world.holdFor('task/000007', 2_000);
    expect(counts(await run(names(32), { revisitBusy: false }))).toEqual(only({ done: 31, busy: 1 }));
    expect(await marks()).toEqual([]);
    await world.pass(2_000);
    expect(counts(await run(names(32)))).toEqual(only({ done: 1, alreadyDone: 31 }));
  });

  test('met while a task of the block runs here do not settle that one', async () => {
    await run(names(32), { once: '2026-01-01' });
    const [mark = ''] = await marks();
    const markAsDone = async () => {
      await world.holdFor(mark, 1);
      await world.memory.release({
        key: mark,
        lockId: `dead ${mark}`,
        now: 0,
        holdAtLeastMs: 0,
        doneToken: '2026-01-02',
      });
    };
    const report = await run(names(32), { once: '2026-01-02', concurrency: 2 }, async (task) => {
      const isFirst = ran.push(task) === 33;
      if (isFirst) await markAsDone();
      await sleep(isFirst ? 5_000 : 100);
    });
    expect(report.done).toBe(2);
    expect(counts(report)).toEqual(only({ done: report.done, alreadyDone: 32 - report.done }));
  });

  test('are not left for a few tasks, which cost less to look at', async () => {
    await run(names(7));
    expect(await marks()).toEqual([]);
  });

  test('are done without where their keys would be too long', async () => {
    const longKey = (task: string) => task.padEnd(1_000, '.');
    expect(counts(await run(names(100), { key: longKey }))).toEqual(only({ done: 100 }));
    expect(counts(await run(names(100), { key: longKey }))).toEqual(only({ alreadyDone: 100 }));
    expect(await marks()).toEqual([]);
  });

  const forbidden = new LockStoreError('dynamodb:UpdateItem on the table is not allowed', { transient: false });

  test.each(['readMany', 'acquire'] as const)(
    'are done without where %s is allowed for the tasks alone',
    async (name) => {
      const isMark = ({ key = '', keys = [key] }: { key?: string; keys?: string[] }) =>
        keys.some((one) => one.includes('#'));
      world.store.script = (operation, request) =>
        operation === name && isMark(request) ? { do: 'fail', error: forbidden } : undefined;
      expect(counts(await run(names(100)))).toEqual(only({ done: 100 }));
      expect(await marks()).toEqual([]);
      const failures = world.store.requests.filter(({ operation, request }) => operation === name && isMark(request));
      expect(failures).toHaveLength(1);
      expect(counts(await run(names(100)))).toEqual(only({ alreadyDone: 100 }));
    },
  );
});

describe('a store', () => {
  const throttled = new LockStoreError('ThrottlingException', { transient: true });

  test('that throttles slows the run down, and it finishes', async () => {
    world.store.plan({ do: 'fail', error: throttled, operation: 'readMany', times: 5 });
    world.store.plan({ do: 'fail', error: throttled, operation: 'acquire', times: 5 });
    const started = Date.now();
    expect(counts(await run(names(20)))).toEqual(only({ done: 20 }));
    expect(Date.now() - started).toBeGreaterThan(2_000);
  });

  test('that leaves keys unprocessed is asked for them again', async () => {
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

  test.each(refusals)('that does not allow to %s ends the run with its error', async (operation, error) => {
    world.store.plan({ do: 'fail', error, operation, times: Number.POSITIVE_INFINITY });
    await expect(run(names(100))).rejects.toBe(error);
    expect(ran).toEqual([]);
  });

  test('that refuses in mid-run lets running tasks end, and no other begin', async () => {
    const error = new LockStoreError('dynamodb:UpdateItem on the table is not allowed');
    world.store.plan({ do: 'fail', error, operation: 'acquire', after: 4 });
    const ended: string[] = [];
    const work: Work = async (task) => {
      await sleep(ran.push(task) === 1 ? 100 : 5_000);
      ended.push(task);
    };
    await expect(run(names(100), { concurrency: 4 }, work)).rejects.toBe(error);
    expect(ran).toHaveLength(4);
    expect(ended.toSorted()).toEqual(ran.toSorted());
  });
});

describe('the report', () => {
  test('counts each task once, as the progress does', async () => {
    await run(names(300).slice(0, 40));
    await world.holdFor('task/000100', 3_600_000);
    await world.holdFor('task/000101', 5_000);
    const progress: TaskProgress<string>[] = [];
    const seen: number[] = [];
    const onProgress = (step: TaskProgress<string>) => {
      progress.push(step);
      const { done, alreadyDone, busy, failed } = step.report;
      seen.push(done + alreadyDone + busy + failed.length);
    };
    const end = Date.now() + 20_000;
    const report = await run(
      names(300),
      { onProgress, concurrency: 3, remainingMs: () => end - Date.now() },
      (task) => {
        if (task === 'task/000200') throw new Error('broken');
      },
    );
    expect(counts(report)).toEqual(only({ done: 258, alreadyDone: 40, busy: 1, failed: 1 }));
    expect(progress.map(({ task }) => task).toSorted()).toEqual(names(300));
    expect(seen).toEqual(Array.from({ length: 300 }, (_, i) => i + 1));
    const outcomes = Map.groupBy(progress, ({ outcome }) => outcome);
    expect(outcomes.get('done')).toHaveLength(258);
    expect(outcomes.get('alreadyDone')).toHaveLength(40);
    expect(outcomes.get('busy')?.map(({ key }) => key)).toEqual(['task/000100']);
    expect(outcomes.get('failed')).toMatchObject([{ key: 'task/000200', error: new Error('broken') }]);
  });

  test('is not had when the progress callback throws, which ends the run', async () => {
    const onProgress = () => {
      throw new LockLostError({ key: 'x', reason: 'gone', detail: 'thrown on by the callback' });
    };
    await expect(run(names(10), { onProgress })).rejects.toThrow('thrown on by the callback');
    expect(ran).toHaveLength(1);
  });

  test('is not had when the progress callback rejects: the run ends then, after the running tasks', async () => {
    const ended: string[] = [];
    const onProgress = () => sleep(150).then(() => Promise.reject(new Error('not written')));
    const work: Work = async (task) => {
      ran.push(task);
      await sleep(100);
      ended.push(task);
    };
    await expect(run(names(10), { onProgress }, work)).rejects.toThrow('not written');
    expect(ran).toHaveLength(3);
    expect(ended).toEqual(ran);
  });

  test('is had when the progress callback rejects after the end', async () => {
    const onProgress = () => sleep(1_000).then(() => Promise.reject(new Error('not written')));
    expect(counts(await run(names(3), { onProgress }))).toEqual(only({ done: 3 }));
    await world.pass(2_000);
  });
});

describe('concurrency', () => {
  test.each([2 ** 32, Number.MAX_SAFE_INTEGER])('of %i is that of all the tasks', async (concurrency) => {
    expect(counts(await run(names(40), { concurrency }))).toEqual(only({ done: 40 }));
    expect(counts(await run(new Set(names(40)), { concurrency }))).toEqual(only({ alreadyDone: 40 }));
    expect(counts(await run([], { concurrency }))).toEqual(only({}));
  });

  test.each([1, 7])('of %i is reached and not passed, also when one task takes long', async (concurrency) => {
    let running = 0;
    let most = 0;
    const endedAt = new Map<string, number>();
    const started = Date.now();
    const work: Work = async (task) => {
      most = Math.max(most, ++running);
      await sleep(task === 'task/000000' ? 60_000 : 10);
      running--;
      endedAt.set(task, Date.now() - started);
    };
    expect(counts(await run(names(100), { concurrency }, work))).toEqual(only({ done: 100 }));
    expect(most).toBe(concurrency);
    if (concurrency === 1) return;
    // The others do not wait for the long one, over the ends of blocks neither; and nothing is waited for after it.
    expect(Date.now() - started).toBeLessThan((endedAt.get('task/000000') ?? 0) + 20);
    endedAt.delete('task/000000');
    expect(Math.max(...endedAt.values())).toBeLessThan(5_000);
  });

  test('finds a free task while one of its own runs', async () => {
    await world.holdFor('task/000001', 5_000);
    const startedAt = new Map<string, number>();
    const started = Date.now();
    const work: Work = async (task) => {
      startedAt.set(task, Date.now() - started);
      if (task === 'task/000000') await sleep(60_000);
    };
    await run(names(2), { concurrency: 2 }, work);
    expect(startedAt.get('task/000001')).toBeLessThan(5_200);
  });
});

describe('the signal', () => {
  test('ends the run: what runs goes on to its end, and nothing else begins', async () => {
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

  test('that was aborted before takes nothing', async () => {
    expect(counts(await run(names(3), { signal: AbortSignal.abort() }))).toEqual(only({}));
    expect(world.store.requests).toEqual([]);
  });

  test('ends the wait for busy tasks', async () => {
    await world.holdFor('task/000001', 3_600_000);
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 500);
    const started = Date.now();
    expect(counts(await run(names(3), { signal: abort.signal }))).toEqual(only({ done: 2, busy: 1 }));
    expect(Date.now() - started).toBe(500);
  });
});

test('nothing is left behind by a run: no timer, no listener', async () => {
  const abort = new AbortController();
  const added = jest.spyOn(abort.signal, 'addEventListener');
  const removed = jest.spyOn(abort.signal, 'removeEventListener');
  await run(names(50), { signal: abort.signal, remainingMs: () => 100_000 });
  expect(jest.getTimerCount()).toBe(0);
  expect(added.mock.calls.length).toBe(removed.mock.calls.length);
});

describe('an option that is not what it should be is refused, with the value', () => {
  const bad: [string, Record<string, unknown>, string][] = [
    ['locks', { locks: undefined }, 'locks must be a LockClient, but it is undefined.'],
    ['locks', { locks: 'locks' }, "locks must be a LockClient, but it is 'locks'."],
    ['a misspelled option', { onlyOnce: ONCE }, "runTasks has no option 'onlyOnce'; did you mean 'once'?"],
    [
      'a misspelled option of the lease',
      { leaseMS: 9_000 },
      "runTasks has no option 'leaseMS'; did you mean 'leaseMs'?",
    ],
    ['key', { key: 'id' }, "key must be a function, but it is 'id'."],
    ['once', { once: 20260101 }, 'once must be a string, but it is number 20260101.'],
    ['once', { once: new Date(0) }, 'once must be a string'],
    ['once', { once: null }, 'once must be a string, but it is null.'],
    ['once', { once: '' }, "once must not be empty, but it is ''."],
    ['concurrency', { concurrency: 0 }, 'concurrency must be a whole number, 1 or more, but it is 0.'],
    ['concurrency', { concurrency: 1.5 }, 'concurrency must be a whole number, 1 or more, but it is 1.5.'],
    ['concurrency', { concurrency: Number.NaN }, 'concurrency must be a whole number, 1 or more, but it is NaN.'],
    ['marginMs', { marginMs: -1 }, 'marginMs must be a whole number, 0 or more, but it is -1.'],
    ['worker', { worker: { number: 2, of: 2 } }, 'worker must be { number, of } with 0 <= number < of, but it is'],
    ['worker', { worker: { number: -1, of: 2 } }, '{"number":-1,"of":2}'],
    ['remainingMs', { remainingMs: 5_000 }, 'remainingMs must be a function, but it is number 5000.'],
    ['onProgress', { onProgress: true }, 'onProgress must be a function, but it is boolean true.'],
    ['leaseMs', { leaseMs: 0 }, 'leaseMs must be a whole number of milliseconds from 2'],
  ];

  test.each(bad)('%s: %j', async (_name, wrong, message) => {
    const attempt = run(names(3), wrong as Options);
    await expect(attempt).rejects.toThrow(TypeError);
    await expect(attempt).rejects.toThrow(message);
    expect(ran).toEqual([]);
  });

  test('the work', async () => {
    await expect(run(names(3), {}, 'work' as never)).rejects.toThrow("work must be a function, but it is 'work'.");
  });

  test('the tasks', async () => {
    await expect(run(3 as never)).rejects.toThrow(
      'tasks must be an array, an iterable or an async iterable, but it is number 3.',
    );
  });
});
