import { setTimeout as sleep } from 'node:timers/promises';
import middy from '@middy/core';
import type { SQSEvent, SQSRecord } from 'aws-lambda';
import { lockPlugin, lockRecords } from '../middleware/index.ts';

/** Stands for the work on one message. */
const WORK_MS = 1_000;

/** Reads the account of a message: `{"account":"a-1"}`. */
function accountOf(record: SQSRecord): string {
  const { account } = JSON.parse(record.body);
  if (typeof account !== 'string' || account === '') {
    throw new TypeError(`A message must name its account, but it is ${record.body}.`);
  }
  return account;
}

/**
 * Works on one message of an account at a time, however many consumers there are, and on messages of several accounts at
 * once. A message goes back to the queue if its account is busy, or if the work on it fails. After five times the queue
 * moves the message to the dead-letter queue.
 */
export const handler = middy<SQSEvent>(lockPlugin())
  .use(lockRecords({ key: (record: SQSRecord) => `queue/${accountOf(record)}` }))
  .handler(async ({ Records }, { locks }) => {
    const work = ({ signal }: { signal: AbortSignal }) => sleep(WORK_MS, undefined, { signal });
    await Promise.allSettled(Records.map((record) => locks.using(record, work)));
  });
