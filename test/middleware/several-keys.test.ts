import { Readable } from 'node:stream';
import { describe, expect, test } from '@jest/globals';
import middy from '@middy/core';
import type { Leases } from '../../lib/index.ts';
import { lock, lockPlugin, withLock } from '../../middleware/index.ts';
import { invocation, setUp } from './setup.ts';

interface Transfer {
  readonly from: string;
  readonly to: string;
}
const transfer: Transfer = { from: 'b', to: 'a' };
const keys = ({ from, to }: Transfer) => [from, to];

describe('a handler under the locks of several keys', () => {
  test('has all the leases in its context, in Middy and without', async () => {
    const { locks, requests, isHeld } = setUp();
    const seen: boolean[] = [];
    const work = async (_: Transfer, { lock }: { lock: Leases }) => {
      seen.push(lock.isHeld(), await isHeld('a'), await isHeld('b'));
      return lock.get('a').key;
    };
    const inMiddy = middy<Transfer>(lockPlugin()).use(lock({ keys, locks })).handler(work);
    expect(await inMiddy(transfer, invocation() as never)).toBe('a');
    expect(await withLock({ keys, locks }, work)(transfer, invocation() as never)).toBe('a');
    expect(seen).toEqual(Array.from({ length: 6 }, () => true));
    expect(requests).toEqual(['acquire', 'acquire', 'release', 'release', 'acquire', 'acquire', 'release', 'release']);
  });

  test('does not run if one is busy, and the error and onBusy name the key', async () => {
    const { locks, others, isHeld } = setUp();
    await others.acquire('b');
    const handler = async () => 'ran';
    await expect(withLock({ keys, locks }, handler)(transfer, invocation())).rejects.toMatchObject({ key: 'b' });
    const answer = withLock({ keys, locks, onBusy: ({ key }) => key }, handler)(transfer, invocation());
    expect(await answer).toBe('b');
    expect(await isHeld('a')).toBe(false);
  });

  test('opens all locks after an error of the work', async () => {
    const { locks, isHeld } = setUp();
    const failing = withLock({ keys, locks }, async () => {
      throw new Error('mine');
    });
    await expect(failing(transfer, invocation())).rejects.toThrow('mine');
    expect([await isHeld('a'), await isHeld('b')]).toEqual([false, false]);
  });

  test.each([
    ['throw', { code: 'ERR_LOCK_LOST', key: 'b' }],
    ['ignore', 'ran'],
  ] as const)('ends as onLost says if a lease was lost: %s', async (onLost, expected) => {
    const { locks, others } = setUp();
    const handler = withLock({ keys, locks, onLost }, async (_: Transfer, { lock }) => {
      await others.forceRelease('b', { lockId: lock.get('b').lockId });
      await lock
        .get('b')
        .renew()
        .catch(() => {});
      return 'ran';
    });
    const ended = await handler(transfer, invocation() as never).catch((error: unknown) => error);
    if (typeof expected === 'string') expect(ended).toBe(expected);
    else expect(ended).toMatchObject(expected);
  });

  test('holds all locks until the stream of its response is read', async () => {
    const { locks, isHeld } = setUp();
    const handler = withLock({ keys, locks }, async () => Readable.from(['x']));
    const body = (await handler(transfer, invocation())) as Readable;
    expect(await isHeld('a')).toBe(true);
    await body.toArray();
    expect([await isHeld('a'), await isHeld('b')]).toEqual([false, false]);
  });

  test('keeps no lock closed by holdAtLeastMs if no work has begun', async () => {
    const { clock, locks, others } = setUp();
    const handler = middy<Transfer>(lockPlugin())
      .use(lock({ keys, locks, holdAtLeastMs: 60_000 }))
      .before(() => {
        throw new Error('not valid');
      })
      .handler(async () => {});
    await expect(handler(transfer, invocation() as never)).rejects.toThrow('not valid');
    await clock.advance(2);
    await others.acquireAll(['a', 'b']);
  });
});

describe('the options of several keys', () => {
  test.each([
    [{ key: 'a', keys: ['a', 'b'] }, "lock() takes either key or keys, not both: leave out the key, which is 'a'."],
    [{ keys: ['a'] }, "keys must be an array of 2 to 25 different keys, but there are 1: 'a'."],
    [{ keys: 'ab' }, "keys must be an array of 2 to 25 different keys, but it is 'ab'."],
    [{ keys: ['a', 'b'], once: 5 }, 'lock() takes no once with keys: it belongs to one key.'],
    // A token that is given must be there.
    [{ keys: ['a', 'b'], once: undefined }, 'lock() takes no once with keys: it belongs to one key.'],
    [{ keys: ['a', 'b'], onDone: 'skip' }, 'lock() takes no onDone with keys: it belongs to one key.'],
  ])('are refused at once if they contradict each other: %j', (options, message) => {
    expect(() => lock({ ...options, locks: setUp().locks } as never)).toThrow(message);
  });

  test('are refused in the invocation if the function gives no keys, and nothing is locked', async () => {
    const { locks, requests } = setUp();
    const handler = withLock({ keys: () => ['a', 'a'], locks }, async () => 'ran');
    await expect(handler({}, invocation())).rejects.toThrow("'a' is there twice");
    const promising = withLock({ keys: (async () => ['a', 'b']) as never, locks }, async () => 'ran');
    await expect(promising({}, invocation())).rejects.toThrow(
      'keys must be an array of strings, or a function that gives it, but it gave a Promise',
    );
    expect(requests).toEqual([]);
  });

  test('may stand beside options of one key that are undefined, which means that they are not given', async () => {
    const { locks, requests } = setUp();
    const none = { key: undefined, onDone: undefined, permits: undefined, coalesce: undefined };
    const handler = withLock({ keys, locks, ...none } as never, async () => 'ran');
    expect(await handler(transfer as never, invocation())).toBe('ran');
    expect(requests).toEqual(['acquire', 'acquire', 'release', 'release']);
  });
});
