import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { regressions } from '../simulation/regressions.ts';
import { run } from '../simulation/run.ts';
import { schedules } from '../simulation/schedule.ts';

test.each(regressions)('the simulation of what failed once: $name', async ({ schedule }) => {
  expect((await run(schedule)).fault).toBeUndefined();
});

/** A second or two on an idle machine. A machine that is busy is no reason to count a mutant as killed. */
const MOST_MS = 30_000;

test(
  'the simulation of a few hundred schedules',
  async () => {
    const property = fc.asyncProperty(schedules, async (schedule) => {
      expect((await run(schedule)).fault).toBeUndefined();
    });
    await fc.assert(property, { seed: 1, numRuns: 500, endOnFailure: true });
  },
  MOST_MS,
);
