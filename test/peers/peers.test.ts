/** The scenarios of the suites of other lock clients. Each title ends with the name of the other suite's test. */
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { LockClient } from '../../lib/lease/client.ts';
import { LockStoreError } from '../../lib/record/errors.ts';
import { MemoryLockStore } from '../../lib/testing/memory.ts';
import { outcomeOf, punctual, settle, taken, world } from '../lease/setup.ts';

beforeEach(punctual);
afterEach(() => {
  jest.restoreAllMocks();
});

/** The holder renews after 10 s and believes for 27 s. The lock opens after 30 s. */
const timing = { leaseMs: 30_000, heartbeatMs: 10_000, safetyMs: 3_000 };
const throttled = () => new LockStoreError('Throttled.', { transient: true });

async function held() {
  const { time, store, host } = world();
  const mine = host(timing);
  const lease = await taken(mine.client.tryAcquire('job'));
  return { time, store, host, mine, lease, other: host(timing) };
}

/** Contenders take turns at one key. Returns the number of leases of each client, and the most holders at once. */
async function contend(clients: readonly LockClient[], time: ReturnType<typeof world>['time'], release: boolean) {
  let inside = 0;
  let most = 0;
  const had = clients.map(() => 0);
  const runs = clients.map(async (client, index) => {
    const lease = await client.acquire('job', { waitMs: 10_000_000, holdAtMostMs: 1_000 });
    most = Math.max(most, ++inside);
    had[index] = (had[index] as number) + 1;
    await new Promise<void>((resolve) => time.setTimeout(resolve, 5));
    if (release) {
      inside--;
      await lease.release();
    } else {
      // The holder never releases. The deadline ends the hold.
      lease.signal.addEventListener('abort', () => inside--);
    }
  });
  const done = outcomeOf(Promise.all(runs));
  for (let s = 0; s < 20_000 && !done.settled; s++) await time.advance(500);
  expect(done.error).toBeUndefined();
  expect(done.settled).toBe(true);
  return { had, most };
}

