import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { LockEvent } from '../../lib/lease/events.ts';
import { LockDoneError, LockLostError, LockStoreError } from '../../lib/record/errors.ts';
import { outcomeOf, punctual, taken, type World, world } from './setup.ts';

let scene: World;
beforeEach(() => {
  punctual();
  scene = world();
});
afterEach(() => {
  jest.restoreAllMocks();
});

const thrownBy = async (promise: Promise<unknown>) => {
  const outcome = outcomeOf(promise);
  await promise.catch(() => {});
  return outcome.error;
};

describe('events', () => {
  /** Two hosts report every type of event. */
  async function everything() {
    const { time, store } = scene;
    const other = scene.host();
    const host = scene.host();
    const { client } = host;

    await other.client.acquire('taken', { holdAtMostMs: 1_000 });
    expect(await client.tryAcquire('taken')).toBeNull();
    const waiting = client.acquire('taken', { waitMs: 10_000 });
    await time.advance(5_000);
    await (await waiting).release();

    const done = await client.acquire('once', { once: '1' });
    await done.release({ done: true });
    await expect(client.tryAcquire('once', { once: '1' })).rejects.toThrow(LockDoneError);

    const renewed = await client.acquire('renewed');
    store.plan({ do: 'loseRequest', operation: 'renew' });
    await time.advance(15_000);
    store.plan({ do: 'fail', error: new LockStoreError('no'), operation: 'release' });
    await renewed.release();

    const lost = await client.acquire('lost');
    store.plan({ do: 'hang', operation: 'renew', times: Number.POSITIVE_INFINITY });
    await time.advance(27_000);
    const secrets = store.requests.flatMap(({ request }) => [request.lockId ?? []].flat());
    return { events: [...host.events, ...other.events], host, leases: [done, renewed, lost], secrets };
  }
  const start = Date.UTC(2026, 0, 1);

  test('an event of each type has its key, owner, token and times', async () => {
    const { host } = await everything();
    const token = expect.any(Number);
    const first = (type: LockEvent['type'], key: string) => host.of(type).find((event) => event.key === key);
    expect(first('busy', 'taken')).toEqual({
      type: 'busy',
      key: 'taken',
      at: start,
      owner: 'host-1',
      fencingToken: token,
      expiresAt: start + 4_000,
      retryAfterMs: 4_000,
      waitedMs: 0,
    });
    expect(first('waiting', 'taken')).toEqual({
      type: 'waiting',
      key: 'taken',
      at: start,
      owner: 'host-1',
      fencingToken: token,
      expiresAt: start + 4_000,
    });
    const taking = first('acquired', 'taken') as Extract<LockEvent, { type: 'acquired' }>;
    expect(taking).toEqual({
      type: 'acquired',
      key: 'taken',
      at: start + taking.waitedMs,
      owner: 'host-2',
      fencingToken: token,
      expiresAt: start + taking.waitedMs + 30_000,
      deadline: start + taking.waitedMs + 27_000,
      waitedMs: expect.any(Number),
      takenOverFrom: { owner: 'host-1', expiredAt: start + 4_000 },
    });
    expect(taking.waitedMs).toBeGreaterThanOrEqual(4_000);
    expect(first('released', 'once')).toEqual({
      type: 'released',
      key: 'once',
      at: start + 5_000,
      owner: 'host-2',
      fencingToken: token,
      heldMs: 0,
      newlyHeldMs: 0,
      done: true,
    });
    expect(first('done', 'once')).toEqual({
      type: 'done',
      key: 'once',
      at: start + 5_000,
      owner: 'host-2',
      once: '1',
      doneToken: '1',
    });
    expect(first('acquired', 'renewed')).not.toHaveProperty('takenOverFrom');
    expect(first('renewFailed', 'renewed')).toEqual({
      type: 'renewFailed',
      key: 'renewed',
      at: start + 15_000,
      owner: 'host-2',
      fencingToken: token,
      error: expect.any(LockStoreError),
      deadline: start + 32_000,
      remainingMs: 17_000,
      heldMs: 10_000,
      newlyHeldMs: 10_000,
    });
    const renewal = first('renewed', 'renewed') as Extract<LockEvent, { type: 'renewed' }>;
    expect(renewal).toEqual({
      type: 'renewed',
      key: 'renewed',
      at: renewal.at,
      owner: 'host-2',
      fencingToken: token,
      expiresAt: renewal.at + 30_000,
      deadline: renewal.at + 27_000,
      heldMs: renewal.at - (start + 5_000),
      newlyHeldMs: renewal.at - (start + 15_000),
    });
    expect(first('releaseFailed', 'renewed')).toEqual({
      type: 'releaseFailed',
      key: 'renewed',
      at: start + 20_000,
      owner: 'host-2',
      fencingToken: token,
      heldMs: 15_000,
      newlyHeldMs: expect.any(Number),
      error: expect.any(LockStoreError),
    });
    expect(first('lost', 'lost')).toEqual({
      type: 'lost',
      key: 'lost',
      at: start + 47_000,
      owner: 'host-2',
      fencingToken: token,
      reason: 'expired',
      error: expect.any(LockLostError),
      heldMs: 27_000,
      newlyHeldMs: expect.any(Number),
    });
  });

  test('the events of a lease tell, in parts that add up, for how long the lease has been held', async () => {
    const { time, host } = scene;
    const { client, events } = host({ leaseMs: 30_000, heartbeatMs: 10_000 });
    const lease = await taken(client.tryAcquire('job'));
    await time.advance(25_000);
    const told = () => events.flatMap((event) => ('newlyHeldMs' in event ? [event.newlyHeldMs] : []));
    expect(told()).toEqual([10_000, 10_000]);
    await lease.release();
    expect(told()).toEqual([10_000, 10_000, 5_000]);
    expect(events.at(-1)).toMatchObject({ type: 'released', heldMs: 25_000 });
  });

  test('no event, no error, no lease as JSON and no lease in a log shows a lockId', async () => {
    const { events, leases, secrets } = await everything();
    expect(new Set(events.map(({ type }) => type)).size).toBe(9);
    expect(secrets.length).toBeGreaterThan(10);
    const deep = { depth: 20, showHidden: true, getters: true };
    const said = [
      ...events.flatMap((event) => [JSON.stringify(event), inspect(event, { depth: 20 })]),
      ...events.flatMap((event) =>
        'error' in event ? [event.error.message, event.error.stack, String(event.error)] : [],
      ),
      ...leases.flatMap((lease) => [
        JSON.stringify(lease),
        inspect(lease),
        inspect({ lease }, { depth: 20 }),
        `${lease}`,
      ]),
      inspect(await thrownBy(scene.host().client.acquire('lost')), deep),
    ].join('\n');
    for (const secret of new Set(secrets)) expect(said).not.toContain(secret);
  });

  test('a lease as JSON shows its public properties', async () => {
    const lease = await scene.host().client.acquire('job', { data: 7 });
    expect(JSON.parse(JSON.stringify(lease))).toEqual({
      key: 'job',
      slot: 0,
      owner: 'host-1',
      fencingToken: lease.fencingToken,
      acquiredAt: start,
      deadline: start + 27_000,
      data: 7,
      held: true,
    });
  });

  test('a loss is reported once, before the signal aborts', async () => {
    const host = scene.host();
    const lease = await host.client.acquire('job');
    const told: number[] = [];
    lease.signal.addEventListener('abort', () => told.push(host.of('lost').length));
    lease.abandon('timedOut');
    await lease.release();
    expect(told).toEqual([1]);
    expect(host.of('lost')).toHaveLength(1);
    expect(host.of('released')).toEqual([]);
  });
});
