import { beforeEach, describe, expect, test } from '@jest/globals';
import { settle, type World, world } from './setup.ts';

let scene: World;
beforeEach(() => {
  scene = world();
});

const HOUR = 3_600_000;
const stateOf = async (key = 'job') => scene.host().client.inspect(key);

describe('an operator that ends a grant of its own client', () => {
  test('ends the lease at once, so that the next call of the client asks the store', async () => {
    const { client, of } = scene.host();
    const lease = await client.acquire('job', { leaseMs: HOUR });
    expect(await client.forceRelease('job', { lockId: lease.lockId, immediately: true })).toBe(true);
    expect(lease.signal.reason).toMatchObject({ name: 'LockLostError', reason: 'revoked' });
    expect(of('lost')).toHaveLength(1);
    await scene.time.advance(2);
    expect(await client.tryAcquire('job')).not.toBeNull();
  });

  test('leaves a later lease of the client alone', async () => {
    const { client } = scene.host();
    const { lockId } = await client.acquire('job');
    await scene.host().client.forceRelease('job', { lockId, immediately: true });
    await scene.time.advance(20_000);
    const later = await client.acquire('job', { waitMs: 60_000 });
    await client.forceRelease('job', { lockId });
    expect(later.isHeld()).toBe(true);
  });
});

describe('forceRelease', () => {
  test('opens the lock at the expiry, or at once with immediately', async () => {
    const { time } = scene;
    const { client } = scene.host();
    const operator = scene.host().client;
    const first = await client.acquire('job');
    expect(await operator.forceRelease('job', { lockId: first.lockId })).toBe(true);
    await time.advance(1);
    expect(await operator.tryAcquire('job')).toBeNull();
    await time.advance(30_000);
    const second = await operator.acquire('job');
    expect(await operator.forceRelease('job', { lockId: second.lockId, immediately: true })).toBe(true);
    await time.advance(2);
    expect(await client.tryAcquire('job')).not.toBeNull();
  });

  test('with immediately, after a force release without, opens the lock at once', async () => {
    const { lockId } = await scene.host().client.acquire('job', { leaseMs: HOUR });
    const operator = scene.host().client;
    await operator.forceRelease('job', { lockId });
    expect(await operator.forceRelease('job', { lockId, immediately: true })).toBe(true);
    await scene.time.advance(2);
    expect(await operator.tryAcquire('job')).not.toBeNull();
  });

  test('with immediately, opens a lock that holdAtLeastMs keeps closed after its release', async () => {
    const lease = await scene.host().client.acquire('job', { holdAtLeastMs: HOUR });
    await lease.release();
    const operator = scene.host().client;
    expect(await operator.forceRelease('job', { lockId: lease.lockId, immediately: true })).toBe(true);
    await scene.time.advance(2);
    expect(await operator.tryAcquire('job')).not.toBeNull();
  });

  test('with immediately, opens a lock that a clock an hour ahead closed', async () => {
    scene = world({ dated: true });
    const { time, memory } = scene;
    const now = time.now() + HOUR;
    const grant = { key: 'job', lockId: 'cut-off', owner: 'an hour ahead', leaseMs: 30_000 };
    const { record } = await memory.acquire({ ...grant, now, until: now + 30_000 });
    const operator = scene.host({ isDisciplined: false, ahead: -5_000 }).client;
    expect(await operator.forceRelease('job', { lockId: 'cut-off', immediately: true })).toBe(true);
    const lease = await operator.tryAcquire('job');
    expect(lease?.fencingToken).toBe((record?.fencingToken ?? 0) + 1);
  });

  test('with immediately, leaves a lock alone that another holder released meanwhile', async () => {
    const { client } = scene.host();
    const { lockId } = await client.acquire('job');
    const operator = scene.host().client;
    await operator.forceRelease('job', { lockId, immediately: true });
    await scene.time.advance(2);
    // The client of the first holder believes until its next renewal.
    const next = await scene.host().client.acquire('job', { holdAtLeastMs: HOUR });
    expect(await operator.forceRelease('job', { lockId, immediately: true })).toBe(true);
    await next.release();
    const before = await stateOf();
    expect(await operator.forceRelease('job', { lockId, immediately: true })).toBe(false);
    expect(await stateOf()).toEqual(before);
  });

  test.each([false, true])(
    'gives true if the answer was lost and the request was sent again: immediately is %p',
    async (immediately) => {
      const { time, store } = scene;
      const { client } = scene.host();
      const { lockId } = await client.acquire('job');
      store.plan({ do: 'hangAnswer', operation: 'forceRelease' });
      expect(await settle(time, client.forceRelease('job', { lockId, immediately }))).toBe(true);
      expect(store.count('forceRelease')).toBe(2);
    },
  );
});

