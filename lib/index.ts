export { type EmfOptions, emf } from './emf.ts';
export { LockClient, type LockClientOptions, type LockState } from './lease/client.ts';
export type { Clock } from './lease/clock.ts';
export type { LockEvent, LockEventListener } from './lease/events.ts';
export type { Lease, LeaseHandle } from './lease/lease.ts';
export type { AcquireOptions, LeaseTiming } from './lease/options.ts';
export {
  LockBusyError,
  LockDoneError,
  LockError,
  LockLostError,
  LockStoreError,
  type LostReason,
} from './record/errors.ts';
export type { LockRecord } from './record/record.ts';
export type { LockStore } from './record/store.ts';
