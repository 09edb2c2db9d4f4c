import { describe, expect, test } from '@jest/globals';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { MultiRegionConsistency } from 'aws-cdk-lib/aws-dynamodb';
import { AccountPrincipal, type Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import { type ILockTable, LockTable } from '../../lib/cdk/index.ts';
import { ENV, newStack, roleIn, statementsOf } from './stacks.ts';

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

  test('the grant to inspect allows reads alone', () => {
    const { statements } = granted((table, role) => table.grants.inspect(role, { keys: ['nightly'] }));
    expect(statements).toMatchObject([{ Action: 'dynamodb:GetItem' }]);
    expect(JSON.stringify(statements)).toContain('LeadingKeys');
  });

  test('the grant to force a release allows a read and an update', () => {
    const { statements } = granted((table, role) => table.grants.forceRelease(role, { keyPrefixes: ['jobs/'] }));
    expect(statements).toMatchObject([{ Action: ['dynamodb:GetItem', 'dynamodb:UpdateItem'] }]);
    expect(JSON.stringify(statements)).toContain('LeadingKeys');
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
