import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { DynamoDBLockStore } from '../../lib/dynamodb/store.ts';
import { Gate, gateOf, ORDER, type Turn } from '../../lib/lease/gate.ts';
import { limited } from '../../lib/lease/send.ts';
import { LockStoreError } from '../../lib/record/errors.ts';
import type { LockStore } from '../../lib/record/store.ts';
import { FakeClock } from '../../lib/testing/fake-clock.ts';
import { outcomeOf, punctual, settle, taken, type World, watchedSignal, world } from './setup.ts';

let clock: FakeClock;
beforeEach(() => {
  clock = new FakeClock();
});
afterEach(() => {
  jest.restoreAllMocks();
});

/** A gate, and operations that start when they get a turn and end when the test ends them. */
function gateWith(maxInFlight: number | undefined) {
  const store = { maxInFlight };
  const gate = new Gate(store);
  const started: string[] = [];
  const ends = new Map<string, (error?: Error) => void>();
  const run = (what: string, turn: Partial<Turn> = {}) =>
    outcomeOf(
      gate.run({ clock, what, order: ORDER.read, withinMs: Infinity, signals: [], ...turn }, () => {
        started.push(what);
        return new Promise<void>((resolve, reject) => {
          ends.set(what, (error) => (error ? reject(error) : resolve()));
        });
      }),
    );
  const end = async (what: string, error?: Error) => {
    ends.get(what)?.(error);
    await clock.advance(0);
  };
  return { store, gate, started, run, end };
}

