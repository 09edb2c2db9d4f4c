import { beforeEach, describe, expect, test } from '@jest/globals';
import { LockDoneError, LockError, LockStoreError, LockTokenError } from '../../lib/record/errors.ts';
import { canonicalToken } from '../../lib/record/token.ts';
import { outcomeOf, settle, type World, world } from './setup.ts';

let scene: World;
beforeEach(() => {
  scene = world();
});

type Token = string | number | bigint | Date;
/** Finishes a token. */
const finish = async (once: Token): Promise<void> => {
  await scene.host().client.using('job', { once }, () => {});
  await scene.time.advance(1);
};
const recordOf = async () => (await scene.memory.read('job')).record;

describe('two tokens, of which the first is done', () => {
  test.each<[string, Token, Token]>([
    ['one instant, now without milliseconds', '2026-01-01T02:00:00.000Z', '2026-01-01T02:00:00Z'],
    ['one instant, as text and as a Date', '2026-01-01T02:00:00Z', new Date('2026-01-01T02:00:00Z')],
    ['one instant with two offsets', '2026-01-01T02:00:00+00:00', '2026-01-01T04:00:00+02:00'],
    ['one number, as text and as a number', '0010', 10],
    ['an earlier number with fewer digits', '10', '9'],
    ['one text', 'week-07', 'week-07'],
  ])('the second is done, too: %s', async (_, done, once) => {
    await finish(done);
    await expect(finish(once)).rejects.toThrow(LockDoneError);
  });

  test.each<[string, Token, Token]>([
    ['half a second later', '2026-01-01T02:00:00Z', '2026-01-01T02:00:00.500Z'],
    ['an hour later by the same clock on the wall', '2026-10-25T02:30:00+02:00', '2026-10-25T02:30:00+01:00'],
    ['later, with an offset that makes it look earlier', '2026-01-01T02:00:00+02:00', '2026-01-01T01:30:00Z'],
    ['a greater number with more digits', '9', 10n],
    ['the next sequence number', '18849496460467696128', '18849496460467696129'],
    ['a schedule after a test by hand', 'test', '2026-01-01T02:00:00Z'],
    ['a schedule after a number by hand', 1, '2026-01-01T02:00:00Z'],
    ['a schedule after a test in another script', '\u{1f600}', new Date(0)],
  ])('the second runs: %s', async (_, done, once) => {
    await finish(done);
    await expect(finish(once)).resolves.toBeUndefined();
  });

  test.each<[string, Token, Token, string, string]>([
    ['a run number behind a text', 'run-9', 'run-10', 'run-9', 'run-10'],
    ['a week', '2026-W9', '2026-W10', '2026-W9', '2026-W10'],
    ['a version', 'v1.9.0', 'v1.10.0', 'v1.9.0', 'v1.10.0'],
    ['a test after a schedule', '2026-01-01T03:00:00+01:00', 'test', '2026-01-01T02:00:00Z', 'test'],
    ['a number after a schedule', new Date(0), 7, '1970-01-01T00:00:00Z', '7'],
  ])('nobody can tell, and the error shows both: %s', async (_, done, once, shownDone, shownOnce) => {
    await finish(done);
    for (const waitMs of [0, 60_000]) {
      const outcome = outcomeOf(scene.host().client.acquire('job', { once, waitMs }));
      await scene.time.advance(0);
      expect(outcome.error).toBeInstanceOf(LockTokenError);
      expect(outcome.error).toBeInstanceOf(LockError);
      expect(outcome.error).not.toBeInstanceOf(LockDoneError);
      expect(outcome.error).toMatchObject({
        code: 'ERR_LOCK_TOKEN',
        key: 'job',
        once: shownOnce,
        doneToken: shownDone,
        message: expect.stringContaining(`whether '${shownOnce}' is done: the token before is '${shownDone}'`),
      });
    }
  });

  test('a waiter that sees by a read that a token of another form has finished gets the error, too', async () => {
    const holder = await scene.host().client.acquire('job', { once: 'run-9' });
    const waiting = outcomeOf(scene.host().client.acquire('job', { once: 'run-10', waitMs: 60_000 }));
    await scene.time.advance(100);
    await holder.release({ done: true });
    await scene.time.advance(1_000);
    expect(waiting.error).toBeInstanceOf(LockTokenError);
    expect(scene.store.count('acquire')).toBe(2);
  });
});

