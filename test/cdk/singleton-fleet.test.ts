import { describe, expect, test } from '@jest/globals';
import { App, Duration, Lazy, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import type { IAlarmAction } from 'aws-cdk-lib/aws-cloudwatch';
import { Schedule as EventsSchedule } from 'aws-cdk-lib/aws-events';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import { ScheduleExpression } from 'aws-cdk-lib/aws-scheduler';
import { Queue } from 'aws-cdk-lib/aws-sqs';
import { LockTable, SingletonFleet, type SingletonFleetProps } from '../../lib/cdk/index.ts';

const newStack = () =>
  new Stack(new App({ builtinCloudFormationValidation: false, analyticsReporting: false }), 'Stack');
const functionIn = (stack: Stack, id = 'Worker', props: Partial<lambda.FunctionProps> = {}) =>
  new lambda.Function(stack, id, {
    runtime: lambda.Runtime.NODEJS_24_X,
    handler: 'index.handler',
    code: lambda.Code.fromInline('exports.handler = async () => {}'),
    ...props,
  });
const nightly = ScheduleExpression.cron({ hour: '2', minute: '0' });

/** The template of a stack with a fleet of three, whose props `change` may replace. */
function templateOf(change: (stack: Stack) => Partial<SingletonFleetProps> = () => ({})) {
  const stack = newStack();
  const fleet = new SingletonFleet(stack, 'Fleet', {
    function: functionIn(stack),
    schedule: nightly,
    workers: 3,
    keyPrefixes: ['jobs/'],
    ...change(stack),
  });
  return { stack, fleet, template: Template.fromStack(stack) };
}
const propertiesOf = (template: Template, type: string) =>
  Object.values(template.findResources(type)).map(({ Properties }) => Properties as Record<string, unknown>);

describe('SingletonFleet', () => {
  test('the template of a fleet has not changed', () => {
    expect(templateOf().template.toJSON()).toMatchSnapshot();
  });

  test("a fleet has a schedule for each worker, whose input has the worker's number, the number of workers and the scheduled time", () => {
    const { fleet, template } = templateOf();
    const schedules = propertiesOf(template, 'AWS::Scheduler::Schedule');
    expect(schedules.map(({ Target }) => JSON.parse((Target as { Input: string }).Input))).toEqual(
      [0, 1, 2].map((number) => ({ worker: { number, of: 3 }, time: '<aws.scheduler.scheduled-time>' })),
    );
    for (const schedule of schedules) {
      expect(schedule).toMatchObject({
        ScheduleExpression: 'cron(0 2 * * ? *)',
        FlexibleTimeWindow: { Mode: 'OFF' },
        State: 'ENABLED',
      });
    }
    expect(fleet.schedules).toHaveLength(3);
  });

  test('a fleet retries at neither level, and sends failed inputs to one queue that enforces TLS', () => {
    const { stack, fleet, template } = templateOf();
    const queue = stack.resolve(fleet.deadLetterQueue.queueArn);
    for (const { Target } of propertiesOf(template, 'AWS::Scheduler::Schedule')) {
      expect(Target).toMatchObject({ RetryPolicy: { MaximumRetryAttempts: 0 }, DeadLetterConfig: { Arn: queue } });
    }
    expect(propertiesOf(template, 'AWS::Lambda::EventInvokeConfig')).toMatchObject([
      { MaximumRetryAttempts: 0, DestinationConfig: { OnFailure: { Destination: queue } } },
    ]);
    expect(propertiesOf(template, 'AWS::SQS::Queue')).toEqual([{ MessageRetentionPeriod: 14 * 86_400 }]);
    expect(propertiesOf(template, 'AWS::SQS::QueuePolicy')).toMatchObject([
      {
        PolicyDocument: {
          Statement: [
            {
              Effect: 'Deny',
              Action: 'sqs:*',
              Condition: { Bool: { 'aws:SecureTransport': 'false' } },
              Resource: queue,
            },
          ],
        },
      },
    ]);
  });

  test("a fleet's schedules may start the function, no version of it, and send to the queue, and nothing else", () => {
    const { stack, fleet, template } = templateOf();
    const policies = template.findResources('AWS::IAM::Policy');
    const statements = Object.keys(policies).flatMap((id) =>
      id.startsWith('Fleet') ? policies[id]?.Properties.PolicyDocument.Statement : [],
    );
    const fn = { 'Fn::GetAtt': [expect.stringMatching(/^Worker/), 'Arn'] };
    expect(statements).toEqual([
      {
        Effect: 'Allow',
        Action: 'lambda:InvokeFunction',
        Resource: [{ 'Fn::Join': ['', [fn, ':$LATEST']] }, fn],
      },
      {
        Effect: 'Allow',
        Action: ['sqs:SendMessage', 'sqs:GetQueueAttributes', 'sqs:GetQueueUrl'],
        Resource: stack.resolve(fleet.deadLetterQueue.queueArn),
      },
    ]);
    template.hasResourceProperties('AWS::IAM::Role', {
      AssumeRolePolicyDocument: {
        Statement: [
          {
            Principal: { Service: 'scheduler.amazonaws.com' },
            Condition: { StringEquals: { 'aws:SourceAccount': { Ref: 'AWS::AccountId' } } },
          },
        ],
      },
    });
  });

  test.each([
    ['without guarded writes', {}, ['dynamodb:UpdateItem', 'dynamodb:GetItem', 'dynamodb:BatchGetItem']],
    [
      'with guarded writes',
      { guardedWrites: true },
      ['dynamodb:UpdateItem', 'dynamodb:GetItem', 'dynamodb:BatchGetItem', 'dynamodb:ConditionCheckItem'],
    ],
  ])('a fleet makes its function a user of the lock table, %s', (_, props, Action) => {
    const { stack, fleet, template } = templateOf(() => props);
    template.hasResourceProperties('AWS::Lambda::Function', {
      Environment: { Variables: { LOCK_TABLE_NAME: stack.resolve(fleet.lockTable.tableName) } },
    });
    const statements = propertiesOf(template, 'AWS::IAM::Policy').flatMap(
      ({ PolicyDocument }) => (PolicyDocument as { Statement: unknown[] }).Statement,
    );
    expect(statements).toContainEqual({
      Effect: 'Allow',
      Action,
      Resource: stack.resolve(fleet.lockTable.tableArn),
      Condition: {
        'ForAllValues:StringLike': { 'dynamodb:LeadingKeys': ['jobs/*'] },
        Null: { 'dynamodb:LeadingKeys': 'false' },
      },
    });
  });

  test('a fleet makes a table with alarms, and adds no alarm to a table that is given', () => {
    const own = templateOf();
    own.template.resourceCountIs('AWS::DynamoDB::GlobalTable', 1);
    own.template.resourceCountIs('AWS::CloudWatch::Alarm', 5);
    expect(own.fleet.alarms).toHaveLength(5);

    const given = templateOf((stack) => ({ lockTable: LockTable.fromLockTableName(stack, 'Locks', 'locks') }));
    given.template.resourceCountIs('AWS::DynamoDB::GlobalTable', 0);
    expect(given.fleet.lockTable.tableName).toBe('locks');
    expect(given.fleet.alarms).toEqual([given.fleet.workerFailed]);
    given.template.resourceCountIs('AWS::CloudWatch::Alarm', 1);
  });

  test('a fleet shares a table with another fleet', () => {
    const stack = newStack();
    const lockTable = new LockTable(stack, 'Locks');
    for (const id of ['One', 'Two']) {
      const props = { schedule: nightly, workers: 2, keyPrefixes: [`${id}/`], lockTable };
      new SingletonFleet(stack, id, { function: functionIn(stack, `${id}Worker`), ...props });
    }
    Template.fromStack(stack).resourceCountIs('AWS::Scheduler::Schedule', 4);
  });

  test("a fleet's alarm goes off when anything lies in the dead-letter queue, and never for silence", () => {
    const { stack, fleet, template } = templateOf();
    const [alarm] = propertiesOf(template, 'AWS::CloudWatch::Alarm').filter(({ Namespace }) => Namespace === 'AWS/SQS');
    expect(alarm).toMatchObject({
      MetricName: 'ApproximateNumberOfMessagesVisible',
      Dimensions: [{ Name: 'QueueName', Value: stack.resolve(fleet.deadLetterQueue.queueName) }],
      Statistic: 'Maximum',
      ComparisonOperator: 'GreaterThanOrEqualToThreshold',
      Threshold: 1,
      EvaluationPeriods: 1,
      TreatMissingData: 'notBreaching',
    });
  });

  test('every alarm of a fleet has the actions that the props name', () => {
    const action: IAlarmAction = { bind: () => ({ alarmActionArn: 'arn:aws:sns:us-east-1:111111111111:pager' }) };
    const { template } = templateOf(() => ({ alarmActions: [action] }));
    template.allResourcesProperties('AWS::CloudWatch::Alarm', {
      AlarmActions: ['arn:aws:sns:us-east-1:111111111111:pager'],
    });
  });

  test('a fleet sends to a queue that is given', () => {
    const { stack, template } = templateOf((stack) => ({ deadLetterQueue: new Queue(stack, 'Shared') }));
    template.resourceCountIs('AWS::SQS::Queue', 1);
    const shared = stack.resolve((stack.node.findChild('Shared') as Queue).queueArn);
    expect(JSON.stringify(propertiesOf(template, 'AWS::Scheduler::Schedule'))).toContain(JSON.stringify(shared));
  });

  test('a fleet takes from 1 to 450 workers', () => {
    for (const workers of [1, 450]) {
      templateOf(() => ({ workers })).template.resourceCountIs('AWS::Scheduler::Schedule', workers);
    }
  });

  const bad = (value: unknown) => value as never;
  test.each<[string, (stack: Stack) => Partial<SingletonFleetProps>, string | RegExp]>([
    ['no worker', () => ({ workers: 0 }), 'workers must be a whole number from 1 to 450, but it is 0.'],
    ['too many workers', () => ({ workers: 451 }), 'workers must be a whole number from 1 to 450, but it is 451.'],
    ['part of a worker', () => ({ workers: 2.5 }), 'but it is 2.5.'],
    ['NaN workers', () => ({ workers: Number.NaN }), 'but it is NaN.'],
    ['workers that are no number', () => ({ workers: bad('3') }), 'workers must be a whole number'],
    ['missing workers', () => ({ workers: bad(undefined) }), 'but it is undefined.'],
    [
      'workers that come with the deployment',
      () => ({ workers: Lazy.number({ produce: () => 3 }) }),
      'but it is a token, known at deployment only.',
    ],
    [
      'a missing schedule',
      () => ({ schedule: bad(undefined) }),
      /schedule must be a ScheduleExpression, such as .* but it is undefined/,
    ],
    [
      'a schedule that is a string',
      () => ({ schedule: bad('rate(1 hour)') }),
      /schedule must be a ScheduleExpression, .* but it is 'rate\(1 hour\)'/,
    ],
    ['no key prefix', () => ({ keyPrefixes: [] }), 'a grant must name its locks by keyPrefixes or keys'],
    ['missing key prefixes', () => ({ keyPrefixes: bad(undefined) }), 'a grant must name its locks by keyPrefixes'],
    [
      'a key prefix with a wildcard',
      () => ({ keyPrefixes: ['jobs/*'] }),
      "keyPrefixes[0] must hold no wildcard (* or ?), but it is 'jobs/*'",
    ],
    ['an empty key prefix', () => ({ keyPrefixes: ['jobs/', ''] }), "keyPrefixes[1] must not be empty, but it is ''."],
    ['a missing function', () => ({ function: bad(undefined) }), 'function must be a Function'],
    [
      'an imported function',
      (stack) => ({ function: bad(lambda.Function.fromFunctionName(stack, 'Imported', 'worker')) }),
      /function must be a Function of the Lambda module, but it is object .*Imported/,
    ],
    [
      'a function that has set its retries itself',
      (stack) => ({ function: functionIn(stack, 'Retried', { retryAttempts: 2 }) }),
      'function must leave its asynchronous invocations to the fleet, but Stack/Retried has set them up already',
    ],
    [
      'a FIFO queue',
      (stack) => ({ deadLetterQueue: new Queue(stack, 'Letters', { fifo: true }) }),
      /deadLetterQueue must be a standard queue, .* but Stack\/Letters is a FIFO queue/,
    ],
    [
      'a prop whose name is misspelled',
      () => ({ worker: 3 }) as Partial<SingletonFleetProps>,
      /SingletonFleet has no option 'worker'; did you mean 'workers'\?/,
    ],
  ])('a fleet refuses %s, naming its path and the value', (_, change, message) => {
    const make = () => templateOf(change);
    expect(make).toThrow(TypeError);
    expect(make).toThrow(message);
    expect(make).toThrow('[Stack/Fleet]');
  });

  test('a fleet refuses the function of another fleet', () => {
    const { stack, fleet } = templateOf();
    const { lockTable } = fleet;
    const worker = stack.node.findChild('Worker') as lambda.Function;
    const props = { function: worker, schedule: nightly, workers: 2, keyPrefixes: ['jobs/'], lockTable };
    expect(() => new SingletonFleet(stack, 'Second', props)).toThrow(
      /\[Stack\/Second\] function must leave .* but Stack\/Worker .* or as the function of another fleet/,
    );
  });

  test('a fleet takes any expression of the CDK’s, a rule’s as well', () => {
    const { template } = templateOf(() => ({ schedule: EventsSchedule.rate(Duration.hours(1)) as ScheduleExpression }));
    template.hasResourceProperties('AWS::Scheduler::Schedule', { ScheduleExpression: 'rate(1 hour)' });
  });
});
