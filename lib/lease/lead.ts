import { checkDuration, checkFunction, checkKey, checkNames, checkThat } from '../record/check.ts';
import { LockError } from '../record/errors.ts';
import { BackOff } from './back-off.ts';
import { call } from './callback.ts';
import { pause, startTimer } from './clock.ts';
import { Lease } from './lease.ts';
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
  /** The `LockLostError` of a lease that was lost, or else the error that the work threw. */
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

/** A term of so many milliseconds shows that the work can run: the back-off begins anew. */
const GOOD_TERM_MS = 60_000;

/** The options of a candidate, checked and with every default filled in. */
interface LeadPlan {
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
function planLead(client: LeaseClient, options: LeadOptions): LeadPlan {
  checkNames('lead', options, LEAD_OPTIONS);
  const { pollMs = 600, graceMs = 10_000, onTermEnd = printFailure, restMs, backOffMs, ...lease } = options;
  checkDuration('pollMs', pollMs, 1);
  checkFunction('onTermEnd', onTermEnd);
  client.plan(lease);
  const isPair = backOffMs === undefined || (typeof backOffMs === 'object' && backOffMs !== null);
  checkThat(isPair, 'backOffMs', '{ first, most } in milliseconds', backOffMs);
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

/**
 * Makes a candidate for the lead.
 * @throws LockError on Lambda.
 * @throws LockClosedError if the client is closed.
 */
export function lead(client: LeaseClient, key: string, options: LeadOptions, work: LeaderWork): Candidate {
  checkKey(key);
  const plan = planLead(client, options);
  if (process.env.AWS_LAMBDA_FUNCTION_NAME !== undefined) {
    throw new LockError(
      `lead('${key}') needs a process that runs on, and Lambda freezes a function between its invocations. Start the work by a schedule, under lock() or withLock().`,
    );
  }
  client.context.closing.throwIfAborted();
  return new Candidate(client, key, plan, work);
}

type Told = 'resigned' | 'stopped';

/**
 * A candidate, which leads whenever it has the lock, until `stop()` is called or the client is closed.
 * @example
 * ```ts
 * import type { LockClient } from 'leasehold';
 *
 * export function start(locks: LockClient, tick: (token: number) => Promise<void>) {
 *   const candidate = locks.lead('scheduler', async (lease, signal) => {
 *     while (!signal.aborted) await tick(lease.fencingToken);
 *   });
 *   process.once('SIGTERM', () => candidate.stop());
 *   return candidate.finished;
 * }
 * ```
 */
export class Candidate {
  readonly key: string;
  /**
   * Resolves when the candidate has ended: after `stop()` or the client's closing, when the work has ended or its time is over.
   * Never rejects.
   */
  readonly finished: Promise<void>;
  readonly #client: LeaseClient;
  readonly #plan: LeadPlan;
  readonly #work: LeaderWork;
  readonly #stopping = new AbortController();
  readonly #afterFailure: BackOff;
  readonly #notElected: BackOff;
  /** Resolves when nobody waits for the work any more: its time to end is over. */
  readonly #left = Promise.withResolvers<undefined>();
  /** The lease of the present term, until its work and its release have ended. */
  #lease: Lease | undefined;
  #told: Told | undefined;

  /** @internal */
  constructor(client: LeaseClient, key: string, plan: LeadPlan, work: LeaderWork) {
    this.#client = client;
    this.key = key;
    this.#plan = plan;
    this.#work = work;
    const { first, most } = plan.backOffMs;
    this.#afterFailure = new BackOff(first, most);
    this.#notElected = new BackOff(first, most);
    this.finished = this.#run();
  }

  /** Tells whether this candidate leads at this very moment: it has the lock. True until the work has ended. */
  isLeader(): boolean {
    return this.#lease?.isHeld() ?? false;
  }

  /**
   * Gives the lead up, if this candidate leads: tells the work to stop, and releases the lease when the work has ended. The
   * candidate rests for `restMs`, and campaigns again.
   * @returns a promise that resolves when the lease has ended: released, or left to its expiry after `graceMs`.
   */
  async resign(): Promise<void> {
    await this.#tell('resigned');
  }

  /**
   * Ends the candidate, for a process that is told to stop. Tells the work to stop, waits up to `graceMs` for its end, and
   * releases the lease. Work that does not end is left alone, and its lease to the expiry.
   * @returns `finished`.
   */
  stop(): Promise<void> {
    if (!this.#stopping.signal.aborted) {
      this.#stopping.abort(toldError(this.key, 'stopped'));
      void this.#tell('stopped');
      const { clock } = this.#client.context;
      void this.finished.then(startTimer(clock, this.#plan.graceMs, () => this.#left.resolve(undefined)));
    }
    return this.finished;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  get #isOver(): boolean {
    return this.#stopping.signal.aborted || this.#client.context.closing.aborted;
  }

  /** As for a client that is closed: the lease is held until the work has ended, or abandoned after `graceMs`. */
  async #tell(told: Told): Promise<void> {
    if (this.#lease === undefined) return;
    this.#told ??= told;
    await this.#lease.close(toldError(this.key, told), this.#plan.graceMs);
  }

  async #run(): Promise<void> {
    for (;;) {
      // 1. The campaign: wait for the lock.
      const lease = await this.#campaign();
      if (this.#isOver) await lease?.discard();
      if (lease === undefined || this.#isOver) return;
      // 2. The term: the work, and its end. A second work never begins before the first has ended.
      const end = await this.#lead(lease);
      call(() => this.#plan.onTermEnd(end));
      // 3. The rest, so that others get a turn.
      await this.#rest(this.#restMsAfter(end));
    }
  }

  /** Waits for the lock, as long as it takes. A fault of the store, which an `acquireFailed` event tells, ends no campaign. */
  async #campaign(): Promise<Lease | undefined> {
    const { signal } = this.#stopping;
    while (!this.#isOver) {
      try {
        const outcome = await this.#client.ask(this.key, { ...this.#plan.acquire, signal });
        if (outcome instanceof Lease) {
          this.#notElected.reset();
          return outcome;
        }
      } catch {
        // The event has told the fault.
      }
      await this.#rest(this.#notElected.nextMs());
    }
    return undefined;
  }

  async #lead(lease: Lease): Promise<TermEnd> {
    const { clock, closing } = this.#client.context;
    const { key, fencingToken, signal } = lease;
    const since = clock.monotonic();
    this.#told = undefined;
    this.#lease = lease;
    // 1. The work runs until it ends, also after a loss: its signal aborts before the expiry.
    const work = settled(() => this.#work(lease, signal));
    // A client that is closed abandons the lease of work that does not end in time.
    void lease.ended.then(() => closing.aborted && this.#left.resolve(undefined));
    const outcome = await Promise.race([work, this.#left.promise]);
    // 2. Invariant 9: the lease is released after the work. Under work that goes on, the lease has been abandoned.
    if (outcome) await lease.release();
    this.#lease = undefined;
    // 3. The end of the term, in which an abort of the signal comes before the error that the abort brought about.
    const { loss } = lease;
    const failure = outcome?.failure;
    const isAnswer = failure !== undefined && failure.error === signal.reason;
    const byItself = failure ? 'failed' : 'returned';
    const reason = this.#told ?? (closing.aborted ? 'closed' : loss ? 'lost' : byItself);
    const error = loss ?? (isAnswer ? undefined : failure?.error);
    return { key, fencingToken, reason, ...(error !== undefined && { error }), ledMs: clock.monotonic() - since };
  }

  #restMsAfter({ reason, ledMs }: TermEnd): number {
    if (ledMs >= GOOD_TERM_MS) this.#afterFailure.reset();
    if (reason === 'lost') return 0;
    return reason === 'failed' ? this.#afterFailure.nextMs() : this.#plan.restMs;
  }

  /** Rests, and no longer than until the candidate is to end. */
  async #rest(ms: number): Promise<void> {
    const { clock, closing } = this.#client.context;
    if (ms > 0) await pause(clock, ms, this.#stopping.signal, closing).catch(() => {});
  }
}

const toldError = (key: string, told: Told): LockError =>
  new LockError(
    told === 'stopped'
      ? `This candidate for '${key}' is stopped. End the work.`
      : `The leader of '${key}' resigns. End the work.`,
  );

/** Runs the work. Never rejects. */
async function settled(work: () => unknown): Promise<{ readonly failure?: { readonly error: unknown } }> {
  try {
    await work();
    return {};
  } catch (error) {
    return { failure: { error } };
  }
}
