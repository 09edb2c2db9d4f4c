import { randomUUID } from 'node:crypto';
import { Agent as PlainAgent, request as plain } from 'node:http';
import { Agent as SecureAgent, request as secure } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { DynamoDBClient, UpdateItemCommand, type UpdateItemCommandInput } from '@aws-sdk/client-dynamodb';
import middy from '@middy/core';
import { DynamoDBLockStore } from '../../lib/dynamodb.ts';
import { LockClient, type LockStore } from '../../lib/index.ts';
import { MemoryLockStore } from '../../lib/testing.ts';
import { lock, lockPlugin, withLock } from '../../middleware/index.ts';

export type Release = () => Promise<unknown>;

/** A way to lock. Each way has the same lease: 30 s, if a measure says nothing else. */
export interface Contender {
  readonly name: string;
  /** Takes a lock that is free, and releases the lock. */
  cycle(key: string): Promise<unknown>;
  /** Takes a lock. Undefined if the lock is busy. */
  take?(key: string): Promise<Release | undefined>;
  /** Takes a lock whose holder dies at once: nobody renews or releases the lock. */
  die?(key: string, leaseMs: number): Promise<unknown>;
  /** Waits for a lock. */
  wait?(key: string): Promise<Release>;
  /** Holds and renews a lock until the contender tells that the lock is lost. */
  hold?(key: string, leaseMs: number, lost: () => void): Promise<unknown>;
  /** The server, if not the one that the environment names. */
  readonly server?: { suspend(): void; resume(): void };
}

export const RAW = 'raw SDK calls';
export const OURS = 'leasehold';
const LEASE_MS = 30_000;
const WAIT_MS = 120_000;

/** The inputs of leasehold's acquire and release, as the SDK gets them. */
export async function inputsOf(tableName: string): Promise<[UpdateItemCommandInput, UpdateItemCommandInput]> {
  const inputs: UpdateItemCommandInput[] = [];
  const client = new DynamoDBClient({});
  client.middlewareStack.add(
    (next) => (args) => {
      inputs.push(args.input as UpdateItemCommandInput);
      return next(args);
    },
    { step: 'initialize' },
  );
  await (await new LockClient({ store: new DynamoDBLockStore({ tableName, client }) }).acquire('inputs')).release();
  client.destroy();
  const [acquire, release] = inputs;
  if (!acquire?.ExpressionAttributeValues?.[':me'] || !release)
    throw new Error('Expected the inputs of two UpdateItems.');
  return [acquire, release];
}

/** Leasehold's requests without leasehold, sent by `send`, which tells whether the write was applied. */
async function byHand(tableName: string, send: (input: UpdateItemCommandInput) => Promise<boolean>) {
  const [acquire, release] = await inputsOf(tableName);
  const input = (
    template: UpdateItemCommandInput,
    key: string,
    values: Record<string, { S: string } | { N: string }>,
  ) => ({
    ...template,
    Key: { lockKey: { S: key } },
    ExpressionAttributeValues: { ...template.ExpressionAttributeValues, ...values },
  });
  const grant = async (key: string, leaseMs: number): Promise<Release | undefined> => {
    const me = { ':me': { S: randomUUID() } };
    const now = Date.now();
    const times = { ':now': { N: String(now) }, ':until': { N: String(now + leaseMs) } };
    const isGranted = await send(input(acquire, key, { ...me, ...times }));
    return isGranted ? () => send(input(release, key, me)) : undefined;
  };
  return {
    take: (key: string) => grant(key, LEASE_MS),
    die: grant,
    cycle: async (key: string) => (await grant(key, LEASE_MS))?.(),
    async wait(key: string): Promise<Release> {
      for (;;) {
        const release = await grant(key, LEASE_MS);
        if (release) return release;
        await sleep(50);
      }
    },
  };
}

