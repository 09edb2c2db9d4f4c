/** The demo stack as its synthesised output has it: its table made, its functions run as processes. */
import { type ChildProcess, execFile, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  type AttributeDefinition,
  CreateTableCommand,
  type KeySchemaElement,
  type TimeToLiveSpecification,
  UpdateTimeToLiveCommand,
} from '@aws-sdk/client-dynamodb';
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

/** A value of a template that is put together at deployment, of strings and the ARNs of functions. */
interface Join {
  'Fn::Join': [string, (string | { 'Fn::GetAtt': [string, 'Arn'] })[]];
}

/** Runs the app as `cdk synth` does, but that the template is not validated. */
async function synthesise(outdir: string): Promise<void> {
  const repository = join(import.meta.dirname, '../..');
  const { context } = JSON.parse(readFileSync(join(repository, 'cdk.json'), 'utf8'));
  const env = {
    ...process.env,
    CDK_OUTDIR: outdir,
    CDK_CONTEXT_JSON: JSON.stringify(context),
    CDK_VALIDATION: 'false',
  };
  await promisify(execFile)(process.execPath, ['bin/app.ts'], { cwd: repository, env });
}

/** An array of so many. */
type Tuple<T, Count extends number, Counted extends T[] = []> = Counted['length'] extends Count
  ? Counted
  : Tuple<T, Count, [...Counted, T]>;

export class Deployment {
  readonly #outdir: string;
  readonly #lambdas: Lambda[] = [];
  readonly #resources: Record<string, Resource>;
  readonly #files: Record<string, { source: { path: string } }>;
  readonly dynamodb: DynamoDB;
  /** The name that the lock table got. */
  tableName = '';

  private constructor(dynamodb: DynamoDB, outdir: string) {
    this.dynamodb = dynamodb;
    this.#outdir = outdir;
    const read = (file: string) => JSON.parse(readFileSync(join(outdir, `LeaseholdDemo.${file}.json`), 'utf8'));
    this.#resources = read('template').Resources;
    this.#files = read('assets').files;
  }

  /** Synthesises the stack and makes its table: in Amazon's DynamoDB Local where that runs. */
  static async make(): Promise<Deployment> {
    const judge = (await availableServers()).find(({ server, missing }) => server === 'dynamodb-local' && !missing);
    const outdir = mkdtempSync(join(tmpdir(), 'demo-output-'));
    const [dynamodb] = await Promise.all([startDynamoDB(judge && { server: judge.server }), synthesise(outdir)]);
    const deployment = new Deployment(dynamodb, outdir);
    await deployment.#createTable();
    return deployment;
  }

