import { describe, expect, test } from '@jest/globals';
import { LockStoreError } from '../../lib/record/errors.ts';
import { type HostClock, outcomeOf, settle, taken, world } from './setup.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const undisciplined = { isDisciplined: false };

/** The two clocks part while a request is on its way. */
function jump(clock: HostClock): void {
  clock.offsetMs += 500;
}

describe('an undisciplined clock', () => {
  test.each([HOUR, -HOUR, 120_000])(
    'is judged by one read before the host writes a moment: %i ms ahead',
    async (ahead) => {
      const { time, store, memory, host } = world({ dated: true });
      const lease = await host({ ...undisciplined, ahead }).client.acquire('job');
      expect(store.operations).toEqual(['read', 'acquire']);
      const { record } = await memory.read('job');
      expect(Math.abs((record?.expiresAt ?? 0) - (time.now() + 30_000))).toBeLessThanOrEqual(1_000);
      expect(Math.abs(lease.fencingToken - time.now())).toBeLessThanOrEqual(1_000);
    },
  );

  test('costs one read for all keys and clients of the process', async () => {
    const { store, host } = world({ dated: true });
    const { client, clock } = host(undisciplined);
    for (const key of ['a', 'b']) await (await client.acquire(key)).release();
    await host({ clock }).client.acquire('c');
    expect(store.count('read')).toBe(1);
  });

  test('is judged by one read for all acquisitions that begin at once', async () => {
    const { time, store, host } = world({ dated: true });
    const { client } = host(undisciplined);
    store.plan({ do: 'travel', there: 5, back: 5, operation: 'read' });
    const leases = Promise.all(Array.from({ length: 50 }, (_, n) => client.acquire(`job-${n}`)));
    expect(await settle(time, leases)).toHaveLength(50);
    expect(store.count('read')).toBe(1);
  });

  test('is judged for the second acquisition if the first acquisition is cancelled during the judge read', async () => {
    const { time, store, host } = world({ dated: true });
    const { client } = host({ ...undisciplined, ahead: HOUR });
    store.plan({ do: 'delayAnswer', ms: 200, operation: 'read', times: Number.POSITIVE_INFINITY });
    const controller = new AbortController();
    const first = outcomeOf(client.acquire('a', { signal: controller.signal }));
    const second = client.acquire('b');
    await time.advance(100);
    controller.abort(new Error('no longer'));
    await time.advance(1);
    expect(first.error).toMatchObject({ message: 'no longer' });
    expect((await settle(time, second)).isHeld()).toBe(true);
  });

  test('is judged again before the next renewal if the clock was set while the lease is held', async () => {
    const { time, store, memory, host } = world({ dated: true });
    const { client, clock } = host(undisciplined);
    const lease = await client.acquire('job');
    // The clock is set back, so the lease is not lost.
    clock.offsetMs = -HOUR;
    await time.advance(12_000);
    expect(store.operations).toEqual(['read', 'acquire', 'read', 'renew']);
    expect(lease.isHeld()).toBe(true);
    const { record } = await memory.read('job');
    expect(Math.abs((record?.expiresAt ?? 0) - (time.now() + 28_000))).toBeLessThanOrEqual(1_000);
  });

  test('writes no moment if the clocks parted during each of three judge reads', async () => {
    const { time, store, host } = world({ dated: true });
    const { client, clock } = host({ ...undisciplined, ahead: HOUR });
    store.plan({
      do: 'then',
      act: () => jump(clock),
      operation: 'read',
      times: Number.POSITIVE_INFINITY,
    });
    const error = await settle(
      time,
      client.acquire('job').catch((thrown) => thrown),
    );
    expect(error).toBeInstanceOf(LockStoreError);
    expect(error).toMatchObject({
      transient: true,
      message: expect.stringContaining('none of 3 answers could tell'),
    });
    expect(store.operations).toEqual(['read', 'read', 'read']);
  });

  test('is judged by the refusal if the process may not read', async () => {
    const { time, store, memory, host } = world({ dated: true });
    const denied = new LockStoreError('dynamodb:GetItem is not allowed', {
      serverDate: Math.floor(time.now() / 1_000) * 1_000,
    });
    store.plan({ do: 'fail', error: denied, operation: 'read', times: Number.POSITIVE_INFINITY });
    await host({ ...undisciplined, ahead: HOUR }).client.acquire('job');
    expect((await memory.read('job')).record?.expiresAt).toBeLessThanOrEqual(time.now() + 31_000);
  });

  test('makes acquire throw the error of a judge read that fails without a date', async () => {
    const { time, store, host } = world({ dated: true });
    const broken = new LockStoreError('The connection broke.', { transient: true });
    store.plan({ do: 'fail', error: broken, operation: 'read', times: Number.POSITIVE_INFINITY });
    await expect(settle(time, host(undisciplined).client.acquire('job'))).rejects.toThrow(
      "Reading 'job', to judge the clock of this host: The connection broke.",
    );
    expect(store.operations).toEqual(['read', 'read', 'read']);
  });

  test('is judged by further reads after one answer without a date', async () => {
    const { time, store, memory, host } = world({ dated: true });
    const { client, clock } = host({ ...undisciplined, ahead: HOUR });
    await client.inspect('elsewhere');
    jump(clock);
    const { inner } = store;
    store.inner = Object.assign(Object.create(inner), {
      read: async (key: string) => {
        store.inner = inner;
        return { record: (await inner.read(key, { consistent: false })).record };
      },
    });
    await client.acquire('job');
    expect(store.operations).toEqual(['read', 'read', 'read', 'acquire']);
    expect((await memory.read('job')).record?.expiresAt).toBeLessThanOrEqual(time.now() + 31_000);
  });

  test('keeps no acquisition waiting for longer than its own requests, however many acquisitions wait', async () => {
    const { time, store, host } = world({ dated: true });
    const { client } = host(undisciplined);
    store.plan({ do: 'hang', operation: 'read', times: Number.POSITIVE_INFINITY });
    const all = Array.from({ length: 20 }, (_, n) => outcomeOf(client.acquire(`job-${n}`, { requestTimeoutMs: 100 })));
    await time.advance(500);
    expect(all.every(({ settled }) => settled)).toBe(true);
  });

  test('is judged by the read of a second call as soon as the first call got no answer to its read for one time-out', async () => {
    const { time, store, host } = world({ dated: true });
    const { client } = host(undisciplined);
    store.script = (operation, { key }) => (operation === 'read' && key === 'first' ? { do: 'hang' } : undefined);
    const first = outcomeOf(client.acquire('first', { waitMs: 10_000 }));
    const second = outcomeOf(client.acquire('second', { waitMs: 10_000 }));
    await time.advance(1_100);
    expect(second.value?.isHeld()).toBe(true);
    await time.advance(10_000);
    expect(first.settled).toBe(true);
  });

  test('lets a client close during a judge read', async () => {
    const { time, store, host } = world({ dated: true });
    const { client } = host(undisciplined);
    store.plan({ do: 'hang', operation: 'read', times: Number.POSITIVE_INFINITY });
    const acquired = outcomeOf(client.acquire('job'));
    await time.advance(10);
    const closed = outcomeOf(client.close());
    await time.advance(1);
    expect(closed.settled).toBe(true);
    expect(acquired.error.message).toContain('closed');
  });

  test('is believed after one judge read if no answer has a date', async () => {
    const { store, host } = world();
    const { client, clock } = host(undisciplined);
    await (await client.acquire('job')).release();
    clock.offsetMs = 1_000;
    await client.acquire('other');
    expect(store.operations).toEqual(['read', 'acquire', 'release', 'acquire']);
  });

  test('makes a resume last no longer than leaseMs, even an hour ahead', async () => {
    const { time, store, memory, host } = world({ dated: true });
    const handle = await (await host().client.acquire('job')).handOff({ leaseMs: 60_000 });
    await host({ ...undisciplined, ahead: HOUR }).client.resume(handle, { leaseMs: 2_000 });
    expect(store.operations).toEqual(['acquire', 'renew', 'read', 'resume']);
    expect((await memory.read('job')).record?.expiresAt).toBeLessThanOrEqual(time.now() + 3_000);
  });

  test.each([30 * DAY, -30 * DAY])(
    'lowers no token, even %i ms ahead, if its host is the first to come after TTL deleted the record',
    async (ahead) => {
      const { time, store, host } = world({ dated: true });
      const tokens: number[] = [];
      const take = async (client: ReturnType<typeof host>['client']) => {
        const lease = await client.acquire('job');
        tokens.push(lease.fencingToken);
        await lease.release();
      };
      for (const { client } of [host(), host({ ...undisciplined, ahead }), host()]) {
        await take(client);
        time.step(8 * DAY);
        store.inner = world({ dated: true, start: time.now() }).memory;
      }
      expect(tokens).toEqual([...tokens].sort((a, b) => a - b));
    },
  );
});

