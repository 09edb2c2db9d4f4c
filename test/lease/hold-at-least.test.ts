import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { Lease } from '../../lib/lease/lease.ts';
import type { AcquireOptions } from '../../lib/lease/options.ts';
import { outcomeOf, settle, type World, world } from './setup.ts';

const HOLD_MS = 60_000;
const LEASE_MS = 10_000;

let scene: World;
let acquiredAt: number;
beforeEach(() => {
  scene = world();
  acquiredAt = scene.time.now();
});
afterEach(() => {
  jest.restoreAllMocks();
});

const take = (options: AcquireOptions = {}) =>
  scene.host().client.acquire('job', { leaseMs: LEASE_MS, holdAtLeastMs: HOLD_MS, ...options });
const recordOf = async () => (await scene.memory.read('job')).record;

/** Expects that nobody gets the lock before `acquiredAt + HOLD_MS`, and that somebody does then. */
async function expectClosedForHoldAtLeast(): Promise<void> {
  const { client } = scene.host();
  const left = () => acquiredAt + HOLD_MS - scene.time.now();
  while (left() > 1_000) {
    expect(await client.tryAcquire('job')).toBeNull();
    await scene.time.advance(1_000);
  }
  await scene.time.advance(left() - 1);
  expect(await client.tryAcquire('job')).toBeNull();
  await scene.time.advance(1);
  expect(await client.tryAcquire('job')).not.toBeNull();
}

/** From now on, no request of the host arrives. */
const cutOff = () => scene.store.plan({ do: 'loseRequest', times: Number.POSITIVE_INFINITY });

describe('holdAtLeastMs keeps the lock closed from its acquisition when', () => {
  const endings: [string, AcquireOptions, (lease: Lease) => unknown][] = [
    ['the holder dies at once', {}, (lease) => lease.abandon('abandoned')],
    ['the invocation is about to end', { remainingMs: () => 3_000 }, () => scene.time.advance(3_000)],
    ['the invocation times out', { remainingMs: () => 3_000 }, (lease) => lease.abandon('timedOut')],
    ['holdAtMostMs ends the lease', { holdAtMostMs: 2_000 }, () => scene.time.advance(2_000)],
    ['the lease is released', {}, (lease) => lease.release()],
    [
      'the lease is released after its loss',
      { holdAtMostMs: 2_000 },
      async (lease) => {
        await scene.time.advance(2_000);
        await lease.release();
      },
    ],
    [
      'the lease was renewed, and is abandoned',
      {},
      async (lease) => {
        await lease.renew();
        lease.abandon('abandoned');
      },
    ],
    ['the lease is handed off, and nobody resumes it', {}, (lease) => lease.handOff({ leaseMs: 5_000 })],
    [
      'an operator ends the lease',
      {},
      async (lease) => {
        await scene.host().client.forceRelease('job', { lockId: lease.lockId });
        lease.abandon('revoked');
      },
    ],
  ];
  test.each(endings)('%s', async (_, options, end) => {
    await end(await take(options));
    await expectClosedForHoldAtLeast();
  });

  test('the release is lost', async () => {
    const lease = await take();
    scene.store.plan({ do: 'hang', operation: 'release', times: 3 });
    const released = outcomeOf(lease.release());
    await scene.time.advance(5_000);
    expect(released).toMatchObject({ settled: true, value: false });
    await expectClosedForHoldAtLeast();
  });

  test('the process that resumed the lease dies', async () => {
    const handle = await (await take()).handOff({ leaseMs: 5_000 });
    await scene.time.advance(1_000);
    const resumed = await scene.host().client.resume(JSON.parse(JSON.stringify(handle)), { leaseMs: LEASE_MS });
    resumed.abandon('abandoned');
    await expectClosedForHoldAtLeast();
  });

  test('a resume is given up, and its grant is discarded', async () => {
    const handle = await (await take()).handOff({ leaseMs: 5_000 });
    const controller = new AbortController();
    scene.store.plan({ do: 'delayAnswer', ms: 500, operation: 'resume' });
    const resuming = outcomeOf(scene.host().client.resume(handle, { signal: controller.signal }));
    await scene.time.advance(100);
    controller.abort('enough');
    await scene.time.advance(1_000);
    expect(resuming.error).toBe('enough');
    await expectClosedForHoldAtLeast();
  });

  test('its client is closed before a resume hands the lease out', async () => {
    const handle = await (await take()).handOff({ leaseMs: 5_000 });
    const { client } = scene.host();
    scene.store.plan({ do: 'delayAnswer', ms: 500, operation: 'resume' });
    const resuming = outcomeOf(client.resume(handle));
    void client.close();
    await scene.time.advance(1_000);
    expect(resuming.error).toMatchObject({ name: 'LockClosedError' });
    await expectClosedForHoldAtLeast();
  });
});

