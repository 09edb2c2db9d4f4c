import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { LockClient } from '../../lib/lease/client.ts';
import type { Lease } from '../../lib/lease/lease.ts';
import { SlotMemory } from '../../lib/lease/slots.ts';
import { LockBusyError, LockLostError, LockNoTimeError, LockStoreError } from '../../lib/record/errors.ts';
import { slotKeys } from '../../lib/record/slot-keys.ts';
import { outcomeOf, seededRandom, settle, taken, type World, world } from './setup.ts';

let scene: World;
beforeEach(() => {
  seededRandom(1);
  scene = world();
});
afterEach(() => {
  jest.restoreAllMocks();
});

const FIVE = { permits: 5 };
const slotsOf = (leases: readonly Lease[]) => leases.map(({ slot }) => slot).toSorted();
const take = (client: LockClient, options: object = FIVE) => taken(client.tryAcquire('partner', options));
const takeAll = (permits: number, options: object = {}) =>
  Promise.all(Array.from({ length: permits }, () => take(scene.host().client, { permits, ...options })));
/** Releases a lease. A lock that was held for no time opens a millisecond later. */
async function release(lease: Lease | undefined) {
  expect(await lease?.release()).toBe(true);
  await scene.time.advance(1);
}
/** The requests that a call sent. */
async function requestsOf(call: () => Promise<unknown>): Promise<string[]> {
  const before = scene.store.operations.length;
  await call();
  return scene.store.operations.slice(before);
}

describe('a lock with permits', () => {
  test('has as many holders as it has permits, each in a slot of its own, and one more is busy', async () => {
    const leases: Lease[] = [];
    for (let holder = 0; holder < 5; holder++) leases.push(await take(scene.host().client));
    expect(slotsOf(leases)).toEqual([0, 1, 2, 3, 4]);
    expect(leases.every(({ key }) => key === 'partner')).toBe(true);
    expect(leases.every((lease) => lease.isHeld())).toBe(true);
    expect(await scene.host().client.tryAcquire('partner', FIVE)).toBeNull();
    await release(leases[2]);
    expect((await take(scene.host().client)).slot).toBe(leases[2]?.slot);
  });

  test('gives slots to holders that ask at the same moment, as long as there are slots', async () => {
    const asked = Array.from({ length: 12 }, () =>
      scene.host().client.acquire('partner', { permits: 10, waitMs: 100 }),
    );
    for (const ask of asked) outcomeOf(ask);
    await scene.time.advance(1_000);
    const results = await Promise.allSettled(asked);
    const leases = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    expect(slotsOf(leases)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9].toSorted());
  });

  test('says who holds the slots when it is busy, and not in its message', async () => {
    await scene.time.advance(500);
    const early = await take(scene.host({ owner: 'early' }).client, { permits: 2, leaseMs: 10_000 });
    await scene.time.advance(2_000);
    await take(scene.host({ owner: 'late' }).client, { permits: 2, leaseMs: 20_000 });
    const asking = scene.host();
    const error = await asking.client.acquire('partner', { permits: 2 }).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(LockBusyError);
    const { permits, holders, owner, retryAfterMs, headers, message } = error as LockBusyError;
    expect(permits).toBe(2);
    expect(holders.map(({ owner }) => owner).toSorted()).toEqual(['early', 'late']);
    expect(holders[early.slot]?.owner).toBe('early');
    expect(holders.map(({ slot }) => slot)).toEqual([0, 1]);
    expect([owner, retryAfterMs]).toEqual(['early', 8_000]);
    expect(headers).toEqual({ 'Retry-After': '1' });
    expect(message).toBe("The lock 'partner' is busy: all 2 permits are in use; retry in 1 s.");
    expect(asking.of('busy')).toEqual([
      expect.objectContaining({ key: 'partner', permits: 2, held: 2, owner: 'early' }),
    ]);
  });

  test('without permits has slot 0, one permit and one holder', async () => {
    const lease = await scene.host().client.acquire('partner');
    expect(lease.slot).toBe(0);
    const error = await scene
      .host()
      .client.acquire('partner', { permits: 1 })
      .catch((error: unknown) => error);
    expect(error).toMatchObject({ permits: 1, holders: [{ slot: 0, owner: 'host-1', expiresAt: expect.any(Number) }] });
    expect((error as Error).message).toBe("The lock 'partner' is busy; retry in 1 s.");
  });

  test('opens the slot of a dead holder at its expiry, and tells who it was', async () => {
    await takeAll(2);
    const now = scene.time.now();
    const dead = { key: 'other', lockId: 'dead', owner: 'dead', now, until: now + 3_000, leaseMs: 3_000 };
    await scene.memory.acquire(dead);
    await scene.memory.acquire({ ...dead, key: 'other#1', lockId: 'living', until: now + 60_000 });
    const lease = await settle(scene.time, scene.host().client.acquire('other', { permits: 2, waitMs: 10_000 }));
    expect(lease.slot).toBe(0);
    expect(lease.takenOverFrom?.owner).toBe('dead');
    expect(scene.time.now() - now).toBeLessThan(3_100);
  });

  test('names the slot in every event of its leases', async () => {
    const { client, events } = scene.host();
    const lease = await take(client);
    await lease.renew();
    await lease.release();
    expect(events.map(({ type, key, slot }) => [type, key, slot])).toEqual([
      ['acquired', 'partner', lease.slot],
      ['renewed', 'partner', lease.slot],
      ['released', 'partner', lease.slot],
    ]);
    await (await client.acquire('plain')).release();
    expect(events.slice(3).every((event) => !('slot' in event))).toBe(true);
  });

  test('keeps slot, token and commits apart: a commit stays in its slot', async () => {
    const [first, second] = await takeAll(2);
    await first?.commit({ by: 'first' });
    expect(second?.committed).toBeUndefined();
    const [own, other] = [first?.slot ?? 0, second?.slot ?? 0].map((slot) => slotKeys('partner', 2)[slot] as string);
    expect((await scene.host().client.inspect(own as string))?.committed?.data).toEqual({ by: 'first' });
    expect((await scene.host().client.inspect(other as string))?.committed).toBeUndefined();
  });

  test('is handed off and resumed in its slot', async () => {
    await scene.host().client.acquire('partner');
    const lease = await take(scene.host().client, { permits: 2 });
    expect(lease.slot).toBe(1);
    const handle = await lease.handOff({ leaseMs: 10_000 });
    expect(handle).toMatchObject({ key: 'partner', slot: lease.slot });
    const host = scene.host();
    const resumed = await host.client.resume(JSON.parse(JSON.stringify(handle)));
    expect([resumed.key, resumed.slot]).toEqual(['partner', lease.slot]);
    expect(host.of('resumed')).toEqual([expect.objectContaining({ key: 'partner', slot: lease.slot })]);
    await expect(scene.host().client.resume(handle)).rejects.toThrow(LockLostError);
    await release(resumed);
    expect((await take(scene.host().client, { permits: 2 })).slot).toBe(lease.slot);
  });

  test('is ended by an operator by the key of the slot', async () => {
    const lease = await take(scene.host().client);
    const operator = scene.host().client;
    const key = slotKeys('partner', 5)[lease.slot] as string;
    expect([...(await operator.inspectMany(slotKeys('partner', 5))).keys()]).toEqual([key]);
    expect(await operator.forceRelease(key, { lockId: lease.lockId })).toBe(true);
    await expect(lease.renew()).rejects.toThrow(LockLostError);
  });
});

