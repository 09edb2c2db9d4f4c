import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { LockBusyError, LockClosedError, LockLostError, LockNoTimeError, LockStoreError } from '../../lib/index.ts';
import type { Lease } from '../../lib/lease/lease.ts';
import type { Fault, Operation } from '../support/scripted-store.ts';
import { outcomeOf, punctual, settle, taken, type World, world } from './setup.ts';

const KEY = 'cache';
const ALONE = { runs: 1, covered: false, owed: false };
const COVERED = { runs: 0, covered: true, owed: false };

let w: World;
beforeEach(() => {
  w = world();
});
afterEach(() => {
  jest.restoreAllMocks();
});

/** Work that takes `ms`. Notes when each run begins, and that no two runs are under way at a time. */
function jobOf(ms: number) {
  const began: number[] = [];
  let underWay = 0;
  const work = async (lease: Lease) => {
    began.push(w.time.now());
    lease.assertHeld();
    expect(++underWay).toBe(1);
    await new Promise<void>((resolve) => w.time.setTimeout(resolve, ms));
    underWay--;
  };
  return { began, work };
}

/** A host that runs, and has begun its first run, which takes `ms`. */
async function running(ms = 100, options = {}) {
  const host = w.host();
  const job = jobOf(ms);
  const ended = host.client.coalesce(KEY, options, job.work);
  ended.catch(() => {});
  await w.time.advance(0);
  expect(job.began).toHaveLength(1);
  return { ...host, job, ended };
}

const state = async () => w.host().client.inspect(KEY);

test.each([0, 150, 900, 1_900])(
  'a call waits for a lock that nobody holds, and that the last holder, whose clock is %d ms ahead, left closed',
  async (ahead) => {
    w = world({ dated: true });
    await w.host({ ahead }).client.coalesce(KEY, () => {});
    const asked = w.time.now();
    expect(
      await settle(
        w.time,
        w.host().client.coalesce(KEY, () => {}),
      ),
    ).toEqual(ALONE);
    expect(w.time.now() - asked).toBeLessThanOrEqual(ahead + 1);
  },
);

describe('A call that finds the lock free', () => {
  test('runs once, for two requests', async () => {
    const { ended } = await running();
    expect(await settle(w.time, ended)).toEqual(ALONE);
    expect(w.store.operations).toEqual(['acquire', 'release']);
    expect(await state()).toMatchObject({ held: false, opensInMs: 0, owed: false });
  });

  test('takes the work as the second or as the third argument, or before the options', async () => {
    const { client } = w.host();
    const job = jobOf(0);
    const calls = [
      () => client.coalesce(KEY, job.work),
      () => client.coalesce(KEY, {}, job.work),
      () => (client.coalesce as (...all: unknown[]) => Promise<unknown>)(KEY, job.work, {}),
    ];
    for (const call of calls) expect(await settle(w.time, call())).toEqual(ALONE);
    expect(job.began).toHaveLength(3);
  });

  test('tells inspect and list that a run is owed, until the run has succeeded', async () => {
    const { ended } = await running();
    expect(await state()).toMatchObject({ held: true, owed: true, asked: 1, serving: 1 });
    await settle(w.time, ended);
    expect(await state()).toMatchObject({ owed: false, asked: 1, served: 1 });
  });
});

