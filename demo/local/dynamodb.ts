import { randomUUID } from 'node:crypto';
import {
  CreateTableCommand,
  type CreateTableCommandInput,
  DeleteTableCommand,
  DynamoDBClient,
  type DynamoDBClientConfig,
  type TimeToLiveSpecification,
  UpdateTimeToLiveCommand,
  waitUntilTableExists,
} from '@aws-sdk/client-dynamodb';
import { KEY_ATTRIBUTE, TTL_ATTRIBUTE } from '../../lib/names.ts';
import type { ServerProcess } from './server-process.ts';
import type { ServerName } from './servers.ts';

export interface LockTableOptions {
  /**
   * The partition key's name, a string attribute.
   * @default 'lockKey'
   */
  keyAttribute?: string;
  /**
   * The sort key's name, a string attribute.
   * @default none
   */
  sortKeyAttribute?: string;
}

interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

/** The credentials in the environment, which an endpoint of AWS needs. A local server takes any. */
function givenCredentials(): Credentials | undefined {
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, AWS_SESSION_TOKEN } = process.env;
  if (!accessKeyId || !secretAccessKey) return undefined;
  return { accessKeyId, secretAccessKey, ...(AWS_SESSION_TOKEN && { sessionToken: AWS_SESSION_TOKEN }) };
}

/** A running server. It never keeps its process alive, and ends with its process. */
export class DynamoDB implements AsyncDisposable {
  readonly server: ServerName;
  readonly endpoint: string;
  readonly region: string = process.env.AWS_REGION ?? 'us-east-1';
  readonly credentials: Credentials;
  readonly #process: ServerProcess | undefined;
  readonly #clients = new Set<DynamoDBClient>();
  readonly #tables = new Set<string>();
  #admin: DynamoDBClient | undefined;
  #stopped: Promise<void> | undefined;

  /** @internal Use `startDynamoDB`. */
  constructor(server: ServerName, endpoint: string, process?: ServerProcess) {
    this.server = server;
    this.endpoint = endpoint;
    this.#process = process;
    this.credentials = (server === 'endpoint' && givenCredentials()) || {
      accessKeyId: 'local',
      secretAccessKey: 'local',
    };
  }

  /** The server's process. Undefined for `endpoint`, which is not ours. */
  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** For `new DynamoDBClient(dynamodb.clientConfig)`. */
  get clientConfig() {
    const { endpoint, region, credentials } = this;
    return { endpoint, region, credentials };
  }

  /** Environment variables for another process: an SDK client made there without any configuration talks to this server. */
  get environment(): Record<string, string> {
    return {
      AWS_ENDPOINT_URL_DYNAMODB: this.endpoint,
      AWS_REGION: this.region,
      AWS_ACCESS_KEY_ID: this.credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: this.credentials.secretAccessKey,
      ...(this.credentials.sessionToken && { AWS_SESSION_TOKEN: this.credentials.sessionToken }),
    };
  }

  /** Makes a client of its own, which `stop()` destroys. */
  client(config: DynamoDBClientConfig = {}): DynamoDBClient {
    const client = new DynamoDBClient({ ...this.clientConfig, ...config });
    this.#clients.add(client);
    return client;
  }

  /**
   * Makes a lock table with TTL, ready to use. Without a name the table gets a name that nobody else has, so that
   * the tests of a file share a server and nothing else.
   * @returns the table's name
   */
  async createLockTable(
    tableName = `locks-${randomUUID()}`,
    { keyAttribute = KEY_ATTRIBUTE, sortKeyAttribute }: LockTableOptions = {},
  ): Promise<string> {
    const keys = [
      { AttributeName: keyAttribute, KeyType: 'HASH' as const },
      ...(sortKeyAttribute ? [{ AttributeName: sortKeyAttribute, KeyType: 'RANGE' as const }] : []),
    ];
    await this.createTable(
      {
        TableName: tableName,
        BillingMode: 'PAY_PER_REQUEST',
        KeySchema: keys,
        AttributeDefinitions: keys.map(({ AttributeName }) => ({ AttributeName, AttributeType: 'S' })),
      },
      { Enabled: true, AttributeName: TTL_ATTRIBUTE },
    );
    return tableName;
  }

  /** Makes a table with TTL, ready to use. A server that knows no TTL goes without. */
  async createTable(table: CreateTableCommandInput, timeToLive: TimeToLiveSpecification): Promise<void> {
    const { TableName = '' } = table;
    this.#admin ??= this.client();
    const { TableDescription } = await this.#admin.send(new CreateTableCommand(table));
    this.#tables.add(TableName);
    if (TableDescription?.TableStatus !== 'ACTIVE') {
      await waitUntilTableExists({ client: this.#admin, maxWaitTime: 60, minDelay: 1 }, { TableName });
    }
    await this.#admin
      .send(new UpdateTimeToLiveCommand({ TableName, TimeToLiveSpecification: timeToLive }))
      .catch((error: Error) => {
        if (error.name !== 'UnknownOperationException') throw error;
      });
  }

  /** Freezes the server (SIGSTOP): the kernel accepts connections, and nothing answers. */
  suspend(): void {
    this.#signal('SIGSTOP');
  }

  /** Thaws the server (SIGCONT), which answers the requests that came in the meantime. */
  resume(): void {
    this.#signal('SIGCONT');
  }

  /** Ends the server, a suspended one too, and its clients. At an endpoint, deletes the tables that were made here. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #stop(): Promise<void> {
    if (this.#process) await this.#process.end();
    else {
      const deletions = [...this.#tables].map((name) => this.#admin?.send(new DeleteTableCommand({ TableName: name })));
      await Promise.all(deletions);
    }
    for (const client of this.#clients) client.destroy();
  }

  #signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    if (!this.pid || this.#stopped !== undefined) {
      const state = this.pid ? 'has been stopped' : `was not started here (${this.endpoint})`;
      throw new Error(`Expected a running server to send ${signal} to, but ${this.server} ${state}.`);
    }
    process.kill(this.pid, signal);
  }
}
