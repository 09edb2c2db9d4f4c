import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { LockEvent } from '../../lib/lease/events.ts';
import type { Candidate } from '../../lib/lease/lead.ts';
import type { LeadOptions, TermEnd } from '../../lib/lease/lead-options.ts';
import type { Lease } from '../../lib/lease/lease.ts';
import { LockClosedError, LockError, LockLostError, LockStoreError } from '../../lib/record/errors.ts';
import { outcomeOf, seededRandom, world } from './setup.ts';

afterEach(() => {
  jest.restoreAllMocks();
  delete process.env.AWS_LAMBDA_FUNCTION_NAME;
});

/** The works that a candidate has begun. Each ends when a test lets it. */
function works() {
  const begun: { lease: Lease; signal: AbortSignal; end(): void; fail(error: unknown): void; isOn: boolean }[] = [];
  const work = (lease: Lease, signal: AbortSignal) => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const run = {
      lease,
      signal,
      isOn: true,
      end: resolve,
      fail: reject,
    };
    begun.push(run);
    return promise.finally(() => {
      run.isOn = false;
    });
  };
  return { begun, work, on: () => begun.filter(({ isOn }) => isOn).length };
}

/** A work that ends as soon as its signal aborts. */
const obedient = (_lease: Lease, signal: AbortSignal) =>
  new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));

