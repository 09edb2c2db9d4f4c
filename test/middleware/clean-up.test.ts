import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import middy7 from '@middy/core';
import middy6 from 'middy6';
import { lock, lockPlugin, lockRecords } from '../../middleware/index.ts';
import { batch, invocation, message, setUp } from './setup.ts';

type Request = { event: unknown; internal: Record<string, unknown> };
type Clean = (request: Request) => unknown;
/** The part of Middy that the tests use, the same in both versions. */
interface Middy {
  (event: unknown, context: unknown): Promise<unknown>;
  use(middleware: object): Middy;
  before(hook: (request: Request) => unknown): Middy;
  handler(handler: () => unknown): Middy;
}
type MakeMiddy = (plugin?: object) => Middy;

let { clock, locks, others, requests } = setUp();
beforeEach(() => {
  ({ clock, locks, others, requests } = setUp());
});
afterEach(() => {
  jest.restoreAllMocks();
});

/** Leaves cleanup functions in the request, as the `before` of a middleware of Powertools for AWS Lambda does. */
const opening = (cleanups: Record<string, unknown>) => (request: Request) => {
  request.internal = { ...request.internal, ...cleanups };
};

describe.each([
  { version: 7, middy: middy7 as unknown as MakeMiddy },
  { version: 6, middy: middy6 as unknown as MakeMiddy },
])('with Middy $version', ({ middy }) => {
  const ends = [
    { how: 'lock() is busy and skips', locking: () => lock({ key: 'busy', locks, onBusy: 'skip' }) },
    { how: 'lock() is busy and responds', locking: () => lock({ key: 'busy', locks, onBusy: () => 423 }) },
    { how: 'lock() is done', locking: () => lock({ key: 'done', once: '1', locks }) },
    {
      how: 'lockRecords() has no record for the handler',
      locking: () => lockRecords({ key: () => 'busy', locks }),
    },
  ];
  test.each(ends)('$how: the cleanups of other middlewares are called, each once with the request', async (row) => {
    await others.acquire('busy');
    await (await others.acquire('done', { once: '1' })).release({ done: true });
    await clock.advance(1);
    const calls: string[] = [];
    const note = (name: string) => async (request: Request) => {
      await Promise.resolve();
      calls.push(`${name} ${(request.event as { Records: unknown[] }).Records.length}`);
    };
    const handler = middy(lockPlugin())
      .before(
        opening({
          'powertools-for-aws.tracer': note('tracer'),
          'powertools-for-aws.metrics': note('metrics'),
          'powertools-for-aws.logger': note('logger'),
          'powertools-for-aws.idempotency.skip': true,
          theirs: note('theirs'),
        }),
      )
      .use(row.locking())
      .handler(() => 'never');
    await handler(batch(message('1', 'a')), invocation());
    expect(calls).toEqual(['tracer 1', 'metrics 1', 'logger 1']);
  });

  test('the lock is granted, or busy and throws: no cleanup is called, for Middy calls the hooks', async () => {
    await others.acquire('busy');
    const clean = jest.fn<Clean>();
    const handlerOf = (key: string) =>
      middy(lockPlugin())
        .before(opening({ 'powertools-for-aws.metrics': clean }))
        .use(lock({ key, locks }))
        .handler(() => 'done');
    expect(await handlerOf('nightly')({}, invocation())).toBe('done');
    await expect(handlerOf('busy')({}, invocation())).rejects.toThrow('is busy');
    expect(clean).not.toHaveBeenCalled();
  });

  test.each<{ how: string; clean: Clean; message: string[] }>([
    {
      how: 'throws',
      clean: () => {
        throw new Error('No metrics.');
      },
      message: ['powertools-for-aws.metrics failed', 'No metrics.'],
    },
    {
      how: 'rejects',
      clean: () => Promise.reject(new Error('No metrics.')),
      message: ['metrics failed', 'No metrics.'],
    },
    { how: 'hangs', clean: () => new Promise(() => {}), message: [] },
  ])(
    'a cleanup $how: the response is the same, the other cleanups are called, and every lock is released',
    async (row) => {
      const logged = jest.spyOn(console, 'error').mockImplementation(() => {});
      await others.acquire('busy');
      const other = jest.fn<Clean>();
      const end = Date.now() + 400;
      const handler = middy()
        .before(opening({ 'powertools-for-aws.metrics': row.clean, 'powertools-for-aws.logger': other }))
        .use(lock({ key: 'nightly', locks }))
        .use(lock({ key: 'busy', locks, contextKey: 'busy', onBusy: () => 'later' }))
        .handler(() => 'never');
      expect(await handler({}, invocation({ getRemainingTimeInMillis: () => end - Date.now() }))).toBe('later');
      expect(Date.now()).toBeLessThan(end);
      expect(other).toHaveBeenCalledTimes(1);
      expect(requests).toEqual(['acquire', 'acquire', 'release']);
      for (const part of row.message) expect(logged.mock.calls.flat().join(' ')).toContain(part);
    },
  );

  test('a cleanup hangs, and nothing tells the remaining time: the response comes after a second', async () => {
    await others.acquire('busy');
    const handler = middy()
      .before(opening({ 'powertools-for-aws.metrics': () => new Promise(() => {}) }))
      .use(lock({ key: 'busy', locks, onBusy: () => 'later' }))
      .handler(() => 'never');
    expect(await handler({}, {})).toBe('later');
  });
});
