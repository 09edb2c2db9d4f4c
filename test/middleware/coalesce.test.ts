import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import middy from '@middy/core';
import { LockBusyError, type LockDoneError, LockLostError, LockOwedError } from '../../lib/index.ts';
import {
  type LambdaContext,
  type LockOptions,
  lock,
  lockPlugin,
  withLock,
  withRecordLocks,
} from '../../middleware/index.ts';
import { batch, failed, gate, invocation, message, setUp, sink } from './setup.ts';

let { clock, requests, events, locks, others, isHeld } = setUp();
beforeEach(() => {
  ({ clock, requests, events, locks, others, isHeld } = setUp());
});
afterEach(() => {
  jest.restoreAllMocks();
});

const state = () => others.inspect('index');
const ofType = (type: string) => events.filter((event) => event.type === type);

type Runs = (run: number, event: unknown, context: LambdaContext) => unknown;

/** A handler of the coalescing lock. `run` gets the number of the run, from 1. */
function handlerOf(run: Runs, options: Partial<LockOptions> = {}) {
  const seen: unknown[] = [];
  const handler = withLock(
    { key: 'index', coalesce: true, locks, ...options } as LockOptions,
    async (event: unknown, context: LambdaContext) => {
      seen.push(event);
      return run(seen.length, event, context);
    },
  ) as (event: unknown, context?: unknown) => Promise<unknown>;
  return { handler, seen };
}
/** Asks for one more run, by another invocation. */
const ask = () => handlerOf(() => 'never').handler('another event', invocation());

