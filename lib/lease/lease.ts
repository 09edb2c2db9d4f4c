// Over 250 lines: half of them document the public API.

import { checkNames, checkThat, show } from '../record/check.ts';
import { LockError, LockLostError, type LockStoreError, type LostReason } from '../record/errors.ts';
import type { LockRecord } from '../record/record.ts';
import type { LeaseStore } from '../record/store.ts';
import { canonicalToken, haveOneForm, isDone, type OnceToken, shownToken } from '../record/token.ts';
import type { Grant } from './attempt.ts';
import { elapsedMs, instant, startTimer } from './clock.ts';
import { Commits } from './commit.ts';
import type { LeaseContext } from './context.ts';
import type { ReportedEvent, ReportedLeaseEvent } from './events.ts';
import { Heartbeat } from './heartbeat.ts';
import { type AcquirePlan, checkLeaseMs, dataOf, json } from './options.ts';
import { type Released, type Releasing, release, releaseMsOf } from './release.ts';
import type { Place } from './slots.ts';
import { explained, type Stall } from './stall.ts';

// Node has this symbol. TypeScript has it since 5.2, and there only with `lib: ["esnext.disposable"]`.
declare global {
  interface SymbolConstructor {
    readonly asyncDispose: unique symbol;
  }
}

/** A lease on its way to another process. The handle is a secret: whoever has the handle has the lease. */
export interface LeaseHandle {
  readonly key: string;
  readonly lockId: string;
  readonly fencingToken: number;
  /** Present if the lease was acquired with `permits`. */
  readonly slot?: number;
  readonly once?: string;
  readonly holdAtLeastMs?: number;
  /** Present with `holdAtLeastMs`, which counts from this moment. */
  readonly acquiredAt?: number;
}

/**
 * The state of a lease. No state but `held` and `releasing` is ever left (invariant 7).
 * - `held`: nobody else has the lock.
 * - `releasing`: the holder has sent a release that is refused if somebody has asked for one more run. Nobody believes in the
 *   lease until the answer comes (invariant 4). After the refusal, which proves that nobody else had the lock meanwhile, the
 *   lease is held again.
 * - `lost`: the deadline has passed, or somebody else has ended the grant.
 * - `released`: the holder has sent its release, whatever the store answers.
 * - `handedOff`: another process may resume the lease.
 */
type LeaseState = 'held' | 'releasing' | 'lost' | 'released' | 'handedOff';

const LOST_DETAIL: Record<LostReason, string> = {
  expired: 'its deadline has passed',
  takenOver: 'another grant stands in its place',
  revoked: 'it was force-released',
  gone: 'its record was deleted',
  released: 'it was released',
  handedOff: 'it was handed off',
  closed: 'its client was closed or its candidate told to stop, and its work had not ended in time',
  timedOut: 'its invocation timed out',
  abandoned: 'it was given up, for its work may go on',
};

/**
 * The options of a release.
 * @example
 * ```ts
 * import type { ReleaseOptions } from 'leasehold';
 *
 * export const succeeded: ReleaseOptions = { done: true };
 * ```
 */
export interface ReleaseOptions {
  /**
   * Says how far the work succeeded.
   * - `true`: the work succeeded, and the lease's `once` token is done.
   * - A token of the lease's own form, up to the lease's own: a part of the work succeeded, and this token is done.
   * - `false`: no token is done.
   * @default false
   */
  readonly done?: boolean | OnceToken;
  /**
   * The result of the work: any JSON, up to 8 kB together with the lease's `data`. Stands in the record beside the token that
   * is done, until another token is. Whoever asks for a token that is done gets the result in `LockDoneError.result`. Only with
   * `done` and a lease with `once`.
   * @default none
   */
  readonly result?: unknown;
  /**
   * The longest time in which to try the release, in milliseconds.
   * @default the rest of `remainingMs` at the call, less 200 ms for the response, or less half of a shorter rest
   */
  readonly withinMs?: number;
}

