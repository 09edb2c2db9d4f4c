// A process whose calls wait for one lock. It is forked by a measure, begins at the first message, and sends its figures:
// node waiters.ts '{ "tableName": ..., "key": ..., "calls": ..., "waitMs": ..., "forMs": ... }'
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { DynamoDBLockStore } from '../../lib/dynamodb.ts';
import { LockBusyError, LockClient } from '../../lib/index.ts';
import { requestsOf } from './requests.ts';

/** The task of such a process. */
export interface Waiting {
  readonly tableName: string;
  readonly key: string;
  /** The number of the calls that wait at a time. */
  readonly calls: number;
  readonly waitMs: number;
  /** Milliseconds for which each call waits again and again. Without it, each call has the lock once. */
  readonly forMs?: number;
}

export interface Waited {
  readonly grants: number;
  readonly timedOut: number;
  readonly writes: number;
  readonly reads: number;
  /** The number of grants to a call that came after a call which still waited. */
  readonly outOfOrder: number;
}

/** The work under the lock, in milliseconds. */
export const JOB_MS = 20;

/** Lets calls of this process wait for the lock. */
export async function waitForLock({ tableName, key, calls, waitMs, forMs = 0 }: Waiting): Promise<Waited> {
  const locks = new LockClient({ store: new DynamoDBLockStore({ tableName }) });
  const from = performance.now();
  let [grants, timedOut, asked, outOfOrder] = [0, 0, 0, 0];
  const waiting = new Set<number>();
  const job = async (number: number) => {
    grants++;
    if (Math.min(...waiting) < number) outOfOrder++;
    waiting.delete(number);
    await sleep(JOB_MS);
  };
  const call = async () => {
    do {
      const number = asked++;
      waiting.add(number);
      await locks
        .using(key, { waitMs }, () => job(number))
        .catch((error: unknown) => {
          if (!(error instanceof LockBusyError)) throw error;
          waiting.delete(number);
          timedOut++;
        });
    } while (performance.now() - from < forMs);
  };
  const requests = await requestsOf(() => Promise.all(Array.from({ length: calls }, call)));
  await locks.close();
  return { grants, timedOut, outOfOrder, ...requests };
}

if (process.argv[1] === import.meta.filename) {
  process.on('disconnect', () => process.exit());
  process.send?.('ready');
  await once(process, 'message');
  const waited = await waitForLock(JSON.parse(process.argv[2] ?? ''));
  process.send?.(waited, () => process.exit());
}
