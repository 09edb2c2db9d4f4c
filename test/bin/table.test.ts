import { readFileSync } from 'node:fs';
import { DescribeTableCommand, DescribeTimeToLiveCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe as describeAlways, expect, jest, test as testAlways } from '@jest/globals';
import { parse } from 'yaml';
import { type LockGrantOptions, LockTable } from '../../lib/cdk/index.ts';
import { newStack, roleIn, statementsOf } from '../cdk/stacks.ts';
import { type DynamoDB, describe, startDynamoDB, test } from '../support/with-dynamodb.ts';
import { leaseholdIn } from './run.ts';

// A busy machine needs more time than Jest's default.
jest.setTimeout(30_000);

const nowhere = { LOCK_TABLE_NAME: '', LOCK_STORE: '', LOCK_BUCKET_NAME: '' };
const table = (...args: string[]) => leaseholdIn(nowhere, ['table', ...args]);

/** The blocks of the page that the command prints, by the command. */
const page = readFileSync(new URL('../../docs/without-the-cdk.md', import.meta.url), 'utf8');
const printed = [...page.matchAll(/<!-- printed by: leasehold table (.*?) -->\n\n```\w+\n(.*?)```/gs)].map(
  ([, args = '', block = '']) => [args, block] as const,
);

describeAlways('leasehold table', () => {
  testAlways.each(printed)(
    '%s prints what docs/without-the-cdk.md shows, which is what the constructs make',
    async (args, block) => {
      const { status, out } = await table(...args.split(' '));
      expect(status).toBe(0);
      if (args.startsWith('policy')) expect(JSON.parse(out)).toEqual(JSON.parse(block));
      else expect(out).toBe(block);
    },
  );

  testAlways.each([
    [['--permits', 'partner=5', 'a=b=12'], { permits: { partner: 5, 'a=b': 12 } }],
    [['--keys', 'k', '--permits', 'partner=2'], { keys: ['k'], permits: { partner: 2 } }],
    [
      ['--fleet', '--key-prefixes', 'jobs/', '--permits', 'partner=2', '--guarded-writes'],
      { fleet: true, guardedWrites: true, keyPrefixes: ['jobs/'], permits: { partner: 2 } },
    ],
  ] as [string[], LockGrantOptions][])('policy %j allows what grants.lock allows', async (args, options) => {
    const { Statement } = JSON.parse((await table('policy', ...args)).out);
    const stack = newStack();
    new LockTable(stack, 'Locks').grants.lock(roleIn(stack), options);
    // The CDK writes one action without a list.
    const told = (statements: { Action: string | string[] }[]) =>
      statements.map((statement) => ({ ...statement, Action: [statement.Action].flat(), Resource: 'any' }));
    expect(told(Statement)).toEqual(told(statementsOf(stack) as { Action: string }[]));
  });

  testAlways.each(['locks-of-jobs', 'arn:aws:dynamodb:eu-west-1:111122223333:table/locks-of-jobs'])(
    'a template has the name of the table %s, if one is given',
    async (name) => {
      const template = async (format: string) => (await table('template', '--format', format, '--table', name)).out;
      expect(parse(await template('sam')).Resources.Locks.Properties.TableName).toBe('locks-of-jobs');
      expect(parse(await template('serverless')).resources.Resources.Locks.Properties.TableName).toBe('locks-of-jobs');
      expect(await template('terraform')).toContain('  name         = "locks-of-jobs"\n');
      const byVariable = { ...nowhere, LOCK_TABLE_NAME: name };
      const unnamed = await table('template', '--format', 'sam');
      expect(await leaseholdIn(byVariable, ['table', 'template', '--format', 'sam'])).toEqual(unnamed);
      expect(unnamed.out).not.toContain('TableName');
    },
  );

  testAlways.each([
    ['sam', { 'Fn::GetAtt': ['Locks', 'Arn'] }],
    ['serverless', { 'Fn::GetAtt': ['Locks', 'Arn'] }],
    ['terraform', expect.stringMatching(/^\$\{aws_dynamodb_table\.locks\.arn\}$/)],
  ])('policy --format %s names the table of the template, in each statement', async (format, arn) => {
    const { out } = await table('policy', '--keys', 'k', '--permits', 'partner=2', '--format', format);
    expect(JSON.parse(out).Statement.map(({ Resource }: { Resource: unknown }) => Resource)).toEqual([arn, arn]);
  });

  testAlways('is shown on the page by all of its kinds', () => {
    expect(printed.map(([args]) => args.split(' ')[0]).sort()).toEqual(['policy', 'template', 'template']);
  });

  testAlways.each(['yes', 'OFF', 'null', '1e3', `a: b # "x" \${c} %{d}`, 'é \\ \b', '- a'])(
    'a template has the name %j as a text',
    async (name) => {
      const template = async (format: string) => {
        const names = ['--key-attribute', `key ${name}`, '--ttl-attribute', name];
        return (await table('template', '--format', format, ...names)).out;
      };
      const { Properties } = parse(await template('cloudformation')).Resources.Locks;
      expect(Properties.KeySchema).toEqual([{ AttributeName: `key ${name}`, KeyType: 'HASH' }]);
      expect(Properties.TimeToLiveSpecification.AttributeName).toBe(name);
      // YAML 1.1 takes more words for no texts.
      expect(parse(await template('cloudformation'), { version: '1.1' })).toEqual(
        parse(await template('cloudformation'), { version: '1.2' }),
      );
      const quoted = /^ {2}hash_key {5}= (".*")$/m.exec(await template('terraform'))?.[1] ?? '';
      expect(quoted).not.toMatch(/(?<!\$)\$\{|(?<!%)%\{/);
      expect(JSON.parse(quoted.replace(/([$%])\1(?=\{)/g, '$1'))).toBe(`key ${name}`);
    },
  );

  testAlways.each([
    [['template'], "required option '--format <format>' not specified"],
    [['template', '--format', 'pulumi'], 'Allowed choices are cloudformation, sam, serverless, terraform'],
    [
      ['template', '--format', 'serverless', '--key-attribute', 'a${'],
      "Serverless takes 'a${' for one of its variables",
    ],
    [['policy'], 'give --keys, --key-prefixes or --permits'],
    [['policy', '--permits', 'partner'], "--permits must be as partner=5, but it is 'partner'."],
    [['policy', '--permits', 'partner=0'], "--permits 'partner=0': permits must be"],
    [['policy', '--permits', 'p*=5'], "The key or prefix 'p*' must hold no wildcard"],
    [['policy', '--keys', 'a*'], "The key or prefix 'a*' must hold no wildcard"],
    [['policy', '--keys', 'a', '--fleet'], 'A fleet is granted its locks by --key-prefixes'],
    [['policy', '--keys', 'a', '--store', 'file:/tmp'], 'table is about DynamoDB tables'],
    [['policy', '--keys', 'x'.repeat(7000)], 'IAM takes 6144'],
  ])('refuses %j', async (args, message) => {
    expect(await table(...args)).toMatchObject({ status: 2, out: '', err: expect.stringContaining(message) });
  });
});

let server: DynamoDB;
beforeAll(async () => {
  server = await startDynamoDB();
});
afterAll(() => server.stop());

describe('leasehold table create', () => {
  test('makes a table that doctor finds right, and tells a second call that the table is there', async () => {
    const environment = { ...server.environment, LOCK_TABLE_NAME: 'made-by-hand' };
    const create = () => leaseholdIn(environment, ['table', 'create']);
    expect(await create()).toMatchObject({ status: 0, out: "The table 'made-by-hand' is made.\n" });
    expect(await create()).toMatchObject({ status: 0, out: "The table 'made-by-hand' was there already.\n" });
    const input = { TableName: 'made-by-hand' };
    const { Table } = await server.client().send(new DescribeTableCommand(input));
    expect(Table?.KeySchema).toEqual([{ AttributeName: 'lockKey', KeyType: 'HASH' }]);
    const ttl = await server.client().send(new DescribeTimeToLiveCommand(input));
    expect(ttl.TimeToLiveDescription).toMatchObject({ TimeToLiveStatus: 'ENABLED', AttributeName: 'ttl' });
    const { status, out } = await leaseholdIn(environment, ['doctor']);
    expect({ status, out }).toEqual({ status: 0, out: expect.not.stringContaining('error') });
  });

  test("leaves somebody else's table as it is", async () => {
    const tableName = await server.createLockTable(undefined, { keyAttribute: 'orderId' });
    const input = { TableName: tableName };
    const ttl = async () => (await server.client().send(new DescribeTimeToLiveCommand(input))).TimeToLiveDescription;
    const before = await ttl();
    const { status, out, err } = await leaseholdIn(server.environment, ['table', 'create', '--table', tableName]);
    expect({ status, out }).toEqual({ status: 1, out: '' });
    expect(err).toContain(`The table '${tableName}' was there already, and nothing was changed.`);
    expect(err).toContain("error: The table's key is orderId, and the locks look for lockKey");
    expect(await ttl()).toEqual(before);
  });
});
