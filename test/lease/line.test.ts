import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { Lease } from '../../lib/lease/lease.ts';
import type { AcquireOptions } from '../../lib/lease/options.ts';
import {
  LockBusyError,
  LockClosedError,
  LockDoneError,
  LockNoTimeError,
  LockStoreError,
  LockTokenError,
} from '../../lib/record/errors.ts';
import { type Outcome, outcomeOf, punctual, settle, type World, watchedSignal, world } from './setup.ts';

const WAIT = { waitMs: 60_000 };
/** Renewed rarely, so that a test counts few renewals. */
const SLOW = { leaseMs: 900_000 };

let scene: World;
let us: ReturnType<World['host']>;
let others: ReturnType<World['host']>;
beforeEach(() => {
  scene = world();
  us = scene.host(SLOW);
  others = scene.host(SLOW);
});
afterEach(() => {
  jest.restoreAllMocks();
});

/** Starts calls that wait, in this order. */
const line = (count: number, options: AcquireOptions = WAIT): Outcome<Lease>[] =>
  Array.from({ length: count }, () => outcomeOf(us.client.acquire('job', options)));

const requestsDuring = async (work: () => Promise<unknown>) => {
  const before = scene.store.requests.length;
  await work();
  return scene.store.operations.slice(before);
};

describe('calls of one client that wait for one key', () => {
  test('are served in their order, with two writes each and no read', async () => {
    const { time, store } = scene;
    store.plan({ do: 'delayAnswer', ms: 3, times: Number.POSITIVE_INFINITY });
    const served: number[] = [];
    const work = Promise.all(
      Array.from({ length: 40 }, (_, number) =>
        us.client.using('job', WAIT, async () => {
          served.push(number);
          await new Promise<void>((resolve) => time.setTimeout(resolve, 5));
        }),
      ),
    );
    await settle(time, work);
    expect(served).toEqual(Array.from({ length: 40 }, (_, number) => number));
    expect(store.operations).toEqual(served.flatMap(() => ['acquire', 'release']));
    expect(us.client.lines.size).toBe(0);
    expect(time.timers).toBe(0);
  });

  test('keep their own owner, data, token, waiting time and lease', async () => {
    const { time } = scene;
    const holder = await us.client.acquire('job');
    const first = outcomeOf(us.client.acquire('job', { ...WAIT, owner: 'first', data: 1, once: 1 }));
    await time.advance(100);
    const second = outcomeOf(us.client.acquire('job', { ...WAIT, owner: 'second', data: 2, once: 2 }));
    await time.advance(100);
    await holder.release();
    await time.advance(0);
    expect(second.settled).toBe(false);
    await first.value?.release({ done: true });
    await time.advance(0);
    expect(first.value).toMatchObject({ owner: 'first', data: 1, doneToken: undefined });
    expect(second.value).toMatchObject({ owner: 'second', data: 2, doneToken: '1' });
    expect(first.value?.lockId).not.toBe(second.value?.lockId);
    expect(us.of('acquired').map(({ owner, waitedMs }) => [owner, waitedMs])).toEqual([
      ['host-1', 0],
      ['first', 200],
      ['second', 100],
    ]);
    const waiting = us.of('waiting').map(({ owner, expiresAt }) => ({ owner, expiresAt }));
    expect(waiting).toEqual(Array(2).fill({ owner: 'host-1', expiresAt: us.of('acquired')[0]?.expiresAt }));
  });

  test('stand in one line for each key, and in one line for each client', async () => {
    const { time, store } = scene;
    await us.client.acquire('job');
    await others.client.acquire('other');
    line(2);
    outcomeOf(us.client.acquire('other', WAIT));
    outcomeOf(others.client.acquire('job', WAIT));
    await time.advance(1_000);
    expect(us.client.lines.size).toBe(2);
    expect(others.client.lines.size).toBe(1);
    // Each of the two that wait for another client's lease writes once, and reads then.
    expect(store.count('acquire')).toBe(4);
  });

  test('let the first alone ask for a lock that another client holds', async () => {
    const { time, store } = scene;
    const holder = await others.client.acquire('job');
    const waiting = line(10);
    await time.advance(2_000);
    expect(store.count('acquire')).toBe(2);
    expect(store.count('read')).toBeLessThan(20);
    expect(us.of('waiting')).toHaveLength(10);
    expect(us.of('waiting')[9]).toMatchObject({ owner: 'host-2' });
    await holder.release();
    await time.advance(400);
    expect(waiting.map(({ settled }) => settled)).toEqual([true, ...Array(9).fill(false)]);
  });
});

