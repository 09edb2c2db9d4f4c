import { LockStoreError } from '../record/errors.ts';

/**
 * The readings that one request for many keys has under way at a time. Larger means a faster list, smaller leaves more of the
 * client's sockets to heartbeats: `inspectMany` makes four requests at a time, and the SDK's clients have 50 sockets.
 */
const READERS = 8;

/**
 * Reads many objects, a few at a time and in no order. Leaves out those that are none, and those that leasehold did not write:
 * an object of the user's own hides no lock.
 * @throws the error of the first reading that fails otherwise. No reading begins after such an error.
 */
export async function readEach<Item, Result>(
  items: readonly Item[],
  read: (item: Item) => Promise<Result | undefined>,
): Promise<Result[]> {
  const results: Result[] = [];
  const left = [...items];
  const readOn = async () => {
    for (let item = left.pop(); item !== undefined; item = left.pop()) {
      try {
        const result = await read(item);
        if (result !== undefined) results.push(result);
      } catch (error) {
        if (error instanceof LockStoreError && error.foreign) continue;
        // The other readers stop, too.
        left.length = 0;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: READERS }, readOn));
  return results;
}
