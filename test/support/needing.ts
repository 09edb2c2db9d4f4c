import { describe, test } from '@jest/globals';

/**
 * Jest's `describe` and `test`, for tests that need something. If that is missing here, the tests are skipped, and their names
 * say so. In CI (environment variable CI) that is an error, since a skipped suite would go unseen.
 * @param missing says what to install. Undefined if nothing is missing.
 */
export function needing(missing: string | undefined): { describe: typeof describe; test: typeof test } {
  if (missing === undefined) return { describe, test };
  if (process.env.CI) throw new Error(`Expected every test to run in CI, but something is missing: ${missing}`);
  const named = (name: unknown) => `${name} (${missing})`;
  return {
    describe: skipping(describe.skip, named) as unknown as typeof describe,
    test: skipping(test.skip, named) as unknown as typeof test,
  };
}

interface Skip {
  (name: string, ...more: never[]): void;
  each(...table: never[]): (name: string, ...more: never[]) => void;
}

/** Jest's `skip` in the shape of `test`, with `each`, `concurrent` and `concurrent.each`. */
function skipping(skip: unknown, named: (name: unknown) => string): Skip & { concurrent?: Skip } {
  const { each } = skip as Skip;
  const skipped: Skip & { concurrent?: Skip } = (name, ...more) => (skip as Skip)(named(name), ...more);
  skipped.each =
    (...table) =>
    (name, ...more) =>
      each(...table)(named(name), ...more);
  skipped.concurrent = skipped;
  return skipped;
}
