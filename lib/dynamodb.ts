export {
  conditionCheck,
  type DocumentClient,
  type LockCondition,
  type LockConditionCheck,
  type TransactItem,
  writeWhileHeld,
} from './dynamodb/guarded-write.ts';
export { DynamoDBLockStore } from './dynamodb/store.ts';
export type { DynamoDBLockStoreOptions } from './dynamodb/table.ts';
