import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { Duration, type Stack } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { MultiRegionConsistency } from 'aws-cdk-lib/aws-dynamodb';
import {
  AccountPrincipal,
  AnyPrincipal,
  ArnPrincipal,
  type IGrantable,
  OrganizationPrincipal,
  Role,
  ServicePrincipal,
  StarPrincipal,
  User,
} from 'aws-cdk-lib/aws-iam';
import { Alias, type IKey, Key } from 'aws-cdk-lib/aws-kms';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import { parse } from 'yaml';
import { type ILockTable, LockBucket, type LockGrantOptions, LockTable } from '../../lib/cdk/index.ts';
import { ENV, functionIn, newStack, roleIn, statementsOf } from './stacks.ts';

describe('LockTableGrants', () => {
  const granted = (grant: (table: ILockTable, role: Role) => unknown) => {
    const stack = newStack();
    const table = new LockTable(stack, 'Locks');
    grant(table, roleIn(stack));
    return { statements: statementsOf(stack), tableArn: stack.resolve(table.tableArn) };
  };
  const condition = (...keys: string[]) => ({
    'ForAllValues:StringLike': { 'dynamodb:LeadingKeys': keys },
    Null: { 'dynamodb:LeadingKeys': 'false' },
  });

  test.each<[string, Parameters<LockTable['grants']['lock']>[1], string[]]>([
    ['lock', { keyPrefixes: ['jobs/'] }, ['dynamodb:UpdateItem', 'dynamodb:GetItem']],
    [
      'lock as a fleet',
      { keyPrefixes: ['jobs/'], fleet: true },
      ['dynamodb:UpdateItem', 'dynamodb:GetItem', 'dynamodb:BatchGetItem'],
    ],
    [
      'lock with guarded writes',
      { keyPrefixes: ['jobs/'], guardedWrites: true },
      ['dynamodb:UpdateItem', 'dynamodb:GetItem', 'dynamodb:ConditionCheckItem'],
    ],
  ])('the grant to %s allows the requests that the client sends, for the prefix alone', (_, options, actions) => {
    const { statements, tableArn } = granted((table, role) => table.grants.lock(role, options));
    const Condition = condition('jobs/*');
    expect(statements).toEqual([{ Effect: 'Allow', Action: actions, Resource: tableArn, Condition }]);
  });

  test('a grant keeps exact keys exact, beside prefixes', () => {
    const { statements } = granted((table, role) =>
      table.grants.lock(role, { keyPrefixes: ['jobs/', 'reports/'], keys: ['nightly'] }),
    );
    expect(statements).toMatchObject([{ Condition: condition('jobs/*', 'reports/*', 'nightly') }]);
  });

  test('a grant with up to 10 permits names every slot, and reads all slots of one lock in one request', () => {
    const { statements } = granted((table, role) =>
      table.grants.lock(role, { keys: ['nightly'], permits: { partner: 3, plain: 1 } }),
    );
    const slots = ['partner', 'partner#1', 'partner#2'];
    expect(statements).toMatchObject([
      { Action: ['dynamodb:UpdateItem', 'dynamodb:GetItem'], Condition: condition('nightly', ...slots, 'plain') },
      { Action: 'dynamodb:BatchGetItem', Condition: condition(...slots) },
      { Action: 'dynamodb:BatchGetItem', Condition: condition('plain') },
    ]);
  });

  test.each([
    [11, 'partner', ['partner', 'partner#?', 'partner#??']],
    [100, 'partner', ['partner', 'partner#?', 'partner#??']],
    [5, 'p'.repeat(1_000), ['', '#?'].map((end) => 'p'.repeat(1_000) + end)],
    [1, 'p'.repeat(1_021), ['p'.repeat(1_021)]],
  ])('a grant with %d permits stays short', (number, key, slots) => {
    const { statements } = granted((table, role) => table.grants.lock(role, { permits: { [key]: number } }));
    expect(statements).toMatchObject([{ Condition: condition(...slots) }, { Condition: condition(...slots) }]);
  });

  test('a fleet reads the slots of other locks in the same requests as its tasks', () => {
    const { statements } = granted((table, role) =>
      table.grants.lock(role, { keyPrefixes: ['jobs/'], permits: { partner: 2 }, fleet: true }),
    );
    expect(statements).toHaveLength(1);
    expect(statements).toMatchObject([{ Condition: condition('jobs/*', 'partner', 'partner#1') }]);
  });

  test.each<[unknown, string]>([
    [{ partner: 0 }, "permits of 'partner': permits must be a whole number from 1 to 100, but it is number 0"],
    [{ partner: 101 }, 'but it is number 101'],
    [{ partner: '5' }, "but it is '5'"],
    [{ 'partner#1': 5 }, "does not end as the key of a slot (#1), but it is 'partner#1'"],
    [{ 'part*': 5 }, "permits[0] must hold no wildcard (* or ?), but it is 'part*'"],
    [['partner'], "permits must be an object such as { partner: 5 }, but it is ['partner']"],
    [5, 'but it is number 5'],
    [null, 'but it is null'],
    [{}, 'a grant must name its locks by keyPrefixes, keys or permits'],
  ])('the permits %p are refused', (permits, message) => {
    const grant = () => granted((table, role) => table.grants.lock(role, { permits } as LockGrantOptions));
    expect(grant).toThrow(TypeError);
    expect(grant).toThrow(message);
  });

  test('the grant to inspect allows reads alone', () => {
    const { statements } = granted((table, role) => table.grants.inspect(role, { keys: ['nightly'] }));
    expect(statements).toMatchObject([{ Action: 'dynamodb:GetItem' }]);
    expect(JSON.stringify(statements)).toContain('LeadingKeys');
  });

  test('the grant to force a release allows a read, and an update of the attributes that a forced release names', () => {
    const { statements } = granted((table, role) => table.grants.forceRelease(role, { keyPrefixes: ['jobs/'] }));
    expect(statements).toMatchObject([
      { Action: 'dynamodb:GetItem', Condition: condition('jobs/*') },
      {
        Action: 'dynamodb:UpdateItem',
        Condition: {
          ...condition('jobs/*'),
          'ForAllValues:StringEquals': { 'dynamodb:Attributes': expect.arrayContaining(['lockId', 'expiresAt']) },
          Null: { 'dynamodb:LeadingKeys': 'false', 'dynamodb:Attributes': 'false' },
        },
      },
    ]);
    expect(JSON.stringify(statements)).not.toMatch(/fencingToken|doneToken/);
  });

  test('the grant to list allows a scan of the table, without any key', () => {
    const { statements, tableArn } = granted((table, role) => table.grants.list(role));
    expect(statements).toEqual([{ Effect: 'Allow', Action: 'dynamodb:Scan', Resource: tableArn }]);
  });

  test("a grant allows the use of a customer's key by way of DynamoDB only, and lets readers decrypt only", () => {
    const stack = newStack('Stack', ENV);
    const table = new LockTable(stack, 'Locks', { encryptionKey: new Key(stack, 'Key') });
    table.grants.lock(roleIn(stack, 'Holder'), { keyPrefixes: ['jobs/'] });
    table.grants.list(roleIn(stack, 'Operator'));
    const keyStatements = statementsOf(stack).filter((statement) => JSON.stringify(statement).includes('kms:'));
    const Condition = {
      StringEquals: { 'kms:ViaService': 'dynamodb.us-east-1.amazonaws.com' },
    };
    expect(keyStatements).toMatchObject([
      {
        Action: [
          'kms:Decrypt',
          'kms:DescribeKey',
          'kms:Encrypt',
          'kms:GenerateDataKey',
          'kms:GenerateDataKeyWithoutPlaintext',
          'kms:ReEncryptFrom',
          'kms:ReEncryptTo',
        ],
        Condition,
      },
      { Action: ['kms:Decrypt', 'kms:DescribeKey'], Condition },
    ]);
  });

  test("a grant to another account goes into the table's own policy", () => {
    const stack = newStack('Stack', ENV);
    const table = new LockTable(stack, 'Locks', { tableName: 'locks' });
    const grant = table.grants.lock(new AccountPrincipal('222222222222'), { keyPrefixes: ['jobs/'] });
    expect(grant.success).toBe(true);
    Template.fromStack(stack).hasResourceProperties('AWS::DynamoDB::GlobalTable', {
      Replicas: [
        {
          ResourcePolicy: {
            PolicyDocument: {
              Statement: [Match.objectLike({ Condition: condition('jobs/*'), Resource: '*', Effect: 'Allow' })],
            },
          },
        },
      ],
    });
  });

  test('a grant refuses a fleet with exact keys alone, which could not read the marks', () => {
    const grant = (keyPrefixes: string[]) => () =>
      granted((table, role) => table.grants.lock(role, { keys: ['a', 'b'], keyPrefixes, fleet: true }));
    expect(grant([])).toThrow(/^\[Stack\/Locks\] a fleet must be granted its locks by keyPrefixes, .* alone: \[a, b\]/);
    expect(grant(['jobs/'])).not.toThrow();
  });

  const badKeys: [string, unknown, RegExp][] = [
    ['is empty', '', /must not be empty, but it is ''/],
    ['holds a star', 'jobs/*', /no wildcard .* but it is 'jobs\/\*'/],
    ['holds a question mark', 'job?/', /no wildcard .* but it is 'job\?\/'/],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a policy variable is what is refused.
    ['holds a policy variable', 'u/${aws:username}/', /no policy variable .* but it is 'u\/\$\{aws:username\}\/'/],
    ['is over 1,024 bytes', 'é'.repeat(513), /at most 1024 bytes, but 'é+…' has 1026/],
    ['holds what no policy can hold', 'jobs/😀', /U\+0020 to U\+00FF.* but it is 'jobs\/😀'/],
    ['holds a control character', 'jobs\n', /U\+0020 to U\+00FF/],
    ['is no string', 7, /must be a string, but it is number 7/],
  ];
  describe.each(['keyPrefixes', 'keys'] as const)('among %s', (name) => {
    test.each(badKeys)('a grant refuses a key that %s', (_, value, message) => {
      const stack = newStack();
      const table = new LockTable(stack, 'Locks');
      const role = roleIn(stack);
      const grant = () => table.grants.lock(role, { [name]: ['fine', value as string] });
      expect(grant).toThrow(TypeError);
      expect(grant).toThrow(message);
      expect(grant).toThrow(`[Stack/Locks] ${name}[1] must`);
    });

    test('a grant refuses a key that is known at deployment only', () => {
      const stack = newStack();
      const table = new LockTable(stack, 'Locks');
      const role = roleIn(stack);
      const grant = () => table.grants.inspect(role, { [name]: [`${role.roleName}/`] });
      expect(grant).toThrow(new RegExp(`\\[Stack/Locks\\] ${name}\\[0\\] must be known when the app is synthesised`));
    });
  });

  test('a grant takes a prefix and a key of 1,024 bytes', () => {
    const long = 'k'.repeat(1024);
    const { statements } = granted((table, role) => table.grants.lock(role, { keyPrefixes: [long], keys: [long] }));
    expect(statements).toMatchObject([{ Condition: condition(`${long}*`, long) }]);
  });

  test.each([
    ['nothing at all', {}],
    ['empty lists', { keyPrefixes: [], keys: [] }],
  ])('a grant for %s is refused, since it would cover every lock', (_, options) => {
    const stack = newStack();
    const table = new LockTable(stack, 'Locks');
    const role = roleIn(stack);
    for (const grant of ['lock', 'inspect', 'forceRelease'] as const) {
      expect(() => table.grants[grant](role, options)).toThrow(/\[Stack\/Locks\] a grant must name its locks/);
    }
  });

  test('a grant refuses a string in the place of a list', () => {
    const stack = newStack();
    const table = new LockTable(stack, 'Locks');
    const options = { keyPrefixes: 'jobs/' as unknown as string[] };
    expect(() => table.grants.lock(roleIn(stack), options)).toThrow(/keyPrefixes must be an array.*'jobs\/'/);
  });

  test('a grant refuses an option whose name is misspelled', () => {
    const table = new LockTable(newStack(), 'Locks');
    const options = { keyPrefixes: ['jobs/'], guardedWrite: true };
    expect(() => table.grants.lock(roleIn(newStack()), options)).toThrow(
      "[Stack/Locks] A grant has no option 'guardedWrite'; did you mean 'guardedWrites'?",
    );
  });

  test('a grant refuses a service as the grantee', () => {
    const table = new LockTable(newStack(), 'Locks');
    expect(() => table.grants.list(new ServicePrincipal('states.amazonaws.com'))).toThrow(
      /\[Stack\/Locks\] the grantee must be .* but it is the service states.amazonaws.com/,
    );
  });

  const RETIRED = 'arn:aws:iam::111111111111:role/legacy';
  test.each<[string, (stack: Stack) => unknown, string]>([
    ['nobody', () => undefined, 'but it is undefined.'],
    ['a value that is no grantee', () => 'worker', "but it is 'worker'."],
    ['everybody', () => new AnyPrincipal(), 'but it is everybody: anyone could take the locks'],
    ['everybody, by a star', () => new StarPrincipal(), 'but it is everybody'],
    ['everybody, by an ARN', () => new ArnPrincipal('*'), 'but it is everybody'],
    [
      'a function that is imported without its role',
      (stack) => lambda.Function.fromFunctionName(stack, 'Imported', 'legacy'),
      'but it is Stack/Imported, which is imported without its role; import it with its role.',
    ],
  ])('a grant refuses %s as the grantee', (_, grantee, message) => {
    const stack = newStack();
    const table = new LockTable(stack, 'Locks');
    const given = grantee(stack) as Role;
    const grant = () => table.grants.lock(given, { keys: ['nightly'] });
    expect(grant).toThrow(TypeError);
    expect(grant).toThrow(message);
    expect(grant).toThrow('[Stack/Locks] the grantee must be a role, a user or an account');
  });

  test('a grant takes everybody of an organization', () => {
    const table = new LockTable(newStack(), 'Locks');
    expect(table.grants.list(new OrganizationPrincipal('o-1234567890')).success).toBe(true);
  });

  test('a grant to a role that this app does not change warns that it allows nothing', () => {
    const warned = (grantTo: (stack: Stack) => [ILockTable, IGrantable]) => {
      const stack = newStack('Stack', ENV);
      const [table, role] = grantTo(stack);
      table.grants.lock(role, { keys: ['nightly'] });
      return Annotations.fromStack(stack).findWarning('*', Match.stringLikeRegexp('allows nothing')).length;
    };
    const own = (stack: Stack) => new LockTable(stack, 'Locks');
    const imported = (stack: Stack) => LockTable.fromLockTableName(stack, 'Locks', 'locks');
    const fixed = (stack: Stack) => Role.fromRoleArn(stack, 'Role', RETIRED, { mutable: false });
    const foreign = (stack: Stack) => Role.fromRoleArn(stack, 'Role', RETIRED.replace('111111111111', '222222222222'));
    expect(warned((stack) => [own(stack), fixed(stack)])).toBe(1);
    expect(warned((stack) => [imported(stack), foreign(stack)])).toBe(1);
    expect(warned((stack) => [own(stack), functionIn(stack, 'Worker', {}, { role: fixed(stack) })])).toBe(1);
    // The table's own policy allows the role of another account.
    expect(warned((stack) => [own(stack), foreign(stack)])).toBe(0);
    expect(warned((stack) => [own(stack), Role.fromRoleArn(stack, 'Role', RETIRED)])).toBe(0);
  });

  const many = (count: number) =>
    Array.from({ length: count }, (_, number) => `tenants/customer-${number}-${'x'.repeat(12)}`);

  test('a grant for many keys is made of statements that each fit into a policy, and together name every key', () => {
    const stack = newStack();
    const table = new LockTable(stack, 'Locks');
    table.grants.lock(roleIn(stack), { keys: many(900), keyPrefixes: ['jobs/'] });
    const template = Template.fromStack(stack);
    const policies = ['AWS::IAM::Policy', 'AWS::IAM::ManagedPolicy'].flatMap((type) =>
      Object.values(template.findResources(type)).map((policy) => JSON.stringify(policy.Properties.PolicyDocument)),
    );
    expect(policies.length).toBeGreaterThan(4);
    for (const policy of policies) expect(policy.length).toBeLessThan(10_240);
    for (const key of [...many(900), 'jobs/*']) expect(policies.join('')).toContain(`"${key}"`);
  });

  test('a grant whose policy is larger than IAM takes of a user fails the synthesis, and tells the sizes', () => {
    const synthesised = (count: number) => {
      const stack = newStack();
      const table = new LockTable(stack, 'Locks');
      const user = new User(stack, 'Operator');
      table.grants.inspect(user, { keys: many(count) });
      table.grants.inspect(user, { keys: ['nightly'] });
      return () => Template.fromStack(stack);
    };
    expect(synthesised(20)).not.toThrow();
    expect(synthesised(60)).toThrow(/The grants to Stack\/Operator have about \d+ characters, but IAM takes 2048/);
  });

  test('a grant to a fleet refuses more prefixes than one statement holds, since one read names keys of all', () => {
    const grant = (count: number) => () =>
      granted((table, role) => table.grants.lock(role, { keyPrefixes: many(count), fleet: true }));
    expect(grant(100)).not.toThrow();
    expect(grant(200)).toThrow(/^\[Stack\/Locks\] the keyPrefixes and keys of a fleet must fit into one statement/);
  });

  test('a grant warns of a prefix without a delimiter, which allows the locks of others', () => {
    const warned = (options: LockGrantOptions) => {
      const stack = newStack();
      new LockTable(stack, 'Locks').grants.lock(roleIn(stack), options);
      return Annotations.fromStack(stack).findWarning('/Stack/Locks', Match.anyValue());
    };
    expect(warned({ keyPrefixes: ['jobs/', 'nightly'] })).toMatchObject([
      { entry: { data: expect.stringContaining("The prefix 'nightly' also allows the locks of others") } },
    ]);
    expect(warned({ keyPrefixes: ['jobs/', 'a#', 'b:', 'c-'], keys: ['nightly'] })).toEqual([]);
  });

  test('a grant refuses guarded writes on a table without transactions', () => {
    const stack = newStack('Stack', ENV);
    const table = new LockTable(stack, 'Locks', {
      replicas: ['us-east-2', 'us-west-2'],
      multiRegionConsistency: MultiRegionConsistency.STRONG,
      timeToLive: false,
    });
    const options = { keyPrefixes: ['jobs/'], guardedWrites: true };
    expect(() => table.grants.lock(roleIn(stack), options)).toThrow(/\[Stack\/Locks\] guardedWrites must be false/);
  });
});

