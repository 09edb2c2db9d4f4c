import { beforeEach, describe, expect, test } from '@jest/globals';
import { LockClient } from '../../lib/lease/client.ts';
import type { LockRecord } from '../../lib/record/record.ts';
import { encode } from '../../lib/swap/entry.ts';
import { FakeClock } from '../../lib/testing/fake-clock.ts';
import { aboveTheStore } from '../contract/above-the-store.ts';
import { changeContent, damagedRecords } from '../contract/damaged-records.ts';
import { lockStoreContract } from '../contract/lock-store-contract.ts';
import { sameAsMemory } from '../contract/same-as-memory.ts';
import { settle, taken } from '../lease/setup.ts';
import { MapSwapStore, Objects } from './map-swap-store.ts';

describe('a store that swaps objects', () => {
  lockStoreContract(() => new MapSwapStore(), { dated: 'writes' });
  sameAsMemory(() => new MapSwapStore(), { runs: 200 });
  aboveTheStore(() => new MapSwapStore());
  damagedRecords(() => {
    const objects = new Objects();
    const raw = async (key: string) => objects.get(key)?.text ?? '';
    return {
      store: new MapSwapStore(objects),
      raw,
      change: async (key, fields) => objects.put(key, changeContent(await raw(key), fields)),
    };
  });
});

const now = 1_000_000;
const leaseMs = 30_000;
const until = now + leaseMs;
/** The moment at which a release of Anna's opens the lock. */
const opened = now + 1;

let objects: Objects;
let store: MapSwapStore;
/** The store of another host, which remembers nothing of ours. */
let others: MapSwapStore;
beforeEach(() => {
  objects = new Objects();
  store = new MapSwapStore(objects);
  others = new MapSwapStore(objects);
});

const acquire = (lockId: string, by = store, at = now, signal?: AbortSignal) =>
  by.acquire({ key: 'job', lockId, owner: lockId, now: at, until: at + leaseMs, leaseMs }, signal);
const renew = (lockId: string, to = until + 1, by = store) => by.renew({ key: 'job', lockId, until: to });
const release = (lockId: string, by = store) => by.release({ key: 'job', lockId, now, holdAtLeastMs: 0 });
const recordOf = async () => (await others.read('job', { consistent: true })).record;

describe('the requests of a store that swaps objects', () => {
  test('are a load and a swap for the first acquire, and one swap for each renewal, commit and release', async () => {
    await acquire('anna');
    expect(store.asked).toBe('load swap');
    await renew('anna');
    expect(store.asked).toBe('swap');
    await store.commit({ key: 'job', lockId: 'anna', data: '1', number: 1 });
    expect(store.asked).toBe('swap');
    await release('anna');
    expect(store.asked).toBe('swap');
    await acquire('anna again', store, opened);
    expect(store.asked).toBe('swap');
  });

  test('are one load for a try at a lock that is held', async () => {
    await acquire('anna', others);
    expect((await acquire('bert')).applied).toBe(false);
    expect(store.asked).toBe('load');
    expect((await acquire('bert')).applied).toBe(false);
    expect(store.asked).toBe('load');
  });

  test('are one load for a try at a lock that was seen held, and renewed since, when the expiry that was seen has come', async () => {
    await acquire('anna', others);
    await acquire('bert');
    await renew('anna', until + leaseMs, others);
    store.requests.length = 0;
    expect((await acquire('bert', store, until + 1)).applied).toBe(false);
    expect(store.asked).toBe('load');
  });

  test('need no load of their own after the read that judges the clock', async () => {
    const time = new FakeClock(Date.now());
    const clock: FakeClock = Object.assign(time, { isDisciplined: false });
    const locks = new LockClient({ store, clock });
    const lease = await settle(time, taken(locks.tryAcquire('job')));
    expect(store.asked).toBe('load swap');
    await settle(time, lease.release());
    expect(store.asked).toBe('swap');
  });

  test('are 8 loads at a time for many keys, and none after a load that failed', async () => {
    let running = 0;
    let most = 0;
    store.before = async () => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setImmediate(resolve));
      running--;
    };
    const keys = Array.from({ length: 100 }, (_, index) => `job-${index}`);
    await store.readMany(keys);
    expect([store.requests.length, most]).toEqual([100, 8]);

    store.requests.length = 0;
    store.before = async (_, key) => {
      if (key === 'job-99') throw new Error('unplugged');
      await new Promise((resolve) => setImmediate(resolve));
    };
    await expect(store.readMany(keys)).rejects.toThrow('unplugged');
    for (let turns = 0; turns < 20; turns++) await new Promise((resolve) => setImmediate(resolve));
    expect(store.requests).toHaveLength(8);
  });
});

