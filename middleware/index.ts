export { type LockMiddleware, type LockPlugin, lock, lockPlugin } from './lock.ts';
export { lockRecords, withRecordLocks } from './lock-records.ts';
export type {
  BatchResponse,
  LambdaContext,
  Lockable,
  LockOptions,
  LockRecordsOptions,
  QueueRecord,
  RecordLocks,
} from './options.ts';
export { withLock } from './with-lock.ts';
