import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { TestBed } from './test-bed.ts';

// Processes start.
jest.setTimeout(30_000);

describe('A durable execution', () => {
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
    'that takes the lock outside of a step is refused, and nothing is sent (%s)',
    async (name) => {
      expect(await run(name)).toMatchObject({
        status: 'FAILED',
        error: { errorType: 'LockError', errorMessage: expect.stringMatching(/inside a step .*context\.step\(/) },
        invocations: 1,
      });
      expect(testBed.proxy.count()).toBe(0);
    },
  );

  test('takes it in each of two steps, and does not hold it while it is suspended between them', async () => {
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
