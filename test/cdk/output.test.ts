import { type ChildProcess, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  type AttributeDefinition,
  CreateTableCommand,
  DescribeTimeToLiveCommand,
  type KeySchemaElement,
  type TimeToLiveSpecification,
  UpdateTimeToLiveCommand,
} from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { App } from 'aws-cdk-lib';
import { DemoStack } from '../../bin/demo-stack.ts';
import { availableServers, type DynamoDB, startDynamoDB } from '../dynamodb/launcher.ts';

interface Resource {
  Type: string;
  Properties: Record<string, unknown>;
}

interface FunctionProperties {
  Code: { S3Key: string };
  Handler: string;
  Timeout: number;
  Environment: { Variables: Record<string, string | { Ref: string }> };
}

/** What `cdk synth` leaves behind: the template, and where the assets lie. */
interface Output {
  readonly resources: Record<string, Resource>;
  /** The folder of an asset, by the name under which a template knows it. */
  assetFolder(s3Key: string): string;
}

const outdir = mkdtempSync(join(tmpdir(), 'demo-output-'));
const { context } = JSON.parse(readFileSync(join(import.meta.dirname, '../../cdk.json'), 'utf8'));

function synthesise(): Output {
  const app = new App({ outdir, context, builtinCloudFormationValidation: false, analyticsReporting: false });
  const { stackName } = new DemoStack(app, 'LeaseholdDemo');
  const { files } = JSON.parse(readFileSync(join(app.synth().directory, `${stackName}.assets.json`), 'utf8'));
  const { Resources } = JSON.parse(readFileSync(join(outdir, `${stackName}.template.json`), 'utf8'));
  return {
    resources: Resources,
    assetFolder: (s3Key) => join(outdir, files[s3Key.replace('.zip', '')].source.path),
  };
}

let output: Output;
let dynamodb: DynamoDB;
/** The names that resources got when they were made. */
const physicalNames: Record<string, string> = {};
const processes: ChildProcess[] = [];

const only = (type: string, id = ''): [string, Resource] => {
  const found = Object.entries(output.resources).filter(([name, { Type }]) => Type === type && name.startsWith(id));
  if (found.length !== 1) throw new Error(`Expected one ${type} ${id}, found ${found.map(([name]) => name)}.`);
  return found[0] as [string, Resource];
};

/** Makes the table of the template, as CloudFormation would. */
async function createTable(): Promise<void> {
  const [logicalId, { Properties }] = only('AWS::DynamoDB::GlobalTable');
  const TableName = `LeaseholdDemo-${logicalId}-${randomUUID().slice(0, 8)}`;
  const client = dynamodb.client();
  await client.send(
    new CreateTableCommand({
      TableName,
      KeySchema: Properties.KeySchema as KeySchemaElement[],
      AttributeDefinitions: Properties.AttributeDefinitions as AttributeDefinition[],
      BillingMode: Properties.BillingMode as 'PAY_PER_REQUEST',
    }),
  );
  const TimeToLiveSpecification = Properties.TimeToLiveSpecification as TimeToLiveSpecification;
  await client.send(new UpdateTimeToLiveCommand({ TableName, TimeToLiveSpecification }));
  physicalNames[logicalId] = TableName;
}

/** A process of a function of the template: its bundle, its handler, its environment. */
class Lambda {
  readonly #child: ChildProcess;
  /** What it has written so far. */
  log = '';