describe('A call during a run', () => {
  test('is covered by one more run of the holder, for two requests', async () => {
    const holder = await running();
    const other = w.host();
    const from = w.store.requests.length;
    expect(
      await settle(
        w.time,
        other.client.coalesce(KEY, () => {}),
      ),
    ).toEqual(COVERED);
    expect(w.store.operations.slice(from)).toEqual(['acquire', 'ask']);
    expect(other.of('covered')).toEqual([expect.objectContaining({ key: KEY, owner: 'host-1' })]);
    expect(await settle(w.time, holder.ended)).toEqual({ runs: 2, covered: false, owed: false });
    expect(holder.job.began).toHaveLength(2);
    expect(holder.of('again')).toEqual([expect.objectContaining({ key: KEY, runs: 1 })]);
    expect(await state()).toMatchObject({ owed: false, held: false });
  });

  test('is covered for one request if somebody has asked before', async () => {
    const holder = await running();
    const other = w.host();
    await settle(
      w.time,
      other.client.coalesce(KEY, () => {}),
    );
    const from = w.store.requests.length;
    for (let i = 0; i < 20; i++)
      expect(
        await settle(
          w.time,
          other.client.coalesce(KEY, () => {}),
        ),
      ).toEqual(COVERED);
    expect(w.store.operations.slice(from)).toEqual(Array(20).fill('acquire'));
    expect(await settle(w.time, holder.ended)).toMatchObject({ runs: 2 });
  });

  test('asks for a third run if the second run has begun', async () => {
    const holder = await running();
    const other = w.host();
    await settle(
      w.time,
      other.client.coalesce(KEY, () => {}),
    );
    await w.time.advance(110);
    expect(holder.job.began).toHaveLength(2);
    await settle(
      w.time,
      other.client.coalesce(KEY, () => {}),
    );
    expect(await settle(w.time, holder.ended)).toMatchObject({ runs: 3 });
  });

  test('of the same client does not wait, and asks like any other', async () => {
    const holder = await running();
    expect(
      await settle(
        w.time,
        holder.client.coalesce(KEY, { waitMs: 60_000 }, () => {}),
        5,
      ),
    ).toEqual(COVERED);
    expect(await settle(w.time, holder.ended)).toMatchObject({ runs: 2 });
  });

  test('acquires the lock if the holder has ended before it could be asked', async () => {
    const holder = await running(100);
    const job = jobOf(0);
    w.store.plan({ operation: 'ask', do: 'delayRequest', ms: 150 });
    expect(await settle(w.time, w.host().client.coalesce(KEY, job.work))).toEqual(ALONE);
    expect(await holder.ended).toEqual(ALONE);
  });

  test('acquires the lock if the lease that it asks has expired when the answer comes', async () => {
    const now = w.time.now();
    const dead = { key: KEY, lockId: 'dead', owner: 'dead', now, until: now + 100, leaseMs: 100 };
    await w.memory.acquire({ ...dead, coalesce: 'always' });
    w.store.plan({ operation: 'ask', do: 'delayRequest', ms: 150 });
    expect(await settle(w.time, w.host().client.coalesce(KEY, jobOf(10).work))).toEqual(ALONE);
    expect(await state()).toMatchObject({ owed: false });
  });

  test('is covered by a grant that has come in place of the one it asks: that grant counts as an ask', async () => {
    const holder = await running(100);
    const next = jobOf(200);
    w.store.plan({ operation: 'ask', do: 'delayRequest', ms: 150 });
    const asking = outcomeOf(w.host().client.coalesce(KEY, () => {}));
    await w.time.advance(120);
    expect(await holder.ended).toEqual(ALONE);
    const taking = w.host().client.coalesce(KEY, next.work);
    await w.time.advance(60);
    expect(asking.value).toEqual(COVERED);
    expect(await settle(w.time, taking)).toEqual(ALONE);
  });

  test('is busy if a plain lease has come in place of the grant it asks', async () => {
    const holder = await running(100);
    w.store.plan({ operation: 'ask', do: 'delayRequest', ms: 150 });
    const asking = outcomeOf(w.host().client.coalesce(KEY, () => {}));
    await w.time.advance(120);
    await holder.ended;
    await taken(w.host().client.tryAcquire(KEY));
    await w.time.advance(60);
    expect(asking.error).toBeInstanceOf(LockBusyError);
  });

  test('discards an attempt of its own that was granted unseen, and acquires anew', async () => {
    const holder = await running(300);
    const job = jobOf(50);
    await w.time.advance(50);
    // The second sending is refused at 250 ms. The first one arrives at 330 ms, when the holder has ended, and is granted.
    w.store.plan(
      { operation: 'acquire', do: 'delayRequest', ms: 280 },
      { operation: 'ask', do: 'delayRequest', ms: 190 },
    );
    const asking = w.host().client.coalesce(KEY, { requestTimeoutMs: 200 }, job.work);
    expect(await settle(w.time, holder.ended)).toEqual(ALONE);
    expect(await settle(w.time, asking)).toEqual(ALONE);
    expect(w.store.operations.slice(1)).toEqual([
      'acquire',
      'acquire',
      'ask',
      'release',
      'release',
      'acquire',
      'release',
    ]);
    expect(job.began).toHaveLength(1);
    expect(await state()).toMatchObject({ held: false, owed: false });
  });
});

