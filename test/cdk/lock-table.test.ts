import { describe, expect, test } from '@jest/globals';
import { App, Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { Alarm, type IAlarmAction } from 'aws-cdk-lib/aws-cloudwatch';
import { MultiRegionConsistency, TableV2 } from 'aws-cdk-lib/aws-dynamodb';
import { AccountPrincipal, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import {
  type ILockTable,
  LockDashboard,
  LockTable,
  type LockTableAttributes,
  type LockTableProps,
} from '../../lib/cdk/index.ts';

const ENV = { region: 'us-east-1', account: '111111111111' };
const app = () => new App({ builtinCloudFormationValidation: false, analyticsReporting: false });
const newStack = (id = 'Stack', env?: { region: string; account: string }) => new Stack(app(), id, env && { env });
const roleIn = (stack: Stack, id = 'Role') =>
  new Role(stack, id, { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
const functionIn = (stack: Stack, id = 'Worker', environment: Record<string, string> = {}) =>
  new lambda.Function(stack, id, {
    runtime: lambda.Runtime.NODEJS_24_X,
    handler: 'index.handler',
    code: lambda.Code.fromInline('exports.handler = async () => {}'),
    environment,
  });

/** The statements of every policy that hangs on a role, but for the table's ARN. */
function statementsOf(stack: Stack): Record<string, unknown>[] {
  const policies = Object.values(Template.fromStack(stack).findResources('AWS::IAM::Policy'));
  return policies.flatMap((policy) => policy.Properties.PolicyDocument.Statement);
}

describe('A lock table', () => {
  const propertiesOf = (props?: LockTableProps, stack = newStack()) => {
    new LockTable(stack, 'Locks', props);
    const [table] = Object.values(Template.fromStack(stack).findResources('AWS::DynamoDB::GlobalTable'));
    return table as { Properties: Record<string, unknown>; DeletionPolicy: string };
  };

  test('is on demand, has its TTL on `ttl`, is kept with its data, and has no point-in-time recovery', () => {
    const { Properties, DeletionPolicy } = propertiesOf();
    expect(Properties).toEqual({
      AttributeDefinitions: [{ AttributeName: 'lockKey', AttributeType: 'S' }],
      KeySchema: [{ AttributeName: 'lockKey', KeyType: 'HASH' }],
      BillingMode: 'PAY_PER_REQUEST',
      TimeToLiveSpecification: { AttributeName: 'ttl', Enabled: true },
      Replicas: [{ Region: { Ref: 'AWS::Region' } }],
    });
    expect(DeletionPolicy).toBe('Retain');
  });

  test('takes a name, a key, deletion protection and a removal policy', () => {
    const stack = newStack('Stack', ENV);
    const encryptionKey = new Key(stack, 'Key');
    const { Properties, DeletionPolicy } = propertiesOf(
      { tableName: 'locks', encryptionKey, deletionProtection: true, removalPolicy: RemovalPolicy.DESTROY },
      stack,
    );
    expect(DeletionPolicy).toBe('Delete');
    expect(Properties).toMatchObject({
      TableName: 'locks',
      SSESpecification: { SSEEnabled: true, SSEType: 'KMS' },
      Replicas: [
        {
          DeletionProtectionEnabled: true,
          SSESpecification: { KMSMasterKeyId: { 'Fn::GetAtt': [expect.any(String), 'Arn'] } },
        },
      ],
    });
  });

  test('is told apart from other tables, imported or not', () => {
    const stack = newStack();
    expect(LockTable.isLockTable(new LockTable(stack, 'Locks'))).toBe(true);
    expect(LockTable.isLockTable(LockTable.fromLockTableName(stack, 'Imported', 'locks'))).toBe(true);
    expect(LockTable.isLockTable(TableV2.fromTableName(stack, 'Table', 'locks'))).toBe(false);
    expect(LockTable.isLockTable(undefined)).toBe(false);
  });

  test('replicates with strong consistency, without TTL, and says what is lost', () => {
    const stack = newStack('Stack', ENV);
    const { Properties } = propertiesOf(
      {
        replicas: ['us-east-2'],
        witnessRegion: 'us-west-2',
        multiRegionConsistency: MultiRegionConsistency.STRONG,
        timeToLive: false,
      },
      stack,
    );
    expect(Properties).toMatchObject({
      MultiRegionConsistency: 'STRONG',
      Replicas: [{ Region: 'us-east-2' }, { Region: 'us-east-1' }],
      GlobalTableWitnesses: [{ Region: 'us-west-2' }],
    });
    expect(Properties).not.toHaveProperty('TimeToLiveSpecification');
    Annotations.fromStack(stack).hasWarning(
      '/Stack/Locks',
      Match.stringLikeRegexp('no TTL.*no transactions.*no guarded writes'),
    );
  });

  test('replicates with a key of its own in each Region', () => {
    const stack = newStack('Stack', ENV);
    const replicaKeyArn = 'arn:aws:kms:us-east-2:111111111111:key/1';
    const { Properties } = propertiesOf(
      {
        replicas: ['us-east-2'],
        witnessRegion: 'us-west-2',
        multiRegionConsistency: MultiRegionConsistency.STRONG,
        timeToLive: false,
        encryptionKey: new Key(stack, 'Key'),
        replicaKeyArns: { 'us-east-2': replicaKeyArn },
      },
      stack,
    );
    expect(Properties.Replicas).toContainEqual({
      Region: 'us-east-2',
      SSESpecification: { KMSMasterKeyId: replicaKeyArn },
    });
  });

  const aKey = () => new Key(newStack('Keys'), 'Key');
  const strong = { multiRegionConsistency: MultiRegionConsistency.STRONG, timeToLive: false };
  test.each<[string, LockTableProps, { region: string; account: string } | undefined, RegExp]>([
    ['a name that is too short', { tableName: 'ab' }, undefined, /tableName must have 3 to 255 .* but it is 'ab'/],
    ['an empty name', { tableName: '' }, undefined, /tableName must have 3 to 255 .* but it is ''/],
    ['a name with a space', { tableName: 'my locks' }, undefined, /tableName .* but it is 'my locks'/],
    [
      'a retention under a day',
      { retention: Duration.hours(12) },
      undefined,
      /retention must be a whole number of days, at least 1, but it is .*12/,
    ],
    ['a retention of nothing', { retention: Duration.days(0) }, undefined, /retention .* at least 1, but it is .*0/],
    ['a retention of a day and a half', { retention: Duration.hours(36) }, undefined, /retention .* but it is .*36/],
    [
      'replicas',
      { replicas: ['us-east-2'] },
      ENV,
      /STRONG, but it is EVENTUAL by default for \[us-east-2\];.*grants it twice/,
    ],
    [
      'replicas that are eventually consistent by choice',
      { replicas: ['us-east-2'], multiRegionConsistency: MultiRegionConsistency.EVENTUAL },
      ENV,
      /STRONG, but it is EVENTUAL for \[us-east-2\]/,
    ],
    ['a witness alone', { witnessRegion: 'us-west-2' }, ENV, /STRONG, but it is EVENTUAL by default for \[us-west-2\]/],
    [
      'strong consistency with TTL',
      { ...strong, timeToLive: true, replicas: ['us-east-2', 'us-west-2'] },
      ENV,
      /timeToLive must be false with strong consistency.*but it is true/,
    ],
    [
      'replicas of a stack without a Region',
      { ...strong, replicas: ['us-east-2', 'us-west-2'] },
      undefined,
      /replicas \[us-east-2, us-west-2\] must be in a stack whose Region is known.*give the stack an env/,
    ],
    [
      'a customer key in a stack without a Region',
      { encryptionKey: aKey() },
      undefined,
      /encryptionKey Keys\/Key must be in a stack whose Region is known/,
    ],
    [
      'a replica in its own Region',
      { ...strong, replicas: ['us-east-1'] },
      ENV,
      /other Regions .* but us-east-1 is among/,
    ],
    [
      'a prop whose name is misspelled',
      { tablename: 'locks' } as LockTableProps,
      undefined,
      /LockTable has no option 'tablename'; did you mean 'tableName'\?/,
    ],
  ])('refuses %s, naming its path and the value', (_, props, env, message) => {
    const make = () => new LockTable(newStack('Stack', env), 'Locks', props);
    expect(make).toThrow(TypeError);
    expect(make).toThrow(message);
    expect(make).toThrow('[Stack/Locks]');
  });
});

describe('An imported lock table', () => {
  const arn = 'arn:aws:dynamodb:eu-west-1:222222222222:table/locks';

  test('by name lies in the stack, by ARN where that says', () => {
    const stack = newStack('Stack', ENV);
    const byName = LockTable.fromLockTableName(stack, 'ByName', 'locks');
    const byArn = LockTable.fromLockTableArn(stack, 'ByArn', arn);
    const byAttributes = LockTable.fromLockTableAttributes(stack, 'ByAttributes', { tableArn: arn });
    expect(stack.resolve(byName.tableArn)).toEqual({
      'Fn::Join': ['', ['arn:', { Ref: 'AWS::Partition' }, ':dynamodb:us-east-1:111111111111:table/locks']],
    });
    expect(byName.tableName).toBe('locks');
    expect([byArn.tableName, byArn.tableArn]).toEqual(['locks', arn]);
    expect(byArn.env).toEqual({ region: 'eu-west-1', account: '222222222222' });
    expect(byAttributes.tableArn).toBe(arn);
  });

  test('grants, and allows the use of its key', () => {
    const stack = newStack('Stack', ENV);
    const encryptionKey = Key.fromKeyArn(stack, 'Key', 'arn:aws:kms:eu-west-1:222222222222:key/1');
    LockTable.fromLockTableAttributes(stack, 'Locks', { tableArn: arn, encryptionKey }).grants.lock(roleIn(stack), {
      keyPrefixes: ['jobs/'],
    });
    expect(statementsOf(stack)).toMatchObject([
      { Action: ['dynamodb:UpdateItem', 'dynamodb:GetItem'], Resource: arn },
      {
        Resource: 'arn:aws:kms:eu-west-1:222222222222:key/1',
        Condition: { StringEquals: { 'kms:ViaService': 'dynamodb.eu-west-1.amazonaws.com' } },
      },
    ]);
  });

  test.each([
    ['neither a name nor an ARN', {}, /tableName is undefined and tableArn is undefined/],
    ['both', { tableName: 'locks', tableArn: arn }, /tableName is locks and tableArn is arn:/],
    ['a misspelled attribute', { arn }, /LockTable has no option 'arn'; it has tableArn, /],
    ['a bad name', { tableName: 'a/b' }, /tableName .* but it is 'a\/b'/],
    ['an ARN that is none', { tableArn: 'locks' }, /tableArn must look like .* but it is 'locks'/],
    ['an ARN of an index', { tableArn: `${arn}/index/by-owner` }, /tableArn must look like .*\/index\/by-owner'/],
    ['a retention under a day', { tableName: 'locks', retention: Duration.minutes(1) }, /retention .* at least 1/],
  ])('refuses %s, naming its path and the value', (_, attributes, message) => {
    const make = () => LockTable.fromLockTableAttributes(newStack(), 'Imported', attributes as LockTableAttributes);
    expect(make).toThrow(TypeError);
    expect(make).toThrow(message);
    expect(make).toThrow('[Stack/Imported]');
  });
});

describe('The grants of a lock table', () => {
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
  ])('allow to %s what the client sends, and only for the prefix', (_, options, actions) => {
    const { statements, tableArn } = granted((table, role) => table.grants.lock(role, options));
    const Condition = condition('jobs/*');
    expect(statements).toEqual([{ Effect: 'Allow', Action: actions, Resource: tableArn, Condition }]);
  });

  test('keep exact keys exact, beside prefixes', () => {
    const { statements } = granted((table, role) =>
      table.grants.lock(role, { keyPrefixes: ['jobs/', 'reports/'], keys: ['nightly'] }),
    );
    expect(statements).toMatchObject([{ Condition: condition('jobs/*', 'reports/*', 'nightly') }]);
  });

  test('allow to inspect with reads alone', () => {
    const { statements } = granted((table, role) => table.grants.inspect(role, { keys: ['nightly'] }));
    expect(statements).toMatchObject([{ Action: 'dynamodb:GetItem' }]);
    expect(JSON.stringify(statements)).toContain('LeadingKeys');
  });

  test('allow to force a release with a read and an update', () => {
    const { statements } = granted((table, role) => table.grants.forceRelease(role, { keyPrefixes: ['jobs/'] }));
    expect(statements).toMatchObject([{ Action: ['dynamodb:GetItem', 'dynamodb:UpdateItem'] }]);
    expect(JSON.stringify(statements)).toContain('LeadingKeys');
  });

  test('allow to list by a scan of the table, without any key', () => {
    const { statements, tableArn } = granted((table, role) => table.grants.list(role));
    expect(statements).toEqual([{ Effect: 'Allow', Action: 'dynamodb:Scan', Resource: tableArn }]);
  });

  test('allow the use of a customer key by way of DynamoDB only, and readers to decrypt only', () => {
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

  test('go to the table itself when the grantee is another account', () => {
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

  test('refuse a fleet that has exact keys alone, which could not read the marks of what is done', () => {
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
  describe.each(['keyPrefixes', 'keys'] as const)('refuse, among %s, one that', (name) => {
    test.each(badKeys)('%s', (_, value, message) => {
      const stack = newStack();
      const table = new LockTable(stack, 'Locks');
      const role = roleIn(stack);
      const grant = () => table.grants.lock(role, { [name]: ['fine', value as string] });
      expect(grant).toThrow(TypeError);
      expect(grant).toThrow(message);
      expect(grant).toThrow(`[Stack/Locks] ${name}[1] must`);
    });

    test('is known at deployment only', () => {
      const stack = newStack();
      const table = new LockTable(stack, 'Locks');
      const role = roleIn(stack);
      const grant = () => table.grants.inspect(role, { [name]: [`${role.roleName}/`] });
      expect(grant).toThrow(new RegExp(`\\[Stack/Locks\\] ${name}\\[0\\] must be known when the app is synthesised`));
    });
  });

  test('take a prefix and a key of 1,024 bytes', () => {
    const long = 'k'.repeat(1024);
    const { statements } = granted((table, role) => table.grants.lock(role, { keyPrefixes: [long], keys: [long] }));
    expect(statements).toMatchObject([{ Condition: condition(`${long}*`, long) }]);
  });

  test.each([
    ['nothing at all', {}],
    ['empty lists', { keyPrefixes: [], keys: [] }],
  ])('refuse %s, for it would be every lock', (_, options) => {
    const stack = newStack();
    const table = new LockTable(stack, 'Locks');
    const role = roleIn(stack);
    for (const grant of ['lock', 'inspect', 'forceRelease'] as const) {
      expect(() => table.grants[grant](role, options)).toThrow(/\[Stack\/Locks\] a grant must name its locks/);
    }
  });

  test('refuse a string in the place of a list', () => {
    const stack = newStack();
    const table = new LockTable(stack, 'Locks');
    const options = { keyPrefixes: 'jobs/' as unknown as string[] };
    expect(() => table.grants.lock(roleIn(stack), options)).toThrow(/keyPrefixes must be an array.*'jobs\/'/);
  });

  test('refuse an option whose name is misspelled', () => {
    const table = new LockTable(newStack(), 'Locks');
    const options = { keyPrefixes: ['jobs/'], guardedWrite: true };
    expect(() => table.grants.lock(roleIn(newStack()), options)).toThrow(
      "[Stack/Locks] A grant has no option 'guardedWrite'; did you mean 'guardedWrites'?",
    );
  });

  test('refuse a service as the grantee', () => {
    const table = new LockTable(newStack(), 'Locks');
    expect(() => table.grants.list(new ServicePrincipal('states.amazonaws.com'))).toThrow(
      /\[Stack\/Locks\] the grantee must be .* but it is the service states.amazonaws.com/,
    );
  });

  test('refuse guarded writes on a table without transactions', () => {
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

describe('attach()', () => {
  test('tells the function its table and grants', () => {
    const stack = newStack();
    const table = new LockTable(stack, 'Locks');
    const grant = table.attach(functionIn(stack), { keyPrefixes: ['jobs/'] });
    expect(grant.success).toBe(true);
    Template.fromStack(stack).hasResourceProperties('AWS::Lambda::Function', {
      Environment: { Variables: { LOCK_TABLE_NAME: stack.resolve(table.tableName) } },
    });
    expect(statementsOf(stack)).toMatchObject([{ Action: ['dynamodb:UpdateItem', 'dynamodb:GetItem'] }]);
  });

  test('tells the function the retention of its table', () => {
    const stack = newStack();
    new LockTable(stack, 'Locks', { retention: Duration.days(30) }).attach(functionIn(stack), { keys: ['nightly'] });
    Template.fromStack(stack).hasResourceProperties('AWS::Lambda::Function', {
      Environment: { Variables: { LOCK_RETENTION_DAYS: '30' } },
    });
  });

  test('can be called again for more keys, and finds its own value set by hand', () => {
    const stack = newStack();
    const table = new LockTable(stack, 'Locks');
    const fn = functionIn(stack, 'Worker', { LOCK_TABLE_NAME: table.tableName });
    table.attach(fn, { keyPrefixes: ['jobs/'] });
    table.attach(fn, { keyPrefixes: ['reports/'] });
    expect(statementsOf(stack)).toHaveLength(2);
  });

  test('refuses a function of another table, and leaves it as it was', () => {
    const stack = newStack();
    const fn = functionIn(stack);
    new LockTable(stack, 'Locks').attach(fn, { keyPrefixes: ['jobs/'] });
    const other = new LockTable(stack, 'Other');
    expect(() => other.attach(fn, { keyPrefixes: ['jobs/'] })).toThrow(
      /\[Stack\/Other\] attach\(\) must set LOCK_TABLE_NAME of Stack\/Worker alone, but it is \{"Ref":"Locks.*"\} already/,
    );
    expect(statementsOf(stack)).toHaveLength(1);
  });

  test('refuses a variable that was set by hand', () => {
    const stack = newStack();
    const fn = functionIn(stack, 'Worker', { LOCK_TABLE_NAME: 'mine' });
    const table = new LockTable(stack, 'Locks');
    expect(() => table.attach(fn, { keyPrefixes: ['jobs/'] })).toThrow(/but it is "mine" already/);
  });

  test('finds at synthesis that its variable was overwritten', () => {
    const stack = newStack();
    const fn = functionIn(stack);
    new LockTable(stack, 'Locks').attach(fn, { keyPrefixes: ['jobs/'] });
    fn.addEnvironment('LOCK_TABLE_NAME', 'later');
    expect(() => Template.fromStack(stack)).toThrow(/LOCK_TABLE_NAME of Stack\/Worker alone, but it is "later"/);
  });

  test.each([
    [
      'Region',
      { region: 'eu-west-1', account: ENV.account },
      /the table's region us-east-1, but Far\/Worker is in eu-west-1/,
    ],
    [
      'account',
      { region: ENV.region, account: '222222222222' },
      /the table's account 111111111111, but .* in 222222222222/,
    ],
  ])('refuses a function in another %s, where the name is another table', (_, env, message) => {
    const theApp = app();
    const table = new LockTable(new Stack(theApp, 'Near', { env: ENV }), 'Locks', { tableName: 'locks' });
    const fn = functionIn(new Stack(theApp, 'Far', { env }));
    expect(() => table.attach(fn, { keyPrefixes: ['jobs/'] })).toThrow(message);
  });

  test('checks the keys before it sets anything', () => {
    const stack = newStack();
    const fn = functionIn(stack);
    const table = new LockTable(stack, 'Locks');
    expect(() => table.attach(fn, { keyPrefixes: [''] })).toThrow(/must not be empty/);
    expect(JSON.stringify(Template.fromStack(stack).findResources('AWS::Lambda::Function'))).not.toContain(
      'LOCK_TABLE',
    );
  });
});

describe('The metrics of a lock table', () => {
  test('are those of the table, or of one function on it', () => {
    const stack = newStack();
    const table = new LockTable(stack, 'Locks');
    const fn = functionIn(stack);
    expect(table.metricLost()).toMatchObject({
      namespace: 'Leasehold',
      metricName: 'Lost',
      statistic: 'Sum',
      dimensions: { table: table.tableName },
    });
    expect(table.metricLost({ function: fn }).dimensions).toEqual({
      table: table.tableName,
      function: fn.functionName,
    });
  });

  test('count, average or divide as their names say, and take the CDK’s options', () => {
    const table = new LockTable(newStack(), 'Locks');
    const read = Object.entries({
      Acquired: table.metricAcquired(),
      Busy: table.metricBusy(),
      Done: table.metricDone(),
      Takeover: table.metricTakeovers(),
      RenewFailed: table.metricRenewFailed(),
      ReleaseFailed: table.metricReleaseFailed(),
    });
    for (const [name, metric] of read) expect(metric).toMatchObject({ metricName: name, statistic: 'Sum' });
    expect(table.metricBusyRate()).toMatchObject({ metricName: 'Busy', statistic: 'Average' });
    expect(table.metricWaitTime()).toMatchObject({ metricName: 'WaitTime', statistic: 'Average' });
    const p99 = table.metricHeldTime({ statistic: 'p99', period: Duration.minutes(1), label: 'held' });
    expect(p99).toMatchObject({ metricName: 'HeldTime', statistic: 'p99', label: 'held' });
    expect(p99.period.toSeconds()).toBe(60);
    expect(table.metricHolders()).toMatchObject({
      expression: 'held / (1000 * PERIOD(held))',
      usingMetrics: { held: { metricName: 'HeldTime', statistic: 'Sum' } },
    });
  });

  test('of the table are DynamoDB’s own', () => {
    const stack = newStack('Stack', ENV);
    const table = LockTable.fromLockTableArn(stack, 'Locks', 'arn:aws:dynamodb:eu-west-1:111111111111:table/locks');
    const own = Object.entries({
      WriteThrottleEvents: table.metricWriteThrottleEvents(),
      ReadThrottleEvents: table.metricReadThrottleEvents(),
      ConditionalCheckFailedRequests: table.metricConditionalCheckFailedRequests(),
      ConsumedWriteCapacityUnits: table.metricConsumedWriteCapacityUnits(),
      ConsumedReadCapacityUnits: table.metricConsumedReadCapacityUnits(),
    });
    for (const [metricName, metric] of own) {
      expect(metric).toMatchObject({
        namespace: 'AWS/DynamoDB',
        metricName,
        dimensions: { TableName: 'locks' },
        region: 'eu-west-1',
      });
    }
  });
});

describe('The alarms of a lock table', () => {
  test('go off for a lost lease, failing renewals and throttling, and never for contention or silence', () => {
    const stack = newStack();
    const alarms = new LockTable(stack, 'Locks').addAlarms();
    const template = Template.fromStack(stack);
    const found = Object.values(template.findResources('AWS::CloudWatch::Alarm')).map(({ Properties }) => Properties);
    const common = {
      ComparisonOperator: 'GreaterThanOrEqualToThreshold',
      Statistic: 'Sum',
      TreatMissingData: 'notBreaching',
    };
    expect(found).toEqual([
      expect.objectContaining({ ...common, MetricName: 'Lost', Threshold: 1, Period: 60, EvaluationPeriods: 1 }),
      expect.objectContaining({
        ...common,
        MetricName: 'RenewFailed',
        Threshold: 3,
        Period: 300,
        EvaluationPeriods: 1,
      }),
      expect.objectContaining({ ...common, MetricName: 'WriteThrottleEvents', Threshold: 1, DatapointsToAlarm: 2 }),
      expect.objectContaining({ ...common, MetricName: 'ReadThrottleEvents', Threshold: 1, DatapointsToAlarm: 2 }),
    ]);
    expect(alarms.all).toEqual([
      alarms.leaseLost,
      alarms.heartbeatFailing,
      alarms.writesThrottled,
      alarms.readsThrottled,
    ]);
    expect(alarms.all.every((alarm) => alarm instanceof Alarm)).toBe(true);
  });

  test('do what they are told', () => {
    const stack = newStack();
    const action: IAlarmAction = { bind: () => ({ alarmActionArn: 'arn:aws:sns:us-east-1:111111111111:pager' }) };
    LockTable.fromLockTableName(stack, 'Locks', 'locks').addAlarms({ actions: [action] });
    Template.fromStack(stack).allResourcesProperties('AWS::CloudWatch::Alarm', {
      AlarmActions: ['arn:aws:sns:us-east-1:111111111111:pager'],
    });
  });
});

describe('The dashboard of a lock table', () => {
  const bodyOf = (stack: Stack) => {
    const [dashboard] = Object.values(Template.fromStack(stack).findResources('AWS::CloudWatch::Dashboard'));
    return JSON.stringify(dashboard?.Properties);
  };

  test('shows holders, the busy rate, wait and held time, what was lost, and takeovers', () => {
    const stack = newStack();
    new LockDashboard(stack, 'Dashboard', { lockTable: new LockTable(stack, 'Locks'), dashboardName: 'locks' });
    const body = bodyOf(stack);
    for (const shown of ['Holders', 'Busy rate', 'Wait time', 'Held time', 'Lost', 'Takeover', 'WriteThrottleEvents']) {
      expect(body).toContain(shown);
    }
    expect(body).toContain('"DashboardName":"locks"');
    expect(body).not.toContain('by function');
  });

  test('shows functions and alarms when it is given some', () => {
    const stack = newStack();
    const lockTable = new LockTable(stack, 'Locks');
    new LockDashboard(stack, 'Dashboard', {
      lockTable,
      functions: [functionIn(stack)],
      alarms: lockTable.addAlarms().all,
    });
    expect(bodyOf(stack)).toMatch(/Busy rate by function.*Held time by function/);
    expect(bodyOf(stack)).toContain('"alarm');
  });

  test('and the alarms refuse a prop whose name is misspelled', () => {
    const stack = newStack();
    const lockTable = new LockTable(stack, 'Locks');
    const props = { lockTable, alarm: [] };
    expect(() => new LockDashboard(stack, 'Dashboard', props)).toThrow(
      "[Stack/Dashboard] LockDashboard has no option 'alarm'; did you mean 'alarms'?",
    );
    const alarmsProps: Record<string, unknown> = { action: [] };
    expect(() => lockTable.addAlarms(alarmsProps)).toThrow(
      "[Stack/Locks/Alarms] LockAlarms has no option 'action'; did you mean 'actions'?",
    );
  });

  test('refuses a period under a minute, naming its path and the value', () => {
    const stack = newStack();
    const lockTable = new LockTable(stack, 'Locks');
    const make = () => new LockDashboard(stack, 'Dashboard', { lockTable, period: Duration.seconds(30) });
    expect(make).toThrow(/\[Stack\/Dashboard\] period must be at least a minute, but it is .*30/);
  });
});
