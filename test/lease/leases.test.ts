import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { LockBusyError, LockClosedError, LockLostError, LockStoreError } from '../../lib/record/errors.ts';
import { outcomeOf, settle, world } from './setup.ts';

afterEach(() => {
  jest.restoreAllMocks();
});

const keysOf = (requests: readonly { operation: string; request: { key: string } }[], operation: string) =>
  requests.filter((each) => each.operation === operation).map(({ request }) => request.key);

describe('acquireAll', () => {
  test('takes the locks one after the other in the order of their bytes, with two requests for each key in all', async () => {
    const { store, host } = world();
    // By JavaScript's own order, the emoji would come before the private character.
    const leases = await host().client.acquireAll(['\u{1f512}', 'b', '\ue000', 'a']);
    expect([...leases].map(({ key }) => key)).toEqual(['a', 'b', '\ue000', '\u{1f512}']);
    expect(leases.isHeld()).toBe(true);
    expect(await leases.release()).toBe(true);
    expect(leases.isHeld()).toBe(false);
    expect(keysOf(store.requests, 'acquire')).toEqual(['a', 'b', '\ue000', '\u{1f512}']);
    expect(keysOf(store.requests, 'release')).toEqual(['\u{1f512}', '\ue000', 'b', 'a']);
    expect(store.count()).toBe(8);
  });

  test('gives each lease by its key, and the soonest deadline', async () => {
    const { time, host } = world();
    const leases = await host().client.acquireAll(['a', 'b']);
    const [a, b] = [leases.get('a'), leases.get('b')];
    await time.advance(5_000);
    await b.renew();
    expect(b.deadline).toBeGreaterThan(a.deadline);
    expect(leases.deadline).toBe(a.deadline);
    expect(() => leases.get('c')).toThrow("No lease has the key 'c': the leases are of 'a', 'b'.");
  });

  test('releases what it has within one round trip of a refusal, and names the busy key', async () => {
    const { time, store, host } = world();
    const other = await host().client.acquire('c');
    const { client, of } = host();
    const asking = outcomeOf(client.acquireAll(['c', 'a', 'b'], { holdAtLeastMs: 60_000 }));
    await time.advance(0);
    expect(asking.error).toBeInstanceOf(LockBusyError);
    expect(asking.error.key).toBe('c');
    expect(keysOf(store.requests, 'release')).toEqual(['b', 'a']);
    expect(of('released')).toHaveLength(2);
    // Leases under which no work has begun: holdAtLeastMs keeps nothing closed.
    await time.advance(2);
    await host().client.acquireAll(['a', 'b']);
    await other.release();
  });

  test('holds and renews the first lock while it waits for the second', async () => {
    const { time, host } = world();
    const holder = await host().client.acquire('b');
    const { client, of } = host();
    const waiting = outcomeOf(client.acquireAll(['a', 'b'], { waitMs: 120_000 }));
    await time.advance(65_000);
    expect(waiting.settled).toBe(false);
    expect(of('renewed').length).toBeGreaterThan(3);
    expect(await host().client.tryAcquire('a')).toBeNull();
    await holder.release();
    await time.advance(500);
    expect(waiting.value?.isHeld()).toBe(true);
  });

  test('waits for waitMs in all, and not for each key', async () => {
    const { time, host } = world();
    const { client: other } = host();
    const first = await other.acquire('a');
    await other.acquire('b');
    const waiting = outcomeOf(host().client.acquireAll(['a', 'b'], { waitMs: 1_000 }));
    await time.advance(700);
    await first.release();
    await time.advance(290);
    expect(waiting.settled).toBe(false);
    await time.advance(20);
    expect(waiting.error).toBeInstanceOf(LockBusyError);
    expect(waiting.error.key).toBe('b');
    expect(await other.tryAcquire('a')).not.toBeNull();
  });

  test('gives up and releases the rest if a lease is lost while it waits for the next key', async () => {
    const { time, store, host } = world();
    const { client: other } = host();
    await other.acquire('c');
    const waiting = outcomeOf(host().client.acquireAll(['a', 'b', 'c'], { waitMs: 60_000 }));
    await time.advance(100);
    const seen = await other.inspect('a');
    await other.forceRelease('a', { lockId: seen?.lockId as string });
    await time.advance(11_000);
    expect(waiting.error).toBeInstanceOf(LockLostError);
    expect(waiting.error).toMatchObject({ key: 'a', reason: 'revoked' });
    expect(keysOf(store.requests, 'release')).toEqual(['b']);
    expect(await other.tryAcquire('b')).not.toBeNull();
  });

  test('gives up if its first lease ended by the clock alone while the last answer was on its way', async () => {
    const { time, store, host } = world();
    store.plan(
      { do: 'delayAnswer', operation: 'acquire', ms: 900 },
      { do: 'then', operation: 'acquire', act: () => time.step(26_500) },
    );
    const asking = outcomeOf(host().client.acquireAll(['a', 'b']));
    await time.advance(901);
    expect(asking.error).toMatchObject({ key: 'a', reason: 'expired' });
    await time.advance(1);
    expect(await host().client.tryAcquire('b')).not.toBeNull();
  });

  test('throws the reason of the signal, and releases what it has all the same', async () => {
    const { time, host } = world();
    const { client: other } = host();
    await other.acquire('b');
    const controller = new AbortController();
    const waiting = outcomeOf(host().client.acquireAll(['a', 'b'], { waitMs: 60_000, signal: controller.signal }));
    await time.advance(1_000);
    controller.abort('no more');
    await time.advance(1);
    expect(waiting.error).toBe('no more');
    expect(await other.tryAcquire('a')).not.toBeNull();
  });

  test('answers in time though the store answers no release, and releases in the background', async () => {
    const { time, store, host } = world();
    const { client: other } = host();
    await other.acquire('b');
    store.plan({ do: 'hang', operation: 'release' });
    const { client } = host();
    const asking = outcomeOf(client.acquireAll(['a', 'b'], { withinMs: 400 }));
    await time.advance(401);
    expect(asking.error).toBeInstanceOf(LockBusyError);
    expect(await other.tryAcquire('a')).toBeNull();
    await time.advance(1_000);
    expect(await other.tryAcquire('a')).not.toBeNull();
    expect(time.timers).toBeGreaterThan(0);
  });

  test('leaves nothing behind if the answer to a grant is lost', async () => {
    const { time, store, host } = world();
    const { client: other } = host();
    store.plan({ do: 'hangAnswer', operation: 'acquire', after: 1, times: 3 });
    const asking = outcomeOf(host().client.acquireAll(['a', 'b']));
    await time.advance(10_000);
    expect(asking.error).toBeInstanceOf(LockStoreError);
    await settle(time, other.acquireAll(['a', 'b']));
  });

  test('is told of a closed client, and its leases end with the client', async () => {
    const { time, host } = world();
    const { client: other } = host();
    await other.acquire('b');
    const { client } = host();
    const waiting = outcomeOf(client.acquireAll(['a', 'b'], { waitMs: 60_000 }));
    const held = await client.acquireAll(['x', 'y']);
    await time.advance(100);
    const closed = outcomeOf(client.close({ graceMs: 5_000 }));
    await time.advance(10);
    expect(waiting.error).toBeInstanceOf(LockClosedError);
    expect(held.signal.reason).toBeInstanceOf(LockClosedError);
    expect(held.isHeld()).toBe(true);
    expect(closed.settled).toBe(false);
    await held.release();
    await time.advance(0);
    expect(closed.settled).toBe(true);
    expect(await other.tryAcquire('a')).not.toBeNull();
  });

  test('leaves no lock to its expiry if its client is closed at once: no work has begun', async () => {
    const { time, store, host } = world();
    const { client: other } = host();
    await other.acquire('c');
    const { client, of } = host();
    const options = { waitMs: 60_000, holdAtLeastMs: 60_000 };
    const waiting = outcomeOf(client.acquireAll(['a', 'b', 'c'], options));
    const held = await client.acquire('x');
    await time.advance(100);
    const closed = outcomeOf(client.close({ graceMs: 0 }));
    await time.advance(1);
    expect(closed.settled).toBe(true);
    expect(waiting.error).toBeInstanceOf(LockClosedError);
    expect(keysOf(store.requests, 'release')).toEqual(['b', 'a']);
    expect(of('lost')).toEqual([expect.objectContaining({ key: 'x', reason: 'closed' })]);
    expect(held.loss?.reason).toBe('closed');
    await other.acquireAll(['a', 'b']);
  });

  test.each([
    ['no array', 'a', "keys must be an array of 2 to 25 different keys, but it is 'a'."],
    ['a single key', ['a'], "keys must be an array of 2 to 25 different keys, but there are 1: 'a'."],
    ['a key twice', ['b', 'a', 'b'], "keys must be an array of 2 to 25 different keys, but 'b' is there twice."],
    ['a key that is none', ['b', ''], "The key of a lock must not be empty, but it is ''."],
    ['26 keys', Array.from({ length: 26 }, (_, i) => `k${i}`), 'different keys, but there are 26'],
  ])('refuses %s, and sends nothing', async (_, keys, message) => {
    const { store, host } = world();
    await expect(host().client.acquireAll(keys as string[])).rejects.toThrow(message);
    expect(store.count()).toBe(0);
  });

  test('refuses once and permits, which belong to one key, and unknown options', async () => {
    const { client } = world().host();
    await expect(client.acquireAll(['a', 'b'], { once: 5 } as object)).rejects.toThrow(
      'acquireAll takes no once: it belongs to one key.',
    );
    await expect(client.usingAll(['a', 'b'], { permits: 5 } as object, () => {})).rejects.toThrow(
      'usingAll takes no permits: it belongs to one key.',
    );
    await expect(client.acquireAll(['a', 'b'], { wait: 5 } as object)).rejects.toThrow("did you mean 'waitMs'?");
  });
});

