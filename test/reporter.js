import { appendFileSync } from 'node:fs';

/** For CI: adds the counts of a run to the file that TEST_COUNTS names, and with CI set fails a run that skipped a test. */
export default class CiReporter {
  #error;

  onRunComplete(_contexts, results) {
    const skipped = results.numPendingTests + results.numTodoTests;
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
    if (process.env.TEST_COUNTS) {
      appendFileSync(process.env.TEST_COUNTS, `${results.numPassedTests} ${failed} ${skipped}\n`);
    }
    if (process.env.CI && skipped > 0) {
      this.#error = new Error(`Expected every test to run in CI, but ${skipped} were skipped: install what they need.`);
      console.error(this.#error.message);
    }
  }

  getLastError() {
    return this.#error;
  }
}
