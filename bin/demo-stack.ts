import { fileURLToPath } from 'node:url';
import type { StackProps } from 'aws-cdk-lib';
import { Duration, RemovalPolicy, Stack, TimeZone, Validations } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import { SqsDestination } from 'aws-cdk-lib/aws-lambda-destinations';
import { SqsEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import { LogLevel, NodejsFunction, OutputFormat } from 'aws-cdk-lib/aws-lambda-nodejs';
import * as logs from 'aws-cdk-lib/aws-logs';
import * as scheduler from 'aws-cdk-lib/aws-scheduler';
import { LambdaInvoke } from 'aws-cdk-lib/aws-scheduler-targets';
import * as sqs from 'aws-cdk-lib/aws-sqs';
import * as sfn from 'aws-cdk-lib/aws-stepfunctions';
import * as tasks from 'aws-cdk-lib/aws-stepfunctions-tasks';
import type { Construct } from 'constructs';
import { LockDashboard, LockTable, SingletonFleet } from '../lib/cdk/index.ts';

/**
 * leasehold at work:
 * - a nightly job behind two schedules that fire at the same time: one call runs the job, the other meets the lock busy;
 * - a fleet of workers that share out tasks;
 * - a queue whose consumer locks the accounts that its messages name;
 * - a state machine that passes one lease from step to step;
 * - alarms and a dashboard.
 */
export class DemoStack extends Stack {
  readonly lockTable: LockTable;
  readonly nightly: lambda.Function;

  constructor(scope: Construct, id: string, props?: StackProps) {
    super(scope, id, props);
    // Nobody needs the table of a demo afterwards. A real table stays (the default), and is protected.
    this.lockTable = new LockTable(this, 'Locks', { removalPolicy: RemovalPolicy.DESTROY });

    this.nightly = this.#function('Nightly', 'nightly.ts', Duration.minutes(1));
    this.lockTable.attach(this.nightly, { keyPrefixes: ['nightly/'] });
    this.#schedules(this.nightly);

    const worker = this.#function('FleetWorker', 'fleet-worker.ts', Duration.minutes(1));
    const fleet = new SingletonFleet(this, 'Fleet', {
      function: worker,
      workers: 3,
      schedule: scheduler.ScheduleExpression.cron({ hour: '3', minute: '0', timeZone: TimeZone.ETC_UTC }),
      keyPrefixes: ['fleet/'],
      lockTable: this.lockTable,
    });
    acknowledgeDeadLetterQueue(fleet.deadLetterQueue);

    const queueConsumer = this.#function('QueueConsumer', 'queue.ts', Duration.seconds(30));
    this.lockTable.attach(queueConsumer, { keyPrefixes: ['queue/'] });
    this.#queue(queueConsumer);

    this.#closing();

    const alarms = this.lockTable.addAlarms();
    new LockDashboard(this, 'Dashboard', {
      lockTable: this.lockTable,
      functions: [this.nightly, worker, queueConsumer],
      alarms: [...alarms.all, ...fleet.alarms],
    });
  }

  /** Makes a function of a handler in `lambda/`. Its role may write to its own log group and nothing else. */
  #function(id: string, file: string, timeout: Duration): lambda.Function {
    const logGroup = this.#logGroup(`${id}Logs`);
    const role = new iam.Role(this, `${id}Role`, { assumedBy: new iam.ServicePrincipal('lambda.amazonaws.com') });
    logGroup.grantWrite(role);
    return new NodejsFunction(this, id, {
      entry: fileURLToPath(new URL(`../lambda/${file}`, import.meta.url)),
      runtime: lambda.Runtime.NODEJS_24_X,
      architecture: lambda.Architecture.ARM_64,
      memorySize: 256,
      timeout,
      role,
      logGroup,
      environment: { NODE_OPTIONS: '--enable-source-maps' },
      bundling: {
        format: OutputFormat.ESM,
        target: 'node24',
        mainFields: ['module', 'main'],
        minify: true,
        keepNames: true,
        sourceMap: true,
        sourcesContent: false,
        bundleAwsSDK: true,
        logLevel: LogLevel.WARNING,
        // Packages that are still CommonJS inside load Node's own modules by `require`.
        banner: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
      },
    });
  }

  #logGroup(id: string): logs.LogGroup {
    return new logs.LogGroup(this, id, {
      retention: logs.RetentionDays.ONE_MONTH,
      removalPolicy: RemovalPolicy.DESTROY,
    });
  }

  /** Makes two schedules for one job, as a careful operator might: with a lock, two schedules start one run. */
  #schedules(fn: lambda.Function): void {
    const undelivered = this.#deadLetterQueue('NightlyUndelivered');
    // A retry would be a second run, hours later. The next night is soon enough, and the queue keeps the failed event.
    fn.configureAsyncInvoke({ retryAttempts: 0, onFailure: new SqsDestination(undelivered) });
    const role = new iam.Role(this, 'SchedulerRole', {
      assumedBy: new iam.ServicePrincipal('scheduler.amazonaws.com', {
        conditions: { StringEquals: { 'aws:SourceAccount': this.account } },
      }),
    });
    fn.grantInvokeLatestVersion(role);
    undelivered.grantSendMessages(role);
    const target = new LambdaInvoke(fn, {
      // The target's own grant covers every version of the function.
      role: role.withoutPolicyUpdates(),
      retryAttempts: 0,
      deadLetterQueue: undelivered,
      input: scheduler.ScheduleTargetInput.fromObject({ time: scheduler.ContextAttribute.scheduledTime }),
    });
    for (const id of ['Schedule', 'SecondSchedule']) {
      new scheduler.Schedule(this, id, {
        schedule: scheduler.ScheduleExpression.cron({ hour: '2', minute: '0', timeZone: TimeZone.ETC_UTC }),
        timeWindow: scheduler.TimeWindow.off(),
        target,
      });
    }
    acknowledgeDeadLetterQueue(undelivered);
  }

  #queue(fn: lambda.Function): void {
    const deadLetters = this.#deadLetterQueue('QueueDeadLetters');
    const queue = new sqs.Queue(this, 'Queue', {
      enforceSSL: true,
      // AWS advises six times the function's time-out, so that no message comes back while its consumer works on the message.
      visibilityTimeout: Duration.minutes(3),
      deadLetterQueue: { queue: deadLetters, maxReceiveCount: 5 },
    });
    fn.addEventSource(new SqsEventSource(queue, { batchSize: 10, reportBatchItemFailures: true }));
  }

  #deadLetterQueue(id: string): sqs.Queue {
    return new sqs.Queue(this, id, { enforceSSL: true, retentionPeriod: Duration.days(14) });
  }

  /**
   * Makes a state machine that closes a month's accounts, one account a step, under one lease for the whole execution. Each
   * step hands the lease to the next step. No state opens the lock when a step fails: the step releases its lease, or the
   * lease expires.
   */
  #closing(): void {
    const role = new iam.Role(this, 'ClosingRole', {
      assumedBy: new iam.ServicePrincipal('states.amazonaws.com', {
        conditions: { StringEquals: { 'aws:SourceAccount': this.account } },
      }),
    });
    const step = (id: string, file: string, retryOnServiceExceptions: boolean) => {
      const fn = this.#function(`Closing${id}`, `steps/${file}`, Duration.seconds(30));
      this.lockTable.attach(fn, { keys: ['closing'] });
      fn.grantInvokeLatestVersion(role);
      return new tasks.LambdaInvoke(this, id, {
        lambdaFunction: fn,
        payloadResponseOnly: true,
        retryOnServiceExceptions,
      });
    };
    // A second try of the first step would meet the lock that the first try took, and step over its own work.
    const begin = step('Begin', 'begin.ts', false);
    // A second try of another step is safe: of two tries that come with one handle, one is refused.
    const continues = step('Continue', 'continue.ts', true);
    const finish = step('Finish', 'finish.ts', true);
    const next = new sfn.Choice(this, 'Next')
      .when(sfn.Condition.isNotPresent('$.handle'), new sfn.Succeed(this, 'SteppedOver'))
      .when(sfn.Condition.isPresent('$.left[0]'), continues)
      .otherwise(finish);
    begin.next(next);
    continues.next(next);

    const machine = new sfn.StateMachine(this, 'Closing', {
      definitionBody: sfn.DefinitionBody.fromChainable(begin),
      // A task's own grant covers every version of its function.
      role: role.withoutPolicyUpdates(),
      logs: {
        destination: this.#logGroup('ClosingLogs'),
        level: sfn.LogLevel.ALL,
        // The steps pass on the handle of the lease, which is a secret.
        includeExecutionData: false,
      },
    });
    role.addToPolicy(
      new iam.PolicyStatement({
        actions: [
          ...['Create', 'Get', 'Update', 'Delete'].map((verb) => `logs:${verb}LogDelivery`),
          'logs:ListLogDeliveries',
          'logs:PutResourcePolicy',
          'logs:DescribeResourcePolicies',
          'logs:DescribeLogGroups',
        ],
        resources: ['*'],
      }),
    );
    Validations.of(role).acknowledge({
      id: 'AwsSolutions-IAM5[Resource::*]',
      reason: 'The actions by which Step Functions delivers its logs know no resources.',
    });
    Validations.of(machine).acknowledge({
      id: 'AwsSolutions-SF2',
      reason: 'A trace would tell no more than the execution’s history does, and is paid for.',
    });
  }
}

function acknowledgeDeadLetterQueue(queue: sqs.IQueue): void {
  Validations.of(queue).acknowledge({
    id: 'AwsSolutions-SQS3',
    reason: 'This is a dead-letter queue, of the schedules and of the asynchronous invocations.',
  });
}
