/** A function of the user's that fails ends neither the process nor an operation that has nothing to do with the function. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';

const NEVER = 'never settles';
const ofCallback = 'Error: of the callback';
const noNumber = /TypeError: remainingMs must give a number of milliseconds|Error: of the callback/;

/** The outcome of each call, by the callback that fails. The way of failing makes no difference. */
const expected: Record<string, (way: string) => string | RegExp> = {
  onEvent: () => 'ends',
  'print of emf()': () => 'ends',
  'remainingMs of acquire': () => noNumber,
  'acquire of a store': () => /LockStoreError: Acquiring 'job'/,
  'release of a store': () => 'ends',
  key: () => 'done 0, failed 3',
  onProgress: (way) => (way === NEVER ? 'done 3, failed 0' : ofCallback),
  'remainingMs of runTasks': () => noNumber,
  'remainingMs of runTasks, asked by a timer': () => noNumber,
};

test('a function of the user that fails in any way, at once or later, ends no process', () => {
  const program = join(import.meta.dirname, 'callbacks-program.ts');
  const said = execFileSync(process.execPath, ['--disable-warning=ExperimentalWarning', program], { encoding: 'utf8' });
  const { outcomes, uncaught } = JSON.parse(said) as { outcomes: [string, string, string][]; uncaught: string[] };
  expect(uncaught).toEqual([]);
  expect(outcomes).toHaveLength(8 * Object.keys(expected).length);
  for (const [callback, way, outcome] of outcomes) {
    const told = expected[callback]?.(way) ?? '';
    expect(`${callback} ${way}: ${outcome}`).toEqual(
      typeof told === 'string'
        ? `${callback} ${way}: ${told}`
        : expect.stringMatching(new RegExp(`: (${told.source})`)),
    );
  }
}, 60_000);
