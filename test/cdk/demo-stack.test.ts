import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { App, type CfnResource, Validations } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import { AwsSolutionsChecks } from 'cdk-nag';
import { DemoStack } from '../../bin/demo-stack.ts';
import { NEXT_STEP } from '../../lambda/steps/next-step.ts';

const outdir = mkdtempSync(join(tmpdir(), 'demo-stack-'));
afterAll(() => rmSync(outdir, { recursive: true }));

const { context } = JSON.parse(readFileSync(join(import.meta.dirname, '../../cdk.json'), 'utf8'));

/** Makes the demo stack in an app of its own, as cdk.json configures the app, without bundling. */
function demo({ validated = false } = {}) {
  const app = new App({
    outdir: mkdtempSync(join(outdir, 'app-')),
    context: { ...context, 'aws:cdk:bundling-stacks': [] },
    builtinCloudFormationValidation: validated,
    analyticsReporting: false,
  });
  return { app, stack: new DemoStack(app, 'LeaseholdDemo') };
}

const { stack } = demo();
const template = Template.fromStack(stack);
const propertiesOf = (type: string): Record<string, unknown>[] =>
  Object.values(template.findResources(type)).map(({ Properties }) => Properties);
/** The schedules of the nightly job, or of the fleet. */
const schedulesOf = (id: string) =>
  Object.entries(template.findResources('AWS::Scheduler::Schedule')).flatMap(([logicalId, { Properties }]) =>
    logicalId.startsWith('Fleet') === (id === 'Fleet') ? [Properties] : [],
  );

/** An output as a text in which `<…>` stands for a reference. */
const textOf = (value: { Ref?: string; 'Fn::Join'?: [string, (string | { Ref: string })[]] }): string =>
  (value['Fn::Join']?.[1] ?? [{ Ref: value.Ref }])
    .map((part) => (typeof part === 'string' ? part : `<${part.Ref}>`))
    .join('');

