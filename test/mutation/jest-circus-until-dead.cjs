const { createEmptyTestResult } = require('@jest/test-result');
const circus = require('jest-circus/runner');
const run = circus.default ?? circus;

/** The mutants that are dead. */
const dead = new Set();

/** One failing test kills a mutant: what comes after it is skipped, files unread. */
module.exports = async function runUntilDead(globalConfig, config, environment, runtime, testPath, ...rest) {
  const mutant = process.env.__STRYKER_ACTIVE_MUTANT__;
  if (dead.has(mutant)) return skipped(testPath);
  const { handleTestEvent } = environment;
  environment.handleTestEvent = async (event, state) => {
    await handleTestEvent?.call(environment, event, state);
    if (mutant === undefined) return;
    if (event.name === 'test_fn_failure' || event.name === 'hook_failure') dead.add(mutant);
    if (event.name === 'test_start' && dead.has(mutant)) event.test.mode = 'skip';
  };
  return run(globalConfig, config, environment, runtime, testPath, ...rest);
};

const skipped = (testFilePath) => ({
  ...createEmptyTestResult(),
  testFilePath,
  skipped: true,
  numPendingTests: 1,
  // Jest takes a file without a test for an error.
  testResults: [{ title: 'skipped', fullName: 'skipped', ancestorTitles: [], status: 'pending', failureMessages: [] }],
});
