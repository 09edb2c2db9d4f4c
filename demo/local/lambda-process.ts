/**
 * One Lambda execution environment, in a process of its own: loads the bundled handler as Lambda's runtime does, says
 * that it is ready, and then runs the handler for each event. Standard output is its log.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

export interface Invocation {
  readonly requestId: string;
  readonly event: unknown;
  /** The moment at which Lambda would end the invocation: milliseconds since the epoch. */
  readonly deadline: number;
}

/** The messages of the process: it is ready, or an invocation has ended. */
export type Message =
  | { readonly type: 'ready' }
  | { readonly type: 'response'; readonly requestId: string; readonly response: unknown }
  | { readonly type: 'error'; readonly requestId: string; readonly error: string };

const environment = (name: string): string => process.env[name] ?? '';

/** https://docs.aws.amazon.com/lambda/latest/dg/nodejs-context.html */
const contextOf = ({ requestId, deadline }: Invocation) => ({
  callbackWaitsForEmptyEventLoop: true,
  functionName: environment('AWS_LAMBDA_FUNCTION_NAME'),
  functionVersion: environment('AWS_LAMBDA_FUNCTION_VERSION'),
  memoryLimitInMB: environment('AWS_LAMBDA_FUNCTION_MEMORY_SIZE'),
  logGroupName: environment('AWS_LAMBDA_LOG_GROUP_NAME'),
  logStreamName: environment('AWS_LAMBDA_LOG_STREAM_NAME'),
  invokedFunctionArn: `arn:aws:lambda:${environment('AWS_REGION')}:123456789012:function:${environment('AWS_LAMBDA_FUNCTION_NAME')}`,
  awsRequestId: requestId,
  getRemainingTimeInMillis: () => deadline - Date.now(),
});

// A Ctrl-C in the terminal is for the program that started this process, and that program ends its Lambdas.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => {});
// That program is gone, however it ended: so are its Lambdas.
process.on('disconnect', () => process.exit());

const send = (message: Message): void => void process.send?.(message, () => {});

const [file = '', name = ''] = environment('_HANDLER').split('.');
const bundle = await import(pathToFileURL(join(environment('LAMBDA_TASK_ROOT'), `${file}.mjs`)).href);

process.on('message', async (invocation: Invocation) => {
  const { requestId, event } = invocation;
  try {
    send({ type: 'response', requestId, response: await bundle[name](event, contextOf(invocation)) });
  } catch (error) {
    send({ type: 'error', requestId, error: String((error as Error)?.stack ?? error) });
  }
});
send({ type: 'ready' });
