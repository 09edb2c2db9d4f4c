/** Watches the store and every lease on it, and notes the first fault. */
import type { LockEvent } from '../../lib/lease/events.ts';
import type { Lease } from '../../lib/lease/lease.ts';
import { LockLostError } from '../../lib/record/errors.ts';
import type { LockRecord } from '../../lib/record/record.ts';
import type { StoreAnswer } from '../../lib/record/store.ts';
import { canonicalToken, isDone } from '../../lib/record/token.ts';
import type { Operation, Witness, WriteRequest } from './network.ts';
import { HOLD_AT_LEAST_MS } from './schedule.ts';
import type { Host, VirtualTime } from './virtual-time.ts';

interface Held {
  readonly host: Host;
  readonly lease: Lease;
  readonly signal: AbortSignal;
  /**
   * The end of the lease by `holdAtMostMs` or the invocation, by the host's clock. No renewal extends the lease
   * further.
   */
  readonly endsAt: number;
  /** The lease's deadline at the last look, and the moment at which the signal must abort, both by the host's clock. */
  deadline: number;
  abortsAt: number;
  /** True if the host released the lease or handed the lease off. */
  ended: boolean;
  /** True if the host was told that the lease is lost. */
  lost: boolean;
}

/** The tolerance between a deadline and the abort, by the host's clock. Timers and clocks count whole milliseconds. */
const PROMPT_MS = 2;

export class Watch implements Witness {
  /** The first fault. */
  fault: string | undefined;
  /** The lines of the trace, if the trace is wanted. */
  readonly trace: string[] | undefined;
  readonly #time: VirtualTime;
  readonly #safetyMs: number;
  /** With true, every host's clock is right, and the true time can judge what hosts write. */
  readonly #clocksAreRight: boolean;
  /** The leases in which a host may believe. */
  #held: Held[] = [];
  readonly #ended: Held[] = [];
  /** The grants that were released, handed off or force-released. */
  readonly #over = new Set<string>();
  /** The tokens of the grants. */
  readonly #granted = new Map<string, number>();
  #commitsCalled = 0;
  /** The commits that were applied, and the grant of the last one. */
  readonly #applied = new Set<number>();
  #lastCommit = { lockId: '', data: 0 };
  /** The hosts that were frozen or whose clocks were set. Their timers may be late. */
  readonly disturbed = new Set<Host>();
  /** The hosts whose wall clocks were set. */
  readonly set = new Set<Host>();
  /** The hosts whose monotonic clocks stood still. */
  readonly stood = new Set<Host>();
  readonly #ownerOf = new Map<string, string>();
  readonly #sentAt = new Map<string, number>();
  readonly #lastAnswer = new Map<Host, LockRecord | undefined>();
  readonly #lostIds = new Set<string>();
  /**
   * The grants of wrong clocks that were given back. A late acquire of such a grant may be granted again, but no host
   * believes.
   */
  readonly #givenBack = new Set<string>();
  /** The present record. */
  #standing: LockRecord | undefined;
  #token = 0;
  #opensAt = 0;
  /** The canonical text of the greatest `once` token that finished since the record was made. */
  #doneToken: string | undefined;
  /** The canonical texts of the `once` tokens of the hosts' leases, by host and fencing token. */
  readonly #onceOf = new Map<string, string>();

  constructor(time: VirtualTime, safetyMs: number, options: { clocksAreRight: boolean; traced: boolean }) {
    this.#time = time;
    this.#safetyMs = safetyMs;
    this.#clocksAreRight = options.clocksAreRight;
    this.trace = options.traced ? [] : undefined;
  }

  note(line: string): void {
    this.trace?.push(`${this.#time.elapsed.toFixed(0).padStart(7)} ms  ${line}`);
  }

  found(fault: string): void {
    this.note(`FAULT ${fault}`);
    this.fault ??= fault;
  }

