import { setMaxListeners } from 'node:events';
import type { LeaseStore } from '../record/store.ts';
import { type Clock, pause } from './clock.ts';

/** The shortest pause that a hint ends, in milliseconds: a store that hints at all times is not asked at all times. */
const LEAST_MS = 5;

/**
 * Pauses for `ms` milliseconds, or until the store hints that the lock of one of the keys may have opened. The caller looks
 * at the records in any case: a hint may be missed, and may be wrong.
 * @param woken ends the pause, too.
 * @throws the reason of a signal that aborts.
 */
export async function untilChange(
  { store, clock }: { readonly store: LeaseStore; readonly clock: Clock },
  keys: readonly string[],
  ms: number,
  signals: readonly (AbortSignal | undefined)[],
  woken?: AbortSignal,
): Promise<void> {
  if (store.changes === undefined) return pauseUntil(clock, ms, signals, woken);
  const over = new AbortController();
  // Older versions of Node warn of more than 10 listeners, and a store may listen once for each key.
  setMaxListeners(0, over.signal);
  const paused = pauseUntil(clock, ms, [...signals, over.signal], woken);
  const changed = async () => Promise.race(keys.map((key) => store.changes?.(key, over.signal)));
  // A hint that fails is no hint.
  const hinted = Promise.all([changed(), pause(clock, LEAST_MS, over.signal)]).catch(() => paused);
  try {
    await Promise.race([paused, hinted]);
  } finally {
    over.abort();
  }
}

/**
 * Pauses for `ms` milliseconds, or until one is woken.
 * @throws the reason of a signal that aborts.
 */
export async function pauseUntil(
  clock: Clock,
  ms: number,
  signals: readonly (AbortSignal | undefined)[],
  woken: AbortSignal | undefined,
): Promise<void> {
  try {
    await pause(clock, ms, ...signals, woken);
  } catch (error) {
    if (!woken?.aborted) throw error;
    for (const signal of signals) signal?.throwIfAborted();
  }
}
