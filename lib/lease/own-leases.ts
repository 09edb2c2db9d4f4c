import type { LockRecord } from '../record/record.ts';

/** A lease, as far as the other calls of its client need it. */
export interface OwnLease {
  readonly lockId: string;
  /** Tells whether the lease is held at this very moment. */
  isHeld(): boolean;
  /** The record, as this holder last wrote it. */
  readonly record: LockRecord;
  close(reason: unknown, graceMs: number | undefined): Promise<void>;
  abandon(reason: 'revoked'): void;
}

/** The leases of a client that are held, or whose release is under way. Of grants, a client has only these (invariant 11). */
export class OwnLeases {
  readonly #all = new Set<OwnLease>();
  /** The last lease of each key. After a forced release, an earlier lease may believe still. */
  readonly #last = new Map<string, OwnLease>();
  readonly #ended: (key: string, record: LockRecord) => void;

  /** @param ended called when the last lease of a key has ended, and its release, if there was one, has its answer. */
  constructor(ended: (key: string, record: LockRecord) => void) {
    this.#ended = ended;
  }

  add(key: string, lease: OwnLease): void {
    this.#all.add(lease);
    this.#last.set(key, lease);
  }

  delete(key: string, lease: OwnLease): void {
    this.#all.delete(lease);
    if (this.#last.get(key) !== lease) return;
    this.#last.delete(key);
    this.#ended(key, lease.record);
  }

  /** The lease of a key, held or with its release under way. Asks the lease, which is gone if its deadline has passed. */
  of(key: string): OwnLease | undefined {
    this.#last.get(key)?.isHeld();
    return this.#last.get(key);
  }

  /**
   * Learns that this client has ended a grant as an operator. If the grant is that of a lease of its own, the lease is lost at
   * once, and not at its next renewal.
   * @param lockId the grant. Undefined for any grant of the key.
   */
  revoked(key: string, lockId?: string): void {
    const lease = this.#last.get(key);
    if (lease && (lockId === undefined || lease.lockId === lockId)) lease.abandon('revoked');
  }

  [Symbol.iterator](): Iterator<OwnLease> {
    return this.#all.values();
  }
}
