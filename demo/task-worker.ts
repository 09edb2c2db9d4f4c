import { LOCK_STORE, openStore } from '../bin/open-store.ts';
import { workerOn } from '../lambda/worker.ts';

const { store } = await openStore(process.env[LOCK_STORE] ?? '');

/** The worker of `lambda/task-worker.ts`, with its locks in the store that the environment variable LOCK_STORE names. */
export const handler = workerOn(store);