test('the throttled read that judges the clock is the reason told if no time is left for the lock', async () => {
  const { time, store, host } = world({ dated: true });
  const serverDate = Math.floor(time.now() / 1_000) * 1_000;
  const error = new LockStoreError('throttled', { transient: true, serverDate });
  store.plan({ do: 'fail', error, operation: 'read', times: Infinity });
  const { client } = host(undisciplined);
  const acquiring = client.acquire('job', { withinMs: 40 }).catch((error) => error);
  expect(await settle(time, acquiring)).toMatchObject({
    message:
      "Acquiring 'job': no time is left to send the request. Allow more time. The last fault was LockStoreError: throttled",
    cause: error,
    transient: true,
  });
  expect(store.count('acquire')).toBe(0);
});

describe('a request that the server refuses for the time of its signature', () => {
  const HOUR_AHEAD = { ahead: HOUR };
  const scene = () => {
    const it = world({ dated: true });
    const date = () => Math.floor(it.time.now() / 1_000) * 1_000;
    const misdated = () =>
      new LockStoreError('refused for its time', { transient: true, misdated: true, serverDate: date() });
    return { ...it, misdated };
  };

  test('is written anew if it is an acquire', async () => {
    const { time, store, memory, host, misdated } = scene();
    store.plan({ do: 'fail', error: misdated(), operation: 'acquire' });
    const lease = await host(HOUR_AHEAD).client.acquire('job');
    expect(store.operations).toEqual(['acquire', 'acquire']);
    const [first, second] = store.requests.map(({ request }) => request);
    expect(second.lockId).not.toBe(first.lockId);
    expect(Math.abs(second.now - time.now())).toBeLessThanOrEqual(1_000);
    expect((await memory.read('job')).record?.lockId).toBe(lease.lockId);
  });

  test('is a transient error after the second refusal', async () => {
    const { store, host, misdated } = scene();
    store.plan({ do: 'fail', error: misdated(), operation: 'acquire', times: 2 });
    await expect(host(HOUR_AHEAD).client.acquire('job')).rejects.toMatchObject({
      name: 'LockStoreError',
      transient: true,
      message: "Acquiring 'job': refused for the clock of this host, twice. Set the clock right, or try again.",
    });
  });

  test('is written anew if it is a renewal', async () => {
    const { time, store, memory, host, misdated } = scene();
    const { client, clock, of } = host();
    const lease = await taken(client.tryAcquire('job'));
    clock.offsetMs = -HOUR;
    store.plan({ do: 'fail', error: misdated(), operation: 'renew' });
    await lease.renew();
    expect(store.count('renew')).toBe(2);
    expect((await memory.read('job')).record?.expiresAt).toBeGreaterThanOrEqual(time.now() + 30_000);
    expect(of('renewFailed')).toEqual([]);
  });

  test('is written anew if it is a resume', async () => {
    const { time, store, memory, host, misdated } = scene();
    const handle = await (await host().client.acquire('job')).handOff({ leaseMs: 60_000 });
    store.plan({ do: 'fail', error: misdated(), operation: 'resume' });
    expect((await host(HOUR_AHEAD).client.resume(handle)).isHeld()).toBe(true);
    expect((await memory.read('job')).record?.expiresAt).toBeLessThanOrEqual(time.now() + 31_000);
  });

  test('leaves no first grant of a resume behind if the second resume fails', async () => {
    const { time, store, memory, host } = scene();
    const handle = await (await host().client.acquire('job')).handOff({ leaseMs: 60_000 });
    const { client, clock } = host(HOUR_AHEAD);
    // The first resume is granted by a clock that no answer has judged. The second resume gets no answer.
    store.plan({ do: 'then', act: () => jump(clock), operation: 'resume' });
    store.plan({ do: 'hang', operation: 'resume', times: 3 });
    await expect(settle(time, client.resume(handle))).rejects.toMatchObject({ name: 'LockStoreError' });
    expect((await memory.read('job')).record?.lockId).toBeUndefined();
  });

  test('is sent again if it is a release', async () => {
    const { store, host, misdated } = scene();
    const lease = await taken(host().client.tryAcquire('job'));
    store.plan({ do: 'fail', error: misdated(), operation: 'release' });
    expect(await lease.release()).toBe(true);
    expect(store.count('release')).toBe(2);
  });
});