describe('a swap that misses', () => {
  test('is judged anew by what stands there, and made again: another write need not refuse the request', async () => {
    await acquire('anna');
    store.fates.push('raced');
    store.requests.length = 0;
    expect((await renew('anna')).applied).toBe(true);
    expect(store.asked).toBe('swap load swap');
    expect((await recordOf())?.expiresAt).toBe(until + 1);
  });

  test('is a refusal if the record that stands there refuses, and shows that record', async () => {
    await acquire('anna', others);
    await release('anna', others);
    store.before = async (what) => {
      if (what === 'swap' && (await recordOf())?.lockId === undefined) await acquire('carl', others, opened);
    };
    const answer = await acquire('bert', store, opened);
    expect(answer).toMatchObject({ applied: false, record: { lockId: 'carl' } });
    expect(answer.maybeAppliedBefore ?? false).toBe(false);
    expect(answer.serverDate).toBeGreaterThan(0);
  });

  test('is given up after 8 misses, as a conflict, so that the client sends the request again', async () => {
    await acquire('anna');
    store.fates.push(...Array<'raced'>(9).fill('raced'));
    store.requests.length = 0;
    await expect(renew('anna')).rejects.toMatchObject({
      message: "the lock 'job' was written by others 8 times meanwhile.",
      transient: true,
      conflict: true,
    });
    expect(store.requests.filter((what) => what === 'swap')).toHaveLength(8);
  });

  test('was applied if the eighth was resent: the last reading finds the own writeId', async () => {
    await acquire('anna');
    store.fates.push(...Array<'raced'>(7).fill('raced'), 'resent');
    expect(await renew('anna')).toMatchObject({ applied: true, record: { expiresAt: until + 1 } });
  });

  test('is no mere conflict after 8 misses of which one may have been applied: the client must know', async () => {
    await acquire('anna');
    store.fates.push('resentAndOvertaken', ...Array<'raced'>(8).fill('raced'));
    await expect(renew('anna')).rejects.toMatchObject({ transient: true, conflict: false });
  });
});

describe('a swap whose answer is lost', () => {
  test('counts as applied if its writeId is read back, with the record and the date', async () => {
    store.fates.push('resent');
    const answer = await acquire('anna');
    expect(answer).toMatchObject({ applied: true, record: { lockId: 'anna', fencingToken: now + 1 } });
    expect(answer.serverDate).toBeGreaterThan(0);
    expect(store.asked).toBe('load swap load');
  });

  test('was perhaps applied before if it was overtaken: the refusal says so', async () => {
    await acquire('anna');
    store.fates.push('resentAndOvertaken');
    expect(await release('anna')).toMatchObject({
      applied: false,
      maybeAppliedBefore: true,
      record: { releasedBy: 'anna' },
    });
  });

  test('leaves no memory: the next request loads, and its swap meets the version that stands', async () => {
    await acquire('anna');
    store.fates.push('answerLost');
    await expect(renew('anna')).rejects.toMatchObject({ transient: true });
    store.requests.length = 0;
    expect((await renew('anna', until + 2)).applied).toBe(true);
    expect(store.asked).toBe('load swap');
  });

  test('leaves no memory though it was not applied', async () => {
    await acquire('anna');
    store.fates.push('requestLost');
    await expect(renew('anna')).rejects.toMatchObject({ transient: true });
    store.requests.length = 0;
    expect((await release('anna')).applied).toBe(true);
    expect(store.asked).toBe('load swap');
  });

  test('is granted once: a repeated acquire after a lost answer is refused by its own grant', async () => {
    store.fates.push('answerLost');
    await expect(acquire('anna')).rejects.toMatchObject({ transient: true });
    expect(await acquire('anna')).toMatchObject({ applied: false, record: { lockId: 'anna' } });
  });
});