describe('leases of several keys', () => {
  test('abort with the reason of the first lease that is lost, and hold the others until the release', async () => {
    const { time, host } = world();
    const { client: other } = host();
    const leases = await host().client.acquireAll(['a', 'b']);
    await other.forceRelease('b', { lockId: leases.get('b').lockId });
    await time.advance(11_000);
    expect(leases.signal.reason).toMatchObject({ key: 'b', reason: 'revoked' });
    expect(leases.isHeld()).toBe(false);
    expect(() => leases.assertHeld()).toThrow("The lease of 'b' is not held");
    expect(leases.get('a').isHeld()).toBe(true);
    await time.advance(60_000);
    expect(await other.tryAcquire('a')).toBeNull();
    expect(await leases.release()).toBe(false);
    expect(await other.tryAcquire('a')).not.toBeNull();
  });

  test('are lost by the clock alone, without a timer, and are abandoned together', async () => {
    const { time, host } = world();
    const { client } = host();
    const leases = await client.acquireAll(['a', 'b']);
    time.step(40_000);
    expect(leases.signal.reason).toMatchObject({ key: 'a', reason: 'expired' });
    const others = await client.acquireAll(['c', 'd']);
    others.abandon('timedOut');
    expect([...others].map(({ loss }) => loss?.reason)).toEqual(['timedOut', 'timedOut']);
    expect(others.loss?.key).toBe('c');
  });

  test('end with their scope', async () => {
    const { host } = world();
    const { client } = host();
    {
      await using leases = await client.acquireAll(['a', 'b']);
      leases.assertHeld();
    }
    expect((await client.inspect('a'))?.held).toBe(false);
    expect((await client.inspect('b'))?.held).toBe(false);
  });
});