describe('the next call in the line asks at once', () => {
  test('when the lease of this client is released, and not before the answer', async () => {
    const { time, store } = scene;
    const holder = await us.client.acquire('job');
    const [next] = line(2);
    store.plan({ do: 'delayAnswer', operation: 'release', ms: 40 });
    void holder.release();
    await time.advance(39);
    expect(store.count('acquire')).toBe(1);
    await time.advance(1);
    expect(next?.value?.isHeld()).toBe(true);
    expect(store.operations).toEqual(['acquire', 'release', 'acquire']);
  });

  test('when a release fails', async () => {
    const { time, store } = scene;
    const holder = await us.client.acquire('job', { requestTimeoutMs: 100 });
    const [next] = line(1);
    store.plan({ do: 'fail', operation: 'release', error: new LockStoreError('no permission') });
    await holder.release();
    await time.advance(0);
    expect(store.count('acquire')).toBe(2);
    expect(next?.settled).toBe(false);
  });

  test.each(['expired', 'revoked', 'abandoned'])('when the lease of this client is lost: %s', async (reason) => {
    punctual();
    const { time, store } = scene;
    us = scene.host();
    const holder = await us.client.acquire('job');
    const [next] = line(2);
    if (reason === 'expired') store.plan({ do: 'loseRequest', operation: 'renew', times: Number.POSITIVE_INFINITY });
    if (reason === 'revoked') await others.client.forceRelease('job', { lockId: holder.lockId, immediately: true });
    if (reason === 'abandoned') holder.abandon('abandoned');
    await time.advance(reason === 'abandoned' ? 0 : 26_999);
    const isOpen = reason === 'revoked';
    expect(holder.isHeld()).toBe(reason === 'expired');
    await time.advance(1);
    expect(holder.loss?.reason).toBe(reason);
    expect(store.count('acquire')).toBe(2);
    expect(next?.settled).toBe(isOpen);
    await time.advance(30_100);
    expect(next?.value?.takenOverFrom?.owner).toBe(isOpen ? undefined : 'host-3');
  });

  test('when the lease of this client is handed off', async () => {
    const { time, store } = scene;
    const holder = await us.client.acquire('job');
    const [next] = line(1);
    const handle = await holder.handOff({ leaseMs: 20_000 });
    await time.advance(0);
    expect(store.count('acquire')).toBe(2);
    // A lease that is resumed is a lease of this client, too.
    const resumed = await us.client.resume(handle);
    expect(await requestsDuring(() => us.client.tryAcquire('job'))).toEqual([]);
    await resumed.release();
    await time.advance(400);
    expect(next?.value?.isHeld()).toBe(true);
  });

  test('when the first gives up', async () => {
    const { time, store } = scene;
    await others.client.acquire('job');
    const { controller, listeners } = watchedSignal();
    const first = outcomeOf(us.client.acquire('job', { ...WAIT, signal: controller.signal }));
    const [, third] = line(2);
    await time.advance(1_000);
    expect(store.count('acquire')).toBe(2);
    controller.abort(new Error('cancelled'));
    await time.advance(0);
    expect(first.error).toEqual(new Error('cancelled'));
    expect(listeners()).toBe(0);
    expect(store.count('acquire')).toBe(3);
    expect(third?.settled).toBe(false);
  });

  test('when the first fails', async () => {
    const { time, store } = scene;
    store.plan({ do: 'fail', operation: 'acquire', error: new LockStoreError('no permission') });
    const [first, second] = line(2);
    await time.advance(0);
    expect(first?.error).toBeInstanceOf(LockStoreError);
    expect(second?.value?.isHeld()).toBe(true);
  });

  test('when the first has no time left to hold the lock', async () => {
    const { time } = scene;
    const holder = await us.client.acquire('job');
    const first = outcomeOf(us.client.acquire('job', { ...WAIT, remainingMs: () => 1_000 }));
    const [second] = line(1);
    await time.advance(1_000);
    await holder.release();
    await time.advance(0);
    expect(first.error).toBeInstanceOf(LockNoTimeError);
    expect(second?.value?.isHeld()).toBe(true);
  });
});

