import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { ExecutionEnvironment } from './execution-environment.ts';
import type { Outcome } from './runtime-api.ts';
import { describeOnLambda, TestBed, until } from './test-bed.ts';

describeOnLambda('events that come more than once', () => {
  let testBed: TestBed;
  beforeAll(async () => {
    testBed = await TestBed.of(
      'handlers/once.ts',
      'handlers/records.ts',
      '../../lambda/nightly.ts',
      '../../lambda/queue.ts',
    );
  });
  afterEach(() => testBed.reset());
  afterAll(() => testBed?.[Symbol.asyncDispose]());

  const two = (handler: string) => Promise.all([testBed.start(handler), testBed.start(handler)]);

  test('an event whose first try failed runs at the retry, with the same request, and never after', async () => {
    const [event, options] = [{ time: '2026-01-01T02:00:00Z' }, { requestId: randomUUID() }];
    const faulty = await testBed.start('once.handler', { environment: { FAULT: 'true' } });
    const { error } = await faulty.invoke(event, options);
    expect(error?.errorMessage).toBe('The disk is full.');

    const sound = await testBed.start('once.handler');
    expect(await sound.invoke(event, options)).toEqual({ response: { outcome: 'done' } });
    // The function reports no error: for an error Lambda would try again.
    expect(await sound.invoke(event, options)).toEqual({ response: null });
    expect(await sound.invoke({ time: '2025-12-31T02:00:00Z' })).toEqual({ response: null });
    expect(await sound.invoke({ time: '2026-01-02T02:00:00Z' })).toEqual({ response: { outcome: 'done' } });
  });

  test('an event whose first try was killed at its deadline runs at the retry, when the lease has ended', async () => {
    const [event, options] = [{ time: '2026-02-01T02:00:00Z' }, { requestId: randomUUID() }];
    const [first, second] = await two('once.handler');
    const slow = { ...event, gate: testBed.gate().url };
    const { deadline, outcome } = first.begin(slow, { ...options, timeoutMs: 1_000 });
    expect(await outcome).toEqual({ timedOut: true });
    const tooEarly = await second.invoke(event, options);
    expect(tooEarly.error?.errorType).toBe('LockBusyError');
    // Lambda waits a minute before the first retry: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
    const lease = await testBed.others.acquire('report', { waitMs: 10_000 });
    expect(lease.takenOverFrom?.expiredAt).toBeLessThanOrEqual(deadline + 3_000);
    await lease.release();
    expect(await second.invoke(event, options)).toEqual({ response: { outcome: 'done' } });
  });

  test('of two deliveries of one event at the same time, with the same request, one runs and the other is busy', async () => {
    const lambdas = await two('once.handler');
    const gate = testBed.gate();
    const [event, options] = [{ time: '2026-03-01T02:00:00Z', gate: gate.url }, { requestId: randomUUID() }];
    const invocations = lambdas.map((lambda) => lambda.begin(event, options));
    const first = await Promise.race(invocations.map(({ outcome }) => outcome));
    expect(first.error?.errorType).toBe('LockBusyError');
    gate.open();
    const outcomes = await Promise.all(invocations.map(({ outcome }) => outcome));
    expect(outcomes.filter(({ response }) => response !== undefined)).toEqual([{ response: { outcome: 'done' } }]);
  });

  test('the nightly job of the demo stack runs once for its two schedules', async () => {
    const lambdas = await two('nightly.handler');
    const night = { time: '2026-01-01T02:00:00Z' };
    const outcomes = await Promise.all(lambdas.map((lambda) => lambda.invoke(night)));
    const names = outcomes.map(({ response }) => (response as { outcome: string }).outcome);
    expect(names.sort()).toEqual(['busy', 'done']);
    expect(await lambdas[0].invoke(night)).toEqual({ response: { outcome: 'already done', doneToken: night.time } });
  });

  describe('a batch of messages', () => {
    const message = (messageId: string, body: object) => ({
      messageId,
      body: JSON.stringify(body),
      eventSource: 'aws:sqs',
    });
    const failures = ({ response }: Outcome) =>
      (response as { batchItemFailures: { itemIdentifier: string }[] }).batchItemFailures.map(
        (item) => item.itemIdentifier,
      );

    test('of a batch, a message whose account another consumer holds goes back to the queue, and the others are worked on', async () => {
      const [first, second] = await two('queue.handler');
      const batch = first.begin({ Records: [message('a-1', { account: 'a' })] });
      await until(async () => (await testBed.others.inspect('queue/a'))?.held ?? false);
      const outcome = await second.invoke({
        Records: [message('a-2', { account: 'a' }), message('b-1', { account: 'b' })],
      });
      expect(failures(outcome)).toEqual(['a-2']);
      expect(failures(await batch.outcome)).toEqual([]);
    });

    describe('that is locked record by record', () => {
      /** Makes a message: with a group of a FIFO queue, without a group of a standard queue. */
      const record = (messageId: string, body: string, SequenceNumber: string, MessageGroupId?: string) => ({
        messageId,
        body,
        attributes: { SequenceNumber, MessageGroupId },
        eventSource: 'aws:sqs',
        eventSourceARN: `arn:aws:sqs:eu-west-1:123456789012:orders${MessageGroupId ? '.fifo' : ''}`,
      });
      const worked = ({ logged }: ExecutionEnvironment) =>
        logged.filter(({ type }) => type === 'worked').map(({ messageId }) => messageId);
      const isHeld = async (key: string) => (await testBed.others.inspect(key))?.held ?? false;

      test('of a batch, the messages whose lock is busy go back alone, and every lock is free at the end', async () => {
        const lambda = await testBed.start('records.handler');
        const busy = await testBed.others.acquire('mixed-b');
        const Records = [
          record('1', 'mixed-a', '001'),
          record('2', 'mixed-b', '002'),
          record('3', 'mixed-c', '003'),
          record('4', 'mixed-b', '004'),
          record('5', 'mixed-a', '005'),
        ];
        const outcome = await lambda.invoke({ Records });
        expect(outcome).toEqual({
          response: { batchItemFailures: [{ itemIdentifier: '2' }, { itemIdentifier: '4' }] },
        });
        expect(worked(lambda).toSorted()).toEqual(['1', '3', '5']);
        expect(await Promise.all(['mixed-a', 'mixed-b', 'mixed-c'].map(isHeld))).toEqual([false, true, false]);

        await busy.release();
        // SQS delivers the two messages again.
        expect(failures(await lambda.invoke({ Records: Records.filter(({ body }) => body === 'mixed-b') }))).toEqual(
          [],
        );
        expect(worked(lambda).slice(3)).toEqual(['2', '4']);
        expect(await isHeld('mixed-b')).toBe(false);
      });

      test('a batch that comes again, during the work and afterwards, has no message worked on twice', async () => {
        const [first, second] = await two('records.handler');
        const gate = testBed.gate();
        const event = { Records: [record('1', 'again-a', '001'), record('2', 'again-b', '002')] };
        const batch = first.begin({ ...event, gate: gate.url });
        await gate.reached;
        expect(failures(await second.invoke(event))).toEqual(['1', '2']);
        gate.open();
        expect(failures(await batch.outcome)).toEqual([]);
        // No message goes back: SQS would deliver it for ever.
        expect(failures(await second.invoke(event))).toEqual([]);
        const older = { Records: [record('3', 'again-a', '000'), record('4', 'again-a', '003')] };
        expect(failures(await second.invoke(older))).toEqual([]);
        expect([worked(first).toSorted(), worked(second)]).toEqual([['1', '2'], ['4']]);
      });

      test('of a FIFO batch, the messages behind a busy message of their group go back too', async () => {
        const lambda = await testBed.start('records.handler');
        const busy = await testBed.others.acquire('fifo-b');
        const Records = [
          record('1', 'fifo-a', '001', 'one'),
          record('2', 'fifo-b', '002', 'one'),
          record('3', 'fifo-c', '003', 'one'),
          record('4', 'fifo-d', '004', 'two'),
          record('5', 'fifo-a', '005', 'one'),
        ];
        expect(failures(await lambda.invoke({ Records }))).toEqual(['2', '3', '5']);
        expect(worked(lambda).toSorted()).toEqual(['1', '4']);
        expect(await Promise.all(['fifo-a', 'fifo-c', 'fifo-d'].map(isHeld))).toEqual([false, false, false]);

        await busy.release();
        const back = Records.filter(({ attributes }) => ['002', '003', '005'].includes(attributes.SequenceNumber));
        expect(failures(await lambda.invoke({ Records: back }))).toEqual([]);
        expect(worked(lambda).slice(2)).toEqual(['2', '3', '5']);
      });

      test('of a batch, the message whose lease is lost goes back alone', async () => {
        const lambda = await testBed.start('records.handler');
        const gate = testBed.gate();
        const Records = [record('1', 'lost-a', '001'), record('2', 'lost-b', '002')];
        const batch = lambda.begin({ Records, gate: gate.url });
        await gate.reached;
        const lockId = (await testBed.others.inspect('lost-a'))?.lockId ?? '';
        expect(await testBed.others.forceRelease('lost-a', { lockId, immediately: true })).toBe(true);
        const lost = await lambda.logs('lost');
        expect(lost).toMatchObject({ key: 'lost-a', reason: 'revoked' });
        gate.open();
        expect(failures(await batch.outcome)).toEqual(['1']);
        // The message does not count as done.
        expect(failures(await lambda.invoke({ Records }))).toEqual([]);
        expect(worked(lambda).toSorted()).toEqual(['1', '1', '2']);
      });

      test('of a batch that was killed at its deadline, only the unfinished messages are worked on again', async () => {
        const [first, second] = await two('records.handler');
        const Records = [record('1', 'killed-a', '001'), record('2', 'killed-b', '002')];
        const batch = first.begin({ Records, gate: testBed.gate().url, waiting: '2' }, { timeoutMs: 1_500 });
        await first.logs('worked');
        await until(async () => !(await isHeld('killed-a')));
        expect(await batch.outcome).toEqual({ timedOut: true });
        // Lambda names no failures, so SQS delivers the whole batch again.
        expect(failures(await second.invoke({ Records }))).toEqual(['2']);
        await until(async () => !(await isHeld('killed-b')));
        expect(failures(await second.invoke({ Records }))).toEqual([]);
        expect([worked(first), worked(second)]).toEqual([['1'], ['2']]);
      });
    });
  });
});