test('holdAtLeastMs moves no deadline: the holder believes for its lease, and for its invocation', async () => {
  const lease = await take();
  expect(lease.deadline).toBe(acquiredAt + 8_000);
  expect((await recordOf())?.expiresAt).toBe(acquiredAt + HOLD_MS);
  await lease.renew();
  expect((await recordOf())?.expiresAt).toBe(acquiredAt + HOLD_MS);
  cutOff();
  await scene.time.advance(8_000);
  expect(lease.isHeld()).toBe(false);
});

test('a lease with a long holdAtLeastMs is renewed by its heartbeat, also beyond holdAtLeastMs', async () => {
  const lease = await take();
  await scene.time.advance(3 * HOLD_MS);
  expect(lease.isHeld()).toBe(true);
  expect((await recordOf())?.expiresAt).toBeGreaterThan(scene.time.now());
  expect(scene.store.count('renew')).toBeGreaterThanOrEqual((3 * HOLD_MS) / LEASE_MS);
});

test('with holdAtLeastMs, a grant that was for nothing opens the lock at once', async () => {
  const controller = new AbortController();
  scene.store.plan({ do: 'delayAnswer', ms: 500, operation: 'acquire' });
  const acquiring = outcomeOf(take({ signal: controller.signal }));
  await scene.time.advance(100);
  controller.abort('enough');
  await scene.time.advance(1_000);
  expect(acquiring.error).toBe('enough');
  expect(await scene.host().client.tryAcquire('job')).not.toBeNull();
});

test('a lock that holdAtLeastMs keeps closed after the death of its holder says when it opens', async () => {
  (await take()).abandon('abandoned');
  await scene.time.advance(20_000);
  const { client } = scene.host();
  await expect(client.acquire('job')).rejects.toMatchObject({ retryAfterMs: HOLD_MS - 20_000 });
  expect(await client.inspect('job')).toMatchObject({ opensInMs: HOLD_MS - 20_000 });
});

test.each([
  ['an hour ahead', 3_600_000],
  ['a minute behind', -60_000],
])("holdAtLeastMs counts by the server's clock if the host is %s and dies", async (_, ahead) => {
  scene = world({ dated: true });
  const { client } = scene.host({ ahead, isDisciplined: false });
  acquiredAt = scene.time.now();
  const lease = await settle(scene.time, client.acquire('job', { leaseMs: LEASE_MS, holdAtLeastMs: HOLD_MS }));
  lease.abandon('abandoned');
  const { record } = await scene.memory.read('job');
  expect(record?.expiresAt).toBeGreaterThanOrEqual(acquiredAt + HOLD_MS);
  expect(record?.expiresAt).toBeLessThan(acquiredAt + HOLD_MS + 2_000);
});

test.each([
  ['is missing', undefined],
  ['is text', 'yesterday'],
])('a resume of a handle with holdAtLeastMs whose acquiredAt %s is refused', async (_, value) => {
  const handle = await (await take()).handOff({ leaseMs: 5_000 });
  const junk = { ...handle, acquiredAt: value as never };
  await expect(scene.host().client.resume(junk)).rejects.toThrow(
    /^The acquiredAt of a handle must be as handOff\(\) gave it/,
  );
});
