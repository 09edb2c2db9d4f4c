import { join } from 'node:path';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import { NodejsFunction, OutputFormat } from 'aws-cdk-lib/aws-lambda-nodejs';
import { ScheduleExpression } from 'aws-cdk-lib/aws-scheduler';
import * as cdk from 'aws-cdk-lib/core';
import type { Construct } from 'constructs';
import { SingletonJob } from 'leasehold/cdk';

/** A nightly job that runs once at a time, and once a night. */
export class JobsStack extends cdk.Stack {
  constructor(scope: Construct, id: string, props?: cdk.StackProps) {
    super(scope, id, props);

    const nightly = new NodejsFunction(this, 'Nightly', {
      entry: join(__dirname, '../lambda/nightly.mts'),
      runtime: lambda.Runtime.NODEJS_24_X,
      architecture: lambda.Architecture.ARM_64,
      memorySize: 256,
      timeout: cdk.Duration.minutes(1),
      bundling: { format: OutputFormat.ESM, mainFields: ['module', 'main'], minify: true },
    });

    // The lock table, the least that the function needs, the schedule, a dead-letter queue, and the alarms
    const job = new SingletonJob(this, 'Job', {
      function: nightly,
      schedules: [ScheduleExpression.cron({ hour: '2', minute: '0' })], // UTC, if no time zone is named
      key: 'nightly-report',
      runsWithin: cdk.Duration.hours(25), // an alarm goes off after so long without a run; `alarmActions` tells somebody
    });

    new cdk.CfnOutput(this, 'NightlyName', { value: nightly.functionName });
    new cdk.CfnOutput(this, 'LocksName', { value: job.lockTable.tableName });
    new cdk.CfnOutput(this, 'DeadLetters', { value: job.deadLetterQueue.queueUrl });
  }
}
