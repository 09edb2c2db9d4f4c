import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse as parseHcl } from '@cdktn/hcl2json';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { Template } from 'aws-cdk-lib/assertions';
import { parse as parseYaml, type TagId } from 'yaml';
import { LockTable } from '../../lib/cdk/index.ts';
import { functionIn, newStack, statementsOf } from '../cdk/stacks.ts';
import { repository } from '../package/consumer.ts';

const read = (path: string) => readFileSync(join(repository, 'examples', path), 'utf8');

/** CloudFormation's short forms, as a template in JSON has them. */
const customTags = [
  { tag: '!Ref', resolve: (name: string) => ({ Ref: name }) },
  { tag: '!GetAtt', resolve: (path: string) => ({ 'Fn::GetAtt': path.split('.') }) },
] as unknown as TagId[];

/** The facts that leasehold needs of a deployment. */
interface Deployment {
  readonly table: Record<string, unknown>;
  readonly statements: unknown;
  readonly variables: Record<string, unknown>;
}

/** The deployment of the constructs, with the table under the name that the examples give it. */
function ofTheConstructs(key: string): Deployment {
  const stack = newStack();
  const locks = new LockTable(stack, 'Locks');
  locks.attach(functionIn(stack), { keys: [key] });
  const [[id, table] = ['']] = Object.entries(Template.fromStack(stack).findResources('AWS::DynamoDB::GlobalTable'));
  const [fn] = Object.values(Template.fromStack(stack).findResources('AWS::Lambda::Function'));
  const asExample = (value: unknown) => JSON.parse(JSON.stringify(value).replaceAll(`"${id}"`, '"Locks"'));
  // The CDK makes a global table with a replica in its own Region, which is a table by another name.
  const { Replicas, ...properties } = table?.Properties ?? {};
  expect(Object.keys(Replicas[0])).toEqual(['Region']);
  return {
    table: { ...table, Type: 'AWS::DynamoDB::Table', Properties: properties },
    statements: asExample(statementsOf(stack)),
    variables: asExample(fn?.Properties.Environment.Variables),
  };
}

function ofSam(): Deployment {
  const { Locks, Nightly } = parseYaml(read('sam/template.yaml'), { customTags }).Resources;
  const { Policies, Environment } = Nightly.Properties;
  return { table: Locks, statements: Policies[0].Statement, variables: Environment.Variables };
}

function ofServerless(): Deployment {
  const { provider, functions, resources } = parseYaml(read('serverless/serverless.yml'), { customTags });
  const { statements } = provider.iam.role;
  return { table: resources.Resources.Locks, statements, variables: functions.nightly.environment };
}

/** An expression in a text of Terraform. */
const placeholder = (expression: string) => `\${${expression}}`;

const policyOf = (path: string) => JSON.parse(read(path));

describe.each([
  ['SAM', ofSam],
  ['Serverless', ofServerless],
])('the template of %s', (_, deployment) => {
  test('has the table, the statements and the variables that the constructs make', () => {
    expect(deployment()).toEqual(ofTheConstructs('nightly-report'));
  });
});

interface HclStatement {
  readonly actions: string[];
  readonly resources: string[];
  readonly condition: readonly { test: string; variable: string; values: string[] }[];
}

