import { checkKey } from '../record/check.ts';
import { LockError } from '../record/errors.ts';
import { BackOff } from './back-off.ts';
import { call } from './callback.ts';
import { pause, startTimer } from './clock.ts';
import { type LeaderWork, type LeadOptions, type LeadPlan, planLead, type TermEnd } from './lead-options.ts';
import { Lease } from './lease.ts';
import type { LeaseClient } from './lease-client.ts';
import { onAbort } from './on-abort.ts';

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

/** A term of so many milliseconds shows that the work can run: the back-off begins anew. */
const GOOD_TERM_MS = 60_000;

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
 *   for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => candidate.stop());
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
  #works = false;

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
    void this.finished.then(onAbort([client.context.closing], () => this.#closed()));
  }

  /** Tells whether this candidate leads at this very moment: it has the lock. True until the work has ended. */
  isLeader(): boolean {
    return this.#lease?.isHeld() ?? false;
  }

  /**
   * Gives the lead up, if this candidate leads: tells the work to stop, and releases the lease when the work has ended. The
   * candidate rests for `restMs`, and campaigns again. Do not await `resign()` in the work: the promise waits for the work.
   * @returns a promise that resolves when the lease has ended: released, or left to its expiry after `graceMs`.
   */
  async resign(): Promise<void> {
    await this.#tell('resigned');
  }

  /**
   * Ends the candidate, for a process that is told to stop. Tells the work to stop, waits up to `graceMs` for its end, and
   * releases the lease. Work that does not end is left alone, and its lease to the expiry. Do not await `stop()` in the work:
   * the promise waits for the work.
   * @returns `finished`.
   */
  stop(): Promise<void> {
    if (!this.#stopping.signal.aborted) {
      this.#stopping.abort(toldError(this.key, 'stopped'));
      void this.#tell('stopped');
      this.#leaveInTime();
    }
    return this.finished;
  }

  /** Calls `stop()`, at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  get #isOver(): boolean {
    return this.#stopping.signal.aborted || this.#client.context.closing.aborted;
  }

  /** Nobody waits for longer than `graceMs` from now: for the work, or for the answer to its release. */
  #leaveInTime(): void {
    const { clock } = this.#client.context;
    void this.finished.then(startTimer(clock, this.#plan.graceMs, () => this.#left.resolve(undefined)));
  }

  /** The client is closed. Its `close` knows only leases that are held, and not work that goes on after its lease. */
  #closed(): void {
    if (this.#lease === undefined || this.#lease.isHeld()) return;
    this.#tellWork(this.#client.context.closing.reason);
    this.#leaveInTime();
  }

  /** Work that has released its lease, or handed it off, is told as well. */
  #tellWork(reason: unknown): void {
    if (this.#works) this.#lease?.tell(reason);
  }

  /** As for a client that is closed: the lease is held until the work has ended, or abandoned after `graceMs`. */
  async #tell(told: Told): Promise<void> {
    if (this.#lease === undefined) return;
    this.#told ??= told;
    const reason = toldError(this.key, told);
    this.#tellWork(reason);
    await this.#lease.close(reason, this.#plan.graceMs);
  }

  async #run(): Promise<void> {
    for (;;) {
      // 1. The campaign: wait for the lock.
      const lease = await this.#campaign();
      if (this.#isOver) await this.#unlessLeft(lease?.discard());
      if (lease === undefined || this.#isOver) return;
      // 2. The term: the work, and its end. A second work never begins before the first has ended.
      const end = await this.#lead(lease);
      call(() => this.#plan.onTermEnd(end));
      // 3. The rest, so that others get a turn.
      await this.#rest(this.#restMsAfter(end));
    }
  }

  /**
   * Waits for the lock, as long as it takes. A fault of the store ends no campaign: an `acquireFailed` event tells each, and
   * the error output the first, since a table that does not exist would keep everybody from leading without a word.
   */
  async #campaign(): Promise<Lease | undefined> {
    const { signal } = this.#stopping;
    let isTold = false;
    while (!this.#isOver) {
      try {
        const outcome = await this.#client.ask(this.key, { ...this.#plan.acquire, signal });
        isTold = false;
        if (outcome instanceof Lease) {
          this.#notElected.reset();
          return outcome;
        }
      } catch (error) {
        if (!isTold && !this.#isOver) {
          console.error(`The campaign for '${this.key}' goes on after a fault: ${(error as Error).message}`);
        }
        isTold = true;
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
    this.#works = true;
    const work = settled(() => this.#work(lease, signal));
    // A client that is closed abandons the lease of work that does not end in time.
    void lease.ended.then(() => closing.aborted && this.#left.resolve(undefined));
    const outcome = await Promise.race([work, this.#left.promise]);
    this.#works = false;
    // Whoever tells the candidate to stop from here on ends no work.
    const told = this.#told ?? (closing.aborted ? 'closed' : undefined);
    // 2. Invariant 9: the lease is released after the work. Under work that goes on, the lease has been abandoned.
    if (outcome) await this.#unlessLeft(lease.release());
    this.#lease = undefined;
    // 3. The end of the term. Whatever work throws that was told to end is no failure: most often its abort.
    const { loss } = lease;
    const failure = outcome?.failure;
    const ledMs = clock.monotonic() - since;
    if (told) return { key, fencingToken, reason: told, ledMs };
    if (loss) return { key, fencingToken, reason: 'lost', error: loss, ledMs };
    if (failure) return { key, fencingToken, reason: 'failed', error: failure.error, ledMs };
    return { key, fencingToken, reason: 'returned', ledMs };
  }

  /** Waits for the answer to a release, and no longer than until nobody waits any more. The release itself goes on. */
  async #unlessLeft(released: Promise<boolean> | undefined): Promise<void> {
    await Promise.race([released, this.#left.promise]);
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