describe('the memory of a store that swaps objects', () => {
  test('refuses nothing: an acquire that the memory would refuse is judged by a reading', async () => {
    await acquire('anna');
    await release('anna', others);
    expect((await acquire('bert', store, opened)).applied).toBe(true);
  });

  test('refuses no renewal, release or commit of a grant that it does not know', async () => {
    await acquire('anna');
    await release('anna');
    await acquire('bert', others, opened);
    store.requests.length = 0;
    expect((await renew('bert')).applied).toBe(true);
    expect(store.asked).toBe('load swap');
  });

  test('grants nothing: an acquire by a stale memory of a free lock misses, and is refused', async () => {
    await acquire('anna');
    await release('anna');
    await acquire('bert', others, opened);
    store.requests.length = 0;
    expect(await acquire('carl', store, opened)).toMatchObject({ applied: false, record: { lockId: 'bert' } });
    expect(store.asked).toBe('swap load');
  });

  test('grants nothing by a stale memory that there is no object', async () => {
    await store.read('job', { consistent: true });
    await acquire('bert', others);
    expect(await acquire('carl')).toMatchObject({ applied: false, record: { lockId: 'bert' } });
  });

  test('is of the last 1,000 keys', async () => {
    const key = (index: number) => `job-${index}`;
    const take = (index: number) =>
      store.acquire({ key: key(index), lockId: 'anna', owner: 'anna', now, until, leaseMs });
    const renewing = (index: number) => store.renew({ key: key(index), lockId: 'anna', until });
    for (let index = 0; index < 1_001; index++) await take(index);
    store.requests.length = 0;
    await renewing(1);
    expect(store.asked).toBe('swap');
    await renewing(0);
    expect(store.asked).toBe('load swap');
    // The first key took the place of the third, which was remembered longest ago.
    await renewing(2);
    expect(store.asked).toBe('load swap');
  });
});

describe('two requests of one process for one key', () => {
  test('are both applied, if they were judged by the same version', async () => {
    await acquire('anna');
    const [renewed, committed] = await Promise.all([
      renew('anna'),
      store.commit({ key: 'job', lockId: 'anna', data: '{"a":1}', number: 1 }),
    ]);
    expect([renewed.applied, committed.applied]).toEqual([true, true]);
    expect(await recordOf()).toMatchObject({ expiresAt: until + 1, committed: { data: '{"a":1}' } });
  });

  test('grant the lock once, whichever order their loads and swaps take', async () => {
    for (let order = 0; order < 64; order++) {
      objects = new Objects();
      store = new MapSwapStore(objects);
      // Each request of the two waits for as many turns as two bits of the order say.
      let bits = order;
      store.before = async () => {
        const turns = bits & 3;
        bits >>= 2;
        for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
      };
      const answers = await Promise.all([acquire('anna'), acquire('bert')]);
      expect(answers.filter(({ applied }) => applied)).toHaveLength(1);
      const { record } = answers.find(({ applied }) => applied) ?? {};
      const standing = (await store.read('job', { consistent: true })).record as LockRecord;
      expect(standing).toEqual(record);
    }
  });

  test('leave a memory that harms nothing, if the older answer arrives last', async () => {
    await acquire('anna');
    let finishLoad = () => {};
    const loading = new Promise<void>((resolve) => {
      finishLoad = resolve;
    });
    // The reading sees the state before the renewal, and is answered after the renewal.
    const seen = objects.get('job');
    const get = objects.get.bind(objects);
    store.before = async (what) => {
      if (what === 'load') await loading;
    };
    const read = store.read('job', { consistent: true });
    await renew('anna');
    objects.get = () => seen;
    finishLoad();
    await read;
    objects.get = get;
    store.before = undefined;
    store.requests.length = 0;
    expect((await renew('anna', until + 2)).applied).toBe(true);
    expect(store.asked).toBe('swap load swap');
  });
});

describe('a late duplicate of a swap', () => {
  test('changes nothing: the version that it asks for has gone for ever', async () => {
    const late: (() => Promise<unknown>)[] = [];
    const swap = Reflect.get(store, 'swap') as (...args: unknown[]) => Promise<unknown>;
    Object.assign(store, {
      swap(...args: unknown[]) {
        late.push(() => swap.apply(store, args));
        return swap.apply(store, args);
      },
    });
    await acquire('anna');
    await renew('anna');
    await release('anna');
    const before = objects.get('job');
    for (const again of late) await again();
    expect(objects.get('job')).toEqual(before);
  });
});

describe('a request that is given up', () => {
  test('swaps nothing after its reading, also if the store cannot cancel the reading', async () => {
    const controller = new AbortController();
    store.before = (what) => what === 'load' && controller.abort(new Error('no longer'));
    await expect(acquire('anna', store, now, controller.signal)).rejects.toThrow('no longer');
    expect(store.asked).toBe('load');
    expect(objects.get('job')).toBeUndefined();
  });

  test('hands its signal to the store', async () => {
    await expect(acquire('anna', store, now, AbortSignal.abort(new Error('no longer')))).rejects.toThrow('no longer');
    expect(store.asked).toBe('');
  });
});

