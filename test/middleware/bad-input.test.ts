import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import middy from '@middy/core';
import { LockClient } from '../../lib/index.ts';
import { MemoryLockStore } from '../../lib/testing.ts';
import {
  type LockOptions,
  type LockRecordsOptions,
  lock,
  lockPlugin,
  lockRecords,
  withLock,
  withRecordLocks,
} from '../../middleware/index.ts';
import { invocation, setUp } from './setup.ts';

let { locks, requests } = setUp();
beforeEach(() => {
  ({ locks, requests } = setUp());
});

const tooLong = 'é'.repeat(513);
const badTexts = [
  { value: '', message: /must not be empty, but it is ''/ },
  { value: tooLong, message: /must have at most 1024 bytes, but 'é+…' has 1026/ },
  { value: 7, message: /must be a string, but it is number 7/ },
  { value: undefined, message: /must be a string, but it is undefined/ },
  { value: null, message: /must be a string, but it is null/ },
  { value: { job: 1 }, message: /must be a string, but it is object \[object Object\]/ },
];
const badTokens = [
  ...badTexts.slice(0, 2),
  { value: -7, message: /once must be a whole number from 0 to \d+, but it is -7/ },
  { value: undefined, message: /once is given, but it is undefined: the value is missing/ },
  { value: null, message: /once must be a Date, a number or a string, but it is null/ },
  { value: '2026-01-01T02:00', message: /once must have its time in ISO 8601 with an offset, .* '2026-01-01T02:00'/ },
];
const circular: { self?: unknown } = {};
circular.self = circular;
const badData = [
  { value: 'x'.repeat(9_000), message: /data must have at most 8192 bytes as JSON, but '"x+…' has 9002/ },
  { value: circular, message: /data must be JSON, but it cannot be encoded: .*circular/ },
  { value: 7n, message: /data must be JSON, but it cannot be encoded: .*BigInt/ },
  { value: Symbol('job'), message: /data must be JSON, but it is symbol Symbol\(job\)/ },
];

// The compiler would refuse many of these options; JavaScript does not ask the compiler.
const configure = (options: object) => lock({ key: 'nightly', locks, ...options } as LockOptions);
const configurePlain = (options: object) =>
  withLock({ key: 'nightly', locks, ...options } as LockOptions, () => 'never');

const records = (options: object) => ({ key: () => 'nightly', locks, ...options }) as LockRecordsOptions;
const ofEvents = [
  { name: 'lock', configure },
  { name: 'withLock', configure: configurePlain },
];
const ofRecords = [
  { name: 'lockRecords', configure: (options: object) => lockRecords(records(options)) },
  { name: 'withRecordLocks', configure: (options: object) => withRecordLocks(records(options), () => 'never') },
];
const refuser = (configure: (options: object) => unknown) => (options: object, message: RegExp) => {
  expect(() => configure(options)).toThrow(TypeError);
  expect(() => configure(options)).toThrow(message);
};