describe('A burst', () => {
  test.each([
    ['150 ms', 1.5, 3],
    ['2 s', 20, 12],
  ])(
    'of 100 calls in %s costs at most 1.4 requests a call: nobody is left without a run',
    async (_, spacingMs, mostRuns) => {
      // A round trip of 4 ms.
      w.store.script = () => ({ do: 'travel', there: 2, back: 2 });
      const job = jobOf(200);
      const hosts = [w.host(), w.host(), w.host()];
      const calls: { at: number; outcome: { readonly value: { owed: boolean } | undefined } }[] = [];
      for (let call = 0; call < 100; call++) {
        calls.push({ at: w.time.now(), outcome: outcomeOf(hosts[call % 3]!.client.coalesce(KEY, job.work)) });
        await w.time.advance(call % 2 === 0 ? Math.floor(spacingMs) : Math.ceil(spacingMs));
      }
      await w.time.advance(1_000);
      expect(calls.filter(({ outcome }) => outcome.value?.owed !== false)).toEqual([]);
      expect(job.began.at(-1)).toBeGreaterThanOrEqual(calls.at(-1)?.at ?? Infinity);
      expect(job.began.length).toBeLessThanOrEqual(mostRuns);
      expect(w.store.requests.length / calls.length).toBeLessThanOrEqual(1.4);
    },
  );
});

describe('A lock that does not coalesce', () => {
  test('is busy: nobody would run once more', async () => {
    await taken(w.host().client.tryAcquire(KEY));
    const other = w.host();
    await expect(other.client.coalesce(KEY, () => {})).rejects.toThrow(LockBusyError);
    expect(w.store.operations).toEqual(['acquire', 'acquire']);
    expect(other.of('busy')).toHaveLength(1);
  });

  test('is waited for, for waitMs', async () => {
    const lease = await taken(w.host().client.tryAcquire(KEY));
    const job = jobOf(0);
    const waiting = w.host().client.coalesce(KEY, { waitMs: 10_000 }, job.work);
    await w.time.advance(500);
    await lease.release();
    expect(await settle(w.time, waiting)).toEqual(ALONE);
  });

  test('that a coalescing holder takes meanwhile is asked, and no longer waited for', async () => {
    const lease = await taken(w.host().client.tryAcquire(KEY));
    const waiting = outcomeOf(w.host().client.coalesce(KEY, { waitMs: 60_000 }, () => {}));
    await w.time.advance(500);
    await lease.release();
    const holder = await running(5_000);
    await w.time.advance(400);
    expect(waiting.value).toEqual(COVERED);
    expect(await settle(w.time, holder.ended)).toMatchObject({ runs: 2 });
  });

  test('ends the asks: a plain lease finds nothing to serve, and the run stays owed', async () => {
    const dead = w.host();
    await w.memory.acquire({
      key: KEY,
      lockId: 'dead',
      owner: 'dead',
      now: w.time.now(),
      until: w.time.now() + 10,
      leaseMs: 10,
      coalesce: 'always',
    });
    await w.time.advance(20);
    await (await taken(dead.client.tryAcquire(KEY))).release();
    expect(await state()).toMatchObject({ owed: true });
  });
});

describe('onlyIfOwed', () => {
  test('runs nothing if nothing is owed, for one request', async () => {
    const { client } = w.host();
    const work = jest.fn();
    expect(await client.coalesce(KEY, { onlyIfOwed: true, waitMs: 10_000 }, work)).toEqual({
      runs: 0,
      covered: false,
      owed: false,
    });
    await client.coalesce(KEY, () => {});
    const from = w.store.requests.length;
    expect(await client.coalesce(KEY, { onlyIfOwed: true, waitMs: 10_000 }, work)).toEqual({
      runs: 0,
      covered: false,
      owed: false,
    });
    expect(w.store.operations.slice(from)).toEqual(['acquire']);
    expect(work).not.toHaveBeenCalled();
  });

  test('serves what a dead holder has left', async () => {
    const now = w.time.now();
    await w.memory.acquire({
      key: KEY,
      lockId: 'dead',
      owner: 'dead',
      now,
      until: now + 1_000,
      leaseMs: 1_000,
      coalesce: 'always',
    });
    await w.time.advance(1_001);
    expect(await state()).toMatchObject({ owed: true });
    const job = jobOf(0);
    expect(await settle(w.time, w.host().client.coalesce(KEY, { onlyIfOwed: true }, job.work))).toEqual(ALONE);
    expect(await state()).toMatchObject({ owed: false });
  });

  test('asks nobody for a run while a holder runs', async () => {
    const holder = await running();
    expect(await w.host().client.coalesce(KEY, { onlyIfOwed: true }, () => {})).toEqual(COVERED);
    expect(await settle(w.time, holder.ended)).toEqual(ALONE);
    expect(w.store.count('ask')).toBe(0);
  });
});

