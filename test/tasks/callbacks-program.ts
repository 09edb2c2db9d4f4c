/**
 * A process in which each function of the user's fails in each way there is. It prints, as JSON, what came of each call,
 * and what nobody caught, which would have ended the process.
 */
import { emf, LockClient, type LockClientOptions } from '../../lib/index.ts';
import type { LockStore } from '../../lib/record/store.ts';
import { type RunTasksOptions, runTasks } from '../../lib/tasks/index.ts';
import { MemoryLockStore } from '../../lib/testing.ts';

const uncaught: string[] = [];
for (const outOfBand of ['unhandledRejection', 'uncaughtException'] as const) {
  process.on(outOfBand, (error: unknown) => uncaught.push(`${outOfBand}: ${error}`));
}

const LATER_MS = 20;
const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const error = new Error('of the callback');
// biome-ignore lint/suspicious/noExplicitAny: it stands in for functions of all kinds, none of which it fulfils.
const ways: Record<string, () => any> = {
  throws() {
    throw error;
  },
  rejects: () => Promise.reject(error),
  'rejects later': () => sleep(LATER_MS).then(() => Promise.reject(error)),
  // biome-ignore-start lint/suspicious/noThenProperty: thenables that are no promises.
  'gives a thenable that rejects': () => ({ then: (_: unknown, reject: (error: unknown) => void) => reject(error) }),
  'gives a thenable that rejects later': () => ({
    then: (_: unknown, reject: (error: unknown) => void) => void setTimeout(reject, LATER_MS, error),
  }),
  'gives a thenable that throws': () => ({
    then() {
      throw error;
    },
  }),
  'gives what throws when it is looked at': () => ({
    get then() {
      throw error;
    },
  }),
  // biome-ignore-end lint/suspicious/noThenProperty: as above.
  'never settles': () => new Promise(() => {}),
};
type Way = (typeof ways)[string];

const client = (options: Partial<LockClientOptions> = {}) =>
  new LockClient({ store: new MemoryLockStore(), ...options });

const once = (locks: LockClient) => locks.using('job', { requestTimeoutMs: 200 }, () => 'ends');
const run = async (options: Partial<RunTasksOptions<string>>, work: () => unknown = () => sleep(2 * LATER_MS)) => {
  const { done, failed } = await runTasks(
    ['a', 'b', 'c'],
    {
      locks: client(),
      key: (task) => task,
      marginMs: 0,
      ...options,
    },
    work,
  );
  return `done ${done}, failed ${failed.length}`;
};
const breaking = (operation: keyof LockStore, way: Way) =>
  Object.assign(new MemoryLockStore(), { [operation]: way }) as LockStore;

const callbacks: Record<string, (way: Way) => Promise<string>> = {
  onEvent: (onEvent) => once(client({ onEvent })),
  'print of emf()': (print) => once(client({ onEvent: emf({ tableName: 'locks', print }) })),
  'remainingMs of acquire': (remainingMs) => client().using('job', { remainingMs }, () => 'ends'),
  'acquire of a store': (way) => once(client({ store: breaking('acquire', way) })),
  'release of a store': (way) => once(client({ store: breaking('release', way) })),
  key: (key) => run({ key }),
  onProgress: (onProgress) => run({ onProgress }),
  'remainingMs of runTasks': (remainingMs) => run({ remainingMs }),
  'remainingMs of runTasks, asked by a timer'(way) {
    const end = performance.now() + 4 * LATER_MS;
    let leftMs = 4 * LATER_MS;
    // While the first task runs, nothing but the run's own timer asks.
    return run(
      {
        remainingMs: () => {
          leftMs = end - performance.now();
          return leftMs > LATER_MS ? leftMs : way();
        },
        concurrency: 3,
      },
      () => sleep(6 * LATER_MS),
    );
  },
};

const cases = Object.entries(callbacks).flatMap(([callback, call]) =>
  Object.entries(ways).map(async ([name, way]) => {
    const outcome = await call(way).catch((thrown: Error) => `${thrown.name}: ${thrown.message}`);
    return [callback, name, outcome];
  }),
);
const outcomes = await Promise.all(cases);
await sleep(3 * LATER_MS);
console.log(JSON.stringify({ outcomes, uncaught: [...new Set(uncaught)] }));
