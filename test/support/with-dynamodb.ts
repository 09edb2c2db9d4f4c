/**
 * `describe`, `test` and `startDynamoDB` for tests that need a DynamoDB. Where no DynamoDB runs, the tests are skipped, and
 * their names say what to install.
 */
import { DynamoDB } from '../../demo/local/dynamodb.ts';
import * as launcher from '../../demo/local/launcher.ts';
import { needing } from './needing.ts';

export type { DynamoDB };

const missing = await launcher.missingDynamoDB();

export const { describe, test } = needing(missing && `needs a DynamoDB: ${missing}`);

/** Starts the default server. Without a server, gives a stand-in, from which a file can declare its tests. */
export const startDynamoDB = async (): Promise<DynamoDB> =>
  missing === undefined ? launcher.startDynamoDB() : new NoDynamoDB('endpoint', 'http://no-dynamodb.invalid');

class NoDynamoDB extends DynamoDB {
  override async createTable(): Promise<void> {}
}
