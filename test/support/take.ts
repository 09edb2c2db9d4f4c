import type { LockClient } from '../../lib/lease/client.ts';
import type { Lease } from '../../lib/lease/lease.ts';
import type { AcquireOptions } from '../../lib/lease/options.ts';

/** Tries once: gives the lease, or null where the lock is busy or done. */
export async function take(locks: LockClient, key: string, options?: AcquireOptions): Promise<Lease | null> {
  const tried = await locks.tryAcquire(key, options);
  return tried.type === 'granted' ? tried.lease : null;
}
