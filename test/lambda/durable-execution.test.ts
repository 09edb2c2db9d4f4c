import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { TestBed } from './test-bed.ts';

// Room for processes that start.
jest.setTimeout(30_000);

describe('a durable execution', () => {
  let testBed: TestBed;
  beforeAll(async () => {
    testBed = await TestBed.of('handlers/durable.ts');
  });
  afterEach(() => testBed.reset());
  afterAll(() => testBed?.[Symbol.asyncDispose]());

  async function run(name: string) {
    const program = join(import.meta.dirname, 'durable-execution.ts');
    const env = testBed.environment(`durable.${name}`);
    const { stdout } = await promisify(execFile)(process.execPath, [program], { env });
    return JSON.parse(stdout);
  }

  test.each(['outside', 'outsideWithMiddy'])(
    'a durable execution that takes the lock outside of a step is refused, and sends nothing (%s)',
    async (name) => {
      expect(await run(name)).toMatchObject({
        status: 'FAILED',
        error: { errorType: 'LockError', errorMessage: expect.stringMatching(/inside a step .*context\.step\(/) },
        invocations: 1,
      });
      expect(testBed.proxy.count()).toBe(0);
    },
  );

  test('a durable execution takes the lock in each of two steps, and does not hold the lock while it is suspended between them', async () => {
    const { status, result, invocations } = await run('inside');
    expect({ status, invocations, between: result.between }).toEqual({
      status: 'SUCCEEDED',
      invocations: 2,
      between: false,
    });
    expect(result.second).toBeGreaterThan(result.first);
    // The second invocation replays the first step, and takes no lock for it.
    expect(testBed.proxy.count('UpdateItem')).toBe(4);
    expect(await testBed.others.tryAcquire('inside')).not.toBeNull();
  });
});
