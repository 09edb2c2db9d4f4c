import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { describeOnLambda, TestBed } from './test-bed.ts';

const time = '2026-01-01T02:00:00Z';

describeOnLambda('a response that is a stream', () => {
  let testBed: TestBed;
  beforeAll(async () => {
    testBed = await TestBed.of('handlers/stream.ts');
  });
  afterEach(() => testBed.reset());
  afterAll(() => testBed?.[Symbol.asyncDispose]());

  /** Begins an invocation, and resolves when it has sent its first part. */
  async function begun(name: string, { fail = false, timeoutMs = 20_000 } = {}) {
    const lambda = await testBed.start(`stream.${name}`);
    const [middle, end] = [testBed.gate(), testBed.gate()];
    const key = `${name} ${fail} ${timeoutMs}`;
    const invocation = lambda.begin({ key, time, middle: middle.url, end: end.url, fail }, { timeoutMs });
    await invocation.received('first ');
    return { lambda, invocation, key, middle, end };
  }

  test.each(['withMiddy', 'plain', 'writing', 'returning'])(
    'a streamed response is sent under the lock to its last byte (%s)',
    async (name) => {
      const { others, proxy } = testBed;
      const { lambda, invocation, key, middle, end } = await begun(name);
      expect(await others.tryAcquire(key)).toBeNull();
      middle.open();
      await invocation.received('first last');
      await end.reached;
      expect(await others.tryAcquire(key)).toBeNull();
      end.open();
      expect(await invocation.outcome).toEqual({ body: 'first last' });
      await lambda.idle();
      expect(lambda.logged.map(({ type }) => type)).toEqual(['acquired', 'released']);
      expect(proxy.count()).toBe(2);
      await expect(others.acquire(key, { once: time })).rejects.toThrow('has finished');
      expect(await others.tryAcquire(key)).not.toBeNull();
    },
  );

  test('a handler that fails its stream fails the invocation, and the lock is free, with nothing done', async () => {
    const { others } = testBed;
    const { lambda, invocation, key, middle } = await begun('writing', { fail: true });
    middle.open();
    const error = expect.objectContaining({ errorType: 'RangeError', errorMessage: 'The body failed.' });
    expect(await invocation.outcome).toEqual({ body: 'first ', error });
    await lambda.idle();
    expect(await others.tryAcquire(key, { once: time })).not.toBeNull();
  });

  // A response stream that is destroyed ends the runtime, which does not handle the rejection.
  test('a body that fails under Middy frees the lock, with nothing done, before the failure ends the runtime', async () => {
    const { others } = testBed;
    const { lambda, invocation, key, middle } = await begun('withMiddy', { fail: true });
    middle.open();
    expect(await invocation.outcome).toEqual({ exited: 'exit code 1' });
    expect(lambda.logged.map(({ type, done }) => [type, done])).toEqual([
      ['acquired', undefined],
      ['released', false],
    ]);
    expect(await others.tryAcquire(key, { once: time })).not.toBeNull();
  });

  test.each([
    { name: 'plain', what: 'its body fails in a pipeline', fail: true },
    { name: 'withMiddy', what: 'its connection is cut', fail: false },
    { name: 'plain', what: 'its connection is cut', fail: false },
  ])(
    'a stream that ends the runtime ($what, $name) is not done, and the lease ends with the time at the latest',
    async ({ name, fail }) => {
      const { others } = testBed;
      const { invocation, key, middle } = await begun(name, { fail, timeoutMs: 1_500 });
      if (fail) middle.open();
      else invocation.cut();
      expect(await invocation.outcome).toEqual({ exited: 'exit code 1' });
      const next = await others.acquire(key, { waitMs: 10_000, once: time });
      expect(next.acquiredAt).toBeLessThanOrEqual(invocation.deadline + 3_000 + 500);
      if (next.takenOverFrom) expect(next.takenOverFrom.expiredAt).toBeLessThanOrEqual(invocation.deadline + 3_000);
    },
  );
});
