/** The demo stack, deployed on this machine from its synthesised output: its table made, its functions run as processes. */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { AttributeDefinition, KeySchemaElement, TimeToLiveSpecification } from '@aws-sdk/client-dynamodb';
import { lambdaEnvironment } from './function-bundle.ts';
import { Lambda } from './lambda.ts';
import { availableServers, type DynamoDB, startDynamoDB } from './launcher.ts';
import type { StateMachineDefinition } from './state-machine.ts';

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

/** A value of a template that is put together at deployment, of strings and of what identifies a resource. */
interface Join {
  'Fn::Join': [string, (string | { 'Fn::GetAtt': [string, string] } | { Ref: string })[]];
}

/** Runs the app as `cdk synth` does, without a validation of the template. */
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

/** An array with `Count` items. */
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
    await Promise.all(this.#lambdas.map((lambda) => lambda.kill()));
    await this.dynamodb.stop();
    rmSync(this.#outdir, { recursive: true });
  }

  /** The properties of each resource of a type, with its logical id, which begins with `id`. */
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

  /** A state machine's definition, in which the logical id of a function stands for the function's ARN. */
  definition(id: string): StateMachineDefinition {
    const { DefinitionString } = this.only('AWS::StepFunctions::StateMachine', id)[1];
    const [separator, parts] = (DefinitionString as Join)['Fn::Join'];
    return JSON.parse(
      parts
        .map((part) => (typeof part === 'string' ? part : 'Ref' in part ? part.Ref : part['Fn::GetAtt'][0]))
        .join(separator),
    ) as StateMachineDefinition;
  }

  /** Gives processes of a function: first the idle ones that there are, then new ones. */
  async start<Count extends number>(id: string, count: Count): Promise<Tuple<Lambda, Count>> {
    const [logicalId, properties] = this.function(id);
    const warm = this.#lambdas.filter((lambda) => lambda.functionName === logicalId && lambda.isIdle).slice(0, count);
    for (const lambda of warm) lambda.log = '';
    const variables = Object.entries(properties.Environment.Variables).map(([name, value]) => [
      name,
      typeof value === 'string' ? value : this.tableName,
    ]);
    const started = Array.from({ length: count - warm.length }, () => {
      const place = { functionName: logicalId, folder: this.bundle(properties), handler: properties.Handler };
      const configured = { ...this.dynamodb.environment, ...Object.fromEntries(variables) };
      const environment = lambdaEnvironment(place, configured);
      return new Lambda({ environment, timeoutMs: properties.Timeout * 1_000 });
    });
    this.#lambdas.push(...started);
    await Promise.all(started.map((lambda) => lambda.ready));
    return [...warm, ...started] as Tuple<Lambda, Count>;
  }

  /** Makes the table of the template, as CloudFormation would. */
  async #createTable(): Promise<void> {
    const [logicalId, properties] = this.only('AWS::DynamoDB::GlobalTable');
    this.tableName = `LeaseholdDemo-${logicalId}-${randomUUID().slice(0, 8)}`;
    await this.dynamodb.createTable(
      {
        TableName: this.tableName,
        KeySchema: properties.KeySchema as KeySchemaElement[],
        AttributeDefinitions: properties.AttributeDefinitions as AttributeDefinition[],
        BillingMode: properties.BillingMode as 'PAY_PER_REQUEST',
      },
      properties.TimeToLiveSpecification as TimeToLiveSpecification,
    );
  }
}
