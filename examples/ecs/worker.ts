import { setTimeout as sleep } from 'node:timers/promises';
import { LockBusyError, LockClient, LockClosedError } from 'leasehold';
import { DynamoDBLockStore } from 'leasehold/dynamodb';

/** The pause between two turns, and the time for which the process may finish its work when it is told to stop. */
const PAUSE_MS = 1_000;
/** ECS kills a container 30 s after SIGTERM (`stopTimeout`). */
const GRACE_MS = 20_000;

const locks = new LockClient({
  store: new DynamoDBLockStore(), // the table that LOCK_TABLE_NAME names
  onEvent: ({ type, key }) => console.log(JSON.stringify({ type, key })),
});

process.once('SIGTERM', () => void locks.close({ graceMs: GRACE_MS }));

for (;;) {
  try {
    await locks.using('worker/import', { waitMs: 10_000 }, async ({ signal }) => {
      await sleep(PAUSE_MS, undefined, { signal }); // the work: put yours here, and pass the signal on
    });
    await sleep(PAUSE_MS);
  } catch (error) {
    if (error instanceof LockClosedError) break; // the process is told to stop
    if (error instanceof LockBusyError) continue; // another task works
    console.error(error);
    await sleep(PAUSE_MS);
  }
}
