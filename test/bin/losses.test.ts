import { describe, expect, test } from '@jest/globals';
import { Losses } from '../../bin/serve/losses.ts';
import { type Seen, seen } from '../../bin/serve/seen.ts';
import { LockClient, type LockState } from '../../lib/index.ts';
import { FakeClock, MemoryLockStore } from '../../lib/testing.ts';

/** Two hosts, a store, and an operator's page that looks at the store. */
function scene() {
  const clock = new FakeClock();
  const store = new MemoryLockStore({ clock });
  const client = (owner: string) => new LockClient({ store, clock, owner, leaseMs: 30_000 });
  const locks = client('operator');
  const losses = new Losses(clock);
  let before = new Map<string, Seen>();
  const look = async (change: (state: LockState) => LockState | undefined = (state) => state, isWhole = true) => {
    const now = new Map<string, Seen>();
    for await (const state of locks.list()) {
      const changed = change(state);
      if (changed) now.set(changed.key, seen(changed, clock));
    }
    losses.learn(before, now, isWhole);
    before = now;
    return losses.recent();
  };
  const force = async (immediately = false) => {
    const { lockId = '' } = (await locks.inspect('job')) ?? {};
    await locks.forceRelease('job', { lockId, immediately });
    return lockId;
  };
  return { clock, store, losses, look, force, a: client('a'), b: client('b') };
}

/** Takes the lock for a host that dies at once. */
const die = (store: MemoryLockStore, clock: FakeClock, owner = 'a', key = 'job') =>
  store.acquire({
    key,
    lockId: `of ${owner} ${key}`,
    owner,
    now: clock.now(),
    until: clock.now() + 30_000,
    leaseMs: 30_000,
  });

describe('the losses', () => {
  test('are none while leases are renewed, released, kept closed and taken again', async () => {
    const { clock, look, a, b } = scene();
    const lease = await a.acquire('job', { holdAtLeastMs: 40_000 });
    for (let second = 0; second < 60; second += 2, await clock.advance(2_000)) expect(await look()).toEqual([]);
    await lease.release();
    expect(await look()).toEqual([]);
    await (await b.acquire('job', { holdAtLeastMs: 30_000 })).release();
    expect(await look()).toEqual([]);
    await clock.advance(30_000);
    await a.acquire('job');
    expect(await look()).toEqual([]);
  });

  test('have a lease that expired without a release, and then the holder that took over, once', async () => {
    const { clock, store, look, b } = scene();
    const { record } = await die(store, clock);
    expect(await look()).toEqual([]);
    await clock.advance(31_000);
    const loss = { type: 'expired', key: 'job', at: record?.expiresAt, owner: 'a' };
    expect(await look()).toEqual([loss]);
    expect(await look()).toEqual([loss]);
    const lease = await b.acquire('job');
    expect(await look()).toEqual([{ ...loss, takenOverBy: 'b' }]);
    await lease.release();
    expect(await look()).toEqual([{ ...loss, takenOverBy: 'b' }]);
  });

  test('begin with those that the records of the first look tell', async () => {
    const { clock, store, look, b } = scene();
    await die(store, clock);
    await clock.advance(31_000);
    await b.acquire('job');
    expect(await look()).toMatchObject([{ type: 'expired', owner: 'a', takenOverBy: 'b' }]);
  });

  test('are forgotten after an hour, also while a record still tells of them', async () => {
    const { clock, store, look } = scene();
    await die(store, clock);
    await clock.advance(31_000);
    expect(await look()).toHaveLength(1);
    await clock.advance(3_600_000);
    expect(await look()).toEqual([]);
  });

  test('of this hour are not driven out by many older ones', async () => {
    const { clock, store, look } = scene();
    for (let n = 0; n < 1_001; n += 1) await die(store, clock, 'an old host', `old/${n}`);
    await clock.advance(7_200_000);
    await die(store, clock);
    await clock.advance(31_000);
    const loss = { type: 'expired', key: 'job', owner: 'a' };
    expect(await look((state) => (state.key === 'job' ? state : undefined))).toMatchObject([loss]);
    expect(await look()).toMatchObject([loss]);
  });

  test('have the grants that an operator ended, at once or not, also if somebody has the lock again', async () => {
    const { clock, look, force, a, b } = scene();
    await a.acquire('job');
    await clock.advance(15_000);
    await look();
    await force();
    expect(await look()).toMatchObject([{ type: 'forced', key: 'job', owner: 'a' }]);
    await clock.advance(31_000);
    await b.acquire('job');
    await look();
    await clock.advance(1_000);
    await force(true);
    await a.acquire('job');
    expect(await look()).toMatchObject([
      { type: 'forced', owner: 'b' },
      { type: 'forced', owner: 'a' },
    ]);
  });

  test('leave out an end that may be a release with holdAtLeastMs, unless this page made it', async () => {
    const { look, force, losses, a } = scene();
    await a.acquire('job');
    await look();
    const lockId = await force();
    expect(await look()).toEqual([]);
    const again = scene();
    await again.a.acquire('job');
    await again.look();
    again.losses.ended(await again.force());
    expect(await again.look()).toMatchObject([{ type: 'forced', owner: 'a' }]);
    expect([losses.recent(), lockId.length]).toEqual([[], 36]);
  });

  test('leave out a lease that another process resumed after a hand-off', async () => {
    const { look, a, b } = scene();
    const lease = await a.acquire('job');
    await look();
    await b.resume(await lease.handOff({ leaseMs: 30_000 }));
    expect(await look()).toEqual([]);
  });

  test('have a record that was damaged under the eyes of the page, and no older damage', async () => {
    const { look, a } = scene();
    const damaged = (state: LockState) => ({ ...state, flaw: 'fencingToken is -1' });
    await a.acquire('job');
    expect(await look(damaged)).toEqual([]);
    await look();
    expect(await look(damaged)).toMatchObject([
      { type: 'damaged', key: 'job', owner: 'a', flaw: 'fencingToken is -1' },
    ]);
    expect(await look(damaged)).toHaveLength(1);
  });

  test('have a record that was deleted under its holder, but no young record that an old read misses', async () => {
    const { clock, look, a } = scene();
    await a.acquire('job');
    await look();
    expect(await look(() => undefined)).toEqual([]);
    await clock.advance(6_000);
    await look();
    expect(await look(() => undefined, false)).toEqual([]);
    await look();
    expect(await look(() => undefined)).toMatchObject([{ type: 'deleted', key: 'job', owner: 'a' }]);
  });
});
