import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import middy from '@middy/core';
import {
  emf,
  type Lease,
  LockBusyError,
  LockClient,
  LockDoneError,
  type LockEvent,
  LockLostError,
  type LockStore,
  slotKeys,
} from '../../lib/index.ts';
import { runTasks } from '../../lib/tasks/index.ts';
import { lock, lockPlugin, withLock, withRecordLocks } from '../../middleware/index.ts';
import { batch, failed, gate, invocation, message } from '../middleware/setup.ts';
import { listed } from '../support/listed.ts';

/** A lease that is renewed several times in a test. */
const SHORT = { leaseMs: 1_000, heartbeatMs: 250, safetyMs: 200 };

/**
 * Everything that users meet above a store, over real requests: the client, the middleware, `runTasks`, `once`, hand-offs, the
 * operators' calls, events and metrics.
 */
export function aboveTheStore(makeStore: () => LockStore | Promise<LockStore>): void {
  let store: LockStore;
  let events: LockEvent[];
  let locks: LockClient;
  /** Another host's client. */
  let others: LockClient;
  let key: string;
  let keys = 0;
  beforeAll(async () => {
    store = await makeStore();
  });
  beforeEach(() => {
    events = [];
    key = `above/${process.pid}-${keys++}`;
    locks = new LockClient({ store, owner: 'us', onEvent: (event) => events.push(event) });
    others = new LockClient({ store, owner: 'others' });
  });
  const types = () => events.map(({ type }) => type);

  test('a lease is held and renewed past its first expiry, nobody else gets the lock meanwhile, and the next holder waits', async () => {
    const lease = await locks.acquire(key, SHORT);
    await expect(others.acquire(key)).rejects.toThrow(LockBusyError);
    await sleep(SHORT.leaseMs + 200);
    expect(lease.isHeld()).toBe(true);
    expect(await others.tryAcquire(key)).toBeNull();
    const next = others.acquire(key, { waitMs: 5_000 });
    expect(await lease.release()).toBe(true);
    const { fencingToken, takenOverFrom } = await next;
    expect(fencingToken).toBe(lease.fencingToken + 1);
    expect(takenOverFrom).toBeUndefined();
    expect(types()).toEqual(expect.arrayContaining(['acquired', 'renewed', 'released']));
    await (await next).release();
  });

  test('a holder that is gone loses the lock at its expiry, and the next holder learns of it', async () => {
    const dead = await store.acquire({
      key,
      lockId: 'dead',
      owner: 'a dead host',
      now: Date.now(),
      until: Date.now() + 300,
      leaseMs: 300,
    });
    expect(dead.applied).toBe(true);
    await using lease = await locks.acquire(key, { waitMs: 5_000 });
    expect(lease.takenOverFrom?.owner).toBe('a dead host');
    expect(types()).toEqual(['waiting', 'acquired']);
  });

  test('a once token is done once, and a reset lets the work run again', async () => {
    await locks.using(key, { once: '2026-01-01T02:00:00Z' }, () => {});
    await expect(others.tryAcquire(key, { once: '2026-01-01T02:00:00Z' })).rejects.toThrow(LockDoneError);
    expect((await others.inspect(key))?.doneToken).toBe('2026-01-01T02:00:00Z');
    expect(await others.resetOnce(key)).toBe(true);
    await using lease = await others.acquire(key, { once: '2026-01-01T02:00:00Z' });
    expect(lease.isHeld()).toBe(true);
  });

  test('a lease is handed off, and of two resumes one is refused', async () => {
    const lease = await locks.acquire(key);
    const handle = await lease.handOff({ leaseMs: 20_000 });
    await using resumed = await others.resume(handle);
    expect(resumed.fencingToken).toBe(lease.fencingToken + 1);
    await expect(others.resume(handle)).rejects.toThrow(LockLostError);
    expect(types()).toContain('handedOff');
  });

  test('holdAtLeastMs keeps the lock closed after the release', async () => {
    await locks.using(key, { holdAtLeastMs: 10_000 }, () => {});
    await expect(others.acquire(key)).rejects.toThrow(LockBusyError);
    expect(await others.inspect(key)).toMatchObject({ held: false });
  });

  test('an operator lists, inspects, ends and repairs locks', async () => {
    const lease = await locks.acquire(key, { data: { ticket: 7 }, holdAtLeastMs: 10_000 });
    expect(await others.inspect(key)).toMatchObject({ held: true, owner: 'us', data: { ticket: 7 } });
    expect([...(await others.inspectMany([key, `${key}-none`])).keys()]).toEqual([key]);
    const found: string[] = [];
    for await (const state of others.list({ prefix: key })) found.push(state.key);
    expect(found).toEqual([key]);
    expect(await listed(store, `${key}-none`)).toEqual([]);
    expect(await others.forceRelease(key, { lockId: lease.lockId })).toBe(true);
    await expect(lease.renew()).rejects.toThrow(LockLostError);
    expect(lease.signal.aborted).toBe(true);
    const seen = await others.inspect(key);
    expect(seen?.opensInMs).toBeGreaterThan(0);
    expect(await others.repair(key, { seen })).toBe(true);
    await using next = await others.acquire(key, { waitMs: 2_000 });
    expect(next.fencingToken).toBeGreaterThan(lease.fencingToken);
  });

  test('a commit stays for the next holder, and a late holder overwrites nothing', async () => {
    const late = await locks.acquire(key);
    await late.commit({ current: 'one' });
    await others.forceRelease(key, { lockId: late.lockId, immediately: true });
    const next = await others.acquire(key, { waitMs: 2_000 });
    expect(next.committed).toEqual({ current: 'one' });
    await next.commit({ current: 'two' });
    await expect(late.commit({ current: 'three' })).rejects.toThrow(LockLostError);
    expect((await others.inspect(key))?.committed).toEqual({
      data: { current: 'two' },
      fencingToken: next.fencingToken,
    });
    await next.release();
  });

  test('of 100 who ask while others run, each has a run after its call, and who does not run is covered', async () => {
    const clients = [1, 2, 3].map((host) => new LockClient({ store, owner: `host ${host}` }));
    const began: number[] = [];
    let inside = 0;
    const work = async () => {
      expect(++inside).toBe(1);
      began.push(performance.now());
      await sleep(200);
      inside--;
    };
    const event = async (_: unknown, number: number) => {
      await sleep(number * 1.5);
      const called = performance.now();
      return { called, ...(await clients[number % 3]!.coalesce(key, work)) };
    };
    const events = await Promise.all(Array.from({ length: 100 }, event));
    // A covered call is answered before the run.
    for (let waits = 0; (await others.inspect(key))?.owed && waits < 100; waits++) await sleep(20);
    const last = began.at(-1) ?? 0;
    expect(events.filter(({ called, owed }) => owed || called > last)).toEqual([]);
    // On a slow store the calls come one after the other, and more of them run. Everybody else is covered.
    expect(began.length).toBeLessThan(events.length);
    expect(events.filter(({ covered }) => covered).length).toBeGreaterThanOrEqual(events.length - began.length);
    // On a fast store there are two runs: test/lease/coalesce.test.ts and `npm run bench -- --only coalesce` count them, and
    // the requests. Where each write waits for the others, as in files on NFS, many are sent again.
  });

  test('a holder that dies leaves a run owed, which a schedule makes', async () => {
    const now = Date.now();
    const lease = { key, lockId: 'dead', owner: 'a dead host', now, until: now + 300, leaseMs: 300 };
    await store.acquire({ ...lease, coalesce: 'always' });
    expect(await locks.coalesce(key, () => {})).toEqual({ runs: 0, covered: true, owed: false });
    await sleep(400);
    expect(await others.inspect(key)).toMatchObject({ held: false, owed: true });
    expect(await others.coalesce(key, { onlyIfOwed: true }, () => {})).toMatchObject({ runs: 1, owed: false });
    expect(await others.coalesce(key, { onlyIfOwed: true }, () => {})).toMatchObject({ runs: 0, covered: false });
    expect(await others.coalesce(`${key}-new`, { onlyIfOwed: true }, () => {})).toMatchObject({ runs: 0 });
  });

  test('a result that is released with its token is given to those who ask again', async () => {
    const once = '2026-01-01T02:00:00Z';
    const lease = await locks.acquire(key, { once });
    const waiting = others.acquire(key, { once, waitMs: 5_000 }).catch((error: unknown) => error);
    await lease.release({ done: true, result: { rate: 1.08 } });
    expect(await waiting).toMatchObject({ code: 'ERR_LOCK_DONE', result: { rate: 1.08 } });
    expect(await others.inspect(key)).toMatchObject({ doneToken: once, doneResult: { rate: 1.08 } });
  });

  test('a lock with permits has as many holders at a time, in slots of their own, and a waiter gets a slot that opens', async () => {
    const leases = await Promise.all([1, 2, 3].map(() => locks.acquire(key, { permits: 3, waitMs: 10_000 })));
    expect(leases.map(({ slot }) => slot).toSorted()).toEqual([0, 1, 2]);
    const busy = await others.acquire(key, { permits: 3 }).catch((error: unknown) => error);
    expect(busy).toMatchObject({ key, permits: 3, holders: [0, 1, 2].map((slot) => ({ slot, owner: 'us' })) });
    const waiting = others.acquire(key, { permits: 3, waitMs: 10_000 });
    await leases[1]?.release();
    const next = await waiting;
    expect(next.slot).toBe(leases[1]?.slot);
    const held = [...(await others.inspectMany(slotKeys(key, 3))).values()].filter(({ held }) => held);
    expect(held.map(({ owner }) => owner).toSorted()).toEqual(['others', 'us', 'us']);
    const resumed = await locks.resume(await next.handOff({ leaseMs: 20_000 }));
    expect([resumed.key, resumed.slot]).toEqual([key, next.slot]);
    for (const lease of [resumed, leases[0], leases[2]]) expect(await lease?.release()).toBe(true);
  });

  test('several locks are taken together or not at all', async () => {
    const keys = [`${key}-b`, `${key}-a`];
    const leases = await locks.acquireAll(keys, { waitMs: 5_000 });
    await expect(others.acquireAll([...keys, `${key}-0`])).rejects.toMatchObject({ key: `${key}-a` });
    expect((await others.inspect(`${key}-0`))?.held).toBe(false);
    const next = others.usingAll(keys, { waitMs: 5_000 }, (theirs) => theirs.get(`${key}-b`).fencingToken);
    expect(await leases.release()).toBe(true);
    expect(await next).toBe(leases.get(`${key}-b`).fencingToken + 1);
    expect(await others.inspect(`${key}-a`)).toMatchObject({ held: false });
  });

  test('of two candidates one leads, and the other after its stop', async () => {
    const untilTold = (_: Lease, signal: AbortSignal) =>
      new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
    await using first = locks.lead(key, { ...SHORT, data: { url: 'first' } }, untilTold);
    while (!first.isLeader()) await sleep(5);
    await using second = others.lead(key, { ...SHORT, pollMs: 50 }, untilTold);
    await sleep(SHORT.leaseMs + 100);
    expect([first.isLeader(), second.isLeader()]).toEqual([true, false]);
    expect(await others.leader(key)).toMatchObject({ owner: 'us', data: { url: 'first' } });
    await first.stop();
    while (!second.isLeader()) await sleep(5);
    expect(await others.leader(key, { maxAgeMs: 0 })).toMatchObject({ owner: 'others' });
  });

  describe('the middleware', () => {
    test('runs the handler of one schedule once, under the lock', async () => {
      const ran: Lease[] = [];
      const handler = middy(lockPlugin())
        .use(lock({ key, locks: store, once: (event: { time: string }) => event.time, onDone: () => 'done' }))
        .handler(async (_: { time: string }, context) => {
          expect((await others.inspect(key))?.held).toBe(true);
          ran.push(context.lock);
          return 'ran';
        });
      const event = { time: '2026-01-01T02:00:00Z' };
      const answers = [await handler(event, invocation() as never), await handler(event, invocation() as never)];
      expect(answers).toEqual(['ran', 'done']);
      expect(ran).toHaveLength(1);
      expect((await others.inspect(key))?.held).toBe(false);
    });

    test('tells a handler whose lease an operator ends', async () => {
      const begun = gate<Lease>();
      const handler = withLock({ key, locks, ...SHORT }, async (_: unknown, context) => {
        begun.open(context.lock);
        await new Promise((resolve) => context.lock.signal.addEventListener('abort', resolve));
      });
      const ended = handler({}, invocation()).catch((error: unknown) => error);
      const { lockId } = await begun.opened;
      await others.forceRelease(key, { lockId });
      expect(await ended).toMatchObject({ code: 'ERR_LOCK_LOST', reason: 'revoked' });
    });

    test('sends the records of a held key back, and works on the others', async () => {
      await using _held = await others.acquire(`${key}-b`);
      const worked: string[] = [];
      const handler = withRecordLocks(
        { key: ({ body }) => `${key}-${body}`, locks, onFailed() {} },
        async ({ Records }, { locks }) => {
          for (const record of Records) await locks.using(record, () => worked.push(record.body)).catch(() => {});
        },
      );
      expect(failed(await handler(batch(message('1', 'a'), message('2', 'b')), invocation()))).toEqual(['2']);
      expect(worked).toEqual(['a']);
    });
  });

  test('runTasks shares tasks out between workers, each task once, and a second run finds all done', async () => {
    const tasks = Array.from({ length: 40 }, (_, index) => `${key}/${index}`);
    const done: string[] = [];
    const run = (client: LockClient) =>
      runTasks(tasks, { locks: client, key: (task) => task, once: '2026-01-01' }, async (task) => {
        await sleep(2);
        done.push(task);
      });
    await Promise.all([run(locks), run(others)]);
    expect(done.toSorted()).toEqual(tasks.toSorted());
    await run(others);
    expect(done).toHaveLength(tasks.length);
  });

  test('emf() prints the metrics of its events', async () => {
    const lines: string[] = [];
    const print = (line: string) => lines.push(line);
    const client = new LockClient({ store, onEvent: emf({ tableName: 'locks', print }) });
    await client.using(key, () => {});
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      expect.objectContaining({ event: 'acquired', table: 'locks', Acquired: 1 }),
      expect.objectContaining({ event: 'released', table: 'locks', Lost: 0 }),
    ]);
  });

  test('50 calls of one client that wait for one key are served in their order, with two requests each', async () => {
    const sent = { acquire: 0, read: 0, release: 0 };
    const counting = new Proxy(store, {
      get(target, name: keyof LockStore) {
        const member: unknown = target[name];
        if (typeof member !== 'function') return member;
        return (...args: unknown[]) => {
          if (name in sent) sent[name as keyof typeof sent]++;
          return member.apply(target, args);
        };
      },
    });
    const client = new LockClient({ store: counting, leaseMs: 900_000 });
    const served: number[] = [];
    const numbers = Array.from({ length: 50 }, (_, number) => number);
    await Promise.all(numbers.map((number) => client.using(key, { waitMs: 60_000 }, () => void served.push(number))));
    expect(served).toEqual(numbers);
    expect(sent.acquire).toBeLessThanOrEqual(50 + 2);
    expect(sent.release).toBeLessThanOrEqual(50 + 2);
    // An answer that comes late is asked for again, and a clock is judged by a read.
    expect(sent.read).toBeLessThanOrEqual(3);
  });

  test('of many clients that ask at once one is granted, and each in its turn in the end', async () => {
    let inside = 0;
    const tokens: number[] = [];
    await Promise.all(
      Array.from({ length: 8 }, () =>
        new LockClient({ store }).using(key, { waitMs: 20_000 }, async ({ fencingToken }) => {
          expect(++inside).toBe(1);
          await sleep(1);
          inside--;
          tokens.push(fencingToken);
        }),
      ),
    );
    expect(tokens).toEqual(tokens.toSorted((a, b) => a - b));
    expect(new Set(tokens).size).toBe(8);
  });
}
