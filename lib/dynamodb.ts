export { conditionCheck, type DocumentClient, type TransactItem, writeWhileHeld } from './dynamodb/guarded-write.ts';
export { DynamoDBLockStore, type LockCondition } from './dynamodb/store.ts';
export type { DynamoDBLockStoreOptions } from './dynamodb/table.ts';