describe('withLock({ coalesce: true })', () => {
  test('runs once if nobody asks, under the lock, for two requests', async () => {
    const { handler } = handlerOf(async () => isHeld('index'));
    expect(await handler('event', invocation())).toBe(true);
    expect(requests).toEqual(['acquire', 'release']);
    expect(await state()).toMatchObject({ owed: false, held: false });
    expect(clock.timers).toBe(0);
  });

  test('runs once more with the same event if asked meanwhile, and the response is that of the last run', async () => {
    const { handler, seen } = handlerOf(async (run) => {
      if (run === 1) expect(await ask()).toBeUndefined();
      return run;
    });
    expect(await handler('event', invocation())).toBe(2);
    expect(seen).toEqual(['event', 'event']);
    expect(ofType('covered')).toHaveLength(1);
    expect(await state()).toMatchObject({ owed: false, held: false });
  });

  test('shows the same lease to each run', async () => {
    const tokens: unknown[] = [];
    const { handler } = handlerOf(
      async (run, _event, context) => {
        const { lease } = context as unknown as { lease: { fencingToken: number; isHeld(): boolean } };
        tokens.push(lease.fencingToken, lease.isHeld());
        if (run === 1) await ask();
      },
      { contextKey: 'lease' } as never,
    );
    await handler('event', invocation());
    expect(tokens).toEqual([tokens[0], true, tokens[0], true]);
  });

  test('gives a covered invocation the response of onCovered, and does not run its handler', async () => {
    const onCovered = jest.fn((event: string) => ({ statusCode: 202, body: event }));
    const { handler } = handlerOf(async (run) => {
      if (run > 1) return 'done';
      const second = handlerOf(() => 'never', { onCovered } as never);
      expect(await second.handler('second', invocation())).toEqual({ statusCode: 202, body: 'second' });
      return second.seen.length;
    });
    expect(await handler('first', invocation())).toBe('done');
    expect(onCovered).toHaveBeenCalledTimes(1);
  });

  test('is busy behind a plain lock, as onBusy says', async () => {
    await others.acquire('index');
    await expect(handlerOf(() => 'never').handler({}, invocation())).rejects.toThrow(LockBusyError);
    expect(await handlerOf(() => 'never', { onBusy: 'skip' }).handler({}, invocation())).toBeUndefined();
    expect(await handlerOf(() => 'never', { onBusy: ({ key }) => key }).handler({}, invocation())).toBe('index');
    const all = batch(message('1', 'a'));
    expect(failed((await handlerOf(() => 'never', { onBusy: 'skip' }).handler(all, invocation())) as never)).toEqual([
      '1',
    ]);
  });

  test("throws the handler's error, though it looks like a busy lock, and leaves the run owed", async () => {
    const busy = new LockBusyError({ key: 'other', expiresAt: 0, retryAfterMs: 0 });
    const { handler } = handlerOf(() => Promise.reject(busy), { onBusy: 'skip' });
    await expect(handler({}, invocation())).rejects.toBe(busy);
    expect(await state()).toMatchObject({ held: false, owed: true });
  });

  describe('with onlyIfOwed', () => {
    const sweep = (options: Partial<LockOptions> = {}) =>
      handlerOf(() => 'swept', { onlyIfOwed: true, onCovered: () => 'covered', ...options });

    test('runs no handler if nothing is owed, and responds with nothing, for one refused write', async () => {
      const { handler, seen } = sweep();
      expect(await handler('tick', invocation())).toBeUndefined();
      expect(seen).toEqual([]);
      expect(requests).toEqual(['acquire']);
      expect(await sweep().handler(batch(message('1', 'a')), invocation())).toBeUndefined();
    });

    test('makes the run that a dead holder left owed, after the expiry of its lease', async () => {
      const dying = handlerOf(() => new Promise(() => {}), { locks: others }).handler('event', invocation());
      dying.catch(() => {});
      await clock.advance(0);
      // The holder dies: its process renews nothing any more.
      jest.spyOn(others.context.store, 'renew').mockImplementation(() => new Promise(() => {}));
      const { handler, seen } = sweep();
      expect(await handler('tick', invocation())).toBe('covered');
      await clock.advance(30_000);
      expect(await handler('tick', invocation())).toBe('swept');
      expect(seen).toEqual(['tick']);
      expect(await state()).toMatchObject({ owed: false, held: false });
    });

    test('asks nobody for a run', async () => {
      const { handler } = handlerOf(async (run) => {
        if (run === 1) expect(await sweep().handler('tick', invocation())).toBe('covered');
        return run;
      });
      expect(await handler('event', invocation())).toBe(1);
    });
  });

  describe('a run that is left owed', () => {
    const short = (context: Partial<LambdaContext> = {}) =>
      invocation({ getRemainingTimeInMillis: () => 900, ...context });
    const asked = async (run: number) => (run === 1 ? void (await ask()) : undefined);

    test('for lack of time fails the invocation, and tells HTTP callers when to try again', async () => {
      const { handler, seen } = handlerOf(asked);
      const error = await handler('event', short()).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(LockOwedError);
      expect(error).toMatchObject({
        code: 'ERR_LOCK_OWED',
        key: 'index',
        runs: 1,
        statusCode: 503,
        headers: { 'Retry-After': '1' },
      });
      expect(seen).toHaveLength(1);
      expect(ofType('owed')).toEqual([expect.objectContaining({ reason: 'noTime' })]);
      expect(await state()).toMatchObject({ held: false, owed: true });
    });

    test('is answered by onOwed', async () => {
      const { handler } = handlerOf(asked, { onOwed: ({ code }) => code });
      expect(await handler('event', short())).toBe('ERR_LOCK_OWED');
    });

    test('is not left if reserveMs is shorter', async () => {
      const { handler, seen } = handlerOf(asked, { reserveMs: 100 });
      await handler('event', short());
      expect(seen).toHaveLength(2);
    });

    test('also where invocations share a process, in which no lease is capped', async () => {
      process.env.AWS_LAMBDA_MAX_CONCURRENCY = '10';
      try {
        await expect(handlerOf(asked).handler('event', short())).rejects.toThrow(LockOwedError);
      } finally {
        delete process.env.AWS_LAMBDA_MAX_CONCURRENCY;
      }
    });

    test('for records that go back is answered by the response: the records come again by themselves', async () => {
      const response = { batchItemFailures: [{ itemIdentifier: '2' }] };
      const { handler } = handlerOf(() => response);
      expect(await handler(batch(message('1', 'a'), message('2', 'a')), invocation())).toBe(response);
      expect(await state()).toMatchObject({ held: false, owed: true });
    });

    test('for a busy lock inside that skipped its work fails the invocation', async () => {
      await others.acquire('inner');
      const inner = withLock({ key: 'inner', locks, onBusy: 'skip' }, async () => 'never');
      const { handler } = handlerOf(() => inner({}, invocation()));
      await expect(handler({}, invocation())).rejects.toThrow(LockOwedError);
    });
  });

  test('a lease that is lost fails the invocation', async () => {
    const { handler } = handlerOf(async () => {
      const { lockId = '' } = (await state()) ?? {};
      await others.forceRelease('index', { lockId });
    });
    await expect(handler({}, invocation())).rejects.toThrow(LockLostError);
  });

  test('an early time-out of an inner handler abandons the lease: its work may go on', async () => {
    const { opened } = gate();
    const inner = middy({ timeoutEarlyInMillis: 50 }).handler(() => opened);
    const { handler } = handlerOf((_run, event, context) => inner(event as never, context as never));
    await expect(handler({}, invocation({ getRemainingTimeInMillis: () => 60 }))).rejects.toThrow();
    expect(ofType('released')).toEqual([]);
    expect(await state()).toMatchObject({ owed: true });
  });

  test.each([
    ['alone', (body: Readable) => body],
    ['of a status code', (body: Readable) => ({ statusCode: 200, body })],
    ['of nothing else', (body: Readable) => ({ body })],
  ])(
    'a response with a stream, the body %s, is refused and destroyed: it is made after the handler has returned',
    async (_, responseOf) => {
      const body = Readable.from(['text']);
      const { handler } = handlerOf(() => responseOf(body));
      await expect(handler({}, invocation())).rejects.toThrow('takes no response with a stream');
      expect(body.destroyed).toBe(true);
      expect(await state()).toMatchObject({ held: false, owed: true });
    },
  );

  test('a streaming handler, or one with a callback, is refused at its first call', async () => {
    const { responseStream } = sink();
    const { handler } = handlerOf(() => 'never');
    const streaming = handler as (...of: unknown[]) => Promise<unknown>;
    await expect(streaming({}, responseStream, invocation())).rejects.toThrow('a streaming handler');
    const calling = withLock({ key: 'index', coalesce: true, locks }, ((
      _e: unknown,
      _c: unknown,
      _callback: unknown,
    ) => {}) as never);
    await expect((calling as (...of: unknown[]) => unknown)({}, invocation(), () => {})).rejects.toThrow(
      'takes no handler with a callback',
    );
    expect(requests).toEqual([]);
  });

  test('inside of withRecordLocks(), a covered batch goes back: its records have locks of their own', async () => {
    const inner = handlerOf(() => 'never').handler;
    const { handler } = handlerOf(async (run) => {
      if (run > 1) return undefined;
      const outer = withRecordLocks(
        { key: ({ body }) => body, locks, onFailed() {} },
        (event, context) => inner(event, context) as never,
      );
      return failed(await outer(batch(message('1', 'a'), message('2', 'b')), invocation()));
    });
    await handler({}, invocation());
    expect(ofType('covered')).toHaveLength(1);
  });

  test.each<[string, object, string]>([
    ['once', { once: 1 }, 'takes no once'],
    ['holdAtLeastMs', { holdAtLeastMs: 5 }, 'takes no holdAtLeastMs'],
    ['permits', { permits: 5 }, 'takes no permits'],
    ['onLost', { onLost: 'ignore' }, "onLost must be 'throw' with coalesce, but it is 'ignore'"],
    ['onOwed', { onOwed: 'skip' }, "onOwed must be throw or a function, but it is 'skip'"],
    ['onCovered', { onCovered: 'throw' }, "onCovered must be skip or a function, but it is 'throw'"],
    ['coalesce', { coalesce: 'yes' }, "coalesce must be true or false, but it is 'yes'"],
    [
      'onCovered without coalesce',
      { coalesce: false, onCovered: 'skip' },
      'withLock() takes onCovered only with coalesce: true',
    ],
    ['onlyIfOwed of a text', { onlyIfOwed: 'yes' as never }, "onlyIfOwed must be true or false, but it is 'yes'."],
    [
      'onlyIfOwed without coalesce',
      { coalesce: false, onlyIfOwed: true },
      'withLock() takes onlyIfOwed only with coalesce: true',
    ],
    [
      'onOwed without coalesce',
      { coalesce: undefined, onOwed: () => 1 },
      'withLock() takes onOwed only with coalesce: true',
    ],
  ])('a bad option is refused when the handler is made: %s', (_, options, text) => {
    expect(() => handlerOf(() => 'never', options)).toThrow(TypeError);
    expect(() => handlerOf(() => 'never', options)).toThrow(text);
  });
});