/** The options of a release, with the canonical text of the token. An empty text takes the record's token away. */
interface Ending {
  readonly done?: boolean | string;
  /** JSON. */
  readonly result?: string | undefined;
  readonly withinMs?: number | undefined;
  /**
   * The time for which the release keeps the lock closed.
   * @default the lease's own
   */
  readonly holdAtLeastMs?: number;
}

const RELEASE_OPTIONS = { done: 0, result: 0, withinMs: 0 } satisfies Record<keyof ReleaseOptions, 0>;

/**
 * A grant of a lock, which a heartbeat renews in the background until the lease is released, handed off or lost.
 * @example
 * ```ts
 * import { LockClient } from 'leasehold';
 * import { DynamoDBLockStore } from 'leasehold/dynamodb';
 *
 * const locks = new LockClient({ store: new DynamoDBLockStore() });
 *
 * export async function report() {
 *   await using lease = await locks.acquire('report', { waitMs: 5_000 });
 *   await fetch('https://example.com/report', { method: 'POST', signal: lease.signal });
 * }
 * ```
 */
export class Lease {
  /** The key that was given. */
  readonly key: string;
  /**
   * The slot that the lease holds, from 0 up to one less than `permits`: no two leases of a key hold the same slot at a
   * time. 0 of a lock without `permits`.
   */
  readonly slot: number;
  readonly owner: string;
  /**
   * Grows with every grant of the key, for ever. A resource that remembers the highest token refuses a late holder. With
   * `permits` each slot counts for itself: the resource remembers the highest token of each slot.
   */
  readonly fencingToken: number;
  /** The moment of the grant, as the record has it: milliseconds since the epoch. */
  readonly acquiredAt: number;
  /** The holder whose lease expired without a release, if the grant took such a lease over. */
  readonly takenOverFrom: { readonly owner: string; readonly expiredAt: number } | undefined;
  /** The greatest `once` token that had finished when the lease was granted. Undefined if no token had. */
  readonly doneToken: string | undefined;
  /** The note that was attached to the lease. */
  readonly data: unknown;

  readonly #context: LeaseContext;
  readonly #plan: AcquirePlan;
  readonly #grant: Grant;
  readonly #heartbeat: Heartbeat;
  readonly #commits: Commits;
  readonly #stop = new AbortController();
  /** True of a lease with `permits`, whose events and handle name the slot. */
  readonly #isOfSlot: boolean;
  readonly #ended = Promise.withResolvers<void>();
  #state: LeaseState = 'held';
  #loss: LockLostError | undefined;
  #releasing: Promise<boolean> | undefined;
  #releasedAsDone = false;
  #gaveResult = false;
  /** The expiry that a release has written. Undefined unless the release is known to be applied. */
  #opensAt: number | undefined;
  #toldHeldMs = 0;

