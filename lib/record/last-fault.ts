/** The last fault of each sending, by the signal of the sending. */
const faults = new WeakMap<AbortSignal, unknown>();

/**
 * Notes a fault after which a store's own client sends a request again by itself. If no answer comes in time, the error
 * then names this fault.
 */
export function noteFault(signal: AbortSignal | undefined, fault: unknown): void {
  if (signal !== undefined) faults.set(signal, fault);
}

export const lastFault = (signal: AbortSignal): unknown => faults.get(signal);