describe('dynamolock', () => {
  test('a renewal that succeeds is sent once (TestHeartbeatRetry/noRetry)', async () => {
    const { time, store, lease, mine } = await held();
    await time.advance(10_000);
    expect(store.count('renew')).toBe(1);
    expect(mine.of('renewed')).toHaveLength(1);
    expect(lease.deadline).toBe(time.now() + 27_000);
  });

  test('a renewal whose answer is lost is sent again, and is no loss (TestHeartbeatRetry)', async () => {
    const { time, store, lease, mine } = await held();
    store.plan({ do: 'hangAnswer', operation: 'renew' });
    await time.advance(11_000);
    expect(store.count('renew')).toBe(2);
    expect(mine.of('renewed')).toHaveLength(1);
    expect(mine.of('lost')).toEqual([]);
    // The deadline counts from the sending, and not from the answer.
    expect(lease.deadline).toBe(time.now() - 1_000 + 27_000);
  });

  test.each([1, 8])(
    'a renewal that fails %d times is sent again until it succeeds (TestHeartbeatRetry/retryOnce, retryMany)',
    async (times) => {
      const { time, store, lease, mine } = await held();
      store.plan({ do: 'loseRequest', operation: 'renew', times });
      await time.advance(26_000);
      expect(mine.of('renewFailed')).toHaveLength(times);
      expect(mine.of('renewed').length).toBeGreaterThan(0);
      expect(lease.isHeld()).toBe(true);
    },
  );

  test('a lease whose renewals all fail is lost at the deadline, and not before (TestHeartbeatError)', async () => {
    const { time, store, lease, mine } = await held();
    store.plan({ do: 'loseRequest', operation: 'renew', times: Number.POSITIVE_INFINITY });
    const { signal } = lease;
    await time.advance(26_999);
    expect(signal.aborted).toBe(false);
    await time.advance(1);
    expect(signal.aborted).toBe(true);
    expect(mine.of('lost')).toMatchObject([{ reason: 'expired' }]);
  });

  test('a lease that is taken over between two renewals is lost at the second renewal (TestHeartbeatRetry/lostDuringHeartbeatRetry)', async () => {
    const { time, store, lease, mine, other } = await held();
    store.plan({ do: 'loseRequest', operation: 'renew' });
    await time.advance(10_000);
    await other.client.forceRelease('job', { lockId: lease.lockId, immediately: true });
    const thief = await taken(other.client.tryAcquire('job'));
    await time.advance(1_000);
    expect(mine.of('lost')).toMatchObject([{ reason: 'takenOver' }]);
    expect([lease.isHeld(), thief.isHeld()]).toEqual([false, true]);
  });

  test('a renewal that finds no record is a loss (TestHeartbeatRetry/badReadAfterFail)', async () => {
    const { time, store, lease, mine } = await held();
    store.plan({ do: 'loseRequest', operation: 'renew' });
    await time.advance(10_000);
    store.inner = new MemoryLockStore();
    await time.advance(1_000);
    expect(mine.of('lost')).toMatchObject([{ reason: 'gone' }]);
    expect(lease.isHeld()).toBe(false);
  });

  test('a release after a failed renewal ends the renewals (TestHeartbeatRetry/canceledDuringRetry)', async () => {
    const { time, store, lease } = await held();
    store.plan({ do: 'loseRequest', operation: 'renew' });
    await time.advance(10_000);
    expect(await lease.release()).toBe(true);
    await time.advance(60_000);
    expect(store.count('renew')).toBe(1);
    expect(time.timers).toBe(0);
  });

  test('a release during a renewal leaves the lock open, even if the renewal arrives late (TestHeartbeatImmediateContextCancel)', async () => {
    const { time, store, lease, other } = await held();
    store.plan({ do: 'delayRequest', operation: 'renew', ms: 500 });
    await time.advance(10_000);
    expect(await lease.release()).toBe(true);
    await time.advance(1_000);
    expect((await other.client.inspect('job'))?.held).toBe(false);
    expect(lease.signal.aborted).toBe(false);
  });

  test('two renewals at once send one request (TestHeartbeatDataOps/racy heartbeats)', async () => {
    const { store, lease } = await held();
    await Promise.all([lease.renew(), lease.renew()]);
    expect(store.count('renew')).toBe(1);
  });

  test('the new holder can renew after a takeover, and the previous holder cannot (TestHeartbeatHandover, TestHeartbeatOwnerMatching)', async () => {
    const { time, store, lease, other } = await held();
    store.plan({ do: 'loseRequest', operation: 'renew', times: Number.POSITIVE_INFINITY });
    await time.advance(30_000);
    store.heal();
    const next = await taken(other.client.tryAcquire('job'));
    expect(next.takenOverFrom?.owner).toBe(lease.owner);
    await expect(lease.renew()).rejects.toMatchObject({ name: 'LockLostError', reason: 'expired' });
    await next.renew();
    expect(next.isHeld()).toBe(true);
  });

  test('an acquire with an aborted signal sends nothing (TestAcquireLockOnCanceledContext)', async () => {
    const { store, host } = world();
    const reason = new Error('no longer');
    const acquired = host(timing).client.acquire('job', { waitMs: 1_000, signal: AbortSignal.abort(reason) });
    await expect(acquired).rejects.toBe(reason);
    expect(store.count('acquire')).toBe(0);
  });

  test('a client that is closed during an acquire leaves the lock open (TestAcquireLockOnCloseClient, TestCloseRace)', async () => {
    const { time, store, host } = world();
    const { client } = host(timing);
    store.plan({ do: 'delayAnswer', operation: 'acquire', ms: 200 });
    const acquired = outcomeOf(client.acquire('job', { waitMs: 5_000 }));
    await time.advance(100);
    const closed = outcomeOf(client.close());
    await time.advance(10_000);
    expect(acquired.error?.message).toMatch('closed');
    expect(closed.settled).toBe(true);
    expect((await host(timing).client.inspect('job'))?.held).toBe(false);
    expect(time.timers).toBe(0);
  });

  test('a second release gives true as the first release did, and leaves the next holder alone (TestInvalidReleases)', async () => {
    const { time, lease, other } = await held();
    expect(await lease.release()).toBe(true);
    await time.advance(1);
    const next = await taken(other.client.tryAcquire('job'));
    expect(await lease.release()).toBe(true);
    await next.renew();
    expect(next.isHeld()).toBe(true);
  });

  test('every contender that never releases gets the lock, one at a time (TestIssue56, never releasing)', async () => {
    const { time, host } = world();
    const clients = Array.from({ length: 12 }, () => host({ leaseMs: 2_000 }).client);
    const { had, most } = await contend(clients, time, false);
    expect(had).toEqual(clients.map(() => 1));
    expect(most).toBe(1);
  });
});

