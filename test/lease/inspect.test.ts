import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { LockState } from '../../lib/lease/inspect.ts';
import { LockStoreError } from '../../lib/record/errors.ts';
import type { LockStore, ReadManyAnswer } from '../../lib/record/store.ts';
import { outcomeOf, settle, type World, watchedSignal, world } from './setup.ts';

let scene: World;
beforeEach(() => {
  scene = world();
});
afterEach(() => {
  jest.restoreAllMocks();
});

const keys = (count: number) => Array.from({ length: count }, (_, n) => `job-${n}`);

describe('inspectMany', () => {
  /** Makes the store leave out the last `left` keys of the first `times` requests. Returns all requests. */
  function throttled(left: number, times: number) {
    const { store, memory, time } = scene;
    const requests: { keys: readonly string[]; at: number }[] = [];
    const start = time.now();
    jest.spyOn(store, 'readMany').mockImplementation(async (asked): Promise<ReadManyAnswer> => {
      requests.push({ keys: asked, at: time.now() - start });
      if (requests.length > times) return memory.readMany(asked);
      const answered = asked.slice(0, asked.length - left);
      return { ...(await memory.readMany(answered)), unprocessed: asked.slice(asked.length - left) };
    });
    return requests;
  }

  test('gives each lock that has a record the same state as inspect', async () => {
    const { client } = scene.host();
    await client.acquire('job-0', { data: { step: 1 } });
    await (await client.acquire('job-1', { holdAtLeastMs: 5_000 })).release();
    await (await client.acquire('job-2')).release();
    const states = await client.inspectMany(keys(4));
    expect([...states.keys()].sort()).toEqual(['job-0', 'job-1', 'job-2']);
    for (const [key, state] of states) expect(state).toEqual(await client.inspect(key));
    expect(states.get('job-0')).toMatchObject({ held: true, opensInMs: 30_000, data: { step: 1 } });
    expect(states.get('job-1')).toMatchObject({ held: false, opensInMs: 5_000 });
    expect(states.get('job-2')?.held).toBe(false);
  });

  test.each([
    [0, []],
    [1, [1]],
    [100, [100]],
    [101, [100, 1]],
    [250, [100, 100, 50]],
  ])('reads at most 100 keys a request: %i keys in %j', async (count, sizes) => {
    const { client } = scene.host();
    for (const key of keys(count))
      await scene.memory.acquire({ key, lockId: key, owner: '', now: 1, until: 2, leaseMs: 1 });
    const requests = throttled(0, 0);
    expect((await client.inspectMany(keys(count))).size).toBe(count);
    expect(requests.map(({ keys }) => keys.length)).toEqual(sizes);
    expect(requests.flatMap(({ keys }) => keys)).toEqual(keys(count));
  });

  test('reads the keys again that a throttled server left out, after pauses that grow up to two seconds', async () => {
    jest.spyOn(Math, 'random').mockReturnValue(0.5);
    const { client } = scene.host();
    const requests = throttled(2, 8);
    await settle(scene.time, client.inspectMany(keys(100)));
    expect(requests[1]?.keys).toEqual(['job-98', 'job-99']);
    expect(requests.at(-1)?.keys).toEqual(['job-98', 'job-99']);
    const pauses = requests.slice(1).map(({ at }, index) => at - (requests[index]?.at ?? 0));
    expect(pauses).toEqual([50, 100, 200, 400, 800, 1_600, 2_000, 2_000]);
  });

  test('reads each key once that is given several times', async () => {
    const requests = throttled(0, 0);
    await scene.host().client.inspectMany(['job', 'job-2', 'job']);
    expect(requests.map(({ keys }) => keys)).toEqual([['job', 'job-2']]);
  });

  test('reads four batches at a time, and the keys that a batch left out together with further keys', async () => {
    const { client } = scene.host();
    const requests = throttled(2, 1);
    const states = settle(scene.time, client.inspectMany(keys(600)));
    expect(requests).toHaveLength(4);
    await states;
    expect(requests.find(({ keys }) => keys[0] === 'job-98')?.keys.length).toBeGreaterThanOrEqual(2);
    expect(new Set(requests.flatMap(({ keys }) => keys)).size).toBe(600);
  });

  test('reads a million keys without copying the keys that are left for each batch', async () => {
    const { client } = scene.host();
    scene.store.readMany = async () => ({ records: [], unprocessed: [] });
    const before = process.cpuUsage();
    await client.inspectMany(keys(1_000_000));
    const { user, system } = process.cpuUsage(before);
    // With a copy for each batch: 256 s.
    expect((user + system) / 1e6).toBeLessThan(20);
  });

  test('throws the first failure when all its batches have ended, and reads no further batch', async () => {
    const { client } = scene.host();
    const failed = new LockStoreError('dynamodb:BatchGetItem is not allowed');
    let asked = 0;
    let answered = 0;
    scene.store.readMany = async (): Promise<ReadManyAnswer> => {
      if (++asked === 2) throw failed;
      await new Promise((resolve) => scene.time.setTimeout(() => resolve(undefined), 500));
      answered++;
      return { records: [], unprocessed: [] };
    };
    const reading = settle(scene.time, client.inspectMany(keys(1_000)));
    await expect(reading).rejects.toThrow('dynamodb:BatchGetItem is not allowed');
    expect([asked, answered]).toEqual([4, 3]);
  });

  test.each([
    [0, 38],
    [0.999, 63],
  ])('pauses three to five quarters of 50 ms first: with the random number %d, %i ms', async (random, ms) => {
    jest.spyOn(Math, 'random').mockReturnValue(random);
    const requests = throttled(1, 1);
    await settle(scene.time, scene.host().client.inspectMany(keys(1)));
    expect(requests[1]?.at).toBe(ms);
  });

  test('gives up when its signal aborts in a pause or in a request, and when the client is closed', async () => {
    const { time, store, host } = scene;
    throttled(1, Number.POSITIVE_INFINITY);
    const cancel = new AbortController();
    const pausing = outcomeOf(host().client.inspectMany(keys(1), { signal: cancel.signal }));
    const closing = host();
    const closed = outcomeOf(closing.client.inspectMany(keys(1)));
    await time.advance(10);
    cancel.abort('enough');
    await closing.client.close();
    await time.advance(0);
    expect(pausing.error).toBe('enough');
    expect(closed.error).toMatchObject({ name: 'LockClosedError', code: 'ERR_LOCK_CLOSED' });
    jest.spyOn(store, 'readMany').mockReturnValue(new Promise(() => {}));
    const another = new AbortController();
    const asking = outcomeOf(host().client.inspectMany(keys(1), { signal: another.signal }));
    await time.advance(10);
    another.abort('enough');
    await time.advance(0);
    expect(asking.error).toBe('enough');
    expect(time.timers).toBe(0);
  });

  test('says in its error how many locks the client could not read', async () => {
    jest.spyOn(scene.store, 'readMany').mockReturnValue(new Promise(() => {}));
    const reading = settle(scene.time, scene.host().client.inspectMany(keys(3)));
    await expect(reading).rejects.toThrow('Reading 3 locks: no answer came within 1000 ms');
  });

  test('refuses an invalid key before any request', async () => {
    const requests = throttled(0, 0);
    await expect(scene.host().client.inspectMany(['job', ''])).rejects.toThrow(TypeError);
    expect(requests).toEqual([]);
  });
});

