import { Stack } from 'aws-cdk-lib';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import type * as scheduler from 'aws-cdk-lib/aws-scheduler';
import { StepFunctionsStartExecution } from 'aws-cdk-lib/aws-scheduler-targets';
import type * as sqs from 'aws-cdk-lib/aws-sqs';
import * as sfn from 'aws-cdk-lib/aws-stepfunctions';
import { Construct } from 'constructs';
import { acknowledge } from './acknowledge.ts';
import type { ScheduleTimes } from './scheduled-function-checks.ts';
import { addSchedule, grantStart, serviceRole, targetProps } from './schedules.ts';

interface FleetStarterProps extends ScheduleTimes {
  readonly function: lambda.Function | lambda.Alias;
  readonly workers: number;
  readonly schedule: scheduler.ScheduleExpression;
  readonly deadLetterQueue: sqs.IQueue;
}

const NO_TRACE = 'The machine has one step. A trace would tell nothing more.';

/** Tries again 1, 2, 4, 8 and 16 seconds later. A second start of a worker changes nothing. */
const RETRY = [{ ErrorEquals: ['States.ALL'], IntervalSeconds: 1, BackoffRate: 2, MaxAttempts: 5 }];

/**
 * One schedule that starts all workers of a fleet with one time. The schedule starts a state machine; the state machine
 * invokes the function for each worker, and waits for none. The input of a worker that cannot be started goes to the
 * dead-letter queue, and the other workers are started all the same.
 *
 * A schedule for each worker would not do: a `rate(…)` is counted from the creation of its schedule, so that the workers
 * would have different times.
 */
export class FleetStarter extends Construct {
  readonly schedule: scheduler.Schedule;
  readonly machine: sfn.StateMachine;

  constructor(scope: Construct, id: string, props: FleetStarterProps) {
    super(scope, id);
    const { function: fn, schedule, deadLetterQueue } = props;

    const starter = serviceRole(this, 'Role', 'states.amazonaws.com');
    grantStart(fn, starter);
    deadLetterQueue.grantSendMessages(starter);
    this.machine = new sfn.StateMachine(this, 'Machine', {
      definitionBody: sfn.DefinitionBody.fromString(Stack.of(this).toJsonString(this.#definition(props))),
      // Costs by the request and by the duration, not by the worker. May run twice, which changes nothing.
      stateMachineType: sfn.StateMachineType.EXPRESS,
      role: starter.withoutPolicyUpdates(),
    });
    acknowledge(this.machine, {
      'AwsSolutions-SF1':
        'Each start that fails leaves its input in the dead-letter queue; nothing else is to be logged.',
      'AwsSolutions-SF2': NO_TRACE,
      'Serverless-StepFunctionStateMachineXray': NO_TRACE,
    });

    const clock = serviceRole(this, 'SchedulerRole', 'scheduler.amazonaws.com');
    this.machine.grantStartExecution(clock);
    deadLetterQueue.grantSendMessages(clock);
    const target = new StepFunctionsStartExecution(this.machine, targetProps(clock, deadLetterQueue, props));
    this.schedule = addSchedule(this, 'Schedule', schedule, target, props);
  }

  #definition({ function: fn, workers, deadLetterQueue }: FleetStarterProps): object {
    const { partition } = Stack.of(this);
    return {
      QueryLanguage: 'JSONata',
      StartAt: 'Workers',
      States: {
        Workers: {
          Type: 'Map',
          Items: `{% [0..${workers - 1}] %}`,
          ItemSelector: {
            worker: { number: '{% $states.context.Map.Item.Value %}', of: workers },
            time: '{% $states.input.time %}',
          },
          ItemProcessor: {
            ProcessorConfig: { Mode: 'INLINE' },
            StartAt: 'Start',
            States: {
              Start: {
                Type: 'Task',
                Resource: `arn:${partition}:states:::lambda:invoke`,
                Arguments: {
                  FunctionName: fn.functionArn,
                  InvocationType: 'Event',
                  Payload: '{% $states.input %}',
                },
                Output: {},
                Retry: RETRY,
                // One worker that cannot be started must not keep the others from starting.
                Catch: [{ ErrorEquals: ['States.ALL'], Output: '{% $states.input %}', Next: 'Keep' }],
                End: true,
              },
              Keep: {
                Type: 'Task',
                Resource: `arn:${partition}:states:::sqs:sendMessage`,
                Arguments: { QueueUrl: deadLetterQueue.queueUrl, MessageBody: '{% $string($states.input) %}' },
                Output: {},
                Retry: RETRY,
                End: true,
              },
            },
          },
          Output: {},
          End: true,
        },
      },
    };
  }
}
