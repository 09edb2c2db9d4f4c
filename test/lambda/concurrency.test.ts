import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { describeOnLambda, TestBed } from './test-bed.ts';

const CONCURRENCY = 32;
const numbers = Array.from({ length: CONCURRENCY }, (_, index) => index);

describeOnLambda('invocations that share a process', () => {
  let testBed: TestBed;
  beforeAll(async () => {
    testBed = await TestBed.of('handlers/concurrent.ts');
  });
  afterEach(() => testBed.reset());
  afterAll(() => testBed?.[Symbol.asyncDispose]());

  /** One thread for all invocations: by default the runtime starts eight for each processor. */
  const start = ({ name = 'handler', leaseMs = 30_000 } = {}) =>
    testBed.start(`concurrent.${name}`, {
      environment: {
        LEASE_MS: String(leaseMs),
        AWS_LAMBDA_INITIALIZATION_TYPE: 'lambda-managed-instances',
        AWS_LAMBDA_MAX_CONCURRENCY: String(CONCURRENCY),
        AWS_LAMBDA_NODEJS_WORKER_COUNT: '1',
      },
    });

  test('each of 32 concurrent invocations with a key of its own has a lease of its own, and releases this lease alone', async () => {
    const { others, proxy } = testBed;
    const lambda = await start();
    const jobs = numbers.map((number) => {
      const gate = testBed.gate();
      const key = `own ${number}`;
      return { key, gate, invocation: lambda.begin({ key, gate: gate.url, fail: number % 4 === 0 }) };
    });
    await Promise.all(jobs.map(({ gate }) => gate.reached));
    const records = await others.inspectMany(jobs.map(({ key }) => key));
    for (const { key, invocation } of jobs) {
      expect(records.get(key)).toMatchObject({ held: true, owner: expect.stringContaining(invocation.requestId) });
    }
    const lockIds = [...records.values()].map(({ lockId }) => lockId);
    expect(new Set(lockIds).size).toBe(CONCURRENCY);

    const [early = [], late = []] = [jobs.slice(0, 16), jobs.slice(16)];
    for (const { gate } of early) gate.open();
    const first = await Promise.all(early.map(({ invocation }) => invocation.outcome));
    const half = await others.inspectMany(jobs.map(({ key }) => key));
    expect(early.map(({ key }) => half.get(key)?.held)).toEqual(early.map(() => false));
    expect(late.map(({ key }) => half.get(key)?.held)).toEqual(late.map(() => true));
    for (const { gate } of late) gate.open();
    const outcomes = [...first, ...(await Promise.all(late.map(({ invocation }) => invocation.outcome)))];

    for (const [index, { response, error }] of outcomes.entries()) {
      const { key } = jobs[index] as { key: string };
      if (index % 4 === 0) expect(error?.errorMessage).toBe(`The work on ${key} failed.`);
      else expect(response ?? error).toMatchObject({ key, isHeld: true, fencingToken: records.get(key)?.fencingToken });
    }
    const seen = outcomes.flatMap(({ response }) => (response as { number?: number } | undefined)?.number ?? []);
    expect(new Set(seen).size).toBe(CONCURRENCY - CONCURRENCY / 4);
    expect(Math.max(...seen)).toBeLessThanOrEqual(CONCURRENCY);
    const grants = proxy.requests.filter(({ body }) => body.UpdateExpression.includes('leaseMs'));
    expect(grants).toHaveLength(CONCURRENCY);
  });

  test('of 32 concurrent invocations for four keys four run, and the others are busy and release nothing', async () => {
    const { others, proxy } = testBed;
    const lambda = await start();
    const gate = testBed.gate();
    const keys = numbers.map((number) => `shared ${number % 4}`);
    const invocations = keys.map((key) => lambda.begin({ key, gate: gate.url }));
    // Four invocations wait at the gate, and all others end meanwhile.
    await new Promise<void>((resolve) => {
      let left = CONCURRENCY - 4;
      for (const { outcome } of invocations) void outcome.then(() => --left === 0 && resolve());
    });
    const held = await others.inspectMany([...new Set(keys)]);
    expect([...held.values()].map((state) => state.held)).toEqual([true, true, true, true]);
    gate.open();
    const outcomes = await Promise.all(invocations.map(({ outcome }) => outcome));
    const ran = outcomes.filter(({ response }) => (response as { isHeld?: boolean }).isHeld);
    const busy = outcomes.filter(({ response }) => (response as { busy?: string }).busy);
    expect([ran.length, busy.length]).toEqual([4, CONCURRENCY - 4]);
    expect(proxy.requests.filter(({ body }) => body.UpdateExpression.includes('releasedBy'))).toHaveLength(4);
  });

  test('an invocation whose time is up goes on in a shared process, and so does its lease', async () => {
    const { others } = testBed;
    const lambda = await start({ leaseMs: 1_500 });
    const gate = testBed.gate();
    const invocation = lambda.begin({ key: 'long', gate: gate.url }, { timeoutMs: 500 });
    await gate.reached;
    await expect(others.acquire('long', { waitMs: 3_000 })).rejects.toThrow('is busy');
    expect(Date.now()).toBeGreaterThan(invocation.deadline + 2_000);
    gate.open();
    expect(await invocation.outcome).toMatchObject({ response: { isHeld: true } });
    expect(await others.tryAcquire('long')).not.toBeNull();
  });

  test("Middy's early time-out of one invocation leaves the other invocations alone", async () => {
    const { others, proxy } = testBed;
    const lambda = await start({ name: 'early' });
    const gate = testBed.gate();
    const slow = lambda.begin({ key: 'slow', gate: gate.url }, { timeoutMs: 1_000 });
    const quick = lambda.begin({ key: 'quick', gate: gate.url });
    expect(await slow.outcome).toEqual({ response: 'early' });
    expect(lambda.logged.filter(({ type }) => type === 'lost')).toEqual([
      expect.objectContaining({ key: 'slow', reason: 'timedOut' }),
    ]);
    expect(await others.tryAcquire('slow')).toBeNull();
    gate.open();
    expect(await quick.outcome).toMatchObject({ response: { key: 'quick', isHeld: true } });
    expect(await others.tryAcquire('quick')).not.toBeNull();
    expect(await others.tryAcquire('slow')).toBeNull();
    expect(proxy.count()).toBe(3);
  });
});
