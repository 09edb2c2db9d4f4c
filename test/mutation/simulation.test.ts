import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { regressions } from '../simulation/regressions.ts';
import { run } from '../simulation/run.ts';
import { type Schedule, schedules } from '../simulation/schedule.ts';

/** A server that judges, and objects that hosts swap. */
async function expectNoFault(schedule: Schedule): Promise<void> {
  for (const swaps of [false, true]) expect((await run({ ...schedule, swaps })).fault).toBeUndefined();
}

test.each(regressions)('the simulation of what failed once: $name', ({ schedule }) => expectNoFault(schedule));

/** A few seconds on an idle machine. A machine that is busy is no reason to count a mutant as killed. */
const MOST_MS = 30_000;

test(
  'the simulation of a few hundred schedules',
  async () => {
    const property = fc.asyncProperty(schedules, expectNoFault);
    await fc.assert(property, { seed: 1, numRuns: 500, endOnFailure: true });
  },
  MOST_MS,
);
