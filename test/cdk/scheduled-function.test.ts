import { describe, expect, test } from '@jest/globals';
import { type App, Duration, Stack, Validations } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import type { IAlarmAction } from 'aws-cdk-lib/aws-cloudwatch';
import { TableV2 } from 'aws-cdk-lib/aws-dynamodb';
import { Function as LambdaFunction, Version } from 'aws-cdk-lib/aws-lambda';
import { ScheduleExpression, ScheduleGroup } from 'aws-cdk-lib/aws-scheduler';
import { Queue } from 'aws-cdk-lib/aws-sqs';
import { AwsSolutionsChecks } from 'cdk-nag';
import { LockTable, type ScheduledFunctionProps, SingletonFleet, SingletonJob } from '../../lib/cdk/index.ts';
import { ENV, functionIn, newStack, propertiesOf } from './stacks.ts';

const schedule = ScheduleExpression.cron({ hour: '2', minute: '0' });
const bad = (value: unknown) => value as never;

describe.each([
  {
    what: 'a job',
    id: 'Job',
    make: (scope: Stack, props: ScheduledFunctionProps) =>
      new SingletonJob(scope, 'Job', { ...props, schedules: [schedule], key: 'jobs/nightly' }),
  },
  {
    what: 'a fleet',
    id: 'Fleet',
    make: (scope: Stack, props: ScheduledFunctionProps) =>
      new SingletonFleet(scope, 'Fleet', { ...props, schedule, workers: 3, keyPrefixes: ['jobs/'] }),
  },
])('$what', ({ what, id, make }) => {
  const makeIn = (change: (stack: Stack) => Partial<ScheduledFunctionProps>, stack = newStack()) => ({
    stack,
    made: make(stack, { function: functionIn(stack), ...change(stack) }),
  });
  const templateOf = (change: (stack: Stack) => Partial<ScheduledFunctionProps>) =>
    Template.fromStack(makeIn(change).stack);

  test(`${what} can be paused, and nobody is woken that nothing runs`, () => {
    const action: IAlarmAction = { bind: () => ({ alarmActionArn: 'arn:aws:sns:us-east-1:111111111111:pager' }) };
    const template = templateOf(() => ({ enabled: false, runsWithin: Duration.hours(25), alarmActions: [action] }));
    template.allResourcesProperties('AWS::Scheduler::Schedule', { State: 'DISABLED' });
    const alarms = propertiesOf(template, 'AWS::CloudWatch::Alarm');
    expect(alarms.filter(({ ActionsEnabled }) => ActionsEnabled === false)).toMatchObject([
      { TreatMissingData: 'breaching' },
    ]);
  });

  test(`${what} whose start has passed starts at once: Scheduler refuses such a start`, () => {
    const template = templateOf(() => ({ start: new Date('2020-01-01T00:00:00Z') }));
    expect(JSON.stringify(template.toJSON())).not.toContain('StartDate');
  });

  test(`${what} refuses a queue of another Region`, () => {
    const far = (stack: Stack) => Queue.fromQueueArn(stack, 'Far', 'arn:aws:sqs:eu-west-3:111111111111:far');
    expect(() => makeIn((stack) => ({ deadLetterQueue: far(stack) }), newStack('Stack', ENV))).toThrow(
      `[Stack/${id}] deadLetterQueue must be in the stack's Region, us-east-1, but Stack/Far is in eu-west-3.`,
    );
  });

  test(`${what} warns of an alarm that its function cannot feed`, () => {
    const warned = (environment: Record<string, string>) => {
      const { stack } = makeIn((scope) => ({
        function: functionIn(scope, 'Blind', environment),
        runsWithin: Duration.hours(25),
      }));
      return Annotations.fromStack(stack).findWarning('*', Match.stringLikeRegexp('publishes no metrics of its locks'));
    };
    expect(warned({ LOCK_METRICS: 'off' })).toHaveLength(id === 'Job' ? 1 : 0);
    expect(warned({})).toEqual([]);
  });

  test(`${what} runs from a start to an end, in a group`, () => {
    const template = templateOf((stack) => ({
      start: new Date('2096-01-01T00:00:00Z'),
      end: new Date('2097-01-01T00:00:00Z'),
      scheduleGroup: new ScheduleGroup(stack, 'Group', { scheduleGroupName: 'nights' }),
    }));
    template.hasResource('AWS::Scheduler::Schedule', {
      Properties: {
        StartDate: '2096-01-01T00:00:00.000Z',
        EndDate: '2097-01-01T00:00:00.000Z',
        GroupName: 'nights',
        State: 'ENABLED',
      },
      // The name alone would not tell CloudFormation to make the group first.
      DependsOn: Match.arrayWith([Match.stringLikeRegexp('^Group')]),
    });
  });

  test(`the greatest age of an event of ${what} counts for Scheduler and for Lambda`, () => {
    const aged = templateOf(() => ({ maxEventAge: Duration.minutes(30) }));
    aged.hasResourceProperties('AWS::Scheduler::Schedule', {
      Target: { RetryPolicy: { MaximumEventAgeInSeconds: 1_800 } },
    });
    aged.hasResourceProperties('AWS::Lambda::EventInvokeConfig', { MaximumEventAgeInSeconds: 1_800 });
    const [config] = propertiesOf(
      templateOf(() => ({})),
      'AWS::Lambda::EventInvokeConfig',
    );
    expect(config).not.toHaveProperty('MaximumEventAgeInSeconds');
  });

  test(`${what} starts an alias alone, and gives its function the lock`, () => {
    const { stack, made } = makeIn((stack) => ({ function: functionIn(stack, 'Live').addAlias('live') }));
    const template = Template.fromStack(stack);
    const [alias = ''] = Object.keys(template.findResources('AWS::Lambda::Alias'));
    const invoked = Object.entries(template.findResources('AWS::IAM::Policy')).flatMap(([policy, { Properties }]) =>
      policy.startsWith(id)
        ? Properties.PolicyDocument.Statement.filter(
            (one: { Action: unknown }) => one.Action === 'lambda:InvokeFunction',
          )
        : [],
    );
    expect(invoked).toEqual([{ Effect: 'Allow', Action: 'lambda:InvokeFunction', Resource: { Ref: alias } }]);
    const started = {
      ...template.findResources('AWS::Scheduler::Schedule'),
      ...template.findResources('AWS::StepFunctions::StateMachine'),
    };
    expect(JSON.stringify(started)).toContain(JSON.stringify({ Ref: alias }));
    template.hasResourceProperties('AWS::Lambda::EventInvokeConfig', {
      MaximumRetryAttempts: 0,
      Qualifier: { 'Fn::Select': [7, { 'Fn::Split': [':', { Ref: alias }] }] },
    });
    template.hasResourceProperties('AWS::Lambda::Function', {
      Environment: { Variables: { LOCK_TABLE_NAME: stack.resolve(made.lockTable.tableName) } },
    });
    expect(() => (stack.node.root as App).synth()).not.toThrow();
  });

  test(`${what} takes a function of another stack with the table and the queue of that stack`, () => {
    const { stack } = makeIn(() => ({}));
    const other = new Stack(stack.node.root as App, 'Other');
    const given = { lockTable: new LockTable(other, 'Locks', { retention: Duration.days(15) }) };
    expect(() =>
      makeIn(() => ({ function: functionIn(other), ...given }), new Stack(other.node.root as App, 'Third')),
    ).toThrow(
      `[Third/${id}] function must be in the stack Third, or each of the two stacks would need the other first, but Other/Worker is in Other; make this construct in that stack, or pass a deadLetterQueue of that stack.`,
    );
    const deadLetterQueue = new Queue(other, 'Letters', { retentionPeriod: Duration.days(14) });
    makeIn(
      () => ({ function: functionIn(other, 'Second'), deadLetterQueue, ...given }),
      new Stack(other.node.root as App, 'Fourth'),
    );
    expect(() => (stack.node.root as App).synth()).not.toThrow();
  });

  test(`cdk-nag finds nothing in ${what}, with a function or an alias, but its function's own role`, () => {
    const findings = (change: (stack: Stack) => Partial<ScheduledFunctionProps>) => {
      const { stack } = makeIn(change, newStack('Stack', ENV));
      const app = stack.node.root as App;
      Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
      try {
        app.synth();
        return '';
      } catch (error) {
        return (error as Error).message;
      }
    };
    for (const found of [
      findings(() => ({})),
      findings((stack) => ({ function: functionIn(stack, 'Live').addAlias('live') })),
    ]) {
      expect(found).not.toContain(`Stack/${id}`);
    }
  });

  const later = new Date('2097-01-01T00:00:00Z');
  test.each<[string, (stack: Stack) => Partial<ScheduledFunctionProps>, string]>([
    [
      'an `enabled` that is a string',
      () => ({ enabled: bad('false') }),
      "enabled must be true or false, but it is 'false'.",
    ],
    [
      'a start that is a string',
      () => ({ start: bad('2096-01-01') }),
      "start must be a valid Date, such as new Date('2026-01-01T00:00:00Z'), but it is '2096-01-01'.",
    ],
    ['an end that is no date', () => ({ end: new Date('soon') }), 'end must be a valid Date, such as new Date('],
    [
      'an end at its start',
      () => ({ start: later, end: later }),
      'end must be later than start, but start is 2097-01-01T00:00:00.000Z and end is 2097-01-01T00:00:00.000Z.',
    ],
    [
      'an age under a minute',
      () => ({ maxEventAge: Duration.seconds(59) }),
      'maxEventAge must be a Duration of 1 minute to 6 hours, in whole seconds, but it is Duration.seconds(59).',
    ],
    ['an age over 6 hours', () => ({ maxEventAge: Duration.hours(7) }), 'but it is Duration.hours(7).'],
    ['an age that is a number', () => ({ maxEventAge: bad(900) }), 'but it is number 900.'],
    [
      'a group that is a name',
      () => ({ scheduleGroup: bad('nights') }),
      "scheduleGroup must be a ScheduleGroup, or one of ScheduleGroup.fromScheduleGroupName(), but it is 'nights'.",
    ],
    [
      'a fixed version',
      (stack) => ({ function: bad(new Version(stack, 'One', { lambda: functionIn(stack, 'Fixed') })) }),
      'function must be a Function of this app, or an Alias of one, but it is the version Stack/One, whose environment is fixed.',
    ],
    [
      'an imported function',
      (stack) => ({ function: bad(LambdaFunction.fromFunctionName(stack, 'Imported', 'worker')) }),
      'but it is the imported function Stack/Imported.',
    ],
    ['no time within which it must run', () => ({ runsWithin: bad(0) }), 'runsWithin must be whole hours up to 7 days'],
    [
      'actions that are ARNs',
      () => ({ alarmActions: bad(['arn:aws:sns:us-east-1:111111111111:pager']) }),
      'alarmActions must be an array of actions, such as [new SnsAction(topic)]',
    ],
    ['actions that are no array', () => ({ alarmActions: bad({}) }), 'alarmActions must be an array of actions'],
    [
      'guarded writes that are a text',
      () => ({ guardedWrites: bad('no') }),
      "guardedWrites must be true or false, but it is 'no'.",
    ],
    ['a missing function', () => ({ function: bad(undefined) }), 'or an Alias of one, but it is undefined.'],
    [
      'an alias that has set its retries itself',
      (stack) => ({ function: functionIn(stack, 'Live').addAlias('live', { retryAttempts: 1 }) }),
      'function must leave its asynchronous invocations to this construct, but Stack/Live/Aliaslive has set them up already',
    ],
    [
      'a table that is no lock table',
      (stack) => ({ lockTable: bad(TableV2.fromTableName(stack, 'Table', 'locks')) }),
      'lockTable must be a LockTable, or one of LockTable.fromLockTableName(), but it is Stack/Table.',
    ],
    [
      'a FIFO queue',
      (stack) => ({ deadLetterQueue: new Queue(stack, 'Letters', { fifo: true }) }),
      'deadLetterQueue must be a standard queue, since EventBridge Scheduler sends to no other, but Stack/Letters is a FIFO queue.',
    ],
    [
      'a table that forgets before the queue does',
      (stack) => ({
        lockTable: new LockTable(stack, 'Mine'),
        deadLetterQueue: new Queue(stack, 'Letters', { retentionPeriod: Duration.days(14) }),
      }),
      'An event that is redriven after that repeats work that is done.',
    ],
    [
      'a time within which it must run that CloudWatch cannot look back',
      () => ({ runsWithin: Duration.days(8) }),
      'runsWithin must be whole hours up to 7 days, or whole minutes up to a day, but it is',
    ],
  ])(`${what} refuses %s, naming its path and the value`, (_, change, message) => {
    const refused = () => makeIn(change);
    expect(refused).toThrow(TypeError);
    expect(refused).toThrow(message);
    expect(refused).toThrow(`[Stack/${id}]`);
  });
});
