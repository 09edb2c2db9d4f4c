export type { RedisClient } from './redis/client.ts';
export { type RedisCommand, runWhileHeld } from './redis/guarded-write.ts';
export type { RedisSubscriber } from './redis/releases.ts';
export { RedisLockStore, type RedisLockStoreOptions } from './redis/store.ts';
