export type { S3LockStoreOptions } from './s3/store.ts';
export { S3LockStore } from './s3/store.ts';