describe('A holder that was asked', () => {
  /** Asks for one more run, which the holder is to leave owed. */
  async function asked(options: object, ms = 100) {
    const holder = await running(ms, options);
    await settle(
      w.time,
      w.host().client.coalesce(KEY, () => {}),
      5,
    );
    return holder;
  }
  const OWED = { runs: 1, covered: false, owed: true };

  test('leaves the run owed, and the lock open, if mayRunAgain gives false', async () => {
    const mayRunAgain = jest.fn((runs: number) => runs < 1);
    const holder = await asked({ mayRunAgain });
    expect(await settle(w.time, holder.ended)).toEqual(OWED);
    expect(mayRunAgain.mock.calls).toEqual([[1]]);
    expect(holder.of('owed')).toEqual([expect.objectContaining({ runs: 1, reason: 'declined' })]);
    expect(await state()).toMatchObject({ held: false, opensInMs: 0, owed: true });
  });

  test.each([
    ['the invocation', { remainingMs: () => 250, reserveMs: 100 }, { remainingMs: () => 10_000, reserveMs: 100 }],
    ['holdAtMostMs', { holdAtMostMs: 250, reserveMs: 100 }, { holdAtMostMs: 1_000, reserveMs: 100 }],
  ])('leaves the run owed if less is left of %s than for a run and the reserve', async (_, short, long) => {
    const began = w.time.now();
    const options = { ...short };
    if ('remainingMs' in options) options.remainingMs = () => 250 - (w.time.now() - began);
    const holder = await asked(options);
    expect(await settle(w.time, holder.ended)).toEqual(OWED);
    expect(holder.of('owed')).toEqual([expect.objectContaining({ reason: 'noTime' })]);
    const again = await asked(long);
    expect(await settle(w.time, again.ended)).toMatchObject({ runs: 2, owed: false });
  });

  test('leaves the run owed if its client is closed', async () => {
    const holder = await asked({});
    const closed = holder.client.close();
    expect(await settle(w.time, holder.ended)).toEqual(OWED);
    await closed;
    expect(holder.of('owed')).toEqual([expect.objectContaining({ reason: 'closed' })]);
  });

  test('leaves the run owed if mayRunAgain throws, or gives a promise, and throws the error', async () => {
    const holder = await asked({
      mayRunAgain: () => {
        throw new Error('mine');
      },
    });
    await expect(settle(w.time, holder.ended)).rejects.toThrow('mine');
    expect(await state()).toMatchObject({ held: false, owed: true });
    const second = await asked({ mayRunAgain: async () => Promise.reject(new Error('nobody hears of this')) });
    await expect(settle(w.time, second.ended)).rejects.toThrow('The result of mayRunAgain must be true or false');
    expect(await state()).toMatchObject({ held: false, opensInMs: 0, owed: true });
  });

  test('renews its lease throughout all runs', async () => {
    punctual();
    const options = { leaseMs: 3_000, heartbeatMs: 500, safetyMs: 500 };
    const holder = await running(2_900, options);
    const other = w.host();
    for (let i = 0; i < 3; i++) {
      await settle(
        w.time,
        other.client.coalesce(KEY, () => {}),
        5,
      );
      await w.time.advance(2_950);
    }
    expect(await settle(w.time, holder.ended)).toMatchObject({ runs: 4, owed: false });
    expect(holder.of('lost')).toEqual([]);
    expect(holder.of('renewed').length).toBeGreaterThan(15);
  });

  test('sends no renewal while a release is on its way', async () => {
    punctual();
    const options = { leaseMs: 3_000, heartbeatMs: 500, safetyMs: 500 };
    w.store.plan({ operation: 'release', do: 'delayAnswer', ms: 800 });
    const holder = await running(400, options);
    expect(await settle(w.time, holder.ended)).toEqual(ALONE);
    expect(w.store.count('renew')).toBe(0);
    expect(holder.of('lost')).toEqual([]);
  });

  test('hands nothing off while its release is on its way, though the hand-off was asked for before', async () => {
    const { client, of } = w.host();
    w.store.plan({ operation: 'renew', do: 'travel', there: 20, back: 20, times: Infinity });
    w.store.plan({ operation: 'release', do: 'delayAnswer', ms: 500 });
    let handOff = outcomeOf<unknown>(Promise.resolve());
    const ended = client.coalesce(KEY, (lease) => {
      outcomeOf(lease.renew());
      handOff = outcomeOf(lease.handOff({ leaseMs: 5_000 }));
    });
    expect(await settle(w.time, ended)).toEqual(ALONE);
    expect(handOff.error).toBeInstanceOf(LockLostError);
    expect(w.store.operations).toEqual(['acquire', 'renew', 'release']);
    expect(of('lost')).toEqual([]);
  });

  test('is not held while its release is on its way, and is held again after the refusal', async () => {
    const seen: boolean[] = [];
    const { client } = w.host();
    let lease: Lease | undefined;
    w.store.plan({ operation: 'release', do: 'travel', there: 20, back: 20 });
    const ended = client.coalesce(KEY, async (given) => {
      lease = given;
      seen.push(given.isHeld());
      await new Promise<void>((resolve) => w.time.setTimeout(resolve, 100));
    });
    await w.time.advance(50);
    await settle(
      w.time,
      w.host().client.coalesce(KEY, () => {}),
      5,
    );
    await w.time.advance(75);
    expect(lease?.isHeld()).toBe(false);
    expect(await settle(w.time, ended)).toMatchObject({ runs: 2 });
    expect(seen).toEqual([true, true]);
    expect(lease?.signal.aborted).toBe(false);
  });
});

