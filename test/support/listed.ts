import type { LockRecord } from '../../lib/record/record.ts';
import type { LockStore } from '../../lib/record/store.ts';

/** The records of every page of a list. */
export async function listed(store: Pick<LockStore, 'list'>, prefix = ''): Promise<LockRecord[]> {
  const all: LockRecord[] = [];
  let cursor: unknown;
  do {
    const page = await store.list(prefix, cursor);
    all.push(...page.records);
    cursor = page.cursor;
  } while (cursor !== undefined);
  return all;
}
