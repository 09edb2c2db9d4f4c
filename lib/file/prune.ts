import { join } from 'node:path';
import { LockStoreError } from '../record/errors.ts';
import { freshId } from '../record/fresh-id.ts';
import type { LockRecord } from '../record/record.ts';
import { decode } from '../swap/entry.ts';
import { isFull } from './faults.ts';
import type { Files } from './files.ts';
import { FRESH, isKeysName, keyInName, keyInText } from './names.ts';
import { fileOf, isVersion, load, versionsIn } from './versions.ts';

/** Milliseconds after which a file that no writer has finished is a leftover of a crash. */
const LEFTOVER_MS = 3_600_000;
/** Tells whether a name in the folder for what is not yet a lock is ours. */
const isFresh = (name: string): boolean => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(-2)?$/.test(name);
/** The least time for which a pruned lock was left alone: longer by far than any writer goes by a reading or by a new file. */
export const LEAST_PRUNED_MS = 86_400_000;

/**
 * Deletes what crashed writers have left. A writer who was stalled for as long finds its file gone, and its write missed.
 * @param date the server's time.
 * @param most the most leftovers to delete.
 */
export async function sweep(files: Files, directory: string, date: number, most: number): Promise<void> {
  const folder = join(directory, FRESH);
  let swept = 0;
  for (const name of (await files.list(folder)) ?? []) {
    if (!isFresh(name)) continue;
    const path = join(folder, name);
    const time = await files.timeOf(path);
    if (time === undefined || date - time < LEFTOVER_MS) continue;
    const inside = await files.list(path).catch(() => undefined);
    if (inside === undefined) await files.remove(path);
    for (const file of inside ?? []) await files.remove(join(path, file));
    if (inside !== undefined) await files.removeFolder(path);
    if (++swept >= most) return;
  }
}

/**
 * Deletes the locks that were free, and not written, for `olderThanMs`:
 *
 * 1. Sweep all leftovers away. A writer who is stalled since before then can write nothing more.
 * 2. Read a lock. Leave the lock if its record or its last write is younger, if the record is not ours, or if somebody else has
 *    files in its folder: a folder that is not empty would keep the key's next first version out.
 * 3. Delete the lower versions, then the highest, and then the folder, if the folder is empty.
 *
 * A writer may take the lock between any two of these steps:
 *
 * - A link of the next version before the deletion of the highest: the highest is then no longer the highest, and the deletion
 *   takes away what every later writer would have deleted.
 * - A link after the deletion: the new version stands alone, and the folder is not empty, so nobody deletes or replaces it.
 * - A first version after the deletion: it moves over the empty folder. A link of a writer who has read the old highest
 *   version fails, or makes a version lower than the first one, which the writer then takes for overtaken.
 *
 * So one write alone follows each version, or follows none. That the token does not fall is the clock's work: a lock begins with
 * the clock, as after DynamoDB's TTL.
 */
export async function prune(
  files: Files,
  directory: string,
  olderThanMs: number,
  signal: AbortSignal | undefined,
): Promise<number> {
  const now = await dateOrEarlier(files, directory);
  await sweep(files, directory, now, Infinity);
  let pruned = 0;
  for (const name of (await files.list(directory)) ?? []) {
    signal?.throwIfAborted();
    if (isKeysName(name) && (await pruneOne(files, directory, name, now - olderThanMs, signal).catch(skip))) pruned++;
  }
  return pruned;
}

/** Names of somebody else stay, and keep no lock from being pruned. */
function skip(error: unknown): false {
  if (error instanceof LockStoreError && error.foreign) return false;
  throw error;
}

export async function pruneOne(
  files: Files,
  directory: string,
  name: string,
  before: number,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const folder = join(directory, name);
  const standing = await load(files, folder, signal);
  if (standing === undefined) {
    // A prune that was killed has left an empty folder. A younger one is perhaps somebody else's, who will soon fill it.
    const madeAt = await files.timeOf(folder);
    if (madeAt !== undefined && madeAt <= before) await files.removeFolder(folder);
    return false;
  }
  const path = join(folder, fileOf(standing.version));
  const record = recordOf(standing.text, name, path);
  const writtenAt = await files.timeOf(path);
  const isOld = record !== undefined && writtenAt !== undefined && Math.max(record.expiresAt, writtenAt) <= before;
  if (!isOld || record.committed !== undefined || record.flaw !== undefined) return false;
  const names = (await files.list(folder)) ?? [];
  if (!names.every(isVersion)) return false;
  for (const version of versionsIn(names)) {
    if (version < standing.version) await files.remove(join(folder, fileOf(version)));
  }
  await files.remove(path);
  await files.removeFolder(folder);
  return true;
}

/** The record in a file. Undefined if the file is not ours. */
function recordOf(text: string, name: string, path: string): LockRecord | undefined {
  try {
    return decode(text, keyInName(name) ?? keyInText(text, name) ?? '', path).record;
  } catch (error) {
    if (error instanceof LockStoreError) return undefined;
    throw error;
  }
}

/** Asks for the server's time: the time of a file just made. */
export async function dateOf(files: Files, directory: string): Promise<number> {
  const fresh = join(directory, FRESH, freshId());
  try {
    return await files.write(fresh, '');
  } finally {
    // An error of the deletion would hide the error of the write. A later sweep deletes what is left.
    await files.remove(fresh).catch(() => {});
  }
}

/**
 * Asks for the server's time, or for an earlier time. On a full disk no file can be made: then the time is that at which a writer
 * last made or deleted a file. By an earlier time, a prune deletes less and never more.
 */
async function dateOrEarlier(files: Files, directory: string): Promise<number> {
  try {
    return await dateOf(files, directory);
  } catch (error) {
    if (!isFull(error)) throw error;
    return (await files.timeOf(join(directory, FRESH))) ?? 0;
  }
}
