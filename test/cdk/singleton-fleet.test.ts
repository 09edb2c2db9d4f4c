import { describe, expect, test } from '@jest/globals';
import { type App, Duration, Lazy, NestedStack, Stack } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import type { IAlarmAction } from 'aws-cdk-lib/aws-cloudwatch';
import { TableV2 } from 'aws-cdk-lib/aws-dynamodb';
import { Schedule as EventsSchedule } from 'aws-cdk-lib/aws-events';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import { ScheduleExpression } from 'aws-cdk-lib/aws-scheduler';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { Queue } from 'aws-cdk-lib/aws-sqs';
import { execute } from '../../demo/local/state-machine.ts';
import { LockTable, SingletonFleet, type SingletonFleetProps } from '../../lib/cdk/index.ts';
import { functionIn, newStack, nightly, propertiesOf, workerIn } from './stacks.ts';

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

describe('SingletonFleet', () => {
  test('the template of a fleet has not changed', () => {
    expect(templateOf().template.toJSON()).toMatchSnapshot();
  });

  const definitionOf = (template: Template) => {
    const [machine] = propertiesOf(template, 'AWS::StepFunctions::StateMachine');
    const { DefinitionString } = machine as { DefinitionString: { 'Fn::Join': [string, unknown[]] } };
    const [separator, parts] = DefinitionString['Fn::Join'];
    const text = parts.map((part) => (typeof part === 'string' ? part : JSON.stringify(part).replaceAll('"', "'")));
    return JSON.parse(text.join(separator));
  };

  test('a fleet has one schedule, so that every worker has the time of that schedule, whatever its expression', () => {
    const { fleet, template } = templateOf(() => ({ schedule: ScheduleExpression.rate(Duration.minutes(10)) }));
    expect(propertiesOf(template, 'AWS::Scheduler::Schedule')).toMatchObject([
      {
        ScheduleExpression: 'rate(10 minutes)',
        FlexibleTimeWindow: { Mode: 'OFF' },
        State: 'ENABLED',
        Target: { Input: '{"time":"<aws.scheduler.scheduled-time>"}' },
      },
    ]);
    template.resourceCountIs('AWS::StepFunctions::StateMachine', 1);
    expect(fleet.schedule.scheduleName).toBeDefined();
    expect(fleet.starter.stateMachineArn).toBeDefined();
  });

  test("a fleet's state machine starts each worker with its number, the number of workers and the scheduled time, and waits for none", async () => {
    const { stack, template } = templateOf();
    const started: unknown[] = [];
    await execute(definitionOf(template), { time: '2026-01-01T02:00:00Z' }, async (functionArn, input) => {
      expect(functionArn).toBe(JSON.stringify(stack.resolve(workerIn(stack).functionArn)).replaceAll('"', "'"));
      started.push(input);
    });
    const time = '2026-01-01T02:00:00Z';
    expect(started).toEqual([0, 1, 2].map((number) => ({ worker: { number, of: 3 }, time })));
    const { Start } = definitionOf(template).States.Workers.ItemProcessor.States;
    expect(Start.Arguments.InvocationType).toBe('Event');
  });

  test('a worker of a fleet that cannot be started leaves its input in the dead-letter queue, and keeps no other from starting', () => {
    const { stack, fleet, template } = templateOf();
    const { Start, Keep } = definitionOf(template).States.Workers.ItemProcessor.States;
    expect(Start).toMatchObject({
      Retry: [{ ErrorEquals: ['States.ALL'], MaxAttempts: 5 }],
      Catch: [{ ErrorEquals: ['States.ALL'], Output: '{% $states.input %}', Next: 'Keep' }],
    });
    expect(Keep).toMatchObject({
      Resource: expect.stringMatching(/states:::sqs:sendMessage$/),
      Arguments: {
        QueueUrl: JSON.stringify(stack.resolve(fleet.deadLetterQueue.queueUrl)).replaceAll('"', "'"),
        MessageBody: '{% $string($states.input) %}',
      },
    });
  });

  test('a fleet tries no worker again, and sends failed inputs to one queue that enforces TLS', () => {
    const { stack, fleet, template } = templateOf();
    const queue = stack.resolve(fleet.deadLetterQueue.queueArn);
    expect(propertiesOf(template, 'AWS::Scheduler::Schedule')).toMatchObject([
      { Target: { RetryPolicy: { MaximumEventAgeInSeconds: 900 }, DeadLetterConfig: { Arn: queue } } },
    ]);
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

  test("a fleet's state machine may start the function, no version of it, and send to the queue; its schedule may start the machine and send to the queue; neither may do anything else", () => {
    const { stack, fleet, template } = templateOf();
    const policies = template.findResources('AWS::IAM::Policy');
    const statements = Object.keys(policies).flatMap((id) =>
      id.startsWith('Fleet') ? policies[id]?.Properties.PolicyDocument.Statement : [],
    );
    const fn = { 'Fn::GetAtt': [expect.stringMatching(/^Worker/), 'Arn'] };
    const send = {
      Effect: 'Allow',
      Action: ['sqs:SendMessage', 'sqs:GetQueueAttributes', 'sqs:GetQueueUrl'],
      Resource: stack.resolve(fleet.deadLetterQueue.queueArn),
    };
    expect(statements).toEqual([
      {
        Effect: 'Allow',
        Action: 'lambda:InvokeFunction',
        Resource: [{ 'Fn::Join': ['', [fn, ':$LATEST']] }, fn],
      },
      send,
      { Effect: 'Allow', Action: 'states:StartExecution', Resource: stack.resolve(fleet.starter.stateMachineArn) },
      send,
    ]);
    for (const Service of ['scheduler.amazonaws.com', 'states.amazonaws.com']) {
      template.hasResourceProperties('AWS::IAM::Role', {
        AssumeRolePolicyDocument: {
          Statement: [
            {
              Principal: { Service },
              Condition: { StringEquals: { 'aws:SourceAccount': { Ref: 'AWS::AccountId' } } },
            },
          ],
        },
      });
    }
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

  test('the workers of a fleet may take locks with permits beside their tasks', () => {
    const { template } = templateOf(() => ({ permits: { partner: 2 } }));
    const policies = JSON.stringify(template.findResources('AWS::IAM::Policy'));
    expect(policies).toContain('"dynamodb:LeadingKeys":["jobs/*","partner","partner#1"]');
    expect(() => templateOf(() => ({ permits: { partner: 0 } }))).toThrow(
      'permits must be a whole number from 1 to 100',
    );
  });

  test('a fleet shares a table with another fleet', () => {
    const stack = newStack();
    const lockTable = new LockTable(stack, 'Locks');
    for (const id of ['One', 'Two']) {
      const props = { schedule: nightly, workers: 2, keyPrefixes: [`${id}/`], lockTable };
      new SingletonFleet(stack, id, { function: functionIn(stack, `${id}Worker`), ...props });
    }
    Template.fromStack(stack).resourceCountIs('AWS::Scheduler::Schedule', 2);
  });

  test("a fleet's alarm goes off when an input is sent to the dead-letter queue or a start fails, also while earlier inputs lie there, and never for silence", () => {
    const { stack, fleet, template } = templateOf();
    const alarm = propertiesOf(template, 'AWS::CloudWatch::Alarm').find(({ Metrics }) =>
      JSON.stringify(Metrics ?? '').includes('AWS/SQS'),
    );
    expect(alarm).toMatchObject({
      ComparisonOperator: 'GreaterThanOrEqualToThreshold',
      Threshold: 1,
      EvaluationPeriods: 20,
      DatapointsToAlarm: 1,
      TreatMissingData: 'notBreaching',
      Metrics: [
        { Expression: 'FILL(sent, 0) + FILL(failed, 0) + FILL(timedOut, 0)' },
        {
          Id: 'sent',
          MetricStat: {
            Stat: 'Sum',
            Metric: {
              MetricName: 'NumberOfMessagesSent',
              Dimensions: [{ Name: 'QueueName', Value: stack.resolve(fleet.deadLetterQueue.queueName) }],
            },
          },
        },
        { Id: 'failed', MetricStat: { Metric: { MetricName: 'ExecutionsFailed' } } },
        { Id: 'timedOut', MetricStat: { Metric: { MetricName: 'ExecutionsTimedOut' } } },
      ],
    });
  });

  test.each([
    [Duration.hours(25), { Period: 3_600, EvaluationPeriods: 25 }],
    [Duration.days(7), { Period: 3_600, EvaluationPeriods: 168 }],
    [Duration.minutes(15), { Period: 60, EvaluationPeriods: 15 }],
  ])('a fleet that must run within %s has an alarm that silence sets off', (runsWithin, times) => {
    const { fleet, template } = templateOf(() => ({ runsWithin }));
    expect(fleet.alarms).toContain(fleet.didNotRun);
    template.hasResourceProperties('AWS::CloudWatch::Alarm', {
      MetricName: 'ExecutionsSucceeded',
      Statistic: 'Sum',
      Threshold: 1,
      ComparisonOperator: 'LessThanThreshold',
      TreatMissingData: 'breaching',
      ...times,
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

  test('a fleet takes from 1 to 1,000 workers, and its template grows with none of them', () => {
    const size = (workers: number) => JSON.stringify(templateOf(() => ({ workers })).template.toJSON()).length;
    expect(size(1_000) - size(1)).toBeLessThan(10);
  });

  describe('the retention of a fleet', () => {
    const days = (template: Template) => {
      const [queue] = propertiesOf(template, 'AWS::SQS::Queue');
      const [fn] = propertiesOf(template, 'AWS::Lambda::Function');
      const { Variables } = (fn as { Environment: { Variables: Record<string, string> } }).Environment;
      return { queue: Number(queue?.MessageRetentionPeriod) / 86_400, records: Variables.LOCK_RETENTION_DAYS };
    };
    const queueFor = (stack: Stack, retentionPeriod: Duration) => new Queue(stack, 'Letters', { retentionPeriod });

    test('a record of a finished task outlives every input in the dead-letter queue of a fleet', () => {
      expect(days(templateOf().template)).toEqual({ queue: 14, records: '15' });
      const given = templateOf((stack) => ({ deadLetterQueue: queueFor(stack, Duration.hours(60)) }));
      expect(days(given.template)).toEqual({ queue: 2.5, records: '4' });
      const table = templateOf((stack) => ({
        lockTable: new LockTable(stack, 'Mine', { retention: Duration.days(10) }),
      }));
      expect(days(table.template)).toEqual({ queue: 9, records: '10' });
    });

    test('the own queue of a fleet on a table that keeps its records for ever keeps inputs for 14 days', () => {
      const { template } = templateOf((stack) => ({ lockTable: new LockTable(stack, 'Mine', { timeToLive: false }) }));
      expect(days(template)).toEqual({ queue: 14, records: undefined });
    });

    test.each<[string, (stack: Stack) => Partial<SingletonFleetProps>, RegExp]>([
      [
        'a table that forgets before the queue does',
        (stack) => ({
          lockTable: new LockTable(stack, 'Mine'),
          deadLetterQueue: queueFor(stack, Duration.days(14)),
        }),
        /lockTable must have a retention of Duration.days\(15\) or more, since deadLetterQueue Stack\/Letters keeps its messages for 14 days, but Stack\/Mine keeps its records for 7 days/,
      ],
      [
        'an imported table that forgets on the day on which the queue does',
        (stack) => ({
          lockTable: LockTable.fromLockTableName(stack, 'Mine', 'locks'),
          deadLetterQueue: queueFor(stack, Duration.days(7)),
        }),
        /lockTable must have a retention of Duration.days\(8\) or more/,
      ],
      [
        'a table that leaves no day for a queue',
        (stack) => ({ lockTable: new LockTable(stack, 'Mine', { retention: Duration.days(1) }) }),
        /lockTable must keep its records for 2 days or more, .* but Stack\/Mine keeps them for 1 day/,
      ],
    ])('a fleet refuses %s', (_, change, message) => {
      expect(() => templateOf(change)).toThrow(message);
    });

    test('a fleet warns of a queue of which nobody knows for how long it keeps an input', () => {
      const change = (stack: Stack) => ({
        lockTable: new LockTable(stack, 'Mine'),
        deadLetterQueue: Queue.fromQueueArn(stack, 'Letters', 'arn:aws:sqs:us-east-1:111111111111:letters'),
      });
      const { stack } = templateOf(change);
      Annotations.fromStack(stack).hasWarning('/Stack/Fleet', Match.stringLikeRegexp('retention of Duration.days.15.'));
      const own = templateOf((stack) => ({ deadLetterQueue: change(stack).deadLetterQueue }));
      expect(days(own.template).records).toBe('15');
      Annotations.fromStack(own.stack).hasNoWarning('*', Match.anyValue());
    });
  });

  test('a fleet warns of a reserved concurrency below the number of workers', () => {
    const warned = (reserved: number) => {
      const { stack } = templateOf((stack) => ({
        function: functionIn(stack, 'Reserved', {}, { reservedConcurrentExecutions: reserved }),
      }));
      return Annotations.fromStack(stack).findWarning('/Stack/Fleet', Match.anyValue());
    };
    expect(warned(2)).toMatchObject([
      {
        entry: {
          data: expect.stringContaining('Stack/Reserved has a reserved concurrency of 2, so that 1 of 3 workers wait'),
        },
      },
    ]);
    expect(warned(0)).toMatchObject([{ entry: { data: expect.stringContaining('of 0, so that no worker runs,') } }]);
    expect(warned(3)).toEqual([]);
  });

  test('a fleet refuses a function of another stack, and takes one of a nested stack', () => {
    const stack = newStack();
    const other = new Stack(stack.node.root as App, 'Other');
    const props = { schedule: nightly, workers: 2, keyPrefixes: ['jobs/'] };
    expect(() => new SingletonFleet(stack, 'Fleet', { function: functionIn(other), ...props })).toThrow(
      '[Stack/Fleet] function must be in the stack Stack, or each of the two stacks would need the other first, but Other/Worker is in Other; make this construct in that stack, or pass a lockTable and a deadLetterQueue of that stack.',
    );
    const ours = { lockTable: new LockTable(stack, 'Ours'), deadLetterQueue: new Queue(stack, 'OurLetters') };
    expect(
      () => new SingletonFleet(stack, 'OfOurs', { function: functionIn(other, 'Third'), ...ours, ...props }),
    ).toThrow('or pass a lockTable and a deadLetterQueue of that stack.');
    const nested = new NestedStack(stack, 'Nested');
    new SingletonFleet(stack, 'OfNested', { function: functionIn(nested), ...props });
    new SingletonFleet(stack, 'OfOther', {
      function: functionIn(other, 'Second'),
      lockTable: new LockTable(other, 'Locks'),
      deadLetterQueue: new Queue(other, 'Letters'),
      ...props,
    });
    expect(() => (stack.node.root as App).synth()).not.toThrow();
  });

  const bad = (value: unknown) => value as never;
  test.each<[string, (stack: Stack) => Partial<SingletonFleetProps>, string | RegExp]>([
    [
      'a table that is no lock table',
      (stack) => ({ lockTable: bad(TableV2.fromTableName(stack, 'Table', 'locks')) }),
      'lockTable must be a LockTable, or one of LockTable.fromLockTableName(), but it is Stack/Table.',
    ],
    [
      'a topic in the place of the queue',
      (stack) => ({ deadLetterQueue: bad(new Topic(stack, 'Topic')) }),
      'deadLetterQueue must be a Queue, but it is Stack/Topic.',
    ],
    ['no worker', () => ({ workers: 0 }), 'workers must be a whole number from 1 to 1,000, but it is 0.'],
    ['too many workers', () => ({ workers: 1_001 }), 'workers must be a whole number from 1 to 1,000, but it is 1001.'],
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
    ['no key prefix', () => ({ keyPrefixes: [] }), "keyPrefixes must name the locks of the workers' tasks"],
    [
      'missing key prefixes',
      () => ({ keyPrefixes: bad(undefined) }),
      "keyPrefixes must name the locks of the workers' tasks",
    ],
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
      /function must be a Function of this app, or an Alias of one, but it is the imported function Stack\/Imported/,
    ],
    [
      'a time within which it must run that CloudWatch cannot look back',
      () => ({ runsWithin: Duration.days(8) }),
      'runsWithin must be whole hours up to 7 days, or whole minutes up to a day, but it is',
    ],
    [
      'a version',
      (stack) => ({ function: bad(functionIn(stack, 'Versioned').currentVersion) }),
      'or an Alias of one, but it is the version Stack/Versioned/CurrentVersion, whose environment is fixed.',
    ],
    [
      'a function that has set its retries itself',
      (stack) => ({ function: functionIn(stack, 'Retried', {}, { retryAttempts: 2 }) }),
      'function must leave its asynchronous invocations to this construct, but Stack/Retried has set them up already',
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
    const props = { function: workerIn(stack), schedule: nightly, workers: 2, keyPrefixes: ['jobs/'], lockTable };
    expect(() => new SingletonFleet(stack, 'Second', props)).toThrow(
      /\[Stack\/Second\] function must leave .* but Stack\/Worker .* or as the function of another job or fleet/,
    );
  });

  test('a fleet takes any expression of the CDK’s, a rule’s as well', () => {
    const { template } = templateOf(() => ({ schedule: EventsSchedule.rate(Duration.hours(1)) as ScheduleExpression }));
    template.hasResourceProperties('AWS::Scheduler::Schedule', { ScheduleExpression: 'rate(1 hour)' });
  });
});
