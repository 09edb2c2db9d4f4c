import { describe, expect, test } from '@jest/globals';
import { Duration, RemovalPolicy } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { MultiRegionConsistency, TableV2 } from 'aws-cdk-lib/aws-dynamodb';
import { Key } from 'aws-cdk-lib/aws-kms';
import { LockTable, type LockTableProps } from '../../lib/cdk/index.ts';
import { ENV, newStack } from './stacks.ts';

describe('LockTable', () => {
  const propertiesOf = (props?: LockTableProps, stack = newStack()) => {
    new LockTable(stack, 'Locks', props);
    const [table] = Object.values(Template.fromStack(stack).findResources('AWS::DynamoDB::GlobalTable'));
    return table as { Properties: Record<string, unknown>; DeletionPolicy: string };
  };

  test('a lock table is on demand, has its TTL on `ttl`, is kept with its data, and has no point-in-time recovery', () => {
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

  test('a lock table takes a name, a key, deletion protection and a removal policy', () => {
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

  test('isLockTable tells lock tables from other tables, imported or not', () => {
    const stack = newStack();
    expect(LockTable.isLockTable(new LockTable(stack, 'Locks'))).toBe(true);
    expect(LockTable.isLockTable(LockTable.fromLockTableName(stack, 'Imported', 'locks'))).toBe(true);
    expect(LockTable.isLockTable(TableV2.fromTableName(stack, 'Table', 'locks'))).toBe(false);
    expect(LockTable.isLockTable(undefined)).toBe(false);
  });

  test('a lock table replicates with strong consistency, without TTL, and warns of the features that are lost', () => {
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

  test('a lock table replicates with a key of its own in each Region', () => {
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
      /retention must be a whole number of days from 1 to 36500 \(100 years\), but it is .*12/,
    ],
    [
      'a retention of nothing',
      { retention: Duration.days(0) },
      undefined,
      /retention .* from 1 to 36500 .*, but it is .*0/,
    ],
    [
      'a retention that is a number',
      { retention: 7 as unknown as Duration },
      undefined,
      /retention must be .*, but it is number 7: give a Duration, such as Duration\.days\(30\)\./,
    ],
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
      'a witness in the own Region',
      { ...strong, replicas: ['us-east-2'], witnessRegion: 'us-east-1' },
      ENV,
      /witnessRegion must be another Region than the stack's and the replicas', but it is us-east-1 as well/,
    ],
    [
      "a witness in a replica's Region",
      { ...strong, replicas: ['us-east-2'], witnessRegion: 'us-east-2' },
      ENV,
      /witnessRegion must be another Region .* but it is us-east-2 as well/,
    ],
    [
      'a replica that is named twice',
      { ...strong, replicas: ['us-east-2', 'us-east-2'] },
      ENV,
      /replicas must be named once each, but us-east-2 is named twice/,
    ],
    [
      'keys of replicas without a key of its own',
      { ...strong, replicas: ['us-east-2', 'us-west-2'], replicaKeyArns: { 'us-east-2': 'arn' } },
      ENV,
      /replicaKeyArns must come with an encryptionKey, .* but there is none/,
    ],
    [
      'a replica without a key',
      {
        ...strong,
        replicas: ['us-east-2', 'us-west-2'],
        encryptionKey: aKey(),
        replicaKeyArns: { 'us-east-2': 'arn' },
      },
      ENV,
      /replicaKeyArns must have a key for each of the replicas \[us-east-2, us-west-2\] .* but it has \[us-east-2\]/,
    ],
    [
      'the key of a Region without a replica',
      { encryptionKey: aKey(), replicaKeyArns: { 'us-east-2': 'arn' } },
      ENV,
      /replicaKeyArns must have a key for each of the replicas \[\] and for no other Region, but it has \[us-east-2\]/,
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
  ])('a lock table refuses %s, naming its path and the value', (_, props, env, message) => {
    const make = () => new LockTable(newStack('Stack', env), 'Locks', props);
    expect(make).toThrow(TypeError);
    expect(make).toThrow(message);
    expect(make).toThrow('[Stack/Locks]');
  });
});