describe('DemoStack', () => {
  test('the template of the demo stack has not changed', () => {
    const json = JSON.stringify(template.toJSON(), null, 2);
    expect(JSON.parse(json.replaceAll(/[0-9a-f]{64}/g, '<asset>'))).toMatchSnapshot();
  });

  test('the demo stack runs the nightly job from two schedules for the same time, and retries no run', () => {
    const schedules = schedulesOf('Nightly');
    expect(schedules).toHaveLength(2);
    expect(schedules[0]).toEqual(schedules[1]);
    expect(schedules[0]).toMatchObject({
      ScheduleExpression: 'cron(0 2 * * ? *)',
      FlexibleTimeWindow: { Mode: 'OFF' },
      Target: {
        Input: '{"time":"<aws.scheduler.scheduled-time>"}',
        RetryPolicy: { MaximumEventAgeInSeconds: 900 },
        DeadLetterConfig: expect.anything(),
      },
    });
    for (const config of propertiesOf('AWS::Lambda::EventInvokeConfig')) {
      expect(config).toMatchObject({ MaximumRetryAttempts: 0 });
    }
  });

  test('the demo stack has a fleet of three workers on the table that all functions share', () => {
    expect(schedulesOf('Fleet')).toHaveLength(1);
    expect(JSON.stringify(propertiesOf('AWS::StepFunctions::StateMachine'))).toContain('[0..2]');
    template.resourceCountIs('AWS::DynamoDB::GlobalTable', 1);
  });

  test('the demo stack keeps the handles that steps pass on out of the logs of its state machine', () => {
    const standard = propertiesOf('AWS::StepFunctions::StateMachine').filter((machine) => !machine.StateMachineType);
    expect(standard).toMatchObject([{ LoggingConfiguration: { Level: 'ALL', IncludeExecutionData: false } }]);
  });

  test('the demo stack tries a step of its state machine again for less time than a hand-off holds the lock, also when Lambda is busy', () => {
    const [, { Properties }] = Object.entries(template.findResources('AWS::StepFunctions::StateMachine')).find(([id]) =>
      id.startsWith('Closing'),
    ) as [string, { Properties: { DefinitionString: { 'Fn::Join': [string, unknown[]] } } }];
    const [, parts] = Properties.DefinitionString['Fn::Join'];
    const { States, TimeoutSeconds } = JSON.parse(parts.filter((part) => typeof part === 'string').join(''));
    expect(TimeoutSeconds).toBe(3_600);
    for (const step of ['Begin', 'Continue', 'Finish']) {
      const retries: { ErrorEquals: string[]; IntervalSeconds: number; BackoffRate: number; MaxAttempts: number }[] =
        States[step].Retry;
      expect(retries.flatMap(({ ErrorEquals }) => ErrorEquals)).toContain('Lambda.TooManyRequestsException');
      const pauses = retries.map(({ IntervalSeconds, BackoffRate, MaxAttempts }) =>
        Array.from({ length: MaxAttempts }, (_, index) => IntervalSeconds * BackoffRate ** index).reduce(
          (a, b) => a + b,
        ),
      );
      expect(Math.max(...pauses) * 1_000).toBeLessThan(NEXT_STEP.leaseMs);
    }
    expect(States.Begin.Retry[0].ErrorEquals).toEqual(['Lambda.TooManyRequestsException']);
  });

  test('every alarm of the demo stack publishes to its topic, and every way to fail has an alarm', () => {
    const alarms = propertiesOf('AWS::CloudWatch::Alarm');
    for (const { AlarmActions } of alarms) expect(AlarmActions).toEqual([{ Ref: expect.stringMatching(/^Pager/) }]);
    const metrics = JSON.stringify(alarms);
    for (const failure of [
      'Lost',
      'Acquired',
      'ExecutionsSucceeded',
      'ExecutionsFailed',
      'ExecutionsTimedOut',
      'NumberOfMessagesSent',
      'ApproximateNumberOfMessagesVisible',
    ]) {
      expect(metrics).toContain(`"MetricName":"${failure}"`);
    }
  });

  test('the demo stack runs Node 24 on ARM64 with source maps, and keeps its logs for a month', () => {
    const functions = propertiesOf('AWS::Lambda::Function');
    expect(functions).toHaveLength(6);
    for (const fn of functions) {
      expect(fn).toMatchObject({
        Runtime: 'nodejs24.x',
        Architectures: ['arm64'],
        Environment: { Variables: { NODE_OPTIONS: '--enable-source-maps', LOCK_TABLE_NAME: expect.anything() } },
        LoggingConfig: { LogGroup: { Ref: expect.any(String) } },
      });
    }
    expect(propertiesOf('AWS::Logs::LogGroup').map(({ RetentionInDays }) => RetentionInDays)).toEqual(
      Array(7).fill(30),
    );
  });

  test('the demo stack lets each function lock its own keys and no others', () => {
    const conditions = propertiesOf('AWS::IAM::Policy').flatMap(({ PolicyDocument }) =>
      JSON.stringify(PolicyDocument).match(/"dynamodb:LeadingKeys":\[[^\]]*\]/g),
    );
    expect(conditions.filter(Boolean)).toEqual([
      '"dynamodb:LeadingKeys":["nightly-report"]',
      '"dynamodb:LeadingKeys":["fleet/*"]',
      '"dynamodb:LeadingKeys":["queue/*"]',
      '"dynamodb:LeadingKeys":["closing"]',
      '"dynamodb:LeadingKeys":["closing"]',
      '"dynamodb:LeadingKeys":["closing"]',
    ]);
  });

  test('the demo stack takes failing messages out of the queue, has TLS enforced on every queue, and reports batch items', () => {
    const queues = propertiesOf('AWS::SQS::Queue');
    const policies = JSON.stringify(propertiesOf('AWS::SQS::QueuePolicy'));
    expect(policies.match(/"aws:SecureTransport":"false"/g)).toHaveLength(queues.length);
    expect(queues.filter((queue) => 'RedrivePolicy' in queue)).toHaveLength(1);
    expect(propertiesOf('AWS::Lambda::EventSourceMapping')).toMatchObject([
      { FunctionResponseTypes: ['ReportBatchItemFailures'] },
    ]);
  });

  test('the outputs of the demo stack name its parts, and are the commands that show a lock at work before the first night', () => {
    const outputs = Object.fromEntries(
      Object.entries(template.findOutputs('*')).map(([id, { Value }]) => [id, textOf(Value)]),
    );
    const table = stack.resolve(stack.lockTable.tableName).Ref;
    const nightly = stack.resolve(stack.nightly.functionName).Ref;
    expect(outputs).toEqual({
      PagerArn: expect.stringMatching(/^<Pager/),
      LockTableName: `<${table}>`,
      NightlyFunctionName: `<${nightly}>`,
      QueueUrl: expect.stringMatching(/^<Queue/),
      ClosingArn: expect.stringMatching(/^<Closing/),
      DashboardUrl: expect.stringMatching(
        /^https:\/\/<AWS::Region>\.console\.aws\.amazon\.com\/cloudwatch\/home\?region=<AWS::Region>#dashboards\/dashboard\/<Dashboard/,
      ),
      RunNightly: `aws lambda invoke --region <AWS::Region> --function-name <${nightly}> --cli-binary-format raw-in-base64-out --payload '{"time":"2026-01-01T02:00:00Z"}' /dev/stdout`,
      ListLocks: `npx leasehold ls --region <AWS::Region> --table <${table}>`,
    });
  });

  test('the demo stack leaves nothing behind when it is destroyed', () => {
    const kept = Object.entries(template.toJSON().Resources as Record<string, { DeletionPolicy?: string }>);
    expect(kept.filter(([, { DeletionPolicy }]) => DeletionPolicy?.startsWith('Retain'))).toEqual([]);
  });
});

describe('the checks of DemoStack', () => {
  // With this variable set to false the CDK checks nothing.
  beforeAll(() => {
    delete process.env.CDK_VALIDATION;
  });

  test('neither cdk-nag nor the template validator of npm run synth finds anything in the demo stack', () => {
    const { app } = demo({ validated: true });
    Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
    expect(() => app.synth()).not.toThrow();
  });

  test('the checks fail on a finding of the template validator', () => {
    const { app, stack } = demo({ validated: true });
    (stack.nightly.node.defaultChild as CfnResource).addPropertyOverride('Runtime', 'nodejs4.3');
    expect(() => app.synth()).toThrow(/Runtime 'nodejs4.3' was deprecated/);
  });

  test('the checks fail on a finding of cdk-nag', () => {
    const { app, stack } = demo();
    Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
    stack.nightly.addToRolePolicy(new PolicyStatement({ actions: ['s3:GetObject'], resources: ['*'] }));
    expect(() => app.synth()).toThrow(/wildcard permissions.*AwsSolutions/);
  });
});