test('people are shown tokens as they are read, and the record has canonical texts', async () => {
  const host = scene.host();
  await finish('2026-01-01T03:00:00.50+01:00');
  const lease = await host.client.acquire('job', { once: new Date('2026-01-02T02:00:00Z') });
  expect(lease.doneToken).toBe('2026-01-01T02:00:00.5Z');
  const handle = await lease.handOff({ leaseMs: 60_000 });
  expect(handle.once).toBe('2026-01-02T02:00:00Z');
  const resumed = await host.client.resume(JSON.parse(JSON.stringify(handle)));
  expect(await resumed.release({ done: '2026-01-02T02:00:00+00:00' })).toBe(true);
  expect((await recordOf())?.doneToken).toBe('~t2026-01-02T02:00:00');
  await expect(host.client.tryAcquire('job', { once: '20260102T02Z' })).rejects.toMatchObject({
    once: '2026-01-02T02:00:00Z',
    doneToken: '2026-01-02T02:00:00Z',
  });
  expect(host.of('done')).toMatchObject([{ once: '2026-01-02T02:00:00Z', doneToken: '2026-01-02T02:00:00Z' }]);
  const [listed] = await Array.fromAsync(host.client.list());
  for (const state of [listed, await host.client.inspect('job'), (await host.client.inspectMany(['job'])).get('job')]) {
    expect(state?.doneToken).toBe('2026-01-02T02:00:00Z');
  }
});

describe('a release with a token in done', () => {
  test.each<[Token, Token, string]>([
    [9, 10, '~n0001:9'],
    [0, '10', '~n0001:0'],
    ['2026-01-01T03:00:00+02:00', '2026-01-01T02:00:00Z', '~t2026-01-01T01:00:00'],
  ])('%p of %p marks it as done', async (done, once, canonical) => {
    const lease = await scene.host().client.acquire('job', { once });
    expect(await lease.release({ done })).toBe(true);
    expect((await recordOf())?.doneToken).toBe(canonical);
  });

  test.each<[Token, Token]>([
    [10, 9],
    ['2026-01-01T01:00:00Z', '2026-01-01T02:00:00+02:00'],
  ])('%p of %p is refused', async (done, once) => {
    const lease = await scene.host().client.acquire('job', { once });
    expect(() => lease.release({ done })).toThrow('done must be true, false or a once token up to that of the lease');
    expect(lease.isHeld()).toBe(true);
  });
});

describe('a token that is given and undefined is refused, and nothing is sent', () => {
  const options = { once: undefined as never };
  test.each<[string, () => Promise<unknown>]>([
    ['acquire', () => scene.host().client.acquire('job', options)],
    ['tryAcquire', () => scene.host().client.tryAcquire('job', options)],
    ['using', () => scene.host().client.using('job', options, () => 'never')],
  ])('by %s', async (_, call) => {
    await expect(call()).rejects.toThrow(/^once is given, but it is undefined: the value is missing/);
    expect(scene.store.count()).toBe(0);
  });
});