describe('the requests of a lock with permits', () => {
  test('are two writes a cycle for a worker that comes back to its slot', async () => {
    const hosts = Array.from({ length: 5 }, () => scene.host().client);
    const first = await Promise.all(hosts.map((client) => take(client, { permits: 5 })));
    for (const lease of first) await lease.release();
    for (let round = 0; round < 3; round++) {
      for (const [index, client] of hosts.entries()) {
        let slot: number | undefined;
        const cycle = async () => {
          const lease = await take(client);
          slot = lease.slot;
          await lease.release();
        };
        expect(await requestsOf(cycle)).toEqual(['acquire', 'release']);
        expect(slot).toBe(first[index]?.slot);
      }
    }
  });

  test('are two writes a cycle for several workers of one client, each of which keeps a slot', async () => {
    const { client } = scene.host();
    const round = async () => {
      const leases = await Promise.all([1, 2, 3].map(() => take(client)));
      for (const lease of leases) await lease.release();
    };
    await round();
    expect(await requestsOf(round)).toEqual(['acquire', 'acquire', 'acquire', 'release', 'release', 'release']);
  });

  test('are one write and one look for a full lock, and then a look alone', async () => {
    await takeAll(5);
    const { client } = scene.host();
    const full = async () => expect(await client.tryAcquire('partner', FIVE)).toBeNull();
    expect(await requestsOf(full)).toEqual(['acquire', 'readMany']);
    expect(await requestsOf(full)).toEqual(['readMany']);
  });

  test('are a look and a write when a slot has opened after a busy answer', async () => {
    const [lease] = await takeAll(5);
    const { client } = scene.host();
    await client.tryAcquire('partner', FIVE);
    await release(lease);
    let next: Lease | undefined;
    const cycle = async () => {
      next = await take(client);
      await release(next);
    };
    expect(await requestsOf(cycle)).toEqual(['readMany', 'acquire', 'release']);
    // After the grant, the client comes back to its slot without a look.
    expect(await requestsOf(cycle)).toEqual(['acquire', 'release']);
    expect(next?.slot).toBe(lease?.slot);
  });

  test('are three writes at the most in one try, though the look is old', async () => {
    await takeAll(5);
    // A look that shows no record at all, as before the first grant.
    const looked = scene.store.readMany.bind(scene.store);
    scene.store.readMany = async (keys) => ({ ...(await looked(keys)), records: [] });
    const { client } = scene.host();
    const full = async () => expect(await client.tryAcquire('partner', FIVE)).toBeNull();
    const requests = await requestsOf(full);
    expect(requests).toEqual(['acquire', 'readMany', 'acquire', 'acquire']);
  });

  test('are one look for all slots at a time while a call waits, and a write once a slot is free', async () => {
    const leases = await takeAll(3);
    const { client, of } = scene.host();
    const requests = await requestsOf(async () => {
      const waiting = client.acquire('partner', { permits: 3, waitMs: 20_000 });
      await scene.time.advance(5_000);
      await leases[1]?.release();
      expect((await settle(scene.time, waiting)).slot).toBe(leases[1]?.slot);
    });
    const writes = requests.filter((name) => name !== 'readMany' && name !== 'renew');
    expect(writes).toEqual(['acquire', 'release', 'acquire']);
    expect(of('waiting')).toHaveLength(1);
    expect(of('acquired')[0]?.waitedMs).toBeGreaterThan(4_900);
  });

  test('fail as throttled if the look leaves out every slot that no other call of the client asks for', async () => {
    const { time, store } = scene;
    const leases = await takeAll(2);
    const { client } = scene.host();
    expect(await client.tryAcquire('partner', { permits: 2 })).toBeNull();
    for (const lease of leases) await release(lease);
    store.script = (operation) => (operation === 'acquire' ? { do: 'hang' } : undefined);
    outcomeOf(client.tryAcquire('partner', { permits: 2 }));
    await time.advance(1);
    const { asked } = client.context.leases;
    const unprocessed = slotKeys('partner', 2).filter((key) => !asked.has(key));
    expect(unprocessed).toHaveLength(1);
    store.readMany = async () => ({ records: [], unprocessed });
    const failed = client.tryAcquire('partner', { permits: 2 });
    await expect(failed).rejects.toThrow('the server throttles, and left slots out');
    await expect(failed).rejects.toMatchObject({ transient: true });
  });

  test('leave out nobody: a slot that a throttled server left out of the look is not taken for free', async () => {
    const [first] = await takeAll(3);
    await first?.release();
    const key = slotKeys('partner', 3)[first?.slot ?? 0] as string;
    const looked = scene.store.readMany.bind(scene.store);
    let throttled = 3;
    scene.store.readMany = async (keys) => {
      const answer = await looked(keys);
      if (throttled-- <= 0) return answer;
      return { ...answer, records: answer.records.filter((record) => record.key !== key), unprocessed: [key] };
    };
    const { client } = scene.host();
    // The random slot of the first write is one of the two that are held.
    jest.spyOn(Math, 'random').mockReturnValue(first?.slot === 0 ? 0.9 : 0);
    const requests = await requestsOf(async () => {
      const lease = await settle(scene.time, client.acquire('partner', { permits: 3, waitMs: 10_000 }));
      expect(lease.slot).toBe(first?.slot);
    });
    expect(requests).toEqual(['acquire', 'readMany', 'readMany', 'readMany', 'readMany', 'acquire']);
  });

  test('are no writes for an old look: what a refusal has shown since counts', async () => {
    await takeAll(2);
    const { client } = scene.host();
    scene.store.readMany = async (keys) => ({
      records: keys.map((key) => ({ key, owner: 'old', fencingToken: 1, expiresAt: 2, acquiredAt: 1, leaseMs: 1 })),
      unprocessed: [],
    });
    const requests = await requestsOf(async () => {
      const waiting = client.acquire('partner', { permits: 2, waitMs: 3_000 });
      outcomeOf(waiting);
      await scene.time.advance(3_100);
      await expect(waiting).rejects.toThrow(LockBusyError);
    });
    expect(requests.filter((name) => name === 'acquire')).toHaveLength(2);
  });

  test('are two writes a cycle with holdAtLeastMs: nobody asks first for a slot that stays closed', async () => {
    const { client } = scene.host();
    const options = { ...FIVE, holdAtLeastMs: 60_000 };
    const first = await take(client, options);
    await release(first);
    // The next random slot is another one.
    jest.spyOn(Math, 'random').mockReturnValue(((first.slot + 1) % 5) / 5 + 0.01);
    expect(await requestsOf(() => take(client, options))).toEqual(['acquire']);
  });

  test('fail as throttled if the look leaves out every slot and nothing is known', async () => {
    await takeAll(3);
    const { client } = scene.host();
    await client.tryAcquire('partner', { permits: 3 });
    scene.store.readMany = async (keys) => ({ records: [], unprocessed: keys });
    const failed = client.tryAcquire('partner', { permits: 3 });
    await expect(failed).rejects.toThrow("Reading the 3 slots of 'partner': the server throttles");
    await expect(failed).rejects.toMatchObject({ transient: true });
  });
});

