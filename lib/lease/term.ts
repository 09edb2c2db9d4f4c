import { elapsedMs, type Instant, instant } from './clock.ts';
import type { SendContext } from './send.ts';
import { hasStepped } from './server-clock.ts';

/**
 * The times of one request for a lease: acquire, renew or resume. The times are fixed when the request is written, by the
 * knowledge of the clocks at that moment:
 *
 *     this host   |sent                       |end of belief
 *                 |<------- believeMs ------->|<- safetyMs ->|
 *     the record                                             |until
 *     the record, with a long holdAtLeastMs                  |<----- ... ----->|closedUntil = until
 */
export class Term {
  /** The moment before the sending, from which the holder's belief is counted (invariant 4). */
  readonly sent: Instant;
  /**
   * The expiry that the request writes, by the server's clock as far as that clock is known: milliseconds since the epoch.
   * The belief ends before. `holdAtLeastMs` may close the lock for longer than anybody believes, however the lease ends.
   */
  readonly until: number;
  /** The moment before which `holdAtLeastMs` lets nobody in, by the server's clock. May lie in the past. */
  readonly closedUntil: number;
  /** Milliseconds from `sent` for which the holder may believe at the most, by this request alone. */
  readonly believeMs: number;
  /**
   * Milliseconds from `sent` for which the holder may believe at the most, however often the lease is renewed (invariant 8).
   */
  readonly capMs: number;
  readonly #context: SendContext;
  readonly #safetyMs: number;
  readonly #isJudged: boolean;
  /** Milliseconds that were added to this host's clock for `until`. */
  readonly #offsetMs: number;
  /** Milliseconds by which this host's clock could be behind, as far as was known at the sending. */
  readonly #behindMs: number;

  constructor(
    context: SendContext,
    sent: Instant,
    times: {
      readonly leaseMs: number;
      readonly safetyMs: number;
      readonly capMs: number;
      readonly closedUntil: number;
    },
  ) {
    const { serverClock } = context;
    const { leaseMs, safetyMs, capMs, closedUntil } = times;
    this.sent = sent;
    this.capMs = capMs;
    this.believeMs = Math.min(leaseMs - safetyMs, capMs);
    this.#context = context;
    this.#safetyMs = safetyMs;
    this.#isJudged = serverClock.isJudged(sent);
    this.#offsetMs = serverClock.expiryOffsetMs;
    this.#behindMs = serverClock.behindMs;
    this.closedUntil = closedUntil;
    this.until = Math.ceil(Math.max(sent.wall + this.#offsetMs + this.believeMs + safetyMs, closedUntil));
  }

  /**
   * Milliseconds from `sent` for which the holder believes, as the clocks are known now. The belief lasts for `believeMs` at
   * the most, and ends at least `safetyMs` before the server's clock reaches the record's expiry (invariant 4).
   */
  get believedMs(): number {
    const { serverClock } = this.#context;
    const untilMs = serverClock.untilMs(this.sent, this.until, this.#behindMs);
    return Math.min(this.believeMs, untilMs - this.#safetyMs);
  }

  /** Tells whether the belief has ended. A grant whose answer comes now is no grant (invariant 4). */
  get isOver(): boolean {
    return elapsedMs(this.sent, instant(this.#context.clock)) >= this.believedMs;
  }

  /** Milliseconds from `moment` for which the holder may believe at the most (invariant 8). */
  capLeftMs(moment: Instant): number {
    return this.capMs - elapsedMs(this.sent, moment);
  }

  /** Tells whether answers have since shown that the clock which wrote `until` is wrong (invariant 13). */
  get isDisproved(): boolean {
    return this.#context.serverClock.disproves(this.#offsetMs, this.#safetyMs);
  }

  /**
   * Tells whether the clock was set, or stood still, while the request was out, and no answer had judged the clock before
   * the sending. Then the answer's `Date` cannot tell whether `until` is right (invariant 13).
   */
  get wasInterrupted(): boolean {
    return !this.#isJudged && hasStepped(this.sent, instant(this.#context.clock));
  }
}