describe('amazon-dynamodb-lock-client', () => {
  test('100 contenders for one key all get the lock, one at a time (dynamolock: TestIssue56)', async () => {
    const { time, host } = world();
    const clients = Array.from({ length: 100 }, () => host(timing).client);
    const { had, most } = await contend(clients, time, true);
    expect(had).toEqual(clients.map(() => 1));
    expect(most).toBe(1);
  });

  test('a host takes over an expired lease in one request (acquireLock_whenLockExistsAndIsExpired_andSkipBlockingWaitIsTurnedOn)', async () => {
    const { time, store, lease, other } = await held();
    lease.abandon('timedOut');
    await time.advance(30_000);
    store.requests = [];
    const next = await taken(other.client.tryAcquire('job'));
    expect(store.operations).toEqual(['acquire']);
    expect(next.takenOverFrom?.owner).toBe(lease.owner);
    expect(next.fencingToken).toBeGreaterThan(lease.fencingToken);
  });

  test('one of two hosts that try at once takes over an expired lease (acquireLock_whenExpiredCachedLockIsConcurrentlyAcquired_andSkipBlockingWait_throwsUnavailable)', async () => {
    const { time, lease, host, other } = await held();
    lease.abandon('timedOut');
    await time.advance(30_000);
    const both = await Promise.all([other.client.tryAcquire('job'), host(timing).client.tryAcquire('job')]);
    expect(both.filter((next) => next?.isHeld())).toHaveLength(1);
  });

  test('a waiter gets the lock of a dead holder at the expiry (testSucceedToAcquireLockAfterTimeout)', async () => {
    const { time, lease, other } = await held();
    lease.abandon('timedOut');
    const from = time.now();
    await settle(time, other.client.acquire('job', { waitMs: 40_000 }), 40_000);
    expect(time.now() - from).toBeGreaterThanOrEqual(30_000);
    expect(time.now() - from).toBeLessThan(30_100);
  });

  test('a waiter gives up at the end of its wait if the holder renews (testAcquireLockAfterTimeout)', async () => {
    const { time, lease, other } = await held();
    const waited = outcomeOf(other.client.acquire('job', { waitMs: 40_000 }));
    await time.advance(41_000);
    expect(waited.error?.name).toBe('LockBusyError');
    expect(lease.isHeld()).toBe(true);
  });

  test('a holder is refused a second lease of its lock (testAcquireLockMultipleTimesNotReentrant)', async () => {
    const { mine, lease } = await held();
    expect(await mine.client.tryAcquire('job')).toBeNull();
    expect(lease.isHeld()).toBe(true);
  });

  test('an expired lease can be released, and cannot be renewed (canReleaseExpiredLock, cannotHeartbeatExpiredLock)', async () => {
    const { time, store, lease, other } = await held();
    store.plan({ do: 'loseRequest', operation: 'renew', times: Number.POSITIVE_INFINITY });
    await time.advance(27_000);
    store.heal();
    await expect(lease.renew()).rejects.toMatchObject({ name: 'LockLostError' });
    await lease.release();
    // Other hosts need not wait for the expiry.
    expect(await other.client.tryAcquire('job')).not.toBeNull();
  });

  test("a late holder does not release another holder's lease (cannotReleaseLockYouDontOwn, testReleaseLockBestEffort)", async () => {
    const { time, lease, mine, other } = await held();
    await other.client.forceRelease('job', { lockId: lease.lockId, immediately: true });
    await time.advance(2);
    const next = await taken(other.client.tryAcquire('job'));
    expect(await lease.release()).toBe(false);
    expect(mine.of('lost')).toMatchObject([{ reason: 'takenOver' }]);
    await next.renew();
  });

  test('a throttled try rejects, and a wait goes on after the throttling (acquireLock_whenProvisionedThroughputExceeds_throwLockNotGrantedException)', async () => {
    const { time, store, host } = world();
    const { client } = host(timing);
    store.plan({ do: 'fail', error: throttled(), operation: 'acquire', times: 4 });
    await expect(settle(time, client.tryAcquire('job'))).rejects.toMatchObject({
      name: 'LockStoreError',
      transient: true,
    });
    const lease = await settle(time, client.acquire('job', { waitMs: 1_000 }), 1_000);
    expect(lease.isHeld()).toBe(true);
  });

  test('a client releases all its leases when it is closed (testReleaseAllLocks)', async () => {
    const { host } = world();
    const { client } = host(timing);
    const leases = [];
    for (const key of ['a', 'b', 'c']) leases.push(await taken(client.tryAcquire(key)));
    // A lease is told to stop, and released by its holder.
    for (const lease of leases) lease.signal.addEventListener('abort', () => void lease.release());
    await client.close();
    const { client: other } = host(timing);
    for (const key of ['a', 'b', 'c']) expect((await other.inspect(key))?.held).toBe(false);
    expect(leases.map(({ signal }) => signal.aborted)).toEqual([true, true, true]);
  });

  test('other hosts can read the data of a lock until the next grant (testAcquireLockLeaveOrReplaceDataFromReleasedLock)', async () => {
    const { host } = world();
    const { client } = host(timing);
    const lease = await taken(client.tryAcquire('job', { data: { file: 'a.csv' } }));
    expect((await host(timing).client.inspect('job'))?.data).toEqual({ file: 'a.csv' });
    await lease.release();
    await taken(client.tryAcquire('job'));
    expect((await client.inspect('job'))?.data).toBeUndefined();
  });

  test('a lease without renewals aborts its signal before the lock opens (testSessionMonitorCallbackFiredOnNonHeartbeatingLock)', async () => {
    const { time, host } = world();
    const lease = await taken(host(timing).client.tryAcquire('job', { holdAtMostMs: 5_000 }));
    const other = host(timing).client;
    const told = new Promise<boolean>((resolve) => {
      lease.signal.addEventListener('abort', async () => resolve((await other.tryAcquire('job')) === null));
    });
    await time.advance(5_000);
    expect(await told).toBe(true);
  });
});

