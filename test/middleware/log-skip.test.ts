import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { type QueueRecord, withLock, withRecordLocks } from '../../middleware/index.ts';
import { batch, fifo, invocation, setUp } from './setup.ts';

let { clock, locks, others } = setUp();
let debug = jest.spyOn(console, 'debug');
const { AWS_LAMBDA_FUNCTION_NAME } = process.env;
const lines = () => debug.mock.calls.map((parameters) => parameters.join(' '));

beforeEach(async () => {
  ({ clock, locks, others } = setUp());
  debug = jest.spyOn(console, 'debug').mockImplementation(() => {});
  process.env.AWS_LAMBDA_FUNCTION_NAME = 'reports';
  await others.acquire('busy');
  await (await others.acquire('closed', { holdAtLeastMs: 60_000 })).release();
  await (await others.acquire('done', { once: '2' })).release({ done: true });
  await clock.advance(1);
});
afterEach(() => {
  jest.restoreAllMocks();
  if (AWS_LAMBDA_FUNCTION_NAME === undefined) delete process.env.AWS_LAMBDA_FUNCTION_NAME;
  else process.env.AWS_LAMBDA_FUNCTION_NAME = AWS_LAMBDA_FUNCTION_NAME;
});

describe('on Lambda, a run that withLock() skips', () => {
  test.each([
    { key: 'busy', once: undefined, line: "Skipped 'busy': busy, held by 'somebody else'." },
    { key: 'busy', once: '2', line: "Skipped 'busy' for '2': busy, held by 'somebody else'." },
    { key: 'closed', once: undefined, line: "Skipped 'closed': busy, closed by holdAtLeastMs." },
    { key: 'done', once: '1', line: "Skipped 'done' for '1': done." },
  ])('is told at level debug, though the client has an onEvent: $line', async ({ key, once, line }) => {
    await withLock({ key, locks, onBusy: 'skip', ...(once !== undefined && { once }) }, () => 'never')(
      {},
      invocation(),
    );
    expect(lines()).toEqual([line]);
  });

  test('is told if a function responds in its place, too', async () => {
    await withLock({ key: 'busy', locks, onBusy: () => 423 }, () => 'never')({}, invocation());
    expect(lines()).toHaveLength(1);
  });

  test('is not told if the lock throws: then the invocation fails', async () => {
    await expect(withLock({ key: 'busy', locks }, () => 'never')({}, invocation())).rejects.toThrow('is busy');
    expect(lines()).toEqual([]);
  });
});

test('on Lambda, the records that withRecordLocks() skips are told at level debug, and no other record', async () => {
  const records = [fifo('2', 'g', 'done'), fifo('3', 'h', 'busy'), fifo('4', 'h', 'free'), fifo('5', 'i', 'worked on')];
  const options = { key: ({ body }: QueueRecord) => body, once: () => '2', locks };
  await withRecordLocks(options, () => 'done')(batch(...records), invocation());
  expect(lines()).toEqual([
    "Skipped 'done' for '2': done.",
    "Skipped 'busy' for '2': busy, held by 'somebody else'.",
    "Skipped 'free' for '2': held back behind 'busy', which is busy, held by 'somebody else'.",
  ]);
});

test('on Lambda, the token of a run that is skipped is told as the record shows it', async () => {
  const times = [new Date('2026-01-01T02:00:00Z'), '2026-01-01T03:00:00+01:00', 5n];
  for (const once of times) {
    await withLock({ key: 'busy', locks, onBusy: 'skip', once: () => once }, () => 'never')({}, invocation());
  }
  const holder = "busy, held by 'somebody else'.";
  const shown = ['2026-01-01T02:00:00Z', '2026-01-01T02:00:00Z', '5'];
  expect(lines()).toEqual(shown.map((token) => `Skipped 'busy' for '${token}': ${holder}`));
});

test('on Lambda, a console.debug that throws changes no response', async () => {
  debug.mockImplementation(() => {
    throw new Error('No console.');
  });
  expect(await withLock({ key: 'busy', locks, onBusy: () => 423 }, () => 'never')({}, invocation())).toBe(423);
  const records = withRecordLocks({ key: ({ body }: QueueRecord) => body, locks }, () => 'done');
  expect(await records(batch(fifo('1', 'busy')), invocation())).toEqual({
    batchItemFailures: [{ itemIdentifier: '1' }],
  });
});

test('outside of Lambda, a run that is skipped is not told', async () => {
  delete process.env.AWS_LAMBDA_FUNCTION_NAME;
  await withLock({ key: 'busy', locks, onBusy: 'skip' }, () => 'never')({}, invocation());
  expect(lines()).toEqual([]);
});
