import { setTimeout as sleep } from 'node:timers/promises';
import middy from '@middy/core';
import { lock, lockPlugin } from '../middleware/index.ts';

/** The event that the schedules send. */
interface Night {
  /** The scheduled time, in ISO 8601: the same for every schedule that fires then. */
  readonly time: string;
}

const PAGES = 10;
/** Stands for the work on one page. */
const PAGE_MS = 150;

/**
 * A job that must run once a night, however often it is called:
 * - the first call runs the job;
 * - a call that comes meanwhile meets the lock busy;
 * - a call that comes later finds the job done for this night.
 */
export const handler = middy<Night>(lockPlugin())
  .use(
    lock({
      key: 'nightly-report',
      once: (night: Night) => night.time,
      onBusy: (busy) => ({ outcome: 'busy', retryAfterMs: busy.retryAfterMs }),
      onDone: (done) => ({ outcome: 'already done', doneToken: done.doneToken }),
    }),
  )
  .handler(async (night, { lock: lease }) => {
    for (let page = 1; page <= PAGES; page++) await sleep(PAGE_MS, undefined, { signal: lease.signal });
    return { outcome: 'done', night: night.time, pages: PAGES, fencingToken: lease.fencingToken };
  });