describe('the key behind an alias', () => {
  const keyResources = (table: (stack: Stack) => ILockTable) => {
    const stack = newStack('Stack', ENV);
    table(stack).grants.lock(roleIn(stack), { keys: ['a'] });
    return statementsOf(stack).flatMap(({ Action, Resource }) =>
      JSON.stringify(Action).includes('kms:') ? [Resource] : [],
    );
  };

  test('is what a grant names: IAM takes the ARN of an alias for that of no key', () => {
    const encryptionKey = (stack: Stack) => new Key(stack, 'K').addAlias('locks');
    const arn = [{ 'Fn::GetAtt': [expect.stringMatching(/^K/), 'Arn'] }];
    expect(keyResources((stack) => new LockTable(stack, 'L', { encryptionKey: encryptionKey(stack) }))).toEqual(arn);
    const stack = newStack('Stack', ENV);
    new LockBucket(stack, 'B', { encryptionKey: encryptionKey(stack) }).grants.lock(roleIn(stack), { keys: ['a'] });
    expect(JSON.stringify(statementsOf(stack))).not.toContain('alias/');
  });

  test.each([
    ['table', (stack: Stack, encryptionKey: IKey) => new LockTable(stack, 'L', { encryptionKey })],
    ['bucket', (stack: Stack, encryptionKey: IKey) => new LockBucket(stack, 'L', { encryptionKey })],
  ])('is needed: a %s refuses an alias that was imported by its name', (_, make) => {
    const stack = newStack('Stack', ENV);
    expect(() => make(stack, Alias.fromAliasName(stack, 'A', 'alias/locks'))).toThrow(
      '[Stack/L] encryptionKey must be a Key, since no policy names a key by its alias, but it is the alias alias/locks',
    );
  });
});

