import type { LeaseStore } from '../record/store.ts';

/** The name of the store that a test has put into the global scope. Both formats of the package know the name. */
const NAME = Symbol.for('leasehold.storeInTests');
/** Marks the stores in memory of both formats. */
export const IN_MEMORY = Symbol.for('leasehold.storeInMemory');

const globals = globalThis as { [NAME]?: LeaseStore | undefined };

/** Gives the store that a test has put in the place of a client's store, or else the client's store. */
export function storeInTests<Store extends LeaseStore>(store: Store): Store {
  const isInMemory = (store as { readonly [IN_MEMORY]?: true } | undefined)?.[IN_MEMORY] === true;
  return isInMemory ? store : ((globals[NAME] as Store | undefined) ?? store);
}

/** Lets every client that is made from now on take the store of the tests, which the first call makes. */
export function installStore<Store extends LeaseStore>(make: () => Store): Store {
  globals[NAME] ??= make();
  return globals[NAME] as Store;
}

/** Lets every client that is made from now on keep its own store. */
export function uninstallStore(): void {
  globals[NAME] = undefined;
}
