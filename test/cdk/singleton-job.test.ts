import { describe, expect, test } from '@jest/globals';
import { Duration, type Stack, TimeZone } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { ScheduleExpression } from 'aws-cdk-lib/aws-scheduler';
import { LockTable, SingletonJob, type SingletonJobProps } from '../../lib/cdk/index.ts';
import { functionIn, newStack, nightly, propertiesOf, statementsOf, workerIn } from './stacks.ts';

/** The template of a stack with a job, whose props `change` may replace. */
function templateOf(change: (stack: Stack) => Partial<SingletonJobProps> = () => ({})) {
  const stack = newStack();
  const job = new SingletonJob(stack, 'Job', {
    function: functionIn(stack),
    schedules: [nightly],
    key: 'nightly-report',
    ...change(stack),
  });
  return { stack, job, template: Template.fromStack(stack) };
}

describe('SingletonJob', () => {
  test('each schedule of a job starts the function with the time that the schedule is for', () => {
    const inMoscow = ScheduleExpression.cron({ hour: '14', minute: '0', timeZone: TimeZone.EUROPE_MOSCOW });
    const { stack, job, template } = templateOf(() => ({
      schedules: [nightly, inMoscow, ScheduleExpression.rate(Duration.hours(1))],
    }));
    const Target = {
      Arn: stack.resolve(workerIn(stack).functionArn),
      Input: '{"time":"<aws.scheduler.scheduled-time>"}',
    };
    const FlexibleTimeWindow = { Mode: 'OFF' };
    expect(propertiesOf(template, 'AWS::Scheduler::Schedule')).toMatchObject([
      { ScheduleExpression: 'cron(0 2 * * ? *)', State: 'ENABLED', FlexibleTimeWindow, Target },
      { ScheduleExpression: 'cron(0 14 * * ? *)', ScheduleExpressionTimezone: 'Europe/Moscow', Target },
      { ScheduleExpression: 'rate(1 hour)', Target },
    ]);
    expect(job.schedules).toHaveLength(3);
  });

  test('two schedules of a job for the same time are two schedules: the lock lets one of their runs begin', () => {
    const { template } = templateOf(() => ({ schedules: [nightly, nightly] }));
    const [first, second] = propertiesOf(template, 'AWS::Scheduler::Schedule');
    expect(first).toEqual(second);
  });

  test('a job makes its function a user of one lock, and with guarded writes of transactions on that lock', () => {
    const locks = (props: Partial<SingletonJobProps>) => {
      const { stack, job } = templateOf(() => props);
      return statementsOf(stack).filter(({ Resource }) =>
        [Resource].flat().some((arn) => JSON.stringify(arn) === JSON.stringify(stack.resolve(job.lockTable.tableArn))),
      );
    };
    const statement = (Action: string[]) => ({
      Effect: 'Allow',
      Action,
      Resource: { 'Fn::GetAtt': [expect.stringMatching(/^JobLocks/), 'Arn'] },
      Condition: {
        'ForAllValues:StringLike': { 'dynamodb:LeadingKeys': ['nightly-report'] },
        Null: { 'dynamodb:LeadingKeys': 'false' },
      },
    });
    expect(locks({})).toEqual([statement(['dynamodb:UpdateItem', 'dynamodb:GetItem'])]);
    expect(locks({ guardedWrites: true })).toEqual([
      statement(['dynamodb:UpdateItem', 'dynamodb:GetItem', 'dynamodb:ConditionCheckItem']),
    ]);
  });

  test("a job's function may be granted more locks of the job's table", () => {
    const stack = newStack();
    const fn = functionIn(stack);
    const { lockTable } = new SingletonJob(stack, 'Job', { function: fn, schedules: [nightly], key: 'nightly-report' });
    lockTable.attach(fn, { keyPrefixes: ['customers/'] });
    expect(JSON.stringify(statementsOf(stack))).toContain('customers/*');
  });

  test('a job tries a start again for 15 minutes and a run never, and sends what failed to one queue that enforces TLS', () => {
    const { stack, job, template } = templateOf(() => ({ schedules: [nightly, nightly] }));
    const queue = stack.resolve(job.deadLetterQueue.queueArn);
    const Target = { RetryPolicy: { MaximumEventAgeInSeconds: 900 }, DeadLetterConfig: { Arn: queue } };
    expect(propertiesOf(template, 'AWS::Scheduler::Schedule')).toMatchObject([{ Target }, { Target }]);
    expect(propertiesOf(template, 'AWS::Lambda::EventInvokeConfig')).toMatchObject([
      { MaximumRetryAttempts: 0, Qualifier: '$LATEST', DestinationConfig: { OnFailure: { Destination: queue } } },
    ]);
    expect(propertiesOf(template, 'AWS::SQS::Queue')).toEqual([{ MessageRetentionPeriod: 14 * 86_400 }]);
    expect(JSON.stringify(propertiesOf(template, 'AWS::SQS::QueuePolicy'))).toContain('"aws:SecureTransport":"false"');
  });

  test('the schedules of a job may start the function, no version of it, and send to the queue, and nothing else', () => {
    const { stack, job, template } = templateOf(() => ({ schedules: [nightly, nightly] }));
    const [clock, ...others] = Object.entries(template.findResources('AWS::IAM::Policy')).filter(([id]) =>
      id.startsWith('JobSchedulerRole'),
    );
    expect(others).toEqual([]);
    const fn = stack.resolve(workerIn(stack).functionArn);
    expect(clock?.[1].Properties.PolicyDocument.Statement).toEqual([
      {
        Effect: 'Allow',
        Action: 'lambda:InvokeFunction',
        Resource: [fn, { 'Fn::Join': ['', [fn, ':$LATEST']] }].reverse(),
      },
      {
        Effect: 'Allow',
        Action: ['sqs:SendMessage', 'sqs:GetQueueAttributes', 'sqs:GetQueueUrl'],
        Resource: stack.resolve(job.deadLetterQueue.queueArn),
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

  test("a job's alarm goes off when an event is sent to the dead-letter queue, and never for silence", () => {
    const { stack, job, template } = templateOf();
    expect(job.alarms).toHaveLength(5);
    expect(job.alarms[0]).toBe(job.failed);
    template.hasResourceProperties('AWS::CloudWatch::Alarm', {
      ComparisonOperator: 'GreaterThanOrEqualToThreshold',
      Threshold: 1,
      EvaluationPeriods: 20,
      DatapointsToAlarm: 1,
      TreatMissingData: 'notBreaching',
      Metrics: [
        { Expression: 'FILL(sent, 0)' },
        {
          Id: 'sent',
          MetricStat: {
            Stat: 'Sum',
            Period: 60,
            Metric: {
              MetricName: 'NumberOfMessagesSent',
              Dimensions: [{ Name: 'QueueName', Value: stack.resolve(job.deadLetterQueue.queueName) }],
            },
          },
        },
      ],
    });
  });

  test('silence of its function on the lock table sets off the alarm of a job that must run within a time', () => {
    const { stack, job, template } = templateOf(() => ({ runsWithin: Duration.hours(25) }));
    expect(job.alarms).toContain(job.didNotRun);
    template.hasResourceProperties('AWS::CloudWatch::Alarm', {
      MetricName: 'Acquired',
      Dimensions: [
        { Name: 'function', Value: stack.resolve(workerIn(stack).functionName) },
        { Name: 'table', Value: stack.resolve(job.lockTable.tableName) },
      ],
      Statistic: 'Sum',
      Period: 3_600,
      EvaluationPeriods: 25,
      Threshold: 1,
      ComparisonOperator: 'LessThanThreshold',
      TreatMissingData: 'breaching',
    });
    template.hasResourceProperties('AWS::Lambda::Function', { Environment: { Variables: { LOCK_METRICS: 'emf' } } });
  });

  test('two jobs with one key are warned of, unless they share a table', () => {
    const warned = (share: boolean) => {
      const stack = newStack();
      const lockTable = new LockTable(stack, 'Locks', { retention: Duration.days(15) });
      for (const id of ['A', 'B']) {
        const fn = functionIn(stack, `${id}Fn`);
        new SingletonJob(stack, id, { function: fn, schedules: [nightly], key: 'one', ...(share && { lockTable }) });
      }
      return Annotations.fromStack(stack).findWarning('*', Match.stringLikeRegexp('the two jobs do not exclude'));
    };
    expect(warned(false)).toMatchObject([
      { id: '/Stack/B', entry: { data: expect.stringContaining("Stack/A has the key 'one', too") } },
    ]);
    expect(warned(true)).toEqual([]);
  });

  test('two jobs share a table', () => {
    const stack = newStack();
    const lockTable = new LockTable(stack, 'Locks', { retention: Duration.days(15) });
    for (const key of ['one', 'two']) {
      new SingletonJob(stack, key, { function: functionIn(stack, `${key}Fn`), schedules: [nightly], key, lockTable });
    }
    const template = Template.fromStack(stack);
    template.resourceCountIs('AWS::DynamoDB::GlobalTable', 1);
    template.resourceCountIs('AWS::CloudWatch::Alarm', 2);
  });

  const bad = (value: unknown) => value as never;
  test.each<[string, Partial<SingletonJobProps>, string]>([
    ['no schedule', { schedules: [] }, 'schedules must be an array of one ScheduleExpression or more'],
    ['missing schedules', { schedules: bad(undefined) }, 'but it is undefined.'],
    ['one schedule without an array', { schedules: bad(nightly) }, 'schedules must be an array of one'],
    [
      'a schedule that is a string',
      { schedules: [nightly, bad('rate(1 hour)')] },
      "schedules[1] must be a ScheduleExpression, such as ScheduleExpression.cron({ hour: '2', minute: '0' }), but it is 'rate(1 hour)'.",
    ],
    ['a missing key', { key: bad(undefined) }, 'key must be a string, but it is undefined.'],
    ['an empty key', { key: '' }, "key must not be empty, but it is ''."],
    ['a key with a wildcard', { key: 'nightly/*' }, "key must hold no wildcard (* or ?), but it is 'nightly/*'"],
    ['a misspelled prop', bad({ schedule: nightly }), "has no option 'schedule'; did you mean 'schedules'?"],
  ])('a job refuses %s, naming its path and the value', (_, props, message) => {
    const make = () => templateOf(() => props);
    expect(make).toThrow(TypeError);
    expect(make).toThrow(message);
    expect(make).toThrow('[Stack/Job]');
  });
});
