import { randomUUID } from 'node:crypto';
import { beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { LockRecord, Takeover } from '../../lib/record/record.ts';
import type {
  AcquireRequest,
  GiveBackRequest,
  LockStore,
  ReleaseRequest,
  ResumeRequest,
  StoreAnswer,
} from '../../lib/record/store.ts';

const NOTHING: Takeover = { type: 'nothing' };

/**
 * The contract of every store, whichever database it is: each condition and each clause of the writes, with the record
 * that stands there afterwards, field by field.
 */
export function lockStoreContract(makeStore: () => LockStore | Promise<LockStore>): void {
  /** When Anna takes the lock for `leaseMs`; what the other requests do by default refers to it. */
  const now = Date.now();
  const leaseMs = 30_000;
  const until = now + leaseMs;

  let store: LockStore;
  let key: string;
  beforeAll(async () => {
    store = await makeStore();
  });
  beforeEach(() => {
    key = `job-${randomUUID()}`;
  });

  const acquire = (lockId: string, request: Partial<AcquireRequest> = {}) =>
    store.acquire({ key, lockId, owner: `owner of ${lockId}`, now, until, leaseMs, ...request });
  /** By default at the first moment at which it may: at the expiry of Anna's lease. */
  const takeOver = (lockId: string, request: Partial<AcquireRequest> = {}) =>
    acquire(lockId, { now: until, until: until + leaseMs, ...request });
  const renew = (lockId: string, to: number) => store.renew({ key, lockId, until: to });
  const release = (lockId: string, request: Partial<ReleaseRequest> = {}) =>
    store.release({ key, lockId, now: now + 10, holdAtLeastMs: 0, ...request });
  /** By default of the grant that stands. */
  const giveBack = async (lockId: string, previous: GiveBackRequest['previous'], at = until, token?: number) => {
    const fencingToken = token ?? (await recordOf())?.fencingToken ?? 0;
    return store.giveBack({ key, lockId, fencingToken, now: at, previous });
  };
  /** A lease to restore, as a grant took it over. */
  const lease = (lockId: string, owner?: string): Takeover => ({
    type: 'lease',
    lockId,
    owner,
    acquiredAt: 0,
    expiresAt: until,
  });
  const resume = (handed: string, lockId: string, request: Partial<ResumeRequest> = {}) =>
    store.resume({
      key,
      handed,
      lockId,
      owner: `owner of ${lockId}`,
      until: now + 60_000,
      leaseMs: 60_000,
      ...request,
    });
  const forceRelease = (lockId: string, immediately = false) => store.forceRelease({ key, lockId, immediately });
  const recordOf = async (of = key) => (await store.read(of, { consistent: true })).record;
  /** A refusal changes nothing, and shows the record as it stands. */
  const expectRefused = async (request: () => ReturnType<LockStore['acquire']>) => {
    const before = await recordOf();
    expect(await request()).toMatchObject({ applied: false, record: before });
    expect(await recordOf()).toEqual(before);
  };

  const anna = (): LockRecord => ({
    key,
    lockId: 'anna',
    owner: 'owner of anna',
    fencingToken: now + 1,
    expiresAt: until,
    acquiredAt: now,
    leaseMs,
    tookOver: NOTHING,
  });
  const bertAfterAnna = (): LockRecord => ({
    key,
    lockId: 'bert',
    owner: 'owner of bert',
    fencingToken: now + 2,
    expiresAt: until + leaseMs,
    acquiredAt: until,
    leaseMs,
    tookOver: { type: 'lease', lockId: 'anna', owner: 'owner of anna', acquiredAt: now, expiresAt: until },
  });
  const released = ({ lockId, tookOver, ...rest }: LockRecord): LockRecord => ({
    ...rest,
    releasedBy: lockId,
    expiresAt: rest.acquiredAt + 1,
  });

  describe('acquire', () => {
    test('takes a lock that has no record; its token starts from the clock', async () => {
      expect(await acquire('anna')).toMatchObject({ applied: true, record: anna() });
      expect(await recordOf()).toEqual(anna());
    });

    test('is refused while somebody else holds the lock, up to the millisecond before the expiry', async () => {
      await acquire('anna');
      await expectRefused(() => takeOver('bert', { now: until - 1 }));
    });

    test('takes the lock over at the moment of the expiry, keeps what it takes over, and raises the token', async () => {
      await acquire('anna');
      expect(await takeOver('bert')).toMatchObject({ applied: true, record: bertAfterAnna() });
      expect(await recordOf()).toEqual(bertAfterAnna());
    });

    test('keeps of several takeovers the last one only', async () => {
      await acquire('anna');
      await takeOver('bert');
      const { record } = await takeOver('carl', { now: until + leaseMs });
      expect(record).toMatchObject({
        fencingToken: now + 3,
        tookOver: { type: 'lease', lockId: 'bert', owner: 'owner of bert', expiresAt: until + leaseMs },
      });
    });

    test('sent twice, is refused the second time, and finds its own grant with its own token', async () => {
      await acquire('anna');
      await expectRefused(() => acquire('anna'));
      expect(await recordOf()).toEqual(anna());
    });

    test('never takes over itself, though its lease has expired', async () => {
      await acquire('anna');
      await expectRefused(() => takeOver('anna'));
    });

    test('delivered after its own release, it revives nothing', async () => {
      await acquire('anna');
      await release('anna');
      await expectRefused(() => acquire('anna'));
      await expectRefused(() => takeOver('anna'));
    });

    test('takes a released lock, leaves releasedBy, and takes over nobody', async () => {
      await acquire('anna');
      await release('anna');
      const { applied, record } = await acquire('bert', { now: now + 1 });
      expect(applied).toBe(true);
      expect(record).toEqual({
        ...anna(),
        lockId: 'bert',
        owner: 'owner of bert',
        acquiredAt: now + 1,
        fencingToken: now + 2,
        releasedBy: 'anna',
        tookOver: { type: 'closed', owner: 'owner of anna', acquiredAt: now, expiresAt: now + 1 },
      });
    });

    test('is turned away when it was sent before the grant that has been released since', async () => {
      await acquire('anna');
      await release('anna');
      await expectRefused(() => acquire('bert', { now }));
      await expectRefused(() => acquire('bert', { now: now - 5_000 }));
    });

    test('twenty at once: one is granted, and the others are told its id', async () => {
      const ids = Array.from({ length: 20 }, () => randomUUID());
      const answers = await Promise.all(ids.map((id) => acquire(id)));
      const winners = answers.filter(({ applied }) => applied);
      expect(winners).toHaveLength(1);
      expect(new Set(answers.map(({ record }) => record?.lockId)).size).toBe(1);
      expect(ids.filter((_, i) => answers[i]?.applied)).toEqual([winners[0]?.record?.lockId]);
    });

    test('tokens only grow: over release, expiry, giving back, resuming and force release', async () => {
      const tokens = [(await acquire('a')).record];
      await release('a');
      tokens.push((await acquire('b', { now: now + 1 })).record);
      tokens.push((await takeOver('c')).record);
      await giveBack('c', lease('b'));
      tokens.push((await takeOver('d')).record);
      tokens.push((await resume('d', 'e', { until: until + leaseMs })).record);
      await forceRelease('e', true);
      tokens.push((await takeOver('f', { now: until + 2 })).record);
      expect(tokens.map((record) => record?.fencingToken)).toEqual([1, 2, 3, 4, 5, 6].map((step) => now + step));
    });
  });

  describe('acquire with a once token', () => {
    const noon = '2026-01-01T12:00:00Z';
    const one = '2026-01-01T13:00:00Z';

    test('takes a lock that was never done', async () => {
      expect((await acquire('anna', { once: noon })).applied).toBe(true);
      await release('anna');
      expect((await acquire('bert', { once: noon, now: now + 1 })).applied).toBe(true);
    });

    test('is refused for the token that is done and for an earlier one, and granted for a later one', async () => {
      await acquire('anna', { once: noon });
      await release('anna', { doneToken: noon });
      await expectRefused(() => takeOver('bert', { once: noon }));
      await expectRefused(() => takeOver('bert', { once: '2026-01-01T11:59:59Z' }));
      expect(await takeOver('bert', { once: one })).toMatchObject({ applied: true, record: { doneToken: noon } });
    });

    test('is refused while the lock is held, however late its token', async () => {
      await acquire('anna', { once: noon });
      await expectRefused(() => acquire('bert', { once: one }));
    });

    test('without a token, a lock that is done is granted', async () => {
      await acquire('anna', { once: noon });
      await release('anna', { doneToken: noon });
      expect((await takeOver('bert')).applied).toBe(true);
    });

    test('tokens are ordered by the bytes of their UTF-8', async () => {
      // In UTF-16, by which JavaScript compares, the first of these is the smaller one.
      const [later, earlier] = ['\u{1f512}', '\uffee'];
      await acquire('anna', { once: later });
      await release('anna', { doneToken: later });
      await expectRefused(() => takeOver('bert', { once: earlier }));
      expect((await takeOver('carl', { once: `${later}0` })).applied).toBe(true);
    });
  });

  describe('data', () => {
    test('is kept as it was given, through renewal and release', async () => {
      const data = JSON.stringify({ text: `"quotes" \\ \u0000 \u{1f512} ${'é'.repeat(4_000)}` });
      expect((await acquire('anna', { data })).record).toEqual({ ...anna(), data });
      await renew('anna', until + 1);
      await release('anna');
      expect((await recordOf())?.data).toBe(data);
    });

    test('of the grant before never stays with the next', async () => {
      await acquire('anna', { data: '"of anna"' });
      expect((await takeOver('bert')).record).toEqual(bertAfterAnna());
      expect((await takeOver('carl', { now: until + leaseMs, data: '1' })).record?.data).toBe('1');
    });
  });

  describe('renew', () => {
    test('moves the expiry, and nothing else', async () => {
      await acquire('anna', { data: '1' });
      expect((await renew('anna', until + 5_000)).applied).toBe(true);
      expect(await recordOf()).toEqual({ ...anna(), data: '1', expiresAt: until + 5_000 });
    });

    test('to the moment that stands there already is no refusal', async () => {
      await acquire('anna');
      expect((await renew('anna', until)).applied).toBe(true);
      expect(await recordOf()).toEqual(anna());
    });

    test('delivered after a later one, it shortens nothing, and finds its own id', async () => {
      await acquire('anna');
      await renew('anna', until + 5_000);
      await expectRefused(() => renew('anna', until + 4_999));
      expect(await recordOf()).toMatchObject({ lockId: 'anna', expiresAt: until + 5_000 });
    });

    test('is granted after the expiry, as long as nobody has taken over', async () => {
      await acquire('anna');
      expect((await renew('anna', until + leaseMs)).applied).toBe(true);
      await expectRefused(() => takeOver('bert'));
    });

    test('is refused after a takeover, and told by whom', async () => {
      await acquire('anna');
      await takeOver('bert');
      await expectRefused(() => renew('anna', until + 90_000));
    });

    test('is refused after a release, and where there is no record', async () => {
      expect(await renew('anna', until)).toMatchObject({ applied: false });
      expect(await recordOf()).toBeUndefined();
      await acquire('anna');
      await release('anna');
      await expectRefused(() => renew('anna', until + 5_000));
    });
  });

  describe('release', () => {
    test('ends the grant and what it had taken over; the lock opens one millisecond after the acquisition', async () => {
      await acquire('anna', { data: '1' });
      await takeOver('bert', { data: '2' });
      expect((await release('bert', { now: until + 50 })).applied).toBe(true);
      expect(await recordOf()).toEqual({ ...released(bertAfterAnna()), data: '2' });
      expect((await recordOf())?.expiresAt).toBe(until + 1);
    });

    test('with holdAtLeastMs, leaves the lock closed for that long from its acquisition', async () => {
      await acquire('anna');
      await release('anna', { holdAtLeastMs: 90_000 });
      expect(await recordOf()).toEqual({ ...released(anna()), expiresAt: now + 90_000 });
      await expectRefused(() => takeOver('bert', { now: now + 89_999 }));
      expect((await takeOver('bert', { now: now + 90_000 })).applied).toBe(true);
    });

    test('with holdAtLeastMs of 1 ms, opens the lock as without', async () => {
      await acquire('anna');
      await release('anna', { holdAtLeastMs: 1 });
      expect((await recordOf())?.expiresAt).toBe(now + 1);
    });

    test('notes what is done, and forgets nothing that was done before', async () => {
      await acquire('anna');
      await release('anna', { doneToken: '2' });
      expect((await recordOf())?.doneToken).toBe('2');
      await takeOver('bert');
      await release('bert');
      expect(await recordOf()).toMatchObject({ releasedBy: 'bert', doneToken: '2' });
    });

    test('sent twice, is refused the second time and finds itself in releasedBy', async () => {
      await acquire('anna');
      await release('anna');
      await expectRefused(() => release('anna', { holdAtLeastMs: 60_000, doneToken: '2' }));
      expect(await recordOf()).toMatchObject({ releasedBy: 'anna', expiresAt: now + 1 });
    });

    test("never ends somebody else's grant", async () => {
      await acquire('anna');
      await takeOver('bert');
      await expectRefused(() => release('anna', { doneToken: '2' }));
    });

    test('is refused where there is no record, and makes none', async () => {
      expect(await release('anna')).toMatchObject({ applied: false });
      expect(await recordOf()).toBeUndefined();
    });
  });

  describe('give back', () => {
    test('restores the holder that was taken over too early: its id, owner and expiry', async () => {
      await acquire('anna');
      await takeOver('bert');
      expect((await giveBack('bert', lease('anna', 'owner of anna'))).applied).toBe(true);
      expect(await recordOf()).toMatchObject({ lockId: 'anna', owner: 'owner of anna', expiresAt: until });
      expect((await renew('anna', until + 5_000)).applied).toBe(true);
      expect((await release('anna')).applied).toBe(true);
    });

    test('lowers no token', async () => {
      await acquire('anna');
      await takeOver('bert');
      await giveBack('bert', lease('anna'));
      expect((await recordOf())?.fencingToken).toBe(now + 2);
    });

    test('restores a lock that was closed and not held', async () => {
      await acquire('anna');
      await release('anna', { holdAtLeastMs: 90_000 });
      await acquire('bert', { now: now + 90_000, until: now + 120_000 });
      expect(
        (
          await giveBack(
            'bert',
            { type: 'closed', owner: 'owner of anna', acquiredAt: 0, expiresAt: now + 90_000 },
            now + 20,
          )
        ).applied,
      ).toBe(true);
      const record = await recordOf();
      expect(record).toMatchObject({ owner: 'owner of anna', expiresAt: now + 90_000 });
      expect(record?.lockId).toBeUndefined();
    });

    test('changes the rest in nothing but what it took over, releasedBy, and the time from which a release counts', async () => {
      await acquire('anna', { data: '1' });
      const { record } = await takeOver('bert', { data: '2' });
      await giveBack('bert', lease('anna', 'owner of anna'), now + 5);
      const { tookOver, ...rest } = record as LockRecord;
      expect(await recordOf()).toEqual({
        ...rest,
        lockId: 'anna',
        owner: 'owner of anna',
        expiresAt: until,
        acquiredAt: now + 5,
        releasedBy: 'bert',
      });
    });

    test('where there was no record, leaves a lock that is free from now on', async () => {
      await acquire('anna', { now: now + 3_600_000, until: now + 3_630_000 });
      expect((await giveBack('anna', NOTHING, now)).applied).toBe(true);
      expect((await recordOf())?.lockId).toBeUndefined();
      expect((await acquire('bert')).applied).toBe(true);
    });

    test('leaves nothing of what was taken over', async () => {
      await acquire('anna');
      await takeOver('bert');
      await giveBack('bert', lease('anna'));
      expect((await recordOf())?.tookOver).toBeUndefined();
    });

    test('undoes all that a clock an hour ahead wrote: the holder releases, and the lock is open', async () => {
      const hour = 3_600_000;
      await acquire('anna');
      await takeOver('bert', { now: now + hour, until: now + hour + leaseMs });
      await giveBack('bert', lease('anna'), now + 5);
      await release('anna');
      expect((await acquire('carl', { now: now + 20 })).applied).toBe(true);
    });

    test('undoes all that a clock an hour ahead wrote: an operator opens the lock at once', async () => {
      const hour = 3_600_000;
      await acquire('anna');
      await takeOver('bert', { now: now + hour, until: now + hour + leaseMs });
      await giveBack('bert', lease('anna'), now + 5);
      await forceRelease('anna', true);
      expect((await acquire('carl', { now: now + 20 })).applied).toBe(true);
    });

    test('of one grant over another, in the order of their making, leaves the holder that was there first', async () => {
      await acquire('anna');
      const takenOver = ({ record }: StoreAnswer) => record?.tookOver as Takeover;
      const bert = await takeOver('bert', { now: until + 1_000, until: until + 2_000 });
      const byBert = takenOver(bert);
      const byCarl = takenOver(await takeOver('carl', { now: until + 2_000, until: until + 9_000 }));
      await giveBack('carl', byCarl, now + 5);
      // Bert's own token is not that of the record any more: the refusal shows him the one that is.
      await expectRefused(() => giveBack('bert', byBert, now + 6, bert.record?.fencingToken));
      await giveBack('bert', byBert, now + 6);
      expect(await recordOf()).toMatchObject({ lockId: 'anna', owner: 'owner of anna', expiresAt: until });
      expect((await renew('anna', until + 5_000)).applied).toBe(true);
    });

    test('of a grant is not that of a later one of the same acquire, which was delivered twice', async () => {
      await acquire('anna');
      const bert = (await takeOver('bert')).record as LockRecord;
      await giveBack('bert', lease('anna', 'owner of anna'), now + 5, bert.fencingToken);
      await release('anna');
      // By now nothing names Bert, whose clock was ahead.
      expect((await takeOver('bert')).applied).toBe(true);
      const undo = () => giveBack('bert', lease('anna'), now + 5, bert.fencingToken);
      await expectRefused(undo);
    });

    test('restores the time of acquisition, from which a release opens the lock', async () => {
      await acquire('anna');
      const { tookOver } = (await takeOver('bert')).record as LockRecord;
      expect(tookOver).toMatchObject({ acquiredAt: now });
      await giveBack('bert', tookOver as Takeover, now + 500);
      await release('anna');
      expect(await recordOf()).toMatchObject({ acquiredAt: now, expiresAt: now + 1 });
    });

    test('turns away the acquire that it undid, delivered late', async () => {
      await acquire('anna');
      await takeOver('bert');
      await giveBack('bert', lease('anna'));
      await expectRefused(() => takeOver('bert'));
    });

    test('is refused for a grant that does not stand there', async () => {
      await acquire('anna');
      await expectRefused(() => giveBack('bert', NOTHING));
      await release('anna');
      await expectRefused(() => giveBack('anna', NOTHING));
    });
  });

  describe('resume', () => {
    test('puts a new grant, with a new id and token, in the place of the handed one', async () => {
      await acquire('anna', { data: '1' });
      const { applied, record } = await resume('anna', 'bert');
      expect(applied).toBe(true);
      expect(record).toEqual({
        ...anna(),
        data: '1',
        lockId: 'bert',
        owner: 'owner of bert',
        fencingToken: now + 2,
        expiresAt: now + 60_000,
        leaseMs: 60_000,
      });
      expect(await recordOf()).toEqual(record);
    });

    test('of two resumes of one handle one is refused', async () => {
      await acquire('anna');
      await resume('anna', 'bert');
      await expectRefused(() => resume('anna', 'carl'));
    });

    test('sent twice, is refused the second time and finds its own id', async () => {
      await acquire('anna');
      await resume('anna', 'bert');
      await expectRefused(() => resume('anna', 'bert'));
      expect((await recordOf())?.lockId).toBe('bert');
    });

    test('is refused until a moment that is not after the acquisition: an acquire that comes late would be granted', async () => {
      await acquire('anna');
      for (const until of [now - 1, now]) {
        await expectRefused(() =>
          store.resume({ key, handed: 'anna', lockId: 'bert', owner: 'bert', until, leaseMs: 1 }),
        );
      }
      const { applied } = await store.resume({
        key,
        handed: 'anna',
        lockId: 'bert',
        owner: 'bert',
        until: now + 1,
        leaseMs: 1,
      });
      expect(applied).toBe(true);
    });

    test('is refused after a release, a takeover, and where there is no record', async () => {
      expect(await resume('anna', 'bert')).toMatchObject({ applied: false });
      expect(await recordOf()).toBeUndefined();
      await acquire('anna');
      await release('anna');
      await expectRefused(() => resume('anna', 'bert'));
      await takeOver('carl');
      await expectRefused(() => resume('anna', 'bert'));
    });
  });

  describe('force release', () => {
    test("ends somebody's grant, and the lock opens at its expiry", async () => {
      await acquire('anna');
      expect((await forceRelease('anna')).applied).toBe(true);
      expect(await recordOf()).toEqual({ ...released(anna()), expiresAt: until });
      await expectRefused(() => takeOver('bert', { now: until - 1 }));
      expect((await takeOver('bert')).applied).toBe(true);
    });

    test('immediately, opens the lock at once, with another expiry than a release writes', async () => {
      await acquire('anna');
      expect((await forceRelease('anna', true)).applied).toBe(true);
      expect(await recordOf()).toEqual({ ...released(anna()), expiresAt: now + 2 });
      expect((await acquire('bert', { now: now + 2 })).applied).toBe(true);
    });

    test('refuses whatever the holder sends afterwards', async () => {
      await acquire('anna');
      await forceRelease('anna');
      await expectRefused(() => renew('anna', until + 5_000));
      await expectRefused(() => release('anna', { doneToken: '2' }));
      await expectRefused(() => takeOver('anna'));
    });

    test('ends no other grant than the one that was seen', async () => {
      await acquire('anna');
      await takeOver('bert');
      await expectRefused(() => forceRelease('anna'));
      await expectRefused(() => forceRelease('anna', true));
    });
  });

  describe('reading', () => {
    test('a key without a record gives none', async () => {
      expect((await store.read(key, { consistent: true })).record).toBeUndefined();
      expect((await store.read(key, { consistent: false })).record).toBeUndefined();
      expect(await store.readMany([key])).toMatchObject({ records: [], unprocessed: [] });
    });

    test('consistent or not, gives the whole record', async () => {
      await acquire('anna', { data: '1' });
      for (const consistent of [true, false]) {
        expect((await store.read(key, { consistent })).record).toEqual({ ...anna(), data: '1' });
      }
    });

    test('readMany gives up to 100 records at once, leaving out the keys that have none', async () => {
      const keys = Array.from({ length: 100 }, (_, i) => `${key}/${i}`);
      const taken = keys.filter((_, i) => i % 2 === 0);
      await Promise.all(taken.map((of) => acquire('anna', { key: of })));
      const { records, unprocessed } = await store.readMany(keys);
      expect(unprocessed).toEqual([]);
      const byKey = (a: LockRecord, b: LockRecord) => (a.key < b.key ? -1 : 1);
      expect([...records].sort(byKey)).toEqual(taken.map((of) => ({ ...anna(), key: of })).sort(byKey));
    });

    test('list gives the records whose key starts with the prefix, whole, and no others', async () => {
      const prefix = `${key}-%_#:(`;
      const keys = [prefix, `${prefix}a`, `${prefix}\u{1f512}`];
      await Promise.all([...keys, key, `x${prefix}`].map((of) => acquire('anna', { key: of })));
      const listed = await Array.fromAsync(store.list(prefix));
      expect(listed.map((record) => record.key).sort()).toEqual([...keys].sort());
      expect(listed).toContainEqual({ ...anna(), key: prefix });
    });

    test('list without a prefix gives every record', async () => {
      await acquire('anna');
      await release('anna');
      expect(await Array.fromAsync(store.list(''))).toContainEqual(await recordOf());
    });
  });

  test.each([
    ['1,024 bytes', 'é'.repeat(512)],
    ['quotes, spaces and line ends', ' "\'`\n\t\\ '],
    ['the syntax of expressions', '#key = :me OR attribute_not_exists(lockKey)'],
    ['control characters', 'a\u0000b\u0001\u007f'],
    ['emoji', '\u{1f468}\u200d\u{1f469}\u200d\u{1f467}'],
    ['the name of an object property', '__proto__'],
  ])('a key may hold %s', async (_, held) => {
    // Every test has keys of its own; one store is shared by all of them.
    const lockId = randomUUID();
    await acquire(lockId, { key: held, owner: held });
    expect(await recordOf(held)).toEqual({ ...anna(), key: held, lockId, owner: held });
    expect((await store.renew({ key: held, lockId, until: until + 1 })).applied).toBe(true);
    expect((await release(lockId, { key: held, doneToken: held })).applied).toBe(true);
    expect(await recordOf(held)).toMatchObject({ key: held, releasedBy: lockId, doneToken: held });
    expect((await store.readMany([held])).records).toHaveLength(1);
  });

  test("every answer tells the server's clock, in whole seconds", async () => {
    const answers = [
      await acquire('anna'),
      await acquire('bert'),
      await renew('anna', until + 1),
      await store.read(key, { consistent: true }),
      await store.readMany([key]),
      await resume('anna', 'carl'),
      await giveBack('carl', NOTHING),
      await forceRelease('carl'),
      await release('carl'),
    ];
    for (const { serverDate } of answers) {
      expect(Number(serverDate) % 1_000).toBe(0);
      expect(Math.abs(Number(serverDate) - Date.now())).toBeLessThan(60_000);
    }
  });
}
