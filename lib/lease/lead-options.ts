import { checkDuration, checkFunction, checkNames, checkThat } from '../record/check.ts';
import type { Lease } from './lease.ts';
import type { LeaseClient } from './lease-client.ts';
import { type AcquireOptions, LEASE_TIMING, type LeaseTiming } from './options.ts';

/** The work of a leader. `signal` is the lease's own. */
export type LeaderWork = (lease: Lease, signal: AbortSignal) => Promise<unknown> | unknown;

/**
 * The end of a leader's term: from the grant to the end of the work and of the lease.
 *
 * - `returned`: the work returned.
 * - `failed`: the work threw, and nobody had told the work to stop.
 * - `lost`: the lease was lost.
 * - `resigned`, `stopped`: `resign()` or `stop()` was called.
 * - `closed`: the client was closed.
 */
export interface TermEnd {
  readonly key: string;
  readonly fencingToken: number;
  readonly reason: 'returned' | 'failed' | 'lost' | 'resigned' | 'stopped' | 'closed';
  /**
   * The `LockLostError` of a lease that was `lost`, or the error that work which `failed` threw. Absent with every other reason:
   * work that was told to end, and then throws, has not failed.
   */
  readonly error?: unknown;
  /** Milliseconds from the grant to the end. */
  readonly ledMs: number;
}

/**
 * The options of a candidate. The times of its leases are as for `acquire`.
 * @example
 * ```ts
 * import type { LeadOptions } from 'leasehold';
 *
 * export const options: LeadOptions = { data: { url: 'http://10.0.0.7:8080' }, leaseMs: 15_000, graceMs: 20_000 };
 * ```
 */
export interface LeadOptions extends LeaseTiming, Pick<AcquireOptions, 'data' | 'owner' | 'requestTimeoutMs'> {
  /**
   * The milliseconds from one look of a standby to the next, a quarter more or less. Smaller means a sooner take-over after a
   * release, and more reads. After a leader's death, the standbys wake at the expiry all the same. 1 or more.
   * @default 600
   */
  pollMs?: number | undefined;
  /**
   * The milliseconds after work that returned, or after `resign()`, in which this candidate leaves the lead to others. Longer
   * means that another candidate is the next leader for certain. 0 or more.
   * @default twice `pollMs`
   */
  restMs?: number | undefined;
  /**
   * The milliseconds after work that failed in which this candidate leaves the lead to others. They double from the first
   * pause to the longest, and begin anew after a term of a minute.
   * @default { first: 1_000, most: 30_000 }
   */
  backOffMs?: { readonly first: number; readonly most: number } | undefined;
  /**
   * The milliseconds that the work has to end after `stop()` or `resign()`. Work that has not ended by then is left alone: its
   * lease is not renewed any more, and is never released under the work. Keep `graceMs` under the time that the platform
   * leaves a process. 0 or more, or `Infinity`.
   * @default 10_000
   */
  graceMs?: number | undefined;
  /**
   * Called at the end of each term. An error that the function throws or rejects with is ignored.
   * @default prints the error of work that failed by `console.error`
   */
  onTermEnd?: ((end: TermEnd) => unknown) | undefined;
}

const LEAD_OPTIONS = {
  ...LEASE_TIMING,
  data: 0,
  owner: 0,
  requestTimeoutMs: 0,
  pollMs: 0,
  restMs: 0,
  backOffMs: 0,
  graceMs: 0,
  onTermEnd: 0,
} satisfies Record<keyof LeadOptions, 0>;

/** The options of a candidate, checked and with every default filled in. */
export interface LeadPlan {
  /** The options of each acquisition. */
  readonly acquire: AcquireOptions & { readonly pollMs: number };
  readonly restMs: number;
  readonly backOffMs: { readonly first: number; readonly most: number };
  readonly graceMs: number;
  readonly onTermEnd: (end: TermEnd) => unknown;
}

const printFailure = ({ key, reason, error }: TermEnd): void => {
  if (reason === 'failed') console.error(`The work of the leader of '${key}' failed:`, error);
};

/** @throws TypeError that shows the value, if an option is unknown or invalid. */
export function planLead(client: LeaseClient, options: LeadOptions): LeadPlan {
  checkNames('lead', options, LEAD_OPTIONS);
  const { pollMs = 600, graceMs = 10_000, onTermEnd = printFailure, restMs, backOffMs, ...lease } = options;
  checkDuration('pollMs', pollMs, 1);
  checkFunction('onTermEnd', onTermEnd);
  client.plan(lease);
  const isPair = backOffMs === undefined || (typeof backOffMs === 'object' && backOffMs !== null);
  checkThat(isPair, 'backOffMs', '{ first, most } in milliseconds', backOffMs);
  if (backOffMs) checkNames('backOffMs', backOffMs, { first: 0, most: 0 });
  const { first, most } = backOffMs ?? { first: 1_000, most: 30_000 };
  checkDuration('backOffMs.first', first, 1);
  checkDuration('backOffMs.most', most, first);
  return {
    acquire: { ...lease, waitMs: Infinity, pollMs },
    restMs: restMs === undefined ? 2 * pollMs : checkDuration('restMs', restMs, 0),
    backOffMs: { first, most },
    graceMs: checkDuration('graceMs', graceMs, 0, true),
    onTermEnd,
  };
}
