import { afterEach, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import type { LockClient } from '../../lib/lease/client.ts';
import type { LockEvent } from '../../lib/lease/events.ts';
import type { Lease } from '../../lib/lease/lease.ts';
import type { LockRecord } from '../../lib/record/record.ts';
import type { Fault, Operation, ScriptedStore } from '../support/scripted-store.ts';
import { outcomeOf, seededRandom, world } from './setup.ts';

afterEach(() => {
  jest.restoreAllMocks();
});

/** The clocks of this test differ by less than `safetyMs`. */
const timing = { leaseMs: 2_000, heartbeatMs: 600, safetyMs: 500 };
const options = { requestTimeoutMs: 300 };

type Deed = 'take' | 'wait' | 'renew' | 'release' | 'pass' | 'abandon' | 'force';

const ms = (max: number) => fc.nat({ max });
/** The fate of the messages of one request. Most messages arrive soon; some are lost, late or delivered twice. */
const fault: fc.Arbitrary<Fault> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('travel' as const), there: ms(40), back: ms(40) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('travel' as const), there: ms(4_000), back: ms(1_000) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('duplicate' as const), ms: ms(6_000) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('twice' as const), ms: ms(300) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('loseRequest' as const, 'loseAnswer' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('hang' as const, 'hangAnswer' as const) }) },
);
const step = fc.record({
  deed: fc.constantFrom<Deed[]>('take', 'take', 'wait', 'renew', 'release', 'pass', 'abandon', 'force'),
  forMs: fc.oneof(ms(300), ms(3_000)),
});
const client = fc.record({
  // Two clocks differ by less than `safetyMs`.
  ahead: fc.integer({ min: -249, max: 249 }),
  steps: fc.array(step, { minLength: 1, maxLength: 12 }),
});
const scenario = fc.record({
  clients: fc.array(client, { minLength: 2, maxLength: 3 }),
  faults: fc.array(fault, { maxLength: 60, size: '+1' }),
  seed: fc.nat(),
});
type Scenario = typeof scenario extends fc.Arbitrary<infer Value> ? Value : never;

/** Watches a store and all leases on it, and notes each violation of an invariant. */
class Watch {
  readonly found = new Set<string>();
  readonly #leases = new Map<string, { lease: Lease; ended: boolean }>();
  /** The `lockId`s of the leases that were believed when the store made each grant. */
  readonly #believersAt = new Map<string, string[]>();
  /** The grants that were released, handed off or force-released. */
  readonly #over = new Set<string>();
  readonly #revoked = new Set<string>();
  #token = 0;
  #expiresAt = 0;
  #lockId = '';

  constructor(store: ScriptedStore) {
    store.onJudged = (operation, { lockId }, { applied, record }) => {
      this.look();
      if (!applied || record === undefined) return;
      if (operation === 'forceRelease') this.#revoked.add(lockId);
      if (this.#over.has(lockId)) this.found.add(`3: a late ${operation} revived what was over`);
      if (operation === 'acquire' || operation === 'resume') this.#granted(lockId, record);
      else if (operation !== 'renew') this.#over.add(lockId);
      else if (record.expiresAt < this.#expiresAt) this.found.add('3: a renewal shortened the lease');
      this.#expiresAt = record.expiresAt;
    };
  }

  /** A client got a lease. */
  add(lease: Lease): Lease {
    this.#leases.set(lease.lockId, { lease, ended: false });
    if (this.#believersAt.get(lease.lockId)?.length !== 0) this.found.add('1: granted while another believed');
    this.look();
    return lease;
  }

  /** A client sends a request. */
  sent(operation: Operation, lockId: string): void {
    const isLost = this.#leases.get(lockId)?.lease.signal.aborted;
    if (operation === 'renew' && isLost) this.found.add('7: a lost lease was renewed');
  }

  /** A client reports an event. */
  told(event: LockEvent): void {
    if (event.type !== 'lost' || event.reason !== 'revoked' || event.fencingToken !== this.#token) return;
    if (!this.#revoked.has(this.#lockId)) this.found.add('3: told of a force release, and nobody forced one');
  }

  look(): void {
    for (const known of this.#leases.values()) {
      const isHeld = known.lease.isHeld();
      if (known.ended && isHeld) this.found.add('7: a lease that had ended is held again');
      known.ended = !isHeld;
    }
    if (this.#believers().length > 1) this.found.add('1: two believe at once');
  }

  #granted(lockId: string, { fencingToken }: LockRecord): void {
    if (this.#believersAt.has(lockId)) this.found.add('3: one request was granted twice');
    if (fencingToken <= this.#token) this.found.add(`2: token ${fencingToken} after ${this.#token}`);
    this.#token = fencingToken;
    this.#lockId = lockId;
    this.#believersAt.set(lockId, this.#believers());
  }

  #believers(): string[] {
    return [...this.#leases.values()].filter(({ ended }) => !ended).map(({ lease }) => lease.lockId);
  }
}

/** The deeds of a client with the lease that it has, if any. Each deed returns the client's lease afterwards. */
const deeds: Record<Deed, (client: LockClient, lease: Lease | undefined, forMs: number) => Promise<Lease | undefined>> =
  {
    take: async (client, lease) => (lease?.isHeld() ? lease : ((await client.tryAcquire('job', options)) ?? undefined)),
    wait: async (client, lease, waitMs) => (lease?.isHeld() ? lease : client.acquire('job', { ...options, waitMs })),
    renew: async (_, lease) => {
      await lease?.renew();
      return lease;
    },
    release: async (_, lease) => {
      await lease?.release();
      return undefined;
    },
    abandon: async (_, lease) => {
      lease?.abandon('timedOut');
      return lease;
    },
    pass: async (client, lease) => lease && client.resume(await lease.handOff({ leaseMs: 3_000 }), options),
    force: async (client, lease) => {
      const lockId = (await client.inspect('job'))?.lockId;
      if (lockId) await client.forceRelease('job', { lockId });
      return lease;
    },
  };

/** Runs a scenario, and returns the violations. */
async function violations({ clients, faults, seed }: Scenario): Promise<string[]> {
  seededRandom(seed);
  const { time, store, host } = world();
  const watch = new Watch(store);
  const left = [...faults];
  store.script = (operation, request) => {
    watch.sent(operation, request.lockId);
    return left.shift();
  };

  const runs = clients.map(async ({ ahead, steps }) => {
    const { client } = host({ ...timing, ahead, onEvent: (event) => watch.told(event) });
    let lease: Lease | undefined;
    for (const { deed, forMs } of steps) {
      await new Promise<void>((resolve) => time.setTimeout(resolve, forMs));
      const had = lease;
      lease = await deeds[deed](client, lease, forMs).catch(() => had);
      if (lease && lease !== had) watch.add(lease);
    }
    await lease?.release();
  });
  const done = outcomeOf(Promise.all(runs));
  for (let s = 0; s < 600 && !done.settled; s++) {
    await time.advance(1_000);
    watch.look();
  }
  await time.advance(10_000);
  watch.look();
  if (done.value === undefined) watch.found.add(`it does not end: ${done.error?.stack}`);
  return [...watch.found];
}

test('invariants 1, 2, 3 and 7 hold over a network that loses, delays and repeats messages', async () => {
  await fc.assert(
    fc.asyncProperty(scenario, async (given) => {
      expect(await violations(given)).toEqual([]);
    }),
    { numRuns: 1_000 },
  );
}, 20_000);