describe('a fault of a lock with permits', () => {
  test('a grant whose answer is lost is released, and another slot is granted', async () => {
    const { client } = scene.host();
    scene.store.plan({ operation: 'acquire', do: 'loseAnswer', times: 3 });
    const lease = await settle(scene.time, client.acquire('partner', { ...FIVE, waitMs: 10_000 }));
    await scene.time.advance(1_000);
    const states = await scene.host().client.inspectMany(slotKeys('partner', 5));
    const held = [...states.values()].filter(({ held }) => held);
    expect(held.map(({ lockId }) => lockId)).toEqual([lease.lockId]);
  });

  test('a look that fails ends no wait, and is reported', async () => {
    const leases = await takeAll(2);
    const { client, of } = scene.host();
    scene.store.plan({ operation: 'readMany', do: 'loseRequest', times: 4 });
    const waiting = client.acquire('partner', { permits: 2, waitMs: 30_000 });
    await scene.time.advance(3_000);
    await leases[0]?.release();
    await settle(scene.time, waiting);
    const [failed] = of('acquireFailed');
    expect(failed).toMatchObject({ key: 'partner', owner: 'host-3' });
    expect(failed?.error.message).toContain("Reading the 2 slots of 'partner'");
  });

  test('a look that hangs costs no more than withinMs', async () => {
    await takeAll(2);
    const { client } = scene.host();
    scene.store.plan({ operation: 'readMany', do: 'hang', times: Infinity });
    const from = scene.time.now();
    const failed = client.acquire('partner', { permits: 2, withinMs: 700 });
    outcomeOf(failed);
    await scene.time.advance(700);
    await expect(failed).rejects.toThrow(LockStoreError);
    expect(scene.time.now() - from).toBe(700);
  });

  test('an invocation without time takes no slot, and the error names the key that was given', async () => {
    const { client } = scene.host();
    const failed = await client.acquire('partner', { ...FIVE, remainingMs: () => 0 }).catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(LockNoTimeError);
    expect((failed as LockNoTimeError).key).toBe('partner');
    expect(scene.store.count('acquire')).toBe(0);
  });

  test('a signal ends the wait, and no slot stays closed', async () => {
    await takeAll(2);
    const { client } = scene.host();
    const stop = new AbortController();
    const waiting = client.acquire('partner', { permits: 2, waitMs: 30_000, signal: stop.signal });
    outcomeOf(waiting);
    await scene.time.advance(1_000);
    stop.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    const sent = scene.store.count();
    await scene.time.advance(5_000);
    expect(scene.store.requests.slice(sent).every(({ operation }) => operation === 'renew')).toBe(true);
  });

  test('a host whose clock is an hour ahead takes no slot that is held', async () => {
    scene = world({ dated: true });
    const leases = await takeAll(3);
    const { client } = scene.host({ ahead: 3_600_000 });
    expect(await settle(scene.time, client.tryAcquire('partner', { permits: 3 }))).toBeNull();
    await scene.time.advance(1_000);
    expect(leases.every((lease) => lease.isHeld())).toBe(true);
    for (const lease of leases) await lease.renew();
  });

  test('a record that somebody has broken is told, and is no free slot', async () => {
    await takeAll(2);
    const [broken] = slotKeys('partner', 2) as [string];
    const read = async (key: string) => (await scene.memory.read(key)).record;
    const record = await read(broken);
    const flawed = { ...record, expiresAt: Number.NaN, flaw: 'expiresAt is not a number' } as never;
    scene.store.readMany = async () => ({ records: [flawed], unprocessed: [] });
    scene.store.acquire = async ({ key }) => ({ applied: false, record: key === broken ? flawed : await read(key) });
    const failed = scene.host().client.tryAcquire('partner', { permits: 2 });
    await expect(failed).rejects.toThrow('somebody has changed the record: its expiresAt');
  });
});