  sent(host: Host, operation: Operation, request: WriteRequest): void {
    const { lockId, owner, handed } = request;
    if (operation === 'acquire' || operation === 'resume') {
      this.#ownerOf.set(lockId, owner as string);
      // A resumed lease continues the acquisition of the handed-off lease.
      this.#sentAt.set(lockId, this.#sentAt.get((handed as string) ?? lockId) ?? this.#time.now());
    }
    if (operation === 'giveBack') this.#givenBack.add(lockId);
    if (operation === 'renew' && this.#lostIds.has(lockId)) this.found('7: a lost lease is renewed');
    if (
      operation === 'release' &&
      this.#held.some((held) => held.lease.lockId === lockId && !held.ended && !held.lost)
    ) {
      this.found('9: a lease is released under work that goes on');
    }
    if (this.trace) this.note(`${host.name} sends ${operation} ${this.#show(request)}`);
  }

  judged(operation: Operation, request: WriteRequest, answer: StoreAnswer, before: LockRecord | undefined): void {
    const { applied, record } = answer;
    const { lockId } = request;
    if (this.trace) {
      this.note(`  ${operation} of ${this.#idOf(lockId)} is ${applied ? 'applied' : 'refused'}: ${this.#show(record)}`);
    }
    if (!applied || record === undefined) return;
    this.#standing = record;
    if (operation === 'commit') this.#commits(request, record, before);
    else if (before && record.committed !== before.committed) this.found(`14: ${operation} changes the commit`);
    if (this.#over.has(lockId) && !this.#mayComeAgain(lockId, before)) {
      this.found(`3: a late ${operation} revives what was over`);
    }
    if (operation === 'acquire' || operation === 'resume') {
      this.#grants(operation, request, record, before);
      return;
    }
    if (before?.lockId !== lockId) this.found(`9: ${operation} ends or renews a grant that is not its own`);
    if (operation === 'commit') return;
    if (operation !== 'renew') this.#ends(operation, request);
    else if (before && record.expiresAt < before.expiresAt) this.found('3: a renewal shortens the lease');
  }

  /** After a later release, the record no longer shows a grant that was given back. */
  #mayComeAgain(lockId: string, before: LockRecord | undefined): boolean {
    return this.#givenBack.has(lockId) && before?.releasedBy !== lockId;
  }

  #grants(operation: Operation, request: WriteRequest, record: LockRecord, before: LockRecord | undefined): void {
    const { lockId, owner, once } = request;
    if (this.#granted.has(lockId) && !this.#mayComeAgain(lockId, before)) {
      this.found(`3: one request is granted twice, to ${owner}`);
    }
    this.#granted.set(lockId, record.fencingToken);
    if (record.fencingToken <= this.#token) this.found(`2: token ${record.fencingToken} after ${this.#token}`);
    this.#token = record.fencingToken;
    if (typeof once === 'string' && this.#isDone(once)) {
      this.found(`once: '${once}' is granted after '${this.#doneToken}' has finished`);
    }
    if (operation === 'acquire' && this.#time.now() < this.#opensAt) this.found('hold at least: granted too soon');
    if (operation === 'resume' && before?.lockId) this.#over.add(before.lockId);
  }

  #ends(operation: Operation, request: WriteRequest): void {
    const { lockId, doneToken } = request;
    this.#over.add(lockId);
    if (operation !== 'release') return;
    if (typeof doneToken === 'string') {
      if (this.#isDone(doneToken)) this.found(`once: '${doneToken}' finishes after '${this.#doneToken}'`);
      this.#doneToken = doneToken;
    }
  }

  /** Gives the data of the next call to commit. Grows with every call. */
  nextCommit(): number {
    return ++this.#commitsCalled;
  }

  /** No commit overwrites that of a later grant, or a later commit of its own grant. */
  #commits({ lockId, data }: WriteRequest, { committed }: LockRecord, before: LockRecord | undefined): void {
    const commit = { lockId, data: Number(data) };
    const last = this.#lastCommit;
    const tokenOf = (id: string) => this.#granted.get(id) ?? 0;
    if (committed?.number !== (before?.committed?.number ?? 0) + 1) {
      this.found(`14: the number ${committed?.number} after ${before?.committed?.number ?? 'no commit'}`);
    }
    if (committed?.data !== data) this.found('14: a commit writes other data');
    if (tokenOf(lockId) < tokenOf(last.lockId)) this.found('14: a commit overwrites that of a later grant');
    if (lockId === last.lockId && commit.data < last.data) this.found('14: a late commit overwrites a later one');
    this.#lastCommit = commit;
    this.#applied.add(commit.data);
  }

