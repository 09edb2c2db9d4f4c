import { installStore } from '../lease/store-in-tests.ts';
import { LOCK_BUCKET_NAME, LOCK_TABLE_NAME } from '../names.ts';
import { LockError } from '../record/errors.ts';
import { MemoryLockStore } from './memory.ts';

/**
 * Lets a test import a handler as it is deployed: each client and each `lock()` that is made from now on keeps its locks in one
 * store in memory, in the place of DynamoDB, S3, Redis and files. A client that is given a `MemoryLockStore` keeps that store.
 * Call this function in a setup file, which a test runner runs before each test file and its imports. A further call empties
 * the store: call the function before each test, too. If `LOCK_TABLE_NAME` or `LOCK_BUCKET_NAME` is not set, the function sets it,
 * since a handler without a table fails at its import.
 * @example
 * ```ts
 * import { installMemoryStore } from 'leasehold/testing';
 *
 * export const store = installMemoryStore();
 * ```
 * @throws LockError on Lambda, where the locks would exclude nobody.
 * @returns the store, for a client of the test that holds a lock, or that looks at one.
 */
export function installMemoryStore(): MemoryLockStore {
  if (process.env.AWS_EXECUTION_ENV?.startsWith('AWS_Lambda')) {
    throw new LockError(
      `installMemoryStore() is for tests, but this is a Lambda function, AWS_EXECUTION_ENV=${process.env.AWS_EXECUTION_ENV}: its locks would exclude nobody.`,
    );
  }
  process.env[LOCK_TABLE_NAME] ??= 'in-memory';
  process.env[LOCK_BUCKET_NAME] ??= 'in-memory';
  const memory = installStore(() => new MemoryLockStore());
  memory.clear();
  return memory;
}
