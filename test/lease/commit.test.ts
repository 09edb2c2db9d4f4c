import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { LockStoreError } from '../../lib/record/errors.ts';
import type { LockStore } from '../../lib/record/store.ts';
import { outcomeOf, settle, world } from './setup.ts';

afterEach(() => {
  jest.restoreAllMocks();
});

const committedOf = async (memory: LockStore) => (await memory.read('job', { consistent: true })).record?.committed;

describe('commit', () => {
  test('writes the data and its number under the token of the grant, and the lease and inspect show the data', async () => {
    const { memory, host } = world();
    const { client } = host();
    const lease = await client.acquire('job');
    expect(lease.committed).toBeUndefined();
    expect((await client.inspect('job'))?.committed).toBeUndefined();
    await lease.commit({ current: 'a' });
    await lease.commit([null]);
    const { fencingToken } = lease;
    expect(lease.committed).toEqual([null]);
    expect(await committedOf(memory)).toEqual({ data: '[null]', number: 2, fencingToken });
    expect((await client.inspect('job'))?.committed).toEqual({ data: [null], fencingToken });
  });

  test('is one request, also after the commits of earlier holders', async () => {
    const { time, store, host } = world();
    const first = await host().client.acquire('job');
    await first.commit(1);
    await first.release();
    await time.advance(1);
    const second = await host().client.acquire('job');
    expect(second.committed).toBe(1);
    store.requests = [];
    await second.commit(2);
    await second.commit(3);
    expect(store.operations).toEqual(['commit', 'commit']);
    expect(second.committed).toBe(3);
  });

  test('leaves the expiry, the note and the heartbeat of the lease as they are', async () => {
    const { time, memory, host } = world();
    const lease = await host().client.acquire('job', { data: { note: 1 } });
    const { committed: _, ...before } = (await memory.read('job')).record ?? {};
    await lease.commit('x');
    const { committed, ...after } = (await memory.read('job')).record ?? {};
    expect(after).toEqual(before);
    expect(committed).toBeDefined();
    await time.advance(60_000);
    expect(lease.isHeld()).toBe(true);
  });

  test('of one lease is made after the commit before, in the order of the calls', async () => {
    const { time, store, memory, host } = world();
    const lease = await host().client.acquire('job');
    store.plan({ do: 'travel', there: 300, back: 300, operation: 'commit' });
    const commits = Promise.all(['a', 'b', 'c'].map((data) => lease.commit(data)));
    await time.advance(100);
    expect(store.count('commit')).toBe(1);
    await settle(time, commits);
    expect(await committedOf(memory)).toMatchObject({ data: '"c"', number: 3 });
  });

  test('of one lease is made though the commit before failed', async () => {
    const { time, store, memory, host } = world();
    const lease = await host().client.acquire('job');
    store.plan({ do: 'loseRequest', operation: 'commit', times: 3 });
    const [first, second] = [outcomeOf(lease.commit('a')), lease.commit('b')];
    await settle(time, second);
    expect(first.error).toMatchObject({
      name: 'LockStoreError',
      message: "Committing to 'job': The connection broke.",
      transient: true,
    });
    expect(await committedOf(memory)).toMatchObject({ data: '"b"', number: 1 });
    expect(lease.isHeld()).toBe(true);
  });
});

