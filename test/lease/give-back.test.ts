import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { LockRecord, Takeover } from '../../lib/record/record.ts';
import { outcomeOf, taken, type World, world } from './setup.ts';

let scene: World;
beforeEach(() => {
  scene = world();
});
afterEach(() => {
  jest.restoreAllMocks();
});

describe('a grant that cannot be given back at first, since its record shows another token or another grant,', () => {
  const EXPIRY = 1_767_225_600_000;
  const theirs: Takeover = { type: 'lease', lockId: 'theirs', acquiredAt: EXPIRY - 1, expiresAt: EXPIRY };
  const [known, unknown] = [{ tookOver: theirs }, { tookOver: undefined }];

  test.each([
    ['is given back to the lease that the record shows as taken over', 2, known, theirs],
    ['is given back to its own taken-over lease if the token is one higher', 1, unknown, { type: 'nothing' }],
    ['is left if the token is two higher and the record shows no lease', 2, unknown, undefined],
  ])('%s', async (_, ahead, previous, givenBackTo) => {
    const { store } = scene;
    const host = scene.host();
    const act = () => {
      host.clock.offsetMs -= 500;
    };
    store.plan({ do: 'then', act, operation: 'acquire' });
    const giveBack = jest.spyOn(store, 'giveBack').mockImplementationOnce(async ({ key, lockId, fencingToken }) => {
      const { record } = await scene.memory.read(key);
      const standing = { ...(record as LockRecord), lockId, fencingToken: fencingToken + ahead, ...previous };
      return { applied: false, record: standing };
    });
    await host.client.tryAcquire('job').catch(() => {});
    const again = giveBack.mock.calls[1]?.[0];
    expect(again?.previous).toEqual(givenBackTo && expect.objectContaining(givenBackTo));
    expect(again?.fencingToken).toBe(givenBackTo && (giveBack.mock.calls[0]?.[0].fencingToken ?? 0) + ahead);
  });

  test.each([[undefined], [{ lockId: 'theirs' }]])(
    'is left if the record shows another lockId or no record: %j',
    async (standing) => {
      const { store } = scene;
      const host = scene.host();
      const act = () => {
        host.clock.offsetMs -= 500;
      };
      store.plan({ do: 'then', act, operation: 'acquire' });
      const giveBack = jest.spyOn(store, 'giveBack');
      giveBack.mockResolvedValueOnce({ applied: false, record: standing as LockRecord });
      await host.client.tryAcquire('job').catch(() => {});
      expect(giveBack).toHaveBeenCalledTimes(1);
    },
  );
});

test('a give back that is never answered ends a call without a wait after three times requestTimeoutMs', async () => {
  const { time, store } = scene;
  const host = scene.host();
  const act = () => {
    host.clock.offsetMs -= 500;
  };
  store.plan({ do: 'then', act, operation: 'acquire', times: 2 }, { do: 'hang', operation: 'giveBack', times: 6 });
  const answer = outcomeOf(host.client.tryAcquire('job', { requestTimeoutMs: 300 }));
  await time.advance(899);
  expect(answer.settled).toBe(false);
  await time.advance(1);
  expect(answer.error).toMatchObject({ name: 'LockStoreError', transient: true });
});

test('a host leaves a grant if the record no longer shows the lease that the grant took over, and the lock stays closed', async () => {
  const { time, store, host } = world({ dated: true, start: Date.UTC(2026, 0, 1) });
  const holder = await taken(host().client.tryAcquire('job'));
  const first = host({ ahead: 3_600_000 });
  // The first host's grant takes over the live lease, and the answer is lost.
  store.plan({ do: 'hangAnswer', operation: 'acquire' });
  const attempt = outcomeOf(first.client.tryAcquire('job'));
  // A second host takes that grant over, learns that its own clock is wrong, and gives the grant back.
  await time.advance(10);
  expect(await host({ ahead: 3_600_000 + 60_000 }).client.tryAcquire('job')).toBeNull();
  await time.advance(5_000);
  expect(attempt.value ?? null).toBeNull();
  expect(attempt.settled).toBe(true);
  expect(store.count('giveBack')).toBe(1);
  expect(await host().client.tryAcquire('job')).toBeNull();
  expect(holder.isHeld()).toBe(true);
});