describe('the gate', () => {
  test('runs 50 operations at a time, five of them only for renewals, and the next when one has ended', async () => {
    const { started, run, end } = gateWith(undefined);
    for (let n = 0; n < 60; n++) run(`read ${n}`);
    expect(started).toHaveLength(45);
    for (let n = 0; n < 10; n++) run(`renewal ${n}`, { order: 1 });
    expect(started).toHaveLength(50);
    await end('read 0');
    expect(started.at(-1)).toBe('renewal 5');
  });

  test.each([
    [1, 1],
    [2, 1],
    [9, 8],
    [20, 18],
    [0, 45],
    [-1, 45],
    [Number.NaN, 45],
    [Infinity, 500],
  ])('runs as many operations at a time as the store says: with %d, %i', (maxInFlight, most) => {
    const { started, run } = gateWith(maxInFlight);
    for (let n = 0; n < 500; n++) run(`read ${n}`);
    expect(started).toHaveLength(most);
  });

  test('follows a number that the store changes', async () => {
    const { store, started, run, end } = gateWith(1);
    for (let n = 0; n < 5; n++) run(`read ${n}`);
    store.maxInFlight = 4;
    await end('read 0');
    expect(started).toEqual(['read 0', 'read 1', 'read 2', 'read 3']);
    store.maxInFlight = 1;
    await end('read 1');
    await end('read 2');
    expect(started).toHaveLength(4);
    await end('read 3');
    expect(started).toHaveLength(5);
  });

  test('gives turns to renewals by their deadlines, then to releases, then to acquires and reads in the order of their calls', async () => {
    const { started, run, end } = gateWith(1);
    run('first');
    for (const n of [1, 2]) run(`read ${n}`);
    for (const n of [1, 2]) run(`acquire ${n}`, { order: ORDER.acquire });
    for (const n of [1, 2]) run(`release ${n}`, { order: ORDER.release });
    for (const n of [5, 3, 9, 1, 7, 2, 8]) run(`renewal ${n}`, { order: clock.now() + n });
    for (let n = 0; n < 14; n++) await end(started.at(-1) as string);
    expect(started).toEqual([
      'first',
      ...[1, 2, 3, 5, 7, 8, 9].map((n) => `renewal ${n}`),
      ...['release 1', 'release 2', 'read 1', 'read 2', 'acquire 1', 'acquire 2'],
    ]);
  });

  test('gives turns in order however many operations come and leave', async () => {
    const { started, run, end } = gateWith(1);
    run('first');
    const { controller } = watchedSignal();
    const orders = Array.from({ length: 300 }, (_, n) => (n * 7919) % 301);
    for (const order of orders) run(String(order), { order, signals: order % 3 === 0 ? [controller.signal] : [] });
    controller.abort();
    for (let n = 0; n < 300; n++) await end(started.at(-1) as string);
    const left = orders.filter((order) => order % 3 !== 0).sort((a, b) => a - b);
    expect(started).toEqual(['first', ...left.map(String)]);
  });

  test('frees the turn of an operation that rejects, and of an operation that throws', async () => {
    const { gate, started, run, end } = gateWith(1);
    const failed = run('first');
    run('second');
    await end('first', new Error('refused'));
    expect(failed.error).toEqual(new Error('refused'));
    await end('second');
    const turn = { clock, what: 'third', order: 0, withinMs: 1, signals: [] };
    const throwing = () => {
      throw new Error('thrown');
    };
    await expect(gate.run(turn, throwing)).rejects.toThrow('thrown');
    run('fourth');
    expect(started).toEqual(['first', 'second', 'fourth']);
  });

  test('lets an operation leave the queue whose time is over, with an error that says so, and runs it never', async () => {
    const { started, run, end } = gateWith(1);
    run('first');
    const late = run("Acquiring 'job'", { withinMs: 500 });
    await clock.advance(499);
    expect(late.settled).toBe(false);
    await clock.advance(1);
    expect(late.error).toBeInstanceOf(LockStoreError);
    expect(late.error).toMatchObject({
      message:
        "Acquiring 'job': the time was over before it could be sent, behind other requests of this process. Allow more time, or send fewer at once.",
      transient: true,
    });
    await end('first');
    expect(started).toEqual(['first']);
    expect(clock.timers).toBe(0);
  });

  test('sets no timer for a time without end', async () => {
    const { run } = gateWith(1);
    run('first');
    const patient = run('second', { withinMs: Infinity });
    await clock.advance(10);
    expect(patient.settled).toBe(false);
    expect(clock.timers).toBe(0);
  });

  test('lets an operation leave the queue whose signal aborts, with the reason, and leaves no listener', async () => {
    const { started, run, end } = gateWith(1);
    const [one, other] = [watchedSignal(), watchedSignal()];
    run('first');
    const signals = [one.controller.signal, undefined, other.controller.signal];
    const left = run('second', { signals, withinMs: 1_000 });
    expect([one.listeners(), other.listeners()]).toEqual([1, 1]);
    other.controller.abort('enough');
    await clock.advance(0);
    expect(left.error).toBe('enough');
    const aborted = run('third', { signals });
    await clock.advance(0);
    expect(aborted.error).toBe('enough');
    await end('first');
    expect(started).toEqual(['first']);
    expect([one.listeners(), other.listeners(), clock.timers]).toEqual([0, 0, 0]);
  });

  test('keeps no listener and no timer of an operation that got its turn', async () => {
    const { run, end } = gateWith(1);
    const { controller, listeners } = watchedSignal();
    run('first');
    run('second', { signals: [controller.signal], withinMs: 1_000 });
    await end('first');
    expect([listeners(), clock.timers]).toEqual([0, 0]);
  });

  test('takes in and gives out 100,000 operations within seconds, all with one signal', async () => {
    const { gate } = gateWith(1);
    const { controller, listeners } = watchedSignal();
    const turn = { clock, what: 'job', order: ORDER.acquire, withinMs: Infinity, signals: [controller.signal] };
    const before = process.cpuUsage();
    const all = Array.from({ length: 100_000 }, () => gate.run(turn, async () => {}));
    expect(listeners()).toBe(1);
    await Promise.all(all);
    const { user, system } = process.cpuUsage(before);
    expect((user + system) / 1e6).toBeLessThan(10);
    expect(listeners()).toBe(0);
  });
});

describe('a request that is given up', () => {
  test('is not given up if its answer is read before setImmediate calls back: the event loop was blocked', async () => {
    const timers: (() => void)[] = [];
    const immediates: (() => void)[] = [];
    const blocked = Object.assign(Object.create(clock), {
      setTimeout: (callback: () => void) => timers.push(callback),
      clearTimeout: () => {},
      setImmediate: (callback: () => void) => immediates.push(callback),
    });
    let answer = (_: string) => {};
    const signals: AbortSignal[] = [];
    const request = (signal: AbortSignal) => {
      signals.push(signal);
      return new Promise<string>((resolve) => {
        answer = resolve;
      });
    };
    const answered = outcomeOf(limited(blocked, request, 1_000, undefined));
    for (const fire of timers.splice(0)) fire();
    answer('granted');
    await clock.advance(0);
    for (const call of immediates.splice(0)) call();
    expect(answered.value).toBe('granted');
    const hung = outcomeOf(limited(blocked, request, 1_000, undefined));
    for (const fire of timers) fire();
    await clock.advance(0);
    expect(hung.settled).toBe(false);
    for (const call of immediates) call();
    await clock.advance(0);
    expect(hung.settled).toBe(true);
    expect(signals.map(({ aborted }) => aborted)).toEqual([false, true]);
  });
});