describe('repair', () => {
  const closed = async (holdAtLeastMs = HOUR) => {
    const lease = await scene.host().client.acquire('job', { holdAtLeastMs });
    await lease.release();
    return lease;
  };

  test('opens a lock that nobody holds, and raises its token to the present', async () => {
    await closed();
    await scene.time.advance(60_000);
    const operator = scene.host().client;
    expect(await operator.repair('job', { seen: await operator.inspect('job') })).toBe(true);
    expect((await operator.acquire('job')).fencingToken).toBe(scene.time.now() + 1);
  });

  test('keeps a token that is higher than the present, and sets the token that the operator names', async () => {
    await closed();
    const operator = scene.host().client;
    const fencingToken = scene.time.now() + HOUR;
    await operator.repair('job', { seen: await operator.inspect('job'), fencingToken });
    expect(await stateOf()).toMatchObject({ fencingToken, opensInMs: 1 });
    await operator.repair('job', { seen: await operator.inspect('job') });
    expect(await stateOf()).toMatchObject({ fencingToken });
    await operator.repair('job', { seen: await operator.inspect('job'), fencingToken: 5 });
    expect(await stateOf()).toMatchObject({ fencingToken: 5 });
  });

  test('puts down no token that was granted by a right clock, and changes nothing', async () => {
    await closed();
    await scene.time.advance(60_000);
    const operator = scene.host().client;
    const seen = await operator.inspect('job');
    await expect(operator.repair('job', { seen, fencingToken: 5 })).rejects.toThrow(
      `fencingToken must be at least ${seen?.fencingToken}, the lock's token, which never goes down, but it is number 5.`,
    );
    expect(await stateOf()).toMatchObject({ fencingToken: seen?.fencingToken, expiresAt: seen?.expiresAt });
    expect(await operator.repair('job', { seen, fencingToken: seen?.fencingToken })).toBe(true);
  });

  test('keeps a token that was granted after the greatest token that an operator may name', async () => {
    await closed();
    const operator = scene.host().client;
    await operator.repair('job', { seen: await operator.inspect('job'), fencingToken: 9_007_000_000_000_000 });
    await scene.time.advance(2);
    const lease = await operator.acquire('job', { holdAtLeastMs: HOUR });
    await lease.release();
    expect(await operator.repair('job', { seen: await operator.inspect('job') })).toBe(true);
    expect(await stateOf()).toMatchObject({ fencingToken: 9_007_000_000_000_001, opensInMs: 1 });
  });

  test('opens no lock before its acquisition by a clock that is less than a second ahead', async () => {
    const lease = await scene.host({ ahead: 900 }).client.acquire('job', { holdAtLeastMs: HOUR });
    await lease.release();
    const seen = await stateOf();
    await scene.host().client.repair('job', { seen });
    expect((await stateOf())?.expiresAt).toBe((seen?.acquiredAt ?? 0) + 1);
  });

  test('gives false, and changes nothing, if a grant stands in the record or if the record is no longer as it was seen', async () => {
    const { client } = scene.host();
    const held = await client.acquire('job', { holdAtLeastMs: HOUR });
    const operator = scene.host().client;
    const before = await stateOf();
    expect(await operator.repair('job', { seen: before })).toBe(false);
    expect(await stateOf()).toEqual(before);
    await held.release();
    const after = await stateOf();
    expect(await operator.repair('job', { seen: before })).toBe(false);
    expect(await operator.repair('nothing', { seen: before })).toBe(false);
    expect(await stateOf()).toEqual(after);
  });

  test('gives true if the answer was lost and the request was sent again', async () => {
    await closed();
    const { time, store } = scene;
    const operator = scene.host().client;
    const seen = await operator.inspect('job');
    store.plan({ do: 'hangAnswer', operation: 'repair' });
    expect(await settle(time, operator.repair('job', { seen }))).toBe(true);
    expect(store.count('repair')).toBe(2);
  });

  test('changes nothing if the request arrives once more after later grants', async () => {
    await closed();
    const { time, store } = scene;
    const operator = scene.host().client;
    store.plan({ do: 'duplicate', ms: 1_000, operation: 'repair' });
    await operator.repair('job', { seen: await operator.inspect('job') });
    await time.advance(2);
    await (await operator.acquire('job', { holdAtLeastMs: HOUR })).release();
    const before = await stateOf();
    await time.advance(1_000);
    expect(store.count('repair')).toBe(1);
    expect((await stateOf())?.expiresAt).toBe(before?.expiresAt);
  });

  test('writes a moment of the server if the clock of the operator is wrong', async () => {
    scene = world({ dated: true });
    await closed();
    await scene.time.advance(60_000);
    const operator = scene.host({ ahead: HOUR / 2, isDisciplined: false }).client;
    expect(await operator.repair('job', { seen: await scene.host().client.inspect('job') })).toBe(true);
    const { expiresAt = 0 } = (await stateOf()) ?? {};
    expect(Math.abs(expiresAt - scene.time.now())).toBeLessThanOrEqual(1_000);
  });
});
