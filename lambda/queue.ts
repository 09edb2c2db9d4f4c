import { setTimeout as sleep } from 'node:timers/promises';
import type { SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda';
import { DynamoDBLockStore } from '../lib/dynamodb.ts';
import { emf } from '../lib/emf.ts';
import { LockBusyError, LockClient } from '../lib/index.ts';
import type { LambdaContext } from '../middleware/index.ts';

const locks = new LockClient({ store: new DynamoDBLockStore(), onEvent: emf() });

/** Stands for the work on one message. */
const WORK_MS = 1_000;

/** The account that a message is about: `{"account":"a-1"}`. */
function accountOf(record: SQSRecord): string {
  const { account } = JSON.parse(record.body);
  if (typeof account !== 'string' || account === '') {
    throw new TypeError(`A message must name its account, but it is ${record.body}.`);
  }
  return account;
}

/**
 * Works on one message of an account at a time, however many consumers there are. A message of an account that is busy
 * goes back to the queue, and so does one that fails; after five times the queue puts it aside.
 */
export async function handler(event: SQSEvent, context: LambdaContext): Promise<SQSBatchResponse> {
  const remainingMs = () => context.getRemainingTimeInMillis();
  const batchItemFailures: SQSBatchResponse['batchItemFailures'] = [];
  for (const record of event.Records) {
    try {
      await locks.using(`queue/${accountOf(record)}`, { remainingMs }, (lease) =>
        sleep(WORK_MS, undefined, { signal: lease.signal }),
      );
    } catch (error) {
      if (!(error instanceof LockBusyError)) console.error(error);
      batchItemFailures.push({ itemIdentifier: record.messageId });
    }
  }
  return { batchItemFailures };
}
