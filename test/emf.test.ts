import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { DynamoDBLockStore, type DynamoDBLockStoreOptions } from '../lib/dynamodb.ts';
import { type EmfOptions, emf } from '../lib/emf.ts';
import { LockClient, type LockClientOptions, type LockEvent, LockLostError, LockStoreError } from '../lib/index.ts';
import { METRIC } from '../lib/names.ts';
import { MemoryLockStore } from '../lib/testing.ts';

const at = 1_767_225_600_000;
const grant = { at, key: 'jobs/nightly', owner: 'me', fencingToken: 7 };
const acquired: LockEvent = { ...grant, type: 'acquired', expiresAt: at + 30_000, deadline: at + 27_000, waitedMs: 12 };
const held = { heldMs: 27_000, newlyHeldMs: 7_000 };
const storeError = new LockStoreError('DynamoDB did not answer');
const lostError = new LockLostError({ key: 'jobs/nightly', reason: 'expired', detail: 'its deadline has passed' });

const events: Record<LockEvent['type'], LockEvent> = {
  acquired,
  busy: { ...grant, type: 'busy', expiresAt: at + 9, retryAfterMs: 9, waitedMs: 3 },
  covered: { ...grant, type: 'covered', waitedMs: 3 },
  again: { ...grant, type: 'again', runs: 1 },
  owed: { ...grant, type: 'owed', runs: 1, reason: 'noTime' },
  done: { at, key: 'jobs/nightly', owner: 'me', type: 'done', once: '2026-01-01', doneToken: '2026-01-01' },
  acquireFailed: { at, key: 'jobs/nightly', owner: 'me', type: 'acquireFailed', error: storeError, waitedMs: 3 },
  waiting: { ...grant, type: 'waiting', expiresAt: at + 9 },
  renewed: { ...grant, ...held, type: 'renewed', expiresAt: at + 9, deadline: at + 8 },
  renewFailed: { ...grant, ...held, type: 'renewFailed', error: storeError, deadline: at + 9, remainingMs: 9 },
  lost: { ...grant, ...held, type: 'lost', reason: 'expired', error: lostError },
  released: { ...grant, ...held, type: 'released', done: true },
  handedOff: { ...grant, ...held, type: 'handedOff', expiresAt: at + 9 },
  resumed: { ...grant, type: 'resumed', expiresAt: at + 9, deadline: at + 8 },
  releaseFailed: { ...grant, ...held, type: 'releaseFailed', error: storeError },
};

/** The line that the listener prints for an event, parsed; undefined if it prints none. */
function printed(event: LockEvent, options: EmfOptions = {}) {
  const lines: string[] = [];
  emf({ tableName: 'locks', functionName: 'worker', print: (line) => lines.push(line), ...options })(event);
  expect(lines.length).toBeLessThan(2);
  return lines[0] === undefined ? undefined : JSON.parse(lines[0]);
}