  async remove(): Promise<void> {
    for (const lambda of this.#lambdas) lambda.kill();
    await this.dynamodb.stop();
    rmSync(this.#outdir, { recursive: true });
  }

  /** The properties of each resource of a type, by logical id, of those whose id begins so. */
  all(type: string, id = ''): [string, Record<string, unknown>][] {
    return Object.entries(this.#resources).flatMap(([logicalId, { Type, Properties }]) =>
      Type === type && logicalId.startsWith(id) ? [[logicalId, Properties]] : [],
    );
  }

  only(type: string, id = ''): [string, Record<string, unknown>] {
    const found = this.all(type, id);
    if (found.length !== 1) throw new Error(`Expected one ${type} ${id}, found ${found.map(([name]) => name)}.`);
    return found[0] as [string, Record<string, unknown>];
  }

  function(id: string): [string, FunctionProperties] {
    return this.only('AWS::Lambda::Function', id) as unknown as [string, FunctionProperties];
  }

  /** The folder of a function's bundle. */
  bundle({ Code }: FunctionProperties): string {
    return join(this.#outdir, this.#files[Code.S3Key.replace('.zip', '')]?.source.path ?? '');
  }

  /** A state machine's definition, in which each task's resource is the logical id of its function. */
  definition(id: string): StateMachineDefinition {
    const { DefinitionString } = this.only('AWS::StepFunctions::StateMachine', id)[1];
    const [separator, parts] = (DefinitionString as Join)['Fn::Join'];
    return JSON.parse(
      parts.map((part) => (typeof part === 'string' ? part : part['Fn::GetAtt'][0])).join(separator),
    ) as StateMachineDefinition;
  }

  /** So many processes of a function: those that are there and idle, given out before or not, and new ones. */
  async start<Count extends number>(id: string, count: Count): Promise<Tuple<Lambda, Count>> {
    const [logicalId, properties] = this.function(id);
    const warm = this.#lambdas.filter((lambda) => lambda.functionName === logicalId && lambda.isIdle).slice(0, count);
    for (const lambda of warm) lambda.log = '';
    const variables = Object.entries(properties.Environment.Variables).map(([name, value]) => [
      name,
      typeof value === 'string' ? value : this.tableName,
    ]);
    const env = {
      PATH: process.env.PATH,
      AWS_LAMBDA_FUNCTION_NAME: logicalId,
      TEST_TIMEOUT_MS: String(properties.Timeout * 1_000),
      ...this.dynamodb.environment,
      ...Object.fromEntries(variables),
    };
    const started = Array.from(
      { length: count - warm.length },
      () => new Lambda(logicalId, this.bundle(properties), properties.Handler, env),
    );
    this.#lambdas.push(...started);
    await Promise.all(started.map((lambda) => lambda.ready));
    return [...warm, ...started] as Tuple<Lambda, Count>;
  }

  /** Makes the table of the template, as CloudFormation would. */
  async #createTable(): Promise<void> {
    const [logicalId, properties] = this.only('AWS::DynamoDB::GlobalTable');
    this.tableName = `LeaseholdDemo-${logicalId}-${randomUUID().slice(0, 8)}`;
    const client = this.dynamodb.client();
    await client.send(
      new CreateTableCommand({
        TableName: this.tableName,
        KeySchema: properties.KeySchema as KeySchemaElement[],
        AttributeDefinitions: properties.AttributeDefinitions as AttributeDefinition[],
        BillingMode: properties.BillingMode as 'PAY_PER_REQUEST',
      }),
    );
    await client.send(
      new UpdateTimeToLiveCommand({
        TableName: this.tableName,
        TimeToLiveSpecification: properties.TimeToLiveSpecification as TimeToLiveSpecification,
      }),
    );
  }
}

/** One process of a function, an execution environment. */
export class Lambda {
  readonly functionName: string;
  readonly #child: ChildProcess;
  readonly #died: Promise<never>;
  /** Loaded, with nothing left to do but to invoke it. */
  readonly ready: Promise<unknown>;
  /** Whether it can take an event: not while it is at another one, nor when it has died. */
  isIdle = true;
  /** What it has written since it was started or given out. */
  log = '';

  constructor(functionName: string, folder: string, handler: string, env: NodeJS.ProcessEnv) {
    this.functionName = functionName;
    const [file, exported = ''] = handler.split('.');
    const runner = fileURLToPath(new URL('./lambda-process.ts', import.meta.url));
    this.#child = fork(runner, [join(folder, `${file}.mjs`), exported], {
      cwd: folder,
      execArgv: [],
      env,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk) => {
        this.log += chunk;
      });
    }
    this.#died = once(this.#child, 'exit').then(([code, signal]) => {
      throw new Error(`The process ended with ${code ?? signal}: ${this.log}`);
    });
    this.#died.catch(() => {});
    this.ready = this.#answer();
  }

  async invoke(event: unknown): Promise<Record<string, unknown>> {
    const answer = this.#answer();
    this.isIdle = false;
    this.#child.send(event as object);
    const { response, error } = (await answer) as { response: Record<string, unknown>; error?: string };
    this.isIdle = true;
    if (error) throw new Error(error);
    return response;
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** What it printed as JSON, of those lines that have that property. */
  printed(property: string): Record<string, unknown>[] {
    const lines = this.log.split('\n').filter((line) => line.startsWith('{') && line.endsWith('}'));
    return lines.map((line) => JSON.parse(line)).filter((line) => property in line);
  }

  /** Resolves once it has printed a line that has that property. */
  async hasPrinted(property: string): Promise<Record<string, unknown>> {
    for (;;) {
      const [line] = this.printed(property);
      if (line) return line;
      await Promise.race([once(this.#child.stdout as NodeJS.ReadableStream, 'data'), this.#died]);
    }
  }

  #answer(): Promise<unknown> {
    return Promise.race([once(this.#child, 'message').then(([message]) => message), this.#died]);
  }
}

type State =
  | { Type: 'Task'; Resource: string; Next?: string }
  | { Type: 'Choice'; Choices: { Variable: string; IsPresent: boolean; Next: string }[]; Default: string }
  | { Type: 'Succeed' };

interface StateMachineDefinition {
  readonly StartAt: string;
  readonly States: Record<string, State>;
}

/**
 * Runs a state machine as Step Functions would, as far as the demo's goes: tasks, choices by what is present, and no
 * catch, so that an execution fails with its step.
 * @param invoke runs the function with that logical id.
 */
export async function execute(
  { StartAt, States }: StateMachineDefinition,
  input: unknown,
  invoke: (functionId: string, input: unknown) => Promise<unknown>,
): Promise<unknown> {
  let data = input;
  for (let next: string | undefined = StartAt; next !== undefined; ) {
    const state: State | undefined = States[next];
    switch (state?.Type) {
      case 'Task':
        data = await invoke(state.Resource, data);
        next = state.Next;
        break;
      case 'Choice':
        next =
          state.Choices.find(({ Variable, IsPresent }) => isPresent(Variable, data) === IsPresent)?.Next ??
          state.Default;
        break;
      case 'Succeed':
        next = undefined;
        break;
      default:
        throw new Error(`Expected a Task, a Choice or a Succeed as the state ${next}, found ${JSON.stringify(state)}.`);
    }
  }
  return data;
}

/** Whether a reference path such as `$.left[0]` leads to something. */
function isPresent(path: string, data: unknown): boolean {
  const names = path.match(/\w+/g) ?? [];
  let value = data as Record<string, unknown> | undefined;
  for (const name of names) value = value?.[name] as Record<string, unknown> | undefined;
  return value !== undefined;
}
