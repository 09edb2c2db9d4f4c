/**
 * A mark says for ever that all tasks of its block are done. Whatever befalls the workers, no mark and no report may say done
 * of a task that nobody has done.
 */
import { afterEach, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import type { Lease } from '../../lib/index.ts';
import { systemClock } from '../../lib/lease/clock.ts';
import { canonicalToken, isDone } from '../../lib/record/token.ts';
import { blocksOf } from '../../lib/tasks/block.ts';
import { runTasks } from '../../lib/tasks/index.ts';
import { seededRandom } from '../lease/setup.ts';
import { type Fault, ScriptedStore } from '../support/scripted-store.ts';
import { names, sleep, World } from './world.ts';

jest.setTimeout(120_000);

afterEach(() => {
  jest.useRealTimers();
  jest.restoreAllMocks();
});

const TASKS = names(48);

type Deed =
  | 'work'
  | 'throw'
  | 'release'
  | 'releaseAsDone'
  | 'handOff'
  | 'handOffAndDone'
  | 'abandon'
  | 'revoke'
  | 'die';

/** The tasks' works: most end well. */
const deed = fc.oneof(
  { weight: 20, arbitrary: fc.constant<Deed>('work') },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Deed>(
      ...(['throw', 'release', 'releaseAsDone', 'handOff', 'handOffAndDone', 'abandon', 'revoke', 'die'] as const),
    ),
  },
);
/** The messages of one release: most arrive soon, some are lost, late, or come twice. */
const fault: fc.Arbitrary<Fault | undefined> = fc.oneof(
  { weight: 20, arbitrary: fc.constant(undefined) },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Fault>(
      { do: 'loseAnswer' },
      { do: 'loseRequest' },
      { do: 'duplicate', ms: 3 },
      { do: 'duplicate', ms: 5_000 },
      { do: 'delayRequest', ms: 5_000 },
      { do: 'hang' },
      { do: 'hangAnswer' },
    ),
  },
);
const worker = fc.record({
  from: fc.nat({ max: 8 }),
  count: fc.integer({ min: 8, max: 40 }),
  once: fc.constantFrom('1', '2'),
  revisitBusy: fc.boolean(),
  concurrency: fc.integer({ min: 1, max: 3 }),
  startsAfterMs: fc.oneof(fc.constant(0), fc.nat({ max: 40_000 })),
  deeds: fc.array(deed, { minLength: 1, maxLength: 48, size: 'max' }),
  faults: fc.array(fault, { maxLength: 48, size: 'max' }),
});
type Worker = typeof worker extends fc.Arbitrary<infer Value> ? Value : never;

/** Runs the workers. Returns each claim of a mark or a report that a task's record did not confirm at that moment. */
async function play(workers: readonly Worker[]): Promise<string[]> {
  const world = new World();
  const checks: Promise<string | undefined>[] = [];
  /** Compares a claim for a token, as a canonical text, with the record of this moment. */
  const check = (who: string, key: string, token: string) => {
    const reading = world.memory.read(key);
    checks.push(
      reading.then(({ record }) => (isDone(token, record?.doneToken) ? undefined : `${who}: ${key} for ${token}`)),
    );
  };
  const tasksOf = new Map<string, string[]>();
  const runs = workers.map(async ({ from, count, startsAfterMs, deeds, faults, ...options }) => {
    const tasks = TASKS.slice(from, from + count);
    for (const { markKey, open } of blocksOf(tasks.map((task) => ({ task, key: task })))) {
      tasksOf.set(
        markKey ?? '',
        [...open].map(({ key }) => key),
      );
    }
    const store = new ScriptedStore(world.memory, systemClock);
    let isDead = false;
    let releases = 0;
    store.script = (operation) => {
      if (isDead) return { do: 'hang' };
      const planned = operation === 'release' ? faults[releases++] : undefined;
      return planned ?? { do: 'travel', there: 1, back: 1 };
    };
    store.onJudged = (operation, { key, doneToken }, { applied }) => {
      if (operation !== 'release' || !applied || doneToken === undefined) return;
      for (const task of tasksOf.get(key) ?? []) check('a mark', task, doneToken);
    };
    let die: () => void = () => {};
    const death = new Promise<void>((resolve) => {
      die = () => {
        isDead = true;
        resolve();
      };
    });
    const locks = world.client({ store, leaseMs: 8_000 });
    const others = world.client();
    const works: Record<Deed, (lease: Lease) => unknown> = {
      work: () => sleep(5),
      throw: () => Promise.reject(new Error('broken')),
      release: (lease) => lease.release(),
      releaseAsDone: (lease) => lease.release({ done: true }),
      handOff: (lease) => lease.handOff({ leaseMs: 4_000 }),
      async handOffAndDone(lease) {
        const handle = await lease.handOff({ leaseMs: 4_000 });
        void sleep(500)
          .then(() => others.resume(handle))
          .then(
            (resumed) => resumed.release({ done: true }),
            () => {},
          );
      },
      abandon: (lease) => lease.abandon('timedOut'),
      revoke: ({ key, lockId }) => world.memory.forceRelease({ key, lockId, immediately: true }),
      die() {
        die();
        return new Promise(() => {});
      },
    };
    await sleep(startsAfterMs);
    const end = Date.now() + 60_000;
    const run = runTasks(
      tasks,
      {
        ...options,
        locks,
        key: (task) => task,
        remainingMs: () => end - Date.now(),
        onProgress({ key = '', outcome }) {
          if (outcome === 'done' || outcome === 'alreadyDone')
            check(`a report of ${outcome}`, key, canonicalToken(options.once));
        },
      },
      (task, lease) => works[deeds[TASKS.indexOf(task) % deeds.length] ?? 'work'](lease),
    );
    await Promise.race([run, death]);
  });
  await world.until(Promise.all(runs));
  jest.useRealTimers();
  return (await Promise.all(checks)).filter((wrong) => wrong !== undefined);
}

test('whatever befalls the workers, a mark or a report says done only of a task that is done', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(worker, { minLength: 1, maxLength: 4 }), fc.nat(), async (workers, seed) => {
      seededRandom(seed);
      expect(await play(workers)).toEqual([]);
    }),
    { numRuns: 150, seed: 1 },
  );
});
