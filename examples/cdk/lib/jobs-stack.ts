import { join } from 'node:path';
import * as events from 'aws-cdk-lib/aws-events';
import * as targets from 'aws-cdk-lib/aws-events-targets';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import { NodejsFunction, OutputFormat } from 'aws-cdk-lib/aws-lambda-nodejs';
import * as cdk from 'aws-cdk-lib/core';
import type { Construct } from 'constructs';
import { LockTable } from 'leasehold/cdk';

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
    new events.Rule(this, 'EveryNight', {
      schedule: events.Schedule.cron({ hour: '2', minute: '0' }),
      targets: [new targets.LambdaFunction(nightly)],
    });

    const locks = new LockTable(this, 'Locks');
    locks.attach(nightly, { keys: ['nightly/report'] }); // LOCK_TABLE_NAME, and the least that the function needs
    locks.addAlarms();
    locks.addDidNotRunAlarm(nightly, { within: cdk.Duration.hours(25) });

    new cdk.CfnOutput(this, 'NightlyName', { value: nightly.functionName });
    new cdk.CfnOutput(this, 'LocksName', { value: locks.tableName });
  }
}
