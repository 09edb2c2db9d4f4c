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
import { listed } from '../support/listed.ts';

const NOTHING: Takeover = { type: 'nothing' };

/**
 * The contract of every store, over any database. The contract has each condition and each clause of the writes, and
 * compares every field of the record afterwards.
 */
export function lockStoreContract(
  makeStore: () => LockStore | Promise<LockStore>,
  { dated = 'all' }: { readonly dated?: 'all' | 'writes' } = {},
): void {
  /**
   * The moment at which Anna takes the lock for `leaseMs`. The defaults of the other requests count from this moment.
   */
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
  /** Acquires, by default at the expiry of Anna's lease. */
  const takeOver = (lockId: string, request: Partial<AcquireRequest> = {}) =>
    acquire(lockId, { now: until, until: until + leaseMs, ...request });
  const renew = (lockId: string, to: number) => store.renew({ key, lockId, until: to });
  const release = (lockId: string, request: Partial<ReleaseRequest> = {}) =>
    store.release({ key, lockId, now: now + 10, holdAtLeastMs: 0, ...request });
  /** Gives back, by default under the token of the record. */
  const giveBack = async (lockId: string, previous: GiveBackRequest['previous'], at = until, token?: number) => {
    const fencingToken = token ?? (await recordOf())?.fencingToken ?? 0;
    return store.giveBack({ key, lockId, fencingToken, now: at, previous });
  };
  /** A lease for `giveBack` to restore. */
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
  /** Repairs the record as it is, or as it was `seen`. */
  const repair = async (opensAt: number, fencingToken: number, seen?: LockRecord) => {
    const { fencingToken: token = 0, expiresAt = 0 } = seen ?? (await recordOf()) ?? {};
    return store.repair({ key, seen: { fencingToken: token, expiresAt }, opensAt, fencingToken });
  };
  const forceRelease = (lockId: string, immediately = false) => store.forceRelease({ key, lockId, immediately });
  const recordOf = async (of = key) => (await store.read(of, { consistent: true })).record;
  /** Expects a refusal that changes nothing and shows the record. */
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
    test('takes a lock that has no record, with a token from the clock', async () => {
      expect(await acquire('anna')).toMatchObject({ applied: true, record: anna() });
      expect(await recordOf()).toEqual(anna());
    });

    test('is refused while another owner holds the lock, up to the millisecond before the expiry', async () => {
      await acquire('anna');
      await expectRefused(() => takeOver('bert', { now: until - 1 }));
    });

    test('takes the lock over at the moment of the expiry, records the taken-over lease, and raises the token', async () => {
      await acquire('anna');
      expect(await takeOver('bert')).toMatchObject({ applied: true, record: bertAfterAnna() });
      expect(await recordOf()).toEqual(bertAfterAnna());
    });

    test('records the last of several takeovers', async () => {
      await acquire('anna');
      await takeOver('bert');
      const { record } = await takeOver('carl', { now: until + leaseMs });
      expect(record).toMatchObject({
        fencingToken: now + 3,
        tookOver: { type: 'lease', lockId: 'bert', owner: 'owner of bert', expiresAt: until + leaseMs },
      });
    });

    test('is refused the second time, and the refusal shows its own grant and token', async () => {
      await acquire('anna');
      await expectRefused(() => acquire('anna'));
      expect(await recordOf()).toEqual(anna());
    });

    test('does not take over its own expired lease', async () => {
      await acquire('anna');
      await expectRefused(() => takeOver('anna'));
    });

    test('revives nothing when delivered after its own release', async () => {
      await acquire('anna');
      await release('anna');
      await expectRefused(() => acquire('anna'));
      await expectRefused(() => takeOver('anna'));
    });

    test('takes a released lock, keeps releasedBy, and takes over no lease', async () => {
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

    test('is refused when sent before a grant that was released since then', async () => {
      await acquire('anna');
      await release('anna');
      await expectRefused(() => acquire('bert', { now }));
      await expectRefused(() => acquire('bert', { now: now - 5_000 }));
    });

    test('grants one of twenty requests, and shows the others its lockId', async () => {
      const ids = Array.from({ length: 20 }, () => randomUUID());
      const answers = await Promise.all(ids.map((id) => acquire(id)));
      const winners = answers.filter(({ applied }) => applied);
      expect(winners).toHaveLength(1);
      expect(new Set(answers.map(({ record }) => record?.lockId)).size).toBe(1);
      expect(ids.filter((_, i) => answers[i]?.applied)).toEqual([winners[0]?.record?.lockId]);
    });

    test('raises the token after a release, an expiry, a give back, a resume and a force release', async () => {
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

    test('is refused for a finished token and for an earlier token, and granted for a later token', async () => {
      await acquire('anna', { once: noon });
      await release('anna', { doneToken: noon });
      await expectRefused(() => takeOver('bert', { once: noon }));
      await expectRefused(() => takeOver('bert', { once: '2026-01-01T11:59:59Z' }));
      expect(await takeOver('bert', { once: one })).toMatchObject({ applied: true, record: { doneToken: noon } });
    });

    test('is refused for any token while the lock is held', async () => {
      await acquire('anna', { once: noon });
      await expectRefused(() => acquire('bert', { once: one }));
    });

    test('is granted without a token after a finished token', async () => {
      await acquire('anna', { once: noon });
      await release('anna', { doneToken: noon });
      expect((await takeOver('bert')).applied).toBe(true);
    });

    test('orders tokens by their UTF-8 bytes', async () => {
      // JavaScript compares by UTF-16. By UTF-16, the first of these texts is smaller than the second.
      const [later, earlier] = ['\u{1f512}', '\uffee'];
      await acquire('anna', { once: later });
      await release('anna', { doneToken: later });
      await expectRefused(() => takeOver('bert', { once: earlier }));
      expect((await takeOver('carl', { once: `${later}0` })).applied).toBe(true);
    });
  });

  test('a release with an empty doneToken takes the finished token away', async () => {
    await acquire('anna', { once: 'run-2' });
    await release('anna', { doneToken: 'run-2' });
    await takeOver('bert');
    await release('bert', { doneToken: '' });
    expect((await recordOf())?.doneToken).toBeUndefined();
    expect((await takeOver('carl', { once: 'run-1', now: until + 1 })).applied).toBe(true);
  });

  describe('data', () => {
    test('stays unchanged through renewal and release', async () => {
      const data = JSON.stringify({ text: `"quotes" \\ \u0000 \u{1f512} ${'é'.repeat(4_000)}` });
      expect((await acquire('anna', { data })).record).toEqual({ ...anna(), data });
      await renew('anna', until + 1);
      await release('anna');
      expect((await recordOf())?.data).toBe(data);
    });

    test('is gone with the next grant', async () => {
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

    test('is granted for the expiry that the record has', async () => {
      await acquire('anna');
      expect((await renew('anna', until)).applied).toBe(true);
      expect(await recordOf()).toEqual(anna());
    });

    test('is refused after a later renewal, and the refusal shows its own lockId', async () => {
      await acquire('anna');
      await renew('anna', until + 5_000);
      await expectRefused(() => renew('anna', until + 4_999));
      expect(await recordOf()).toMatchObject({ lockId: 'anna', expiresAt: until + 5_000 });
    });

    test('is granted after the expiry if nobody has taken the lock over', async () => {
      await acquire('anna');
      expect((await renew('anna', until + leaseMs)).applied).toBe(true);
      await expectRefused(() => takeOver('bert'));
    });

    test('is refused after a takeover, and the refusal shows the new holder', async () => {
      await acquire('anna');
      await takeOver('bert');
      await expectRefused(() => renew('anna', until + 90_000));
    });

    test('is refused after a release, and without a record', async () => {
      expect(await renew('anna', until)).toMatchObject({ applied: false });
      expect(await recordOf()).toBeUndefined();
      await acquire('anna');
      await release('anna');
      await expectRefused(() => renew('anna', until + 5_000));
    });
  });

  describe('release', () => {
    test('ends the grant, forgets the taken-over lease, and opens the lock one millisecond after the acquisition', async () => {
      await acquire('anna', { data: '1' });
      await takeOver('bert', { data: '2' });
      expect((await release('bert', { now: until + 50 })).applied).toBe(true);
      expect(await recordOf()).toEqual({ ...released(bertAfterAnna()), data: '2' });
      expect((await recordOf())?.expiresAt).toBe(until + 1);
    });

    test('with holdAtLeastMs, keeps the lock closed for holdAtLeastMs from its acquisition', async () => {
      await acquire('anna');
      await release('anna', { holdAtLeastMs: 90_000 });
      expect(await recordOf()).toEqual({ ...released(anna()), expiresAt: now + 90_000 });
      await expectRefused(() => takeOver('bert', { now: now + 89_999 }));
      expect((await takeOver('bert', { now: now + 90_000 })).applied).toBe(true);
    });

    test('with a holdAtLeastMs of a hundred years, keeps the lock closed to the millisecond', async () => {
      const century = 100 * 365 * 86_400_000;
      await acquire('anna', { until: now + century, leaseMs: century });
      await renew('anna', now + century + 1);
      await release('anna', { holdAtLeastMs: century });
      expect(await recordOf()).toMatchObject({ expiresAt: now + century, leaseMs: century });
      await expectRefused(() => takeOver('bert', { now: now + century - 1 }));
      expect((await takeOver('bert', { now: now + century, until: now + 2 * century })).applied).toBe(true);
    });

    test('with a holdAtLeastMs of 1, opens the lock one millisecond after its acquisition', async () => {
      await acquire('anna');
      await release('anna', { holdAtLeastMs: 1 });
      expect((await recordOf())?.expiresAt).toBe(now + 1);
    });

    test('writes its doneToken, and a release without a doneToken keeps the earlier doneToken', async () => {
      await acquire('anna');
      await release('anna', { doneToken: 'run-2' });
      expect((await recordOf())?.doneToken).toBe('run-2');
      await takeOver('bert');
      await release('bert');
      expect(await recordOf()).toMatchObject({ releasedBy: 'bert', doneToken: 'run-2' });
    });

    test('is refused the second time, and the refusal shows its lockId in releasedBy', async () => {
      await acquire('anna');
      await release('anna');
      await expectRefused(() => release('anna', { holdAtLeastMs: 60_000, doneToken: 'run-2' }));
      expect(await recordOf()).toMatchObject({ releasedBy: 'anna', expiresAt: now + 1 });
    });

    test("never ends another owner's grant", async () => {
      await acquire('anna');
      await takeOver('bert');
      await expectRefused(() => release('anna', { doneToken: 'run-2' }));
    });

    test('is refused without a record, and makes no record', async () => {
      expect(await release('anna')).toMatchObject({ applied: false });
      expect(await recordOf()).toBeUndefined();
    });
  });

  describe('give back', () => {
    test('restores the lockId, the owner and the expiry of a holder that was taken over too early', async () => {
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

    test('restores a lock that was closed without a holder', async () => {
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

    test('changes only the taken-over lease, the restored attributes, releasedBy and acquiredAt', async () => {
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

    test('leaves a free lock if there was no record', async () => {
      await acquire('anna', { now: now + 3_600_000, until: now + 3_630_000 });
      expect((await giveBack('anna', NOTHING, now)).applied).toBe(true);
      expect((await recordOf())?.lockId).toBeUndefined();
      expect((await acquire('bert')).applied).toBe(true);
    });

    test('leaves no taken-over lease in the record', async () => {
      await acquire('anna');
      await takeOver('bert');
      await giveBack('bert', lease('anna'));
      expect((await recordOf())?.tookOver).toBeUndefined();
    });

    test('undoes what a clock an hour ahead wrote, so the release of the holder opens the lock', async () => {
      const hour = 3_600_000;
      await acquire('anna');
      await takeOver('bert', { now: now + hour, until: now + hour + leaseMs });
      await giveBack('bert', lease('anna'), now + 5);
      await release('anna');
      expect((await acquire('carl', { now: now + 20 })).applied).toBe(true);
    });

    test('undoes what a clock an hour ahead wrote, so an immediate force release opens the lock', async () => {
      const hour = 3_600_000;
      await acquire('anna');
      await takeOver('bert', { now: now + hour, until: now + hour + leaseMs });
      await giveBack('bert', lease('anna'), now + 5);
      await forceRelease('anna', true);
      expect((await acquire('carl', { now: now + 20 })).applied).toBe(true);
    });

    test('restores the first holder after the give backs of two takeovers', async () => {
      await acquire('anna');
      const takenOver = ({ record }: StoreAnswer) => record?.tookOver as Takeover;
      const bert = await takeOver('bert', { now: until + 1_000, until: until + 2_000 });
      const byBert = takenOver(bert);
      const byCarl = takenOver(await takeOver('carl', { now: until + 2_000, until: until + 9_000 }));
      await giveBack('carl', byCarl, now + 5);
      // The record no longer has Bert's own token. The refusal shows the token of the record.
      await expectRefused(() => giveBack('bert', byBert, now + 6, bert.record?.fencingToken));
      await giveBack('bert', byBert, now + 6);
      expect(await recordOf()).toMatchObject({ lockId: 'anna', owner: 'owner of anna', expiresAt: until });
      expect((await renew('anna', until + 5_000)).applied).toBe(true);
    });

    test('does not give back a later grant of the same acquire, which was delivered twice', async () => {
      await acquire('anna');
      const bert = (await takeOver('bert')).record as LockRecord;
      await giveBack('bert', lease('anna', 'owner of anna'), now + 5, bert.fencingToken);
      await release('anna');
      // Bert's clock was ahead. By now nothing in the record names Bert.
      expect((await takeOver('bert')).applied).toBe(true);
      const undo = () => giveBack('bert', lease('anna'), now + 5, bert.fencingToken);
      await expectRefused(undo);
    });

    test('restores acquiredAt, from which a release counts the opening of the lock', async () => {
      await acquire('anna');
      const { tookOver } = (await takeOver('bert')).record as LockRecord;
      expect(tookOver).toMatchObject({ acquiredAt: now });
      await giveBack('bert', tookOver as Takeover, now + 500);
      await release('anna');
      expect(await recordOf()).toMatchObject({ acquiredAt: now, expiresAt: now + 1 });
    });

    test('turns a late delivery of the undone acquire away', async () => {
      await acquire('anna');
      await takeOver('bert');
      await giveBack('bert', lease('anna'));
      await expectRefused(() => takeOver('bert'));
    });

    test('is refused for a grant that the record does not have', async () => {
      await acquire('anna');
      await expectRefused(() => giveBack('bert', NOTHING));
      await release('anna');
      await expectRefused(() => giveBack('anna', NOTHING));
    });
  });

  describe('resume', () => {
    test('puts a new grant, with a new lockId and token, in the place of the handed-off grant', async () => {
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

    test('is refused if another resume used the same handle', async () => {
      await acquire('anna');
      await resume('anna', 'bert');
      await expectRefused(() => resume('anna', 'carl'));
    });

    test('is refused the second time, and the refusal shows its own lockId', async () => {
      await acquire('anna');
      await resume('anna', 'bert');
      await expectRefused(() => resume('anna', 'bert'));
      expect((await recordOf())?.lockId).toBe('bert');
    });

    test('is refused for an expiry that is not after the acquisition, since a late acquire could be granted', async () => {
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

    test('is refused after a release, after a takeover, and without a record', async () => {
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
    test('ends the grant, and the lock opens at its expiry', async () => {
      await acquire('anna');
      expect((await forceRelease('anna')).applied).toBe(true);
      expect(await recordOf()).toEqual({ ...released(anna()), expiresAt: until });
      await expectRefused(() => takeOver('bert', { now: until - 1 }));
      expect((await takeOver('bert')).applied).toBe(true);
    });

    test('with immediately, opens the lock at once, with an expiry that no release writes', async () => {
      await acquire('anna');
      expect((await forceRelease('anna', true)).applied).toBe(true);
      expect(await recordOf()).toEqual({ ...released(anna()), expiresAt: now + 2 });
      expect((await acquire('bert', { now: now + 2 })).applied).toBe(true);
    });

    test("makes the holder's later renewal, release and acquire refused", async () => {
      await acquire('anna');
      await forceRelease('anna');
      await expectRefused(() => renew('anna', until + 5_000));
      await expectRefused(() => release('anna', { doneToken: 'run-2' }));
      await expectRefused(() => takeOver('anna'));
    });

    test('ends no grant with another lockId', async () => {
      await acquire('anna');
      await takeOver('bert');
      await expectRefused(() => forceRelease('anna'));
      await expectRefused(() => forceRelease('anna', true));
    });

    test('with immediately, opens a lock that an earlier force release of the grant left closed', async () => {
      await acquire('anna');
      await forceRelease('anna');
      expect((await forceRelease('anna', true)).applied).toBe(true);
      expect(await recordOf()).toEqual({ ...released(anna()), expiresAt: now + 2 });
      expect((await acquire('bert', { now: now + 2 })).applied).toBe(true);
      await expectRefused(() => forceRelease('anna', true));
    });

    test('with immediately, opens a lock that holdAtLeastMs keeps closed after its release', async () => {
      await acquire('anna');
      await release('anna', { holdAtLeastMs: 86_400_000, doneToken: 'run-1' });
      await expectRefused(() => forceRelease('anna'));
      await expectRefused(() => forceRelease('another', true));
      expect((await forceRelease('anna', true)).applied).toBe(true);
      expect(await recordOf()).toEqual({ ...released(anna()), expiresAt: now + 2, doneToken: 'run-1' });
    });

    test('with immediately, changes no lock that a later holder released', async () => {
      await acquire('anna');
      await forceRelease('anna');
      await takeOver('bert');
      await release('bert', { holdAtLeastMs: 90_000 });
      await expectRefused(() => forceRelease('anna', true));
    });
  });

  describe('repair', () => {
    /** Anna's released lock, which stays closed for a day. */
    const closed = async () => {
      await acquire('anna', { data: '1' });
      await release('anna', { holdAtLeastMs: 86_400_000, doneToken: 'run-1' });
      return (await recordOf()) as LockRecord;
    };

    const broken = { acquiredAt: now, immediately: true, lowersToken: true };
    const unseen = () => ({ key, opensAt: now, fencingToken: 1, broken });

    test('writes the expiry and the token of a lock that nobody holds, and nothing else', async () => {
      const record = await closed();
      expect((await repair(now + 50, now + 700)).applied).toBe(true);
      expect(await recordOf()).toEqual({ ...record, expiresAt: now + 50, fencingToken: now + 700 });
      await expectRefused(() => acquire('bert', { now: now + 49 }));
      expect((await acquire('bert', { now: now + 50 })).record?.fencingToken).toBe(now + 701);
    });

    test('lowers a token, as an operator asks', async () => {
      await closed();
      await repair(now + 1, 7);
      expect((await acquire('bert', { now: now + 1 })).record?.fencingToken).toBe(8);
    });

    test('is refused while a grant is outstanding, expired or not', async () => {
      await acquire('anna');
      await expectRefused(() => repair(now, now + 1));
      await expectRefused(() => repair(until + leaseMs, now + 1));
    });

    test('is refused if the record has another expiry or another token than the operator saw', async () => {
      const seen = await closed();
      await expectRefused(() => repair(now, 1, { ...seen, expiresAt: seen.expiresAt + 1 }));
      await expectRefused(() => repair(now, 1, { ...seen, fencingToken: seen.fencingToken - 1 }));
    });

    test('is refused the second time, and changes nothing that came after the first', async () => {
      const seen = await closed();
      await repair(now + 50, now + 700, seen);
      await expectRefused(() => repair(now + 50, now + 700, seen));
      await acquire('bert', { now: now + 50 });
      await release('bert', { holdAtLeastMs: 86_400_000 - 50 });
      await expectRefused(() => repair(now + 50, now + 700, seen));
    });

    test('is refused without a record, and makes no record', async () => {
      expect(await repair(now, 1)).toMatchObject({ applied: false });
      expect(await store.repair(unseen())).toMatchObject({ applied: false });
      expect(await recordOf()).toBeUndefined();
    });

    test('of a record that the operator could not see is refused if the record is a lock', async () => {
      await acquire('anna');
      await expectRefused(() => store.repair(unseen()));
      await release('anna');
      await expectRefused(() => store.repair(unseen()));
    });
  });

  describe('reading', () => {
    test('a read of a key without a record gives no record', async () => {
      expect((await store.read(key, { consistent: true })).record).toBeUndefined();
      expect((await store.read(key, { consistent: false })).record).toBeUndefined();
      expect(await store.readMany([key])).toMatchObject({ records: [], unprocessed: [] });
    });

    test('a consistent and an eventually consistent read give the whole record', async () => {
      await acquire('anna', { data: '1' });
      for (const consistent of [true, false]) {
        expect((await store.read(key, { consistent })).record).toEqual({ ...anna(), data: '1' });
      }
    });

    test('readMany gives the records of up to 100 keys, and leaves out the keys without a record', async () => {
      const keys = Array.from({ length: 100 }, (_, i) => `${key}/${i}`);
      const taken = keys.filter((_, i) => i % 2 === 0);
      await Promise.all(taken.map((of) => acquire('anna', { key: of })));
      const { records, unprocessed } = await store.readMany(keys);
      expect(unprocessed).toEqual([]);
      const byKey = (a: LockRecord, b: LockRecord) => (a.key < b.key ? -1 : 1);
      expect([...records].sort(byKey)).toEqual(taken.map((of) => ({ ...anna(), key: of })).sort(byKey));
    });

    test('list gives the whole records whose key starts with the prefix, and no others', async () => {
      const prefix = `${key}-%_#:(`;
      const keys = [prefix, `${prefix}a`, `${prefix}\u{1f512}`];
      await Promise.all([...keys, key, `x${prefix}`].map((of) => acquire('anna', { key: of })));
      const all = await listed(store, prefix);
      expect(all.map((record) => record.key).sort()).toEqual([...keys].sort());
      expect(all).toContainEqual({ ...anna(), key: prefix });
    });

    test('list without a prefix gives every record', async () => {
      await acquire('anna');
      await release('anna');
      expect(await listed(store)).toContainEqual(await recordOf());
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
    // All tests share one store. A new `lockId` tells this grant from the others.
    const lockId = randomUUID();
    await acquire(lockId, { key: held, owner: held });
    expect(await recordOf(held)).toEqual({ ...anna(), key: held, lockId, owner: held });
    expect((await store.renew({ key: held, lockId, until: until + 1 })).applied).toBe(true);
    expect((await release(lockId, { key: held, doneToken: held })).applied).toBe(true);
    expect(await recordOf(held)).toMatchObject({ key: held, releasedBy: lockId, doneToken: held });
    expect((await store.readMany([held])).records).toHaveLength(1);
  });

  describe('a coalescing grant', () => {
    const coalescing = (lockId: string, coalesce: 'always' | 'ifOwed' = 'always', more: Partial<AcquireRequest> = {}) =>
      acquire(lockId, { coalesce, ...more });
    const later = { now: until, until: until + leaseMs };
    const served = (lockId: string, level: number) => release(lockId, { served: level });
    const counts = async () => {
      const { asked, serving, served } = (await recordOf()) ?? {};
      return { asked, serving, served };
    };

    test('counts as an ask, which its run serves, and a release says that the run has succeeded', async () => {
      expect((await coalescing('anna')).record).toMatchObject({ asked: 1, serving: 1 });
      expect((await served('anna', 1)).applied).toBe(true);
      expect(await counts()).toEqual({ asked: 1, serving: undefined, served: 1 });
      expect((await coalescing('bert', 'always', later)).record).toMatchObject({ asked: 2, serving: 2, served: 1 });
    });

    test('is asked for one more run, once, however often the request comes', async () => {
      await coalescing('anna');
      const request = { key, seen: 'anna', serving: 1 };
      expect((await store.ask(request)).applied).toBe(true);
      await expectRefused(() => store.ask(request));
      expect(await counts()).toEqual({ asked: 2, serving: 1, served: undefined });
    });

    test('is asked for nothing if it is not the grant, or not the run, that was seen', async () => {
      await expectRefused(() => store.ask({ key, seen: 'anna', serving: 1 }));
      await coalescing('anna');
      await expectRefused(() => store.ask({ key, seen: 'bert', serving: 1 }));
      await expectRefused(() => store.ask({ key, seen: 'anna', serving: 2 }));
      await served('anna', 1);
      await expectRefused(() => store.ask({ key, seen: 'anna', serving: 1 }));
    });

    test('is not released as served if somebody has asked, until another run has served the ask', async () => {
      await coalescing('anna');
      await store.ask({ key, seen: 'anna', serving: 1 });
      await expectRefused(() => served('anna', 1));
      expect((await store.turn({ key, lockId: 'anna', serving: 2 })).applied).toBe(true);
      // A duplicate of the first release, which comes during the second run.
      await expectRefused(() => served('anna', 1));
      expect((await served('anna', 2)).applied).toBe(true);
      expect(await counts()).toEqual({ asked: 2, serving: undefined, served: 2 });
    });

    test('turns only for its holder, to a run that serves more, and not to one that nobody asked for', async () => {
      await coalescing('anna');
      await expectRefused(() => store.turn({ key, lockId: 'anna', serving: 2 }));
      await store.ask({ key, seen: 'anna', serving: 1 });
      await expectRefused(() => store.turn({ key, lockId: 'bert', serving: 2 }));
      await expectRefused(() => store.turn({ key, lockId: 'anna', serving: 1 }));
      await store.turn({ key, lockId: 'anna', serving: 2 });
      await expectRefused(() => store.turn({ key, lockId: 'anna', serving: 2 }));
    });

    test('that ends without success leaves a run owed, for which the lock is granted', async () => {
      await expectRefused(() => coalescing('anna', 'ifOwed'));
      await coalescing('anna');
      await release('anna');
      expect(await counts()).toEqual({ asked: 1, serving: undefined, served: undefined });
      expect((await coalescing('bert', 'ifOwed', later)).applied).toBe(true);
      await served('bert', 2);
      await expectRefused(() => coalescing('carl', 'ifOwed', { now: until + leaseMs, until: until + 2 * leaseMs }));
    });

    test('leaves the counts to a plain grant, which can be asked for no run', async () => {
      await coalescing('anna');
      await takeOver('bert');
      expect(await counts()).toEqual({ asked: 1, serving: undefined, served: undefined });
      await expectRefused(() => store.ask({ key, seen: 'bert', serving: 1 }));
    });

    test('that is given back lets the holder before run on, and once more', async () => {
      await coalescing('anna');
      const { record } = await coalescing('bert', 'always', later);
      const { fencingToken, tookOver } = record as LockRecord;
      await giveBack('bert', tookOver as Takeover, until, fencingToken);
      expect(await recordOf()).toMatchObject({ lockId: 'anna', asked: 2, serving: 2 });
      await expectRefused(() => served('anna', 1));
      expect((await served('anna', 2)).applied).toBe(true);
    });
  });

  test('a result stands beside the token that is done, and goes with the next token', async () => {
    let from = now;
    const done = async (lockId: string, doneToken: string | undefined, doneResult?: string) => {
      from += leaseMs;
      await acquire(lockId, { now: from, until: from + leaseMs });
      await release(lockId, { doneToken, doneResult });
      return (await recordOf())?.doneResult;
    };
    expect(await done('anna', 'a', '{"rows":7}')).toBe('{"rows":7}');
    expect(await done('bert', undefined)).toBe('{"rows":7}');
    expect(await done('carl', 'b')).toBeUndefined();
    expect(await done('dora', 'c', '1')).toBe('1');
    expect(await done('emil', '')).toBeUndefined();
  });

  describe('commit', () => {
    const commit = (lockId: string, number: number, data = `"${number}"`) =>
      store.commit({ key, lockId, data, number });
    const committed = (number: number, fencingToken = now + 1) => ({ data: `"${number}"`, number, fencingToken });

    test('writes the data with the token of the grant, and changes nothing else', async () => {
      await acquire('anna');
      expect((await commit('anna', 1)).applied).toBe(true);
      expect(await recordOf()).toEqual({ ...anna(), committed: committed(1) });
      expect((await commit('anna', 2)).applied).toBe(true);
      expect(await recordOf()).toEqual({ ...anna(), committed: committed(2) });
    });

    test('stays through a release, an expiry and the next grants', async () => {
      await acquire('anna');
      await commit('anna', 1);
      await release('anna');
      expect((await takeOver('bert')).record?.committed).toEqual(committed(1));
      expect((await takeOver('carl', { now: until + leaseMs })).record?.committed).toEqual(committed(1));
      expect((await commit('carl', 2)).applied).toBe(true);
      expect((await recordOf())?.committed).toEqual(committed(2, now + 3));
    });

    test('is refused after a takeover, a release and a forced release, and without a record', async () => {
      expect(await commit('anna', 1)).toMatchObject({ applied: false });
      expect(await recordOf()).toBeUndefined();
      await acquire('anna');
      await takeOver('bert');
      await expectRefused(() => commit('anna', 1));
      await release('bert');
      await expectRefused(() => commit('bert', 1));
      await takeOver('carl', { now: until + leaseMs });
      await forceRelease('carl');
      await expectRefused(() => commit('carl', 1));
    });

    test('is applied after the expiry if nobody has taken the lock over', async () => {
      await acquire('anna', { until: now + 1, leaseMs: 1 });
      expect((await commit('anna', 1)).applied).toBe(true);
    });

    test('is refused when delivered twice, or after a later commit', async () => {
      await acquire('anna');
      await commit('anna', 1);
      await expectRefused(() => commit('anna', 1));
      await commit('anna', 2);
      await expectRefused(() => commit('anna', 1));
      await expectRefused(() => commit('anna', 4));
    });

    test('keeps any text', async () => {
      const data = JSON.stringify({ text: `"quotes" \\ \u0000 \u{1f512} ${'é'.repeat(3_000)}` });
      await acquire('anna');
      await commit('anna', 1, data);
      expect((await recordOf())?.committed?.data).toBe(data);
    });
  });

  test("every answer that must has the time of the server's clock, in whole milliseconds", async () => {
    const reads = [await store.read(key, { consistent: true }), await store.readMany([key])];
    const judge = await store.read(key, { consistent: false, dated: true });
    const answers = [
      await acquire('anna'),
      await acquire('bert'),
      await renew('anna', until + 1),
      await store.commit({ key, lockId: 'anna', data: '1', number: 1 }),
      await resume('anna', 'carl'),
      await giveBack('carl', NOTHING),
      await forceRelease('carl'),
      await release('carl'),
    ];
    for (const { serverDate } of [...answers, judge, ...(dated === 'all' ? reads : [])]) {
      expect(Number.isSafeInteger(serverDate)).toBe(true);
      expect(Math.abs(Number(serverDate) - Date.now())).toBeLessThan(60_000);
    }
  });
}
