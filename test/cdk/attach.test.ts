import { describe, expect, test } from '@jest/globals';
import { Duration, Stack } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { ContainerImage, FargateTaskDefinition } from 'aws-cdk-lib/aws-ecs';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import { LockTable } from '../../lib/cdk/index.ts';
import { app, ENV, functionIn, newStack, roleIn, statementsOf } from './stacks.ts';

describe('LockTable.attach', () => {
  test('attach() tells the function its table, and grants', () => {
    const stack = newStack();
    const table = new LockTable(stack, 'Locks');
    const grant = table.attach(functionIn(stack), { keyPrefixes: ['jobs/'] });
    expect(grant.success).toBe(true);
    Template.fromStack(stack).hasResourceProperties('AWS::Lambda::Function', {
      Environment: { Variables: { LOCK_TABLE_NAME: stack.resolve(table.tableName) } },
    });
    expect(statementsOf(stack)).toMatchObject([{ Action: ['dynamodb:UpdateItem', 'dynamodb:GetItem'] }]);
  });

  test('attach() warns of a function whose Node is too old, and of no other', () => {
    const stack = newStack();
    const lockTable = new LockTable(stack, 'Locks');
    const { NODEJS_20_X, NODEJS_22_X, NODEJS_24_X, PYTHON_3_13 } = lambda.Runtime;
    for (const runtime of [NODEJS_20_X, NODEJS_22_X, NODEJS_24_X, PYTHON_3_13]) {
      const code = lambda.Code.fromInline('code');
      const fn = new lambda.Function(stack, runtime.name, { runtime, handler: 'index.handler', code });
      lockTable.attach(fn, { keys: ['nightly'] });
    }
    const told = Annotations.fromStack(stack).findWarning('*', Match.stringLikeRegexp('leasehold needs Node'));
    expect(told.map(({ id }) => id)).toEqual(['/Stack/nodejs20.x']);
    expect(told[0]?.entry.data).toContain('leasehold needs Node 22.3 or later, but the runtime is nodejs20.x');
  });

  test('attach() tells the function the retention of its table', () => {
    const stack = newStack();
    new LockTable(stack, 'Locks', { retention: Duration.days(30) }).attach(functionIn(stack), { keys: ['nightly'] });
    Template.fromStack(stack).hasResourceProperties('AWS::Lambda::Function', {
      Environment: { Variables: { LOCK_RETENTION_DAYS: '30' } },
    });
  });

  test('attach() tells the function the default retention, too, and refuses a function that was told another', () => {
    const stack = newStack();
    const table = new LockTable(stack, 'Locks');
    table.attach(functionIn(stack), { keys: ['nightly'] });
    Template.fromStack(stack).hasResourceProperties('AWS::Lambda::Function', {
      Environment: { Variables: { LOCK_RETENTION_DAYS: '7' } },
    });
    const other = functionIn(stack, 'Other', { LOCK_RETENTION_DAYS: '1' });
    expect(() => table.attach(other, { keys: ['nightly'] })).toThrow(
      'attach() must set LOCK_RETENTION_DAYS of Stack/Other alone, but it is "1" already',
    );
  });

  test('attach() of an imported table whose retention is not given leaves LOCK_RETENTION_DAYS to the function', () => {
    const stack = newStack();
    const fn = functionIn(stack, 'Worker', { LOCK_RETENTION_DAYS: '30' });
    expect(() => LockTable.fromLockTableName(stack, 'Locks', 'locks').attach(fn, { keys: ['nightly'] })).not.toThrow();
  });

  test('attach() lets the function publish its metrics, unless the caller or the function says otherwise', () => {
    const metricsOf = (metrics: boolean | undefined, environment: Record<string, string> = {}) => {
      const stack = newStack();
      const fn = functionIn(stack, 'Worker', environment);
      new LockTable(stack, 'Locks').attach(fn, { keys: ['nightly'], ...(metrics !== undefined && { metrics }) });
      const [resource] = Object.values(Template.fromStack(stack).findResources('AWS::Lambda::Function'));
      return resource?.Properties.Environment.Variables.LOCK_METRICS;
    };
    expect(metricsOf(undefined)).toBe('emf');
    expect(metricsOf(true)).toBe('emf');
    expect(metricsOf(false)).toBeUndefined();
    expect(metricsOf(undefined, { LOCK_METRICS: 'off' })).toBe('off');
  });

  test('attach() can be called again for more keys, and finds its own value set by hand', () => {
    const stack = newStack();
    const table = new LockTable(stack, 'Locks');
    const fn = functionIn(stack, 'Worker', { LOCK_TABLE_NAME: table.tableName });
    table.attach(fn, { keyPrefixes: ['jobs/'] });
    table.attach(fn, { keyPrefixes: ['reports/'] });
    expect(statementsOf(stack)).toHaveLength(2);
  });

  test('attach() refuses a function of another table, and leaves it as it was', () => {
    const stack = newStack();
    const fn = functionIn(stack);
    new LockTable(stack, 'Locks').attach(fn, { keyPrefixes: ['jobs/'] });
    const other = new LockTable(stack, 'Other');
    expect(() => other.attach(fn, { keyPrefixes: ['jobs/'] })).toThrow(
      /\[Stack\/Other\] attach\(\) must set LOCK_TABLE_NAME of Stack\/Worker alone, but it is \{"Ref":"Locks.*"\} already/,
    );
    expect(statementsOf(stack)).toHaveLength(1);
  });

  test('attach() refuses a variable that was set by hand', () => {
    const stack = newStack();
    const fn = functionIn(stack, 'Worker', { LOCK_TABLE_NAME: 'mine' });
    const table = new LockTable(stack, 'Locks');
    expect(() => table.attach(fn, { keyPrefixes: ['jobs/'] })).toThrow(/but it is "mine" already/);
  });

  test('attach() finds at synthesis that its variable was overwritten', () => {
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
  ])('attach() refuses a function in another %s, where the name is another table', (_, env, message) => {
    const theApp = app();
    const table = new LockTable(new Stack(theApp, 'Near', { env: ENV }), 'Locks', { tableName: 'locks' });
    const fn = functionIn(new Stack(theApp, 'Far', { env }));
    expect(() => table.attach(fn, { keyPrefixes: ['jobs/'] })).toThrow(message);
  });

  test('attach() checks the keys before it sets anything', () => {
    const stack = newStack();
    const fn = functionIn(stack);
    const table = new LockTable(stack, 'Locks');
    expect(() => table.attach(fn, { keyPrefixes: [''] })).toThrow(/must not be empty/);
    expect(JSON.stringify(Template.fromStack(stack).findResources('AWS::Lambda::Function'))).not.toContain(
      'LOCK_TABLE',
    );
  });

  test('attach() of an alias attaches the function behind it', () => {
    const stack = newStack();
    const fn = functionIn(stack);
    const table = new LockTable(stack, 'Locks');
    table.attach(fn.addAlias('live'), { keys: ['nightly'] });
    Template.fromStack(stack).hasResourceProperties('AWS::Lambda::Function', {
      Environment: { Variables: { LOCK_TABLE_NAME: stack.resolve(table.tableName) } },
    });
    expect(statementsOf(stack)).toHaveLength(1);
  });

  const arn = 'arn:aws:lambda:us-east-1:111111111111:function:legacy';
  const code = {
    runtime: lambda.Runtime.NODEJS_22_X,
    handler: 'index.handler',
    code: lambda.Code.fromInline('exports.handler = async () => {}'),
  };
  test.each<[string, (stack: Stack) => unknown, string]>([
    ['undefined', () => undefined, 'but it is undefined; pass a Function.'],
    ['a name', () => 'worker', "but it is 'worker'; pass a Function."],
    [
      'a version',
      (stack) => functionIn(stack).currentVersion,
      'but it is the version Stack/Worker/CurrentVersion, whose environment is fixed; pass its function.',
    ],
    [
      'an imported function without its role',
      (stack) => lambda.Function.fromFunctionArn(stack, 'Imported', arn),
      'but it is the imported function Stack/Imported; import it with its role, grant with grants.lock(), and set the environment variable LOCK_TABLE_NAME to lockTable.tableName where it is made.',
    ],
    [
      'an imported function with its role',
      (stack) => lambda.Function.fromFunctionAttributes(stack, 'Imported', { functionArn: arn, role: roleIn(stack) }),
      'but it is the imported function Stack/Imported; grant with grants.lock(), and set',
    ],
    [
      'an alias of an imported function',
      (stack) =>
        lambda.Alias.fromAliasAttributes(stack, 'Live', {
          aliasName: 'live',
          aliasVersion: lambda.Version.fromVersionArn(stack, 'Version', `${arn}:1`),
        }),
      'but it is the imported function Stack/',
    ],
    [
      'a singleton function',
      (stack) => new lambda.SingletonFunction(stack, 'Single', { ...code, uuid: 'one' }),
      'but it is Stack/Single, a singleton function; grant with grants.lock(), and set the environment variable LOCK_TABLE_NAME to lockTable.tableName with addEnvironment().',
    ],
    [
      'an ECS task',
      (stack) => new FargateTaskDefinition(stack, 'Task'),
      'but it is Stack/Task, an ECS task; grant its taskRole with grants.lock(), and set the environment variable LOCK_TABLE_NAME to lockTable.tableName of its container.',
    ],
    [
      'the container of an ECS task',
      (stack) =>
        new FargateTaskDefinition(stack, 'Task').addContainer('Job', { image: ContainerImage.fromRegistry('job') }),
      'but it is Stack/Task/Job, an ECS task; grant its taskRole',
    ],
    ['a role', (stack) => roleIn(stack), 'but it is Stack/Role; grant with grants.lock(), and set'],
  ])('attach() refuses %s, and says what to do', (_, make, message) => {
    const stack = newStack();
    const table = new LockTable(stack, 'Locks');
    const given = make(stack) as lambda.Function;
    const attach = () => table.attach(given, { keys: ['nightly'] });
    expect(attach).toThrow(TypeError);
    expect(attach).toThrow(`[Stack/Locks] attach() must be given a function of this app, ${message}`);
  });

  test('attach() without options says that they are missing', () => {
    const stack = newStack();
    const attach = () => new LockTable(stack, 'Locks').attach(functionIn(stack), undefined as never);
    expect(attach).toThrow('[Stack/Locks] A grant: the options must be a plain object, but they are undefined.');
  });
});