describe('a record of a slot that somebody has damaged', () => {
  const damage = (...keys: string[]) => {
    const { acquire } = scene.memory;
    scene.memory.acquire = async (request) => {
      if (!keys.includes(request.key)) return acquire.call(scene.memory, request);
      throw new LockStoreError(`the item '${request.key}' was changed`, { foreign: true });
    };
  };

  test('keeps nobody out of the other slots', async () => {
    damage(...slotKeys('partner', 5).slice(0, 4));
    const { client, of } = scene.host();
    expect((await take(client)).slot).toBe(4);
    expect(of('acquireFailed').length).toBeGreaterThan(0);
    expect((await settle(scene.time, scene.host().client.acquire('other', { ...FIVE, waitMs: 1_000 }))).key).toBe(
      'other',
    );
  });

  test('is told if no other slot is granted, at once and at the end of a wait', async () => {
    damage('partner#1');
    await take(scene.host().client, { permits: 1 });
    const { client } = scene.host();
    await expect(client.tryAcquire('partner', { permits: 2 })).rejects.toThrow("the item 'partner#1' was changed");
    const from = scene.time.now();
    const waiting = client.acquire('partner', { permits: 2, waitMs: 3_000 });
    await expect(settle(scene.time, waiting)).rejects.toThrow("the item 'partner#1' was changed");
    expect(scene.time.now() - from).toBeGreaterThanOrEqual(3_000);
  });

  test('is told at once if all are damaged', async () => {
    damage('partner', 'partner#1');
    const waiting = scene.host().client.acquire('partner', { permits: 2, waitMs: 3_000 });
    await expect(settle(scene.time, waiting, 100)).rejects.toThrow('was changed');
  });

  test('ends no wait for the others, and is written to once', async () => {
    damage('partner#1');
    const holder = await scene.host().client.acquire('partner');
    const { client } = scene.host();
    const waiting = outcomeOf(client.acquire('partner', { permits: 2, waitMs: 60_000 }));
    await scene.time.advance(5_000);
    await release(holder);
    await scene.time.advance(400);
    expect(waiting.value?.slot).toBe(0);
    expect(scene.store.requests.filter(({ request }) => (request as { key: string }).key === 'partner#1')).toHaveLength(
      1,
    );
  });
});

