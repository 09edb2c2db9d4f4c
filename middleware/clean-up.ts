import { Remaining } from './remaining.ts';
import type { LockRequest } from './request.ts';

/**
 * The beginning of the names under which the middlewares of Powertools for AWS Lambda leave their cleanup functions.
 * Source: `cleanupMiddlewares` in https://github.com/aws-powertools/powertools-lambda-typescript/tree/main/packages/commons
 */
const POWERTOOLS = 'powertools-for-aws';

/** The longest wait for cleanup functions, in milliseconds. Larger: a cleanup that hangs delays the response more. */
const MOST_MS = 1_000;

/**
 * Closes what other middlewares have opened (metrics, log buffers, trace segments), for Middy calls none of their hooks after
 * an early end. A cleanup that fails or hangs changes no response.
 */
export async function cleanUp(request: LockRequest): Promise<void> {
  const internal = request.internal as Record<string, unknown>;
  const names = Object.keys(internal).filter((name) => name.startsWith(POWERTOOLS));
  const cleaning = names.map(async (name) => {
    try {
      const clean = internal[name];
      if (typeof clean === 'function') await clean(request);
    } catch (error) {
      console.error(`The cleanup of ${name} failed, after a lock ended the request:`, error);
    }
  });
  if (cleaning.length > 0) await new Remaining(request.context as object).settles(Promise.all(cleaning), MOST_MS);
}
