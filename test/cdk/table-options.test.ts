import { describe, expect, test } from '@jest/globals';
import { Lazy, Tags, Token } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { ContributorInsightsMode, MultiRegionConsistency, StreamViewType, TableClass } from 'aws-cdk-lib/aws-dynamodb';
import { AccountPrincipal, AnyPrincipal, Effect, PolicyDocument, PolicyStatement } from 'aws-cdk-lib/aws-iam';
import { StartingPosition } from 'aws-cdk-lib/aws-lambda';
import { DynamoEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import { LockTable, type LockTableProps } from '../../lib/cdk/index.ts';
import { ENV, functionIn, newStack } from './stacks.ts';

const bad = (value: unknown) => value as never;
/** The properties that CloudFormation is told of the table, and of its replica in the stack's Region. */
function tableOf(stack = newStack()) {
  const tables = Object.values(Template.fromStack(stack).findResources('AWS::DynamoDB::GlobalTable'));
  const [{ Properties: properties }] = tables as [{ Properties: { Replicas: Record<string, unknown>[] } }];
  const { Replicas, ...Properties } = properties;
  return { ...Properties, replica: Replicas.at(-1), replicas: Replicas };
}
const made = (props: LockTableProps, stack = newStack()) => {
  const lockTable = new LockTable(stack, 'Locks', props);
  return { stack, lockTable };
};

describe('the options of a lock table', () => {
  test('a lock table counts its most used keys, is warm from the start, has a class and a stream', () => {
    const { stack } = made({
      contributorInsightsSpecification: { enabled: true, mode: ContributorInsightsMode.THROTTLED_KEYS },
      warmThroughput: { readUnitsPerSecond: 15_000, writeUnitsPerSecond: 20_000 },
      tableClass: TableClass.STANDARD_INFREQUENT_ACCESS,
      dynamoStream: StreamViewType.KEYS_ONLY,
    });
    expect(tableOf(stack)).toMatchObject({
      WarmThroughput: { ReadUnitsPerSecond: 15_000, WriteUnitsPerSecond: 20_000 },
      StreamSpecification: { StreamViewType: 'KEYS_ONLY' },
      replica: {
        ContributorInsightsSpecification: { Enabled: true, Mode: 'THROTTLED_KEYS' },
        TableClass: 'STANDARD_INFREQUENT_ACCESS',
      },
    });
    Annotations.fromStack(stack).hasNoWarning('*', Match.anyValue());
  });

  test('a function reads the stream of a lock table', () => {
    const { stack, lockTable } = made({ dynamoStream: StreamViewType.NEW_AND_OLD_IMAGES });
    functionIn(stack).addEventSource(
      new DynamoEventSource(lockTable.table, { startingPosition: StartingPosition.LATEST }),
    );
    Template.fromStack(stack).hasResourceProperties('AWS::Lambda::EventSourceMapping', {
      EventSourceArn: stack.resolve(lockTable.table.tableStreamArn),
    });
  });

  test("a grant to another account stands in a lock table's own policy beside the statements that were given", () => {
    const deny = new PolicyStatement({
      effect: Effect.DENY,
      principals: [new AnyPrincipal()],
      actions: ['dynamodb:*'],
      resources: ['*'],
      conditions: { StringNotEquals: { 'aws:SourceVpce': 'vpce-1' } },
    });
    const resourcePolicy = new PolicyDocument({ statements: [deny] });
    const { stack, lockTable } = made({ resourcePolicy }, newStack('Stack', ENV));
    lockTable.grants.inspect(new AccountPrincipal('222222222222'), { keys: ['a'] });
    expect(tableOf(stack).replica).toMatchObject({
      ResourcePolicy: {
        PolicyDocument: {
          Statement: [
            { Effect: 'Deny', Action: 'dynamodb:*' },
            { Effect: 'Allow', Action: 'dynamodb:GetItem' },
          ],
        },
      },
    });
  });

  test('the CDK tags a lock table', () => {
    const { stack, lockTable } = made({});
    Tags.of(lockTable).add('team', 'billing');
    expect(tableOf(stack).replica).toMatchObject({ Tags: [{ Key: 'team', Value: 'billing' }] });
  });

  test('a lock table with point-in-time recovery warns that a restored table gives out fencing tokens a second time, and says where to read on', () => {
    const { stack } = made({
      pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true, recoveryPeriodInDays: 7 },
    });
    expect(tableOf(stack).replica).toMatchObject({
      PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true, RecoveryPeriodInDays: 7 },
    });
    Annotations.fromStack(stack).hasWarning(
      '/Stack/Locks',
      Match.stringLikeRegexp('fencing tokens a second time.*docs/moving-a-table.md#restoring'),
    );
    const off = made({ pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: false } });
    Annotations.fromStack(off.stack).hasNoWarning('*', Match.anyValue());
  });

  test('a lock table takes values that come with the deployment', () => {
    const { stack } = made({
      warmThroughput: { writeUnitsPerSecond: Lazy.number({ produce: () => 20_000 }) },
      tableClass: bad(Lazy.string({ produce: () => 'STANDARD' })),
      contributorInsightsSpecification: { enabled: bad(Token.asAny(true)) },
    });
    expect(tableOf(stack)).toMatchObject({ WarmThroughput: { WriteUnitsPerSecond: 20_000 } });
  });

  test('a lock table with strong consistency across Regions has every option, in each Region', () => {
    const { stack } = made(
      {
        replicas: ['us-east-2'],
        witnessRegion: 'us-west-2',
        multiRegionConsistency: MultiRegionConsistency.STRONG,
        timeToLive: false,
        contributorInsightsSpecification: { enabled: true },
        warmThroughput: { writeUnitsPerSecond: 20_000 },
        tableClass: TableClass.STANDARD_INFREQUENT_ACCESS,
        dynamoStream: StreamViewType.KEYS_ONLY,
        pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
      },
      newStack('Stack', ENV),
    );
    const inEach = {
      ContributorInsightsSpecification: { Enabled: true },
      TableClass: 'STANDARD_INFREQUENT_ACCESS',
      PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
    };
    expect(tableOf(stack)).toMatchObject({
      MultiRegionConsistency: 'STRONG',
      StreamSpecification: { StreamViewType: 'KEYS_ONLY' },
      replicas: [inEach, inEach],
    });
  });

  test.each<[string, LockTableProps, string]>([
    [
      'a class that is none',
      { tableClass: bad('INFREQUENT') },
      "tableClass must be one of STANDARD, STANDARD_INFREQUENT_ACCESS, but it is 'INFREQUENT'.",
    ],
    [
      'a stream that is a flag',
      { dynamoStream: bad(true) },
      'dynamoStream must be one of NEW_IMAGE, OLD_IMAGE, NEW_AND_OLD_IMAGES, KEYS_ONLY, but it is boolean true.',
    ],
    [
      'insights that are a flag',
      { contributorInsightsSpecification: bad(true) },
      'contributorInsightsSpecification: the options must be a plain object, but they are boolean true.',
    ],
    [
      'insights without a flag',
      { contributorInsightsSpecification: bad({}) },
      'contributorInsightsSpecification.enabled must be true or false, but it is undefined.',
    ],
    [
      'insights of an unknown mode',
      { contributorInsightsSpecification: { enabled: true, mode: bad('ALL') } },
      "contributorInsightsSpecification.mode must be one of ACCESSED_AND_THROTTLED_KEYS, THROTTLED_KEYS, but it is 'ALL'.",
    ],
    [
      'a throughput of nothing',
      { warmThroughput: {} },
      'warmThroughput must have readUnitsPerSecond, writeUnitsPerSecond or both, but it has neither;',
    ],
    [
      'a throughput of zero',
      { warmThroughput: { writeUnitsPerSecond: 0 } },
      'warmThroughput.writeUnitsPerSecond must be a whole number from 1, but it is number 0.',
    ],
    [
      'a throughput of part of a read',
      { warmThroughput: { readUnitsPerSecond: 1.5 } },
      'warmThroughput.readUnitsPerSecond must be a whole number from 1, but it is number 1.5.',
    ],
    [
      'a throughput with a misspelled name',
      { warmThroughput: bad({ writeUnits: 20_000 }) },
      "warmThroughput has no option 'writeUnits'; did you mean 'writeUnitsPerSecond'?",
    ],
    [
      'a policy that is a statement',
      { resourcePolicy: bad({ Statement: [] }) },
      'resourcePolicy must be a PolicyDocument, such as new PolicyDocument({ statements: […] }), but it is ',
    ],
    [
      'a recovery that is a flag',
      { pointInTimeRecoverySpecification: bad(true) },
      'pointInTimeRecoverySpecification: the options must be a plain object, but they are boolean true.',
    ],
    [
      'a recovery of more than 35 days',
      { pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true, recoveryPeriodInDays: 36 } },
      'recoveryPeriodInDays must be a whole number from 1 to 35, for a recovery that is on, but it is number 36.',
    ],
    [
      'days of a recovery that come with the deployment',
      {
        pointInTimeRecoverySpecification: {
          pointInTimeRecoveryEnabled: true,
          recoveryPeriodInDays: Lazy.number({ produce: () => 7 }),
        },
      },
      'but it is a token, known at deployment only.',
    ],
    [
      'the days of a recovery that is off',
      { pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: false, recoveryPeriodInDays: 7 } },
      'for a recovery that is on, but it is 7 while recovery is off.',
    ],
    ['a TTL that is a text', { timeToLive: 'false' as never }, "timeToLive must be true or false, but it is 'false'."],
    ['a protection that is a text', { deletionProtection: 'yes' as never }, 'deletionProtection must be true or false'],
    [
      'a removal that is no policy',
      { removalPolicy: 'DESTROY' as never },
      'removalPolicy must be a RemovalPolicy, one of destroy, ',
    ],
    [
      'replicas that are a text',
      { replicas: 'us-west-2' as never },
      "replicas must be an array of Regions, such as ['us-east-1'], but it is 'us-west-2'.",
    ],
    [
      'replicas as a TableV2 takes them',
      { replicas: [{ region: 'us-west-2' }] as never },
      'replicas must be an array of Regions',
    ],
  ])('a lock table refuses %s, naming its path and the value', (_, props, message) => {
    const refused = () => made(props);
    expect(refused).toThrow(TypeError);
    expect(refused).toThrow(message);
    expect(refused).toThrow('[Stack/Locks]');
  });
});
