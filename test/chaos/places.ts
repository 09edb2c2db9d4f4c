/** The places of locks in a run: a place, the network between each process and the place, and the blows that the two take. */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type DynamoDB, startDynamoDB } from '../../demo/local/launcher.ts';
import { systemClock } from '../../lib/lease/clock.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { RedisServer } from '../support/redis-servers.ts';
import { TcpRelay } from '../support/tcp-relay.ts';
import { HistoryWriter } from './history.ts';
import { type Blow, cut, type FaultBlow, outage, ruleOf } from './nemesis.ts';
import { Recorder, WORK_KEY } from './recorder.ts';
import type { WorkerPlace } from './worker-place.ts';

/** The network between one process and the place. */
export interface Network {
  readonly place: WorkerPlace;
  readonly environment: Record<string, string>;
  /** No request arrives until `mend`. Connections stay open. */
  cut(): void;
  /** Every request fails at once until `mend`. */
  outage(): void;
  fault(blow: FaultBlow): void;
  mend(): void;
  /** Takes the requests that met a fault since the last call. `at` is by the wall clock. */
  takeFaults(): { readonly fault: string; readonly operation: string; readonly at: number }[];
  stop(): Promise<void>;
}

export interface Place extends AsyncDisposable {
  readonly name: StoreName;
  /** The kinds of blows that the place takes. */
  readonly blows: readonly Blow['do'][];
  /** Gives the network of a process, by the process's number. */
  connect(number: number): Promise<Network>;
  /** The URL by which the program looks at the locks after the run. Undefined for a table, whose recorder sees all. */
  readonly url?: string;
  freeze(): void;
  thaw(): void;
  kill(): Promise<void>;
  restart(): Promise<void>;
}

export type StoreName = keyof typeof STARTS;

const ON_PROCESSES = ['kill', 'freeze', 'shift'] as const;
const ON_NETWORKS = ['fault', 'cut', 'outage', 'freezeServer'] as const;

const never = (what: string) => () => {
  throw new Error(`Expected no ${what} in the plan of this place.`);
};
const unasked = async () => never('kill of the server')();

async function startTable(folder: string): Promise<Place> {
  const dynamodb: DynamoDB = await startDynamoDB();
  const recorder = new Recorder(dynamodb.endpoint, new HistoryWriter(folder, 'server', systemClock));
  await recorder.listen();
  const lockTable = await dynamodb.createLockTable('locks');
  const workTable = await dynamodb.createLockTable('work', { keyAttribute: WORK_KEY });
  return {
    name: 'dynamodb',
    blows: [...ON_PROCESSES, ...ON_NETWORKS],
    async connect(number) {
      const proxy = await startFaultProxy({ upstream: recorder.endpoint });
      return {
        place: { lockTable, workTable },
        environment: {
          ...dynamodb.environment,
          AWS_ENDPOINT_URL_DYNAMODB: proxy.endpoint,
          // The store leaves this setting to the SDK. So every second worker goes the SDK's way, and the others the store's own.
          ...(number % 2 && { AWS_ENABLE_ENDPOINT_DISCOVERY: 'false' }),
        },
        cut: () => proxy.plan(cut()),
        outage: () => proxy.plan(outage()),
        fault: ({ fault, on, times }) => proxy.plan(ruleOf(fault, on, times)),
        mend: () => proxy.reset(),
        takeFaults() {
          const met = proxy.requests.flatMap(({ fault, operation, at }) => (fault ? [{ fault, operation, at }] : []));
          proxy.requests = [];
          return met;
        },
        stop: () => proxy.stop(),
      };
    },
    freeze: () => dynamodb.suspend(),
    thaw: () => dynamodb.resume(),
    kill: unasked,
    restart: unasked,
    async [Symbol.asyncDispose]() {
      await recorder.stop();
      await dynamodb.stop();
    },
  };
}

/** The clients of the processes, in turn. libfaketime is tried under the first. */
const LIBRARIES = ['redis', 'ioredis', 'iovalkey', '@valkey/valkey-glide'];

async function startRedis(): Promise<Place> {
  // Each write is on the disk before it is answered. So a server that is killed forgets nothing that somebody knows.
  const server = await RedisServer.start({ appendonly: 'yes', appendfsync: 'always' });
  return {
    name: 'redis',
    url: server.url,
    blows: [...ON_PROCESSES, ...ON_NETWORKS, 'killServer'],
    async connect(number) {
      const relay = await TcpRelay.start(server.port);
      const library = LIBRARIES[(number + 1) % LIBRARIES.length] as string;
      const met: { fault: string; operation: string; at: number }[] = [];
      return {
        place: { url: `redis://127.0.0.1:${relay.port}`, library },
        environment: {},
        cut: () => relay.stall(),
        outage: () => relay.refuse(),
        fault({ fault, times }) {
          if (fault.do === 'loseAnswer') relay.loseAnswers(times);
          else if (fault.do === 'loseRequest') relay.loseRequests(times);
          else if (fault.do === 'delayAnswer') relay.delayAnswers(times, fault.ms);
          else if (fault.do === 'delayRequest') relay.delayRequests(times, fault.ms);
          else return;
          met.push({ fault: fault.do, operation: `the next ${times}`, at: Date.now() });
        },
        mend: () => relay.mend(),
        takeFaults: () => met.splice(0),
        stop: () => relay[Symbol.asyncDispose](),
      };
    },
    freeze: () => server.suspend(),
    thaw: () => server.resume(),
    kill: () => server.kill(),
    restart: () => server.restart(),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

async function startFiles(folder: string): Promise<Place> {
  const directory = mkdtempSync(join(folder, 'locks-'));
  const url = pathToFileURL(directory).href;
  return {
    name: 'file',
    url,
    // There is no server and no network. A process that is killed dies between two steps of a write.
    blows: ON_PROCESSES,
    connect: async () => ({
      place: { url },
      // libfaketime would set the times of the files, too, which stand for the server's clock.
      environment: { NO_FAKE_STAT: '1' },
      cut: never('cut'),
      outage: never('outage'),
      fault: never('fault'),
      mend() {},
      takeFaults: () => [],
      async stop() {},
    }),
    freeze: never('freeze of the server'),
    thaw: never('freeze of the server'),
    kill: unasked,
    restart: unasked,
    [Symbol.asyncDispose]: async () => rmSync(directory, { recursive: true }),
  };
}

const STARTS = { dynamodb: startTable, redis: startRedis, file: startFiles };

export const STORE_NAMES = Object.keys(STARTS) as StoreName[];

/** Starts a place. Its history, if it writes one, and its files stand in a folder. */
export const startPlace = (name: StoreName, folder: string): Promise<Place> => STARTS[name](folder);
