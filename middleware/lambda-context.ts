/**
 * The context that Lambda gives a handler. The interface equals the one of `@types/aws-lambda`, which leasehold's
 * own types do not need, and Middy's do.
 * Source: https://docs.aws.amazon.com/lambda/latest/dg/nodejs-context.html
 * @example
 * ```ts
 * import type { Lease } from 'leasehold';
 * import type { LambdaContext } from 'leasehold/middy';
 *
 * export async function work(_event: unknown, { lock, awsRequestId }: LambdaContext & { lock: Lease }) {
 *   console.log(`${awsRequestId} holds '${lock.key}'.`);
 * }
 * ```
 */
export interface LambdaContext {
  callbackWaitsForEmptyEventLoop: boolean;
  functionName: string;
  functionVersion: string;
  invokedFunctionArn: string;
  memoryLimitInMB: string;
  awsRequestId: string;
  logGroupName: string;
  logStreamName: string;
  /** Gives the milliseconds until Lambda ends the invocation. */
  getRemainingTimeInMillis(): number;
  /** @deprecated Node.js 0.10 had this method; the context of `@types/aws-lambda` still has it. */
  done(error?: Error, result?: unknown): void;
  /** @deprecated See `done`. */
  fail(error: Error | string): void;
  /** @deprecated See `done`. */
  succeed(message: unknown, object?: unknown): void;
}
