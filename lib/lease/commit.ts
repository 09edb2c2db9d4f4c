import { LockStoreError, type LostReason } from '../record/errors.ts';
import { type Committed, isGrantOf, lossOf } from '../record/record.ts';
import type { Grant } from './attempt.ts';
import type { LeaseContext } from './context.ts';
import { ORDER, sendInTurn } from './gate.ts';

/** The most earlier commits of one lease whose answers were lost, and that a commit finds in the record. */
const MOST_FOUND = 5;

/**
 * The commits of one lease, one after the other. The number in the request keeps a commit that comes late from being written
 * over a later one (invariant 14).
 *
 * 1. The number of a commit is one more than the number that the lease knows of.
 * 2. A refusal that shows our `lockId` and this commit: an earlier sending was applied.
 * 3. A refusal that shows our `lockId` and another commit: the answer to an earlier commit of ours was lost. Count on from
 *    that commit.
 * 4. A refusal that shows another `lockId`, or none: the lease is lost.
 */
export class Commits {
  readonly #context: LeaseContext;
  readonly #grant: Grant;
  #last: Committed | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(context: LeaseContext, grant: Grant) {
    this.#context = context;
    this.#grant = grant;
    this.#last = grant.record.committed;
  }

  /** The last commit of the key that the lease knows of. */
  get last(): Committed | undefined {
    return this.#last;
  }

  /**
   * Commits data, after the commits that are under way.
   * @returns the reason if the lease is lost.
   * @throws LockStoreError if no answer came.
   */
  write(data: string, requestTimeoutMs: number): Promise<LostReason | undefined> {
    const written = this.#turn.then(() => this.#write(data, requestTimeoutMs));
    this.#turn = written.catch(() => {});
    return written;
  }

  async #write(data: string, requestTimeoutMs: number): Promise<LostReason | undefined> {
    const { store } = this.#context;
    const { key, lockId } = this.#grant;
    const { fencingToken } = this.#grant.record;
    const what = `Committing to '${key}'`;
    for (let found = 0; found <= MOST_FOUND; found++) {
      const number = (this.#last?.number ?? 0) + 1;
      const request = (signal: AbortSignal) => store.commit({ key, lockId, data, number }, signal);
      const { applied, record } = await sendInTurn(this.#context, what, request, {
        order: ORDER.release,
        requestTimeoutMs,
      });
      const stands = record?.committed;
      if (applied || (stands?.number === number && stands.data === data && stands.fencingToken === fencingToken)) {
        this.#last = { data, number, fencingToken };
        return undefined;
      }
      if (!isGrantOf(lockId, record)) return lossOf(record);
      if (stands === undefined) break;
      this.#last = stands;
    }
    throw new LockStoreError(
      `${what}: refused, though the lease stands. Somebody has changed the commit in the record.`,
    );
  }
}
