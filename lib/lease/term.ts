import { elapsedMs, type Instant, instant } from './clock.ts';
import type { SendContext } from './send.ts';
import { hasStepped } from './server-clock.ts';

/**
 * The time of one request for a lease: acquire, renew or resume. Fixed when the request is written, as what is known of the
 * clocks stands then:
 *
 *     this host   |sent                       |end of belief
 *                 |<------- believeMs ------->|<- safetyMs ->|
 *     the record                                             |until
 */
export class Term {
  /** The moment before the sending: from here the holder's clock runs (invariant 4). */
  readonly sent: Instant;
  /** The expiry that the request writes: milliseconds since the epoch, by the server's clock as far as it is known. */
  readonly until: number;
  /** Milliseconds from `sent` for which the grant may be believed. */
  readonly believeMs: number;
  /** Milliseconds from `sent` for which the lease may be believed at the most, however often it is renewed (invariant 8). */
  readonly capMs: number;
  readonly #context: SendContext;
  readonly #safetyMs: number;
  readonly #isJudged: boolean;
  /** Milliseconds that were added to this host's clock for `until`. */
  readonly #offsetMs: number;
  /** Milliseconds by which this host's clock could be behind, as far as was known. */
  readonly #behindMs: number;

  constructor(
    context: SendContext,
    sent: Instant,
    times: { readonly leaseMs: number; readonly safetyMs: number; readonly capMs: number },
  ) {
    const { serverClock } = context;
    const { leaseMs, safetyMs, capMs } = times;
    this.sent = sent;
    this.capMs = capMs;
    this.believeMs = Math.min(leaseMs - safetyMs, capMs);
    this.#context = context;
    this.#safetyMs = safetyMs;
    this.#isJudged = serverClock.isJudged(sent);
    this.#offsetMs = serverClock.expiryOffsetMs;
    this.#behindMs = serverClock.behindMs;
    this.until = Math.ceil(sent.wall + this.#offsetMs + this.believeMs + safetyMs);
  }

  /**
   * Milliseconds from `sent` for which the grant is believed, as the clocks are known now: for as long as was asked, and
   * until `safetyMs` before the record's expiry as the server's clock will show it (invariant 4).
   */
  get believedMs(): number {
    const { serverClock } = this.#context;
    const untilMs = serverClock.untilMs(this.sent, this.until, this.#behindMs);
    return Math.min(this.believeMs, untilMs - this.#safetyMs);
  }

  /** Tells whether the belief has ended: a grant that is answered now is no grant (invariant 4). */
  get isOver(): boolean {
    return elapsedMs(this.sent, instant(this.#context.clock)) >= this.believedMs;
  }

  /** The latest moment, by the server's clock, at which the request was sent. */
  get latestSent(): number {
    return this.until - this.believeMs - this.#safetyMs;
  }

  /** Milliseconds from `moment` for which the lease may be believed at the most (invariant 8). */
  capLeftMs(moment: Instant): number {
    return this.capMs - elapsedMs(this.sent, moment);
  }

  /** Tells whether `until` was written by a clock that answers have since shown to be wrong (invariant 13). */
  get isDisproved(): boolean {
    return this.#context.serverClock.disproves(this.#offsetMs, this.#safetyMs);
  }

  /**
   * Tells whether the clock was set, or stood still, while the request was out, and no answer had judged the clock before.
   * Then the answer's `Date` cannot tell whether `until` is right (invariant 13).
   */
  get wasInterrupted(): boolean {
    return !this.#isJudged && hasStepped(this.sent, instant(this.#context.clock));
  }
}
