import { stripTypeScriptTypes } from 'node:module';
import { afterAll, expect } from '@jest/globals';
import { DynamoDBLockStore } from '../../lib/dynamodb/store.ts';
import { LockClient } from '../../lib/lease/client.ts';
import type { LockStore } from '../../lib/record/store.ts';
import { MemoryLockStore } from '../../lib/testing/memory.ts';
import { startDynamoDB, test } from '../support/with-dynamodb.ts';
import { examplesOf } from './blocks.ts';

const dynamodb = await startDynamoDB();
afterAll(() => dynamodb.stop());

/** The function of the example in the docstring of `LockStore`. */
async function exampleOf(): Promise<(store: LockStore, count: () => void) => LockStore> {
  const { code = '' } = examplesOf('lib').find(({ code }) => code.includes('function counting(')) ?? {};
  const { counting } = await import(`data:text/javascript,${encodeURIComponent(stripTypeScriptTypes(code))}`);
  return counting;
}

test.each([
  ['a MemoryLockStore', async () => new MemoryLockStore()],
  [
    'a DynamoDBLockStore',
    async () => new DynamoDBLockStore({ tableName: await dynamodb.createLockTable(), client: dynamodb.client() }),
  ],
])("the docs' example of a store around another store serves every operation over %s", async (_, make) => {
  let count = 0;
  const failed: unknown[] = [];
  const onEvent = ({ type }: { type: string }) => type.endsWith('Failed') && failed.push(type);
  const store = (await exampleOf())(await make(), () => count++);
  const locks = new LockClient({ store, onEvent });
  expect(store.maxInFlight ?? 50).toBeGreaterThan(0);
  await locks.using('job', { once: '1' }, async () => {});
  const lease = await locks.acquire('job');
  await lease.renew();
  const resumed = await locks.resume(await lease.handOff({ leaseMs: 10_000 }));
  expect((await locks.inspect('job'))?.held).toBe(true);
  expect((await locks.inspectMany(['job'])).size).toBe(1);
  expect(await Array.fromAsync(locks.list())).toHaveLength(1);
  expect(await locks.forceRelease('job', { lockId: resumed.lockId })).toBe(true);
  expect(await locks.repair('job', { seen: await locks.inspect('job') })).toBe(true);
  await locks.close({ graceMs: 0 });
  expect(count).toBe(2);
  expect(failed).toEqual([]);
});

test("the docs' example of a store around another store hides nothing that the other store tells", async () => {
  const problem = { severity: 'error', message: 'Set maxmemory-policy to noeviction.' } as const;
  const inner = Object.assign(new MemoryLockStore(), {
    connection: {},
    maxInFlight: 3,
    requestTimeoutMs: 2_000,
    serverDateStepMs: 10,
    onEvent: () => {},
    changes: async () => {},
    check: async () => [problem],
  });
  const store = (await exampleOf())(inner, () => {});
  const { connection, maxInFlight, requestTimeoutMs, serverDateStepMs } = inner;
  expect(store).toMatchObject({ connection, maxInFlight, requestTimeoutMs, serverDateStepMs });
  expect(await new LockClient({ store }).check()).toEqual([problem]);
  expect(store.changes).toBeInstanceOf(Function);
  expect(store.onEvent).toBeInstanceOf(Function);

  const plain = new MemoryLockStore();
  expect((await exampleOf())(plain, () => {})).toMatchObject({ connection: plain, requestTimeoutMs: undefined });
});
