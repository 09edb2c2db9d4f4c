import { once } from 'node:events';
import { createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable, type Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { beforeEach, describe, expect, test } from '@jest/globals';
import middy from '@middy/core';
import { type Lease, type LockBusyError, LockLostError } from '../../lib/index.ts';
import { lock, lockPlugin, withLock, withRecordLocks } from '../../middleware/index.ts';
import { batch, gate, invocation, message, setUp, sink } from './setup.ts';

let { clock, store, requests, locks, others, isHeld } = setUp();
beforeEach(() => {
  ({ clock, store, requests, locks, others, isHeld } = setUp());
});
const invoke = async (_event: unknown, _context: unknown): Promise<unknown> => undefined;
const doneToken = async () => (await others.inspect('nightly'))?.doneToken;

describe('withLock', () => {
  test('the handler runs with the lease in its context, and two requests are sent in all', async () => {
    const handler = withLock({ key: 'nightly', locks, once: '2026-01-01' }, async (event: string, context) => {
      expect(await isHeld()).toBe(true);
      return [event, context.lock.owner];
    });
    expect(await handler('event', invocation())).toEqual(['event', 'reports:7 2026/01/01/[7]abc request-1']);
    expect(requests).toEqual(['acquire', 'release']);
    expect(await doneToken()).toBe('2026-01-01');
    expect(clock.timers).toBe(0);
  });

  test("a further parameter is passed on, but not Lambda's callback, and so is a result that is no promise", async () => {
    const handler = withLock({ key: 'nightly', locks }, (...parameters: unknown[]) => parameters.length);
    const invoke = handler as (...parameters: unknown[]) => Promise<unknown>;
    expect(await invoke('event', invocation(), { signal: AbortSignal.timeout(1) })).toBe(3);
    expect(await invoke('event', invocation(), () => {})).toBe(2);
  });

  describe('a handler with a callback', () => {
    const handler = (_event: unknown, _context: unknown, callback: () => void) => void setTimeout(callback, 10);

    test.each([[() => {}], [undefined]])('is refused before the lock is taken, if it is given %p', async (callback) => {
      const invoke = withLock({ key: 'nightly', locks }, handler as never) as (...of: unknown[]) => Promise<unknown>;
      await expect(invoke({}, invocation(), callback)).rejects.toThrow(
        'withLock() takes no handler with a callback, whose lock would be released while the handler works: write ' +
          'async (event, context) => ..., and return the result.',
      );
      expect(requests).toEqual([]);
    });

    test('is refused by withRecordLocks() when it is configured', () => {
      expect(() => withRecordLocks({ key: () => 'a', locks }, handler as never)).toThrow(
        'withRecordLocks() takes no handler with a callback',
      );
    });

    test("is none if Middy gives it its own third parameter, an object with the time-out's signal", async () => {
      const inner = withLock(
        { key: 'nightly', locks },
        ((_event: unknown, _context: unknown, { signal }: RequestInit) => signal?.aborted) as never,
      ) as never;
      expect(await middy().handler(inner)({}, invocation())).toBe(false);
    });
  });

  test('a context that is left out is an empty one, as in Middy', async () => {
    const handler = withLock({ key: 'nightly', locks }, (_event: unknown, { lock }) => lock.isHeld());
    expect(await (handler as (event: object) => Promise<boolean>)({})).toBe(true);
  });

  test.each([[null], ['context'], [7]])('a context that is %p is refused, and nothing is locked', async (context) => {
    const handler = withLock({ key: 'nightly', locks }, () => 'never');
    await expect(handler({}, context as never)).rejects.toThrow(
      /^The context must be the object that Lambda gives a handler, but it is /,
    );
    expect(requests).toEqual([]);
  });

  test('a handler whose client is closed meanwhile ends in order, under the lock, and its token is done', async () => {
    const handler = withLock({ key: 'nightly', locks, once: '2026-01-01' }, async (_event: object, { lock }) => {
      void locks.close();
      expect(lock.signal.aborted).toBe(true);
      await clock.advance(20_000);
      lock.assertHeld();
      expect(await isHeld()).toBe(true);
      return 'done';
    });
    expect(await handler({}, invocation())).toBe('done');
    expect(await doneToken()).toBe('2026-01-01');
    expect(await isHeld()).toBe(false);
  });

  test('a response that is a stream is sent to its end, under the lock, although the client is closed', async () => {
    const handler = withLock({ key: 'nightly', locks }, () => Readable.from(['one', 'two']));
    const body = (await handler({}, invocation())) as Readable;
    void locks.close();
    expect(await isHeld()).toBe(true);
    expect(await text(body)).toBe('onetwo');
    expect(await isHeld()).toBe(false);
  });

  test('an HTTP response whose body is text is returned as it is', async () => {
    const response = { statusCode: 200, body: 'hello' };
    expect(await withLock({ key: 'nightly', locks }, () => response)({}, invocation())).toBe(response);
    expect(await isHeld()).toBe(false);
  });

  test('a stream in a result that is no HTTP response is not waited for', async () => {
    const result = { body: Readable.from(['hello']) };
    expect(await withLock({ key: 'nightly', locks }, () => result)({}, invocation())).toBe(result);
    expect(await isHeld()).toBe(false);
  });

  test.each([[{ step: 7 }], [{ lambdaContext: {} }]])(
    'a context with %j alone is no context of a durable execution',
    async (more) => {
      const handler = withLock({ key: 'nightly', locks }, () => 'done');
      expect(await handler({}, Object.assign(invocation(), more))).toBe('done');
    },
  );

  test('outside of Lambda, where nothing tells the remaining time, the lock waits for waitMs, under its own name', async () => {
    const holder = await others.acquire('nightly');
    const handler = withLock({ key: 'nightly', locks, waitMs: 5_000 }, (_event: object, { lock }) => lock.owner);
    const context = { functionName: 'job', functionVersion: '1', logStreamName: 'here', awsRequestId: 'one' };
    const invoked = handler({}, context as never);
    await clock.advance(1_000);
    await holder.release();
    await clock.advance(4_000);
    expect(await invoked).toBe('job:1 here one');
  });

  test('a token of undefined is refused, and the error names once', async () => {
    const handler = withLock({ key: 'nightly', locks, once: () => undefined as never }, () => 'never');
    await expect(handler({}, invocation())).rejects.toThrow(
      /^once is given, but it is undefined: the value is missing/,
    );
  });

  test('reserveMs may be 0', () => {
    expect(() => withLock({ key: 'nightly', locks, reserveMs: 0 }, () => 'done')).not.toThrow();
  });

  test('the handler returns a thenable that is no Promise: the lock is held until the thenable has settled', async () => {
    const working = gate<string>();
    const handler = withLock({ key: 'nightly', locks }, () => ({
      then: (resolve: (value: string) => void) => void working.opened.then(resolve),
    }));
    const invoked = handler({}, invocation());
    await clock.advance(100);
    expect(await isHeld()).toBe(true);
    working.open('done');
    expect(await invoked).toBe('done');
    expect(await isHeld()).toBe(false);
  });

  test.each([
    {
      how: 'at once',
      fail: () => {
        throw new Error('Disk full.');
      },
    },
    { how: 'later', fail: () => Promise.reject(new Error('Disk full.')) },
  ])('the handler fails $how: its error is thrown, and the lock is released and not done', async ({ fail }) => {
    const handler = withLock({ key: 'nightly', locks, once: '2026-01-01' }, () => fail());
    await expect(handler({}, invocation())).rejects.toThrow('Disk full.');
    expect(requests).toEqual(['acquire', 'release']);
    expect(await doneToken()).toBeUndefined();
  });

  test('the lease was lost: the invocation fails with that or with the error of the handler, and nothing is done', async () => {
    const handler = withLock({ key: 'nightly', locks, once: '2026-01-01' }, async (event: string) => {
      clock.step(60_000);
      if (event === 'fail') throw new Error('Disk full.');
    });
    await expect(handler('succeed', invocation())).rejects.toBeInstanceOf(LockLostError);
    await expect(handler('fail', invocation())).rejects.toThrow('Disk full.');
    expect(await doneToken()).toBeUndefined();
  });

  test.each([
    { onBusy: 'skip' as const, response: undefined },
    { onBusy: (busy: LockBusyError) => busy.statusCode, response: 423 },
  ])('the lock is busy: the handler does not run, and the response is $response', async ({ onBusy, response }) => {
    await others.acquire('nightly');
    let ran = false;
    const handler = withLock({ key: 'nightly', locks, onBusy }, () => {
      ran = true;
    });
    expect(await handler({}, invocation())).toBe(response);
    expect(ran).toBe(false);
  });

  test('a durable execution is refused, and nothing is locked', async () => {
    const handler = withLock({ key: 'nightly', locks }, () => 'never');
    const durable = { ...invocation(), lambdaContext: invocation(), step: async () => {} };
    await expect(handler({}, durable)).rejects.toThrow('inside a step of a durable execution');
    expect(requests).toEqual([]);
  });
});

test.each([
  { what: 'the handler succeeds', end: () => 'done', ends: 'done' },
  { what: 'the handler fails', end: () => Promise.reject(new Error('Disk full.')), ends: 'Disk full.' },
  { what: 'the stream of the response has been read', end: () => Readable.from(['one']), ends: ['one'] },
])(
  '$what, and the store does not answer the release: the response comes before the time is up',
  async ({ end, ends }) => {
    for (const concurrency of ['', '8']) {
      process.env.AWS_LAMBDA_MAX_CONCURRENCY = concurrency;
      ({ clock, store, requests, locks, others, isHeld } = setUp());
      store.release = () => new Promise(() => {});
      const over = clock.now() + 2_000;
      const handler = withLock<object, unknown>({ key: 'nightly', locks }, end);
      const invoked = handler(
        {},
        invocation({ getRemainingTimeInMillis: () => over - clock.now() }),
      ) as Promise<unknown>;
      let response: unknown;
      void invoked
        .then((answer) => (answer instanceof Readable ? answer.toArray() : answer))
        .catch((error) => error.message)
        .then((answer) => {
          response = answer;
        });
      while (response === undefined && clock.now() < over + 5_000) await clock.advance(10);
      expect(response).toEqual(ends);
      expect(clock.now()).toBeLessThan(over);
    }
    delete process.env.AWS_LAMBDA_MAX_CONCURRENCY;
  },
);

describe("Middy's handler inside, whose early time-out fails it while it still runs", () => {
  const never = () => new Promise<never>(() => {});
  // Middy's timers are real: 20 ms pass.
  const late = () => invocation({ getRemainingTimeInMillis: () => 30 });

  test('in withLock(), unanswered: the signal aborts, and nothing is released', async () => {
    let lease: Lease | undefined;
    const inside = middy({ timeoutEarlyInMillis: 10 }).handler((_event, context) => {
      lease = (context as unknown as { lock: Lease }).lock;
      return never();
    });
    const handler = withLock({ key: 'nightly', locks }, inside as never) as (...of: unknown[]) => Promise<unknown>;
    await expect(handler({}, late())).rejects.toThrow('aborted');
    expect(lease?.signal.reason).toMatchObject({ reason: 'timedOut' });
    expect(requests).toEqual(['acquire']);
  });

  const answering = lockPlugin({ timeoutEarlyInMillis: 10, timeoutEarlyResponse: () => ({ batchItemFailures: [] }) });
  test('in withLock(), and answers it: the answer is the response, and nothing is released or done', async () => {
    const inside = middy(answering).handler(never);
    const handler = withLock({ key: 'nightly', locks, once: '2026-01-01' }, inside as never) as (
      ...of: unknown[]
    ) => Promise<unknown>;
    expect(await handler({}, late())).toEqual({ batchItemFailures: [] });
    expect(requests).toEqual(['acquire']);
  });

  test('in withRecordLocks(), and answers it: the records come back, and nothing is released', async () => {
    const inside = middy(answering).handler(never);
    const handler = withRecordLocks({ key: ({ messageId }) => messageId, locks, onFailed: () => {} }, inside as never);
    expect(await handler(batch(message('1', 'a')), late() as never)).toEqual({
      batchItemFailures: [{ itemIdentifier: '1' }],
    });
    expect(requests).toEqual(['acquire']);
  });

  test('in withRecordLocks(), unanswered: the invocation fails, and nothing is released', async () => {
    const inside = middy({ timeoutEarlyInMillis: 10 }).handler(never);
    const handler = withRecordLocks({ key: ({ messageId }) => messageId, locks, onFailed: () => {} }, inside as never);
    await expect(handler(batch(message('1', 'a')), late() as never)).rejects.toThrow('aborted');
    expect(requests).toEqual(['acquire']);
  });
});

describe('a lock around a handler that a busy lock inside skips', () => {
  const inner = (onBusy: 'skip' | (() => number)) =>
    withLock({ key: 'busy', contextKey: 'inner', locks, onBusy }, () => 'never');
  const innerMiddy = () =>
    middy(lockPlugin())
      .use(lock({ key: 'busy', contextKey: 'inner', locks, onBusy: 'skip' }))
      .handler(() => 'never') as never;
  const options = () => ({ key: 'nightly', locks, once: '2026-01-01', holdAtLeastMs: 60_000 });
  const outerMiddy = (handler: never) => middy(lockPlugin()).use(lock(options())).handler(handler);

  test.each([
    { what: 'withLock() in withLock()', make: () => withLock(options(), inner('skip')) },
    { what: 'withLock() with a function, in withLock()', make: () => withLock(options(), inner(() => 423) as never) },
    { what: 'lock() in withLock()', make: () => withLock(options(), innerMiddy()) },
    { what: 'withLock() in lock()', make: () => outerMiddy(inner('skip') as never) },
    { what: 'lock() in lock()', make: () => outerMiddy(innerMiddy()) },
  ])('is not done, and holdAtLeastMs keeps the outer lock closed: $what', async ({ make }) => {
    const busy = await others.acquire('busy');
    await make()({}, invocation() as never);
    expect(await doneToken()).toBeUndefined();
    await clock.advance(50_000);
    expect(await others.tryAcquire('nightly')).toBeNull();
    await busy.release();
  });

  test.each([
    { what: 'withLock()', make: () => inner('skip') },
    { what: 'lock()', make: () => innerMiddy() as typeof invoke },
  ])('is not done where a middleware before the handler calls the skipped one: $what', async ({ make }) => {
    await others.acquire('busy');
    const names: string[] = [];
    const beforeMiddleware = (name: string) => void names.push(name);
    const outer = middy(lockPlugin({ beforeMiddleware }))
      .use(lock(options()))
      .use({
        before: async function prepare() {
          await make()({}, invocation());
        },
      })
      .handler(() => 'worked');
    await outer({}, invocation() as never);
    expect(await doneToken()).toBeUndefined();
    expect(names).toContain('prepare');
  });

  test('is not done where another handler has run before, inside and with a context of its own', async () => {
    await others.acquire('busy');
    const plugin = lockPlugin();
    const free = middy(plugin).handler(() => 'worked');
    const outer = middy(plugin)
      .use({ before: async () => void (await free({}, invocation() as never)) })
      .use(lock(options()))
      .handler(inner('skip') as never);
    await outer({}, invocation() as never);
    expect(await doneToken()).toBeUndefined();
  });

  test.each([
    { what: 'withLock()', make: (handler: () => unknown) => withLock(options(), handler) },
    { what: 'lock()', make: (handler: () => unknown) => outerMiddy(handler as never) },
  ])('is not done where the work that makes a streamed body calls the skipped one: $what', async ({ make }) => {
    await others.acquire('busy');
    const parts = async function* () {
      yield 'a';
      await inner('skip')({}, invocation());
      yield 'b';
    };
    const body = (await make(() => Readable.from(parts()))({}, invocation() as never)) as Readable;
    expect(await body.toArray()).toEqual(['a', 'b']);
    expect(await doneToken()).toBeUndefined();
  });

  test('is not done where the handlers have two contexts', async () => {
    await others.acquire('busy');
    await withLock(options(), () => inner('skip')({}, invocation()))({}, invocation());
    expect(await doneToken()).toBeUndefined();
  });

  test.each([
    { what: 'withLock()', make: (handler: () => unknown) => withLock(options(), handler) },
    { what: 'lock()', make: (handler: () => unknown) => outerMiddy(handler as never) },
  ])('is done where the busy lock stands beside it, with the same context: $what', async ({ make }) => {
    await others.acquire('busy');
    const [context, working] = [invocation(), gate()];
    const invoked = make(() => working.opened)({}, context as never);
    const beside = [inner('skip')({}, context), (innerMiddy() as typeof invoke)({}, context)];
    await clock.advance(10);
    await Promise.all(beside);
    working.open();
    await invoked;
    expect(await doneToken()).toBe('2026-01-01');
  });

  test.each([
    { what: 'withLock()', again: () => withLock({ key: 'busy', contextKey: 'inner', locks }, () => 'worked') },
    {
      what: 'lock()',
      again: () =>
        middy(lockPlugin())
          .use(lock({ key: 'busy', contextKey: 'inner', locks }))
          .handler(() => 'worked') as never,
    },
    {
      what: 'a lock that is done by then',
      again: () => withLock({ key: 'busy', contextKey: 'inner', locks, once: '1' }, () => 'never'),
    },
  ])(
    'is not done where a second try inside ends well, since the try may be of other work: $what',
    async ({ again }) => {
      const busy = await others.acquire('busy', { once: '1' });
      const outer = withLock(options(), async (event, context) => {
        await inner('skip')(event, context);
        await busy.release({ done: true });
        await clock.advance(1);
        return (again() as typeof invoke)(event, context);
      });
      await outer({}, invocation());
      expect(await doneToken()).toBeUndefined();
    },
  );

  test('is not done where another handler inside holds the key that the skipped one asks for, and ends well', async () => {
    const working = gate();
    const holds = withLock({ key: 'busy', contextKey: 'inner', locks }, () => working.opened);
    const invoked = withLock(options(), async (event, context) => {
      const held = holds(event, context);
      await clock.advance(10);
      await inner('skip')(event, invocation());
      working.open();
      return held;
    })({}, invocation());
    await clock.advance(20);
    await invoked;
    expect(await doneToken()).toBeUndefined();
  });

  test('is not done where the second try fails, or is of another key', async () => {
    const busy = await others.acquire('busy');
    const fails = withLock({ key: 'busy', contextKey: 'inner', locks }, () => Promise.reject(new Error('Disk full.')));
    const other = withLock({ key: 'other', contextKey: 'inner', locks }, () => 'worked');
    const outer = withLock(options(), async (event, context) => {
      await inner('skip')(event, context);
      await busy.release();
      await clock.advance(1);
      await fails(event, context).catch(() => {});
      return other(event, context);
    });
    await outer({}, invocation());
    expect(await doneToken()).toBeUndefined();
  });

  test('is done where the lock inside is done', async () => {
    await (await others.acquire('busy', { once: '1' })).release({ done: true });
    await clock.advance(1);
    const done = withLock({ key: 'busy', contextKey: 'inner', locks, once: '1' }, () => 'never');
    await withLock(options(), done)({}, invocation());
    expect(await doneToken()).toBe('2026-01-01');
  });
});

describe('withLock around a streaming handler', () => {
  test('the lock is held until the response stream has finished, even after the handler has returned', async () => {
    const more = gate();
    const { received, arrived, responseStream } = sink();
    const handler = withLock(
      { key: 'nightly', locks, once: '2026-01-01' },
      async (_event: unknown, responseStream: Writable, { lock }: { lock: Lease }) => {
        lock.assertHeld();
        const parts = async function* () {
          yield 'one';
          await more.opened;
          yield 'two';
        };
        Readable.from(parts()).pipe(responseStream);
      },
    );
    const invoked = handler({}, responseStream, invocation());
    await arrived;
    expect(await isHeld()).toBe(true);
    expect(requests).toEqual(['acquire']);
    more.open();
    expect(await invoked).toBeUndefined();
    expect(received).toEqual(['one', 'two']);
    expect(await isHeld()).toBe(false);
    expect(await doneToken()).toBe('2026-01-01');
  });

  test('the handler fails: its error is thrown, and the lock is released and not done', async () => {
    const { responseStream } = sink();
    const handler = withLock(
      { key: 'nightly', locks, once: '2026-01-01' },
      async (_event: unknown, _responseStream: Writable) => {
        throw new Error('EPIPE');
      },
    );
    await expect(handler({}, responseStream, invocation())).rejects.toThrow('EPIPE');
    expect(requests).toEqual(['acquire', 'release']);
    expect(await doneToken()).toBeUndefined();
  });

  test('the reader goes away while the handler works: the lock is held until the handler has ended', async () => {
    const { responseStream } = sink();
    const working = gate();
    const handler = withLock({ key: 'nightly', locks }, async (_event: unknown, responseStream: Writable) => {
      const parts = async function* () {
        yield 'one';
        await working.opened;
        yield 'two';
      };
      await pipeline(parts(), responseStream);
    });
    const failed = expect(handler({}, responseStream, invocation())).rejects.toThrow('EPIPE');
    await clock.advance(0);
    responseStream.destroy(new Error('EPIPE'));
    await clock.advance(0);
    expect(await isHeld()).toBe(true);
    working.open();
    await failed;
    expect(requests).toEqual(['acquire', 'release']);
  });

  test('the reader goes away after the handler has returned: the lease is abandoned, for a body may still write', async () => {
    const { arrived, responseStream } = sink();
    let lease: Lease | undefined;
    const handler = withLock(
      { key: 'nightly', locks, once: '2026-01-01' },
      async (_event: unknown, responseStream: Writable, { lock }: { lock: Lease }) => {
        lease = lock;
        const parts = async function* () {
          yield 'one';
          await gate().opened;
        };
        Readable.from(parts()).pipe(responseStream);
      },
    );
    const failed = expect(handler({}, responseStream, invocation())).rejects.toThrow('EPIPE');
    await arrived;
    responseStream.destroy(new Error('EPIPE'));
    await failed;
    expect(lease?.signal.reason).toMatchObject({ reason: 'abandoned' });
    expect(requests).toEqual(['acquire']);
    await clock.advance(30_000);
    expect(await isHeld()).toBe(false);
    expect(await doneToken()).toBeUndefined();
  });

  test.each([
    { onBusy: 'skip' as const, body: [] },
    { onBusy: () => 'Somebody else is at it.', body: ['Somebody else is at it.'] },
  ])('the lock is busy: the handler does not run, and the body is $body', async ({ onBusy, body }) => {
    await others.acquire('nightly');
    const { received, responseStream } = sink();
    const handler = withLock({ key: 'nightly', locks, onBusy }, async (_event: unknown, _responseStream: Writable) => {
      throw new Error('never');
    });
    expect(await handler({}, responseStream, invocation())).toBeUndefined();
    expect(responseStream.writableEnded).toBe(true);
    expect(received).toEqual(body);
  });

  test("the stream of Lambda's runtime, an HTTP request with few of a stream's methods, is written to", async () => {
    await using server = createServer((request, response) => request.pipe(response)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const request = httpRequest({ port, method: 'POST', agent: false });
    const echoed = once(request, 'response').then(([response]) => text(response));
    const responseStream: Record<string, unknown> = {};
    for (const method of [
      'write',
      'end',
      'destroy',
      'on',
      'once',
      'off',
      'emit',
      'removeListener',
      'listenerCount',
    ] as const) {
      responseStream[method] = (request[method] as (...parameters: unknown[]) => unknown).bind(request);
    }
    for (const name of ['writable', 'writableEnded', 'writableFinished', 'writableNeedDrain', 'destroyed'] as const) {
      Object.defineProperty(responseStream, name, { get: () => request[name] });
    }
    const handler = withLock({ key: 'nightly', locks }, async (_event: unknown, responseStream: Writable) => {
      await pipeline(Readable.from(['one', 'two']), responseStream);
    });
    await handler({}, responseStream as never, invocation());
    expect(await echoed).toBe('onetwo');
    expect(await isHeld()).toBe(false);
  });
});

describe('a lease is released where the wrapped handler cannot run or its response cannot be read', () => {
  const message1 = () => batch(message('1', 'a'));
  const unreadable = () => ({
    get batchItemFailures(): never {
      throw new Error('unreadable');
    },
  });

  test.each([
    [
      'withLock',
      () => withLock({ key: 'a', locks, holdAtLeastMs: 60_000 }, () => 'never')({}, Object.freeze(invocation())),
    ],
    [
      'withRecordLocks',
      () =>
        withRecordLocks({ key: () => 'a', locks, holdAtLeastMs: 60_000 }, () => 'never')(
          message1(),
          Object.freeze(invocation()),
        ),
    ],
  ])('%s, in a frozen context: the lock is free at once, whatever holdAtLeastMs says', async (_, invoke) => {
    await expect(invoke()).rejects.toThrow(TypeError);
    expect(requests).toEqual(['acquire', 'release']);
    expect(clock.timers).toBe(0);
    await clock.advance(1);
    expect(await others.tryAcquire('a')).not.toBeNull();
  });

  test.each([
    ['withLock', () => withLock({ key: 'a', locks }, unreadable)({}, invocation())],
    ['withRecordLocks', () => withRecordLocks({ key: () => 'a', locks }, unreadable)(message1(), invocation())],
  ])('%s, with a response whose property throws', async (_, invoke) => {
    await expect(invoke()).rejects.toThrow('unreadable');
    expect(requests).toEqual(['acquire', 'release']);
    expect(clock.timers).toBe(0);
  });

  test.each([
    ['withLock', () => withLock({ key: 'a', locks }, undefined as never)],
    ['withRecordLocks', () => withRecordLocks({ key: () => 'a', locks }, undefined as never)],
  ])('%s refuses a handler that is no function when it is configured', (_, make) => {
    expect(make).toThrow(new TypeError('handler must be a function, but it is undefined.'));
  });
});
