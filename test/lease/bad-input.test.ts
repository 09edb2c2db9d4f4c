import { beforeEach, describe, expect, test } from '@jest/globals';
import { LockClient } from '../../lib/lease/client.ts';
import type { LeaseHandle } from '../../lib/lease/lease.ts';
import type { AcquireOptions } from '../../lib/lease/options.ts';
import { LockError, LockLostError, LockNoTimeError } from '../../lib/record/errors.ts';
import { slotKeys } from '../../lib/record/slot-keys.ts';
import { MemoryLockStore } from '../../lib/testing/memory.ts';
import { lock } from '../../middleware/index.ts';
import { type World, world } from './setup.ts';

let scene: World;
let client: LockClient;
beforeEach(() => {
  scene = world();
  ({ client } = scene.host());
});

/** Expects a `TypeError` whose message has these texts, and no request to the store. */
async function refused(call: () => unknown, ...texts: string[]) {
  const sent = scene.store.count();
  let thrown: unknown;
  try {
    await call();
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(TypeError);
  for (const text of texts) expect((thrown as Error).message).toContain(text);
  expect((thrown as Error).message.length).toBeLessThan(400);
  expect(scene.store.count()).toBe(sent);
}

test('a Node that is too old is named at the making of a client', () => {
  const { withResolvers } = Promise;
  try {
    Object.assign(Promise, { withResolvers: undefined });
    const store = new MemoryLockStore();
    for (const make of [() => new LockClient({ store }), () => lock({ key: 'a', locks: store })]) {
      expect(make).toThrow(new TypeError(`leasehold needs Node 22.3 or later, but this is ${process.version}.`));
    }
  } finally {
    Object.assign(Promise, { withResolvers });
  }
});

describe('keys', () => {
  const long = 'k'.repeat(1_025);
  const accented = 'é'.repeat(513);
  const bad: [string, unknown, string][] = [
    ['empty', '', "''"],
    ['over-long', long, '1025'],
    ['over-long in bytes', accented, '1026'],
    ['undefined', undefined, 'undefined'],
    ['null', null, 'null'],
    ['a number', 42, '42'],
    ['a boolean', false, 'false'],
    ['an object', { key: 'job' }, 'object'],
    ['an array', ['job'], 'job'],
    ['a symbol', Symbol('job'), 'Symbol(job)'],
  ];
  test.each(bad)('a key that is %s is refused, without a request and without work', async (_, key, shown) => {
    const given = key as string;
    await refused(() => client.tryAcquire(given), 'key', shown);
    await refused(() => client.acquire(given), 'key', shown);
    await refused(() => client.inspect(given), 'key', shown);
    await refused(() => client.forceRelease(given, { lockId: 'x' }), 'key', shown);
    let ran = false;
    await refused(
      () =>
        client.using(given, {}, () => {
          ran = true;
        }),
      'key',
      shown,
    );
    expect(ran).toBe(false);
  });

  test('a key of 1,024 bytes and a key of any characters are accepted', async () => {
    for (const key of ['k'.repeat(1_024), 'é'.repeat(512), '#:{}$', '\u0000', '🔒', ' ', '__proto__', 'constructor']) {
      await using lease = await client.acquire(key);
      expect(lease.key).toBe(key);
      expect((await client.inspect(key))?.held).toBe(true);
    }
  });
});

describe('permits', () => {
  test.each([
    [0, 'number 0'],
    [101, 'number 101'],
    [-1, 'number -1'],
    [2.5, 'number 2.5'],
    [Number.NaN, 'NaN'],
    [Infinity, 'Infinity'],
    ['5', "'5'"],
    [null, 'null'],
    [{}, 'object'],
  ])('that are %p are refused', async (value, shown) => {
    const options = { permits: value as number };
    await refused(() => client.acquire('job', options), 'permits must be a whole number from 1 to 100', shown);
    await refused(() => client.tryAcquire('job', options), 'permits', shown);
    await refused(() => client.using('job', options, () => {}), 'permits', shown);
    await refused(() => slotKeys('job', value as number), 'permits', shown);
  });

  test('are no option of a hand-off, whose handle has the slot', async () => {
    const handle = { key: 'job', lockId: 'x', fencingToken: 1 };
    await refused(() => client.resume(handle, { permits: 2 } as never), "no option 'permits'");
    for (const slot of [-1, 100, 0.5, '1']) {
      await refused(() => client.resume({ ...handle, slot: slot as number }), 'The slot of a handle', String(slot));
    }
  });

  test('with a once token are refused, unless there is one permit', async () => {
    await refused(() => client.acquire('job', { permits: 5, once: 7 }), 'permits must be 1 with once', '5');
    await using lease = await client.acquire('job', { permits: 1, once: 7 });
    expect(lease.isHeld()).toBe(true);
  });

  test('of a key without room for the number of a slot are refused, however few they are', async () => {
    const longest = 'k'.repeat(1_021);
    await refused(() => client.acquire(`${longest}k`, { permits: 2 }), '1021 bytes', '1022');
    expect(slotKeys(longest, 100).at(-1)).toBe(`${longest}#99`);
    await using lease = await client.acquire(longest, { permits: 100 });
    expect(lease.key).toBe(longest);
  });

  test('of a key that looks like the key of a slot are refused, since two keys would share records', async () => {
    for (const key of ['job#1', 'job#01', '#0', 'job#1#2']) {
      await refused(() => client.acquire(key, { permits: 2 }), 'does not end as the key of a slot', `'${key}'`);
    }
    for (const key of ['job#', 'job#1a', 'job#1/', '1']) await (await client.acquire(key, { permits: 2 })).release();
    await using lease = await client.acquire('job#1');
    expect(lease.slot).toBe(0);
  });
});

describe('durations', () => {
  type Name = Exclude<keyof AcquireOptions, 'signal' | 'once' | 'data' | 'owner' | 'remainingMs' | 'permits'>;
  const names: Name[] = [
    'leaseMs',
    'heartbeatMs',
    'safetyMs',
    'waitMs',
    'requestTimeoutMs',
    'holdAtLeastMs',
    'holdAtMostMs',
  ];
  const mayBeZero: Name[] = ['safetyMs', 'waitMs', 'holdAtLeastMs'];
  const mayBeUnbounded: Name[] = ['waitMs', 'holdAtMostMs'];
  const ofClient: Name[] = ['leaseMs', 'heartbeatMs', 'safetyMs'];
  const bad: [string, unknown, string][] = [
    ['negative', -1, '-1'],
    ['NaN', Number.NaN, 'NaN'],
    ['fractional', 1_000.5, '1000.5'],
    ['longer than a hundred years', 3_153_600_000_001, '3153600000001'],
    ['a string', '1000', "'1000'"],
    ['a bigint', 1000n, '1000'],
    ['an object', {}, 'object'],
  ];

  describe.each(names)('%s', (name) => {
    test.each(bad)('a value that is %s is refused', async (_, value, shown) => {
      const options = { [name]: value } as AcquireOptions;
      await refused(() => client.acquire('job', options), name, shown);
      if (ofClient.includes(name)) {
        await refused(() => new LockClient({ store: scene.store, ...options }), name, shown);
      }
    });

    test('a time without a bound is refused unless the wait or the lease may have no bound', async () => {
      const options = { [name]: Infinity } as AcquireOptions;
      if (!mayBeUnbounded.includes(name)) return refused(() => client.acquire('job', options), name, 'Infinity');
      await using lease = await client.acquire('job', options);
      return expect(lease.isHeld()).toBe(true);
    });

    test('zero is refused unless zero is a sensible amount', async () => {
      const options = { [name]: 0 } as AcquireOptions;
      if (!mayBeZero.includes(name)) return refused(() => client.acquire('job', options), name, ' 0.');
      await using lease = await client.acquire('job', options);
      return expect(lease.isHeld()).toBe(true);
    });

    test('undefined stands for the default', async () => {
      await using lease = await client.acquire('job', { [name]: undefined });
      expect(lease.deadline).toBe(scene.time.now() + 27_000);
    });
  });

  test('an invalid leaseMs of a hand-off is refused', async () => {
    const lease = await client.acquire('job');
    for (const leaseMs of [0, -1, Number.NaN, 1.5, Number.POSITIVE_INFINITY, '5']) {
      await refused(() => lease.handOff({ leaseMs: leaseMs as number }), 'leaseMs', String(leaseMs));
    }
    await refused(() => lease.handOff(undefined as never), 'leaseMs', 'undefined');
    expect(lease.isHeld()).toBe(true);
  });

  test.each([
    [{ leaseMs: 1_000, heartbeatMs: 1_000 }, ['1000']],
    [{ leaseMs: 1_000, heartbeatMs: 750 }, ['750', '1000', '250']],
    [{ leaseMs: 1_000, heartbeatMs: 800, safetyMs: 200 }, ['800', '1000', '200']],
    [{ leaseMs: 1_000, safetyMs: 900 }, ['333', '1000', '900']],
  ])('heartbeatMs that is not under leaseMs - safetyMs is refused: %p', async (timing, shown) => {
    await refused(() => client.acquire('job', timing), 'heartbeatMs', ...shown);
    await refused(() => new LockClient({ store: scene.store, ...timing }), 'heartbeatMs', ...shown);
  });

  test('safetyMs that is not under leaseMs is refused', async () => {
    await refused(() => client.acquire('job', { leaseMs: 1_000, safetyMs: 1_000 }), 'safetyMs', '1000');
  });

  test("an option of a call is checked together with the client's options", async () => {
    const slow = scene.host({ leaseMs: 60_000, heartbeatMs: 40_000 }).client;
    await refused(() => slow.acquire('job', { leaseMs: 30_000 }), '40000', '30000');
  });

  test('a lease with the shortest leaseMs can be held', async () => {
    await using lease = await client.acquire('job', { leaseMs: 2, safetyMs: 0, heartbeatMs: 1 });
    expect(lease.isHeld()).toBe(true);
  });
});

describe('remainingMs', () => {
  test.each([
    ['a number', 5_000, '5000'],
    ['a string', '5000', "'5000'"],
    ['null', null, 'null'],
  ])('a value that is %s instead of a function is refused', async (_, value, shown) => {
    await refused(() => client.acquire('job', { remainingMs: value as never }), 'remainingMs', shown);
  });

  test.each([
    ['NaN', Number.NaN, 'NaN'],
    ['a string', 'soon', 'soon'],
  ])('a function that returns %s is refused', async (_, value, shown) => {
    await refused(() => client.acquire('job', { remainingMs: () => value as number }), 'remainingMs', shown);
  });

  test('a function that throws is refused, and its error is the cause', async () => {
    const remainingMs = () => {
      throw new RangeError('no context');
    };
    await expect(client.acquire('job', { remainingMs })).rejects.toThrow(
      new TypeError('remainingMs must give a number of milliseconds, but it threw: no context', {
        cause: new RangeError('no context'),
      }),
    );
    expect(scene.store.count()).toBe(0);
  });
});

describe('data', () => {
  test('data over 8 kB is refused', async () => {
    await refused(() => client.acquire('job', { data: 'd'.repeat(8_192) }), 'data', '8192', '8194', 'ddd');
    await refused(() => client.acquire('job', { data: 'é'.repeat(4_096) }), 'data', '8194');
  });

  test('data of more than 1,000 levels are refused, and of 1,000 taken', async () => {
    const nested = (levels: number) => JSON.parse('['.repeat(levels) + ']'.repeat(levels));
    await refused(
      () => client.acquire('job', { data: nested(1_001) }),
      'data',
      'nested at most 1000 levels deep',
      '[[[',
    );
    const lease = await client.acquire('job', { data: nested(1_000) });
    expect(JSON.stringify(lease.data)).toHaveLength(2_000);
  });

  test('cyclic data is refused', async () => {
    const data: Record<string, unknown> = {};
    data.self = data;
    await refused(() => client.acquire('job', { data }), 'data', 'circular');
  });

  test('data with a BigInt is refused', async () => {
    await refused(() => client.acquire('job', { data: { n: 1n } }), 'data', 'BigInt');
  });

  test.each([
    ['a function', () => 42, '42'],
    ['a symbol', Symbol('job'), 'Symbol(job)'],
  ])('data that is %s is refused', async (_, data, shown) => {
    await refused(() => client.acquire('job', { data }), 'data', shown);
  });

  test('data whose toJSON throws is refused', async () => {
    const data = {
      toJSON() {
        throw new Error('not today');
      },
    };
    await refused(() => client.acquire('job', { data }), 'data', 'not today');
  });

  test.each([[null], [0], [''], [false], [[]], ['d'.repeat(8_190)]])(
    'data that is JSON is accepted: %p',
    async (data) => {
      await using lease = await client.acquire('job', { data });
      expect(lease.data).toEqual(data);
      expect((await client.inspect('job'))?.data).toEqual(data);
    },
  );
});

describe.each(['once', 'owner'] as const)('%s', (name) => {
  test.each([
    ['empty', '', "''"],
    ['a negative number', -7, '-7'],
    ['an invalid date', new Date(Number.NaN), 'Invalid Date'],
    ['null', null, 'null'],
    ['over-long', 'x'.repeat(1_025), '1025'],
  ])('a value that is %s is refused', async (_, value, shown) => {
    await refused(() => client.acquire('job', { [name]: value }), name, shown);
    if (name === 'owner' && value !== null) {
      await refused(() => new LockClient({ store: scene.store, owner: value as string }), name, shown);
    }
  });
});

describe('the store of a LockClient', () => {
  test.each([
    ['missing', undefined, 'undefined'],
    ['null', null, 'null'],
    ["a table's name", 'locks', 'locks'],
    ['an object of another kind', {}, 'object'],
  ])('a value that is %s is refused', async (_, store, shown) => {
    await refused(() => new LockClient({ store: store as never }), 'store', shown);
  });
});

describe('the calls of operators without options', () => {
  test('forceRelease names lockId', async () => {
    const call = client.forceRelease as (key: string) => Promise<boolean>;
    await expect(call.call(client, 'job')).rejects.toThrow(
      new TypeError('forceRelease needs the option lockId: the id of the grant, as inspect shows it.'),
    );
  });

  test('repair names seen', async () => {
    const call = client.repair as (key: string) => Promise<boolean>;
    await expect(call.call(client, 'job')).rejects.toThrow(
      new TypeError(
        'repair needs the option seen: the state of the lock, as inspect gives it ({} if inspect rejects).',
      ),
    );
  });
});

describe('forceRelease', () => {
  test.each([
    ['no lockId', {}, 'undefined'],
    ['an empty lockId', { lockId: '' }, "''"],
    ['a number for a lockId', { lockId: 5 }, '5'],
  ])('a force release with %s is refused', async (_, options, shown) => {
    await refused(() => client.forceRelease('job', options as never), 'lockId', shown);
  });
});

describe('repair', () => {
  test.each([-1, 1.5, 2 ** 53, Number.NaN, '7'])('the fencing token %p is refused', async (fencingToken) => {
    const seen = { fencingToken: 1, expiresAt: 1, acquiredAt: 1 };
    await expect(client.repair('job', { seen, fencingToken: fencingToken as number })).rejects.toThrow(
      'fencingToken must be a whole number from 0 to 9007000000000000, but it is',
    );
  });
});

describe('resume', () => {
  const handle: LeaseHandle = { key: 'job', lockId: 'an-id', fencingToken: 1 };
  test.each([
    ['undefined', undefined, 'undefined'],
    ['null', null, 'null'],
    ['a string', 'job', 'job'],
    ['a number', 7, '7'],
    ['an empty object', {}, 'undefined'],
    ['a handle without a key', { ...handle, key: undefined }, 'undefined'],
    ['a handle without a lockId', { ...handle, lockId: undefined }, 'undefined'],
    ['a handle with an empty lockId', { ...handle, lockId: '' }, "''"],
    ['a handle whose once is a negative number', { ...handle, once: -5 }, '-5'],
    ['a handle whose holdAtLeastMs is negative', { ...handle, holdAtLeastMs: -1 }, '-1'],
  ])('a resume of %s is refused', async (_, junk, shown) => {
    await refused(() => client.resume(junk as never), shown);
  });

  test('a resume of a lease that never existed is refused', async () => {
    await expect(client.resume(handle)).rejects.toMatchObject({ name: 'LockLostError', reason: 'gone', key: 'job' });
  });

  test('a resume of a lease that was taken over is refused, and leaves the holder alone', async () => {
    const handed = await (await client.acquire('job')).handOff({ leaseMs: 40_000 });
    await scene.time.advance(40_000);
    const holder = await scene.host().client.acquire('job');
    await expect(client.resume(handed)).rejects.toMatchObject({ name: 'LockLostError', reason: 'takenOver' });
    await holder.renew();
    expect(holder.isHeld()).toBe(true);
  });

  test('a resume of a released lease is refused', async () => {
    const handed = await (await client.acquire('job')).handOff({ leaseMs: 40_000 });
    await (await client.resume(handed)).release();
    await expect(client.resume(handed)).rejects.toMatchObject({ name: 'LockLostError', reason: 'revoked' });
  });

  test('a resume of an expired lease that nobody took over is granted', async () => {
    const handed = await (await client.acquire('job')).handOff({ leaseMs: 40_000 });
    await scene.time.advance(50_000);
    expect((await client.resume(handed)).isHeld()).toBe(true);
  });

  test('a resume without time left is refused, and sends nothing', async () => {
    const handed = await (await client.acquire('job')).handOff({ leaseMs: 40_000 });
    const sent = scene.store.count();
    await expect(client.resume(handed, { remainingMs: () => 0 })).rejects.toThrow(LockNoTimeError);
    expect(scene.store.count()).toBe(sent);
  });
});

describe('use of a lease', () => {
  test('after its release throws a LockLostError with the reason released', async () => {
    const lease = await client.acquire('job');
    await lease.release();
    const expected = { name: 'LockLostError', key: 'job', reason: 'released' };
    expect(lease.isHeld()).toBe(false);
    expect(() => lease.assertHeld()).toThrow("The lease of 'job' is not held: it was released");
    await expect(lease.renew()).rejects.toMatchObject(expected);
    await expect(lease.handOff({ leaseMs: 5_000 })).rejects.toMatchObject(expected);
  });

  test('after its hand-off throws a LockLostError with the reason handedOff', async () => {
    const lease = await client.acquire('job');
    await lease.handOff({ leaseMs: 5_000 });
    const expected = { name: 'LockLostError', key: 'job', reason: 'handedOff' };
    expect(lease.isHeld()).toBe(false);
    expect(() => lease.assertHeld()).toThrow("The lease of 'job' is not held: it was handed off");
    await expect(lease.renew()).rejects.toMatchObject(expected);
    await expect(lease.handOff({ leaseMs: 5_000 })).rejects.toMatchObject(expected);
    expect(await lease.release()).toBe(false);
  });

  test('after its loss throws a LockLostError with the reason of the loss', async () => {
    const lease = await client.acquire('job');
    lease.abandon('timedOut');
    expect(() => lease.assertHeld()).toThrow("The lease of 'job' is not held: its invocation timed out");
    await expect(lease.renew()).rejects.toMatchObject({ reason: 'timedOut' });
  });

  test("after its client's close throws a LockLostError", async () => {
    const lease = await client.acquire('job');
    await client.close({ graceMs: 0 });
    expect(lease.isHeld()).toBe(false);
    expect(() => lease.assertHeld()).toThrow(LockLostError);
    await expect(lease.renew()).rejects.toThrow(LockLostError);
  });
});

describe('use of a client after its close', () => {
  test('throws a LockError that says what to do, and sends nothing', async () => {
    await client.close();
    const handle: LeaseHandle = { key: 'job', lockId: 'an-id', fencingToken: 1 };
    for (const use of [
      () => client.acquire('job'),
      () => client.tryAcquire('job'),
      () => client.using('job', {}, () => {}),
      () => client.resume(handle),
    ]) {
      await expect(use()).rejects.toThrow(LockError);
      await expect(use()).rejects.toThrow('make a new LockClient');
    }
    expect(scene.store.count()).toBe(0);
  });
});

describe('options', () => {
  const client = () => scene.host().client;
  const store = new MemoryLockStore();
  const handle = { key: 'job', lockId: 'id', fencingToken: 1 };
  const takers: Record<string, (options: never) => unknown> = {
    LockClient: (options: object) => new LockClient({ store, ...options }),
    tryAcquire: (options) => client().tryAcquire('job', options),
    acquire: (options) => client().acquire('job', options),
    using: (options) => client().using('job', options, () => 1),
    resume: (options) => client().resume(handle, options),
    inspectMany: (options) => client().inspectMany([], options),
    list: (options) => Array.fromAsync(client().list(options)),
    forceRelease: (options: object) => client().forceRelease('job', { lockId: 'id', ...options }),
    repair: (options) => client().repair('job', options),
  };
  const names = Object.keys(takers);

  test.each(names)('an unknown option of %s is refused, and the message names the nearest option', async (name) => {
    const taken = async () => takers[name]?.({ lockid: 1 } as never);
    await expect(taken()).rejects.toThrow(new RegExp(`^${name} has no option 'lockid'; (did you mean|it has) `));
    await expect(taken()).rejects.toThrow(TypeError);
    expect(scene.store.count()).toBe(0);
  });

  test.each(names.filter((name) => !/LockClient|forceRelease/.test(name)))(
    'a number in the place of the options of %s is refused',
    async (name) => {
      const taken = async () => takers[name]?.(5_000 as never);
      await expect(taken()).rejects.toThrow(`${name}: the options must be a plain object, but they are number 5000.`);
    },
  );

  test.each([
    ['list', { prefix: 5 }, 'prefix must be a string, but it is number 5.'],
    ['list', { prefix: null }, 'prefix must be a string, but it is null.'],
    ['list', { signal: 'x' }, "signal must be an AbortSignal, but it is 'x'."],
    ['inspectMany', { signal: null }, 'signal must be an AbortSignal, but it is null.'],
  ])('%s refuses %p', async (name, options, message) => {
    await expect(async () => takers[name]?.(options as never)).rejects.toThrow(new TypeError(message));
    expect(scene.store.count()).toBe(0);
  });

  test('a LockClient without options or with an invalid store is refused', () => {
    expect(() => new LockClient(undefined as never)).toThrow(
      'LockClient: the options must be a plain object, but they are undefined.',
    );
    expect(() => new LockClient({ store: 'locks' as never })).toThrow(
      "store must be a LockStore, such as a DynamoDBLockStore, but it is 'locks'.",
    );
  });

  test('a signal that is no AbortSignal is refused', async () => {
    await expect(client().acquire('job', { signal: new AbortController() as never })).rejects.toThrow(
      'signal must be an AbortSignal, but it is object [object AbortController].',
    );
  });

  test('using accepts the work in the place of the options', async () => {
    const locks = client();
    expect(await locks.using('job', (lease) => lease.key)).toBe('job');
    expect(await locks.using('job', undefined, (lease) => lease.key)).toBe('job');
    await expect(locks.using('job', 5 as never)).rejects.toThrow(
      'using takes (key, work) or (key, options, work), but the work is number 5.',
    );
  });
});

describe('release and handOff check their options before anything ends', () => {
  test.each<[string, object | null, string]>([
    ['a misspelled option', { don: true }, "release has no option 'don'; did you mean 'done'?"],
    ['null', null, 'release: the options must be a plain object, but they are null.'],
    ['a number that is done', { done: 2 }, 'done must be true, false or a once token up to that of the lease'],
    ['a withinMs that is no number', { withinMs: Number.NaN }, 'withinMs must be a number of milliseconds, 0 or more'],
    [
      'a withinMs that is text',
      { withinMs: 'x' },
      "withinMs must be a number of milliseconds, 0 or more, but it is 'x'",
    ],
    ['a withinMs that is negative', { withinMs: -1 }, 'withinMs must be a number of milliseconds, 0 or more'],
  ])('release refuses %s, and the lease stays held', async (_, options, message) => {
    const { client } = scene.host();
    const lease = await client.acquire('job', { once: '1' });
    expect(() => lease.release(options as never)).toThrow(message);
    expect(lease.isHeld()).toBe(true);
    await expect(client.close({ graceMs: 0 })).resolves.toBeUndefined();
  });

  test('handOff refuses a misspelled option', async () => {
    const lease = await scene.host().client.acquire('job');
    await expect(lease.handOff({ leaseMS: 1 } as never)).rejects.toThrow("handOff has no option 'leaseMS'");
    expect(lease.isHeld()).toBe(true);
  });

  test('released tells that a part of the work is done', async () => {
    const host = scene.host();
    await (await host.client.acquire('job', { once: '2' })).release({ done: '1' });
    await (await host.client.acquire('job', { once: '3' })).release({ done: false });
    expect(host.of('released').map(({ done }) => done)).toEqual([true, false]);
  });
});

describe('values that are no options', () => {
  test.each(['leaseMs', 'heartbeatMs', 'safetyMs', 'waitMs', 'requestTimeoutMs', 'holdAtLeastMs', 'holdAtMostMs'])(
    'null for %s is refused, and no default is taken',
    async (name) => {
      await expect(scene.host().client.acquire('job', { [name]: null })).rejects.toThrow(
        `${name} must be a whole number of milliseconds`,
      );
    },
  );

  test('a listener that is no function, and a clock that is none, are refused', () => {
    const { memory: store } = scene;
    expect(() => new LockClient({ store, onEvent: 'log' as never })).toThrow(
      "onEvent must be a function, but it is 'log'.",
    );
    expect(() => new LockClient({ store, clock: {} as never })).toThrow('clock must be a Clock, such as a FakeClock');
  });

  test('a value that cannot be shown is refused like any other', async () => {
    const leaseMs = Object.create(null);
    await expect(scene.host().client.acquire('job', { leaseMs })).rejects.toThrow('object that cannot be shown');
  });
});