describe('a commit whose answer is lost', () => {
  test('is sent again, and counts once', async () => {
    const { time, store, memory, host } = world();
    const lease = await host().client.acquire('job');
    store.plan({ do: 'loseAnswer', operation: 'commit' });
    await settle(time, lease.commit('a'));
    expect(store.count('commit')).toBe(2);
    expect(await committedOf(memory)).toMatchObject({ data: '"a"', number: 1 });
  });

  test('is found in the record by the next commit, which counts on from there', async () => {
    const { time, store, memory, host } = world();
    const lease = await host().client.acquire('job');
    store.plan({ do: 'loseAnswer', operation: 'commit', times: 3 });
    await expect(settle(time, lease.commit('a'))).rejects.toMatchObject({ name: 'LockStoreError' });
    expect(lease.committed).toBeUndefined();
    await settle(time, lease.commit('b'));
    expect(lease.committed).toBe('b');
    expect(await committedOf(memory)).toMatchObject({ data: '"b"', number: 2 });
  });

  test('is done if the record shows it, though another holder has the lock by now', async () => {
    const { time, store, memory, host } = world();
    const lease = await host().client.acquire('job');
    await time.advance(2);
    const takenOver = async () => {
      await memory.forceRelease({ key: 'job', lockId: lease.lockId, immediately: true });
      await host().client.acquire('job');
      throw new LockStoreError('The connection broke.', { transient: true });
    };
    store.plan({ do: 'then', act: takenOver, operation: 'commit' });
    await settle(time, lease.commit('a'));
    expect(store.count('commit')).toBe(2);
    expect(await committedOf(memory)).toMatchObject({ data: '"a"', number: 1, fencingToken: lease.fencingToken });
  });

  test('is not taken for done if the record shows the same data of another holder', async () => {
    const { time, store, memory, host } = world();
    const lease = await host().client.acquire('job');
    await time.advance(2);
    const takenOver = async () => {
      await memory.forceRelease({ key: 'job', lockId: lease.lockId, immediately: true });
      await (await host().client.acquire('job')).commit('a');
    };
    store.plan({ do: 'first', act: takenOver, operation: 'commit' });
    await expect(settle(time, lease.commit('a'))).rejects.toMatchObject({ name: 'LockLostError', reason: 'takenOver' });
  });

  test('and comes late, never overwrites the next commit of the lease', async () => {
    const { time, store, memory, host } = world();
    const lease = await host().client.acquire('job');
    store.plan({ do: 'delayRequest', ms: 5_000, operation: 'commit', times: 3 });
    await expect(settle(time, lease.commit('a'))).rejects.toMatchObject({ name: 'LockStoreError', transient: true });
    await settle(time, lease.commit('b'));
    await time.advance(6_000);
    expect(await committedOf(memory)).toMatchObject({ data: '"b"', number: 1 });
  });

  test('and comes late, never overwrites the commit of a later holder', async () => {
    const { time, store, memory, host } = world();
    const lease = await host().client.acquire('job');
    store.plan({ do: 'delayRequest', ms: 5_000, operation: 'commit', times: 3 });
    await expect(settle(time, lease.commit('late'))).rejects.toMatchObject({ transient: true });
    await settle(time, lease.release());
    const next = await settle(time, host().client.acquire('job', { waitMs: 1_000 }));
    expect(next.committed).toBeUndefined();
    await time.advance(6_000);
    expect(await committedOf(memory)).toBeUndefined();
    await next.commit('next');
    expect(await committedOf(memory)).toMatchObject({ data: '"next"', number: 1 });
  });

  test('delivered twice, leaves one commit, and the next commit stands', async () => {
    const { time, store, memory, host } = world();
    const lease = await host().client.acquire('job');
    store.plan({ do: 'duplicate', ms: 1_000, operation: 'commit' });
    await lease.commit('a');
    await lease.commit('b');
    await time.advance(1_000);
    expect(await committedOf(memory)).toMatchObject({ data: '"b"', number: 2 });
  });
});

describe('a commit of a lease that is not held', () => {
  test.each([
    ['released', async (lease: { release(): Promise<boolean> }) => void (await lease.release()), 'released'],
    [
      'handed off',
      async (lease: { handOff(options: { leaseMs: number }): Promise<unknown> }) =>
        void (await lease.handOff({ leaseMs: 9_000 })),
      'handedOff',
    ],
  ] as const)('sends nothing if the lease was %s', async (_, end, reason) => {
    const { store, host } = world();
    const lease = await host().client.acquire('job');
    await end(lease);
    store.requests = [];
    await expect(lease.commit('a')).rejects.toMatchObject({ name: 'LockLostError', reason });
    expect(store.requests).toEqual([]);
  });

  test('sends nothing if its deadline has passed', async () => {
    const { time, store, host } = world();
    const lease = await host().client.acquire('job');
    store.plan({ do: 'hang', operation: 'renew', times: Number.POSITIVE_INFINITY });
    await time.advance(30_000);
    await expect(lease.commit('a')).rejects.toMatchObject({ name: 'LockLostError', reason: 'expired' });
    expect(store.count('commit')).toBe(0);
  });

  test('loses the lease at once if another holder has the lock: the signal aborts, and an event tells', async () => {
    const { time, memory, host } = world();
    const { client, of } = host();
    const lease = await client.acquire('job');
    await memory.forceRelease({ key: 'job', lockId: lease.lockId, immediately: true });
    await time.advance(2);
    const next = await host().client.acquire('job');
    await next.commit('next');
    await expect(lease.commit('late')).rejects.toMatchObject({ name: 'LockLostError', reason: 'takenOver' });
    expect(lease.signal.aborted).toBe(true);
    expect(of('lost')).toMatchObject([{ reason: 'takenOver' }]);
    expect(await committedOf(memory)).toMatchObject({ data: '"next"' });
  });

  test.each([
    ['revoked', (memory: LockStore, lockId: string) => memory.forceRelease({ key: 'job', lockId, immediately: false })],
    ['gone', undefined],
  ] as const)('loses the lease at once if the record says so: %s', async (reason, end) => {
    const { store, memory, host } = world();
    const lease = await host().client.acquire('job');
    if (end) await end(memory, lease.lockId);
    else store.inner = world().memory;
    await expect(lease.commit('late')).rejects.toMatchObject({ name: 'LockLostError', reason });
    expect(lease.isHeld()).toBe(false);
  });

  test('is told as released if the release was sent while the commit waited for its turn, and is no loss', async () => {
    const { time, store, host } = world();
    const { client, of } = host();
    const lease = await client.acquire('job');
    store.plan({ do: 'travel', there: 100, back: 100, operation: 'commit' });
    const first = outcomeOf(lease.commit('a'));
    const second = outcomeOf(lease.commit('b'));
    await time.advance(110);
    expect(await lease.release()).toBe(true);
    await time.advance(200);
    expect(first).toMatchObject({ settled: true, error: undefined });
    expect(second.error).toMatchObject({ name: 'LockLostError', reason: 'released' });
    expect(of('lost')).toEqual([]);
  });
});