describe('the configuration of Terraform', () => {
  // biome-ignore lint/suspicious/noExplicitAny: the form is that of the parser, a list for each block.
  let resource: any;
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  let data: any;
  beforeAll(async () => {
    ({ resource, data } = await parseHcl('main.tf', read('terraform/main.tf')));
  });

  test('has the table that the constructs make, and refuses to destroy the table', () => {
    const [{ name, ...table }] = resource.aws_dynamodb_table.locks;
    expect(table).toEqual({
      billing_mode: 'PAY_PER_REQUEST',
      hash_key: 'lockKey',
      attribute: [{ name: 'lockKey', type: 'S' }],
      ttl: [{ attribute_name: 'ttl', enabled: true }],
      lifecycle: [{ prevent_destroy: true }],
    });
  });

  test('has the statements of the constructs in its policy, for the table', () => {
    const [{ policy }] = resource.aws_iam_role_policy.nightly_locks;
    expect(policy).toBe(placeholder('data.aws_iam_policy_document.nightly_locks.json'));
    const [{ statement, ...more }] = data.aws_iam_policy_document.nightly_locks;
    expect(more).toEqual({});
    const told = statement.map(({ actions, resources, condition }: HclStatement) => ({
      Effect: 'Allow',
      Action: actions,
      Resource: resources,
      Condition: Object.fromEntries(condition.map(({ test, variable, values }) => [test, { [variable]: values }])),
    }));
    // Terraform writes each value of a condition as a list.
    const [{ Condition, ...expected }] = ofTheConstructs('nightly-report').statements as [Record<string, object>];
    const lists = { ...Condition, Null: { 'dynamodb:LeadingKeys': ['false'] } };
    const Resource = [placeholder('aws_dynamodb_table.locks.arn')];
    expect(told).toEqual([{ ...expected, Resource, Condition: lists }]);
  });

  test('has the variables of the constructs', () => {
    const [{ environment }] = resource.aws_lambda_function.nightly;
    expect(environment[0].variables).toEqual({
      ...ofTheConstructs('nightly-report').variables,
      LOCK_TABLE_NAME: placeholder('aws_dynamodb_table.locks.name'),
    });
  });
});

test('the policy of the ECS task has the statements of the constructs, for the key that the worker takes', () => {
  const [, key = ''] = /locks\.using\('([^']+)'/.exec(read('ecs/worker.ts')) ?? [];
  const [{ Resource, ...statement }, ...more] = policyOf('ecs/task-role-policy.json').Statement;
  const [expected] = ofTheConstructs(key).statements as object[];
  expect({ ...statement, Resource: { 'Fn::GetAtt': ['Locks', 'Arn'] } }).toEqual(expected);
  expect([Resource, more]).toEqual(['arn:aws:dynamodb:REGION:ACCOUNT:table/TABLE', []]);
});

describe('the deployed functions', () => {
  test('have one handler, whose key is the key that the templates allow', () => {
    const handlers = globSync('*/{,lambda/}nightly.{ts,mts}', { cwd: join(repository, 'examples') }).map(read);
    expect(handlers).toHaveLength(4);
    expect(new Set(handlers).size).toBe(1);
    expect(handlers[0]).toContain("key: 'nightly-report'");
  });

  test('run on one runtime', () => {
    const runtimes = ['sam/template.yaml', 'serverless/serverless.yml', 'terraform/main.tf'].map(read);
    for (const text of runtimes) expect(/runtime *[:=] *"?([\w.]+)/i.exec(text)?.[1]).toBe('nodejs24.x');
    expect(read('cdk/lib/jobs-stack.ts')).toContain('NODEJS_24_X');
  });
});

describe('docs/without-the-cdk.md', () => {
  const page = readFileSync(join(repository, 'docs/without-the-cdk.md'), 'utf8');
  const blocks = [...page.matchAll(/^```\w+\n(.*?)^```/gms)].map(([, text = '']) => text);

  /** The paragraphs of the page's block that begins with these words, without those of which the example has another form. */
  const shown = (beginning: string, ...others: string[]) => {
    const block = blocks.find((text) => text.includes(beginning)) ?? '';
    return block.split(/\n{2,}(?=\S)/).filter((text) => !others.some((other) => text.includes(other)));
  };

  test.each([
    ['sam/template.yaml', shown('AWS::Serverless::Function').map((text) => text.replace('Resources:\n', ''))],
    ['serverless/serverless.yml', shown('provider:', 'locks.yaml')],
    ['terraform/main.tf', shown('data "aws_iam_policy_document"')],
  ])('shows the pieces of %s as they are', (path, pieces) => {
    expect(pieces.join().length).toBeGreaterThan(500);
    for (const piece of pieces) expect(read(path)).toContain(piece.trimEnd());
  });
});
