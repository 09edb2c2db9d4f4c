export { DynamoDBLockStore, type DynamoDBLockStoreOptions } from './store/dynamodb.ts';
export { conditionCheck, writeWhileHeld } from './store/guarded-write.ts';