describe('a lease that was handed off', () => {
  test('is resumed with its last commit, and the number counts on', async () => {
    const { memory, host } = world();
    const lease = await host().client.acquire('job');
    await lease.commit('a');
    const handle = await lease.handOff({ leaseMs: 9_000 });
    const resumed = await host().client.resume(handle);
    expect(resumed.committed).toBe('a');
    await resumed.commit('b');
    const { fencingToken } = resumed;
    expect(await committedOf(memory)).toEqual({ data: '"b"', number: 2, fencingToken });
  });

  test('is not overwritten after the resume by a commit of the first process that comes late', async () => {
    const { time, store, memory, host } = world();
    const lease = await host().client.acquire('job');
    store.plan({ do: 'delayRequest', ms: 5_000, operation: 'commit', times: 3 });
    await expect(settle(time, lease.commit('late'))).rejects.toMatchObject({ transient: true });
    const resumed = await host().client.resume(await lease.handOff({ leaseMs: 9_000 }));
    await time.advance(5_000);
    expect(await committedOf(memory)).toBeUndefined();
    await resumed.commit('b');
    expect(await committedOf(memory)).toMatchObject({ data: '"b"', number: 1 });
  });
});

describe('data that cannot be committed', () => {
  test.each([
    [undefined, 'data must be JSON, but it is undefined.'],
    [Symbol('x'), 'data must be JSON, but it is symbol Symbol(x).'],
    [1n, 'data must be JSON, but it cannot be encoded: '],
    ['x'.repeat(8_191), 'data must have at most 8192 bytes as JSON, but '],
  ])('is refused with a TypeError that shows the value: %p', async (data, message) => {
    const { store, host } = world();
    const lease = await host().client.acquire('job');
    store.requests = [];
    const error = await lease.commit(data).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(TypeError);
    expect((error as Error).message).toContain(message);
    expect(store.requests).toEqual([]);
    expect(lease.isHeld()).toBe(true);
  });

  test.each([null, 0, '', false, 'x'.repeat(8_190)])('is none of these: %p', async (data) => {
    const { host } = world();
    const lease = await host().client.acquire('job');
    await lease.commit(data);
    expect(lease.committed).toBe(data);
  });
});

test('a commit that somebody has changed in the record is told, after a few requests', async () => {
  const { store, memory, host } = world();
  const lease = await host().client.acquire('job');
  await lease.commit('a');
  const { record } = await memory.read('job');
  // A record whose commit is of a text in the place of a number.
  Object.assign(store.inner, {
    commit: async () => ({ applied: false, record: { ...record, committed: undefined } }),
  });
  await expect(lease.commit('b')).rejects.toMatchObject({
    name: 'LockStoreError',
    message: "Committing to 'job': refused, though the lease stands. Somebody has changed the commit in the record.",
  });
  expect(lease.isHeld()).toBe(true);
});
