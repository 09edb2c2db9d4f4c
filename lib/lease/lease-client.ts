import { checkFunction } from '../record/check.ts';
import { LockBusyError, LockDoneError } from '../record/errors.ts';
import { holderOf } from '../record/record.ts';
import { checkSlotsOf, slotOf } from '../record/slot-keys.ts';
import type { LeaseStore } from '../record/store.ts';
import { shownToken } from '../record/token.ts';
import { Acquisition } from './acquisition.ts';
import { discardUnwanted, type Grant } from './attempt.ts';
import type { Busy, Outcome } from './attempts.ts';
import { call } from './callback.ts';
import { type Clock, systemClock } from './clock.ts';
import { inBackground, type LeaseContext } from './context.ts';
import { type LockEventListener, notify, type ReportedEvent } from './events.ts';
import { gateOf } from './gate.ts';
import { Lease } from './lease.ts';
import { Lines } from './line.ts';
import { type AcquireOptions, type AcquirePlan, dataOf, type LeaseTiming, planAcquire } from './options.ts';
import { OwnLeases } from './own-leases.ts';
import { defaultOwner } from './owner.ts';
import { serverClockOf } from './server-clock.ts';
import { type Place, SlotMemory } from './slots.ts';
import { storeInTests } from './store-in-tests.ts';

/** The options of a `LeaseClient`. */
export interface LeaseClientOptions extends LeaseTiming {
  /** The place where the locks live. */
  store: LeaseStore;
  /**
   * The holder's name in the client's leases, for people to read. 1 to 1,024 bytes.
   * @default on Lambda the function, version and log stream; elsewhere host and pid
   */
  owner?: string | undefined;
  /**
   * Called for everything that happens to the client's locks. An error that the listener throws or rejects with is ignored.
   * @default none
   */
  onEvent?: LockEventListener | undefined;
  /**
   * The clock and the timers. Must not throw.
   * @default the process's own
   */
  clock?: Clock | undefined;
}

/**
 * The part of a `LockClient` that a handler with a lock needs. A bundler that finds no `LockClient` leaves out the rest.
 * Checks no names of options: the handler's options have been checked.
 */
export class LeaseClient {
  readonly #context: LeaseContext;
  readonly #defaults: AcquireOptions;
  readonly #lines: Lines;

  /** @param closing aborts when the client is closed. */
  constructor(options: LeaseClientOptions, closing: AbortSignal = new AbortController().signal) {
    // Installers may ignore `engines`. The first lease would be granted, and then lack this method.
    if (!Promise.withResolvers) {
      throw new TypeError(`leasehold needs Node 22.3 or later, but this is ${process.version}.`);
    }
    const { onEvent, clock = systemClock, leaseMs, heartbeatMs, safetyMs, owner } = options;
    const store = storeInTests(options.store);
    if (onEvent !== undefined) checkFunction('onEvent', onEvent);
    this.#defaults = { leaseMs, heartbeatMs, safetyMs, owner, requestTimeoutMs: store.requestTimeoutMs };
    this.plan({});
    const serverClock = serverClockOf(store, clock);
    const report = (event: ReportedEvent) => {
      const { skewMs } = serverClock;
      const told = { ...event, at: clock.now(), ...(skewMs !== undefined && { skewMs }) };
      notify(onEvent, told);
      if ('onEvent' in store) call(() => store.onEvent?.(told as never));
    };
    this.#context = {
      store,
      gate: gateOf(store),
      clock,
      serverClock,
      slots: new SlotMemory(),
      leases: new OwnLeases((key, record) => this.#lines.ended(key, record)),
      closing,
      pending: new Set(),
      report,
    };
    this.#lines = new Lines(this.#context);
  }

  /** @internal The calls of this client that wait. */
  get lines(): Lines {
    return this.#lines;
  }

  /** @internal The part of this client that its operations share. */
  get context(): LeaseContext {
    return this.#context;
  }

