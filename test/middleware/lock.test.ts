import { PassThrough, pipeline, Readable, Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { ReadableStream } from 'node:stream/web';
import { withDurableExecution } from '@aws/durable-execution-sdk-js';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import middy7 from '@middy/core';
import { executionModeDurableContext } from '@middy/core/DurableContext';
import { executionModeStreamifyResponse } from '@middy/core/StreamifyResponse';
import middy6 from 'middy6';
import { type Lease, LockBusyError, LockError, LockLostError } from '../../lib/index.ts';
import { type LockOptions, lock, lockPlugin } from '../../middleware/index.ts';
import { outcomeOf } from '../lease/setup.ts';
import { gate, invocation, setUp, sink } from './setup.ts';

type Handler = (event: unknown, context: unknown, ...rest: unknown[]) => unknown;
type Hook = (request: { event: unknown; context: unknown; response: unknown; error: unknown }) => unknown;
/** The part of Middy that the tests use, the same in both versions. */
interface Middy extends Handler {
  use(middleware: object): Middy;
  before(hook: Hook): Middy;
  after(hook: Hook): Middy;
  onError(hook: Hook): Middy;
  handler(handler: Handler): Middy;
}
type MakeMiddy = (plugin?: object) => Middy;

const versions: { version: number; middy: MakeMiddy; streaming: object }[] = [
  { version: 7, middy: middy7 as unknown as MakeMiddy, streaming: { executionMode: executionModeStreamifyResponse } },
  { version: 6, middy: middy6 as unknown as MakeMiddy, streaming: { streamifyResponse: true } },
];

/** Lambda's own global object for streaming handlers. */
Object.assign(globalThis, {
  awslambda: {
    streamifyResponse: (handler: unknown) => handler,
    HttpResponseStream: { from: (responseStream: unknown) => responseStream },
  },
});

describe.each(versions)('with Middy $version, in the life of a Lambda', ({ middy, streaming }) => {
  let { clock, store, requests, events, locks, others, isHeld } = setUp();
  const unhandled: unknown[] = [];
  const noteUnhandled = (reason: unknown) => void unhandled.push(reason);
  beforeEach(() => {
    ({ clock, store, requests, events, locks, others, isHeld } = setUp());
    process.on('unhandledRejection', noteUnhandled);
  });
  afterEach(async () => {
    await new Promise(setImmediate);
    process.off('unhandledRejection', noteUnhandled);
    expect(unhandled.splice(0)).toEqual([]);
    delete process.env.AWS_LAMBDA_MAX_CONCURRENCY;
  });

  /** Acquires the lock for another process, if the lock is free now. */
  const tryOther = (key = 'nightly') => others.tryAcquire(key);

  test("an error of Middy's that is no time-out releases the lock", async () => {
    const handler = middy(lockPlugin())
      .use(lock({ key: 'nightly', locks }))
      .handler(async () => {
        throw new Error('Unprocessable', { cause: { package: '@middy/core' } });
      });
    await expect(handler({}, invocation())).rejects.toThrow('Unprocessable');
    expect(await isHeld()).toBe(false);
  });

  test('the handler runs with the lease in its context, and two requests are sent in all', async () => {
    const handler = middy()
      .use(lock({ key: 'nightly', locks }))
      .handler(async (_event, context) => {
        const { lock } = context as { lock: Lease };
        expect(await isHeld()).toBe(true);
        return [lock.key, lock.isHeld(), JSON.stringify(context).includes(lock.lockId)];
      });
    expect(await handler({}, invocation())).toEqual(['nightly', true, false]);
    expect(await isHeld()).toBe(false);
    expect(requests).toEqual(['acquire', 'release']);
    expect(clock.timers).toBe(0);
  });

  describe('a later middleware returns early', () => {
    const early = (plugin?: object) =>
      middy(plugin)
        .use(lock({ key: 'nightly', locks }))
        .before(() => 'early')
        .handler(() => 'never');

    test('with the plugin, the lock is released', async () => {
      expect(await early(lockPlugin())({}, invocation())).toBe('early');
      expect(requests).toEqual(['acquire', 'release']);
      expect(await isHeld()).toBe(false);
    });

    test("without the plugin, the lease ends with the invocation's time at the latest, however often it was renewed", async () => {
      expect(await early()({}, invocation({ getRemainingTimeInMillis: () => 60_000 }))).toBe('early');
      await clock.advance(59_999);
      expect(requests).toContain('renew');
      expect(await tryOther()).toBeNull();
      // The lease opens safetyMs after its deadline, which is the invocation's end.
      await clock.advance(3_001);
      expect(await tryOther()).not.toBeNull();
      expect(clock.timers).toBe(2);
    });

    test('where the later middleware is another lock that was skipped, the first lock is released without the plugin', async () => {
      await others.acquire('second');
      const handler = middy()
        .use(lock({ key: 'first', locks, once: '2026-01-01' }))
        .use(lock({ key: 'second', locks, contextKey: 'second', onBusy: 'skip' }))
        .handler(() => 'never');
      expect(await handler({}, invocation())).toBeUndefined();
      expect(await isHeld('first')).toBe(false);
      expect((await others.inspect('first'))?.doneToken).toBeUndefined();
      expect(await isHeld('second')).toBe(true);
    });
  });

  describe('a before throws', () => {
    test('before the lock: nothing is acquired and nothing released', async () => {
      const handler = middy()
        .before(() => {
          throw new Error('No token.');
        })
        .use(lock({ key: 'nightly', locks }))
        .handler(() => 'never');
      await expect(handler({}, invocation())).rejects.toThrow('No token.');
      expect(requests).toEqual([]);
    });

    test('in the lock itself: the lease of another request of the same handler is not touched', async () => {
      const working = gate<string>();
      const handler = middy(lockPlugin())
        .use(lock({ key: 'nightly', locks }))
        .handler(() => working.opened);
      const first = handler({}, invocation());
      await expect(handler({}, invocation())).rejects.toBeInstanceOf(LockBusyError);
      expect(await isHeld()).toBe(true);
      expect(requests).toEqual(['acquire', 'acquire']);
      working.open('done');
      expect(await first).toBe('done');
      expect(await isHeld()).toBe(false);
    });

    test('after the lock: its error is thrown, and the lock is released and not done', async () => {
      const handler = middy()
        .use(lock({ key: 'nightly', locks, once: '2026-01-01' }))
        .before(() => {
          throw new Error('No token.');
        })
        .handler(() => 'never');
      await expect(handler({}, invocation())).rejects.toThrow('No token.');
      expect(await isHeld()).toBe(false);
      expect((await others.inspect('nightly'))?.doneToken).toBeUndefined();
    });
  });

  describe('however another middleware ends the request', () => {
    const fail = (text: string) => () => Promise.reject(new Error(text));
    const failing = async () => {
      throw new Error('Disk full.');
    };
    interface Ending {
      readonly how: string;
      readonly hooks: { before?: Hook; after?: Hook; onError?: Hook };
      readonly handler?: Handler;
      /** True if Middy without the plugin tells nothing of this end to a lock that stands before the other middleware. */
      readonly untold?: boolean;
      /** True if Middy 6 tells nothing of this end to a plugin either. */
      readonly untoldBy6?: boolean;
    }
    const endings: Ending[] = [
      { how: 'no hook ends it', hooks: { after: () => {} } },
      { how: 'the handler throws', hooks: { after: () => {} }, handler: failing },
      { how: 'its before throws', hooks: { before: fail('before') } },
      { how: 'its before responds', hooks: { before: () => 'early' }, untold: true },
      { how: 'its after throws', hooks: { after: fail('after') } },
      { how: 'its after responds', hooks: { after: () => 'early' }, untold: true },
      {
        how: 'its after throws, and its onError clears the error',
        hooks: {
          after: fail('after'),
          onError: (request) => {
            request.response = 'handled';
            request.error = undefined;
          },
        },
      },
      {
        how: 'its onError throws',
        hooks: { onError: fail('onError') },
        handler: failing,
        untold: true,
        untoldBy6: true,
      },
      { how: 'its onError responds', hooks: { onError: () => 'handled' }, handler: failing, untold: true },
      {
        how: 'its before throws, and its onError too',
        hooks: { before: fail('before'), onError: fail('onError') },
        untold: true,
        untoldBy6: true,
      },
    ];
    const places = endings.flatMap((ending) =>
      ['standard', 'streaming'].flatMap((mode) =>
        ['first', 'last'].flatMap((place) => ['with', 'without'].map((plugin) => ({ ...ending, mode, place, plugin }))),
      ),
    );

    /** The same hooks; each call appends the requests that had been sent by then. */
    const noting = (hooks: Ending['hooks'], seen: string[][]) =>
      Object.fromEntries(
        Object.entries(hooks).map(([name, hook]) => [
          name,
          (request: never) => {
            seen.push([...requests]);
            return (hook as Hook)(request);
          },
        ]),
      );
    /** Tells whether Middy tells a lock, or the plugin, that the request has ended. */
    const isTold = ({ untold, untoldBy6, place, plugin }: (typeof places)[number]) => {
      if (place === 'last' || !untold) return true;
      return plugin === 'with' && !(untoldBy6 && middy === (middy6 as unknown as MakeMiddy));
    };

    test.each(places)(
      '($how; $mode mode, the lock $place, $plugin the plugin), nothing is released before the end, and nothing is held after an end that Middy tells',
      async (row) => {
        const { hooks, handler, mode, place, plugin } = row;
        const options = mode === 'streaming' ? streaming : {};
        const app = middy(plugin === 'with' ? lockPlugin(options) : options);
        const seen: string[][] = [];
        const looking = noting(hooks, seen);
        const locked = lock({ key: 'nightly', locks });
        for (const middleware of place === 'first' ? [locked, looking] : [looking, locked]) app.use(middleware);
        const invoke = app.handler(async (...parameters) => {
          await new Promise(setImmediate);
          seen.push([...requests]);
          return handler?.(...parameters) ?? 'done';
        });
        const responseStreams = mode === 'streaming' ? [sink().responseStream] : [];
        await (invoke({}, ...([...responseStreams, invocation()] as [unknown])) as Promise<unknown>).catch(() => {});
        // A lock that stands first is held in every hook of the other middleware.
        expect(place === 'last' || seen.flat().every((request) => request === 'acquire')).toBe(true);
        expect(await isHeld()).toBe(!isTold(row));
        if (isTold(row)) return;
        // If nobody tells, the lease ends with the invocation's time.
        await clock.advance(63_000);
        expect(await isHeld()).toBe(false);
      },
    );

    test('the after of a middleware that stands before the lock runs without it', async () => {
      let heldAtCommit: boolean | undefined;
      const handler = middy(lockPlugin())
        .after(async () => {
          heldAtCommit = await isHeld();
        })
        .use(lock({ key: 'nightly', locks }))
        .handler(() => 'done');
      await handler({}, invocation());
      expect(heldAtCommit).toBe(false);
    });

    test('an after behind the lock throws while a body is produced: the body is stopped before the release', async () => {
      const step = gate();
      let isWorking = false;
      async function* parts() {
        yield 'one';
        isWorking = true;
        await step.opened;
        isWorking = false;
      }
      const handler = middy(lockPlugin(streaming))
        .use(lock({ key: 'nightly', locks }))
        .after(async ({ response }) => {
          (response as Readable).resume();
          while (!isWorking) await new Promise(setImmediate);
          throw new Error('No such template.');
        })
        .handler(async () => Readable.from(parts()));
      const failed = expect(handler({}, sink().responseStream, invocation())).rejects.toThrow('No such template.');
      for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
      expect([isWorking, requests]).toEqual([true, ['acquire']]);
      step.open();
      await failed;
      expect(requests).toEqual(['acquire', 'release']);
    });
  });

  test('an outer after throws: the lock is released once, and the error is that of the after', async () => {
    const handler = middy(lockPlugin())
      .after(() => {
        throw new Error('No such template.');
      })
      .use(lock({ key: 'nightly', locks }))
      .handler(async () => 'done');
    await expect(handler({}, invocation())).rejects.toThrow('No such template.');
    expect(requests).toEqual(['acquire', 'release']);
  });

  describe("Middy's early time-out", () => {
    // Middy's timers are real: 20 ms pass.
    const lateInvocation = () => invocation({ getRemainingTimeInMillis: () => 30 });
    const timeoutEarlyInMillis = 10;
    const working = gate();
    const neverEnding =
      (seen: { lease?: Lease; reason?: unknown }): Handler =>
      async (_event, context) => {
        seen.lease = (context as { lock: Lease }).lock;
        seen.lease.signal.addEventListener('abort', () => {
          seen.reason = seen.lease?.signal.reason;
        });
        await working.opened;
      };

    test.each([
      { how: 'throwing, without the plugin', plugin: { timeoutEarlyInMillis } },
      { how: 'throwing, with the plugin', plugin: lockPlugin({ timeoutEarlyInMillis }) },
      {
        how: 'throwing an error of its own',
        plugin: lockPlugin({
          timeoutEarlyInMillis,
          timeoutEarlyResponse: () => {
            throw new Error('Too late.');
          },
        }),
      },
    ])('$how: the signal aborts first, and the lock is not released while the handler runs', async ({ plugin }) => {
      const seen: { lease?: Lease; reason?: unknown } = {};
      let heldAtError: boolean | undefined;
      const handler = middy(plugin)
        .onError(() => {
          heldAtError = seen.lease?.isHeld();
        })
        .use(lock({ key: 'nightly', locks }))
        .handler(neverEnding(seen));
      await expect(handler({}, lateInvocation())).rejects.toThrow(/aborted|Too late/);
      expect(heldAtError).toBe(false);
      expect(seen.reason).toMatchObject({ name: 'LockLostError', reason: 'timedOut' });
      expect(requests).toEqual(['acquire']);
      expect(await tryOther()).toBeNull();
      // The lock opens at the lease's expiry, which is the invocation's end and safetyMs more.
      await clock.advance(3_030);
      expect(await tryOther()).not.toBeNull();
      expect(requests).toEqual(['acquire']);
    });

    test.each([
      { how: 'throwing', plugin: { timeoutEarlyInMillis } },
      { how: 'returning a value', plugin: { timeoutEarlyInMillis, timeoutEarlyResponse: () => 'late' } },
    ])(
      '$how, after the lease has expired: the lock is not released, for it may be ours all the same',
      async ({ plugin }) => {
        const handler = middy(lockPlugin<object>(plugin))
          .use(lock({ key: 'nightly', locks }))
          .handler(async (_event, context) => {
            clock.step(2_500);
            expect((context as { lock: Lease }).lock.isHeld()).toBe(false);
            await working.opened;
          });
        expect(await (handler({}, lateInvocation()) as Promise<unknown>).catch((error: Error) => error.name)).toMatch(
          /^(TimeoutError|late)$/,
        );
        expect(await isHeld()).toBe(true);
        expect(requests).toEqual(['acquire']);
      },
    );

    test('throwing, and turned into a response by another middleware: the lock is not released', async () => {
      const seen: { lease?: Lease; reason?: unknown } = {};
      const handler = middy(lockPlugin({ timeoutEarlyInMillis }))
        .use(lock({ key: 'nightly', locks }))
        .onError(() => ({ statusCode: 504 }))
        .handler(neverEnding(seen));
      expect(await handler({}, lateInvocation())).toEqual({ statusCode: 504 });
      expect(seen.reason).toMatchObject({ name: 'LockLostError', reason: 'timedOut' });
      expect(requests).toEqual(['acquire']);
    });

    test('returning a value: the signal aborts first, the value is the response, and nothing is released or done', async () => {
      const seen: { lease?: Lease; reason?: unknown } = {};
      let heldAtTimeout: boolean | undefined;
      const plugin = lockPlugin({
        timeoutEarlyInMillis,
        timeoutEarlyResponse: () => {
          heldAtTimeout = seen.lease?.isHeld();
          return { statusCode: 202 };
        },
      });
      const handler = middy(plugin)
        .use(lock({ key: 'nightly', locks, once: '2026-01-01' }))
        .handler(neverEnding(seen));
      expect(await handler({}, lateInvocation())).toEqual({ statusCode: 202 });
      expect(heldAtTimeout).toBe(false);
      expect(seen.reason).toMatchObject({ name: 'LockLostError', reason: 'timedOut' });
      expect(requests).toEqual(['acquire']);
      expect(await tryOther()).toBeNull();
      expect((await others.inspect('nightly'))?.doneToken).toBeUndefined();
    });

    test('of one request: another request in the same process keeps its lease', async () => {
      const patient = gate();
      const plugin = lockPlugin({ timeoutEarlyInMillis, timeoutEarlyResponse: () => 'late' });
      const handler = middy(plugin)
        .use(lock({ key: String, locks }))
        .handler(() => patient.opened.then(() => 'done'));
      // The request that has time comes last, so that the last request is not taken for the late one.
      const late = handler('late', lateInvocation());
      const inTime = handler('inTime', invocation());
      expect(await late).toBe('late');
      expect(await isHeld('inTime')).toBe(true);
      expect(events.filter(({ type }) => type === 'lost')).toMatchObject([{ key: 'late', reason: 'timedOut' }]);
      patient.open();
      expect(await inTime).toBe('done');
      expect(await isHeld('inTime')).toBe(false);
    });

    const answering = { timeoutEarlyInMillis, timeoutEarlyResponse: () => 'late' };
    test.each([
      { how: 'one plugin for both', pluginOf: () => answeringPlugin },
      { how: 'a plugin for each', pluginOf: () => lockPlugin(answering) },
    ])('of a handler that has called another one that has ended ($how): its own lock is not released', async (row) => {
      const seen: { lease?: Lease; reason?: unknown } = {};
      const route = middy(row.pluginOf()).handler(async () => 'checked');
      const handler = middy(row.pluginOf())
        .use(lock({ key: 'nightly', locks, once: '2026-01-01' }))
        .handler(async (event, context) => {
          await route(event, context);
          await neverEnding(seen)(event, context);
        });
      expect(await handler({}, lateInvocation())).toBe('late');
      expect(seen.reason).toMatchObject({ name: 'LockLostError', reason: 'timedOut' });
      expect(requests).toEqual(['acquire']);
    });
    const answeringPlugin = lockPlugin(answering);

    test.each([
      { how: 'by its plugin', plugin: () => lockPlugin(answering), onError: () => {} },
      { how: 'by an error handler', plugin: () => lockPlugin({ timeoutEarlyInMillis }), onError: () => 'late' },
    ])(
      'of a handler that another one has called, answered $how: the lock of the caller is not released',
      async (row) => {
        const seen: { lease?: Lease; reason?: unknown } = {};
        const route = middy(row.plugin()).onError(row.onError).handler(neverEnding(seen));
        const handler = middy(lockPlugin({ timeoutEarlyInMillis: 0 }))
          .use(lock({ key: 'nightly', locks, once: '2026-01-01' }))
          .handler((event, context) => route(event, context));
        expect(await handler({}, lateInvocation())).toBe('late');
        expect(seen.reason).toMatchObject({ name: 'LockLostError', reason: 'timedOut' });
        expect(requests).toEqual(['acquire']);
      },
    );

    test('with one plugin for a handler and the handler that it calls, a body that is produced is not forgotten', async () => {
      const plugin = lockPlugin();
      const step = gate();
      async function* parts() {
        await step.opened;
        yield 'one';
      }
      const route = middy(plugin).handler(async () => 'checked');
      const handler = middy(plugin)
        .use(lock({ key: 'nightly', locks }))
        .after(() => {
          throw new Error('No such template.');
        })
        .handler(async (event, context) => {
          await route(event, context);
          const body = Readable.from(parts());
          body.read();
          return body;
        });
      const failed = expect(handler({}, invocation())).rejects.toThrow('No such template.');
      for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
      expect(requests).toEqual(['acquire']);
      step.open();
      await failed;
      expect(requests).toEqual(['acquire', 'release']);
    });

    const mappers: { how: string; onError: Hook }[] = [
      {
        how: 'replaces the error',
        onError: (request) => {
          request.error = new Error('Internal error.', { cause: request.error });
        },
      },
      {
        how: 'throws another error',
        onError: ({ error }) => {
          throw new Error('Internal error.', { cause: error });
        },
      },
      {
        how: 'answers and clears the error',
        onError: (request) => {
          request.response = 'Internal error.';
          request.error = undefined;
        },
      },
      { how: 'answers by its result', onError: () => 'Internal error.' },
    ];
    test.each(mappers.flatMap(({ how, onError }) => ['first', 'last'].map((place) => ({ how, onError, place }))))(
      'and another middleware $how, with the lock $place: the lock is not released',
      async ({ onError, place }) => {
        const seen: { lease?: Lease; reason?: unknown } = {};
        const handler = middy(lockPlugin({ timeoutEarlyInMillis }));
        if (place === 'last') handler.onError(onError);
        handler.use(lock({ key: 'nightly', locks }));
        if (place === 'first') handler.onError(onError);
        const invoked = handler.handler(neverEnding(seen))({}, lateInvocation()) as Promise<unknown>;
        expect(await invoked.catch((error) => error.message)).toBe('Internal error.');
        expect(seen.reason).toMatchObject({ name: 'LockLostError', reason: 'timedOut' });
        expect(requests).toEqual(['acquire']);
      },
    );

    test("the plugin throws Middy's own error", async () => {
      const errorOf = async (plugin: object) => {
        const handler = middy(plugin).handler(() => working.opened);
        const error = await (handler({}, lateInvocation()) as Promise<never>).catch((error) => error);
        return { kind: error.constructor, ...error, message: error.message, cause: error.cause };
      };
      const own = await errorOf({ timeoutEarlyInMillis });
      expect(own.name).toBe('TimeoutError');
      expect(await errorOf(lockPlugin({ timeoutEarlyInMillis }))).toEqual(own);
      expect(await errorOf(lockPlugin({ timeoutEarlyInMillis, timeoutEarlyResponse: undefined }))).toEqual(own);
    });

    test('timeoutEarlyInMillis: 0 switches the time-out off, also with the plugin', async () => {
      const handler = middy(lockPlugin({ timeoutEarlyInMillis: 0 }))
        .use(lock({ key: 'nightly', locks }))
        .handler(() => new Promise((resolve) => setTimeout(resolve, 20, 'done')));
      expect(await handler({}, invocation({ getRemainingTimeInMillis: () => 10 }))).toBe('done');
      expect(requests).toEqual(['acquire', 'release']);
    });

    test("the handler's own TimeoutError is no early time-out: the lock is released", async () => {
      const handler = middy(lockPlugin())
        .use(lock({ key: 'nightly', locks }))
        .handler(async () => {
          throw new DOMException('The operation was aborted due to timeout', 'TimeoutError');
        });
      await expect(handler({}, invocation())).rejects.toThrow('due to timeout');
      expect(requests).toEqual(['acquire', 'release']);
    });
  });

  describe('the response is a stream', () => {
    async function* slowly(first: Promise<unknown>, then: () => void = () => {}) {
      yield 'one';
      await first;
      then();
      yield 'two';
    }
    const bodies = [
      { kind: 'a Node stream', wrap: (parts: AsyncIterable<string>) => Readable.from(parts) },
      { kind: 'a web stream', wrap: (parts: AsyncIterable<string>) => ReadableStream.from(parts) },
      {
        kind: 'an HTTP response with a stream',
        wrap: (parts: AsyncIterable<string>) => ({ statusCode: 200, body: Readable.from(parts) }),
      },
    ];

    test.each(bodies)(
      '$kind: the lock is held until the body has ended, and released before the response has ended',
      async ({ wrap }) => {
        const more = gate();
        const { received, arrived, responseStream } = sink();
        const handler = middy(streaming)
          .use(lock({ key: 'nightly', locks, once: '2026-01-01' }))
          .handler(async () => wrap(slowly(more.opened)));
        const invoked = handler({}, responseStream, invocation()) as Promise<unknown>;
        let requestsAtEnd: string[] = [];
        responseStream.on('finish', () => {
          requestsAtEnd = [...requests];
        });
        await arrived;
        expect(await isHeld()).toBe(true);
        expect(requests).toEqual(['acquire']);
        more.open();
        await invoked;
        expect(received.join(' ').trim()).toBe('one two');
        expect(requestsAtEnd).toEqual(['acquire', 'release']);
        expect(await isHeld()).toBe(false);
        expect(await others.inspect('nightly')).toMatchObject({ doneToken: '2026-01-01' });
      },
    );

    test.each(bodies)(
      "$kind that breaks: its error is the response's, and the lock is released, not done, only if the work is known to be over",
      async ({ kind, wrap }) => {
        const { responseStream } = sink();
        const handler = middy(streaming)
          .use(lock({ key: 'nightly', locks, once: '2026-01-01' }))
          .handler(async () => wrap(slowly(Promise.reject(new Error('Disk full.')))));
        await expect(handler({}, responseStream, invocation())).rejects.toThrow('Disk full.');
        expect(requests).toEqual(kind === 'a web stream' ? ['acquire'] : ['acquire', 'release']);
        expect((await others.inspect('nightly'))?.doneToken).toBeUndefined();
      },
    );

    test.each([
      {
        what: 'a Transform',
        make: (parts: AsyncIterable<string>) => {
          const broken = new PassThrough({ transform: (_part, _encoding, done) => done(new Error('Bad row.')) });
          Readable.from(parts).pipe(broken);
          return broken;
        },
      },
      {
        what: 'a web transform',
        make: (parts: AsyncIterable<string>) =>
          ReadableStream.from(parts).pipeThrough(
            new TransformStream<string, string>({ transform: () => Promise.reject(new Error('Bad row.')) }) as never,
          ),
      },
    ])('$what that breaks while its source works: the lease is abandoned', async ({ make }) => {
      const { seen, parts } = worker();
      const handler = middy(lockPlugin(streaming))
        .use(lock({ key: 'nightly', locks }))
        .handler(async (_event, context) => {
          seen.lease = (context as { lock: Lease }).lock;
          return make(parts());
        });
      await expect(handler({}, sink().responseStream, invocation())).rejects.toThrow('Bad row.');
      expect(seen.lease?.signal.reason).toMatchObject({ name: 'LockLostError', reason: 'abandoned' });
      expect(requests).toEqual(['acquire']);
    });

    test.each([
      { what: 'a Node stream whose destruction fails', body: () => failsAtItsEnd() },
      {
        what: 'a web stream whose cancel fails',
        body: () => new ReadableStream({ cancel: () => Promise.reject(new Error('Not closed.')) }),
      },
    ])(
      '$what, behind an after that throws: the process lives, and the error is that of the after',
      async ({ body }) => {
        const handler = middy(lockPlugin())
          .use(lock({ key: 'nightly', locks }))
          .after(() => {
            throw new Error('No such template.');
          })
          .handler(async () => body());
        await expect(handler({}, invocation())).rejects.toThrow('No such template.');
        await soon();
        expect(await isHeld()).toBe(body() instanceof ReadableStream);
      },
    );
    const failsAtItsEnd = () =>
      new Readable({ read() {}, destroy: (_error, callback) => callback(new Error('Not closed.')) });

    /** Works on each part for as long as the test says, and notes when it works. */
    function worker() {
      const step = gate();
      const seen = { working: false, lease: undefined as Lease | undefined };
      async function* parts() {
        yield 'one';
        seen.working = true;
        await step.opened;
        seen.working = false;
        yield 'two';
      }
      return { step, seen, parts };
    }
    const soon = () => new Promise(setImmediate);
    const ways = [
      {
        way: 'its reader goes away',
        plugin: (): object => ({ ...streaming, ...lockPlugin() }),
        after: () => {},
        end: (responseStream: Writable) => void responseStream.destroy(new Error('EPIPE')),
      },
      {
        way: 'an outer after throws',
        plugin: (): object => lockPlugin(streaming),
        after: (request: { response: unknown }) => {
          // The reader has read until now.
          const { response } = request as { response: Readable & { body?: Readable } };
          (response.body ?? response).resume();
          return soon()
            .then(soon)
            .then(() => Promise.reject(new Error('No such template.')));
        },
        end: () => {},
      },
    ];

    describe.each(ways)('a request whose body is produced: $way', ({ plugin, after, end }) => {
      test.each([bodies[0], bodies[2]].map((body) => body!))(
        '$kind: the lock is held until the present step has ended, and is then released and not done',
        async ({ wrap }) => {
          const { step, seen, parts } = worker();
          const { responseStream } = sink();
          const handler = middy(plugin())
            .after(after as Hook)
            .use(lock({ key: 'nightly', locks, once: '2026-01-01' }))
            .handler(async () => wrap(parts()));
          const invoked = handler({}, responseStream, invocation()) as Promise<unknown>;
          const failed = expect(invoked).rejects.toThrow(/EPIPE|No such template/);
          while (!seen.working) await soon();
          end(responseStream);
          for (let turn = 0; turn < 20; turn++) await soon();
          expect(seen.working).toBe(true);
          expect(requests).toEqual(['acquire']);
          step.open();
          await failed;
          expect(seen.working).toBe(false);
          expect(requests).toEqual(['acquire', 'release']);
          expect((await others.inspect('nightly'))?.doneToken).toBeUndefined();
        },
      );

      test.each([
        { kind: 'a web stream', wrap: bodies[1]!.wrap },
        {
          kind: 'a Transform',
          wrap: (parts: AsyncIterable<string>) => Readable.from(parts).pipe(new PassThrough({ objectMode: true })),
        },
        {
          kind: 'a Duplex with a destroy of its own',
          wrap: (parts: AsyncIterable<string>) =>
            Readable.from(parts).pipe(new PassThrough({ objectMode: true, destroy: (error, done) => done(error) })),
        },
        {
          kind: 'a stream that somebody pushes to',
          wrap: (parts: AsyncIterable<string>) => {
            const pushed = new Readable({ objectMode: true, read() {} });
            const push = async () => {
              for await (const part of parts) pushed.push(part);
            };
            void push();
            return pushed;
          },
        },
        {
          kind: 'a Node stream made of a web stream',
          wrap: (parts: AsyncIterable<string>) => Readable.fromWeb(ReadableStream.from(parts), { objectMode: true }),
        },
      ])(
        '$kind, whose end of work nobody can tell: the signal aborts, and the lease ends by itself',
        async ({ wrap }) => {
          const { seen, parts } = worker();
          const { responseStream } = sink();
          const handler = middy(plugin())
            .after(after as Hook)
            .use(lock({ key: 'nightly', locks, once: '2026-01-01' }))
            .handler(async (_event, context) => {
              seen.lease = (context as { lock: Lease }).lock;
              return wrap(parts());
            });
          const invoked = handler({}, responseStream, invocation()) as Promise<unknown>;
          const failed = expect(invoked).rejects.toThrow(/EPIPE|No such template/);
          while (!seen.working) await soon();
          end(responseStream);
          await failed;
          expect(seen.lease?.signal.reason).toMatchObject({ name: 'LockLostError', reason: 'abandoned' });
          expect(requests).toEqual(['acquire']);
          expect(await tryOther()).toBeNull();
          await clock.advance(30_000);
          expect(await tryOther()).not.toBeNull();
        },
      );
    });

    test.each([
      { kind: 'a Node stream', through: (parts: Readable) => parts, released: true },
      { kind: 'a Transform', through: (parts: Readable) => parts.pipe(new PassThrough()), released: false },
    ])('$kind, sent under two locks: both locks are released, or neither is', async ({ through, released }) => {
      const { step, seen, parts } = worker();
      const { responseStream } = sink();
      const handler = middy(lockPlugin(streaming))
        .use(lock({ key: 'first', locks }))
        .use(lock({ key: 'second', locks, contextKey: 'second' }))
        .handler(async () => through(Readable.from(parts())));
      const failed = expect(handler({}, responseStream, invocation())).rejects.toThrow('EPIPE');
      while (!seen.working) await soon();
      responseStream.destroy(new Error('EPIPE'));
      for (let turn = 0; turn < 20; turn++) await soon();
      expect(requests).toEqual(['acquire', 'acquire']);
      step.open();
      await failed;
      expect([await isHeld('first'), await isHeld('second')]).toEqual([!released, !released]);
    });

    test.each([
      { what: 'a body that never closes', make: () => new Readable({ read() {}, destroy() {} }) },
      {
        what: 'a body that cannot be destroyed',
        make: () => Object.assign(new Readable({ read() {} }), { destroy: undefined }),
      },
    ])('$what, and its reader goes away: the lease is abandoned, before the invocation ends', async ({ make }) => {
      const body = make();
      body.push('one');
      const { arrived, responseStream } = sink();
      const handler = middy({ ...streaming, ...lockPlugin({ timeoutEarlyInMillis: 0 }) })
        .use(lock({ key: 'nightly', locks }))
        .handler(async () => body);
      const invoked = handler({}, responseStream, invocation({ getRemainingTimeInMillis: () => 60 }));
      await arrived;
      responseStream.destroy(new Error('EPIPE'));
      await expect(invoked).rejects.toThrow('EPIPE');
      expect(events.map((event) => (event.type === 'lost' ? event.reason : event.type))).toEqual([
        'acquired',
        'abandoned',
      ]);
    });

    test.each([
      { how: 'takes the whole body', leave: false },
      { how: 'goes away before the last part', leave: true },
    ])('a reader is slow and $how: nothing is done before the end', async ({ leave }) => {
      const takes: (() => void)[] = [];
      const responseStream = new Writable({
        highWaterMark: 1,
        write: (_chunk, _encoding, taken) => void takes.push(taken),
      });
      const take = async () => {
        while (takes.length === 0) await soon();
        takes.shift()?.();
      };
      const handler = middy(lockPlugin(streaming))
        .use(lock({ key: 'nightly', locks, once: '2026-01-01' }))
        .handler(async () => Readable.from(['one', 'two', 'three']));
      const invoked = handler({}, responseStream, invocation()) as Promise<unknown>;
      const ended = leave ? expect(invoked).rejects.toThrow('EPIPE') : invoked;
      await take();
      await take();
      while (takes.length === 0) await soon();
      for (let turn = 0; turn < 20; turn++) await soon();
      expect(requests).toEqual(['acquire']);
      if (leave) responseStream.destroy(new Error('EPIPE'));
      else await take();
      await ended;
      expect(requests).toEqual(['acquire', 'release']);
      expect((await others.inspect('nightly'))?.doneToken).toBe(leave ? undefined : '2026-01-01');
    });

    test.each([
      {
        what: 'a body is destroyed before it is returned',
        make: () => Readable.from(['one']).destroy(),
      },
      {
        what: 'a body is destroyed with an error before anybody reads it',
        make: () =>
          Readable.from(['one'])
            .on('error', () => {})
            .destroy(new Error('Disk full.')),
      },
    ])('$what: the response fails, and the lock is released and not done', async ({ make }) => {
      const { responseStream } = sink();
      const handler = middy(streaming)
        .use(lock({ key: 'nightly', locks, once: '2026-01-01' }))
        .handler(async () => make());
      await expect(handler({}, responseStream, invocation())).rejects.toThrow(/Premature close|Disk full/);
      expect(requests).toEqual(['acquire', 'release']);
      expect((await others.inspect('nightly'))?.doneToken).toBeUndefined();
    });

    test('a body fails that nobody reads: the lock is released, and no error is uncaught', async () => {
      const body = Readable.from(['one']);
      const handler = middy()
        .use(lock({ key: 'nightly', locks }))
        .handler(async () => body);
      await handler({}, invocation());
      body.destroy(new Error('Disk full.'));
      for (let turn = 0; turn < 5; turn++) await soon();
      expect(requests).toEqual(['acquire', 'release']);
    });

    test.each([
      { how: 'another middleware has replaced the response', replace: true, released: true },
      { how: 'the response is still to be read by the caller', replace: false, released: false },
    ])('nobody has read the body when the request ends, for $how', async ({ replace, released }) => {
      const handler = middy(lockPlugin())
        .after((request) => {
          if (replace) request.response = 'Something else.';
        })
        .use(lock({ key: 'nightly', locks, once: '2026-01-01' }))
        .handler(async () => Readable.from(['one', 'two']));
      const response = (await handler({}, invocation())) as Readable;
      expect(await isHeld()).toBe(!released);
      if (!released) expect(await response.toArray()).toEqual(['one', 'two']);
      expect(await isHeld()).toBe(false);
      expect((await others.inspect('nightly'))?.doneToken).toBe(released ? undefined : '2026-01-01');
    });

    test.each([
      { kind: 'a Node stream', wrap: bodies[2]!.wrap, released: true },
      {
        kind: 'a stream without a status code',
        wrap: (parts: AsyncIterable<string>) => ({ headers: {}, body: Readable.from(parts) }),
        released: true,
      },
      {
        kind: 'a Transform',
        wrap: (parts: AsyncIterable<string>) => ({
          statusCode: 200,
          body: Readable.from(parts).pipe(new PassThrough()),
        }),
        released: false,
      },
    ])('$kind that a middleware drops: the body is stopped before the release, and nothing is done', async (row) => {
      const { step, seen, parts } = worker();
      const handler = middy(lockPlugin())
        .use(lock({ key: 'nightly', locks, once: '2026-01-01' }))
        .after(async (request) => {
          const { body } = request.response as { body: Readable };
          body.resume();
          while (!seen.working) await soon();
          request.response = { statusCode: 200 };
        })
        .handler(async () => row.wrap(parts()));
      const invoked = handler({}, invocation()) as Promise<unknown>;
      for (let turn = 0; turn < 20; turn++) await soon();
      expect(requests).toEqual(['acquire']);
      step.open();
      expect(await invoked).toEqual({ statusCode: 200 });
      expect(await isHeld()).toBe(!row.released);
      expect((await others.inspect('nightly'))?.doneToken).toBeUndefined();
    });

    test('a middleware compresses the body: the compressed body is whole, and the lock is held until its end', async () => {
      const handler = middy(lockPlugin())
        .after((request) => {
          request.response = pipeline(request.response as Readable, new PassThrough({ objectMode: true }), () => {});
        })
        .use(lock({ key: 'nightly', locks, once: '2026-01-01' }))
        .handler(async () => Readable.from(['one', 'two']));
      const response = (await handler({}, invocation())) as Readable;
      expect(await response.toArray()).toEqual(['one', 'two']);
      expect(requests).toEqual(['acquire', 'release']);
      expect((await others.inspect('nightly'))?.doneToken).toBe('2026-01-01');
    });

    test('a middleware reads the body to its end: the token is done', async () => {
      const handler = middy(lockPlugin())
        .use(lock({ key: 'nightly', locks, once: '2026-01-01' }))
        .after(async (request) => {
          request.response = (await (request.response as Readable).toArray()).join();
        })
        .handler(async () => Readable.from(['one', 'two']));
      expect(await handler({}, invocation())).toBe('one,two');
      expect((await others.inspect('nightly'))?.doneToken).toBe('2026-01-01');
    });

    test('the lease is lost before the end of the body: the response fails, and nothing is done', async () => {
      const more = gate();
      const { arrived, responseStream } = sink();
      const handler = middy(lockPlugin(streaming))
        .use(lock({ key: 'nightly', locks, once: '2026-01-01' }))
        .handler(async () => Readable.from(slowly(more.opened)));
      const invoked = handler({}, responseStream, invocation()) as Promise<unknown>;
      await arrived;
      clock.step(60_000);
      more.open();
      await expect(invoked).rejects.toBeInstanceOf(LockLostError);
      expect((await others.inspect('nightly'))?.doneToken).toBeUndefined();
    });

    test('nobody reads the body, for an outer after throws: the lock is released', async () => {
      const { responseStream } = sink();
      const handler = middy(lockPlugin(streaming))
        .after(() => {
          throw new Error('No such template.');
        })
        .use(lock({ key: 'nightly', locks }))
        .handler(async () => Readable.from(slowly(Promise.resolve())));
      await expect(handler({}, responseStream, invocation())).rejects.toThrow('No such template.');
      expect(requests).toEqual(['acquire', 'release']);
    });

    test('a body of objects: each object passes as it is', async () => {
      const rows = [{ id: 1 }, { id: 2 }];
      const received: unknown[] = [];
      const responseStream = new Writable({
        objectMode: true,
        write(row, _encoding, callback) {
          received.push(row);
          callback();
        },
      });
      const handler = middy(streaming)
        .use(lock({ key: 'nightly', locks }))
        .handler(async () => Readable.from(rows));
      await handler({}, responseStream, invocation());
      expect(received).toEqual(rows);
    });

    test('a body passes on every byte', async () => {
      const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, index) => index % 251));
      const chunks: Buffer[] = [];
      const responseStream = new Writable({
        write(chunk, _encoding, callback) {
          chunks.push(chunk);
          setImmediate(callback);
        },
      });
      const handler = middy(lockPlugin(streaming))
        .use(lock({ key: 'nightly', locks }))
        .handler(async () => new Blob([bytes]).stream());
      await handler({}, responseStream, invocation());
      await finished(responseStream);
      expect(Buffer.concat(chunks).equals(bytes)).toBe(true);
    });
  });

  test('the handler returns a thenable that is no Promise: the lock is held until the thenable has settled', async () => {
    const working = gate<string>();
    const handler = middy()
      .use(lock({ key: 'nightly', locks }))
      .handler(() => ({ then: (resolve: (value: string) => void) => void working.opened.then(resolve) }));
    const invoked = handler({}, invocation());
    await clock.advance(100);
    expect(await isHeld()).toBe(true);
    working.open('done');
    expect(await invoked).toBe('done');
    expect(await isHeld()).toBe(false);
  });

  test('the handler returns a thenable that rejects: its error is thrown, and the lock is released and not done', async () => {
    const handler = middy()
      .use(lock({ key: 'nightly', locks, once: '2026-01-01' }))
      .handler(() => ({
        then: (_resolve: unknown, reject: (error: Error) => void) => reject(new Error('Disk full.')),
      }));
    await expect(handler({}, invocation())).rejects.toThrow('Disk full.');
    expect(requests).toEqual(['acquire', 'release']);
    expect((await others.inspect('nightly'))?.doneToken).toBeUndefined();
  });

  describe('multi-concurrency', () => {
    test('32 invocations share the process: each has a lease of its own and releases it alone', async () => {
      const gates = new Map<unknown, ReturnType<typeof gate<string>>>();
      const handler = middy(lockPlugin())
        .use(lock({ key: String, locks }))
        .handler((event, context) => {
          const working = gate<string>();
          gates.set(event, working);
          return working.opened.then(() => (context as { lock: Lease }).lock.key);
        });
      const keys = Array.from({ length: 32 }, (_, index) => `job-${index}`);
      const results = keys.map((key) => handler(key, invocation({ awsRequestId: key })));
      await clock.advance(0);
      for (const [index, key] of keys.entries()) {
        expect((await others.inspect(key))?.owner).toContain(` ${key}`);
        gates.get(key)?.open('done');
        expect(await results[index]).toBe(key);
        expect(await isHeld(key)).toBe(false);
        expect(await isHeld(keys[index + 1] ?? keys[0])).toBe(index < 31);
      }
    });

    test.each([
      { where: 'in such an environment the lease outlasts the time-out, as the code does', max: '8', held: true },
      { where: 'in any other it ends with the invocation', max: undefined, held: false },
    ])('$where', async ({ max, held }) => {
      if (max) process.env.AWS_LAMBDA_MAX_CONCURRENCY = max;
      const working = gate();
      let lease: Lease | undefined;
      const handler = middy({ timeoutEarlyInMillis: 0 })
        .use(lock({ key: 'nightly', locks, onLost: 'ignore' }))
        .handler(async (_event, context) => {
          lease = (context as { lock: Lease }).lock;
          await working.opened;
        });
      const invoked = handler({}, invocation({ getRemainingTimeInMillis: () => 40_000 }));
      await clock.advance(39_999);
      expect(lease?.isHeld()).toBe(true);
      await clock.advance(1);
      expect(lease?.isHeld()).toBe(held);
      working.open();
      await invoked;
    });
  });

  test('a durable execution is refused, the error says what to do, and nothing is locked', async () => {
    const locked = middy()
      .use(lock({ key: 'nightly', locks }))
      .handler(() => 'never');
    const event = {
      DurableExecutionArn: 'arn:aws:lambda:eu-central-1:123456789012:function:reports:1/durable-execution/a/b',
      CheckpointToken: 'token',
      InitialExecutionState: {
        Operations: [{ Id: 'a', Type: 'EXECUTION', Status: 'STARTED', ExecutionDetails: { InputPayload: '{}' } }],
      },
    };
    const durable = withDurableExecution(async (event, context) => locked(event, context), {
      durableExecutionClient: { checkpoint: unused, getExecutionState: unused } as never,
    });
    expect(await durable(event as never, invocation() as never)).toMatchObject({
      Status: 'FAILED',
      Error: {
        ErrorType: 'LockError',
        ErrorMessage: expect.stringMatching(/inside a step of a durable execution.*context\.step/),
      },
    });
    expect(requests).toEqual([]);
  });

  describe('thaw after a freeze', () => {
    test('within the handler: the lease is lost at the first question, before any timer', async () => {
      const handler = middy()
        .use(lock({ key: 'nightly', locks, once: '2026-01-01' }))
        .handler(async (_event, context) => {
          const { lock } = context as { lock: Lease };
          // The wall clock has gone on, and the monotonic clock has stood still with the process.
          clock.step(3_600_000);
          return lock.isHeld();
        });
      await expect(handler({}, invocation())).rejects.toMatchObject({ name: 'LockLostError', reason: 'expired' });
      expect((await others.inspect('nightly'))?.doneToken).toBeUndefined();
    });

    test('between invocations: the heartbeat of a request that returned early renews nothing', async () => {
      const handler = middy()
        .use(lock({ key: String, locks }))
        .before(({ event }) => (event === 'early' ? 'early' : undefined))
        .handler(() => 'done');
      expect(await handler('early', invocation())).toBe('early');
      clock.step(3_600_000);
      expect(await handler('nightly', invocation())).toBe('done');
      await clock.advance(60_000);
      expect(requests.filter((request) => request === 'renew')).toEqual([]);
      expect(clock.timers).toBe(0);
    });
  });

  describe('the same event comes twice', () => {
    const event = { time: '2026-01-01T02:00:00Z' };
    const options = { key: 'nightly', once: ({ time }: typeof event) => time, onBusy: 'skip' } as const;

    test('at the same time, with the same request id: one handler runs', async () => {
      const working = gate();
      let runs = 0;
      const handler = middy()
        .use(lock({ ...options, locks }))
        .handler(async () => {
          runs += 1;
          await working.opened;
        });
      const first = handler(event, invocation());
      const second = handler(event, invocation());
      await second;
      working.open();
      await first;
      expect(runs).toBe(1);
    });

    test('run numbers of more and more digits: each runs once', async () => {
      const handler = middy()
        .use(lock({ key: 'nightly', once: ({ run }: { run: number }) => run, locks }))
        .handler(() => 'ran');
      for (const run of [8, 9, 10, 11, 100]) {
        expect(await handler({ run }, invocation())).toBe('ran');
        expect(await handler({ run }, invocation())).toBeUndefined();
        await clock.advance(1);
      }
    });

    test('a test event before a schedule stops no schedule, and a test event after a schedule is an error', async () => {
      let runs = 0;
      const handler = middy()
        .use(
          lock({ key: 'nightly', once: ({ time }: typeof event) => time, onBusy: 'skip', onDone: () => 'done', locks }),
        )
        .handler(() => {
          runs += 1;
        });
      await handler({ time: 'test' }, invocation());
      await clock.advance(1);
      await handler(event, invocation());
      await clock.advance(1);
      await expect(handler({ time: 'test' }, invocation())).rejects.toMatchObject({
        code: 'ERR_LOCK_TOKEN',
        once: 'test',
        doneToken: '2026-01-01T02:00:00Z',
      });
      await handler({ time: '2026-01-02T02:00:00.000Z' }, invocation());
      expect(runs).toBe(3);
    });

    test('later: work that was done is not done again, and work that failed is', async () => {
      const outcomes = [() => Promise.reject(new Error('Disk full.')), () => 'done', () => 'never'];
      let runs = 0;
      const handler = middy()
        .use(lock({ ...options, locks }))
        .handler(async () => outcomes[runs++]?.());
      await expect(handler(event, invocation())).rejects.toThrow('Disk full.');
      expect(await handler(event, invocation())).toBe('done');
      expect(await handler(event, invocation())).toBeUndefined();
      expect(await handler({ time: '2025-12-31T02:00:00Z' }, invocation())).toBeUndefined();
      expect(runs).toBe(2);
    });
  });

  describe('the lock is busy', () => {
    beforeEach(async () => {
      await others.acquire('nightly');
    });
    const answer = (onBusy?: LockOptions['onBusy']) => {
      const ran: string[] = [];
      const handler = middy()
        .after(() => {
          ran.push('after');
        })
        .use(lock({ key: 'nightly', locks, onBusy }))
        .handler(() => {
          ran.push('handler');
        });
      return { ran, invoked: handler({ id: 1 }, invocation()) as Promise<unknown> };
    };

    test("by default the lock throws, for Middy's own error handlers to answer with 423", async () => {
      const { ran, invoked } = answer();
      await expect(invoked).rejects.toMatchObject({
        name: 'LockBusyError',
        statusCode: 423,
        owner: 'somebody else',
        headers: { 'Retry-After': '1' },
      });
      expect(ran).toEqual([]);
    });

    test("'skip': the handler does not run, and the response is undefined", async () => {
      const { ran, invoked } = answer('skip');
      expect(await invoked).toBeUndefined();
      expect(ran).toEqual([]);
    });

    test.each([[{ statusCode: 409 }], [undefined], [Promise.resolve('later')]])(
      'a function: the handler does not run, and the response is its result (%p)',
      async (response) => {
        const { ran, invoked } = answer((busy, event, context) => {
          expect(busy).toBeInstanceOf(LockBusyError);
          expect([event, context.awsRequestId]).toEqual([{ id: 1 }, 'request-1']);
          return response;
        });
        expect(await invoked).toEqual(await response);
        expect(ran).toEqual([]);
      },
    );
  });

  test('an onBusy that fails: its error goes to the error handlers, and the handler does not run', async () => {
    await others.acquire('nightly');
    const handler = middy()
      .onError(({ error }) => `handled: ${(error as Error).message}`)
      .use(lock({ key: 'nightly', locks, onBusy: () => Promise.reject(new Error('No answer.')) }))
      .handler(() => 'never');
    expect(await handler({}, invocation())).toBe('handled: No answer.');
  });

  test('the work is done for this token: onDone answers', async () => {
    const handler = middy()
      .use(lock({ key: 'nightly', locks, once: '2026-01-01', onDone: (done) => [done.once, done.doneToken] }))
      .handler(() => 'done');
    expect(await handler({}, invocation())).toBe('done');
    expect(await handler({}, invocation())).toEqual(['2026-01-01', '2026-01-01']);
  });

  describe('the lease was lost', () => {
    const losing = (onLost: 'throw' | 'ignore' | undefined, end: () => unknown) =>
      middy()
        .use(lock({ key: 'nightly', locks, onLost, once: '2026-01-01' }))
        .handler(async () => {
          clock.step(60_000);
          return end();
        });

    test.each([
      { onLost: undefined, title: 'by default the invocation fails' },
      { onLost: 'throw' as const, title: "'throw': the invocation fails" },
    ])('$title, and nothing is done', async ({ onLost }) => {
      await expect(losing(onLost, () => 'done')({}, invocation())).rejects.toBeInstanceOf(LockLostError);
      expect((await others.inspect('nightly'))?.doneToken).toBeUndefined();
    });

    test("'ignore': the response is the handler's, and nothing is done", async () => {
      expect(await losing('ignore', () => 'done')({}, invocation())).toBe('done');
      expect((await others.inspect('nightly'))?.doneToken).toBeUndefined();
    });

    test('a lease that is lost under a handler that fails: the error of the handler is thrown', async () => {
      const failing = losing('throw', () => {
        throw new Error('Disk full.');
      });
      await expect(failing({}, invocation())).rejects.toThrow('Disk full.');
    });
  });

  test("the release fails: the handler's response and its error stay what they are", async () => {
    const handler = (end: () => unknown) =>
      middy()
        .use(lock({ key: 'nightly', locks }))
        .handler(async () => end());
    store.release = () => Promise.reject(new Error('ECONNRESET'));
    expect(await handler(() => 'done')({}, invocation())).toBe('done');
    await clock.advance(30_000);
    const failing = handler(() => Promise.reject(new Error('Disk full.')));
    await expect(failing({}, invocation())).rejects.toThrow('Disk full.');
    expect(events.filter(({ type }) => type === 'releaseFailed')).toHaveLength(2);
  });

  describe('a handler that ends its own lease', () => {
    const ending = async (end: (lease: Lease) => unknown) => {
      const warn = jest.spyOn(console, 'warn').mockImplementation(() => {});
      const handler = middy(lockPlugin())
        .use(lock({ key: 'nightly', locks, once: '2026-01-01' }))
        .handler(async (_event, context) => {
          await end((context as { lock: Lease }).lock);
          return 'done';
        });
      expect(await handler({}, invocation())).toBe('done');
      const warnings = warn.mock.calls;
      warn.mockRestore();
      return { warnings, doneToken: (await others.inspect('nightly'))?.doneToken };
    };

    test.each([
      { how: 'without done', done: undefined, doneToken: undefined },
      { how: 'with done', done: true, doneToken: '2026-01-01' },
    ])('by a release $how is warned, and has succeeded', async ({ done, doneToken }) => {
      expect(await ending((lease) => lease.release(done ? { done } : {}))).toEqual({
        warnings: [[expect.stringContaining("The handler released the lease of 'nightly' itself.")]],
        doneToken,
      });
      expect(requests).toEqual(['acquire', 'release']);
    });

    test('by handing the lease off is not warned', async () => {
      expect(await ending((lease) => lease.handOff({ leaseMs: 1_000 }))).toMatchObject({ warnings: [] });
    });

    test('not at all is not warned', async () => {
      expect(await ending(() => {})).toEqual({ warnings: [], doneToken: '2026-01-01' });
    });
  });

  describe('a function of the user that fails', () => {
    const rejecting = () => Promise.reject(new Error('Never mind.'));
    const thenable = () => ({ then: (_: unknown, reject: (error: Error) => void) => reject(new Error('Never mind.')) });

    test.each(
      ['key', 'once', 'data'].flatMap((name) => [
        { name, what: 'a promise that rejects', give: rejecting },
        { name, what: 'a thenable that rejects', give: thenable },
      ]),
    )('$name gives $what: it is refused, and no rejection is unhandled', async ({ name, give }) => {
      const handler = middy(lockPlugin())
        .use(lock({ key: 'nightly', locks, [name]: give } as never))
        .handler(() => 'never');
      await expect(handler({}, invocation())).rejects.toThrow(
        `${name} must be a string or JSON, or a function that gives it, but it gave a Promise`,
      );
      expect(requests).toEqual([]);
    });

    test.each([
      { what: 'rejects', requestStart: rejecting },
      { what: 'gives a thenable that rejects', requestStart: thenable },
    ])('the requestStart of the plugin $what: the request goes on', async ({ requestStart }) => {
      const handler = middy(lockPlugin({ requestStart: requestStart as () => void }))
        .use(lock({ key: 'nightly', locks }))
        .handler(() => 'done');
      expect(await handler({}, invocation())).toBe('done');
    });

    test.each([
      { what: 'requestStart', kept: [] },
      { what: 'beforeHandler', kept: ['acquire', 'release'] },
      { what: 'afterHandler', kept: ['acquire', 'release'] },
      { what: 'requestEnd', kept: ['acquire', 'release'] },
    ])('the $what of the plugin throws: the request fails, and nothing stays held', async ({ what, kept }) => {
      const plugin = {
        [what]: () => {
          throw new Error('Never mind.');
        },
      };
      const handler = middy(lockPlugin(plugin))
        .use(lock({ key: 'nightly', locks }))
        .handler(() => 'done');
      await expect(handler({}, invocation())).rejects.toThrow('Never mind.');
      expect(requests).toEqual(kept);
    });

    test.each([
      { what: 'onBusy', options: { key: 'busy' } },
      { what: 'onDone', options: { key: 'job', once: '1' } },
    ])(
      '$what gives a thenable that rejects: the request fails with its error, and another lock is released',
      async (row) => {
        await others.acquire('busy');
        await (await others.acquire('job', { once: '1' })).release({ done: true });
        await clock.advance(1);
        const handler = middy()
          .use(lock({ key: 'nightly', locks }))
          .use(lock({ ...row.options, [row.what]: thenable, locks, contextKey: 'second' } as never))
          .handler(() => 'never');
        await expect(handler({}, invocation())).rejects.toThrow('Never mind.');
        expect(await isHeld()).toBe(false);
      },
    );

    test.each([
      {
        what: 'throws',
        give: (): number => {
          throw new Error('No context.');
        },
      },
      { what: 'gives no number', give: () => Number.NaN },
    ])('getRemainingTimeInMillis $what, but only after the lock was taken: the lock is released', async ({ give }) => {
      const context = invocation();
      const handler = middy({ timeoutEarlyInMillis: 0 })
        .use(lock({ key: 'nightly', locks }))
        .handler(() => {
          context.getRemainingTimeInMillis = give;
          return 'done';
        });
      expect(await handler({}, context)).toBe('done');
      expect(requests).toEqual(['acquire', 'release']);
    });

    test('getRemainingTimeInMillis throws from the beginning: the request fails, and nothing is locked', async () => {
      const getRemainingTimeInMillis = () => {
        throw new Error('No context.');
      };
      const handler = middy()
        .use(lock({ key: 'nightly', locks }))
        .handler(() => 'never');
      await expect(handler({}, invocation({ getRemainingTimeInMillis }))).rejects.toThrow('No context.');
      expect(requests).toEqual([]);
    });
  });

  test('the owner is the function, its version, the log stream and the request', async () => {
    const handler = middy()
      .use(lock({ key: 'nightly', locks }))
      .handler(async (_event, context) => (context as { lock: Lease }).lock.owner);
    expect(await handler({}, invocation())).toBe('reports:7 2026/01/01/[7]abc request-1');
    expect(await handler({}, {})).toMatch(/^\S+:\d+$/);
  });

  test('key, token and data come from the event, and the lease is where contextKey says', async () => {
    const handler = middy()
      .use(
        lock({
          key: (event: { job: string }) => `nightly/${event.job}`,
          data: (event, { awsRequestId }) => ({ ...event, awsRequestId }),
          contextKey: 'night',
          locks,
        }),
      )
      .handler(async (_event, context) => (context as { night: Lease }).night);
    const lease = (await handler({ job: 'sums' }, invocation())) as Lease;
    expect(lease.key).toBe('nightly/sums');
    expect(lease.data).toEqual({ job: 'sums', awsRequestId: 'request-1' });
  });

  test.each([
    { remaining: 5_000, waitMs: 60_000, reserveMs: undefined, waited: 4_000 },
    { remaining: 5_000.7, waitMs: 60_000, reserveMs: 3_000, waited: 2_000 },
    { remaining: 5_000, waitMs: 1_500, reserveMs: undefined, waited: 1_500 },
    { remaining: 500, waitMs: 60_000, reserveMs: undefined, waited: 0 },
  ])('waitMs $waitMs with $remaining ms left and reserveMs $reserveMs: the lock waits $waited ms', async (row) => {
    const { remaining, waitMs, reserveMs, waited } = row;
    await others.acquire('nightly');
    const handler = middy()
      .use(lock({ key: 'nightly', locks, waitMs, reserveMs }))
      .handler(() => 'never');
    const invoked = handler({}, invocation({ getRemainingTimeInMillis: () => remaining })) as Promise<unknown>;
    const refused = expect(invoked).rejects.toBeInstanceOf(LockBusyError);
    await clock.advance(waited + 1_000);
    await refused;
    expect(events.find(({ type }) => type === 'busy')).toMatchObject({ waitedMs: waited });
  });

  test.each([
    { remaining: 3_000, waitMs: 0, reserveMs: 1_000, left: 1_000 },
    { remaining: 30_000, waitMs: 60_000, reserveMs: 1_000, left: 1_000 },
    { remaining: 30_000, waitMs: 5_000, reserveMs: 1_000, left: 24_950 },
    { remaining: 1_200, waitMs: 0, reserveMs: 1_000, left: 600 },
  ])(
    'a store that answers nothing, with $remaining ms left, waitMs $waitMs and reserveMs $reserveMs: the error comes with $left ms left',
    async ({ remaining, waitMs, reserveMs, left }) => {
      const end = clock.now() + remaining;
      store.acquire = () => new Promise(() => {});
      const handler = middy()
        .use(lock({ key: 'nightly', locks, waitMs, reserveMs }))
        .handler(() => 'never');
      const context = invocation({ getRemainingTimeInMillis: () => end - clock.now() });
      const answer = outcomeOf(handler({}, context) as Promise<unknown>);
      while (!answer.settled && clock.now() < end + 5_000) await clock.advance(10);
      expect(answer.error).toMatchObject({ name: 'LockStoreError', transient: true });
      expect(end - clock.now()).toBe(left);
    },
  );

  test.each([
    { what: 'is frozen', make: () => Object.freeze(invocation()) },
    {
      what: 'has a property of the same name that cannot be set',
      make: () => Object.defineProperty(invocation(), 'lock', { get: () => 'theirs' }),
    },
    { what: 'is sealed', make: () => Object.seal(invocation()) },
    {
      what: 'is a proxy that throws',
      make: () =>
        new Proxy(invocation(), {
          set() {
            throw new TypeError('No place.');
          },
        }),
    },
    { what: 'is a proxy that drops the lease', make: () => new Proxy(invocation(), { set: () => true }) },
    {
      what: 'has a setter that drops the lease',
      make: () => Object.defineProperty(invocation(), 'lock', { get: () => undefined, set: () => {} }),
    },
  ])('the context $what: the request fails with the reason, and the lock is released', async ({ what, make }) => {
    const handler = middy(lockPlugin())
      .use(lock({ key: 'nightly', locks }))
      .handler(() => 'never');
    const error = await (handler({}, make()) as Promise<unknown>).catch((thrown): unknown => thrown);
    expect(error).toBeInstanceOf(TypeError);
    expect((error as Error).message).toBe(
      "The context cannot take the lease as context.lock: give the handler Lambda's own context.",
    );
    expect((error as Error).cause instanceof Error).toBe(!what.includes('drops'));
    expect(requests).toEqual(['acquire', 'release']);
  });

  const unreadable = () =>
    Object.defineProperty({}, 'Records', {
      get() {
        throw new Error('No records.');
      },
    });
  test.each([
    { what: 'the context is frozen', event: () => ({}), context: () => Object.freeze(invocation()) },
    { what: 'the event cannot be read', event: unreadable, context: invocation },
  ])('$what: the lock is free at once, whatever holdAtLeastMs says and whatever hooks do not run', async (row) => {
    const handler = middy()
      .use(lock({ key: 'nightly', locks, holdAtLeastMs: 60_000 }))
      .onError(() => 'handled')
      .handler(() => 'never');
    expect(await handler(row.event(), row.context())).toBe('handled');
    await clock.advance(1);
    expect(await tryOther()).not.toBeNull();
    expect(clock.timers).toBe(2);
  });

  test('two locks in one place in the context: the request fails before the second is taken, the error says what to set, and the first is released', async () => {
    const handler = middy(lockPlugin())
      .use(lock({ key: 'first', locks }))
      .use(lock({ key: 'second', locks }))
      .handler(() => 'never');
    await expect(handler({}, invocation())).rejects.toThrow(
      new LockError(
        'Two locks would stand in context.lock, and the handler would not see the loss of the first. Set contextKey for one of them; with one lock, give each invocation its own context.',
      ),
    );
    expect(requests).toEqual(['acquire', 'release']);
  });

  describe('with holdAtLeastMs, a lock that was taken for nothing opens at once:', () => {
    const locked = (key = 'nightly') => lock({ key, locks, holdAtLeastMs: 60_000, contextKey: key });
    const isOpen = async (key = 'nightly') => {
      await clock.advance(1);
      return (await tryOther(key)) !== null;
    };

    test.each([
      { how: 'is busy and skips', options: { onBusy: 'skip' as const }, plugin: undefined },
      { how: 'is busy and throws', options: {}, plugin: undefined },
      { how: 'is busy and skips, with the plugin', options: { onBusy: 'skip' as const }, plugin: lockPlugin() },
      { how: 'is busy and throws, with the plugin', options: {}, plugin: lockPlugin() },
    ])('a later lock $how', async ({ options, plugin }) => {
      await others.acquire('busy');
      const handler = middy(plugin)
        .use(locked())
        .use(lock({ key: 'busy', locks, contextKey: 'busy', ...options }))
        .handler(() => 'never');
      await (handler({}, invocation()) as Promise<unknown>).catch(() => {});
      expect(await isOpen()).toBe(true);
    });

    test.each([
      { how: 'responds', before: () => 'early' },
      { how: 'throws', before: () => Promise.reject(new Error('No token.')) },
    ])('a later before $how, with the plugin', async ({ before }) => {
      const handler = middy(lockPlugin())
        .use(locked())
        .before(before)
        .handler(() => 'never');
      await (handler({}, invocation()) as Promise<unknown>).catch(() => {});
      expect(await isOpen()).toBe(true);
    });

    test.each([
      { how: 'succeeds', work: () => 'done' },
      { how: 'throws', work: () => Promise.reject(new Error('Disk full.')) },
    ])('not after a handler that $how, with and without the plugin', async ({ work }) => {
      for (const [key, plugin] of Object.entries({ with: lockPlugin(), without: undefined })) {
        const handler = middy(plugin).use(locked(key)).handler(work);
        await (handler({}, invocation()) as Promise<unknown>).catch(() => {});
        expect([await isHeld(key), await isOpen(key)]).toEqual([false, false]);
      }
    });

    test('not after a handler that fails, though a before called another handler with the same plugin', async () => {
      for (const sameContext of [true, false]) {
        const key = `${sameContext}`;
        const plugin = lockPlugin();
        const inner = middy(plugin).handler(() => 'inner');
        const context = invocation();
        const handler = middy(plugin)
          .use(locked(key))
          .before(async () => void (await inner({}, sameContext ? context : invocation())))
          .handler(() => Promise.reject(new Error('Disk full.')));
        await expect(handler({}, context)).rejects.toThrow('Disk full.');
        expect([await isHeld(key), await isOpen(key)]).toEqual([false, false]);
      }
    });

    test("not after a handler that succeeds, though another beforeHandler stands in the plugin's place", async () => {
      const handler = middy({ ...lockPlugin(), beforeHandler: () => {} })
        .use(locked())
        .handler(() => 'done');
      expect(await handler({}, invocation())).toBe('done');
      expect(await isOpen()).toBe(false);
    });
  });

  test('a lease of an ended invocation that is still in the context is replaced', async () => {
    const context = invocation();
    const handler = middy(lockPlugin())
      .use(lock({ key: 'nightly', locks }))
      .handler(() => 'done');
    expect([await handler({}, context), await handler({}, context)]).toEqual(['done', 'done']);
  });

  test.each(['key', 'once', 'data'])(
    'a %s function fails by a LockBusyError of its own: the run is no skip',
    async (name) => {
      await others.acquire('other');
      const busy = await locks.acquire('other').catch((error) => error);
      const fail = () => {
        throw busy;
      };
      const handler = middy()
        .use(lock({ key: 'nightly', locks, onBusy: 'skip', [name]: fail } as never))
        .handler(() => 'never');
      await expect(handler({}, invocation())).rejects.toBe(busy);
    },
  );

  test('the key function throws: its error is thrown, and nothing is locked', async () => {
    const handler = middy()
      .use(lock({ key: (event: { job?: { name: string } }) => (event.job as { name: string }).name, locks }))
      .handler(() => 'never');
    await expect(handler({}, invocation())).rejects.toThrow("reading 'name'");
    expect(requests).toEqual([]);
  });
});