test.each([
  ['inspect', "Reading 'job'"],
  ['forceRelease', "Force-releasing 'job'"],
] as const)('%s says in its error what the client could not do', async (operation, what) => {
  scene.store.plan({ do: 'hang', times: 3 });
  const { client } = scene.host();
  const asking = operation === 'inspect' ? client.inspect('job') : client.forceRelease('job', { lockId: 'it' });
  await expect(settle(scene.time, asking as Promise<unknown>)).rejects.toThrow(
    `${what}: no answer came within 1000 ms`,
  );
});

test('list gives every lock the same state as inspect', async () => {
  const { client } = scene.host();
  await client.acquire('job', { data: 'x' });
  expect(await Array.fromAsync(client.list())).toEqual([await client.inspect('job')]);
});

test('data that an operator changed to text that is no JSON is shown as text, and the lock stays usable', async () => {
  const { memory, store, time } = scene;
  const { client } = scene.host();
  const handle = await (await client.acquire('job-0', { data: { step: 1 } })).handOff({ leaseMs: 30_000 });
  const changed = <Answer extends { record?: object | undefined }>(answer: Answer): Answer => ({
    ...answer,
    ...(answer.record && { record: { ...answer.record, data: 'see ticket 4711' } }),
  });
  const request = { key: 'job-1', lockId: 'another', owner: 'b', now: time.now(), until: time.now() + 1, leaseMs: 1 };
  await memory.acquire(request);
  store.read = async (key) => changed(await memory.read(key));
  store.readMany = async (asked) => {
    const { records, ...rest } = await memory.readMany(asked);
    return { ...rest, records: records.map((record) => ({ ...record, data: 'see ticket 4711' })) };
  };
  store.resume = async (asked) => changed(await memory.resume(asked));
  expect(await client.inspect('job-0')).toMatchObject({ data: 'see ticket 4711' });
  expect([...(await client.inspectMany(keys(2))).values()].map(({ data }) => data)).toEqual(
    Array(2).fill('see ticket 4711'),
  );
  const lease = await client.resume(handle);
  expect(lease).toMatchObject({ data: 'see ticket 4711' });
  expect(await lease.release()).toBe(true);
});

