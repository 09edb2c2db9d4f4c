/** The lock table under chaos, and the table for the work under the locks. */
import { randomUUID } from 'node:crypto';
import { DynamoDBClient, GetItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb';
import { DynamoDBLockStore, writeWhileHeld } from '../../lib/dynamodb.ts';
import { type Lease, LockLostError } from '../../lib/index.ts';
import type { Counter, Outcome } from './history.ts';
import { oneOf } from './random.ts';
import { WORK_KEY } from './recorder.ts';
import type { Opened, Worker } from './worker-place.ts';

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

export function openTables(place: { lockTable: string; workTable: string }, { random, history }: Worker): Opened {
  const TableName = place.workTable;
  const dynamodb = new DynamoDBClient({ requestHandler: { requestTimeout: 1_000, throwOnRequestTimeout: true } });
  const documents = DynamoDBDocumentClient.from(dynamodb);

  /** Writes to a resource that remembers the highest token, and refuses a lower token. */
  async function fenced({ key, fencingToken }: Lease): Promise<void> {
    const write = new UpdateItemCommand({
      TableName,
      Key: { [WORK_KEY]: { S: `fence/${key}` } },
      UpdateExpression: 'SET fence = :token',
      ConditionExpression: 'attribute_not_exists(fence) OR fence <= :token',
      ExpressionAttributeValues: { ':token': { N: String(fencingToken) } },
    });
    // The work goes on after a refusal or without an answer. The recorder writes down the tokens that the resource
    // accepts.
    await dynamodb.send(write).catch(() => {});
  }

  /** Reads a counter and writes the next number. The update is lost if another process does the same meanwhile. */
  async function count(lease: Lease, counter: Counter): Promise<void> {
    const { key, fencingToken } = lease;
    const id = randomUUID();
    const name = `${counter}/${key}`;
    let outcome: Outcome = 'refused';
    try {
      const read = new GetItemCommand({ TableName, Key: { [WORK_KEY]: { S: name } }, ConsistentRead: true });
      const { Item } = await dynamodb.send(read);
      const value = Number(Item?.value?.N ?? 0) + 1;
      await sleep(oneOf(random, [0, 10, 100]));
      outcome = 'unknown';
      const change = {
        UpdateExpression: 'SET #value = :value, id = :id',
        ExpressionAttributeNames: { '#value': 'value' },
      };
      if (counter === 'guarded') {
        const Update = { TableName, Key: { [WORK_KEY]: name }, ...change };
        await writeWhileHeld(lease, documents, [
          { Update: { ...Update, ExpressionAttributeValues: { ':value': value, ':id': id } } },
        ]);
      } else {
        const ExpressionAttributeValues = { ':value': { N: String(value) }, ':id': { S: id } };
        const Key = { [WORK_KEY]: { S: name } };
        await dynamodb.send(new UpdateItemCommand({ TableName, Key, ...change, ExpressionAttributeValues }));
      }
      outcome = 'done';
    } catch (error) {
      if (error instanceof TypeError) throw error;
      if (error instanceof LockLostError) outcome = 'refused';
    }
    history.write({ type: 'counted', key, fencingToken, counter, id, outcome });
  }

  return {
    store: new DynamoDBLockStore({ tableName: place.lockTable }),
    async write(lease) {
      await fenced(lease);
      for (const counter of ['guarded', 'unguarded'] as const) if (lease.isHeld()) await count(lease, counter);
    },
    close: () => dynamodb.destroy(),
  };
}
