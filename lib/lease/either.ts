import { onAbort } from './on-abort.ts';

/**
 * Makes a signal that aborts when either signal does. `AbortSignal.any` cannot do this: a startup snapshot cannot hold its
 * listeners.
 */
export function either(...signals: (AbortSignal | undefined)[]): { readonly signal: AbortSignal; end(): void } {
  const controller = new AbortController();
  const end = onAbort(signals, (reason) => controller.abort(reason));
  const aborted = signals.find((signal) => signal?.aborted);
  if (aborted) controller.abort(aborted.reason);
  return { signal: controller.signal, end };
}