test('data, results and commits that are nested too deep to give back as JSON are shown as text', async () => {
  const { memory, store } = scene;
  const { client } = scene.host();
  const nested = (levels: number) => '['.repeat(levels) + ']'.repeat(levels);
  const [deep, whole] = [nested(1_001), nested(1_000)];
  await client.acquire('job');
  store.read = async (key) => {
    const { record, ...rest } = await memory.read(key);
    const committed = { data: deep, number: 1, fencingToken: 1 };
    return { ...rest, ...(record && { record: { ...record, data: whole, doneResult: deep, committed } }) };
  };
  const state = await client.inspect('job');
  expect(state).toMatchObject({ doneResult: deep, committed: { data: deep } });
  expect(JSON.stringify(state?.data)).toBe(whole);
});

describe('inspect and list', () => {
  test('inspect shows the record by one consistent read', async () => {
    const { time, store } = scene;
    const { client } = scene.host();
    expect(await client.inspect('job')).toBeUndefined();
    const lease = await client.acquire('job', { data: [1] });
    expect(await client.inspect('job')).toMatchObject({
      key: 'job',
      held: true,
      owner: 'host-1',
      lockId: lease.lockId,
      data: [1],
    });
    expect(store.requests.filter(({ operation }) => operation === 'read')).toMatchObject([
      { request: { consistent: true } },
      { request: { consistent: true } },
    ]);
    lease.abandon('timedOut');
    await time.advance(30_000);
    expect(await client.inspect('job')).toMatchObject({ held: false, lockId: lease.lockId });
    await (await client.acquire('job', { holdAtLeastMs: 5_000 })).release();
    expect(await client.inspect('job')).toMatchObject({ held: false, data: undefined });
  });

  test('list gives the locks whose keys start with the prefix, or all locks', async () => {
    const { client } = scene.host();
    for (const key of ['a/1', 'a/2', 'b/1']) await client.acquire(key);
    expect((await Array.fromAsync(client.list({ prefix: 'a/' }))).map(({ key }) => key).sort()).toEqual(['a/1', 'a/2']);
    expect(await Array.fromAsync(client.list())).toHaveLength(3);
  });
});

test('list says that it could not list, for a fault of the store of whatever kind', async () => {
  const { client } = scene.host();
  const failing = (error: Error) => jest.spyOn(scene.store, 'list').mockRejectedValue(error);
  failing(new LockStoreError('dynamodb:Scan is not allowed'));
  await expect(Array.fromAsync(client.list())).rejects.toMatchObject({
    name: 'LockStoreError',
    message: 'Listing locks: dynamodb:Scan is not allowed',
    transient: false,
  });
  const cause = new RangeError('odd');
  failing(cause);
  await expect(Array.fromAsync(client.list())).rejects.toMatchObject({
    name: 'LockStoreError',
    cause,
    transient: false,
  });
});

describe('list', () => {
  /** A store of two pages: the first page has the lock a, the second page has the lock b. */
  async function pages() {
    const host = scene.host();
    for (const key of ['a', 'b']) await host.client.acquire(key);
    jest.spyOn(scene.memory as LockStore, 'list').mockImplementation(async (_prefix, cursor) => {
      const key = cursor === undefined ? 'a' : 'b';
      const { record } = await scene.memory.read(key);
      return { records: record ? [record] : [], cursor: cursor === undefined ? 'second' : undefined };
    });
    return host;
  }
  const keysOf = async (states: AsyncIterable<LockState>) => (await Array.fromAsync(states)).map(({ key }) => key);

  test('reads a page again whose answer does not come, or tells of a fault that may pass', async () => {
    const { client } = await pages();
    scene.store.plan({ do: 'hang', operation: 'list', after: 2 }, { do: 'loseAnswer', operation: 'list' });
    expect(await settle(scene.time, keysOf(client.list()))).toEqual(['a', 'b']);
    expect(
      scene.store.requests.filter(({ operation }) => operation === 'list').map(({ request }) => request.cursor),
    ).toEqual([undefined, undefined, 'second', 'second']);
  });

  test('ends with an error when the store never answers', async () => {
    const { client } = await pages();
    scene.store.plan({ do: 'hang', operation: 'list', times: Infinity });
    const error = await settle(
      scene.time,
      keysOf(client.list()).catch((error) => error),
    );
    expect(error).toMatchObject({ name: 'LockStoreError', transient: true });
    expect(error.message).toMatch(/^Listing locks: no answer came/);
    // Each of the two leases has two timers.
    expect(scene.time.timers).toBe(4);
  });

  test('ends at close(), and when its signal aborts', async () => {
    const { client } = await pages();
    scene.store.plan({ do: 'hang', operation: 'list', times: Infinity });
    const { controller, listeners } = watchedSignal();
    const listing = [outcomeOf(keysOf(client.list({ signal: controller.signal }))), outcomeOf(keysOf(client.list()))];
    await scene.time.advance(10);
    controller.abort('enough');
    await client.close({ graceMs: 0 });
    await scene.time.advance(0);
    expect(listing.map(({ error }) => error?.code ?? error)).toEqual(['enough', 'ERR_LOCK_CLOSED']);
    expect(listeners()).toBe(0);
    expect(scene.time.timers).toBe(0);
  });
});