describe('a client whose store has few turns', () => {
  let scene: World;
  beforeEach(() => {
    punctual();
    scene = world();
    scene.store.maxInFlight = 1;
  });

  /** Keeps the one turn busy for `ms` milliseconds. */
  async function occupy(ms: number) {
    const { client } = scene.host();
    scene.store.plan({ do: 'delayAnswer', ms, operation: 'acquire' });
    const occupying = outcomeOf(client.acquire('other', { requestTimeoutMs: 100_000, leaseMs: 1_000_000 }));
    await scene.time.advance(0);
    return occupying;
  }

  test('sends a request once that waited for its turn for longer than its time-out', async () => {
    const { time, store, host } = scene;
    await occupy(5_000);
    const lease = await settle(time, host().client.acquire('job'));
    expect(store.count('acquire')).toBe(2);
    expect(lease.deadline - time.now()).toBeGreaterThan(26_990);
  });

  test('acquires 200 locks at once with one request each, though each answer takes 900 ms', async () => {
    const { time, store, host } = scene;
    store.maxInFlight = undefined;
    store.plan({ do: 'delayAnswer', ms: 900, operation: 'acquire', times: 200 });
    const { client } = host();
    const leases = Promise.all(Array.from({ length: 200 }, (_, n) => client.acquire(`job-${n}`)));
    expect((await settle(time, leases)).every((lease) => lease.isHeld())).toBe(true);
    expect(store.count('acquire')).toBe(200);
  });

  test('gives a renewal that waited for its turn the whole lease from its sending (invariant 4)', async () => {
    const { time, host } = scene;
    const lease = await taken(host().client.tryAcquire('job'));
    await time.advance(9_000);
    await occupy(8_000);
    await time.advance(8_100);
    // The renewal was due after 10 s, and was sent after 17 s.
    expect(time.monotonic()).toBe(17_100);
    expect(lease.deadline - time.now()).toBe(26_900);
  });

  test('sends no renewal whose lease has reached its deadline in the queue (invariant 7)', async () => {
    const { time, store, host } = scene;
    const holder = host();
    const lease = await taken(holder.client.tryAcquire('job'));
    await time.advance(5_000);
    await occupy(30_000);
    await time.advance(21_999);
    expect(lease.isHeld()).toBe(true);
    await time.advance(1);
    expect(holder.of('lost')).toMatchObject([{ reason: 'expired' }]);
    await time.advance(10_000);
    expect(store.requests.filter(({ request }) => request.lockId === lease.lockId)).toHaveLength(1);
  });

  test('sends the renewal of the lease with the soonest deadline first, and renewals before releases', async () => {
    const { time, store, host } = scene;
    const { client } = host();
    const [early, late, third] = [
      await client.acquire('early', { heartbeatMs: 12_000 }),
      await client.acquire('late', { leaseMs: 60_000, heartbeatMs: 11_000 }),
      await client.acquire('third', { leaseMs: 100_000 }),
    ];
    await time.advance(10_000);
    await occupy(4_000);
    const released = third.release();
    await time.advance(4_000);
    await released;
    const sent = store.requests.slice(4).map(({ operation, request }) => [operation, request.key]);
    expect(sent).toEqual([
      ['renew', 'early'],
      ['renew', 'late'],
      ['release', 'third'],
    ]);
    expect([early.isHeld(), late.isHeld()]).toEqual([true, true]);
  });

  test('sends nothing for a call that is cancelled, or whose client is closed, in the queue', async () => {
    const { time, store, host } = scene;
    const [cancelled, closed] = [host(), host()];
    await occupy(5_000);
    const cancel = new AbortController();
    const calls = [
      outcomeOf(cancelled.client.acquire('job', { signal: cancel.signal })),
      outcomeOf(closed.client.acquire('job')),
    ];
    await time.advance(100);
    cancel.abort('enough');
    await closed.client.close();
    await time.advance(0);
    expect(calls.map(({ error }) => error?.code ?? error)).toEqual(['enough', 'ERR_LOCK_CLOSED']);
    await time.advance(10_000);
    expect(store.count()).toBe(1);
  });

  test('sends nothing for a call whose invocation ends in the queue', async () => {
    const { time, store, host } = scene;
    await occupy(5_000);
    const end = time.monotonic() + 2_000;
    const late = outcomeOf(host().client.acquire('job', { remainingMs: () => end - time.monotonic() }));
    await time.advance(2_000);
    expect(late.error).toMatchObject({ code: 'ERR_LOCK_STORE', transient: true });
    await time.advance(10_000);
    expect(store.count()).toBe(1);
  });

  test('uses the turn of a request that hangs again as soon as the request is given up', async () => {
    const { time, store, host } = scene;
    store.plan({ do: 'hang', times: 4 });
    const hung = outcomeOf(host().client.acquire('hung'));
    const other = outcomeOf(host().client.acquire('job'));
    // Three sendings of the acquire, and one of the release of a grant that the store may have made.
    await time.advance(4_000);
    expect(hung.error).toMatchObject({ code: 'ERR_LOCK_STORE' });
    await time.advance(1);
    expect(other.value?.isHeld()).toBe(true);
  });

  test('uses the turn again after a store that throws, and after a listener that throws', async () => {
    const { time, store, memory, host } = scene;
    const { client } = host({
      onEvent: () => {
        throw new Error('listener');
      },
    });
    store.acquire = () => {
      throw new Error('odd');
    };
    await expect(settle(time, client.acquire('job'))).rejects.toThrow('odd');
    store.acquire = (request) => memory.acquire(request);
    for (let n = 0; n < 3; n++) await (await client.acquire('job')).release();
    expect(await client.inspect('job')).toMatchObject({ held: false });
  });

  test('shares the turns with all clients of its store', async () => {
    const { time, store, host } = scene;
    await occupy(1_000);
    for (let n = 0; n < 5; n++) outcomeOf(host().client.inspect('job'));
    await time.advance(999);
    expect(store.count()).toBe(1);
    await time.advance(1);
    expect(store.count()).toBe(6);
  });

  test('frees its turn before it releases a grant that may have been made', async () => {
    const { time, store, host } = scene;
    store.plan({ do: 'hangAnswer', operation: 'acquire', times: 3 });
    const failed = outcomeOf(host().client.acquire('job'));
    await time.advance(3_001);
    expect(failed.error).toMatchObject({ code: 'ERR_LOCK_STORE' });
    expect(store.operations).toEqual(['acquire', 'acquire', 'acquire', 'release']);
  });
});

