export { DynamoDBLockStore, type DynamoDBLockStoreOptions } from './store/dynamodb.ts';
export { conditionCheck, type DocumentClient, type TransactItem, writeWhileHeld } from './store/guarded-write.ts';
