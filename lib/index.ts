export { type EmfOptions, emf, metricsOf } from './emf.ts';
export { LockClient, type LockClientOptions } from './lease/client.ts';
export type { Clock } from './lease/clock.ts';
export type { Coalesced, CoalesceOptions } from './lease/coalesce.ts';
export type {
  EventBase,
  HeldEventBase,
  LeaseEventBase,
  LockEvent,
  LockEventListener,
  OwedReason,
  TimesOfLease,
} from './lease/events.ts';
export type { ListOptions, LockState } from './lease/inspect.ts';
export type { Candidate } from './lease/lead.ts';
export type { LeaderWork, LeadOptions, TermEnd } from './lease/lead-options.ts';
export type { Leader, LeaderOptions } from './lease/leader.ts';
export type { Lease, LeaseHandle, ReleaseOptions } from './lease/lease.ts';
export type { Leases } from './lease/leases.ts';
export type { ForceReleaseOptions, RepairOptions } from './lease/operate.ts';
export type {
  AcquireAllOptions,
  AcquireOptions,
  LeaseTiming,
  ResumeOptions,
  TryAcquireOptions,
} from './lease/options.ts';
export {
  LockBusyError,
  LockClosedError,
  LockDoneError,
  LockError,
  LockLostError,
  LockNoTimeError,
  LockOwedError,
  LockStoreError,
  LockTokenError,
  type LostReason,
  type SlotHolder,
} from './record/errors.ts';
export type { Committed, LockRecord, Takeover } from './record/record.ts';
export { slotKeys } from './record/slot-keys.ts';
export type {
  AcquireRequest,
  AskRequest,
  CommitRequest,
  DatedAnswer,
  ForceReleaseRequest,
  GiveBackRequest,
  ListAnswer,
  LockStore,
  ReadAnswer,
  ReadManyAnswer,
  ReleaseRequest,
  RenewRequest,
  RepairRequest,
  ResumeRequest,
  StoreAnswer,
  StoreProblem,
  TurnRequest,
} from './record/store.ts';
export type { OnceToken } from './record/token.ts';