test("a release after the clock was set back writes a ttl from the lease's expiry", async () => {
  const { time, store, host } = world({ dated: true });
  const { client, clock } = host();
  const lease = await client.acquire('job');
  clock.offsetMs = -30 * DAY;
  await lease.release();
  expect(store.requests.at(-1)?.request.now).toBe(time.now() + 30_000);
});

test('a grant that is given back opens at the Date of the answer at the latest', async () => {
  const { time, store, memory, host } = world({ dated: true });
  const { client, clock } = host({ ahead: HOUR });
  // The host is frozen while the first answer is on its way, so the answer cannot judge the clock.
  store.plan({ do: 'then', act: () => jump(clock), operation: 'acquire', times: 2 });
  await settle(time, client.tryAcquire('job'));
  expect(store.operations).toEqual(['acquire', 'giveBack', 'acquire', 'giveBack']);
  expect((await memory.read('job')).record?.expiresAt).toBeLessThanOrEqual(time.now());
});

test.each([
  ['an hour ahead', HOUR, false],
  ['a minute behind', -60_000, false],
  ['a minute behind by the date of a relay', -60_000, true],
])('a lock stays closed for holdAtLeastMs from its acquisition if the host is %s', async (_, ahead, relayed) => {
  const { time, store, memory, host } = world({ dated: true });
  const read = store.read.bind(store);
  store.read = async (key, options) => ({ ...(await read(key, options)), relayed });
  const { client } = host({ ...undisciplined, ahead });
  const acquiredAt = time.now();
  const lease = await client.acquire('job', { holdAtLeastMs: 60_000 });
  await lease.release();
  expect((await memory.read('job')).record?.expiresAt).toBeGreaterThanOrEqual(acquiredAt + 60_000);
});