describe('usingAll', () => {
  test('runs the work under all locks and releases them, with the options before or after the work', async () => {
    const { time, host } = world();
    const { client } = host();
    const { client: other } = host();
    const work = async () => [await other.tryAcquire('a'), await other.tryAcquire('b')];
    expect(await client.usingAll(['a', 'b'], work)).toEqual([null, null]);
    expect(await client.usingAll(['a', 'b'], { data: 1 }, work)).toEqual([null, null]);
    expect(await client.usingAll(['a', 'b'], work as never, { data: 1 } as never)).toEqual([null, null]);
    await time.advance(10);
    await other.acquireAll(['a', 'b']);
    await expect(client.usingAll(['a', 'b'], {}, 5 as never)).rejects.toThrow(
      'usingAll takes (keys, work) or (keys, options, work), but the work is number 5.',
    );
  });

  test('throws the error of the work, and releases', async () => {
    const { client } = world().host();
    const failing = client.usingAll(['a', 'b'], () => {
      throw new Error('mine');
    });
    await expect(failing).rejects.toThrow('mine');
    expect(await client.tryAcquire('a')).not.toBeNull();
  });

  test('throws a LockLostError if the work succeeded, but a lease was lost', async () => {
    const { time, host } = world();
    const { client: other } = host();
    const ended = outcomeOf(
      host().client.usingAll(['a', 'b'], async (leases) => {
        await other.forceRelease('a', { lockId: leases.get('a').lockId, immediately: true });
        return 'done';
      }),
    );
    await time.advance(1);
    expect(ended.error).toBeInstanceOf(LockLostError);
    expect(ended.error.key).toBe('a');
    expect(await other.tryAcquire('b')).not.toBeNull();
  });
});
