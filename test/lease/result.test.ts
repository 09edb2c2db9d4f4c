import { beforeEach, describe, expect, test } from '@jest/globals';
import { LockDoneError } from '../../lib/index.ts';
import { settle, taken, type World, world } from './setup.ts';

const KEY = 'rates';
const once = '2026-01-01T02:00:00Z';
let w: World;
beforeEach(() => {
  w = world();
});

const doneOf = async (token: string): Promise<LockDoneError> => {
  const error = await w
    .host()
    .client.acquire(KEY, { once: token })
    .catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(LockDoneError);
  return error as LockDoneError;
};
const take = (options: object = { once }) => taken(w.host().client.tryAcquire(KEY, options));

describe('A result that is released with done', () => {
  test.each([[{ rate: 1.08 }], [null], [0], ['text'], [[]]])(
    'is given, %j, to whoever asks for the token again',
    async (result) => {
      const lease = await take();
      expect(await lease.release({ done: true, result })).toBe(true);
      expect((await doneOf(once)).result).toEqual(result);
      expect(await w.host().client.inspect(KEY)).toMatchObject({ doneToken: once, doneResult: result });
    },
  );

  test('is given to those who wait: one works, and the others get its result for no further write', async () => {
    const lease = await take();
    const waiting = w
      .host()
      .client.acquire(KEY, { once, waitMs: 10_000 })
      .catch((thrown: unknown) => thrown);
    await w.time.advance(500);
    await lease.release({ done: true, result: 7 });
    expect(await settle(w.time, waiting)).toMatchObject({ code: 'ERR_LOCK_DONE', result: 7 });
    expect(w.store.count('acquire')).toBe(2);
  });

  test('stands in the record although the answer to the release was lost', async () => {
    const lease = await take();
    w.store.plan({ operation: 'release', do: 'loseAnswer' });
    expect(await settle(w.time, lease.release({ done: true, result: 7 }))).toBe(true);
    expect((await doneOf(once)).result).toBe(7);
  });

  test('belongs to the token that is done: a later token takes its place, with a result or without', async () => {
    await (await take()).release({ done: true, result: 7 });
    await w.time.advance(5);
    await (await take({ once: '2026-01-02T02:00:00Z' })).release({ done: true });
    expect(await doneOf(once)).toMatchObject({ doneToken: '2026-01-02T02:00:00Z', result: undefined });
  });

  test('stays if work with a later token fails, and goes with a reset', async () => {
    await (await take()).release({ done: true, result: 7 });
    await w.time.advance(5);
    await (await take({ once: '2026-01-02T02:00:00Z' })).release();
    expect((await doneOf(once)).result).toBe(7);
    await w.time.advance(5);
    const { client } = w.host();
    expect(await client.resetOnce(KEY)).toBe(true);
    expect((await client.inspect(KEY))?.doneResult).toBeUndefined();
  });

  test('is not written over the result of an equal or greater token that has finished meanwhile', async () => {
    const late = await take();
    const { lockId } = late;
    await w.host().client.forceRelease(KEY, { lockId, immediately: true });
    await w.time.advance(5);
    await (await take({ once: '2026-01-03T02:00:00Z' })).release({ done: true, result: 'greater' });
    await late.release({ done: true, result: 'late' });
    expect((await doneOf(once)).result).toBe('greater');
  });

  test('may be given for a part of the work', async () => {
    const lease = await take({ once: 10 });
    await lease.release({ done: 5, result: 'half' });
    expect((await w.host().client.inspect(KEY))?.doneResult).toBe('half');
  });
});

describe('A result is refused, and nothing is released,', () => {
  const long = 'a'.repeat(8_190);
  test.each<[string, object, object, string]>([
    ['without done', { once }, { result: { a: 1 } }, `The result '{"a":1}' needs done: true`],
    ['with done: false', { once }, { done: false, result: 1 }, "The result '1' needs done: true"],
    ['of a lease without once', {}, { done: true, result: 1 }, "The result '1' needs a lease with once"],
    ['that is a function', { once }, { done: true, result: () => 1 }, 'result must be JSON, but it is function'],
    ['that is a bigint', { once }, { done: true, result: 1n }, 'result must be JSON, but it cannot be encoded'],
    ['of more than 8 kB', { once }, { done: true, result: `${long}b` }, 'result must have at most 8192 bytes as JSON'],
    [
      'too long beside the data',
      { once, data: 'b' },
      { done: true, result: long },
      "has 8192, and the lease's data 3 more.",
    ],
  ])('%s', async (_, options, ending, message) => {
    const lease = await take(options);
    expect(() => lease.release(ending)).toThrow(TypeError);
    expect(() => lease.release(ending)).toThrow(message);
    expect(lease.isHeld()).toBe(true);
    expect(w.store.count('release')).toBe(0);
  });

  test('and 8,192 bytes are none too many', async () => {
    const lease = await take();
    expect(await lease.release({ done: true, result: long })).toBe(true);
    expect((await doneOf(once)).result).toBe(long);
  });
});

test('A result of undefined is no result', async () => {
  const lease = await take({});
  expect(await lease.release({ result: undefined })).toBe(true);
});