describe('a call leaves the line', () => {
  test('at the end of its wait, busy, without a request', async () => {
    const { time } = scene;
    const holder = await us.client.acquire('job');
    const waiting = line(1, { waitMs: 5_000 })[0];
    const requests = await requestsDuring(() => time.advance(5_000));
    expect(requests).toEqual([]);
    expect(waiting?.error).toBeInstanceOf(LockBusyError);
    const expiresAt = us.of('acquired')[0]?.expiresAt;
    expect(waiting?.error).toMatchObject({ owner: 'host-1', expiresAt, retryAfterMs: 895_000 });
    expect(us.events.map(({ type }) => type)).toEqual(['acquired', 'waiting', 'busy']);
    expect(us.of('busy')[0]).toMatchObject({ waitedMs: 5_000, fencingToken: holder.fencingToken });
    expect(us.client.lines.size).toBe(0);
  });

  test('busy, and without a waiting event, if its wait is over at the first answer', async () => {
    const { time, store } = scene;
    await others.client.acquire('job');
    store.plan({ do: 'delayAnswer', operation: 'acquire', ms: 40 });
    const [waiting] = line(1, { waitMs: 10 });
    await time.advance(40);
    expect(waiting?.error).toBeInstanceOf(LockBusyError);
    expect(us.events.map(({ type }) => type)).toEqual(['busy']);
  });

  test('when its time for the whole call is over', async () => {
    const { time } = scene;
    await us.client.acquire('job');
    const [waiting] = line(1, { ...WAIT, withinMs: 300 });
    await time.advance(300);
    expect(waiting?.error).toBeInstanceOf(LockBusyError);
  });

  test('when its signal aborts', async () => {
    const { time } = scene;
    const holder = await us.client.acquire('job');
    const { controller, listeners } = watchedSignal();
    const second = outcomeOf(us.client.acquire('job', { ...WAIT, signal: controller.signal }));
    await time.advance(100);
    controller.abort(new Error('cancelled'));
    await time.advance(0);
    expect(second.error).toEqual(new Error('cancelled'));
    expect(listeners()).toBe(0);
    expect(us.client.lines.size).toBe(0);
    await holder.release();
    expect(scene.time.timers).toBe(0);
  });

  test('when the client is closed, and so do all the others', async () => {
    const { time } = scene;
    const holder = await us.client.acquire('job');
    const waiting = line(3, { waitMs: Number.POSITIVE_INFINITY });
    await time.advance(100);
    const requests = await requestsDuring(async () => {
      const closing = us.client.close();
      await time.advance(0);
      for (const { error } of waiting) expect(error).toBeInstanceOf(LockClosedError);
      expect(us.client.lines.size).toBe(0);
      await holder.release();
      await closing;
    });
    expect(requests).toEqual(['release']);
    expect(time.timers).toBe(0);
  });

  test('after a try of its own, if the store has answered nobody in the line', async () => {
    const { time, store } = scene;
    store.plan({ do: 'hang', times: Number.POSITIVE_INFINITY });
    const [first] = line(1, { waitMs: 10_000 });
    const [second] = line(1, { waitMs: 2_000 });
    await time.advance(2_050);
    expect(second?.error).toBeInstanceOf(LockStoreError);
    expect(first?.settled).toBe(false);
    await time.advance(8_050);
    expect(first?.error).toBeInstanceOf(LockStoreError);
    expect(us.client.lines.size).toBe(0);
  });
});