  /** A host was told that a commit is done. */
  committed(data: number, lease: Lease): void {
    if (!this.#applied.has(data)) this.found('14: a commit is said to be done, and is not');
    if (Number(lease.committed) < data) this.found('14: a lease shows an older commit than its own');
  }

  answered(host: Host, record: LockRecord | undefined): void {
    this.#lastAnswer.set(host, record);
  }

  /** Takes an event of a host. `owner` is the name of the host's latest acquisition. */
  event(host: Host, owner: string, event: LockEvent): void {
    if (this.trace) this.note(`${host.name} is told ${event.type}${'reason' in event ? ` (${event.reason})` : ''}`);
    // A released lock still has the name of its last owner.
    if (event.type === 'lost') {
      this.#isLost(event);
      for (const held of this.#held) {
        if (held.host === host && held.lease.fencingToken === event.fencingToken) this.#loses(held);
      }
    }
    if (event.type === 'released' && event.done) this.#saysDone(host, event.fencingToken);
    if (event.type === 'done' && !this.#isDone(canonicalToken(event.once)))
      this.found(`once: '${event.once}' is called done`);
    if (event.type !== 'busy' || event.owner !== owner) return;
    const lockId = this.#lastAnswer.get(host)?.lockId;
    if (lockId !== undefined && this.#ownerOf.get(lockId) === owner)
      this.found('3: an acquisition is busy with itself');
  }

  /** No holder is told of a takeover, a revocation or a deletion while its grant stands. */
  #isLost({ reason, fencingToken }: Extract<LockEvent, { type: 'lost' }>): void {
    if (!this.#clocksAreRight || (reason !== 'takenOver' && reason !== 'revoked' && reason !== 'gone')) return;
    if (this.#standing?.lockId && this.#standing.fencingToken === fencingToken) {
      this.found(`3: a lease that stands is lost: ${reason}`);
    }
  }

  /** A host that is told that its work is done never repeats the work. So the record must have the token. */
  #saysDone(host: Host, fencingToken: number): void {
    const once = this.#onceOf.get(`${host.name} ${fencingToken}`);
    if (once !== undefined && !this.#isDone(once)) this.found(`once: '${once}' is said to be done, and is not`);
  }

  /** TTL has deleted the record, and with it the finished token. */
  swept(record: LockRecord): void {
    this.note(`  TTL deletes ${this.#show(record)}`);
    this.#standing = undefined;
    this.#doneToken = undefined;
    this.#lastCommit = { lockId: '', data: 0 };
    this.#onceOf.clear();
    if (this.#held.some(({ ended, lease }) => !ended && lease.lockId === record.lockId && lease.isHeld())) {
      this.found('TTL deletes a lock that is held');
    }
  }

  #isDone(once: string): boolean {
    return isDone(once, this.#doneToken);
  }

  /**
   * A host got a lease. The host may believe until `endsAt` at the latest, by its own clock. With `holdsAtLeast`, the lock is
   * closed for `HOLD_AT_LEAST_MS` from the sending, however the lease ends.
   */
  add(
    host: Host,
    lease: Lease,
    { once, endsAt = Infinity, holdsAtLeast }: { once?: string; endsAt?: number; holdsAtLeast: boolean },
  ): void {
    const sentAt = this.#sentAt.get(lease.lockId);
    if (holdsAtLeast && this.#clocksAreRight && sentAt !== undefined) {
      this.#opensAt = Math.max(this.#opensAt, sentAt + HOLD_AT_LEAST_MS - this.#safetyMs);
    }
    if (once !== undefined) this.#onceOf.set(`${host.name} ${lease.fencingToken}`, canonicalToken(once));
    const { signal } = lease;
    const held: Held = { host, lease, signal, endsAt, deadline: 0, abortsAt: 0, ended: false, lost: false };
    this.#held.push(held);
    if (!lease.isHeld()) this.found('4: a grant past its deadline is given out');
    // The signal of a lease that is held aborts, too, when the client is closed.
    signal.addEventListener('abort', () => signal.reason instanceof LockLostError && this.#loses(held));
    this.look();
  }

  #loses(held: Held): void {
    held.lost = true;
    this.#lostIds.add(held.lease.lockId);
  }

  /** A host released a lease or handed the lease off. */
  end(lease: Lease | undefined): void {
    for (const held of this.#held) if (held.lease === lease) held.ended = true;
  }

  /** Checks the invariants that must hold at any moment. Returns true if a fault was found. */
  look(): boolean {
    if (this.#held.length === 0) return this.fault !== undefined;
    const frozen: Held[] = [];
    const awake: Held[] = [];
    for (const held of this.#held) {
      if (this.#cannotKnow(held.host)) continue;
      if (held.ended || held.lost) this.#ended.push(held);
      else (held.host.isRunning ? awake : frozen).push(held);
    }
    for (const held of awake) this.#isToldInTime(held);
    // A call of isHeld() may end a lease. So the watch asks only if two leases may be held at once.
    const believing = awake.length < 2 ? awake : awake.filter((held) => held.lease.isHeld());
    if (awake.length !== believing.length) {
      for (const held of awake) if (!believing.includes(held)) this.#ended.push(held);
    }
    if (believing.length > 1) this.found(`1: ${believing.map(({ host }) => host.name).join(' and ')} believe at once`);
    this.#held = [...believing, ...frozen];
    return this.fault !== undefined;
  }

  /** Tells if a host has crashed, or neither of its clocks can tell how much time has passed. */
  #cannotKnow(host: Host): boolean {
    return host.hasCrashed || (this.set.has(host) && this.stood.has(host));
  }

  #isToldInTime(held: Held): void {
    const { host, lease, endsAt } = held;
    const now = host.now();
    if (!this.set.has(host) && lease.deadline > endsAt + PROMPT_MS) {
      this.found('8: to be held beyond holdAtMostMs, or the end of its invocation');
    }
    if (this.disturbed.has(host)) return;
    if (now > endsAt + PROMPT_MS) this.found('8: held beyond holdAtMostMs, or the end of its invocation');
    if (held.deadline !== lease.deadline) {
      held.deadline = lease.deadline;
      // An answer that shows a wrong clock may move the deadline to a moment before the answer.
      held.abortsAt = Math.max(lease.deadline, now);
    }
    if (now > held.abortsAt + PROMPT_MS) this.found('6: the signal has not aborted at the deadline');
  }

  /** Checks invariant 7: no lease that ended is held now. */
  lookBack(): void {
    if (this.#ended.some(({ lease }) => lease.isHeld())) this.found('7: a lease that had ended is held again');
  }

  #idOf(lockId: unknown): string {
    if (typeof lockId !== 'string') return 'nobody';
    return `${this.#ownerOf.get(lockId) ?? '?'}:${lockId.slice(0, 4)}`;
  }

  #show(value: object | undefined): string {
    if (value === undefined) return 'no record';
    const shown = Object.entries(value).flatMap(([name, part]) => {
      if (part === undefined || name === 'key' || name === 'owner' || name === 'leaseMs') return [];
      const isId = /lockId|handed|releasedBy/i.test(name);
      const isMoment = typeof part === 'number' && /now|until|At$/.test(name);
      return `${name} ${isId ? this.#idOf(part) : isMoment ? part - this.#time.now() + this.#time.elapsed : JSON.stringify(part)}`;
    });
    return shown.join(', ');
  }
}
