import { type Clock, type Instant, instant } from './clock.ts';

/** A time after which something was to happen in this process. */
export interface Due {
  readonly since: Instant;
  readonly ms: number;
}

/** Milliseconds, by each clock, for which nothing ran in this process though something was due. */
export type Stall = Instant;

export const NO_STALL: Stall = { wall: 0, monotonic: 0 };

/** A shorter stall, in milliseconds, and one of less than this share of the lease, explains no loss. */
const LEAST_STALL_MS = 100;
const LEAST_SHARE = 1 / 4;

/** The time for which something has been due, or an earlier stall if that was longer. */
export function stallSince(clock: Clock, { since, ms }: Due, earlier: Stall = NO_STALL): Stall {
  const now = instant(clock);
  return {
    wall: Math.max(earlier.wall, now.wall - since.wall - ms),
    monotonic: Math.max(earlier.monotonic, now.monotonic - since.monotonic - ms),
  };
}

/**
 * Says how a stall kept a lease from its renewals. Undefined if the stall was too short for that.
 *
 * - Both clocks went on: the event loop was blocked. A process that is stopped by a signal or a debugger looks the same.
 * - Only the wall clock went on: the process stood still, as Lambda freezes it. A wall clock that is set looks the same.
 */
export function explained(
  { wall, monotonic }: Stall,
  leaseMs: number,
): { detail: string; blockedMs: number } | undefined {
  const leastMs = Math.max(LEAST_STALL_MS, leaseMs * LEAST_SHARE);
  const blockedMs = Math.round(monotonic >= leastMs ? monotonic : wall);
  if (blockedMs < leastMs) return undefined;
  const detail =
    monotonic >= leastMs
      ? `the event loop was blocked for ${blockedMs} ms or longer, or the process stood still`
      : `the process stood still for ${blockedMs} ms or longer, or its clock was set`;
  return { detail, blockedMs };
}