describe('an object that leasehold did not write', () => {
  beforeEach(async () => {
    objects.put('theirs', '{"name":"a report"}');
    await store.acquire({ key: 'ours', lockId: 'anna', owner: 'anna', now, until, leaseMs });
  });

  test('is left as it is by every request, and told', async () => {
    const theirs = { key: 'theirs', lockId: 'anna', now, until, leaseMs, owner: 'anna' };
    const foreign = { name: 'LockStoreError', foreign: true };
    await expect(store.acquire(theirs)).rejects.toMatchObject(foreign);
    await expect(store.renew(theirs)).rejects.toMatchObject(foreign);
    await expect(store.forceRelease({ ...theirs, immediately: true })).rejects.toMatchObject(foreign);
    await expect(store.read('theirs', { consistent: true })).rejects.toMatchObject(foreign);
    expect(objects.get('theirs')?.text).toBe('{"name":"a report"}');
  });

  test('hides no lock in readMany and list', async () => {
    expect((await store.readMany(['theirs', 'ours', 'none'])).records.map(({ key }) => key)).toEqual(['ours']);
    expect((await store.list('')).records.map(({ key }) => key)).toEqual(['ours']);
  });
});

describe('an object that somebody has changed', () => {
  const HOUR = 3_600_000;
  const change = (values: object) =>
    objects.put('job', encode({ writeId: 'by hand', record: { ...JSON.parse(text()).record, ...values } }));
  const text = () => objects.get('job')?.text ?? '';
  const client = () => new LockClient({ store });

  test.each([
    ['a fraction of a token', { fencingToken: 7.5 }],
    ['an expiry past the countable', { expiresAt: 2 ** 60 }],
    ['no acquisition', { acquiredAt: 'yesterday' }],
    ['a lockId that is a number', { lockId: 5 }],
  ])('is mended by a repair: %s', async (_, values) => {
    const locks = client();
    const lease = await locks.acquire('job');
    await lease.commit('kept');
    change(values);
    const seen = await locks.inspect('job');
    expect(seen?.flaw).toBeDefined();
    expect(await locks.repair('job', { seen, immediately: true })).toBe(true);
    expect(text()).not.toContain('flaw');
    expect((await locks.inspect('job'))?.lockId).toBeUndefined();
    const next = await locks.acquire('job', { waitMs: 1_000 });
    expect(next.fencingToken).toBeGreaterThanOrEqual(lease.fencingToken);
    expect(next.committed).toBe('kept');
    await expect(lease.renew()).rejects.toMatchObject({ name: 'LockLostError' });
    await next.release();
  });

  test('stays closed until its expiry, which may be that of a holder, unless it is to open at once', async () => {
    const locks = client();
    const lease = await locks.acquire('job', { leaseMs: HOUR });
    change({ lockId: 5 });
    const seen = await locks.inspect('job');
    expect(await locks.repair('job', { seen })).toBe(true);
    expect((await locks.inspect('job'))?.opensInMs).toBeGreaterThan(HOUR - 60_000);
    expect(await lease.release()).toBe(false);
  });

  test('is not repaired by an operator who saw another expiry, if a later one stands there', async () => {
    const locks = client();
    await locks.acquire('job', { leaseMs: HOUR });
    change({ lockId: 5 });
    const seen = await locks.inspect('job');
    change({ lockId: 5, expiresAt: Date.now() + 2 * HOUR });
    expect(await locks.repair('job', { seen })).toBe(false);
  });

  test('is renewed by no holder while its expiry is no number', async () => {
    await acquire('anna');
    change({ expiresAt: 'soon' });
    const before = text();
    for (const by of [others, store])
      await expect(renew('anna', until + 1, by)).rejects.toMatchObject({ foreign: true });
    expect(text()).toBe(before);
  });

  test('keeps its token, unless the operator saw it or names another one', async () => {
    await acquire('anna');
    change({ lockId: '' });
    const broken = { acquiredAt: now, immediately: true, lowersToken: false };
    const repair = (fencingToken: number, lowersToken: boolean) =>
      store.repair({ key: 'job', opensAt: now + 1, fencingToken, broken: { ...broken, lowersToken } });
    expect((await repair(now, false)).applied).toBe(false);
    expect((await repair(now, true)).applied).toBe(true);
    expect((await recordOf())?.fencingToken).toBe(now);
  });
});

test('a list comes in pages', async () => {
  for (const key of ['a/1', 'a/2', 'a/3', 'b']) {
    objects.put(
      key,
      encode({ writeId: 'w', record: { key, fencingToken: 1, expiresAt: 1, acquiredAt: 0, leaseMs: 1 } }),
    );
  }
  const first = await store.list('a/');
  expect(first.records.map(({ key }) => key).sort()).toEqual(['a/1', 'a/2']);
  const second = await store.list('a/', first.cursor);
  expect(second.records.map(({ key }) => key)).toEqual(['a/3']);
  expect(second.cursor).toBeUndefined();
});
