import { DynamoDBLockStore } from '../lib/dynamodb.ts';
import { workerOn } from './worker.ts';

/** One of several workers that share out the tasks of a schedule by locks in a table. */
export const handler = workerOn(new DynamoDBLockStore());
