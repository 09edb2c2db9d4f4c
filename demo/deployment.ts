/** What a deployed Lambda gets: its code, its environment, its events. */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { build } from 'esbuild';

const FUNCTION_NAME = 'task-worker';

/** Makes one file of the handler and all that it imports, as a stack deploys it. */
export async function bundleHandler(folder: string): Promise<void> {
  await build({
    entryPoints: [join(import.meta.dirname, `../lambda/${FUNCTION_NAME}.ts`)],
    outfile: join(folder, `${FUNCTION_NAME}.mjs`),
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    mainFields: ['module', 'main'],
    minify: true,
    keepNames: true,
    sourcemap: true,
    sourcesContent: false,
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
  });
}

/** https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime */
export function lambdaEnvironment(
  folder: string,
  lambda: number,
  configured: Record<string, string>,
): Record<string, string> {
  const day = new Date().toISOString().slice(0, 10).replaceAll('-', '/');
  return {
    PATH: process.env.PATH ?? '',
    TZ: ':UTC',
    LAMBDA_TASK_ROOT: folder,
    _HANDLER: `${FUNCTION_NAME}.handler`,
    AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs24.x',
    AWS_LAMBDA_FUNCTION_NAME: FUNCTION_NAME,
    AWS_LAMBDA_FUNCTION_VERSION: '$LATEST',
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '256',
    AWS_LAMBDA_LOG_GROUP_NAME: `/aws/lambda/${FUNCTION_NAME}`,
    AWS_LAMBDA_LOG_STREAM_NAME: `${day}/[$LATEST]${String(lambda).padStart(32, '0')}`,
    NODE_OPTIONS: '--enable-source-maps',
    ...configured,
  };
}

/**
 * What EventBridge sends for a rule with a schedule.
 * https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html
 */
export function scheduledEvent(rule: string, time: string): object {
  return {
    version: '0',
    id: randomUUID(),
    'detail-type': 'Scheduled Event',
    source: 'aws.events',
    account: '123456789012',
    time,
    region: 'us-east-1',
    resources: [`arn:aws:events:us-east-1:123456789012:rule/${rule}`],
    detail: {},
  };
}
