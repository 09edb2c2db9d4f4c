export type { LambdaContext } from './lambda-context.ts';
export { type LockMiddleware, lock } from './lock.ts';
export { type LockPlugin, type LockPluginHooks, lockPlugin } from './lock-plugin.ts';
export { lockRecords, withRecordLocks } from './lock-records.ts';
export type { LockOptions } from './options.ts';
export type { LockRecordsOptions, RecordLocks } from './record-options.ts';
export type { BatchResponse, Lockable, QueueEvent, QueueRecord } from './sqs.ts';
export { withLock } from './with-lock.ts';