describe('a candidate', () => {
  let { time, store, host } = world();
  let ends: TermEnd[];
  let onTermEnd: (end: TermEnd) => unknown;
  let closeClient: () => Promise<void>;
  beforeEach(() => {
    ({ time, store, host } = world());
    ends = [];
    onTermEnd = (end) => ends.push(end);
  });

  test('leads while its work runs, and releases the lease when the work returns', async () => {
    const { client } = host();
    const { begun, work } = works();
    const candidate = client.lead('job', { data: { url: 'here' }, onTermEnd }, work);
    expect(candidate.isLeader()).toBe(false);
    await time.advance(0);
    expect(candidate.isLeader()).toBe(true);
    expect(begun[0]?.signal).toBe(begun[0]?.lease.signal);
    await time.advance(100_000);
    expect(candidate.isLeader()).toBe(true);
    begun[0]?.end();
    await time.advance(0);
    expect(candidate.isLeader()).toBe(false);
    expect((await client.inspect('job'))?.held).toBe(false);
    expect(ends).toEqual([
      { key: 'job', fencingToken: begun[0]?.lease.fencingToken, reason: 'returned', ledMs: 100_000 },
    ]);
    await candidate.stop();
  });

  test('takes the work before the options, too', async () => {
    const { client } = host();
    const candidate = client.lead('job', obedient as never, { onTermEnd } as never);
    await time.advance(0);
    await candidate.stop();
    expect(ends).toMatchObject([{ reason: 'stopped' }]);
  });

  test('whose work returns at once rests for restMs each time, so that another gets a turn', async () => {
    seededRandom(1);
    const { client, of } = host();
    const other = host();
    const candidate = client.lead('job', { onTermEnd }, () => {});
    await time.advance(10_000);
    expect(of('acquired').length).toBeGreaterThanOrEqual(8);
    expect(of('acquired').length).toBeLessThanOrEqual(9);
    const standby = other.client.lead('job', obedient);
    await time.advance(1_300);
    expect(standby.isLeader()).toBe(true);
    await Promise.all([candidate.stop(), standby.stop()]);
  });

  test('whose work throws backs off, doubled and jittered, and anew after a term of a minute', async () => {
    seededRandom(2);
    const { client, of } = host();
    let ms = 0;
    const candidate = client.lead('job', { onTermEnd }, async () => {
      if (ms > 0) await new Promise((resolve) => time.setTimeout(() => resolve(0), ms));
      throw new Error('broken');
    });
    await time.advance(120_000);
    const gaps = () =>
      of('acquired')
        .map(({ at }, i, all) => at - (all[i - 1]?.at ?? at))
        .slice(1);
    for (const [place, base] of [1_000, 2_000, 4_000, 8_000, 16_000, 30_000].entries()) {
      expect(gaps()[place]).toBeGreaterThanOrEqual(base * 0.75);
      expect(gaps()[place]).toBeLessThanOrEqual(base * 1.25 + 2);
    }
    expect(new Set(gaps().map((gap) => gap % 1_000)).size).toBeGreaterThan(3);
    expect(ends[0]).toMatchObject({ reason: 'failed', error: new Error('broken') });
    ms = 60_000;
    await time.advance(180_000);
    // From the beginning of a term of a minute to the next term: the first pause again.
    expect(gaps().find((gap) => gap > 60_000)).toBeLessThanOrEqual(61_252);
    const stopped = candidate.stop();
    await time.advance(60_000);
    await stopped;
  });

  test.each<[string, (end: TermEnd) => unknown]>([
    [
      'throws',
      () => {
        throw new Error('bad listener');
      },
    ],
    [
      'rejects',
      async () => {
        throw new Error('bad listener');
      },
    ],
    ['never returns', () => new Promise(() => {})],
  ])('goes on if onTermEnd %s', async (_, listener) => {
    const { client, of } = host();
    const candidate = client.lead('job', { onTermEnd: listener }, () => {});
    await time.advance(3_000);
    expect(of('acquired').length).toBeGreaterThan(1);
    await candidate.stop();
  });

  test('prints the error of its work by default', async () => {
    const print = jest.spyOn(console, 'error').mockImplementation(() => {});
    const { client } = host();
    const error = new Error('broken');
    const candidate = client.lead('job', () => Promise.reject(error));
    await time.advance(0);
    expect(print.mock.calls).toEqual([["The work of the leader of 'job' failed:", error]]);
    await candidate.stop();
  });

  test('that loses its lease tells the work before the expiry, waits for it, and campaigns at once', async () => {
    const { client, of } = host();
    const { begun, work, on } = works();
    const candidate = client.lead('job', { onTermEnd }, work);
    await time.advance(0);
    const [first] = begun;
    const expiry = of('acquired')[0]?.expiresAt as number;
    store.script = (operation) => (operation === 'renew' ? { do: 'hang' } : undefined);
    while (!first?.signal.aborted) await time.advance(1);
    expect(time.now()).toBeLessThan(expiry);
    expect(first.signal.reason).toMatchObject({ reason: 'expired' });
    store.script = undefined;
    await time.advance(200_000);
    expect(candidate.isLeader()).toBe(false);
    expect(begun).toHaveLength(1);
    first.end();
    await time.advance(10);
    expect(on()).toBe(1);
    expect(begun).toHaveLength(2);
    expect(ends).toMatchObject([{ reason: 'lost', error: expect.any(LockLostError) }]);
    const stopped = candidate.stop();
    begun[1]?.end();
    await stopped;
  });

  test('that resigns tells the work, releases after the work, and lets another lead', async () => {
    const { client } = host();
    const { begun, work } = works();
    const candidate = client.lead('job', { onTermEnd }, work);
    await time.advance(0);
    const standby = host().client.lead('job', obedient);
    const resigned = outcomeOf(candidate.resign());
    await time.advance(2_000);
    expect(begun[0]?.signal.reason).toBeInstanceOf(LockError);
    expect(begun[0]?.signal.reason.message).toBe("The leader of 'job' resigns. End the work.");
    expect([resigned.settled, candidate.isLeader(), standby.isLeader()]).toEqual([false, true, false]);
    begun[0]?.end();
    await time.advance(760);
    expect([resigned.settled, candidate.isLeader(), standby.isLeader()]).toEqual([true, false, true]);
    await standby.stop();
    await time.advance(2_000);
    expect(candidate.isLeader()).toBe(true);
    const stopped = candidate.stop();
    begun[1]?.end();
    await stopped;
    expect(ends.map(({ reason }) => reason)).toEqual(['resigned', 'stopped']);
    await candidate.resign();
  });

  test('that is stopped tells the work, waits for it, releases, and leaves no timer', async () => {
    const { client } = host();
    const { begun, work } = works();
    const candidate = client.lead('job', { onTermEnd }, work);
    await time.advance(0);
    const stopped = outcomeOf(candidate.stop());
    void candidate.stop();
    await time.advance(5_000);
    expect(stopped.settled).toBe(false);
    expect(candidate.isLeader()).toBe(true);
    // As `fetch` and `setTimeout` do, whose error is not the signal's reason, but has it as its cause.
    begun[0]?.fail(new DOMException('aborted', { name: 'AbortError', cause: begun[0]?.signal.reason } as never));
    await time.advance(0);
    expect(stopped.settled).toBe(true);
    expect((await client.inspect('job'))?.held).toBe(false);
    expect(ends).toMatchObject([{ reason: 'stopped' }]);
    expect(ends[0]).not.toHaveProperty('error');
    expect(time.timers).toBe(0);
  });

  test('whose work never ends releases nothing, and its lock opens at the expiry', async () => {
    const { client, of } = host();
    const candidate = client.lead('job', { graceMs: 3_000, onTermEnd }, () => new Promise(() => {}));
    await time.advance(60_000);
    const standby = host().client.lead('job', obedient);
    const stopped = outcomeOf(candidate.stop());
    await time.advance(2_999);
    expect(stopped.settled).toBe(false);
    await time.advance(1);
    expect(stopped.settled).toBe(true);
    expect(store.count('release')).toBe(0);
    expect(ends).toEqual([{ key: 'job', fencingToken: expect.any(Number), reason: 'stopped', ledMs: 63_000 }]);
    const expiry = of('renewed').at(-1)?.expiresAt as number;
    await time.advance(expiry - time.now() - 1);
    expect(standby.isLeader()).toBe(false);
    await time.advance(30);
    expect(standby.isLeader()).toBe(true);
    await standby.stop();
  });

  test('that resigns under work that never ends leaves the lead to others, and begins no second work', async () => {
    const { client } = host();
    const { begun, work } = works();
    const candidate = client.lead('job', { graceMs: 1_000 }, work);
    await time.advance(0);
    const standby = host().client.lead('job', obedient);
    await Promise.all([candidate.resign(), time.advance(1_000)]);
    await time.advance(31_000);
    expect(standby.isLeader()).toBe(true);
    await standby.stop();
    await time.advance(60_000);
    expect(begun).toHaveLength(1);
    const stopped = outcomeOf(candidate.stop());
    await time.advance(1_000);
    expect(stopped.settled).toBe(true);
  });

  test.each([
    ['campaigns', true],
    ['rests', false],
  ])('that is stopped while it %s ends at once', async (_, isBusy) => {
    const { client } = host();
    if (isBusy) await host().client.acquire('job');
    const candidate = client.lead('job', () => {});
    await time.advance(100);
    await candidate.stop();
    expect(candidate.isLeader()).toBe(false);
  });

  test('that is stopped while its grant is under way leaves nothing behind, and runs no work', async () => {
    const { client } = host();
    const { begun, work } = works();
    store.plan({ do: 'delayAnswer', operation: 'acquire', ms: 50 });
    const candidate = client.lead('job', work);
    await time.advance(10);
    const stopped = outcomeOf(candidate.stop());
    await time.advance(100);
    expect([stopped.settled, begun.length]).toEqual([true, 0]);
    expect(await host().client.tryAcquire('job')).not.toBeNull();
  });

  test('that is stopped by a listener of its own grant leaves nothing behind, and runs no work', async () => {
    const { begun, work } = works();
    const onEvent = ({ type }: LockEvent): void => {
      if (type === 'acquired') void candidate.stop();
    };
    const candidate: Candidate = host({ onEvent }).client.lead('job', work);
    await time.advance(10);
    await candidate.finished;
    expect(begun).toHaveLength(0);
    expect(await host().client.tryAcquire('job')).not.toBeNull();
  });

  test('that is stopped under work that goes on after a loss releases nothing', async () => {
    const { client } = host();
    const candidate = client.lead('job', { graceMs: 1_000, onTermEnd }, () => new Promise(() => {}));
    await time.advance(0);
    store.script = (operation) => (operation === 'renew' ? { do: 'hang' } : undefined);
    await time.advance(29_000);
    const stopped = outcomeOf(candidate.stop());
    await time.advance(1_000);
    expect(stopped.settled).toBe(true);
    expect(ends).toEqual([{ key: 'job', fencingToken: expect.any(Number), reason: 'stopped', ledMs: 30_000 }]);
    expect(store.count('release')).toBe(0);
  });

  test('whose lease is lost ends within graceMs of the closing of its client, under work that goes on', async () => {
    const { client } = host();
    const candidate = client.lead('job', { graceMs: 1_000, onTermEnd }, () => new Promise(() => {}));
    await time.advance(0);
    store.script = (operation) => (operation === 'renew' ? { do: 'hang' } : undefined);
    await time.advance(29_000);
    const finished = outcomeOf(candidate.finished);
    await client.close();
    await time.advance(999);
    expect(finished.settled).toBe(false);
    await time.advance(1);
    expect(finished.settled).toBe(true);
    expect(ends).toEqual([{ key: 'job', fencingToken: expect.any(Number), reason: 'closed', ledMs: 30_000 }]);
    expect([store.count('release'), time.timers]).toEqual([0, 0]);
  });

  test.each<[string, (candidate: Candidate) => unknown]>([
    ['stop()', (candidate) => candidate.stop()],
    ['resign()', (candidate) => candidate.resign()],
    ['close()', () => closeClient()],
  ])('tells work that has released its lease by itself of %s', async (_call, tell) => {
    const { client } = host();
    closeClient = () => client.close();
    const candidate = client.lead('job', { onTermEnd }, async (lease, signal) => {
      await lease.release();
      await obedient(lease, signal);
    });
    await time.advance(0);
    tell(candidate);
    await time.advance(0);
    expect(ends).toHaveLength(1);
    await candidate.stop();
    expect(time.timers).toBe(0);
  });

  test('that is stopped waits no longer than graceMs for the answer to its release', async () => {
    const { client, of } = host();
    const candidate = client.lead('job', { graceMs: 500, onTermEnd }, obedient);
    await time.advance(0);
    store.plan({ operation: 'release', do: 'hang', times: 2 });
    const stopped = outcomeOf(candidate.stop());
    await time.advance(500);
    expect(stopped.settled).toBe(true);
    expect(ends).toMatchObject([{ reason: 'stopped' }]);
    // The release itself goes on.
    await time.advance(2_000);
    expect(of('released')).toHaveLength(1);
  });

  test('that is stopped at its grant waits no longer than graceMs for the answer to its release', async () => {
    const { client } = host({ onEvent: ({ type }) => void (type === 'acquired' && candidate.stop()) });
    store.plan({ operation: 'release', do: 'hang', times: 2 });
    const candidate = client.lead('job', { graceMs: 500, onTermEnd }, obedient);
    const finished = outcomeOf(candidate.finished);
    await time.advance(500);
    expect([finished.settled, ends]).toEqual([true, []]);
    await time.advance(2_000);
    expect((await host().client.inspect('job'))?.held).toBe(false);
  });

  test('tells of work that failed, though it is told to resign during the release', async () => {
    const { client } = host();
    const { begun, work } = works();
    const candidate = client.lead('job', { onTermEnd }, work);
    await time.advance(0);
    store.plan({ operation: 'release', do: 'delayAnswer', ms: 100 });
    begun[0]?.fail(new Error('broken'));
    await time.advance(50);
    const resigned = outcomeOf(candidate.resign());
    await time.advance(50);
    expect(resigned.settled).toBe(true);
    expect(ends).toMatchObject([{ reason: 'failed', error: new Error('broken') }]);
    await candidate.stop();
  });

  test('ends with its client: the work is told, and the lease is released after the work', async () => {
    const { client } = host();
    const { begun, work } = works();
    const candidate = client.lead('job', { graceMs: 1, onTermEnd }, work);
    await time.advance(0);
    const finished = outcomeOf(candidate.finished);
    const closed = outcomeOf(client.close({ graceMs: 60_000 }));
    await time.advance(30_000);
    expect(begun[0]?.signal.reason).toBeInstanceOf(LockClosedError);
    expect([candidate.isLeader(), finished.settled, closed.settled]).toEqual([true, false, false]);
    begun[0]?.end();
    await time.advance(0);
    expect([candidate.isLeader(), finished.settled, closed.settled]).toEqual([false, true, true]);
    expect(ends).toMatchObject([{ reason: 'closed' }]);
    expect(() => client.lead('job', work)).toThrow(LockClosedError);
    expect(time.timers).toBe(0);
  });

  test('ends with its client also under work that never ends, and releases nothing', async () => {
    const { client } = host();
    const candidate = client.lead('job', { onTermEnd }, () => new Promise(() => {}));
    await time.advance(0);
    const finished = outcomeOf(candidate.finished);
    const closed = outcomeOf(client.close({ graceMs: 500 }));
    await time.advance(500);
    expect([finished.settled, closed.settled]).toEqual([true, true]);
    expect(store.count('release')).toBe(0);
    expect(ends).toMatchObject([{ reason: 'closed' }]);
  });

  test('of the two that stand by, neither writes before an opening, and each looks every 450 to 750 ms', async () => {
    seededRandom(3);
    await host().client.acquire('job', { leaseMs: 100_000 });
    await time.advance(0);
    const standbys = [host().client.lead('job', obedient), host().client.lead('job', obedient)];
    await time.advance(1);
    const before = store.requests.length;
    await time.advance(20_000);
    const since = store.requests.slice(before);
    expect(since.filter(({ operation }) => operation !== 'read' && operation !== 'renew')).toEqual([]);
    const reads = since.filter(({ operation }) => operation === 'read').length;
    expect(reads).toBeGreaterThan((2 * 20_000) / 750 - 2);
    expect(reads).toBeLessThan((2 * 20_000) / 450 + 2);
    await Promise.all(standbys.map((standby) => standby.stop()));
  });

  test('campaigns on while the store fails, tells each fault, and prints the first', async () => {
    const print = jest.spyOn(console, 'error').mockImplementation(() => {});
    const { client, of } = host();
    store.script = () => ({ do: 'fail', error: new LockStoreError('no permission') });
    const candidate = client.lead('job', obedient);
    await time.advance(20_000);
    expect(of('acquireFailed').length).toBeGreaterThan(3);
    expect(print.mock.calls).toEqual([
      ["The campaign for 'job' goes on after a fault: Acquiring 'job': no permission"],
    ]);
    store.script = undefined;
    await time.advance(31_000);
    expect(candidate.isLeader()).toBe(true);
    // After a grant, the pauses begin anew.
    const told = of('acquireFailed').length;
    store.script = (operation) =>
      operation === 'acquire' ? { do: 'fail', error: new LockStoreError('again') } : undefined;
    await candidate.resign();
    await time.advance(5_000);
    const [first, second] = of('acquireFailed').slice(told);
    expect((second?.at ?? Infinity) - (first?.at ?? 0)).toBeLessThanOrEqual(1_251);
    expect(print).toHaveBeenCalledTimes(2);
    print.mockRestore();
    await candidate.stop();
  });

  test('ends with its scope', async () => {
    const { client } = host();
    {
      await using candidate = client.lead('job', obedient);
      await time.advance(0);
      expect(candidate.isLeader()).toBe(true);
    }
    expect((await client.inspect('job'))?.held).toBe(false);
  });

  test('is refused on Lambda, which freezes a process between its invocations', () => {
    process.env.AWS_LAMBDA_FUNCTION_NAME = 'reports';
    expect(() => host().client.lead('job', () => {})).toThrow(
      "lead('job') needs a process that runs on, and Lambda freezes a function between its invocations. Start the work by a schedule, under lock() or withLock().",
    );
  });

  test.each<[object, string]>([
    [{ once: 5 }, "lead has no option 'once'"],
    [{ pollMs: 0 }, 'pollMs must be a whole number of milliseconds from 1 to'],
    [{ restMs: -1 }, 'restMs must be a whole number of milliseconds from 0 to'],
    [
      { graceMs: '1' },
      "graceMs must be a whole number of milliseconds from 0 to 3153600000000 (100 years), or Infinity, but it is '1'.",
    ],
    [{ backOffMs: 5 }, 'backOffMs must be { first, most } in milliseconds, but it is number 5.'],
    [{ backOffMs: { first: 5, most: 4 } }, 'backOffMs.most must be a whole number of milliseconds from 5 to'],
    [{ backOffMs: { first: 5, most: 6, growth: 3 } }, "backOffMs has no option 'growth'"],
    [{ onTermEnd: 'print' }, "onTermEnd must be a function, but it is 'print'."],
    [{ leaseMs: 1 }, 'leaseMs must be a whole number of milliseconds from 2 to'],
  ])('is refused with bad options: %j', (options, message) => {
    expect(() => host().client.lead('job', options as LeadOptions, () => {})).toThrow(message);
    expect(() => host().client.lead('', () => {})).toThrow('The key of a lock must not be empty');
    expect(() => host().client.lead('job', {}, 5 as never)).toThrow('but the work is number 5.');
    expect(store.count()).toBe(0);
  });
});

