import type { LeaseStore } from '../record/store.ts';

/** The name of a function that a test puts in the global scope. Both formats of the package know the name. */
const NAME = Symbol.for('leasehold.storeInTests');

const globals = globalThis as { [NAME]?: ((store: unknown) => unknown) | undefined };

/** Gives the store that a test has put in the place of a client's store, or else the client's store. */
export const storeInTests = <Store extends LeaseStore>(store: Store): Store =>
  (globals[NAME]?.(store) as Store | undefined) ?? store;

/** Lets every client that is made from now on take the store that `replace` gives. */
export function replaceStores(replace: (store: unknown) => unknown): void {
  globals[NAME] = replace;
}
