import { describe, expect, test } from '@jest/globals';
import { Duration } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { Key } from 'aws-cdk-lib/aws-kms';
import { LockTable, type LockTableAttributes } from '../../lib/cdk/index.ts';
import { layoutIn } from '../../lib/dynamodb/settings.ts';
import { ENV, functionIn, newStack, roleIn, statementsOf } from './stacks.ts';

describe('an imported LockTable', () => {
  const arn = 'arn:aws:dynamodb:eu-west-1:222222222222:table/locks';

  test("a table imported by name lies in the stack's Region, and a table imported by ARN in the ARN's Region", () => {
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

  test('an imported lock table grants, and allows the use of its encryption key', () => {
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

  test('attach() tells the function the keys and the TTL of an imported table, and the store reads them', () => {
    const stack = newStack();
    const layout = { keyAttribute: 'PK', sortKey: { name: 'SK', value: 'LOCK#a=b' }, ttlAttribute: 'expires_at' };
    const lockTable = LockTable.fromLockTableAttributes(stack, 'Locks', { tableName: 'orders', ...layout });
    lockTable.attach(functionIn(stack), { keyPrefixes: ['jobs/'] });
    const [worker] = Object.values(Template.fromStack(stack).findResources('AWS::Lambda::Function'));
    const { LOCK_TABLE_NAME, ...variables } = (
      worker as { Properties: { Environment: { Variables: Record<string, string> } } }
    ).Properties.Environment.Variables;
    expect(variables).toEqual({
      LOCK_KEY_ATTRIBUTE: 'PK',
      LOCK_METRICS: 'emf',
      LOCK_SORT_KEY: 'SK=LOCK#a=b',
      LOCK_TTL_ATTRIBUTE: 'expires_at',
    });
    expect(layoutIn(variables)).toEqual(layout);
  });

  test.each([
    ['neither a name nor an ARN', {}, /tableName is undefined and tableArn is undefined/],
    ['both', { tableName: 'locks', tableArn: arn }, /tableName is locks and tableArn is arn:/],
    ['a misspelled attribute', { arn }, /LockTable has no option 'arn'; it has encryptionKey, /],
    ['a bad name', { tableName: 'a/b' }, /tableName .* but it is 'a\/b'/],
    ['an ARN that is none', { tableArn: 'locks' }, /tableArn must look like .* but it is 'locks'/],
    ['an ARN of an index', { tableArn: `${arn}/index/by-owner` }, /tableArn must look like .*\/index\/by-owner'/],
    ['a retention under a day', { tableName: 'locks', retention: Duration.minutes(1) }, /retention .* from 1 to 36500/],
    ['a retention of 200 years', { tableName: 'locks', retention: Duration.days(73_000) }, /retention .*73000/],
    ['a key that leasehold writes', { tableName: 'locks', keyAttribute: 'owner' }, /keyAttribute must not be 'owner'/],
    [
      'a sort key that is the partition key',
      { tableName: 'locks', sortKey: { name: 'lockKey', value: 'LOCK' } },
      /sortKey.name must differ from keyAttribute, but both are 'lockKey'/,
    ],
    [
      'a sort key that the variable cannot hold',
      { tableName: 'locks', sortKey: { name: 'S=K', value: 'LOCK' } },
      /sortKey.name must hold no '='.*'S=K'/,
    ],
    [
      'a TTL in milliseconds',
      { tableName: 'locks', ttlAttribute: 'expiresAt' },
      /ttlAttribute must not be 'expiresAt'/,
    ],
  ])('an imported lock table refuses %s, naming its path and the value', (_, attributes, message) => {
    const make = () => LockTable.fromLockTableAttributes(newStack(), 'Imported', attributes as LockTableAttributes);
    expect(make).toThrow(TypeError);
    expect(make).toThrow(message);
    expect(make).toThrow('[Stack/Imported]');
  });
});