describe('resetOnce', () => {
  test('takes the finished token away, so that a token before it is granted', async () => {
    await finish('2026-01-02T02:00:00Z');
    const host = scene.host();
    expect(await host.client.resetOnce('job')).toBe(true);
    await scene.time.advance(1);
    expect(await recordOf()).toMatchObject({ lockId: undefined, doneToken: undefined });
    await finish('test');
    expect((await recordOf())?.doneToken).toBe('test');
  });

  test('of a lock without a token, or without a record, is false and writes nothing', async () => {
    const { client } = scene.host();
    await client.using('job', () => {});
    scene.store.requests = [];
    expect(await client.resetOnce('job')).toBe(false);
    expect(await client.resetOnce('misspelled')).toBe(false);
    expect(scene.store.operations).toEqual(['read', 'read']);
  });

  test('of a lock that is held rejects, since the holder may finish a token; with waitMs it waits', async () => {
    await finish('1');
    const holder = await scene.host().client.acquire('job', { once: '2' });
    const { client } = scene.host();
    await expect(client.resetOnce('job')).rejects.toMatchObject({ name: 'LockBusyError' });
    const reset = outcomeOf(client.resetOnce('job', { waitMs: 60_000 }));
    await scene.time.advance(1_000);
    await holder.release({ done: true });
    await scene.time.advance(2_000);
    expect(reset.value).toBe(true);
    expect((await recordOf())?.doneToken).toBeUndefined();
  });

  test.each(['loseAnswer', 'hangAnswer'] as const)(
    'is true if the first answer to the release is lost: %s',
    async (fault) => {
      await finish('1');
      scene.store.plan({ do: fault, operation: 'release' });
      expect(await settle(scene.time, scene.host().client.resetOnce('job'))).toBe(true);
      expect((await recordOf())?.doneToken).toBeUndefined();
    },
  );

  test('a late duplicate of its release takes no later token away', async () => {
    await finish('1');
    scene.store.plan({ do: 'duplicate', ms: 5_000, operation: 'release' });
    await scene.host().client.resetOnce('job');
    await scene.time.advance(10);
    await finish('1');
    await scene.time.advance(10_000);
    expect((await recordOf())?.doneToken).toBe(canonicalToken(1));
  });

  test('refuses a misspelled option', async () => {
    await expect(scene.host().client.resetOnce('job', { wait: 1 } as never)).rejects.toThrow(
      "resetOnce has no option 'wait'; did you mean 'waitMs'?",
    );
  });
});

describe('a release that finishes a token, while the store does not answer,', () => {
  const down = new LockStoreError('down', { transient: true });
  /** Lets each release fail for a time. Gives the number of releases, and a host whose work ends at once. */
  const outage = (ms: number, remainingMs?: () => number) => {
    const { client, of } = scene.host();
    const ends = scene.time.now() + ms;
    scene.store.script = (operation) =>
      operation === 'release' && scene.time.now() < ends ? { do: 'fail', error: down } : undefined;
    const using = outcomeOf(client.using('job', { once: '1', remainingMs }, () => 'result'));
    return {
      using,
      of,
      releases: () => scene.store.requests.filter(({ operation }) => operation === 'release').length,
    };
  };

  test('is sent until an answer comes: the work is not done again', async () => {
    const { using, of } = outage(20_000);
    await scene.time.advance(19_000);
    expect(using.settled).toBe(false);
    await scene.time.advance(2_000);
    expect(using.value).toBe('result');
    expect(of('releaseFailed')).toEqual([]);
    await expect(finish('1')).rejects.toThrow(LockDoneError);
  });

  test('is given up when the belief has ended', async () => {
    const { using, of } = outage(60_000);
    await scene.time.advance(31_000);
    expect(using.value).toBe('result');
    expect(of('releaseFailed')).toHaveLength(1);
  });

  test('is sent three times if a response waits for it', async () => {
    const { using, releases } = outage(20_000, () => 600_000);
    await scene.time.advance(2_000);
    expect([using.settled, releases()]).toEqual([true, 3]);
  });

  test('is sent three times if the work failed, whose token is not done', async () => {
    const { client } = scene.host();
    scene.store.script = (operation) => (operation === 'release' ? { do: 'fail', error: down } : undefined);
    const failed = outcomeOf(client.using('job', { once: '1' }, () => Promise.reject(new Error('broken'))));
    await scene.time.advance(2_000);
    expect(failed.error.message).toBe('broken');
  });
});