describe('the pieces for SAM, the Serverless Framework and Terraform in docs/without-the-cdk.md', () => {
  const page = readFileSync(new URL('../../docs/without-the-cdk.md', import.meta.url), 'utf8');
  const blocks = (language: string) =>
    [...page.matchAll(new RegExp(`^\\s*\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map(([, text = '']) => text);
  const read = (text: string) => parse(text, { logLevel: 'silent' });
  const stack = newStack();
  const table = new LockTable(stack, 'Locks');
  table.grants.lock(roleIn(stack), { keys: ['nightly-report'] });
  const { Resource: _, ...single } = statementsOf(stack)[0] ?? {};

  test('allow what grants.lock allows', () => {
    const [, sam, serverless] = blocks('yaml').map(read);
    const statements = [
      sam.Resources.Nightly.Properties.Policies[0].Statement,
      serverless.provider.iam.role.statements,
    ];
    for (const [{ Resource, ...statement }] of statements) {
      expect(Resource).toBe('Locks.Arn');
      expect(statement).toEqual(single);
    }
    const withPrefix = newStack();
    const locks = new LockTable(withPrefix, 'Locks');
    locks.grants.lock(roleIn(withPrefix), { keys: ['nightly-report'], keyPrefixes: ['jobs/'] });
    const [{ Resource, ...statement }] = JSON.parse(blocks('json')[0] ?? '').Statement;
    expect(Resource).toMatch(/^arn:aws:dynamodb:/);
    expect(statement).toEqual({ ...statementsOf(withPrefix)[0], Resource: undefined });
  });

  test('make the table that LockTable makes', () => {
    const [made] = Object.values(Template.fromStack(stack).findResources('AWS::DynamoDB::GlobalTable'));
    const { Replicas, ...properties } = made?.Properties ?? {};
    const { Locks } = read(blocks('yaml')[0] ?? '').Resources;
    expect(Locks).toEqual({ ...made, Type: 'AWS::DynamoDB::Table', Properties: properties });
  });

  test('make the alarms that the constructs make', () => {
    const watched = newStack();
    const locks = new LockTable(watched, 'Locks');
    locks.addAlarms();
    locks.addDidNotRunAlarm(functionIn(watched, 'Nightly'), { within: Duration.hours(25) });
    const made = Object.values(Template.fromStack(watched).findResources('AWS::CloudWatch::Alarm'));
    const page = blocks('yaml')
      .map(read)
      .find(({ Resources }) => Resources?.LeaseLost);
    type Alarm = { Properties: { AlarmDescription: string; AlarmActions?: unknown } };
    const { Pager, ...alarms } = page.Resources;
    expect(Pager).toEqual({ Type: 'AWS::SNS::Topic' });
    const shown = Object.values<Alarm>(alarms);
    for (const { Properties } of shown) expect(Properties.AlarmActions).toEqual(['Pager']);
    const byDescription = (alarms: Alarm[]) =>
      Object.fromEntries(
        alarms.map(({ Properties: { AlarmActions: _, ...properties } }) => [
          properties.AlarmDescription,
          // The table and the function have other names in the template.
          JSON.parse(JSON.stringify(properties), (name, value) =>
            name === 'Dimensions' ? value.map(({ Name }: { Name: string }) => Name).sort() : value,
          ),
        ]),
      );
    expect(byDescription(shown)).toEqual(byDescription(made as Alarm[]));
    expect(made).toHaveLength(5);
  });

  test('name the same key, TTL and conditions to Terraform', () => {
    const [locks = '', policy = ''] = blocks('hcl').map((text) => text.replaceAll(/ +/g, ' '));
    expect(locks).toContain('hash_key = "lockKey"');
    expect(locks).toContain('attribute_name = "ttl"');
    const conditions = [...policy.matchAll(/test = "(.*)"\s+variable = "(.*)"\s+values = \["(.*)"\]/g)];
    expect(conditions.map(([, ...told]) => told)).toEqual([
      ['ForAllValues:StringLike', 'dynamodb:LeadingKeys', 'nightly-report'],
      ['Null', 'dynamodb:LeadingKeys', 'false'],
    ]);
    expect(policy).toContain(`actions = ["${(single.Action as string[]).join('", "')}"]`);
  });
});