  constructor(id: string) {
    const [logicalId, resource] = only('AWS::Lambda::Function', id);
    const { Code, Handler, Timeout, Environment } = resource.Properties as unknown as FunctionProperties;
    const variables = Object.entries(Environment.Variables).map(([name, value]) => [
      name,
      typeof value === 'string' ? value : physicalNames[value.Ref],
    ]);
    const [file, exported = ''] = Handler.split('.');
    const folder = output.assetFolder(Code.S3Key);
    this.#child = fork(
      fileURLToPath(new URL('./lambda-process.ts', import.meta.url)),
      [join(folder, `${file}.mjs`), exported],
      {
        cwd: folder,
        execArgv: [],
        env: {
          PATH: process.env.PATH,
          AWS_LAMBDA_FUNCTION_NAME: logicalId,
          TEST_TIMEOUT_MS: String(Timeout * 1_000),
          ...dynamodb.environment,
          ...Object.fromEntries(variables),
        },
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      },
    );
    processes.push(this.#child);
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk) => {
        this.log += chunk;
      });
    }
  }

  /** Loaded, with nothing left to do but to invoke it. */
  async ready(): Promise<this> {
    await this.#answer();
    return this;
  }

  async invoke(event: unknown): Promise<Record<string, unknown>> {
    const answer = this.#answer();
    this.#child.send(event as object);
    const { response, error } = (await answer) as { response: Record<string, unknown>; error?: string };
    if (error) throw new Error(error);
    return response;
  }

  /** The metrics that it published, one object a line. */
  get metrics(): Record<string, unknown>[] {
    const lines = this.log.split('\n').filter((line) => line.startsWith('{"_aws"'));
    return lines.map((line) => JSON.parse(line));
  }

  async #answer(): Promise<unknown> {
    const died = once(this.#child, 'exit').then(([code]) => {
      throw new Error(`The process ended with ${code}: ${this.log}`);
    });
    const [message] = await Promise.race([once(this.#child, 'message'), died]);
    return message;
  }
}

const two = (id: string) => Promise.all([new Lambda(id).ready(), new Lambda(id).ready()]);

const message = (messageId: string, body: object | string) => ({
  Records: [{ messageId, body: typeof body === 'string' ? body : JSON.stringify(body) }],
});

beforeAll(async () => {
  const servers = await availableServers();
  const judge = servers.find(({ server, missing }) => server === 'dynamodb-local' && !missing);
  dynamodb = await startDynamoDB(judge && { server: judge.server });
  output = synthesise();
  await createTable();
}, 60_000);

afterAll(async () => {
  for (const child of processes) child.kill();
  await dynamodb?.stop();
  rmSync(outdir, { recursive: true });
});

describe('The output of the demo stack, run as it would be deployed', () => {
  test('has a table whose TTL is on', async () => {
    const [name] = Object.values(physicalNames);
    const answer = await dynamodb.client().send(new DescribeTimeToLiveCommand({ TableName: name }));
    expect(answer.TimeToLiveDescription).toEqual({ AttributeName: 'ttl', TimeToLiveStatus: 'ENABLED' });
  });

  test('has bundles of an ES module and its source map, and nothing else', () => {
    for (const id of ['Nightly', 'QueueConsumer']) {
      const { Code } = only('AWS::Lambda::Function', id)[1].Properties as unknown as FunctionProperties;
      expect(readdirSync(output.assetFolder(Code.S3Key)).sort()).toEqual(['index.mjs', 'index.mjs.map']);
    }
  });

  test('runs the nightly job once when both schedules fire in the same second, and again the next night', async () => {
    const [first, second] = await two('Nightly');
    const tonight = { time: '2026-01-01T02:00:00Z' };
    const answers = await Promise.all([first.invoke(tonight), second.invoke(tonight)]);
    expect(answers.map(({ outcome }) => outcome).sort()).toEqual(['busy', 'done']);

    const late = await second.invoke(tonight);
    expect(late).toEqual({ outcome: 'already done', doneToken: tonight.time });

    const done = answers.find(({ outcome }) => outcome === 'done');
    const next = await first.invoke({ time: '2026-01-02T02:00:00Z' });
    expect(next.outcome).toBe('done');
    expect(next.fencingToken).toBeGreaterThan(done?.fencingToken as number);

    const published = [...first.metrics, ...second.metrics];
    const sum = (name: string) => published.reduce((total, line) => total + Number(line[name] ?? 0), 0);
    expect({ Acquired: sum('Acquired'), Busy: sum('Busy'), Done: sum('Done'), Lost: sum('Lost') }).toEqual({
      Acquired: 2,
      Busy: 1,
      Done: 1,
      Lost: 0,
    });
    const [functionName] = only('AWS::Lambda::Function', 'Nightly');
    expect(new Set(published.map(({ table }) => table))).toEqual(new Set(Object.values(physicalNames)));
    expect(new Set(published.map((line) => line.function))).toEqual(new Set([functionName]));
  }, 20_000);

  test('works on one message of an account at a time, and on different accounts at once', async () => {
    const [first, second] = await two('QueueConsumer');
    const sameAccount = await Promise.all([
      first.invoke(message('m-1', { account: 'a' })),
      second.invoke(message('m-2', { account: 'a' })),
    ]);
    expect(sameAccount.flatMap(({ batchItemFailures }) => batchItemFailures)).toHaveLength(1);

    const otherAccounts = await Promise.all([
      first.invoke(message('m-3', { account: 'a' })),
      second.invoke(message('m-4', { account: 'b' })),
    ]);
    expect(otherAccounts).toEqual([{ batchItemFailures: [] }, { batchItemFailures: [] }]);
  }, 20_000);

  test('gives a message back that it cannot read, and shows where in the source that was', async () => {
    const consumer = await new Lambda('QueueConsumer').ready();
    expect(await consumer.invoke(message('m-5', '{}'))).toEqual({ batchItemFailures: [{ itemIdentifier: 'm-5' }] });
    expect(consumer.log).toMatch(/A message must name its account, but it is \{\}.*lambda\/queue\.ts:\d+/s);
  }, 20_000);
});
