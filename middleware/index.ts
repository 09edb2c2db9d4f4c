export { type LockMiddleware, type LockPlugin, lock, lockPlugin } from './lock.ts';
export type { LambdaContext, LockOptions } from './options.ts';
export { withLock } from './with-lock.ts';
