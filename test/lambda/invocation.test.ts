import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { describeOnLambda, TestBed } from './test-bed.ts';

describeOnLambda("a handler on Lambda's own runtime", () => {
  let testBed: TestBed;
  beforeAll(async () => {
    testBed = await TestBed.of('handlers/job.ts', 'handlers/crash.ts');
  });
  afterEach(() => testBed.reset());
  afterAll(() => testBed?.[Symbol.asyncDispose]());

  test.each(['job.handler', 'job.plain'])(
    '%s holds the lock while it runs, and sends two requests for the lock',
    async (name) => {
      const { others, proxy } = testBed;
      const lambda = await testBed.start(name);
      for (const temperature of ['cold', 'warm']) {
        const key = `${name} ${temperature}`;
        const gate = testBed.gate();
        const invocation = lambda.begin({ key, gate: gate.url });
        await gate.reached;
        const record = await others.inspect(key);
        expect(record).toMatchObject({ held: true, owner: expect.stringMatching(/^job:\$LATEST 2026\S+ \S+$/) });
        expect(record?.owner).toContain(invocation.requestId);
        expect(await others.tryAcquire(key)).toBeNull();

        gate.open();
        expect(await invocation.outcome).toEqual({ response: { isHeld: true, fencingToken: record?.fencingToken } });
        expect(await others.tryAcquire(key)).not.toBeNull();
        expect(proxy.requests.map(({ operation }) => operation)).toEqual(['UpdateItem', 'UpdateItem']);
        proxy.reset();
      }
    },
  );

  test('a busy lock fails the invocation with LockBusyError, which hides the holder from callers', async () => {
    const lambda = await testBed.start('job.handler');
    await testBed.others.acquire('busy');
    const { error } = await lambda.invoke({ key: 'busy' });
    expect(error).toMatchObject({
      errorType: 'LockBusyError',
      errorMessage: expect.stringMatching(/^The lock 'busy' is busy; retry in \d+ s\.$/),
    });
    expect(testBed.proxy.count()).toBe(1);
  });

  test.each(['job.handler', 'job.plain'])(
    "when the handler fails, %s responds with the handler's error, and the lock is free",
    async (name) => {
      const lambda = await testBed.start(name);
      const { error } = await lambda.invoke({ key: `fails in ${name}`, end: 'fail' });
      expect(error).toMatchObject({ errorType: 'RangeError', errorMessage: 'The work failed.' });
      expect(await testBed.others.tryAcquire(`fails in ${name}`)).not.toBeNull();
    },
  );

  test('a process that dies in mid-invocation leaves a lease that ends with the time of the invocation', async () => {
    const { others } = testBed;
    const lambda = await testBed.start('job.handler');
    const invocation = lambda.begin({ key: 'exit', end: 'exit' }, { timeoutMs: 1_000 });
    expect(await invocation.outcome).toEqual({ exited: 'exit code 3' });
    const record = await others.inspect('exit');
    expect(record?.lockId).toBeDefined();
    const next = await others.acquire('exit', { waitMs: 10_000 });
    expect(next.takenOverFrom).toEqual({ owner: record?.owner, expiredAt: record?.expiresAt });
    expect(record?.expiresAt).toBeLessThanOrEqual(invocation.deadline + 3_000);
  });

  test('a wrong option fails the init, before any invocation, with an error that shows the value', async () => {
    const lambda = await testBed.start('crash.handler', { environment: { CRASH: 'misconfigured' } });
    expect(await lambda.exited).not.toBe('exit code 0');
    expect(lambda.initError).toMatchObject({
      errorType: 'TypeError',
      errorMessage: "The key of a lock must not be empty, but it is ''.",
    });
    expect(testBed.proxy.count()).toBe(0);
  });

  test('the next cold start takes over a lease of an init that crashed, at the expiry', async () => {
    const crashed = await testBed.start('crash.handler', { environment: { CRASH: 'holding' } });
    expect(crashed.initError).toMatchObject({ errorType: 'RangeError', errorMessage: 'The migration failed.' });
    const record = await testBed.others.inspect('migration');
    expect(record?.lockId).toBeDefined();

    const next = await testBed.start('crash.handler');
    const { error } = await next.invoke({});
    expect(error?.errorType).toBe('LockBusyError');
    await sleep((record?.expiresAt ?? 0) - Date.now());
    expect(await next.invoke({})).toEqual({ response: 'done' });
  });

  test('with lockPlugin(), a later middleware that returns early responds after the lock is free', async () => {
    const lambda = await testBed.start('job.earlyWithPlugin');
    expect(await lambda.invoke({ key: 'early' })).toEqual({ response: 'early' });
    expect(await testBed.others.tryAcquire('early')).not.toBeNull();
    expect(lambda.logged.map(({ type }) => type)).toEqual(['acquired', 'released']);
  });

  test('without lockPlugin(), a lock is free at the end of the invocation if a later middleware returned early', async () => {
    const { others, proxy } = testBed;
    const lambda = await testBed.start('job.earlyWithoutPlugin');
    const invocation = lambda.begin({ key: 'leaks' }, { timeoutMs: 2_500 });
    expect(await invocation.outcome).toEqual({ response: 'early' });
    expect(await others.tryAcquire('leaks')).toBeNull();
    // Lambda would freeze the environment here. Awake, it renews the lease again and again, but not beyond the invocation's time.
    const next = await others.acquire('leaks', { waitMs: 10_000 });
    expect(proxy.count()).toBeGreaterThan(3);
    expect(next.takenOverFrom?.expiredAt).toBeGreaterThan(invocation.deadline);
    expect(next.takenOverFrom?.expiredAt).toBeLessThanOrEqual(invocation.deadline + 300);
    expect(lambda.logged.at(-1)).toMatchObject({ type: 'lost', reason: 'expired' });
  });
});