/** Two requests over connections that are kept, and not signed: no client does less. */
async function bare(tableName: string): Promise<Contender> {
  const url = new URL(process.env.AWS_ENDPOINT_URL_DYNAMODB ?? '');
  const isSecure = url.protocol === 'https:';
  const agent = new (isSecure ? SecureAgent : PlainAgent)({ keepAlive: true, maxSockets: 50 });
  const send = isSecure ? secure : plain;
  const post = (input: UpdateItemCommandInput) =>
    new Promise<boolean>((resolve, reject) => {
      const body = JSON.stringify(input);
      const headers = {
        'content-type': 'application/x-amz-json-1.0',
        'content-length': Buffer.byteLength(body),
        'x-amz-target': 'DynamoDB_20120810.UpdateItem',
        // The embedded server asks for a signature, and does not check it.
        'x-amz-date': '20260101T000000Z',
        authorization:
          'AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0',
      };
      const request = send(url, { method: 'POST', agent, headers }, (response) => {
        let text = '';
        response.on('data', (chunk) => {
          text += chunk;
        });
        response.on('end', () => {
          const answer = JSON.parse(text);
          if (response.statusCode === 200 || /ConditionalCheckFailed/.test(answer.__type))
            resolve(response.statusCode === 200);
          else reject(new Error(text));
        });
      });
      request.on('error', reject);
      request.end(body);
    });
  return { name: 'bare HTTP, unsigned', ...(await byHand(tableName, post)) };
}

async function raw(tableName: string): Promise<Contender> {
  const client = new DynamoDBClient({});
  const send = (input: UpdateItemCommandInput) =>
    client.send(new UpdateItemCommand(input)).then(
      () => true,
      (error: Error) => {
        if (error.name !== 'ConditionalCheckFailedException') throw error;
        return false;
      },
    );
  return { name: RAW, ...(await byHand(tableName, send)) };
}

function leasehold(name: string, store: LockStore): Contender & { readonly locks: LockClient } {
  const locks = new LockClient({ store, leaseMs: LEASE_MS });
  const releaseOf = (lease: { release(): Promise<unknown> }) => () => lease.release();
  return {
    name,
    locks,
    async cycle(key) {
      const lease = await locks.acquire(key);
      if (!(await lease.release())) throw new Error(`${name} did not release ${key}.`);
    },
    async take(key) {
      const lease = await locks.tryAcquire(key);
      return lease ? releaseOf(lease) : undefined;
    },
    die: (key, leaseMs) =>
      store.acquire({
        key,
        leaseMs,
        owner: 'dead',
        lockId: randomUUID(),
        now: Date.now(),
        until: Date.now() + leaseMs,
      }),
    wait: async (key) => releaseOf(await locks.acquire(key, { waitMs: WAIT_MS })),
    async hold(key, leaseMs, lost) {
      const lease = await locks.acquire(key, { leaseMs });
      lease.signal.addEventListener('abort', lost);
    },
  };
}

const CONTEXT = { functionName: 'bench', awsRequestId: 'bench', getRemainingTimeInMillis: () => 600_000 };
interface KeyEvent {
  readonly key: string;
}
type Handler = (event: KeyEvent, context: typeof CONTEXT) => Promise<unknown>;
/** A handler that does nothing, under a lock. */
export const handled = (handler: Handler) => (key: string) => handler({ key }, CONTEXT);

/**
 * leasehold as on Lambda: no client is given, and the credentials are in the environment. With `all`, also leasehold on the
 * user's own client, in memory, and under handlers.
 */
export async function ownContenders(tableName: string, { all = false } = {}): Promise<Contender[]> {
  const ours = leasehold(OURS, new DynamoDBLockStore({ tableName }));
  const contenders: Contender[] = [await bare(tableName), await raw(tableName), ours];
  if (!all) return contenders;
  const key = (event: KeyEvent) => event.key;
  const wrapped = withLock({ key, locks: ours.locks }, async () => {});
  const stacked = middy<KeyEvent>(lockPlugin())
    .use(lock({ key, locks: ours.locks }))
    .handler(async () => {});
  return [
    ...contenders,
    leasehold(`${OURS}, client given`, new DynamoDBLockStore({ tableName, client: new DynamoDBClient({}) })),
    leasehold('in memory, no requests', new MemoryLockStore()),
    { name: `${OURS}, withLock`, cycle: handled(wrapped as unknown as Handler) },
    { name: `${OURS}, Middy`, cycle: handled(stacked as unknown as Handler) },
  ];
}