  /** @internal Starts no timer: `start()` does. */
  constructor(context: LeaseContext, plan: AcquirePlan, grant: Grant, { key, slot }: Place) {
    const { fencingToken, acquiredAt, doneToken, data, tookOver } = grant.record;
    this.key = key;
    this.slot = slot ?? 0;
    this.#isOfSlot = slot !== undefined;
    this.owner = plan.owner;
    this.fencingToken = fencingToken;
    this.acquiredAt = acquiredAt;
    this.doneToken = shownToken(doneToken);
    this.data = dataOf(data);
    if (tookOver?.type === 'lease') {
      this.takenOverFrom = { owner: tookOver.owner ?? '', expiredAt: tookOver.expiresAt };
    }
    this.#context = context;
    this.#plan = plan;
    this.#grant = grant;
    this.#commits = new Commits(context, grant);
    this.#heartbeat = new Heartbeat(context, plan, grant, {
      lost: (reason, cause, stall) => this.#lose(reason, cause, stall),
      report: (event) => this.#report(event),
    });
  }

  /** @internal Starts the heartbeat. */
  start(): void {
    this.#context.leases.add(this.#grant.key, this);
    this.#heartbeat.start();
  }

  /** @internal The secret id of this grant. Must not be logged. */
  get lockId(): string {
    return this.#grant.lockId;
  }

  /** @internal The key of the record, for guarded writes: the key of the slot. */
  get recordKey(): string {
    return this.#grant.key;
  }

  /** @internal Resolves when nothing is left to wait for: the lease is lost or handed off, or its release is answered. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** @internal The record, as this holder last wrote it. */
  get record(): LockRecord {
    const { record } = this.#grant;
    // Whoever stands in line behind a lease that was released is told of a lock that nobody holds.
    if (this.#opensAt !== undefined) return { ...record, lockId: undefined, expiresAt: this.#opensAt };
    return { ...record, expiresAt: this.#heartbeat.until };
  }

  /** @internal The store that this lease lives in. */
  get store(): LeaseStore {
    return this.#context.store;
  }

  /** @internal Milliseconds until the moment beyond which the lease is not renewed (invariant 8). */
  get capLeftMs(): number {
    return this.#grant.term.capLeftMs(instant(this.#context.clock));
  }

  /** @internal True if the holder has released the lease with a result, which nobody else could do in its place. */
  get gaveResult(): boolean {
    return this.#gaveResult;
  }

  /** @internal The milliseconds for which a request of this lease waits for its answer. */
  get requestTimeoutMs(): number {
    return this.#plan.requestTimeoutMs;
  }

  /**
   * The moment at which the holder's belief ends unless the heartbeat renews the lease: milliseconds since the epoch, by
   * this host's clock.
   */
  get deadline(): number {
    return this.#heartbeat.deadline;
  }

  /**
   * Tells the work to stop. An error that a listener of the signal throws ends the process, as with every `AbortSignal`.
   *
   * - The lease is lost: the signal aborts with a `LockLostError`, at the deadline at the latest.
   * - The client is closed: the signal aborts with a `LockClosedError`. The lease is still held, and renewed, so that the
   *   work can stop in order. Release the lease when the work has ended.
   *
   * A release does not abort the signal.
   */
  get signal(): AbortSignal {
    this.isHeld();
    return this.#stop.signal;
  }

  /** @internal The loss of the lease. Undefined as long as the lease is not lost. */
  get loss(): LockLostError | undefined {
    this.isHeld();
    return this.#loss;
  }

  /**
   * Tells whether the lease is held at this very moment. Invariant 5: asks both clocks, and no timer.
   * @example
   * ```ts
   * import type { Lease } from 'leasehold';
   *
   * export async function workOff(jobs: (() => Promise<void>)[], lease: Lease) {
   *   for (const job of jobs) if (lease.isHeld()) await job();
   * }
   * ```
   */
  isHeld(): boolean {
    return this.#state === 'held' && this.#heartbeat.isAlive();
  }

  /**
   * Throws if the lease is not held at this very moment.
   * @example
   * ```ts
   * import type { Lease } from 'leasehold';
   *
   * export async function workOff(jobs: (() => Promise<void>)[], lease: Lease) {
   *   for (const job of jobs) {
   *     lease.assertHeld();
   *     await job();
   *   }
   * }
   * ```
   * @throws LockLostError with the reason.
   */
  assertHeld(): void {
    if (this.isHeld()) return;
    throw this.#loss ?? this.#lostError(this.#state === 'handedOff' ? 'handedOff' : 'released');
  }

  /**
   * Renews the lease now. The heartbeat renews it anyway.
   * @example
   * ```ts
   * import type { Lease } from 'leasehold';
   *
   * // Before work that blocks the event loop: with a whole lease ahead, no heartbeat is missed.
   * export async function compress(lease: Lease, work: () => void) {
   *   await lease.renew();
   *   work();
   *   lease.assertHeld();
   * }
   * ```
   * @throws LockLostError if the lease is not held, or if the answer shows that it was lost.
   * @throws LockStoreError if the store did not answer. The lease is held until its deadline all the same.
   */
  renew(): Promise<void> {
    return this.#renew();
  }

  /**
   * The data that a holder of this lock last committed, as far as this lease knows: at the grant, or by a commit of its own.
   * Undefined if nobody has committed, or if the store has removed the record since, as `commit` tells.
   */
  get committed(): unknown {
    return dataOf(this.#commits.last?.data);
  }

  /**
   * Writes data into the record of the lock, in one write that is applied only while this grant stands in the record. No
   * later holder's commit is ever overwritten, whatever the clocks say: the commit fences itself (invariant 14). The data
   * stays when the lease ends, and the next holder finds it in `committed`. So a resource without conditional writes is
   * guarded: publish under a new name, and commit the name.
   *
   * The data stays as long as the record stays: for `retentionDays` after the lock's last expiry on DynamoDB and Redis, as
   * the bucket's lifecycle says on S3, and for ever in files.
   *
   * Commits of one lease are made one after the other. An error leaves unknown whether the commit was applied.
   * @example
   * ```ts
   * import type { LockClient } from 'leasehold';
   *
   * export async function publish(locks: LockClient, upload: (name: string) => Promise<void>) {
   *   await using lease = await locks.acquire('catalogue');
   *   const name = `catalogue-${lease.fencingToken}.json`;
   *   await upload(name);
   *   await lease.commit({ current: name });
   * }
   * ```
   * @param data any JSON, up to 8 kB.
   * @throws TypeError that shows the value, if the data is no JSON or too long.
   * @throws LockLostError if the lease is not held, or if the answer shows that it was lost.
   * @throws LockStoreError if the store did not answer. The lease is held all the same.
   */
  async commit(data: unknown): Promise<void> {
    const text = json(data);
    checkThat(text !== undefined, 'data', 'JSON', data);
    this.assertHeld();
    const loss = await this.#commits.write(text, this.#plan.requestTimeoutMs);
    if (loss === undefined) return;
    this.#heartbeat.lose(loss);
    this.assertHeld();
  }

  /**
   * Ends the lease. Belief ends at once, the heartbeat stops, and the lock opens for others. Call `release` when the work
   * has ended, and never while the work may go on. A second call gives the first call's answer.
   *
   * A wrong option throws at the call. The promise never rejects, so a `release` in a `finally` hides no error of the work (invariant 10). A `releaseFailed`
   * event reports a failure, and the lock opens at the expiry.
   * @example
   * ```ts
   * import type { LockClient } from 'leasehold';
   *
   * export async function report(locks: LockClient, time: string) {
   *   const lease = await locks.acquire('report', { once: time });
   *   try {
   *     await fetch('https://example.com/report', { method: 'POST', signal: lease.signal });
   *     await lease.release({ done: true });
   *   } finally {
   *     await lease.release(); // after a failure: the token is not done
   *   }
   * }
   * ```
   * @returns true if the lease was held until now and is known to be released. False after a loss, a hand-off or a release
   *   that failed.
   * @throws TypeError if `done` is a token and the lease has no `once` token, or a smaller one; if `result` is no JSON or too
   *   long; or if no token is done to which the result belongs. Then nothing is released.
   */
  release(options: ReleaseOptions = {}): Promise<boolean> {
    checkNames('release', options, RELEASE_OPTIONS);
    const { done = false, result, withinMs = 0 } = options;
    const { once } = this.#plan;
    const isTime = typeof withinMs === 'number' && withinMs >= 0;
    checkThat(isTime, 'withinMs', 'a number of milliseconds, 0 or more', withinMs);
    const token = typeof done === 'boolean' ? done : canonicalToken(done, 'done');
    if (typeof token !== 'boolean' && !(isDone(token, once) && haveOneForm(token, once))) {
      throw new TypeError(
        `done must be true, false or a once token up to that of the lease, ${show(shownToken(once))}, and of the same form, but it is ${show(done)}.`,
      );
    }
    const text = json(result, 'result', this.#grant.record.data);
    if (text !== undefined && (once === undefined || token === false)) {
      const missing = token === false ? 'done: true' : 'a lease with once';
      throw new TypeError(`The result ${show(text)} needs ${missing}: a result belongs to the token that is done.`);
    }
    return this.#release({ ...options, done: token, result: text });
  }

  /**
   * Ends the lease after work that succeeded: releases the lease as done, unless the work has ended the lease. After work
   * that failed, call `release()`.
   * @example
   * ```ts
   * import type { LockClient } from 'leasehold';
   *
   * export async function report(locks: LockClient, time: string) {
   *   await using lease = await locks.acquire('report', { once: time });
   *   await fetch('https://example.com/report', { method: 'POST', signal: lease.signal });
   *   console.log(await lease.finish());
   * }
   * ```
   * @returns `released`: the lock is released; with `once`, its token is done. `handedOff`: the work handed the lease off,
   *   and the token is left to the other process. `unknown`: the release failed, and may have been applied all the same; a
   *   `releaseFailed` event gives the error.
   * @throws LockLostError if the lease was lost before the work ended.
   * @throws LockError if the work released the lease without `done`. Its `once` token is not done.
   */
  async finish(): Promise<'released' | 'handedOff' | 'unknown'> {
    const released = await this.release({ done: true });
    if (this.loss) throw this.loss;
    if (this.#state === 'handedOff') return 'handedOff';
    const { once } = this.#plan;
    if (once !== undefined && !this.#releasedAsDone) {
      throw new LockError(
        `Releasing '${this.key}': the work released its lease itself, so the once token '${shownToken(once)}' is not done. Call release({ done: true }), or leave the release out.`,
      );
    }
    return released ? 'released' : 'unknown';
  }

  /** Calls `release()`, at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  /**
   * Hands the lease off: renews the lease for `leaseMs` and stops the heartbeat. From then on `release` does nothing here.
   * The process that gets the handle calls `resume(handle)` within `leaseMs`.
   * @example
   * ```ts
   * import type { LockClient } from 'leasehold';
   *
   * export async function firstStep(locks: LockClient) {
   *   await using lease = await locks.acquire('closing');
   *   return { handle: await lease.handOff({ leaseMs: 60_000 }) };
   * }
   * ```
   * @param options.leaseMs the milliseconds for which the lock stays closed for the other process.
   * @throws LockLostError, LockStoreError as `renew` does. Then the lease stays as it was.
   */
  async handOff(options: { readonly leaseMs: number }): Promise<LeaseHandle> {
    checkNames('handOff', options ?? {}, { leaseMs: 0 });
    const leaseMs = checkLeaseMs(options?.leaseMs);
    await this.#renew(leaseMs);
    this.#end('handedOff');
    this.#report({ type: 'handedOff', expiresAt: this.#heartbeat.until });
    const { once, holdAtLeastMs } = this.#plan;
    return {
      key: this.key,
      lockId: this.lockId,
      fencingToken: this.fencingToken,
      ...this.#ofSlot,
      ...(once !== undefined && { once: shownToken(once) }),
      ...(holdAtLeastMs > 0 && { holdAtLeastMs, acquiredAt: this.acquiredAt }),
    };
  }

  /**
   * Gives the lease's public properties, for logs, and never the `lockId`.
   * @example
   * ```ts
   * import type { Lease } from 'leasehold';
   *
   * export const print = (lease: Lease) => console.log(JSON.stringify(lease));
   * ```
   */
  toJSON(): Record<string, unknown> {
    const { key, slot, owner, fencingToken, acquiredAt, deadline, takenOverFrom, data } = this;
    return { key, slot, owner, fencingToken, acquiredAt, deadline, takenOverFrom, data, held: this.isHeld() };
  }

  /** @internal Releases a lease under which no work has begun: `holdAtLeastMs` keeps nothing closed. */
  discard(withinMs?: number): Promise<boolean> {
    return this.#release({ withinMs, holdAtLeastMs: 0 });
  }

  /** @internal Tells work that runs still to stop, whatever has become of the lease. */
  tell(reason: unknown): void {
    // A lease that is lost by the clock alone tells its work of the loss.
    this.isHeld();
    this.#stop.abort(reason);
  }

  /**
   * @internal Tells the work to stop, for a client that is closed or a candidate that is told to stop. The lease is held and renewed until its work has ended.
   * Invariant 9: if the work does not end within `graceMs`, the lease is abandoned, and not released.
   * @param graceMs undefined for the time until the present deadline.
   * @returns a promise that settles when the lease has ended, or when `graceMs` is over.
   */
  close(reason: unknown, graceMs: number | undefined): Promise<void> {
    const ms = graceMs ?? (this.isHeld() ? this.#heartbeat.leftMs : Infinity);
    if (this.isHeld()) this.#stop.abort(reason);
    const giveUp = () => {
      this.abandon('closed');
      this.#leave();
    };
    if (ms > 0) void this.#ended.promise.then(startTimer(this.#context.clock, ms, giveUp));
    else giveUp();
    return this.#ended.promise;
  }

  /**
   * @internal Releases the lease after a part of its work. Throws nothing: unlike `release`, the method asks for no form.
   * @param done the canonical text of a token up to the lease's own by its bytes, or what `release` takes. An empty text takes
   *   the record's token away.
   */
  releasePart(done: boolean | string, withinMs?: number): Promise<boolean> {
    return this.#release({ done, withinMs });
  }

  /**
   * @internal Releases a coalescing lease whose run has succeeded. If somebody has asked for one more run since the run began,
   * the release is refused, and the lease is held still (invariant 15). The lease must be held.
   *
   *     the run   ----|work has ended
   *     belief    ----|                |----  after a refusal
   *                   |<-- release --->|
   * @param served the value of `asked` up to which the run has served.
   */
  async releaseServed(served: number, withinMs: number): Promise<Released> {
    this.#state = 'releasing';
    this.#heartbeat.pause();
    const sending = this.#send({ served }, { withinMs });
    this.#releasing = sending.then(({ type }) => type === 'released');
    const released = await sending;
    // Meanwhile the lease was abandoned.
    if (this.#state !== 'releasing') return { type: 'lost', reason: 'abandoned' };
    if (released.type === 'asked') {
      this.#releasing = undefined;
      this.#state = 'held';
      this.#heartbeat.resume();
    } else {
      this.#end('released');
      this.#tell(released, false);
    }
    return released;
  }

  /**
   * @internal Abandons the lease: the signal aborts, the heartbeat stops, nothing is released, and the lock opens at the
   *   expiry.
   * For work that is to stop, if nobody can tell when the work will have stopped (invariant 9).
   */
  abandon(reason: LostReason): void {
    if (this.#state === 'held' || this.#state === 'releasing') this.#heartbeat.lose(reason);
  }

  async #renew(handOffMs?: number): Promise<void> {
    this.assertHeld();
    try {
      await this.#heartbeat.renew(handOffMs);
    } finally {
      // If the lease is lost, the caller gets that error, whatever became of the renewal.
      this.assertHeld();
    }
  }

  /** Only the first release counts. */
  #release(ending: Ending): Promise<boolean> {
    this.#releasing ??= this.#releaseOnce(ending);
    return this.#releasing;
  }

  async #releaseOnce(options: Ending): Promise<boolean> {
    const { done } = options;
    this.#gaveResult = options.result !== undefined;
    this.#releasedAsDone = done === true || (done !== undefined && done === this.#plan.once);
    if (this.isHeld()) {
      // Belief ends when the release is sent, not when it is answered (invariant 4).
      this.#end('released');
      return this.#releaseEnded(options);
    }
    // The lease may be lost by the clock alone, and the record may still have our `lockId`. Then a release opens the lock
    // early and spares others the rest of the lease. No token is done.
    if (this.#state === 'lost' && this.#loss?.reason === 'expired') await this.#send({}, options);
    return false;
  }

  async #releaseEnded(options: Ending): Promise<boolean> {
    const { done, result } = options;
    const finished = done === true ? this.#plan.once : done === false ? undefined : done;
    // `doneToken` only grows, but for a reset. A greater token may have finished before this lease.
    const doneToken = finished !== '' && isDone(finished, this.#grant.record.doneToken) ? undefined : finished;
    const doneResult = doneToken === undefined ? undefined : result;
    const released = await this.#send({ doneToken, doneResult }, options);
    this.#tell(released, Boolean(done));
    return released.type === 'released';
  }

  /** Tells of a release that has been answered, or given up. */
  #tell(released: Released, done: boolean): void {
    // A client that is closed waits for the answer to the release.
    this.#leave();
    if (released.type === 'lost') this.#abort(released.reason);
    else if (released.type === 'unknown') {
      this.#report({ type: 'releaseFailed', error: released.error });
    } else this.#report({ type: 'released', done });
  }

  /** Sends the release. What has been `achieved` stands in the record from then on. */
  async #send(achieved: Pick<Releasing, 'doneToken' | 'doneResult' | 'served'>, options: Ending): Promise<Released> {
    const { requestTimeoutMs, remainingMs } = this.#plan;
    const { recordKey: key, lockId, fencingToken, acquiredAt } = this;
    const { withinMs = releaseMsOf(remainingMs), holdAtLeastMs = this.#plan.holdAtLeastMs } = options;
    const { until } = this.#heartbeat;
    const releasing = { key, lockId, fencingToken, acquiredAt, until, holdAtLeastMs, ...achieved };
    const isBelieved = () => this.#heartbeat.leftMs > 0;
    // Work whose token is not written runs again. So where no response waits, an outage is outlasted while the lock is closed.
    const insistMs = achieved.doneToken !== undefined && withinMs === Infinity ? this.#heartbeat.leftMs : 0;
    const limits = { requestTimeoutMs, withinMs, insistMs };
    const released = await release(this.#context, releasing, limits, isBelieved);
    if (released.type === 'released') this.#opensAt = acquiredAt + Math.max(1, holdAtLeastMs);
    return released;
  }

  #lose(reason: LostReason, cause?: LockStoreError, stall?: Stall): void {
    this.#end('lost');
    this.#abort(reason, cause, stall);
  }

  #abort(reason: LostReason, cause?: LockStoreError, stall?: Stall): void {
    const error = this.#lostError(reason, cause, stall);
    // Before the report: a listener of `lost` may ask the lease, or end the lease.
    this.#loss = error;
    this.#report({ type: 'lost', reason, error });
    this.#stop.abort(error);
  }

  /** The one place where a lease ceases to be held. */
  #end(state: Exclude<LeaseState, 'held'>): void {
    this.#state = state;
    if (state !== 'released') this.#leave();
    this.#heartbeat.end();
  }

  /** Nothing is left for a client that is closed to wait for. */
  #leave(): void {
    this.#context.leases.delete(this.#grant.key, this);
    this.#ended.resolve();
  }

  get #ofSlot(): { readonly slot?: number } {
    return this.#isOfSlot ? { slot: this.slot } : {};
  }

  #lostError(reason: LostReason, cause?: LockStoreError, stall?: Stall): LockLostError {
    const { key } = this;
    const because = stall && explained(stall, this.#plan.leaseMs);
    const detail = because ? `${LOST_DETAIL[reason]}: ${because.detail}` : LOST_DETAIL[reason];
    return new LockLostError({ key, reason, detail, blockedMs: because?.blockedMs }, cause && { cause });
  }

  #report(event: ReportedLeaseEvent): void {
    const { key, owner, fencingToken } = this;
    const heldMs = Math.max(0, Math.round(elapsedMs(this.#grant.term.sent, instant(this.#context.clock))));
    const newlyHeldMs = heldMs - this.#toldHeldMs;
    this.#toldHeldMs = heldMs;
    this.#context.report({ key, ...this.#ofSlot, owner, fencingToken, ...event, heldMs, newlyHeldMs } as ReportedEvent);
  }
}