describe('emf()', () => {
  const environment = process.env;
  beforeEach(() => {
    process.env = { ...environment };
    delete process.env.LOCK_TABLE_NAME;
    delete process.env.AWS_LAMBDA_FUNCTION_NAME;
  });
  afterEach(() => {
    process.env = environment;
    jest.restoreAllMocks();
  });

  test('prints one line in the Embedded Metric Format, by table and by table and function', () => {
    expect(printed(acquired)).toEqual({
      _aws: {
        Timestamp: at,
        CloudWatchMetrics: [
          {
            Namespace: 'Leasehold',
            Dimensions: [['table'], ['table', 'function']],
            Metrics: [
              { Name: 'Acquired', Unit: 'Count' },
              { Name: 'Busy', Unit: 'Count' },
              { Name: 'Takeover', Unit: 'Count' },
              { Name: 'WaitTime', Unit: 'Milliseconds' },
            ],
          },
        ],
      },
      table: 'locks',
      function: 'worker',
      event: 'acquired',
      key: 'jobs/nightly',
      owner: 'me',
      fencingToken: 7,
      expiresAt: at + 30_000,
      Acquired: 1,
      Busy: 0,
      Takeover: 0,
      WaitTime: 12,
    });
  });

  test.each<[LockEvent['type'], Record<string, number> | undefined]>([
    ['acquired', { Acquired: 1, Busy: 0, Takeover: 0, WaitTime: 12 }],
    ['busy', { Acquired: 0, Busy: 1, WaitTime: 3 }],
    ['covered', { Covered: 1, WaitTime: 3 }],
    ['again', undefined],
    ['owed', { Owed: 1 }],
    ['done', { Done: 1 }],
    ['acquireFailed', { AcquireFailed: 1 }],
    ['waiting', undefined],
    ['renewed', { HoldingTime: 7_000 }],
    ['renewFailed', { RenewFailed: 1, HoldingTime: 7_000 }],
    ['lost', { Lost: 1, HeldTime: 27_000, HoldingTime: 7_000 }],
    ['released', { Lost: 0, HeldTime: 27_000, HoldingTime: 7_000 }],
    ['handedOff', { HeldTime: 27_000, HoldingTime: 7_000 }],
    ['resumed', { Acquired: 1, Busy: 0, Takeover: 0 }],
    ['releaseFailed', { ReleaseFailed: 1, HeldTime: 27_000, HoldingTime: 7_000 }],
  ])('makes of the event %s the metrics %j', (type, metrics) => {
    const line = printed(events[type]);
    const names: string[] = Object.values(METRIC);
    const found = Object.entries(line ?? {}).filter(([name]) => names.includes(name));
    expect(Object.fromEntries(found)).toEqual(metrics ?? {});
    const declared = line?._aws.CloudWatchMetrics[0].Metrics.map(({ Name }: { Name: string }) => Name) ?? [];
    expect(declared.sort()).toEqual(Object.keys(metrics ?? {}).sort());
  });

  test('counts a takeover and says from whom', () => {
    const line = printed({ ...acquired, takenOverFrom: { owner: 'the dead one', expiredAt: at - 1 } });
    expect(line).toMatchObject({ Takeover: 1, takenOverFrom: 'the dead one' });
  });

  test('says why a lease was lost, what failed, and how wrong the clock is', () => {
    expect(printed(events.lost)).toMatchObject({ reason: 'expired', error: expect.stringContaining('deadline') });
    expect(printed({ ...events.renewFailed, skewMs: 3_000 })).toMatchObject({
      error: 'DynamoDB did not answer',
      skewMs: 3_000,
    });
  });

  test('tells the slot of a lock with permits, and how many slots of a busy lock are closed', () => {
    expect(printed({ ...acquired, slot: 3 })).toMatchObject({ slot: 3, Acquired: 1 });
    expect(printed({ ...events.busy, permits: 5, held: 5 } as LockEvent)).toMatchObject({
      permits: 5,
      held: 5,
      Busy: 1,
    });
    expect(printed(acquired)).not.toHaveProperty('slot');
  });

  test('makes no dimension of the key', () => {
    const [definition] = printed(acquired)._aws.CloudWatchMetrics;
    expect(definition.Dimensions.flat()).not.toContain('key');
  });

  test('takes the table and the function from the environment', () => {
    process.env.LOCK_TABLE_NAME = 'from-env';
    process.env.AWS_LAMBDA_FUNCTION_NAME = 'fn-from-env';
    const line = printed(acquired, { tableName: undefined, functionName: undefined });
    expect(line).toMatchObject({ table: 'from-env', function: 'fn-from-env' });
  });

  test('publishes by the name of a table that is given by its ARN', () => {
    const tableName = 'arn:aws:dynamodb:eu-west-1:222222222222:table/locks';
    expect(printed(acquired, { tableName })).toMatchObject({ table: 'locks' });
  });

  test('escapes what does not print in a key and an owner, and stays JSON with the same values', () => {
    const strange = { key: 'a\u009b31m\u202e', owner: 'b\u2028c' };
    const lines: string[] = [];
    emf({ tableName: 'locks', print: (line) => lines.push(line) })({ ...acquired, ...strange });
    expect(lines[0]).not.toMatch(/[\p{C}\p{Zl}\p{Zp}]/u);
    expect(JSON.parse(lines[0] as string)).toMatchObject(strange);
  });

  test('outside Lambda publishes by table alone', () => {
    const line = printed(acquired, { functionName: undefined });
    expect(line._aws.CloudWatchMetrics[0].Dimensions).toEqual([['table']]);
    expect(line).not.toHaveProperty('function');
  });

  test('writes to standard output past console.log, which Lambda wraps', () => {
    const write = jest.spyOn(process.stdout, 'write').mockReturnValue(true);
    const log = jest.spyOn(console, 'log').mockImplementation(() => {});
    emf({ tableName: 'locks' })(acquired);
    expect(write).toHaveBeenCalledWith(expect.stringMatching(/^\{"_aws":.*\}\n$/));
    expect(log).not.toHaveBeenCalled();
  });

  test('refuses an option whose name is misspelled', () => {
    const options = { table: 'locks' } as EmfOptions;
    expect(() => emf(options)).toThrow("emf has no option 'table'; did you mean 'tableName'?");
  });

  test.each([
    [undefined, /but it is undefined; pass tableName or set LOCK_TABLE_NAME/],
    ['', /but it is ''/],
  ])('refuses the table name %j with a TypeError that says what to do', (tableName, message) => {
    expect(() => emf({ tableName })).toThrow(TypeError);
    expect(() => emf({ tableName })).toThrow(message);
  });

  test('refuses a print that is no function', () => {
    expect(() => emf({ tableName: 'locks', print: 'x' as never })).toThrow("print must be a function, but it is 'x'.");
  });
});

