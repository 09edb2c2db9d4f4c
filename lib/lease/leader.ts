import { checkDuration, checkNames } from '../record/check.ts';
import { elapsedMs, type Instant, instant } from './clock.ts';
import type { OperatorContext } from './context.ts';
import { inspect, type LockState } from './inspect.ts';

/**
 * The options of `leader`.
 * @example
 * ```ts
 * import type { LeaderOptions } from 'leasehold';
 *
 * export const options: LeaderOptions = { maxAgeMs: 5_000 };
 * ```
 */
export interface LeaderOptions {
  /**
   * The greatest age of an answer, in milliseconds: a younger one is given again, without a request. 0 or more.
   * @default 1_000
   */
  readonly maxAgeMs?: number | undefined;
}

const LEADER_OPTIONS = { maxAgeMs: 0 } satisfies Record<keyof LeaderOptions, 0>;
/** The most keys whose leaders a client remembers. */
const MOST_KEYS = 1_000;

interface Seen {
  readonly at: Instant;
  readonly state: Promise<LockState | undefined>;
}

/** The leaders that a client has read, for those who ask again soon. Nothing is decided by them (invariant 11). */
export class Leaders {
  readonly #context: OperatorContext;
  readonly #seen = new Map<string, Seen>();

  constructor(context: OperatorContext) {
    this.#context = context;
  }

  async of(key: string, options: LeaderOptions): Promise<LockState | undefined> {
    checkNames('leader', options, LEADER_OPTIONS);
    const maxAgeMs = checkDuration('maxAgeMs', options.maxAgeMs ?? 1_000, 0);
    const now = instant(this.#context.clock);
    const seen = this.#seen.get(key);
    const isFresh = seen !== undefined && elapsedMs(seen.at, now) < maxAgeMs;
    const state = await (isFresh ? seen.state : this.#read(key, now));
    return state?.held ? state : undefined;
  }

  #read(key: string, at: Instant): Promise<LockState | undefined> {
    const state = inspect(this.#context, key, false);
    this.#seen.delete(key);
    this.#seen.set(key, { at, state });
    const [oldest] = this.#seen.keys();
    if (this.#seen.size > MOST_KEYS && oldest !== undefined) this.#seen.delete(oldest);
    // An error is no answer: whoever asks next reads.
    state.catch(() => {
      if (this.#seen.get(key)?.state === state) this.#seen.delete(key);
    });
    return state;
  }
}
