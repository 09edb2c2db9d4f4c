/** The place of the locks, as a process under chaos sees it: the store, and the resource that its work writes to. */
import { randomUUID } from 'node:crypto';
import { DynamoDBClient, GetItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb';
import { openStore } from '../../bin/open-store.ts';
import { connectRedis, LIBRARIES } from '../../bin/redis-clients.ts';
import { DynamoDBLockStore, writeWhileHeld } from '../../lib/dynamodb.ts';
import { hostFiles } from '../../lib/file/files.ts';
import { type Lease, LockLostError, type LockStore } from '../../lib/index.ts';
import { RedisLockStore } from '../../lib/redis.ts';
import type { Counter, HistoryWriter, Outcome } from './history.ts';
import { oneOf } from './random.ts';
import { WORK_KEY } from './recorder.ts';

/** A table of locks and a table for the work, or the URL of a store, and for Redis the client's library. */
export type WorkerPlace =
  | { readonly lockTable: string; readonly workTable: string }
  | { readonly url: string; readonly library?: string };

/** The part of the process that the work needs. */
interface Worker {
  readonly random: () => number;
  readonly history: HistoryWriter;
}

export interface Opened {
  readonly store: LockStore;
  /** Writes to the resource under a lease, and writes down the outcomes. */
  write(lease: Lease): Promise<void>;
  close(): void;
}

export async function openPlace(place: WorkerPlace, worker: Worker): Promise<Opened> {
  if ('lockTable' in place) return openTables(place, worker);
  const { store, close } = await openUrl(place);
  return { store, write: (lease) => countByCommit(lease, worker), close };
}

async function openUrl({ url, library }: { url: string; library?: string }) {
  if (library === undefined) return openStore(url);
  const { hostname: host, port } = new URL(url);
  const server = { host, port: Number(port), tls: false, username: undefined, password: undefined, db: 0 };
  const connect = LIBRARIES[library] as (typeof LIBRARIES)[string];
  for (;;) {
    try {
      const { client, close } = await connectRedis(server, { [library]: connect });
      return { store: new RedisLockStore({ client }), close };
    } catch {
      // The network is cut, or the server is down: the process was started in the middle of a blow.
      await sleep(100);
    }
  }
}

/** Adds one to a counter that stands in the record of the lock itself. */
async function countByCommit(lease: Lease, { random, history }: Worker): Promise<void> {
  const { key, fencingToken } = lease;
  const id = randomUUID();
  const value = ((lease.committed as { value: number } | undefined)?.value ?? 0) + 1;
  await sleep(oneOf(random, [0, 10, 100]));
  history.write({ type: 'committing', key, fencingToken, id, value });
  // An error leaves open whether the commit was applied.
  let outcome: Outcome = 'unknown';
  try {
    await lease.commit({ value, id });
    outcome = 'done';
  } catch (error) {
    if (error instanceof TypeError) throw error;
  }
  history.write({ type: 'counted', key, fencingToken, counter: 'guarded', id, outcome });
}

function openTables(place: { lockTable: string; workTable: string }, { random, history }: Worker): Opened {
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

/** Kills the process before or after one of its next steps on the files: in the middle of a write, most of the time. */
export function dieBetweenSteps(random: () => number): void {
  let steps = 1 + Math.floor(random() * 40);
  const step = () => {
    if (--steps === 0) process.kill(process.pid, 'SIGKILL');
  };
  const files = hostFiles as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
  for (const [name, call] of Object.entries(files)) {
    files[name] = async (...args) => {
      step();
      const answer = await call(...args);
      step();
      return answer;
    };
  }
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