describe('Work that', () => {
  test('throws leaves the run owed: its error is thrown, and the lock is open', async () => {
    const host = w.host();
    const ended = host.client.coalesce(KEY, async (lease) => {
      await jobOf(10).work(lease);
      throw new Error('mine');
    });
    await expect(settle(w.time, ended)).rejects.toThrow('mine');
    expect(await state()).toMatchObject({ held: false, opensInMs: 0, owed: true });
    expect(host.of('owed')).toEqual([expect.objectContaining({ runs: 0, reason: 'failed' })]);
  });

  test('releases its lease, or hands it off, leaves the run owed', async () => {
    const { client, of } = w.host();
    expect(
      await settle(
        w.time,
        client.coalesce(KEY, (lease) => lease.release()),
      ),
    ).toEqual({ runs: 1, covered: false, owed: true });
    expect(await state()).toMatchObject({ held: false, owed: true });
    expect(
      await settle(
        w.time,
        client.coalesce(KEY, (lease) => lease.handOff({ leaseMs: 5_000 })),
      ),
    ).toMatchObject({ owed: true });
    expect(of('owed')).toEqual([
      expect.objectContaining({ reason: 'ended' }),
      expect.objectContaining({ reason: 'ended' }),
    ]);
  });

  test('succeeds on a lease that an operator has ended is told of the loss, and the run stays owed', async () => {
    const holder = await running();
    const seen = await state();
    await w.host().client.forceRelease(KEY, { lockId: seen?.lockId as string });
    await expect(settle(w.time, holder.ended)).rejects.toThrow(LockLostError);
    expect(await state()).toMatchObject({ held: false, owed: true });
  });

  test('outlasts its lease is told of the loss, and the next call serves both', async () => {
    const holder = await running(5_000, { leaseMs: 1_000 });
    w.store.plan({ operation: 'renew', do: 'hang', times: Infinity });
    await expect(settle(w.time, holder.ended)).rejects.toThrow(LockLostError);
    w.store.heal();
    expect(
      await settle(
        w.time,
        w.host().client.coalesce(KEY, () => {}),
      ),
    ).toEqual(ALONE);
    expect(await state()).toMatchObject({ owed: false });
  });
});