test('heartbeats of leases that were taken together come apart, after four to five fifths of heartbeatMs', async () => {
  const { time, store, host } = world();
  const { client } = host();
  const from = time.now();
  for (let n = 0; n < 200; n++) await client.acquire(`job-${n}`);
  await time.advance(10_000);
  const renewals = store.requests.filter(({ operation }) => operation === 'renew').map(({ at }) => at - from);
  expect(renewals).toHaveLength(200);
  expect(Math.min(...renewals)).toBeGreaterThanOrEqual(8_000);
  expect(Math.min(...renewals)).toBeLessThan(8_500);
  expect(Math.max(...renewals)).toBeGreaterThan(9_500);
});

describe('gateOf', () => {
  test('gives one gate for all stores on one client, and one for each store without a connection', () => {
    const store = (connection?: object) => ({ ...(connection && { connection }) }) as LockStore;
    const client = {};
    expect(gateOf(store(client))).toBe(gateOf(store(client)));
    expect(gateOf(store())).not.toBe(gateOf(store()));
    const dynamodb = new DynamoDBClient({ region: 'eu-central-1' });
    const [a, b] = ['aaa', 'bbb'].map((tableName) => gateOf(new DynamoDBLockStore({ tableName, client: dynamodb })));
    expect(a).toBe(b);
  });
});
