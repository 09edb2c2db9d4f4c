import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { LockBusyError, LockNoTimeError, LockStoreError } from '../../lib/record/errors.ts';
import type { LockRecord } from '../../lib/record/record.ts';
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

/** Makes every read of the store show this record. */
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

describe('a read after a refusal', () => {
  /** The owner and the expiry that a waiter reports after a refusal with one record and a read of another record. */
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

  test('changes nothing if the read shows no record', async () => {
    expect(await known({}, undefined)).toEqual(ofAnna);
  });

  test('changes nothing if the read shows a smaller token', async () => {
    expect(await known({}, { fencingToken: 9, ...inMs(90_000) })).toEqual(ofAnna);
  });

  test('counts if the read shows a greater token', async () => {
    expect(await known({}, { fencingToken: 11, ...inMs(5_000) })).toEqual({ owner: 'bert', inMs: 5_000 });
  });

  test('counts if the read shows the same grant with a later expiry, since the holder renewed', async () => {
    expect(await known({}, { lockId: 'a', owner: 'anna', ...inMs(25_000) })).toEqual({ owner: 'anna', inMs: 25_000 });
  });

  test('changes nothing if the read shows the same grant with an earlier expiry', async () => {
    expect(await known({}, { lockId: 'a', owner: 'anna', ...inMs(15_000) })).toEqual(ofAnna);
  });

  test('counts if the read shows another grant with the same token, since a grant was given back', async () => {
    expect(await known({}, inMs(15_000))).toEqual({ owner: 'bert', inMs: 15_000 });
  });

  test('counts if the read shows no grant, since the holder released', async () => {
    expect(await known({}, { lockId: undefined, ...inMs(5_000) })).toEqual({ owner: undefined, inMs: 5_000 });
  });

  test.each([5_000, 90_000])(
    'changes nothing if the refusal showed no grant and the read shows a grant: expiry in %i ms',
    async (ms) => {
      expect(await known({ lockId: undefined }, { lockId: 'a', ...inMs(ms) })).toEqual({ ...ofAnna, owner: undefined });
    },
  );
});

describe('the pause before the first read of a waiter', () => {
  /** The time and the consistency of a waiter's first read if `Math.random` gives `random`. */
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
  ])('is three to five quarters of 30 ms: with the random number %d, %i ms', async (random, afterMs) => {
    expect(await firstLook(random, 30_000)).toEqual({ afterMs, consistent: false });
  });

  test.each([
    [0, 10],
    [0.999, 35],
  ])(
    'ends up to 25 ms after the expiry, and the read is consistent: with the random number %d, %i ms',
    async (random, afterMs) => {
      expect(await firstLook(random, 10)).toEqual({ afterMs, consistent: true });
    },
  );
});

describe('a read without an answer', () => {
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

  test('is given up when the caller cancels the wait', async () => {
    const cancel = new AbortController();
    const { waiting } = await waits({ signal: cancel.signal });
    cancel.abort('enough');
    await scene.time.advance(0);
    expect(waiting.error).toBe('enough');
  });
});

