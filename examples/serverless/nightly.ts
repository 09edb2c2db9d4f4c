import { setTimeout as sleep } from 'node:timers/promises';
import middy from '@middy/core';
import { lock, lockPlugin } from 'leasehold/middy';

/** The event of the schedule. Every delivery for the same night has the same `time`. */
interface Night {
  readonly time: string;
}

export const handler = middy<Night>(lockPlugin())
  .use(
    lock({
      key: 'nightly-report',
      once: (night: Night) => night.time, // a second delivery finds the night done
      onBusy: (busy) => ({ outcome: 'busy', retryAfterMs: busy.retryAfterMs }),
      onDone: (done) => ({ outcome: 'already done', doneToken: done.doneToken }),
    }),
  )
  .handler(async (night, { lock: lease }) => {
    for (const _page of ['north', 'south', 'east', 'west']) {
      lease.assertHeld(); // throws if the lease was lost
      await sleep(250, undefined, { signal: lease.signal }); // the work: put yours here, and pass the signal on
    }
    return { outcome: 'done', night: night.time, fencingToken: lease.fencingToken };
  });
