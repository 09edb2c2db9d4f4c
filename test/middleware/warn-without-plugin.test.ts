import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import middy7 from '@middy/core';
import middy6 from 'middy6';
import { lock, lockPlugin, lockRecords, withLock, withRecordLocks } from '../../middleware/index.ts';
import { batch, invocation, message, setUp } from './setup.ts';

/** The part of Middy that the tests use, the same in both versions. */
interface Middy {
  (event: unknown, context: unknown): Promise<unknown>;
  use(middleware: object): Middy;
  handler(handler: () => unknown): Middy;
}
type MakeMiddy = (plugin?: object) => Middy;

const warned = Symbol.for('leasehold.warnedWithoutPlugin');
let { locks } = setUp();
let emitWarning = jest.spyOn(process, 'emitWarning');
const forget = () => Reflect.deleteProperty(globalThis, warned);
beforeEach(() => {
  ({ locks } = setUp());
  forget();
  emitWarning = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
});
afterEach(() => {
  jest.restoreAllMocks();
  forget();
});

const event = () => batch(message('1', 'a'));
const ours = (options: unknown) => (options as { code?: string } | undefined)?.code === 'LEASEHOLD_NO_PLUGIN';
const warnings = () => emitWarning.mock.calls.filter(([, options]) => ours(options)).map(([message]) => message);

test.each(
  [
    { version: 7, middy: middy7 as unknown as MakeMiddy },
    { version: 6, middy: middy6 as unknown as MakeMiddy },
  ].flatMap((row) => [
    { ...row, what: 'lock()', locking: () => lock({ key: 'nightly', locks }) },
    { ...row, what: 'lockRecords()', locking: () => lockRecords({ key: () => 'nightly', locks }) },
  ]),
)('with Middy $version, $what without the plugin warns once in a process, and with the plugin never', async (row) => {
  const handlerOf = (plugin?: object) =>
    row
      .middy(plugin)
      .use(row.locking())
      .handler(() => 'done');
  await handlerOf(lockPlugin())(event(), invocation());
  // Without a remaining time there is no early time-out.
  await handlerOf()(event(), {});
  expect(warnings()).toEqual([]);
  for (const handler of [handlerOf(), handlerOf()]) await handler(event(), invocation());
  expect(warnings()).toEqual([expect.stringContaining('middy(lockPlugin())')]);
});

test('withLock() and withRecordLocks() need no plugin, and never warn', async () => {
  await withLock({ key: 'nightly', locks }, () => 'done')(event(), invocation());
  await withRecordLocks({ key: () => 'nightly', locks }, () => 'done')(event(), invocation());
  expect(warnings()).toEqual([]);
});