  /** @internal Checks options together with the defaults of this client's leases, and fills the defaults in. */
  plan(options: AcquireOptions): AcquirePlan {
    const plan: Record<string, unknown> = { ...this.#defaults };
    // Asked at each call: a process that is started from a snapshot has a name of its own.
    plan.owner ??= defaultOwner();
    for (const [name, value] of Object.entries(options)) {
      // A token that is given must be there: without a token the work would run every time.
      if (value !== undefined || name === 'once') plan[name] = value;
    }
    return planAcquire(plan);
  }

  /** Acquires a lock. */
  async acquire(key: string, options: AcquireOptions): Promise<Lease> {
    const outcome = await this.ask(key, options);
    if (outcome instanceof Lease) return outcome;
    throw this.busyError(key, outcome);
  }

  /** @internal Makes the error of a call whose lock is busy. */
  busyError(key: string, outcome: Busy): LockBusyError {
    const { record, closed, permits, retryAfterMs } = outcome;
    const { serverClock } = this.#context;
    const { skewMs } = serverClock;
    const { expiresAt } = record;
    const held = closed.filter(({ lockId }) => lockId !== undefined);
    const heldMs = Math.min(...held.map(({ key, acquiredAt }) => serverClock.now(key) - acquiredAt));
    const holders = closed.map((record) => {
      return { slot: slotOf(key, record.key), owner: holderOf(record), expiresAt: record.expiresAt };
    });
    const owner = holderOf(record);
    return new LockBusyError({ key, owner, expiresAt, retryAfterMs, skewMs, heldMs, permits, holders });
  }

  /** @internal Acquires a lock, and reports the outcome. */
  async ask(key: string, options: AcquireOptions): Promise<Lease | Busy> {
    const plan = this.plan(options);
    checkSlotsOf(key, plan.permits);
    const acquisition = new Acquisition(this.#context, key, plan);
    return this.track(() => this.#lines.run(acquisition, (outcome) => this.told(outcome, acquisition)));
  }

  /** @internal Makes the lease of a grant, and reports the outcome. */
  told(outcome: Outcome, { key, plan, elapsedMs }: Acquisition): Lease | Busy {
    const { report } = this.#context;
    const waitedMs = Math.round(elapsedMs);
    if (outcome.type === 'granted') return this.#granted(key, outcome.grant, plan, waitedMs);
    if (outcome.type === 'done') {
      const doneToken = shownToken(outcome.doneToken);
      const once = shownToken(plan.once as string);
      report({ type: 'done', key, owner: plan.owner, once, doneToken });
      throw new LockDoneError({ key, once, doneToken, result: dataOf(outcome.doneResult) });
    }
    const { record, retryAfterMs } = outcome;
    const { fencingToken, expiresAt } = record;
    const full = plan.permits > 1 && { permits: plan.permits, held: outcome.closed.length };
    report({ type: 'busy', key, ...full, owner: holderOf(record), fencingToken, expiresAt, retryAfterMs, waitedMs });
    return outcome;
  }

  #granted(lock: string, grant: Grant, plan: AcquirePlan, waitedMs: number): Lease {
    const { term, record } = grant;
    // A release counts from `acquiredAt`, the earliest moment of the grant, and `holdAtLeastMs` from the latest. The two
    // moments differ if this host's clock is known to be wrong.
    const holdAtLeastMs = plan.holdAtLeastMs && term.closedUntil - record.acquiredAt;
    const slot = plan.permits > 1 ? slotOf(lock, grant.key) : undefined;
    const lease = this.hold('Acquiring', grant, { ...plan, holdAtLeastMs }, { key: lock, slot });
    // A slot that stays closed after its lease is not worth asking for first.
    if (slot !== undefined && holdAtLeastMs === 0) void lease.ended.then(() => this.#context.slots.ended(lock, slot));
    const { key, owner, fencingToken, deadline, takenOverFrom } = lease;
    const times = { expiresAt: term.until, deadline, waitedMs };
    this.#context.report({
      type: 'acquired',
      key,
      ...(slot !== undefined && { slot }),
      owner,
      fencingToken,
      ...times,
      ...(takenOverFrom && { takenOverFrom }),
    });
    return lease;
  }

  /** @internal Makes the lease of a grant, and starts its heartbeat. */
  hold(what: string, grant: Grant, plan: AcquirePlan, place: Place, discardHoldMs = 0): Lease {
    // The client may have been closed since the grant was judged. From here on, `close` knows the lease.
    const { key: lock } = place;
    if (this.#context.closing.aborted) discardUnwanted(this.#context, { what, lock, plan, discardHoldMs }, grant);
    const lease = new Lease(this.#context, plan, grant, place);
    lease.start();
    return lease;
  }

  /** @internal Lets `close` wait for the calls that are under way. */
  async track<Result>(start: () => Promise<Result>): Promise<Result> {
    this.#context.closing.throwIfAborted();
    const call = start();
    inBackground(this.#context, call);
    return call;
  }
}
