import { fileURLToPath } from 'node:url';
import type { StackProps } from 'aws-cdk-lib';
import { CfnOutput, Duration, RemovalPolicy, Stack, TimeZone, Validations } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import { SqsEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import { LogLevel, NodejsFunction, OutputFormat } from 'aws-cdk-lib/aws-lambda-nodejs';
import * as logs from 'aws-cdk-lib/aws-logs';
import * as scheduler from 'aws-cdk-lib/aws-scheduler';
import * as sns from 'aws-cdk-lib/aws-sns';
import * as sqs from 'aws-cdk-lib/aws-sqs';
import * as sfn from 'aws-cdk-lib/aws-stepfunctions';
import * as tasks from 'aws-cdk-lib/aws-stepfunctions-tasks';
import type { Construct } from 'constructs';
import { LockDashboard, LockTable, SingletonFleet, SingletonJob } from '../lib/cdk/index.ts';

/** An event of the nightly job for a night that has passed: a run by hand takes no later night from the schedules. */
const EARLY_NIGHT = '{"time":"2026-01-01T02:00:00Z"}';

/**
 * leasehold at work:
 * - a nightly job behind two schedules for the same time: one call runs the job, the other meets the lock busy or done;
 * - a fleet of workers that share out tasks;
 * - a queue whose consumer locks the accounts that its messages name;
 * - a state machine that passes one lease from step to step;
 * - alarms that publish to a topic, and a dashboard.
 */
export class DemoStack extends Stack {
  readonly lockTable: LockTable;
  readonly nightly: lambda.Function;
  readonly #pager: sns.Topic;
  readonly #alarms: cloudwatch.Alarm[] = [];

  constructor(scope: Construct, id: string, props?: StackProps) {
    super(scope, id, props);
    this.#pager = new sns.Topic(this, 'Pager', { enforceSSL: true });
    this.lockTable = new LockTable(this, 'Locks', {
      // Nobody needs the table of a demo afterwards. A real table stays (the default), and is protected.
      removalPolicy: RemovalPolicy.DESTROY,
      // A day longer than the dead-letter queues keep a message: a message that is redriven finds its job done.
      retention: Duration.days(15),
    });

    this.nightly = this.#function('Nightly', 'nightly.ts', Duration.minutes(1));
    const atTwo = scheduler.ScheduleExpression.cron({ hour: '2', minute: '0', timeZone: TimeZone.ETC_UTC });
    const job = new SingletonJob(this, 'NightlyJob', {
      function: this.nightly,
      // Two schedules for one time, as a careful operator might make them: with the lock, they start one run.
      schedules: [atTwo, atTwo],
      key: 'nightly-report',
      lockTable: this.lockTable,
      runsWithin: Duration.hours(25),
    });
    this.#alarms.push(...job.alarms);

    const worker = this.#function('FleetWorker', 'fleet-worker.ts', Duration.minutes(1));
    const fleet = new SingletonFleet(this, 'Fleet', {
      function: worker,
      workers: 3,
      schedule: scheduler.ScheduleExpression.cron({ hour: '3', minute: '0', timeZone: TimeZone.ETC_UTC }),
      keyPrefixes: ['fleet/'],
      lockTable: this.lockTable,
      runsWithin: Duration.hours(25),
    });
    this.#alarms.push(...fleet.alarms);

    const queueConsumer = this.#function('QueueConsumer', 'queue.ts', Duration.seconds(30));
    this.lockTable.attach(queueConsumer, { keyPrefixes: ['queue/'] });
    const queue = this.#queue(queueConsumer);

    const closing = this.#closing();

    this.#alarms.push(...this.lockTable.addAlarms().all);
    for (const alarm of this.#alarms) alarm.addAlarmAction(new SnsAction(this.#pager));
    const { dashboard } = new LockDashboard(this, 'Dashboard', {
      lockTable: this.lockTable,
      functions: [this.nightly, worker, queueConsumer],
      alarms: this.#alarms,
    });

    this.#output('PagerArn', 'Subscribe, to be told of each alarm.', this.#pager.topicArn);
    this.#output('LockTableName', 'The table of the locks.', this.lockTable.tableName);
    this.#output('NightlyFunctionName', 'The function of the nightly job.', this.nightly.functionName);
    this.#output('QueueUrl', 'Send {"account":"a-1"}, to see a message worked on under a lock.', queue.queueUrl);
    this.#output('ClosingArn', 'The state machine that closes a month.', closing.stateMachineArn);
    const console = `https://${this.region}.console.aws.amazon.com/cloudwatch/home?region=${this.region}`;
    this.#output(
      'DashboardUrl',
      'The locks at a glance.',
      `${console}#dashboards/dashboard/${dashboard.dashboardName}`,
    );
    this.#output(
      'RunNightly',
      'The command that runs the nightly job now.',
      `aws lambda invoke --region ${this.region} --function-name ${this.nightly.functionName} --cli-binary-format raw-in-base64-out --payload '${EARLY_NIGHT}' /dev/stdout`,
    );
    this.#output(
      'ListLocks',
      'The command that shows the locks.',
      `npx leasehold ls --region ${this.region} --table ${this.lockTable.tableName}`,
    );
  }

  #output(id: string, description: string, value: string): void {
    new CfnOutput(this, id, { value, description });
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

  /** Makes an alarm that goes off if a metric of failures counts any. */
  #alarmOn(id: string, metric: cloudwatch.Metric, alarmDescription: string): void {
    this.#alarms.push(
      metric.createAlarm(this, id, {
        threshold: 1,
        comparisonOperator: cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
        evaluationPeriods: 5,
        datapointsToAlarm: 1,
        treatMissingData: cloudwatch.TreatMissingData.NOT_BREACHING,
        alarmDescription,
      }),
    );
  }

  #queue(fn: lambda.Function): sqs.Queue {
    const deadLetters = this.#deadLetterQueue('QueueDeadLetters');
    const queue = new sqs.Queue(this, 'Queue', {
      enforceSSL: true,
      // AWS advises six times the function's time-out, so that no message comes back while its consumer works on the message.
      visibilityTimeout: Duration.minutes(3),
      deadLetterQueue: { queue: deadLetters, maxReceiveCount: 5 },
    });
    fn.addEventSource(new SqsEventSource(queue, { batchSize: 10, reportBatchItemFailures: true }));
    // SQS moves a message itself, which does not count as sent. So the alarm looks at the messages that lie there.
    const lying = deadLetters.metricApproximateNumberOfMessagesVisible({ period: Duration.minutes(1) });
    this.#alarmOn('QueueFailed', lying, 'A message failed five times, and lies in the dead-letter queue.');
    return queue;
  }

  #deadLetterQueue(id: string): sqs.Queue {
    const queue = new sqs.Queue(this, id, { enforceSSL: true, retentionPeriod: Duration.days(14) });
    Validations.of(queue).acknowledge({
      id: 'AwsSolutions-SQS3',
      reason: 'This is a dead-letter queue, of schedules, of asynchronous invocations or of another queue.',
    });
    return queue;
  }

  /**
   * Makes a state machine that closes a month's accounts, one account a step, under one lease for the whole execution. Each
   * step hands the lease to the next step. No state opens the lock when a step fails: the step releases its lease, or the
   * lease expires.
   */
  #closing(): sfn.StateMachine {
    const role = new iam.Role(this, 'ClosingRole', {
      assumedBy: new iam.ServicePrincipal('states.amazonaws.com', {
        conditions: { StringEquals: { 'aws:SourceAccount': this.account } },
      }),
    });
    const step = (id: string, file: string, errors: string[]) => {
      const fn = this.#function(`Closing${id}`, `steps/${file}`, Duration.seconds(30));
      this.lockTable.attach(fn, { keys: ['closing'] });
      fn.grantInvokeLatestVersion(role);
      const task = new tasks.LambdaInvoke(this, id, {
        lambdaFunction: fn,
        payloadResponseOnly: true,
        // Its tries last for 126 s, and the hand-off holds the lock for 60 s (lambda/steps/next-step.ts).
        retryOnServiceExceptions: false,
      });
      // 2, 4, 8 and 16 seconds later: half a minute, after which the next step still finds the lease.
      return task.addRetry({ errors, interval: Duration.seconds(2), backoffRate: 2, maxAttempts: 4 });
    };
    // The function did not begin. Any other second try of the first step would meet the lock that the first try took, and
    // step over its own work.
    const notBegun = ['Lambda.TooManyRequestsException'];
    const begin = step('Begin', 'begin.ts', notBegun);
    // A second try of another step is safe: of two tries that come with one handle, one is refused.
    const unanswered = [
      ...notBegun,
      'Lambda.ClientExecutionTimeoutException',
      'Lambda.ServiceException',
      'Lambda.AWSLambdaException',
      'Lambda.SdkClientException',
    ];
    const continues = step('Continue', 'continue.ts', unanswered);
    const finish = step('Finish', 'finish.ts', unanswered);
    const next = new sfn.Choice(this, 'Next')
      .when(sfn.Condition.isNotPresent('$.handle'), new sfn.Succeed(this, 'SteppedOver'))
      .when(sfn.Condition.isPresent('$.left[0]'), continues)
      .otherwise(finish);
    begin.next(next);
    continues.next(next);

    const machine = new sfn.StateMachine(this, 'Closing', {
      definitionBody: sfn.DefinitionBody.fromChainable(begin),
      timeout: Duration.hours(1),
      // A task's own grant covers every version of its function.
      role: role.withoutPolicyUpdates(),
      logs: {
        destination: this.#logGroup('ClosingLogs'),
        level: sfn.LogLevel.ALL,
        // The steps pass on the handle of the lease, which is a secret.
        includeExecutionData: false,
      },
    });
    const failed = machine.metricFailed({ period: Duration.minutes(1) });
    this.#alarmOn('ClosingFailed', failed, 'A month was not closed: a step failed.');
    const timedOut = machine.metricTimedOut({ period: Duration.minutes(1) });
    this.#alarmOn('ClosingTimedOut', timedOut, 'A month was not closed in an hour.');
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
    return machine;
  }
}