test('lock({ coalesce: true }) is refused, and the error names withLock()', () => {
  expect(() => lock({ key: 'index', coalesce: true, locks } as never)).toThrow(
    'lock() takes no coalesce, since Middy calls a handler once: give the handler as withLock({ coalesce: true }, handler).',
  );
});

describe('A result that a handler releases with its token', () => {
  const locked = () => ({ key: 'rates', once: '2026-01-01T02:00:00Z', locks });
  const given = { rate: 1.08 };

  test.each(['lock', 'withLock'] as const)('is given to onDone of %s(), and nobody is warned', async (form) => {
    const warn = jest.spyOn(console, 'warn').mockImplementation(() => {});
    const onDone = (error: LockDoneError) => error.result;
    const release = async (context: { lock: { release(options: object): Promise<boolean> } }) => {
      await context.lock.release({ done: true, result: given });
      return 'ran';
    };
    const handler =
      form === 'withLock'
        ? withLock({ ...locked(), onDone }, (_: unknown, context) => release(context))
        : middy(lockPlugin())
            .use(lock({ ...locked(), onDone }))
            .handler((_: unknown, context) => release(context));
    const invoke = handler as (event: unknown, context: unknown) => Promise<unknown>;
    expect(await invoke({}, invocation())).toBe('ran');
    expect(await invoke({}, invocation())).toEqual(given);
    expect(warn).not.toHaveBeenCalled();
  });
});
