import { describe, expect, test } from '@jest/globals';
import { LockClient } from '../../lib/lease/client.ts';
import type { LockStore } from '../../lib/record/store.ts';
import { listed } from '../support/listed.ts';

/** A value that somebody writes into a record: a number, a text that is no number, or none. */
export type Written = number | 'x' | undefined;

/** A store, and another program that may write its records. */
export interface Damaged {
  readonly store: LockStore;
  /** Writes the fields of a record, below the store. Undefined takes a field away. */
  change(key: string, fields: Readonly<Record<string, Written>>): Promise<unknown>;
  /** Everything that stands under the key. */
  raw(key: string): Promise<unknown>;
}

const HOUR = 3_600_000;

/** Changes fields of a record in the content of an object or a file. */
export function changeContent(content: string, fields: Readonly<Record<string, Written>>): string {
  const { record, ...rest } = JSON.parse(content);
  return JSON.stringify({ ...rest, writeId: 'by hand', record: { ...record, ...fields } });
}

/** The promises of docs/operations.md about a record that somebody has damaged, and about its repair. */
export function damagedRecords(setUp: () => Damaged | Promise<Damaged>): void {
  const opened = async (options = {}) => {
    const damaged = await setUp();
    const locks = new LockClient({ store: damaged.store });
    await (await locks.acquire('job', options)).release();
    return { ...damaged, locks };
  };

  describe('a damaged record', () => {
    test.each<Written>(['x', undefined, -1, 9_007_199_254_740_990])(
      'whose acquiredAt is %p is listed with its flaw, and repaired',
      async (acquiredAt) => {
        const { store, change, locks } = await opened();
        await change('job', { acquiredAt });
        expect(await listed(store)).toEqual([
          expect.objectContaining({ key: 'job', flaw: expect.stringMatching(/^acquiredAt /) }),
        ]);
        const seen = await locks.inspect('job');
        expect(seen?.flaw).toMatch(/^acquiredAt /);
        expect(await locks.repair('job', { seen })).toBe(true);
        expect((await locks.inspect('job'))?.flaw).toBeUndefined();
        await locks.using('job', async () => {});
      },
    );

    test('without an acquiredAt is mended by the next acquisition, too', async () => {
      const { change, locks } = await opened();
      await change('job', { acquiredAt: undefined });
      await locks.using('job', async () => {});
      expect((await locks.inspect('job'))?.flaw).toBeUndefined();
    });

    test('of which only the token and the expiry are left is mended', async () => {
      const { change, locks } = await opened();
      const gone = { acquiredAt: undefined, leaseMs: undefined, releasedBy: undefined, owner: undefined };
      await change('job', { ...gone, fencingToken: 7, expiresAt: 8 });
      expect(await locks.repair('job', { seen: await locks.inspect('job') })).toBe(true);
      expect((await locks.inspect('job'))?.flaw).toBeUndefined();
      expect(await locks.tryAcquire('job')).not.toBeNull();
    });

    test.each<[string, Written]>([
      ['fencingToken', 'x'],
      ['fencingToken', undefined],
      ['expiresAt', 'x'],
      ['expiresAt', undefined],
    ])('whose %s is %p is left as it is, is told with the repair, and is repaired', async (name, value) => {
      const { store, change, raw, locks } = await opened({ once: '1', data: 'kept' });
      await change('job', { [name]: value });
      const before = await raw('job');
      const told = expect.objectContaining({
        name: 'LockStoreError',
        foreign: true,
        message: expect.stringMatching(/Repair the record: leasehold repair KEY/),
      });
      const now = Date.now();
      const grant = { key: 'job', lockId: 'anna', owner: 'anna', now, until: now + 1_000, leaseMs: 1_000 };
      await expect(locks.acquire('job')).rejects.toEqual(told);
      await expect(locks.inspect('job')).rejects.toEqual(told);
      await expect(store.renew(grant)).rejects.toMatchObject({ foreign: true });
      await expect(store.release({ ...grant, holdAtLeastMs: 0 })).rejects.toMatchObject({ foreign: true });
      const seen = { fencingToken: 1, expiresAt: 1 };
      await expect(store.repair({ key: 'job', seen, opensAt: now, fencingToken: 1 })).rejects.toMatchObject({
        foreign: true,
      });
      expect(await listed(store)).toEqual([]);
      expect(await raw('job')).toEqual(before);
      // A store that has judged no clock yet learns the time from the error.
      expect(await new LockClient({ store }).repair('job', { immediately: true })).toBe(true);
      const repaired = await locks.inspect('job');
      expect([repaired?.flaw, repaired?.lockId]).toEqual([undefined, undefined]);
      await locks.using('job', async () => {});
    });

    test('that cannot be seen opens not before its expiry, unless it is to open at once', async () => {
      const { store, change, raw, locks } = await opened();
      await locks.acquire('job', { leaseMs: HOUR });
      await change('job', { fencingToken: 'x' });
      const before = await raw('job');
      await expect(locks.repair('job', {})).rejects.toThrow(/its expiry lies ahead.+immediately/);
      await expect(locks.repair('job', { fencingToken: 7 })).rejects.toThrow(
        /its expiry lies ahead(?!.*fencingToken\))/,
      );
      expect(await raw('job')).toEqual(before);
      expect(await locks.repair('job', { immediately: true })).toBe(true);
      // The client of the grant that was ended believes until its next renewal.
      await new LockClient({ store }).using('job', async () => {});
    });

    test('without an expiry keeps its token, unless the operator names the token', async () => {
      const { change, locks } = await opened();
      await change('job', { fencingToken: 8_000_000_000_000_000, expiresAt: undefined });
      await expect(locks.repair('job', { immediately: true })).rejects.toThrow(
        /^(?!.*immediately).*its token is greater.+fencingToken/,
      );
      expect(await locks.repair('job', { fencingToken: 8_000_000_000_000_000 })).toBe(true);
      expect((await locks.acquire('job')).fencingToken).toBe(8_000_000_000_000_001);
    });

    test.each<[string, number]>([
      ['fencingToken', 1.5],
      ['fencingToken', 4_000_000_000_000.5],
      ['fencingToken', -1],
      ['fencingToken', 2 ** 60],
      ['expiresAt', 1_795_731_230.5],
      ['expiresAt', 4_000_000_000_000.5],
      ['expiresAt', -1],
      ['expiresAt', 2 ** 60],
    ])('whose %s is %d is repaired', async (name, value) => {
      const { change, locks } = await opened();
      await change('job', { [name]: value });
      const seen = await locks.inspect('job');
      expect(seen?.flaw).toMatch(`${name} is `);
      expect(await locks.repair('job', { seen, immediately: true })).toBe(true);
      expect((await locks.inspect('job'))?.flaw).toBeUndefined();
      const lease = await locks.acquire('job');
      const isKept = name === 'fencingToken' && value < Number.MAX_SAFE_INTEGER;
      expect(lease.fencingToken).toBeGreaterThan(Math.max(Date.now() - 60_000, isKept ? value : 0));
      await lease.release();
    });

    test("of a live holder is repaired: the grant ends, and the lock opens at the holder's expiry", async () => {
      const { change, locks } = await opened();
      const lease = await locks.acquire('job', { leaseMs: HOUR });
      await change('job', { acquiredAt: 'x' });
      const seen = await locks.inspect('job');
      expect(seen).toMatchObject({ held: true });
      expect(await locks.repair('job', { seen })).toBe(true);
      const { expiresAt, lockId, flaw } = { ...(await locks.inspect('job')) };
      expect([expiresAt, lockId, flaw]).toEqual([seen?.expiresAt, undefined, undefined]);
      await expect(locks.acquire('job')).rejects.toMatchObject({ name: 'LockBusyError' });
      await expect(lease.renew()).rejects.toMatchObject({ reason: 'revoked' });
    });

    test('stays closed after its repair if holdAtLeastMs keeps it closed, unless it is to open at once', async () => {
      const { change, locks } = await opened({ holdAtLeastMs: HOUR });
      await change('job', { acquiredAt: -1 });
      const seen = await locks.inspect('job');
      await locks.repair('job', { seen });
      expect((await locks.inspect('job'))?.expiresAt).toBe(seen?.expiresAt);
      await change('job', { acquiredAt: -1 });
      await locks.repair('job', { seen: await locks.inspect('job'), immediately: true });
      await locks.using('job', async () => {});
    });

    test('is not repaired if its holder has renewed since it was seen', async () => {
      const { change, locks } = await opened();
      await locks.acquire('job', { leaseMs: HOUR });
      await change('job', { acquiredAt: 'x' });
      const seen = await locks.inspect('job');
      const expiresAt = (seen?.expiresAt ?? 0) + 10_000;
      await change('job', { expiresAt });
      expect(await locks.repair('job', { seen })).toBe(false);
      expect((await locks.inspect('job'))?.expiresAt).toBe(expiresAt);
    });

    test.each<[string, number]>([
      ['another expiry', 9],
      ['an expiry that is damaged', -1],
      ['the same expiry', 8],
    ])('keeps a later token with %s from an operator who saw an earlier token', async (_, expiresAt) => {
      const { change, locks } = await opened();
      const HIGH = 9_007_100_000_000_000;
      await change('job', { fencingToken: 7, expiresAt: 8, acquiredAt: undefined });
      const seen = await locks.inspect('job');
      await change('job', { fencingToken: HIGH, expiresAt });
      expect(await locks.repair('job', { seen })).toBe(false);
      expect(await locks.repair('job', { seen, fencingToken: 12 })).toBe(false);
      expect(await locks.inspect('job')).toMatchObject({ fencingToken: HIGH });
      expect(await locks.repair('job', { seen: await locks.inspect('job'), fencingToken: 12 })).toBe(true);
      const { fencingToken, flaw } = { ...(await locks.inspect('job')) };
      expect([fencingToken, flaw]).toEqual([12, undefined]);
    });

    test('is not repaired a second time by the same request', async () => {
      const { store, change } = await opened();
      await change('job', { acquiredAt: undefined });
      const now = Date.now();
      const broken = { acquiredAt: now, immediately: true, lowersToken: true };
      const request = { key: 'job', opensAt: now, fencingToken: now, broken };
      expect(await store.repair(request)).toMatchObject({ applied: true });
      expect(await store.repair({ ...request, opensAt: now + 1 })).toMatchObject({ applied: false });
      const again = { ...broken, acquiredAt: now + 1 };
      expect(await store.repair({ ...request, broken: again })).toMatchObject({ applied: false });
    });
  });
}