// One fault for each request, while a holder runs twice and another host asks. Whatever happens: two never run at once, and
// whoever was told that it is covered has a run that began after its call, or the record says that a run is owed.
describe('A fault', () => {
  const faults: [string, Fault][] = [
    ['is lost', { do: 'loseRequest' }],
    ['has its answer lost', { do: 'loseAnswer' }],
    ['arrives twice', { do: 'twice', ms: 30 }],
    ['arrives once more, late', { do: 'duplicate', ms: 160 }],
    ['hangs', { do: 'hang' }],
    ['is done, and hangs', { do: 'hangAnswer' }],
    ['is slow', { do: 'delayRequest', ms: 70 }],
    ['arrives after its time-out', { do: 'delayRequest', ms: 1_150 }],
  ];
  const requests: [Operation, number][] = [
    ['acquire', 0],
    ['acquire', 1],
    ['ask', 0],
    ['release', 0],
    ['turn', 0],
    ['release', 1],
  ];
  const each = requests.flatMap(([operation, after]) =>
    faults.flatMap(([text, fault]) => [1, 3].map((times) => ({ operation, after, text, fault, times }))),
  );
  test.each(each)('of $times x $operation ($after before), which $text, covers nobody in vain', async (row) => {
    const { operation, after, fault, times } = row;
    w.store.plan({ operation, after, times, ...fault });
    const job = jobOf(100);
    const call = () => outcomeOf(w.host().client.coalesce(KEY, job.work));
    const first = call();
    await w.time.advance(40);
    const asked = w.time.now();
    const second = call();
    await w.time.advance(20_000);
    expect([first.settled, second.settled]).toEqual([true, true]);
    for (const { error } of [first, second]) expect(error === undefined || error instanceof LockStoreError).toBe(true);
    const { owed } = (await state()) ?? {};
    if (second.value?.covered) expect(job.began.some((began) => began >= asked) || owed).toBe(true);
    // With one fault the request is sent again, and everybody is served.
    if (times === 1) {
      expect([first.error, second.error]).toEqual([undefined, undefined]);
      expect([first.value, second.value]).not.toContainEqual(expect.objectContaining({ owed: true }));
      expect(owed).toBe(false);
    }
    // The next event serves whatever is owed.
    await w.time.advance(31_000);
    w.store.heal();
    expect(await settle(w.time, w.host().client.coalesce(KEY, job.work))).toMatchObject({ covered: false });
    expect((await state())?.owed).toBe(false);
  });

  test('of every sending of a turn leaves the run owed, and the lock open', async () => {
    const holder = await running();
    await settle(
      w.time,
      w.host().client.coalesce(KEY, () => {}),
      5,
    );
    w.store.plan({ operation: 'turn', do: 'hangAnswer', times: 3 });
    expect(await settle(w.time, holder.ended)).toEqual({ runs: 1, covered: false, owed: true });
    expect(holder.of('owed')).toEqual([expect.objectContaining({ reason: 'unknown' })]);
    expect(await state()).toMatchObject({ held: false, opensInMs: 0, owed: true });
  });

  test('of every sending of a release says that a run may be owed', async () => {
    const holder = await running();
    w.store.plan({ operation: 'release', do: 'hang', times: 3 });
    expect(await settle(w.time, holder.ended)).toEqual({ runs: 1, covered: false, owed: true });
    expect(holder.of('releaseFailed')).toHaveLength(1);
    expect(holder.of('owed')).toEqual([expect.objectContaining({ reason: 'unknown' })]);
  });

  test('of a turn, during which the lease is lost, begins no run', async () => {
    const holder = await running(700, { leaseMs: 2_000 });
    await settle(
      w.time,
      w.host().client.coalesce(KEY, () => {}),
      5,
    );
    w.store.plan(
      { operation: 'turn', do: 'delayAnswer', ms: 900 },
      { operation: 'renew', do: 'hang', times: Infinity },
    );
    await expect(settle(w.time, holder.ended)).rejects.toThrow(LockLostError);
    expect(holder.job.began).toHaveLength(1);
  });

  test('of the clock, by which the lease is lost when the answer to a turn comes, begins no run', async () => {
    const holder = await running();
    await settle(
      w.time,
      w.host().client.coalesce(KEY, () => {}),
      5,
    );
    const act = () => {
      holder.clock.offsetMs = 60_000;
    };
    w.store.plan({ operation: 'turn', do: 'then', act });
    await expect(settle(w.time, holder.ended)).rejects.toThrow(LockLostError);
    expect(holder.job.began).toHaveLength(1);
  });

  test('of a turn that finds another grant is the loss of the lease, though that grant serves more', async () => {
    const holder = await running();
    await settle(
      w.time,
      w.host().client.coalesce(KEY, () => {}),
      5,
    );
    const { lockId = '' } = (await state()) ?? {};
    const act = async () => {
      const now = w.time.now();
      await w.memory.forceRelease({ key: KEY, lockId, immediately: true });
      const other = { lockId: 'other', owner: 'other', now, until: now + 9_000, leaseMs: 9_000 };
      await w.memory.acquire({ key: KEY, ...other, coalesce: 'always' });
    };
    w.store.plan({ operation: 'turn', do: 'first', act });
    await expect(settle(w.time, holder.ended)).rejects.toMatchObject({ reason: 'takenOver' });
    expect(holder.job.began).toHaveLength(1);
  });

  test('of an ask is told to the caller, as an event too', async () => {
    await running(10_000);
    const other = w.host();
    w.store.plan({ operation: 'ask', do: 'loseRequest', times: 3 });
    await expect(
      settle(
        w.time,
        other.client.coalesce(KEY, () => {}),
      ),
    ).rejects.toThrow("Asking for a run under 'cache'");
    expect(other.of('acquireFailed')).toHaveLength(1);
  });
});

