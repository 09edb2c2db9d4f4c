import { onAbort } from './on-abort.ts';

/**
 * Makes a signal that aborts when either signal does. `AbortSignal.any` cannot do this: a startup snapshot cannot hold its
 * listeners.
 */
export function either(...signals: (AbortSignal | undefined)[]): { readonly signal: AbortSignal; end(): void } {
  const controller = new AbortController();
  const abort = () => controller.abort(signals.find((signal) => signal?.aborted)?.reason);
  const end = onAbort(signals, abort);
  if (signals.some((signal) => signal?.aborted)) abort();
  return { signal: controller.signal, end };
}