describe('leader', () => {
  test('tells who leads, its data and since when, and reads once in maxAgeMs', async () => {
    const { time, store, host } = world();
    const { client } = host();
    expect(await client.leader('job')).toBeUndefined();
    await time.advance(1_000);
    const candidate = client.lead('job', { data: { url: 'here' }, owner: 'us' }, obedient);
    await time.advance(0);
    const since = time.now();
    const before = store.count('read');
    const both = await Promise.all([client.leader('job'), client.leader('job')]);
    await time.advance(999);
    expect(await client.leader('job')).toMatchObject({ owner: 'us', data: { url: 'here' }, acquiredAt: since });
    // An endpoint may give the answer to anybody: it has no secret of the lease.
    const expiresAt = since + 30_000;
    expect(both[0]).toEqual({
      key: 'job',
      owner: 'us',
      data: { url: 'here' },
      fencingToken: expect.any(Number),
      acquiredAt: since,
      expiresAt,
    });
    expect(both[0]).toBe(both[1]);
    expect(store.count('read') - before).toBe(1);
    expect(store.requests.findLast(({ operation }) => operation === 'read')?.request.consistent).toBe(false);
    await candidate.stop();
    await time.advance(1);
    expect(await client.leader('job')).toBeUndefined();
    await client.leader('job', { maxAgeMs: 0 });
    expect(store.count('read') - before).toBe(3);
    await expect(client.leader('job', { maxAgeMs: -1 })).rejects.toThrow('maxAgeMs must be a whole number');
  });

  test('remembers a thousand keys, and forgets the key that was read first', async () => {
    const { store, host } = world();
    const { client } = host();
    for (let i = 0; i <= 1_000; i++) await client.leader(`job-${i}`);
    await client.leader('job-1');
    expect(store.count('read')).toBe(1_001);
    await client.leader('job-0');
    expect(store.count('read')).toBe(1_002);
  });

  test('keeps no error: who asks next reads again', async () => {
    const { store, host } = world();
    const { client } = host();
    store.plan({ do: 'fail', operation: 'read', error: new LockStoreError('no permission') });
    await expect(client.leader('job')).rejects.toThrow(LockStoreError);
    expect(await client.leader('job')).toBeUndefined();
  });
});
