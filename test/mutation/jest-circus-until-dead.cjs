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
  leaks: false,
  numFailingTests: 0,
  numPassingTests: 0,
  numPendingTests: 1,
  numTodoTests: 0,
  openHandles: [],
  perfStats: {
    start: 0,
    end: 0,
    runtime: 0,
    slow: false,
    loadTestEnvironmentStart: 0,
    loadTestEnvironmentEnd: 0,
    setupFilesStart: 0,
    setupFilesEnd: 0,
  },
  skipped: true,
  snapshot: { added: 0, fileDeleted: false, matched: 0, unchecked: 0, uncheckedKeys: [], unmatched: 0, updated: 0 },
  testFilePath,
  // Jest takes a file without a test for an error.
  testResults: [
    {
      title: 'skipped',
      fullName: 'skipped',
      ancestorTitles: [],
      status: 'pending',
      failureMessages: [],
      failureDetails: [],
      numPassingAsserts: 0,
      duration: 0,
      location: null,
    },
  ],
});
