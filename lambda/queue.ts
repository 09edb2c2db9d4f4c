import { setTimeout as sleep } from 'node:timers/promises';
import middy from '@middy/core';
import type { SQSEvent, SQSRecord } from 'aws-lambda';
import { emf } from '../lib/emf.ts';
import { lockPlugin, lockRecords } from '../middleware/index.ts';

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
 * Works on one message of an account at a time, however many consumers there are, and on those of several accounts at
 * once. A message of an account that is busy goes back to the queue, and so does one that fails; after five times the
 * queue puts it aside.
 */
export const handler = middy<SQSEvent>(lockPlugin())
  .use(lockRecords({ key: (record: SQSRecord) => `queue/${accountOf(record)}`, onEvent: emf() }))
  .handler(async ({ Records }, { locks }) => {
    const work = ({ signal }: { signal: AbortSignal }) => sleep(WORK_MS, undefined, { signal });
    await Promise.allSettled(Records.map((record) => locks.using(record, work)));
  });
