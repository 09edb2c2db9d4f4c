/**
 * A Lambda's process as far as a handler sees it: loads the module named on the command line and calls its handler for
 * every event that comes by IPC, one at a time. Answers with `{ response }` or `{ error }`.
 */
import { randomUUID } from 'node:crypto';

const [, , path = '', exported = ''] = process.argv;
const handler = (await import(path))[exported] as (event: unknown, context: object) => Promise<unknown>;
const timeoutMs = Number(process.env.TEST_TIMEOUT_MS);

process.on('message', async (event) => {
  const endsAt = Date.now() + timeoutMs;
  const context = {
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: '$LATEST',
    logStreamName: `2026/01/01/[$LATEST]${process.pid}`,
    awsRequestId: randomUUID(),
    getRemainingTimeInMillis: () => endsAt - Date.now(),
  };
  try {
    process.send?.({ response: await handler(event, context) });
  } catch (error) {
    process.send?.({ error: String(error) });
  }
});
process.send?.('ready');
