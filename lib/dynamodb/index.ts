export { conditionCheck, type DocumentClient, type TransactItem, writeWhileHeld } from './guarded-write.ts';
export { DynamoDBLockStore } from './store.ts';
export type { DynamoDBLockStoreOptions } from './table.ts';
