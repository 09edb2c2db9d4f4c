export { FileLockStore, type FileLockStoreOptions } from './file/store.ts';
