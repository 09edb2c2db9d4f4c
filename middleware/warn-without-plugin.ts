import { holdingsOf, type LockRequest } from './request.ts';

const warned = Symbol.for('leasehold.warnedWithoutPlugin');
/** One note in the process, for every copy of leasehold. */
const shared = globalThis as { [warned]?: true };

/**
 * Warns, once in a process, of a lock in a request that no `lockPlugin()` started and that may time out early. Middy tells a
 * middleware neither its plugin's hooks nor an early time-out, so nobody can tell whether the request would be hurt.
 */
export function warnWithoutPlugin(request: LockRequest): void {
  const { getRemainingTimeInMillis } = request.context as { getRemainingTimeInMillis?: unknown };
  if (shared[warned] || !getRemainingTimeInMillis || holdingsOf(request).tellsBegin !== undefined) return;
  shared[warned] = true;
  process.emitWarning(
    'A lock stands in a Middy handler without lockPlugin(): a timeoutEarlyResponse of your own would release the lock while ' +
      "the handler still runs, and an early end by a later middleware would keep the lock until the invocation's end. " +
      'Give Middy the plugin: middy(lockPlugin()).',
    { code: 'LEASEHOLD_NO_PLUGIN' },
  );
}
