// The programs that are bundled, one for each contender. Each exports `cycle(key)`.

import type { UpdateItemCommandInput } from '@aws-sdk/client-dynamodb';
import { build } from 'esbuild';
import { OURS, RAW } from './contenders.ts';

const CONTEXT = "{ functionName: 'bench', awsRequestId: 'bench', getRemainingTimeInMillis: () => 600_000 }";
const leasehold = `
  import { DynamoDBLockStore } from '../lib/dynamodb.ts';
  import { LockClient } from '../lib/index.ts';
  const locks = new LockClient({ store: new DynamoDBLockStore({ tableName: 'locks' }) });
  export const cycle = async (key) => (await locks.acquire(key)).release();`;
const withLock = `
  import { withLock } from '../middleware/index.ts';
  const handler = withLock({ key: ({ key }) => key, tableName: 'locks' }, async () => {});
  export const cycle = (key) => handler({ key }, ${CONTEXT});`;
const inMiddy = `
  import middy from '@middy/core';
  import { lock, lockPlugin } from '../middleware/index.ts';
  const handler = middy(lockPlugin()).use(lock({ key: ({ key }) => key, tableName: 'locks' })).handler(async () => {});
  export const cycle = (key) => handler({ key }, ${CONTEXT});`;
const powertools = `
  import { IdempotencyConfig, makeIdempotent } from '@aws-lambda-powertools/idempotency';
  import { DynamoDBPersistenceLayer } from '@aws-lambda-powertools/idempotency/dynamodb';
  const persistenceStore = new DynamoDBPersistenceLayer({ tableName: 'locks', keyAttr: 'lockKey' });
  const config = new IdempotencyConfig({ eventKeyJmesPath: 'key' });
  const handler = makeIdempotent(async () => ({}), { persistenceStore, config });
  export const cycle = (key) => handler({ key }, ${CONTEXT});`;
const deliveryHero = `
  import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
  import { DynamoDBDocument } from '@aws-sdk/lib-dynamodb';
  import { dynamoDBLockClientFactory } from '@deliveryhero/dynamodb-lock';
  const table = { tableName: 'locks', partitionKey: 'lockKey', sortKey: 'lockGroup' };
  const locks = dynamoDBLockClientFactory(DynamoDBDocument.from(new DynamoDBClient({})), table);
  export const cycle = async (key) => locks.releaseLock(await locks.lock('group', key, { prolongLeaseEnabled: false }));`;

const raw = (inputs: readonly UpdateItemCommandInput[]) => `
  import { DynamoDBClient, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
  const client = new DynamoDBClient({});
  export const cycle = async (key) => {
    for (const input of ${JSON.stringify(inputs)}) {
      await client.send(new UpdateItemCommand({ ...input, Key: { lockKey: { S: key } } }));
    }
  };`;

export interface Program {
  readonly name: string;
  readonly source: string;
}

/** @param inputs the inputs of the raw requests. */
export function programs(inputs: readonly UpdateItemCommandInput[]): Program[] {
  return [
    { name: RAW, source: raw(inputs) },
    { name: OURS, source: leasehold },
    { name: `${OURS}, withLock`, source: withLock },
    { name: `${OURS}, Middy`, source: inMiddy },
    { name: 'Powertools idempotency', source: powertools },
    { name: '@deliveryhero/dynamodb-lock', source: deliveryHero },
  ];
}

/** Bundles a program as the CDK does for a function, in one file. Undefined if the program's peer is not installed. */
export async function bundle(source: string, external: string[] = []): Promise<Uint8Array | undefined> {
  try {
    const { outputFiles } = await build({
      stdin: { contents: source, resolveDir: `${import.meta.dirname}/..` },
      bundle: true,
      minify: true,
      write: false,
      platform: 'node',
      format: 'cjs',
      mainFields: ['module', 'main'],
      logLevel: 'silent',
      external,
    });
    return outputFiles[0]?.contents;
  } catch (error) {
    if (!/Could not resolve "@(aws-lambda-powertools|deliveryhero)/.test(String(error))) throw error;
    return undefined;
  }
}
