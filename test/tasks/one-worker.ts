/** One worker over a world of its own, made anew for each test of a file that imports this. */
import { afterEach, beforeEach, jest } from '@jest/globals';
import type { Lease } from '../../lib/index.ts';
import { type RunTasksOptions, runTasks, type TaskReport } from '../../lib/tasks/index.ts';
import { ONCE, World } from './world.ts';

// Room for a busy machine.
jest.setTimeout(60_000);

export let world: World;
/** The tasks that ran, in order. */
export const ran: string[] = [];
beforeEach(() => {
  world = new World();
  ran.length = 0;
});
afterEach(() => {
  jest.useRealTimers();
});

/** The options of a run. `withoutOnce` leaves the token out. */
export type Options = Partial<RunTasksOptions<string>> & { withoutOnce?: boolean };

export const options = ({ withoutOnce, ...more }: Options = {}): RunTasksOptions<string> => ({
  locks: world.client(),
  key: (task) => task,
  ...(!withoutOnce && { once: ONCE }),
  ...more,
});
const record = (task: string): void => {
  ran.push(task);
};
/** Runs one worker to its end. */
export const run = (tasks: Iterable<string> | AsyncIterable<string>, more: Options = {}, work: Work = record) =>
  world.until(runTasks(tasks, options(more), work));
export type Work = (task: string, lease: Lease) => unknown;

export const counts = ({ failed, ...rest }: TaskReport<unknown>) => ({ ...rest, failed: failed.length });
export const only = (some: Partial<ReturnType<typeof counts>>) => ({
  done: 0,
  alreadyDone: 0,
  busy: 0,
  failed: 0,
  notReached: 0,
  ...some,
});
export const errorOf = ({ failed }: TaskReport<unknown>) => String((failed[0]?.error as Error | undefined)?.message);
export const writesOf = (key: string) => world.store.requests.filter(({ request }) => request.key === key).length;
export const marks = async (): Promise<string[]> => {
  const keys: string[] = [];
  for (const { key } of (await world.memory.list('')).records) if (key.includes('#')) keys.push(key);
  return keys;
};
/** Keeps the fake time from a leap to the end of the run in the turn of the event loop that a run gives an iterator. */
export function tick(): () => void {
  const ticks = setInterval(() => {}, 10);
  return () => clearInterval(ticks);
}