describe.each(ofEvents)('$name throws when it is configured', ({ configure }) => {
  const refuses = refuser(configure);

  test.each(badTexts)('on the key $value', ({ value, message }) => refuses({ key: value }, message));

  test.each(badTokens)('on the once token $value', ({ value, message }) => refuses({ once: value }, message));

  test('on permits that are no number from 1 to 100', () => {
    for (const permits of [0, 101, 1.5, '5']) refuses({ permits }, /permits must be a whole number from 1 to 100/);
  });

  test('on permits with once, also if once is a function', () => {
    refuses({ permits: 2, once: 7 }, /permits must be 1 with once, .*, but it is 2/);
    refuses({ permits: 2, once: () => 7 }, /permits must be 1 with once, .*, but it is 2/);
    configure({ permits: 1, once: () => 7 });
  });

  test('on permits of a key that looks like the key of a slot', () =>
    refuses({ key: 'nightly#1', permits: 2 }, /does not end as the key of a slot \(#1\), but it is 'nightly#1'/));

  test.each([
    { option: 'onBusy', message: "onBusy must be throw or skip or a function, but it is 'wait'" },
    { option: 'onDone', message: "onDone must be skip or a function, but it is 'wait'" },
  ])("on $option: 'wait'", ({ option, message }) => refuses({ [option]: 'wait' }, new RegExp(message)));
});

describe.each(ofRecords)('$name throws when it is configured', ({ configure }) => {
  const refuses = refuser(configure);

  test('on permits that are no number from 1 to 100, and on permits with once', () => {
    refuses({ permits: 0 }, /permits must be a whole number from 1 to 100/);
    refuses({ permits: 2, once: () => 7 }, /permits must be 1 with once, .*, but it is 2/);
  });

  // One key for all records would be one lock for the queue, and one token would drop all but the first batch.
  test.each(['key', 'once', 'onFailed'])('on a %s that is no function', (option) => {
    for (const value of ['account', null, 7]) {
      refuses({ [option]: value }, new RegExp(`${option} must be a function, but it is .*${value}`));
    }
  });

  test('on no key', () => refuses({ key: undefined }, /key must be a function, but it is undefined/));
});

describe.each([...ofEvents, ...ofRecords])('$name throws when it is configured', ({ configure }) => {
  const refuses = refuser(configure);

  test.each(badData)('on the data $message', ({ value, message }) => refuses({ data: value }, message));

  const durations = [
    'leaseMs',
    'heartbeatMs',
    'waitMs',
    'reserveMs',
    'requestTimeoutMs',
    'holdAtLeastMs',
    'holdAtMostMs',
  ];
  test.each(durations.flatMap((name) => [-1, Number.NaN, 1.5, '1000'].map((value) => ({ name, value }))))(
    'on a $name of $value',
    ({ name, value }) =>
      refuses({ [name]: value }, new RegExp(`${name} must be a whole number of milliseconds.*${value}`)),
  );

  test.each(['leaseMs', 'heartbeatMs', 'requestTimeoutMs', 'holdAtMostMs'])('on a %s of 0', (name) =>
    refuses({ [name]: 0 }, new RegExp(`${name} must be a whole number of milliseconds from \\d.*, but it is 0`)),
  );

  test('on a heartbeat that is not under leaseMs - safetyMs', () =>
    refuses(
      { leaseMs: 3_000, heartbeatMs: 2_500, safetyMs: 500 },
      /heartbeatMs must be smaller than leaseMs - safetyMs.* 2500 is not smaller than 3000 - 500/,
    ));

  test("on onLost: 'wait'", () => refuses({ onLost: 'wait' }, /onLost must be throw or ignore, but it is 'wait'/));

  test('on an onLost that is a function', () => refuses({ onLost: () => 'ignored' }, /onLost must be throw or ignore/));

  test('on an empty contextKey', () => refuses({ contextKey: '' }, /contextKey must not be empty/));

  test.each(['a table', 7, {}, null])('on locks that are %p', (value) =>
    refuses({ locks: value }, /locks must be a LockClient or a LockStore, but it is/),
  );

  test.each(['eu-central-1', {}, null])('on a client that is %p', (client) =>
    refuses(
      { locks: undefined, tableName: 'locks', client },
      /client must be a DynamoDBClient, but it is .*(1|\]|null)/,
    ),
  );

  test.each([
    { tableName: 'locks' },
    { client: { send() {} } },
    { keyAttribute: 'pk' },
    { sortKey: { name: 'sk', value: 'LOCK' } },
    { ttlAttribute: 'expires' },
    { retentionDays: 3 },
  ])('on locks beside %p', (second) =>
    refuses(second, new RegExp(`takes either locks or ${Object.keys(second)}, not both`)),
  );

  test('on a name of the table that leasehold writes itself', () =>
    refuses({ locks: undefined, tableName: 'locks', keyAttribute: 'owner' }, /keyAttribute must not be 'owner'/));

  test.each<[object, RegExp, object?]>([
    [{ heartbeatMs: 60_000 }, /60000 is not smaller than 30000 - 3000/],
    [{ safetyMs: 40_000 }, /safetyMs must be smaller than leaseMs.* 40000 is not smaller than 30000/],
    [{ leaseMs: 10_000 }, /20000 is not smaller than 10000 - 2000/, { heartbeatMs: 20_000 }],
  ])('on %j, which the lease of the shared client makes impossible', (options, message, defaults = {}) =>
    refuses({ locks: new LockClient({ store: new MemoryLockStore(), ...defaults }), ...options }, message),
  );

  test('on an onEvent beside a LockClient, which has a listener of its own', () =>
    refuses({ onEvent: () => {} }, /takes no onEvent with a LockClient/));

  test('on an option that it does not have, with the nearest name', () =>
    refuses({ leaseMS: 1_000 }, /has no option 'leaseMS'; did you mean 'leaseMs'\?/));
});

describe.each([
  { what: 'lock()', configure: lock, misspelled: 'onBussy', nearest: 'onBusy' },
  { what: 'withLock()', configure: withLock, misspelled: 'waitMillis', nearest: 'waitMs' },
  { what: 'lockRecords()', configure: lockRecords, misspelled: 'onFailure', nearest: 'onFailed' },
  { what: 'withRecordLocks()', configure: withRecordLocks, misspelled: 'oncePer', nearest: 'once' },
  { what: 'lockPlugin()', configure: lockPlugin, misspelled: 'requestStop', nearest: 'requestStart' },
])('the error of $what', ({ what, configure, misspelled, nearest }) => {
  const configured = (options?: unknown) => () =>
    (configure as (...parameters: unknown[]) => unknown)(options, () => 'never');

  test('tells the option that it does not have, and the nearest name', () =>
    expect(configured({ [misspelled]: 1 })).toThrow(
      new TypeError(`${what} has no option '${misspelled}'; did you mean '${nearest}'?`),
    ));

  test.each([5, null, 'nightly'])('tells that its options are %p', (options) =>
    expect(configured(options)).toThrow(`${what}: the options must be a plain object, but they are`),
  );
});

test.each([
  { what: 'lock()', configure: lock },
  { what: 'lockRecords()', configure: lockRecords },
])('$what without options says so', ({ what, configure }) => {
  expect(() => (configure as () => unknown)()).toThrow(
    new TypeError(`${what}: the options must be a plain object, but they are undefined.`),
  );
});

test.each(['requestStart', 'timeoutEarlyResponse', 'beforeHandler', 'afterHandler', 'requestEnd', 'executionMode'])(
  'lockPlugin() refuses a %s that is no function',
  (name) => {
    expect(() => lockPlugin({ [name]: 5 } as never)).toThrow(`${name} must be a function, but it is number 5.`);
  },
);

test('lockPlugin() takes every plugin option of Middy 6 and 7, and refuses an option of none', () => {
  const names = [
    'internal',
    'beforePrefetch',
    'requestStart',
    'beforeMiddleware',
    'afterMiddleware',
    'beforeHandler',
    'afterHandler',
    'requestEnd',
    'timeoutEarlyInMillis',
    'timeoutEarlyResponse',
    'executionMode',
    'streamifyResponse',
  ];
  for (const name of names) expect(() => lockPlugin({ [name]: () => {} })).not.toThrow();
  expect(() => lockPlugin({ timeoutEarlyInMilis: 5 })).toThrow("did you mean 'timeoutEarlyInMillis'?");
});

describe('without locks', () => {
  const { LOCK_TABLE_NAME } = process.env;
  afterEach(() => {
    if (LOCK_TABLE_NAME === undefined) delete process.env.LOCK_TABLE_NAME;
    else process.env.LOCK_TABLE_NAME = LOCK_TABLE_NAME;
  });

  test.each([undefined, ''])('a lock that is configured with no table throws: LOCK_TABLE_NAME is %p', (name) => {
    if (name === undefined) delete process.env.LOCK_TABLE_NAME;
    else process.env.LOCK_TABLE_NAME = name;
    expect(() => lock({ key: 'nightly' })).toThrow(/tableName is missing.*LOCK_TABLE_NAME/);
  });

  test('the table has the name of the option, or that of the environment', () => {
    delete process.env.LOCK_TABLE_NAME;
    expect(() => lock({ key: 'nightly', tableName: 'locks' })).not.toThrow();
    process.env.LOCK_TABLE_NAME = 'locks';
    expect(() => lock({ key: 'nightly' })).not.toThrow();
  });
});

test('a heartbeat is judged by the lease time of the shared client', () => {
  const slow = new LockClient({ store: new MemoryLockStore(), leaseMs: 120_000 });
  expect(() => lock({ key: 'nightly', locks: slow, heartbeatMs: 60_000 })).not.toThrow();
});

describe.each([
  { name: 'lock', run: (options: LockOptions, handler: () => void) => middy().use(lock(options)).handler(handler) },
  { name: 'withLock', run: (options: LockOptions, handler: () => void) => withLock(options, handler) },
])(
  '$name, when a function of the event gives a bad value: nothing is locked and the handler does not run',
  ({ run }) => {
    const refuses = async (options: object, message: RegExp) => {
      let ran = false;
      const handler = run({ key: 'nightly', locks, ...options } as LockOptions, () => {
        ran = true;
      });
      const invoked = handler({}, invocation() as never);
      await expect(invoked).rejects.toThrow(message);
      await expect(invoked).rejects.toBeInstanceOf(TypeError);
      expect(requests).toEqual([]);
      expect(ran).toBe(false);
    };

    test.each(badTexts)('the key $value', ({ value, message }) => refuses({ key: () => value }, message));

    test('the promise of a key', () => refuses({ key: async () => 'nightly' }, /must be a string.*Promise/));

    // Without a token the job would run at every delivery.
    test.each(badTokens)('the once token $value', ({ value, message }) => refuses({ once: () => value }, message));

    test.each(badData)('the data $message', ({ value, message }) => refuses({ data: () => value }, message));
  },
);

test('an invocation that has no time left gets no lock, and nothing is sent', async () => {
  const handler = withLock({ key: 'nightly', locks }, () => 'never');
  await expect(handler({}, invocation({ getRemainingTimeInMillis: () => 0 }))).rejects.toMatchObject({
    name: 'LockNoTimeError',
    code: 'ERR_LOCK_NO_TIME',
  });
  expect(requests).toEqual([]);
});
