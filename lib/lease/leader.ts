import { checkDuration, checkNames } from '../record/check.ts';
import { Recent } from '../record/recent.ts';
import { elapsedMs, type Instant, instant } from './clock.ts';
import type { OperatorContext } from './context.ts';
import { inspect } from './inspect.ts';

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

/**
 * A leader, or the holder of a lock. Has nothing in it that is to stay secret, unless `data` has. A leader that has died is
 * named until `expiresAt`.
 * @example
 * ```ts
 * import type { Leader } from 'leasehold';
 *
 * export const told = ({ owner, acquiredAt }: Leader) => `${owner} leads since ${new Date(acquiredAt).toISOString()}.`;
 * ```
 */
export interface Leader {
  readonly key: string;
  /** The name of the leader, for people to read. */
  readonly owner: string | undefined;
  /** The note that the leader attached: `data` of `lead`. */
  readonly data: unknown;
  /** Grows with each grant of the key. */
  readonly fencingToken: number;
  /** The moment of the grant: milliseconds since the epoch. */
  readonly acquiredAt: number;
  /** The moment at which the lease ends, unless its holder renews the lease: milliseconds since the epoch. */
  readonly expiresAt: number;
}

const LEADER_OPTIONS = { maxAgeMs: 0 } satisfies Record<keyof LeaderOptions, 0>;
/** The most keys whose leaders a client remembers. */
const MOST_KEYS = 1_000;

interface Seen {
  readonly at: Instant;
  readonly leader: Promise<Leader | undefined>;
}

/** The leaders that a client has read, for those who ask again soon. Nothing is decided by them (invariant 11). */
export class Leaders {
  readonly #context: OperatorContext;
  readonly #seen = new Recent<string, Seen>(MOST_KEYS);

  constructor(context: OperatorContext) {
    this.#context = context;
  }

  async of(key: string, options: LeaderOptions): Promise<Leader | undefined> {
    checkNames('leader', options, LEADER_OPTIONS);
    const maxAgeMs = checkDuration('maxAgeMs', options.maxAgeMs ?? 1_000, 0);
    const now = instant(this.#context.clock);
    const seen = this.#seen.get(key);
    const isFresh = seen !== undefined && elapsedMs(seen.at, now) < maxAgeMs;
    return isFresh ? seen.leader : this.#read(key, now);
  }

  #read(key: string, at: Instant): Promise<Leader | undefined> {
    const leader = leaderOf(this.#context, key);
    this.#seen.set(key, { at, leader });
    // An error is no answer: whoever asks next reads.
    leader.catch(() => {
      if (this.#seen.get(key)?.leader === leader) this.#seen.delete(key);
    });
    return leader;
  }
}

/** Leaves out what only operators are to see: with the `lockId`, anybody could end the lease. */
async function leaderOf(context: OperatorContext, key: string): Promise<Leader | undefined> {
  const state = await inspect(context, key, false);
  if (!state?.held) return undefined;
  const { owner, data, fencingToken, acquiredAt, expiresAt } = state;
  return { key, owner, data, fencingToken, acquiredAt, expiresAt };
}
