export { type EmfOptions, emf } from './emf.ts';
export { LockClient, type LockClientOptions, type LockState } from './lease/client.ts';
export type { Clock } from './lease/clock.ts';
export {
  LockBusyError,
  LockDoneError,
  LockError,
  LockLostError,
  LockStoreError,
  type LostReason,
} from './lease/errors.ts';
export type { LockEvent, LockEventListener } from './lease/events.ts';
export type { Lease, LeaseHandle } from './lease/lease.ts';
export type { AcquireOptions, LeaseTiming } from './lease/options.ts';
export type { LockRecord, LockStore } from './store/store.ts';
