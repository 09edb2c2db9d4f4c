import { setTimeout as sleep } from 'node:timers/promises';
import { LockBusyError, LockClient } from 'leasehold';
import { DynamoDBLockStore } from 'leasehold/dynamodb';

/** The pause between two turns. */
const PAUSE_MS = 1_000;
/** The time for which the work may go on after SIGTERM. ECS kills a container 30 s after SIGTERM (`stopTimeout`). */
const GRACE_MS = 20_000;

const locks = new LockClient({
  store: new DynamoDBLockStore(), // the table that LOCK_TABLE_NAME names
  onEvent: ({ type, key, ...event }) =>
    console.log(JSON.stringify({ type, key, error: 'error' in event ? event.error.message : undefined })),
});

// ECS sends SIGTERM, and Ctrl-C sends SIGINT. Not `once`: below npm, Ctrl-C may come twice.
const stopping = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    stopping.abort();
    void locks.close({ graceMs: GRACE_MS });
  });
}

while (!stopping.signal.aborted) {
  try {
    await locks.using('worker/import', { waitMs: 10_000 }, async ({ signal }) => {
      await sleep(PAUSE_MS, undefined, { signal }); // the work: put yours here, and pass the signal on
    });
  } catch (error) {
    if (stopping.signal.aborted) break; // the work, or the wait for the lock, was told to stop
    if (error instanceof LockBusyError) continue; // another task works
    console.error(error);
  }
  await sleep(PAUSE_MS, undefined, { signal: stopping.signal }).catch(() => {}); // the pause ends at the signal to stop
}