describe('a record of a slot with a token that nobody can count on', () => {
  test('ends no wait of a client that rests, or whose other call asks for the slot that is left', async () => {
    const { acquire, readMany } = scene.memory;
    const zero = { fencingToken: Number.NaN, expiresAt: 0, acquiredAt: 0, leaseMs: 0, flaw: 'fencingToken is NaN' };
    const flawed = { key: 'partner', ...zero };
    scene.memory.acquire = async (request) =>
      request.key === 'partner' ? { applied: false, record: flawed } : acquire.call(scene.memory, request);
    scene.memory.readMany = async (keys) => {
      const answer = await readMany.call(scene.memory, keys);
      return { ...answer, records: [flawed, ...answer.records] };
    };
    const { client } = scene.host();
    const until = scene.time.now() + 3_000;
    while (scene.time.now() < until) {
      const lease = await settle(scene.time, client.acquire('partner', { permits: 2, waitMs: 30_000 }));
      expect(lease.slot).toBe(1);
      await scene.time.advance(20);
      await release(lease);
    }
    scene.store.plan({ do: 'delayAnswer', ms: 200 });
    const asking = outcomeOf(client.tryAcquire('partner', { permits: 2 }));
    const waiting = outcomeOf(client.acquire('partner', { permits: 2, waitMs: 30_000 }));
    await scene.time.advance(1_000);
    for (const { error } of [asking, waiting]) expect(error).toBeUndefined();
  });
});

describe('a fault of one slot that may pass', () => {
  /** No request for these slots reaches the store. */
  const lose = (...keys: string[]) => {
    scene.store.script = (_, { key }) => (keys.includes(key) ? { do: 'loseRequest' } : undefined);
  };

  test('keeps a call without a wait out of no other slot', async () => {
    lose('partner', 'partner#1');
    for (let host = 0; host < 5; host++) {
      const lease = await settle(
        scene.time,
        scene.host().client.tryAcquire('partner', { permits: 3, withinMs: 9_000 }),
      );
      expect(lease?.slot).toBe(2);
      await release(lease as Lease);
    }
  });

  test('is told if no other slot is granted', async () => {
    await scene.host().client.acquire('partner');
    lose('partner#1');
    const { client } = scene.host();
    await expect(settle(scene.time, client.tryAcquire('partner', { permits: 2 }))).rejects.toThrow(LockStoreError);
  });
});

