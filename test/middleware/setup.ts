import { Writable } from 'node:stream';
import { LockClient, type LockEvent, type LockStore } from '../../lib/index.ts';
import { FakeClock, MemoryLockStore } from '../../lib/testing.ts';
import type { BatchResponse, LambdaContext, QueueRecord } from '../../middleware/index.ts';

/** A client over memory under a fake clock, with the requests that were sent and the events that happened. */
export function setUp() {
  const clock = new FakeClock();
  const requests: string[] = [];
  const memory = new MemoryLockStore({ clock });
  const store = recording(memory, requests);
  const events: LockEvent[] = [];
  const locks = new LockClient({ store, clock, onEvent: (event) => events.push(event) });
  /** Another host's client. */
  const others = new LockClient({ store: memory, clock, owner: 'somebody else' });
  const isHeld = async (key = 'nightly') => (await others.inspect(key))?.held ?? false;
  return { clock, store, requests, events, locks, others, isHeld };
}

/** The same store; the names of the requests that reach it are appended to `requests`. */
function recording<Store extends LockStore>(store: Store, requests: string[]): Store {
  return new Proxy(store, {
    get(target, name: keyof Store & string) {
      const request = target[name] as unknown;
      if (typeof request !== 'function') return request;
      return (...parameters: unknown[]) => {
        requests.push(name);
        return request.apply(target, parameters);
      };
    },
  });
}

/** The context of one invocation. */
export function invocation(context: Partial<LambdaContext> = {}): LambdaContext {
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionName: 'reports',
    functionVersion: '7',
    invokedFunctionArn: 'arn:aws:lambda:eu-central-1:123456789012:function:reports',
    memoryLimitInMB: '256',
    awsRequestId: 'request-1',
    logGroupName: '/aws/lambda/reports',
    logStreamName: '2026/01/01/[7]abc',
    getRemainingTimeInMillis: () => 60_000,
    done() {},
    fail() {},
    succeed() {},
    ...context,
  };
}

/** A promise, and the function that resolves it. */
export function gate<Value = void>() {
  let open: (value: Value) => void = () => {};
  const opened = new Promise<Value>((resolve) => {
    open = resolve;
  });
  return { open, opened };
}

/** A response stream, the text that it has received, and a promise of the first text. */
export function sink() {
  const received: string[] = [];
  const { open, opened: arrived } = gate();
  const responseStream = new Writable({
    write(chunk, _encoding, callback) {
      received.push(String(chunk));
      // An HTTP response begins with an empty write, for its head.
      if (chunk.length > 0) open();
      callback();
    },
  });
  return { received, arrived, responseStream };
}

const STANDARD = 'arn:aws:sqs:eu-central-1:123456789012:orders';

/** A message about an account. */
export function message(
  messageId: string,
  account: string,
  { group, sequence, queue = STANDARD }: Partial<Place> = {},
) {
  return {
    messageId,
    body: account,
    receiptHandle: `receipt-${messageId}`,
    attributes: {
      ApproximateReceiveCount: '1',
      SentTimestamp: '1767225600000',
      SenderId: 'AIDAEXAMPLE',
      ApproximateFirstReceiveTimestamp: '1767225600001',
      ...(group !== undefined && { MessageGroupId: group }),
      ...(sequence !== undefined && { SequenceNumber: sequence }),
    },
    messageAttributes: {},
    md5OfBody: 'd41d8cd98f00b204e9800998ecf8427e',
    eventSource: 'aws:sqs',
    eventSourceARN: queue,
    awsRegion: 'eu-central-1',
  } satisfies QueueRecord;
}
interface Place {
  queue: string;
  group: string;
  sequence: string;
}

/** A message of a FIFO queue. By default its account is its group. Its id is its place in the queue. */
export const fifo = (messageId: string, group: string, account = group) =>
  message(messageId, account, { queue: `${STANDARD}.fifo`, group, sequence: messageId });

export interface Batch {
  Records: QueueRecord[];
}
export const batch = (...Records: QueueRecord[]): Batch => ({ Records });
export const ids = ({ Records }: Batch) => Records.map(({ messageId }) => messageId);
export const failed = ({ batchItemFailures }: BatchResponse) =>
  batchItemFailures.map(({ itemIdentifier }) => itemIdentifier);
