import { randomUUID } from 'node:crypto';
import { basename, join } from 'node:path';
import { build } from 'esbuild';

/** The clients of Redis that no handler here uses: of those that bin/redis-clients.ts names, the first is bundled. */
const OTHER_CLIENTS = ['ioredis', 'iovalkey', '@valkey/valkey-glide'];

/** Makes one file of a handler and all that it imports, as `bin/demo-stack.ts` does: `<folder>/<name>/index.mjs`. */
export async function bundle(source: string, folder: string): Promise<void> {
  await build({
    entryPoints: [source],
    outfile: join(folder, basename(source, '.ts'), 'index.mjs'),
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    mainFields: ['module', 'main'],
    minify: true,
    keepNames: true,
    sourcemap: true,
    sourcesContent: false,
    logLevel: 'warning',
    external: OTHER_CLIENTS,
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
  });
}

/**
 * Gives the environment variables that Lambda sets for a function, and the function's own.
 * https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
 * @param folder the folder of the function's bundle
 * @param handler the file's name and the export's: `index.handler`
 */
export function lambdaEnvironment(
  { functionName, folder, handler }: Record<'functionName' | 'folder' | 'handler', string>,
  variables: Record<string, string>,
): Record<string, string> {
  const day = new Date().toISOString().slice(0, 10).replaceAll('-', '/');
  return {
    PATH: process.env.PATH ?? '',
    LANG: 'en_US.UTF-8',
    TZ: ':UTC',
    LAMBDA_TASK_ROOT: folder,
    _HANDLER: handler,
    AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs24.x',
    AWS_LAMBDA_INITIALIZATION_TYPE: 'on-demand',
    AWS_LAMBDA_FUNCTION_NAME: functionName,
    AWS_LAMBDA_FUNCTION_VERSION: '$LATEST',
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '256',
    AWS_LAMBDA_LOG_GROUP_NAME: `/aws/lambda/${functionName}`,
    AWS_LAMBDA_LOG_STREAM_NAME: `${day}/[$LATEST]${randomUUID().replaceAll('-', '')}`,
    NODE_OPTIONS: '--enable-source-maps',
    ...variables,
  };
}