describe('the number of permits', () => {
  test('is raised while the lock is in use: the holder of the plain lock has slot 0', async () => {
    const old = await scene.host().client.acquire('partner');
    const leases = [await take(scene.host().client, { permits: 3 }), await take(scene.host().client, { permits: 3 })];
    expect(slotsOf(leases)).toEqual([1, 2]);
    expect(await scene.host().client.tryAcquire('partner', { permits: 3 })).toBeNull();
    expect(await scene.host().client.tryAcquire('partner')).toBeNull();
    await release(old);
    expect((await taken(scene.host().client.tryAcquire('partner'))).slot).toBe(0);
  });

  test('is lowered while the lock is in use: the larger number counts until its leases have ended', async () => {
    const leases = await takeAll(3);
    expect(await scene.host().client.tryAcquire('partner', { permits: 2 })).toBeNull();
    await release(leases.find(({ slot }) => slot === 0));
    const lower = await take(scene.host().client, { permits: 2 });
    expect(lower.slot).toBe(0);
    expect(leases.filter((lease) => lease.isHeld())).toHaveLength(2);
    await release(leases.find(({ slot }) => slot === 2));
    expect(await scene.host().client.tryAcquire('partner', { permits: 2 })).toBeNull();
  });

  test('is lowered for a client that remembers a higher slot: the client asks for no such slot', async () => {
    const { client } = scene.host();
    const leases = [
      await take(client, { permits: 3 }),
      await take(client, { permits: 3 }),
      await take(client, { permits: 3 }),
    ];
    for (const lease of leases.sort((a, b) => a.slot - b.slot)) await lease.release();
    const cycle = async () => {
      const lease = await take(client, { permits: 2 });
      expect(lease.slot).toBe(1);
      await lease.release();
    };
    for (let cycles = 0; cycles < 5; cycles++) expect(await requestsOf(cycle)).toEqual(['acquire', 'release']);
  });
});

