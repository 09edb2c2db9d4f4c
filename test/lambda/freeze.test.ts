import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { describeOnLambda, TestBed } from './test-bed.ts';

describeOnLambda('an environment that Lambda freezes between two invocations', () => {
  let testBed: TestBed;
  beforeAll(async () => {
    testBed = await TestBed.of('handlers/freeze.ts');
  });
  afterEach(() => testBed.reset());
  afterAll(() => testBed?.[Symbol.asyncDispose]());

  const start = (handler: string, leaseMs: number, endpoint?: string) =>
    testBed.start(handler, { environment: { LEASE_MS: String(leaseMs) }, endpoint });

  test('a lease that expires during the freeze is lost at the thaw, and nothing is sent', async () => {
    const { others, proxy } = testBed;
    const lambda = await start('freeze.leave', 1_500);
    expect(await lambda.invoke({ key: 'left' })).toEqual({ response: { isHeld: true } });
    await lambda.freeze();
    const next = await others.acquire('left', { waitMs: 10_000 });
    expect(next.takenOverFrom?.owner).toMatch(/^freeze:/);
    const before = proxy.count();

    // At the moment of the thaw the next invocation is there, and so are the timers that were due.
    const invocation = lambda.begin({});
    lambda.thaw();
    expect(await invocation.outcome).toEqual({ response: { isHeld: false, reason: 'expired' } });
    // The environment is awake for longer than from one heartbeat to the next.
    await sleep(600);
    expect(proxy.count()).toBe(before);
    expect(lambda.logged.filter(({ type }) => type === 'lost')).toEqual([
      expect.objectContaining({ reason: 'expired', key: 'left' }),
    ]);
    expect((await others.inspect('left'))?.lockId).toBe(next.lockId);
    await next.release();
  });

  test('a lease that outlives the freeze is renewed at the thaw, and nothing is lost', async () => {
    const { others } = testBed;
    const lambda = await start('freeze.leave', 6_000);
    await lambda.invoke({ key: 'kept' });
    await lambda.freeze();
    const before = await others.inspect('kept');
    await sleep(2_500);
    const heartbeat = lambda.logs('renewed', 'renewFailed', 'lost');
    lambda.thaw();
    expect(await heartbeat).toMatchObject({ type: 'renewed' });
    const after = await others.inspect('kept');
    expect(after?.lockId).toBe(before?.lockId);
    expect(after?.expiresAt).toBeGreaterThan(before?.expiresAt ?? Number.POSITIVE_INFINITY);
    expect(await lambda.invoke({})).toEqual({ response: { isHeld: true } });
  });

  describe.each(['reset', 'silence'] as const)('whose sockets die (%s)', (die) => {
    test('the invocation after a freeze in which the sockets died gets its lock', async () => {
      const { others, proxy } = testBed;
      const relay = await testBed.relay();
      const lambda = await start('freeze.handler', 6_000, relay.endpoint);
      expect(await lambda.invoke({ key: 'before' })).toEqual({ response: true });
      await lambda.freeze();
      const { connections } = relay;
      relay[die]();
      const invocation = lambda.begin({ key: die });
      lambda.thaw();
      expect(await invocation.outcome).toEqual({ response: true });
      expect(relay.connections).toBeGreaterThan(connections);
      expect(await others.tryAcquire(die)).not.toBeNull();
      // Two requests for each invocation arrived.
      expect(proxy.count()).toBe(4);
    });

    // The shorter lease has 833 ms from its heartbeat to its deadline: less than a request's time-out.
    test.each([6_000, 2_000])(
      'a lease of %d ms is renewed over new sockets after a freeze in which the old ones died',
      async (leaseMs) => {
        const { others } = testBed;
        const relay = await testBed.relay();
        const lambda = await start('freeze.leave', leaseMs, relay.endpoint);
        const key = `${die} ${leaseMs}`;
        await lambda.invoke({ key });
        await lambda.freeze();
        relay[die]();
        const heartbeat = lambda.logs('renewed', 'lost');
        lambda.thaw();
        expect(await heartbeat).toMatchObject({ type: 'renewed' });
        expect(await others.tryAcquire(key)).toBeNull();
        expect(await lambda.invoke({})).toEqual({ response: { isHeld: true } });
      },
    );
  });
});
