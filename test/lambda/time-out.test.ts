import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { describeOnLambda, TestBed } from './test-bed.ts';

describeOnLambda('an invocation whose time is up', () => {
  let testBed: TestBed;
  beforeAll(async () => {
    testBed = await TestBed.of('handlers/time-out.ts');
  });
  afterEach(() => testBed.reset());
  afterAll(() => testBed?.[Symbol.asyncDispose]());

  test.each([
    { name: 'waiting', what: 'renews its lease', safetyMs: 300, least: 3 },
    { name: 'blocked', what: 'has blocked its process', safetyMs: 3_000, least: 1 },
  ])(
    'after Lambda has killed a handler that $what at its time-out, the lock is free within safetyMs',
    async ({ name, safetyMs, least }) => {
      const { others, proxy } = testBed;
      const lambda = await testBed.start(`time-out.${name}`);
      const invocation = lambda.begin({ key: name, gate: testBed.gate().url }, { timeoutMs: 2_000 });
      expect(await invocation.outcome).toEqual({ timedOut: true });
      expect(await lambda.exited).toBe('SIGKILL');
      // The holder did not foresee its end, and believed in its lease until the deadline: nobody may come before.
      expect(await others.tryAcquire(name)).toBeNull();
      expect(proxy.count()).toBeGreaterThanOrEqual(least);

      const next = await others.acquire(name, { waitMs: 10_000 });
      expect(next.takenOverFrom?.expiredAt).toBeGreaterThanOrEqual(invocation.deadline);
      expect(next.takenOverFrom?.expiredAt).toBeLessThanOrEqual(invocation.deadline + safetyMs);
    },
  );

  test.each([
    { name: 'throwing', outcome: { error: expect.objectContaining({ errorType: 'TimeoutError' }) } },
    { name: 'returning', outcome: { response: { statusCode: 408 } } },
  ])(
    "Middy's early time-out ($name) aborts the handler, whose lease is not released and ends with the time",
    async ({ name, outcome }) => {
      const { others, proxy } = testBed;
      const lambda = await testBed.start(`time-out.${name}`);
      const gate = testBed.gate();
      const job = { key: name, gate: gate.url, time: '2026-01-01T02:00:00Z' };
      const invocation = lambda.begin(job, { timeoutMs: 1_500 });
      expect(await invocation.outcome).toEqual(outcome);
      expect(Date.now()).toBeLessThan(invocation.deadline);
      expect(lambda.logged.map(({ type, reason }) => [type, reason])).toEqual([
        ['acquired', undefined],
        ['lost', 'timedOut'],
        ['aborted', 'timedOut'],
      ]);
      expect(proxy.count()).toBe(1);
      expect(await others.tryAcquire(name)).toBeNull();

      // The handler is frozen with its lease, and the lease ends with the time of the invocation.
      await lambda.freeze();
      const next = await others.acquire(name, { waitMs: 10_000, once: job.time });
      expect(next.takenOverFrom?.expiredAt).toBeLessThanOrEqual(invocation.deadline + 3_000);
      expect(proxy.count()).toBe(1);

      // The thawed handler goes on beside the next invocation, and touches nothing.
      gate.open();
      lambda.thaw();
      const { error } = await lambda.invoke({ ...job, key: name });
      expect(error?.errorType).toBe('LockBusyError');
      expect(lambda.logged).toContainEqual({ type: 'went on', isHeld: false });
      await lambda.idle();
      expect(next.isHeld()).toBe(true);
      expect((await others.inspect(name))?.lockId).toBe(next.lockId);
      expect(proxy.count()).toBe(2);
      await next.release();
    },
  );
});
