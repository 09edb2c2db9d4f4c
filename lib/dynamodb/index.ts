export { conditionCheck, type DocumentClient, type TransactItem, writeWhileHeld } from './guarded-write.ts';
export { DynamoDBLockStore, type DynamoDBLockStoreOptions } from './store.ts';