test('a waiter whose repeated attempt was granted late writes again at once', async () => {
  const { time, store, host } = scene;
  const holder = await taken(host().client.tryAcquire('job'));
  // The first attempt is refused. The network delivers the attempt again when the lock is open.
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

describe('a clock that is set while an acquire is out', () => {
  /** Sets the host's clock by `stepsMs` while its attempts are out. */
  function set(host: ReturnType<World['host']>, ...stepsMs: number[]): void {
    for (const ms of stepsMs) {
      const act = () => {
        host.clock.offsetMs += ms;
      };
      scene.store.plan({ do: 'then', act, operation: 'acquire' });
    }
  }

  test.each([-500, 500])('by %i ms makes the client give the grant back, and acquire again', async (ms) => {
    const host = scene.host();
    set(host, ms);
    const lease = await taken(host.client.tryAcquire('job'));
    expect(lease.isHeld()).toBe(true);
    expect(scene.store.operations).toEqual(['acquire', 'giveBack', 'acquire']);
  });

  test('again and again makes acquire throw a LockBusyError with the owner before the grant', async () => {
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

test('a clock that is set again and again makes no attempt busy with an earlier attempt', async () => {
  const { store, memory } = scene;
  const host = scene.host();
  const set = (ms: number) => () => {
    host.clock.offsetMs += ms;
  };
  store.plan(
    // The first grant cannot be given back. The lease of the first grant is over, by the clock, when the second
    // attempt comes.
    { do: 'then', act: set(500), operation: 'acquire' },
    { do: 'first', act: set(3_600_000), operation: 'giveBack' },
    { do: 'then', act: set(-3_600_000), operation: 'acquire' },
  );
  jest.spyOn(memory, 'giveBack').mockRejectedValueOnce(new LockStoreError('The connection broke.'));
  const error = await host.client.tryAcquire('job').catch((error) => error);
  expect(store.operations).toEqual(['acquire', 'giveBack', 'acquire', 'giveBack', 'release']);
  expect(error).toMatchObject({ name: 'LockStoreError', transient: true });
  expect(error.message).toBe("Acquiring 'job': an earlier attempt was granted late, and is released. Try again.");
  expect((await memory.read('job')).record?.lockId).toBeUndefined();
});

test('events and errors name no owner of a lock that holdAtLeastMs keeps closed', async () => {
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

test.each(['acquire', 'resume'] as const)(
  'a signal that aborts after the answer of an %s, and before the lease is given out, releases the grant',
  async (operation) => {
    const { store, memory, host } = scene;
    const handle = operation === 'resume' && (await (await host().client.acquire('job')).handOff({ leaseMs: 60_000 }));
    const { client, clock } = host();
    const cancel = new AbortController();
    // The client reads its clock when it judges the answer: at that moment nothing listens to the signal any more.
    const act = () =>
      jest.spyOn(clock, 'now').mockImplementation(() => {
        cancel.abort(new Error('cancelled'));
        return scene.time.now();
      });
    store.plan({ do: 'then', act, operation });
    const { signal } = cancel;
    const taking = handle ? client.resume(handle, { signal }) : client.acquire('job', { signal });
    await expect(taking).rejects.toThrow('cancelled');
    expect((await memory.read('job')).record?.lockId).toBeUndefined();
  },
);

test.each(['acquire', 'resume'] as const)(
  'a host that is 3 s behind releases a grant to %s whose answer is late, and the lock is open at once',
  async (operation) => {
    const { time, store, memory, host } = world({ dated: true, start: 1_800_000_000_000 });
    // The holder means to believe for 4 s. Its clock is 3 s behind, so the answer leaves 1 s at the most.
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
  'the acquired event of a host that is %i ms ahead shows the expiry of the record',
  async (ahead) => {
    const { time, memory, host } = world({ dated: true, start: 1_800_000_000_000 });
    const { client, of } = host({ ahead, isDisciplined: false });
    const lease = await settle(time, client.acquire('job'));
    expect(of('acquired')[0]?.expiresAt).toBe((await memory.read('job')).record?.expiresAt);
    await lease.release();
  },
);

test.each([
  ['a store error that is not transient', new LockStoreError('not allowed')],
  ['a misdated refusal', new LockStoreError('skewed', { misdated: true, transient: true })],
])('a signal whose reason is %s releases a grant that is under way', async (_, reason) => {
  const { time, store, memory, host } = scene;
  const cancel = new AbortController();
  store.plan({ do: 'delayAnswer', ms: 500, operation: 'acquire' });
  const taking = outcomeOf(host().client.acquire('job', { signal: cancel.signal }));
  await time.advance(100);
  cancel.abort(reason);
  await time.advance(1_000);
  expect(taking.error).toBe(reason);
  expect((await memory.read('job')).record?.lockId).toBeUndefined();
});
