import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { App, type CfnResource, Validations } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import { AwsSolutionsChecks } from 'cdk-nag';
import { DemoStack } from '../../bin/demo-stack.ts';

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

const template = Template.fromStack(demo().stack);
const propertiesOf = (type: string): Record<string, unknown>[] =>
  Object.values(template.findResources(type)).map(({ Properties }) => Properties);
const hasWorker = (target: unknown): boolean => (target as { Input: string }).Input.includes('"worker"');

describe('DemoStack', () => {
  test('the template of the demo stack has not changed', () => {
    const json = JSON.stringify(template.toJSON(), null, 2);
    expect(JSON.parse(json.replaceAll(/[0-9a-f]{64}/g, '<asset>'))).toMatchSnapshot();
  });

  test('the demo stack runs the nightly job from two schedules in the same second, and retries at no level', () => {
    const schedules = propertiesOf('AWS::Scheduler::Schedule').filter(({ Target }) => !hasWorker(Target));
    expect(schedules).toHaveLength(2);
    expect(schedules[0]).toEqual(schedules[1]);
    expect(schedules[0]).toMatchObject({
      ScheduleExpression: 'cron(0 2 * * ? *)',
      FlexibleTimeWindow: { Mode: 'OFF' },
      Target: {
        Input: '{"time":"<aws.scheduler.scheduled-time>"}',
        RetryPolicy: { MaximumRetryAttempts: 0 },
        DeadLetterConfig: expect.anything(),
      },
    });
    for (const config of propertiesOf('AWS::Lambda::EventInvokeConfig')) {
      expect(config).toMatchObject({ MaximumRetryAttempts: 0 });
    }
  });

  test('the demo stack has a fleet of three workers on the table that all functions share', () => {
    const schedules = propertiesOf('AWS::Scheduler::Schedule').filter(({ Target }) => hasWorker(Target));
    expect(schedules).toHaveLength(3);
    template.resourceCountIs('AWS::DynamoDB::GlobalTable', 1);
  });

  test('the demo stack keeps the handles that steps pass on out of the logs of its state machine', () => {
    expect(propertiesOf('AWS::StepFunctions::StateMachine')).toMatchObject([
      { LoggingConfiguration: { Level: 'ALL', IncludeExecutionData: false } },
    ]);
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
      '"dynamodb:LeadingKeys":["nightly/*"]',
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
