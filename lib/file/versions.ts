import { dirname, join } from 'node:path';
import { LockStoreError } from '../record/errors.ts';
import type { Files } from './files.ts';

/** The content of a key's folder, as a reading showed it. */
export interface Standing {
  readonly version: number;
  readonly text: string;
}

/** The outcome of a swap. */
export interface Outcome {
  /** The version that was written. Absent if another version than the one seen stood there. */
  readonly version?: number;
  /** True if the version may have stood for a while. */
  readonly maybeApplied?: boolean;
  /** The server's time of the write, in milliseconds since the epoch. Absent if nothing was written. */
  readonly date?: number;
}

/** The paths of a swap: the key's folder, and a path beside all folders of keys that no other write uses. */
export interface Place {
  readonly folder: string;
  readonly fresh: string;
}

/** The most readings of a folder that others write meanwhile. */
const READINGS = 20;
const DIGITS = 16;
/** Tells whether a file is a version. A number beyond 2^53 would have another name than it was read by. */
export const isVersion = (name: string): boolean => /^\d{16}$/.test(name) && Number(name) < Number.MAX_SAFE_INTEGER;
export const fileOf = (version: number): string => String(version).padStart(DIGITS, '0');

/** The versions in a folder, in ascending order. */
export const versionsIn = (names: readonly string[] = []): number[] => names.filter(isVersion).sort().map(Number);

/**
 * Reads the highest version of a key's folder.
 *
 * 1. List the folder. The highest version stands.
 * 2. Read the version. A writer may have overtaken and deleted the version meanwhile: begin again.
 * 3. List the folder again. A writer who was stalled may have made a deleted version anew, in the moment between. Such a version
 *    never stood, and a higher version shows in this second list: begin again.
 *
 * @returns undefined if there is no version.
 */
export async function load(
  files: Files,
  folder: string,
  signal: AbortSignal | undefined,
): Promise<Standing | undefined> {
  let names = await files.list(folder);
  for (let readings = 0; readings < READINGS; readings++) {
    if (names === undefined) return undefined;
    signal?.throwIfAborted();
    const version = versionsIn(names).at(-1);
    const text = version === undefined ? undefined : await files.read(join(folder, fileOf(version)));
    const again = await files.list(folder);
    // The list of a folder without versions is read twice, too: only a prune leaves such a folder, and for a moment.
    if (versionsIn(again).at(-1) === version) {
      if (version === undefined) return undefined;
      if (text !== undefined) return { version, text };
    }
    names = again;
  }
  throw new LockStoreError(`'${folder}' was written by others ${READINGS} times while it was read.`, {
    transient: true,
    conflict: true,
  });
}

/**
 * Writes the version after `seen`, or, with `seen` undefined, the first version. The write stands wholly or not at all.
 * @param mayWrite asked last before the write, with the server's time. False if the caller's reading is too old by now: the write
 *   then counts as missed.
 */
export function swap(
  files: Files,
  place: Place,
  text: string,
  seen: number | undefined,
  mayWrite: (date: number) => boolean,
): Promise<Outcome> {
  return seen === undefined ? create(files, place, text, mayWrite) : replace(files, place, text, seen, mayWrite);
}

/**
 * Writes a version after another.
 *
 * 1. Write the text to a new file beside the folders of keys, down to the disk.
 * 2. Link the file into the folder as `seen + 1`. This is the swap: of several writers, one gets the name.
 * 3. List the folder. A higher version shows that this write was overtaken. Or this write was stalled, and made a name anew that
 *    others had written, overtaken and deleted: then this version never stood. So delete it: the write missed.
 * 4. Delete the versions before `seen`. A reader of `seen` may still be reading `seen`. Nobody deletes the highest version but
 *    a prune: two writers could then replace one version.
 */
async function replace(
  files: Files,
  { folder, fresh }: Place,
  text: string,
  seen: number,
  mayWrite: (date: number) => boolean,
): Promise<Outcome> {
  const version = seen + 1;
  const target = join(folder, fileOf(version));
  try {
    const date = await files.write(fresh, text);
    if (!mayWrite(date)) return { date };
    const linked = await files.link(fresh, target);
    // The client of a network file system may have sent the link twice: the file then shows its second name. If the file was
    // swept away meanwhile, nobody knows: the caller reads again, and knows a version of its own.
    const isOwn = linked === 'done' || (linked === 'exists' ? await files.isLinked(fresh) : undefined);
    if (isOwn === undefined) return { date, maybeApplied: true };
    if (!isOwn) return { date };
    return await confirm(files, folder, version, date);
  } finally {
    await tidy(files.remove(fresh));
  }
}

/**
 * Makes a key's folder with its first version. A folder of a key is never seen before its first version, so that two first
 * versions cannot stand side by side, whatever their names.
 *
 * 1. Make a folder beside the folders of keys. The server's time of this gives the name of the first version: what is left
 *    of a folder that was pruned is lower. A key is written less than once in a millisecond on average, so the versions of a
 *    folder never outrun the clock.
 * 2. Write the first version into the folder, down to the disk.
 * 3. Move the folder to its place. This is the swap: a folder is moved only where none is, or an empty one.
 * 4. List the folder, as after a link.
 */
async function create(
  files: Files,
  { folder, fresh }: Place,
  text: string,
  mayWrite: (date: number) => boolean,
): Promise<Outcome> {
  const version = Math.max(1, await files.makeFolder(fresh));
  const first = join(fresh, fileOf(version));
  let moved: Awaited<ReturnType<Files['move']>> | undefined;
  try {
    const date = await files.write(first, text);
    if (!mayWrite(date)) return { date };
    moved = await files.move(fresh, folder);
    if (moved === 'exists') {
      await checkOwn(files, folder);
      return { date };
    }
    // The folder was moved by an earlier sending of the same request, or swept away as a leftover.
    if (moved === 'gone') return { date, maybeApplied: true };
    await files.keep(dirname(folder));
    return await confirm(files, folder, version, date);
  } finally {
    if (moved !== 'done') {
      await tidy(files.remove(first));
      await tidy(files.removeFolder(fresh));
    }
  }
}

/** Throws if only files of somebody else keep a first version out of a key's folder: nobody else would move them away. */
async function checkOwn(files: Files, folder: string): Promise<void> {
  const names = (await files.list(folder)) ?? [];
  const [name] = names;
  if (name === undefined || names.some(isVersion)) return;
  throw new LockStoreError(
    `'${join(folder, name)}' is no file of leasehold's, and keeps the lock from being made: move the file away.`,
    // A client of NFS keeps a file that was deleted while it was open under such a name, until the file is closed.
    { foreign: true, transient: name.startsWith('.nfs') },
  );
}

/** Tells whether the version that was written is the highest, and deletes what nobody reads any more. */
async function confirm(files: Files, folder: string, version: number, date: number): Promise<Outcome> {
  await files.keep(folder);
  const versions = versionsIn(await files.list(folder));
  if (versions.at(-1) !== version) {
    await tidy(files.remove(join(folder, fileOf(version))));
    return { date, maybeApplied: true };
  }
  for (const old of versions) if (old < version - 1) await tidy(files.remove(join(folder, fileOf(old))));
  return { version, date };
}

/** Waits for a deletion. A failure changes no answer: a later writer, or a sweep, deletes what is left. */
const tidy = (deletion: Promise<void>): Promise<void> => deletion.catch(() => {});