describe('ShedLock', () => {
  test('a lock is busy until its release (shouldCreateLock, shouldNotReturnSecondLock, shouldLockTwiceInARow)', async () => {
    const { time, lease, other } = await held();
    expect(await other.client.tryAcquire('job')).toBeNull();
    await lease.release();
    await time.advance(1);
    expect(await other.client.tryAcquire('job')).not.toBeNull();
  });

  test('two keys are two locks (shouldCreateTwoIndependentLocks)', async () => {
    const { other } = await held();
    expect(await other.client.tryAcquire('another job')).not.toBeNull();
  });

  test('a host can take a lock ten times, each time right after the release (shouldBeAbleToLockRightAfterUnlock)', async () => {
    const { host } = world();
    const [one, other] = [host(timing).client, host(timing).client];
    for (let turn = 0; turn < 10; turn++) {
      const lease = await taken(one.tryAcquire('job'));
      expect(await other.tryAcquire('job')).toBeNull();
      await lease.release();
    }
  });

  test('an abandoned lock opens at the expiry (shouldTimeout)', async () => {
    const { time, lease, other } = await held();
    lease.abandon('timedOut');
    await time.advance(29_999);
    expect(await other.client.tryAcquire('job')).toBeNull();
    await time.advance(1);
    expect(await other.client.tryAcquire('job')).not.toBeNull();
  });

  test('a released lock stays closed for holdAtLeastMs (shouldLockAtLeastFor)', async () => {
    const { time, host } = world();
    const lease = await taken(host(timing).client.tryAcquire('job', { holdAtLeastMs: 2_000 }));
    await lease.release();
    const { client } = host(timing);
    await time.advance(1_999);
    expect(await client.tryAcquire('job')).toBeNull();
    await time.advance(1);
    expect(await client.tryAcquire('job')).not.toBeNull();
  });

  test('a counter under the lock misses no increment (fuzzTestShouldPass; amazon-dynamodb-lock-client: ConsistentLockDataStressTest)', async () => {
    const { time, host } = world();
    let counter = 0;
    const runs = Array.from({ length: 8 }, async () => {
      const { client } = host(timing);
      for (let turn = 0; turn < 5; turn++) {
        await client.using('job', { waitMs: 1_000_000 }, async () => {
          const read = counter;
          await new Promise<void>((resolve) => time.setTimeout(resolve, 3));
          counter = read + 1;
        });
      }
    });
    const done = outcomeOf(Promise.all(runs));
    for (let s = 0; s < 1_000 && !done.settled; s++) await time.advance(100);
    expect(done.error).toBeUndefined();
    expect(counter).toBe(40);
  });
});
