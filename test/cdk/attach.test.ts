import { describe, expect, test } from '@jest/globals';
import { Duration, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { LockTable } from '../../lib/cdk/index.ts';
import { app, ENV, functionIn, newStack, statementsOf } from './stacks.ts';

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

  test('attach() tells the function the retention of its table', () => {
    const stack = newStack();
    new LockTable(stack, 'Locks', { retention: Duration.days(30) }).attach(functionIn(stack), { keys: ['nightly'] });
    Template.fromStack(stack).hasResourceProperties('AWS::Lambda::Function', {
      Environment: { Variables: { LOCK_RETENTION_DAYS: '30' } },
    });
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
});