describe('the other calls of one client', () => {
  test('wait with permits beside each other, and not in the line of a key', async () => {
    const { client } = scene.host();
    scene.store.plan({ operation: 'acquire', do: 'travel', there: 50, back: 50, times: 2 });
    const asked = Promise.all([1, 2].map(() => client.acquire('partner', { permits: 2, waitMs: 5_000 })));
    await scene.time.advance(10);
    expect(scene.store.count('acquire')).toBe(2);
    expect(slotsOf(await settle(scene.time, asked))).toEqual([0, 1]);
  });

  test('are served in their order, with two writes each and no read', async () => {
    const { time, store } = scene;
    const { client } = scene.host();
    store.plan({ do: 'travel', there: 2, back: 2, times: Number.POSITIVE_INFINITY });
    const served: number[] = [];
    const work = Array.from({ length: 40 }, (_, number) =>
      client.using('partner', { ...FIVE, waitMs: 60_000 }, async () => {
        served.push(number);
        await new Promise<void>((resolve) => time.setTimeout(resolve, 10));
      }),
    );
    await settle(time, Promise.all(work));
    expect(served).toEqual(served.toSorted((a, b) => a - b));
    expect(store.operations.toSorted()).toEqual([...served.map(() => 'acquire'), ...served.map(() => 'release')]);
    expect([client.lines.size, time.timers, client.context.leases.asked.size]).toEqual([0, 0, 0]);
  });

  test('that wait for the slots of others leave the looks to the first', async () => {
    const { time, store } = scene;
    const leases = await takeAll(3);
    const { client, of } = scene.host();
    const [before, looks] = [store.count('acquire'), store.count('readMany')];
    const calls = Array.from({ length: 30 }, () =>
      outcomeOf(client.acquire('partner', { permits: 3, waitMs: 60_000 })),
    );
    await time.advance(0);
    expect(store.count('readMany') - looks).toBe(1);
    await time.advance(2_000);
    // As many calls as there are slots write once.
    expect(store.count('acquire') - before).toBe(3);
    expect(store.count('readMany') - looks).toBeLessThan(20);
    expect(of('waiting')).toHaveLength(30);
    await release(leases[0]);
    await time.advance(400);
    expect(calls.map(({ settled }) => settled)).toEqual([true, ...Array(29).fill(false)]);
    expect(store.count('acquire') - before).toBe(4);
  });

  test('wake the first when a lease of their client ends, and it asks for that slot at once', async () => {
    const { time } = scene;
    const { client } = scene.host();
    const own = await take(client, { permits: 3 });
    await take(scene.host().client, { permits: 3 });
    await take(scene.host().client, { permits: 3 });
    const [first, second] = [1, 2].map(() => outcomeOf(client.acquire('partner', { permits: 3, waitMs: 60_000 })));
    await time.advance(5_000);
    expect(first?.settled).toBe(false);
    const requests = await requestsOf(async () => {
      await own.release();
      await time.advance(0);
    });
    // The next call is the first now, and looks.
    expect(requests).toEqual(['release', 'acquire', 'readMany']);
    await time.advance(50);
    expect([first?.value?.slot, second?.settled]).toEqual([own.slot, false]);
  });

  test('look in the place of the first when the first gives up', async () => {
    const { time } = scene;
    const leases = await takeAll(2);
    const { client } = scene.host();
    const stop = new AbortController();
    const wait = { permits: 2, waitMs: 60_000 };
    const calls = [{ ...wait, signal: stop.signal }, wait, wait].map((options) =>
      outcomeOf(client.acquire('partner', options)),
    );
    await time.advance(2_000);
    stop.abort(new Error('enough'));
    await time.advance(2_000);
    await release(leases[1]);
    await time.advance(400);
    expect(calls.map((call) => call.value?.slot ?? call.error?.message)).toEqual([
      'enough',
      leases[1]?.slot,
      undefined,
    ]);
  });

  test('are busy at the end of their wait, without a request, and name the holders', async () => {
    const { time } = scene;
    const { client } = scene.host({ owner: 'us' });
    for (let permit = 0; permit < 3; permit++) await take(client, { permits: 3, leaseMs: 900_000 });
    const requests = await requestsOf(async () => {
      const calls = [1, 2].map(() => outcomeOf(client.acquire('partner', { permits: 3, waitMs: 5_000 })));
      await time.advance(5_000);
      for (const { error } of calls) {
        expect(error).toBeInstanceOf(LockBusyError);
        expect((error as LockBusyError).holders).toEqual(
          [0, 1, 2].map((slot) => ({ slot, owner: 'us', expiresAt: expect.any(Number) })),
        );
      }
    });
    expect(requests).toEqual([]);
  });

  test('are busy at once without a wait and without a request, if their client has all slots, or asks for them', async () => {
    const { time, store } = scene;
    const { client } = scene.host();
    await take(client, { permits: 3 });
    expect(await requestsOf(() => take(client, { permits: 3 }))).toEqual(['acquire']);
    store.plan({ operation: 'acquire', do: 'delayAnswer', ms: 40 });
    const third = taken(client.tryAcquire('partner', { permits: 3 }));
    await time.advance(1);
    expect(await requestsOf(async () => expect(await client.tryAcquire('partner', { permits: 3 })).toBeNull())).toEqual(
      [],
    );
    await settle(time, third);
    expect(await requestsOf(async () => expect(await client.tryAcquire('partner', { permits: 3 })).toBeNull())).toEqual(
      [],
    );
    const signal = AbortSignal.abort(new Error('cancelled'));
    await expect(client.tryAcquire('partner', { permits: 3, signal })).rejects.toThrow('cancelled');
  });

  test('that try at the same moment ask for different slots, and one more names a record', async () => {
    const { client } = scene.host();
    const tries = await Promise.all(Array.from({ length: 4 }, () => client.tryAcquire('partner', { permits: 3 })));
    expect(slotsOf(tries.filter((lease) => lease !== null))).toEqual([0, 1, 2]);
    expect(scene.store.count('acquire')).toBe(4);
  });

  test('stand in one line for each number of permits', async () => {
    const { time } = scene;
    const { client } = scene.host();
    const leases = [await take(client, { permits: 2 }), await take(client, { permits: 2 })];
    const calls = [1, 2].map((permits) => outcomeOf(client.acquire('partner', { permits, waitMs: 60_000 })));
    await time.advance(100);
    expect(client.lines.size).toBe(2);
    // Slot 1 is none of the plain lock's.
    await release(leases.find(({ slot }) => slot === 1));
    expect(calls.map(({ settled }) => settled)).toEqual([false, true]);
    await release(leases.find(({ slot }) => slot === 0));
    expect(calls.map(({ settled }) => settled)).toEqual([true, true]);
    expect(client.lines.size).toBe(0);
  });

  test('rest in a slot that they were served in for a second, so that another process gets its turn', async () => {
    const { time } = scene;
    const work = async (client: LockClient, turns: number[]) => {
      await client.using('partner', { permits: 2, waitMs: 60_000 }, async () => {
        turns.push(time.monotonic());
        await new Promise<void>((resolve) => time.setTimeout(resolve, 50));
      });
    };
    const [ours, theirs] = [scene.host().client, scene.host().client];
    const [our, their]: [number[], number[]] = [[], []];
    const all = Array.from({ length: 100 }, () => work(ours, our));
    await time.advance(100);
    await settle(time, Promise.all([...all, work(theirs, their)]));
    expect(their[0]).toBeLessThan(1_000 + 50 + 320);
    expect(their[0]).toBeGreaterThan(1_000);
  });

  test('ask for another slot than the one that rests', async () => {
    const { time } = scene;
    const { client } = scene.host();
    const slots: number[] = [];
    for (let call = 0; call < 11; call++) {
      const lease = await client.acquire('partner', { permits: 2, waitMs: 60_000 });
      slots.push(lease.slot);
      await time.advance(100);
      await lease.release();
    }
    const [first = 0] = slots;
    expect(slots).toEqual([...Array(10).fill(first), 1 - first]);
  });

  test('are told of a lease of their client that has ended since, if nothing else is known at the end of the wait', async () => {
    const { time, store } = scene;
    const { client } = scene.host({ owner: 'us' });
    const own = await take(client, { permits: 2 });
    store.script = () => ({ do: 'hang' });
    outcomeOf(client.tryAcquire('partner', { permits: 2 }));
    const waiting = outcomeOf(client.acquire('partner', { permits: 2, waitMs: 1_000 }));
    await time.advance(500);
    own.abandon('abandoned');
    await time.advance(2_000);
    expect(waiting.error).toBeInstanceOf(LockBusyError);
    expect(waiting.error).toMatchObject({ owner: 'us', holders: [{ slot: own.slot, owner: 'us' }] });
  });

  test('without permits find slot 0 held', async () => {
    const { client } = scene.host();
    const leases = [await take(client, { permits: 2 }), await take(client, { permits: 2 })];
    const plain = async () => expect(await client.tryAcquire('partner')).toBeNull();
    expect(await requestsOf(plain)).toEqual([]);
    await release(leases.find(({ slot }) => slot === 0));
    expect((await taken(client.tryAcquire('partner'))).slot).toBe(0);
  });

  test('of many keys find all slots held, and one writer excludes every reader', async () => {
    const writer = await scene.host().client.acquireAll(slotKeys('partner', 3));
    expect(await scene.host().client.tryAcquire('partner', { permits: 3 })).toBeNull();
    await writer.release();
    await scene.time.advance(1);
    const reader = await take(scene.host().client, { permits: 3 });
    await expect(scene.host().client.acquireAll(slotKeys('partner', 3))).rejects.toThrow(LockBusyError);
    await reader.release();
  });
});

