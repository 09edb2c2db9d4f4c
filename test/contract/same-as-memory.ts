import { randomUUID } from 'node:crypto';
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { LockStore, StoreAnswer } from '../../lib/record/store.ts';
import { MemoryLockStore } from '../../lib/testing/memory.ts';

/** Requests of a few holders, at a few moments, with a few tokens. So few that the requests conflict. */
const base = Date.now();
const moment = fc.integer({ min: 0, max: 4 }).map((step) => base + step * 1_000);
const lockId = fc.constantFrom('anna', 'bert', 'carl');
const token = fc.option(fc.constantFrom('run-1', 'run-2', 'run-3'), { nil: undefined });
/** One request of any kind. */
export const anyRequest = fc.oneof(
  fc.record({
    do: fc.constant('acquire' as const),
    lockId,
    now: moment,
    leaseMs: fc.constantFrom(500, 1_500),
    once: token,
    data: fc.option(fc.constantFrom('1', '{"a":[]}'), { nil: undefined }),
    coalesce: fc.constantFrom(undefined, 'always' as const, 'always' as const, 'ifOwed' as const),
  }),
  fc.record({ do: fc.constant('renew' as const), lockId, until: moment }),
  fc.record({
    do: fc.constant('release' as const),
    lockId,
    now: fc.constant(base + 4_000),
    holdAtLeastMs: fc.constantFrom(0, 1, 1_000),
    doneToken: token,
    doneResult: fc.option(fc.constant('{"done":1}'), { nil: undefined }),
    served: fc.constantFrom(undefined, 1, 2, 3),
  }),
  fc.record({ do: fc.constant('ask' as const), seen: lockId, serving: fc.constantFrom(1, 2, 3) }),
  fc.record({ do: fc.constant('turn' as const), lockId, serving: fc.constantFrom(1, 2, 3) }),
  fc.record({ do: fc.constant('giveBack' as const), now: fc.constant(base) }),
  fc.record({ do: fc.constant('resume' as const), handed: lockId, lockId, until: moment, leaseMs: fc.constant(1_000) }),
  fc.record({
    do: fc.constant('commit' as const),
    lockId,
    data: fc.constantFrom('1', '{}'),
    number: fc.constantFrom(1, 2, 3),
  }),
  fc.record({ do: fc.constant('forceRelease' as const), lockId, immediately: fc.boolean() }),
  fc.record({
    do: fc.constant('repair' as const),
    opensAt: moment,
    fencingToken: fc.constantFrom(1, base + 7),
    isStale: fc.boolean(),
  }),
);
type Request = typeof anyRequest extends fc.Arbitrary<infer T> ? T : never;

/**
 * Compares a store with lib/record/transitions.ts: any sequence of requests gets the answers, and leaves the records, of a
 * `MemoryLockStore`.
 */
export function sameAsMemory(
  makeStore: () => LockStore | Promise<LockStore>,
  { runs }: { readonly runs: number },
): void {
  test('answers random requests and changes the record like lib/record/transitions.ts', async () => {
    const store = await makeStore();
    await fc.assert(
      fc.asyncProperty(fc.array(anyRequest, { minLength: 3, maxLength: 12 }), async (sequence) => {
        const memory = new MemoryLockStore();
        const key = randomUUID();
        for (const request of sequence) {
          const expected = await send(memory, key, request);
          const answer = await send(store, key, request);
          expect(answer?.applied).toBe(expected?.applied);
          expect(await recordOf(store, key)).toEqual(await recordOf(memory, key));
          // A refusal has the whole record. An answer to an applied request has the whole record or no record.
          if (answer && (answer.record || !answer.applied)) expect(answer.record).toEqual(expected?.record);
        }
      }),
      { numRuns: runs },
    );
  });
}

const recordOf = async (store: LockStore, key: string) => (await store.read(key, { consistent: true })).record;

/** Sends a request. A give back restores the lease that the standing grant took over, if there is a lease to restore. */
export async function send(store: LockStore, key: string, request: Request): Promise<StoreAnswer | undefined> {
  switch (request.do) {
    case 'acquire': {
      const { now, leaseMs } = request;
      return store.acquire({ ...request, key, owner: `owner of ${request.lockId}`, until: now + leaseMs });
    }
    case 'release': {
      // A result without a token is never released.
      const { doneResult, ...rest } = request;
      return store.release({ ...rest, key, ...(rest.doneToken !== undefined && { doneResult }) });
    }
    case 'resume':
      return store.resume({ ...request, key, owner: `owner of ${request.lockId}` });
    case 'giveBack': {
      const record = await recordOf(store, key);
      if (record?.lockId === undefined || record.tookOver === undefined) return undefined;
      const { lockId, fencingToken, tookOver: previous } = record;
      return store.giveBack({ key, lockId, fencingToken, now: request.now, previous });
    }
    case 'repair': {
      const { fencingToken = 0, expiresAt = 0 } = (await recordOf(store, key)) ?? {};
      const seen = { fencingToken, expiresAt: expiresAt - (request.isStale ? 1 : 0) };
      return store.repair({ key, seen, opensAt: request.opensAt, fencingToken: request.fencingToken });
    }
    default:
      return store[request.do]({ ...request, key } as never);
  }
}