describe('a try for a lock that this client holds', () => {
  test('is busy without a request, and tells of the lease', async () => {
    const { time } = scene;
    us = scene.host();
    const holder = await us.client.acquire('job', { owner: 'us' });
    await time.advance(15_000);
    const expiresAt = us.of('renewed')[0]?.expiresAt as number;
    const requests = await requestsDuring(async () => {
      expect(await us.client.tryAcquire('job')).toBeNull();
      const refused = outcomeOf(us.client.acquire('job'));
      await time.advance(0);
      expect(refused.error).toMatchObject({ owner: 'us', expiresAt, retryAfterMs: expiresAt - time.now() });
      expect(refused.error.headers).toEqual({ 'Retry-After': '15' });
    });
    expect(requests).toEqual([]);
    const busy = { key: 'job', owner: 'us', fencingToken: holder.fencingToken, expiresAt, waitedMs: 0 };
    expect(us.of('busy')).toEqual(Array(2).fill(expect.objectContaining(busy)));
  });

  test('asks the store once the lease is released, lost or past its deadline', async () => {
    const { time } = scene;
    const holder = await us.client.acquire('job');
    await holder.release();
    const second = await us.client.acquire('job', { leaseMs: 10_000 });
    // The process stood still, and no timer has fired.
    us.clock.offsetMs += 20_000;
    expect(await requestsDuring(() => us.client.tryAcquire('job'))).toEqual(['acquire']);
    expect(second.loss?.reason).toBe('expired');
    await time.advance(0);
  });

  test('asks the store at once if it waits, too, and the line before it as well', async () => {
    const { time, store } = scene;
    await us.client.acquire('job', { leaseMs: 10_000 });
    const [first] = line(1);
    await time.advance(0);
    us.clock.offsetMs += 20_000;
    line(1);
    await time.advance(0);
    expect(store.count('acquire')).toBe(2);
    expect(first?.value?.isHeld()).toBe(true);
  });

  test('asks the store while the release is under way', async () => {
    const { time, store } = scene;
    const holder = await us.client.acquire('job');
    store.plan({ do: 'delayAnswer', operation: 'release', ms: 40 });
    void holder.release();
    await time.advance(10);
    expect(await us.client.tryAcquire('job')).not.toBeNull();
  });

  test('rejects with the reason of a signal that has aborted', async () => {
    await us.client.acquire('job');
    const signal = AbortSignal.abort(new Error('cancelled'));
    await expect(us.client.tryAcquire('job', { signal })).rejects.toThrow('cancelled');
  });

  test('with a token asks the store only if the token may be done', async () => {
    await us.client.using('job', { once: 5 }, () => {});
    await us.client.acquire('job', { once: 7 });
    expect(await requestsDuring(() => us.client.tryAcquire('job', { once: 6 }))).toEqual([]);
    expect(await requestsDuring(() => us.client.tryAcquire('job'))).toEqual([]);
    const ask = (once: string | number) => requestsDuring(() => us.client.tryAcquire('job', { once }).catch(() => {}));
    expect(await ask(5)).toEqual(['acquire']);
    await expect(us.client.tryAcquire('job', { once: 5 })).rejects.toThrow(LockDoneError);
    await expect(us.client.tryAcquire('job', { once: 'a text' })).rejects.toThrow(LockTokenError);
  });
});

describe('a call in the line whose token is done', () => {
  test('is told so at once by the store, while others hold and wait', async () => {
    const { time } = scene;
    await us.client.using('job', { once: 5 }, () => {});
    await us.client.acquire('job', { once: 7 });
    const [waiting] = line(1, { ...WAIT, once: 8 });
    const [late] = line(1, { ...WAIT, once: 5 });
    await time.advance(0);
    expect(late?.error).toBeInstanceOf(LockDoneError);
    expect(waiting?.settled).toBe(false);
    expect(us.of('waiting')).toHaveLength(1);
  });

  test('is told so when the first has seen the token, whoever stands before', async () => {
    const { time, store } = scene;
    const holder = await others.client.acquire('job', { once: 7 });
    const plain = line(1);
    const covered = line(5, { ...WAIT, once: 7 });
    await time.advance(1_000);
    await holder.release({ done: true });
    await others.client.acquire('job');
    const before = store.count('acquire');
    await time.advance(400);
    expect(covered.map(({ error }) => error?.code)).toEqual(Array(5).fill('ERR_LOCK_DONE'));
    expect(plain[0]?.settled).toBe(false);
    expect(store.count('acquire') - before).toBe(5);
  });
});