describe('holdAtLeastMs with permits', () => {
  test('is a rate limit: at most as many starts as permits in any stretch of that length', async () => {
    const starts: number[] = [];
    const random = seededRandom(7);
    const worker = async (client: LockClient) => {
      for (let job = 0; job < 12; job++) {
        const options = { permits: 3, holdAtLeastMs: 1_000, leaseMs: 1_500, waitMs: 120_000 };
        const lease = await client.acquire('api', options);
        starts.push(scene.time.now());
        await new Promise<void>((done) => scene.time.setTimeout(done, random() * 300));
        // One in four workers dies: nobody releases its slot, and nobody renews it.
        if (random() < 0.25) lease.abandon('abandoned');
        else await lease.release();
      }
    };
    const workers = Promise.all(Array.from({ length: 5 }, () => worker(scene.host().client)));
    await settle(scene.time, workers, 120_000);
    expect(starts).toHaveLength(60);
    for (const [index, start] of starts.entries()) {
      if (index >= 3) expect(start - (starts[index - 3] as number)).toBeGreaterThanOrEqual(1_000);
    }
    // The limit is used: 60 starts at 3 a second take 20 s, and dead workers half a second more.
    expect((starts.at(-1) as number) - (starts[0] as number)).toBeLessThan(45_000);
  });
});

describe('the memory of slots', () => {
  const any = () => true;

  test('forgets the key that was used longest ago, beyond 1,000 keys', () => {
    const memory = new SlotMemory();
    for (let key = 0; key <= 1_000; key++) memory.ended(`key/${key}`, 1);
    expect(memory.next('key/0', any)).toBeUndefined();
    expect(memory.next('key/1', any)).toBe(1);
    expect(memory.next('key/1000', any)).toBe(1);
  });

  test('has a slot once, however often it was held', () => {
    const memory = new SlotMemory();
    for (let lease = 0; lease < 3; lease++) memory.ended('key', 4);
    memory.ended('key', 2);
    memory.ended('key', 4);
    expect([memory.next('key', any), memory.next('key', any), memory.next('key', any)]).toEqual([4, 2, undefined]);
  });
});