describe('LOCK_METRICS', () => {
  const environment = process.env;
  beforeEach(() => {
    process.env = { ...environment, LOCK_TABLE_NAME: 'from-env' };
  });
  afterEach(() => {
    process.env = environment;
    jest.restoreAllMocks();
  });

  /** The lines that a client prints while it takes and releases a lock, parsed. */
  async function linesOf(options: Omit<LockClientOptions, 'store'> = {}, storeOptions: DynamoDBLockStoreOptions = {}) {
    const store = new DynamoDBLockStore({
      tableName: 'locks',
      client: { send: async () => ({}) } as never,
      ...storeOptions,
    });
    const memory = new MemoryLockStore();
    for (const name of ['acquire', 'renew', 'release'] as const) store[name] = memory[name].bind(memory) as never;
    const write = jest.spyOn(process.stdout, 'write').mockReturnValue(true);
    const client = new LockClient({ store, ...options });
    const lease = await client.acquire('jobs/nightly');
    await lease.release();
    const lines = write.mock.calls.map(([line]) => JSON.parse(String(line)));
    write.mockRestore();
    return lines.map(({ event, table }) => ({ event, table }));
  }
  const both = [
    { event: 'acquired', table: 'locks' },
    { event: 'released', table: 'locks' },
  ];

  test("'emf' makes a client publish its metrics with no listener, by the table of its store", async () => {
    process.env.LOCK_METRICS = 'emf';
    expect(await linesOf()).toEqual(both);
    expect(await linesOf({}, { tableName: 'arn:aws:dynamodb:eu-west-1:222222222222:table/locks' })).toEqual(both);
  });

  test("'emf' makes a client publish its metrics beside a listener of the user's own, also a listener that throws", async () => {
    process.env.LOCK_METRICS = 'emf';
    const onEvent = jest.fn((_: LockEvent) => {
      throw new Error('A listener that fails');
    });
    expect(await linesOf({ onEvent })).toEqual(both);
    expect(onEvent).toHaveBeenCalledTimes(2);
  });

  test("'emf' publishes no event a second time that emf() has published, alone or inside of another listener", async () => {
    process.env.LOCK_METRICS = 'emf';
    expect(await linesOf({ onEvent: emf({ tableName: 'locks' }) })).toEqual(both);
    const publish = emf({ tableName: 'locks' });
    expect(await linesOf({ onEvent: (event) => publish(event) })).toEqual(both);
  });

  test.each([undefined, '', 'off'])('the value %j publishes nothing', async (value) => {
    if (value !== undefined) process.env.LOCK_METRICS = value;
    expect(await linesOf()).toEqual([]);
  });

  test('a value that is none is refused, and shown', () => {
    process.env.LOCK_METRICS = 'true';
    expect(() => new DynamoDBLockStore()).toThrow(
      new TypeError("LOCK_METRICS must be 'emf' or 'off', but it is 'true'."),
    );
  });
});
