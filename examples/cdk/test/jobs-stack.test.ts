import { test } from '@jest/globals';
import { Match, Template } from 'aws-cdk-lib/assertions';
import * as cdk from 'aws-cdk-lib/core';
import { JobsStack } from '../lib/jobs-stack';

const template = Template.fromStack(new JobsStack(new cdk.App(), 'Test'));

test('the nightly job knows its lock table, and may use its own lock alone', () => {
  const [table] = Object.keys(template.findResources('AWS::DynamoDB::GlobalTable'));
  template.hasResourceProperties('AWS::Lambda::Function', {
    Environment: { Variables: { LOCK_TABLE_NAME: { Ref: table } } },
  });
  template.hasResourceProperties('AWS::IAM::Policy', {
    PolicyDocument: {
      Statement: Match.arrayWith([
        Match.objectLike({
          Action: ['dynamodb:UpdateItem', 'dynamodb:GetItem'],
          Condition: Match.objectLike({ 'ForAllValues:StringLike': { 'dynamodb:LeadingKeys': ['nightly-report'] } }),
        }),
      ]),
    },
  });
});

test('the job starts every night, and an alarm goes off if it did not run', () => {
  template.hasResourceProperties('AWS::Scheduler::Schedule', { ScheduleExpression: 'cron(0 2 * * ? *)' });
  template.hasResourceProperties('AWS::CloudWatch::Alarm', { TreatMissingData: 'breaching' });
});
