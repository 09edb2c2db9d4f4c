import { beforeEach, describe, expect, test } from '@jest/globals';
import middy from '@middy/core';
import httpErrorHandler from '@middy/http-error-handler';
import { lock, lockPlugin, withLock } from '../../middleware/index.ts';
import { invocation, setUp } from './setup.ts';

let { clock, locks, others } = setUp();
beforeEach(() => {
  ({ clock, locks, others } = setUp());
});

const errors = () => httpErrorHandler({ logger: false });

describe('@middy/http-error-handler', () => {
  test('answers a busy lock with 423, the time to come back and a message without the owner', async () => {
    await others.acquire('job');
    await clock.advance(4_000);
    const handler = middy(lockPlugin())
      .use(errors())
      .use(lock({ key: 'job', locks }))
      .handler(async () => ({ statusCode: 200 }));
    expect(await handler({}, invocation() as never)).toEqual({
      statusCode: 423,
      body: "The lock 'job' is busy; retry in 4 s.",
      headers: { 'Retry-After': '4', 'Content-Type': 'text/plain' },
    });
  });

  test('answers a run that is left owed with 503 and the time to send again', async () => {
    const coalesced = (work: () => Promise<unknown>) =>
      middy(lockPlugin())
        .use(errors())
        .handler(withLock({ key: 'job', coalesce: true, locks }, work) as never);
    const ask = coalesced(async () => ({ statusCode: 200 }));
    const handler = coalesced(async () => ask({}, invocation() as never));
    const hurried = invocation({ getRemainingTimeInMillis: () => 900 });
    expect(await handler({}, hurried as never)).toEqual({
      statusCode: 503,
      body: "One more run of 'job' is owed, and was not made here. Deliver the event again.",
      headers: { 'Retry-After': '1', 'Content-Type': 'text/plain' },
    });
  });
});
