export type { GlideClient, IoredisClient, NodeRedisClient, NodeRedisCluster, RedisClient } from './redis/client.ts';
export { type RedisCommand, writeWhileHeld } from './redis/guarded-write.ts';
export type { Subscriber } from './redis/releases.ts';
export { RedisLockStore, type RedisLockStoreOptions } from './redis/store.ts';