describe('A record that a wrong clock has taken over and given back', () => {
  test.each(['always', undefined] as const)('(coalesce: %s) costs its holder one run more', async (coalesce) => {
    const holder = await running();
    const now = w.time.now() + 3_600_000;
    const { record } = await w.memory.acquire({
      key: KEY,
      lockId: 'wrong',
      owner: 'wrong',
      now,
      until: now + 10,
      leaseMs: 10,
      coalesce,
    });
    await w.memory.giveBack({
      key: KEY,
      lockId: 'wrong',
      fencingToken: record?.fencingToken ?? 0,
      now: w.time.now(),
      previous: record?.tookOver ?? { type: 'nothing' },
    });
    expect(await settle(w.time, holder.ended)).toEqual({ runs: 2, covered: false, owed: false });
    expect(await state()).toMatchObject({ owed: false, held: false });
  });
});

describe('The call rejects', () => {
  test.each<[string, object, string]>([
    ['once', { once: 1 }, 'coalesce takes no once'],
    ['once, undefined', { once: undefined }, 'coalesce takes no once'],
    ['holdAtLeastMs', { holdAtLeastMs: 0 }, 'coalesce takes no holdAtLeastMs'],
    ['permits', { permits: 2 }, 'coalesce takes no permits'],
    ['an array, which has a method keys', [], 'coalesce: the options must be a plain object'],
    ['a Map, which has one too', new Map(), 'coalesce: the options must be a plain object'],
    ['a name that is unknown', { onlyIfOwd: true }, "did you mean 'onlyIfOwed'?"],
    ['onlyIfOwed', { onlyIfOwed: 'yes' }, "onlyIfOwed must be true or false, but it is 'yes'"],
    ['mayRunAgain', { mayRunAgain: true }, 'mayRunAgain must be a function'],
    ['reserveMs', { reserveMs: -1 }, 'reserveMs must be a whole number of milliseconds'],
    ['leaseMs', { leaseMs: 0 }, 'leaseMs must be'],
  ])('bad options: %s', async (_, options, message) => {
    const work = jest.fn();
    await expect(w.host().client.coalesce(KEY, options, work)).rejects.toThrow(message);
    expect(work).not.toHaveBeenCalled();
    expect(w.store.requests).toEqual([]);
  });

  test('a key or work that is none', async () => {
    const { client } = w.host();
    const coalesce = client.coalesce.bind(client) as (...all: unknown[]) => Promise<unknown>;
    await expect(coalesce('', () => {})).rejects.toThrow(TypeError);
    await expect(coalesce(KEY)).rejects.toThrow(
      'coalesce takes (key, work) or (key, options, work), but the work is undefined',
    );
    await expect(coalesce(KEY, {}, 7)).rejects.toThrow('the work is number 7');
  });

  test('if the client is closed, the signal aborts, or no time is left', async () => {
    const { client } = w.host();
    await expect(client.coalesce(KEY, { remainingMs: () => 0 }, () => {})).rejects.toThrow(LockNoTimeError);
    await expect(client.coalesce(KEY, { signal: AbortSignal.abort(new Error('mine')) }, () => {})).rejects.toThrow(
      'mine',
    );
    await client.close();
    await expect(client.coalesce(KEY, () => {})).rejects.toThrow(LockClosedError);
  });
});
