/**
 * Runs a bundled durable function to its end, by the local runner of the SDK. Start this program with the environment of a
 * Lambda. It writes `{ status, result, error, invocations }` as JSON.
 */
import { join } from 'node:path';
import { LocalDurableTestRunner } from '@aws/durable-execution-sdk-js-testing';

const { LAMBDA_TASK_ROOT = '', _HANDLER = '' } = process.env;
const [file, name = ''] = _HANDLER.split('.');
const { [name]: handlerFunction } = await import(join(LAMBDA_TASK_ROOT, `${file}.mjs`));

await LocalDurableTestRunner.setupTestEnvironment();
const execution = await new LocalDurableTestRunner({ handlerFunction }).run({ payload: {} });
const status = execution.getStatus();
const end = status === 'SUCCEEDED' ? { result: execution.getResult() } : { error: execution.getError() };
console.log(JSON.stringify({ status, ...end, invocations: execution.getInvocations().length }));
await LocalDurableTestRunner.teardownTestEnvironment();
