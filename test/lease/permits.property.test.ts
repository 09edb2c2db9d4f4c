import { afterEach, describe, expect, jest, test } from '@jest/globals';
import type { LockClient } from '../../lib/lease/client.ts';
import type { Lease } from '../../lib/lease/lease.ts';
import { LockError } from '../../lib/record/errors.ts';
import type { Fault } from '../support/scripted-store.ts';
import { seededRandom, type World, world } from './setup.ts';

afterEach(() => {
  jest.restoreAllMocks();
});

const PERMITS = 3;
const HOSTS = 6;
/** Times of a lease that ends often in the middle of its work. */
const TIMES = { leaseMs: 2_000, heartbeatMs: 500, safetyMs: 600 };

/** A fault of a network, for one request in four. */
function faultOf(random: () => number): Fault | undefined {
  const ms = Math.floor(random() * 3_000);
  const faults: Fault[] = [
    { do: 'loseRequest' },
    { do: 'loseAnswer' },
    { do: 'delayRequest', ms },
    { do: 'delayAnswer', ms },
    { do: 'duplicate', ms },
    { do: 'twice', ms },
    { do: 'hangAnswer' },
  ];
  return random() < 0.25 ? faults[Math.floor(random() * faults.length)] : undefined;
}

/** Takes slots again and again. Some leases are released, some are abandoned, some are left to their heartbeats. */
async function work({ time }: World, client: LockClient, held: Set<Lease>, random: () => number): Promise<void> {
  for (let job = 0; job < 8; job++) {
    try {
      const lease = await client.acquire('partner', { permits: PERMITS, waitMs: random() < 0.5 ? 0 : 5_000 });
      held.add(lease);
      await new Promise<void>((done) => time.setTimeout(done, random() * 3_000));
      if (random() < 0.2) lease.abandon('abandoned');
      else await lease.release();
    } catch (error) {
      if (!(error instanceof LockError)) throw error;
      await new Promise<void>((done) => time.setTimeout(done, random() * 200));
    }
  }
}

/** Runs hosts over a network with faults, and gives the most leases that were believed in at a time. */
async function run(seed: number): Promise<{ most: number; grants: number }> {
  const random = seededRandom(seed);
  const scene = world({ dated: seed % 2 === 0 });
  const held = new Set<Lease>();
  scene.store.script = () => faultOf(random);
  // Clocks that differ by less than safetyMs.
  const hosts = Array.from({ length: HOSTS }, (_, host) => scene.host({ ...TIMES, ahead: host % 3 === 0 ? 400 : 0 }));
  let isOver = false;
  const works = Promise.all(hosts.map(({ client }) => work(scene, client, held, random))).finally(() => {
    isOver = true;
  });
  works.catch(() => {});
  let most = 0;
  for (let ms = 0; !isOver && ms < 600_000; ms += 10) {
    await scene.time.advance(10);
    const believed = [...held].filter((lease) => lease.isHeld());
    expect(new Set(believed.map(({ slot }) => slot)).size).toBe(believed.length);
    most = Math.max(most, believed.length);
  }
  await works;
  return { most, grants: held.size };
}

describe('a lock with three permits, over a network that loses, delays and repeats requests', () => {
  test.each([1, 2, 3, 4, 5, 6, 7, 8])(
    'has three holders at a time, never four, and none share a slot (seed %d)',
    async (seed) => {
      const { most, grants } = await run(seed);
      expect(most).toBe(PERMITS);
      expect(grants).toBeGreaterThan(10);
    },
  );
});
