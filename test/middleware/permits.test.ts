import { beforeEach, describe, expect, test } from '@jest/globals';
import middy from '@middy/core';
import { LockBusyError } from '../../lib/index.ts';
import { lock, lockPlugin, withLock, withRecordLocks } from '../../middleware/index.ts';
import { batch, failed, invocation, message, setUp } from './setup.ts';

let { clock, requests, locks, others } = setUp();
beforeEach(() => {
  ({ clock, requests, locks, others } = setUp());
});
const takeAll = () => Promise.all([1, 2].map(() => others.acquire('nightly', { permits: 2, waitMs: 1_000 })));

describe('permits', () => {
  test('of withLock() let as many handlers run at a time, and one more is busy', async () => {
    const slots: number[] = [];
    const ends: (() => void)[] = [];
    const handler = withLock({ key: 'nightly', permits: 2, locks }, async (_: unknown, context) => {
      slots.push(context.lock.slot);
      await new Promise<void>((end) => ends.push(end));
    });
    const first = handler({}, invocation());
    await clock.advance(1);
    const second = handler({}, invocation());
    await clock.advance(1);
    await expect(handler({}, invocation())).rejects.toMatchObject({ code: 'ERR_LOCK_BUSY', permits: 2 });
    for (const end of ends) end();
    await Promise.all([first, second]);
    expect(slots.toSorted()).toEqual([0, 1]);
  });

  test('of lock() give onBusy an error with the holders of all slots', async () => {
    await takeAll();
    const onBusy = (error: LockBusyError) => error.holders;
    const handler = middy(lockPlugin())
      .use(lock({ key: 'nightly', permits: 2, locks, onBusy }))
      .handler(async () => 'ran');
    const holders = [0, 1].map((slot) => ({ slot, owner: 'somebody else', expiresAt: expect.any(Number) }));
    expect(await handler({}, invocation() as never)).toEqual(holders);
  });

  test('leave the handler its time: the wait for a slot ends reserveMs before the invocation', async () => {
    const leases = await takeAll();
    const handler = withLock({ key: 'nightly', permits: 2, locks, waitMs: 60_000, reserveMs: 2_000 }, async () => {});
    const ends = clock.now() + 10_000;
    const busy = handler({}, invocation({ getRemainingTimeInMillis: () => ends - clock.now() })).catch(
      (error) => error,
    );
    await clock.advance(7_900);
    expect(requests).not.toContain('release');
    await clock.advance(200);
    expect(await busy).toBeInstanceOf(LockBusyError);
    expect(leases.every((lease) => lease.isHeld())).toBe(true);
  });

  test('of the locks of records: a record whose key has no slot goes back, and the others are worked on', async () => {
    await Promise.all([1, 2].map(() => others.acquire('b', { permits: 2, waitMs: 1_000 })));
    await others.acquire('a', { permits: 2 });
    const worked: string[] = [];
    const handler = withRecordLocks(
      { key: ({ body }) => body, permits: 2, locks, onFailed() {} },
      async ({ Records }, context) => {
        for (const record of Records) await context.locks.using(record, ({ key }) => worked.push(key));
      },
    );
    expect(failed(await handler(batch(message('1', 'a'), message('2', 'b')), invocation()))).toEqual(['2']);
    expect(worked).toEqual(['a']);
  });

  test('of a key that the event chooses fail the invocation if the key looks like the key of a slot', async () => {
    const handler = withLock({ key: (key: string) => key, permits: 2, locks }, async () => 'ran');
    await expect(handler('nightly#1', invocation())).rejects.toThrow('does not end as the key of a slot (#1)');
    expect(await handler('nightly', invocation())).toBe('ran');
    expect(requests).toEqual(['acquire', 'release']);
  });
});