describe('a line', () => {
  // The longest pause of another process is shorter than a rest.
  beforeEach(punctual);

  test('rests for 250 ms when it has been served for a second, so that another process gets its turn', async () => {
    const { time } = scene;
    const served: number[] = [];
    const turns: { owner: string; at: number }[] = [];
    const job = async ({ owner }: Lease) => {
      turns.push({ owner, at: time.monotonic() });
      await new Promise<void>((resolve) => time.setTimeout(resolve, 100));
    };
    const ours = Array.from({ length: 30 }, (_, number) =>
      us.client.using('job', WAIT, (lease) => {
        served.push(number);
        return job(lease);
      }),
    );
    await time.advance(50);
    const theirs = others.client.using('job', WAIT, job);
    await settle(time, Promise.all([...ours, theirs]));
    const turn = turns.findIndex(({ owner }) => owner === 'host-2');
    expect(turn).toBe(10);
    expect((turns[turn]?.at ?? 0) - (turns[turn - 1]?.at ?? 0)).toBeLessThanOrEqual(100 + 320);
    expect(served).toEqual(served.toSorted((a, b) => a - b));
    // Three seconds of work of ours, and two rests or more.
    expect(time.monotonic()).toBeGreaterThan(3_100 + 250);
    expect(time.monotonic()).toBeLessThan(3_100 + 4 * 320);
  });

  test('rests, too, if it is one call that takes its lock again and again, so that another process gets its turn', async () => {
    const { time } = scene;
    const turns: string[] = [];
    const job = async ({ owner }: Lease) => {
      turns.push(owner);
      await new Promise<void>((resolve) => time.setTimeout(resolve, 20));
    };
    const loop = async () => {
      while (time.monotonic() < 5_000) await us.client.using('job', WAIT, job);
    };
    const ours = loop();
    await time.advance(10);
    const theirs = others.client.using('job', WAIT, job);
    await settle(time, Promise.all([ours, theirs]));
    expect(turns.indexOf('host-2')).toBe(50);
    await time.advance(1_000);
    expect(time.timers).toBe(0);
  });

  test('rests less often as long as nobody else takes the lock, and as before after somebody else did', async () => {
    const { time } = scene;
    const starts: number[] = [];
    const job = async () => {
      starts.push(time.monotonic());
      await new Promise<void>((resolve) => time.setTimeout(resolve, 100));
    };
    /** The number of jobs from one rest to the next. */
    const runs = () => {
      const rests = starts.flatMap((at, n) => (n > 0 && at - (starts[n - 1] as number) > 200 ? [n] : []));
      return rests.map((n, index) => n - (rests[index - 1] ?? 0));
    };
    const wait = { waitMs: Number.POSITIVE_INFINITY };
    const line = Promise.all(Array.from({ length: 200 }, () => us.client.using('job', wait, job)));
    await time.advance(13_000);
    expect(runs()).toEqual([10, 20, 40, 40]);
    const theirs = others.client.using('job', wait, () => time.setTimeout(() => {}, 1));
    await settle(time, Promise.all([line, theirs]));
    expect(runs().slice(0, 7)).toEqual([10, 20, 40, 40, 40, 10, 20]);
  });

  test('does not rest if the lock was free for a while in between', async () => {
    const { time } = scene;
    for (let n = 0; n < 10; n++) {
      const lease = outcomeOf(us.client.acquire('job', WAIT));
      await time.advance(0);
      expect(lease.value?.isHeld()).toBe(true);
      await time.advance(300);
      await lease.value?.release();
      await time.advance(251);
    }
  });

  test('remembers no more than 1,000 keys that were served', async () => {
    const { time } = scene;
    await us.client.using('job', WAIT, () => time.advance(1_000));
    for (let n = 0; n < 1_000; n++) await us.client.using(`key-${n}`, WAIT, () => {});
    const [lease] = line(1);
    await time.advance(0);
    expect(lease?.value?.isHeld()).toBe(true);
  });

  test('does not rest after a second in which another process was seen to hold the lock', async () => {
    const { time, store } = scene;
    const [first, second, third] = line(3);
    await time.advance(900);
    let theirs: Lease | undefined;
    const act = async () => {
      theirs = await others.client.acquire('job');
    };
    store.plan({ do: 'first', operation: 'acquire', act });
    await first?.value?.release();
    await time.advance(200);
    await theirs?.release();
    await time.advance(400);
    expect(second?.value?.isHeld()).toBe(true);
    const before = store.count('acquire');
    await second?.value?.release();
    await time.advance(0);
    expect(store.count('acquire') - before).toBe(1);
    expect(third?.value?.isHeld()).toBe(true);
  });

  test('lets a call whose wait ends during the rest leave as busy', async () => {
    const { time } = scene;
    const [first, second] = line(2, { waitMs: 1_100 });
    await time.advance(1_000);
    await first?.value?.release();
    await time.advance(99);
    expect(second?.settled).toBe(false);
    await time.advance(1);
    expect(second?.error).toBeInstanceOf(LockBusyError);
  });

  test('tells a call whose wait ends during the rest that nobody holds the lock', async () => {
    const { time } = scene;
    const [first, second] = line(2, { waitMs: 1_100 });
    await time.advance(1_000);
    await first?.value?.release();
    await time.advance(100);
    const opened = (first?.value?.acquiredAt ?? 0) + 1;
    expect(second?.error).toMatchObject({ owner: undefined, expiresAt: opened, retryAfterMs: 1 });
    expect(us.of('busy')).toMatchObject([{ owner: undefined, expiresAt: opened, retryAfterMs: 1 }]);
  });

  test('tells a call whose wait ends before the next look until when holdAtLeastMs keeps the lock closed', async () => {
    const { time } = scene;
    const holder = await us.client.acquire('job', { holdAtLeastMs: 20_000 });
    const [, second] = line(2, { waitMs: 1_000 });
    scene.store.plan({ operation: 'acquire', do: 'hang' });
    await time.advance(900);
    await holder.release();
    await time.advance(100);
    const error = { owner: undefined, expiresAt: holder.acquiredAt + 20_000, retryAfterMs: 19_000 };
    expect(second?.error).toMatchObject(error);
  });

  test('polls as one call does while holdAtLeastMs keeps the lock of its own holder closed', async () => {
    const { time, store } = scene;
    const holder = await us.client.acquire('job', { holdAtLeastMs: 20_000 });
    const waiting = line(10);
    await holder.release();
    await time.advance(19_000);
    expect(store.count('acquire')).toBe(2);
    expect(store.count('read')).toBeLessThan(120);
    await time.advance(1_030);
    expect(waiting.map(({ settled }) => settled)).toEqual([true, ...Array(9).fill(false)]);
  });

  test('does not wait behind a candidate for the lead, which looks seldom', async () => {
    const { time } = scene;
    const holder = await others.client.acquire('job');
    const candidate = us.client.lead('job', { pollMs: 60_000 }, () => {});
    await time.advance(100);
    const [waiting] = line(1);
    await holder.release();
    await time.advance(300);
    expect(waiting?.value?.isHeld()).toBe(true);
    await waiting?.value?.release();
    await candidate.stop();
  });

  test('is not woken by a lease of a slot that it does not wait for', async () => {
    const { time, store } = scene;
    await others.client.acquire('job');
    const [waiting] = line(1);
    await time.advance(100);
    const before = store.requests.filter(({ operation, request }) => operation === 'acquire' && request.key === 'job');
    for (let cycle = 0; cycle < 5; cycle++) {
      const lease = await settle(time, us.client.acquire('job', { permits: 3, waitMs: 5_000 }));
      expect(lease.slot).toBeGreaterThan(0);
      await lease.release();
      await time.advance(5);
    }
    const after = store.requests.filter(({ operation, request }) => operation === 'acquire' && request.key === 'job');
    expect(after.length - before.length).toBeLessThanOrEqual(1);
    expect(waiting?.settled).toBe(false);
  });

  test('is gone when nobody stands in it, however its calls ended', async () => {
    const { time } = scene;
    const controller = new AbortController();
    const holder = await us.client.acquire('job');
    const [granted] = line(1);
    const [busy] = line(1, { waitMs: 10 });
    const [cancelled] = line(1, { ...WAIT, signal: controller.signal });
    const [late] = line(1, { ...WAIT, remainingMs: () => 5 });
    expect(us.client.lines.size).toBe(1);
    await time.advance(20);
    controller.abort();
    await holder.release();
    await time.advance(0);
    await granted?.value?.release();
    await time.advance(0);
    expect([busy, cancelled, late].every((call) => call?.error)).toBe(true);
    expect(us.client.lines.size).toBe(0);
    expect(time.timers).toBe(0);
    expect([...us.client.context.leases]).toEqual([]);
  });
});
