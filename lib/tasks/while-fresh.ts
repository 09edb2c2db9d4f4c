/** DynamoDB reads up to 100 items in one request. */
const LARGEST_BATCH = 100;

/**
 * Gives out items that look free, each soon after a look at the item. `look` reads the next few items and returns the free
 * ones. An item that is not taken within `freshMs` of the look is looked at again.
 *
 * A read costs a tenth of a refused write, and only a fresh view keeps writes from being refused. So the next look is at as
 * many items as were taken while the last view was fresh, and at twice as many if all of them were taken in time.
 */
export async function* whileFresh<Item>(
  items: readonly Item[],
  look: (batch: readonly Item[]) => Promise<readonly Item[]>,
  { firstBatch, freshMs, now }: { readonly firstBatch: number; readonly freshMs: number; readonly now: () => number },
): AsyncGenerator<Item, void> {
  let size = firstBatch;
  let stale: readonly Item[] = [];
  for (let next = 0; next < items.length || stale.length > 0; ) {
    const again = stale.slice(0, size);
    const unseen = items.slice(next, next + size - again.length);
    next += unseen.length;
    const free = await look([...again, ...unseen]);
    const freshUntil = now() + freshMs;
    let taken = 0;
    while (taken < free.length && (taken === 0 || now() < freshUntil)) yield free[taken++] as Item;
    stale = [...free.slice(taken), ...stale.slice(size)];
    size = taken < free.length ? taken : Math.min(size * 2, LARGEST_BATCH);
  }
}
