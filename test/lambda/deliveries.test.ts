import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { Deployment, describeOnLambda, until } from './deployment.ts';
import type { Outcome } from './runtime-api.ts';

describeOnLambda('An event that comes more than once', () => {
  let deployment: Deployment;
  beforeAll(async () => {
    deployment = await Deployment.of('handlers/once.ts', '../../lambda/nightly.ts', '../../lambda/queue.ts');
  });
  afterEach(() => deployment.reset());
  afterAll(() => deployment?.[Symbol.asyncDispose]());

  const two = (handler: string) => Promise.all([deployment.start(handler), deployment.start(handler)]);

  test('fails, and Lambda tries again with the same event and request: it runs then, and never after', async () => {
    const [event, options] = [{ time: '2026-01-01T02:00:00Z' }, { requestId: randomUUID() }];
    const faulty = await deployment.start('once.handler', { environment: { FAULT: 'true' } });
    const { error } = await faulty.invoke(event, options);
    expect(error?.errorMessage).toBe('The disk is full.');

    const sound = await deployment.start('once.handler');
    expect(await sound.invoke(event, options)).toEqual({ response: { outcome: 'done' } });
    // No error, for which Lambda would try again.
    expect(await sound.invoke(event, options)).toEqual({ response: null });
    expect(await sound.invoke({ time: '2025-12-31T02:00:00Z' })).toEqual({ response: null });
    expect(await sound.invoke({ time: '2026-01-02T02:00:00Z' })).toEqual({ response: { outcome: 'done' } });
  });

  test('is killed at its deadline, and Lambda tries again: it runs when the lease has ended', async () => {
    const [event, options] = [{ time: '2026-02-01T02:00:00Z' }, { requestId: randomUUID() }];
    const [first, second] = await two('once.handler');
    const slow = { ...event, gate: deployment.gate().url };
    const { deadline, outcome } = first.begin(slow, { ...options, timeoutMs: 1_000 });
    expect(await outcome).toEqual({ timedOut: true });
    const tooEarly = await second.invoke(event, options);
    expect(tooEarly.error?.errorType).toBe('LockBusyError');
    // Lambda waits a minute before the first retry: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
    const lease = await deployment.others.acquire('report', { waitMs: 10_000 });
    expect(lease.takenOverFrom?.expiredAt).toBeLessThanOrEqual(deadline + 3_000);
    await lease.release();
    expect(await second.invoke(event, options)).toEqual({ response: { outcome: 'done' } });
  });

  test('comes twice at the same time, with the same request: one runs, and the other is busy', async () => {
    const lambdas = await two('once.handler');
    const gate = deployment.gate();
    const [event, options] = [{ time: '2026-03-01T02:00:00Z', gate: gate.url }, { requestId: randomUUID() }];
    const invocations = lambdas.map((lambda) => lambda.begin(event, options));
    const first = await Promise.race(invocations.map(({ outcome }) => outcome));
    expect(first.error?.errorType).toBe('LockBusyError');
    gate.open();
    const outcomes = await Promise.all(invocations.map(({ outcome }) => outcome));
    expect(outcomes.filter(({ response }) => response !== undefined)).toEqual([{ response: { outcome: 'done' } }]);
  });

  test('from the two schedules of the demo stack: its nightly job runs once', async () => {
    const lambdas = await two('nightly.handler');
    const night = { time: '2026-01-01T02:00:00Z' };
    const outcomes = await Promise.all(lambdas.map((lambda) => lambda.invoke(night)));
    const names = outcomes.map(({ response }) => (response as { outcome: string }).outcome);
    expect(names.sort()).toEqual(['busy', 'done']);
    expect(await lambdas[0].invoke(night)).toEqual({ response: { outcome: 'already done', doneToken: night.time } });
  });

  describe('or a batch of messages', () => {
    const message = (messageId: string, body: object) => ({
      messageId,
      body: JSON.stringify(body),
      eventSource: 'aws:sqs',
    });
    const failures = ({ response }: Outcome) =>
      (response as { batchItemFailures: { itemIdentifier: string }[] }).batchItemFailures.map(
        (item) => item.itemIdentifier,
      );

    test('of which another consumer has one account: its message goes back to the queue, and the others are worked on', async () => {
      const [first, second] = await two('queue.handler');
      const batch = first.begin({ Records: [message('a-1', { account: 'a' })] });
      await until(async () => (await deployment.others.inspect('queue/a'))?.held ?? false);
      const outcome = await second.invoke({
        Records: [message('a-2', { account: 'a' }), message('b-1', { account: 'b' })],
      });
      expect(failures(outcome)).toEqual(['a-2']);
      expect(failures(await batch.outcome)).toEqual([]);
    });

    // lockRecords(): its cases on the real runtime belong here. Keys taken in one round trip, busy records back as
    // batchItemFailures, in FIFO with all the later ones of their group, a lost lease that fails its records only, and a
    // batch that is killed at its deadline.
  });
});
