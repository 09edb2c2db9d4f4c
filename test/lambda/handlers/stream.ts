import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import middy from '@middy/core';
import { executionModeStreamifyResponse } from '@middy/core/StreamifyResponse';
import { lock, lockPlugin, withLock } from '../../../middleware/index.ts';
import { log, pass } from './support.ts';

interface Job {
  readonly key: string;
  readonly time: string;
  /** The gate between the first part and the last. */
  readonly middle: string;
  /** The gate between the last part and the end. */
  readonly end?: string;
  readonly fail?: boolean;
}

/** Lambda's own global object. */
declare const awslambda: {
  streamifyResponse<Handler>(handler: Handler): Handler;
};

const options = { key: ({ key }: Job) => key, once: ({ time }: Job) => time, onEvent: log };

async function* parts({ middle, end, fail }: Job) {
  yield 'first ';
  await pass(middle);
  if (fail) throw new RangeError('The body failed.');
  yield 'last';
  await pass(end);
}

export const withMiddy = middy<Job>(lockPlugin({ executionMode: executionModeStreamifyResponse }))
  .use(lock(options))
  .handler(async (job) => Readable.from(parts(job)));

export const plain = awslambda.streamifyResponse(
  withLock(options, (job: Job, responseStream: NodeJS.WritableStream) => pipeline(parts(job), responseStream)),
);

/** Returns while its stream is still written to. */
export const returning = awslambda.streamifyResponse(
  withLock(options, async (job: Job, responseStream: NodeJS.WritableStream) => {
    Readable.from(parts(job)).pipe(responseStream);
  }),
);

/** Writes each part itself, so that nobody destroys the stream when a part fails. */
export const writing = awslambda.streamifyResponse(
  withLock(options, async (job: Job, responseStream: NodeJS.WritableStream) => {
    for await (const part of parts(job)) responseStream.write(part);
    responseStream.end();
  }),
);
