/** The number of items that are worked on at a time: about as many requests as a client has under way. */
export const AT_ONCE = 50;

/**
 * Runs `work` for each item, for `AT_ONCE` items at a time.
 * @param work gets an item, and the number of items that are left, with this one.
 */
export async function inParallel<Item>(
  items: Iterable<Item>,
  work: (item: Item, left: number) => Promise<void>,
): Promise<void> {
  const all = [...items];
  // One iterator, from which each worker takes the next item.
  const next = all.entries();
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (const [index, item] of next) await work(item, all.length - index);
    }),
  );
}
