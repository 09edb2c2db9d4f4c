import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { LockBusyError, LockNoTimeError, LockStoreError } from '../../lib/record/errors.ts';
import type { LockRecord, Takeover } from '../../lib/record/record.ts';
import type { ReadAnswer } from '../../lib/record/store.ts';
import { outcomeOf, settle, taken, type World, world } from './setup.ts';

const HOUR = 3_600_000;
let scene: World;

beforeEach(() => {
  scene = world();
});

afterEach(() => {
  jest.restoreAllMocks();
});

/** Makes every read of the store answer so. */
function readsShow(record: LockRecord | undefined): void {
  const { store, memory } = scene;
  store.inner = new Proxy(memory, {
    get: (target, name) => {
      if (name === 'read') return async (): Promise<ReadAnswer> => ({ record });
      const value = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

describe('a look at a lock may be older than what is known of it', () => {
  /** What a waiter knows in the end that was refused by one record and then read another. */
  async function known(refusedBy: Partial<LockRecord>, read: Partial<LockRecord> | undefined) {
    const { time, host } = scene;
    const at = time.now();
    const record = { key: 'job', fencingToken: 10, expiresAt: at + 20_000, acquiredAt: at, leaseMs: 20_000 };
    const own = { ...record, owner: 'anna', lockId: 'a', ...refusedBy };
    jest.spyOn(scene.store, 'acquire').mockResolvedValue({ applied: false, record: own });
    readsShow(read && { ...record, owner: 'bert', lockId: 'b', ...read });
    const error = await settle(
      time,
      host()
        .client.acquire('job', { waitMs: 50 })
        .catch((error) => error),
    );
    expect(error).toBeInstanceOf(LockBusyError);
    return { owner: error.owner, inMs: error.expiresAt - at };
  }
  const ofAnna = { owner: 'anna', inMs: 20_000 };
  const inMs = (ms: number) => ({ expiresAt: scene.time.now() + ms });

  test('no record yet: what is known stands', async () => {
    expect(await known({}, undefined)).toEqual(ofAnna);
  });

  test('a smaller token: what is known stands', async () => {
    expect(await known({}, { fencingToken: 9, ...inMs(90_000) })).toEqual(ofAnna);
  });

  test('a greater token is news', async () => {
    expect(await known({}, { fencingToken: 11, ...inMs(5_000) })).toEqual({ owner: 'bert', inMs: 5_000 });
  });

  test('the same grant until a later moment is news: it was renewed', async () => {
    expect(await known({}, { lockId: 'a', owner: 'anna', ...inMs(25_000) })).toEqual({ owner: 'anna', inMs: 25_000 });
  });

  test('the same grant until an earlier moment: what is known stands', async () => {
    expect(await known({}, { lockId: 'a', owner: 'anna', ...inMs(15_000) })).toEqual(ofAnna);
  });

  test('another grant of the same token is news, also until an earlier moment: one was given back', async () => {
    expect(await known({}, inMs(15_000))).toEqual({ owner: 'bert', inMs: 15_000 });
  });

  test('no grant any more is news, also until an earlier moment: it was released', async () => {
    expect(await known({}, { lockId: undefined, ...inMs(5_000) })).toEqual({ owner: undefined, inMs: 5_000 });
  });

  test.each([5_000, 90_000])('a grant that is known to have been released is over: until %i ms', async (ms) => {
    expect(await known({ lockId: undefined }, { lockId: 'a', ...inMs(ms) })).toEqual({ ...ofAnna, owner: undefined });
  });
});

describe('between two looks', () => {
  /** When, after the call, and how a waiter looks for the first time, where `Math.random` gives `random`. */
  async function firstLook(random: number, holderLeftMs: number) {
    jest.spyOn(Math, 'random').mockReturnValue(random);
    const { time, store, host } = scene;
    const holder = await taken(host().client.tryAcquire('job'));
    holder.abandon('timedOut');
    await time.advance(30_000 - holderLeftMs);
    const called = time.now();
    void outcomeOf(host().client.acquire('job', { waitMs: 60_000 }));
    await time.advance(200);
    const look = store.requests.find(({ operation }) => operation === 'read');
    return { afterMs: look && look.at - called, consistent: look?.request.consistent };
  }

  test.each([
    [0, 23],
    [0.5, 30],
    [0.999, 38],
  ])('the first pause is three to five quarters of 30 ms: by %d, %i ms', async (random, afterMs) => {
    expect(await firstLook(random, 30_000)).toEqual({ afterMs, consistent: false });
  });

  test.each([
    [0, 10],
    [0.999, 35],
  ])(
    'it ends up to 25 ms after the expiry that was seen, and the look is consistent: by %d, %i ms',
    async (random, afterMs) => {
      expect(await firstLook(random, 10)).toEqual({ afterMs, consistent: true });
    },
  );
});

describe('a look that nothing answers', () => {
  const waits = async (options: { signal?: AbortSignal }) => {
    const { time, store, host } = scene;
    const holder = await taken(host().client.tryAcquire('job'));
    store.plan({ do: 'hang', operation: 'read', times: 3 });
    const waiting = outcomeOf(host().client.acquire('job', { waitMs: 20_000, requestTimeoutMs: 200, ...options }));
    await time.advance(100);
    expect(store.count('read')).toBe(1);
    return { holder, waiting };
  };

  test('is given up after requestTimeoutMs, and the wait goes on', async () => {
    const { holder, waiting } = await waits({});
    await holder.release();
    await scene.time.advance(900);
    expect(waiting.value?.isHeld()).toBe(true);
  });

  test('is given up when the wait is', async () => {
    const cancel = new AbortController();
    const { waiting } = await waits({ signal: cancel.signal });
    cancel.abort('enough');
    await scene.time.advance(0);
    expect(waiting.error).toBe('enough');
  });
});

test('a waiter that finds itself in the record, by an attempt that came late, writes again at once', async () => {
  const { time, store, host } = scene;
  const holder = await taken(host().client.tryAcquire('job'));
  // The first attempt is refused; the network repeats it when the lock is open.
  store.plan({ do: 'duplicate', ms: 500, operation: 'acquire' });
  const { client, of } = host();
  const waiting = outcomeOf(client.acquire('job', { waitMs: 25_000 }));
  store.plan({ do: 'hang', operation: 'read', after: 5, times: 3 });
  await time.advance(400);
  await holder.release();
  await time.advance(4_000);
  expect(waiting.value?.isHeld()).toBe(true);
  expect(of('busy')).toEqual([]);
});

describe('a clock that is set while the request is out', () => {
  /** Sets the host's clock by `stepsMs` while its attempts are out. */
  function set(host: ReturnType<World['host']>, ...stepsMs: number[]): void {
    for (const ms of stepsMs) {
      const act = () => {
        host.clock.offsetMs += ms;
      };
      scene.store.plan({ do: 'then', act, operation: 'acquire' });
    }
  }

  test.each([-500, 500])('by %i ms tells nothing: the grant is given back, and asked for again', async (ms) => {
    const host = scene.host();
    set(host, ms);
    const lease = await taken(host.client.tryAcquire('job'));
    expect(lease.isHeld()).toBe(true);
    expect(scene.store.operations).toEqual(['acquire', 'giveBack', 'acquire']);
  });

  test('twice, it is told that the lock is busy, and by whom it was held before', async () => {
    const { time, store } = scene;
    const dead = await taken(scene.host().client.tryAcquire('job'));
    const expiresAt = time.now() + 30_000;
    dead.abandon('timedOut');
    await time.advance(30_000);
    const host = scene.host();
    set(host, -200, -200, -200, -200);
    const error = await host.client.acquire('job').catch((error) => error);
    expect(error).toBeInstanceOf(LockBusyError);
    expect(error).toMatchObject({ owner: 'host-1', expiresAt });
    expect(store.count('acquire')).toBe(3);
  });
});

test('a clock that is set again and again makes no attempt busy with the one before it', async () => {
  const { store, memory } = scene;
  const host = scene.host();
  const set = (ms: number) => () => {
    host.clock.offsetMs += ms;
  };
  store.plan(
    // The first attempt cannot be given back; by the time of the second its lease is over, by a clock that is set back.
    { do: 'then', act: set(500), operation: 'acquire' },
    { do: 'first', act: set(3_600_000), operation: 'giveBack' },
    { do: 'then', act: set(-3_600_000), operation: 'acquire' },
  );
  jest
    .spyOn(memory, 'giveBack')
    .mockRejectedValueOnce(new LockStoreError('The connection broke.', { transient: true }));
  const error = await host.client.tryAcquire('job').catch((error) => error);
  expect(store.operations).toEqual(['acquire', 'giveBack', 'acquire', 'giveBack', 'release']);
  expect(error).toMatchObject({ name: 'LockStoreError', transient: true });
  expect(error.message).toBe("Acquiring 'job': an earlier attempt was granted late, and was released. Try again.");
  expect((await memory.read('job')).record?.lockId).toBeUndefined();
});

test('a lock that is merely closed is held by nobody, in events and errors', async () => {
  const { time, host } = scene;
  await (await taken(host().client.tryAcquire('job', { holdAtLeastMs: 60_000 }))).release();
  const { client, events } = host();
  const error = await settle(
    time,
    client.acquire('job', { waitMs: 1_000 }).catch((error) => error),
  );
  expect(error).toMatchObject({ name: 'LockBusyError', owner: undefined });
  expect(events.map(({ type, owner }) => ({ type, owner }))).toEqual([
    { type: 'waiting', owner: undefined },
    { type: 'busy', owner: undefined },
  ]);
});

describe('a grant that is to be given back, and stands under another token,', () => {
  const EXPIRY = 1_767_225_600_000;
  const theirs: Takeover = { type: 'lease', lockId: 'theirs', acquiredAt: EXPIRY - 1, expiresAt: EXPIRY };
  const [known, unknown] = [{ tookOver: theirs }, { tookOver: undefined }];

  test.each([
    ['is given back to what the record tells, if it does', 2, known, theirs],
    ['is given back to what it was granted over, if one other came between', 1, unknown, { type: 'nothing' }],
    ['is left as it is, if more did: nobody knows what it is over', 2, unknown, undefined],
  ])('%s', async (_, ahead, previous, givenBackTo) => {
    const { store } = scene;
    const host = scene.host();
    const act = () => {
      host.clock.offsetMs -= 500;
    };
    store.plan({ do: 'then', act, operation: 'acquire' });
    const giveBack = jest.spyOn(store, 'giveBack').mockImplementationOnce(async ({ key, lockId, fencingToken }) => {
      const { record } = await scene.memory.read(key);
      const standing = { ...(record as LockRecord), lockId, fencingToken: fencingToken + ahead, ...previous };
      return { applied: false, record: standing };
    });
    await host.client.tryAcquire('job').catch(() => {});
    const again = giveBack.mock.calls[1]?.[0];
    expect(again?.previous).toEqual(givenBackTo && expect.objectContaining(givenBackTo));
    expect(again?.fencingToken).toBe(givenBackTo && (giveBack.mock.calls[0]?.[0].fencingToken ?? 0) + ahead);
  });

  test.each([[undefined], [{ lockId: 'theirs' }]])(
    'but not as ours, is nobody’s to give back: %j',
    async (standing) => {
      const { store } = scene;
      const host = scene.host();
      const act = () => {
        host.clock.offsetMs -= 500;
      };
      store.plan({ do: 'then', act, operation: 'acquire' });
      const giveBack = jest.spyOn(store, 'giveBack');
      giveBack.mockResolvedValueOnce({ applied: false, record: standing as LockRecord });
      await host.client.tryAcquire('job').catch(() => {});
      expect(giveBack).toHaveBeenCalledTimes(1);
    },
  );
});

test('giving back takes no longer than one request may', async () => {
  const { time, store } = scene;
  const host = scene.host();
  const act = () => {
    host.clock.offsetMs -= 500;
  };
  store.plan({ do: 'then', act, operation: 'acquire', times: 2 }, { do: 'hang', operation: 'giveBack', times: 6 });
  const answer = outcomeOf(host.client.tryAcquire('job', { requestTimeoutMs: 300 }));
  await time.advance(700);
  expect(answer.settled).toBe(true);
});

test.each(['acquire', 'resume'] as const)(
  'on a host 3 s behind, a grant to %s whose answer is late is released, and the lock is open at once',
  async (operation) => {
    const { time, store, memory, host } = world({ dated: true, start: 1_800_000_000_000 });
    // Of the 4 s that the holder means to believe, the answer of a clock that is 3 s behind leaves one at the most.
    const options = { leaseMs: 10_000, safetyMs: 6_000, heartbeatMs: 1_000 };
    const { client } = host({ ahead: -3_000, ...options });
    const other = await host().client.acquire('job');
    const handle = await other.handOff({ leaseMs: 60_000 });
    if (operation === 'acquire') await time.advance(70_000);
    store.plan({ do: 'delayAnswer', ms: 1_200, operation });
    const asked =
      operation === 'acquire'
        ? client.acquire('job', { requestTimeoutMs: 5_000 })
        : client.resume(handle, { requestTimeoutMs: 5_000 });
    const error = await settle(
      time,
      asked.catch((error) => error),
    );
    expect(error).toBeInstanceOf(LockNoTimeError);
    expect(error.message).toContain("the store's answer came after the lease's own deadline");
    expect(store.operations.slice(-2)).toEqual([operation, 'release']);
    expect((await memory.read('job')).record?.lockId).toBeUndefined();
  },
);

test.each([0, HOUR, -HOUR])(
  'on a host %i ms ahead, the acquired event tells the expiry in the record',
  async (ahead) => {
    const { time, memory, host } = world({ dated: true, start: 1_800_000_000_000 });
    const { client, of } = host({ ahead, isDisciplined: false });
    const lease = await settle(time, client.acquire('job'));
    expect(of('acquired')[0]?.expiresAt).toBe((await memory.read('job')).record?.expiresAt);
    await lease.release();
  },
);
