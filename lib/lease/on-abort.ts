/** The callbacks that wait for a signal, and the signal's one listener, which calls them. */
interface Waiting {
  readonly callbacks: Set<Callback>;
  readonly listener: () => void;
}

/** Gets the signal's reason. */
type Callback = (reason: unknown) => void;

const waiting = new WeakMap<AbortSignal, Waiting>();

/**
 * Calls `callback` when one of the signals aborts. A signal gets one listener, however many callbacks wait for the signal: an
 * `AbortSignal` looks through all its listeners whenever a listener comes or goes, and 40,000 listeners would stop the event
 * loop for seconds.
 * @returns a function that ends the waiting.
 */
export function onAbort(signals: readonly (AbortSignal | undefined)[], callback: Callback): () => void {
  // Two calls may give the same callback.
  const call: Callback = (reason) => callback(reason);
  for (const signal of signals) if (signal) callbacksOf(signal).callbacks.add(call);
  return () => {
    for (const signal of signals) if (signal) leave(signal, call);
  };
}

function callbacksOf(signal: AbortSignal): Waiting {
  const known = waiting.get(signal);
  if (known) return known;
  const callbacks = new Set<Callback>();
  const listener = () => {
    for (const callback of callbacks) callback(signal.reason);
  };
  const made = { callbacks, listener };
  waiting.set(signal, made);
  signal.addEventListener('abort', listener);
  return made;
}

function leave(signal: AbortSignal, call: Callback): void {
  const left = waiting.get(signal);
  if (!left?.callbacks.delete(call) || left.callbacks.size > 0) return;
  waiting.delete(signal);
  signal.removeEventListener('abort', left.listener);
}
