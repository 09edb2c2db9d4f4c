import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { jest } from '@jest/globals';
import { bundle, lambdaEnvironment } from '../../demo/local/function-bundle.ts';
import { type DynamoDB, startDynamoDB } from '../../demo/local/launcher.ts';
import { DynamoDBLockStore } from '../../lib/dynamodb.ts';
import { LockClient } from '../../lib/index.ts';
import { LOCK_TABLE_NAME } from '../../lib/names.ts';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { needing } from '../support/needing.ts';
import { ExecutionEnvironment } from './execution-environment.ts';
import { findRuntime } from './install.ts';
import { Relay } from './relay.ts';

/** `describe` for tests that start an `ExecutionEnvironment`. Where the runtime cannot be built they are skipped, with the reason. */
export function describeOnLambda(name: string, tests: () => void): void {
  // Room for processes that start and leases that expire.
  jest.setTimeout(30_000);
  const runtime = findRuntime();
  needing('program' in runtime ? undefined : runtime.missing).describe(name, tests);
}

/** Asks again and again until the answer is yes, and fails after 10 s. */
export async function until(isSo: () => Promise<boolean>): Promise<void> {
  const giveUpAt = Date.now() + 10_000;
  while (!(await isSo())) {
    if (Date.now() > giveUpAt) throw new Error(`Expected this within 10 s: ${isSo}`);
    await sleep(5);
  }
}

/** A place where a handler waits for the test. */
export interface Gate {
  /** The URL that the handler fetches. */
  readonly url: string;
  /** Resolves when a handler has come to it. */
  readonly reached: Promise<void>;
  /** Lets every handler pass, now and later. */
  open(): void;
}

export interface StartOptions {
  environment?: Record<string, string>;
  /**
   * The DynamoDB of the environment.
   * @default `proxy`
   */
  endpoint?: string;
}

/** Bundled functions on Lambda's own runtime, a lock table, and a proxy between the two that can be faulty. */
export class TestBed implements AsyncDisposable {
  /** Every request of the functions goes through the proxy, and no request of `others`. */
  readonly proxy: FaultProxy;
  /** Another client of the same locks. */
  readonly others: LockClient;
  readonly #dynamodb: DynamoDB;
  readonly #tableName: string;
  readonly #folder: string;
  readonly #started: AsyncDisposable[] = [];
  readonly #gates = new Map<string, { reach(): void; passers: ServerResponse[]; isOpen: boolean }>();
  readonly #gateServer = createServer((request, answer) => {
    const gate = this.#gates.get(request.url ?? '');
    gate?.reach();
    if (gate?.isOpen) answer.end();
    else gate?.passers.push(answer);
  });

  #environments = 0;

  private constructor(dynamodb: DynamoDB, proxy: FaultProxy, tableName: string, folder: string) {
    this.#dynamodb = dynamodb;
    this.proxy = proxy;
    this.#tableName = tableName;
    this.#folder = folder;
    const store = new DynamoDBLockStore({ client: dynamodb.client(), tableName });
    this.others = new LockClient({ store, owner: 'somebody else' });
  }

  /** @param sources the handlers, by their files. */
  static async of(...sources: string[]): Promise<TestBed> {
    const folder = mkdtempSync(join(tmpdir(), 'testBed-'));
    await Promise.all(sources.map((source) => bundle(join(import.meta.dirname, source), folder)));
    const dynamodb = await startDynamoDB();
    const proxy = await startFaultProxy({ upstream: dynamodb.endpoint });
    const testBed = new TestBed(dynamodb, proxy, await dynamodb.createLockTable(), folder);
    testBed.#gateServer.listen(0, '127.0.0.1');
    await once(testBed.#gateServer, 'listening');
    return testBed;
  }

  /**
   * Starts an execution environment of a function.
   *
   * @param handler the file's name and the export's: `job.handler`
   */
  async start(handler: string, options?: StartOptions): Promise<ExecutionEnvironment> {
    const lambda = await ExecutionEnvironment.start(this.environment(handler, options));
    this.#started.push(lambda);
    return lambda;
  }

  /** Gives the environment variables that Lambda and the stack set. */
  environment(
    handler: string,
    { environment, endpoint = this.proxy.endpoint }: StartOptions = {},
  ): Record<string, string> {
    const [functionName = '', exported = ''] = handler.split('.');
    const place = { functionName, folder: join(this.#folder, functionName), handler: `index.${exported}` };
    return lambdaEnvironment(place, {
      [LOCK_TABLE_NAME]: this.#tableName,
      ...this.#dynamodb.environment,
      AWS_ENDPOINT_URL_DYNAMODB: endpoint,
      // The store leaves this setting to the SDK. So every second environment goes the SDK's way, and the others the store's own.
      ...(this.#environments++ % 2 && { AWS_ENABLE_ENDPOINT_DISCOVERY: 'false' }),
      ...environment,
    });
  }

  /** Makes a relay between an environment and the proxy. */
  async relay(): Promise<Relay> {
    const relay = await Relay.to(this.proxy.endpoint);
    this.#started.push(relay);
    return relay;
  }

  /** Ends the environments and relays of a test, so that the next test is alone. */
  async reset(): Promise<void> {
    await Promise.all(this.#started.splice(0).map((started) => started[Symbol.asyncDispose]()));
    this.proxy.reset();
  }

  gate(): Gate {
    const path = `/${randomUUID()}`;
    const { promise: reached, resolve: reach } = Promise.withResolvers<void>();
    const gate = { reach, passers: [] as ServerResponse[], isOpen: false };
    this.#gates.set(path, gate);
    const open = () => {
      gate.isOpen = true;
      for (const answer of gate.passers) answer.end();
    };
    return { url: `http://127.0.0.1:${(this.#gateServer.address() as AddressInfo).port}${path}`, reached, open };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.reset();
    this.#gateServer.close();
    this.#gateServer.closeAllConnections();
    await this.proxy.stop();
    await this.#dynamodb.stop();
    rmSync(this.#folder, { recursive: true });
  }
}
