import middy from '@middy/core';
import { lockPlugin, lockRecords, type QueueRecord } from '../../../middleware/index.ts';
import { log, pass } from './support.ts';

interface Batch {
  readonly Records: QueueRecord[];
  readonly gate?: string;
  /** The message whose work waits at the gate. Default: every message. */
  readonly waiting?: string;
}

/** Works on each message of a batch under the lock that its body names. */
export const handler = middy<Batch>(lockPlugin())
  .use(
    lockRecords({
      key: ({ body }) => body,
      once: ({ attributes }) => attributes.SequenceNumber,
      leaseMs: 2_000,
      onEvent: log,
    }),
  )
  .handler(async ({ Records, gate, waiting }, { locks }) => {
    const work = async ({ messageId }: QueueRecord) => {
      log({ type: 'working', messageId });
      if (waiting === undefined || waiting === messageId) await pass(gate);
      log({ type: 'worked', messageId });
    };
    await Promise.allSettled(Records.map((record) => locks.using(record, () => work(record))));
  });