test("a durable execution in Middy 7's mode is refused, and nothing is locked", async () => {
  const { locks, requests } = setUp();
  process.env.AWS_REGION ??= 'eu-central-1';
  const handler = (middy7 as unknown as MakeMiddy)({ executionMode: executionModeDurableContext })
    .use(lock({ key: 'nightly', locks }))
    .handler(() => 'never');
  const event = {
    DurableExecutionArn: 'arn:aws:lambda:eu-central-1:123456789012:function:reports:1/durable-execution/a/b',
    CheckpointToken: 'token',
    InitialExecutionState: {
      Operations: [{ Id: 'a', Type: 'EXECUTION', Status: 'STARTED', ExecutionDetails: { InputPayload: '{}' } }],
    },
  };
  const answer = await handler(event, invocation());
  expect(answer).toMatchObject({ Status: 'FAILED', Error: { ErrorType: 'LockError' } });
  expect(requests).toEqual([]);
});

test("the plugin runs the user's hooks too, and leaves the user's other options as they are", async () => {
  const ran: unknown[] = [];
  const plugin = lockPlugin({
    internal: { tenant: 1 },
    requestStart: ({ event }) => void ran.push(['start', event]),
    requestEnd: async ({ response }) => void ran.push(['end', response]),
  });
  expect(plugin.internal).toEqual({ tenant: 1 });
  const handler = (middy7 as unknown as MakeMiddy)(plugin).handler(() => 'done');
  await handler('event', invocation());
  expect(ran).toEqual([
    ['start', 'event'],
    ['end', 'done'],
  ]);
});

async function unused(): Promise<never> {
  throw new Error('No checkpoint is expected.');
}
